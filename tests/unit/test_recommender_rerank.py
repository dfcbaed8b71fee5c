"""Serving says the same of a pair as training did, survives its file, and refuses what is broken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommender import pairs
from recommender.learner import Learner, Trained
from recommender.log import DAY
from recommender.mix import Gate, Mix
from recommender.pairs import LEARNED, NAMES
from recommender.replay.questions import questions
from recommender.rerank import Recent, Served, Stage
from tests.unit.test_recommender_learner import WEEK, random_log

pytest.importorskip("lightgbm")
END = 200 * DAY


@pytest.fixture(scope="module")
def learner() -> Learner:
    learner = Learner(random_log(5, days=200), frozen=100 * DAY, seed=1)
    for week in questions(learner.log, 100 * DAY, 186 * DAY, WEEK):
        learner.remember(week)
    learner.advance(190 * DAY)
    return learner


@pytest.fixture(scope="module")
def served(learner: Learner) -> Served:
    ranker = learner._fit(learner.asked, np.zeros(len(NAMES), dtype=bool))
    trained = Trained(
        ranker, Mix(("blend",) * 3, (0.0, 0.5, 1.0)), Gate(True, 60, {"ranker": 0.7}, 0.1, 0.02)
    )
    found = learner.served(trained, np.arange(len(learner.log.items)) + 1000)
    assert found is not None
    return found


def _stage(learner: Learner, served: Served, now: int = 190 * DAY) -> tuple[Stage, np.ndarray]:
    log = learner.log
    items = log.items_between(190 * DAY, END)
    names = (
        [(*log.authors, "")[n] for n in log.item_author[items]],
        [(*log.kinds, "")[n] for n in log.item_kind[items]],
    )
    tokens = [log.item_tokens[n] for n in items]
    return served.scene(items + 1000, tokens, *names, log.item_time[items], now), items


def _recent(learner: Learner, user: int, now: int = 190 * DAY) -> Recent:
    log = learner.log
    mine = np.flatnonzero((log.event_user == user) & (log.event_time < now))[::-1]
    events = [(int(log.event_item[n]) + 1000, (now - log.event_time[n]) / DAY) for n in mine]
    return Recent(events, log.user_tokens[user], (), len(events))


def test_serving_says_the_same_of_a_pair_as_training(learner: Learner, served: Served) -> None:
    stage, items = _stage(learner, served)
    week = [replace(q, end=190 * DAY) for q in next(iter(questions(learner.log, 190 * DAY, END, END)))]
    asked = list(learner.look(week))
    people = [_recent(learner, q.user) for q in week]
    columns = np.array([q.items - items[0] for q in week])
    x = stage.features(people, columns, np.array([a.x[:, LEARNED] for a in asked]))
    for mine, one in zip(x, asked, strict=True):
        for column, name in enumerate(NAMES):
            assert np.allclose(mine[:, column], one.x[:, column], rtol=1e-3, atol=1e-4), name


def test_reasons_are_what_the_trees_added(learner: Learner, served: Served) -> None:
    stage, items = _stage(learner, served)
    columns = np.arange(len(items))[None, :]
    x = stage.features([_recent(learner, 1)], columns, np.zeros(columns.shape, dtype=np.float32))[0]
    parts, base = served.ranker.contributions(x)
    said = stage.reasons(x)
    named = [n for n, (_, group) in enumerate(pairs.FEATURES) if group in pairs.REASONS]
    assert np.allclose(sum(said.values()), parts[:, named].sum(axis=1), atol=1e-4)
    assert np.allclose(parts.sum(axis=1) + base, served.ranker.scores(x), atol=1e-4)


def _copied(extras: Any) -> dict[str, Any]:
    return {name: (json.loads(json.dumps(facts)), dict(arrays)) for name, (facts, arrays) in extras.items()}


def test_it_survives_a_model_file(learner: Learner, served: Served) -> None:
    back = Served.of(_copied(served.extras()))
    people, columns = [_recent(learner, 3), Recent()], np.tile(np.arange(4), (2, 1))
    learned = np.zeros((2, 4), dtype=np.float32)
    found = [_stage(learner, one)[0].features(people, columns, learned) for one in (served, back)]
    assert np.array_equal(*found)
    assert back.mix == served.mix
    assert back.gate == served.gate


def test_what_is_broken_is_refused(served: Served) -> None:
    def spoiled(extra: str, name: str, value: Any) -> dict[str, Any]:
        extras = _copied(served.extras())
        facts, arrays = extras[extra]
        (arrays if name in arrays else facts)[name] = value
        return extras

    arrays = served.extras()["history"][1]
    bad: list[tuple[str, str, Any]] = [
        ("ranker", "features", ["other"]), ("ranker", "gate", None),
        ("ranker", "mix", {"part": ["blend"], "share": [1]}),
        ("history", "items", arrays["items"][:, 1:]), ("history", "events", arrays["events"] * np.nan),
        ("history", "known_column", arrays["known_column"] + 100_000),
        ("history", "known_start", arrays["known_start"][1:]), ("history", "tokens", 10**9),
        ("history", "groups", ["role:other"] * 9), ("history", "weight", arrays["weight"][1:]),
    ]  # fmt: skip
    for extra, name, value in bad:
        with pytest.raises(ValueError):
            Served.of(spoiled(extra, name, value))
    for extra in ("ranker", "history"):
        extras = _copied(served.extras())
        del extras[extra]
        with pytest.raises(ValueError):
            Served.of(extras)


def test_odd_residents_and_clocks_have_finite_scores(learner: Learner, served: Served) -> None:
    many = tuple(f"interest:theme:{n}" for n in range(5000))
    people = [
        Recent(),
        Recent(((999_999, 1.0),), ("role:never",), ("interest:never",), 1),
        Recent((), (), many, 0),
    ]
    for now in (0, 190 * DAY, 10_000 * DAY):
        stage, items = _stage(learner, served, now)
        columns = np.tile(np.arange(len(items)), (3, 1))
        values = np.zeros(columns.shape, dtype=np.float32)
        x = stage.features(people, columns, values)
        assert np.isfinite(x).all()
        assert np.isfinite(served.ranker.scores(x.reshape(-1, len(NAMES)))).all()
    empty = served.scene(np.zeros(0, np.int64), [], [], [], np.zeros(0, np.int64), 0)
    assert empty.features(people, np.zeros((3, 0), np.int64), np.zeros((3, 0), np.float32)).shape == (
        3,
        0,
        len(NAMES),
    )
