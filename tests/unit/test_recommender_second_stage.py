"""A ranker taught by what residents did orders their best anew; its part and its reasons are true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from feeds.catalogue.notices import Notice
from profiles.editions import NewEdition
from profiles.feedback import FeedbackRow
from profiles.types import Profile
from recommender import ranker_training
from recommender.blend import prepare
from recommender.candidates import from_notice, pool
from recommender.mix import Mix
from recommender.model_file import Model
from recommender.ranker_training import learn_ranker
from recommender.second_stage import cared_for, stage_of
from recommender.select import choose
from recommender.types import Weights
from tests.factories import content
from tests.models import small
from tests.unit.recommender_world import DAY, HOUR, NOW, city, ids, notice, person, shelf

pytest.importorskip("lightgbm")
SUBJECTS = (
    "养老院",
    "充电桩",
    "博物馆",
    "自来水",
    "公交车",
    "幼儿园",
    "体育馆",
    "菜市场",
    "图书馆",
    "地铁站",
)
DAYS, A_DAY, PEOPLE = 60, 20, 40


@dataclass
class Past:
    """What a town did in two months; everybody declared the same.

    Each likes two subjects of their own, and everybody what goes into detail (subject -1).
    """

    people: list[Profile]
    likes: list[tuple[int, ...]]
    notices: list[Notice]
    subjects: list[int]
    acts: list[FeedbackRow]
    shown: list[FeedbackRow]

    def recent(self, profile_ids: Iterable[int], most: int = 50) -> Mapping[int, Sequence[FeedbackRow]]:
        wanted = set(profile_ids)
        self.asked = wanted
        found: dict[int, list[FeedbackRow]] = {number: [] for number in wanted}
        for row in reversed(self.acts):
            if row.profile_id in wanted and len(found[row.profile_id]) < most:
                found[row.profile_id].append(row)
        return found


@pytest.fixture(scope="module")
def past() -> Past:
    draw = np.random.default_rng(3)
    people = [person(n + 1, interests=("theme:0402",), roles=("citizen",)) for n in range(PEOPLE)]
    likes = [tuple(draw.choice(len(SUBJECTS), 2, replace=False).tolist()) for _ in people]
    found = Past(people, likes, [], [], [], [])
    for day in range(DAYS):
        start = NOW - (DAYS - day) * DAY
        todays = []
        for n in range(A_DAY):
            number, subject = day * A_DAY + n + 1, int(draw.integers(len(SUBJECTS)))
            detail = " ".join(f"ab{k}x" for k in draw.integers(60, size=6)) if draw.random() < 0.25 else ""
            at = start + timedelta(minutes=10 * n)
            found.notices.append(
                notice(number, "theme:0402", released_at=at, created_at=at, changed_at=at, content=content(
                    title=f"{SUBJECTS[subject]}安排 {detail}", published=at, body=""))
            )  # fmt: skip
            found.subjects.append(-1 if detail else subject)
            todays.append(number)
        for one, own in zip(people, likes, strict=True):
            for place, number in enumerate(draw.permutation(todays)[:12].tolist(), start=1):
                at = start + 8 * HOUR + timedelta(minutes=place)
                found.shown.append(FeedbackRow(one.id, number, "impression", at, position=place))
                if draw.random() < (0.7 if found.subjects[number - 1] in (-1, *own) else 0.03):
                    found.acts.append(FeedbackRow(one.id, number, "open", at, position=place))
    return found


@pytest.fixture(scope="module")
def model(past: Past) -> Model:
    """A model whose ranker has all the say; whether it deserves it is the gate's business."""
    learner = ranker_training._taught(past.acts, past.shown, past.people, past.notices, city(), NOW, seed=1)
    assert learner is not None
    trained = learner.train()
    assert trained.ranker is not None and trained.gate.questions >= 50
    trusted = replace(
        trained, mix=Mix(trained.mix.part, (0.0, 1.0, 1.0)), gate=replace(trained.gate, passed=True)
    )
    served = learner.served(trusted, ranker_training.item_ids(learner.log))
    assert served is not None
    return replace(small(), extras=served.extras())


