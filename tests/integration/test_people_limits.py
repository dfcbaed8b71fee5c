"""What nobody can do to a stranger's number or mailbox: ask without end, learn of it, be mistaken for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import copying, inbound, joining, people, phones
from api.jobs.building import prepare
from api.jobs.replying import Reply, queue
from api.settings import read_settings
from api.wiring import Services, build
from delivery.errors import SuppressedError
from delivery.outbox_guard import StandingGuard
from delivery.sms_inbound import Inbound
from delivery.types import Delivery
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
from profiles.tokens import derived_secret
from profiles.types import Profile
from tests.factories import NOW, profile

OWN, OTHER, THIRD = "+8613800000076", "+8613800000002", "+8613800000003"
MAIL = "li@mail.example"
DAY = timedelta(days=1)


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Services:
    return installed(sqlite, tmp_path)


@pytest.fixture
def everywhere(database: Database, tmp_path: Path) -> Services:
    """On both databases."""
    return installed(database, tmp_path)


def installed(database: Database, home: Path) -> Services:
    settings = read_settings({}, home=home, city="shili", mail_from="notices@shili.example")
    return build(settings, clock=FixedClock(NOW), database=database, demo=True)


def advance(services: Services, by: timedelta) -> None:
    assert isinstance(services.clock, FixedClock)
    services.clock.advance(by)


def rows(services: Services, profile_id: int, kind: str) -> list[Delivery]:
    return [
        row
        for row in services.outbox.for_profile(profile_id)
        if row.recipe.get("template", row.recipe.get("kind")) == kind
    ]


def resident(services: Services, phone: str = OWN) -> Profile:
    return joining.join(services, profile(), phone=phone, digest_hour=9, verified=True).profile


# -- numbers of rows ---------------------------------------------------------------------------------------


def test_row_numbers_in_the_outboxs_keys_never_come_back(everywhere: Services) -> None:
    services = everywhere
    one = resident(services)
    code = services.codes.make(one.id, OWN, at=NOW)
    services.codes.forget(one.id)
    assert services.codes.make(one.id, OWN, at=NOW).id > code.id
    text = services.inbox.take("p", "1", OWN, "help", "", at=NOW)
    services.inbox.trim(NOW + DAY)
    later = services.inbox.take("p", "2", OTHER, "help", "", at=NOW)
    assert text is not None and later is not None and later.id > text.id
    copy = services.copies.ask(one.id, "sms", OTHER, "mother", at=NOW)
    services.copies.trim(unanswered_before=NOW + DAY, ended_before=NOW)
    assert services.copies.ask(one.id, "sms", OTHER, "mother", at=NOW).id > copy.id


def test_a_queued_answer_never_goes_to_another_number(services: Services) -> None:
    row = services.inbox.take("p", "1", OTHER, "help", "", at=NOW)
    assert row is not None
    params = {"phone": "12345", "example": "鼓汀"}
    queue(services, Reply("in:right", "help", "zh", number=OTHER, params=params, inbound=row.id))
    queue(services, Reply("in:wrong", "help", "zh", number=OWN, params=params, inbound=row.id))
    right, wrong = prepare(services, sorted(services.outbox.for_profile(0), key=lambda one: one.id))
    assert right.message is not None
    assert wrong.message is None and isinstance(wrong.error, SuppressedError)


def test_a_question_to_a_silent_phone_does_not_go_to_the_one_that_replaced_it(services: Services) -> None:
    one = resident(services)
    advance(services, DAY * 400)
    assert people.reconfirm(services) == 1
    services.contacts.put(one.id, "sms", OTHER, at=services.clock.now())
    [prepared] = prepare(services, rows(services, one.id, "still"))
    assert isinstance(prepared.error, SuppressedError)


# -- copies ------------------------------------------------------------------------------------------------


def questions(services: Services, *people_: Profile) -> int:
    return sum(len(rows(services, one.id, "copyask")) for one in people_)


def test_a_strangers_phone_is_not_asked_again_and_again_for_a_copy(everywhere: Services) -> None:
    services = everywhere
    one = resident(services)
    for _ in range(3):
        copying.end(services, copying.ask(services, one, OTHER, "mother"), reason="resident")
    assert questions(services, one) == 1
    other = resident(services, THIRD)
    copying.ask(services, other, OTHER, "father")
    assert questions(services, other) == 0  # it has not answered anybody
    joining.erase(services, one.id)
    advance(services, DAY * 29)
    people.tidy(services)
    assert copying.ask(services, other, OTHER, "father").confirmed_at is None
    assert questions(services, other) == 0
    advance(services, DAY * 2)
    people.tidy(services)
    copying.ask(services, other, OTHER, "father")
    assert questions(services, other) == 1


def test_a_resident_asks_six_times_a_day_at_most(services: Services) -> None:
    one = resident(services)
    for n in range(6):
        copying.end(services, copying.ask(services, one, f"+861380000001{n}", "family"), reason="resident")
    with pytest.raises(UsageError, match="enough today"):
        copying.ask(services, one, OTHER, "family")
    assert questions(services, one) == 6
    advance(services, DAY)
    copying.ask(services, one, OTHER, "family")
    assert questions(services, one) == 7


def test_who_answered_may_be_asked_by_others(services: Services) -> None:
    one, other = resident(services), resident(services, THIRD)
    copy = copying.ask(services, one, OTHER, "mother")
    copying.agreed(services, copy)
    copying.end(services, copy, reason="resident")
    copying.ask(services, other, OTHER, "father")
    assert questions(services, one, other) == 2


def test_nothing_tells_whether_a_number_opted_out(services: Services) -> None:
    one = resident(services)
    services.suppressions.add("sms", OTHER, reason="opted_out", at=NOW)
    hidden, open_ = (copying.ask(services, one, number, "family") for number in (OTHER, THIRD))
    assert questions(services, one) == 1
    assert (hidden.confirmed_at, hidden.ended_at) == (open_.confirmed_at, open_.ended_at) == (None, None)
    assert inbound.take(services, [Inbound("p", "1", OTHER, "TD", NOW)]).acted == 1  # once more
    held = services.copies.get(hidden.id)
    assert held is not None and held.ended_at is None
    inbound.take(services, [Inbound("p", "2", OTHER, "DY", NOW)])
    assert services.copies.many([hidden.id]) == {}  # nobody asked them: DY is no yes to it
    assert [sorted(item) for item in joining.export(services, one.id)["copies"]] == [  # type: ignore[attr-defined]
        ["address", "channel", "confirmed_at", "ended_at", "ended_reason", "id", "profile_id", "relation"]
    ] * 2


# -- codes -------------------------------------------------------------------------------------------------


def test_a_code_is_said_to_be_on_its_way_whoever_the_number_belongs_to(services: Services) -> None:
    services.suppressions.add("sms", OTHER, reason="opted_out", at=NOW)
    said = {}
    for number in (OTHER, THIRD):
        one = joining.join(services, profile(), phone=number, digest_hour=9).profile
        said[number] = [phones.ask(services, one)]
        for _ in range(3):
            advance(services, timedelta(minutes=2))
            said[number].append(phones.ask(services, one))
        assert len(rows(services, one.id, "code")) == (0 if number == OTHER else 3)
    assert said[OTHER] == said[THIRD] == ["wait", "sent", "sent", "enough"]


def test_codes_for_a_number_are_counted_beyond_erased_profiles(everywhere: Services) -> None:
    services = everywhere
    sent = 0
    for _ in range(5):
        one = joining.join(services, profile(), phone=OTHER, digest_hour=9).profile
        sent += len(rows(services, one.id, "code"))
        joining.erase(services, one.id)
        advance(services, timedelta(minutes=2))
    assert sent == 3


def test_a_phone_that_was_replaced_while_its_code_was_checked_is_not_confirmed(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = joining.join(services, profile(), phone=OWN, digest_hour=9).profile
    code = services.codes.make(one.id, OWN, at=NOW)
    real = services.codes.accepts

    def slowly(*values: object, **more: object) -> bool:
        right = real(*values, **more)  # type: ignore[arg-type]
        services.contacts.put(one.id, "sms", OTHER, at=NOW)
        return right

    monkeypatch.setattr(services.codes, "accepts", slowly)
    assert not phones.check(services, one, code.digits)
    assert services.contacts.proven("sms", OTHER) == {}


def test_who_dies_while_somebody_signs_up_leaves_no_profile_behind(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = services.contacts.put
    monkeypatch.setattr(services.contacts, "put", lambda *_, **__: 1 / 0)
    message = Inbound("p", "1", OWN, "DY", NOW)
    assert inbound.take(services, [message]).failed == 1
    assert services.profiles.count() == 0
    monkeypatch.setattr(services.contacts, "put", real)
    monkeypatch.setattr(services.tokens, "issue", lambda *_, **__: 1 / 0)  # later: the profile is found again
    assert inbound.take(services, [message]).failed == 1
    assert inbound.take(services, [message]).acted == 1
    assert services.profiles.count() == 1
    assert len(services.contacts.proven("sms", OWN)) == 1


# -- mail --------------------------------------------------------------------------------------------------


def test_mails_that_ask_are_bounded_by_address_and_by_profile(services: Services) -> None:
    asked = 0
    for _ in range(5):
        one = joining.join(services, profile(), email=MAIL).profile
        asked += len(rows(services, one.id, "confirm"))
        joining.erase(services, one.id)
    assert asked == 3
    one = joining.join(services, profile(), email="a0@mail.example").profile
    for n in range(1, 9):
        services.contacts.put(one.id, "email", f"a{n}@mail.example", at=NOW)
        joining.ask_to_confirm(services, one, "email")
    assert len(rows(services, one.id, "confirm")) == 6
    advance(services, DAY * 3)
    people.tidy(services)
    joining.ask_to_confirm(services, one, "email")
    assert len(rows(services, one.id, "confirm")) == 7
    with services.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM address_asked").scalar() == 1


def link(services: Services, profile_id: int) -> str:
    return derived_secret(services.key, "confirm", profile_id, "email", MAIL)


def wish_again(services: Services, one: Profile) -> list[Delivery]:
    """They start mails on their page once more; what the worker then claims."""
    joining.subscribe(services, one, "email", 8)
    joining.ask_to_confirm(services, one, "email")
    guard = StandingGuard(services.zone)
    return list(services.outbox.claim(("confirmation",), 9, services.clock.now(), DAY, guard=guard))


def test_a_mailbox_that_bounced_comes_back_by_its_own_confirmation(everywhere: Services) -> None:
    services = everywhere
    one = joining.join(services, profile(), email=MAIL, verified=True).profile
    joining.stop_channel(services, one.id, "email", reason="bounced")
    services.suppressions.add("email", MAIL, reason="bounced", at=NOW)
    advance(services, DAY * 20)
    [asked] = wish_again(services, one)
    assert asked.recipe["kind"] == "confirm"
    assert services.suppressions.of("email", MAIL) is not None  # asking lifts nothing
    assert services.contacts.proven("email", MAIL) == {}
    assert joining.confirm(services, link(services, one.id)) is not None
    assert services.suppressions.of("email", MAIL) is None
    assert list(services.contacts.proven("email", MAIL)) == [one.id]


def test_one_that_complained_is_asked_only_for_who_had_confirmed_it(services: Services) -> None:
    one = joining.join(services, profile(), email=MAIL, verified=True).profile
    joining.stop_channel(services, one.id, "email", reason="complained")
    services.suppressions.add("email", MAIL, reason="complained", at=NOW)
    advance(services, timedelta(minutes=1))
    stranger = joining.join(services, profile(), email=MAIL).profile
    assert rows(services, stranger.id, "confirm") == []
    assert len(wish_again(services, one)) == 1
    advance(services, DAY * 2)
    assert wish_again(services, one) == []  # once in 30 days
    advance(services, DAY * 30)
    people.tidy(services)
    assert len(wish_again(services, one)) == 1
    assert joining.confirm(services, link(services, one.id)) is not None
    assert services.suppressions.of("email", MAIL) is None


def test_a_link_to_an_address_that_is_replaced_meanwhile_confirms_nothing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = joining.join(services, profile(), email=MAIL).profile
    contact = services.contacts.get(one.id, "email")
    services.contacts.put(one.id, "email", "new@mail.example", at=NOW)
    monkeypatch.setattr(services.contacts, "get", lambda *_: contact)  # read just before
    assert joining.confirm(services, link(services, one.id)) is None
    monkeypatch.undo()
    held = services.contacts.get(one.id, "email")
    assert held is not None and (held.address, held.verified_at) == ("new@mail.example", None)


def test_the_export_has_the_address_of_every_channel(services: Services) -> None:
    one = resident(services)
    services.contacts.put(one.id, "email", MAIL, at=NOW)
    services.contacts.put(one.id, "webhook", "https://hook.example/x", at=NOW)
    for channel in ("webpush", "wechat", "apprise"):
        services.contacts.put(one.id, channel, f"{channel} address", at=NOW)
    held = joining.export(services, one.id)["contacts"]
    assert [item["channel"] for item in held] == [  # type: ignore[attr-defined]
        "apprise", "email", "sms", "webhook", "webpush", "wechat"
    ]  # fmt: skip
