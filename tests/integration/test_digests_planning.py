"""Set-based planning: rhythms, rests, slices, immediate messages, runs; twice, late, by two schedulers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from api.jobs import digests, joining
from api.jobs.digests import CHANNELS, plan, terms_of
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.digest_plans import DigestPlanner
from delivery.digest_runs import RunStore
from delivery.types import Delivery
from feeds.kernel.db import Database, to_json
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock, to_micros
from profiles.editions import NewEdition
from profiles.types import Pick, Profile, Reason
from tests.factories import new_notice

HOUR = timedelta(hours=1)


def local(text: str) -> datetime:
    """Read ``10-12 09:00`` of 2026 in Shanghai."""
    return datetime.fromisoformat(f"2026-{text.replace(' ', 'T')}:00+08:00").astimezone(UTC)


class Town:
    """Residents, editions made by hand, and a clock we can set."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._number = 0

    @property
    def clock(self) -> FixedClock:
        clock = self.services.clock
        assert isinstance(clock, FixedClock)
        return clock

    def at(self, when: str) -> None:
        self.clock.at = local(when)

    def resident(self, hour: int = 9, channel: str = "email", **rhythm: Any) -> int:
        now = self.clock.now()
        wish = Profile(id=0, created_at=now, roles=("citizen",))
        profile, _ = self.services.profiles.create(wish, at=now)
        address = {"email": f"r{profile.id}@shili.example", "sms": f"1380000{profile.id:04d}"}[channel]
        self.services.contacts.put(profile.id, channel, address, at=now, verified=True)
        joining.subscribe(self.services, profile, channel, hour, **rhythm)
        return profile.id

    def edition(self, profile_id: int, when: str, title: str = "") -> int:
        """One new notice, picked for one resident at a time of day."""
        self._number += 1
        at = local(when)
        notice = new_notice(f"n{self._number}", title=title or f"【示例】公告{self._number}", published=at)
        [number] = self.services.notices.add([notice], at=at)
        shelf = self.services.editions.shelf(profile_id)
        pick = Pick(number, 1, "new", (Reason("citywide"),))
        new = NewEdition(profile_id, "daily", (pick,), at, shelf.version)
        assert self.services.editions.append([new]) != [None]
        return number

    def rows(self, profile_id: int) -> list[Delivery]:
        return self.services.outbox.for_profile(profile_id)

    def windows(self, profile_id: int) -> list[tuple[int, int]]:
        return [tuple(row.recipe["window"]) for row in self.rows(profile_id)]


def town_on(database: Database, folder: Path) -> Town:
    """An empty town on Monday at eight."""
    settings = read_settings({}, home=folder, city="shili", mail_from="notices@shili.example")
    return Town(build(settings, clock=FixedClock(local("10-12 08:00")), database=database, demo=True))


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Iterator[Town]:
    yield town_on(database, tmp_path)


