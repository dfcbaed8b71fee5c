"""The made-up city: repeatable, marked, incomplete in what people declare, true to its own description."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from recommender.simulate import simulate
from recommender.simulation.people import CIRCLES, HABITS, Habit, People, drift, populate, read, relevance
from recommender.simulation.press import Printed, Subject, print_day
from recommender.simulation.scene import Scene, scene, scene_of
from tests.unit.recommender_world import DAY, NOW, city, library, notice


@cache
def stage() -> Scene:
    return scene(city(), seed=7)


@cache
def people() -> People:
    return populate(stage(), size=400, seed=7, now=NOW)


def day(number: int = 1, count: int = 200, **changes: float) -> list[Printed]:
    return print_day(stage(), number, count=count, morning=NOW, seed=7, **changes)  # type: ignore[arg-type]


# The scene and its news


def test_the_same_seed_gives_the_same_city_and_another_one_another() -> None:
    again = scene(city(), seed=7)
    assert (again.themes, again.late, again.agencies) == (stage().themes, stage().late, stage().agencies)
    assert np.array_equal(again.concerns, stage().concerns)
    assert scene(city(), seed=8).themes != stage().themes
    assert day() == day()
    assert day(2) != day()
    twin = populate(again, size=400, seed=7, now=NOW)
    assert twin.wishes == people().wishes
    assert np.array_equal(twin.taste, people().taste)
    assert populate(again, size=400, seed=8, now=NOW).wishes != people().wishes


def test_the_late_theme_shares_its_parent_with_no_other_and_waits() -> None:
    parents = [city().themes[code].parent for code in stage().themes if code != stage().late]
    assert stage().late and city().themes[stage().late].parent not in parents
    before = {code for item in day() for code in item.subject.themes}
    after = [stage().late in item.subject.themes for item in day(late_share=0.3)]
    assert stage().late not in before
    assert 0.2 < np.mean(after) < 0.4
    tags = {tag.code for item in day() for tag in item.notice.tags if tag.kind == "theme"}
    assert tags.isdisjoint({stage().late, city().themes[stage().late].parent})


def test_nothing_made_up_is_sensitive_and_every_title_carries_the_sample_mark() -> None:
    for item in day():
        assert item.notice.content.title.startswith(("【示例】", "[SAMPLE]"))
        assert not any(city().is_sensitive(f"theme:{code}") for code in item.subject.themes)
        assert all(city().known(f"{tag.kind}:{tag.code}") for tag in item.notice.tags)
        assert item.notice.content.published is not None
        assert NOW - DAY <= item.notice.content.published < NOW


def test_tags_say_most_of_what_a_notice_is_about_but_not_all() -> None:
    found = [
        next(iter(item.subject.themes)) in {tag.code for tag in item.notice.tags if tag.kind == "theme"}
        for number in range(5)
        for item in day(number)
    ]
    assert 0.85 < np.mean(found) < 0.98


def test_a_scene_read_off_notices_knows_what_they_are_about_and_for_whom() -> None:
    found = scene_of(library(), city())
    assert found.themes == ("0402", "0403", "0601", "1001", "1402", "1501")
    assert found.chances == pytest.approx([1 / 6] * 6)
    assert found.concerns[found.row["investor"]].tolist() == [0, 1, 0, 0, 0, 0]
    assert scene_of([], city()).themes == ()


# The people


def test_people_declare_only_part_of_what_they_like() -> None:
    likes = people().taste > 0
    said = np.zeros_like(likes)
    for line, wish in enumerate(people().wishes):
        said[line, [stage().column[tag[6:]] for tag in wish.interests]] = True
    assert (likes & said).sum() < 0.5 * likes.sum()
    assert 0 < (said & ~likes).sum() < 0.1 * said.sum()  # now and then they say what they do not mean
    assert (said.sum(axis=1) == 0).mean() == pytest.approx(0.1, abs=0.06)
    assert not said[:, stage().column[stage().late]].any()
    assert likes[:, stage().column[stage().late]].mean() == pytest.approx(0.33, abs=0.12)


def test_people_of_one_circle_share_tastes() -> None:
    circles = np.array(people().circle)
    likes = (people().taste > 0).astype(float)
    alike = np.corrcoef(likes)
    same = circles[:, None] == circles[None, :]
    np.fill_diagonal(same, val=False)
    assert alike[same].mean() > alike[circles[:, None] != circles[None, :]].mean() + 0.3
    assert len(people().leaning) == len(stage().roles) * CIRCLES


def test_tastes_drift_slowly_and_repeatably() -> None:
    def after(nights: int) -> People:
        now = people()
        for night in range(nights):
            now = drift(now, day=night, seed=7)
        return now

    def kept(now: People) -> float:
        before = people().taste > 0
        return float(((now.taste > 0) & before).sum() / before.sum())

    assert np.array_equal(after(3).taste, after(3).taste)
    assert 1.0 >= kept(after(1)) > kept(after(14)) > 0.75
    assert (after(14).taste >= 0).all()
    assert (after(14).taste > 0).sum() == (people().taste > 0).sum()
    assert after(3).wishes == people().wishes  # what they declared stays as it was


def test_the_truth_follows_taste_place_role_language_and_appeal() -> None:
    one = people()
    person = next(n for n, lived in enumerate(one.places) if lived and one.wishes[n].langs == ("zh-Hans",))
    street = one.places[person][0]
    liked = stage().themes[int(one.taste[person].argmax())]
    cold = stage().themes[int((one.taste[person] == 0).argmax())]
    elsewhere = next(
        code
        for code, place in city().places.items()
        if place.kind == "street"
        and place.parent not in {city().places[lived].parent for lived in one.places[person]}
    )
    subjects = [
        Subject({cold: 1.0}),
        Subject({liked: 1.0}),
        Subject({cold: 1.0}, place=street),
        Subject({cold: 1.0}, place=city().places[street].parent),
        Subject({cold: 1.0}, place=elsewhere),
        Subject({cold: 1.0}, roles=one.wishes[person].roles),
        Subject({cold: 1.0}, appeal=1.0),
        Subject({liked: 1.0}, lang="en"),
    ]
    plain, wanted, near, around, far, role, appealing, foreign = relevance(one, subjects)[person].tolist()
    assert wanted > 3 * plain
    assert near > around > plain > far > 0
    assert role > plain and appealing > plain
    assert foreign == 0


def test_the_lower_a_line_stands_the_less_it_is_looked_at() -> None:
    draw = np.random.default_rng(1)
    lines, times = np.zeros(20, dtype=np.float32), 4000
    for habit, _ in HABITS:
        looked = np.mean(
            [read(habit, lines, *draw.random((3, 20), dtype=np.float32)).looked for _ in range(times)], axis=0
        )
        expected = np.arange(1, 21) ** -habit.patience
        assert looked == pytest.approx(expected, abs=4 * np.sqrt(0.25 / times))
        assert looked[0] == 1.0


def test_nothing_is_opened_or_judged_unseen_and_luck_belongs_to_the_notice() -> None:
    draw = np.random.default_rng(2)
    habit = Habit("web", 1.0, 0.5, 30)
    chances, looks, opens, opinions = draw.random((4, 50), dtype=np.float32)
    did = read(habit, chances, looks, opens, opinions)
    assert did.opened.any() and not (did.opened & ~did.looked).any()
    assert not (did.liked & ~did.opened).any()
    assert not (did.less & (did.opened | ~did.looked)).any()
    eager = replace(habit, patience=0.0)
    turned = read(eager, chances[::-1], looks[::-1], opens[::-1], opinions[::-1])
    assert np.array_equal(turned.opened[::-1], read(eager, chances, looks, opens, opinions).opened)


def test_nobody_and_nothing_have_defined_results() -> None:
    none = populate(stage(), size=0, seed=1, now=NOW)
    assert len(none) == 0 and relevance(none, [Subject({})]).shape == (0, 1)
    assert relevance(people(), []).shape == (400, 0)
    assert len(drift(none, day=1, seed=1)) == 0
    blank = populate(scene_of([], city()), size=5, seed=1, now=NOW)
    assert len(drift(blank, day=1, seed=1)) == 5 and not any(wish.interests for wish in blank.wishes)
    assert not read(HABITS[0][0], *[np.zeros(0, dtype=np.float32)] * 4).looked.size


# The demo's simulation


def test_what_is_simulated_is_marked_and_lies_in_the_past() -> None:
    made = simulate(library(), city(), residents=60, seed=3, now=NOW)
    assert made == simulate(library(), city(), residents=60, seed=3, now=NOW)
    assert made.rows and all(row.simulated and row.profile_id < 0 for row in made.rows)
    assert all(NOW - timedelta(days=31) < row.at < NOW for row in made.rows)
    shown = {(row.profile_id, row.notice_id) for row in made.rows if row.kind == "impression"}
    assert all((row.profile_id, row.notice_id) in shown for row in made.rows)
    assert {row.kind for row in made.rows} == {"impression", "click", "like", "less"}


def test_one_notice_can_be_simulated() -> None:
    made = simulate([notice(1, "theme:0402")], city(), residents=3, seed=1, now=NOW)
    assert {row.notice_id for row in made.rows} == {1}
