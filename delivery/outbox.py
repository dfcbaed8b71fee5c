"""The outbox: every message that is to be sent, and the log of what became of it.

One table is queue and log in one. A sender *claims* rows for a limited time (a lease, not a lock),
closes its transaction, sends, and then *finishes* each row; a lease that ran out is released by
:meth:`OutboxStore.release_expired`. ``sent`` means that a provider took the message, never that it
was delivered. Nothing here sends, builds text or reads a clock. Called by ``delivery.sending`` and
by the jobs that plan digests and alerts.

Source: docs/messages.md; the same shape as the mail tables of large government mailers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, func, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from delivery.outbox_claim import Guard, Refusal, put_back, take
from delivery.outbox_finish import begin, finish, freeze, renew
from delivery.outbox_runs import HeldRun, count_bounces, held, hold, release, waiting
from delivery.outbox_tables import (
    IS_QUEUED,
    delivery,
    delivery_notice,
    delivery_of,
    notices_of,
    parts,
    sending_switch,
    values_of,
)
from delivery.retry import MAX_ATTEMPTS, REPEATABLE
from delivery.types import LANES, Delivery, DeliveryState, Lane, NewDelivery, OutboxStatus, Outcome, Prepared
from feeds.kernel.db import Database, Instant, listed, quick_change, quick_rows, upsert, within
from feeds.kernel.time import to_micros

EVERYTHING = ""
URGENT: tuple[Lane, ...] = LANES[:2]
# Seconds after which a run is looked at again: while it is planned it may grow.
_LOOK_AGAIN = 1.0
RETRYABLE: tuple[DeliveryState, ...] = ("failed", "unknown", "expired", "cancelled")
# What failed earlier than so is not queued again unless somebody names it.
_LATELY = timedelta(days=1)
_WAITS = delivery.c.state.in_(("queued", "held"))
_IS_HELD = "state = 'held' AND run_id IN (SELECT run_id FROM delivery_run WHERE held_why <> '')"


class OutboxStore:
    """Reads and writes the outbox.

    Args:
        database: SQLite or PostgreSQL; both behave the same here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Run → until when nobody need look whether it grew too large or was held.
        self._looked: dict[int, float] = {}
        self._called: list[Callable[[], None]] = []

    def on_urgent(self, call: Callable[[], None]) -> None:
        """Call this whenever urgent rows were enqueued by this object; it must return at once."""
        self._called.append(call)

    def enqueue(self, rows: Sequence[NewDelivery], at: datetime, connection: Connection | None = None) -> int:
        """Add deliveries whose ``dedupe_key`` is new; leave the others exactly as they are.

        Args:
            rows: In any order; a key given twice counts once.
            at: Now.
            connection: An open writing transaction to join, so that plan and rows stand or fall
                together; without it this opens its own.

        Returns:
            How many rows are new.
        """
        if not rows:
            return 0
        with self._joined(connection) as open_connection:
            added = sum(self._add(open_connection, part, at) for part in parts(rows))
        if connection is None and any(row.lane in URGENT for row in rows):
            for call in self._called:
                call()
        return added

    def claim(
        self,
        lanes: Sequence[Lane],
        limit: int,
        now: datetime,
        lease: timedelta,
        *,
        channels: Collection[str] | None = None,
        guard: Guard | None = None,
        confirm_above: int = 0,
    ) -> list[Delivery]:
        """Take due rows for sending; nobody else gets them until the lease ends.

        Each claim counts as an attempt, so a message that kills its sender cannot do so for ever.
        Rows past ``expires_at`` become ``expired`` instead. A switched-off channel gives nothing, and a
        run that is held or too large gives nothing but to alerts.

        Args:
            lanes: Taken in this order.
            limit: Most rows returned.
            now: Rows with ``due_at <= now`` are due.
            lease: How long the caller may hold them.
            channels: Only these, or all.
            guard: Asked once for each batch whether its rows may still go out (``delivery.outbox_guard``).
            confirm_above: A run of more rows waits until a person releases it; 0 holds none.

        Returns:
            By lane, then oldest due first, then smallest id; each with its lease token.
        """
        claimed: list[Delivery] = []
        chosen = None if channels is None else sorted(channels)

        def judged(connection: Connection, rows: Sequence[Delivery], at: datetime) -> dict[int, Refusal]:
            refusals = self._held(connection, rows, at, confirm_above)
            if guard is not None:
                refusals = {**guard(connection, rows, at), **refusals}
            return refusals

        with self._database.write_plain() as connection:
            paused = sorted(self._paused(connection))
            if EVERYTHING in paused:
                return []
            for lane in lanes:
                claimed += take(
                    connection, lane, limit - len(claimed), now, now + lease,
                    channels=chosen, paused=paused, guard=judged,
                )  # fmt: skip
                if len(claimed) >= limit:
                    break
        return claimed

    def freeze(self, prepared: Sequence[Prepared], at: datetime) -> set[int]:
        """Fix recipe and notices of what is sent for the first time, in one transaction, before it is sent.

        Rows that were fixed before stay exactly as they are.

        Returns:
            The ids whose lease still stands; the others belong to somebody else and must not be sent.
        """
        if not prepared:
            return set()
        with self._database.write_plain() as connection:
            return freeze(connection, prepared, at)

    def begin(self, rows: Sequence[Delivery]) -> set[int]:
        """Note that these are handed to their provider from now on, for channels that must never repeat.

        Returns:
            The ids whose lease still stands.
        """
        if not rows:
            return set()
        with self._database.write_plain() as connection:
            return begin(connection, rows)

    def renew(self, rows: Sequence[Delivery], until: datetime) -> int:
        """Hold rows for longer that are in the air; returns how many are still the caller's."""
        if not rows:
            return 0
        with self._database.write_plain() as connection:
            return renew(connection, rows, until)

    def finish(
        self,
        delivery_id: int,
        lease_token: str,
        state: DeliveryState,
        *,
        at: datetime,
        provider: str = "",
        provider_ref: str = "",
        segments: int = 0,
        error: str = "",
        due_at: datetime | None = None,
    ) -> bool:
        """Record what became of one claimed row; see :meth:`finish_many`."""
        outcome = Outcome(delivery_id, lease_token, state, provider, provider_ref, segments, error, due_at)
        return self.finish_many([outcome], at) == 1

    def finish_many(self, outcomes: Sequence[Outcome], at: datetime) -> int:
        """Record outcomes in one transaction.

        Returns:
            How many were recorded; fewer than given where a lease was lost to somebody else.
        """
        if not outcomes:
            return 0
        with self._database.write_plain() as connection:
            count, rejected = finish(connection, outcomes, at)
            count_bounces(connection, rejected, at)
        return count

    def release_expired(self, now: datetime) -> dict[str, int]:
        """Take back rows whose sender died.

        A mail or a webhook is queued again (same Message-ID, so it may arrive twice but is not lost), and
        so is what was not begun. A text that was begun becomes ``unknown``, because it costs money and may
        have gone out: the provider is asked first. What was claimed six times becomes ``failed``.

        Returns:
            New state → rows.
        """
        over = "SELECT 1 FROM delivery WHERE state = 'leased' AND lease_until <= ? LIMIT 1"
        with self._database.read() as connection:
            if not quick_rows(connection, over, [to_micros(now)]):
                return {}
        with self._database.write() as connection:
            return put_back(connection, now, REPEATABLE, MAX_ATTEMPTS)

    def expire(self, now: datetime, limit: int = 10_000) -> int:
        """End waiting rows whose time is over, also of channels that are switched off; returns how many."""
        # Also of rows that are put off to a later hour: nobody would claim them before.
        old = "SELECT id FROM delivery WHERE state = 'queued' AND lane = ? AND expires_at <= ? LIMIT ?"
        held = f"SELECT id FROM delivery WHERE {_IS_HELD} AND expires_at <= ? LIMIT ?"  # noqa: S608
        instant, count = to_micros(now), 0
        with self._database.read() as connection:  # the look takes long where many wait; nobody waits for it
            found: list[tuple[int]] = quick_rows(connection, held, [instant, limit])
            for lane in LANES:
                found += quick_rows(connection, old, [lane, instant, limit])
        for part in parts([number for (number,) in found]):
            with self._database.write() as connection:
                count += quick_change(
                    connection,
                    "UPDATE delivery SET state = 'expired', changed_at = ? WHERE "  # noqa: S608
                    f"{within(connection, 'id')} AND state IN ('queued', 'held') AND expires_at <= ?",
                    [instant, listed(connection, part), instant],
                )
        return count

    def any_due(self, lanes: Sequence[Lane], now: datetime) -> bool:
        """Whether anything is due, paused or not; cheap enough to be asked all the time."""
        due = "SELECT 1 FROM delivery WHERE state = 'queued' AND lane = ? AND due_at <= ? LIMIT 1"
        with self._database.read() as connection:
            return any(quick_rows(connection, due, [lane, to_micros(now)]) for lane in lanes)

    def hold(self, run_id: int, at: datetime, why: str = "size") -> int:
        """Hold what a run still has to send until a person releases it; returns how many rows."""
        self._looked.pop(run_id, None)
        with self._database.write() as connection:
            return hold(connection, run_id, why, at)

    def release(self, run_id: int, at: datetime, by: str = "") -> int:
        """Let a held run go on; returns how many rows are queued again."""
        with self._database.write() as connection:
            return release(connection, run_id, by, at)

    def held_runs(self) -> list[HeldRun]:
        """Runs that wait for a person, oldest first."""
        with self._database.read() as connection:
            return held(connection)

    def status(self, now: datetime) -> OutboxStatus:
        """Count rows by channel and state, and tell the age of the oldest due one."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(delivery.c.channel, delivery.c.state, func.count())
                .group_by(delivery.c.channel, delivery.c.state)
                .order_by(delivery.c.channel, delivery.c.state)
            ).all()
            oldest = connection.scalar(select(func.min(delivery.c.due_at)).where(IS_QUEUED))
            paused = self._paused(connection)
        counts: dict[str, dict[str, int]] = {}
        for channel, state, count in rows:
            counts.setdefault(channel, {})[state] = count
        late = (now - oldest).total_seconds() if oldest is not None and oldest <= now else None
        leased = sum(states.get("leased", 0) for states in counts.values())
        return OutboxStatus(counts, late, leased, paused)

    def last_change(self) -> list[datetime]:
        """When a row was last changed; empty without rows. Reads the whole log."""
        with self._database.read() as connection:
            newest = connection.scalar(select(func.max(delivery.c.changed_at)))
        return [] if newest is None else [newest]

    def sizes(self) -> dict[tuple[str, str], int]:
        """Count rows by (lane, state); the whole log is counted, in one query."""
        query = select(delivery.c.lane, delivery.c.state, func.count()).group_by(
            delivery.c.lane, delivery.c.state
        )
        with self._database.read() as connection:
            return {(lane, state): count for lane, state, count in connection.execute(query)}

    def pause(self, at: datetime, reason: str = "", channel: str = EVERYTHING) -> None:
        """Stop sending at the next claim: everything, or one channel. Planning goes on."""
        row = {"channel": channel, "paused_at": at, "reason": reason}
        with self._database.write() as connection:
            upsert(connection, sending_switch, [row], ["channel"])

    def resume(self, channel: str = EVERYTHING) -> bool:
        """Undo :meth:`pause`; tells whether anything was paused."""
        with self._database.write() as connection:
            found = connection.execute(sending_switch.delete().where(sending_switch.c.channel == channel))
        return found.rowcount > 0

    def paused(self) -> dict[str, str]:
        """Return what is switched off: channel → reason; ``""`` is everything."""
        with self._database.read() as connection:
            return self._paused(connection)

    def retry(self, ids: Collection[int] | None, at: datetime, expires_at: datetime) -> int:
        """Queue again what ended badly, due at once, with its attempts counted from 0.

        Args:
            ids: These, if ``failed``, ``unknown``, ``expired`` or ``cancelled``. ``None``: what ``failed``
                of the last day and is still of use, alerts excepted; an old warning must not come back.
                An ``unknown`` SMS may be sent twice: look it up first.
            at: Now.
            expires_at: The new end of the life of each row that is named, where its own is earlier.

        Returns:
            How many rows were queued.
        """
        base = update(delivery).values(
            state="queued", due_at=at, attempts=0, begun=0, error="", changed_at=at
        )
        lately = (
            delivery.c.state == "failed", delivery.c.lane != "alert", delivery.c.expires_at > at,
            delivery.c.created_at > at - _LATELY,
        )  # fmt: skip
        named = base.values(expires_at=_later(delivery.c.expires_at, expires_at)).where(
            delivery.c.state.in_(RETRYABLE)
        )
        with self._database.write() as connection:
            if ids is None:
                return connection.execute(base.where(*lately)).rowcount
            return sum(
                connection.execute(named.where(delivery.c.id.in_(part))).rowcount
                for part in parts(sorted(ids))
            )

    def cancel(self, ids: Collection[int] | None, at: datetime, *, channel: str = EVERYTHING) -> int:
        """Turn rows that wait, also held ones, into ``cancelled``: the given ones, or all (of one channel).

        Rows already claimed are on their way and stay as they are.
        """
        base = update(delivery).values(state="cancelled", changed_at=at)
        if channel:
            base = base.where(delivery.c.channel == channel)
        with self._database.write() as connection:
            if ids is None:
                # Each part has an index of its own; together they have none.
                return sum(
                    connection.execute(base.where(one)).rowcount for one in (IS_QUEUED, text(_IS_HELD))
                )
            return sum(
                connection.execute(base.where(delivery.c.id.in_(part), _WAITS)).rowcount
                for part in parts(sorted(ids))
            )

    def cancel_run(self, run_id: int, at: datetime) -> int:
        """Turn what a run has not sent yet into ``cancelled``; it waits for nobody any more."""
        rest = (
            "UPDATE delivery SET state = 'cancelled', changed_at = ? WHERE run_id = ? "
            "AND state IN ('queued', 'held')"
        )
        with self._database.write() as connection:
            # Rows first, then the run: whoever waits for the run may hold rows.
            count = quick_change(connection, rest, [to_micros(at), run_id])
            release(connection, run_id, "cancelled", at)
        return count

    def cancel_profile(self, profile_id: int, at: datetime, *, channel: str = EVERYTHING) -> int:
        """Turn a resident's waiting rows, also held ones, into ``cancelled``, e.g. when they leave."""
        base = update(delivery).where(_WAITS, delivery.c.profile_id == profile_id)
        if channel:
            base = base.where(delivery.c.channel == channel)
        with self._database.write() as connection:
            return connection.execute(base.values(state="cancelled", changed_at=at)).rowcount

    def get(self, delivery_id: int) -> Delivery | None:
        """Return one row with its notices."""
        return next(iter(self._find(delivery.c.id == delivery_id)), None)

    def many(self, ids: Collection[int]) -> list[Delivery]:
        """Return rows with their notices, by id; unknown ids are left out."""
        return [row for part in parts(sorted(ids)) for row in self._find(delivery.c.id.in_(part))]

    def for_notice(self, notice_id: int) -> list[Delivery]:
        """Return every delivery that carries a notice, by id: "who was sent this"."""
        carrying = select(delivery_notice.c.delivery_id).where(delivery_notice.c.notice_id == notice_id)
        return self._find(delivery.c.id.in_(carrying))

    def for_profile(self, profile_id: int) -> list[Delivery]:
        """Return every delivery planned for a resident, by id."""
        return self._find(delivery.c.profile_id == profile_id)

    def recent(self, limit: int, *, state: DeliveryState | None = None) -> list[Delivery]:
        """Return the newest rows, newest first."""
        condition = [] if state is None else [delivery.c.state == state]
        newest = select(delivery.c.id).where(*condition).order_by(delivery.c.id.desc()).limit(limit)
        return self._find(delivery.c.id.in_(newest))[::-1]

    @contextmanager
    def _joined(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
            return
        with self._database.write() as own:
            yield own

    def _add(self, connection: Connection, rows: Sequence[NewDelivery], at: datetime) -> int:
        dialect_insert: Any = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        by_key = {row.dedupe_key: row for row in reversed(rows)}
        statement = dialect_insert(delivery).on_conflict_do_nothing(index_elements=["dedupe_key"])
        # RETURNING names the new rows only, so an old delivery never gets another one's notices.
        added = connection.execute(
            statement.returning(delivery.c.id, delivery.c.dedupe_key),
            [values_of(row, at) for row in reversed(by_key.values())],
        ).all()
        carried = [
            {"delivery_id": delivery_id, "notice_id": notice, "revision": revision}
            for delivery_id, key in added
            for notice, revision in dict(by_key[key].notices).items()
        ]
        if carried:
            connection.execute(insert(delivery_notice), carried)
        return len(added)

    def _held(
        self, connection: Connection, rows: Sequence[Delivery], at: datetime, above: int
    ) -> dict[int, Refusal]:
        """Rows of runs that wait for a person; alerts never do."""
        runs = {row.run_id for row in rows if row.lane != "alert"}
        tick = time.monotonic()
        asked = [run for run in runs if run is not None and self._looked.get(run, 0.0) <= tick]
        if not asked:
            return {}
        found = waiting(connection, asked, above, at)
        if len(self._looked) > 1_000:
            self._looked.clear()
        self._looked |= {run: tick + _LOOK_AGAIN for run in asked if run not in found}
        return {
            row.id: Refusal("held", f"The run waits for a person ({found[row.run_id]}).")
            for row in rows
            if row.run_id in found and row.lane != "alert"
        }

    def _find(self, condition: Any) -> list[Delivery]:
        with self._database.read() as connection:
            rows = connection.execute(select(delivery).where(condition).order_by(delivery.c.id)).all()
            notices = notices_of(connection, [row.id for row in rows])
        return [delivery_of(row, notices.get(row.id, ())) for row in rows]

    def _paused(self, connection: Connection) -> dict[str, str]:
        return dict(quick_rows(connection, "SELECT channel, reason FROM sending_switch ORDER BY channel"))


def _later(column: Any, instant: datetime) -> Any:
    return case((column < instant, literal(instant, Instant)), else_=column)
