"""What follows from receipts: who is stopped, who rests, what is asked, and that a report acts once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from api.jobs import copying, inbound, joining, people, receipts
from api.settings import read_settings
from api.web.lostview import lost
from api.wiring import Services, build
from delivery.channels.capture import CaptureChannel
from delivery.sms_inbound import UNHEARD, Inbound
from delivery.types import Accepted, NewDelivery, Receipt, ReceiptState
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import Profile
from tests.factories import NOW, profile

MAIL, PHONE, OTHER = "li@shili.example", "+8613800000076", "+8613800000002"


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Iterator[Services]:
    settings = read_settings({}, home=tmp_path, city="shili")
    yield build(settings, clock=FixedClock(NOW), database=sqlite, demo=True)


@pytest.fixture
def reader(services: Services) -> Profile:
    return joining.join(services, profile(), email=MAIL, phone=PHONE, digest_hour=9, verified=True).profile


def clock_of(services: Services) -> FixedClock:
    assert isinstance(services.clock, FixedClock)
    return services.clock


def sent(services: Services, reader: Profile, channel: str, key: str, **recipe: object) -> int:
    """A message that a provider took; returns its number."""
    now = services.clock.now()
    row = NewDelivery(
        f"t:{key}", reader.id, channel, "digest", now, now + timedelta(days=1), {"kind": "digest", **recipe}
    )
    services.outbox.enqueue([row], now)
    [claimed] = services.outbox.claim(["digest"], 1, now, timedelta(minutes=5), channels=[channel])
    services.outbox.finish(
        claimed.id, claimed.lease_token, "sent", at=now, provider="p", provider_ref=f"r{claimed.id}"
    )
    return claimed.id


def report(services: Services, number: int, state: ReceiptState, code: str = "") -> receipts.ReceiptReport:
    return receipts.take(services, [Receipt("p", f"r{number}", state, services.clock.now(), code)])


def test_a_dead_mailbox_ends_the_mail_says_so_and_leaves_the_phone(
    services: Services, reader: Profile
) -> None:
    number = sent(services, reader, "email", "a")
    waiting = NewDelivery("t:b", reader.id, "email", "digest", NOW, NOW + timedelta(days=1), {})
    services.outbox.enqueue([waiting], NOW)
    assert report(services, number, "bounced", "5.1.1").ended == 1
    assert report(services, number, "bounced", "5.1.1").moved == 0  # a report that comes twice acts once
    assert services.subscriptions.live(reader.id, "email") is None
    assert services.subscriptions.live(reader.id, "sms") is not None
    held = services.suppressions.of("email", MAIL)
    assert held is not None
    assert (held.reason, held.until) == ("bounced", None)
    assert lost(services, reader) == [("email", "bounced")]
    assert [row.state for row in services.outbox.for_profile(reader.id)] == ["bounced", "cancelled"]


def test_soft_bounces_count_and_an_address_rests_then_goes_on(services: Services, reader: Profile) -> None:
    for n in range(2):
        assert report(services, sent(services, reader, "email", f"{n}"), "bounced", "4.2.2").resting == 0
        clock_of(services).advance(timedelta(days=1))
    assert report(services, sent(services, reader, "email", "2"), "bounced", "4.2.2").resting == 1
    assert services.suppressions.holds("email", MAIL, services.clock.now())
    assert services.subscriptions.live(reader.id, "email") is not None
    clock_of(services).advance(timedelta(days=15))
    assert not services.suppressions.holds("email", MAIL, services.clock.now())


def test_what_arrives_in_between_begins_the_count_anew(services: Services, reader: Profile) -> None:
    for n, state in enumerate(("bounced", "bounced", "delivered", "bounced", "bounced")):
        report(services, sent(services, reader, "email", f"{n}"), state, "4.2.2")  # type: ignore[arg-type]
    assert services.suppressions.of("email", MAIL) is None


def test_soft_bounces_of_long_ago_do_not_count(services: Services, reader: Profile) -> None:
    for n in range(4):
        report(services, sent(services, reader, "email", f"{n}"), "bounced", "4.2.2")
        clock_of(services).advance(timedelta(days=8))
    assert services.suppressions.of("email", MAIL) is None


def test_a_complaint_ends_it(services: Services, reader: Profile) -> None:
    number = sent(services, reader, "email", "a")
    report(services, number, "delivered")
    assert report(services, number, "complained").ended == 1
    held = services.suppressions.of("email", MAIL)
    assert held is not None
    assert held.reason == "complained"
    assert "channel:email" not in {
        item.purpose for item in services.consents.all(reader.id) if item.ended_at is None
    }


def test_a_phone_that_fails_three_times_is_given_up_with_its_copies(
    services: Services, reader: Profile
) -> None:
    copy = copying.ask(services, reader, OTHER, "mother")
    copying.agreed(services, copy)
    for n in range(3):
        assert services.subscriptions.live(reader.id, "sms") is not None
        report(services, sent(services, reader, "sms", f"{n}"), "failed", "UNDELIV")
    assert services.subscriptions.live(reader.id, "sms") is None
    assert lost(services, reader) == [("sms", "invalid")]
    assert services.copies.many([copy.id]) == {}


def test_a_copys_dead_number_ends_the_copy_alone(services: Services, reader: Profile) -> None:
    copy = copying.ask(services, reader, OTHER, "mother")
    copying.agreed(services, copy)
    for n in range(3):
        report(services, sent(services, reader, "sms", f"{n}:copy:{copy.id}", copy=copy.id), "failed")
    assert services.copies.many([copy.id]) == {}
    assert services.subscriptions.live(reader.id, "sms") is not None
    assert services.suppressions.of("sms", PHONE) is None


def test_a_receipt_is_a_sign_of_life(services: Services, reader: Profile) -> None:
    clock_of(services).advance(timedelta(days=100))
    report(services, sent(services, reader, "sms", "a"), "delivered")
    clock_of(services).advance(timedelta(days=100))
    assert people.reconfirm(services) == 0
    clock_of(services).advance(timedelta(days=100))
    assert people.reconfirm(services) == 1


def test_a_receipt_before_its_row_is_written_acts_later(services: Services, reader: Profile) -> None:
    assert report(services, 1, "bounced", "5.1.1").moved == 0
    number = sent(services, reader, "email", "a")
    assert number == 1
    assert receipts.take_waiting(services).ended == 1


class Provider(CaptureChannel):
    """A provider that can be asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.knows: object = None
        self.asked: list[str] = []

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> object:
        self.asked.append(out_id)
        if isinstance(self.knows, Exception):
            raise self.knows
        return self.knows


