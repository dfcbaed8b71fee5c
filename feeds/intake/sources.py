"""The store of sources: the only SQL on table ``source``; how each one stands, and when it is due.

It fetches nothing and decides nothing about notices; what a poll found out is told to it, and what the
pure rules make of that (:mod:`feeds.intake.schedule`, :mod:`feeds.intake.health`) is stored with it.
Called by ``feeds.intake.ingest``, the polling engine, the timer, the console and ``mycity sources``.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from feeds.intake import poll_log
from feeds.intake.health import Health, health
from feeds.intake.poll_log import KeptAnswer, PollRow
from feeds.intake.schedule import SHORTEST_S, Hints
from feeds.intake.source_polls import REREAD, record, record_bad
from feeds.intake.source_polls import digest as digest
from feeds.intake.source_settings import checked, twins_of
from feeds.intake.source_types import POLLED as POLLED
from feeds.intake.source_types import AlarmChange as AlarmChange
from feeds.intake.source_types import Polled as Polled
from feeds.intake.source_types import ReleaseRule as ReleaseRule
from feeds.intake.source_types import Source as Source
from feeds.intake.source_types import SourceKind as SourceKind
from feeds.intake.tables import source
from feeds.intake.types import Fetched
from feeds.kernel.db import Database, chunks, insert_missing
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from feeds.kernel.ids import content_hash

MIN_INTERVAL_S = SHORTEST_S
LEASE_S = 600
_CHANGEABLE = frozenset(
    ("slug", "name", "kind", "url", "agency", "lang", "timezone", "licence", "place", "trust", "interval_s",
     "recipe", "rules", "tags", "release", "full_text")
)  # fmt: skip


class SourceStore:
    """Reads and writes sources; every method is one transaction, or part of the caller's."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- settings --------------------------------------------------------------------------------

    def add(
        self,
        *,
        slug: str,
        name: str,
        kind: SourceKind = "feed",
        url: str | None = None,
        at: datetime,
        agency: str = "",
        lang: str = "",
        timezone: str = "",
        licence: str = "",
        place: str | None = None,
        trust: int = 50,
        interval_s: int = 3600,
        recipe: Mapping[str, Any] | None = None,
        rules: Sequence[str] = (),
        tags: Sequence[str] = (),
        release: ReleaseRule = "publish",
        full_text: bool = False,
    ) -> Source:
        """Add a source; one that is polled is due at once.

        Raises:
            UsageError: If a setting does not fit; see :mod:`feeds.intake.source_settings`.
            ConflictError: If the slug or the address is already there.
        """
        given = {
            "slug": slug, "name": name, "kind": kind, "url": url, "agency": agency, "lang": lang,
            "timezone": timezone, "licence": licence, "place": place, "trust": trust,
            "interval_s": interval_s, "recipe": recipe or {}, "rules": rules, "tags": tags,
            "release": release, "full_text": full_text,
        }  # fmt: skip
        row = _blank(slug, name, kind, at) | checked(given)
        with self._db.write() as connection:
            _refuse_slug(connection, slug)
            _refuse_url(connection, url, None)
            connection.execute(insert(source), row)
            return _one(connection, slug)

    def change(self, slug: str, /, *, at: datetime, **settings: Any) -> Source:
        """Change settings of a source by the names of their columns; its next poll is due at once.

        What it says then is read again even if it has not changed. With a new address it is no longer
        gone, and what was noted about moving is forgotten.

        Raises:
            NotFoundError: If there is no such source.
            UsageError: If there is no such setting, or its value does not fit.
            ConflictError: If another source has the address or the short name.
        """
        if unknown := sorted(set(settings) - _CHANGEABLE):
            raise UsageError(f"A source has no setting {unknown[0]!r} that can be changed.")
        with self._db.write() as connection:
            now = _one(connection, slug)
            beside = {"kind": now.kind, "url": now.url, "recipe": now.recipe}
            made = {name: checked(beside | settings)[name] for name in settings}
            if made.get("slug", slug) != slug:
                _refuse_slug(connection, made["slug"])
            if "url" in made and made["url"] != now.url:
                _refuse_url(connection, made["url"], now.id)
                made |= {"gone_at": None, "moved_to": "", "moved_count": 0, "failures": 0, "last_error": ""}
            due = {"next_poll_at": at} if made.get("kind", now.kind) in POLLED else {}
            return _update(connection, now.id, made | _reread() | due)

    def pause(self, slug: str, paused: bool) -> Source:
        """Stop polling of one source, or resume it (also one that was gone): then it is due at once.

        A source is never removed, because notices name it; one that is not wanted is paused.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.write() as connection:
            resumed = {} if paused else {"gone_at": None, "next_poll_at": None, "failures": 0}
            return _update(connection, _one(connection, slug).id, {"paused": paused} | resumed)

    def ensure_file_source(self, name: str, *, at: datetime) -> Source:
        """Return the source that a value of ``source`` in notice files names; make one if needed.

        A feed or desk of exactly this name is meant where there is one, so that what was exported is
        known again when it comes back.
        """
        slug = file_slug(name)
        with self._db.read() as connection:
            named = select(source).where((source.c.slug == slug) | (source.c.name == name))
            found = connection.execute(named.order_by(source.c.slug != slug, source.c.id)).first()
        if found is not None:
            return _source(found)
        with self._db.write() as connection:
            insert_missing(connection, source, [_blank(slug, name, "file", at)], ["slug"])
            return _one(connection, slug)

    # -- reading ---------------------------------------------------------------------------------

    def get(self, source_id: int) -> Source:
        """Return one source.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.read() as connection:
            return _by_id(connection, source_id)

    def by_slug(self, slug: str) -> Source:
        """Return one source by its short name.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.read() as connection:
            return _one(connection, slug)

    def list(self) -> Sequence[Source]:
        """Return all sources in the order they were added."""
        with self._db.read() as connection:
            return [_source(row) for row in connection.execute(select(source).order_by(source.c.id))]

    def due(self, now: datetime, *, limit: int = 100) -> Sequence[Source]:
        """Return sources that should be asked now, longest waiting first; never paused, held or gone ones."""
        with self._db.read() as connection:
            return [_source(row) for row in connection.execute(_due(now, limit))]

    def count_due(self, now: datetime) -> int:
        """Count the sources that should be asked now."""
        with self._db.read() as connection:
            return int(connection.execute(select(func.count()).where(*_is_due(now))).scalar_one())

    def claim_due(self, now: datetime, limit: int, lease_s: int = LEASE_S) -> Sequence[Source]:
        """Return what is due, and let nobody else have it for a while.

        A claim is a due date in the near future: a poll sets the real one, and a poller that was killed
        leaves its sources due again when the lease is over.

        Args:
            now: When.
            limit: At most so many, longest waiting first.
            lease_s: Seconds that polling all of them may take.
        """
        with self._db.write() as connection:
            rows = connection.execute(_due(now, limit).with_for_update(skip_locked=True)).all()
            claimed = {"next_poll_at": now + timedelta(seconds=lease_s)}
            for part in chunks([row.id for row in rows]):
                connection.execute(update(source).where(source.c.id.in_(part)).values(**claimed))
            return [_source(row) for row in rows]

    def answers(self, slug: str) -> Sequence[KeptAnswer]:
        """Return the kept answers of a source, newest first: the last good one, the last other one."""
        with self._db.read() as connection:
            return poll_log.answers(connection, _one(connection, slug).id)

    def polls(self, slug: str, *, limit: int = 50) -> Sequence[PollRow]:
        """Return its last polls that brought something or failed, newest first."""
        with self._db.read() as connection:
            return poll_log.polls(connection, _one(connection, slug).id, limit)

    # -- what polls found out --------------------------------------------------------------------

    def record_ok(
        self,
        asked: Source,
        fetched: Fetched,
        *,
        at: datetime,
        seconds: float = 0.0,
        entries: int = 0,
        new: int = 0,
        changed: int = 0,
        ttl_s: int = 0,
        hub: str = "",
        topic: str = "",
        unfinished: bool = False,
        connection: Connection | None = None,
    ) -> Source:
        """Note a full answer that was read; call it with or after its notices, so that a crash asks again.

        Where the source was changed meanwhile, or somebody else polled it, its row stays as it is. The
        arguments are those of :class:`Polled`; ``connection`` is the caller's writing transaction, where
        it has one. Returns the source as it stands now.
        """
        polled = Polled(
            asked, fetched, at, seconds, entries, new, changed, ttl_s, hub, topic, unfinished=unfinished
        )
        with self._writing(connection) as writing:
            record(writing, [polled])
            return _by_id(writing, asked.id)

    def record_unchanged(
        self, asked: Source, fetched: Fetched, *, at: datetime, connection: Connection | None = None
    ) -> Source:
        """Note an answer that says nothing new: 304, or the same bytes. It leaves no row in the log."""
        with self._writing(connection) as writing:
            record(writing, [Polled(asked, fetched, at, unchanged=True)])
            return _by_id(writing, asked.id)

    def record_many(self, polled: Sequence[Polled]) -> None:
        """Note the good answers of many sources in one transaction; see :meth:`record_ok`."""
        if polled:
            with self._db.write() as connection:
                record(connection, polled)

    def record_push(
        self,
        source_id: int,
        *,
        at: datetime,
        size: int,
        entries: int,
        new: int,
        changed: int,
        connection: Connection | None = None,
    ) -> None:
        """Note what its hub has brought; validators, due date and the size of its list stay as they are."""
        row = PollRow(at, 200, 0.0, size, entries, new, changed, "")
        with self._writing(connection) as writing:
            poll_log.note(writing, [(source_id, row)])
            if new:
                writing.execute(update(source).where(source.c.id == source_id).values(last_new_at=at))

    def poll_by(self, source_id: int, *, at: datetime) -> None:
        """See to it that a source is asked no later than this; one that is due sooner stays so."""
        later = (source.c.id == source_id) & (source.c.next_poll_at > at)
        with self._db.write() as connection:
            connection.execute(update(source).where(later).values(next_poll_at=at))

    def record_failure(
        self,
        asked: Source,
        *,
        at: datetime,
        error: str,
        status: int = 0,
        retry_after: float | None = None,
        seconds: float = 0.0,
        fetched: Fetched | None = None,
        connection: Connection | None = None,
    ) -> Source:
        """Note a bad poll with its one sentence, and wait longer before the next; a 410 is the last one.

        Args:
            asked: The source as it was when it was asked.
            at: When.
            error: One sentence.
            status: HTTP status; 0 where nobody answered.
            retry_after: Seconds that the server asks for.
            seconds: How long asking took.
            fetched: The answer, where there was one that could not be read; it is kept for diagnosis.
            connection: Of the caller's writing transaction; default: one of its own.
        """
        status = fetched.status if fetched else status
        hints = Hints(retry_after_s=None if retry_after is None else math.ceil(retry_after))
        row = PollRow(at, status, seconds, len(fetched.body) if fetched else 0, 0, 0, 0, error[:500])
        with self._writing(connection) as writing:
            record_bad(writing, asked, row, hints, fetched)
            return _by_id(writing, asked.id)

    def hold(
        self, source_id: int, *, at: datetime, reason: str, fetched: Fetched | None = None, entries: int = 0
    ) -> Source:
        """Stop polling until an editor has looked; nothing of the answer was stored as notices."""
        with self._db.write() as connection:
            if fetched:
                row = PollRow(at, fetched.status, 0.0, len(fetched.body), entries, 0, 0, reason[:500])
                poll_log.note(connection, [(source_id, row)])
                poll_log.keep(connection, [(source_id, "last", fetched)])
            held = {"held_at": at, "last_polled_at": at, "last_error": reason[:500]}
            return _update(connection, source_id, held)

    def release(self, slug: str, *, at: datetime) -> Source:
        """Let a held source go on: its next poll is taken whole, as archive, and is due at once.

        Raises:
            NotFoundError: If there is none.
            ConflictError: If it is not held: what it says next would be archive, and nobody would be told.
        """
        with self._db.write() as connection:
            held = _one(connection, slug)
            if held.held_at is None:
                raise ConflictError(f"{slug} is not held; there is nothing to release.")
            fresh = {"held_at": None, "polls": 0, "last_error": "", "next_poll_at": at}
            return _update(connection, held.id, fresh | _reread())

    # -- health and housekeeping -----------------------------------------------------------------

    def healths(self, now: datetime, ids: Collection[int] | None = None) -> Sequence[tuple[Source, Health]]:
        """Judge all sources (or some), in the order they were added; stores nothing."""
        with self._db.read() as connection:
            return _healths(connection, now, ids)

    def check_health(self, now: datetime, ids: Collection[int] | None = None) -> Sequence[AlarmChange]:
        """Judge all sources (or some) and store the alarms that began, changed or ended.

        Returns:
            Those only, for somebody to say aloud.
        """
        found = [
            AlarmChange(one, one.alarm, verdict)
            for one, verdict in self.healths(now, ids)
            if verdict.alarm != one.alarm
        ]
        if found:
            with self._db.write() as connection:
                for item in found:
                    begun = now if item.now.alarm else None
                    _update(connection, item.source.id, {"alarm": item.now.alarm, "alarm_at": begun})
        return found

    def trim(self, now: datetime) -> int:
        """Forget polls older than thirteen weeks; return how many."""
        with self._db.write() as connection:
            return poll_log.trim(connection, now)

    @contextmanager
    def _writing(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
            return
        with self._db.write() as own:
            yield own


def file_slug(name: str) -> str:
    """Make a short name of a file's ``source`` value: its Latin letters and a digest, always the same."""
    latin = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"{latin or 'file'}-{content_hash(name)[:8]}"


