"""The store of sources: the only SQL on table ``source``; how each one stands, and when it is due.

It fetches nothing and decides nothing about notices; what a poll found out is told to it, and what the
pure rules make of that (:mod:`feeds.intake.schedule`, :mod:`feeds.intake.health`) is stored with it.
Called by ``feeds.intake.ingest``, the polling engine, the timer, the console and ``mycity sources``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, bindparam, insert, or_, select, update

from feeds.intake import poll_log
from feeds.intake.health import Health, health
from feeds.intake.poll_log import KeptAnswer, PollRow
from feeds.intake.schedule import SHORTEST_S, Hints, Standing, hints_of, next_poll
from feeds.intake.source_settings import checked, twins_of
from feeds.intake.tables import source
from feeds.intake.types import Fetched
from feeds.kernel.db import Database, chunks, insert_missing
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from feeds.kernel.ids import content_hash

SourceKind = Literal["feed", "json", "html", "csv", "cap", "file", "desk"]
POLLED: tuple[SourceKind, ...] = ("feed", "json", "html", "csv", "cap")
ReleaseRule = Literal["publish", "review"]
MIN_INTERVAL_S = SHORTEST_S
MOVES_NEEDED = 3
LEASE_S = 600
_CHANGEABLE = frozenset(
    ("name", "kind", "url", "agency", "lang", "timezone", "licence", "place", "trust", "interval_s", "recipe",
     "rules", "tags", "release", "full_text")
)  # fmt: skip
# After a change of one of these the same bytes may mean something else: they are asked for and read again.
_REREAD = {"etag": "", "last_modified": "", "body_hash": ""}


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who publishes, and how we stand with them.

    Attributes:
        kind: ``feed`` (RSS, Atom, JSON Feed), ``json``, ``html``, ``csv`` (lists) and ``cap`` are
            polled; ``file`` came with imports; ``desk`` is our own editors.
        agency: Issuer of entries that name none.
        lang, timezone: For entries that name none; empty means the city's.
        place: Code of the place that its notices concern where they do not say.
        trust: 0 (checked by hand) to 100; for the editors' order.
        interval_s: Seconds between polls.
        held_at: Since when an answer waits for an editor, because most of it suddenly looked new.
        failures: Failed polls since the last good one.
        polls: Good polls so far; while 0, what comes is archive.
        recipe: How a list is read (:mod:`feeds.intake.recipes`); empty for feeds and CAP.
        rules: Keyword rules (:mod:`feeds.intake.rules`), in order.
        tags: ``kind:code`` that every entry of this source gets.
        release: ``publish`` at once (unless the office's word list objects), or ``review`` first.
            A CAP source that publishes is a trusted one: its warnings are alerts at once.
        full_text: Whether the page of each new entry is fetched for its text.
        ttl_s: Seconds between polls that the source last asked for.
        hub, topic: Its WebSub hub, and the address it is known under there; else empty.
        moved_to, moved_count: Where permanent redirects have led, in how many polls in a row.
        gone_at: When it answered 410; it is not asked again.
        last_status: Of the last answer; 0 where nobody answered.
        last_new_at: When it last brought a new entry.
        last_entries: Entries of its last full answer.
        body_hash: Digest of its last full answer; the same bytes again are not parsed again.
        alarm, alarm_at: What is wrong (:mod:`feeds.intake.health`) and since when; empty if nothing.
    """

    id: int
    slug: str
    name: str
    kind: SourceKind
    url: str | None
    agency: str
    lang: str
    timezone: str
    licence: str
    place: str | None
    trust: int
    interval_s: int
    paused: bool
    created_at: datetime
    next_poll_at: datetime | None
    last_polled_at: datetime | None
    last_ok_at: datetime | None
    held_at: datetime | None
    etag: str
    last_modified: str
    failures: int
    last_error: str
    polls: int
    recipe: Mapping[str, Any]
    rules: Sequence[str]
    tags: Sequence[str]
    release: ReleaseRule
    full_text: bool
    ttl_s: int
    hub: str
    topic: str
    moved_to: str
    moved_count: int
    gone_at: datetime | None
    last_status: int
    last_new_at: datetime | None
    last_entries: int
    body_hash: str
    alarm: str
    alarm_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm that began, changed or ended (``now.alarm`` is ``""``)."""

    source: Source
    was: str
    now: Health


@dataclass(frozen=True, slots=True)
class Polled:
    """A good poll, as it is noted.

    Attributes:
        asked: The source as it was when it was asked.
        fetched: The answer; validators, hints and the digest of its bytes are taken from it.
        at: When.
        seconds: How long asking took.
        entries: How many entries it held.
        new: How many of them are new; the first poll's count too, though they are archive.
        changed: How many revise a notice.
        ttl_s: Seconds that the document asks pollers to wait.
        hub, topic: Its WebSub hub, and the address it is known under there.
        unfinished: Some of it was left for the next poll, which comes soon and reads it all again.
        unchanged: It says nothing new (304, or the same bytes); nothing else but ``at`` counts then.
    """

    asked: Source
    fetched: Fetched
    at: datetime
    seconds: float = 0.0
    entries: int = 0
    new: int = 0
    changed: int = 0
    ttl_s: int = 0
    hub: str = ""
    topic: str = ""
    unfinished: bool = False
    unchanged: bool = False


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
            ConflictError: If another source has the address.
        """
        if unknown := sorted(set(settings) - _CHANGEABLE):
            raise UsageError(f"A source has no setting {unknown[0]!r} that can be changed.")
        with self._db.write() as connection:
            now = _one(connection, slug)
            beside = {"kind": now.kind, "url": now.url, "recipe": now.recipe}
            made = {name: checked(beside | settings)[name] for name in settings}
            if "url" in made and made["url"] != now.url:
                _refuse_url(connection, made["url"], now.id)
                made |= {"gone_at": None, "moved_to": "", "moved_count": 0, "failures": 0, "last_error": ""}
            due = {"next_poll_at": at} if made.get("kind", now.kind) in POLLED else {}
            return _update(connection, now.id, made | _REREAD | due)

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
            _record(writing, [polled])
            return _by_id(writing, asked.id)

    def record_unchanged(
        self, asked: Source, fetched: Fetched, *, at: datetime, connection: Connection | None = None
    ) -> Source:
        """Note an answer that says nothing new: 304, or the same bytes. It leaves no row in the log."""
        with self._writing(connection) as writing:
            _record(writing, [Polled(asked, fetched, at, unchanged=True)])
            return _by_id(writing, asked.id)

    def record_many(self, polled: Sequence[Polled]) -> None:
        """Note the good answers of many sources in one transaction; see :meth:`record_ok`."""
        if polled:
            with self._db.write() as connection:
                _record(connection, polled)

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
        made: dict[str, Any] = {
            "last_polled_at": at,
            "failures": asked.failures + 1,
            "last_error": error[:500],
            "last_status": status,
        }
        if status == 410:
            made["gone_at"] = at
        hints = Hints(retry_after_s=None if retry_after is None else math.ceil(retry_after))
        row = PollRow(at, status, seconds, len(fetched.body) if fetched else 0, 0, 0, 0, error[:500])
        with self._writing(connection) as writing:
            made["next_poll_at"] = _next(writing, asked, made, at, hints)
            poll_log.note(writing, [(asked.id, row)])
            if fetched:
                poll_log.keep(writing, [(asked.id, "last", fetched)])
            kept = {name: getattr(asked, name) for name in _MOVING}
            writing.execute(_MOVE_ON, [kept | made | _was(asked)])
            return _by_id(writing, asked.id)

    def record_gone(
        self, asked: Source, *, at: datetime, error: str = "It answered 410: it has ended for good."
    ) -> Source:
        """Note that a source has ended for good (410); it is not asked again until somebody resumes it."""
        return self.record_failure(asked, at=at, error=error, status=410)

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
        """Let a held source go on: its next poll is taken whole, as archive, and is due at once."""
        with self._db.write() as connection:
            fresh = {"held_at": None, "polls": 0, "last_error": "", "next_poll_at": at}
            return _update(connection, _one(connection, slug).id, fresh | _REREAD)

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


