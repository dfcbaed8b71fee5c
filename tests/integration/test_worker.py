"""The worker's lanes, the sweeper, and two schedulers on one database."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn

from api.jobs import scheduler, sending, sweeping, worker
from api.ops import commands_run, demo
from api.settings import read_settings
from api.wiring import Services, build
from delivery.outbox_log import OutboxLog
from delivery.sending import URGENT_LEASE
from delivery.types import Accepted, Delivery, Message, NewDelivery, Prepared, Receipt, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.errors import StorageError
from feeds.kernel.time import FixedClock

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)


class Slow:
    """A provider that takes its time, and notes who came when."""

    name = "capture"  # unconfirmed addresses will do

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.alert = threading.Event()

    def send(self, message: Message) -> Accepted:
        assert isinstance(message, SmsMessage)
        self.seen.append(message.text)
        if message.text == "alert":
            self.alert.set()
        else:
            time.sleep(0.05)
        return Accepted("capture")

    def close(self) -> None:
        pass


@pytest.fixture
def channel() -> Slow:
    return Slow()


@pytest.fixture
def services(
    sqlite: Database, tmp_path: Path, channel: Slow, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    settings = read_settings({}, home=tmp_path, city="shili")
    made = build(settings, clock=FixedClock(NOW), database=sqlite, demo=True, channels={"webhook": channel})

    def prepare(_services: Services, rows: Sequence[Delivery]) -> list[Prepared]:
        return [Prepared(one, SmsMessage("", "t", {}, one.lane, 1, f"d{one.id}")) for one in rows]

    monkeypatch.setattr(sending, "prepare", prepare)
    yield made


def row(number: int, lane: str = "confirmation", **changes: object) -> NewDelivery:
    values: dict[str, object] = {
        "dedupe_key": f"{lane}:{number}", "profile_id": number, "channel": "webhook", "lane": lane,
        "due_at": NOW, "expires_at": NOW + timedelta(hours=1), "recipe": {"copy": 1},
    }  # fmt: skip
    return NewDelivery(**{**values, **changes})  # type: ignore[arg-type]


def test_an_alert_never_waits_behind_digests(services: Services, channel: Slow) -> None:
    services.outbox.enqueue([row(number, "digest") for number in range(400)], NOW)
    running = worker.Worker(services, urgent_seconds=30, calm_seconds=0.1).start()
    try:
        while len(channel.seen) < 8:
            time.sleep(0.01)
        services.outbox.enqueue([row(1, "alert")], NOW)  # wakes the thread, which sleeps for half a minute
        assert channel.alert.wait(2)
        assert len(channel.seen) < 300
    finally:
        running.stop()
    counts = services.outbox.status(NOW).counts["webhook"]
    assert counts.get("leased", 0) == 0, "what was not begun is put back at once"
    assert counts["sent"] == len(channel.seen) == running.sent
    assert {one.attempts for one in services.outbox.recent(401, state="queued")} <= {0}


def test_it_looks_by_itself_and_survives_an_error(
    services: Services, channel: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE", 0.05)
    failed = threading.Event()
    real = worker.send

    def fails_once(*arguments: object, **options: object) -> object:
        if not failed.is_set():
            failed.set()
            raise StorageError("Another process holds the database.")
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "send", fails_once)
    running = worker.Worker(services, urgent_seconds=0.05, calm_seconds=0.05).start()
    try:
        with services.database.write() as connection:  # another process would not wake us
            services.outbox.enqueue([row(1, "alert")], NOW, connection)
        assert channel.alert.wait(3)
        worker.wake()
    finally:
        running.stop()


_DIES = """
import sys, time
from datetime import datetime
from api.jobs import sending
from api.settings import read_settings
from api.wiring import build
from delivery.types import Prepared, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
class Hangs:
    name = "capture"
    def send(self, message):
        print("in the air", flush=True)
        time.sleep(60)
sending.prepare = lambda _services, rows: [
    Prepared(one, SmsMessage("", "t", {}, one.lane, 1, f"d{one.id}")) for one in rows
]
settings = read_settings({}, home=sys.argv[1], city="shili")
clock = FixedClock(datetime.fromisoformat(sys.argv[3]))
made = build(settings, clock=clock, database=Database(sys.argv[2]), demo=True, channels={"webhook": Hangs()})
sending.send(made)
"""


def test_a_worker_alone_takes_up_what_a_killed_one_held(
    services: Services, channel: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle of an emergency; nobody runs a scheduler."""
    clock = services.clock
    assert isinstance(clock, FixedClock)
    monkeypatch.setattr(worker, "_TAKE_BACK_SECONDS", 0.05)
    services.outbox.enqueue([row(number, "alert") for number in range(30)], NOW)
    url = services.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _DIES, str(tmp_path), url, NOW.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None and victim.stdout.readline() == "in the air\n"
        victim.kill()
    held = OutboxLog(services.database).held(NOW + timedelta(seconds=70), older=timedelta(minutes=1))
    assert held is not None and (held.count, held.since) == (30, NOW)
    assert held.until == NOW + URGENT_LEASE <= NOW + timedelta(seconds=90)
    running = worker.Worker(services, urgent_seconds=0.05, calm_seconds=0.05).start()
    try:
        assert not channel.alert.wait(0.15), "its lease still stands"
        clock.advance(URGENT_LEASE)
        end = time.monotonic() + 10
        while len(channel.seen) < 30 and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        running.stop()
    assert services.outbox.status(clock.now()).counts == {"webhook": {"sent": 30}}


