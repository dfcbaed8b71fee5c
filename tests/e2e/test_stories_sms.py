"""Story 1 from the first word to the last: an elder without e-mail, her phone, and her daughter's.

Everything is real but the clock: the desk with two people, selection, planning, the outbox; at the end also
the line to an independent message centre.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import copying, inbound, joining, phones
from api.jobs.digests import plan
from api.jobs.people import tick_people
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import build
from delivery.sms_inbound import Inbound
from delivery.sms_pool import SmsPool
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace, Profile
from tests.e2e.test_stories import City, local
from tests.smscserver import Smsc

ELDER, DAUGHTER = "+8613800000076", "+8613800000002"


@pytest.fixture
def city(sqlite: Database, tmp_path: Path) -> Iterator[City]:
    settings = read_settings({}, home=tmp_path, city="shili")
    yield City(build(settings, clock=FixedClock(local("10-05 09:00")), database=sqlite, demo=True))


class Post:
    """The city's phones: a text that is sent, and what is read."""

    def __init__(self, city: City) -> None:
        self.city, self._count = city, 0

    def text(self, when: str, number: str, words: str) -> None:
        self.city.clock.at = local(when)
        self._count += 1
        message = Inbound("aliyun", f"up{self._count}", number, words, self.city.clock.now())
        assert inbound.take(self.city.services, [message]).acted == 1

    def shown(self, number: str) -> list[str]:
        send(self.city.services)
        folder = self.city.services.settings.captured / "sms"
        paths = sorted(folder.glob("*.txt"), key=lambda path: int(path.stem.removeprefix("d")))
        found = [path.read_text(encoding="utf-8") for path in paths]
        return [text.partition("\n\n")[2].strip() for text in found if f"To: {number}\n" in text]


def test_an_elder_signs_up_by_text_is_told_and_stops_by_text(city: City) -> None:
    services, post = city.services, Post(city)
    street = services.city.places["sl0101"]
    city.release("10-05 09:00", title="【示例】旧公告", body="<p>以前的事。</p>", region=street.label.zh)

    post.text("10-06 09:30", ELDER, "DY 鼓汀 老人")  # Tuesday, at the neighbourhood office
    assert "您已订阅鼓汀街道" in post.shown(ELDER)[-1]
    [elder] = services.contacts.proven("sms", ELDER)
    copy = copying.ask(services, services.profiles.get(elder), DAUGHTER, "mother")
    assert "您的母亲" in post.shown(DAUGHTER)[-1]
    post.text("10-06 09:40", DAUGHTER, "Y")
    assert services.copies.many([copy.id])

    city.release(
        "10-07 15:00",
        title=f"【示例】{street.label.zh}65岁以上老年人免费体检通知",
        body="<p>请持身份证到社区卫生服务中心，上午空腹。</p>",
        phone="0000-5550-0065",
        region=street.label.zh,
    )
    select_all(services)
    seen = len(post.shown(ELDER)), len(post.shown(DAUGHTER))
    city.clock.at = local("10-08 08:59")
    plan(services)
    assert (len(post.shown(ELDER)), len(post.shown(DAUGHTER))) == seen
    city.clock.at = local("10-08 09:00")
    plan(services)
    plan(services)  # twice is once
    hers, copied = post.shown(ELDER)[seen[0] :], post.shown(DAUGHTER)[seen[1] :]
    assert len(hers) == len(copied) == 1
    for text in (*hers, *copied):
        assert "老年人免费体检" in text
        assert "0000-5550-0065" in text
        assert "http" not in text
    assert len(hers[0]) <= 70
    assert "为母亲：" in copied[0]
    assert "为母亲" not in hers[0]

    post.text("10-08 11:00", ELDER, "TD")
    assert "已退订" in post.shown(ELDER)[-1]  # in the same minute: the clock stands
    assert "不再把您的母亲的公告短信抄送给您" in post.shown(DAUGHTER)[-1]
    said = len(post.shown(ELDER)), len(post.shown(DAUGHTER))
    city.release(
        "10-08 15:00",
        title=f"【示例】{street.label.zh}老年人讲座",
        body="<p>请来听。</p>",
        region=street.label.zh,
    )
    select_all(services)
    for hours in (18, 42):
        city.clock.at = local("10-08 15:00") + timedelta(hours=hours)
        plan(services)
        assert (len(post.shown(ELDER)), len(post.shown(DAUGHTER))) == said


