"""Count working days on a public calendar: weekends off, except where the calendar says otherwise.

Never reads a file, a clock or a time zone: callers hand in local dates and a calendar loaded elsewhere.
Called by the duty clock of the desk and by deadline reminders; ``feeds.catalogue.city_files`` builds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

SATURDAY = 5


@dataclass(frozen=True, slots=True)
class WorkingCalendar:
    """Days off and worked weekend days of the years that are known.

    A year that is not in ``years`` counts as plain weekdays (Monday to Friday); ``covers`` says so, and the
    caller may then tell the reader that public holidays were not taken into account.

    Attributes:
        off: Dates that are not worked although they may be weekdays.
        worked: Dates that are worked although they fall on a weekend.
        years: Years whose holidays are completely known.
    """

    off: frozenset[date] = frozenset()
    worked: frozenset[date] = frozenset()
    years: frozenset[int] = frozenset()

    def is_working(self, day: date) -> bool:
        """Whether offices work on ``day``; a date in both sets is worked."""
        if day in self.worked:
            return True
        return day.weekday() < SATURDAY and day not in self.off

    def add(self, day: date, n: int) -> date:
        """The ``n``-th working day after ``day``, which itself never counts.

        Args:
            day: Where counting begins; may be a day off.
            n: Working days to go, 0 or more; 0 gives ``day`` back unchanged.

        Raises:
            ValueError: If ``n`` is negative.
        """
        if n < 0:
            raise ValueError(f"working days are counted forwards only, got {n}")
        while n:
            day += timedelta(days=1)
            n -= self.is_working(day)
        return day

    def between(self, start: date, end: date) -> int:
        """Working days in ``(start, end]``; 0 when ``end`` is not after ``start``."""
        return sum(self.is_working(day) for day in _days(start, end))

    def covers(self, day: date) -> bool:
        """Whether the holidays of that year are known."""
        return day.year in self.years


def _days(start: date, end: date) -> Iterator[date]:
    for offset in range(1, (end - start).days + 1):
        yield start + timedelta(days=offset)
