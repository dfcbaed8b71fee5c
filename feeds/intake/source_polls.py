"""What polls move on a source: validators, counts, addresses, and when it is due again.

The busiest part of the SQL of :mod:`feeds.intake.sources`, inside its transactions; called by it only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, select

from feeds.intake import poll_log
from feeds.intake.poll_log import PollRow
from feeds.intake.schedule import SHORTEST_S, Hints, Standing, hints_of, next_poll
from feeds.intake.source_types import Polled, Source
from feeds.intake.tables import source
from feeds.intake.types import Fetched
from feeds.intake.websub import is_reliable
from feeds.kernel.time import to_micros

MOVES_NEEDED = 3
# After a change of one of these the same bytes may mean something else: they are asked for and read again.
REREAD = {"etag": "", "last_modified": "", "body_hash": ""}


def digest(body: bytes) -> str:
    """Name the bytes of an answer; equal to ``Source.body_hash`` where they are those of the last one."""
    return blake2b(body, digest_size=16).hexdigest()


def record(connection: Connection, polled: Sequence[Polled]) -> None:
    """Write good polls: three statements, however many there are."""
    _move_on(connection, [_good(connection, one) for one in polled])
    full = [one for one in polled if not one.unchanged]
    poll_log.note(connection, [(one.asked.id, _log_row(one)) for one in full])
    poll_log.keep(
        connection, [(one.asked.id, "last" if _emptied(one) else "good", one.fetched) for one in full]
    )


def record_bad(
    connection: Connection, asked: Source, row: PollRow, hints: Hints, fetched: Fetched | None
) -> None:
    """Write a bad poll; a 410 is the last one."""
    made: dict[str, Any] = {
        "last_polled_at": row.at,
        "failures": asked.failures + 1,
        "last_error": row.error,
        "last_status": row.status,
    }
    if row.status == 410:
        made["gone_at"] = row.at
    made["next_poll_at"] = _next(connection, asked, made, row.at, hints)
    poll_log.note(connection, [(asked.id, row)])
    if fetched:
        poll_log.keep(connection, [(asked.id, "last", fetched)])
    _move_on(connection, [_moves(asked, made)])


def _good(connection: Connection, one: Polled) -> tuple[Any, ...]:
    """Every column that a good poll may move, and what the source must still be for that."""
    asked, headers = one.asked, one.fetched.headers
    made: dict[str, Any] = {
        "last_polled_at": one.at,
        "last_ok_at": one.at,
        "last_status": one.fetched.status,
        "failures": 0,
        "last_error": "",
        # A first answer that is read in parts stays the first one, so that all of it is archive.
        "polls": asked.polls + (not one.unfinished or asked.polls > 0),
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
        made |= REREAD | {"next_poll_at": one.at + timedelta(seconds=SHORTEST_S)}
    return _moves(asked, made)


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
    def now(name: str) -> Any:
        return made[name] if name in made else getattr(asked, name)

    standing = Standing(
        slug=asked.slug,
        number=now("polls") + now("failures"),
        interval_s=asked.interval_s,
        ttl_s=now("ttl_s"),
        last_new_at=now("last_new_at"),
        urgent=asked.kind == "cap",
        pushed=bool(now("hub")) and is_reliable(connection, asked.id, at),
        failures=now("failures"),
        status=now("last_status"),
        hints=hints,
    )
    return next_poll(standing, at).at


_MOVING = (
    "url", "etag", "last_modified", "body_hash", "last_polled_at", "last_ok_at", "last_status", "failures",
    "last_error", "polls", "last_entries", "ttl_s", "hub", "topic", "last_new_at", "moved_to", "moved_count",
    "next_poll_at", "gone_at",
)  # fmt: skip
_standing = attrgetter(*_MOVING)
# Writes what a poll found out, unless the source is no longer what was asked.
_MOVE_ON = (
    f"UPDATE source SET {', '.join(f'{name} = ?' for name in _MOVING)}"  # noqa: S608  (our own names)
    " WHERE id = ? AND url = ? AND etag = ? AND body_hash = ?"
)


def _moves(asked: Source, made: Mapping[str, Any]) -> tuple[Any, ...]:
    """Values for one source, in the order of ``_MOVE_ON``."""
    moved = (made.get(name, was) for name, was in zip(_MOVING, _standing(asked), strict=True))
    plain = (to_micros(value) if isinstance(value, datetime) else value for value in moved)
    return (*plain, asked.id, asked.url, asked.etag, asked.body_hash)


def _move_on(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        connection.exec_driver_sql(_MOVE_ON.replace("?", mark), list(rows))
