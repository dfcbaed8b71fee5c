"""The store of notices: writing them; with its four other parts, the only SQL on the catalogue's tables.

Every public method is one transaction. Writers allocate material numbers here and nowhere else.
It decides nothing: what is new or changed, who may publish, and what a tag is, come as arguments.
Called by ``feeds.intake.ingest``, ``feeds.desk.editing``, the recommender and the pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from feeds.catalogue.feed_reading import FeedReader
from feeds.catalogue.identity import Identity
from feeds.catalogue.identity_store import (
    IdentityStore,
    add_identities,
    erase_identity,
    identity_for,
    leads_of,
    regroup,
    replace_identity,
)
from feeds.catalogue.notices import (
    PUBLIC_STATES,
    Level,
    LinkKind,
    NewNotice,
    Notice,
    NoticeContent,
    Priority,
    Prominence,
    State,
    freshness,
)
from feeds.catalogue.reading import Counts as Counts
from feeds.catalogue.reading import NoticeFilter as NoticeFilter
from feeds.catalogue.reading import NoticeReader, load
from feeds.catalogue.rows import content_columns, new_row, revision_row, tag_row, words_row
from feeds.catalogue.tables import (
    counter,
    installation,
    notice,
    notice_edit,
    notice_link,
    notice_revision,
    notice_tag,
    notice_tombstone,
    notice_words,
    pending_change,
)
from feeds.catalogue.tagging import Tag
from feeds.catalogue.upstream_store import UpstreamStore
from feeds.kernel.db import insert_missing, insert_plain, plain_values, to_json, upsert
from feeds.kernel.errors import ConflictError, NotFoundError


class NoticeStore(NoticeReader, FeedReader, IdentityStore, UpstreamStore):
    """Reads and writes notices, their revisions, tags and links.

    One class for its callers, five modules for those who read it: what reads
    (:mod:`feeds.catalogue.reading`), what feeds ask (:mod:`feeds.catalogue.feed_reading`), what finds a
    notice again (:mod:`feeds.catalogue.identity_store`), what publishers do later
    (:mod:`feeds.catalogue.upstream_store`), and what writes, here.
    """

    # -- writing ---------------------------------------------------------------------------------

    def add(self, notices: Sequence[NewNotice], *, at: datetime) -> list[int]:
        """Store notices with their first revision, in one transaction.

        A released notice that certainly repeats a public one of another source follows its lead:
        whichever was public first leads. What is not certain is only linked.

        Returns:
            Their new ids, in the order given.

        Raises:
            ConflictError: If one of them is already stored under its (source, guid).
        """
        if not notices:
            return []
        said = [item.content.to_dict() for item in notices]
        with self._db.write() as connection:
            leads = leads_of(connection, notices)
            released = sum(item.state == "released" for item in notices)
            number = _take_numbers(connection, released) if released else 0
            rows = []
            for item, values in zip(notices, said, strict=True):
                number += item.state == "released"
                public = item.state == "released"
                like = item.likeness if public and item.likeness and item.likeness.certain else None
                lead = leads.get(like.notice_id) if like else None
                rows.append(new_row(item, values, at, number if public else 0, lead))
            if leads:
                _take_numbers(connection, 1, "edit")  # the lead now names one more source
            ids = _insert_all(connection, rows)
            revisions = [
                plain_values(notice_revision, revision_row(i, 1, at, n.actor, "", True, values))
                for i, n, values in zip(ids, notices, said, strict=True)
            ]
            insert_plain(connection, notice_revision, revisions)
            pairs = list(zip(ids, notices, strict=True))
            insert_plain(connection, notice_tag, [tag_row(i, tag) for i, n in pairs for tag in n.tags])
            _insert_words(connection, [words_row(i, n.content, n.words) for i, n in pairs])
            add_identities(connection, ids, notices)
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
        words: Sequence[str] | None = None,
        identity: Identity | None = None,
        priority: Priority | None = None,
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
            words: Cut for the full-text index; ``None`` cuts them here.
            identity: What it is recognised by from now on; ``None`` works it out.
            priority: ``None`` leaves it as it is.

        Raises:
            NotFoundError: If there is no such notice.
            ConflictError: If it is in another state or at another revision by now.
        """
        said = content.to_dict()
        with self._db.write() as connection:
            row = _must_get(connection, notice_id)
            _expect(row, frm or _REVISABLE, expected_revision)
            changed: dict[str, Any] = content_columns(content, said)
            changed |= {"revision": row.revision + 1, "level": level, "place": place}
            changed["fresh_at"] = freshness(content, row.released_at or row.created_at, archive=row.archive)
            if priority is not None:
                changed["priority"] = priority
            if from_upstream:
                changed["upstream_hash"] = content.hash()
            revived = from_upstream and row.state == "expired" and (content.expires or at) >= at
            if revived:
                changed["state"] = "released"
            if (major or revived) and row.state in PUBLIC_STATES:
                changed |= {"material_number": _take_numbers(connection, 1) + 1, "changed_at": at}
            _note_edit(connection, notice_id)
            connection.execute(update(notice).where(notice.c.id == notice_id).values(changed))
            connection.execute(
                insert(notice_revision),
                [revision_row(notice_id, row.revision + 1, at, actor, note, major, said)],
            )
            _replace_tags(connection, notice_id, tags)
            number, said_words, length = words_row(notice_id, content, words)
            row_words = {"notice_id": number, "words": said_words, "length": length}
            upsert(connection, notice_words, [row_words], ["notice_id"])
            old = NoticeContent.from_dict(row.details | {"body": row.body})
            replace_identity(connection, notice_id, row.source_id, identity or identity_for(content), old)
            if from_upstream:
                connection.execute(delete(pending_change).where(pending_change.c.notice_id == notice_id))
            if revived:
                regroup(connection, notice_id)
            return load(connection, [notice_id])[0]

    def retag(self, notice_id: int, tags: Sequence[Tag]) -> None:
        """Replace the tags of a notice without making a revision."""
        with self._db.write() as connection:
            _must_get(connection, notice_id)
            _note_edit(connection, notice_id)
            _replace_tags(connection, notice_id, tags)

    def set_prominence(self, notice_id: int, prominence: Prominence) -> None:
        """Set the editors' weight: no revision and no material change, so no feed moves.

        Raises:
            NotFoundError: If there is no such notice.
        """
        with self._db.write() as connection:
            _must_get(connection, notice_id)
            _take_numbers(connection, 1, "edit")  # candidates are encoded anew
            wanted = update(notice).where(notice.c.id == notice_id)
            connection.execute(wanted.values(prominence=prominence))

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

        A lead that leaves the public hands its group to the next one, in the same transaction.

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
            if regroup(connection, notice_id):
                _take_numbers(connection, 1, "edit")  # another one is read in its place
            return load(connection, [notice_id])[0]

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

    # -- the installation --------------------------------------------------------------------------

    def fix(self, name: str, value: str) -> str:
        """Fix a fact of this installation at first use; later values are ignored. Return the fixed one."""
        with self._db.write() as connection:
            insert_missing(connection, installation, [{"name": name, "value": value}], ["name"])
            return str(connection.scalar(select(installation.c.value).where(installation.c.name == name)))


