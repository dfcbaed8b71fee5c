"""What notices are recognised by, stored and looked up; groups of notices that are one document.

Part of :class:`feeds.catalogue.store.NoticeStore`, which everybody uses. It decides nothing: whether two
notices are alike is said by :func:`feeds.catalogue.identity.likeness`. Every public method is one
transaction; the functions below work inside one that is already open.

A group is the notices joined by certain links (``duplicate_of``, ``reprints``). Of its released members
the one that was public first leads and is picked for all; the others name it in ``lead_id``. When the
lead leaves the public, the next one takes its place in the same transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, or_, select, text, update

from feeds.catalogue.identity import Identity, Likeness, StoredIdentity, identity_of
from feeds.catalogue.notices import KnownMessage, NewNotice, NoticeContent
from feeds.catalogue.rows import key_rows, plain_text, print_row
from feeds.catalogue.tables import (
    counter,
    notice,
    notice_edit,
    notice_key,
    notice_link,
    notice_print,
    pending_change,
)
from feeds.kernel.db import Database, chunks, insert_missing, insert_plain, upsert

_CERTAIN = ("duplicate_of", "reprints")
_GROUP_MOST = 200
_PER_KEY = 10

# Of a key that stands under many notices only the newest are read: a formula costs no more than any
# other text, and which ones are read does not depend on chance. This reads the index of keys only.
_NEWEST = """
SELECT w.key, k.notice_id
FROM (SELECT {wanted} AS key {source}) AS w
{join} notice_key AS k ON k.key = w.key AND k.notice_id > COALESCE(
    (SELECT x.notice_id FROM notice_key AS x WHERE x.key = w.key
     ORDER BY x.notice_id DESC LIMIT 1 OFFSET :most), 0)
"""
_PRINTS = """
SELECT p.notice_id, p.source_id, n.lead_id, n.state, p.title_key, p.doc_key, p.agency_key, p.url_key,
       p.day, p.simhash, p.size, p.lang
