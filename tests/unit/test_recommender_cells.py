"""Single cells have the figures of whole rows; taste, clicks, editors and diversity keep their word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.types import FollowedPlace, Profile
from recommender.blend import PARTS, ask, prepare, score_all
from recommender.candidates import pool
from recommender.cells import cells
from recommender.clickthrough import Clickthrough
from recommender.select import choose
from recommender.types import Candidate, Weights
from tests.unit.recommender_world import (
    DAY,
    HOUR,
    NOW,
    candidate,
    city,
    editions,
    ids,
    person,
    picks,
    ready,
    street,
)
from tests.unit.test_recommender_model import library, model

THEMES = ["theme:0402", "theme:04", "theme:0601", "agency:tax", "word:水", "word:tax"]
PLACES = ["sl0101", "sl01", "sl0201", "slz1"]


def clicks(**lift: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Counts of two themes for everybody and citizens, as a model carries them."""
    table = np.array([[0, 0], [lift.get("tax", 0), lift.get("water", 0)]], dtype=np.float32)
    counted = Clickthrough(("citizen",), ("04", "06"), table, table * 0, table * 0, NOW)
    return counted.facts(), counted.arrays()


def world(**lift: float) -> list[Candidate]:
    made = [
        street(
            n, PLACES[n % 4], f"theme:{('0402', '0601', '04')[n % 3]}", "role:citizen",
            agency=("tax", "")[n % 2], title=f"水 tax {n}" if n % 3 else f"通知{n}",
            deadline=NOW + n * DAY if n % 2 else None, prominence=n % 3 - 1, fresh_at=NOW - n * HOUR,
            priority=("normal", "mandatory", "normal", "emergency")[n // 4 % 4],
        ) if n % 4 else candidate(n, "theme:0402", "theme:0601", title=f"水{n}")
        for n in range(1, 25)
    ]  # fmt: skip
    return made


@st.composite
def _people(draw: st.DrawFn) -> list[Profile]:
    taste = st.lists(
        st.tuples(st.sampled_from([*THEMES, "place:sl01"]), st.floats(-3, 3, width=16)),
        unique_by=lambda t: t[0],
    )
    return [
        person(
            number,
            roles=tuple(draw(st.lists(st.sampled_from(["citizen", "enterprise", "nobody"]), unique=True))),
            places=tuple(
                FollowedPlace(code, draw(st.sampled_from(["home", "work", "visit", "海边"])))
                for code in draw(st.lists(st.sampled_from(PLACES), max_size=3))
            ),
            interests=tuple(draw(st.lists(st.sampled_from(THEMES), max_size=4))),
            taste=tuple(sorted(draw(taste))),
            personalised=draw(st.booleans()),
        )
        for number in range(1, draw(st.integers(1, 4)) + 1)
    ]


@settings(max_examples=60, deadline=None)
@given(_people(), st.booleans())
def test_single_cells_have_the_figures_of_whole_rows(people: list[Profile], learned: bool) -> None:
    trained = replace(model(), extras={"clicks": clicks(tax=0.9, water=-0.7)}) if learned else None
    prepared = prepare(pool(world(), city()), Weights(), NOW, trained)
    asked = ask(people, prepared)
    whole = score_all(asked, np.ones((len(people), 24), dtype=bool), prepared)
    rows, columns = (found.ravel() for found in np.indices(whole.total.shape))
    single = cells(asked, rows, columns, prepared)
    for name in PARTS:
        assert np.allclose(single.parts[name], whole.parts[name].ravel(), atol=2e-5), name
    assert np.allclose(single.total, whole.total.ravel(), atol=1e-4)
    for start in range(len(people)):  # and a part of the batch has those of the whole
        part = score_all(asked.part(start, start + 1), np.ones((1, 24), dtype=bool), prepared)
        assert np.allclose(part.total[0], whole.total[start], atol=1e-4)


def test_taste_lifts_holds_back_and_says_so() -> None:
    found = [candidate(n, f"theme:{code}") for n, code in ((1, "0402"), (2, "0601"))]
    wish = person(interests=("theme:0402", "theme:0601"))
    assert ids(picks(wish, found)) == [1, 2]
    made = picks(replace(wish, taste=(("theme:0601", 1.0),)), found)
    assert ids(made) == [2, 1]
    assert [(r.code, r.params) for r in made[0].reasons] == [
        ("interest", ("theme:0601",)),
        ("taste", ("theme:0601",)),
    ]
    assert made[0].reasons[1].contribution == pytest.approx(1.0)
    assert ids(picks(replace(wish, taste=(("theme:0402", -1.0),)), found)) == [2, 1]
    own = replace(wish, taste=(("theme:0601", 3.0),), own_taste=("theme:0601",))
    assert picks(own, found)[0].reasons[1].params == ("theme:0601", "own")
    assert picks(own, found)[0].reasons[1].contribution == pytest.approx(1.5)  # the cap


def test_taste_alone_is_a_reason_from_a_like_on_but_not_at_other_peoples_places() -> None:
    found = [candidate(1, "theme:0601"), street(2, "sl0201", "theme:0601")]
    wish = person(interests=("theme:0402",), places=(FollowedPlace("sl0101"),))
    assert picks(replace(wish, taste=(("theme:0601", 0.4),)), found) == []
    assert ids(picks(replace(wish, taste=(("theme:0601", 1.0),)), found)) == [1]
    off = replace(wish, taste=(("theme:0601", 1.0),), personalised=False)
    assert picks(off, found) == []
    assert picks(replace(wish, taste=(("theme:0601", nan),)), found) == []


def test_the_editors_recommend_and_hold_back() -> None:
    found = [candidate(n, "theme:0402", prominence=way) for n, way in ((1, -1), (2, 0), (3, 1))]
    made = picks(person(interests=("theme:0402",)), found)
    assert ids(made) == [3, 2, 1]
    assert [reason.code for reason in made[0].reasons] == ["interest", "editor"]
    assert made[0].score - made[2].score == pytest.approx(1.0)
    assert picks(person(interests=("theme:0601",)), found) == []  # it orders, it is no reason by itself


def test_what_a_role_clicks_orders_and_is_said() -> None:
    trained = replace(model(), extras={"clicks": clicks(water=0.9)})
    found = [candidate(1, "theme:0402"), candidate(2, "theme:0601")]
    wish = person(roles=("citizen",), interests=("theme:0402", "theme:0601"))
    made = picks(wish, found, model=trained)
    assert ids(made)[0] == 2
    said = {reason.code: reason for reason in made[0].reasons}
    assert said["clicks"].params == ("role:citizen",)
    assert said["clicks"].contribution == pytest.approx(0.54, abs=0.01)
    assert not any(r.code == "clicks" for one in picks(person(interests=wish.interests), found, model=trained)
                   for r in one.reasons)  # fmt: skip
    broken = replace(model(), extras={"clicks": ({}, {})})
    assert ids(picks(wish, found, model=broken))  # counts that do not hold together are left out


def test_of_many_alike_some_wait_but_the_newest_first_do_not() -> None:
    alike = [candidate(n, "theme:0402", "type:a", fresh_at=NOW - n * HOUR) for n in range(1, 4)]
    other = candidate(9, "theme:0402", "agency:x", "type:b", "life:c", fresh_at=NOW - 8 * HOUR)
    tail = candidate(10, "theme:0402", "type:a", fresh_at=NOW - 90 * HOUR)
    wish = person(interests=("theme:0402",))
    found = [*alike, other, tail]
    assert ids(picks(wish, found))[:2] == [1, 9]
    assert ids(picks(replace(wish, personalised=False), found))[:2] == [1, 2]


def test_thousands_of_profiles_are_chosen_for_like_one_by_one() -> None:
    found = [
        candidate(n, f"theme:0{1 + n % 6}01", agency=f"a{n % 9}", fresh_at=NOW - n * HOUR) for n in range(80)
    ]
    people = [person(n, interests=(f"theme:0{1 + n % 6}01", f"theme:0{1 + n % 5}"), pace=2 + n % 9)
              for n in range(1, 1100)]  # fmt: skip
    together = {one.profile_id: ids(list(one.picks)) for one in editions(people, found)}
    for one in people[::97]:
        assert together[one.id] == ids(picks(one, found))


def test_caps_hold_where_the_nearest_are_all_of_one_agency() -> None:
    found = [candidate(n, "theme:0402", "theme:0403", agency="tax") for n in range(1, 300)]
    found += [
        candidate(n, "theme:0601", agency=f"b{n}", fresh_at=NOW - timedelta(days=3)) for n in range(300, 310)
    ]
    made = ids(picks(person(interests=("theme:0402", "theme:0403", "theme:06")), found))
    assert sum(n < 300 for n in made) == 3 and sum(n >= 300 for n in made) == 4


def test_nobody_asks_or_nothing_is_there() -> None:
    empty = ready([])
    assert ask([], empty).said.follows_some.size == 0
    assert choose([person()], {}, empty, NOW) == []
    assert choose([], {}, ready([candidate(1)]), NOW) == []
    assert library()  # the model of these tests is trained on it