def test_the_daughter_ends_only_the_copy_and_reads_nothing_of_what_was_read(city: City) -> None:
    services, post = city.services, Post(city)
    city.release("10-05 09:00", title="【示例】旧公告", body="<p>以前的事。</p>", region="鼓汀街道")
    post.text("10-06 09:30", ELDER, "DY 鼓汀")
    [elder] = services.contacts.proven("sms", ELDER)
    copying.ask(services, services.profiles.get(elder), DAUGHTER, "mother")
    post.text("10-06 09:40", DAUGHTER, "Y")
    post.text("10-06 10:00", DAUGHTER, "退订")
    assert "对方已退出" in post.shown(ELDER)[-1]
    assert services.subscriptions.live(elder, "sms") is not None
    city.release("10-07 15:00", title="【示例】鼓汀街道停水通知", body="<p>停水。</p>", region="鼓汀街道")
    select_all(services)
    before = len(post.shown(DAUGHTER))
    city.clock.at = local("10-08 09:00")
    plan(services)
    assert "停水" in post.shown(ELDER)[-1]
    assert len(post.shown(DAUGHTER)) == before
    told = [row.recipe for row in services.outbox.for_profile(0)]
    assert "open" not in str(told)
    assert "impression" not in str(told)
    held = joining.export(services, elder)
    assert {item["ended_reason"] for item in held["copies"]} == {"recipient"}  # type: ignore[attr-defined]


@pytest.fixture
def smsc() -> Iterator[Smsc]:
    server = Smsc()
    yield server
    server.close()


@pytest.fixture
def on_air(sqlite: Database, tmp_path: Path, smsc: Smsc) -> Iterator[City]:
    """The same city with a real line to an independent message centre."""
    (tmp_path / "sms.toml").write_text('[smpp.prices]\n"+86" = 0.05\n', encoding="utf-8")
    settings = read_settings(
        {}, home=tmp_path, city="shili", secret_key="a key for tests only, long enough to be one",
        sms_providers="smpp", sms_file="sms.toml", sms_budget=100, sms_smpp_url=smsc.url(),
    )  # fmt: skip
    services = build(settings, clock=FixedClock(local("10-05 09:00")), database=sqlite)
    yield City(services)
    services.close()


def test_the_same_over_a_real_line(on_air: City, smsc: Smsc) -> None:
    """DY comes in over SMPP, the answer and the digest go out, receipts come back, TD ends it."""
    services = on_air.services
    on_air.release("10-05 09:00", title="【示例】旧公告", body="<p>以前的事。</p>", region="鼓汀街道")
    on_air.clock.at = local("10-06 09:30")
    channel = services.channels["sms"]
    assert isinstance(channel, SmsPool)
    channel.listen()
    smsc.wait(lambda item: "bound" in item)

    def says(words: str) -> None:
        smsc.order(**{"from": ELDER.lstrip("+"), "text": [{"message": words}]})
        smsc.wait(lambda item: item.get("handed") == words)

    def sent() -> list[str]:
        send(services)
        return [item["text"] for item in smsc.submits(ELDER)]

    says("DY 鼓汀 老人")
    assert "您已订阅鼓汀街道" in sent()[-1]
    on_air.release(
        "10-07 15:00",
        title="【示例】鼓汀街道65岁以上老年人免费体检通知",
        body="<p>请持身份证。</p>",
        phone="0000-5550-0065",
        region="鼓汀街道",
    )
    select_all(services)
    on_air.clock.at = local("10-08 09:00")
    plan(services)
    plan(services)
    texts = sent()
    assert len(texts) == 2
    assert "老年人免费体检" in texts[1]
    assert len(texts[1]) <= 70
    [elder] = services.contacts.proven("sms", ELDER)
    smsc.wait(lambda item: sum("receipt" in said for said in smsc.said) == 2)
    tick_people(services)  # a receipt may come before its row was finished
    assert {row.state for row in services.outbox.for_profile(elder)} == {"delivered"}
    says("td")
    assert "已退订" in sent()[-1]
    assert services.subscriptions.live(elder, "sms") is None
    assert len(sent()) == 3


def test_over_a_real_line_a_phone_gets_nothing_but_its_code_before_it_is_confirmed(
    on_air: City, smsc: Smsc
) -> None:
    services = on_air.services
    on_air.clock.at = local("10-06 09:30")
    on_air.release("10-05 09:00", title="【示例】旧公告", body="<p>以前的事。</p>", region="鼓汀街道")
    on_air.clock.at = local("10-06 09:30")
    wish = Profile(0, on_air.clock.now(), roles=("citizen",), places=(FollowedPlace("sl0101"),))
    reader = joining.join(services, wish, phone=ELDER, digest_hour=9).profile
    on_air.release("10-07 15:00", title="【示例】鼓汀街道停水通知", body="<p>停水。</p>", region="鼓汀街道")
    select_all(services)
    on_air.clock.at = local("10-06 09:31")
    send(services)
    [code] = [re.findall(r"\d{6}", item["text"])[0] for item in smsc.submits(ELDER)]
    on_air.clock.at = local("10-08 09:00")
    assert plan(services).planned == 0
    send(services)
    assert len(smsc.submits(ELDER)) == 1
    assert not phones.check(services, reader, code)  # too late by now
    on_air.clock.at = local("10-08 09:05")
    assert phones.ask(services, reader) == "sent"
    send(services)
    code = re.findall(r"\d{6}", smsc.submits(ELDER)[-1]["text"])[0]
    assert phones.check(services, reader, code)
