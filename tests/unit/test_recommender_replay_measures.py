"""The measures against their definitions, their bounds, and the cases where there is nothing to measure."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.log import Question
from recommender.replay.documents import tags, tfidf
from recommender.replay.measures import (
    Judge,
    Marks,
    best,
    error,
    error_by_user,
    in_band,
    mean,
    paired,
    summary,
)
from recommender.replay.questions import questions
from tests.unit.replay_world import world


def week_of(hits: list[bool]) -> list[Question]:
    log, split = world()
    items = np.arange(log.items_between(split.test, split.end)[0], len(log.items))[: len(hits)]
    return [Question(0, split.test, split.end, items, np.array(hits), 3)]


def marks_of(hits: list[bool], scores: list[float]) -> Marks:
    log, split = world()
    judge, week = Judge(log, split.frozen), week_of(hits)
    judge.open(week)
    return judge.mark(week, [np.array(scores, dtype=np.float32)], "a test")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_rank_measures_are_what_their_definitions_say(pairs: list[tuple[bool, int]]) -> None:
    hits = [hit for hit, _ in pairs]
    if not any(hits):
        hits[0] = True
    marks = marks_of(hits, [float(score) for _, score in pairs])
    order = sorted(range(len(pairs)), key=lambda n: -pairs[n][1])  # Python's sort is stable, too
    ranked = [hits[n] for n in order]
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(ranked[:10], 1) if hit)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, sum(hits)) + 1))
    assert marks.ndcg[0] == pytest.approx(gain / ideal)
    assert marks.recall[0] == pytest.approx(sum(ranked[:10]) / sum(hits))
    assert marks.mrr[0] == pytest.approx(1 / (ranked.index(True) + 1))
    assert 0 <= marks.ndcg[0] <= 1


def test_ties_stand_in_order_of_time_and_not_a_number_stands_last() -> None:
    assert best(np.zeros(12, dtype=np.float32)).tolist() == list(range(10))
    assert best(np.array([np.nan, 1, 2, np.nan, -np.inf], dtype=np.float32)).tolist() == [2, 1, 0, 3, 4]
    assert best(np.array([1, np.inf, 1], dtype=np.float32)).tolist() == [1, 0, 2]
    assert best(np.zeros(0, dtype=np.float32)).tolist() == []


def test_an_order_of_nothing_but_gaps_counts_as_the_order_of_time() -> None:
    assert marks_of([False, True], [np.nan, np.nan]).mrr[0] == 0.5


def test_diversity_is_the_mean_distance_of_all_pairs() -> None:
    log, split = world()
    marks = marks_of([True] + [False] * 19, [float(n % 7) for n in range(20)])
    rows = tfidf(log, split.frozen)[marks.top[0]].toarray()
    distances = [1 - float(one @ two) for one, two in combinations(rows, 2)]
    assert marks.diversity[0] == pytest.approx(np.mean(distances), abs=1e-5)


def test_novelty_is_the_surprise_of_the_tags() -> None:
    log, split = world()
    marks = marks_of([True] + [False] * 19, [float(n % 7) for n in range(20)])
    before = log.events_before(split.test)
    matrix = tags(log).toarray()
    seen = matrix[log.event_item[:before]].sum(axis=0)
    bits = -np.log2((seen + 1) / (before + 2))
    expected = [bits[matrix[item] > 0].mean() for item in marks.top[0]]
    assert marks.novelty[0] == pytest.approx(np.mean(expected))


def test_answers_that_do_not_fit_are_an_error_that_names_the_method() -> None:
    log, split = world()
    judge, week = Judge(log, split.frozen), week_of([True] * 16)
    judge.open(week)
    for wrong in ([], [np.zeros(15, np.float32)], [np.zeros(16, np.float32)] * 2):
        with pytest.raises(ValueError, match="the odd one"):
            judge.mark(week, wrong, "the odd one")


def test_no_question_gives_no_figure() -> None:
    nothing = summary(Marks.joined([]), 0)
    figures = [nothing[key] for key in ("ndcg10", "recall10", "mrr", "coverage10", "ndcg10_cold", "se")]
    assert figures == [None] * 6
    assert nothing["bands"]["20+"] == {"n": 0, "ndcg10": None, "recall10": None, "mrr": None, "se": None}
    assert paired(Marks.joined([]), Marks.joined([])) == (None, None)


def test_errors_are_those_of_means() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5])
    assert mean(values) == 0.625
    assert error(values) == pytest.approx(values.std(ddof=1) / 2)
    assert error(values[:1]) is None
    assert error_by_user(values, np.array([1, 2, 3, 4])) == pytest.approx(error(values))
    # Four questions of two users who always get the same are worth two.
    twice = np.array([0.0, 0.0, 1.0, 1.0])
    assert error_by_user(twice, np.array([7, 7, 9, 9])) == pytest.approx(error(np.array([0.0, 1.0])))
    assert error_by_user(values, np.zeros(4, dtype=np.int64)) is None


def test_the_paired_error_is_smaller_than_that_of_two_means() -> None:
    draw = np.random.default_rng(0)
    log, split = world()
    judge = Judge(log, split.frozen)
    ours, theirs = [], []
    for week in questions(log, split.test, split.end, split.window):
        judge.open(week)
        noise = [draw.random(len(q.items), dtype=np.float32) for q in week]
        ours.append(judge.mark(week, [n + 0.4 * q.hits for n, q in zip(noise, week, strict=True)], "ours"))
        theirs.append(
            judge.mark(week, [n + 0.3 * q.hits for n, q in zip(noise, week, strict=True)], "theirs")
        )
    one, two = Marks.joined(ours), Marks.joined(theirs)
    difference, spread = paired(one, two)
    assert difference == pytest.approx(mean(one.ndcg) - mean(two.ndcg))  # type: ignore[operator]
    assert 0 < spread < (error(one.ndcg) or 0) < 1  # type: ignore[operator]
    assert difference > 0  # type: ignore[operator]
    assert len(in_band(one, 0, 1)) + len(in_band(one, 1, 20)) + len(in_band(one, 20, 1 << 62)) == len(one)


def test_coverage_counts_each_item_once() -> None:
    log, split = world()
    judge, week = Judge(log, split.frozen), week_of([True] * 20) * 3
    judge.open(week)
    marks = judge.mark(week, [np.arange(20, dtype=np.float32)] * 3, "same")
    assert summary(marks, 20)["coverage10"] == 0.5
