"""Slots and windows of every rhythm: years of them meet without gap or overlap, wherever clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.windows import Rhythm, open_span, slot_after, slot_before
from feeds.catalogue.city_files import load_city
from feeds.kernel.time import at_local_time
from feeds.kernel.workdays import WorkingCalendar

ZONES = ["Asia/Shanghai", "Europe/London", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia"]
SHANGHAI = ZoneInfo("Asia/Shanghai")
RHYTHMS = st.builds(
    Rhythm, st.integers(0, 23), st.sampled_from(["daily", "weekly"]), st.integers(0, 6), st.booleans()
)
INSTANTS = st.datetimes(datetime(2010, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
# A calendar that moves things: off from 1 to 8 October, the Saturday after worked.
HOLIDAYS = WorkingCalendar(
    frozenset(date(2026, 10, day) for day in range(1, 9)), frozenset({date(2026, 10, 10)}), frozenset({2026})
)


def local(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@settings(max_examples=40, deadline=None)
@given(INSTANTS, RHYTHMS, st.sampled_from(ZONES))
def test_a_year_of_windows_meets_without_gap_or_overlap(start: datetime, rhythm: Rhythm, name: str) -> None:
    zone, seen = ZoneInfo(name), start
    for _ in range(60 if rhythm.frequency == "weekly" else 380):
        slot = slot_after(seen, rhythm, zone)
        assert slot > seen
        assert slot_before(slot, rhythm, zone) == slot
        assert slot_before(slot - timedelta(microseconds=1), rhythm, zone) <= seen
        seen = slot
    assert seen - start > timedelta(days=370)


@settings(max_examples=60, deadline=None)
@given(INSTANTS, RHYTHMS, st.sampled_from(ZONES))
def test_any_instant_lies_in_exactly_one_window(at: datetime, rhythm: Rhythm, name: str) -> None:
    zone = ZoneInfo(name)
    start, end = slot_before(at, rhythm, zone), slot_after(at, rhythm, zone)
    assert start <= at < end
    assert slot_after(start, rhythm, zone) == end
    assert end - start <= timedelta(days=11 if rhythm.frequency == "weekly" else 5)


@settings(max_examples=60, deadline=None)
@given(INSTANTS, st.integers(0, 23), st.integers(0, 23), st.sampled_from(ZONES))
def test_a_change_of_hour_goes_on_where_the_last_window_ended(
    at: datetime, before: int, after: int, name: str
) -> None:
    zone = ZoneInfo(name)
    covered = slot_before(at, Rhythm(before), zone)
    following = slot_after(at, Rhythm(after), zone)
    assert covered <= at < following
    assert following - covered <= timedelta(hours=49 + 24)


def test_a_daily_digest_on_working_days_covers_friday_to_monday() -> None:
    rhythm = Rhythm(9, workdays_only=True)
    friday = local("2026-10-16T09:00")
    assert slot_after(friday, rhythm, SHANGHAI) == local("2026-10-19T09:00")


@pytest.mark.parametrize(
    ("rhythm", "after", "slot"),
    [
        (Rhythm(9, workdays_only=True), "2026-09-30T09:00", "2026-10-09T09:00"),
        (Rhythm(9, workdays_only=True), "2026-10-09T09:00", "2026-10-10T09:00"),  # a worked Saturday
        (Rhythm(9, "weekly", 3, workdays_only=True), "2026-09-30T12:00", "2026-10-09T09:00"),
        (Rhythm(9, "weekly", 3, workdays_only=True), "2026-10-09T09:00", "2026-10-15T09:00"),
        (Rhythm(9, "weekly", 5, workdays_only=True), "2026-10-09T09:00", "2026-10-10T09:00"),
        (Rhythm(9, "weekly", 3), "2026-09-30T12:00", "2026-10-01T09:00"),
    ],
)
def test_days_off_move_a_digest_to_the_next_working_day(rhythm: Rhythm, after: str, slot: str) -> None:
    assert slot_after(local(after), rhythm, SHANGHAI, HOLIDAYS) == local(slot)


def test_the_sample_citys_own_calendar_counts() -> None:
    calendar = load_city("shili").calendar
    rhythm = Rhythm(9, workdays_only=True)
    assert slot_after(local("2026-09-30T09:00"), rhythm, SHANGHAI, calendar) == local("2026-10-08T09:00")


def test_an_hour_that_exists_twice_or_not_at_all_comes_once() -> None:
    london = ZoneInfo("Europe/London")
    spring = slot_after(local("2026-03-28T12:00", london), Rhythm(1), london)
    assert spring == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 01:00 does not exist: 02:00 summer time
    assert slot_after(spring, Rhythm(1), london) == local("2026-03-30T01:00", london)
    autumn = slot_after(local("2026-10-24T12:00", london), Rhythm(1), london)
    assert autumn == datetime(2026, 10, 25, 0, tzinfo=UTC)
    assert slot_after(autumn, Rhythm(1), london) == at_local_time(date(2026, 10, 26), 1, london)


def test_the_open_span_of_a_channel() -> None:
    noon, night = local("2026-10-12T12:00"), local("2026-10-12T23:00")
    assert open_span("sms", noon, SHANGHAI) == (noon, local("2026-10-12T20:00"), local("2026-10-13T08:00"))
    opens, closes, _ = open_span("email", night, SHANGHAI)
    assert (opens, closes) == (local("2026-10-13T08:00"), local("2026-10-13T22:00"))
