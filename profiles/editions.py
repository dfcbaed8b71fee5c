"""The ledger of editions and the shelf: the only writer and reader of both.

An edition is appended, never changed. The shelf is rewritten in the same transaction by
compare-and-set on its version; that guard keeps a notice from being picked twice when two jobs
run at once. Shelves hold the packed bytes of their editions, so a new edition is packed once and
nothing else is unpacked. An empty edition is never written. Nothing is written before a slot that digests
were planned for already: its window is closed, and nobody would be told. Called by ``recommender.select``
and, for alerts and corrections, by ``api.jobs``; read by everything that shows picks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from feeds.kernel.db import Database, chunks, insert_plain, marks, plain_rows, run_plain, run_plain_many
from feeds.kernel.time import from_micros, to_micros
from profiles.packing import PackedPicks, pack_ids, pack_picks, unpack_picks
from profiles.reasons import CODES, NAMES
from profiles.shelves import Desk, StoredShelf
from profiles.tables import edition, shelf
from profiles.types import Edition, EditionKind, Pick, Shelf

# A correction or a reminder comes for a notice that was picked before; every other kind comes once.
REPEATABLE = ("update", "reminder")


@dataclass(frozen=True, slots=True)
class NewEdition:
    """An edition to be written, with the shelf version it was chosen against.

    It counts as made at ``made_at``, or at the last slot of digests where that is later.

    Picks that were packed already must have been chosen against that version: none of them is on the shelf.
    """

    profile_id: int
    kind: EditionKind
    picks: Sequence[Pick]
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
        found: list[int | None] = [None] * len(editions)
        with self._db.write() as connection:
            closed = _closed(connection)
            held = _lock(connection, sorted({item.profile_id for item in editions}))
            rows: list[tuple[Any, ...]] = []
            written: list[int] = []
            for number, item in enumerate(editions):
                current = held.get(item.profile_id)
                if current is None or current.version != item.expected_version:
                    continue
                made = _made(item, current, max(item.made_at, closed))
                if made is not None:
                    row, held[item.profile_id] = made
                    rows.append(row)
                    written.append(number)
            if rows:
                ids = _insert_all(connection, rows)
                _write_back(connection, [held[one] for one in {editions[n].profile_id for n in written}])
                for number, edition_id in zip(written, ids, strict=True):
                    found[number] = edition_id
        return found

    def desk(self, profile_ids: Sequence[int], since: datetime) -> Desk:
        """Return what choosing needs of many shelves, in the order of the ids and unopened.

        Args:
            profile_ids: Any number.
            since: From when on slots of the pace are counted.
        """
        held: dict[int, StoredShelf] = {}
        with self._db.read() as connection:
            for part in chunks(profile_ids):
                held |= _stored(connection, part)
            used = _picked_since(connection, profile_ids, since)
        blank = (StoredShelf(n, 0, b"", b"") for n in profile_ids)
        return Desk(
            [held.get(one.profile_id, one) for one in blank], [used.get(n, 0) for n in profile_ids], since
        )

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
                for profile_id, one in _stored(connection, part).items():
                    found[profile_id] = one.opened(since)
        return found

    def touch(self, profile_id: int, connection: Connection | None = None) -> None:
        """Say that a shelf reads differently now, so that feed readers get it anew."""
        if connection is None:
            with self._db.write() as own:
                return self.touch(profile_id, own)
        here = shelf.c.profile_id == profile_id
        connection.execute(update(shelf).where(here).values(version=shelf.c.version + 1))

    def place(self, profile_id: int, notice_id: int) -> tuple[int, float] | None:
        """Return position and propensity of one pick, without opening the others.

        Position 0 and propensity 1 for a pick that left the shelf; ``None`` for what was never picked.
        """
        with self._db.read() as connection:
            found = _stored(connection, [profile_id]).get(profile_id)
        return found.place(notice_id) if found else None

    def shelf(self, profile_id: int) -> Shelf:
        """Return one profile's shelf."""
        return self.shelves([profile_id])[profile_id]

    def shelf_version(self, profile_id: int) -> int:
        """Return only the version: what a conditional request needs."""
        with self._db.read() as connection:
            return connection.scalar(select(shelf.c.version).where(shelf.c.profile_id == profile_id)) or 0

    def picked_since(self, profile_ids: Iterable[int], since: datetime) -> dict[int, int]:
        """Count picks that took a pace slot since ``since``; welcome editions and alerts are exempt."""
        with self._db.read() as connection:
            return _picked_since(connection, list(profile_ids), since)

    def between(self, profile_id: int, start: datetime, end: datetime) -> list[Edition]:
        """Return editions with ``start <= made_at < end``, oldest first."""
        query = (
            select(edition)
            .where(edition.c.profile_id == profile_id, edition.c.made_at >= start, edition.c.made_at < end)
            .order_by(edition.c.made_at, edition.c.id)
        )
        with self._db.read() as connection:
            return [_edition(row) for row in connection.execute(query)]

    def between_many(self, asked: Sequence[tuple[int, datetime, datetime]]) -> list[list[Edition]]:
        """Return for each (profile id, start, end) what :meth:`between` does; equal windows share a query."""
        windows: dict[tuple[datetime, datetime], list[int]] = {}
        for profile_id, start, end in asked:
            windows.setdefault((start, end), []).append(profile_id)
        found: dict[tuple[int, datetime, datetime], list[Edition]] = {}
        with self._db.read() as connection:
            for (start, end), profile_ids in windows.items():
                for part in chunks(sorted(set(profile_ids))):
                    query = (
                        f"SELECT {_COLUMNS} FROM edition WHERE profile_id IN ({marks(part)}) "  # noqa: S608
                        "AND made_at >= ? AND made_at < ? ORDER BY made_at, id"
                    )
                    values = (*part, to_micros(start), to_micros(end))
                    for row in plain_rows(connection, query, values):
                        found.setdefault((row[1], start, end), []).append(_plain_edition(row))
        return [found.get(one, []) for one in asked]

    def many(self, ids: Iterable[int]) -> dict[int, Edition]:
        """Return editions by id, for whoever needs those of many residents."""
        found: dict[int, Edition] = {}
        with self._db.read() as connection:
            for part in chunks(sorted(set(ids))):
                query = f"SELECT {_COLUMNS} FROM edition WHERE id IN ({marks(part)})"  # noqa: S608
                found |= {row[0]: _plain_edition(row) for row in plain_rows(connection, query, part)}
        return found

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


