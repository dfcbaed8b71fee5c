"""Training: what teaches and what takes back, partial fits on a frozen vocabulary, the held-out week."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from feeds.catalogue.notices import Notice
from feeds.kernel.errors import UsageError
from feeds.kernel.time import local_date
from profiles.feedback import FeedbackRow
from profiles.types import FeedbackKind, Profile
from recommender.held_out import held_out, ndcg
from recommender.model import DIM
from recommender.model_file import Model
from recommender.monitor import MIN_GROUP_PEOPLE, MIN_GROUPS
from recommender.train import impression_groups, liked, train, train_partial, train_ranker
from recommender.types import RulesOnlyError
from tests.unit.recommender_world import DAY, HOUR, NOW, city, library, notice, person

SHANGHAI = ZoneInfo("Asia/Shanghai")
THEMES = ("0402", "0403", "0601", "1001", "1402", "1501")


def people(count: int = 40) -> list[Profile]:
    return [person(n, roles=("citizen",), interests=(f"theme:{THEMES[n % 6]}",)) for n in range(1, count + 1)]


def clicks(at: datetime = NOW - DAY, *, seed: int = 1, count: int = 40, each: int = 4) -> list[FeedbackRow]:
    """Everybody opens notices of the theme they follow."""
    draw, rows = random.Random(seed), []
    for one in people(count):
        own = [item.id for item in library() if f"theme:{item.tags[0].code}" in one.interests]
        rows += [FeedbackRow(one.id, number, "click", at) for number in draw.sample(own, each)]
    return rows


@cache
def model() -> Model:
    return train(clicks(), people(), library(), city(), seed=3, now=NOW)


def taught(*events: tuple[FeedbackKind, float]) -> int:
    """How often one pair teaches after some events, one hour apart."""
    rows = [FeedbackRow(1, 1, kind, NOW + n * HOUR, value=value) for n, (kind, value) in enumerate(events)]
    found = liked(rows[::-1], {1: person(1)}, {1: library()[0]})
    return found[1, 1].times if found else 0


@pytest.mark.parametrize(
    ("events", "times"),
    [
        ([("impression", 0)], 0),
        ([("open", 0)], 1),
        ([("click", 0), ("click", 0)], 1),
        ([("open", 0), ("like", 0)], 2),
        ([("like", 0), ("open", 0)], 2),
        ([("save", 0)], 2),
        ([("rating", 5)], 2),
        ([("rating", 4)], 2),
        ([("rating", 3)], 0),
        ([("open", 0), ("rating", 3)], 1),
        ([("open", 0), ("rating", 2)], 0),
        ([("like", 0), ("dislike", 0)], 0),
        ([("save", 0), ("less", 0)], 0),
        ([("click", 0), ("hide", 0)], 0),
        ([("hide", 0), ("like", 0)], 2),
    ],
)
def test_strong_words_teach_more_and_refusals_take_back(
    events: list[tuple[FeedbackKind, float]], times: int
) -> None:
    assert taught(*events) == times


def test_facts_of_a_full_fit() -> None:
    info = model().info
    assert (info.kind, info.data_from, info.data_until, info.full) == ("full", NOW - DAY, NOW - DAY, NOW)
    assert info.vocabulary == model().vocabulary and info.rows == 160 and info.dim == DIM


def test_a_like_moves_a_model_more_than_an_open() -> None:
    def score(kind: FeedbackKind) -> float:
        rows = [*clicks(), *(FeedbackRow(n, 3, kind, NOW - HOUR) for n in range(1, 41, 6))]
        made = train(rows, people(), library(), city(), seed=3, now=NOW)
        return float(made.item_biases[made.items.columns["theme:0601"]])

    assert score("like") != score("open")


def test_what_one_alone_declared_or_typed_is_in_no_model() -> None:
    secret = replace(people()[0], interests=("theme:0402", "word:王小明离婚", "theme:1706"))
    rare = [replace(one, interests=(*one.interests, "theme:1706")) for one in people()[1:19]]
    few = [replace(one, interests=(*one.interests, "life:moving")) for one in people()[19:23]]
    everybody = [secret, *rare, *few, *people()[23:]]
    assert city().is_sensitive("theme:1706")

    def names(who: list[Profile]) -> set[str]:
        made = train(clicks(), who, library(), city(), seed=3, now=NOW, epochs=1)
        return {name for name in made.users.names if not name.startswith("id:")}

    found = names(everybody)
    assert found == {"role:citizen", *(f"interest:theme:{theme}" for theme in THEMES)}  # 19 and 4 are too few
    one_more = replace(people()[39], interests=("theme:1706",))
    assert "interest:theme:1706" in names([*everybody[:39], one_more])


# The clock


def test_what_is_later_than_the_clock_does_not_teach() -> None:
    late = clicks(NOW + HOUR, seed=9)
    made = train([*clicks(), *late], people(), library(), city(), seed=3, now=NOW)
    assert made.info.data_until == NOW - DAY
    assert made.item_vectors.tobytes() == model().item_vectors.tobytes()


def test_a_clock_before_all_feedback_is_refused() -> None:
    with pytest.raises(RulesOnlyError, match=r"the clock stands at 2026-10-10 .* before the first feedback"):
        train(clicks(), people(), library(), city(), seed=3, now=NOW - 2 * DAY)
    with pytest.raises(UsageError, match="before the model in use was trained"):
        train_partial(model(), clicks(), people(), library(), city(), seed=3, now=NOW - HOUR)


# Partial fits


def test_a_partial_fit_keeps_the_vocabulary_and_learns_what_is_new() -> None:
    new = [FeedbackRow(n, 3, "click", NOW + HOUR) for n in range(1, 41)]
    extras = {"clicks": ({"a": 1}, {"x": np.ones(2)})}
    before = replace(model(), extras=extras)
    strange = notice(999, "theme:9999", title="从未见过的词")
    after = train_partial(
        before, [*clicks(), *new], people(), [*library(), strange], city(), seed=3, now=NOW + 2 * HOUR
    )
    assert after is not None and after.info.kind == "partial" and after.info.full == NOW
    assert (after.users, after.items) == (before.users, before.items)
    assert after.vocabulary == before.info.vocabulary and after.extras == extras
    assert (after.info.data_from, after.info.data_until) == (NOW - DAY, NOW + HOUR)
    assert after.info.rows == 200
    moved = after.item_vectors - before.item_vectors
    assert np.isfinite(moved).all() and np.abs(moved).max() > 1e-3
    column = after.items.columns["theme:0601"]  # the theme of what everybody opened
    assert after.item_biases[column] > before.item_biases[column]
    again = train_partial(
        before, [*new, *clicks()], people(), [strange, *library()], city(), seed=3, now=NOW + 2 * HOUR
    )
    assert again is not None and again.item_vectors.tobytes() == after.item_vectors.tobytes()


def test_a_partial_fit_of_nothing_new_is_none() -> None:
    nobody = person(900, roles=("unheard-of",), interests=())
    off = [replace(one, personalised=False) for one in people()]
    later = [FeedbackRow(n, 3, "click", NOW + HOUR) for n in (1, 2, 900)]
    hidden = [replace(row, kind="hide", at=NOW + HOUR) for row in later]
    for rows, who in (
        ([], people()),
        (clicks(), people()),  # older than what it has learned
        (later[2:], [nobody]),  # somebody of whom no feature is known
        (later, off),
        ([replace(row, notice_id=77_777) for row in later], people()),
        ([*later[:2], *hidden], people()),
    ):
        made = train_partial(model(), rows, who, library(), city(), seed=3, now=NOW + 2 * HOUR)
        assert made is None


def test_a_model_with_unknown_tags_is_still_taught() -> None:
    odd = replace(model(), items=type(model().items).of(f"gone:{n}" for n in range(len(model().items))))
    rows = [FeedbackRow(n, 3, "click", NOW + HOUR) for n in range(1, 9)]
    made = train_partial(odd, rows, people(), library(), city(), seed=3, now=NOW + 2 * HOUR)
    assert made is None or np.isfinite(made.item_vectors).all()


# The held-out week


def test_the_held_out_week_is_measured_on_real_feedback_only() -> None:
    week = [replace(one, released_at=NOW - (one.id % 6) * DAY) for one in library()]
    old = [replace(one, id=one.id + 1000, released_at=NOW - 20 * DAY) for one in library()]
    past = [replace(row, notice_id=row.notice_id + 1000) for row in clicks(NOW - 10 * DAY)]
    rows = [*past, *clicks()]
    found = held_out(rows, people(), [*week, *old], city(), seed=3, now=NOW)
    assert found["questions"] == 40 and found["held_out_candidates"] == 120
    assert found["ndcg10_learned"] > found["ndcg10_newest"] + 0.1  # they open what they follow
    assert found["ndcg10_gain"] == pytest.approx(found["ndcg10_learned"] - found["ndcg10_newest"])
    assert 0 < found["ndcg10_gain_se"] < 0.2
    made_up = [replace(row, simulated=True) for row in rows]
    assert held_out(made_up, people(), [*week, *old], city(), seed=3, now=NOW) == {
        "held_out_residents": 0, "held_out_candidates": 120,
    }  # fmt: skip
    few = held_out(
        [row for row in rows if row.profile_id < 9], people(), [*week, *old], city(), seed=3, now=NOW
    )
    assert set(few) == {"held_out_residents", "held_out_candidates"} and 0 < few["held_out_residents"] < 9
    # Nothing before the week:
    unlearned = held_out(clicks(), people(), [*week, *old], city(), seed=3, now=NOW)
    assert unlearned == {"held_out_residents": 40, "held_out_candidates": 120}
    nothing = {"held_out_residents": 0, "held_out_candidates": 0}
    assert held_out([], [], [], city(), seed=3, now=NOW) == nothing


def test_an_imported_notice_belongs_to_the_week_of_its_own_date() -> None:
    def dated(days: float | None) -> list[Notice]:
        when = None if days is None else NOW - days * DAY
        return [
            replace(
                one,
                archive=one.id % 8 == 0,
                released_at=NOW - DAY,
                content=replace(one.content, published=when),
            )
            for one in library()
        ]

    def candidates(week: list[Notice]) -> float:
        return held_out(clicks(), people(), week, city(), seed=3, now=NOW)["held_out_candidates"]

    assert candidates(dated(3)) == 120
    assert candidates(dated(8)) == candidates(dated(None)) == candidates(dated(-1)) == 105


def test_ndcg_by_hand() -> None:
    scores = np.array([[3, 2, 1], [1, 2, 3], [0, 0, 0], [1, 2, 3]], np.float32)
    wanted = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    assert ndcg(scores, wanted).tolist() == pytest.approx([1.0, 0.5, 1 / np.log2(3), 0.0])
    assert ndcg(np.zeros((2, 0), np.float32), np.zeros((2, 0), bool)).tolist() == [0.0, 0.0]


# The ranker


def test_lists_that_somebody_chose_from_are_counted() -> None:
    def shown(user: int, number: int, day: int = 0) -> FeedbackRow:
        return FeedbackRow(user, number, "impression", NOW + day * DAY)

    rows = [shown(1, 1), shown(1, 2), shown(1, 1, 1), shown(1, 3, 1), shown(2, 1), shown(2, 2), shown(3, 1)]
    acts = [FeedbackRow(1, 2, "click", NOW), FeedbackRow(3, 1, "click", NOW), FeedbackRow(2, 9, "click", NOW)]
    day = lambda at: local_date(at, SHANGHAI)  # noqa: E731
    # One chose 2 from {1, 2}; nothing of the next day; 2 chose nothing shown; 3 had nothing to choose from.
    assert impression_groups(acts, rows, day) == (1, 1)
    assert impression_groups([replace(one, simulated=True) for one in acts], rows, day) == (0, 0)
    made, said, facts = train_ranker(acts, rows, people(), library(), city(), now=NOW, seed=1)
    assert made == {} and "too few" in said
    assert str(MIN_GROUPS) in said and str(MIN_GROUP_PEOPLE) in said
    assert facts == {"ranker_groups": 1.0, "ranker_people": 1.0}
    _, _, facts = train_ranker([], [], [], [], city(), now=NOW, seed=1)
    assert facts == {
        "ranker_groups": 0.0,
        "ranker_people": 0.0,
    }