@pytest.fixture
def small(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    """The same on one database, for what the statements do not differ in."""
    yield town_on(sqlite, tmp_path)


def test_a_planned_row_is_what_the_outbox_would_have_written(town: Town) -> None:
    who = town.resident(9)
    town.edition(who, "10-12 08:30")
    town.at("10-12 09:02")
    assert plan(town.services).planned == 1
    [row] = town.rows(who)
    assert row.dedupe_key == f"digest:{who}:email:2026-10-12T01:00+00:00"
    assert (row.lane, row.state, row.frozen, row.attempts) == ("digest", "queued", False, 0)
    assert (row.due_at, row.expires_at) == (local("10-12 09:02"), local("10-12 23:00"))
    window = [to_micros(local("10-12 08:00")), to_micros(local("10-12 09:00"))]
    recipe = {
        "kind": "digest",
        "lang": "zh-Hans",
        "template": terms_of(town.services).template,
        "window": window,
    }
    with town.services.database.read() as connection:
        [[stored]] = connection.exec_driver_sql("SELECT recipe FROM delivery").all()
    assert stored == to_json(recipe)
    [run] = RunStore(town.services.database).recent()
    assert (run.id, run.slot, run.rows, run.state) == (row.run_id, local("10-12 09:00"), 1, "open")


def test_nothing_new_is_not_even_queued_and_the_hour_moves_on(small: Town) -> None:
    who = small.resident(9)
    small.at("10-12 09:00")
    report = plan(small.services)
    assert (report.due, report.planned, report.empty) == (1, 0, 1)
    live = small.services.subscriptions.live(who, "email")
    assert live is not None
    assert (live.next_due_at, live.covered_until) == (local("10-13 09:00"), local("10-12 09:00"))


def test_windows_meet_over_days_hours_and_changes(small: Town) -> None:
    who = small.resident(9)
    for day in (12, 13, 14, 15):
        small.edition(who, f"10-{day} 08:59")
        small.edition(who, f"10-{day} 09:00")
        small.at(f"10-{day} 09:0{day - 10}")
        if day == 14:
            joining.subscribe(small.services, small.services.profiles.get(who), "email", 18)
            small.at("10-14 18:01")
        plan(small.services)
    windows = small.windows(who)
    assert len(windows) == 4 - 1
    assert all(before[1] == after[0] for before, after in pairwise(windows))
    assert windows[-1][1] == to_micros(local("10-14 18:00"))


def test_weekly_and_workdays_only_cover_the_gap(small: Town) -> None:
    weekly = small.resident(9, frequency="weekly", weekday=4)
    plain = small.resident(9, workdays_only=True)
    for day in range(13, 20):  # Tuesday to Monday
        for who in (weekly, plain):
            small.edition(who, f"10-{day} 07:00")
        small.at(f"10-{day} 09:00")
        plan(small.services)
    assert small.windows(weekly) == [(to_micros(local("10-12 08:00")), to_micros(local("10-16 09:00")))]
    ends = [datetime.fromtimestamp(end / 1e6, UTC) for _, end in small.windows(plain)]
    assert ends == [local(f"10-{day} 09:00") for day in (13, 14, 15, 16, 19)]
    assert small.windows(plain)[-1][0] == to_micros(local("10-16 09:00"))


def test_a_rest_comes_as_one_digest_afterwards_or_is_dropped(town: Town) -> None:
    keeps, drops, later = (town.resident(9) for _ in range(3))
    first, last = date(2026, 10, 13), date(2026, 10, 15)
    assert joining.rest(town.services, keeps, "email", first, last)
    assert joining.rest(town.services, drops, "email", first, last, keeps=False)
    assert joining.rest(town.services, later, "email", date(2026, 11, 1), None)
    for day in range(13, 18):
        for who in (keeps, drops, later):
            town.edition(who, f"10-{day} 07:00")
        town.at(f"10-{day} 09:00")
        plan(town.services)
    assert town.windows(keeps)[0] == (to_micros(local("10-12 08:00")), to_micros(local("10-16 09:00")))
    assert len(town.windows(keeps)) == 2
    assert town.windows(drops)[0] == (to_micros(local("10-15 09:00")), to_micros(local("10-16 09:00")))
    assert len(town.windows(later)) == 5  # a rest that has not begun changes nothing
    with pytest.raises(UsageError, match="last day"):
        joining.rest(town.services, keeps, "email", last, first)


def test_a_late_scheduler_sends_one_digest_for_all_and_never_after_its_time(small: Town) -> None:
    who = small.resident(9)
    for day in (12, 13, 14):
        small.edition(who, f"10-{day} 08:30")
    small.at("10-14 23:30")  # fourteen hours after the last hour: too late for today
    assert plan(small.services).planned == 0
    small.at("10-15 09:01")
    assert plan(small.services).planned == 1
    assert small.windows(who) == [(to_micros(local("10-12 08:00")), to_micros(local("10-15 09:00")))]
    reasons = {run.slot: run.reason for run in RunStore(small.services.database).recent()}
    assert reasons[local("10-13 09:00")] == "covered by 2026-10-15T01:00+00:00"
    assert digests.missing(small.services) == []


def test_missing_slots_are_named_until_they_are_planned(small: Town) -> None:
    small.resident(9)
    small.at("10-14 12:00")
    assert digests.missing(small.services) == [local(f"10-{day} 09:00") for day in (12, 13, 14)]
    plan(small.services)
    assert digests.missing(small.services) == []


def test_a_clock_set_back_and_a_second_tick_add_nothing(small: Town) -> None:
    who = small.resident(9)
    small.edition(who, "10-12 08:30")
    small.at("10-12 09:30")
    assert plan(small.services).planned == 1
    small.at("10-12 08:30")
    assert plan(small.services).planned == 0
    small.at("10-12 09:30")
    assert plan(small.services).planned == 0
    with small.services.database.write() as connection:  # as if the advance had been lost
        back = f"UPDATE rhythm SET next_due_at = {to_micros(local('10-12 09:00'))}"
        connection.exec_driver_sql(f"{back}, covered_until = {to_micros(local('10-12 08:00'))}")
    assert plan(small.services).planned == 0
    assert len(small.rows(who)) == 1


def test_slices_and_two_schedulers_at_once_plan_everybody_once(town: Town) -> None:
    people = [town.resident(9 + n % 2, channel=("email", "sms")[n % 3 == 0]) for n in range(23)]
    for who in people:
        town.edition(who, "10-12 08:30")
    town.at("10-12 10:00")
    terms, found = terms_of(town.services), []

    def work() -> None:
        planner = DigestPlanner(town.services.database, size=5)
        for _ in range(4):  # who finds the other one at it comes back at its next tick
            found.append(planner.plan(town.clock.now(), terms).rows)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 23
    assert all(len(town.rows(who)) == 1 for who in people)


def test_a_digest_that_expired_unsent_is_said_by_the_next_one(town: Town) -> None:
    who = town.resident(9)
    town.edition(who, "10-12 08:30", "【示例】停水通知")
    town.at("10-12 09:00")
    plan(town.services)
    town.services.outbox.pause(town.clock.now(), "drill")
    town.at("10-12 23:30")
    town.services.outbox.resume()
    send(town.services)
    assert [row.state for row in town.rows(who)] == ["expired"]
    assert plan(town.services).completed == 1
    town.edition(who, "10-13 08:30")
    town.at("10-13 09:00")
    plan(town.services)
    assert send(town.services).sent == 1
    [mail] = (town.services.settings.captured / "email").iterdir()
    assert len(town.rows(who)[-1].notices) == 2, mail
    runs = RunStore(town.services.database)
    assert runs.complete_due(town.clock.now()) == 1
    assert {run.state for run in runs.recent()} == {"completed"}


def test_every_channel_is_planned_for_itself(small: Town) -> None:
    who = small.resident(9)
    profile = small.services.profiles.get(who)
    for channel in CHANNELS[2:]:
        joining.subscribe(small.services, profile, channel, 10)
    small.edition(who, "10-12 08:30")
    small.at("10-12 10:00")
    assert plan(small.services).planned == len(CHANNELS) - 1
    assert {row.channel for row in small.rows(who)} == set(CHANNELS) - {"sms"}


# Immediate


def test_news_at_once_half_an_hour_apart_and_not_at_night(small: Town) -> None:
    who = small.resident(9, frequency="immediate")
    idle = small.resident(9, frequency="immediate")
    small.edition(who, "10-12 08:05")
    small.at("10-12 08:06")
    assert plan(small.services).immediate == 1
    assert plan(small.services).planned == 0
    assert send(small.services).sent == 1
    for minute in (10, 15, 20):  # three more within the half hour: one message
        small.edition(who, f"10-12 08:{minute}")
        small.at(f"10-12 08:{minute + 1}")
        plan(small.services)
        send(small.services)
    assert [row.due_at for row in small.rows(who)] == [local("10-12 08:06"), local("10-12 08:36")]
    small.at("10-12 08:36")
    plan(small.services)
    assert send(small.services).sent == 1
    assert [len(row.notices) for row in small.rows(who)] == [1, 3]
    small.edition(who, "10-12 22:30")
    small.at("10-12 22:31")
    plan(small.services)
    assert small.rows(who)[-1].due_at == local("10-13 08:00")
    assert small.rows(idle) == []


def test_an_edition_that_landed_late_is_not_lost(town: Town) -> None:
    who = town.resident(9, frequency="immediate")
    town.edition(who, "10-12 08:05")
    town.at("10-12 08:10")
    plan(town.services)
    send(town.services)
    town.edition(who, "10-12 08:07")  # a long round of choosing: made then, written only now
    town.at("10-12 09:00")
    assert plan(town.services).immediate == 1
    assert send(town.services).sent == 1
    assert [len(row.notices) for row in town.rows(who)] == [1, 1]


def test_after_a_rest_news_at_once_comes_without_waiting_for_more(town: Town) -> None:
    who = town.resident(9, frequency="immediate")
    joining.rest(town.services, who, "email", date(2026, 10, 12), date(2026, 10, 13))
    town.edition(who, "10-12 12:00")
    town.at("10-12 12:01")
    assert plan(town.services).planned == 0
    town.at("10-14 08:00")
    assert plan(town.services).immediate == 1
    assert plan(town.services).planned == 0
    assert send(town.services).sent == 1


def test_a_rhythm_that_is_none_is_refused(small: Town) -> None:
    profile = small.services.profiles.get(small.resident(9))
    for wrong in ({"frequency": "hourly"}, {"frequency": "weekly", "weekday": 7}):
        with pytest.raises(UsageError, match="choose"):
            joining.subscribe(small.services, profile, "email", 9, **wrong)  # type: ignore[arg-type]
