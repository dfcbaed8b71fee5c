"""Questions are what a plain reading of their definition gives; draws are even; newcomers are unknown."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.log import Log, Question, declarable, hide, interests, tag_kind
from recommender.replay.questions import FEWEST, plan, questions, windows
from recommender.replay.signup import MAIN, TICKS, as_newcomers, columns, newcomers
from tests.unit.replay_world import world


def log_from(items: list[tuple[int, int]], events: list[tuple[int, int, int]], users: int) -> Log:
    """A log from (time, author) of items and (user, item, delay) of events; authors are users or -1."""
    items = sorted(items)
    time = np.array([at for at, _ in items], dtype=np.int64)
    done = sorted(((int(time[i % len(items)]) + late, user, i % len(items)) for user, i, late in events))
    columns_ = np.array(done, dtype=np.int64).reshape(-1, 3)
    return Log(
        users=tuple(f"u{n}" for n in range(users)), user_tokens=((),) * users,
        items=tuple(f"i{n}" for n in range(len(items))), item_time=time, item_tokens=((),) * len(items),
        item_author=np.array([author for _, author in items], dtype=np.int64),
        item_kind=np.full(len(items), -1), authors=tuple(f"u{n}" for n in range(users)), kinds=(),
        author_user=np.arange(users), user_kind=np.full(users, -1),
        event_user=columns_[:, 1], event_item=columns_[:, 2], event_time=columns_[:, 0],
    )  # fmt: skip


def plainly(log: Log, start: int, end: int, length: int) -> list[Question]:
    """The definition, read out loud."""
    found = []
    for opened, closed in windows(start, end, length):
        items = [i for i, at in enumerate(log.item_time) if opened <= at < closed]
        for user in range(len(log.users)):
            offered = [
                i for i in items if log.item_author[i] < 0 or log.author_user[log.item_author[i]] != user
            ]
            acts = list(zip(log.event_user, log.event_item, log.event_time, strict=True))
            liked = {i for u, i, at in acts if u == user and opened <= at < closed}
            hits = [i in liked for i in offered]
            known = sum(1 for u, _, at in acts if u == user and at < opened)
            if len(offered) >= FEWEST and any(hits):
                found.append(Question(user, opened, closed, np.array(offered), np.array(hits), known))
    return found


def same(one: Question, two: Question) -> bool:
    plain = ("user", "start", "end", "known")
    return (
        all(getattr(one, name) == getattr(two, name) for name in plain)
        and one.items.tolist() == two.items.tolist()
        and one.hits.tolist() == two.hits.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 3)), min_size=1, max_size=90),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 89), st.integers(0, 15)), max_size=60),
    st.integers(0, 20), st.integers(21, 70), st.integers(7, 40),
)  # fmt: skip
def test_questions_are_what_the_definition_says(
    items: list[tuple[int, int]], events: list[tuple[int, int, int]], start: int, end: int, length: int
) -> None:
    log = log_from(items, events, 4)
    fast = [question for week in questions(log, start, end, length) for question in week]
    slow = plainly(log, start, end, length)
    assert len(fast) == len(slow) == plan(log, start, end, length).total
    assert all(same(one, two) for one, two in zip(fast, slow, strict=True))


def test_windows_are_half_open_and_the_last_is_cut() -> None:
    assert windows(0, 20, 7) == [(0, 7), (7, 14), (14, 20)]
    assert windows(5, 5, 7) == []


def test_a_log_without_items_in_the_span_asks_nothing() -> None:
    log, split = world()
    assert list(questions(log, split.end + 1, split.end + 10**7, split.window)) == []
    assert plan(log, split.end + 1, split.end + 10**7, split.window).total == 0


def test_of_too_many_questions_every_window_keeps_its_share() -> None:
    log, split = world()
    span: tuple[Any, ...] = (log, split.frozen, split.end, split.window)
    whole, part = plan(*span), plan(*span, most=100, seed=5)
    assert (part.total, part.kept) == (whole.total, 100)
    share = 100 / whole.total
    kept, there = Counter(part.window.tolist()), Counter(whole.window.tolist())
    assert all(abs(kept[number] - share * there[number]) <= 1 for number in there)
    asked = [q for week in questions(*span, most=100, seed=5) for q in week]
    again = [q for week in questions(*span, most=100, seed=5) for q in week]
    other = [q for week in questions(*span, most=100, seed=6) for q in week]
    assert [(q.user, q.start) for q in asked] == [(q.user, q.start) for q in again]
    assert [(q.user, q.start) for q in asked] != [(q.user, q.start) for q in other]
    every = {(q.user, q.start): q for week in questions(*span) for q in week}
    assert all(same(q, every[q.user, q.start]) for q in asked)


def test_bands_hold_what_they_say() -> None:
    log, split = world()
    asked = [q for week in questions(log, split.test, split.end, split.window) for q in week]
    assert {q.band for q in asked} == {"0", "1-19", "20+"}
    for q in asked:
        assert q.band == ("0" if q.known == 0 else "1-19" if q.known < 20 else "20+")


def test_hidden_users_leave_no_trace() -> None:
    log, _ = world()
    kept = replace(log, kept_user=log.event_user, kept_item=log.event_item, kept_time=log.event_time)
    hidden = hide(kept, [1, 4])
    assert not np.isin(hidden.event_user, [1, 4]).any()
    assert not np.isin(hidden.kept_user, [1, 4]).any()
    assert not np.isin(hidden.author_user, [1, 4]).any()
    others = ~np.isin(log.event_user, [1, 4])
    assert hidden.event_item.tolist() == log.event_item[others].tolist()
    assert hidden.items == log.items
    assert hide(log, []).event_user.tolist() == log.event_user.tolist()


def test_what_can_be_ticked_is_the_kind_that_stands_first() -> None:
    log, split = world()
    assert declarable(log, split.test) == "c"
    assert tag_kind("t:theme:0402") == "theme"
    assert tag_kind("t:roads") == ""
    assert tag_kind("w:roads") is None
    mixed = replace(log, item_tokens=tuple((f"t:id:{n}", *t) for n, t in enumerate(log.item_tokens)))
    assert declarable(mixed, split.test) == "c"  # a tag of its own for every item cannot be ticked
    plain = replace(log, item_tokens=(("t:roads", "w:a"), ("t:water",), ("t:roads",)) * (len(log.items) // 3))
    assert declarable(plain, split.test) == ""
    assert declarable(replace(log, item_tokens=(("w:a",),) * len(log.items)), split.test) is None
    assert declarable(log, 0) is None


def test_interests_are_the_most_used_tags_before_a_moment() -> None:
    log, split = world()
    found = interests(log, [3, 0], split.test, most=2)
    for user, mine in zip([3, 0], found, strict=True):
        uses = Counter(
            token[2:]
            for u, i, at in zip(log.event_user, log.event_item, log.event_time, strict=True)
            for token in log.item_tokens[i]
            if u == user and at < split.test and token.startswith("t:c:")
        )
        best = sorted(uses, key=lambda tag: (-uses[tag], tag))[:2]
        assert mine == tuple(f"interest:{tag}" for tag in best)
    assert interests(log, [0], int(log.event_time[0])) == [()]


def test_newcomers_have_a_role_ticks_and_no_past() -> None:
    log, split = world()
    made = newcomers(log, split, seed=2)
    assert made.hidden.sum() == round(0.3 * sum(bool(t) for t in interests(log, range(48), split.test)))
    assert (made.newcomer[~made.hidden] == -1).all()
    for user in np.flatnonzero(made.hidden):
        for column, ticks in enumerate(TICKS):
            number = int(made.newcomer[user, column])
            tokens = made.log.user_tokens[number]
            ticked = [token for token in tokens if token.startswith("interest:")]
            assert len(ticked) == min(ticks, int(made.ticked[user]))
            assert [token for token in tokens if token not in ticked] == list(log.user_tokens[user])
            assert made.log.user_kind[number] == log.user_kind[user]
    assert not np.isin(made.log.event_user, np.flatnonzero(made.hidden)).any()
    assert made.log.event_user.max() < len(log.users)
    again = newcomers(log, split, seed=2)
    assert again.log.user_tokens == made.log.user_tokens
    assert newcomers(log, split, seed=3).log.user_tokens != made.log.user_tokens


def test_a_user_who_declared_interests_keeps_them_at_sign_up() -> None:
    log, split = world()
    told = replace(log, user_tokens=tuple((*tokens, "interest:c:9") for tokens in log.user_tokens))
    made = newcomers(told, split, seed=2)
    number = int(made.newcomer[np.flatnonzero(made.hidden)[0], TICKS.index(MAIN)])
    assert [t for t in made.log.user_tokens[number] if t.startswith("interest:")] == ["interest:c:9"]


def test_newcomers_are_asked_what_the_hidden_users_were() -> None:
    log, split = world()
    made = newcomers(log, split, seed=2)
    asked = list(questions(log, split.test, split.end, split.window, among=made.hidden))
    instead = list(as_newcomers(iter(asked), made))
    assert sum(map(len, instead)) == len(TICKS) * sum(map(len, asked))
    first, stands_for = asked[0][0], instead[0][: len(TICKS)]
    assert [q.user for q in stands_for] == made.newcomer[first.user].tolist()
    assert all(q.known == 0 and q.items is first.items for q in stands_for)
    assert columns(made, np.array([q.user for q in stands_for])).tolist() == [0, 1, 2, 3]
