"""The ledger of editions and the shelf: the only writer and reader of both.

An edition is appended, never changed. The shelf is rewritten in the same transaction by
compare-and-set on its version; that guard keeps a notice from being picked twice when two jobs
run at once. Shelves hold the packed bytes of their editions, so a new edition is packed once and
nothing else is unpacked. An empty edition is never written. Called by ``recommender.select`` and, for alerts
and corrections, by ``api.jobs``; read by everything that shows picks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from feeds.kernel.db import Database, chunks, insert_missing
from feeds.kernel.time import from_micros, to_micros
from profiles.packing import pack_ids, pack_picks, unpack_ids, unpack_picks
from profiles.reasons import CODES, NAMES
from profiles.tables import edition, profile, shelf
from profiles.types import SHELF_SIZE, Edition, EditionKind, Pick, Shelf, ShelvedPick

# A correction or a reminder comes for a notice that was picked before; every other kind comes once.
_REPEATABLE = ("update", "reminder")
# The shelf remembers what was picked for this many distinct notices; older ones are out of every
# candidate horizon (7 days for daily editions, the welcome edition comes first).
_PICKED_KEPT = 2000  # about 3 kB a profile at most


@dataclass(frozen=True, slots=True)
class NewEdition:
    """An edition to be written, with the shelf version it was chosen against."""

    profile_id: int
    kind: EditionKind
    picks: tuple[Pick, ...]
    made_at: datetime
    expected_version: int


class EditionStore:
    """Appends editions and reads them back."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def append(self, editions: Sequence[NewEdition]) -> list[int | None]:
        """Write editions and their shelves in one transaction.

        Returns:
            For each, in order, the edition's id, or ``None`` where it was empty or its shelf had
            moved on (choose again against the new shelf).
        """
        with self._db.write() as connection:
            held = _lock(connection, sorted({item.profile_id for item in editions}))
            rows: list[dict[str, Any]] = []
            written: list[int] = []
            for number, item in enumerate(editions):
                current = held.get(item.profile_id)
                fresh = () if current is None else _fresh(item, current)
                if current is None or not fresh or current.version != item.expected_version:
                    continue
                packed = pack_picks(fresh, CODES)
                held[item.profile_id] = current.after(fresh, packed, item.made_at)
                rows.append(_edition_row(item, fresh, packed))
                written.append(number)
            if not rows:
                return [None] * len(editions)
            ids = _insert_all(connection, rows)
            _write_back(connection, [held[editions[number].profile_id] for number in written])
        found: list[int | None] = [None] * len(editions)
        for number, edition_id in zip(written, ids, strict=True):
            found[number] = edition_id
        return found

    def shelves(self, profile_ids: Iterable[int], *, since: datetime | None = None) -> dict[int, Shelf]:
        """Return a shelf for each profile; an empty one of version 0 where nothing was picked yet.

        Args:
            profile_ids: Any number.
            since: Leave out picks made before (``picked`` still names them): choosing needs only today's.
        """
        wanted = list(profile_ids)
        found = {profile_id: Shelf(profile_id, 0, (), frozenset()) for profile_id in wanted}
        with self._db.read() as connection:
            for part in chunks(wanted):
                for row in connection.execute(select(shelf).where(shelf.c.profile_id.in_(part))):
                    found[row.profile_id] = _Board.of(row).opened(since)
        return found

    def touch(self, profile_id: int) -> None:
        """Say that a shelf reads differently now, so that feed readers get it anew."""
        with self._db.write() as connection:
            here = shelf.c.profile_id == profile_id
            connection.execute(update(shelf).where(here).values(version=shelf.c.version + 1))

    def shelf(self, profile_id: int) -> Shelf:
        """Return one profile's shelf."""
        return self.shelves([profile_id])[profile_id]

    def shelf_version(self, profile_id: int) -> int:
        """Return only the version: what a conditional request needs."""
        with self._db.read() as connection:
            return connection.scalar(select(shelf.c.version).where(shelf.c.profile_id == profile_id)) or 0

    def picked_since(self, profile_ids: Iterable[int], since: datetime) -> dict[int, int]:
        """Count picks that took a pace slot since ``since``; welcome editions and alerts are exempt."""
        found: dict[int, int] = {}
        with self._db.read() as connection:
            for part in chunks(list(profile_ids)):
                query = (
                    select(edition.c.profile_id, func.sum(edition.c.size))
                    .where(
                        edition.c.profile_id.in_(part), edition.c.made_at >= since, edition.c.kind == "daily"
                    )
                    .group_by(edition.c.profile_id)
                )
                found.update({row[0]: int(row[1]) for row in connection.execute(query)})
        return found

    def between(self, profile_id: int, start: datetime, end: datetime) -> list[Edition]:
        """Return editions with ``start <= made_at < end``, oldest first."""
        query = (
            select(edition)
            .where(edition.c.profile_id == profile_id, edition.c.made_at >= start, edition.c.made_at < end)
            .order_by(edition.c.made_at, edition.c.id)
        )
        with self._db.read() as connection:
            return [_edition(row) for row in connection.execute(query)]

    def by_ids(self, ids: Iterable[int]) -> list[Edition]:
        """Return editions by id, oldest first."""
        query = select(edition).where(edition.c.id.in_(list(ids))).order_by(edition.c.made_at, edition.c.id)
        with self._db.read() as connection:
            return [_edition(row) for row in connection.execute(query)]

    def count(self) -> tuple[int, int]:
        """Count editions and picks."""
        with self._db.read() as connection:
            row = connection.execute(select(func.count(), func.coalesce(func.sum(edition.c.size), 0))).one()
            return int(row[0]), int(row[1])


