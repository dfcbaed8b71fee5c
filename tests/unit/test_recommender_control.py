"""Who is in the control group, and when a comparison says something."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.feedback import FeedbackRow
from recommender.clickthrough import OPENED
from recommender.control import (
    FEW_PEOPLE,
    MOST_SHARE,
    Group,
    compare,
    in_control,
    spared,
    tally,
    wilson,
)
from tests.unit.recommender_world import DAY, NOW, city, person

KEY = b"a key of the tests alone"
OCTOBER, NOVEMBER = date(2026, 10, 12), date(2026, 11, 1)


def held(number: int, month: date = OCTOBER, share: float = 0.05, key: bytes = KEY, **changes: Any) -> bool:
    return in_control(person(number, **changes), month, share, key, city())


def test_about_the_share_is_in_it() -> None:
    for share in (0.05, 0.1):
        inside = sum(held(n, share=share) for n in range(20_000))
        assert inside == pytest.approx(20_000 * share, rel=0.1)


def test_it_holds_for_a_month_and_nobody_stays() -> None:
    inside = [n for n in range(5000) if held(n)]
    assert inside == [n for n in range(5000) if held(n, date(2026, 10, 31))]
    assert inside and not any(held(n, NOVEMBER) for n in inside)


@given(st.integers(1, 10**9), st.integers(2000, 2100), st.integers(1, 12), st.floats(0, MOST_SHARE))
def test_nobody_is_in_it_two_months_running(number: int, year: int, month: int, share: float) -> None:
    here = date(year, month, 1)
    after = date(year + month // 12, month % 12 + 1, 1)
    assert not (held(number, here, share) and held(number, after, share))


def test_in_the_long_run_everybody_takes_part_equally() -> None:
    months = [date(2026 + n // 12, n % 12 + 1, 1) for n in range(200)]
    for number in range(1, 20):
        assert sum(held(number, month) for month in months) == pytest.approx(10, abs=3)


def test_another_key_draws_another_group() -> None:
    one = {n for n in range(4000) if held(n)}
    other = {n for n in range(4000) if held(n, key=b"another")}
    assert len(one & other) < 0.2 * len(one)
    held(1, key=b"k" * 200)  # a long key is fine


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_no_share_no_group(share: float) -> None:
    assert not any(held(n, share=share) for n in range(300))


def test_never_more_than_a_fifth() -> None:
    assert sum(held(n, share=1.0) for n in range(5000)) == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize(
    "changes", [{"personalised": False}, {"discreet": True}, {"roles": ("citizen", "aid")}]
)
def test_who_is_spared(changes: dict[str, Any]) -> None:
    assert spared(person(1, **changes), city())
    assert not any(held(n, share=1.0, **changes) for n in range(500))
    assert not spared(person(1, roles=("citizen",)), city())


def groups(rates: tuple[float, float], people: int, shows: int = 40, spread: float = 0.0) -> list[Group]:
    draw = random.Random(5)
    found = []
    for rate in rates:
        own = [min(1.0, max(0.0, rate + draw.uniform(-spread, spread))) for _ in range(people)]
        found.append(Group([shows] * people, [sum(draw.random() < r for _ in range(shows)) for r in own]))
    return found


def test_a_clear_difference_is_seen_both_ways() -> None:
    one, other = groups((0.2, 0.1), 200)
    assert compare(one, other).verdict == "better"
    assert compare(other, one).verdict == "worse"
    same = compare(one, one)
    assert same.verdict == "no difference" and same.low < 0 < same.high and same.difference == 0


def test_few_people_or_clicks_say_nothing() -> None:
    one, other = groups((0.5, 0.05), FEW_PEOPLE - 1)
    assert compare(one, other).verdict == "too few"
    assert compare(Group([], []), Group([], [])).verdict == "too few"
    quiet = Group([3.0] * 50, [0.0] * 49 + [1.0])
    assert compare(quiet, quiet).verdict == "too few"
    none = compare(Group([10.0] * 50, [0.0] * 50), Group([10.0] * 50, [0.0] * 50))
    assert none.verdict == "too few" and none.difference == 0


def test_a_group_that_opens_nothing_is_still_compared() -> None:
    silent, other = Group([40.0] * 100, [0.0] * 100), groups((0.1, 0.1), 100)[0]
    found = compare(silent, other)
    assert found.verdict == "worse" and found.personalised == 0 and -1 <= found.low < found.high < 0


def test_people_who_differ_make_the_interval_wider() -> None:
    alike, unlike = groups((0.2, 0.2), 100), groups((0.2, 0.2), 100, spread=0.2)
    width = [compare(*pair).high - compare(*pair).low for pair in (alike, unlike)]
    assert width[1] > 1.5 * width[0]


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    hits = 0
    for _ in range(400):
        made = []
        for rate in (0.15, 0.1):
            own = draw.beta(4 * rate, 4 * (1 - rate), 60)
            made.append(Group([20.0] * 60, draw.binomial(20, own).astype(float).tolist()))
        found = compare(*made)
        hits += found.low <= 0.05 <= found.high
    assert hits / 400 > 0.92


Counts = list[tuple[float, float]]
rates = st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 1)), max_size=40)


@given(rates, rates)
def test_any_counts_give_a_sound_interval(one: Counts, other: Counts) -> None:
    pair = [Group([s for s, _ in g], [s * r for s, r in g]) for g in (one, other)]
    found = compare(*pair)
    assert -1 - 1e-9 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 1 + 1e-9
    back = compare(*reversed(pair))
    assert back.low == pytest.approx(-found.high, abs=1e-9)
    opposite = {"better": "worse", "worse": "better"}
    assert back.verdict == opposite.get(found.verdict, found.verdict)


@given(st.floats(0, 1), st.floats(0, 1e6))
def test_wilson_holds_its_rate(rate: float, n: float) -> None:
    low, high = wilson(rate, n)
    assert 0 <= low <= rate <= high <= 1


def test_counted_by_person_and_month() -> None:
    def seen(who: int, what: int, **changes: Any) -> FeedbackRow:
        return FeedbackRow(who, what, **({"kind": "impression", "at": NOW} | changes))

    rows = [
        seen(1, 1), seen(1, 1, sure=0.3), seen(1, 2, sure=0.5), seen(1, 1, kind="click"),
        seen(1, 3, at=NOW + 25 * DAY), seen(2, 1, sure=0.9), seen(2, 1, kind="like"),
        seen(3, 1), seen(4, 1, kind="click"), seen(5, 1, simulated=True), seen(6, 1, sure=0.0),
    ]  # fmt: skip
    sides = {1: False, 2: True, 3: None}
    first, second = tally(rows, OPENED, lambda who, _day: sides.get(who, False), lambda row: row.at.date())
    assert sorted(zip(first.shown, first.opened, strict=True)) == [(1.0, 0.0), (1.5, 1.0)]
    assert list(second.shown) == [0.9] and list(second.opened) == [0.9]
    mixed = tally(reversed(rows), OPENED, lambda who, _day: sides.get(who, False), lambda row: row.at.date())
    assert sorted(mixed[0].shown) == sorted(first.shown)
    assert replace(first) == first