def _closed(connection: Connection) -> datetime:
    """The newest slot that digests were planned for; planning and writing take turns, so it stands."""
    if connection.dialect.name == "postgresql":
        run_plain(connection, "LOCK TABLE edition IN ROW EXCLUSIVE MODE")
    return from_micros(plain_rows(connection, "SELECT COALESCE(MAX(slot), 0) FROM rhythm")[0][0])


def _made(
    item: NewEdition, current: StoredShelf, made_at: datetime
) -> tuple[tuple[Any, ...], StoredShelf] | None:
    """The row of an edition and the shelf after it; ``None`` where nothing is left to tell."""
    at, picks = to_micros(made_at), item.picks
    if isinstance(picks, PackedPicks):
        if not picks.size:
            return None
        row = (item.profile_id, at, item.kind, picks.slots, picks.packed)
        return row, current.after(picks.packed, picks.size, picks.ids, made_at)
    known = current.picked_ids()
    fresh = tuple(pick for pick in picks if pick.kind in REPEATABLE or pick.notice_id not in known)
    if not fresh:
        return None
    packed, ids = pack_picks(fresh, CODES), {pick.notice_id for pick in fresh}
    row = (item.profile_id, at, item.kind, sum(takes_a_slot(pick) for pick in fresh), packed)
    return row, current.after(packed, len(fresh), pack_ids(ids - known), made_at, ids & known)


def takes_a_slot(pick: Pick) -> bool:
    """Corrections and emergencies come on top of the pace."""
    return pick.kind != "update" and not any(reason.code == "emergency" for reason in pick.reasons)


def _stored(connection: Connection, profile_ids: Sequence[int], lock: str = "") -> dict[int, StoredShelf]:
    query = f"SELECT profile_id, version, picks, picked FROM shelf WHERE profile_id IN ({marks(profile_ids)})"  # noqa: S608
    return {row[0]: StoredShelf(*row) for row in plain_rows(connection, query + lock, profile_ids)}


def _picked_since(connection: Connection, profile_ids: Sequence[int], since: datetime) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in chunks(profile_ids):
        query = (
            f"SELECT profile_id, SUM(size) FROM edition WHERE profile_id IN ({marks(part)}) "  # noqa: S608
            "AND made_at >= ? AND kind = 'daily' GROUP BY profile_id"
        )
        rows = plain_rows(connection, query, (*part, to_micros(since)))
        found.update((profile_id, int(size)) for profile_id, size in rows)
    return found


def _lock(connection: Connection, profile_ids: list[int]) -> dict[int, StoredShelf]:
    """Read shelves for change; nobody else can move them before this transaction ends."""
    found: dict[int, StoredShelf] = {}
    lock = " ORDER BY profile_id FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    for part in chunks(profile_ids):
        # A profile that was erased meanwhile gets no shelf again.
        blank = (
            "INSERT INTO shelf (profile_id, version, picks, picked) SELECT id, 0, ?, ? FROM profile "  # noqa: S608
            f"WHERE id IN ({marks(part)}) ON CONFLICT DO NOTHING"
        )
        run_plain(connection, blank, (b"", b"", *part))
        found |= _stored(connection, part, lock)
    return found


def _insert_all(connection: Connection, rows: list[tuple[Any, ...]]) -> list[int]:
    if connection.dialect.name == "sqlite":  # nobody else writes now, so the numbers can be given here
        first = 1 + plain_rows(connection, "SELECT COALESCE(MAX(id), 0) FROM edition")[0][0]
        insert_plain(connection, edition, [(first + n, *row) for n, row in enumerate(rows)])
        return list(range(first, first + len(rows)))
    names = ("profile_id", "made_at", "kind", "size", "picks")
    values = [dict(zip(names, row, strict=True)) | {"made_at": from_micros(row[1])} for row in rows]
    made = insert(edition).returning(edition.c.id, sort_by_parameter_order=True)
    return [row.id for row in connection.execute(made, values)]


def _write_back(connection: Connection, shelves: Iterable[StoredShelf]) -> None:
    """The version is compared once more: belt and braces, should a lock ever be lost."""
    query = "UPDATE shelf SET version = ?, picks = ?, picked = ? WHERE profile_id = ? AND version < ?"
    rows = [(one.version, one.picks, one.picked, one.profile_id, one.version) for one in shelves]
    run_plain_many(connection, query, rows)


_COLUMNS = "id, profile_id, made_at, kind, picks"


def _plain_edition(row: tuple[Any, ...]) -> Edition:
    return Edition(row[0], row[1], from_micros(row[2]), row[3], unpack_picks(bytes(row[4]), NAMES))


def _edition(row: Row[Any]) -> Edition:
    return Edition(row.id, row.profile_id, row.made_at, row.kind, unpack_picks(row.picks, NAMES))
