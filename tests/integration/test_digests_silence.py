"""Why nothing came: each state of a person, a channel, a run or a message has its own answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import joining, silence
from api.jobs.digests import plan
from api.settings import read_settings
from api.wiring import build
from delivery.channels.email import EmailChannel
from delivery.digest_runs import RunStore
from delivery.outbox_runs import hold
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.types import Pick, Reason
from tests.factories import new_notice
from tests.integration.test_digests_planning import Town, local


@pytest.fixture
def town(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    settings = read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example")
    yield Town(build(settings, clock=FixedClock(local("10-12 08:00")), database=sqlite, demo=True))


@pytest.fixture
def planned(town: Town) -> int:
    """Somebody with a digest of Monday 09:00 in the outbox."""
    who = town.resident(9)
    town.edition(who, "10-12 08:30")
    town.at("10-12 09:00")
    assert plan(town.services).planned == 1
    return who


def become(town: Town, state: str, error: str = "") -> None:
    with town.services.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET state = '{state}', error = '{error}'")


@pytest.mark.parametrize(
    ("state", "error", "code"),
    [
        ("queued", "", "on_its_way"), ("leased", "", "on_its_way"), ("sent", "", "sent"),
        ("delivered", "", "delivered"), ("bounced", "", "bounced"), ("failed", "", "failed"),
        ("unknown", "", "unknown"), ("expired", "", "expired"), ("cancelled", "", "cancelled"),
        ("skipped", "empty", "already_had"), ("skipped", "muted", "muted"), ("skipped", "paused", "rested"),
        ("complained", "", "suppressed"), ("suppressed", "", "suppressed"),
    ],
)  # fmt: skip
def test_what_became_of_the_message(town: Town, planned: int, state: str, error: str, code: str) -> None:
    become(town, state, error)
    answer = silence.why(town.services, planned, "email")
    assert answer.code == code
    assert answer.zh
    assert answer.en
    assert answer.next_due == (None if code == "suppressed" else local("10-13 09:00"))


def test_what_keeps_everything_back(town: Town, planned: int) -> None:
    services = town.services
    [row] = town.rows(planned)
    assert row.run_id is not None
    with services.database.write() as connection:
        hold(connection, row.run_id, "bounces", town.clock.now())
    assert silence.why(services, planned, "email").code == "halted"
    assert RunStore(services.database).recent()[0].state == "halted"
    services.outbox.pause(town.clock.now(), "drill", "email")
    assert silence.why(services, planned, "email").code == "sending_paused"
    services.channels = {"email": EmailChannel("smtp://127.0.0.1:9")}
    services.contacts.put(planned, "email", "other@shili.example", at=town.clock.now())
    answer = silence.why(services, planned, "email")
    assert answer.code == "unverified"
    assert answer.next_due is None
    services.contacts.remove(planned, "email")
    assert silence.why(services, planned, "email").code == "no_address"
    assert silence.why(services, planned, "sms").code == "none"
    joining.stop_channel(services, planned, "email")
    assert silence.why(services, planned, "email").code == "stopped"


def test_a_new_day_without_news_and_a_missed_hour(town: Town, planned: int) -> None:
    town.at("10-13 09:00")
    plan(town.services)
    answer = silence.why(town.services, planned, "email")
    assert (answer.code, answer.next_due) == ("nothing_new", local("10-14 09:00"))
    assert answer.zh.endswith("下一次：10月14日 09:00。")
    assert answer.en.endswith("Next: 14 October, 09:00.")
    town.at("10-14 09:00")
    town.clock.advance(timedelta(hours=14))
    plan(town.services)
    assert silence.why(town.services, planned, "email").code == "late"


def test_what_was_seen_while_joining_is_not_called_nothing_new(town: Town) -> None:
    services = town.services
    who = town.resident(9)
    seen = Pick(1, 1, "new", (Reason("citywide"),))
    services.notices.add([new_notice("seen", published=local("10-12 08:05"))], at=local("10-12 08:05"))
    version = services.editions.shelf(who).version
    services.editions.append([NewEdition(who, "welcome", (seen,), local("10-12 08:10"), version)])
    town.at("10-12 09:00")
    plan(services)
    answer = silence.why(services, who, "email")
    assert answer.code == "joined" and "when you joined" in answer.en and "加入时" in answer.zh
    town.edition(who, "10-12 10:00")
    town.at("10-13 09:00")
    plan(services)
    town.at("10-14 09:00")
    become(town, "sent")
    plan(services)
    assert silence.why(services, who, "email").code == "nothing_new"


def test_every_code_has_both_languages() -> None:
    for zh, en in silence.SENTENCES.values():
        assert zh.count("{") == en.count("{")
        assert en.isascii()
