"""What feeds ask of the catalogue: what changed since, a few facts of many notices, archives, what is gone.

Part of :class:`feeds.catalogue.store.NoticeStore`. Reads no text and writes nothing; every public method is
one transaction. Called by ``api.feed_changes`` and ``api.feed_build``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select, true

from feeds.catalogue.notices import PUBLIC_STATES
from feeds.catalogue.reading import NoticeFilter, matches
from feeds.catalogue.tables import notice, notice_edit, notice_link, notice_tag, notice_tombstone
from feeds.kernel.db import Database, chunks, marks, plain_rows
from feeds.kernel.time import from_micros

_FACT = "id, state, material_number, COALESCE(changed_at, created_at), fresh_at"
_CERTAIN = ("duplicate_of", "reprints")


@dataclass(frozen=True, slots=True)
class Fact:
    """What decides whether, where and under which number a notice stands in a feed.

    Attributes:
        updated: Its last material change.
    """

    notice_id: int
    state: str
    material_number: int
    updated: datetime
    fresh_at: datetime

    @property
    def is_public(self) -> bool:
        """Whether it can be read."""
        return self.state in PUBLIC_STATES


class FeedReader:
    """Reads what feeds need to know before any text is read."""

    _db: Database

    def changed_after(self, material: int, edit: int) -> set[int]:
        """Return the notices that may read differently since the two numbers stood there.

        Those that share a document with a changed one are among them: each names the others' sources.
        """
        with self._db.read() as connection:
            moved = select(notice.c.id).where(notice.c.material_number > material)
            edited = select(notice_edit.c.notice_id).where(notice_edit.c.number > edit)
            found = set(connection.scalars(moved)) | set(connection.scalars(edited))
            return found | _joined(connection, sorted(found))

    def facts(self, ids: Iterable[int]) -> dict[int, Fact]:
        """Return the facts of those of ``ids`` that exist, in any state."""
        found: dict[int, Fact] = {}
        with self._db.read() as connection:
            for part in chunks(list(ids)):
                query = f"SELECT {_FACT} FROM notice WHERE id IN ({marks(part)})"  # noqa: S608
                found |= {row[0]: _fact(row) for row in plain_rows(connection, query, part)}
        return found

    def latest_ids(self, which: NoticeFilter, *, limit: int) -> list[int]:
        """Return the ids of what :meth:`latest` lists, without reading any text."""
        query = (
            select(notice.c.id)
            .where(matches(which))
            .order_by(notice.c.fresh_at.desc(), notice.c.id.desc())
            .limit(limit)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def archive_size(self, which: NoticeFilter) -> int:
        """Count what a filter ever let through to readers, whatever became of it."""
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(notice).where(_ever(which))) or 0

    def archive_ids(self, which: NoticeFilter, *, start: int, count: int) -> list[int]:
        """Return a stretch of the archive, oldest release first.

        The order is that of release and counts notices that were withdrawn or purged since: what was on a
        page stays on it. Of those, only what may be read is returned.
        """
        ever = select(notice.c.id, notice.c.state, notice.c.lead_id).where(_ever(which))
        stretch = ever.order_by(notice.c.released_at, notice.c.id).offset(start).limit(count).subquery()
        query = select(stretch.c.id).where(stretch.c.state.in_(which.states))
        if which.leads_only:
            query = query.where(stretch.c.lead_id.is_(None))
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def purged(self, which: NoticeFilter, *, limit: int) -> list[Fact]:
        """Return what was purged after it had stood in a feed of this filter, the latest first."""
        query = (
            select(
                notice.c.id, notice.c.state, notice.c.material_number, notice.c.changed_at, notice.c.fresh_at
            )
            .where(notice.c.state == "purged", notice.c.released_at.is_not(None), _stood(which))
            .order_by(notice.c.material_number.desc())
            .limit(limit)
        )
        with self._db.read() as connection:
            return [Fact(*row) for row in connection.execute(query)]


def _fact(row: Sequence[Any]) -> Fact:
    return Fact(row[0], row[1], row[2], from_micros(row[3]), from_micros(row[4]))


def _joined(connection: Connection, changed: Sequence[int]) -> set[int]:
    """The others of the groups that these notices are in, or were joined to."""
    found: set[int] = set()
    for part in chunks(changed):
        lead = select(notice.c.lead_id).where(notice.c.id.in_(part), notice.c.lead_id.is_not(None))
        led = select(notice.c.id).where(notice.c.lead_id.in_(part))
        certain = notice_link.c.kind.in_(_CERTAIN)
        to = select(notice_link.c.to_id).where(notice_link.c.from_id.in_(part), certain)
        frm = select(notice_link.c.from_id).where(notice_link.c.to_id.in_(part), certain)
        for query in (lead, led, to, frm):
            found.update(connection.scalars(query))
    return found


def _ever(which: NoticeFilter) -> Any:
    """Once public, and with these tags; purged ones count where their tombstone says so.

    Said with lists of ids, not row by row: the tags' own index finds them.
    """
    conditions: list[Any] = [notice.c.released_at.is_not(None)]
    for tag in which.tags:
        kind, _, code = tag.partition(":")
        conditions.append(_tagged(kind, [code]) | _left(kind, [code]))
    if which.places:
        here = notice.c.place.in_(which.places)
        conditions.append(here | _tagged("place", which.places) | _left("place", which.places))
    return and_(*conditions)


def _stood(which: NoticeFilter) -> Any:
    """Whether a purged notice stood in the feeds of a filter."""
    conditions: list[Any] = [true()]
    for tag in which.tags:
        kind, _, code = tag.partition(":")
        conditions.append(_left(kind, [code]))
    if which.places:
        conditions.append(notice.c.place.in_(which.places) | _left("place", which.places))
    return and_(*conditions)


def _tagged(kind: str, codes: Sequence[str]) -> Any:
    tag = notice_tag.c
    return notice.c.id.in_(select(tag.notice_id).where(tag.kind == kind, tag.code.in_(codes)))


def _left(kind: str, codes: Sequence[str]) -> Any:
    stone = notice_tombstone.c
    return notice.c.id.in_(select(stone.notice_id).where(stone.kind == kind, stone.code.in_(codes)))
