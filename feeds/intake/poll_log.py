"""The log of polls and the answers kept for diagnosis: the only SQL on ``source_poll``, ``source_answer``.

A poll that found nothing changed leaves no row. Bodies are cut and packed; headers are kept without what
could let somebody in. Called by :mod:`feeds.intake.sources`, inside its transactions.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from statistics import median
from typing import Any, Literal

from sqlalchemy import BigInteger, Connection, Select, case, delete, func, select, type_coerce

from feeds.intake.health import WEEKS, History
from feeds.intake.tables import source_answer, source_poll
from feeds.intake.types import Fetched
from feeds.kernel.db import chunks, upsert
from feeds.kernel.time import to_micros

KEPT_DAYS = WEEKS * 7
KEPT_BODY = 65_536
_WORTH_PACKING = 8_192
_RECENT = 20
_WEEK_US = 7 * 86_400 * 1_000_000
_SECRET = frozenset({"set-cookie", "set-cookie2", "authorization", "proxy-authenticate", "www-authenticate"})

Which = Literal["last", "good"]


@dataclass(frozen=True, slots=True)
class PollRow:
    """One poll that brought something, or failed with ``error``."""

    at: datetime
    status: int
    seconds: float
    bytes: int
    entries: int
    new: int
    changed: int
    error: str


_COLUMNS = tuple(one.name for one in fields(PollRow))  # "at" is the first
_values = attrgetter(*_COLUMNS)


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it came.

    Attributes:
        which: ``good``: the last one that was read well; ``last``: the last one that was not, or that
            suddenly had no entries.
        body: Its first 64 KB, decompressed.
        bytes: Its length before it was cut.
    """

    which: Which
    at: datetime
    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes
    bytes: int


def note(connection: Connection, rows: Sequence[tuple[int, PollRow]]) -> None:
    """Add rows to the log, each with its source's id."""
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        marks = ", ".join([mark] * (1 + len(_COLUMNS)))
        names = ", ".join(("source_id", *_COLUMNS))
        values = [(id_, to_micros(row.at), *_values(row)[1:]) for id_, row in rows]
        connection.exec_driver_sql(f"INSERT INTO source_poll ({names}) VALUES ({marks})", values)  # noqa: S608


def keep(connection: Connection, kept: Sequence[tuple[int, Which, Fetched]]) -> None:
    """Keep answers, each in the place of the one before of its source and kind."""
    rows: list[dict[str, Any]] = [
        {
            "source_id": source_id,
            "which": which,
            "at": fetched.fetched_at,
            "status": fetched.status,
            "url": fetched.url,
            "headers": {name: text for name, text in fetched.headers.items() if name not in _SECRET},
            "body": _packed(fetched.body[:KEPT_BODY]),
            "bytes": len(fetched.body),
        }
        for source_id, which, fetched in kept
    ]
    upsert(connection, source_answer, rows, ["source_id", "which"])


def _packed(body: bytes) -> bytes:
    """Pack a body; a small one is only wrapped, for it would take a page of the database all the same."""
    return zlib.compress(body, 1 if len(body) > _WORTH_PACKING else 0)


def answers(connection: Connection, source_id: int) -> list[KeptAnswer]:
    """Return what was kept of a source, newest first."""
    query = (
        select(source_answer)
        .where(source_answer.c.source_id == source_id)
        .order_by(source_answer.c.at.desc(), source_answer.c.which.desc())
    )
    return [
        KeptAnswer(row.which, row.at, row.status, row.url, row.headers, zlib.decompress(row.body), row.bytes)
        for row in connection.execute(query)
    ]


def polls(connection: Connection, source_id: int, limit: int) -> list[PollRow]:
    """Return the last rows of the log, newest first."""
    query = (
        select(*(source_poll.c[name] for name in _COLUMNS))
        .where(source_poll.c.source_id == source_id)
        .order_by(source_poll.c.at.desc(), source_poll.c.id.desc())
        .limit(limit)
    )
    return [PollRow(**row._mapping) for row in connection.execute(query)]


def usual_entries(connection: Connection, source_id: int) -> int:
    """Say how many entries an answer of this source usually holds: the median of its last twenty good ones.

    Answers without any are left out: a list that was empty for a week is no less wrong for that.
    """
    recent = (
        select(source_poll.c.entries)
        .where(source_poll.c.source_id == source_id, source_poll.c.error == "", source_poll.c.entries > 0)
        .order_by(source_poll.c.at.desc(), source_poll.c.id.desc())
        .limit(_RECENT)
    )
    found = connection.execute(recent).scalars().all()
    return int(median(found)) if found else 0


def histories(connection: Connection, born: Mapping[int, datetime], now: datetime) -> dict[int, History]:
    """Sum up the log for some sources; see :class:`feeds.intake.health.History`.

    Args:
        connection: Of a reading transaction.
        born: Id of each source → when it was added.
        now: Where the last week ends.

    Returns:
        A history for each id; ``usual`` is a mean, :func:`usual_entries` is exact.
    """
    weeks: dict[int, dict[int, int]] = {id_: {} for id_ in born}
    failed, held, answers = Counter[int](), Counter[int](), Counter[int]()
    for part in chunks(list(born)):
        for row in connection.execute(_sums(part, now)):
            weeks[row.source_id][int(row.week)] = int(row.new)
            failed[row.source_id] += int(row.failed) if row.week == 0 else 0
            held[row.source_id] += int(row.held or 0)
            answers[row.source_id] += int(row.answers)
    return {
        id_: History(
            tuple(weeks[id_].get(week, 0) for week in range(_whole_weeks(at, now))),
            usual=round(held[id_] / answers[id_]) if answers[id_] else 0,
            failed=failed[id_],
        )
        for id_, at in born.items()
    }


def _sums(ids: Sequence[int], now: datetime) -> Select[Any]:
    column = source_poll.c
    age = (to_micros(now) - type_coerce(column.at, BigInteger)) // _WEEK_US
    good = (column.error == "") & (column.entries > 0)
    return (
        select(
            column.source_id,
            age.label("week"),
            func.sum(column.new).label("new"),
            func.sum(case((column.error != "", 1), else_=0)).label("failed"),
            func.sum(case((good, column.entries), else_=0)).label("held"),
            func.sum(case((good, 1), else_=0)).label("answers"),
        )
        .where(column.source_id.in_(ids), column.at > now - timedelta(days=KEPT_DAYS), column.at <= now)
        .group_by(column.source_id, age)
    )


def _whole_weeks(born: datetime, now: datetime) -> int:
    """Weeks lived through after the first day, whose archive is no news."""
    lived = now - born - timedelta(days=1)
    return max(0, min(WEEKS, lived // timedelta(weeks=1)))


def trim(connection: Connection, now: datetime) -> int:
    """Forget rows older than the log reaches; return how many."""
    old = delete(source_poll).where(source_poll.c.at <= now - timedelta(days=KEPT_DAYS))
    return connection.execute(old).rowcount