def digest(body: bytes) -> str:
    """Name the bytes of an answer; equal to ``Source.body_hash`` where they are those of the last one."""
    return blake2b(body, digest_size=16).hexdigest()


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
        .where(source.c.kind.in_(POLLED), source.c.paused.is_(False))
        .where(source.c.held_at.is_(None), source.c.gone_at.is_(None))
        .where(or_(source.c.next_poll_at.is_(None), source.c.next_poll_at <= now))
        .order_by(source.c.next_poll_at.asc().nulls_first(), source.c.id)
        .limit(limit)
    )


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


def _record(connection: Connection, polled: Sequence[Polled]) -> None:
    """Write good polls: three statements, however many there are."""
    rows = [_good(connection, one) for one in polled]
    connection.execute(_MOVE_ON, rows)
    full = [one for one in polled if not one.unchanged]
    poll_log.note(connection, [(one.asked.id, _log_row(one)) for one in full])
    poll_log.keep(
        connection, [(one.asked.id, "last" if _emptied(one) else "good", one.fetched) for one in full]
    )


def _good(connection: Connection, one: Polled) -> dict[str, Any]:
    """Every column that a good poll may move, and what the source must still be for that."""
    asked, headers = one.asked, one.fetched.headers
    made: dict[str, Any] = {
        "last_polled_at": one.at,
        "last_ok_at": one.at,
        "last_status": one.fetched.status,
        "failures": 0,
        "last_error": "",
        "polls": asked.polls + 1,
    }
    if one.unchanged:
        # A 304 need not repeat its validators; keep those that were right this time (RFC 9111 §4.3.4).
        made["etag"] = headers.get("etag", asked.etag)
        made["last_modified"] = headers.get("last-modified", asked.last_modified)
    else:
        made |= {
            "etag": headers.get("etag", ""),
            "last_modified": headers.get("last-modified", ""),
            "body_hash": digest(one.fetched.body),
            "last_entries": one.entries,
            "ttl_s": one.ttl_s,
            "hub": one.hub,
            "topic": one.topic,
            "last_new_at": one.at if one.new or asked.polls == 0 else asked.last_new_at,
        }
    made |= _moved(connection, asked, one.fetched.moved_to)
    made["next_poll_at"] = _next(connection, asked, made, one.at, hints_of(headers, one.at))
    if one.unfinished:
        made |= _REREAD | {"next_poll_at": one.at + timedelta(seconds=SHORTEST_S)}
    return {name: getattr(asked, name) for name in _MOVING} | made | _was(asked)


