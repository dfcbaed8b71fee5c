"""Digests from plan to capture and to a real SMTP server; twice, killed, stopped, rebuilt."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from api.jobs import joining
from api.jobs.building import build as build_message
from api.jobs.digests import plan
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.channels.email import EmailChannel
from delivery.digest_plans import DigestPlanner
from delivery.types import MailMessage, SmsMessage
from feeds.desk.editing import SYSTEM
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.types import FollowedPlace
from tests.factories import NOW, new_notice, pick, profile

TAX = {"tags": ("theme:04", "theme:0402"), "level": "city", "place": "sl"}


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    """A resident joined yesterday; one tax notice was released this morning at 07:00."""
    made = build(
        read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example"),
        clock=FixedClock(NOW - timedelta(days=1)),
        database=database,
        demo=True,
    )
    made.notices.add(
        [new_notice("old", title="【示例】旧公告", published=NOW - timedelta(days=3), **TAX)], at=NOW
    )
    yield made


@pytest.fixture
def reader(services: Services) -> int:
    wish = profile(places=(FollowedPlace("sl"),))
    contacts = {"email": "li@shili.example", "phone": "13800000001", "verified": True}
    return joining.join(services, wish, digest_hour=9, **contacts).profile.id


@pytest.fixture
def morning(services: Services, reader: int) -> FixedClock:
    """09:00 local of the next day, with one new pick made at 08:00."""
    clock = services.clock
    assert isinstance(clock, FixedClock)
    clock.at = NOW - timedelta(hours=2)
    services.notices.add(
        [
            new_notice(
                "new",
                title="【示例】纳税申报期延长",
                phone="0000-5550-0001",
                published=clock.at - timedelta(hours=1),
                **TAX,
            )
        ],
        at=clock.at,
    )
    select_all(services)
    clock.at = NOW - timedelta(hours=1)
    return clock


def test_each_channel_carries_the_pick_once_however_often_we_plan(
    services: Services, morning: FixedClock
) -> None:
    assert plan(services).planned == 2
    assert plan(services).planned == 0
    report = send(services)
    assert (report.claimed, report.sent) == (2, 2)
    assert send(services).claimed == 0
    mails = list((services.settings.captured / "email").iterdir())
    texts = list((services.settings.captured / "sms").glob("*.txt"))
    assert (len(mails), len(texts)) == (1, 1)
    assert "纳税申报期延长" in texts[0].read_text(encoding="utf-8")
    assert "旧公告" not in texts[0].read_text(encoding="utf-8")  # the welcome edition is never pushed


def test_killed_in_the_middle_of_planning_nothing_is_half_done(
    services: Services, morning: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DigestPlanner._slice

    def dies(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(DigestPlanner, "_slice", dies)
    with pytest.raises(KeyboardInterrupt):
        plan(services)
    assert services.outbox.status(morning.now()).counts == {}
    monkeypatch.undo()
    assert plan(services).planned == 2
    assert plan(services).planned == 0
    assert send(services).sent == 2


def test_a_digest_missed_for_days_comes_once_with_everything(services: Services, morning: FixedClock) -> None:
    morning.advance(timedelta(days=1, hours=1))
    assert plan(services).planned == 2
    assert send(services).sent == 2
    assert plan(services).planned == 0


def test_nothing_to_say_sends_nothing(services: Services, morning: FixedClock) -> None:
    plan(services)
    send(services)
    morning.advance(timedelta(days=1))
    report = plan(services)
    assert (report.planned, report.empty) == (0, 2)


def test_one_click_stop_works_without_login_and_twice(
    services: Services, reader: int, morning: FixedClock
) -> None:
    plan(services)
    token = joining.stop_token(services, reader, "email", at=morning.now())
    assert joining.stop(services, token) == joining.stop(services, token)
    assert services.subscriptions.live(reader, "email") is None
    assert services.subscriptions.live(reader, "sms") is not None
    assert send(services).sent == 1
    states = {row.channel: row.state for row in services.outbox.for_profile(reader)}
    assert states == {"email": "suppressed", "sms": "sent"}  # planned before the stop, not sent after it
    assert joining.stop(services, "unknown") is None


def test_an_erased_resident_gets_nothing(services: Services, reader: int, morning: FixedClock) -> None:
    plan(services)
    joining.erase(services, reader)
    assert send(services).sent == 0


def test_a_digest_is_rebuilt_byte_for_byte_even_after_a_correction(
    services: Services, reader: int, morning: FixedClock
) -> None:
    plan(services)
    send(services)
    rows = services.outbox.for_profile(reader)
    assert all(row.frozen for row in rows)
    before = [build_message(services, row) for row in rows]
    [notice] = [item for item in services.notices.export() if item.guid == "new"]
    services.desk.correct(
        notice.id, replace(notice.content, title="【示例】改过的标题"), major=False, note="", actor=SYSTEM
    )
    after = [build_message(services, row) for row in rows]
    assert before == after
    for message in before:
        assert isinstance(message, MailMessage | SmsMessage)
        assert "纳税申报期延长" in message.text


@pytest.mark.parametrize(
    ("lang", "told", "left"), [("en", "Tax dates", "印花税"), ("zh-Hant", "印花税", "Tax")]
)
def test_of_two_languages_one_is_told_in_the_place_of_the_better(
    services: Services, reader: int, morning: FixedClock, lang: str, told: str, left: str
) -> None:
    known = services.profiles.get(reader)
    services.profiles.change(replace(known, langs=(lang, "zh-Hans" if lang == "en" else "en")))
    at, early = services.clock.now(), services.clock.now() - timedelta(hours=1)
    services.notices.add(
        [
            new_notice("stamp", title="【示例】印花税日期", published=early, **TAX),
            new_notice("other", title="【示例】税务大厅搬迁", published=early, **TAX),
            new_notice("stamp#en", title="[SAMPLE] Tax dates", lang="en", published=early, **TAX),
        ],
        at=early,
    )
    ids = {item.guid: item.id for item in services.notices.export()}
    services.notices.link(ids["stamp#en"], ids["stamp"], "language_of")
    order = [ids["stamp"], ids["other"], ids["stamp#en"]]
    assert services.notices.languages(order) == {ids["stamp"]: ids["stamp"], ids["stamp#en"]: ids["stamp"]}
    version = services.editions.shelf(reader).version
    picks = tuple(pick(number) for number in order)
    made_at = at - timedelta(minutes=30)
    assert services.editions.append([NewEdition(reader, "daily", picks, made_at, version)]) != [None]
    plan(services)
    send(services)
    [row] = [one for one in services.outbox.for_profile(reader) if one.channel == "email"]
    message = build_message(services, row)
    assert isinstance(message, MailMessage)
    assert told in message.text and left not in message.text
    assert message.text.index(told) < message.text.index("税务大厅搬迁")
    assert len(row.notices) == 3  # with the one of the morning


def test_paused_sending_sends_nothing_until_resumed(services: Services, morning: FixedClock) -> None:
    plan(services)
    services.outbox.pause(morning.now(), "drill")
    assert send(services).claimed == 0
    services.outbox.resume()
    assert send(services).sent == 2


class Inbox:
    """Keeps what a real SMTP server on loopback accepts."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:
        self.messages.append(envelope.content)  # type: ignore[attr-defined]
        return "250 OK"