def test_the_demo_sends_while_it_serves(
    services: Services, channel: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says "we sent a code"; then there must be one, also after an earlier serving that was killed."""
    outbox, later = services.outbox, NOW + timedelta(hours=1)
    outbox.enqueue([row(1, "alert")], NOW)
    outbox.claim(["alert"], 1, later, URGENT_LEASE)  # an earlier serving, further than the demo's start
    made = demo.run_on(demo.Demo(services, demo.Report("", "", ""), {}))
    assert later <= made.clock.now() < later + timedelta(minutes=1), "time goes on; no lease is far away"
    came = []

    def serves(*_arguments: object, **_options: object) -> None:
        outbox.enqueue([row(2, "alert", expires_at=later + timedelta(hours=1))], later)
        came.append(channel.alert.wait(5))

    monkeypatch.setattr(uvicorn, "run", serves)
    commands_run._serve(made, 8000, timer=False, sender=True)
    assert came == [True]


def test_only_urgent_leases_are_short(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    leases: dict[str, timedelta] = {}
    real = sending.send_batch

    def noted(*arguments: object, **options: object) -> object:
        leases[options["lanes"][0]] = options["lease"]  # type: ignore[index,assignment]
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "send_batch", noted)
    sending.send(services)
    assert leases == {"alert": URGENT_LEASE, "immediate": timedelta(minutes=10)}


def test_the_sweeper_puts_lost_work_back(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, clock = services.outbox, services.clock
    assert isinstance(clock, FixedClock)
    outbox.enqueue([row(1), row(2, expires_at=NOW + timedelta(minutes=5)), row(3)], NOW)
    (lost, *_) = outbox.claim(["confirmation"], 1, NOW, timedelta(minutes=10))
    services.receipts.take([Receipt("p", "r3", "delivered", NOW, out_id="d3")], NOW)
    clock.advance(timedelta(minutes=11))
    slots = [NOW - timedelta(hours=3), clock.now()]
    monkeypatch.setattr(sweeping.digests, "missing", lambda _services: slots)
    planned = []
    monkeypatch.setattr(
        sweeping.digests,
        "plan",
        lambda _services: planned.append(1) or sweeping.digests.PlanReport(planned=4),
    )
    report = sweeping.sweep(services)
    assert (report.released, report.expired, report.missing, report.planned) == ({"queued": 1}, 1, 1, 4)
    assert report.failed == {} and planned == [1]
    assert outbox.get(lost.id).state == "queued"  # type: ignore[union-attr]

    def broken(_services: Services) -> list[datetime]:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(sweeping.digests, "missing", broken)
    assert sweeping.sweep(services).failed == {"missing": "StorageError"}


def test_a_scheduler_that_lives_keeps_its_jobs(services: Services) -> None:
    """Between its turns, and while a job runs for longer than a lease; one that is dead is noticed."""
    first, second = (scheduler.Turns(services) for _ in range(2))
    clock, done = services.clock, []
    assert isinstance(clock, FixedClock)

    def other(_services: Services) -> str:
        done.append("second")
        return "second"

    turn = second.in_turn("select", other)

    def long(_services: Services) -> str:
        for _ in range(90):  # an hour and a half
            clock.advance(timedelta(minutes=1))
            assert first.renew() == 1
            turn(services)
        return "first"

    assert first.in_turn("select", long)(services) == "first"
    assert done == []
    clock.advance(timedelta(minutes=2))  # it died: nobody renewed
    assert turn(services) == "second"
    assert first.renew() == 0


def test_leases_are_renewed_by_themselves(services: Services) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    turns = scheduler.Turns(services, renew_seconds=0.02).start()
    try:
        turns.in_turn("housekeeping", lambda _services: None)(services)
        clock.advance(timedelta(minutes=1))
        leases, wanted = scheduler.JobLeases(services.database), clock.now() + timedelta(minutes=2)
        deadline = time.monotonic() + 5
        while leases.holders()["housekeeping"][1] < wanted:
            assert time.monotonic() < deadline, "nobody renewed it"
            time.sleep(0.02)
    finally:
        turns.stop(["housekeeping"])
    assert leases.holders() == {}


def test_every_job_has_an_interval(services: Services) -> None:
    assert set(scheduler.JOBS) == set(scheduler.interval_seconds(services.settings)) >= {"sms", "sweep"}


def test_two_schedulers_take_turns(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by mistake on one database: each job is done by one of them, and the other takes over."""
    ticks: list[int] = []  # who did it
    real = scheduler.Turns.in_turn

    def noting(turns: scheduler.Turns, name: str, tick: Callable[[Services], object]) -> object:
        return real(turns, name, (lambda _: ticks.append(id(turns))) if name == "digests" else tick)

    monkeypatch.setattr(scheduler.Turns, "in_turn", noting)
    monkeypatch.setattr(
        scheduler,
        "interval_seconds",
        lambda _settings: {name: 0.2 if name == "digests" else 3600 for name in scheduler.JOBS},
    )
    first, second = scheduler.start(services), scheduler.start(services)
    try:
        while len(ticks) < 4:
            time.sleep(0.02)
        before = set(ticks)
    finally:
        first()
    assert len(before) == 1, "both did it"
    count = len(ticks)
    deadline = time.monotonic() + 5
    while len(ticks) < count + 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    second()
    assert len(ticks) >= count + 2, "nobody took over"
    assert ticks[-1] not in before
    assert scheduler.JobLeases(services.database).holders() == {}
