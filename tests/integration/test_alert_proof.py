"""Proof of delivery: who is confirmed, by channel and district; who is written to once more."""

from __future__ import annotations

import csv
import email
import email.policy
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs import alert_proof, joining
from api.jobs.alert_proof import another, proof, resend, unconfirmed_csv
from api.jobs.alerts import relay
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from feeds.catalogue.notices import NewNotice
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database
from feeds.kernel.errors import NotFoundError
from feeds.kernel.time import FixedClock
from profiles.feedback import FeedbackRow
from profiles.types import FollowedPlace
from tests.factories import content, profile

NIGHT = datetime(2026, 9, 26, 13, 50, tzinfo=UTC)


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    yield build(
        read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example"),
        clock=FixedClock(NIGHT - timedelta(days=1)), database=database, demo=True,
    )  # fmt: skip


@pytest.fixture
def people(services: Services) -> dict[str, int]:
    number = iter(range(1, 99))

    def join(place: str, email: bool = False, sms: bool = False) -> int:
        n = next(number)
        given = {"email": f"p{n}@shili.example"} if email else {}
        given |= {"phone": f"138000000{n:02}"} if sms else {}
        wish = profile(places=(FollowedPlace(place),))
        return joining.join(services, wish, digest_hour=9, verified=True, **given).profile.id

    made = {
        "both": join("sl0201", True, True), "mail": join("sl02", True), "phone": join("sl03", sms=True),
        "feed": join("sl03"), "elsewhere": join("sl01", True),
    }  # fmt: skip
    later(services, 24 * 60)
    return made


def later(services: Services, minutes: int) -> None:
    services.clock.advance(timedelta(minutes=minutes))  # type: ignore[attr-defined]


def warned(services: Services, **changes: Any) -> int:
    at = services.clock.now()
    words = content(
        title="【示例】台风橙色预警", published=at, kind="warning", extra={"cap": {"id": "ty"}},
        expires=at + timedelta(hours=8), **changes,
    )  # fmt: skip
    tags = (
        *(Tag("place", code, "cap:area", 1.0) for code in ("sl02", "sl03")),
        Tag("type", "warning", "t", 1.0),
    )
    item = NewNotice(words, 7, "ty", tags, "district", "sl02", priority="emergency")
    [made] = services.notices.add([item], at=at)
    relay(services, [made])
    assert send(services).sent == 4
    return made


def state(services: Services, profile_id: int, channel: str, state: str) -> None:
    with services.database.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE delivery SET state = '{state}' WHERE profile_id = {profile_id} AND channel = '{channel}'"
        )


def test_who_is_known_to_have_got_it(services: Services, people: dict[str, int]) -> None:
    notice = warned(services)
    state(services, people["both"], "sms", "delivered")
    found = proof(services, notice, services.clock.now())
    total = found.total
    assert (total.people, total.confirmed, total.unconfirmed, total.no_channel) == (4, 1, 2, 1)
    assert {name: dict(counts) for name, counts in found.channels.items()} == {
        "email": {"sent": 2}, "sms": {"delivered": 1, "sent": 1},
    }  # fmt: skip
    assert {code: (one.people, one.confirmed) for code, one in found.districts.items()} == {
        "sl02": (2, 1), "sl03": (2, 0),
    }  # fmt: skip
    services.feedback.record([FeedbackRow(people["feed"], notice, "open", services.clock.now())])
    assert proof(services, notice, services.clock.now()).total.confirmed == 2  # who opened it has read it


def test_the_export_masks_addresses(services: Services, people: dict[str, int]) -> None:
    notice = warned(services)
    state(services, people["both"], "sms", "delivered")
    text = "".join(unconfirmed_csv(services, notice, services.clock.now()))
    rows = [*csv.DictReader(io.StringIO(text))]
    assert [(row["district"], row["channel"], row["state"], row["address"]) for row in rows] == [
        ("澜港区", "email", "sent", "p***@s***.example"),
        ("柘渡区", "sms", "sent", "'+86****03"),
        ("柘渡区", "", "no channel", ""),
    ]
    assert "p2@" not in text and "13800000003" not in text


