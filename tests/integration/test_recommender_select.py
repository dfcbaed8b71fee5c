"""Selecting on a real database: welcome, then daily, twice in a row, with another writer in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from feeds.catalogue.store import NoticeStore
from feeds.kernel.db import Database
from profiles.editions import EditionStore, NewEdition
from profiles.reasons import sentence
from profiles.store import ProfileStore
from profiles.types import FollowedPlace
from recommender.select import CandidateShop, SelectReport, select_editions
from recommender.simulate import simulate
from recommender.train import train
from tests.factories import new_notice, pick, profile
from tests.unit.recommender_world import NOW, city

DAY = timedelta(days=1)


class World:
    """The stores of one database and the sample city."""

    def __init__(self, database: Database) -> None:
        self.notices, self.profiles = NoticeStore(database), ProfileStore(database)
        self.editions = EditionStore(database)

    def add(self, count: int, *, start: int = 0, at: Any = NOW, **changes: Any) -> list[int]:
        made = [
            new_notice(
                f"n-{start + n}",
                tags=(f"theme:0{1 + n % 7}01", "role:citizen"),
                title=f"示例公告第{start + n}号",
                doc_no=f"示〔2026〕{start + n}号",
                agency_slug=f"a{n % 6}",
                published=at - timedelta(minutes=n),
                level="city",
                place="sl",
                source_id=None,
                **changes,
            )
            for n in range(count)
        ]
        return self.notices.add(made, at=at)

    def select(self, **kwargs: Any) -> SelectReport:
        values = {"model": None, "city": city(), "now": NOW, "editions": self.editions} | kwargs
        return select_editions(CandidateShop(self.notices, city()), self.profiles, **values)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def wish(**changes: Any) -> Any:
    return profile(**({"interests": tuple(f"theme:0{n}" for n in range(1, 8))} | changes))


def test_a_welcome_then_daily_editions_and_never_the_same_notice_twice(world: World) -> None:
    world.add(30, archive=True, at=NOW - 20 * DAY)
    stored, _ = world.profiles.create(wish(), at=NOW)
    first = world.select()
    assert (first.profiles, first.editions, first.conflicts) == (1, 1, 0) and first.picks == 30
    assert world.select().editions == 0  # run twice, nothing new
    world.add(25, start=100, at=NOW + DAY)
    second = world.select(now=NOW + DAY)
    assert second.picks == 10
    assert world.select(now=NOW + DAY + timedelta(hours=1)).picks == 0  # the pace of the day is used up
    assert world.select(now=NOW + 2 * DAY).picks == 10
    made = world.editions.between(stored.id, NOW - DAY, NOW + 9 * DAY)
    assert [one.kind for one in made] == ["welcome", "daily", "daily"]
    picked = [item.notice_id for one in made for item in one.picks]
    assert len(picked) == len(set(picked)) == 50
    for reason in (reason for one in made for item in one.picks for reason in item.reasons):
        assert reason.contribution > 0 and sentence(reason, "zh-Hans", city().label)


def test_only_some_profiles_and_unknown_ids(world: World) -> None:
    world.add(5)
    one, _ = world.profiles.create(wish(), at=NOW)
    two, _ = world.profiles.create(wish(), at=NOW)
    seen: list[int] = []
    report = world.select(profile_ids=[two.id, 99_999], progress=seen.append)
    assert (report.profiles, report.editions, seen) == (1, 1, [1])
    assert world.editions.shelf(one.id).version == 0 and world.editions.shelf(two.id).version == 1


def test_many_profiles_in_small_batches_report_progress(world: World) -> None:
    world.add(12)
    for _ in range(7):
        world.profiles.create(wish(), at=NOW)
    seen: list[int] = []
    report = world.select(batch=3, progress=seen.append)
    assert (report.profiles, report.editions) == (7, 7) and seen == [3, 6, 7]


class Rival(EditionStore):
    """A ledger to which somebody else writes first, some times over."""

    times = 1

    def append(self, editions: Sequence[NewEdition]) -> list[int | None]:
        if self.times:
            self.times -= 1
            taken = editions[0]
            super().append([replace(taken, kind="alert", picks=(pick(taken.picks[0].notice_id),))])
        return super().append(editions)


def test_a_lost_race_is_chosen_again_against_the_new_shelf(database: Database) -> None:
    world = World(database)
    world.add(8)
    stored, _ = world.profiles.create(wish(), at=NOW)
    other, _ = world.profiles.create(wish(), at=NOW)
    report = world.select(editions=Rival(database))
    assert (report.editions, report.conflicts) == (2, 0)
    for one in (stored, other):
        picked = [
            item.notice_id for e in world.editions.between(one.id, NOW - DAY, NOW + DAY) for item in e.picks
        ]
        assert len(picked) == len(set(picked)) == 8


def test_a_race_lost_twice_is_left_for_the_next_run(database: Database) -> None:
    world = World(database)
    world.add(8)
    world.profiles.create(wish(), at=NOW)
    rival = Rival(database)
    rival.times = 2
    report = world.select(editions=rival)
    assert (report.editions, report.conflicts) == (0, 1)
    assert world.select().picks == 6


def test_with_a_model_trained_on_the_simulation(sqlite: Database) -> None:
    world = World(sqlite)
    world.add(80)
    stored, _ = world.profiles.create(
        wish(interests=("theme:0301",), places=(FollowedPlace("sl01"),)), at=NOW
    )
    readable = world.notices.pickable(NOW)
    made = simulate(readable, city(), residents=80, seed=1, now=NOW)
    learned = train(made.rows, [*made.profiles, stored], readable, city(), seed=1, now=NOW)
    assert world.select(model=learned).editions == 1
    (edition,) = world.editions.between(stored.id, NOW - DAY, NOW + DAY)
    codes = {reason.code for item in edition.picks for reason in item.reasons}
    assert {"interest", "role"} <= codes and codes & {"learned", "popular"}
