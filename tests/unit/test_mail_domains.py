"""How fast mail goes to a provider: rates, patience, recovery, the days of a new sender."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.mail_domains import Bucket, DailyQuota, MailRates, Warmup, parse_rates, parse_warmup
from feeds.kernel.errors import UsageError


class Steady:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_read() -> None:
    rates = parse_rates("QQ.com|foxmail.com=5/s, 163.com=300/m,*=7200/h")
    assert rates == {
        "qq.com": ("qq.com", 5.0), "foxmail.com": ("qq.com", 5.0), "163.com": ("163.com", 5.0),
        "*": ("*", 2.0),
    }  # fmt: skip
    assert parse_rates(" ") == {}


@pytest.mark.parametrize(
    "text", ["qq.com", "qq.com=5", "qq.com=0/s", "qq=5/s", "=5/s", "qq.com=5/d", "qq.com=x/s"]
)
def test_wrong_rates_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="MYCITY_MAIL_RATES"):
        parse_rates(text)


@given(st.floats(0.1, 100), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_more_goes_than_the_rate_and_one_burst(rate: float, pauses: list[float]) -> None:
    bucket, now, sent = Bucket(rate, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        while bucket.take(now) == 0.0:
            sent += 1
    assert sent <= rate * now + max(1.0, rate) + 1e-6


def test_ten_thousand_waiting_mails_come_back_one_after_the_other() -> None:
    clock = Steady()
    rates = MailRates(parse_rates("qq.com=5/s"), clock)
    waits = [rates.wait("qq.com") for _ in range(1_000)]
    assert waits[:5] == [0.0] * 5
    assert waits[5:] == sorted(waits[5:])
    assert waits[-1] == pytest.approx(199, abs=1)
    returns = 0
    for wait in waits[5:]:  # each comes back when it was told, and finds a place
        clock.now = 1_000.0 + wait
        returns += rates.wait("qq.com") == 0.0
    assert returns >= 0.99 * len(waits[5:])


def test_domains_of_one_provider_share_and_others_do_not() -> None:
    rates = MailRates(parse_rates("qq.com|foxmail.com=1/s,*=2/s"), Steady())
    assert (rates.wait("qq.com"), rates.wait("foxmail.com") > 0) == (0.0, True)
    assert [rates.wait("a.example") for _ in range(2)] == [0.0, 0.0]
    assert rates.wait("a.example") > 0
    assert rates.wait("b.example") == 0.0  # "*" is for each domain


def test_too_many_halves_and_recovers() -> None:
    clock = Steady()
    rates = MailRates(parse_rates("qq.com=4/s"), clock)
    first = rates.slow("qq.com")
    assert first >= 30
    assert rates.shares() == {"qq.com": 0.5}
    assert rates.slow("qq.com") >= 1  # a second thread hears the same: not halved again
    assert rates.shares() == {"qq.com": 0.5}
    assert rates.wait("qq.com") > 0
    clock.now += 40
    assert rates.slow("qq.com") > first
    assert rates.shares()["qq.com"] < 0.3
    clock.now += 1_000
    assert rates.wait("qq.com") == 0.0
    assert rates.shares() == {}


def test_a_provider_without_a_rate_that_asks_for_patience_gets_it() -> None:
    clock = Steady()
    rates = MailRates({}, clock)
    assert all(rates.wait("163.com") == 0.0 for _ in range(1_000))
    rates.slow("163.com")
    assert rates.wait("163.com") > 0
    assert rates.wait("126.com") == 0.0
    clock.now += 2_000
    assert all(rates.wait("163.com") == 0.0 for _ in range(1_000))


def test_warming_up_grows_by_half_a_day() -> None:
    warmup = parse_warmup("2026-12-01,200")
    assert warmup == Warmup(date(2026, 12, 1), 200)
    days = [warmup.limit(date(2026, 12, 1) + timedelta(days=n)) for n in range(4)]
    assert days == [200, 300, 450, 675]
    assert warmup.limit(date(2026, 11, 30)) == 200
    assert warmup.limit(date(2027, 3, 1)) is None
    assert parse_warmup("") is None


@pytest.mark.parametrize("text", ["200", "2026-12-01", "2026-12-01,0", "2026-13-01,5", "2026-12-01,x"])
def test_a_wrong_warmup_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="MYCITY_MAIL_WARMUP"):
        parse_warmup(text)


def test_two_processes_share_the_day() -> None:
    taken: dict[date, int] = {}

    def reserve(day: date, wanted: int, limit: int) -> int:
        granted = max(0, min(wanted, limit - taken.get(day, 0)))
        taken[day] = taken.get(day, 0) + granted
        return granted

    today = [date(2026, 12, 1)]
    warmup = Warmup(date(2026, 12, 1), 100)
    quotas = [DailyQuota(warmup, lambda: today[0], reserve) for _ in range(2)]
    sent = sum(quotas[n % 2].take() for n in range(500))
    assert sent == 100
    today[0] = date(2026, 12, 2)
    assert sum(quotas[n % 2].take() for n in range(500)) == 150
