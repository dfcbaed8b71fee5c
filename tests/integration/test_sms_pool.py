"""The channel `sms`: which provider, at what price, what after a failure; with a real message centre too."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api.jobs.sms_watch import weigh
from api.ops import cli
from api.settings import Settings, read_settings
from api.wiring import Services, build
from delivery.channels.smpp import SmppChannel
from delivery.errors import PermanentError, RetryableError, ThrottledError, UnknownOutcomeError
from delivery.sms_budget import Limits, SmsBudget
from delivery.sms_errors import RefusedNumberError
from delivery.sms_inbound import Inbound
from delivery.sms_pool import Member, SmsPool
from delivery.sms_scales import SmsScales
from delivery.sms_templates import Provider
from delivery.types import Accepted, Message, Receipt, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
from tests.smscserver import Smsc

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)


class Fake:
    """A provider that does what it is told; takes everything otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[SmsMessage] = []
        self.faults: list[BaseException] = []
        self.answer: Any = None
        self.asked: list[tuple[str, str]] = []

    def send(self, message: Message) -> Accepted:
        assert isinstance(message, SmsMessage)
        self.sent.append(message)
        if self.faults:
            raise self.faults.pop(0)
        return Accepted(self.name, f"{self.name}-{len(self.sent)}")

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Any:
        self.asked.append((out_id, provider_ref))
        return self.answer

    def close(self) -> None:
        pass


class Pool:
    """A pool of two fakes on a database."""

    def __init__(self, database: Database, total: int = 100_000, weights: tuple[int, int] = (50, 50)) -> None:
        self.clock = FixedClock(NOW)
        self.fakes = {name: Fake(name) for name in ("one", "two")}
        terms = [
            Provider(name, weight, {"+86": 100}) for name, weight in zip(self.fakes, weights, strict=True)
        ]
        self.budget = SmsBudget(database, Limits(total), ZoneInfo("Asia/Shanghai"))
        self.scales = SmsScales(database)
        self.events: list[Receipt] = []
        self.pool = SmsPool(
            {one.name: Member(self.fakes[one.name], one) for one in terms}, self.budget, self.scales,
            clock=self.clock, seed=3, on_event=lambda receipts, texts: self.events.extend(receipts),
        )  # fmt: skip

    @property
    def sent(self) -> dict[str, int]:
        return {name: len(fake.sent) for name, fake in self.fakes.items()}


def text(number: int = 1, template: str = "digest-zh-1", to: str = "+8613800000001") -> SmsMessage:
    return SmsMessage(to, template, {"item1": "测试"}, "【示例】测试。拒收请回复R", 1, f"d{number}")


def test_texts_are_shared_by_weight(sqlite: Database) -> None:
    world = Pool(sqlite, weights=(80, 20))
    refs = Counter(world.pool.send(text(number)).provider for number in range(100))
    assert 70 < refs["one"] < 90 and refs["one"] + refs["two"] == 100
    assert world.budget.status(NOW).calm == 100 * 100


def test_a_definite_failure_goes_to_the_other_at_once_and_costs_once(database: Database) -> None:
    world = Pool(database, weights=(100, 0))
    world.fakes["one"].faults = [RetryableError("cannot be reached")]
    assert world.pool.send(text()).provider == "two"
    assert world.sent == {"one": 1, "two": 1} and world.budget.status(NOW).calm == 100
    assert [attempt.outcome for attempt in world.budget.attempts("d1")] == ["retry", "accepted"]


def test_where_both_fail_the_next_attempt_begins_with_neither_favoured_and_all_money_is_back(
    sqlite: Database,
) -> None:
    world = Pool(sqlite)
    world.fakes["one"].faults = [ThrottledError("slow", 30)]
    world.fakes["two"].faults = [ThrottledError("slow", 5)]
    with pytest.raises(ThrottledError) as caught:
        world.pool.send(text())
    assert caught.value.seconds == 5 and world.budget.status(NOW).calm == 0
    world.fakes["one"].faults, world.fakes["two"].faults = (
        [ThrottledError("slow", 30)],
        [RetryableError("down")],
    )
    with pytest.raises(RetryableError, match="down"):  # sooner than the patience of the other
        world.pool.send(text(2))