def _take_numbers(connection: Connection, count: int, name: str = "material") -> int:
    """Reserve ``count`` numbers of a counter; returns the one before the first of them."""
    statement = update(counter).where(counter.c.name == name).values(value=counter.c.value + count)
    last = connection.execute(statement.returning(counter.c.value)).scalar()
    if last is None:
        insert_missing(connection, counter, [{"name": name, "value": 0}], ["name"])
        last = connection.execute(statement.returning(counter.c.value)).scalar_one()
    return int(last) - count


def _note_edit(connection: Connection, notice_id: int) -> None:
    """Say that a notice reads differently, though nothing material changed; feeds that hold it look again."""
    number = _take_numbers(connection, 1, "edit") + 1
    upsert(connection, notice_edit, [{"notice_id": notice_id, "number": number}], ["notice_id"])


def _insert_all(connection: Connection, rows: list[dict[str, Any]]) -> list[int]:
    """Insert notices and return their ids in order."""
    try:
        if connection.dialect.name != "sqlite":
            statement = insert(notice).returning(notice.c.id, sort_by_parameter_order=True)
            return list(connection.scalars(statement, rows))
        # One statement for all: SQLite's RETURNING keeps no order, so SQLAlchemy would insert one by one.
        # We hold the write lock, so the numbers after the last one ever given are ours.
        last = connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'notice'")) or 0
        for at, row in enumerate(rows, last + 1):
            row["id"] = at
        insert_plain(connection, notice, [plain_values(notice, row) for row in rows])
        return [row["id"] for row in rows]
    except IntegrityError as error:
        raise ConflictError("One of these notices is already stored; run the import again.") from error


def _insert_words(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert the words of new notices; a trigger takes them into the full-text index.

    SQLite writes that index out after every statement, so one statement for all costs less than half.
    """
    if connection.dialect.name != "sqlite":
        insert_plain(connection, notice_words, rows)
        return
    connection.exec_driver_sql(_WORDS, (to_json(rows),))


_WORDS = """
INSERT INTO notice_words (notice_id, words, length)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)
"""


def _replace_tags(connection: Connection, notice_id: int, tags: Sequence[Tag]) -> None:
    connection.execute(delete(notice_tag).where(notice_tag.c.notice_id == notice_id))
    insert_plain(connection, notice_tag, [tag_row(notice_id, tag) for tag in tags])


def _erase_content(connection: Connection, notice_id: int) -> None:
    """Purge: the row stays as a neutral tombstone, everything it said goes; feeds learn where it stood."""
    stood = select(notice_tag.c.notice_id, notice_tag.c.kind, notice_tag.c.code).where(
        notice_tag.c.notice_id == notice_id, notice_tag.c.kind.in_(_FEED_KINDS)
    )
    rows = [dict(row) for row in connection.execute(stood).mappings()]
    insert_missing(connection, notice_tombstone, rows, ["notice_id", "kind", "code"])
    blank = NoticeContent(title="—")
    connection.execute(update(notice).where(notice.c.id == notice_id).values(content_columns(blank)))
    connection.execute(delete(notice_revision).where(notice_revision.c.notice_id == notice_id))
    connection.execute(delete(notice_words).where(notice_words.c.notice_id == notice_id))
    erase_identity(connection, notice_id)
    _replace_tags(connection, notice_id, ())


# What was withdrawn or purged stays as it is, whoever wants to change it.
_REVISABLE: tuple[State, ...] = ("draft", "in_review", "scheduled", "released", "superseded", "expired")


# What public feeds are about; only these are remembered of a purged notice.
_FEED_KINDS = ("role", "theme", "place", "agency", "type")


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