def _blank(slug: str, name: str, kind: SourceKind, at: datetime) -> dict[str, Any]:
    return {
        "slug": slug,
        "name": name,
        "kind": kind,
        "url": None,
        "agency": "",
        "lang": "",
        "timezone": "",
        "licence": "",
        "place": None,
        "trust": 50,
        "interval_s": 3600,
        "paused": False,
        "created_at": at,
        "next_poll_at": at if kind in POLLED else None,
        "last_polled_at": None,
        "last_ok_at": None,
        "held_at": None,
        "etag": "",
        "last_modified": "",
        "failures": 0,
        "last_error": "",
        "polls": 0,
        "recipe": {},
        "rules": [],
        "tags": [],
        "release": "publish",
        "full_text": False,
    }


def _due(now: datetime, limit: int) -> Any:
    return (
        select(source)
        .where(*_is_due(now))
        .order_by(source.c.next_poll_at.asc().nulls_first(), source.c.id)
        .limit(limit)
    )


_TOO_FAR = timedelta(days=40)  # no wait is longer than 31 days and its spread


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        source.c.kind.in_(POLLED),
        source.c.paused.is_(False),
        source.c.held_at.is_(None),
        source.c.gone_at.is_(None),
        or_(
            source.c.next_poll_at.is_(None),
            source.c.next_poll_at <= now,
            source.c.next_poll_at > now + _TOO_FAR,  # noted by a clock that was wrong
        ),
    )


