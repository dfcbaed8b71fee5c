"""Reading stored notices: single ones, lists, revisions, links, counts.

Part of :class:`feeds.catalogue.store.NoticeStore`, which everybody uses; this module writes nothing.
Every public method is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, literal_column, or_, select

from feeds.catalogue.notices import Link, Notice, NoticeContent, Revision, State, StoredKey
from feeds.catalogue.rows import notice_of
from feeds.catalogue.tables import counter, notice, notice_link, notice_revision, notice_tag
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database, Lookup, chunks
from feeds.kernel.errors import NotFoundError

_LIGHT = tuple(column for column in notice.c if column.name != "body")


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Which notices a list shows; every field that is given must hold.

    Attributes:
        tags: ``kind:code`` each; all must be on the notice.
        place: The notice's own place, or one inside it (``places`` lists the codes).
        leads_only: Of several notices that are one document, only the one that leads.
    """

    tags: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    lang: str = ""
    source_id: int | None = None
    states: tuple[State, ...] = ("released", "withdrawn")
    leads_only: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many notices stand in the catalogue, by state, and how many have no theme."""

    by_state: Mapping[str, int]
    untagged: int

    @property
    def total(self) -> int:
        """All notices of any state."""
        return sum(self.by_state.values())


class NoticeReader:
    """Reads notices, their revisions, tags and links."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._numbers = Lookup(database, "SELECT name, value FROM counter WHERE name IN ('material', 'edit')")

    def known(self, source_id: int | None, guids: Iterable[str]) -> dict[str, StoredKey]:
        """Return what is stored of these guids of one source."""
        found: dict[str, StoredKey] = {}
        columns = (notice.c.guid, notice.c.id, notice.c.upstream_hash, notice.c.revision, notice.c.state)
        with self._db.read() as connection:
            for part in chunks(list(guids)):
                query = select(*columns).where(notice.c.source_id == source_id, notice.c.guid.in_(part))
                for row in connection.execute(query):
                    found[row.guid] = StoredKey(row.id, row.upstream_hash, row.revision, row.state)
        return found

    def newest_hashes(self, source_id: int, most: int) -> dict[str, str]:
        """Return guid → digest of what upstream last said, of the newest notices of one source."""
        query = (
            select(notice.c.guid, notice.c.upstream_hash)
            .where(notice.c.source_id == source_id)
            .order_by(notice.c.id.desc())
            .limit(most)
        )
        with self._db.read() as connection:
            return {row.guid: row.upstream_hash for row in connection.execute(query)}

    def get(self, notice_id: int) -> Notice:
        """Return one notice in any state.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.read() as connection:
            found = load(connection, [notice_id])
        if not found:
            raise NotFoundError(f"There is no notice {notice_id}; look it up with the search page.")
        return found[0]

    def many(self, ids: Iterable[int]) -> dict[int, Notice]:
        """Return those of ``ids`` that exist, by id."""
        wanted = list(dict.fromkeys(ids))
        with self._db.read() as connection:
            return {item.id: item for part in chunks(wanted) for item in load(connection, part)}

    def tags(self, ids: Iterable[int]) -> dict[int, tuple[Tag, ...]]:
        """Return the tags of notices, strongest first; a notice without any, or unknown, is left out."""
        wanted = list(dict.fromkeys(ids))
        with self._db.read() as connection:
            return {number: tuple(tags) for number, tags in _tags(connection, wanted).items() if tags}

    def latest(
        self, which: NoticeFilter, *, limit: int = 50, before: tuple[datetime, int] | None = None
    ) -> list[Notice]:
        """List notices, freshest first; ties go to the larger id. ``before`` continues a list."""
        query = (
            select(notice)
            .where(matches(which))
            .order_by(notice.c.fresh_at.desc(), notice.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            instant, last = before
            query = query.where(
                or_(notice.c.fresh_at < instant, and_(notice.c.fresh_at == instant, notice.c.id < last))
            )
        with self._db.read() as connection:
            return _with_tags(connection, connection.execute(query).all())

    def changed_since(self, since: datetime, tag: str) -> list[int]:
        """Return the ids of notices with a tag that were stored, or changed for readers, since an instant."""
        kind, _, code = tag.partition(":")
        query = (
            select(notice.c.id)
            .where(func.coalesce(notice.c.changed_at, notice.c.created_at) >= since, _tagged(kind, [code]))
            .order_by(notice.c.id)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def pickable(self, now: datetime, *, limit: int = 5000) -> list[Notice]:
        """List released notices published by and in force at ``now``, without bodies, freshest first.

        Of several that are one document only the lead is listed.
        """
        query = (
            select(*_LIGHT)
            .where(
                notice.c.state == "released",
                notice.c.lead_id.is_(None),
                notice.c.fresh_at <= now,
                or_(notice.c.expires.is_(None), notice.c.expires > now),
            )
            .order_by(notice.c.fresh_at.desc(), notice.c.id.desc())
            .limit(limit)
        )
        with self._db.read() as connection:
            return _with_tags(connection, connection.execute(query).all())

    def by_state(self, states: Sequence[State], *, limit: int = 200) -> list[Notice]:
        """List notices of some states for the desk, newest first."""
        query = select(notice).where(notice.c.state.in_(states)).order_by(notice.c.id.desc()).limit(limit)
        with self._db.read() as connection:
            return _with_tags(connection, connection.execute(query).all())

    def export(self, *, batch: int = 500) -> Iterable[Notice]:
        """Yield every notice in the order of ids, a batch in memory at a time."""
        last = 0
        while True:
            query = select(notice).where(notice.c.id > last).order_by(notice.c.id).limit(batch)
            with self._db.read() as connection:
                found = _with_tags(connection, connection.execute(query).all())
            if not found:
                return
            yield from found
            last = found[-1].id

    def revisions(self, notice_id: int) -> list[Revision]:
        """Return every kept revision, oldest first."""
        query = (
            select(notice_revision)
            .where(notice_revision.c.notice_id == notice_id)
            .order_by(notice_revision.c.revision)
        )
        with self._db.read() as connection:
            return [
                Revision(
                    r.notice_id,
                    r.revision,
                    r.made_at,
                    r.actor,
                    r.note,
                    r.major,
                    NoticeContent.from_dict(r.content),
                )
                for r in connection.execute(query)
            ]

    def at_revisions(self, wanted: Mapping[int, int]) -> dict[int, Notice]:
        """Return notices as they read at given revisions (id → revision); purged ones are missing."""
        found = self.many(wanted)
        with self._db.read() as connection:
            for part in chunks([i for i, notice in found.items() if notice.revision != wanted[i]]):
                query = select(notice_revision).where(notice_revision.c.notice_id.in_(part))
                for row in connection.execute(query):
                    if row.revision == wanted[row.notice_id]:
                        content = NoticeContent.from_dict(row.content)
                        found[row.notice_id] = replace(
                            found[row.notice_id], revision=row.revision, content=content
                        )
        return {i: item for i, item in found.items() if item.state != "purged"}

    def last_major(self, ids: Iterable[int], *, upto: Mapping[int, int] | None = None) -> dict[int, Revision]:
        """Return the newest major revision after the first of each notice that has one.

        Args:
            ids: Of notices.
            upto: Notice id → the revision to look back from; ``None`` for the present ones.
        """
        found: dict[int, Revision] = {}
        with self._db.read() as connection:
            for part in chunks(list(ids)):
                query = (
                    select(notice_revision)
                    .where(
                        notice_revision.c.notice_id.in_(part),
                        notice_revision.c.revision > 1,
                        notice_revision.c.major,
                    )
                    .order_by(notice_revision.c.notice_id, notice_revision.c.revision)
                )
                for r in connection.execute(query):
                    if upto is not None and r.revision > upto.get(r.notice_id, r.revision):
                        continue
                    content = NoticeContent.from_dict(r.content)
                    found[r.notice_id] = Revision(
                        r.notice_id, r.revision, r.made_at, r.actor, r.note, r.major, content
                    )
        return found

    def links(self, notice_id: int) -> list[Link]:
        """Return the links from and to a notice."""
        query = select(notice_link).where(
            or_(notice_link.c.from_id == notice_id, notice_link.c.to_id == notice_id)
        )
        with self._db.read() as connection:
            return [
                Link(r.from_id, r.to_id, r.kind)
                for r in connection.execute(query.order_by(notice_link.c.kind))
            ]

    def languages(self, notice_ids: Iterable[int]) -> dict[int, int]:
        """Return, for those of some notices that have versions in other languages, the first one's id."""
        found: dict[int, int] = {}
        wanted = sorted(set(notice_ids))
        with self._db.read() as connection:
            for part in chunks(wanted):
                query = select(notice_link.c.from_id, notice_link.c.to_id).where(
                    notice_link.c.kind == "language_of",
                    or_(notice_link.c.from_id.in_(part), notice_link.c.to_id.in_(part)),
                )
                for version, first in connection.execute(query):
                    found[version] = found[first] = first
        return {number: found[number] for number in wanted if number in found}

    def material_number(self) -> int:
        """Return the newest number of the material sequence; 0 if nothing was ever released."""
        with self._db.read() as connection:
            return connection.scalar(select(counter.c.value).where(counter.c.name == "material")) or 0

    def change_numbers(self) -> tuple[int, int]:
        """Return the newest (material number, edit number): while both stand, no notice reads differently."""
        found = dict(self._numbers())
        return found.get("material", 0), found.get("edit", 0)

    def sizes(self) -> dict[str, int]:
        """Count notices by state, from an index alone."""
        query = select(notice.c.state, func.count()).group_by(notice.c.state)
        with self._db.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def counts(self) -> Counts:
        """Count notices by state and those without a theme."""
        has_theme = exists().where(notice_tag.c.notice_id == notice.c.id, notice_tag.c.kind == "theme")
        with self._db.read() as connection:
            states = connection.execute(select(notice.c.state, func.count()).group_by(notice.c.state))
            untagged = connection.scalar(select(func.count()).select_from(notice).where(~has_theme)) or 0
            return Counts({row[0]: row[1] for row in states}, untagged)

    def untagged(self, *, limit: int = 200) -> list[Notice]:
        """List notices without a theme, for an editor."""
        has_theme = exists().where(notice_tag.c.notice_id == notice.c.id, notice_tag.c.kind == "theme")
        query = (
            select(notice).where(~has_theme, notice.c.state != "purged").order_by(notice.c.id).limit(limit)
        )
        with self._db.read() as connection:
            return _with_tags(connection, connection.execute(query).all())

    def tag_counts(self, kind: str, states: Sequence[State] = ("released",)) -> dict[str, int]:
        """Count released notices by the codes of one kind of tag."""
        query = (
            select(notice_tag.c.code, func.count())
            .join(notice, notice.c.id == notice_tag.c.notice_id)
            .where(notice_tag.c.kind == kind, notice.c.state.in_(states))
            .group_by(notice_tag.c.code)
        )
        with self._db.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def load(connection: Connection, ids: Sequence[int]) -> list[Notice]:
    """Return those of ``ids`` that exist, inside a transaction that is already open."""
    return _with_tags(connection, connection.execute(select(notice).where(notice.c.id.in_(ids))).all())


