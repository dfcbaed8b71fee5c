"""Working days: holidays, worked weekends, and years that nobody announced yet."""

from __future__ import annotations

from datetime import date

import pytest

from feeds.catalogue.city_files import load_city
from feeds.kernel.workdays import WorkingCalendar


@pytest.fixture(scope="module")
def calendar() -> WorkingCalendar:
    return load_city("shanghai").calendar


@pytest.mark.parametrize(
    ("day", "working"),
    [
        (date(2026, 9, 24), True),
        (date(2026, 9, 25), False),  # Mid-Autumn, a Friday
        (date(2026, 9, 20), True),  # a worked Sunday
        (date(2026, 10, 10), True),  # a worked Saturday
        (date(2026, 10, 1), False),
        (date(2026, 10, 8), True),
        (date(2026, 10, 11), False),  # an ordinary Sunday
    ],
)
def test_holidays_of_2026(calendar: WorkingCalendar, day: date, working: bool) -> None:
    assert calendar.is_working(day) is working


def test_the_twenty_days_of_the_disclosure_rule_skip_two_holidays(calendar: WorkingCalendar) -> None:
    formed = date(2026, 9, 21)
    assert calendar.add(formed, 20) == date(2026, 10, 26)
    assert WorkingCalendar().add(formed, 20) == date(2026, 10, 19)


def test_five_days_left_before_a_deadline(calendar: WorkingCalendar) -> None:
    assert calendar.between(date(2026, 10, 23), date(2026, 10, 30)) == 5


def test_between_is_half_open_and_never_negative() -> None:
    plain = WorkingCalendar()
    monday = date(2026, 3, 2)
    assert plain.between(monday, monday) == 0
    assert plain.between(monday, date(2026, 3, 3)) == 1
    assert plain.between(date(2026, 3, 3), monday) == 0


@pytest.mark.parametrize("n", [0, 1, 7, 40])
def test_add_and_between_agree(calendar: WorkingCalendar, n: int) -> None:
    start = date(2026, 1, 31)
    assert calendar.between(start, calendar.add(start, n)) == n


def test_zero_days_after_a_day_off_is_that_day_and_going_back_is_refused(calendar: WorkingCalendar) -> None:
    assert calendar.add(date(2026, 10, 1), 0) == date(2026, 10, 1)
    with pytest.raises(ValueError, match="forwards"):
        calendar.add(date(2026, 10, 1), -1)


def test_an_unknown_year_is_plain_weekdays_and_says_so(calendar: WorkingCalendar) -> None:
    assert calendar.covers(date(2026, 5, 5))
    assert not calendar.covers(date(2031, 10, 1))
    assert calendar.is_working(date(2031, 10, 1))
