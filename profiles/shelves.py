"""Shelves as they are stored: bytes that a new edition is put in front of, without opening what lies behind.

A shelf's picks are its editions, newest first, each with a mask of the picks that still count: instant (8
bytes), mask (8 bytes), length (4 bytes), packed picks. Pure; ``profiles.editions`` reads and writes the rows,
``recommender.select`` chooses from them.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from feeds.kernel.time import from_micros, to_micros
from profiles.packing import add_ids, pack_ids, unpack_ids, unpack_pick_ids, unpack_picks
from profiles.reasons import NAMES
from profiles.types import SHELF_SIZE, Shelf, ShelvedPick

#: The shelf remembers what was picked for this many distinct notices; older ones are out of every
#: candidate horizon (7 days for daily editions, the welcome edition comes first).
PICKED_KEPT = 2000  # about 3 kB a profile at most
_HEAD = struct.Struct(">qQI")


@dataclass(frozen=True, slots=True)
class StoredShelf:
    """One shelf, unopened.

    Attributes:
        picks: Editions as described above. ``picked``: ids of everything picked, packed.
    """

    profile_id: int
    version: int
    picks: bytes
    picked: bytes

    def opened(self, since: datetime | None = None) -> Shelf:
        """Return the shelf itself, with the picks made since."""
        least = None if since is None else to_micros(since)
        picks = tuple(
            ShelvedPick(pick, from_micros(made_at))
            for made_at, mask, packed in _editions(self.picks)
            if least is None or made_at >= least
            for n, pick in enumerate(unpack_picks(packed, NAMES))
            if mask >> n & 1
        )
        return Shelf(self.profile_id, self.version, picks, frozenset(unpack_ids(self.picked)))

    def picked_ids(self) -> frozenset[int]:
        """Everything picked that the shelf remembers."""
        return frozenset(unpack_ids(self.picked))

    def ids_since(self, since: datetime) -> list[int]:
        """Ids of the picks made since, in their order."""
        least = to_micros(since)
        if len(self.picks) < _HEAD.size or _HEAD.unpack_from(self.picks)[0] < least:
            return []  # editions stand newest first
        return [
            notice_id
            for made_at, mask, packed in _editions(self.picks)
            if made_at >= least
            for n, notice_id in enumerate(unpack_pick_ids(packed, NAMES))
            if mask >> n & 1
        ]

    def place(self, notice_id: int) -> tuple[int, float] | None:
        """Position (from 1) and propensity of one pick; only its own edition is opened.

        (0, 1.0) for a pick that left the shelf, ``None`` for what was never picked.
        """
        position = 0
        for _, mask, packed in _editions(self.picks):
            for n, number in enumerate(unpack_pick_ids(packed, NAMES)):
                if not mask >> n & 1:
                    continue
                position += 1
                if number == notice_id:
                    return position, unpack_picks(packed, NAMES)[n].propensity
        return (0, 1.0) if notice_id in self.picked_ids() else None

    def after(
        self, packed: bytes, size: int, ids: bytes, at: datetime, again: Collection[int] = ()
    ) -> StoredShelf:
        """The shelf after an edition: its picks first, then the older ones, 50 in all.

        Args:
            packed: The edition's picks, packed.
            size: How many they are.
            ids: Packed ids of those that are not among the picked ones yet.
            at: When it was made.
            again: Ids in the edition that may lie on the shelf already; they move to the front.
        """
        parts = [_HEAD.pack(to_micros(at), (1 << min(size, SHELF_SIZE)) - 1, len(packed)), packed]
        room, begin = SHELF_SIZE - size, 0
        while room > 0 and begin < len(self.picks):
            made_at, mask, length = _HEAD.unpack_from(self.picks, begin)
            end = begin + _HEAD.size + length
            old = self.picks[begin + _HEAD.size : end]
            kept = _first(_without(mask, old, again) if again else mask, room)
            if kept == mask:
                parts.append(self.picks[begin:end])
            elif kept:
                parts += [_HEAD.pack(made_at, kept, length), old]
            room -= kept.bit_count()
            begin = end
        picked = add_ids(self.picked, ids)
        if len(picked) > 3 * PICKED_KEPT:  # differences take one or two bytes, seldom three
            picked = pack_ids(unpack_ids(picked)[-PICKED_KEPT:])
        return StoredShelf(self.profile_id, self.version + 1, b"".join(parts), picked)


@dataclass(frozen=True, slots=True)
class Desk:
    """What choosing needs of the shelves of some profiles, in the order they were asked for.

    Attributes:
        shelves: Version 0 where nothing was picked yet.
        used: Slots of the pace used since ``since``.
        since: Start of the local day; what was picked after it counts towards the caps.
    """

    shelves: Sequence[StoredShelf]
    used: Sequence[int]
    since: datetime | None


def stored(shelf: Shelf) -> StoredShelf:
    """Put a shelf into the form it is stored in; its picks are left out."""
    return StoredShelf(shelf.profile_id, shelf.version, b"", pack_ids(shelf.picked))


def _editions(data: bytes) -> list[tuple[int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        made_at, mask, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        found.append((made_at, mask, data[at - length : at]))
    return found


def _without(mask: int, packed: bytes, ids: Collection[int]) -> int:
    return mask & ~sum(1 << n for n, one in enumerate(unpack_pick_ids(packed, NAMES)) if one in ids)


def _first(mask: int, count: int) -> int:
    """Keep only the first ``count`` picks that are still there."""
    if mask.bit_count() <= count:
        return mask
    kept = 0
    for n in range(mask.bit_length()):
        if mask >> n & 1 and count > 0:
            kept |= 1 << n
            count -= 1
    return kept
