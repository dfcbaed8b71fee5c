"""What follows when somebody texts us: DY, TD, Y; twice, killed, by robots, by a number's new owner."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs import copying, inbound, joining, people
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.sms_inbound import Inbound
from delivery.types import NewDelivery
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import NOW, profile

ELDER, DAUGHTER = "+8613800000076", "+8613800000002"


class Phones:
    """Phones of the sample city: what they send and what they show."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._sent = 0

    @property
    def clock(self) -> FixedClock:
        assert isinstance(self.services.clock, FixedClock)
        return self.services.clock

    def text(self, number: str, words: str, *, ref: str = "") -> inbound.InboundReport:
        self._sent += 1
        message = Inbound("twilio", ref or f"SM{self._sent}", number, words, self.clock.now())
        return inbound.take(self.services, [message])

    def shown(self, number: str) -> list[str]:
        """Send what is due, and read what this phone shows, oldest first."""
        send(self.services)
        folder = self.services.settings.captured / "sms"
        found = sorted(folder.glob("*.txt"), key=lambda path: int(path.stem.removeprefix("d")))
        texts = [path.read_text(encoding="utf-8") for path in found]
        return [text.partition("\n\n")[2].strip() for text in texts if f"To: {number}\n" in text]

    def holder(self, number: str) -> int:
        [found] = self.services.contacts.proven("sms", number)
        return found


def installed(database: Database, home: Path) -> Phones:
    settings = read_settings({}, home=home, city="shili")
    return Phones(build(settings, clock=FixedClock(NOW), database=database, demo=True))


@pytest.fixture
def phones(sqlite: Database, tmp_path: Path) -> Iterator[Phones]:
    yield installed(sqlite, tmp_path)


@pytest.fixture
def everywhere(database: Database, tmp_path: Path) -> Iterator[Phones]:
    """On both databases."""
    yield installed(database, tmp_path)


def purposes(services: Services, profile_id: int) -> set[str]:
    return {item.purpose for item in services.consents.all(profile_id) if item.ended_at is None}


def test_dy_makes_a_profile_with_a_confirmed_phone_and_an_answer(everywhere: Phones) -> None:
    phones = everywhere
    assert phones.text("138 0000 0076", "DY 鼓汀 老人").acted == 1
    made = phones.services.profiles.get(phones.holder(ELDER))
    assert [place.code for place in made.places] == ["sl0101"]
    assert "theme:1301" in made.interests
    live = phones.services.subscriptions.live(made.id, "sms")
    assert live is not None
    assert live.local_hour == 9
    assert "channel:sms" in purposes(phones.services, made.id)
    [said] = phones.shown(ELDER)
    for word in ("鼓汀街道", "9点", "TD", "12345"):
        assert word in said
    assert len(said) <= 70


def test_the_same_message_acts_once_and_a_second_dy_says_already(phones: Phones) -> None:
    phones.text(ELDER, "DY", ref="same")
    assert phones.text(ELDER, "DY", ref="same").known == 1
    phones.text(ELDER, "订阅")
    phones.text(ELDER, "DY 柘渡")
    assert phones.services.profiles.count() == 1
    assert [place.code for place in phones.services.profiles.get(phones.holder(ELDER)).places] == ["sl03"]
    welcome, already = phones.shown(ELDER)
    assert "您已订阅示例市" in welcome
    assert "您已订阅过" in already


def test_a_place_nobody_knows_is_asked_for_and_old_names_are_understood(phones: Phones) -> None:
    phones.text(ELDER, "DY 火星区")
    [said] = phones.shown(ELDER)
    assert "没认出“火星区”" in said
    phones.text(ELDER, "DY 汀埠")  # the old name of 汀阳区
    assert [place.code for place in phones.services.profiles.get(phones.holder(ELDER)).places] == ["sl01"]


def test_a_slip_in_a_name_is_answered_with_the_nearest_place(phones: Phones) -> None:
    phones.text(ELDER, "DY 文阑桥")
    assert "DY文澜桥" in phones.shown(ELDER)[0]
    phones.text(DAUGHTER, "DY 鼓汀 火星")
    assert "您已订阅鼓汀街道" in phones.shown(DAUGHTER)[0]
    phones.text(DAUGHTER, "DY 火星")  # what was chosen stays, and she is shown how
    assert "发送DY加地名" in phones.shown(DAUGHTER)[-1]