def editions(
    past: Past, model: Model | None, people: Sequence[Profile], *, acts: bool = True
) -> list[NewEdition]:
    found = [from_notice(one) for one in past.notices[-5 * A_DAY :]]
    prepared = prepare(pool(found, city()), Weights(), NOW, model)
    shelves = {one.id: shelf(one.id) for one in people}
    return choose(people, shelves, prepared, NOW, acts=past if acts else None)


def wanted(past: Past, made: NewEdition) -> float:
    """Share of an edition that is about what its resident likes."""
    own = (-1, *past.likes[made.profile_id - 1])
    return float(np.mean([past.subjects[number - 1] in own for number in ids(list(made.picks))]))


def test_it_finds_what_each_likes(past: Past, model: Model) -> None:
    with_it = np.mean([wanted(past, one) for one in editions(past, model, past.people)])
    without = np.mean([wanted(past, one) for one in editions(past, model, past.people, acts=False)])
    assert with_it > without + 0.2


def test_its_reasons_are_given_where_it_spoke_and_never_add_up_to_more_than_the_score(
    past: Past, model: Model
) -> None:
    found = [pick for one in editions(past, model, past.people) for pick in one.picks]
    said = [reason for pick in found for reason in pick.reasons if reason.code == "similar"]
    assert said
    assert all(reason.contribution > 0 for pick in found for reason in pick.reasons)
    for pick in found:
        assert (
            sum(reason.contribution for reason in pick.reasons) <= pick.score + 3.0
        )  # parts below 0 take away
    plain = [pick for one in editions(past, model, past.people, acts=False) for pick in one.picks]
    assert not any(reason.code == "similar" for pick in plain for reason in pick.reasons)


def test_who_switched_off_is_not_even_looked_up(past: Past, model: Model) -> None:
    off = replace(past.people[0], personalised=False)
    made = editions(past, model, [off, past.people[1]])
    assert past.asked == {past.people[1].id}
    assert ids(list(made[0].picks)) == sorted(ids(list(made[0].picks)), reverse=True)


def test_where_the_gate_gave_it_no_say_nothing_changes(past: Past, model: Model) -> None:
    stranger = person(PEOPLE + 1, interests=("theme:0402",), roles=("citizen",))
    made, plain = (editions(past, model, [stranger], acts=acts)[0] for acts in (True, False))
    assert made.picks == plain.picks


def test_without_a_ranker_or_with_a_strange_one_the_first_stage_goes_alone(past: Past, model: Model) -> None:
    found = pool([from_notice(one) for one in past.notices[-40:]], city())
    assert stage_of(small(), found, NOW) is None
    assert stage_of(None, found, NOW) is None
    facts, arrays = model.extras["ranker"]
    other = replace(model, extras={**model.extras, "ranker": ({**facts, "features": ["x"]}, arrays)})
    assert stage_of(other, found, NOW) is None
    assert editions(past, other, past.people[:1])[0].picks


def test_the_last_word_on_a_notice_counts() -> None:
    def row(kind: str, minute: int, number: int = 1, value: float = 0.0) -> FeedbackRow:
        return FeedbackRow(1, number, kind, NOW + timedelta(minutes=minute), value=value)  # type: ignore[arg-type]

    assert cared_for([row("open", 5), row("like", 1)]) == [(1, NOW + timedelta(minutes=5))]
    assert cared_for([row("hide", 5), row("like", 1)]) == []
    assert cared_for([row("like", 5), row("less", 1)]) == [(1, NOW + timedelta(minutes=5))]
    assert cared_for([row("rating", 5, value=2), row("open", 1)]) == []
    assert cared_for([row("open", 5, 2), row("rating", 3, value=5)]) == [
        (2, NOW + timedelta(minutes=5)),
        (1, NOW + timedelta(minutes=3)),
    ]


def test_too_little_teaches_nothing(past: Past) -> None:
    served, gate = learn_ranker([], [], past.people, past.notices, city(), now=NOW, seed=1)
    assert served is None and gate.why
    few = past.acts[:5]
    served, gate = learn_ranker(few, past.shown[:50], past.people, past.notices, city(), now=NOW, seed=1)
    assert served is None and not gate.passed
