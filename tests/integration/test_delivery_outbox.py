"""The outbox on SQLite and PostgreSQL: nothing twice, nothing lost, nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from delivery.errors import PermanentError, RetryableError, SuppressedError, UnknownOutcomeError
from delivery.outbox import OutboxStore
from delivery.outbox_claim import due_query
from delivery.sending import IN_FLIGHT, send_batch
from delivery.types import LANES, Accepted, Delivery, Message, NewDelivery, Outcome, Prepared, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
LEASE = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


def row(number: int, **changes: object) -> NewDelivery:
    values: dict[str, object] = {
        "dedupe_key": f"digest:{number}:email:2026-10-12",
        "profile_id": number,
        "channel": "email",
        "lane": "digest",
        "due_at": NOW,
        "expires_at": NOW + timedelta(hours=12),
        "recipe": {"editions": [number], "lang": "zh-Hans"},
        "notices": ((100 + number, 1), (7, 2)),
    }
    return NewDelivery(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def outbox(database: Database) -> OutboxStore:
    return OutboxStore(database)


class FakeChannel:
    """Obeys the port; remembers what it was given and fails as told."""

    name = "fake"

    def __init__(self, fail: Callable[[str], Exception | None] = lambda ref: None) -> None:
        self.sent: list[str] = []
        self.fail = fail
        self._guard = threading.Lock()

    def send(self, message: Message) -> Accepted:
        assert isinstance(message, SmsMessage)
        error = self.fail(message.out_id)
        if error is not None:
            raise error
        with self._guard:
            self.sent.append(message.out_id)
        return Accepted("fake", message.out_id)

    def close(self) -> None:
        pass


def prepare(rows: Sequence[Delivery]) -> list[Prepared]:
    return [Prepared(one, SmsMessage("+8613800000001", "t", {}, "text", 2, one.dedupe_key)) for one in rows]


class TestEnqueue:
    def test_twice_is_once(self, outbox: OutboxStore) -> None:
        rows = [row(number) for number in range(3)]
        assert outbox.enqueue(rows, NOW) == 3
        assert outbox.enqueue([*rows, row(3)], NOW) == 1
        assert outbox.enqueue([row(4), row(4)], NOW) == 1
        assert outbox.enqueue([], NOW) == 0

    def test_an_old_row_keeps_its_notices(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1)], NOW)
        outbox.enqueue([row(1, notices=((999, 1),), recipe={})], NOW)
        (stored,) = outbox.recent(10)
        assert stored.notices == ((7, 2), (101, 1))
        assert stored.recipe == {"editions": [1], "lang": "zh-Hans"}
        assert outbox.for_notice(999) == []

    def test_it_joins_the_callers_transaction(self, outbox: OutboxStore, database: Database) -> None:
        with pytest.raises(ZeroDivisionError), database.write() as connection:
            assert outbox.enqueue([row(1)], NOW, connection) == 1
            raise ZeroDivisionError
        assert outbox.recent(10) == []

    def test_many(self, outbox: OutboxStore) -> None:
        assert outbox.enqueue([row(number) for number in range(1203)], NOW) == 1203
        assert len(outbox.for_notice(7)) == 1203
        assert [one.profile_id for one in outbox.recent(2)] == [1202, 1201]


class TestClaim:
    def test_lanes_then_oldest_then_id(self, outbox: OutboxStore) -> None:
        outbox.enqueue(
            [
                row(1, due_at=NOW - MINUTE),
                row(2, due_at=NOW - 2 * MINUTE),
                row(3, due_at=NOW - 2 * MINUTE),
                row(4, lane="alert"),
                row(5, due_at=NOW + MINUTE),
                row(6, lane="confirmation"),
            ],
            NOW,
        )
        claimed = outbox.claim(LANES, 5, NOW, LEASE)
        assert [one.profile_id for one in claimed] == [4, 6, 2, 3, 1]
        assert all(one.state == "leased" and one.lease_token and one.attempts == 1 for one in claimed)
        assert claimed[0].notices == ((7, 2), (104, 1))
        assert outbox.claim(LANES, 5, NOW, LEASE) == []
        assert [one.profile_id for one in outbox.claim(LANES, 5, NOW + MINUTE, LEASE)] == [5]

    def test_only_the_given_lanes_and_channels(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1), row(2, channel="sms"), row(3, lane="alert")], NOW)
        assert [one.profile_id for one in outbox.claim(["digest"], 9, NOW, LEASE, channels=["sms"])] == [2]
        assert [one.profile_id for one in outbox.claim(["alert"], 9, NOW, LEASE)] == [3]

    def test_late_rows_expire_and_do_not_use_up_the_limit(self, outbox: OutboxStore) -> None:
        late = [row(number, due_at=NOW - 2 * MINUTE, expires_at=NOW) for number in range(30)]
        outbox.enqueue([*late, row(99)], NOW - MINUTE)
        assert [one.profile_id for one in outbox.claim(LANES, 5, NOW, LEASE)] == [99]
        assert outbox.status(NOW).counts == {"email": {"expired": 30, "leased": 1}}

    def test_the_switch(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1), row(2, channel="sms")], NOW)
        outbox.pause(NOW, "the provider asked for it", channel="sms")
        assert [one.channel for one in outbox.claim(LANES, 9, NOW, LEASE)] == ["email"]
        outbox.pause(NOW, "a wrong text went out")
        outbox.pause(NOW, "a wrong text went out")
        assert outbox.resume("sms")
        assert outbox.claim(LANES, 9, NOW, LEASE) == []
        assert outbox.status(NOW).paused == outbox.paused() == {"": "a wrong text went out"}
        assert outbox.resume()
        assert not outbox.resume()
        assert [one.channel for one in outbox.claim(LANES, 9, NOW, LEASE)] == ["sms"]

    def test_two_workers_get_different_rows(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number) for number in range(200)], NOW)
        got: list[int] = []
        guard = threading.Lock()
        start = threading.Barrier(2)

        def worker() -> None:
            start.wait()
            while claimed := outbox.claim(LANES, 7, NOW, LEASE):
                with guard:
                    got.extend(one.id for one in claimed)

        threads = [threading.Thread(target=worker) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == len(set(got)) == 200

    def test_the_partial_index_is_used(self, sqlite: Database) -> None:
        outbox = OutboxStore(sqlite)
        outbox.enqueue([row(number) for number in range(50)], NOW)
        with sqlite.read() as connection:
            statement = due_query(connection, None, ()).replace("lane = ?", "lane = 'digest'")
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (1, 1)).all()
        assert "USING INDEX ix_delivery_due (lane=? AND due_at<?)" in plan[0][3]


class TestFinish:
    def test_sent_is_not_delivered(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1)], NOW)
        (claimed,) = outbox.claim(LANES, 1, NOW, LEASE)
        later = NOW + MINUTE
        assert outbox.finish(
            claimed.id, claimed.lease_token, "sent", at=later, provider="p", provider_ref="r", segments=2
        )
        stored = outbox.get(claimed.id)
        assert stored is not None
        assert (stored.state, stored.provider, stored.provider_ref, stored.segments, stored.sent_at) == (
            "sent", "p", "r", 2, later,
        )  # fmt: skip
        assert not outbox.finish(claimed.id, claimed.lease_token, "failed", at=later)
        assert outbox.status(later).counts == {"email": {"sent": 1}}

    def test_a_lost_lease_cannot_finish(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1)], NOW)
        (first,) = outbox.claim(LANES, 1, NOW, LEASE)
        assert outbox.release_expired(NOW + LEASE - MINUTE) == {}
        assert outbox.release_expired(NOW + LEASE) == {"queued": 1}
        (second,) = outbox.claim(LANES, 1, NOW + LEASE, LEASE)
        assert second.attempts == 2
        assert not outbox.finish(first.id, first.lease_token, "failed", at=NOW)
        assert outbox.finish(second.id, second.lease_token, "sent", at=NOW)

    def test_an_sms_whose_sender_died_is_unknown(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1, channel="sms"), row(2, channel="sms")], NOW)
        begun, waiting = outbox.claim(LANES, 2, NOW, LEASE)
        assert outbox.begin([begun]) == {begun.id}
        assert outbox.release_expired(NOW + LEASE) == {"unknown": 1, "queued": 1}
        assert [one.id for one in outbox.claim(LANES, 9, NOW + LEASE, LEASE)] == [waiting.id]

    def test_a_mail_that_kills_its_sender_fails_at_last(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1)], NOW)
        released = []
        for turn in range(6):
            assert outbox.claim(LANES, 1, NOW + turn * LEASE, LEASE)
            released.append(outbox.release_expired(NOW + (turn + 1) * LEASE))
        assert released == [{"queued": 1}] * 5 + [{"failed": 1}]

    def test_many_at_once_tell_how_many_leases_were_lost(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number) for number in range(6)], NOW)
        claimed = outbox.claim(LANES, 6, NOW, LEASE)
        states = ["sent", "sent", "sent", "failed", "failed", "skipped"]
        outcomes = [
            Outcome(one.id, "lost" if place in (0, 3) else one.lease_token, state)  # type: ignore[arg-type]
            for place, (one, state) in enumerate(zip(claimed, states, strict=True))
        ]
        assert outbox.finish_many(outcomes, NOW) == 4
        assert outbox.status(NOW).counts == {"email": {"sent": 2, "failed": 1, "skipped": 1, "leased": 2}}

    def test_untried_gives_the_attempt_back(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1)], NOW)
        (claimed,) = outbox.claim(LANES, 1, NOW, LEASE)
        outbox.finish_many([Outcome(claimed.id, claimed.lease_token, "queued", untried=True)], NOW)
        assert outbox.claim(LANES, 1, NOW, LEASE)[0].attempts == 1


class TestOperators:
    def test_status(self, outbox: OutboxStore) -> None:
        assert outbox.status(NOW).oldest_due_seconds is None
        outbox.enqueue([row(1, due_at=NOW - 5 * MINUTE), row(2, channel="sms"), row(3, lane="alert")], NOW)
        outbox.claim(["alert"], 1, NOW, LEASE)
        status = outbox.status(NOW)
        assert status.counts == {"email": {"leased": 1, "queued": 1}, "sms": {"queued": 1}}
        assert (status.oldest_due_seconds, status.leased) == (300.0, 1)

    def test_retry_and_cancel(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number) for number in range(4)], NOW)
        claimed = outbox.claim(LANES, 3, NOW, LEASE)
        for one, state in zip(claimed, ("failed", "unknown", "sent"), strict=True):
            outbox.finish(one.id, one.lease_token, state, at=NOW, error="why")  # type: ignore[arg-type]
        end = NOW + timedelta(days=2)
        assert outbox.retry([one.id for one in claimed], NOW, end) == 2  # sent stays
        again = outbox.claim(LANES, 9, NOW + timedelta(days=1), LEASE)
        assert [(one.attempts, one.expires_at) for one in again] == [(1, end), (1, end)]
        outbox.enqueue([row(10), row(11, channel="sms"), row(12), row(13)], NOW)
        assert outbox.cancel([claimed[2].id, outbox.recent(1)[0].id], NOW) == 1
        assert outbox.cancel(None, NOW, channel="sms") == 1
        assert outbox.cancel_profile(10, NOW) == 1
        assert outbox.cancel(None, NOW) == 1

    def test_retrying_everything_brings_back_nothing_old(self, outbox: OutboxStore) -> None:
        day = timedelta(days=1)
        outbox.enqueue([row(1), row(2, lane="alert"), row(3, expires_at=NOW + MINUTE)], NOW)
        outbox.enqueue([row(4, expires_at=NOW + 5 * day)], NOW - day)
        for one in outbox.claim(LANES, 9, NOW, LEASE):
            outbox.finish(one.id, one.lease_token, "failed", at=NOW, error="why")
        assert outbox.retry(None, NOW + MINUTE, NOW + 9 * day) == 1
        found = {one.profile_id: one for one in outbox.recent(9)}
        assert {number: one.state for number, one in found.items()} == {
            1: "queued", 2: "failed", 3: "failed", 4: "failed",
        }  # fmt: skip
        assert found[1].expires_at == NOW + timedelta(hours=12)  # its own end stands
        assert outbox.retry([found[2].id], NOW + MINUTE, NOW + 9 * day) == 1  # a person names it

    def test_held_rows_can_be_cancelled(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(4)], NOW)
        outbox.enqueue([row(9, channel="sms", run_id=7)], NOW)
        assert outbox.hold(7, NOW) == 5
        assert outbox.cancel_profile(0, NOW) == 1
        assert outbox.cancel([one.id for one in outbox.for_profile(1)], NOW) == 1
        assert outbox.cancel(None, NOW, channel="sms") == 1
        assert outbox.release(7, NOW) == 2
        outbox.hold(7, NOW)
        assert outbox.cancel_run(7, NOW) == 2 and outbox.held_runs() == []
        assert outbox.status(NOW).counts == {"email": {"cancelled": 4}, "sms": {"cancelled": 1}}

    def test_who_was_sent_this(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1), row(2, notices=((8, 1),))], NOW)
        assert [one.profile_id for one in outbox.for_notice(7)] == [1]
        assert [one.notices for one in outbox.for_profile(2)] == [((8, 1),)]


class TestSending:
    def send(self, outbox: OutboxStore, channel: FakeChannel, clock: FixedClock, **more: object):  # type: ignore[no-untyped-def]
        values: dict[str, object] = {"lanes": LANES, "limit": 100, "clock": clock, "prepare": prepare, **more}
        return send_batch(outbox, {"email": channel, "sms": channel}, **values)  # type: ignore[arg-type]

    def test_every_row_once(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number) for number in range(120)], NOW)
        channel = FakeChannel()
        reports = [self.send(outbox, channel, clock) for _ in range(3)]
        assert [report.claimed for report in reports] == [100, 20, 0]
        assert [report.lost for report in reports] == [0, 0, 0]
        assert sum(report.sent for report in reports) == len(set(channel.sent)) == len(channel.sent) == 120
        assert outbox.status(NOW).counts == {"email": {"sent": 120}}
        assert outbox.recent(1)[0].segments == 2

    @pytest.mark.parametrize(
        ("error", "channel", "state"),
        [
            (RetryableError("busy"), "email", "queued"),
            (PermanentError("no such mailbox"), "email", "failed"),
            (SuppressedError("stopped"), "email", "suppressed"),
            (UnknownOutcomeError("lost"), "email", "queued"),
            (UnknownOutcomeError("lost"), "sms", "unknown"),
            (KeyError("zhang@mail.example"), "email", "queued"),
        ],
    )
    def test_the_errors_type_decides(
        self, outbox: OutboxStore, clock: FixedClock, error: Exception, channel: str, state: str
    ) -> None:
        outbox.enqueue([row(1, channel=channel)], NOW)
        report = self.send(outbox, FakeChannel(lambda ref: error), clock)
        assert report.states == {state: 1}
        (stored,) = outbox.recent(1)
        assert stored.state == state
        assert stored.error and "zhang@" not in stored.error
        if state == "queued":
            assert stored.due_at == NOW + MINUTE

    def test_preparing_decides_too(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1), row(2)], NOW)

        def empty(rows: Sequence[Delivery]) -> list[Prepared]:
            return [Prepared(one, why="empty") for one in rows]

        def stopped(rows: Sequence[Delivery]) -> list[Prepared]:
            return [Prepared(one, error=SuppressedError("left this morning")) for one in rows]

        report = self.send(outbox, FakeChannel(), clock, prepare=empty, limit=1)
        assert (report.states, report.errors) == ({"skipped": 1}, {"empty": 1})
        assert self.send(outbox, FakeChannel(), clock, prepare=stopped).states == {"suppressed": 1}

    def test_it_tries_six_times_and_gives_up(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1, expires_at=NOW + timedelta(days=2))], NOW)
        channel = FakeChannel(lambda ref: RetryableError("busy"))
        waits = []
        while self.send(outbox, channel, clock).claimed:
            (stored,) = outbox.recent(1)
            waits.append((stored.due_at - clock.now()).total_seconds() / 60)
            clock.advance(timedelta(hours=5))
        assert waits[:5] == [1, 5, 15, 60, 240]
        assert (stored.state, stored.attempts, len(waits)) == ("failed", 6, 6)

    def test_no_transaction_is_open_while_sending(
        self, outbox: OutboxStore, database: Database, clock: FixedClock
    ) -> None:
        outbox.enqueue([row(1)], NOW)
        seen = []

        def look(ref: str) -> None:
            seen.append(database.engine.pool.checkedout())  # type: ignore[attr-defined]

        self.send(outbox, FakeChannel(look), clock, threads=1)
        assert seen == [0]

    def test_stop_puts_back_what_is_not_begun(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number) for number in range(10)], NOW)
        stop = threading.Event()

        def fail(ref: str) -> None:
            stop.set()

        report = self.send(outbox, FakeChannel(fail), clock, threads=1, stop=stop)
        assert report.states == {"sent": 1, "queued": 9}
        assert {one.attempts for one in outbox.recent(9)} == {0}

    def test_nothing_is_begun_late_in_the_lease(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1), row(2)], NOW)

        def slow(ref: str) -> None:
            clock.advance(timedelta(minutes=8))

        report = self.send(outbox, FakeChannel(slow), clock, threads=1)
        assert report.states == {"sent": 1, "queued": 1}

    def test_what_is_in_the_air_holds_on_to_its_row(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1)], NOW)
        renewed, back = threading.Event(), []
        real = outbox.renew

        def renew(rows: Sequence[Delivery], until: datetime) -> int:
            count = real(rows, until)
            renewed.set()
            return count

        outbox.renew = renew  # type: ignore[method-assign]

        def slow(ref: str) -> None:
            for _ in range(2):
                renewed.clear()
                clock.advance(timedelta(minutes=9))
                assert renewed.wait(5)
            back.append(outbox.release_expired(clock.now()))

        report = self.send(outbox, FakeChannel(slow), clock, threads=1)
        assert (back, report.states, report.lost) == ([{}], {"sent": 1}, 0)

    def test_rows_of_a_channel_we_do_not_have_wait(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1, channel="webpush")], NOW)
        assert self.send(outbox, FakeChannel(), clock).claimed == 0

    def test_two_senders_at_once(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number) for number in range(200)], NOW)
        channel = FakeChannel()

        def run() -> None:
            while self.send(outbox, channel, clock, limit=15, threads=2).claimed:
                pass

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(Counter(channel.sent).values()) == 1
        assert len(channel.sent) == 200


KILLED = """
import os, sys, threading
from datetime import timedelta
from delivery.outbox import OutboxStore
from delivery.sending import send_batch
from delivery.types import Accepted, LANES, Prepared, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock, parse_instant
from zoneinfo import ZoneInfo

