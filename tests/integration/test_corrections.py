"""Corrections: exactly those who hold the old text, once, by the same channel; twice, killed, by night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import corrections, joining
from api.jobs.corrections import plan_corrections
from api.jobs.digests import plan
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.outbox import OutboxStore
from feeds.desk.editing import SYSTEM
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from tests.integration.test_digests_planning import Town, local


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Iterator[Town]:
    """Somebody who got a price by mail on Monday 09:00."""
    yield _town(database, tmp_path)


@pytest.fixture
def small(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    """The same, for what is not about the database."""
    yield _town(sqlite, tmp_path)


def _town(database: Database, tmp_path: Path) -> Town:
    settings = read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example")
    return Town(build(settings, clock=FixedClock(local("10-12 08:00")), database=database, demo=True))


def told(town: Town, when: str = "10-12 09:00") -> tuple[int, int]:
    """Return (resident, notice) after a sent digest."""
    who = town.resident(9)
    number = town.edition(who, "10-12 08:30", "【示例】水价3.45元")
    town.at(when)
    plan(town.services)
    assert send(town.services).sent == 1
    return who, number


def correct(services: Services, number: int, title: str, *, major: bool) -> None:
    content = services.notices.get(number).content
    services.desk.correct(number, replace(content, title=title), major=major, note="应为3.54元", actor=SYSTEM)


def test_only_holders_of_the_old_text_are_told_once(town: Town) -> None:
    who, number = told(town)
    other = town.resident(9)
    waiting = town.resident(18)
    shelf = town.services.editions.shelf(waiting)
    edition = town.services.editions.by_ids([1])[0]
    made = NewEdition(waiting, "daily", edition.picks, town.clock.now(), shelf.version)
    town.services.editions.append([made])
    town.at("10-12 10:20")
    correct(town.services, number, "【示例】水价3.54元", major=True)
    report = plan_corrections(town.services)
    assert (report.notices, report.messages) == (1, 1)
    assert plan_corrections(town.services).messages == 0
    assert plan(town.services).planned == 0
    assert send(town.services).sent == 1
    row = town.rows(who)[-1]
    assert row.dedupe_key == f"fix:{number}:2:{who}:email"
    assert (row.lane, row.notices) == ("immediate", ((number, 2),))
    assert town.rows(other) == town.rows(waiting) == []
    pick = town.services.editions.shelf(who).picks[0].pick
    assert (pick.kind, pick.reasons[0].code) == ("update", "update")
    town.at("10-12 11:00")
    correct(town.services, number, "【示例】水价 3.54 元", major=False)  # a typo reaches nobody
    assert plan_corrections(town.services).messages == 0
    town.at("10-12 18:00")  # whose digest had not been made gets the present text, and no correction
    assert plan(town.services).planned == 1
    send(town.services)
    assert [row.notices for row in town.rows(waiting)] == [((number, 3),)]
    town.at("10-13 09:00")
    plan(town.services)
    send(town.services)
    assert [row.state for row in town.rows(who)] == ["sent", "sent"] + ["skipped"] * (len(town.rows(who)) - 2)


def test_a_withdrawal_reaches_them_too(town: Town) -> None:
    who, number = told(town)
    town.at("10-12 10:20")
    town.services.desk.withdraw(number, "发布有误", SYSTEM)
    assert plan_corrections(town.services).messages == 1
    assert plan_corrections(town.services).messages == 0
    assert send(town.services).sent == 1
    assert town.rows(who)[-1].dedupe_key == f"fix:{number}:withdrawn:{who}:email"


def test_killed_between_ledger_and_outbox_nothing_comes_twice(
    small: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, number = told(small)
    small.at("10-12 10:20")
    correct(small.services, number, "【示例】水价3.54元", major=True)

    def dies(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(OutboxStore, "enqueue", dies)
    with pytest.raises(KeyboardInterrupt):
        plan_corrections(small.services)
    monkeypatch.undo()
    assert plan_corrections(small.services).messages == 1
    editions = small.services.editions.between(who, local("10-12 10:00"), local("10-12 11:00"))
    assert len(editions) == 1


def test_a_correction_waits_for_the_morning_and_is_replaced_by_the_next_one(small: Town) -> None:
    who, number = told(small)
    small.at("10-12 22:30")
    correct(small.services, number, "【示例】水价3.55元", major=True)
    assert plan_corrections(small.services).messages == 1
    assert small.rows(who)[-1].due_at == local("10-13 08:00")
    small.at("10-12 23:00")
    correct(small.services, number, "【示例】水价3.54元", major=True)
    report = plan_corrections(small.services)
    assert (report.replaced, report.messages) == (1, 1)
    small.at("10-13 08:00")
    assert send(small.services).sent == 1
    assert [row.state for row in small.rows(who)] == ["sent", "cancelled", "sent"]


def test_half_an_hour_after_the_last_push(small: Town) -> None:
    who, number = told(small)
    small.at("10-12 09:10")
    correct(small.services, number, "【示例】水价3.54元", major=True)
    plan_corrections(small.services)
    assert small.rows(who)[-1].due_at == local("10-12 09:30")


def test_what_was_sent_long_ago_or_to_a_stopped_channel_is_not_corrected(small: Town) -> None:
    who, number = told(small)
    [gone] = told_again(small)
    joining.stop_channel(small.services, gone, "email")
    small.clock.at += corrections.CORRECTED_WITHIN + timedelta(hours=3)
    correct(small.services, number, "【示例】水价3.54元", major=True)
    assert plan_corrections(small.services).messages == 0
    assert len(small.rows(who)) == 1


def told_again(town: Town, people: int = 1) -> list[int]:
    """Other residents who got the same notice."""
    town.at("10-12 09:20")
    found = [town.resident(10) for _ in range(people)]
    picks = town.services.editions.by_ids([1])[0].picks
    town.at("10-12 09:30")
    for who in found:
        shelf = town.services.editions.shelf(who)
        town.services.editions.append([NewEdition(who, "daily", picks, town.clock.now(), shelf.version)])
    town.at("10-12 10:00")
    plan(town.services)
    assert send(town.services).sent == people
    return found


def test_many_holders_are_told_in_parts(small: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    _, number = told(small)
    monkeypatch.setattr(corrections, "_BATCH", 2)
    told_again(small, 4)
    small.at("10-12 12:00")
    correct(small.services, number, "【示例】水价3.54元", major=True)
    assert plan_corrections(small.services).messages == 5
    assert send(small.services).sent == 5


def test_a_copy_of_the_old_text_is_corrected_too(small: Town) -> None:
    services, who = small.services, small.resident(9, channel="sms")
    small.at("10-12 08:10")
    copy = services.copies.ask(who, "sms", "13800001111", "mother", at=small.clock.now())
    services.copies.confirm(copy.id, at=small.clock.now())
    number = small.edition(who, "10-12 08:30", "【示例】水价3.45元")
    small.at("10-12 09:00")
    assert plan(services).copies == 1
    assert send(services).sent == 2
    later = services.copies.ask(who, "sms", "13800002222", "father", at=small.clock.now())
    services.copies.confirm(later.id, at=small.clock.now())  # never had the old text
    small.at("10-12 10:20")
    correct(services, number, "【示例】水价3.54元", major=True)
    assert plan_corrections(services).messages == 2
    assert plan_corrections(services).messages == plan(services).planned == 0
    assert send(services).sent == 2
    key = f"fix:{number}:2:{who}:sms"
    told_of = [row.dedupe_key for row in small.rows(who) if row.dedupe_key.startswith("fix:")]
    assert sorted(told_of) == [key, f"{key}:copy:{copy.id}"]
    texts = [file.read_text() for file in (services.settings.captured / "sms").iterdir()]
    assert sum("3.54" in text for text in texts) == 2
