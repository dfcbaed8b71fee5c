"""Opens and clicks of those who agreed to be counted.

The only SQL on table ``engagement``. No address, no device and no name of a program is kept: only what
was opened, when, and the verdict. It judges nothing. Called by ``api.jobs.engagement``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)

from delivery.engagement_rules import MOST, Event, Verdict
from delivery.outbox_tables import delivery, delivery_notice
from feeds.kernel.db import BigId, Database, Instant, metadata

_WAITS = text("verdict = 'waiting'")

engagement = Table(
    "engagement",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("delivery_id", BigInteger, nullable=False),
    Column("notice_id", BigInteger, nullable=False),  # 0 of an open
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),  # open, click
    Column("at", Instant, nullable=False),
    Column("verdict", String(16), nullable=False),
    Index("ix_engagement_delivery", "delivery_id"),
    Index("ix_engagement_profile", "profile_id", "at"),
    Index("ix_engagement_waits", "at", sqlite_where=_WAITS, postgresql_where=_WAITS),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a code leads to: a delivery that carried the notice (or any, where an open is meant)."""

    profile_id: int
    channel: str
    sent_at: datetime | None


class EngagementStore:
    """Reads and writes events; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def target(self, delivery_id: int, notice_id: int) -> Target | None:
        """Return what a code leads to; ``None`` if that delivery never carried the notice.

        Args:
            delivery_id: Of the outbox.
            notice_id: 0: the delivery itself.
        """
        query = select(delivery.c.profile_id, delivery.c.channel, delivery.c.sent_at).where(
            delivery.c.id == delivery_id
        )
        if notice_id:
            carried = (delivery_notice.c.delivery_id == delivery_id) & (
                delivery_notice.c.notice_id == notice_id
            )
            query = query.where(exists().where(carried))
        with self._db.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Target(row.profile_id, row.channel, row.sent_at)

    def add(self, event: Event) -> bool:
        """Keep an event (its id is ignored); False where the delivery has enough of them."""
        values = asdict(event)
        del values["id"]
        mine = engagement.c.delivery_id == event.delivery_id
        with self._db.write() as connection:
            if (connection.scalar(select(func.count()).where(mine)) or 0) >= MOST:
                return False
            connection.execute(insert(engagement), [values])
        return True

    def waiting(self, until: datetime, *, limit: int = 500) -> list[int]:
        """Return deliveries with events of before ``until`` that were not judged, oldest first, each once."""
        query = (
            select(engagement.c.delivery_id)
            .where(_WAITS, engagement.c.at < until)
            .order_by(engagement.c.at)
            .limit(limit)
        )
        with self._db.read() as connection:
            return list(dict.fromkeys(connection.scalars(query)))

    def of_delivery(self, delivery_id: int) -> list[Event]:
        """Return every event of a delivery, oldest first."""
        return self._events(engagement.c.delivery_id == delivery_id)

    def of(self, profile_id: int) -> list[Event]:
        """Return every event held about one profile, oldest first."""
        return self._events(engagement.c.profile_id == profile_id)

    def judge(self, verdicts: Mapping[int, Verdict]) -> None:
        """Write verdicts of events that still wait."""
        with self._db.write() as connection:
            for number, verdict in verdicts.items():
                waits = (engagement.c.id == number) & _WAITS
                connection.execute(update(engagement).where(waits).values(verdict=verdict))

    def forget(self, profile_id: int) -> int:
        """Delete everything held about one profile; return how many events went."""
        with self._db.write() as connection:
            gone = delete(engagement).where(engagement.c.profile_id == profile_id)
            return connection.execute(gone).rowcount

    def trim(self, before: datetime) -> int:
        """Delete events older than this; return how many went."""
        with self._db.write() as connection:
            return connection.execute(delete(engagement).where(engagement.c.at < before)).rowcount

    def counts(self) -> dict[str, dict[str, int]]:
        """Count events: kind → verdict → how many."""
        query = select(engagement.c.kind, engagement.c.verdict, func.count()).group_by(
            engagement.c.kind, engagement.c.verdict
        )
        found: dict[str, dict[str, int]] = {}
        with self._db.read() as connection:
            for kind, verdict, count in connection.execute(query):
                found.setdefault(kind, {})[verdict] = count
        return found

    def _events(self, which: object) -> list[Event]:
        query = select(engagement).where(which).order_by(engagement.c.at, engagement.c.id)  # type: ignore[arg-type]
        with self._db.read() as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]
