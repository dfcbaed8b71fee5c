"""Story 7, the correction, through desk, digest, feed and page; and a week of an invented resident's mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from api.jobs import joining, silence
from api.jobs.corrections import plan_corrections
from api.jobs.digests import plan
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from tests.e2e.test_stories import City, local


@pytest.fixture
def city(sqlite: Database, tmp_path: Path) -> Iterator[City]:
    settings = read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example")
    services = build(settings, clock=FixedClock(local("10-08 08:00")), database=sqlite, demo=True)
    made = City(services)
    # What they find when they join; a first edition is never pushed.
    made.release("10-07 09:00", title="【示例】水价旧公告", body="<p>以前的事。</p>")
    yield made


def tick(city: City, when: str) -> int:
    """What the scheduler does every few minutes."""
    city.clock.at = local(when)
    select_all(city.services)
    plan(city.services)
    plan_corrections(city.services)
    return send(city.services).sent


def mails(city: City) -> list[tuple[str, str]]:
    """Subject and text of every captured mail, oldest first."""
    found = []
    folder = city.services.settings.captured / "email"
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))  # type: ignore[attr-defined]
        found.append((str(mail["Subject"]), body.get_content()))
    return found


def test_a_wrong_price_is_corrected_once_for_those_who_read_it(city: City) -> None:
    wish = {"roles": ("citizen",), "interests": ("theme:1002", "theme:0304", "word:水价")}
    told = city.join("10-08 09:00", email="li@shili.example", phone="13800000001", digest_hour=9, **wish)
    city.join("10-08 09:05", email="wu@shili.example", digest_hour=18, **wish)
    price = city.release("10-09 08:30", title="【示例】居民水价11月1日起为每立方米3.45元", body="<p>水价</p>")
    assert tick(city, "10-09 08:45") == 0
    assert tick(city, "10-09 09:00") == 2  # mail and SMS of the one whose hour it is

    def entry() -> tuple[str, str]:
        feed = json.loads(city.poll(told, "json")[2])
        [item] = [item for item in feed["items"] if "每立方米" in item["title"]]
        return item["id"], item["date_modified"]

    before = entry()
    city.clock.at = local("10-09 10:20")
    right = replace(price.content, title=price.content.title.replace("3.45", "3.54"))
    city.services.desk.correct(price.id, right, major=True, note="应为3.54元", actor=city.editor)
    assert tick(city, "10-09 10:22") == 2  # the same two channels
    assert tick(city, "10-09 10:25") == 0
    corrected = entry()
    city.clock.at = local("10-09 11:00")
    typo = replace(right, body="<p>水价。</p>")
    city.services.desk.correct(price.id, typo, major=False, note="", actor=city.editor)
    assert tick(city, "10-09 11:02") == 0

    first, second = mails(city)
    assert "3.45" in first[1]
    assert "3.54" in second[1]
    assert "应为3.54元" in second[1]
    assert len(city.texts()) == 2
    assert "3.54" in city.texts()[1]
    assert before[0] == corrected[0] == entry()[0]
    assert before[1] < corrected[1] == entry()[1]
    assert city.services.audit.verify().broken_at is None

    assert tick(city, "10-09 18:00") == 1  # whose hour came later gets the right price, and no correction
    later = mails(city)[2]
    assert "3.54" in later[1]
    assert "3.45" not in later[1]
    assert tick(city, "10-10 09:00") == 0


def test_why_nothing_today_has_an_answer_each_day(city: City) -> None:
    wish = {"roles": ("citizen",), "interests": ("theme:1002", "word:水价")}
    who = city.join("10-08 10:00", email="li@shili.example", digest_hour=9, **wish)
    number, services = who.profile.id, city.services

    def why() -> str:
        return silence.why(services, number, "email").code

    assert why() == "not_yet"
    tick(city, "10-09 09:00")
    assert why() == "joined"  # the first edition is seen when one joins, and never pushed
    tick(city, "10-10 09:00")
    assert why() == "joined"
    joining.rest(services, number, "email", date(2026, 10, 10), date(2026, 10, 11))
    tick(city, "10-11 09:00")
    assert why() == "resting"
    city.release("10-12 08:30", title="【示例】居民水价听证", body="<p>水价</p>")
    tick(city, "10-12 08:40")
    services.outbox.pause(city.clock.now(), "演练")
    tick(city, "10-12 09:00")
    assert why() == "sending_paused"
    services.outbox.resume()
    assert tick(city, "10-12 09:05") == 1
    assert why() == "sent"
    joining.stop_channel(services, number, "email")
    assert why() == "stopped"
