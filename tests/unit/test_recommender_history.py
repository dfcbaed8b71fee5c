"""What is known at a moment: nothing of later, counts that fade, the latest events of each person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.history import HALF_LIVES, History, ItemSpace, fading
from recommender.log import DAY, Log
from tests.unit.test_recommender_learner import random_log

DAYS = 60


def _read(log: Log, moment: int) -> History:
    history = History(log, ItemSpace.frozen(log, moment))
    history.advance(moment)
    return history


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 50), steps=st.lists(st.integers(0, DAYS * DAY), max_size=5))
def test_it_does_not_matter_in_how_many_steps_a_moment_is_reached(seed: int, steps: list[int]) -> None:
    log = random_log(seed, days=DAYS)
    at_once, slowly = (History(log, ItemSpace.frozen(log, DAYS * DAY)) for _ in range(2))
    for moment in sorted(steps):
        slowly.advance(moment)
    for history in (at_once, slowly):
        history.advance(DAYS * DAY)
    for name in ("items", "events", "by_group"):
        assert np.allclose(getattr(at_once.world, name), getattr(slowly.world, name), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 50), moment=st.integers(1, DAYS - 1))
def test_what_happens_later_changes_nothing(seed: int, moment: int) -> None:
    log, cut = random_log(seed, days=DAYS), moment * DAY
    n = log.events_before(cut)
    other = replace(
        log, event_user=np.append(log.event_user[:n], 0),
        event_item=np.append(log.event_item[:n], len(log.items) - 1),
        event_time=np.append(log.event_time[:n], DAYS * DAY),
    )  # fmt: skip
    users = np.arange(len(log.users))
    off = np.zeros(len(users), dtype=bool)
    seen = [_read(one, cut).persons(users, [[]] * len(users), off, off) for one in (log, other)]
    assert np.array_equal(seen[0].event, seen[1].event)
    worlds = [_read(one, cut).world for one in (log, other)]
    assert np.array_equal(worlds[0].events, worlds[1].events)


def test_counts_fade_by_their_half_lives() -> None:
    assert fading(HALF_LIVES[0])[0] == pytest.approx(0.5)
    assert fading(0).tolist() == [1, 1, 1]
    log = random_log(1, days=DAYS)
    history = _read(log, DAYS * DAY)
    before = history.world.events.copy()
    history.advance(DAYS * DAY + int(HALF_LIVES[1] * DAY))
    assert np.allclose(history.world.events[1], before[1] / 2, rtol=1e-4)


def test_events_are_the_latest_ones_newest_first_and_hidden_on_request() -> None:
    log = random_log(2, days=DAYS)
    user = int(np.bincount(log.event_user).argmax())
    mine = log.event_item[log.event_user == user][::-1]
    history = History(log, ItemSpace.frozen(log, DAYS * DAY), recent=4)
    history.advance(DAYS * DAY)
    users = np.array([user, user])
    persons = history.persons(
        users,
        [[], history.space.wishes(("interest:theme:a", "interest:nobody", "role:r1"))],
        np.array([False, True]),
        np.array([False, True]),
    )
    assert persons.event[0].tolist() == mine[:4].tolist()
    assert (persons.age[0] >= 0).all()
    assert (persons.event[1] == -1).all()
    assert (persons.own[1] == -1).all()
    assert persons.known.tolist() == [len(mine), 0]
    assert persons.wishes[1].nnz == 1


def test_a_history_only_moves_forward() -> None:
    history = _read(random_log(1, days=DAYS), 10 * DAY)
    with pytest.raises(ValueError, match="forward"):
        history.advance(9 * DAY)


def test_words_and_tags_come_from_before_the_freeze_and_unknown_ones_are_skipped() -> None:
    log = random_log(3, days=DAYS)
    space = ItemSpace.frozen(log, 30 * DAY)
    early = {t for tokens in log.item_tokens[: int(np.searchsorted(log.item_time, 30 * DAY))] for t in tokens}
    assert set(space.features.names[: space.tokens]) <= early
    rows = space.rows([("t:never", "w:seen")], np.array([-1]), np.array([-1]), np.array([0]))
    assert rows.text.nnz == 0
    assert rows.topics.nnz == 0
