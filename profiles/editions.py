"""The ledger of editions and the shelf: the only writer and reader of both.

An edition is appended, never changed. The shelf is rewritten in the same transaction by
compare-and-set on its version; that guard keeps a notice from being picked twice when two jobs
run at once. An empty edition is never written. Called by ``recommender.select`` and, for alerts
and corrections, by ``api.jobs``; read by everything that shows picks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from feeds.kernel.db import Database, insert_missing, insert_one
from feeds.kernel.time import from_micros, to_micros
from profiles.packing import pack_ids, pack_picks, unpack_ids, unpack_picks
from profiles.reasons import CODES, NAMES
from profiles.tables import edition, shelf
from profiles.types import SHELF_SIZE, Edition, EditionKind, Pick, Shelf, ShelvedPick

_CHUNK = 500
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
            shelves = _shelves(connection, [item.profile_id for item in editions])
            return [_append_one(connection, item, shelves[item.profile_id]) for item in editions]

    def shelves(self, profile_ids: Iterable[int]) -> dict[int, Shelf]:
        """Return a shelf for each profile; an empty one of version 0 where nothing was picked yet."""
        with self._db.read() as connection:
            return _shelves(connection, list(profile_ids))

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
            for part in _chunks(list(profile_ids)):
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


def _append_one(connection: Connection, item: NewEdition, current: Shelf) -> int | None:
    fresh = tuple(p for p in item.picks if p.kind in _REPEATABLE or p.notice_id not in current.picked)
    if not fresh or current.version != item.expected_version:
        return None
    if current.version == 0:
        first = {"profile_id": item.profile_id, "version": 0, "picks": b"", "picked": b""}
        insert_missing(connection, shelf, [first], ["profile_id"])
    moved = _moved(current, fresh, item.made_at)
    guarded = (shelf.c.profile_id == item.profile_id) & (shelf.c.version == item.expected_version)
    if connection.execute(update(shelf).where(guarded).values(_shelf_columns(moved))).rowcount == 0:
        return None
    row = {
        "profile_id": item.profile_id,
        "made_at": item.made_at,
        "kind": item.kind,
        "size": sum(pick.kind != "update" for pick in fresh),
        "picks": pack_picks(fresh, CODES),
    }
    return insert_one(connection, edition, row)


def _moved(current: Shelf, picks: tuple[Pick, ...], at: datetime) -> Shelf:
    """The shelf after an edition: its picks first, then the older ones that are not among them."""
    fresh_ids = {pick.notice_id for pick in picks}
    older = tuple(item for item in current.picks if item.pick.notice_id not in fresh_ids)
    shelved = tuple(ShelvedPick(pick, at) for pick in picks) + older
    picked = frozenset(sorted(current.picked | fresh_ids)[-_PICKED_KEPT:])
    return Shelf(current.profile_id, current.version + 1, shelved[:SHELF_SIZE], picked)


def _shelf_columns(moved: Shelf) -> dict[str, Any]:
    """The instant of each pick stands in front of the packed picks (8 bytes each)."""
    instants = [to_micros(item.picked_at) for item in moved.picks]
    head = b"".join(value.to_bytes(8, "big") for value in instants)
    packed = pack_picks([item.pick for item in moved.picks], CODES)
    return {
        "version": moved.version,
        "picks": len(instants).to_bytes(1, "big") + head + packed,
        "picked": pack_ids(moved.picked),
    }


def _shelves(connection: Connection, profile_ids: list[int]) -> dict[int, Shelf]:
    found = {profile_id: Shelf(profile_id, 0, (), frozenset()) for profile_id in profile_ids}
    for part in _chunks(profile_ids):
        query = select(shelf).where(shelf.c.profile_id.in_(part))
        if connection.dialect.name == "postgresql" and connection.get_execution_options().get("mycity_write"):
            query = query.with_for_update()
        for row in connection.execute(query):
            found[row.profile_id] = _shelf(row)
    return found


def _shelf(row: Row[Any]) -> Shelf:
    if not row.picks:
        return Shelf(row.profile_id, row.version, (), frozenset())
    count = row.picks[0]
    head, packed = row.picks[1 : 1 + 8 * count], row.picks[1 + 8 * count :]
    instants = [from_micros(int.from_bytes(head[8 * n : 8 * n + 8], "big")) for n in range(count)]
    picks = unpack_picks(packed, NAMES)
    shelved = tuple(ShelvedPick(pick, at) for pick, at in zip(picks, instants, strict=True))
    return Shelf(row.profile_id, row.version, shelved, unpack_ids(row.picked))


def _edition(row: Row[Any]) -> Edition:
    return Edition(row.id, row.profile_id, row.made_at, row.kind, unpack_picks(row.picks, NAMES))


def _chunks(items: list[int]) -> Iterable[list[int]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
