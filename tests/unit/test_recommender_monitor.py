"""The verdict on a model, and the figures of what the recommender does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.feedback import FeedbackRow
from profiles.types import Edition, Pick, Reason
from recommender import figures
from recommender.control import Comparison
from recommender.figures import Measures, Parity, Released, Seen, Share
from recommender.monitor import BY_RULES, QUIET, Limits, State, held_out_said, judge, ranker_said
from tests.factories import NOW
from tests.models import small

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
INFO = small().info
LIMITS = Limits()


def edition(profile_id: int, *picks: Pick, at: datetime = NOW) -> Edition:
    return Edition(profile_id, profile_id, at, "daily", picks)


def pick(number: int, code: str = "interest", kind: str = "new", score: float = 1.0) -> Pick:
    return Pick(number, 1, kind, (Reason(code, (), 1.0),) if code else (), score)  # type: ignore[arg-type]


def released(number: int, **changes: object) -> Released:
    values = {"at": NOW - DAY, "theme": "04", "agency": "tax", "place": "sl01", "lang": "zh-Hans"}
    return Released(number, **(values | changes))  # type: ignore[arg-type]


# The verdict


@pytest.mark.parametrize(
    ("age", "full_age", "state"),
    [
        (timedelta(0), timedelta(0), "fine"),
        (26 * HOUR, 26 * HOUR, "fine"),
        (26 * HOUR + HOUR / 60, 2 * DAY, "late"),
        (HOUR, 7 * DAY, "fine"),
        (HOUR, 7 * DAY + HOUR / 60, "stale"),  # hourly teaching does not hide that the nights fail
        (-HOUR / 10, -HOUR / 10, "fine"),  # clocks of two machines
        (-HOUR, -HOUR, "ahead"),
        (-HOUR, 8 * DAY, "ahead"),
    ],
)
def test_age(age: timedelta, full_age: timedelta, state: str) -> None:
    info = replace(INFO, trained_at=NOW - age, full_at=NOW - full_age)
    found = judge(info, "", "", NOW, LIMITS)
    assert found.state == state
    assert judge(info, "", "", NOW, None).state == "fine"


def test_a_look_that_found_nothing_to_learn_is_not_late() -> None:
    info = replace(INFO, trained_at=NOW - 2 * DAY, full_at=NOW - 2 * DAY)
    assert judge(info, "", "", NOW, LIMITS).state == "late"
    assert judge(info, "", "", NOW, LIMITS, refreshed_at=NOW - HOUR).state == "fine"
    assert judge(info, "", "", NOW, LIMITS, refreshed_at=NOW - 27 * HOUR).state == "late"


def test_limits_are_settings() -> None:
    info = replace(INFO, trained_at=NOW - 2 * HOUR, full_at=NOW - 2 * DAY)
    assert judge(info, "", "", NOW, Limits(full=DAY)).state == "stale"
    assert judge(info, "", "", NOW, Limits(partial=HOUR)).state == "late"


@given(
    found=st.sampled_from(["", "none", "missing", "broken", "mismatched"]),
    has=st.booleans(),
    age=st.integers(-100, 1000),
    known=st.none() | st.floats(0, 1),
    rest=st.none() | st.integers(-100, 100),
    checked=st.booleans(),
)
def test_every_verdict_is_whole(
    found: str, has: bool, age: int, known: float | None, rest: int | None, checked: bool
) -> None:
    info = replace(INFO, trained_at=NOW - age * HOUR) if has else None
    verdict = judge(
        info, found, "A sentence.", NOW, LIMITS if checked else None, known_tags=known,
        resting_until=None if rest is None else NOW + rest * HOUR,
    )  # fmt: skip
    assert verdict.state in get_args(State) and verdict.why.endswith(".") and verdict.zh.endswith("。")
    assert verdict.usable == (verdict.state not in BY_RULES) and verdict.alarm == (verdict.state not in QUIET)
    assert verdict.sentence("zh") == verdict.zh and verdict.sentence("en") == verdict.why
    if not has:
        assert not verdict.usable


def test_a_model_of_another_city_is_not_used() -> None:
    info = replace(INFO, trained_at=NOW)
    assert judge(info, "", "", NOW, LIMITS, known_tags=0.49).state == "mismatched"
    assert judge(info, "", "", NOW, LIMITS, known_tags=0.5).state == "fine"


def test_both_languages_say_until_when_it_rests() -> None:
    found = judge(replace(INFO, trained_at=NOW), "", "", NOW, LIMITS, resting_until=NOW + DAY)
    assert found.state == "worse" and "2026-10-13 02:00 UTC" in found.zh and "2026-10-13 02:00" in found.why


def test_the_ranker_is_said() -> None:
    assert ranker_said(INFO) == ""
    few = replace(INFO, metrics={"ranker_groups": 12.0, "ranker_people": 3.0})
    assert "12 lists" in ranker_said(few) and "400" in ranker_said(few) and "12份" in ranker_said(few, "zh")


def test_the_held_out_week_is_said_or_why_it_is_not() -> None:
    def said(lang: str = "en", **figures: float) -> str:
        return held_out_said(replace(INFO, metrics=figures), lang)

    assert said() == said(ranker_groups=3.0) == ""
    few = {"held_out_residents": 6.0, "held_out_candidates": 14.0}
    assert "14 notices, and 6 residents" in said(**few) and "15 and 30 are needed" in said(**few)
    assert "14条" in said("zh", **few) and "居民6人" in said("zh", **few) and "30人" in said("zh", **few)
    bare = {"held_out_residents": 60.0, "held_out_candidates": 40.0}
    assert "too little to learn from" in said(**bare) and "不足以训练" in said("zh", **bare)
    done = {"questions": 60.0, "ndcg10_learned": 0.25, "ndcg10_newest": 0.125, "held_out_candidates": 40.0}
    for text in (said(**done), said("zh", **done)):
        assert all(figure in text for figure in ("0.250", "0.125", "60", "40"))


# Figures


def test_what_was_seen_and_what_followed() -> None:
    rows = [
        FeedbackRow(1, 1, "impression", NOW, sure=0.3),
        FeedbackRow(1, 1, "impression", NOW + HOUR, sure=0.9),
        FeedbackRow(1, 1, "click", NOW + 2 * HOUR),
        FeedbackRow(1, 1, "like", NOW + 3 * HOUR),
        FeedbackRow(1, 2, "click", NOW),  # never shown
        FeedbackRow(1, 3, "impression", NOW),
        FeedbackRow(1, 3, "hide", NOW + HOUR),
        FeedbackRow(2, 1, "impression", NOW, simulated=True),
        FeedbackRow(2, 4, "impression", NOW, sure=0.2),
        FeedbackRow(2, 4, "rating", NOW + HOUR, value=5.0),
        FeedbackRow(2, 5, "impression", NOW),
        FeedbackRow(2, 5, "rating", NOW + HOUR, value=2.0),
    ]
    found = figures.pairs_seen(rows[::-1], scores={(1, 1): 2.5}, in_control=lambda who, at: who == 2)
    assert {(one.profile_id, one.notice_id): one for one in found} == {
        (1, 1): Seen(1, 1, 0.9, True, NOW, 7200.0, 2.5, False),
        (1, 3): Seen(1, 3, 1.0, False, NOW, None, None, False),
        (2, 4): Seen(2, 4, 0.2, True, NOW, 3600.0, None, True),
        (2, 5): Seen(2, 5, 1.0, False, NOW, None, None, True),
    }
    assert figures.wait(found) == 5400.0 and figures.wait(found[:0]) is None


def test_coverage_counts_notices_once() -> None:
    notices = [
        released(1), released(2, theme="10", place=""), released(3, at=NOW - 20 * DAY),
        released(4, at=NOW - 90 * DAY),
    ]  # fmt: skip
    made = [edition(1, pick(1), pick(3)), edition(2, pick(1), pick(99))]
    spans, by = figures.coverage(notices, made, NOW)
    assert spans == {7: Share("7", 1, 2), 30: Share("30", 2, 3)}
    assert by["theme"] == (Share("04", 2, 2), Share("10", 0, 1))
    assert by["place"] == (Share("sl01", 2, 2), Share("", 0, 1))
    assert figures.coverage([], made, NOW)[0][7].rate == 0


def test_parity_is_one_where_picks_follow_notices() -> None:
    notices = [released(n, place="a" if n < 30 else "b") for n in range(40)]
    even = [edition(n, pick(n)) for n in range(40)]
    assert figures.parity(notices, even, "place") == Parity((("a", 1.0), ("b", 1.0)), 1.0, 1.0)
    one_sided = figures.parity(notices, even[:30], "place")
    assert dict(one_sided.ratios) == {"a": pytest.approx(4 / 3), "b": 0} and one_sided.least == 0
    assert figures.parity(notices, [], "place") == Parity()
    few = figures.parity([*notices, released(99, place="c")], [*even, edition(9, pick(99))], "place")
    assert "c" not in dict(few.ratios)  # one notice says nothing
    assert figures.parity(notices, even, "lang").least is None  # one group has nobody to be compared with


@given(
    places=st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
    picked=st.lists(st.integers(0, 59), max_size=80),
)
def test_parity_ratios_average_to_one(places: list[str], picked: list[int]) -> None:
    notices = [released(n, place=place) for n, place in enumerate(places)]
    found = figures.parity(notices, [edition(n, pick(number)) for n, number in enumerate(picked)], "place")
    if found.ratios:
        sizes = {place: places.count(place) for place, _ in found.ratios}
        mean = sum(ratio * sizes[place] for place, ratio in found.ratios) / sum(sizes.values())
        assert mean == pytest.approx(1.0)


def test_groups_too_small_to_tell_of_are_left_out() -> None:
    found = figures.evenness({"a": 30, "b": 30, "c": 5, "": 90}, {"a": 60, "b": 30, "c": 99, "": 9}, 20)
    assert dict(found.ratios) == {"a": pytest.approx(4 / 3), "b": pytest.approx(2 / 3)}
    assert figures.evenness({}, {}, 1) == figures.evenness({"a": 9}, {}, 1) == Parity()


def test_first_reasons_and_trials() -> None:
    made = [
        edition(1, pick(1), pick(2, "role"), pick(3, "explored", "explored")),
        edition(2, pick(1), pick(4, "")),
    ]
    shares, explored = figures.reasons(made)
    assert {one.name: (one.part, one.whole) for one in shares} == {
        "interest": (2, 5), "role": (1, 5), "explored": (1, 5), "none": (1, 5)
    }  # fmt: skip
    assert explored == 0.2 and figures.reasons([]) == ((), 0.0)


def test_tenths_rise_where_scores_tell_something() -> None:
    seen = [Seen(n, n, 1.0, n % 100 < n // 10, NOW, score=float(n)) for n in range(1000)]
    found = figures.deciles(seen[::-1])
    assert [count for _, count, _ in found] == [100] * 10
    means, used = [mean for mean, _, _ in found], [rate for _, _, rate in found]
    assert means == sorted(means) and used == sorted(used) and used[-1] > 0.9
    assert figures.deciles(seen[:99]) == ()
    assert figures.deciles(replace(one, control=True) for one in seen) == ()
    assert figures.deciles(replace(one, score=None) for one in seen) == ()


def test_measures_survive_a_file() -> None:
    made = Measures(
        at=NOW, editions=3, picks=9, sampled=True, coverage={7: Share("7", 1, 2)},
        by={"theme": (Share("04", 1, 2),)}, reasons=(Share("role", 2, 9),), explored=0.5,
        comparison=Comparison(0.2, 0.1, 0.1, 0.05, 0.15, (40, 30), "better"), deciles=((0.5, 10, 0.25),),
        wait_median=12.5, parity={"place": Parity((("a", 1.5),), 1.5, 1.5)}, known_tags=0.9, vocabulary="abc",
    )  # fmt: skip
    assert figures.measures_from(json.loads(json.dumps(figures.measures_to(made)))) == made
    bare = Measures(at=NOW)
    assert figures.measures_from(json.loads(json.dumps(figures.measures_to(bare)))) == bare
