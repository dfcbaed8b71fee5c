"""The trees: equal to the library's own answers, exact contributions, and refusal of what is broken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import boosting
from recommender.boosting import fit, from_dump
from recommender.ranker import Ranker
from recommender.types import Floats, Ints

pytest.importorskip("lightgbm")
WIDTH = 9


def _rows(seed: int, count: int = 3000) -> tuple[Floats, Ints, Ints]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, WIDTH)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[draw.random(x.shape) < 0.1] = np.nan
    x[:, 2] = np.nan_to_num(x[:, 2])
    x[:, 3] = 7.0
    plain = np.nan_to_num(x)
    y = (plain[:, 0] + plain[:, 1] * plain[:, 2] + draw.normal(size=count) * 0.5 > 1).astype(np.int64)
    return x, y, np.full(count // 30, 30)


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return fit(*_rows(1), seed=5, rounds=40)


def test_scores_equal_those_of_the_library_also_for_unknown_values() -> None:
    import lightgbm

    x, y, groups = _rows(1)
    booster = lightgbm.train(dict(boosting.PARAMETERS), lightgbm.Dataset(x, y, group=groups), 40)
    mine = from_dump(booster.dump_model(), WIDTH)
    new, _, _ = _rows(2)
    new[::7] = np.nan  # also where training never saw an unknown value
    new[1::7] = np.round(new[1::7])
    assert np.abs(mine.scores(new) - booster.predict(new)).max() < 1e-6


def test_values_on_a_threshold_go_left(ranker: Ranker) -> None:
    row = np.zeros((1, WIDTH), dtype=np.float32)
    root = 0
    feature, threshold = int(ranker.feature[root]), float(ranker.threshold[root])
    one = Ranker.of_trees(
        [[{"feature": feature, "threshold": np.float32(threshold), "left": 1, "right": 2, "value": 0.0},
          {"feature": -1, "value": -1.0}, {"feature": -1, "value": 1.0}]], WIDTH,
    )  # fmt: skip
    row[0, feature] = np.float32(threshold)
    assert one.scores(row)[0] == -1
    row[0, feature] = np.nextafter(np.float32(threshold), np.float32(np.inf))
    assert one.scores(row)[0] == 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), count=st.integers(0, 70))
def test_contributions_sum_to_the_score(ranker: Ranker, seed: int, count: int) -> None:
    x = _rows(seed, 90)[0][:count]
    parts, base = ranker.contributions(x)
    assert parts.shape == (count, WIDTH)
    assert np.allclose(parts.sum(axis=1) + base, ranker.scores(x), atol=1e-5)
    assert not parts[:, 3].any()  # a constant tells nothing


def test_the_same_rows_and_seed_give_the_same_trees() -> None:
    rows = _rows(3)
    first, second, other = (fit(*rows, seed=seed, rounds=20).arrays() for seed in (5, 5, 6))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_a_ranker_survives_its_file(ranker: Ranker) -> None:
    facts = json.loads(json.dumps(ranker.facts()))
    back = Ranker.of(facts, ranker.arrays())
    x = _rows(9)[0]
    assert np.array_equal(back.scores(x), ranker.scores(x))


def _with(array: np.ndarray, at: int, value: Any) -> np.ndarray:
    found = array.copy()
    found[at] = value
    return found


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("value", lambda a: _with(a, 3, np.nan)),
        ("threshold", lambda a: _with(a, 0, np.inf)),
        ("feature", lambda a: _with(a, 0, WIDTH)),
        ("feature", lambda a: _with(a, 0, -1)),  # its children would hang in the air
        ("left", lambda a: _with(a, 0, 0)),  # a circle
        ("left", lambda a: _with(a, 0, 999)),
        ("right", lambda a: _with(a, 0, a[1])),
        ("start", lambda a: a[:-1]),
        ("start", lambda a: _with(a, 1, -4)),
        ("value", lambda a: a[:-1]),
        ("lost", lambda a: a[:, None]),
    ],
)
def test_broken_arrays_are_refused(ranker: Ranker, name: str, spoil: Any) -> None:
    with pytest.raises(ValueError):
        Ranker.of(ranker.facts(), ranker.arrays() | {name: spoil(ranker.arrays()[name])})


def test_missing_arrays_and_facts_are_refused(ranker: Ranker) -> None:
    arrays = ranker.arrays()
    del arrays["left"]
    with pytest.raises(ValueError, match="left"):
        Ranker.of(ranker.facts(), arrays)
    with pytest.raises(ValueError, match="width"):
        Ranker.of({"names": []}, ranker.arrays())


def test_rows_of_another_width_and_no_rows_at_all(ranker: Ranker) -> None:
    with pytest.raises(ValueError, match="features"):
        ranker.scores(np.zeros((2, WIDTH + 1), dtype=np.float32))
    assert ranker.scores(np.zeros((0, WIDTH), dtype=np.float32)).shape == (0,)
    with pytest.raises(ValueError, match="rows"):
        fit(np.zeros((0, WIDTH), dtype=np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), seed=1)


def test_nothing_to_learn_gives_a_ranker_that_scores_everything_alike() -> None:
    x = np.ones((300, WIDTH), dtype=np.float32)
    flat = fit(x, np.tile([1, 0], 150), np.full(10, 30), seed=1, rounds=3)
    assert len(set(flat.scores(x).tolist())) == 1
    parts, base = flat.contributions(x)
    assert parts.sum() + base * 0 == 0
    assert np.isfinite(base)