FROM (SELECT {wanted} AS key {source}) AS w
{join} notice_print AS p ON p.notice_id = w.key AND {other}
JOIN notice AS n ON n.id = p.notice_id
"""
_SQLITE = {
    "wanted": "value",
    "source": "FROM json_each(:keys)",
    "join": "CROSS JOIN",  # SQLite keeps the order of a cross join: keys first
    "other": "p.source_id IS NOT :source_id",
}
_POSTGRESQL = {
    "wanted": "unnest(CAST(:keys AS bigint[]))",
    "source": "",
    "join": "JOIN",
    "other": "p.source_id IS DISTINCT FROM CAST(:source_id AS bigint)",
}
_STATEMENTS = {
    name: (text(_NEWEST.format(**parts)), text(_PRINTS.format(**parts)))
    for name, parts in (("sqlite", _SQLITE), ("postgresql", _POSTGRESQL))
}


class IdentityStore:
    """Finds notices by what they are recognised by."""

    _db: Database

    # -- look-alikes -------------------------------------------------------------------------------

    def look_alikes(
        self, identities: Sequence[Identity], *, not_source: int | None, limit: int = 50
    ) -> list[list[StoredIdentity]]:
        """Find the stored notices of other sources that share a key with each identity.

        Args:
            identities: Of notices that are about to be stored.
            not_source: Their source, whose own notices are left out; ``None`` for the desk.
            limit: Most notices returned for one identity, those that share most keys; ties go to the
                smaller id. Of each key the ten newest notices are read: of a group of copies any one
                names the lead. A part of a text that more notices share is a formula, and not followed.

        Returns:
            A list for each identity, in the order given.
        """
        wanted = list(dict.fromkeys(key for one in identities for key in one.keys))
        if not wanted:
            return [[] for _ in identities]
        with self._db.read() as connection:
            by_key: dict[int, list[int]] = defaultdict(list)
            for key, notice_id in _listed(connection, 0, wanted, most=_PER_KEY + 1):
                by_key[key].append(notice_id)
            shared = [_shared(one, by_key, limit) for one in identities]
            ids = sorted({notice_id for one in shared for notice_id in one})
            if not ids:
                return [[] for _ in identities]
            rows = {row[0]: row for row in _listed(connection, 1, ids, source_id=not_source)}
        return [
            [StoredIdentity(*rows[i], shared=keys) for i, keys in one.items() if i in rows]  # type: ignore[misc]
            for one in shared
        ]

    def groups(self, ids: Collection[int]) -> dict[int, list[tuple[int, int | None]]]:
        """Return the others of each lead's group: lead → (notice, source) of each, by id.

        Args:
            ids: Of notices; those that lead nobody are missing from the answer.
        """
        found: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
        with self._db.read() as connection:
            for part in chunks(list(ids)):
                query = select(notice.c.lead_id, notice.c.id, notice.c.source_id)
                for row in connection.execute(query.where(notice.c.lead_id.in_(part)).order_by(notice.c.id)):
                    found[row.lead_id].append((row.id, row.source_id))
        return dict(found)

    def backfill_identities(self, batch: int = 500) -> int:
        """Work out what older notices are recognised by; call until it returns 0.

        No links are made: what was picked twice before stays as it was.

        Returns:
            How many notices were done, at most ``batch``.
        """
        query = (
            select(notice.c.id, notice.c.source_id, notice.c.body, notice.c.details)
            .outerjoin(notice_print, notice_print.c.notice_id == notice.c.id)
            .where(notice_print.c.notice_id.is_(None), notice.c.state != "purged")
            .order_by(notice.c.id)
            .limit(batch)
        )
        with self._db.write() as connection:
            rows = connection.execute(query).all()
            for row in rows:
                content = NoticeContent.from_dict(row.details | {"body": row.body})
                replace_identity(connection, row.id, row.source_id, identity_for(content))
            return len(rows)

    # -- warnings ----------------------------------------------------------------------------------

    def cap_known(self, keys: Sequence[int], *, source_id: int | None = None) -> dict[int, KnownMessage]:
        """Return what is stored under the keys of warnings' messages.

        Args:
            keys: :func:`feeds.catalogue.identity.key_of` of messages.
            source_id: Where several notices stand under a key, that source's is returned; else the
                first of them, and last of all that the message was cancelled before it came.
        """
        found: dict[int, KnownMessage] = {}
        columns = (notice_key.c.key, notice_key.c.notice_id, notice.c.guid, notice.c.source_id)
        with self._db.read() as connection:
            for part in chunks(list(dict.fromkeys(keys))):
                query = (
                    select(*columns, notice.c.state, notice.c.details)
                    .outerjoin(notice, notice.c.id == notice_key.c.notice_id)
                    .where(notice_key.c.key.in_(part))
                    .order_by(notice_key.c.notice_id)
                )
                for row in sorted(
                    connection.execute(query), key=lambda r: (r.notice_id == 0, r.source_id != source_id)
                ):
                    found.setdefault(row.key, _message(row))
        return found

    def cap_notices(self, keys: Sequence[int], *, source_id: int) -> dict[int, list[KnownMessage]]:
        """Return every notice of one source under each key; one for each language of a warning.

        Keys that stand for a message cancelled before it came give one with ``notice_id`` 0.
        """
        found: dict[int, list[KnownMessage]] = {}
        columns = (notice_key.c.key, notice_key.c.notice_id, notice.c.guid, notice.c.source_id)
        with self._db.read() as connection:
            for part in chunks(list(dict.fromkeys(keys))):
                query = (
                    select(*columns, notice.c.state, notice.c.details, notice.c.changed_at)
                    .outerjoin(notice, notice.c.id == notice_key.c.notice_id)
                    .where(notice_key.c.key.in_(part))
                    .order_by(notice_key.c.notice_id)
                )
                for row in connection.execute(query):
                    if row.notice_id == 0 or row.source_id == source_id:
                        found.setdefault(row.key, []).append(_message(row))
        return found

    def add_keys(self, notice_id: int, keys: Iterable[int]) -> None:
        """Remember more keys of a notice; 0 stands for a message that was cancelled before it came."""
        rows = [{"key": key, "notice_id": notice_id} for key in dict.fromkeys(keys)]
        with self._db.write() as connection:
            insert_missing(connection, notice_key, rows, ["key", "notice_id"])

    def relike(self, notice_id: int, like: Likeness | None) -> None:
        """Judge anew whom a notice repeats, after what it says has changed: what was found before is over.

        Relations inside its own source, which its publisher named, stay; so does its place at the head of
        others.
        """
        with self._db.write() as connection:
            mine = connection.scalar(select(notice.c.source_id).where(notice.c.id == notice_id))
            found = (
                select(notice_link.c.to_id, notice_link.c.kind)
                .join(notice, notice.c.id == notice_link.c.to_id)
                .where(notice_link.c.from_id == notice_id, notice_link.c.kind.in_((*_CERTAIN, "similar_to")))
                .where(notice.c.source_id.is_distinct_from(mine))
            )
            before = {(row.to_id, row.kind) for row in connection.execute(found)}
            wanted = {(like.notice_id, like.kind)} if like else set()
            if before == wanted:
                return
            for to, kind in before:
                link = (notice_link.c.to_id == to) & (notice_link.c.kind == kind)
                connection.execute(delete(notice_link).where(notice_link.c.from_id == notice_id, link))
            rows = [{"from_id": notice_id, "to_id": to, "kind": kind} for to, kind in wanted]
            insert_missing(connection, notice_link, rows, ["from_id", "to_id", "kind"])
            connection.execute(update(notice).where(notice.c.id == notice_id).values(lead_id=None))
            for one in {notice_id, *(to for to, _ in before)}:
                regroup(connection, one)
            # What is shown of the group has changed, so nothing that was rendered before may stand.
            number = connection.scalar(
                update(counter)
                .where(counter.c.name == "edit")
                .values(value=counter.c.value + 1)
                .returning(counter.c.value)
            )
            touched = {notice_id, *(to for to, _ in before), *(to for to, _ in wanted)}
            edits = [{"notice_id": one, "number": number} for one in sorted(touched)]
            if number is not None:
                upsert(connection, notice_edit, edits, ["notice_id"])


def identity_for(content: NoticeContent) -> Identity:
    """Work out an identity from content alone, for whoever has not done so before."""
    return identity_of(content, plain_text(content.body))


def add_identities(connection: Connection, ids: Sequence[int], notices: Sequence[NewNotice]) -> None:
    """Store what new notices are recognised by, and their links to what they repeat."""
    pairs = [(i, n, n.identity or identity_for(n.content)) for i, n in zip(ids, notices, strict=True)]
    # In the order of the index, so that neighbours are written together.
    insert_plain(connection, notice_key, sorted(row for i, _, one in pairs for row in key_rows(i, one)))
    insert_plain(connection, notice_print, [print_row(i, n.source_id, one) for i, n, one in pairs])
    links = [
        {"from_id": i, "to_id": n.likeness.notice_id, "kind": n.likeness.kind}
        for i, n in zip(ids, notices, strict=True)
        if n.likeness
    ]
    if links:
        there = set(
            connection.scalars(select(notice.c.id).where(notice.c.id.in_([r["to_id"] for r in links])))
        )
        insert_missing(
            connection, notice_link, [r for r in links if r["to_id"] in there], ["from_id", "to_id", "kind"]
        )


def replace_identity(
    connection: Connection,
    notice_id: int,
    source_id: int | None,
    identity: Identity,
    old: NoticeContent | None = None,
) -> None:
    """Store what a notice is recognised by now.

    Keys that follow from ``old`` content go; others stay: those of a warning's messages name it for ever.
    """
    if old is not None and (stale := set(identity_for(old).keys) - set(identity.keys)):
        connection.execute(
            delete(notice_key).where(notice_key.c.notice_id == notice_id, notice_key.c.key.in_(stale))
        )
    keys = [{"key": key, "notice_id": notice_id} for key in identity.keys]
    insert_missing(connection, notice_key, keys, ["key", "notice_id"])
    connection.execute(delete(notice_print).where(notice_print.c.notice_id == notice_id))
    insert_plain(connection, notice_print, [print_row(notice_id, source_id, identity)])


def erase_identity(connection: Connection, notice_id: int) -> None:
    """Purge: forget what a notice was recognised by, and what upstream last said of it."""
    for table in (notice_key, notice_print, pending_change):
        connection.execute(delete(table).where(table.c.notice_id == notice_id))


def leads_of(connection: Connection, notices: Sequence[NewNotice]) -> dict[int, int]:
    """Return the lead for each certain likeness's target that has a public one; they are locked till the end.

    A target that was withdrawn since it was found leads nobody.
    """
    targets = {n.likeness.notice_id for n in notices if n.likeness and n.likeness.certain}
    if not targets:
        return {}
    query = select(notice.c.id, notice.c.state, notice.c.lead_id).where(notice.c.id.in_(targets))
    leads = {row.id: row.lead_id or row.id for row in connection.execute(query)}
    public = select(notice.c.id).where(notice.c.id.in_(set(leads.values())), notice.c.state == "released")
    if connection.dialect.name == "postgresql":
        public = public.with_for_update()
    standing = set(connection.scalars(public))
    return {target: lead for target, lead in leads.items() if lead in standing}


def regroup(connection: Connection, notice_id: int) -> bool:
    """Let the right notice lead the group of one whose state has changed.

    The present lead stays while it is released; else the member that was public first leads, ties to
    the smaller id. Without a released member nobody does.

    Returns:
        Whether anybody's lead changed.
    """
    members = _group(connection, notice_id)
    if len(members) == 1:
        return False
    query = select(notice.c.id, notice.c.state, notice.c.lead_id, notice.c.released_at)
    if connection.dialect.name == "postgresql":
        query = query.with_for_update()
    rows = connection.execute(query.where(notice.c.id.in_(members)).order_by(notice.c.id)).all()
    public = {row.id: row for row in rows if row.state == "released"}
    leading = [row.lead_id for row in rows if row.lead_id in public]
    first = sorted(public.values(), key=lambda row: (row.released_at, row.id))
    lead = leading[0] if leading else (first[0].id if first else None)
    changed = False
    for row in rows:
        wanted = lead if row.id in public and row.id != lead else None
        if row.lead_id != wanted:
            connection.execute(update(notice).where(notice.c.id == row.id).values(lead_id=wanted))
            changed = True
    return changed


def _group(connection: Connection, notice_id: int) -> set[int]:
    """All notices joined with one by certain links, itself included."""
    members, edge = {notice_id}, {notice_id}
    while edge and len(members) < _GROUP_MOST:
        query = select(notice_link.c.from_id, notice_link.c.to_id).where(
            notice_link.c.kind.in_(_CERTAIN),
            or_(notice_link.c.from_id.in_(edge), notice_link.c.to_id.in_(edge)),
        )
        edge = {one for row in connection.execute(query) for one in row} - members
        members |= edge
    return members


def _listed(
    connection: Connection, which: int, keys: Sequence[int], **values: int | None
) -> Iterator[Sequence[Any]]:
    """Run one of the look-ups for a list of keys or ids; rows are the driver's own tuples, there are many."""
    sqlite = connection.dialect.name == "sqlite"
    for part in chunks(keys, 5000):
        given = json.dumps(list(part)) if sqlite else list(part)
        found = connection.execute(_STATEMENTS[connection.dialect.name][which], {"keys": given, **values})
        yield from found.cursor.fetchall() if found.cursor else ()


