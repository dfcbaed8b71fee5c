from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.sms_weights import Change, Measure, choose_order, decide

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
REST = {"aliyun": 51, "tencent": 49}
GOOD, BAD = Measure(100, 3, 2), Measure(100, 10, 5)


def move(
    weights: dict[str, int], aliyun: Measure = GOOD, tencent: Measure = GOOD, minutes: float = 6
) -> Change | None:
    return decide(
        weights,
        REST,
        {"aliyun": aliyun, "tencent": tencent},
        changed_at=NOW - timedelta(minutes=minutes),
        now=NOW,
    )


def test_a_bad_provider_loses_ten_points_with_the_reason() -> None:
    change = move(dict(REST), aliyun=BAD)
    assert change is not None and dict(change.weights) == {"aliyun": 41, "tencent": 59}
    assert change.reason == "aliyun: 10 slow and 5 failed of 100 in 15 minutes; 10 points to tencent"


@pytest.mark.parametrize(
    "measure", [Measure(100, 14, 0), Measure(4, 4, 0), Measure(0, 0, 0)], ids=["share", "few", "none"]
)
def test_too_little_moves_nothing(measure: Measure) -> None:
    assert move(dict(REST), aliyun=measure) is None


def test_nothing_moves_where_both_are_bad_or_it_moved_just_now() -> None:
    assert move(dict(REST), aliyun=BAD, tencent=BAD) is None
    assert move(dict(REST), aliyun=BAD, minutes=4.9) is None
    assert move({"aliyun": 31, "tencent": 69}, minutes=4.9) is None


def test_back_towards_rest_in_steps() -> None:
    weights = {"aliyun": 26, "tencent": 74}
    seen = []
    for _ in range(4):
        change = move(weights)
        if change is None:
            break
        weights = dict(change.weights)
        seen.append(weights["aliyun"])
    assert seen == [36, 46, 51] and weights == REST


def test_it_stops_at_the_ends() -> None:
    change = move({"aliyun": 4, "tencent": 96}, aliyun=BAD)
    assert change is not None and dict(change.weights) == {"aliyun": 0, "tencent": 100}
    assert move({"aliyun": 0, "tencent": 100}, aliyun=BAD) is None


def test_first_weights_and_another_set_of_providers() -> None:
    change = decide({}, REST, {}, changed_at=None, now=NOW)
    assert change is not None and dict(change.weights) == REST
    change = decide({"aliyun": 20, "twilio": 80}, REST, {}, changed_at=NOW, now=NOW)
    assert change is not None and dict(change.weights) == {"aliyun": 20, "tencent": 49}


MEASURES = st.builds(
    lambda texts, slow, failed: Measure(texts, min(slow, texts), min(failed, texts)),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
)


@given(st.lists(st.tuples(MEASURES, MEASURES), max_size=60))
def test_the_sum_stays_and_weights_stay_in_bounds(steps: list[tuple[Measure, Measure]]) -> None:
    weights = dict(REST)
    for aliyun, tencent in steps:
        change = move(weights, aliyun, tencent)
        if change is not None:
            assert dict(change.weights) != weights
            weights = dict(change.weights)
        assert sum(weights.values()) == 100
        assert all(0 <= weight <= 100 for weight in weights.values())


def test_the_choice_follows_the_weights_and_puts_the_failed_one_last() -> None:
    rng = random.Random(7)
    first = Counter(choose_order(["a", "b"], {"a": 80, "b": 20}, rng)[0] for _ in range(2000))
    assert 0.76 < first["a"] / 2000 < 0.84
    assert all(choose_order(["a", "b"], {"a": 99, "b": 1}, rng, last={"a"}) == ["b", "a"] for _ in range(50))
    assert all(choose_order(["a", "b"], {"a": 100, "b": 0}, rng) == ["a", "b"] for _ in range(50))
    assert sorted(choose_order(["a", "b"], {}, rng)) == ["a", "b"]
    assert sorted(choose_order(["a", "b"], {"a": 5}, rng, last={"a", "b"})) == ["a", "b"]
    assert choose_order([], {}, rng) == []