def _log_row(one: Polled) -> PollRow:
    size = len(one.fetched.body)
    return PollRow(one.at, one.fetched.status, one.seconds, size, one.entries, one.new, one.changed, "")


def _emptied(one: Polled) -> bool:
    return one.entries == 0 and (one.asked.last_entries > 0 or one.asked.alarm == "empty")


def _moved(connection: Connection, asked: Source, moved_to: str) -> dict[str, Any]:
    """Follow a permanent redirect once several polls in a row agree where it leads."""
    if not moved_to or (asked.url or "").startswith("https:") > moved_to.startswith("https:"):
        return {"moved_to": "", "moved_count": 0}
    count = asked.moved_count + 1 if moved_to == asked.moved_to else 1
    if count < MOVES_NEEDED:
        return {"moved_to": moved_to, "moved_count": count}
    taken = select(source.c.id).where(source.c.url == moved_to, source.c.id != asked.id)
    if connection.execute(taken).first():
        return {"moved_to": moved_to, "moved_count": MOVES_NEEDED}
    return {"url": moved_to, "moved_to": "", "moved_count": 0}


def _next(
    connection: Connection, asked: Source, made: Mapping[str, Any], at: datetime, hints: Hints
) -> datetime | None:
    now = replace(asked, **made)
    standing = Standing(
        slug=now.slug,
        number=now.polls + now.failures,
        interval_s=now.interval_s,
        ttl_s=now.ttl_s,
        last_new_at=now.last_new_at,
        urgent=now.kind == "cap",
        pushed=bool(now.hub) and _is_leased(connection, now.id, at),
        failures=now.failures,
        status=now.last_status,
        hints=hints,
    )
    return next_poll(standing, at).at


def _is_leased(connection: Connection, source_id: int, at: datetime) -> bool:
    from feeds.intake.websub import websub  # which knows sources; here only its rows are looked at

    active = (websub.c.source_id == source_id) & (websub.c.state == "active") & (websub.c.lease_until > at)
    return connection.execute(select(websub.c.source_id).where(active)).first() is not None


_MOVING = (
    "url", "etag", "last_modified", "body_hash", "last_polled_at", "last_ok_at", "last_status", "failures",
    "last_error", "polls", "last_entries", "ttl_s", "hub", "topic", "last_new_at", "moved_to", "moved_count",
    "next_poll_at", "gone_at",
)  # fmt: skip
# Writes what a poll found out, unless the source is no longer what was asked.
_MOVE_ON = (
    update(source)
    .where(source.c.id == bindparam("was_id"), source.c.url == bindparam("was_url"))
    .where(source.c.etag == bindparam("was_etag"), source.c.body_hash == bindparam("was_hash"))
    .values({name: bindparam(name) for name in _MOVING})
)


def _was(asked: Source) -> dict[str, Any]:
    return {
        "was_id": asked.id, "was_url": asked.url, "was_etag": asked.etag, "was_hash": asked.body_hash,
    }  # fmt: skip


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