@pytest.fixture
def inbox(services: Services) -> Iterator[Inbox]:
    """A real SMTP server, and the mail channel that leads to it."""
    kept = Inbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    channel = EmailChannel(f"smtp://127.0.0.1:{port}")
    services.channels = {"email": channel}
    yield kept
    channel.close()
    controller.stop()


def read(raw: bytes) -> EmailMessage:
    """Parse what arrived."""
    mail = message_from_bytes(raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_over_a_real_channel_an_address_is_asked_first(services: Services, inbox: Inbox) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    wish = profile(places=(FollowedPlace("sl"),))
    reader = joining.join(services, wish, email="new@shili.example", digest_hour=9).profile.id
    assert send(services).sent == 1
    [asked] = [read(raw) for raw in inbox.messages]
    body = asked.get_body(("plain",))
    assert body is not None
    [link] = re.findall(r"http://127\.0\.0\.1:8000/c/([\w-]+)", body.get_content())
    assert "确认" in asked["Subject"]

    clock.at = NOW - timedelta(hours=2)
    services.notices.add([new_notice("n1", title="【示例】个税", published=clock.at, **TAX)], at=clock.at)
    select_all(services)
    clock.at = NOW - timedelta(hours=1)
    report = plan(services)
    assert (report.due, report.planned) == (1, 0)
    assert send(services).sent == 0

    target = joining.confirm(services, link)
    assert target is not None
    assert target.profile_id == reader
    assert joining.confirm(services, link) == target  # twice is fine
    clock.at = NOW
    services.notices.add(
        [new_notice("n2", title="【示例】个税汇算提醒", published=clock.at, **TAX)], at=clock.at
    )
    select_all(services)
    clock.at = NOW + timedelta(hours=23)
    assert plan(services).planned == 1
    assert send(services).sent == 1
    mail = read(inbox.messages[1])
    assert mail["To"] == "new@shili.example"
    assert mail["From"].addresses[0].addr_spec == "notices@shili.example"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = joining.stop_token(services, reader, "email", at=clock.now())
    assert f"<http://127.0.0.1:8000/u/{token}>" in str(mail["List-Unsubscribe"])
    assert "示例" in mail["Subject"]
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert "个税汇算提醒" in part.get_content()


def test_a_confirmation_of_a_replaced_address_confirms_nothing(services: Services) -> None:
    reader = joining.join(services, profile(), email="old@shili.example").profile
    [row] = services.outbox.for_profile(reader.id)
    message = build_message(services, row)
    assert isinstance(message, MailMessage)
    [link] = re.findall(r"/c/([\w-]+)", message.text)
    services.contacts.put(reader.id, "email", "other@shili.example", at=services.clock.now())
    assert joining.confirm(services, link) is None
    assert joining.confirm(services, "x" * 24) is None


def test_a_link_to_confirm_ends_after_a_week(services: Services) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    reader = joining.join(services, profile(), email="old@shili.example").profile
    [row] = services.outbox.for_profile(reader.id)
    message = build_message(services, row)
    assert isinstance(message, MailMessage)
    [link] = re.findall(r"/c/([\w-]+)", message.text)
    clock.advance(timedelta(days=7))
    assert joining.confirm(services, link) is None


def test_a_change_of_hour_loses_nothing_and_repeats_nothing(
    services: Services, reader: int, morning: FixedClock
) -> None:
    plan(services)
    send(services)
    reader_profile = services.profiles.get(reader)
    joining.subscribe(services, reader_profile, "sms", 18)  # from 9 to 18, on the same day
    morning.advance(timedelta(hours=1))
    later = new_notice("late", title="【示例】下午的个税提醒", published=morning.now(), **TAX)
    services.notices.add([later], at=morning.now())
    morning.advance(timedelta(hours=1))
    select_all(services)
    morning.at = NOW + timedelta(hours=8)
    plan(services)
    send(services)
    texts = [path.read_text(encoding="utf-8") for path in (services.settings.captured / "sms").glob("*.txt")]
    assert sum("下午的个税提醒" in text for text in texts) == 1
    assert sum("纳税申报期延长" in text for text in texts) == 1


def test_an_address_replaced_after_planning_gets_nothing(
    services: Services, reader: int, morning: FixedClock, inbox: Inbox
) -> None:
    plan(services)
    services.contacts.put(reader, "email", "victim@shili.example", at=morning.now())
    assert send(services).sent == 0
    assert {row.state for row in services.outbox.for_profile(reader) if row.channel == "email"} == {
        "suppressed"
    }
    assert inbox.messages == []


def test_at_night_a_message_waits_even_if_it_was_due_by_day(services: Services, morning: FixedClock) -> None:
    plan(services)
    services.outbox.pause(morning.now(), "drill")
    morning.advance(timedelta(hours=13))  # 22:00
    services.outbox.resume()
    assert send(services).states == {"sent": 1}  # the mail; the SMS waits for the morning or expires