@pytest.fixture
def provider(services: Services, reader: Profile, tmp_path: Path) -> Provider:
    """One text of unknown outcome, two minutes ago."""
    made = Provider(tmp_path / "p")
    services.channels = {**services.channels, "sms": made}
    now = services.clock.now()
    row = NewDelivery("t:u", reader.id, "sms", "digest", now, now + timedelta(hours=14), {})
    services.outbox.enqueue([row], now)
    [claimed] = services.outbox.claim(["digest"], 1, now, timedelta(minutes=5))
    services.outbox.finish(claimed.id, claimed.lease_token, "unknown", at=now)
    clock_of(services).advance(timedelta(minutes=2))
    return made


def state(services: Services, reader: Profile) -> str:
    return services.outbox.for_profile(reader.id)[-1].state


@pytest.mark.parametrize("knows", [None, OSError("down"), False, "nonsense"])
def test_an_unknown_text_is_never_sent_again_on_a_guess(
    services: Services, reader: Profile, provider: Provider, knows: object
) -> None:
    provider.knows = knows
    assert receipts.settle_unknown(services).asked == 1
    assert state(services, reader) == "unknown"


def test_an_unknown_text_that_arrived_is_delivered(
    services: Services, reader: Profile, provider: Provider
) -> None:
    number = services.outbox.for_profile(reader.id)[-1].id
    provider.knows = Receipt("p", "x1", "delivered", services.clock.now(), out_id=f"d{number}")
    assert receipts.settle_unknown(services).known == 1
    assert state(services, reader) == "delivered"
    assert receipts.settle_unknown(services).asked == 0


def test_an_unknown_text_the_provider_never_saw_goes_again_while_it_is_of_use(
    services: Services, reader: Profile, provider: Provider
) -> None:
    provider.knows = UNHEARD
    assert receipts.settle_unknown(services).queued == 1
    assert state(services, reader) == "queued"


def test_an_unknown_text_that_is_over_is_not_sent_again(
    services: Services, reader: Profile, provider: Provider
) -> None:
    provider.knows = UNHEARD
    clock_of(services).advance(timedelta(days=1))
    assert receipts.settle_unknown(services).queued == 0
    assert state(services, reader) == "expired"
    assert receipts.settle_unknown(services).asked == 0


def test_an_unknown_text_that_was_taken_is_sent(
    services: Services, reader: Profile, provider: Provider
) -> None:
    provider.knows = Accepted("p", "x1")
    assert receipts.settle_unknown(services).known == 1
    row = services.outbox.for_profile(reader.id)[-1]
    assert (row.state, row.provider, row.provider_ref, row.sent_at) == (
        "sent", "p", "x1", services.clock.now(),
    )  # fmt: skip
    receipts.take(services, [Receipt("p", "x1", "delivered", services.clock.now())])
    assert state(services, reader) == "delivered"


def test_every_unknown_text_has_its_turn(
    services: Services, reader: Profile, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many nobody can tell about, and whatever else is unknown."""
    now = services.clock.now() - timedelta(minutes=2)
    wanted = [(f"t:u{n}", channel) for n, channel in enumerate(("sms", "webpush", "sms", "webpush", "sms"))]
    services.outbox.enqueue(
        [NewDelivery(key, reader.id, channel, "digest", now, now + timedelta(hours=9), {})
         for key, channel in wanted], now,
    )  # fmt: skip
    for row in services.outbox.claim(["digest"], 9, now, timedelta(minutes=5)):
        services.outbox.finish(row.id, row.lease_token, "unknown", at=now)
    monkeypatch.setattr(receipts, "_ASKED_MOST", 2)
    texts = {f"d{row.id}" for row in services.outbox.for_profile(reader.id) if row.channel == "sms"}
    assert len(texts) == 4
    for _round in range(2):
        provider.asked.clear()
        for _ in range(2):
            assert receipts.settle_unknown(services).asked == 2
            clock_of(services).advance(timedelta(minutes=1))
        assert set(provider.asked) == texts


def test_dy_brings_back_a_phone_that_was_given_up(services: Services, reader: Profile) -> None:
    for n in range(3):
        report(services, sent(services, reader, "sms", f"{n}"), "failed", "UNDELIV")
    inbound.take(services, [Inbound("p", "1", PHONE, "DY", services.clock.now())])
    assert services.suppressions.of("sms", PHONE) is None
    [holder] = services.contacts.proven("sms", PHONE)
    assert services.subscriptions.live(holder, "sms") is not None
