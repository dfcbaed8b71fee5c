"""The store of sources: the only SQL on table ``source``, and the pure rule for when to ask one again.

It fetches nothing and decides nothing about notices. Called by ``feeds.intake.ingest``, the polling
engine and ``mycity sources``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    false,
    insert,
    or_,
    select,
    update,
)

from feeds.kernel.db import BigId, Database, Instant, Json, insert_missing, metadata
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from feeds.kernel.ids import content_hash

SourceKind = Literal["feed", "json", "html", "csv", "cap", "file", "desk"]
POLLED: tuple[SourceKind, ...] = ("feed", "json", "html", "csv", "cap")
ReleaseRule = Literal["publish", "review"]
MIN_INTERVAL_S = 300
DAY_S = 86_400
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

source = Table(
    "source",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", Text, nullable=True, unique=True),
    Column("agency", Text, nullable=False),
    Column("lang", String(16), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("licence", Text, nullable=False),
    Column("place", String(32), nullable=True),
    Column("trust", Integer, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("next_poll_at", Instant, nullable=True),
    Column("last_polled_at", Instant, nullable=True),
    Column("last_ok_at", Instant, nullable=True),
    Column("held_at", Instant, nullable=True),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("polls", Integer, nullable=False),
    Column("recipe", Json, nullable=False, server_default="{}"),
    Column("rules", Json, nullable=False, server_default="[]"),
    Column("tags", Json, nullable=False, server_default="[]"),
    Column("release", String(16), nullable=False, server_default="publish"),
    Column("full_text", Boolean, nullable=False, server_default=false()),
    Column("ttl_s", Integer, nullable=False, server_default="0"),
    Column("hub", Text, nullable=False, server_default=""),
    Column("topic", Text, nullable=False, server_default=""),
    Column("moved_to", Text, nullable=False, server_default=""),
    Column("moved_count", Integer, nullable=False, server_default="0"),
    Column("gone_at", Instant, nullable=True),
    Column("last_status", Integer, nullable=False, server_default="0"),
    Column("last_new_at", Instant, nullable=True),
    Column("last_entries", Integer, nullable=False, server_default="0"),
    Column("body_hash", String(64), nullable=False, server_default=""),
    Column("alarm", String(32), nullable=False, server_default=""),
    Column("alarm_at", Instant, nullable=True),
)

# One row for each poll that brought something or failed; polls that found nothing changed leave no row.
source_poll = Table(
    "source_poll",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("source_id", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("new", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Index("ix_source_poll_source_at", "source_id", "at"),
)

# The last answer of a source (``last``) and its last good one (``good``), for diagnosis.
source_answer = Table(
    "source_answer",
    metadata,
    Column("source_id", BigInteger, primary_key=True),
    Column("which", String(8), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),  # zlib
    Column("bytes", Integer, nullable=False),  # before cutting and packing
)


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


def backoff_s(interval_s: int, failures: int, retry_after: float | None = None) -> int:
    """Seconds to wait after ``failures`` bad polls in a row (0 after a good one).

    Twice as long with each failure, at most a day (or the interval, if that is longer); a server's
    Retry-After is obeyed up to a day. Pure.
    """
    interval = max(interval_s, MIN_INTERVAL_S)
    longest = max(DAY_S, interval)
    wait = min(interval << min(failures, 20), longest)
    return max(wait, min(int(retry_after or 0), longest))


class SourceStore:
    """Reads and writes sources; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

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
    ) -> Source:
        """Add a source; a feed is due at once.

        Raises:
            UsageError: If the slug is not of lower-case letters, digits and ``-``, a feed has no address,
                or the time zone does not exist.
            ConflictError: If the slug or the address is already there.
        """
        if not _SLUG.fullmatch(slug):
            raise UsageError(
                f"The short name {slug[:80]!r} must be of a-z, 0-9 and '-', at most 63 characters."
            )
        if kind == "feed" and not url:
            raise UsageError("A feed needs an address; give its URL.")
        _check_zone(timezone)
        row = _blank(slug, name, kind, at) | {
            "url": url,
            "agency": agency,
            "lang": lang,
            "timezone": timezone,
            "licence": licence,
            "place": place,
            "trust": trust,
            "interval_s": max(interval_s, MIN_INTERVAL_S),
        }
        with self._db.write() as connection:
            _refuse_twins(connection, slug, url)
            connection.execute(insert(source), row)
            return _one(connection, slug)

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

    def get(self, source_id: int) -> Source:
        """Return one source.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.read() as connection:
            row = connection.execute(select(source).where(source.c.id == source_id)).first()
        if row is None:
            raise NotFoundError(f"There is no source {source_id}; `mycity sources list` shows them.")
        return _source(row)

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
        """Return feeds that should be asked now, longest waiting first; never paused or held ones."""
        query = (
            select(source)
            .where(source.c.kind == "feed", source.c.paused.is_(False), source.c.held_at.is_(None))
            .where(or_(source.c.next_poll_at.is_(None), source.c.next_poll_at <= now))
            .order_by(source.c.next_poll_at.asc().nulls_first(), source.c.id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return [_source(row) for row in connection.execute(query)]

    def record_ok(
        self, source_id: int, *, at: datetime, etag: str = "", last_modified: str = "", moved_to: str = ""
    ) -> Source:
        """Note a good poll; call it after its notices are stored, so that a crash asks for them again.

        Args:
            source_id: Which source.
            at: When.
            etag: Validator for the next poll.
            last_modified: Validator for the next poll.
            moved_to: New address after a permanent redirect; ignored if another source has it.
        """
        with self._db.write() as connection:
            now = _by_id(connection, source_id)
            changed: dict[str, Any] = {
                "last_polled_at": at,
                "last_ok_at": at,
                "failures": 0,
                "last_error": "",
                "polls": now.polls + 1,
                "etag": etag,
                "last_modified": last_modified,
                "next_poll_at": _after(at, backoff_s(now.interval_s, 0)),
            }
            if (
                moved_to
                and not connection.execute(select(source.c.id).where(source.c.url == moved_to)).first()
            ):
                changed["url"] = moved_to
            return _update(connection, source_id, changed)

    def record_failure(
        self, source_id: int, *, at: datetime, error: str, retry_after: float | None = None
    ) -> Source:
        """Note a bad poll with its one sentence, and wait longer before the next."""
        with self._db.write() as connection:
            now = _by_id(connection, source_id)
            failures = now.failures + 1
            wait = backoff_s(now.interval_s, failures, retry_after)
            return _update(
                connection,
                source_id,
                {
                    "last_polled_at": at,
                    "failures": failures,
                    "last_error": error[:500],
                    "next_poll_at": _after(at, wait),
                },
            )

    def hold(self, source_id: int, *, at: datetime, reason: str) -> Source:
        """Stop polling until an editor has looked; nothing of the answer was stored."""
        with self._db.write() as connection:
            return _update(
                connection, source_id, {"held_at": at, "last_polled_at": at, "last_error": reason[:500]}
            )

    def release(self, slug: str, *, at: datetime) -> Source:
        """Let a held source go on: its next poll is taken whole, as archive, and is due at once."""
        with self._db.write() as connection:
            held = _one(connection, slug)
            fresh = {
                "held_at": None,
                "polls": 0,
                "etag": "",
                "last_modified": "",
                "last_error": "",
                "next_poll_at": at,
            }
            return _update(connection, held.id, fresh)

    def pause(self, slug: str, paused: bool) -> Source:
        """Stop or resume polling of one source.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.write() as connection:
            return _update(connection, _one(connection, slug).id, {"paused": paused})


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
        "next_poll_at": at if kind == "feed" else None,
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


def _refuse_twins(connection: Connection, slug: str, url: str | None) -> None:
    same = source.c.slug == slug if url is None else or_(source.c.slug == slug, source.c.url == url)
    twin = connection.execute(select(source.c.slug, source.c.url).where(same)).first()
    if twin is not None:
        what = f"The short name {slug!r}" if twin.slug == slug else f"The address {url}"
        raise ConflictError(
            f"{what} is already taken by source {twin.slug!r}; change that one or choose another."
        )


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError(f"There is no time zone {name!r}; write it like Asia/Shanghai.") from None


def _after(at: datetime, seconds: int) -> datetime:
    return at + timedelta(seconds=seconds)


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
