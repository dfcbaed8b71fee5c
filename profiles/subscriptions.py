"""Subscriptions: which channel a profile wants served, how often, at which hour, and what ended it.

At most one live subscription for each (profile, channel). A change of frequency ends the old row
and makes a new one, so history stays. Called by the entrances and by the digest jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from feeds.kernel.db import Database, insert_one
from profiles.tables import profile, subscription
from profiles.types import ChannelName, Frequency, Subscription


class SubscriptionStore:
    """Starts, advances and ends subscriptions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(
        self,
        profile_id: int,
        channel: ChannelName,
        *,
        frequency: Frequency = "daily",
        local_hour: int = 8,
        lang: str,
        next_due_at: datetime,
        at: datetime,
    ) -> Subscription:
        """Start a subscription; a live one of the same channel ends with the reason ``changed``.

        The new one goes on where the old one's last digest ended, so a change of hour loses nothing.
        """
        row = {
            "profile_id": profile_id,
            "channel": channel,
            "frequency": frequency,
            "local_hour": local_hour,
            "lang": lang,
            "next_due_at": next_due_at,
            "covered_until": at,
            "created_at": at,
            "ended_at": None,
            "ended_reason": "",
        }
        with self._db.write() as connection:
            # One at a time for each profile: a double click waits here instead of failing.
            connection.execute(select(profile.c.id).where(profile.c.id == profile_id).with_for_update())
            live = (
                (subscription.c.profile_id == profile_id)
                & (subscription.c.channel == channel)
                & subscription.c.ended_at.is_(None)
            )
            before = connection.scalar(select(subscription.c.covered_until).where(live))
            row["covered_until"] = before or at
            connection.execute(_end(profile_id, channel, at, "changed"))
            new_id = insert_one(connection, subscription, row)
        return Subscription(
            new_id, profile_id, channel, frequency, local_hour, lang, next_due_at, before or at, at
        )

    def end(self, profile_id: int, channel: str, *, at: datetime, reason: str) -> bool:
        """End the live subscription of a channel; return whether there was one."""
        with self._db.write() as connection:
            return connection.execute(_end(profile_id, channel, at, reason)).rowcount > 0

    def live(self, profile_id: int, channel: str) -> Subscription | None:
        """Return the live subscription of a channel, or ``None``."""
        return next(
            (item for item in self.of(profile_id) if item.channel == channel and item.ended_at is None), None
        )

    def of(self, profile_id: int) -> list[Subscription]:
        """Return every subscription of a profile, live and ended, oldest first."""
        query = (
            select(subscription).where(subscription.c.profile_id == profile_id).order_by(subscription.c.id)
        )
        with self._db.read() as connection:
            return [_subscription(row) for row in connection.execute(query)]

    def due(
        self, now: datetime, *, channels: Sequence[str], limit: int = 1000, after: int = 0
    ) -> list[Subscription]:
        """Return live subscriptions whose time has come, by id, after the id ``after``."""
        query = (
            select(subscription)
            .where(
                subscription.c.ended_at.is_(None),
                subscription.c.next_due_at <= now,
                subscription.c.channel.in_(channels),
                subscription.c.id > after,
            )
            .order_by(subscription.c.id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return [_subscription(row) for row in connection.execute(query)]

    def advance(
        self, subscription_id: int, *, seen_due_at: datetime, next_due_at: datetime, covered_until: datetime
    ) -> bool:
        """Move the next due time on, unless another job already did; return whether we did."""
        here = (subscription.c.id == subscription_id) & (subscription.c.next_due_at == seen_due_at)
        with self._db.write() as connection:
            return (
                connection.execute(
                    update(subscription)
                    .where(here)
                    .values(next_due_at=next_due_at, covered_until=covered_until)
                ).rowcount
                > 0
            )

    def counts(self) -> dict[str, int]:
        """Count live subscriptions by channel."""
        query = select(subscription.c.channel, func.count()).where(subscription.c.ended_at.is_(None))
        with self._db.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(subscription.c.channel))}


def _end(profile_id: int, channel: str, at: datetime, reason: str) -> Any:
    live = (
        (subscription.c.profile_id == profile_id)
        & (subscription.c.channel == channel)
        & subscription.c.ended_at.is_(None)
    )
    return update(subscription).where(live).values(ended_at=at, ended_reason=reason)


def _subscription(row: Row[Any]) -> Subscription:
    return Subscription(
        row.id,
        row.profile_id,
        row.channel,
        row.frequency,
        row.local_hour,
        row.lang,
        row.next_due_at,
        row.covered_until,
        row.created_at,
        row.ended_at,
        row.ended_reason,
    )
