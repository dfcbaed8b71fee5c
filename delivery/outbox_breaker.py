"""A circuit breaker for each channel: a provider that is down is left alone instead of costing attempts.

Kept in memory by each sender; a lost state costs a few attempts, nothing more. The clock is passed in.
Safe for several threads. Called by ``delivery.sending``.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta


class Breaker:
    """Opens after many failures in a row, for longer each time, and closes at the first success.

    Args:
        after: Failures in a row that open it.
        first: How long it stays open at first; each further failure doubles that.
        longest: The most.
    """

    def __init__(
        self,
        *,
        after: int = 20,
        first: timedelta = timedelta(seconds=30),
        longest: timedelta = timedelta(minutes=10),
    ) -> None:
        self._after, self._first, self._longest = after, first, longest
        self._failures: dict[str, int] = {}
        self._open: dict[str, tuple[datetime, datetime]] = {}
        self._guard = threading.Lock()

    @classmethod
    def impatient(cls) -> Breaker:
        """For alerts: tried again after seconds, never after more than half a minute."""
        return cls(first=timedelta(seconds=2), longest=timedelta(seconds=30))

    def open_until(self, channel: str, now: datetime) -> datetime | None:
        """When the channel may be tried again, or ``None`` if it may be tried now."""
        with self._guard:
            begun, until = self._open.get(channel, (now, now))
            # A clock that was set back must not keep it open for longer than was meant.
            return until if begun <= now < until else None

    def success(self, channel: str) -> None:
        """The provider took a message, or answered as one that works."""
        with self._guard:
            if self._failures.pop(channel, 0):
                self._open.pop(channel, None)

    def failure(self, channel: str, now: datetime) -> None:
        """The provider could not be reached or was busy."""
        with self._guard:
            begun, until = self._open.get(channel, (now, now))
            if begun <= now < until:
                return  # it was under way when the breaker opened
            failures = self._failures[channel] = self._failures.get(channel, 0) + 1
            if failures >= self._after:
                doubled = self._first * 2 ** min(failures - self._after, 10)
                self._open[channel] = (now, now + min(doubled, self._longest))


__all__ = ["Breaker"]