def test_a_sensitive_role_is_never_taken_from_a_text_or_said_in_one(phones: Phones) -> None:
    phones.text(ELDER, "DY 需要帮助的人 残疾")
    made = phones.services.profiles.get(phones.holder(ELDER))
    assert made.roles == ("citizen",)
    assert made.interests == ()


def test_td_stops_everything_at_once_is_answered_once_and_dy_begins_again(everywhere: Phones) -> None:
    phones = everywhere
    phones.text(ELDER, "DY 鼓汀")
    number = phones.holder(ELDER)
    phones.shown(ELDER)
    for words in ("TD", "退订", "R"):
        phones.text(ELDER, words)
    assert phones.services.subscriptions.live(number, "sms") is None
    assert "channel:sms" not in purposes(phones.services, number)
    held = phones.services.suppressions.of("sms", ELDER)
    assert held is not None
    assert held.reason == "opted_out"
    assert ["已退订" in said for said in phones.shown(ELDER)] == [False, True]
    phones.text(ELDER, "DY")
    assert phones.services.suppressions.of("sms", ELDER) is None
    assert phones.holder(ELDER) == number  # a slip costs nobody what was chosen
    assert phones.services.subscriptions.live(number, "sms") is not None
    assert "您已订阅鼓汀街道" in phones.shown(ELDER)[-1]


def test_td_takes_what_waits_out_of_the_outbox(phones: Phones) -> None:
    phones.text(ELDER, "DY")
    number = phones.holder(ELDER)
    assert [row.state for row in phones.services.outbox.for_profile(number)] == ["queued"]
    phones.text(ELDER, "TD")
    assert [row.state for row in phones.services.outbox.for_profile(number)] == ["cancelled"]
    assert ["已退订" in said for said in phones.shown(ELDER)] == [True]


def test_a_stranger_who_stops_is_remembered_and_answered_once(phones: Phones) -> None:
    phones.text(DAUGHTER, "STOP")
    phones.text(DAUGHTER, "STOP")
    assert len(phones.shown(DAUGHTER)) == 1
    assert "Send DY" in phones.shown(DAUGHTER)[0]
    assert phones.services.suppressions.holds("sms", DAUGHTER, phones.clock.now())
    assert phones.services.profiles.count() == 0


def test_two_robots_never_play_ping_pong(phones: Phones) -> None:
    for n in range(50):
        phones.text(DAUGHTER, f"你好 {n}")
        phones.shown(DAUGHTER)
        phones.clock.advance(timedelta(minutes=20))
    assert len(phones.shown(DAUGHTER)) == 1  # 16 hours of it, one help
    assert phones.text(DAUGHTER, "【某平台】自动回复：拒收请回复R").ignored == 1
    assert phones.text("10086", "您的话费余额不足").ignored == 1
    assert phones.text("106900001234", "TD").ignored == 1
    assert phones.text("nobody", "DY").ignored == 1
    phones.clock.advance(timedelta(days=1))
    phones.text(DAUGHTER, "?")
    assert len(phones.shown(DAUGHTER)) == 2


def test_one_number_gets_at_most_five_answers_a_day_but_stop_always_acts(phones: Phones) -> None:
    for _ in range(6):
        phones.text(ELDER, "DY")
        phones.text(ELDER, "TD")
    assert len(phones.shown(ELDER)) <= 5
    for n in range(80):
        phones.text(ELDER, f"x{n}")
    phones.text(ELDER, "DY")
    phones.text(ELDER, "td")
    assert phones.services.suppressions.holds("sms", ELDER, phones.clock.now())