def test_an_unknown_outcome_goes_nowhere_until_somebody_knows(database: Database) -> None:
    world = Pool(database, weights=(100, 0))
    world.fakes["one"].faults = [UnknownOutcomeError("silence")]
    with pytest.raises(UnknownOutcomeError):
        world.pool.send(text())
    with pytest.raises(UnknownOutcomeError, match="sms resend"):
        world.pool.send(text())
    assert world.sent == {"one": 1, "two": 0} and world.budget.status(NOW).calm == 100
    assert world.pool.ask("d1", "", "+8613800000001", NOW) is None
    world.fakes["one"].answer = Receipt("one", "x-1", "delivered", NOW, "", "d1")
    found = world.pool.ask("d1", "", "+8613800000001", NOW)
    assert isinstance(found, Receipt) and world.pool.send(text()).ref == "x-1"
    assert world.sent == {"one": 1, "two": 0}  # taken before, so not sent again


def test_a_text_that_the_provider_never_saw_may_go_again(sqlite: Database) -> None:
    world = Pool(sqlite, weights=(100, 0))
    world.fakes["one"].faults = [UnknownOutcomeError("silence")]
    with pytest.raises(UnknownOutcomeError):
        world.pool.send(text())
    world.fakes["one"].answer = "unheard"
    assert world.pool.ask("d1", "", "+8613800000001", NOW) == "unheard"
    assert world.budget.status(NOW).calm == 0
    assert world.pool.send(text()).provider == "two"  # the other one now


def test_a_person_may_send_it_all_the_same(sqlite: Database) -> None:
    world = Pool(sqlite)
    world.fakes["one"].faults = world.fakes["two"].faults = [UnknownOutcomeError("silence")]
    with pytest.raises(UnknownOutcomeError):
        world.pool.send(text())
    world.budget.give_up("d1", NOW)
    assert world.pool.send(text()).ref and world.budget.status(NOW).calm == 200


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_killed_at_any_moment_a_text_is_never_sent_twice(database: Database, moment: str) -> None:
    """The process dies (a BaseException nobody catches) before, during or after the hand-over."""
    world = Pool(database, weights=(100, 0))
    if moment == "before":
        world.fakes["one"].send = lambda message: (_ for _ in ()).throw(SystemExit)  # type: ignore[method-assign]
    elif moment == "during":
        world.fakes["one"].faults = [SystemExit()]
    else:
        world.pool._settle = lambda *_, **__: (_ for _ in ()).throw(SystemExit)  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        world.pool.send(text())
    again = SmsPool(
        {name: Member(fake, Provider(name, 50, {"+86": 100})) for name, fake in world.fakes.items()},
        world.budget, world.scales, clock=world.clock,
    )  # fmt: skip
    with pytest.raises(UnknownOutcomeError):
        again.send(text())
    assert sum(world.sent.values()) <= 1
    assert world.budget.status(NOW).calm == 100  # counts as spent meanwhile
    assert again.ask("d1", "", "+8613800000001", NOW) is None  # it may still be under way
    world.clock.at = NOW + timedelta(minutes=6)
    world.fakes["one"].answer = Receipt("one", "r", "delivered", NOW, "", "d1")
    assert isinstance(again.ask("d1", "", "+8613800000001", NOW), Receipt)


def test_a_row_that_was_never_handed_over_is_unheard(sqlite: Database) -> None:
    world = Pool(sqlite)
    assert world.pool.ask("d9", "", "+8613800000001", NOW) is None
    assert world.pool.ask("d9", "", "+8613800000001", NOW - timedelta(minutes=6)) == "unheard"


def test_no_money_left_waits_for_the_next_month(sqlite: Database) -> None:
    world = Pool(sqlite, total=250)
    for number in (1, 2):
        world.pool.send(text(number))
    with pytest.raises(ThrottledError, match="used up") as caught:
        world.pool.send(text(3))
    assert NOW + timedelta(seconds=caught.value.seconds) == datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert sum(world.sent.values()) == 2
    world.clock.at = datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert world.pool.send(text(3)).ref


def test_nobody_serves_that_country(sqlite: Database) -> None:
    world = Pool(sqlite)
    with pytest.raises(PermanentError, match="price for this number's country"):
        world.pool.send(text(to="+4915100000000"))
    assert world.budget.attempts("d1") == []


def test_a_refused_number_is_told_and_not_tried_elsewhere(sqlite: Database) -> None:
    world = Pool(sqlite)
    world.fakes["one"].faults = [RefusedNumberError("no such number", "invalid")]
    world.fakes["two"].faults = [RefusedNumberError("on the list", "opted_out")]
    for number in range(1, 30):
        if not any(fake.faults for fake in world.fakes.values()):
            break
        try:
            world.pool.send(text(number))
        except RefusedNumberError:
            continue
    assert {(one.state, one.code) for one in world.events} == {
        ("bounced", "invalid"),
        ("complained", "opted_out"),
    }
    assert all(one.out_id.startswith("d") for one in world.events)


