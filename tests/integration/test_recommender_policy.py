"""Reminders, trials and the control group through whole runs of selection, kept in a real ledger."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from feeds.catalogue.store import NoticeStore
from feeds.kernel.db import Database
from feeds.kernel.time import at_local_time
from profiles.editions import EditionStore
from profiles.reasons import sentence
from profiles.store import ProfileStore
from profiles.types import Edition, Pick
from recommender.control import in_control
from recommender.policy import BESIDE, Policy
from recommender.select import CandidateShop, SelectReport, select_editions
from tests.factories import new_notice, profile
from tests.unit.recommender_world import city

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ZONE = ZoneInfo(city().timezone)
OPEN = [c for c, t in city().themes.items() if not t.parent and not t.sensitive]


def at(month: int, day: int, hour: int = 9) -> datetime:
    return at_local_time(date(2026, month, day), hour, ZONE)


class World:
    """The stores of one database; notices of every open theme."""

    def __init__(self, database: Database) -> None:
        self.notices, self.profiles = NoticeStore(database), ProfileStore(database)
        self.editions, self.number = EditionStore(database), 0

    def add(self, count: int, when: datetime, **changes: Any) -> list[int]:
        made = []
        for _ in range(count):
            self.number += 1
            theme = changes.get("theme") or OPEN[self.number % len(OPEN)]
            rest = {name: value for name, value in changes.items() if name != "theme"}
            made.append(
                new_notice(
                    f"n-{self.number}", tags=(f"theme:{theme}",), title=f"示例公告第{self.number}号",
                    doc_no=f"示〔2026〕{self.number}号", agency_slug=f"a{self.number}", level="city",
                    published=when - timedelta(minutes=self.number % 50), source_id=None,
                    place="sl", **rest,
                )
            )  # fmt: skip
        return self.notices.add(made, at=when)

    def person(self, **changes: Any) -> int:
        wish = {"roles": ("enterprise",), "places": (), "interests": tuple(f"theme:{c}" for c in OPEN[:5])}
        return self.profiles.create(profile(**(wish | changes)), at=at(10, 1))[0].id

    def select(self, now: datetime, **kwargs: Any) -> SelectReport:
        values = {"model": None, "city": city(), "now": now} | kwargs
        return select_editions(CandidateShop(self.notices, city()), self.profiles, self.editions, **values)

    def made(self, profile_id: int) -> list[Edition]:
        return self.editions.between(profile_id, at(9, 1), at(12, 31))

    def picks(self, profile_id: int, kind: str) -> list[Pick]:
        return [pick for one in self.made(profile_id) for pick in one.picks if pick.kind == kind]


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def test_a_deadline_is_recalled_on_its_days_and_once(world: World) -> None:
    """A firm's award: deadline Friday 30 October 17:00; recalled on the 23rd and on the 29th, at 09:00."""
    firm, other = world.person(), world.person(interests=(f"theme:{OPEN[9]}",))
    world.add(3, at(10, 7), theme=OPEN[0])
    world.select(at(10, 8))
    (award,) = world.add(1, at(10, 9, 8), theme=OPEN[0], deadline=at(10, 30, 17))
    for day in (9, 12, 22, 23, 24, 26, 28, 29, 30):
        world.add(45, at(10, day, 8))
        for hour in (9, 15):
            world.select(at(10, day, hour))
            world.select(at(10, day, hour) + timedelta(minutes=1))  # run twice
    told = [(one.made_at, pick) for one in world.made(firm) for pick in one.picks if pick.kind == "reminder"]
    assert [(when, pick.notice_id) for when, pick in told] == [(at(10, 23), award), (at(10, 29), award)]
    words = [sentence(pick.reasons[0], "zh-Hans", city().label) for _, pick in told]
    assert words == ["10月30日截止，还剩5个工作日", "10月30日截止，还剩1个工作日"]
    assert not world.picks(other, "reminder")
    days: Counter[date] = Counter()
    for one in world.made(firm):
        if one.kind == "daily":
            days[one.made_at.astimezone(ZONE).date()] += len(one.picks)
    assert max(days.values()) == 10  # a reminder takes a slot of the pace
    first = next(pick for one in world.made(firm) for pick in one.picks if pick.notice_id == award)
    assert first.kind == "new"


