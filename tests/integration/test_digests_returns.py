"""What did not reach its reader is said by the next digest; what was broken off in between is made up for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs import copying
from api.jobs.corrections import plan_corrections
from api.jobs.digest_building import PUSHED_AGE, _oldest
from api.jobs.digests import plan
from api.jobs.sending import send
from delivery.digest_plans import DigestPlanner
from delivery.digest_runs import RunStore
from delivery.errors import PermanentError, RetryableError
from delivery.retry import WAITS
from feeds.kernel.db import Database
from feeds.kernel.time import to_micros
from profiles.editions import NewEdition
from tests.integration.test_corrections import correct
from tests.integration.test_digests_planning import Town, local, town_on


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Iterator[Town]:
    yield town_on(database, tmp_path)


@pytest.fixture
def small(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    yield town_on(sqlite, tmp_path)


class _Down:
    """A provider that takes nothing."""

    name = "down"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def send(self, message: object) -> Any:
        raise self._error


def change(town: Town, what: str, where: str) -> None:
    with town.services.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET {what} WHERE {where}")


def covered(town: Town, who: int) -> object:
    live = town.services.subscriptions.live(who, "email")
    assert live is not None
    return live.covered_until


@pytest.mark.parametrize(
    ("error", "back"),
    [(RetryableError("The server is away."), True), (PermanentError("No such user."), False)],
)
def test_a_digest_that_failed_in_an_outage_comes_with_the_next_and_a_refused_one_does_not(
    town: Town, error: Exception, back: bool
) -> None:
    services, who = town.services, town.resident(9)
    number = town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")
    plan(services)
    whole = services.channels
    services.channels = {"email": _Down(error)}  # type: ignore[dict-item]
    for wait in (timedelta(0), *WAITS):
        town.clock.at += wait
        send(services)
    services.channels = whole
    assert [row.state for row in town.rows(who)] == ["failed"]
    assert plan(services).completed == 1
    new = town.edition(who, "10-12 20:00")
    town.at("10-13 09:00")
    plan(services)
    assert send(services).sent == 1
    assert {one for one, _ in town.rows(who)[-1].notices} == ({number, new} if back else {new})
    town.at("10-13 09:10")
    assert plan(services).planned == 0
    assert covered(town, who) == local("10-13 09:00")  # given back once


def test_a_window_comes_back_although_others_of_its_run_still_wait(town: Town) -> None:
    services, (who, held) = town.services, [town.resident(9) for _ in range(2)]
    first = town.edition(who, "10-12 08:30")
    town.edition(held, "10-12 08:30")
    town.at("10-12 09:00")
    plan(services)
    change(town, "state = 'held'", f"profile_id = {held}")
    change(town, "state = 'expired'", f"profile_id = {who}")
    town.at("10-13 08:50")
    assert plan(services).completed == 0
    assert (covered(town, who), covered(town, held)) == (local("10-12 08:00"), local("10-12 09:00"))
    assert RunStore(services.database).give_back(town.clock.now()) == 0
    town.edition(who, "10-13 08:55")
    town.at("10-13 09:00")
    plan(services)
    assert send(services).sent == 1
    assert first in {one for one, _ in town.rows(who)[-1].notices}


def test_a_window_that_ends_unsent_after_the_next_was_planned_comes_back_once(town: Town) -> None:
    services, who = town.services, town.resident(9)
    lost = town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")
    plan(services)
    change(town, "state = 'held'", f"profile_id = {who}")
    for day in (13, 14, 15):
        town.edition(who, f"10-{day} 08:30")
        town.at(f"10-{day} 09:00")
        plan(services)
        assert send(services).sent == 1
        town.at(f"10-{day} 10:00")
        if day == 13:
            change(town, "state = 'expired'", "state = 'held'")
        plan(services)
        assert covered(town, who) == local("10-12 08:00" if day == 13 else f"10-{day} 09:00")
    carried = [[one for one, _ in row.notices] for row in town.rows(who)]
    assert [lost in one for one in carried] == [False, False, True, False]
    assert len({one for row in carried for one in row}) == sum(map(len, carried))  # nothing comes twice


def test_a_sender_that_is_quicker_than_the_copies_costs_no_relative_theirs(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, who = town.services, town.resident(9, channel="sms")
    copy = services.copies.ask(who, "sms", "13800001111", "mother", at=town.clock.now())
    services.copies.confirm(copy.id, at=town.clock.now())
    number = town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")

    def dies(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(copying, "add_rows", dies)
        with pytest.raises(KeyboardInterrupt):
            plan(services)
    assert send(services).sent == 1  # and it was sent before the next tick
    town.at("10-12 09:05")
    assert plan(services).copies == 1
    assert plan(services).copies == 0
    assert send(services).sent == 1
    assert [(row.state, row.frozen, [one for one, _ in row.notices]) for row in town.rows(who)] == [
        ("sent", True, [number])
    ] * 2


def test_news_at_once_survives_a_clock_that_was_set_back(town: Town) -> None:
    services, who = town.services, town.resident(9, frequency="immediate")
    town.resident(9)  # somebody's slot at nine
    town.at("10-12 09:01")
    plan(services)
    town.at("10-12 08:10")  # set back; the ledger writes nothing before nine
    for minute in (10, 50):
        number = town.edition(who, f"10-12 08:{minute}")
        town.at(f"10-12 08:{minute + 1}")
        assert plan(services).immediate == 1
        assert send(services).sent == 1
        assert [one for one, _ in town.rows(who)[-1].notices] == [number]
        assert covered(town, who) == local("10-12 09:00") + timedelta(microseconds=1)
    town.at("10-12 10:00")
    assert plan(services).immediate == 0


def test_a_slice_that_somebody_elses_change_broke_off_is_planned_at_once_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, who = town.services, town.resident(9)
    if services.database.dialect == "sqlite":
        return  # its one writer never meets another
    town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")
    whole, calls = DigestPlanner._slice, []

    def disturbed(self: DigestPlanner, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) <= 2:
            with services.database.write() as other:
                other.exec_driver_sql("UPDATE subscription SET lang = 'en'")
        whole(self, *arguments)

    monkeypatch.setattr(DigestPlanner, "_slice", disturbed)
    assert plan(services).planned == 1
    assert (len(calls), len(town.rows(who))) == (3, 1)


def test_a_deadlock_with_an_erasure_is_planned_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    services, who = town.services, town.resident(9)
    if services.database.dialect == "sqlite":
        return
    town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")
    whole, calls, threads = DigestPlanner._slice, [], []
    holds = threading.Event()

    def erases() -> None:
        with services.database.write() as other:
            other.exec_driver_sql("SET LOCAL deadlock_timeout = '20s'")
            other.exec_driver_sql("SELECT 1 FROM subscription FOR UPDATE")
            holds.set()
            other.exec_driver_sql("LOCK TABLE edition IN ROW EXCLUSIVE MODE")

    def meets(self: DigestPlanner, connection: Any, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '50ms'")
            threads.append(threading.Thread(target=erases))
            threads[0].start()
            assert holds.wait(10)
        whole(self, connection, *arguments)

    monkeypatch.setattr(DigestPlanner, "_slice", meets)
    assert plan(services).planned == 1
    threads[0].join(10)
    assert len(calls) >= 2


def test_immediate_messages_and_corrections_of_many_wait_for_a_person(small: Town) -> None:
    services, people = small.services, [small.resident(9, frequency="immediate") for _ in range(3)]
    number = small.edition(people[0], "10-12 08:05")
    pick = services.editions.shelf(people[0]).picks[0].pick
    for who in people[1:]:
        _give(small, who, pick)
    small.at("10-12 08:06")
    assert plan(services).immediate == 3
    services.settings = services.settings.model_copy(update={"confirm_above": 2})
    assert send(services).sent == 0
    [run] = services.outbox.held_runs()
    assert (run.why, run.rows) == ("size", 3)
    services.outbox.release(run.run_id, small.clock.now(), "li")
    assert send(services).sent == 3
    small.at("10-12 10:20")
    correct(services, number, "【示例】更正", major=True)
    assert plan_corrections(services).messages == 3
    assert send(services).sent == 0
    [run] = services.outbox.held_runs()
    assert (run.why, run.rows) == ("size", 3)


def _give(town: Town, who: int, pick: Any) -> None:
    shelf = town.services.editions.shelf(who)
    town.services.editions.append([NewEdition(who, "daily", (pick,), town.clock.now(), shelf.version)])


def test_a_weekly_digest_tells_the_first_minutes_of_its_week(small: Town) -> None:
    who = small.resident(9, frequency="weekly", weekday=0)
    small.at("10-12 09:00")
    plan(small.services)
    number = small.edition(who, "10-12 09:01")
    small.at("10-19 09:05")
    assert plan(small.services).planned == 1
    small.at("10-19 15:00")
    assert send(small.services).sent == 1
    [row] = small.rows(who)
    assert [one for one, _ in row.notices] == [number]
    end = local("10-19 09:00")
    assert _oldest(row, small.clock.now()) == end - timedelta(days=8)
    day = [to_micros(end - timedelta(days=1)), to_micros(end)]
    assert _oldest(replace(row, recipe={"window": day}), small.clock.now()) == end - PUSHED_AGE
