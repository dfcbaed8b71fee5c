"""Who may be offered what: the hard masks. A muted tag never passes; a role never hides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.match import match
from profiles.types import FollowedPlace, Profile, Shelf
from recommender.candidates import eligible, from_notice, pool
from recommender.types import Candidate
from tests.unit.recommender_world import DAY, HOUR, NOW, candidate, city, notice, person, shelf, street


def offered(profile: Profile, *candidates: Candidate, own: Shelf | None = None) -> list[int]:
    own = own or shelf(profile.id)
    all_of_them = pool(candidates, city())
    mask = eligible([profile], [own], all_of_them, NOW, np.array([own.version == 0]))
    return sorted(all_of_them.ids[mask[0]].tolist())


def test_scripts_of_chinese_are_one_language_and_an_english_title_opens_a_notice() -> None:
    found = [
        candidate(1, lang="zh-Hant"),
        candidate(2, lang="en"),
        candidate(3, in_english=True),
        candidate(4, lang=""),
    ]
    assert offered(person(langs=("zh-Hans",)), *found) == [1, 3, 4]
    assert offered(person(langs=("en",)), *found) == [2, 3, 4]
    assert offered(person(langs=("zh-Hans", "en")), *found) == [1, 2, 3, 4]
    assert offered(person(langs=()), *found) == [1, 3, 4]


def test_jurisdiction() -> None:
    found = [
        candidate(1),
        candidate(2, level="country", place="cn"),
        street(3, "sl0201"),
        candidate(4, level="unknown", place=None),
        candidate(5, level="elsewhere", place=None),
        candidate(6, "place:zhoushan", level="elsewhere", place="zhoushan"),
    ]
    assert offered(person(places=(FollowedPlace("sl0101"),)), *found) == [1, 2, 3, 4]
    assert offered(person(places=(FollowedPlace("zhoushan", "parents"),)), *found) == [1, 2, 3, 4, 6]


@pytest.mark.parametrize(
    "mute", ["theme:0402", "theme:04", "agency:tax", "word:增值税", "word:增值稅", "type:subsidy"]
)
def test_a_mute_hides(mute: str) -> None:
    one = candidate(1, "theme:0402", "theme:04", "type:subsidy", agency="tax", title="增值税申报")
    assert offered(person(mutes=(mute,), interests=("theme:0402",)), one, candidate(2)) == [2]


def test_unknown_mutes_and_tags_change_nothing() -> None:
    profile = person(
        mutes=("theme:9999", "nonsense", "", "word:"), interests=("colour:red",), roles=("astronaut",)
    )
    assert offered(profile, candidate(1, "theme:8888", "colour:blue")) == [1]


def test_a_role_never_hides() -> None:
    found = [candidate(1, "role:tourist"), candidate(2, "role:enterprise"), candidate(3)]
    assert offered(person(roles=("citizen",)), *found) == [1, 2, 3]
    assert offered(person(), *found) == [1, 2, 3]


def test_what_was_picked_is_not_offered_again_nor_its_twin() -> None:
    found = [candidate(1, twin="a"), candidate(2, twin="a"), candidate(3), candidate(4)]
    assert offered(person(), *found, own=shelf(picked=(1, 3, 99))) == [4]


def test_the_archive_opens_for_a_welcome_only() -> None:
    old = {"fresh_at": NOW - 8 * DAY, "released_at": NOW - HOUR}
    found = [
        candidate(1, archive=True, **old),
        candidate(2, archive=True, fresh_at=NOW - 6 * DAY),
        candidate(
            3, **old
        ),  # published long ago, released here today: not archive, so freshness does not exclude
        candidate(4, fresh_at=NOW - 8 * DAY, released_at=NOW - 8 * DAY),
        candidate(5, fresh_at=NOW + 3 * DAY),
    ]
    assert offered(person(), *found) == [2, 3, 5]
    assert offered(person(), *found, own=shelf(version=0)) == [1, 2, 3, 4, 5]


def test_lapsed_notices_are_gone() -> None:
    second = timedelta(seconds=1)
    found = [
        candidate(1, deadline=NOW),
        candidate(2, deadline=NOW - second),
        candidate(3, ends=NOW),
        candidate(4, ends=NOW + second),
    ]
    assert offered(person(), *found) == [1, 4]


def test_a_clock_before_all_data_still_works() -> None:
    later = pool([candidate(1, deadline=NOW + DAY)], city())
    mask = eligible([person()], [shelf()], later, NOW - 1000 * DAY, np.array([False]))
    assert mask.all()


def test_nobody_or_nothing_gives_an_empty_mask() -> None:
    assert eligible([], [], pool([candidate(1)], city()), NOW, np.array([], dtype=bool)).shape == (0, 1)
    assert eligible([person()], [shelf()], pool([], city()), NOW, np.array([True])).shape == (1, 0)


def test_a_pool_keeps_the_latest_revision_and_stands_newest_first() -> None:
    found = [candidate(3), candidate(1), candidate(2, fresh_at=NOW), candidate(3, revision=2)]
    made = pool(found, city())
    assert [(one.notice_id, one.revision) for one in made.candidates] == [(2, 1), (1, 1), (3, 2)]


def test_notices_become_candidates() -> None:
    stored = notice(7, "theme:0402", "agency:tax", title="关于高新企业认定奖励申报的通知")
    one = from_notice(replace(stored, content=replace(stored.content, lapses=NOW + DAY, expires=NOW + HOUR)))
    assert (one.notice_id, one.agency, one.ends, one.in_english) == (7, "tax", NOW + HOUR, False)
    assert "奖励" in one.words and "关于" not in one.words and "的" not in one.words
    same = notice(8, title="关于高新企业认定奖励申报的通知")
    assert from_notice(same).twin == one.twin != from_notice(notice(9)).twin


TAGS = st.sampled_from(
    ["theme:04", "theme:0402", "theme:0601", "role:citizen", "agency:tax", "place:sl01", "word:水"]
)


@given(st.lists(st.lists(TAGS, max_size=4), min_size=1, max_size=5), st.lists(TAGS, max_size=3))
def test_matrices_hide_exactly_what_the_single_match_hides(groups: list[list[str]], mutes: list[str]) -> None:
    found = [
        candidate(n, *(t for t in group if t[:4] != "word"), title=f"水{n}") for n, group in enumerate(groups)
    ]
    made = pool(found, city())
    profile = person(mutes=tuple(mutes))
    mask = eligible([profile], [shelf()], made, NOW, np.array([False]))
    for column, one in enumerate(made.reaches):
        assert mask[0, column] == (not match(profile, one).muted)


def test_many_profiles_at_once_equal_one_by_one() -> None:
    made: list[Any] = [
        street(n, f"sl0{1 + n % 3}", f"theme:040{1 + n % 5}", agency=f"a{n % 4}") for n in range(30)
    ]
    people = [
        person(n, mutes=(f"agency:a{n % 5}",), places=(FollowedPlace(f"sl0{n % 4}"),)) for n in range(6)
    ]
    together = pool(made, city())
    shelves = [shelf(one.id, picked=(one.id,)) for one in people]
    mask = eligible(people, shelves, together, NOW, np.zeros(6, dtype=bool))
    for row, one in enumerate(people):
        alone = eligible([one], [shelves[row]], together, NOW, np.array([False]))
        assert (mask[row] == alone[0]).all()
