"""The one formula for the next poll, as a table, and what headers say about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.schedule import LONGEST_RETRY_S, SPREAD, Hints, Standing, hints_of, next_poll

NOW = datetime(2026, 10, 12, 2, tzinfo=UTC)
HOUR, DAY = 3600, 86_400


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


@pytest.mark.parametrize(
    ("changes", "wait", "why"),
    [
        # After a good answer: the longest of what is asked for.
        ({}, HOUR, "interval"),
        ({"interval_s": 1}, 300, "interval"),
        ({"ttl_s": 7200}, 7200, "ttl"),
        ({"ttl_s": 60}, HOUR, "interval"),
        ({"hints": Hints(max_age_s=9000)}, 9000, "max-age"),
        ({"hints": Hints(expires_s=9000)}, 9000, "expires"),
        ({"hints": Hints(retry_after_s=9000)}, 9000, "retry-after"),
        ({"ttl_s": 8000, "hints": Hints(max_age_s=9000)}, 9000, "max-age"),
        ({"ttl_s": HOUR}, HOUR, "interval"),  # equal terms: the first
        # Clipped to a day, or to the operator's own longer interval.
        ({"ttl_s": 30 * DAY}, DAY, "limit"),
        ({"hints": Hints(max_age_s=31_536_000)}, DAY, "limit"),
        ({"interval_s": 7 * DAY}, 7 * DAY, "interval"),
        ({"interval_s": 7 * DAY, "ttl_s": 30 * DAY}, 7 * DAY, "limit"),
        # Silence: a 48th of it.
        ({"last_new_at": ago(days=1)}, HOUR, "interval"),
        ({"last_new_at": ago(days=2)}, HOUR, "interval"),
        ({"last_new_at": ago(days=4)}, 2 * HOUR, "quiet"),
        ({"last_new_at": ago(days=24)}, 12 * HOUR, "quiet"),
        ({"last_new_at": ago(days=400)}, DAY, "limit"),
        ({"last_new_at": ago(days=400), "urgent": True}, HOUR, "interval"),
        # A hub that tells us.
        ({"pushed": True}, DAY, "push"),
        ({"pushed": True, "urgent": True}, HOUR, "interval"),
        # Failures that may pass: from five minutes, doubling, up to a day.
        ({"failures": 1, "status": 0}, 300, "errors"),
        ({"failures": 2, "status": 502}, 600, "errors"),
        ({"failures": 7, "status": 408}, 19_200, "errors"),
        ({"failures": 500, "status": 0}, DAY, "errors"),
        # A clear no, or bytes that cannot be read: from the interval.
        ({"failures": 1, "status": 404}, HOUR, "errors"),
        ({"failures": 3, "status": 403}, 4 * HOUR, "errors"),
        ({"failures": 2, "status": 200}, 2 * HOUR, "errors"),
        ({"failures": 9, "status": 404}, DAY, "errors"),
        ({"failures": 9, "status": 404, "interval_s": 3 * DAY}, 3 * DAY, "errors"),
        ({"failures": 9, "status": 404, "pushed": True, "last_new_at": ago(days=9)}, DAY, "errors"),
        # Come back later.
        ({"failures": 1, "status": 429, "hints": Hints(retry_after_s=50_000)}, 50_000, "retry-after"),
        ({"failures": 1, "status": 429, "hints": Hints(retry_after_s=60)}, HOUR, "errors"),
        ({"failures": 1, "status": 503, "hints": Hints(retry_after_s=3 * DAY)}, 3 * DAY, "retry-after"),
        ({"failures": 1, "status": 503, "hints": Hints(retry_after_s=99 * DAY)}, 7 * DAY, "limit"),
        ({"failures": 1, "status": 500, "hints": Hints(retry_after_s=3 * DAY)}, DAY, "limit"),
    ],
)
def test_the_formula(changes: dict[str, Any], wait: int, why: str) -> None:
    found = next_poll(Standing(**({"slug": "a", "number": 0, "interval_s": HOUR} | changes)), NOW)
    assert found.why == why
    assert wait <= found.wait_s <= wait + min(wait, DAY) * SPREAD + 1
    assert found.at == NOW + timedelta(seconds=found.wait_s)


def test_gone_is_never_asked_again() -> None:
    gone = next_poll(Standing("a", 9, HOUR, failures=1, status=410), NOW)
    assert (gone.at, gone.wait_s, gone.why) == (None, 0, "gone")


def test_a_thousand_sources_do_not_march_in_step() -> None:
    waits = [next_poll(Standing(f"source-{n}", 1, HOUR), NOW).wait_s for n in range(1000)]
    assert waits == [next_poll(Standing(f"source-{n}", 1, HOUR), NOW).wait_s for n in range(1000)]
    busiest = max(sum(minute == wait // 30 for wait in waits) for minute in range(200))
    assert len(set(waits)) > 300 and busiest < 150  # 12 half minutes to share
    assert len({next_poll(Standing("a", n, HOUR), NOW).wait_s for n in range(100)}) > 60


@given(
    st.builds(
        Standing,
        slug=st.text(max_size=5),
        number=st.integers(0, 10**6),
        interval_s=st.integers(0, 31 * DAY),
        ttl_s=st.integers(0, 10**9),
        last_new_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        urgent=st.booleans(),
        pushed=st.booleans(),
        failures=st.integers(0, 10**6),
        status=st.sampled_from([0, 200, 304, 404, 429, 500, 503]),
        hints=st.builds(Hints, *[st.none() | st.integers(0, 10**9)] * 3),
    )
)
def test_never_too_soon_never_for_ever(standing: Standing) -> None:
    wait = next_poll(standing, NOW).wait_s
    assert 300 <= wait <= max(LONGEST_RETRY_S, standing.interval_s) * (1 + SPREAD) + 1
    if not standing.failures:
        assert wait >= standing.interval_s


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({}, Hints()),
        ({"cache-control": "public, max-age=600"}, Hints(600)),
        ({"cache-control": "Max-Age=600", "age": "100"}, Hints(500)),
        ({"cache-control": "max-age=600", "age": "900"}, Hints(0)),
        ({"cache-control": 'max-age="600"'}, Hints(600)),
        ({"cache-control": "max-age=600, max-age=900"}, Hints(600)),
        ({"cache-control": "s-maxage=900"}, Hints(900)),
        ({"cache-control": "s-maxage=900, max-age=60"}, Hints(60)),
        ({"cache-control": "no-store, max-age=900"}, Hints(0)),
        ({"cache-control": "no-cache"}, Hints(0)),
        ({"cache-control": "max-age=-1"}, Hints()),
        ({"cache-control": "max-age=soon"}, Hints()),
        ({"cache-control": "max-age=" + "9" * 40}, Hints(999_999_999)),
        ({"expires": "Mon, 12 Oct 2026 03:00:00 GMT"}, Hints(expires_s=3600)),
        (
            {"expires": "Mon, 12 Oct 2026 03:00:00 GMT", "date": "Mon, 12 Oct 2026 02:30:00 GMT"},
            Hints(expires_s=1800),
        ),
        ({"expires": "Mon, 12 Oct 2026 01:00:00 GMT"}, Hints(expires_s=0)),
        ({"expires": "0"}, Hints(expires_s=0)),
        ({"expires": "Mon, 12 Oct 2026 03:00:00 GMT", "cache-control": "max-age=60"}, Hints(60)),
        ({"retry-after": "120"}, Hints(retry_after_s=120)),
        ({"retry-after": "Mon, 12 Oct 2026 02:02:00 GMT"}, Hints(retry_after_s=120)),
        ({"retry-after": "Mon, 12 Oct 2026 01:02:00 GMT"}, Hints(retry_after_s=0)),
        ({"retry-after": "later"}, Hints()),
        ({"retry-after": "１２０"}, Hints()),
    ],
)
def test_hints(headers: dict[str, str], hints: Hints) -> None:
    assert hints_of(headers, NOW) == hints


@given(
    st.dictionaries(st.sampled_from(["cache-control", "expires", "date", "age", "retry-after"]), st.text())
)
def test_headers_of_any_kind_are_survived(headers: dict[str, str]) -> None:
    found = hints_of(headers, NOW)
    assert all(one is None or one >= 0 for one in (found.max_age_s, found.expires_s, found.retry_after_s))