def test_the_unconfirmed_are_written_to_once_more_by_another_channel(
    services: Services, people: dict[str, int]
) -> None:
    notice = warned(services)
    state(services, people["both"], "sms", "failed")
    later(services, 9)
    assert resend(services, services.clock.now()) == 0  # not yet
    later(services, 1)
    assert resend(services, services.clock.now()) == 1  # only who has another channel
    assert resend(services, services.clock.now()) == 0
    [again] = [row for row in services.outbox.for_profile(people["both"]) if ":again:" in row.dedupe_key]
    assert (again.channel, again.lane) == ("email", "alert")
    assert dict(again.notices) == {notice: 1}
    assert send(services).sent == 1
    mails = (
        email.message_from_bytes(one.read_bytes(), policy=email.policy.default)
        for one in (services.settings.captured / "email").glob("*.eml")
    )
    texts = [mail.get_body(("plain",)).get_content() for mail in mails]  # type: ignore[union-attr]
    assert sum("再次发送" in text for text in texts) == 1
    later(services, 60)
    assert resend(services, services.clock.now()) == 0


def test_a_channel_that_was_not_used_comes_first(services: Services, people: dict[str, int]) -> None:
    warned(services)
    joined = services.contacts.put(
        people["mail"], "sms", "13800000055", at=services.clock.now(), verified=True
    )
    services.subscriptions.start(
        people["mail"], "sms", lang="zh-Hans", next_due_at=services.clock.now() + timedelta(days=1),
        at=services.clock.now(),
    )  # fmt: skip
    later(services, 11)
    assert (
        resend(services, services.clock.now()) == 2
    )  # and the mail of who has both, a text having no receipt
    rows = services.outbox.for_profile(people["mail"])
    assert [row.channel for row in rows] == ["email", "sms"] and joined.address == "+8613800000055"
    assert ":again:" not in rows[1].dedupe_key


def test_nobody_is_written_to_again_who_confirmed_or_once_it_is_over(
    services: Services, people: dict[str, int]
) -> None:
    notice = warned(services)
    state(services, people["both"], "email", "delivered")
    later(services, 30)
    assert resend(services, services.clock.now()) == 0
    state(services, people["both"], "email", "bounced")
    services.notices.set_state(notice, "withdrawn", at=services.clock.now(), reason="已解除")
    assert resend(services, services.clock.now()) == 0


def test_the_switch(services: Services, people: dict[str, int]) -> None:
    object.__setattr__(services.settings, "alert_resend_minutes", 0)
    warned(services)
    later(services, 60)
    assert resend(services, services.clock.now()) == 0


def test_the_proof_stays_after_the_end(services: Services, people: dict[str, int]) -> None:
    notice = warned(services)
    later(services, 9 * 60)
    assert proof(services, notice, services.clock.now()).total.people == 4
    services.notices.expire_due(services.clock.now())
    assert proof(services, notice, services.clock.now()).total.people == 4
    with pytest.raises(NotFoundError):
        proof(services, notice + 1, services.clock.now())


def test_the_clock(services: Services, people: dict[str, int]) -> None:
    at = services.clock.now()
    notice = warned(services)
    line = alert_proof.line_of(services, notice, at + timedelta(hours=1))
    assert line is not None and (line.running, line.seconds) == (False, 0)
    [listed] = alert_proof.overview(services, at + timedelta(minutes=1))
    assert listed.notice.id == notice


def test_small_numbers_of_a_sensitive_warning_are_hidden() -> None:
    found = alert_proof.Proof(hidden=True)
    assert [found.shown(n) for n in (0, 1, 19, 20, 59)] == ["<20", "<20", "<20", "20+", "40+"]
    assert [alert_proof.Proof().shown(n) for n in (0, 19)] == ["0", "19"]


@pytest.mark.parametrize(
    ("states", "live", "expected"),
    [
        ({"sms": "failed"}, ["sms"], ""),
        ({"sms": "failed"}, ["sms", "email"], "email"),
        ({"sms": "sent", "email": "sent"}, ["sms", "email"], "email"),
        ({"sms": "sent", "email": "bounced"}, ["sms", "email"], "sms"),
        ({"sms": "queued", "email": "bounced"}, ["sms", "email"], ""),
        ({"sms": "unknown", "email": "failed"}, ["sms", "email"], ""),
        ({"email": "sent"}, ["email", "webpush", "sms"], "sms"),
        ({"email": "sent"}, [], ""),
    ],
)
def test_which_channel_is_another(states: dict[str, str], live: list[str], expected: str) -> None:
    assert another(states, live) == expected