def _shared(one: Identity, by_key: Mapping[int, list[int]], limit: int) -> dict[int, frozenset[int]]:
    """Notice → the keys it shares, for the notices worth reading, best first."""
    found: dict[int, set[int]] = defaultdict(set)
    for key in one.keys:
        ids = by_key.get(key)
        if ids is None:
            continue
        if len(ids) > _PER_KEY and key in one.bands:
            continue
        for notice_id in sorted(ids)[-_PER_KEY:]:
            if notice_id:  # 0 is a message that was cancelled before it came
                found[notice_id].add(key)
    best = sorted(found, key=lambda notice_id: (-len(found[notice_id]), notice_id))[:limit]
    return {notice_id: frozenset(found[notice_id]) for notice_id in best}


def _message(row: Any) -> KnownMessage:
    if not row.notice_id or row.details is None:
        return KnownMessage(row.notice_id)
    cap = (row.details.get("extra") or {}).get("cap")
    said = cap if isinstance(cap, Mapping) else {}
    sent, message, lang = (str(said.get(name) or "") for name in ("sent", "id", "language"))
    ended = row._mapping.get("changed_at") if row.state in ("withdrawn", "purged") else None
    return KnownMessage(row.notice_id, row.guid, row.source_id, row.state, sent, message, lang, ended)
