"""One round of sending: claim, build, send, record. The only caller of a channel's ``send``.

Safe to kill at any point. No database connection is open while a provider is called: the claim is
committed before the first message is built, and results are written by the calling thread while
others send. What was accepted but not yet recorded when the process dies may be sent again: at most
``threads`` messages in flight and those finished since the last write, and mail only (see
``OutboxStore.release_expired``). Called by ``api.jobs``.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import cast

from delivery.errors import DeliveryError
from delivery.outbox import OutboxStore
from delivery.retry import final_state, retry_at
from delivery.types import ChannelPort, Delivery, DeliveryState, Lane, Message, Outcome, SmsMessage
from feeds.kernel.time import Clock

LEASE = timedelta(minutes=10)
# A row is not begun in the last part of its lease, so that it cannot outlive it.
_MARGIN = timedelta(minutes=3)
_WRITE_AT_MOST = 50
_LINGER = 0.005
_ADDRESS = re.compile(r"[^\s<>@:;,'\"]+@|\+?\d{7,15}")

Build = Callable[[Delivery], Message | None]


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
    build: Build,
    *,
    lanes: Sequence[Lane],
    limit: int,
    clock: Clock,
    threads: int = 4,
    lease: timedelta = LEASE,
    stop: threading.Event | None = None,
) -> SendReport:
    """Send at most ``limit`` due messages.

    Args:
        outbox: Where rows are claimed and finished.
        channels: Name → port; rows of other channels are left alone.
        build: Makes the message, reading what it needs; ``None`` means nothing to say. It must
            have closed its transaction when it returns, checks that the resident still wants it
            (``SuppressedError``), and may be called from several threads.
        lanes: Taken in this order.
        limit: Most rows claimed.
        clock: Tells when leases and retries fall.
        threads: How many messages are in flight at once.
        lease: How long the rows are held.
        stop: When set, what is not begun is put back at once.

    Returns:
        The report; ``claimed`` 0 means that nothing was due.
    """
    begun = clock.now()
    rows = outbox.claim(lanes, limit, begun, lease, channels=list(channels))
    if not rows:
        return SendReport(0)
    until = begun + max(lease - _MARGIN, lease / 2)
    done: SimpleQueue[Outcome] = SimpleQueue()
    halt = stop or threading.Event()

    def work(row: Delivery) -> None:
        done.put(_attempt(row, channels, build, clock, until, halt))

    with ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="send") as pool:
        try:
            for row in rows:
                pool.submit(work, row)
            return _record(outbox, done, len(rows), clock)
        except BaseException:
            # A result that cannot be written, or an interrupt: begin nothing more. What is not
            # recorded is released when its lease ends.
            halt.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _record(outbox: OutboxStore, done: SimpleQueue[Outcome], expected: int, clock: Clock) -> SendReport:
    """Write results in small groups as they come in; none waits more than a few milliseconds."""
    states: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    lost = 0
    seen = 0
    while seen < expected:
        group = [done.get()]
        while len(group) < min(_WRITE_AT_MOST, expected - seen):
            try:
                group.append(done.get(timeout=_LINGER))
            except Empty:
                break
        lost += len(group) - outbox.finish_many(group, clock.now())
        states.update(outcome.state for outcome in group)
        errors.update(outcome.error for outcome in group if outcome.error)
        seen += len(group)
    return SendReport(expected, dict(states), lost, dict(errors.most_common(20)))


def _attempt(
    row: Delivery,
    channels: Mapping[str, ChannelPort],
    build: Build,
    clock: Clock,
    until: datetime,
    halt: threading.Event,
) -> Outcome:
    """Build and send one message; every way it can end becomes an :class:`Outcome`."""
    if halt.is_set() or clock.now() >= until:
        return Outcome(row.id, row.lease_token, "queued", due_at=row.due_at, untried=True)
    try:
        message = build(row)
        if message is None:
            return Outcome(row.id, row.lease_token, "skipped")
        accepted = channels[row.channel].send(message)
    except Exception as error:  # a fault of ours must not take the other messages with it
        return _failed(row, error, clock.now())
    segments = message.segments if isinstance(message, SmsMessage) else 0
    return Outcome(
        row.id, row.lease_token, "sent",
        provider=accepted.provider, provider_ref=accepted.ref, segments=segments,
    )  # fmt: skip


def _failed(row: Delivery, error: Exception, now: datetime) -> Outcome:
    note = _note(error)
    again = retry_at(row.attempts, error, channel=row.channel, now=now, expires_at=row.expires_at)
    if again is not None:
        return Outcome(row.id, row.lease_token, "queued", error=note, due_at=again)
    return Outcome(row.id, row.lease_token, cast(DeliveryState, final_state(error)), error=note)


def _note(error: Exception) -> str:
    """One line for the log: errors of our own as they are, others with their type; no address."""
    text = " ".join(str(error).split())
    if not isinstance(error, DeliveryError):
        text = f"{type(error).__name__}: {text}"
    return _ADDRESS.sub("***", text)[:300]