url, log, kill_after = sys.argv[1], sys.argv[2], int(sys.argv[3])
sent = 0
guard = threading.Lock()

class Logged:
    name = "log"
    def send(self, message):
        global sent
        with guard:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(handle, (message.out_id + chr(10)).encode())
            os.close(handle)
            sent += 1
            if sent == kill_after:
                os.kill(os.getpid(), 9)
        return Accepted("log", message.out_id)
    def close(self):
        pass

def prepare(rows):
    return [Prepared(row, SmsMessage("+8613800000001", "t", {}, "text", 1, row.dedupe_key)) for row in rows]

clock = FixedClock(parse_instant(sys.argv[4], ZoneInfo("UTC")))
outbox = OutboxStore(Database(url))
outbox.release_expired(clock.now())
while send_batch(outbox, {"email": Logged()}, prepare, lanes=LANES, limit=40, clock=clock, threads=4).claimed:
    pass
"""


def test_killed_in_the_middle_and_run_again(sqlite: Database, tmp_path: Path) -> None:
    """At most what was in flight or not yet written goes out twice; nothing is lost."""
    outbox = OutboxStore(sqlite)
    outbox.enqueue([row(number) for number in range(150)], NOW)
    log = tmp_path / "sent.log"
    root = Path(__file__).resolve().parents[2]

    def run(kill_after: int, moment: datetime) -> int:
        command = [sys.executable, "-c", KILLED, sqlite.url, str(log), str(kill_after), moment.isoformat()]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(command, env=environment, cwd=tmp_path, check=False).returncode

    assert run(60, NOW) == -9
    assert run(60, NOW + LEASE + MINUTE) == -9
    assert run(10_000, NOW + 3 * LEASE) == 0
    counts = Counter(log.read_text().split())
    assert len(counts) == 150
    assert sum(count - 1 for count in counts.values()) <= 2 * IN_FLIGHT
    assert max(counts.values()) <= 3
    assert outbox.status(NOW).counts == {"email": {"sent": 150}}
