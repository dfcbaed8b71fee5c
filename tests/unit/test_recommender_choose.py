"""From profiles and candidates to editions: order, reasons that add up, caps, rules, and the off-switch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.catalogue.tagging import Tag
from profiles.match import match
from profiles.types import FollowedPlace, Profile
from recommender.blend import PARTS
from recommender.candidates import level_one
from recommender.explain import breakdown
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
    scored,
    shelf,
    street,
)

HOME = FollowedPlace("sl0101", "home")


def test_an_interest_raises_a_notice_and_more_so_than_newness() -> None:
    found = [candidate(1, "theme:0601", "role:citizen"), candidate(2, "theme:0402", fresh_at=NOW - 3 * DAY)]
    assert ids(picks(person(roles=("citizen",)), found)) == [1]
    assert ids(picks(person(roles=("citizen",), interests=("theme:0402",)), found)) == [2, 1]


def test_a_role_orders_but_never_hides() -> None:
    found = [candidate(1, "theme:0402", "role:tourist"), candidate(2, "theme:0402", "role:citizen")]
    assert ids(picks(person(interests=("theme:0402",), roles=("citizen",)), found)) == [2, 1]
    assert ids(picks(person(interests=("theme:0402",), roles=("tourist",)), found)) == [1, 2]


def test_the_home_street_beats_its_district_and_other_peoples_streets() -> None:
    found = [
        street(1, "sl0201", "theme:0402"),
        street(2, "sl01", "theme:0402"),
        street(3, "sl0101", "theme:0402"),
    ]
    assert ids(picks(person(places=(HOME,), interests=("theme:0402",)), found)) == [3, 2, 1]
    # Without an interest the other street has no reason at all, whatever the role.
    found = [street(n, code, "role:citizen") for n, code in ((1, "sl0201"), (3, "sl0101"))]
    assert ids(picks(person(places=(HOME,), roles=("citizen",)), found)) == [3]


def test_home_beats_work_and_parents() -> None:
    places = (FollowedPlace("sl0201", "work"), FollowedPlace("sl0301", "parents"), HOME)
    found = [street(1, "sl0201"), street(2, "sl0301"), street(3, "sl0101")]
    made = picks(person(places=places), found)
    assert ids(made) == [3, 1, 2]
    assert made[2].reasons[0].params == ("place:sl0301", "parents")


def test_freshness_halves_and_a_near_deadline_lifts_what_fits() -> None:
    old, soon, new = (
        candidate(1, "theme:0402", fresh_at=NOW - 3 * DAY),
        candidate(2, "theme:0402", fresh_at=NOW - 3 * DAY, deadline=NOW + HOUR),
        candidate(3, "theme:0402", fresh_at=NOW),
    )
    made = picks(person(interests=("theme:0402",)), [old, soon, new])
    assert ids(made) == [2, 3, 1]
    assert [reason.code for reason in made[0].reasons] == ["interest", "deadline"]
    assert made[0].reasons[1].params == ("2026-10-12", "0")
    assert made[1].score - made[2].score == pytest.approx(0.5, abs=1e-3)


def test_a_deadline_is_counted_in_working_days() -> None:
    # Monday 12 October to Friday 16: four working days; a deadline alone is no reason.
    one = candidate(1, "theme:0402", deadline=NOW + 4 * DAY)
    (made,) = picks(person(interests=("theme:0402",)), [one])
    assert made.reasons[1].params == ("2026-10-16", "4")
    assert picks(person(interests=("theme:0601",)), [one]) == []


def test_ties_go_to_the_newer_then_the_smaller_id() -> None:
    same = [candidate(n, "theme:0402", fresh_at=NOW - HOUR) for n in (9, 4, 7)]
    assert ids(picks(person(interests=("theme:0402",)), same)) == [4, 7, 9]


def test_nothing_is_padded_and_freshness_is_no_reason_by_itself() -> None:
    found = [candidate(n) for n in range(1, 9)] + [candidate(9, "theme:0402")]
    assert ids(picks(person(interests=("theme:0402",)), found)) == [9]
    assert picks(person(interests=("theme:0601",)), found) == []


def test_a_welcome_may_hold_what_is_merely_new_or_old_but_not_other_peoples_streets() -> None:
    found = [candidate(n, archive=True, fresh_at=NOW - 100 * DAY) for n in range(1, 70)]
    found += [candidate(80, "theme:0402", archive=True, fresh_at=NOW - 99 * DAY), street(81, "sl0201")]
    (made,) = editions([person(interests=("theme:0402",), places=(HOME,))], found, shelf(version=0))
    assert made.kind == "welcome" and made.expected_version == 0
    assert len(made.picks) == 50 and made.picks[0].notice_id == 80 and 81 not in ids(list(made.picks))
    assert made.picks[1].reasons[0].code == "citywide"


def test_who_declares_nothing_gets_what_is_for_everybody() -> None:
    made = picks(person(), [candidate(1), candidate(2, level="unknown", place=None)])
    assert {one.notice_id: one.reasons[0].code for one in made} == {1: "citywide", 2: "fresh"}


def test_the_pace_counts_what_was_picked_today() -> None:
    found = [candidate(n, "theme:0402" if n % 2 else "theme:0601") for n in range(1, 21)]
    profile = person(interests=("theme:0402", "theme:0601"), pace=6)
    assert len(picks(profile, found)) == 6
    assert len(picks(profile, found, used=4)) == 2
    assert picks(profile, found, used=6) == []
    assert picks(profile, found, used=60) == []


def test_no_more_than_three_of_an_agency_and_four_of_a_theme_in_ten() -> None:
    found = [candidate(n, "theme:0402", agency="tax") for n in range(1, 9)]
    found += [candidate(n, "theme:0403", agency=f"bank{n}") for n in range(11, 19)]
    found += [candidate(n, "theme:0601", agency=f"x{n}") for n in range(21, 29)]
    profile = person(interests=("theme:04", "theme:0402", "theme:06"))
    made = picks(profile, found)
    by_id = {one.notice_id: one for one in found}
    assert max(Counter(by_id[n].agency for n in ids(made)).values()) == 3
    assert Counter(top for n in ids(made) for top in level_one(by_id[n], city())) == {"04": 4, "06": 4}
    # What came in the morning counts.
    assert len(picks(profile, found[:8], shelf(today=(1, 2)), used=2)) == 1


def test_the_caps_hold_in_every_ten_of_a_welcome() -> None:
    found = [candidate(n, f"theme:0{1 + n % 7}01", agency=f"a{n % 5}") for n in range(1, 100)]
    profile = person(interests=tuple(f"theme:0{n}" for n in range(1, 8)))
    made = ids(picks(profile, found, shelf(version=0)))
    by_id = {one.notice_id: one for one in found}
    for start in range(0, len(made), 10):
        ten = [by_id[n] for n in made[start : start + 10]]
        assert max(Counter(one.agency for one in ten).values()) <= 3
        assert max(Counter(top for one in ten for top in level_one(one, city())).values()) <= 4
    assert len(made) == 50


def test_twins_are_picked_once() -> None:
    found = [candidate(n, "theme:0402", twin="same") for n in (1, 2, 3)]
    assert ids(picks(person(interests=("theme:0402",)), found)) == [1]


def test_mandatory_comes_first_where_it_concerns_and_a_mute_still_holds() -> None:
    found = [
        candidate(1, "theme:0402"),
        candidate(2, priority="mandatory", fresh_at=NOW - 5 * DAY),
        street(3, "sl0201", priority="mandatory"),
        street(4, "sl0101", priority="emergency"),
    ]
    profile = person(interests=("theme:0402",), places=(HOME,))
    made = picks(profile, found)
    assert [(one.notice_id, one.kind) for one in made] == [(4, "mandatory"), (2, "mandatory"), (1, "new")]
    assert [one.reasons[0].code for one in made] == ["emergency", "mandatory", "interest"]
    assert made[0].reasons[1].code == "place"
    assert ids(picks(profile, found, used=10)) == [4]  # an emergency takes no slot
    muted = replace(profile, mutes=("place:sl0101",))
    assert 4 not in ids(picks(muted, found))


def test_mandatory_notices_keep_within_the_pace() -> None:
    found = [candidate(n, priority="mandatory") for n in range(1, 30)]
    assert len(picks(person(pace=5, interests=("theme:0402",)), found)) == 5


def test_switched_off_is_newest_first_within_what_they_follow_and_keeps_no_score() -> None:
    found = [
        candidate(1, "theme:0402", fresh_at=NOW - 2 * DAY),
        street(2, "sl0301", fresh_at=NOW - HOUR),
        candidate(3, "theme:0402", "role:citizen", deadline=NOW + HOUR, fresh_at=NOW - DAY),
        candidate(4, fresh_at=NOW),
    ]
    places = (FollowedPlace("sl0301", "parents"),)
    profile = person(interests=("theme:0402",), roles=("citizen",), places=places, personalised=False)
    made = picks(profile, found)
    assert ids(made) == [2, 3, 1]
    assert [one.score for one in made] == [0.0, 0.0, 0.0]
    assert made[0].reasons[0].code == "place" and made[0].reasons[0].params == ("place:sl0301", "parents")
    assert all(r.code in ("interest", "role", "place") for one in made for r in one.reasons)


def test_everything_muted_gives_no_edition() -> None:
    assert (
        editions([person(mutes=("place:sl",), interests=("theme:0402",))], [candidate(1, "theme:0402")]) == []
    )


def test_no_profiles_or_no_notices_give_no_editions() -> None:
    assert editions([], [candidate(1)]) == []
    assert editions([person()], []) == []


def test_five_thousand_interests_are_a_profile_like_any_other() -> None:
    many = tuple(f"theme:{n:04d}" for n in range(4000)) + tuple(f"word:水{n}" for n in range(1000))
    made = picks(person(interests=many), [candidate(n, f"theme:040{n}") for n in range(1, 9)])
    assert len(made) == 4 and all(1 <= len(one.reasons) <= 3 for one in made)
    assert made[0].reasons[0].params[0].startswith("theme:04")


def test_odd_weights_do_not_poison_a_score() -> None:
    odd = candidate(1, tags=(Tag("theme", "0402", "x", nan), Tag("theme", "0601", "x", 1.0)))
    (made,) = picks(person(interests=("theme:0402", "theme:0601")), [odd])
    assert np.isfinite(made.score) and made.reasons[0].params == ("theme:0601",)


def test_every_weight_gives_its_reason() -> None:
    assert set(Weights.why()) == set(Weights.__dataclass_fields__) and all(Weights.why().values())


# Properties over many small worlds

THEMES = st.sampled_from(["0402", "04", "0403", "0601", "06", "9999"])
PLACES = st.sampled_from(["sl0101", "sl01", "sl0201", "sl02", "slz1"])
ROLES = st.sampled_from(["citizen", "tourist", "aid", "nobody"])


@st.composite
def _candidates(draw: st.DrawFn) -> list[Candidate]:
    made = []
    for number in range(1, draw(st.integers(1, 14)) + 1):
        names = [f"theme:{code}" for code in draw(st.lists(THEMES, max_size=2))]
        names += [f"role:{code}" for code in draw(st.lists(ROLES, max_size=2))]
        changes = {
            "agency": draw(st.sampled_from(["", "tax", "gov"])),
            "fresh_at": NOW - draw(st.integers(-5, 150)) * HOUR,
            "priority": draw(st.sampled_from(["normal", "normal", "normal", "mandatory", "emergency"])),
            "deadline": draw(st.sampled_from([None, NOW + DAY, NOW + 30 * DAY])),
        }
        where = draw(st.one_of(st.none(), PLACES))
        made.append(
            street(number, where, *names, **changes) if where else candidate(number, *names, **changes)
        )
    return made


@st.composite
def _profiles(draw: st.DrawFn) -> Profile:
    return person(
        roles=tuple(draw(st.lists(ROLES, max_size=2, unique=True))),
        places=tuple(FollowedPlace(code, "home") for code in draw(st.lists(PLACES, max_size=2))),
        interests=tuple(f"theme:{code}" for code in draw(st.lists(THEMES, max_size=3))),
        mutes=tuple(draw(st.lists(st.sampled_from(["theme:06", "agency:tax", "place:sl02"]), max_size=2))),
        personalised=draw(st.booleans()),
        pace=draw(st.integers(2, 10)),
    )


@settings(max_examples=60, deadline=None)
@given(_candidates(), _profiles(), st.booleans())
def test_what_holds_in_every_world(found: list[Candidate], profile: Profile, first: bool) -> None:
    own = shelf(version=0 if first else 3)
    made = picks(profile, found, own)
    prepared = ready(found)
    scores = scored([profile], prepared, welcome=first)
    assert len(set(ids(made))) == len(made)
    urgent = sum(prepared.pool.rank[prepared.pool.column_of[one.notice_id]] == 2 for one in made)
    assert len(made) - urgent <= (50 if first else profile.pace)
    for one in made:
        column = prepared.pool.column_of[one.notice_id]
        met = match(profile, prepared.pool.reaches[column])
        assert not met.muted
        parts = breakdown(0, column, scores)
        assert sum(parts.values()) == pytest.approx(float(scores.total[0, column]), abs=1e-4)
        assert one.score == (pytest.approx(sum(parts.values()), abs=1e-4) if profile.personalised else 0.0)
        assert 1 <= len(one.reasons) <= 3
        assert all(reason.contribution > 0 for reason in one.reasons)
        # A declared reason is true: the single match of the same profile and notice knows it too.
        for reason in one.reasons:
            if reason.code == "interest":
                assert reason.params[0] in met.interests
            if reason.code == "role":
                assert reason.params[0] in met.roles
            if reason.code == "place":
                named, followed = reason.params[0].removeprefix("place:"), {p.code for p in met.places}
                assert named in followed or any(named in city().ancestors(code) for code in followed)
        shown = sum(r.contribution for r in one.reasons if r.code in ("interest", "role", "place"))
        assert shown <= sum(max(0.0, parts[name]) for name in ("interest", "role", "place")) + 1e-4


@settings(max_examples=60, deadline=None)
@given(_candidates(), _profiles())
def test_the_feed_is_not_empty_while_something_eligible_is_declared(
    found: list[Candidate], profile: Profile
) -> None:
    prepared = ready(found)
    reasons = [
        one
        for one in prepared.pool.reaches
        for met in [match(profile, one)]
        if not met.muted and (met.interests or met.roles or met.places)
    ]
    assert bool(picks(profile, found)) or not reasons


@settings(max_examples=40, deadline=None)
@given(_candidates(), st.lists(_profiles(), min_size=1, max_size=5))
def test_a_batch_scores_like_one_by_one(found: list[Candidate], people: list[Profile]) -> None:
    people = [replace(one, id=n + 1) for n, one in enumerate(people)]
    prepared = ready(found)
    together = scored(people, prepared)
    for row, one in enumerate(people):
        alone = scored([one], prepared)
        for name in PARTS:
            assert np.allclose(together.parts[name][row], alone.parts[name][0], atol=1e-5)
        assert (together.worthy[row] == alone.worthy[0]).all()