@dataclass(frozen=True, slots=True)
class _Batch:
    """Picks of one edition as they lie on the shelf: still packed, with a mask of those still there."""

    made_at: datetime
    mask: int
    packed: bytes

    def opened(self) -> list[ShelvedPick]:
        picks = unpack_picks(self.packed, NAMES)
        return [ShelvedPick(pick, self.made_at) for n, pick in enumerate(picks) if self.mask >> n & 1]

    def without(self, ids: set[int]) -> _Batch:
        gone = sum(1 << n for n, pick in enumerate(unpack_picks(self.packed, NAMES)) if pick.notice_id in ids)
        return _Batch(self.made_at, self.mask & ~gone, self.packed)

    def first(self, count: int) -> _Batch:
        """Keep only the first ``count`` picks that are still there."""
        mask = kept = 0
        for n in range(self.mask.bit_length()):
            if self.mask >> n & 1 and kept < count:
                mask |= 1 << n
                kept += 1
        return _Batch(self.made_at, mask, self.packed)


@dataclass(frozen=True, slots=True)
class _Board:
    """A shelf as stored: batches are moved about packed, so that an edition costs one packing."""

    profile_id: int
    version: int
    batches: tuple[_Batch, ...]
    picked: frozenset[int]

    @classmethod
    def of(cls, row: Row[Any]) -> _Board:
        return cls(row.profile_id, row.version, _read_batches(row.picks), unpack_ids(row.picked))

    def opened(self, since: datetime | None = None) -> Shelf:
        batches = (item for item in self.batches if since is None or item.made_at >= since)
        picks = tuple(pick for item in batches for pick in item.opened())
        return Shelf(self.profile_id, self.version, picks, self.picked)

    def after(self, picks: tuple[Pick, ...], packed: bytes, at: datetime) -> _Board:
        """The shelf after an edition: its picks first, then the older ones that are not among them."""
        ids = {pick.notice_id for pick in picks}
        older = tuple(item.without(ids) for item in self.batches) if ids & self.picked else self.batches
        batches, room = [], SHELF_SIZE
        for item in (_Batch(at, (1 << len(picks)) - 1, packed), *older):
            item = item if item.mask.bit_count() <= room else item.first(room)
            if item.mask:
                batches.append(item)
                room -= item.mask.bit_count()
        picked = frozenset(sorted(self.picked | ids)[-_PICKED_KEPT:])
        return _Board(self.profile_id, self.version + 1, tuple(batches), picked)


def _fresh(item: NewEdition, current: _Board) -> tuple[Pick, ...]:
    return tuple(p for p in item.picks if p.kind in _REPEATABLE or p.notice_id not in current.picked)


def _lock(connection: Connection, profile_ids: list[int]) -> dict[int, _Board]:
    """Read shelves for change; nobody else can move them before this transaction ends."""
    found: dict[int, _Board] = {}
    for some in chunks(profile_ids):
        # A profile that was erased meanwhile gets no shelf again.
        part = list(connection.scalars(select(profile.c.id).where(profile.c.id.in_(some))))
        blank = [{"profile_id": n, "version": 0, "picks": b"", "picked": b""} for n in part]
        insert_missing(connection, shelf, blank, ["profile_id"])
        query = select(shelf).where(shelf.c.profile_id.in_(part)).order_by(shelf.c.profile_id)
        if connection.dialect.name == "postgresql":
            query = query.with_for_update()
        found |= {row.profile_id: _Board.of(row) for row in connection.execute(query)}
    return found


def _edition_row(item: NewEdition, picks: tuple[Pick, ...], packed: bytes) -> dict[str, Any]:
    return {
        "profile_id": item.profile_id,
        "made_at": item.made_at,
        "kind": item.kind,
        "size": sum(_takes_a_slot(pick) for pick in picks),
        "picks": packed,
    }


def _takes_a_slot(pick: Pick) -> bool:
    """Corrections and emergencies come on top of the pace."""
    return pick.kind != "update" and not any(reason.code == "emergency" for reason in pick.reasons)


def _insert_all(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    made = insert(edition).returning(edition.c.id, sort_by_parameter_order=True)
    return [row.id for row in connection.execute(made, rows)]


def _write_back(connection: Connection, boards: list[_Board]) -> None:
    """The version is compared once more: belt and braces, should a lock ever be lost."""
    rows = [
        {
            "_profile": board.profile_id,
            "_below": board.version,
            "version": board.version,
            "picks": _pack_batches(board.batches),
            "picked": pack_ids(board.picked),
        }
        for board in {board.profile_id: board for board in boards}.values()
    ]
    here = (shelf.c.profile_id == bindparam("_profile")) & (shelf.c.version < bindparam("_below"))
    connection.execute(update(shelf).where(here), rows)


def _pack_batches(batches: Iterable[_Batch]) -> bytes:
    """Instant (8 bytes), mask (8 bytes), length (4 bytes), packed picks; newest edition first."""
    parts = []
    for item in batches:
        head = to_micros(item.made_at).to_bytes(8, "big", signed=True) + item.mask.to_bytes(8, "big")
        parts.append(head + len(item.packed).to_bytes(4, "big") + item.packed)
    return b"".join(parts)


def _read_batches(data: bytes) -> tuple[_Batch, ...]:
    found, at = [], 0
    while at < len(data):
        made_at = from_micros(int.from_bytes(data[at : at + 8], "big", signed=True))
        mask = int.from_bytes(data[at + 8 : at + 16], "big")
        end = at + 20 + int.from_bytes(data[at + 16 : at + 20], "big")
        found.append(_Batch(made_at, mask, data[at + 20 : end]))
        at = end
    return tuple(found)


def _edition(row: Row[Any]) -> Edition:
    return Edition(row.id, row.profile_id, row.made_at, row.kind, unpack_picks(row.picks, NAMES))