def test_a_hidden_notice_is_not_recalled(world: World) -> None:
    firm = world.person()
    world.add(3, at(10, 7), theme=OPEN[0])
    world.select(at(10, 8))
    (award,) = world.add(1, at(10, 9, 8), theme=OPEN[0], deadline=at(10, 30, 17))
    world.select(at(10, 9))
    asked: list[int] = []

    def hidden(profile_id: int) -> frozenset[int]:
        asked.append(profile_id)
        return frozenset({award})

    world.select(at(10, 22), hidden=hidden)
    assert not asked
    world.select(at(10, 23), hidden=hidden)
    assert asked == [firm] and not world.picks(firm, "reminder")


def test_a_trial_is_kept_with_its_chance_and_comes_once_a_day(world: World) -> None:
    people = [world.person() for _ in range(12)]
    spared = [world.person(personalised=False), world.person(discreet=True), world.person(roles=("aid",))]
    world.add(20, at(10, 11))
    world.select(at(10, 12), policy=Policy(seed=4))
    assert not any(world.picks(one, "explored") for one in people)  # a first edition holds none
    for day in (13, 14):
        world.add(40, at(10, day, 6))
        for hour in (9, 11, 13):
            world.select(at(10, day, hour), policy=Policy(seed=4))
    for one in people:
        tried = [
            (made.made_at.astimezone(ZONE).date(), pick, len(made.picks))
            for made in world.made(one) for n, pick in enumerate(made.picks, start=1)
            if pick.kind == "explored" and n == len(made.picks)
        ]  # fmt: skip
        assert len(tried) == len(world.picks(one, "explored"))
        assert [day for day, _, _ in tried] == [date(2026, 10, 13), date(2026, 10, 14)]
        for _, pick, size in tried:
            assert 0 < pick.propensity < 1 and size > BESIDE
            assert [reason.code for reason in pick.reasons] == ["explored"]
        every = [pick.notice_id for made in world.made(one) for pick in made.picks]
        assert len(every) == len(set(every))
    assert len({pick.notice_id for one in people for pick in world.picks(one, "explored")}) > 3
    assert not any(world.picks(one, "explored") for one in spared)


def test_same_seed_same_editions(world: World) -> None:
    first = [world.person() for _ in range(5)]
    world.add(20, at(10, 11))
    world.select(at(10, 12))
    world.add(40, at(10, 13, 6))
    world.select(at(10, 13), policy=Policy(seed=4), profile_ids=first[:3], batch=2)
    world.select(at(10, 13), policy=Policy(seed=4), profile_ids=first[3:])
    again = [world.picks(one, "explored")[0] for one in first]
    assert all(0 < pick.propensity < 1 for pick in again)
    assert len({pick.notice_id for pick in again}) > 1


def test_the_control_group_gets_the_newest_of_the_same(world: World) -> None:
    policy = Policy(seed=4, control_share=0.2, key=b"of the tests")
    everybody = [world.person() for _ in range(30)]
    world.add(20, at(10, 11))
    world.select(at(10, 12), policy=policy)
    found = world.add(60, at(10, 13, 6))
    world.select(at(10, 13), policy=policy)
    month = date(2026, 10, 13)
    held = {
        one.id: in_control(one, month, 0.2, b"of the tests", city()) for one in world.profiles.many(everybody)
    }
    assert 0 < sum(held.values()) < 30
    newest = {number: n for n, number in enumerate(found)}
    for one, inside in held.items():
        picks = world.made(one)[-1].picks
        codes = [[reason.code for reason in pick.reasons] for pick in picks]
        assert all(("control" in own) == inside for own in codes)
        if inside:
            assert all(pick.kind == "new" for pick in picks)
            order = [world.notices.many([pick.notice_id])[pick.notice_id].fresh_at for pick in picks]
            assert order == sorted(order, reverse=True)
            assert all(own[0] == "control" or own[-1] == "control" for own in codes)
            assert all(pick.notice_id in newest for pick in picks)
    off = world.person(personalised=False)
    world.select(at(10, 14), policy=policy)
    codes = {reason.code for one in world.made(off) for pick in one.picks for reason in pick.reasons}
    assert codes and "control" not in codes
