from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import PermanentError, RetryableError, SuppressedError, UnknownOutcomeError
from delivery.retry import MAX_ATTEMPTS, final_state, next_attempt, retry_at, throttled_until
from delivery.types import Lane
from delivery.windows import Rhythm, allowed_at, slot_after, spaced

SHANGHAI, BERLIN, UTC_ZONE = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def local(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("after", "hour", "due"),
    [
        ("2026-10-12T07:59", 8, "2026-10-12T08:00"),
        ("2026-10-12T08:00", 8, "2026-10-13T08:00"),  # strictly after
        ("2026-10-12T23:30", 0, "2026-10-13T00:00"),
        ("2026-12-31T09:00", 8, "2027-01-01T08:00"),
    ],
)
def test_the_next_slot(after: str, hour: int, due: str) -> None:
    assert slot_after(local(after), Rhythm(hour), SHANGHAI) == local(due)


def test_an_hour_that_does_not_exist_comes_after_the_gap() -> None:
    assert slot_after(local("2026-03-28T12:00", BERLIN), Rhythm(2), BERLIN) == local(
        "2026-03-29T03:00", BERLIN
    )


@given(
    st.datetimes(datetime(2011, 1, 3), datetime(2032, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 23),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Apia"]),
)
def test_the_next_slot_is_later_and_within_two_days(after: datetime, hour: int, name: str) -> None:
    due = slot_after(after, Rhythm(hour), ZoneInfo(name))
    assert after < due <= after + timedelta(hours=49)


@pytest.mark.parametrize(
    ("channel", "lane", "asked", "allowed"),
    [
        ("sms", "digest", "2026-10-12T07:59", "2026-10-12T08:00"),
        ("sms", "digest", "2026-10-12T08:00", "2026-10-12T08:00"),
        ("sms", "immediate", "2026-10-12T19:59", "2026-10-12T19:59"),
        ("sms", "immediate", "2026-10-12T20:00", "2026-10-13T08:00"),
        ("sms", "alert", "2026-10-12T03:00", "2026-10-12T03:00"),
        ("sms", "confirmation", "2026-10-12T23:00", "2026-10-12T23:00"),
        ("email", "immediate", "2026-10-12T21:59", "2026-10-12T21:59"),
        ("email", "immediate", "2026-10-12T22:00", "2026-10-13T08:00"),
        ("email", "immediate", "2026-10-13T00:30", "2026-10-13T08:00"),
        ("email", "digest", "2026-10-12T06:00", "2026-10-12T06:00"),
        ("push", "immediate", "2026-10-12T22:30", "2026-10-13T08:00"),
        ("webhook", "immediate", "2026-10-12T22:30", "2026-10-13T08:00"),
        ("feed", "immediate", "2026-10-12T03:00", "2026-10-12T03:00"),
    ],
)
def test_quiet_hours(channel: str, lane: str, asked: str, allowed: str) -> None:
    assert allowed_at(channel, local(asked), SHANGHAI, lane) == local(allowed)  # type: ignore[arg-type]


def test_quiet_hours_end_by_the_local_clock_when_clocks_change() -> None:
    assert allowed_at("sms", local("2026-03-28T21:00", BERLIN), BERLIN) == local("2026-03-29T08:00", BERLIN)


def test_pushes_are_half_an_hour_apart() -> None:
    now = local("2026-10-12T10:00")
    assert spaced(None, now) == now
    assert spaced(now - timedelta(minutes=10), now) == now + timedelta(minutes=20)
    assert spaced(now - timedelta(minutes=30), now) == now


BUSY, NEVER, LOST = RetryableError("busy"), PermanentError("no"), UnknownOutcomeError("lost")


@pytest.mark.parametrize(
    ("attempts", "error", "channel", "minutes"),
    [
        (1, BUSY, "email", 1),
        (2, BUSY, "email", 5),
        (3, BUSY, "email", 15),
        (4, BUSY, "email", 60),
        (5, BUSY, "email", 240),
        (6, BUSY, "email", None),
        (99, BUSY, "email", None),
        (1, BUSY, "sms", 1),
        (1, NEVER, "email", None),
        (1, SuppressedError("stopped"), "email", None),
        (1, LOST, "email", 1),
        (2, LOST, "email", None),
        (1, LOST, "sms", None),
        (1, KeyError("a fault of ours"), "email", 1),
    ],
)
def test_next_attempt(attempts: int, error: Exception, channel: str, minutes: int | None) -> None:
    expected = None if minutes is None else timedelta(minutes=minutes)
    assert next_attempt(attempts, error, channel) == expected


def test_attempts_are_counted_from_one() -> None:
    assert MAX_ATTEMPTS == 6
    with pytest.raises(ValueError, match="from 1"):
        next_attempt(0, BUSY)


def test_no_attempt_after_the_end() -> None:
    now = local("2026-10-12T10:00")
    soon, later = now + timedelta(minutes=1), now + timedelta(minutes=2)
    assert retry_at(1, BUSY, channel="email", now=now, expires_at=soon) is None
    assert retry_at(1, BUSY, channel="email", now=now, expires_at=later) == soon


@pytest.mark.parametrize(
    ("seconds", "lane", "ends", "minutes"),
    [
        (60, "digest", 120, 1),
        (86_400, "digest", 120, 60),  # a budget may be raised before the month is over
        (86_400, "confirmation", 120, 15),
        (1_000, "alert", 120, 15),
        (-5, "alert", 120, 0),
        (60, "digest", 1, None),  # half-open: at its end it is over
        (86_400, "digest", 60, None),
        (86_400, "digest", 61, 60),
    ],
)
def test_who_is_told_to_wait_looks_again_but_not_after_the_end(
    seconds: float, lane: Lane, ends: int, minutes: int | None
) -> None:
    now = local("2026-10-12T10:00")
    due = throttled_until(seconds, lane=lane, now=now, expires_at=now + timedelta(minutes=ends))
    assert due == (None if minutes is None else now + timedelta(minutes=minutes))


def test_final_states() -> None:
    assert [final_state(e) for e in (BUSY, NEVER, SuppressedError("x"), LOST, KeyError())] == [
        "failed", "failed", "suppressed", "unknown", "failed",
    ]  # fmt: skip
