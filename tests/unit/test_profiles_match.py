"""How declared criteria meet a notice: parents and children, places inside and around, words, mutes."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.catalogue.tagging import Tag
from profiles.match import BROADER, NARROWER, PLACE_SAME, Reach, hides, kinship, match, reach, says
from profiles.types import FollowedPlace
from tests.unit.recommender_world import city, person, tags

KIN = kinship(city())


def about(*names: str, **changes: Any) -> Reach:
    return reach(tags(*names), KIN, **({"level": "city", "place": "sl"} | changes))


def met(interest: str, notice: Reach) -> float:
    return match(person(interests=(interest,)), notice).interests.get(interest, 0.0)


def at(code: str, notice: Reach, label: str = "home") -> float:
    place = FollowedPlace(code, label)
    return match(person(places=(place,)), notice).places.get(place, 0.0)


def test_a_followed_theme_meets_itself_its_children_and_a_little_its_parent() -> None:
    assert met("theme:0402", about("theme:0402")) == 1.0
    assert met("theme:04", about("theme:0402")) == pytest.approx(NARROWER)
    assert met("theme:0402", about("theme:04")) == pytest.approx(BROADER)
    assert met("theme:0403", about("theme:0402")) == 0.0
    assert met("theme:9999", about("theme:0402")) == 0.0


def test_a_parent_that_tagging_added_says_nothing_of_its_own() -> None:
    # The tagger adds 04 to every 0402; a follower of banking (0403) must not get tax for that.
    assert met("theme:0403", about("theme:0402", "theme:04")) == 0.0
    assert met("theme:04", about("theme:0402", "theme:04")) == pytest.approx(NARROWER)


def test_other_kinds_meet_exactly_and_words_stand_in_the_title() -> None:
    notice = about("life:graduation", "type:subsidy", agency="tax", title="旧楼加装電梯补贴 Start-up")
    for tag in ("life:graduation", "type:subsidy", "agency:tax", "word:电梯", "word:START"):
        assert met(tag, notice) == 1.0
    for tag in ("word:art", "word:自行车", "word:", "agency:gov", "nonsense", ""):
        assert met(tag, notice) == 0.0


def test_street_beats_district_beats_city_and_home_beats_the_rest() -> None:
    home = about("place:sl0101", "place:sl01", "place:sl", level="street", place="sl0101")
    district = about("place:sl01", level="district", place="sl01")
    assert at("sl0101", home) > at("sl0101", district) > at("sl0101", about()) == 0.0
    assert at("sl0101", home) > at("sl01", home) > at("sl", home) > 0.0
    assert at("sl0101", home) > at("sl0101", home, "parents") > at("sl0101", home, "画室") > 0
    assert at("sl02", home) == at("sl0102", home) == 0.0
    assert at("sl0101", home) == PLACE_SAME["street"]


def test_what_belongs_to_others_is_elsewhere_and_a_role_does_not_count_there() -> None:
    notice = about("place:sl0201", "role:citizen", level="street", place="sl0201")
    mine = match(person(roles=("citizen",), places=(FollowedPlace("sl0101"),)), notice)
    assert mine.elsewhere and not mine.roles
    assert match(person(roles=("citizen",)), notice).roles  # who follows no place is nowhere else
    assert match(person(roles=("citizen",), places=(FollowedPlace("sl02"),)), notice).roles


def test_scope() -> None:
    assert about().citywide and not about().local
    assert about(level="country", place="cn").citywide
    named = about("place:sl0201")  # a bureau of the city about one street
    assert named.local and not named.citywide
    assert about(level="elsewhere", place=None).outside
    unknown = about(level="unknown", place=None)
    assert not unknown.outside and not unknown.local and not unknown.citywide
    assert about("place:nowhere", level="unknown", place=None).outside


def test_mutes_reach_downwards() -> None:
    notice = about(
        "theme:0402", "place:sl0101", agency="tax", level="street", place="sl0101", title="停水通知"
    )
    for tag in ("theme:0402", "theme:04", "place:sl0101", "place:sl01", "agency:tax", "word:停水"):
        assert hides(tag, notice), tag
    for tag in ("theme:0403", "place:sl02", "agency:gov", "word:停电", "word:", ""):
        assert not hides(tag, notice), tag
    assert match(person(mutes=("theme:04",)), notice).muted


def test_odd_weights_are_cut() -> None:
    odd = (Tag("theme", "0402", "x", nan), Tag("role", "citizen", "x", 7.0), Tag("life", "birth", "x", -1.0))
    found = reach(odd, KIN, level="city", place="sl")
    assert "theme:0402" not in found.topics and "life:birth" not in found.topics
    assert found.roles == {"role:citizen": 1.0}


def test_words_ignore_script_and_case() -> None:
    assert says("電梯", "电梯安全") and says("Tax", "tax relief") and not says("tax", "taxation")


CODES = st.sampled_from([*sorted(city().themes), "9999", ""])


@given(st.lists(st.tuples(CODES, st.floats(allow_nan=True)), max_size=6), st.lists(CODES, max_size=6))
def test_strengths_stay_between_0_and_1(weighted: list[tuple[str, float]], followed: list[str]) -> None:
    notice = reach(
        [Tag("theme", code, "x", weight) for code, weight in weighted], KIN, level="city", place="sl"
    )
    found = match(person(interests=tuple(f"theme:{code}" for code in followed)), notice)
    assert all(0 < strength <= 1 for strength in found.interests.values())


def test_a_visitor_is_told_of_the_place_and_not_of_what_lies_around_it() -> None:
    district = about("place:sl02", level="district", place="sl02")
    assert at("sl0201", district) > 0
    assert at("sl0201", district, "visit") == 0.0
    assert at("sl0201", about("place:sl0201", level="street", place="sl0201"), "visit") > 0


def test_a_place_that_the_text_only_mentions_is_not_what_it_is_about() -> None:
    mentioned = reach((Tag("place", "sl0201", "text", 0.5),), KIN, level="city", place="sl")
    assert at("sl0201", mentioned) == 0.0
    assert at("sl0201", reach((Tag("place", "sl0201", "title", 1.0),), KIN, level="city", place="sl")) > 0
