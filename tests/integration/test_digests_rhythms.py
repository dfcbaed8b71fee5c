"""One row for all of a rhythm: what is written late, planning broken off, what planning leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from api.jobs import joining, silence
from api.jobs.digests import plan, terms_of
from api.jobs.sending import send
from delivery.digest_plans import DigestPlanner
from feeds.kernel.db import Database
from feeds.kernel.time import to_micros
from profiles import editions
from profiles.editions import NewEdition
from profiles.types import Pick, Reason
from tests.integration.test_digests_planning import Town, local, town_on


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Iterator[Town]:
    yield town_on(database, tmp_path)


@pytest.fixture
def small(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    yield town_on(sqlite, tmp_path)


def test_an_edition_written_after_its_window_was_planned_comes_with_the_next_digest(town: Town) -> None:
    who, other = town.resident(9), town.resident(9, frequency="weekly", weekday=0)
    town.edition(who, "10-12 08:30")
    town.edition(other, "10-12 08:30")
    town.at("10-12 09:00")
    assert plan(town.services).planned == 2
    assert send(town.services).sent == 2
    late = town.edition(who, "10-12 08:59")  # a long round of choosing that began before nine
    town.edition(other, "10-12 08:59")
    town.at("10-12 08:10")  # and a clock that was set back by an hour
    early = town.edition(who, "10-12 08:10")
    for day in (13, 19):
        town.at(f"10-{day} 09:00")
        plan(town.services)
        send(town.services)
    assert {notice for notice, _ in town.rows(who)[1].notices} == {late, early}
    assert len(town.rows(other)) == 2
    for person in (who, other):
        assert all(before[1] == after[0] for before, after in pairwise(town.windows(person)))


def test_an_edition_being_written_while_digests_are_planned_is_in_one_of_them(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = town.resident(9)
    town.at("10-12 09:00")
    writing, go_on, planned = threading.Event(), threading.Event(), []
    insert = editions._insert_all

    def slowly(*arguments: Any) -> list[int]:
        made = insert(*arguments)
        writing.set()  # written, not committed
        assert go_on.wait(10)
        return made

    monkeypatch.setattr(editions, "_insert_all", slowly)
    writer = threading.Thread(target=lambda: town.edition(who, "10-12 08:59"))
    planner = threading.Thread(target=lambda: planned.append(plan(town.services).planned))
    writer.start()
    assert writing.wait(10)
    planner.start()
    planner.join(0.15)
    assert planner.is_alive()  # it waits for the ledger
    go_on.set()
    writer.join()
    planner.join()
    assert planned == [1]
    assert send(town.services).sent == 1


def test_a_planning_that_was_broken_off_is_ended_the_same_day_or_the_next(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [town.resident(9) for _ in range(10)]
    resting = people[9]
    joining.rest(town.services, resting, "email", date(2026, 10, 12), date(2026, 10, 13))
    for day in (12, 13, 14):
        for who in people:
            town.edition(who, f"10-{day} 08:30")
        town.at(f"10-{day} 09:00")
        _break_off(town, monkeypatch, after=2)
        if day == 12:
            assert sum(len(town.rows(who)) for who in people) == 6
            states = {one: town.services.subscriptions.live(one, "email") for one in people}
            assert states[people[0]].covered_until == local("10-12 09:00")  # type: ignore[union-attr]
            assert states[people[8]].covered_until == local("10-12 08:00")  # type: ignore[union-attr]
        if day == 14:
            plan(town.services)
            plan(town.services)
    for who in people:
        windows = town.windows(who)
        assert all(before[1] == after[0] for before, after in pairwise(windows))
        assert windows[0][0] == to_micros(local("10-12 08:00"))
        assert windows[-1][1] == to_micros(local("10-14 09:00"))
    assert [len(town.windows(who)) for who in people] == [3] * 6 + [1] * 4


def _break_off(town: Town, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    whole, count = DigestPlanner._slice, []

    def dies(self: DigestPlanner, *arguments: Any) -> None:
        count.append(1)
        if len(count) > after:
            raise KeyboardInterrupt
        whole(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(DigestPlanner, "_slice", dies)
        with pytest.raises(KeyboardInterrupt):
            DigestPlanner(town.services.database, size=3).plan(town.clock.now(), terms_of(town.services))


def test_a_planning_broken_off_and_taken_up_too_late_keeps_windows_apart(
    small: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [small.resident(9) for _ in range(6)]
    for day in (12, 13):
        for who in people:
            small.edition(who, f"10-{day} 08:30")
        small.at(f"10-{day} 09:00")
        if day == 12:
            _break_off(small, monkeypatch, after=1)
            small.at("10-12 23:30")
        plan(small.services)
    ends = [to_micros(local("10-12 08:00")), to_micros(local("10-13 09:00"))]
    assert [small.windows(who) for who in people[3:]] == [[tuple(ends)]] * 3
    for who in people[:3]:
        first, second = small.windows(who)
        assert (first[0], second[1]) == tuple(ends)
        assert first[1] == second[0] == to_micros(local("10-12 09:00"))


def test_planning_writes_to_no_subscription_that_goes_with_its_rhythm(small: Town) -> None:
    who, idle = small.resident(9), small.resident(9)
    small.edition(who, "10-12 08:30")
    small.at("10-12 09:00")
    plan(small.services)  # the first window is one of their own
    with small.services.database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER untouched BEFORE UPDATE ON subscription BEGIN SELECT RAISE(ABORT, 'written'); END"
        )
    small.edition(who, "10-13 08:30")
    small.at("10-13 09:00")
    assert plan(small.services).planned == 1
    for one in (who, idle):
        live = small.services.subscriptions.live(one, "email")
        assert live is not None
        assert (live.covered_until, live.next_due_at) == (local("10-13 09:00"), local("10-14 09:00"))
        assert (live.last_result, live.last_planned_at) == ("looked", local("10-13 09:00"))


def test_who_changes_to_an_hour_that_others_were_planned_for_loses_nothing(small: Town) -> None:
    evening, morning = small.resident(18), small.resident(9)
    small.edition(evening, "10-12 08:30")
    small.edition(morning, "10-12 08:30")
    small.at("10-12 09:00")
    assert plan(small.services).planned == 1
    small.at("10-12 10:00")
    joining.subscribe(small.services, small.services.profiles.get(evening), "email", 9)
    small.at("10-13 09:00")
    assert plan(small.services).planned == 1
    assert small.windows(evening) == [(to_micros(local("10-12 08:00")), to_micros(local("10-13 09:00")))]


def test_the_edition_of_joining_alone_is_no_digest(small: Town) -> None:
    who = small.resident(9)
    number = small.edition(small.resident(18), "10-12 08:10")
    shelf = small.services.editions.shelf(who)
    pick = Pick(number, 1, "new", (Reason("citywide"),))
    small.services.editions.append([NewEdition(who, "welcome", (pick,), local("10-12 08:20"), shelf.version)])
    small.at("10-12 09:00")
    assert plan(small.services).planned == 0
    answer = silence.why(small.services, who, "email")
    assert (answer.code, answer.next_due) == ("joined", local("10-13 09:00"))
    small.edition(who, "10-12 20:00")
    small.at("10-13 09:00")
    assert plan(small.services).planned == 1


def test_a_rest_is_said_even_when_it_is_over(small: Town) -> None:
    who = small.resident(9)
    joining.rest(small.services, who, "email", date(2026, 10, 12), date(2026, 10, 12), keeps=False)
    small.edition(who, "10-12 08:30")
    small.at("10-12 09:00")
    assert plan(small.services).planned == 0
    joining.rest(small.services, who, "email", None, None)
    assert silence.why(small.services, who, "email").code == "rested"
    live = small.services.subscriptions.live(who, "email")
    assert live is not None
    assert live.covered_until == datetime(2026, 10, 12, 1, tzinfo=UTC)
