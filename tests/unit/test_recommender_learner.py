"""The learned pipeline on small invented logs (示例): it learns, it falls back, it never looks ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recommender import mix, pairs
from recommender.learner import Asked, Learner
from recommender.log import DAY, Log, Split
from recommender.replay.learned import methods
from recommender.replay.questions import questions
from recommender.types import Floats

WEEK = 7 * DAY


def random_log(
    seed: int, *, days: int = 300, users: int = 20, per_day: int = 4, authors: int = 6, tags: bool = True,
    likes: float = 0.7,
) -> Log:  # fmt: skip
    """Users who care for one theme (and one author) each; items of four themes."""
    draw = np.random.default_rng(seed)
    themes = "abcd"
    count = days * per_day
    time = np.sort(draw.integers(0, days * DAY, count))
    theme, author = draw.integers(0, 4, count), draw.integers(0, max(authors, 1), count)
    tokens = tuple(
        tuple(
            dict.fromkeys(
                [*([f"t:theme:{themes[t]}"] if tags else []), f"w:{themes[t]}{n % 3}", f"w:any{n % 5}"]
            )
        )
        for n, t in enumerate(theme.tolist())
    )
    taste, favourite = draw.integers(0, 4, users), draw.integers(0, max(authors, 1), users)
    events = [
        (int(time[i]) + 60, u, i)
        for u in range(users) for i in range(count)
        if draw.random() < likes * (taste[u] == theme[i]) * (0.5 if author[i] == favourite[u] else 0.2) + 0.01
    ]  # fmt: skip
    events.sort()
    columns = np.array(events, dtype=np.int64).reshape(-1, 3)
    none = np.full(count, -1, dtype=np.int64)
    return Log(
        users=tuple(f"u{n}" for n in range(users)),
        user_tokens=tuple((f"role:r{taste[n] % 2}",) for n in range(users)),
        items=tuple(f"i{n}" for n in range(count)), item_time=time, item_tokens=tokens,
        item_author=author if authors else none, item_kind=author % 2 if authors else none,
        authors=tuple(f"a{n}" for n in range(authors)), kinds=("k0", "k1") if authors else (),
        author_user=np.full(authors, -1, dtype=np.int64), user_kind=np.full(users, -1, dtype=np.int64),
        event_user=columns[:, 1], event_item=columns[:, 2], event_time=columns[:, 0],
    )  # fmt: skip


def _split(days: int) -> Split:
    return Split(0, days // 2 * DAY, days * 3 // 4 * DAY, days * DAY, WEEK, False)


def _run(log: Log, split: Split, names: tuple[str, ...], seed: int = 1) -> dict[str, list[Floats]]:
    chosen = [method for method in methods() if method.name in names]
    for method in chosen:
        method.begin(log, split, seed)
    found: dict[str, list[Floats]] = {name: [] for name in names}
    for week in questions(log, split.frozen, split.end, split.window):
        for method in chosen:
            answers = method.answer(week)
            assert [len(a) for a in answers] == [len(q.items) for q in week]
            assert all(np.isfinite(a).all() for a in answers)
            if week[0].start >= split.test:
                found[method.name] += [
                    np.float32(mix.ndcg(a, q.hits)) for a, q in zip(answers, week, strict=True)
                ]
    return found


def test_the_pipeline_learns_more_than_its_parts_alone_and_repeats_itself() -> None:
    log, split = random_log(1), _split(300)
    first = _run(log, split, ("lightfm", "blend", "ranker", "pipeline"))
    mean = {name: float(np.mean(values)) for name, values in first.items()}
    assert mean["pipeline"] > mean["lightfm"]
    assert mean["pipeline"] > mean["blend"] - 0.02
    again = _run(log, split, ("pipeline",))
    assert again["pipeline"] == first["pipeline"]


@pytest.mark.parametrize(
    "odd",
    [
        {"authors": 0}, {"tags": False}, {"users": 2}, {"users": 1, "days": 120}, {"days": 30, "per_day": 30},
        {"authors": 0, "tags": False, "users": 5, "days": 60, "per_day": 10},
    ],
)  # fmt: skip
def test_logs_without_bodies_tags_users_or_time_are_answered_too(odd: dict[str, int]) -> None:
    log = random_log(2, **{"days": 150, **odd})  # type: ignore[arg-type]
    _run(log, _split(odd.get("days", 150)), ("blend", "ranker", "pipeline"))


def test_a_log_without_any_event_and_one_without_any_item_can_be_learned_from() -> None:
    log = random_log(3, days=30)
    none = np.zeros(0, dtype=np.int64)
    silent = replace(log, event_user=none, event_item=none, event_time=none)
    empty = replace(silent, items=(), item_time=none, item_tokens=(), item_author=none, item_kind=none)
    for one in (silent, empty):
        learner = Learner(one, frozen=15 * DAY, seed=1)
        learner.advance(20 * DAY)
        trained = learner.train()
        assert trained.ranker is None
        assert not trained.gate.passed
        assert trained.gate.why


def test_nothing_of_the_window_or_later_moves_what_is_said_of_it() -> None:
    log = random_log(4, days=200)
    week = next(iter(questions(log, 140 * DAY, 200 * DAY, WEEK)))
    n = log.events_before(week[0].start)
    draw = np.random.default_rng(0)
    other = replace(
        log, event_user=np.concatenate([log.event_user[:n], draw.permutation(log.event_user[n:])])
    )
    seen = []
    for one in (log, other):
        learner = Learner(one, frozen=100 * DAY, seed=1)
        learner.advance(week[0].start)
        seen.append([asked.x for asked in learner.look(week)])
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


def test_the_gate_stays_closed_where_trees_do_not_win_and_the_part_is_chosen_by_band() -> None:
    draw = np.random.default_rng(1)
    column = {name: pairs.NAMES.index(name) for name in ("learned", "neighbours")}
    held, good, bad = [], [], []
    for n in range(200):
        x = draw.normal(0, 1, (30, len(pairs.NAMES))).astype(np.float32)
        hits = draw.random(30) < 0.2
        hits[0] = True
        known = 0 if n % 2 else 50
        # LightFM knows newcomers, neighbours know the others.
        x[:, column["learned" if known == 0 else "neighbours"]] = hits + draw.normal(0, 0.5, 30)
        held.append(Asked(x, hits, n, known, False))
        good.append((hits + draw.normal(0, 0.1, 30)).astype(np.float32))
        bad.append(draw.normal(0, 1, 30).astype(np.float32))
    chosen, gate = mix.choose(held, bad)
    assert not gate.passed
    assert (chosen.part[0], chosen.part[2]) == ("lightfm", "neighbours")
    assert chosen.share == (0.0, 0.0, 0.0)
    chosen, gate = mix.choose(held, good)
    assert gate.passed
    assert chosen.share[0] == chosen.share[2] == 1.0
    assert gate.gain > gate.se > 0