def _reread() -> dict[str, str]:
    """Let the next answer be read whatever it says, and let a poll that is under way not count any more.

    The digest is one that no answer has: a poll that asked before the change finds that it moved.
    """
    return REREAD | {"body_hash": f"-{secrets.token_hex(8)}"}


def _refuse_slug(connection: Connection, slug: str) -> None:
    if connection.execute(select(source.c.id).where(source.c.slug == slug)).first():
        raise ConflictError(
            f"The short name {slug!r} is already taken by source {slug!r}; choose another (--slug)."
        )


def _refuse_url(connection: Connection, url: str | None, mine: int | None) -> None:
    """An address is polled for one source only, however it is spelt: two would be each other's duplicates."""
    if url is None:
        return
    same: ColumnElement[bool] = source.c.url.in_(twins_of(url))
    if mine is not None:
        same = same & (source.c.id != mine)
    twin = connection.execute(select(source).where(same)).first()
    if twin is not None:
        state = "paused there, resume it" if twin.paused else "polled there, change that source instead"
        raise ConflictError(
            f"The address {url} is already taken by source {twin.slug!r} ({twin.name}); it is {state}."
        )


def _healths(
    connection: Connection, now: datetime, ids: Collection[int] | None
) -> list[tuple[Source, Health]]:
    query = select(source).order_by(source.c.id)
    if ids is None:
        rows = connection.execute(query).all()
    else:
        parts = (connection.execute(query.where(source.c.id.in_(part))) for part in chunks(sorted(ids)))
        rows = [row for part in parts for row in part]
    found = [_source(row) for row in rows]
    histories = poll_log.histories(connection, {one.id: one.created_at for one in found}, now)
    judged = []
    for one in found:
        verdict = health(one, histories[one.id], now)
        if verdict.state in ("empty", "shrunk"):  # rare, so only then the exact figure is worth a query
            exact = replace(histories[one.id], usual=poll_log.usual_entries(connection, one.id))
            verdict = health(one, exact, now)
        judged.append((one, verdict))
    return judged


def _update(connection: Connection, source_id: int, changed: Mapping[str, Any]) -> Source:
    connection.execute(update(source).where(source.c.id == source_id).values(**changed))
    return _by_id(connection, source_id)


def _by_id(connection: Connection, source_id: int) -> Source:
    row = connection.execute(select(source).where(source.c.id == source_id)).first()
    if row is None:
        raise NotFoundError(f"There is no source {source_id}; `mycity sources list` shows them.")
    return _source(row)


def _one(connection: Connection, slug: str) -> Source:
    row = connection.execute(select(source).where(source.c.slug == slug)).first()
    if row is None:
        raise NotFoundError(f"There is no source {slug!r}; `mycity sources list` shows them.")
    return _source(row)


def _source(row: Row[Any]) -> Source:
    return Source(**row._mapping)
