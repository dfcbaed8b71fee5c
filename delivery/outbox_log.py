"""Questions about what was sent: to how many, by which channel, through whom, how it ended, and row by row.

Only reads, always within a limit: one notice may have gone to a million. Called by
``api.jobs.outbox_answers`` and the figures of the operators' pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from delivery.outbox_tables import delivery, delivery_notice, delivery_of, notices_of
from delivery.types import LANES, Delivery
from feeds.kernel.db import Database, plain_rows
from feeds.kernel.time import from_micros, to_micros

# What is due for longer and still in a sender's hands counts as late.
HELD_LATE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Sum:
    """Deliveries of one kind: how many, and when the first and the last left."""

    channel: str
    provider: str
    state: str
    count: int
    first_sent: datetime | None
    last_sent: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """Due rows that a sender took and has not reported; a dead one holds them until its lease ends.

    Attributes:
        count: Rows.
        since: When the first of them was taken.
        until: When the last of their leases ends; past it, nobody is there who takes them back.
    """

    count: int
    since: datetime
    until: datetime


class OutboxLog:
    """Reads the outbox as the log that it is.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def sums_of_notice(self, notice_id: int) -> list[Sum]:
        """How often a notice was carried, by channel, provider and state."""
        query = (
            "SELECT channel, provider, state, count(*), min(sent_at), max(sent_at) FROM delivery "
            "WHERE id IN (SELECT delivery_id FROM delivery_notice WHERE notice_id = ?) "
            "GROUP BY channel, provider, state ORDER BY channel, provider, state"
        )
        with self._database.read() as connection:
            rows = plain_rows(connection, query, [notice_id])
        return [Sum(a, b, c, count, _instant(first), _instant(last)) for a, b, c, count, first, last in rows]

    def of_notice(self, notice_id: int, limit: int = 100) -> list[Delivery]:
        """The newest deliveries that carried a notice."""
        carrying = select(delivery_notice.c.delivery_id).where(delivery_notice.c.notice_id == notice_id)
        return self._newest(delivery.c.id.in_(carrying), limit)

    def of_profile(self, profile_id: int, limit: int = 100) -> list[Delivery]:
        """The newest deliveries that were planned for a resident."""
        return self._newest(delivery.c.profile_id == profile_id, limit)

    def oldest_due(self, now: datetime) -> Mapping[str, float]:
        """Lane → seconds that its oldest due row has waited; lanes in which nothing is due are left out."""
        query = "SELECT min(due_at) FROM delivery WHERE state = 'queued' AND lane = ?"
        found: dict[str, float] = {}
        with self._database.read() as connection:
            for lane in LANES:
                oldest = plain_rows(connection, query, [lane])[0][0]
                if oldest is not None and oldest <= to_micros(now):
                    found[lane] = (to_micros(now) - oldest) / 1e6
        return found

    def held(self, now: datetime, *, older: timedelta = HELD_LATE) -> Held | None:
        """Rows in a sender's hands that have been due for longer than ``older``, or ``None``."""
        query = (
            "SELECT count(*), min(changed_at), max(lease_until) FROM delivery "
            "WHERE state = 'leased' AND due_at <= ?"
        )
        with self._database.read() as connection:
            count, since, until = plain_rows(connection, query, [to_micros(now - older)])[0]
        return Held(count, from_micros(since), from_micros(until)) if count else None

    def throttled(self, now: datetime) -> int:
        """Rows that wait because a provider, or our own pace, said "not yet"."""
        query = (
            "SELECT count(*) FROM delivery WHERE state = 'queued' AND lane = ? AND due_at > ? "
            "AND attempts = 0 AND error <> ''"
        )
        with self._database.read() as connection:
            return sum(plain_rows(connection, query, [lane, to_micros(now)])[0][0] for lane in LANES)

    def _newest(self, condition: object, limit: int) -> list[Delivery]:
        query = select(delivery).where(condition).order_by(delivery.c.id.desc()).limit(limit)  # type: ignore[arg-type]
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            notices = notices_of(connection, [row.id for row in rows])
        return [delivery_of(row, notices.get(row.id, ())) for row in rows]


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
