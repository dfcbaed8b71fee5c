"""The plain methods: what they score, that they know only the past, that they begin anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recommender.log import DAY, Log
from recommender.replay.methods import HALF_LIFE, Content, Method, Newest, Popularity, Random, baselines
from recommender.replay.questions import questions
from tests.unit.replay_world import assert_blind, world


@pytest.mark.parametrize("method", baselines(), ids=lambda method: method.name)
def test_plain_methods_know_only_the_past(method: Method) -> None:
    assert_blind(method, *world())


def test_the_check_for_blindness_sees_a_method_that_peeks() -> None:
    class Peeking(Random):
        def begin(self, log: Log, split: object, seed: int) -> None:
            self._events = log

        def answer(self, week):  # type: ignore[no-untyped-def]
            liked = {(u, i) for u, i in zip(self._events.event_user, self._events.event_item, strict=True)}
            return [np.array([float((q.user, i) in liked) for i in q.items], np.float32) for q in week]

    with pytest.raises(AssertionError):
        assert_blind(Peeking(), *world())


@pytest.mark.parametrize("method", baselines(), ids=lambda method: method.name)
def test_beginning_again_forgets(method: Method) -> None:
    log, split = world()
    weeks = list(questions(log, split.test, split.end, split.window))

    def answers() -> list[np.ndarray]:
        method.begin(log, split, 4)
        return [scores for week in weeks for scores in method.answer(week)]

    for one, two in zip(answers(), answers(), strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == np.float32


@pytest.mark.parametrize("method", baselines(), ids=lambda method: method.name)
def test_a_log_without_tags_words_and_authors_is_still_ordered(method: Method) -> None:
    log, split = world()
    bare = replace(
        log, item_tokens=((),) * len(log.items), item_author=np.full(len(log.items), -1), authors=(),
        author_user=np.zeros(0, np.int64),
    )  # fmt: skip
    method.begin(bare, split, 1)
    for week in questions(bare, split.test, split.end, split.window):
        answers = method.answer(week)
        assert [len(scores) for scores in answers] == [len(question.items) for question in week]
        assert all(np.isfinite(scores).all() for scores in answers)
    assert method.answer([]) == []


def test_newest_is_newest() -> None:
    log, split = world()
    method = Newest()
    method.begin(log, split, 0)
    week = next(questions(log, split.test, split.end, split.window))
    for question, scores in zip(week, method.answer(week), strict=True):
        assert (np.diff(scores) >= 0).all()
        assert log.item_time[question.items[np.argmax(scores)]] == log.item_time[question.items].max()


def test_popularity_is_the_decayed_rate_of_the_tags() -> None:
    log, split = world()
    method = Popularity()
    method.begin(log, split, 0)
    weeks = list(questions(log, split.test, split.end, split.window))
    for week in weeks[:3]:
        scores = method.answer(week)
    question, moment = weeks[2][0], weeks[2][0].start

    def left(at: int) -> float:
        return float(0.5 ** ((moment - at) / HALF_LIFE))

    events, items = dict[str, float](), dict[str, float]()
    for item, at in zip(log.event_item, log.event_time, strict=True):
        for tag in log.item_tokens[item]:
            if at < moment:
                events[tag] = events.get(tag, 0.0) + left(at)
    for tokens, at in zip(log.item_tokens, log.item_time, strict=True):
        for tag in tokens:
            if at < moment:
                items[tag] = items.get(tag, 0.0) + left(at)
    for item, score in zip(question.items[:5], scores[0][:5], strict=True):
        tags = [token for token in log.item_tokens[item] if token.startswith("t:")]
        rates = [(events.get(tag, 0) + 0.5) / (items.get(tag, 0) + 1) for tag in tags]
        assert score == pytest.approx(np.mean(rates), rel=1e-4)


def test_the_content_profile_counts_recent_events_more() -> None:
    log, split = world()
    method = Content()
    user = int(log.event_user[-1])
    early, late = split.test - 300 * DAY, split.test - DAY
    roads = next(i for i, t in enumerate(log.item_tokens) if "w:roads" in t)
    water = next(i for i, t in enumerate(log.item_tokens) if "w:water" in t)
    told = replace(
        log, event_user=np.array([user, user]), event_item=np.array([roads, water]),
        event_time=np.array([early, late]),
    )  # fmt: skip
    method.begin(told, split, 0)
    week = next(questions(log, split.test, split.end, split.window))
    asked = [replace(week[0], user=user)]
    scores = method.answer(asked)[0]
    words = [log.item_tokens[item] for item in asked[0].items]
    mean = {
        word: np.mean([s for s, tokens in zip(scores, words, strict=True) if word in tokens])
        for word in ("w:roads", "w:water", "w:parks")
    }
    assert mean["w:water"] > mean["w:roads"] > mean["w:parks"]
