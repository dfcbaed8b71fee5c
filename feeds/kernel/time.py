"""Clocks and the few conversions of time that every room needs.

Instants are aware datetimes in UTC, whole microseconds. Nothing here reads the machine's clock
except :class:`SystemClock`; every job takes a clock as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells what time it is; the only source of "now" in the project."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)


@dataclass
class FixedClock:
    """A clock that stands still until it is told to move (``--now``, tests)."""

    at: datetime

    def now(self) -> datetime:
        """Return the instant the clock stands at."""
        return self.at

    def advance(self, by: timedelta) -> datetime:
        """Move the clock and return the new instant."""
        self.at += by
        return self.at


@dataclass
class OffsetClock:
    """A clock that started at another time and runs on (the demo city lives in its own days)."""

    start: datetime
    _real_start: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """Return ``start`` plus the real time that has passed since then."""
        return self.start + (datetime.now(UTC) - self._real_start)


def to_micros(instant: datetime) -> int:
    """Count microseconds from 1970-01-01T00:00Z; earlier instants are negative.

    Raises:
        ValueError: If ``instant`` has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Turn microseconds since 1970-01-01T00:00Z back into an aware datetime in UTC."""
    return EPOCH + micros * _MICROSECOND


def parse_instant(text: str, zone: ZoneInfo) -> datetime:
    """Read ISO 8601; a text without an offset is local to ``zone``, a bare date is its midnight.

    Raises:
        ValueError: If the text is not ISO 8601.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone)
    return instant.astimezone(UTC)


def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day that ``instant`` falls on in ``zone``."""
    return instant.astimezone(zone).date()


def at_local_time(day: date, hour: int, zone: ZoneInfo, minute: int = 0) -> datetime:
    """Return the instant of ``hour:minute`` on ``day`` in ``zone``, in UTC."""
    return datetime.combine(day, time(hour, minute), tzinfo=zone).astimezone(UTC)