def _with_tags(connection: Connection, rows: Sequence[Row[Any]]) -> list[Notice]:
    tags = _tags(connection, [row.id for row in rows])
    return [notice_of(row, tuple(tags[row.id])) for row in rows]


def _tags(connection: Connection, ids: Sequence[int]) -> dict[int, list[Tag]]:
    found: dict[int, list[Tag]] = {number: [] for number in ids}
    for part in chunks(list(found)):
        query = select(notice_tag).where(notice_tag.c.notice_id.in_(part))
        for row in connection.execute(
            query.order_by(notice_tag.c.weight.desc(), notice_tag.c.kind, notice_tag.c.code)
        ):
            found[row.notice_id].append(Tag(row.kind, row.code, row.cause, row.weight))
    return found


def matches(which: NoticeFilter) -> Any:
    """A filter as a condition on the table of notices."""
    conditions: list[Any] = [notice.c.state.in_(which.states)]
    for tag in which.tags:
        kind, _, code = tag.partition(":")
        conditions.append(_tagged(kind, [code]))
    if which.places:
        conditions.append(or_(notice.c.place.in_(which.places), _tagged("place", which.places)))
    if which.lang:
        # zh-Hans and zh-Hant are one language to a filter; "en" is itself.
        conditions.append(notice.c.lang.like(which.lang.split("-")[0] + "%"))
    if which.leads_only:
        conditions.append(notice.c.lead_id.is_(None))
    if which.source_id is not None:
        conditions.append(notice.c.source_id == which.source_id)
    return and_(*conditions)


def _tagged(kind: str, codes: Sequence[str]) -> Any:
    return exists(
        select(literal_column("1")).where(
            notice_tag.c.notice_id == notice.c.id, notice_tag.c.kind == kind, notice_tag.c.code.in_(codes)
        )
    )