def test_what_died_between_taking_and_acting_is_made_up_for(
    phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> str:
        raise RuntimeError("killed")

    monkeypatch.setitem(inbound._ACTS, "start", dies)
    assert phones.text(ELDER, "DY 鼓汀", ref="one").failed == 1
    monkeypatch.undo()
    assert people.tick_people(phones.services)["texts"] == 0  # not while somebody may still be at it
    phones.clock.advance(timedelta(minutes=1))
    assert people.tick_people(phones.services)["texts"] == 1
    assert phones.text(ELDER, "DY 鼓汀", ref="one").known == 1
    assert phones.services.profiles.count() == 1
    assert "鼓汀街道" in phones.shown(ELDER)[0]


def test_no_wording_is_kept_and_no_number_for_long(everywhere: Phones) -> None:
    phones = everywhere
    phones.text(ELDER, "DY 鼓汀")
    phones.shown(ELDER)
    with phones.services.database.read() as connection:
        [row] = connection.exec_driver_sql("SELECT * FROM inbound_message").all()
    assert "鼓汀" not in str(tuple(row))
    assert "13800000076" not in str(tuple(row))
    phones.clock.advance(timedelta(days=1, minutes=1))
    people.tidy(phones.services)
    assert phones.services.inbox.many([row[0]])[row[0]].number == ""
    phones.clock.advance(timedelta(days=30))
    people.tidy(phones.services)
    assert phones.services.inbox.many([row[0]]) == {}


def test_a_new_owner_of_a_number_starts_afresh(phones: Phones) -> None:
    """The number was proven long ago; its new owner gets a stranger's messages, stops, and signs up."""
    services = phones.services
    wish = profile(places=(FollowedPlace("sl01"),), roles=("citizen",))
    old = joining.join(services, wish, phone=ELDER, email="li@shili.example", digest_hour=9, verified=True)
    phones.clock.advance(timedelta(days=200))
    phones.text(ELDER, "TD")
    phones.text(ELDER, "DY 柘渡")
    new = phones.holder(ELDER)
    assert new != old.profile.id
    assert [place.code for place in services.profiles.get(new).places] == ["sl03"]
    assert services.contacts.get(old.profile.id, "sms") is None
    assert services.subscriptions.live(old.profile.id, "email") is not None  # the other channels stay


def test_not_me_lets_the_number_go_at_once(phones: Phones) -> None:
    services = phones.services
    old = joining.join(services, profile(), phone=ELDER, digest_hour=9, verified=True)
    phones.text(ELDER, "不是我")
    assert services.contacts.get(old.profile.id, "sms") is None
    assert services.subscriptions.live(old.profile.id, "sms") is None
    assert "已退订" in phones.shown(ELDER)[-1]
    phones.text(ELDER, "DY")
    assert phones.holder(ELDER) != old.profile.id


def test_a_silent_phone_is_asked_and_gets_nothing_until_it_says_yes(phones: Phones) -> None:
    services = phones.services
    old = joining.join(services, profile(), phone=ELDER, digest_hour=9, verified=True).profile.id
    phones.clock.advance(timedelta(days=179))
    assert people.reconfirm(services) == 0
    phones.clock.advance(timedelta(days=2))
    assert people.reconfirm(services) == 1
    assert people.reconfirm(services) == 0
    assert services.contacts.proven("sms", ELDER) == {}
    assert "请回复Y" in phones.shown(ELDER)[-1]
    phones.text(ELDER, "Y")
    assert phones.holder(ELDER) == old
    assert "短信照常" in phones.shown(ELDER)[-1]


def test_a_silent_phone_that_does_not_answer_or_signs_up_anew_is_let_go(everywhere: Phones) -> None:
    phones = everywhere
    services = phones.services
    old = joining.join(services, profile(), phone=ELDER, digest_hour=9, verified=True).profile.id
    phones.clock.advance(timedelta(days=181))
    people.reconfirm(services)
    phones.text(ELDER, "DY")
    assert phones.holder(ELDER) != old
    other = joining.join(services, profile(), phone=DAUGHTER, digest_hour=9, verified=True).profile.id
    phones.clock.advance(timedelta(days=181))
    people.reconfirm(services)
    phones.clock.advance(timedelta(days=15))
    people.tidy(services)
    assert services.contacts.get(other, "sms") is None
    assert services.subscriptions.of(other)[-1].ended_reason == "recycled"


def test_an_unconfirmed_phone_on_somebodys_profile_is_not_taken_over_by_dy(phones: Phones) -> None:
    """Whoever typed a stranger's number into a form must not get that stranger's yes."""
    services = phones.services
    typed = joining.join(services, profile(), phone=ELDER, digest_hour=9).profile.id
    phones.text(ELDER, "DY")
    assert phones.holder(ELDER) != typed
    contact = services.contacts.get(typed, "sms")
    assert contact is not None
    assert contact.verified_at is None


def test_a_copy_begins_with_the_readers_own_yes_and_either_side_ends_it(everywhere: Phones) -> None:
    phones = everywhere
    services = phones.services
    phones.text(ELDER, "DY 鼓汀")
    elder = services.profiles.get(phones.holder(ELDER))
    copy = copying.ask(services, elder, DAUGHTER, "mother")
    assert copying.ask(services, elder, DAUGHTER, "mother").id == copy.id
    assert services.copies.many([copy.id]) == {}
    [asked] = phones.shown(DAUGHTER)
    assert "您的母亲订阅了公告短信，想让您也收到" in asked
    assert "请回复Y" in asked
    phones.text(DAUGHTER, "好的")
    assert services.copies.many([copy.id])[copy.id].address == DAUGHTER
    assert "您的母亲" in phones.shown(DAUGHTER)[-1]
    phones.text(DAUGHTER, "TD")
    assert services.copies.many([copy.id]) == {}
    assert "已退订" in phones.shown(DAUGHTER)[-1]
    assert "对方已退出" in phones.shown(ELDER)[-1]
    assert services.subscriptions.live(elder.id, "sms") is not None  # only the copy ended


def test_one_yes_agrees_to_one_copy_the_one_asked_about_last(phones: Phones) -> None:
    services, copies = phones.services, []
    for number, relation in ((ELDER, "mother"), ("+8613800000077", "father")):
        phones.text(number, "DY")
        copies.append(copying.ask(services, services.profiles.get(phones.holder(number)), DAUGHTER, relation))
        phones.clock.advance(timedelta(minutes=5))
    older, newer = (copy.id for copy in copies)
    phones.text(DAUGHTER, "Y")
    assert set(services.copies.many([older, newer])) == {newer}
    assert "您的父亲" in phones.shown(DAUGHTER)[-1]
    phones.text(DAUGHTER, "Y")
    assert set(services.copies.many([older, newer])) == {older, newer}
    assert "您的母亲" in phones.shown(DAUGHTER)[-1]


def test_dy_answers_the_question_of_a_copy_and_a_no_needs_no_answer(phones: Phones) -> None:
    services = phones.services
    phones.text(ELDER, "DY")
    elder = services.profiles.get(phones.holder(ELDER))
    copy = copying.ask(services, elder, DAUGHTER, "mother")
    phones.text(DAUGHTER, "DY")
    assert services.copies.many([copy.id])
    assert services.profiles.count() == 1
    other = copying.ask(services, elder, "+8613800000003", "family")
    phones.clock.advance(timedelta(days=8))
    people.tidy(services)
    assert services.copies.get(other.id) is None


def test_erasing_tells_the_readers_of_copies_and_leaves_nothing(everywhere: Phones) -> None:
    phones = everywhere
    services = phones.services
    phones.text(ELDER, "DY")
    elder = services.profiles.get(phones.holder(ELDER))
    copying.ask(services, elder, DAUGHTER, "mother")
    phones.text(DAUGHTER, "Y")
    held = joining.export(services, elder.id)
    assert [item["word"] for item in held["texts"]] == ["start"]  # type: ignore[index, attr-defined]
    assert [item["address"] for item in held["copies"]] == [DAUGHTER]  # type: ignore[index, attr-defined]
    joining.erase(services, elder.id)
    assert "不再把您的母亲的公告短信抄送给您" in phones.shown(DAUGHTER)[-1]
    with services.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM relative_copy").scalar() == 0
    assert services.inbox.received(ELDER, since=NOW - timedelta(days=1)) == 0


def test_a_stopped_number_is_never_asked_for_a_copy(phones: Phones) -> None:
    services = phones.services
    phones.text(ELDER, "DY")
    elder = services.profiles.get(phones.holder(ELDER))
    phones.text(DAUGHTER, "TD")
    before = phones.shown(DAUGHTER)
    hidden = copying.ask(services, elder, DAUGHTER, "mother")
    assert phones.shown(DAUGHTER) == before
    copying.end(services, hidden, reason="resident")
    with pytest.raises(Exception, match="your own number"):
        copying.ask(services, elder, ELDER, "mother")
    with pytest.raises(Exception, match="relation"):
        copying.ask(services, elder, "+8613800000009", "http://evil.example")
    assert "copy:sms" not in purposes(services, elder.id)
    for n in (3, 4, 5):
        copying.ask(services, elder, f"+861380000000{n}", "family")
    assert "copy:sms" in purposes(services, elder.id)
    with pytest.raises(Exception, match="There can be 3 copies"):
        copying.ask(services, elder, "+8613800000006", "family")
    for copy in services.copies.of(elder.id):
        copying.end(services, copy, reason="resident")
    assert "copy:sms" not in purposes(services, elder.id)


def test_a_discreet_resident_sees_no_place_in_an_answer(phones: Phones) -> None:
    services = phones.services
    phones.text(ELDER, "DY 鼓汀")
    elder = services.profiles.get(phones.holder(ELDER))
    joining.change(services, replace(elder, discreet=True))
    phones.text(ELDER, "DY")
    assert "鼓汀" not in phones.shown(ELDER)[-1]


def test_one_number_that_writes_twice_at_once_becomes_one_profile(everywhere: Phones) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: everywhere.text(ELDER, "DY 鼓汀", ref=f"r{_}"), range(4)))
    assert everywhere.services.profiles.count() == 1


