"""Asking for less of something followed is felt; a rule of a place, and its name, are for who follows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiles.reasons import sentence
from profiles.said import WORTH
from profiles.taste import TasteTag, lesson
from profiles.taste import learn as learned_from
from profiles.types import FollowedPlace, Profile
from recommender.blend import ask, score_all
from recommender.cells import cells
from recommender.explain import explain
from recommender.types import Candidate
from tests.unit.recommender_world import HOUR, NOW, candidate, city, ids, person, picks, ready, street, tags
from tests.unit.test_recommender_model import model

EDUCATION, FINANCE = ("theme:1102", "theme:11"), ("theme:0402", "theme:04")


def town() -> list[Candidate]:
    """Twelve notices, every second one about education, the newer the lower its number."""
    return [
        candidate(n, *(EDUCATION if n % 2 else FINANCE), "type:service", "role:citizen",
                  agency=f"a{n}", fresh_at=NOW - n * HOUR)
        for n in range(1, 13)
    ]  # fmt: skip


def after(kind: str, times: int, reader: Profile) -> Profile:
    """The reader after so many words on notices about education."""
    taste: list[TasteTag] = []
    for _ in range(times):
        taught = lesson(tags(*EDUCATION, "type:service", "agency:edu"), city(), ())
        taste = learned_from(taste, taught, WORTH[kind])  # type: ignore[index]
    return replace(reader, taste=tuple(sorted((item.tag, item.weight) for item in taste)))


def test_one_less_on_a_followed_theme_is_felt_in_the_next_edition() -> None:
    reader = person(interests=("theme:1102", "theme:0402"), roles=("citizen",), pace=6)
    before, now, thrice = (picks(after("less", n, reader), town()) for n in (0, 1, 3))
    assert [n % 2 for n in ids(before)].count(1) == 3 and ids(before)[0] == 1
    places = [place for place, n in enumerate(ids(now)) if n % 2]
    assert len(places) < 3 and all(n % 2 == 0 for n in ids(now)[:4])  # fewer, and last
    worth = {one.notice_id: one.score for one in before}
    assert all(worth[one.notice_id] - one.score > 2 for one in now if one.notice_id % 2)
    assert len([n for n in ids(thrice) if n % 2]) <= len(places)
    assert ids(picks(reader, town()[:1])) == ids(picks(after("less", 3, reader), town()[:1])) == [1]


def test_an_unwanted_interest_counts_for_less_in_its_reason_too() -> None:
    wish = person(interests=("theme:1102",))
    (plain,), (less,) = (
        picks(one, town()[:1]) for one in (wish, replace(wish, taste=(("theme:1102", -1.0),)))
    )
    assert plain.reasons[0].params == less.reasons[0].params == ("theme:1102",)
    assert 0 < less.reasons[0].contribution < plain.reasons[0].contribution - 0.5
    off = replace(wish, taste=(("theme:1102", -3.0),), personalised=False)
    assert picks(off, town()[:1])[0].reasons == picks(replace(off, taste=()), town()[:1])[0].reasons


def test_a_less_reaches_further_down_than_a_like_up() -> None:
    wish = person(interests=("theme:0402",))
    prepared = ready([candidate(1, "theme:0601", "agency:x", "life:y")])
    for weight, worth in ((1.0, 1.5), (-1.0, -3.0), (-3.0, -3.0)):
        felt = replace(wish, taste=tuple((tag, weight) for tag in ("agency:x", "life:y", "theme:0601")))
        asked = ask([felt], prepared)
        assert score_all(asked, np.ones((1, 1), bool), prepared).parts["taste"][0, 0] == pytest.approx(worth)


def test_the_kind_of_paper_teaches_half() -> None:
    taught = {tag.kind: tag.weight for tag in lesson(tags("theme:1102", "type:service"), city(), ())}
    assert taught == {"theme": 1.0, "type": 0.5}


@pytest.mark.parametrize("priority", ["mandatory", "emergency"])
def test_a_local_rule_is_for_who_follows_the_place(priority: str) -> None:
    found = [
        street(1, "sl0201", "role:enterprise", priority=priority, fresh_at=NOW - 40 * HOUR),
        candidate(2, "theme:0402", "role:enterprise"),
    ]
    nowhere = person(roles=("enterprise",), interests=("theme:0402",))
    made = picks(nowhere, found)
    assert [(one.notice_id, one.kind) for one in made] == [(2, "new"), (1, "new")]
    assert [reason.code for reason in made[1].reasons] == ["role"] and made[1].score < 5
    here = replace(nowhere, places=(FollowedPlace("sl0201"),))
    first = picks(here, found)[0]
    assert (first.notice_id, first.kind, first.reasons[0].code) == (1, "mandatory", priority)
    prepared = ready(found)
    asked = ask([nowhere, here], prepared)
    whole = score_all(asked, np.ones((2, 2), bool), prepared)
    rows, columns = (one.ravel() for one in np.indices((2, 2)))
    single = cells(asked, rows, columns, prepared)
    assert np.allclose(single.parts["priority"], whole.parts["priority"].ravel())
    assert np.allclose(single.total, whole.total.ravel(), atol=1e-4)


def test_what_contains_a_followed_street_is_not_called_followed() -> None:
    for label, zh in (("home", "您家所在的"), ("work", "您单位所在的"), ("海边", "您关注的地点所在的")):
        (made,) = picks(person(places=(FollowedPlace("sl0101", label),)), [street(1, "sl01")])
        reason = made.reasons[0]
        assert reason.params == ("place:sl01", label, "around")
        assert sentence(reason, "zh", city().label) == zh + city().label("place:sl01", "zh")
        assert "follow:" not in sentence(reason, "en", city().label)
    (made,) = picks(person(places=(FollowedPlace("sl01"),)), [street(1, "sl01")])
    assert made.reasons[0].params == ("place:sl01", "home")


def test_the_model_does_not_call_a_district_followed_either() -> None:
    taught = model()
    wish = [person(1, places=(FollowedPlace("sl0101"),)), person(2, places=(FollowedPlace("sl01"),))]
    prepared = ready([candidate(n, f"theme:{c}") for n, c in enumerate(("0402", "0601", "1402"), 1)], taught)
    asked = ask(wish, replace(prepared, weights=replace(prepared.weights, learned_said=0.0)))
    rows, columns = (one.ravel() for one in np.indices((2, 3)))
    picked = cells(
        asked, rows, columns, replace(prepared, weights=replace(prepared.weights, learned_said=0.0))
    )
    said = explain(picked)
    told = {
        (int(rows[pick]), prepared.statements.all[int(said.said[line])])
        for pick in range(rows.size)
        for line in range(int(said.starts[pick]), int(said.starts[pick + 1]))
    }
    named = {(row, params) for row, (code, params) in told if code == "learned" and params}
    assert all(params[-1] == "around" for row, params in named if row == 0 and params[0] == "place:sl01")
    assert all(params == ("place:sl01",) for row, params in named if row == 1)
    assert any(row == 0 for row, _ in named)
