"""The store of notices: the only SQL on the catalogue's tables.

Every public method is one transaction. Writers allocate material numbers here and nowhere else.
It decides nothing: what is new or changed, who may publish, and what a tag is, come as arguments.
Called by ``feeds.intake.ingest``, ``feeds.desk.editing``, the recommender and the pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from feeds.catalogue.notices import (
    PUBLIC_STATES,
    Level,
    Link,
    LinkKind,
    NewNotice,
    Notice,
    NoticeContent,
    Revision,
    State,
    StoredKey,
    freshness,
)
from feeds.catalogue.rows import (
    content_columns,
    first_revision,
    new_row,
    notice_of,
    revision_row,
    tag_row,
    words_row,
)
from feeds.catalogue.tables import (
    counter,
    installation,
    notice,
    notice_link,
    notice_revision,
    notice_tag,
    notice_words,
)
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database, chunks, insert_missing, upsert
from feeds.kernel.errors import ConflictError, NotFoundError

_LIGHT = tuple(column for column in notice.c if column.name != "body")


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Which notices a list shows; every field that is given must hold.

    Attributes:
        tags: ``kind:code`` each; all must be on the notice.
        place: The notice's own place, or one inside it (``places`` lists the codes).
    """

    tags: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    lang: str = ""
    source_id: int | None = None
    states: tuple[State, ...] = ("released", "withdrawn")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many notices stand in the catalogue, by state, and how many have no theme."""

    by_state: Mapping[str, int]
    untagged: int

    @property
    def total(self) -> int:
        """All notices of any state."""
        return sum(self.by_state.values())


class NoticeStore:
    """Reads and writes notices, their revisions, tags and links."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- writing ---------------------------------------------------------------------------------

    def add(self, notices: Sequence[NewNotice], *, at: datetime) -> list[int]:
        """Store notices with their first revision, in one transaction.

        Returns:
            Their new ids, in the order given.

        Raises:
            ConflictError: If one of them is already stored under its (source, guid).
        """
        if not notices:
            return []
        with self._db.write() as connection:
            released = sum(item.state == "released" for item in notices)
            number = _take_numbers(connection, released) if released else 0
            rows = []
            for item in notices:
                if item.state == "released":
                    number += 1
                rows.append(new_row(item, at, number if item.state == "released" else 0))
            ids = _insert_returning(connection, rows)
            connection.execute(
                insert(notice_revision),
                [first_revision(i, n, at) for i, n in zip(ids, notices, strict=True)],
            )
            tags = [tag_row(i, tag) for i, n in zip(ids, notices, strict=True) for tag in n.tags]
            if tags:
                connection.execute(insert(notice_tag), tags)
            connection.execute(
                insert(notice_words), [words_row(i, n.content) for i, n in zip(ids, notices, strict=True)]
            )
            return ids

    def revise(
        self,
        notice_id: int,
        content: NoticeContent,
        *,
        tags: Sequence[Tag],
        level: Level,
        place: str | None,
        major: bool,
        actor: str,
        note: str,
        at: datetime,
        from_upstream: bool = False,
        frm: Sequence[State] = (),
        expected_revision: int | None = None,
    ) -> Notice:
        """Put a new revision in the place of the current one; a major one is a material change.

        Args:
            notice_id: Which notice.
            content: What it says from now on.
            tags: All its tags from now on.
            level: Its jurisdiction.
            place: Code of its place, or ``None``.
            major: Whether readers must learn of it.
            actor: Who did it.
            note: What changed and why.
            at: When.
            from_upstream: This is what the source now says; a later poll compares with it, and an
                expired notice whose period was extended is released again.
            frm: States it must be in; empty means any but withdrawn and purged.
            expected_revision: The revision the change was made from; ``None`` means any.

        Raises:
            NotFoundError: If there is no such notice.
            ConflictError: If it is in another state or at another revision by now.
        """
        with self._db.write() as connection:
            row = _must_get(connection, notice_id)
            _expect(row, frm or _REVISABLE, expected_revision)
            changed: dict[str, Any] = content_columns(content)
            changed |= {"revision": row.revision + 1, "level": level, "place": place}
            changed["fresh_at"] = freshness(content, row.released_at or row.created_at, archive=row.archive)
            if from_upstream:
                changed["upstream_hash"] = content.hash()
            revived = from_upstream and row.state == "expired" and (content.expires or at) >= at
            if revived:
                changed["state"] = "released"
            if (major or revived) and row.state in PUBLIC_STATES:
                changed |= {"material_number": _take_numbers(connection, 1) + 1, "changed_at": at}
            _take_numbers(connection, 1, "edit")
            connection.execute(update(notice).where(notice.c.id == notice_id).values(changed))
            connection.execute(
                insert(notice_revision),
                [revision_row(notice_id, row.revision + 1, at, actor, note, major, content)],
            )
            _replace_tags(connection, notice_id, tags)
            upsert(connection, notice_words, [words_row(notice_id, content)], ["notice_id"])
            return _load(connection, [notice_id])[0]

    def retag(self, notice_id: int, tags: Sequence[Tag]) -> None:
        """Replace the tags of a notice without making a revision."""
        with self._db.write() as connection:
            _must_get(connection, notice_id)
            _take_numbers(connection, 1, "edit")
            _replace_tags(connection, notice_id, tags)

    def set_state(
        self,
        notice_id: int,
        state: State,
        *,
        at: datetime,
        reason: str = "",
        frm: Sequence[State] = (),
        expected_revision: int | None = None,
    ) -> Notice:
        """Move a notice to another state; becoming or having been public is a material change.

        Args:
            notice_id: Which notice.
            state: The new state.
            at: When.
            reason: Shown to readers (withdrawal), else empty.
            frm: States it must be in; empty means any.
            expected_revision: The revision that was looked at; ``None`` means any.

        Raises:
            NotFoundError: If there is no such notice.
            ConflictError: If it is in none of ``frm``, or at another revision by now.
        """
        with self._db.write() as connection:
            row = _must_get(connection, notice_id)
            _expect(row, frm, expected_revision)
            changed: dict[str, Any] = {"state": state, "reason": reason}
            if state == "released" and row.released_at is None:
                changed |= {"released_at": at}
                if row.published is None:
                    changed["fresh_at"] = at
            if state in PUBLIC_STATES or row.state in PUBLIC_STATES:
                changed |= {"material_number": _take_numbers(connection, 1) + 1, "changed_at": at}
            connection.execute(update(notice).where(notice.c.id == notice_id).values(changed))
            if state == "purged":
                _erase_content(connection, notice_id)
            return _load(connection, [notice_id])[0]

    def expire_due(self, now: datetime) -> list[int]:
        """Expire released notices whose period is over; return their ids."""
        with self._db.read() as connection:
            query = select(notice.c.id).where(notice.c.state == "released", notice.c.expires <= now)
            due = list(connection.scalars(query))
        return [self.set_state(i, "expired", at=now, frm=("released", "expired")).id for i in due]

    def link(self, from_id: int, to_id: int, kind: LinkKind) -> None:
        """Relate two notices; saying it twice changes nothing."""
        with self._db.write() as connection:
            row = {"from_id": from_id, "to_id": to_id, "kind": kind}
            insert_missing(connection, notice_link, [row], ["from_id", "to_id", "kind"])

    # -- reading ---------------------------------------------------------------------------------

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

    def get(self, notice_id: int) -> Notice:
        """Return one notice in any state.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.read() as connection:
            found = _load(connection, [notice_id])
        if not found:
            raise NotFoundError(f"There is no notice {notice_id}; look it up with the search page.")
        return found[0]

    def many(self, ids: Iterable[int]) -> dict[int, Notice]:
        """Return those of ``ids`` that exist, by id."""
        wanted = list(dict.fromkeys(ids))
        with self._db.read() as connection:
            return {item.id: item for part in chunks(wanted) for item in _load(connection, part)}

    def latest(
        self, which: NoticeFilter, *, limit: int = 50, before: tuple[datetime, int] | None = None
    ) -> list[Notice]:
        """List notices, freshest first; ties go to the larger id. ``before`` continues a list."""
        query = (
            select(notice)
            .where(_matches(which))
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

    def pickable(self, now: datetime, *, limit: int = 5000) -> list[Notice]:
        """List released notices published by and in force at ``now``, without bodies, freshest first."""
        query = (
            select(*_LIGHT)
            .where(
                notice.c.state == "released",
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

    def material_number(self) -> int:
        """Return the newest number of the material sequence; 0 if nothing was ever released."""
        with self._db.read() as connection:
            return connection.scalar(select(counter.c.value).where(counter.c.name == "material")) or 0

    def change_numbers(self) -> tuple[int, int]:
        """Return the newest (material number, edit number): while both stand, no notice reads differently."""
        with self._db.read() as connection:
            found = {row.name: row.value for row in connection.execute(select(counter))}
        return found.get("material", 0), found.get("edit", 0)

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

    # -- the installation --------------------------------------------------------------------------

    def fix(self, name: str, value: str) -> str:
        """Fix a fact of this installation at first use; later values are ignored. Return the fixed one."""
        with self._db.write() as connection:
            insert_missing(connection, installation, [{"name": name, "value": value}], ["name"])
            return str(connection.scalar(select(installation.c.value).where(installation.c.name == name)))


def _take_numbers(connection: Connection, count: int, name: str = "material") -> int:
    """Reserve ``count`` numbers of a counter; returns the one before the first of them."""
    insert_missing(connection, counter, [{"name": name, "value": 0}], ["name"])
    statement = update(counter).where(counter.c.name == name).values(value=counter.c.value + count)
    return int(connection.execute(statement.returning(counter.c.value)).scalar_one()) - count


def _insert_returning(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    try:
        result = connection.execute(insert(notice).returning(notice.c.id, sort_by_parameter_order=True), rows)
        return [row.id for row in result]
    except IntegrityError as error:
        raise ConflictError("One of these notices is already stored; run the import again.") from error


def _replace_tags(connection: Connection, notice_id: int, tags: Sequence[Tag]) -> None:
    connection.execute(delete(notice_tag).where(notice_tag.c.notice_id == notice_id))
    if tags:
        connection.execute(insert(notice_tag), [tag_row(notice_id, tag) for tag in tags])


def _erase_content(connection: Connection, notice_id: int) -> None:
    """Purge: the row stays as a neutral tombstone, everything it said goes."""
    blank = replace(NoticeContent(title="—"))
    connection.execute(update(notice).where(notice.c.id == notice_id).values(content_columns(blank)))
    connection.execute(delete(notice_revision).where(notice_revision.c.notice_id == notice_id))
    connection.execute(delete(notice_words).where(notice_words.c.notice_id == notice_id))
    _replace_tags(connection, notice_id, ())


# What was withdrawn or purged stays as it is, whoever wants to change it.
_REVISABLE: tuple[State, ...] = ("draft", "in_review", "scheduled", "released", "superseded", "expired")


def _expect(row: Row[Any], frm: Sequence[State], revision: int | None) -> None:
    """Refuse a change that was made from an older look at the notice; the row is locked here."""
    if frm and row.state not in frm:
        raise ConflictError(f"Notice {row.id} is {row.state}, not {' or '.join(frm)}; reload the page.")
    if revision is not None and row.revision != revision:
        raise ConflictError(f"Notice {row.id} was changed meanwhile; reload the page and look again.")


def _must_get(connection: Connection, notice_id: int) -> Row[Any]:
    query = select(notice).where(notice.c.id == notice_id)
    if connection.dialect.name == "postgresql":
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no notice {notice_id}; look it up with the search page.")
    return row


def _load(connection: Connection, ids: Sequence[int]) -> list[Notice]:
    return _with_tags(connection, connection.execute(select(notice).where(notice.c.id.in_(ids))).all())


def _with_tags(connection: Connection, rows: Sequence[Row[Any]]) -> list[Notice]:
    tags: dict[int, list[Tag]] = {row.id: [] for row in rows}
    for part in chunks(list(tags)):
        query = select(notice_tag).where(notice_tag.c.notice_id.in_(part))
        for row in connection.execute(
            query.order_by(notice_tag.c.weight.desc(), notice_tag.c.kind, notice_tag.c.code)
        ):
            tags[row.notice_id].append(Tag(row.kind, row.code, row.cause, row.weight))
    return [notice_of(row, tuple(tags[row.id])) for row in rows]


def _matches(which: NoticeFilter) -> Any:
    conditions: list[Any] = [notice.c.state.in_(which.states)]
    for tag in which.tags:
        kind, _, code = tag.partition(":")
        conditions.append(_tagged(kind, [code]))
    if which.places:
        conditions.append(or_(notice.c.place.in_(which.places), _tagged("place", which.places)))
    if which.lang:
        # zh-Hans and zh-Hant are one language to a filter; "en" is itself.
        conditions.append(notice.c.lang.like(which.lang.split("-")[0] + "%"))
    if which.source_id is not None:
        conditions.append(notice.c.source_id == which.source_id)
    return and_(*conditions)


def _tagged(kind: str, codes: Sequence[str]) -> Any:
    return exists(
        select(literal_column("1")).where(
            notice_tag.c.notice_id == notice.c.id, notice_tag.c.kind == kind, notice_tag.c.code.in_(codes)
        )
    )
