"""What a claim looks at again, runs that are held, providers' reports, and the breaker; on both databases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from delivery.errors import PermanentError, RetryableError, ThrottledError
from delivery.outbox import OutboxStore
from delivery.outbox_breaker import Breaker
from delivery.outbox_claim import Refusal
from delivery.outbox_guard import StandingGuard
from delivery.outbox_log import OutboxLog
from delivery.receipts import ReceiptStore
from delivery.sending import send_batch
from delivery.types import (
    LANES,
    Accepted,
    Delivery,
    Message,
    NewDelivery,
    Outcome,
    Prepared,
    Receipt,
    SmsMessage,
)
from feeds.kernel.db import Database, plain_rows, run_plain_many
from feeds.kernel.errors import StorageError
from feeds.kernel.time import FixedClock, to_micros
from profiles.standing import standing

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)  # 10:00 in Shanghai
NIGHT = datetime(2026, 10, 12, 15, 0, tzinfo=UTC)  # 23:00
LEASE = timedelta(minutes=10)
DAY = timedelta(days=1)
_AT = to_micros(NOW)


def row(number: int, **changes: object) -> NewDelivery:
    values: dict[str, object] = {
        "dedupe_key": f"{number}:{sorted(changes.items())}", "profile_id": number, "channel": "email",
        "lane": "digest", "due_at": NOW, "expires_at": NOW + 2 * DAY, "recipe": {"kind": "digest"},
        "frozen": False,
    }  # fmt: skip
    return NewDelivery(**{**values, **changes})  # type: ignore[arg-type]


def person(
    database: Database, number: int, *, channel: str = "email", live: bool = True, verified: bool = True,
    suppressed: str = "", until: datetime | None = None,
    paused: tuple[datetime, datetime | None] | None = None,
) -> None:  # fmt: skip
    """A profile with an address, and what stands against it."""
    begun, ended = paused or (None, None)
    with database.write() as connection:
        run_plain_many(
            connection,
            "INSERT INTO profile (id, created_at, langs, pace, personalised, discreet, manage_hash) "
            "VALUES (?, 0, '[]', 10, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(number, True, False, f"{number:064x}")],
        )
        run_plain_many(
            connection,
            "INSERT INTO subscription (profile_id, channel, frequency, local_hour, lang, next_due_at, "
            "covered_until, created_at, ended_at, ended_reason, paused_from, paused_until) "
            "VALUES (?, ?, 'daily', 8, 'zh-Hans', 0, 0, 0, ?, '', ?, ?)",
            [
                (
                    number,
                    channel,
                    None if live else _AT,
                    *(None if x is None else to_micros(x) for x in (begun, ended)),
                )
            ],
        )
        run_plain_many(
            connection,
            "INSERT INTO contact (profile_id, channel, sealed, blind_index, verified_at, created_at) "
            "VALUES (?, ?, ?, ?, ?, 0)",
            [(number, channel, b"x", f"{number:064x}", _AT if verified else None)],
        )
        if suppressed:
            run_plain_many(
                connection,
                "INSERT INTO suppression (channel, blind_index, reason, at, until) VALUES (?, ?, ?, 0, ?)",
                [(channel, f"{number:064x}", suppressed, None if until is None else to_micros(until))],
            )


@pytest.fixture
def outbox(database: Database) -> OutboxStore:
    return OutboxStore(database)


def claim(outbox: OutboxStore, now: datetime = NOW, **options: object) -> list[int]:
    guard = StandingGuard(ZONE, unchecked=options.pop("unchecked", ()))  # type: ignore[arg-type]
    found = outbox.claim(LANES, 100, now, LEASE, guard=guard, **options)  # type: ignore[arg-type]
    return [one.profile_id for one in found]


def states(outbox: OutboxStore) -> dict[int, str]:
    return {one.profile_id: one.state for one in outbox.recent(100)}


class TestGuard:
    def test_what_stands_against_a_digest(self, outbox: OutboxStore, database: Database) -> None:
        person(database, 1)
        person(database, 2, live=False)
        person(database, 3, verified=False)
        person(database, 4, suppressed="bounced")
        person(database, 5, suppressed="bounced", until=NOW)  # over at this very instant
        person(database, 6, paused=(NOW - DAY, NOW + DAY))
        person(database, 7, paused=(NOW - DAY, NOW))
        person(database, 8, paused=(NOW - DAY, None))
        outbox.enqueue([row(number) for number in range(1, 10)], NOW)
        assert claim(outbox) == [1, 5, 7]
        assert states(outbox) == {
            1: "leased", 2: "suppressed", 3: "suppressed", 4: "suppressed", 5: "leased", 6: "skipped",
            7: "leased", 8: "skipped", 9: "suppressed",
        }  # fmt: skip
        assert {one.error for one in outbox.for_profile(4)} == {"The address is suppressed (bounced)."}
        assert {one.attempts for one in outbox.recent(100) if one.state != "leased"} == {0}

    def test_alerts_and_confirmations(self, outbox: OutboxStore, database: Database) -> None:
        person(database, 1, paused=(NOW - DAY, None))
        person(database, 2, suppressed="bounced")
        person(database, 3, live=False, verified=False)
        person(database, 4, live=False, suppressed="opted_out")
        person(database, 5, live=False, suppressed="complained")
        alerts = [row(number, lane="alert", due_at=NIGHT) for number in (1, 2, 3)]
        answers = [row(number, lane="confirmation", due_at=NIGHT) for number in (2, 3, 4, 5)]
        outbox.enqueue([*alerts, *answers], NOW)
        found = outbox.claim(LANES, 100, NIGHT, LEASE, guard=StandingGuard(ZONE))
        assert [(one.lane, one.profile_id) for one in found] == [
            ("alert", 1), ("confirmation", 3), ("confirmation", 4),
        ]  # fmt: skip

    def test_quiet_hours_send_rows_back_without_an_attempt(
        self, outbox: OutboxStore, database: Database
    ) -> None:
        for channel in ("email", "sms"):
            person(database, 1, channel=channel)
        outbox.enqueue(
            [row(1, lane="immediate", due_at=NIGHT), row(1, channel="sms", due_at=NIGHT),
             row(1, due_at=NIGHT)], NOW,
        )  # fmt: skip
        found = outbox.claim(LANES, 100, NIGHT, LEASE, guard=StandingGuard(ZONE))
        assert [(one.lane, one.channel) for one in found] == [("digest", "email")]  # at the hour they chose
        waiting = {(one.lane, one.channel): one for one in outbox.recent(9) if one.state == "queued"}
        morning = datetime(2026, 10, 13, 0, 0, tzinfo=UTC)  # 08:00
        assert {one.due_at for one in waiting.values()} == {morning}
        assert {one.attempts for one in waiting.values()} == {0}
        assert len(outbox.claim(LANES, 100, morning, LEASE, guard=StandingGuard(ZONE))) == 2

    def test_pushes_keep_half_an_hour_after_a_pause(self, outbox: OutboxStore, database: Database) -> None:
        """What was planned half an hour apart and waited together does not leave together."""
        half = timedelta(minutes=30)
        for number in (1, 2):
            person(database, number)
        person(database, 1, channel="sms")
        person(database, 3)
        now = {"lane": "immediate", "due_at": NOW}
        for turn in range(3):  # three editions; one message by two channels is one push
            outbox.enqueue(
                [row(1, dedupe_key=f"now:1:email:{turn}", **now),
                 row(1, dedupe_key=f"now:1:sms:{turn}", channel="sms", **now),
                 row(1, dedupe_key=f"now:1:email:{turn}:copy:5", recipe={"copy": 5}, **now)],
                NOW + turn * LEASE,
            )  # fmt: skip
        outbox.enqueue([row(2, **now), row(3)], NOW)
        later = NOW + timedelta(hours=1)
        first = self.keys(outbox, later)
        assert first[:3] == ["now:1:email:0", "now:1:sms:0", "now:1:email:0:copy:5"]
        assert len(first) == 5  # and the others' own
        assert self.keys(outbox, later + half - timedelta(seconds=1)) == []
        assert {one.attempts for one in outbox.recent(99, state="queued")} == {0}
        second = self.keys(outbox, later + half)
        assert second == ["now:1:email:1", "now:1:sms:1", "now:1:email:1:copy:5"]
        outbox.enqueue([row(3, **now)], later)  # their digest has just left
        assert self.keys(outbox, later + half) == [f"3:{sorted(now.items())}"]
        assert self.keys(outbox, later + 2 * half)[0] == "now:1:email:2"

    def test_half_an_hour_from_a_digest_and_never_past_the_end(
        self, outbox: OutboxStore, database: Database
    ) -> None:
        for number in (1, 2):
            person(database, number)
        outbox.enqueue([row(1), row(2)], NOW - DAY)
        assert len(self.keys(outbox, NOW)) == 2
        soon = NOW + LEASE
        outbox.enqueue([row(1, lane="immediate"), row(2, lane="immediate", expires_at=soon + LEASE)], soon)
        assert self.keys(outbox, soon) == []
        waiting = {one.profile_id: one for one in outbox.recent(2)}
        assert (waiting[1].state, waiting[1].due_at) == ("queued", NOW + timedelta(minutes=30))
        assert waiting[2].state == "expired"

    def keys(self, outbox: OutboxStore, now: datetime) -> list[str]:
        found = outbox.claim(LANES, 100, now, LEASE, guard=StandingGuard(ZONE))
        outbox.finish_many([Outcome(one.id, one.lease_token, "sent", "smtp") for one in found], now)
        return [one.dedupe_key for one in found]

    def test_capture_serves_unconfirmed_addresses_and_copies_are_judged_elsewhere(
        self, outbox: OutboxStore, database: Database
    ) -> None:
        person(database, 1, verified=False)
        outbox.enqueue([row(1), row(2, recipe={"kind": "digest", "copy": 3})], NOW)
        assert claim(outbox, unchecked=["email"]) == [1, 2]

    def test_standing_as_others_ask_for_it(self, database: Database) -> None:
        person(database, 1, suppressed="complained", paused=(NOW, NOW + DAY))
        with database.read() as connection:
            found = standing(connection, [(1, "email"), (1, "sms"), (2, "email")])
        assert found[1, "email"].live and found[1, "email"].verified and found[1, "email"].lang == "zh-Hans"
        assert found[1, "email"].suppressed == "complained" and found[1, "email"].paused(NOW)
        assert not found[1, "email"].paused(NOW + DAY)
        assert not found[1, "sms"].live and not found[2, "email"].known


class TestRuns:
    def test_a_large_run_waits_for_a_person(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(6)], NOW)
        outbox.enqueue([row(number, run_id=8) for number in range(10, 12)], NOW)
        outbox.enqueue([row(20, run_id=7, lane="alert")], NOW)
        taken = outbox.claim(LANES, 100, NOW, LEASE, confirm_above=5)
        assert [one.profile_id for one in taken] == [20, 10, 11]
        (held,) = outbox.held_runs()
        assert (held.run_id, held.why, held.rows) == (7, "size", 6)
        outbox.enqueue([row(30, run_id=7)], NOW)  # the run is still being planned
        assert outbox.claim(LANES, 100, NOW, LEASE, confirm_above=5) == []
        assert outbox.release(7, NOW, "staff:1") == 7
        assert len(outbox.claim(LANES, 100, NOW, LEASE, confirm_above=5)) == 7
        assert outbox.held_runs() == []

    def test_a_held_run_can_be_ended(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(3)], NOW)
        assert outbox.hold(7, NOW) == 3
        assert outbox.cancel_run(7, NOW) == 3
        assert outbox.held_runs() == [] and set(states(outbox).values()) == {"cancelled"}

    @pytest.mark.parametrize(("sent", "bounced", "halts"), [(95, 9, False), (100, 10, False), (99, 10, True)])
    def test_it_halts_by_itself_at_a_share_of_bounces(
        self, outbox: OutboxStore, database: Database, sent: int, bounced: int, halts: bool
    ) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(sent + 5)], NOW)
        rows = outbox.claim(LANES, sent, NOW, LEASE)
        outbox.finish_many([Outcome(one.id, one.lease_token, "sent", "smtp") for one in rows], NOW)
        reports = [Receipt("dsn", "", "bounced", NOW, "5.1.1", f"d{one.id}") for one in rows[:bounced]]
        receipts = ReceiptStore(database)
        for part in (reports[:4], reports[4:], reports):  # the last ones are known already
            receipts.take(part, NOW)
        assert [(one.why, one.rows, one.bounced) for one in outbox.held_runs()] == (
            [("bounces", 5, bounced)] if halts else []
        )
        if halts:
            outbox.release(7, NOW + LEASE)
            assert len(outbox.claim(LANES, 99, NOW + LEASE, LEASE)) == 5

    def test_addresses_refused_at_once_count_too(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(40)], NOW)
        channel = Failing(PermanentError("550 5.1.1"))
        send_batch(outbox, {"email": channel}, texts, lanes=LANES, limit=20, clock=clock)
        assert [(one.why, one.rows) for one in outbox.held_runs()] == [("bounces", 20)]

    def test_an_address_that_was_refused_counts_once(
        self, outbox: OutboxStore, database: Database, clock: FixedClock
    ) -> None:
        outbox.enqueue([row(number, run_id=7) for number in range(20)], NOW)
        send_batch(outbox, {"email": Failing(PermanentError("550 5.1.1"))}, texts,
                   lanes=LANES, limit=6, clock=clock)  # fmt: skip
        refused = outbox.recent(20, state="failed")
        reports = [Receipt("smtp", "", "bounced", NOW, "5.1.1", f"d{one.id}") for one in refused]
        moved = ReceiptStore(database).take(reports, NOW)
        assert [one.state for one in moved] == ["bounced"] * 6  # the desk sees it
        with database.read() as connection:
            assert plain_rows(connection, "SELECT bounced FROM delivery_run") == [(6,)]
        assert outbox.held_runs() == []

    @pytest.mark.parametrize("database", ["postgres"], indirect=True)  # SQLite has one writer at a time
    def test_claimers_of_one_large_run_do_not_wait_for_each_other(self, database: Database) -> None:
        """Each has leased rows that the other wants to hold; neither may wait for the other for ever."""
        desk, both, got = OutboxStore(database), threading.Barrier(2, timeout=10), []
        desk.enqueue([row(number, run_id=7) for number in range(40)], NOW)

        class Together(OutboxStore):
            def _held(self, *arguments: object) -> dict[int, Refusal]:
                if not got:
                    both.wait()  # until the other one has leased its own
                return super()._held(*arguments)  # type: ignore[arg-type]

        def work() -> None:
            try:
                got.append(Together(database).claim(LANES, 10, NOW, LEASE, confirm_above=5))
            except StorageError as error:
                got.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [[], []]
        assert desk.claim(LANES, 99, NOW, LEASE, confirm_above=5) == []
        assert [(one.run_id, one.rows) for one in desk.held_runs()] == [(7, 40)]


class TestReceipts:
    def sent(self, outbox: OutboxStore, number: int, ref: str = "r1", channel: str = "sms") -> Delivery:
        outbox.enqueue([row(number, channel=channel)], NOW)
        (one,) = outbox.claim(LANES, 1, NOW, LEASE)
        outbox.finish(one.id, one.lease_token, "sent", at=NOW, provider="tencent", provider_ref=ref)
        return one

    def test_duplicates_and_order(self, outbox: OutboxStore, database: Database) -> None:
        receipts = ReceiptStore(database)
        one = self.sent(outbox, 1)
        failed = Receipt("tencent", "r1", "failed", NOW, "UNDELIV")
        assert [moved.state for moved in receipts.take([failed, failed], NOW)] == ["failed"]
        assert receipts.take([failed], NOW) == []
        delivered = Receipt("tencent", "r1", "delivered", NOW + LEASE)
        assert [moved.id for moved in receipts.take([delivered], NOW)] == [one.id]
        assert receipts.take([Receipt("tencent", "r1", "failed", NOW + DAY)], NOW) == []
        stored = outbox.get(one.id)
        assert stored is not None and (stored.state, stored.error) == ("delivered", "")
        assert [seen.state for seen in receipts.of(stored)] == ["failed", "delivered"]
        assert receipts.waiting() == 0

    def test_failed_never_outweighs_delivered(self, outbox: OutboxStore, database: Database) -> None:
        receipts, one = ReceiptStore(database), self.sent(outbox, 1)
        receipts.take([Receipt("tencent", "r1", "delivered", NOW)], NOW)
        assert receipts.take([Receipt("tencent", "r1", "failed", NOW)], NOW) == []
        assert states(outbox) == {one.profile_id: "delivered"}

    def test_a_report_comes_before_its_row(self, outbox: OutboxStore, database: Database) -> None:
        receipts = ReceiptStore(database)
        outbox.enqueue([row(1, channel="sms")], NOW)
        (one,) = outbox.claim(LANES, 1, NOW, LEASE)
        early = Receipt("tencent", "r9", "delivered", NOW, out_id=f"d{one.id}")
        assert receipts.take([early], NOW) == [] and receipts.waiting() == 1
        assert receipts.apply_waiting(NOW) == []
        outbox.finish(one.id, one.lease_token, "sent", at=NOW, provider="tencent", provider_ref="r9")
        assert [moved.state for moved in receipts.apply_waiting(NOW)] == ["delivered"]
        assert receipts.apply_waiting(NOW) == [] and receipts.waiting() == 0

    def test_it_settles_a_text_of_unknown_outcome(self, outbox: OutboxStore, database: Database) -> None:
        receipts = ReceiptStore(database)
        outbox.enqueue([row(1, channel="sms")], NOW)
        (one,) = outbox.claim(LANES, 1, NOW, LEASE)
        outbox.begin([one])
        outbox.release_expired(NOW + LEASE)
        (moved,) = receipts.take([Receipt("tencent", "r5", "delivered", NOW, out_id=f"d{one.id}")], NOW)
        assert (moved.state, moved.provider, moved.provider_ref) == ("delivered", "tencent", "r5")

    def test_unknown_references_wait_and_are_given_up(self, outbox: OutboxStore, database: Database) -> None:
        receipts = ReceiptStore(database)
        strange = [
            Receipt("tencent", "nobody", "delivered", NOW),
            Receipt("tencent", "", "delivered", NOW, out_id="d9'; DROP"),
            Receipt("tencent", "", "delivered", NOW),
        ]
        assert receipts.take(strange, NOW) == [] and receipts.waiting() == 2
        assert receipts.apply_waiting(NOW + 8 * DAY) == [] and receipts.waiting() == 0

    def test_a_late_report_of_another_provider_says_nothing(
        self, outbox: OutboxStore, database: Database
    ) -> None:
        one = self.sent(outbox, 1, "r2")
        late = Receipt("aliyun", "old", "failed", NOW, out_id=f"d{one.id}")
        assert ReceiptStore(database).take([late], NOW) == []
        assert states(outbox) == {1: "sent"}


class Failing:
    """A channel that fails as told."""

    name = "failing"

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.tries = 0

    def send(self, message: Message) -> Accepted:
        self.tries += 1
        if self.error is not None:
            raise self.error
        return Accepted("failing")

    def close(self) -> None:
        pass


def texts(rows: Sequence[Delivery]) -> list[Prepared]:
    return [Prepared(one, SmsMessage("+8613800000001", "t", {}, "x", 1, f"d{one.id}")) for one in rows]


class TestRound:
    def test_a_throttled_row_waits_and_keeps_its_attempts(
        self, outbox: OutboxStore, clock: FixedClock
    ) -> None:
        outbox.enqueue([row(1)], NOW)
        for _ in range(9):
            send_batch(outbox, {"email": Failing(ThrottledError("slow down", 90))}, texts,
                       lanes=LANES, limit=9, clock=clock)  # fmt: skip
            (stored,) = outbox.recent(1)
            assert (stored.state, stored.attempts) == ("queued", 0)
            assert stored.due_at == clock.now() + timedelta(seconds=90)
            clock.advance(timedelta(seconds=90))

    def test_a_provider_that_is_down_is_left_alone(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number) for number in range(200)], NOW)
        channel, breaker = Failing(RetryableError("refused")), Breaker(after=10)

        def go() -> int:
            return send_batch(outbox, {"email": channel}, texts, lanes=LANES, limit=100, clock=clock,
                              threads=1, breaker=breaker).claimed  # fmt: skip

        assert go() == 100 and channel.tries == 10
        assert go() == 0
        assert sum(one.attempts for one in outbox.recent(200)) == 10
        clock.advance(timedelta(seconds=30))
        go()
        assert channel.tries == 11  # one look, then it waits twice as long
        clock.advance(timedelta(seconds=59))
        assert go() == 0
        clock.advance(timedelta(hours=1))
        channel.error = None
        while go():
            pass
        assert outbox.status(NOW).counts == {"email": {"sent": 200}}

    def test_one_bad_row_spoils_no_other(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(number) for number in range(5)], NOW)

        def prepare(rows: Sequence[Delivery]) -> list[Prepared]:
            if any(one.profile_id == 3 for one in rows):
                raise KeyError("broken")
            return texts(rows[:1]) if len(rows) > 1 else texts(rows)

        report = send_batch(outbox, {"email": Failing(None)}, prepare, lanes=LANES, limit=9, clock=clock)
        assert report.states == {"sent": 4, "queued": 1}

    def test_a_database_in_trouble_costs_nobody_an_attempt(
        self, outbox: OutboxStore, clock: FixedClock
    ) -> None:
        outbox.enqueue([row(1)], NOW)

        def prepare(rows: Sequence[Delivery]) -> list[Prepared]:
            raise StorageError("Another process holds the database.")

        with pytest.raises(StorageError):
            send_batch(outbox, {"email": Failing(None)}, prepare, lanes=LANES, limit=9, clock=clock)
        assert states(outbox) == {1: "leased"}  # its lease brings it back

    def test_frozen_before_it_is_sent_and_only_once(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1)], NOW)

        def first(rows: Sequence[Delivery]) -> list[Prepared]:
            return [Prepared(one.row, one.message, recipe={"word": "first"}, notices=((7, 1), (7, 2)))
                    for one in texts(rows)]  # fmt: skip

        def second(rows: Sequence[Delivery]) -> list[Prepared]:
            assert [(one.frozen, dict(one.recipe), one.notices) for one in rows] == [
                (True, {"word": "first"}, ((7, 2),))
            ]
            return [Prepared(one.row, one.message, recipe={"word": "second"}, notices=((8, 1),))
                    for one in texts(rows)]  # fmt: skip

        for prepare, error in ((first, RetryableError("busy")), (second, None)):
            send_batch(outbox, {"email": Failing(error)}, prepare, lanes=LANES, limit=9, clock=clock)
            clock.advance(timedelta(minutes=2))
        (stored,) = outbox.recent(1)
        assert (stored.state, dict(stored.recipe), stored.notices) == ("sent", {"word": "first"}, ((7, 2),))

    def test_a_lease_that_was_lost_is_not_sent(self, outbox: OutboxStore, clock: FixedClock) -> None:
        outbox.enqueue([row(1)], NOW)
        channel = Failing(None)

        def slow(rows: Sequence[Delivery]) -> list[Prepared]:
            outbox.release_expired(NOW + LEASE)  # another process thinks we are dead
            outbox.claim(LANES, 1, NOW + LEASE, LEASE)
            return texts(rows)

        report = send_batch(outbox, {"email": channel}, slow, lanes=LANES, limit=9, clock=clock)
        assert (channel.tries, report.lost) == (0, 1)

    def test_expired_rows_end_even_where_nothing_sends(self, outbox: OutboxStore) -> None:
        outbox.enqueue(
            [row(1, expires_at=NOW + LEASE), row(2), row(3, run_id=4, expires_at=NOW + LEASE)], NOW
        )
        outbox.hold(4, NOW)
        assert outbox.expire(NOW + LEASE) == 2
        assert states(outbox) == {1: "expired", 2: "queued", 3: "expired"}

    def test_put_off_rows_expire_before_they_are_due(self, outbox: OutboxStore) -> None:
        outbox.enqueue([row(1, due_at=NOW + DAY, expires_at=NOW + LEASE), row(2, due_at=NOW + DAY)], NOW)
        assert outbox.expire(NOW) == 0
        assert outbox.expire(NOW + LEASE) == 1
        assert states(outbox) == {1: "expired", 2: "queued"}

    def test_a_throttled_row_ends_with_its_reason(self, outbox: OutboxStore, clock: FixedClock) -> None:
        hour = timedelta(hours=1)
        outbox.enqueue([row(1, expires_at=NOW + hour), row(2, expires_at=NOW + 2 * hour)], NOW)
        send_batch(outbox, {"email": Failing(ThrottledError("no money", 86_400))}, texts,
                   lanes=LANES, limit=9, clock=clock)  # fmt: skip
        found = {one.profile_id: one for one in outbox.recent(2)}
        assert (found[1].state, found[1].error) == ("expired", "no money")
        assert (found[2].state, found[2].due_at, found[2].attempts) == ("queued", NOW + hour, 0)

    def test_the_log_answers_within_limits(self, outbox: OutboxStore, database: Database) -> None:
        outbox.enqueue([row(number, notices=((7, 1),)) for number in range(30)], NOW)
        for one in outbox.claim(LANES, 25, NOW, LEASE):
            outbox.finish(one.id, one.lease_token, "sent", at=NOW, provider="smtp")
        log = OutboxLog(database)
        assert [(one.provider, one.state, one.count, one.last_sent) for one in log.sums_of_notice(7)] == [
            ("", "queued", 5, None), ("smtp", "sent", 25, NOW),
        ]  # fmt: skip
        assert len(log.of_notice(7, 10)) == 10 and log.of_profile(3)[0].notices == ((7, 1),)
        assert log.oldest_due(NOW + LEASE) == {"digest": 600.0}
