"""The simulated city lives a few days through the real stores, and its judge can tell good from bad."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from bench.judging import Verdict, exposure, finding, mean_quality, quality, reach_of_late
from bench.residents import judged, report
from bench.town import ARMS, Diary, Plan, live

SMALL = Plan("shipped", 3, days=4, residents=22, joiners=4, joined=2, notices=15, late=2)


@pytest.fixture(scope="module")
def diary() -> Diary:
    return live(SMALL)


def test_a_life_goes_through_news_editions_reading_and_training(diary: Diary) -> None:
    assert len(diary.truth) == SMALL.days
    assert {person for _, person, *_ in diary.picks} <= set(range(26))
    assert {day for day, *_ in diary.picks} == {2, 3, 4}
    assert {day for day, *_ in diary.shown} == {1, 2, 3, 4}
    assert any(was_opened for *_, was_opened in diary.shown)
    assert diary.trained >= 1
    assert diary.broken == []
    pairs = [(person, column) for _, person, column, *_ in diary.shown]
    assert len(pairs) == len(set(pairs))  # nobody is shown a notice twice
    published = np.array(diary.days)
    assert all(published[column] <= day for day, _, column, *_ in diary.picks)


def test_explored_picks_carry_the_true_chances(diary: Diary) -> None:
    """An estimate from the stated chances finds the mean of what was open, which what was explored is not."""
    found = diary.trials
    assert found is not None and found.rows > 100
    assert found.calibrated
    assert not replace(found, weight=found.weight + 7 * found.weight_se).calibrated
    assert found.estimate == pytest.approx(found.truth, abs=3 * found.estimate_se)


def test_the_same_plan_gives_the_same_diary(diary: Diary) -> None:
    again = live(SMALL)
    assert again.picks == diary.picks
    assert again.shown == diary.shown
    assert again.trials == diary.trials


def test_switched_off_leaves_nothing_behind_and_luck_is_the_same_in_every_arm(diary: Diary) -> None:
    newest = live(replace(SMALL, arm="newest"))
    assert newest.broken == [] and newest.trained == 0
    assert np.array_equal(newest.truth[1], diary.truth[1])
    assert newest.people.wishes == diary.people.wishes
    found = judged(newest)
    assert found.explored == 0.0
    assert 0 < found.quality < 1


def with_picks(diary: Diary, best: bool) -> Diary:
    """The same life with editions made by who knows the truth: the best ten of each day, or the worst."""
    told = replace(diary, picks=[])
    for person in range(len(diary.people)):
        left = {c for c, day in enumerate(diary.days) if day > diary.joined(person)}
        for day in range(diary.joined(person) + 1, diary.plan.days + 1):
            here = [c for c in left if diary.days[c] <= day]
            ranked = sorted(here, key=lambda c: (-diary.truth[day][person, c], c))
            chosen = ranked[:10] if best else ranked[::-1][:10]
            left -= set(chosen)
            told.picks += [(day, person, c, rank, "new", 1.0) for rank, c in enumerate(chosen, start=1)]
    return told


def test_a_reader_of_minds_gets_full_marks_and_no_edition_none(diary: Diary) -> None:
    best, worst = (mean_quality(with_picks(diary, best=mark), (1, 2)) for mark in (True, False))
    assert best == pytest.approx(1.0, abs=1e-5)
    assert worst < 0.5 * best
    assert mean_quality(replace(diary, picks=[]), (1, 2)) == 0.0
    table = quality(diary)
    assert np.isnan(table[0, :2]).all() and not np.isnan(table[0, 2:]).any()


def test_exposure_knows_one_for_all_from_all_alike(diary: Diary) -> None:
    middle = [c for c, day in enumerate(diary.days) if 2 <= day <= diary.plan.days - 2]
    alike = exposure(replace(diary, picks=[(3, 0, column, 1, "new", 1.0) for column in middle]))
    assert alike["gini"] == pytest.approx(0.0, abs=1e-9) and alike["coverage"] == 1.0
    alone = exposure(replace(diary, picks=[(3, person, middle[0], 1, "new", 1.0) for person in range(9)]))
    assert alone["gini"] > 0.9 and alone["top_tenth"] == 1.0 and alone["themes"] == pytest.approx(1.0)


def test_the_late_theme_reaches_nobody_where_nothing_is_picked(diary: Diary) -> None:
    assert reach_of_late(replace(diary, picks=[]), lovers=True) == 0.0
    everything = [
        (4, person, column, 1, "new", 1.0)
        for person in range(len(diary.people))
        for column in range(len(diary.printed))
    ]
    assert reach_of_late(replace(diary, picks=everything), lovers=True) > 0


@pytest.mark.parametrize(
    ("values", "bases", "more", "verdict"),
    [
        ((0.60, 0.61, 0.62), (0.50, 0.52, 0.51), True, "better"),
        ((0.60, 0.61, 0.62), (0.50, 0.52, 0.51), False, "worse"),
        ((0.50, 0.52, 0.51), (0.60, 0.61, 0.62), True, "worse"),
        ((0.5000, 0.5002, 0.5001), (0.5001, 0.5001, 0.5001), True, "no difference that matters"),
        ((0.9, 0.2, 0.6), (0.5, 0.5, 0.5), True, "too noisy to tell"),
        ((0.9,), (0.1,), True, "too noisy to tell"),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), True, "no difference that matters"),
    ],
)
def test_a_verdict_needs_more_than_luck(
    values: tuple[float, ...], bases: tuple[float, ...], more: bool, verdict: Verdict
) -> None:
    found = finding("示例", values, bases, more=more)
    assert found.verdict == verdict and verdict in get_args(Verdict)


def test_the_report_names_every_arm_and_says_that_it_is_simulated(diary: Diary) -> None:
    lives = [replace(judged(diary), arm=arm, seed=seed) for arm in ARMS for seed in (1, 2, 3)]
    told = report(lives, SMALL)
    assert told["simulated"] is True and told["seeds"] == 3
    assert set(told["arms"]) == set(ARMS)
    assert all(one["verdict"] in get_args(Verdict) for one in told["findings"])
    assert told["broken"] == []
