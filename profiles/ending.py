"""Profiles that end by themselves: a visitor's stay has a last day, known from the beginning.

Erases nothing (``api.jobs.joining.erase`` does); it only keeps the instant and says who is over. Called
when a visitor joins and by the tick that ends them.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from feeds.kernel.db import Database
from profiles.tables import feed_token, profile


class EndingStore:
    """Keeps when a profile ends."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set(self, profile_id: int, ends_at: datetime, connection: Connection | None = None) -> None:
        """Let a profile end at an instant; its feed addresses end with it."""
        if connection is None:
            with self._db.write() as own:
                return self.set(profile_id, ends_at, own)
        connection.execute(update(profile).where(profile.c.id == profile_id).values(ends_at=ends_at))
        later = (feed_token.c.profile_id == profile_id) & (
            feed_token.c.ends_at.is_(None) | (feed_token.c.ends_at > ends_at)
        )
        connection.execute(update(feed_token).where(later).values(ends_at=ends_at))
        return None

    def of(self, profile_id: int) -> datetime | None:
        """Return when a profile ends, or ``None``."""
        with self._db.read() as connection:
            return connection.scalar(select(profile.c.ends_at).where(profile.c.id == profile_id))

    def over(self, now: datetime, limit: int = 500) -> list[int]:
        """Return the profiles whose end has come, by id."""
        query = (
            select(profile.c.id)
            .where(profile.c.ends_at.is_not(None), profile.c.ends_at <= now)
            .order_by(profile.c.id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))