def test_a_stop_that_died_half_way_is_made_up_for(phones: Phones, monkeypatch: pytest.MonkeyPatch) -> None:
    phones.text(ELDER, "DY")
    number = phones.holder(ELDER)
    real = joining.stop_channel
    monkeypatch.setattr(joining, "stop_channel", lambda *_, **__: 1 / 0)
    assert phones.text(ELDER, "TD").failed == 1
    assert phones.services.suppressions.holds("sms", ELDER, phones.clock.now())  # nothing goes out meanwhile
    monkeypatch.setattr(joining, "stop_channel", real)
    phones.clock.advance(timedelta(minutes=1))
    people.tick_people(phones.services)
    assert phones.services.subscriptions.live(number, "sms") is None
    assert "已退订" in phones.shown(ELDER)[-1]


def test_copies_stand_beside_planned_digests_once_and_only_after_the_yes(everywhere: Phones) -> None:
    services = everywhere.services
    everywhere.text(ELDER, "DY")
    elder = services.profiles.get(everywhere.holder(ELDER))
    now = services.clock.now()

    def digest(key: str, **more: Any) -> NewDelivery:
        recipe = {"kind": "digest", "window": [0, 1], "lang": "zh-Hans", "template": "x"}
        values = {"frozen": False, "run_id": 7} | more
        return NewDelivery(key, elder.id, "sms", "digest", now, now + timedelta(hours=1), recipe, **values)

    copy = copying.ask(services, elder, DAUGHTER, "mother")
    services.outbox.enqueue([digest("digest:before")], now)
    everywhere.clock.advance(timedelta(seconds=1))
    copying.agreed(services, copy)
    now = services.clock.now()
    services.outbox.enqueue([digest("digest:a"), digest("digest:old", frozen=True)], now)
    assert copying.add_rows(services) == 1
    assert copying.add_rows(services) == 0
    [row] = [row for row in services.outbox.for_profile(elder.id) if ":copy:" in row.dedupe_key]
    assert row.dedupe_key == f"digest:a:copy:{copy.id}"
    assert dict(row.recipe) == {
        "copy": copy.id, "kind": "digest", "window": [0, 1], "lang": "zh-Hans", "template": "x"
    }  # fmt: skip
    assert (row.frozen, row.run_id, row.state, row.attempts) == (False, 7, "queued", 0)
    copying.end(services, copy, reason="resident")
    services.outbox.enqueue([digest("digest:b")], now)
    assert copying.add_rows(services) == 0
