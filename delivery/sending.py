"""One round of sending: claim, prepare, freeze, send, record. The only caller of a channel's ``send``.

Safe to kill at any point. No database connection is open while a provider is called: the claim is
committed before the first message is prepared, what a message says is fixed before it is sent, and
results are written by a thread of their own while others send. What was handed over but not yet
recorded when the process dies may be sent again: at most :data:`IN_FLIGHT` messages, and only where the
receiver can recognise it (see ``OutboxStore.release_expired``). Called by ``api.jobs``.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import cast

from delivery.errors import (
    DeliveryError,
    PermanentError,
    RetryableError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.outbox import OutboxStore
from delivery.outbox_breaker import Breaker
from delivery.outbox_claim import Guard
from delivery.retry import REPEATABLE, final_state, retry_at, throttled_until
from delivery.types import (
    ChannelPort,
    Delivery,
    DeliveryState,
    Lane,
    MailMessage,
    Outcome,
    Prepare,
    Prepared,
    SmsMessage,
)
from feeds.kernel.db import chunks
from feeds.kernel.errors import StorageError
from feeds.kernel.time import Clock

LEASE = timedelta(minutes=10)
# Of alerts and confirmations: what a dead sender held goes out again after this long at the latest. Half
# of it is its margin, longer than a database may keep a writer waiting; what is in the air renews its own.
URGENT_LEASE = timedelta(seconds=75)
# Messages handed over whose result is not written yet, at most.
IN_FLIGHT = 32
# Rows that are prepared together.
PREPARED = 100
# Nothing is begun in the last part of a lease. What is in the air then holds on to its row until it lands.
_MARGIN = timedelta(minutes=3)
_LINGER = 0.005
_ADDRESS = re.compile(r"[^\s<>@:;,'\"]+@|\+?\d{7,15}")


@dataclass(frozen=True, slots=True)
class SendReport:
    """What one round did.

    Attributes:
        claimed: Rows taken.
        states: Final state → rows; ``queued`` are those that wait for another attempt.
        lost: Results that came after their lease had gone to somebody else.
        errors: Different reasons → rows, most frequent first, without addresses.
    """

    claimed: int
    states: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """Messages a provider took."""
        return self.states.get("sent", 0)


def merged(reports: Sequence[SendReport]) -> SendReport:
    """Add up the reports of several rounds."""
    states: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for report in reports:
        states.update(report.states)
        errors.update(report.errors)
    claimed, lost = sum(r.claimed for r in reports), sum(r.lost for r in reports)
    return SendReport(claimed, dict(states), lost, dict(errors.most_common()))


def send_batch(
    outbox: OutboxStore,
    channels: Mapping[str, ChannelPort],
    prepare: Prepare,
    *,
    lanes: Sequence[Lane],
    limit: int,
    clock: Clock,
    threads: int = 4,
    lease: timedelta = LEASE,
    stop: threading.Event | None = None,
    guard: Guard | None = None,
    breaker: Breaker | None = None,
    confirm_above: int = 0,
) -> SendReport:
    """Send at most ``limit`` due messages.

    Args:
        outbox: Where rows are claimed and finished.
        channels: Name → port; rows of other channels are left alone.
        prepare: Makes the messages of at most :data:`PREPARED` rows, reading what they need in a few
            queries. It must have closed its transaction when it returns.
        lanes: Taken in this order.
        limit: Most rows claimed.
        clock: Tells when leases and retries fall.
        threads: How many messages are in flight at once.
        lease: How long the rows are held.
        stop: When set, what is not begun is put back at once.
        guard: Asked at the claim whether rows may still go out.
        breaker: Leaves channels alone whose provider is down; without it each row is tried.
        confirm_above: See ``OutboxStore.claim``.

    Returns:
        The report; ``claimed`` 0 means that nothing was due.
    """
    begun = clock.now()
    open_channels = [name for name in channels if breaker is None or breaker.open_until(name, begun) is None]
    if not open_channels:
        return SendReport(0)
    rows = outbox.claim(
        lanes, limit, begun, lease, channels=open_channels, guard=guard, confirm_above=confirm_above
    )
    if not rows:
        return SendReport(0)
    until = begun + max(lease - _MARGIN, lease / 2)
    halt = stop or threading.Event()
    return _Round(outbox, channels, prepare, clock, lease, until, halt, breaker).run(rows, threads)


class _Round:
    """The claimed rows on their way: one thread prepares, several send, one records."""

    def __init__(
        self,
        outbox: OutboxStore,
        channels: Mapping[str, ChannelPort],
        prepare: Prepare,
        clock: Clock,
        lease: timedelta,
        until: datetime,
        halt: threading.Event,
        breaker: Breaker | None,
    ) -> None:
        self._outbox, self._channels, self._prepare = outbox, channels, prepare
        self._clock, self._until, self._halt, self._breaker = clock, until, halt, breaker
        self._lease, self._renewed_at = lease, until
        self._broken = threading.Event()
        self._done: SimpleQueue[Outcome] = SimpleQueue()
        self._room = threading.BoundedSemaphore(IN_FLIGHT)
        self._in_flight: dict[int, Delivery] = {}
        self._lost = 0

    def run(self, rows: Sequence[Delivery], threads: int) -> SendReport:
        with (
            ThreadPoolExecutor(1, thread_name_prefix="record") as writer,
            ThreadPoolExecutor(max(1, threads), thread_name_prefix="send") as pool,
        ):
            report = writer.submit(self._record, len(rows))
            try:
                for part in chunks(rows, PREPARED):
                    self._send_all(self._ready(part), pool)
                return report.result()
            except BaseException:
                # A result that cannot be written, or an interrupt: begin nothing more. What is not
                # recorded is released when its lease ends.
                self._broken.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _over(self) -> bool:
        return self._broken.is_set() or self._halt.is_set() or self._clock.now() >= self._until

    def _ready(self, rows: Sequence[Delivery]) -> list[Prepared]:
        """Prepare and freeze; what ends here becomes an outcome at once."""
        if self._over():
            self._put_back(rows)
            return []
        prepared = self._prepared(rows)
        self._done_with(one for one in prepared if one.message is None)
        ready = [one for one in prepared if one.message is not None]
        standing = self._outbox.freeze(ready, self._clock.now())
        self._lose([one.row for one in ready if one.row.id not in standing])
        return [one for one in ready if one.row.id in standing]

    def _prepared(self, rows: Sequence[Delivery]) -> list[Prepared]:
        """Prepare together; where that fails, one by one, so that a single bad row harms no other."""
        try:
            found = {one.row.id: one for one in self._prepare(rows)}
        except StorageError:
            raise  # the database is in trouble: no row is at fault, and none should lose an attempt
        except Exception as error:
            if len(rows) == 1:
                self._done.put(self._failed(rows[0], error))
                return []
            return [one for row in rows for one in self._prepared([row])]
        missing = [row for row in rows if row.id not in found]
        for row in missing:
            self._done.put(self._failed(row, RuntimeError("nothing was prepared for this row")))
        return [found[row.id] for row in rows if row.id in found]

    def _done_with(self, prepared: Iterator[Prepared]) -> None:
        for one in prepared:
            row = one.row
            if one.error is not None:
                self._done.put(self._failed(row, one.error))
            else:
                self._done.put(Outcome(row.id, row.lease_token, "skipped", error=one.why))

    def _send_all(self, ready: Sequence[Prepared], pool: ThreadPoolExecutor) -> None:
        """Hand over; where a repetition would not be recognised, only after that was written down."""
        for part in chunks(ready, IN_FLIGHT // 2):
            careful = [one.row for one in part if one.row.channel not in REPEATABLE]
            if careful and self._over():
                self._put_back([one.row for one in part])
                continue
            lost = {row.id for row in careful} - self._outbox.begin(careful)
            self._lose([row for row in careful if row.id in lost])
            for one in part:
                if one.row.id not in lost:
                    self._wait_for_room()
                    self._in_flight[one.row.id] = one.row
                    pool.submit(self._work, one)

    def _wait_for_room(self) -> None:
        while not self._room.acquire(timeout=0.5):
            if self._broken.is_set():
                raise StorageError("Results cannot be written; the rest waits for its lease to end.")

    def _work(self, one: Prepared) -> None:
        self._done.put(self._attempt(one))

    def _attempt(self, one: Prepared) -> Outcome:
        """Send one message; every way it can end becomes an :class:`Outcome`."""
        row, message = one.row, one.message
        now = self._clock.now()
        if self._over():
            return Outcome(row.id, row.lease_token, "queued", due_at=row.due_at, untried=True)
        if self._breaker is not None and (later := self._breaker.open_until(row.channel, now)) is not None:
            return Outcome(row.id, row.lease_token, "queued", due_at=later, untried=True)
        try:
            accepted = self._channels[row.channel].send(message)  # type: ignore[arg-type]
        except Exception as error:  # a fault of ours must not take the other messages with it
            self._note(row.channel, error)
            return self._failed(row, error)
        self._note(row.channel, None)
        segments = message.segments if isinstance(message, SmsMessage) else 0
        # A reference that is our own Message-ID is made of the row's number; it need not be kept and found.
        ours = isinstance(message, MailMessage) and accepted.ref == message.message_id
        return Outcome(
            row.id, row.lease_token, "sent",
            provider=accepted.provider, provider_ref="" if ours else accepted.ref, segments=segments,
        )  # fmt: skip

    def _note(self, channel: str, error: Exception | None) -> None:
        """Tell the breaker; a provider that throttles is neither well nor down."""
        if self._breaker is None or isinstance(error, ThrottledError):
            return
        if isinstance(error, RetryableError | UnknownOutcomeError):
            self._breaker.failure(channel, self._clock.now())
        elif error is None or isinstance(error, DeliveryError):
            self._breaker.success(channel)

    def _failed(self, row: Delivery, error: Exception) -> Outcome:
        note, now = _note(error), self._clock.now()
        if isinstance(error, ThrottledError):
            due = throttled_until(error.seconds, lane=row.lane, now=now, expires_at=row.expires_at)
            state: DeliveryState = "expired" if due is None else "queued"
            return Outcome(row.id, row.lease_token, state, error=note, due_at=due, untried=True)
        again = retry_at(row.attempts, error, channel=row.channel, now=now, expires_at=row.expires_at)
        if again is not None:
            return Outcome(row.id, row.lease_token, "queued", error=note, due_at=again)
        return Outcome(
            row.id, row.lease_token, cast(DeliveryState, final_state(error)),
            error=note, rejected=isinstance(error, PermanentError),
        )  # fmt: skip

    def _put_back(self, rows: Sequence[Delivery]) -> None:
        for row in rows:
            self._done.put(Outcome(row.id, row.lease_token, "queued", due_at=row.due_at, untried=True))

    def _lose(self, rows: Sequence[Delivery]) -> None:
        """Rows whose lease went to somebody else; their outcome is refused by the token as well."""
        for row in rows:
            self._done.put(Outcome(row.id, row.lease_token, "queued", untried=True))

    def _record(self, expected: int) -> SendReport:
        """Write results in small groups as they come in; none waits more than a few milliseconds."""
        states: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        lost = seen = 0
        try:
            while seen < expected:
                group = self._group(expected - seen)
                lost += len(group) - self._outbox.finish_many(group, self._clock.now())
                for outcome in group:
                    if self._in_flight.pop(outcome.delivery_id, None) is not None:
                        self._room.release()
                states.update(outcome.state for outcome in group)
                errors.update(outcome.error for outcome in group if outcome.error)
                seen += len(group)
        except BaseException:
            self._broken.set()
            raise
        return SendReport(expected, dict(states), lost, dict(errors.most_common(20)))

    def _renew(self) -> None:
        """Late in the lease: hold on to what is in the air, however long its provider takes to answer."""
        now = self._clock.now()
        if now < self._renewed_at:
            return
        self._outbox.renew(list(self._in_flight.copy().values()), now + self._lease)
        self._renewed_at = now + self._lease / 3

    def _group(self, most: int) -> list[Outcome]:
        group: list[Outcome] = []
        while not group:
            try:
                group.append(self._done.get(timeout=0.5))
            except Empty:
                if self._broken.is_set():
                    raise StorageError("The round was broken off.") from None
            self._renew()
        while len(group) < min(IN_FLIGHT, most):
            try:
                group.append(self._done.get(timeout=_LINGER))
            except Empty:
                break
        return group


def _note(error: Exception) -> str:
    """One line for the log: errors of our own as they are, others with their type; no address."""
    text = " ".join(str(error).split())
    if not isinstance(error, DeliveryError):
        text = f"{type(error).__name__}: {text}"
    return _ADDRESS.sub("***", text)[:300]