def test_a_fault_of_ours_is_unknown(sqlite: Database) -> None:
    world = Pool(sqlite, weights=(100, 0))
    world.fakes["one"].faults = [ValueError("a bug")]
    with pytest.raises(UnknownOutcomeError, match="ValueError"):
        world.pool.send(text())
    assert world.sent["two"] == 0


# With a real message centre


def wait(fits: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not fits():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_parts_receipts_and_answers_through_the_real_thing(database: Database) -> None:
    smsc = Smsc()
    port = SmppChannel(smsc.url(), answer_seconds=2, connect_seconds=2, clock=FixedClock(NOW))
    budget = SmsBudget(database, Limits(100_000), ZoneInfo("Asia/Shanghai"))
    receipts: list[Receipt] = []
    texts: list[Inbound] = []

    def told(more: Sequence[Receipt], said: Sequence[Inbound]) -> None:
        receipts.extend(more)
        texts.extend(said)

    pool = SmsPool(
        {"smpp": Member(port, Provider("smpp", 50, {"+86": 450}))}, budget, SmsScales(database),
        clock=FixedClock(NOW), on_event=told,
    )  # fmt: skip
    port.on_event, to = pool.received, "+8613800000091"
    try:
        long = SmsMessage("+8613800000090", "digest-zh-2", {}, "水价" * 60 + "👨‍👩‍👧‍👦" * 3, 3, "d1")
        accepted = [pool.send(long), *(pool.send(text(number, to=to)) for number in range(2, 22))]
        wait(lambda: len(receipts) == 21)
        assert {one.out_id: one.provider_ref for one in receipts} == {
            f"d{number}": one.ref for number, one in enumerate(accepted, 1)
        }
        assert {one.state for one in receipts} == {"delivered"}
        parts = len(accepted[0].ref.split(","))
        assert parts == len(smsc.submits("+8613800000090", least=3)) >= 3
        assert budget.status(NOW).calm == (parts + 20) * 450
        smsc.order(**{"from": "8613800000001", "text": [{"message": "TD"}]})
        wait(lambda: [one.text for one in texts] == ["TD"])
    finally:
        pool.close()
        smsc.close()


# Settings and commands

FILE = """
[smpp]
weight = 100
[smpp.prices]
"+86" = 0.045
[aliyun]
languages = ["zh"]
copies = false
[aliyun.prices]
"+86" = 0.05
"""
KEY = "x" * 40


def settings(home: Path, **more: object) -> Settings:
    (home / "sms.toml").write_text(FILE, encoding="utf-8")
    return read_settings(
        {}, home=home, city="shili", secret_key=KEY, sms_file="sms.toml", database_url=f"sqlite:///{home}/mycity.db",
        **more,
    )  # fmt: skip


@pytest.fixture
def opened(sqlite: Database, tmp_path: Path) -> Services:
    return build(
        settings(
            tmp_path, sms_providers="smpp", sms_budget=1.0, sms_smpp_url="smpp://u:p@127.0.0.1:9?source=1069"
        ),
        database=sqlite,
        clock=FixedClock(NOW),
    )


def test_the_wiring_opens_the_pool_or_captures(opened: Services, sqlite: Database, tmp_path: Path) -> None:
    pool = opened.channels["sms"]
    assert isinstance(pool, SmsPool) and list(pool.providers) == ["smpp"]
    assert opened.sms_budget.status(NOW).left == 10_000
    pool.close()
    captured = build(settings(tmp_path), database=sqlite, clock=FixedClock(NOW))
    assert captured.channels["sms"].name == "capture"
    demo = build(settings(tmp_path, sms_providers="smpp"), database=sqlite, demo=True)
    assert demo.channels["sms"].name == "capture"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sms_providers": "smpp"}, "MYCITY_SMS_BUDGET"),
        ({"sms_providers": "smpp", "sms_budget": 1}, "MYCITY_SMS_SMPP_URL"),
        ({"sms_providers": "pigeon", "sms_budget": 1}, "may name each of"),
        ({"sms_providers": "smpp,smpp", "sms_budget": 1}, "may name each of"),
        ({"sms_providers": "twilio", "sms_budget": 1}, "no part [twilio]"),
        ({"sms_providers": "aliyun", "sms_budget": 1}, "[aliyun.templates] has no discreet-zh-nolink"),
        ({"sms_providers": "smpp", "sms_budget": 1, "sms_alert_reserve": 2,
          "sms_smpp_url": "smpp://u:p@h"}, "MYCITY_SMS_ALERT_RESERVE"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_at_the_start(
    sqlite: Database, tmp_path: Path, more: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build(settings(tmp_path, **more), database=sqlite, clock=FixedClock(NOW))
    assert words in str(caught.value)


def test_weights_move_by_what_happened(opened: Services) -> None:
    assert weigh(opened) is not None  # the first version
    assert weigh(opened) is None
    assert opened.sms_scales.current().weights == {"smpp": 100}
    opened.channels["sms"].close()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--json"])
    said = capsys.readouterr().out
    return int(stop.value.code or 0), json.loads(said) if said.strip() else {}


def test_commands(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sms.toml").write_text(FILE, encoding="utf-8")
    for name, value in {
        "HOME": str(tmp_path), "CITY": "shili", "SECRET_KEY": KEY, "SMS_FILE": "sms.toml", "SMS_BUDGET": "10",
        "SMS_PROVIDERS": "smpp", "SMS_SMPP_URL": "smpp://u:p@127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MYCITY_{name}", value)
    code, found = run(["sms", "templates", "--language", "zh"], capsys)
    assert (
        code == 0
        and {"name": "code-zh", "params": ["code"]}.items()
        <= next(item for item in found["templates"] if item["name"] == "code-zh").items()
    )
    assert run(["sms", "templates", "--check"], capsys) == (0, {"missing": {"smpp": []}})
    code, found = run(["sms", "estimate", "--count", "1000", "--segments", "2"], capsys)
    assert (code, found["most"], found["left"]) == (0, "90.00", "10.00")
    code, found = run(["sms", "status"], capsys)
    assert (code, found["left"], found["weights"]) == (0, "10.00", {"smpp": 100})
    assert run(["sms", "resend", "5"], capsys)[0] == 2


# What an unknown text is asked about, and what is set aside for it


def test_a_text_that_was_taken_before_the_process_died_counts_as_taken(sqlite: Database) -> None:
    """The provider's answer was recorded, the outbox's row was not."""
    world = Pool(sqlite, weights=(100, 0))
    accepted = world.pool.send(text())
    for answer in (None, "unheard"):  # it lists nothing yet
        world.fakes["one"].answer = answer
        found = world.pool.ask("d1", "", "+8613800000001", NOW)
        assert isinstance(found, Accepted) and (found.provider, found.ref) == ("one", accepted.ref)
    world.fakes["one"].answer = Receipt("one", accepted.ref, "delivered", NOW, "", "d1")
    assert isinstance(world.pool.ask("d1", "", "+8613800000001", NOW), Receipt)


def test_nobody_is_asked_about_another_number_than_the_text_went_to(database: Database) -> None:
    world = Pool(database, weights=(100, 0))
    pool = SmsPool(
        {name: Member(fake, Provider(name, 50, {"+86": 100})) for name, fake in world.fakes.items()},
        world.budget, world.scales, clock=world.clock, index_of=lambda number: f"index of {number[-1]}",
    )  # fmt: skip
    for fake in world.fakes.values():
        fake.faults, fake.answer = [UnknownOutcomeError("silence")], "unheard"
    with pytest.raises(UnknownOutcomeError):
        pool.send(text())
    assert world.budget.attempts("d1")[0].number_index == "index of 1"
    assert pool.ask("d1", "", "+8613800000002", NOW) is None  # the resident has a new number
    assert [fake.asked for fake in world.fakes.values()] == [[], []]
    assert pool.ask("d1", "", "+8613800000001", NOW) == "unheard"
    assert world.budget.attempts("d1")[0].number_index == ""  # not kept once it is known


def test_what_a_straddling_character_may_cost_is_set_aside(sqlite: Database) -> None:
    """134 units are two segments; cut between visible characters they travel in three."""
    world = Pool(sqlite, total=250, weights=(100, 0))
    words = "水" * 66 + "👍" + "水" * 66
    message = SmsMessage("+8613800000001", "digest-zh-2", {}, words, 2, "d1")
    with pytest.raises(ThrottledError):
        world.pool.send(message)
    assert world.sent == {"one": 0, "two": 0}
    wide = Pool(sqlite, total=300, weights=(100, 0))
    wide.pool.send(message)
    assert wide.budget.status(NOW).calm == 300


def test_after_a_bill_above_the_count_nothing_more_goes_out(sqlite: Database) -> None:
    world = Pool(sqlite, total=200, weights=(100, 0))
    attempt = world.budget.reserve("d8", "one", "calm", price=100, segments=1, at=NOW)
    assert attempt is not None
    world.budget.settle(attempt, "accepted", at=NOW, segments=2)
    with pytest.raises(ThrottledError):
        world.pool.send(text())
    assert world.budget.status(NOW).left == 0
