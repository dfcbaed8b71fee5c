"""The outbox: every message that is to be sent, and the log of what became of it.

One table is queue and log in one. A sender *claims* rows for a limited time (a lease, not a lock),
closes its transaction, sends, and then *finishes* each row; a lease that ran out is released by
:meth:`OutboxStore.release_expired`. ``sent`` means that a provider took the message, never that it
was delivered. Nothing here sends, builds text or reads a clock. Called by ``delivery.sending`` and
by the jobs that plan digests and alerts.

Source: docs/messages.md; the same shape as the mail tables of large government mailers.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from delivery.outbox_tables import (
    BATCH,
    IS_LEASED,
    IS_QUEUED,
    delivery,
    delivery_notice,
    delivery_of,
    notices_of,
    parts,
    sending_switch,
    values_of,
)
from delivery.retry import MAX_ATTEMPTS
from delivery.types import Delivery, DeliveryState, Lane, NewDelivery, OutboxStatus, Outcome
from feeds.kernel.db import Database, Instant, upsert

EVERYTHING = ""
_RETRYABLE: tuple[DeliveryState, ...] = ("failed", "unknown", "expired", "cancelled")


class OutboxStore:
    """Reads and writes the outbox.

    Args:
        database: SQLite or PostgreSQL; both behave the same here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

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
            return sum(self._add(open_connection, part, at) for part in parts(rows))

    def claim(
        self,
        lanes: Sequence[Lane],
        limit: int,
        now: datetime,
        lease: timedelta,
        *,
        channels: Collection[str] | None = None,
    ) -> list[Delivery]:
        """Take due rows for sending; nobody else gets them until the lease ends.

        Each claim counts as an attempt, so a message that kills its sender cannot do so for ever.
        Rows past ``expires_at`` become ``expired`` instead. A switched-off channel gives nothing.

        Args:
            lanes: Taken in this order.
            limit: Most rows returned.
            now: Rows with ``due_at <= now`` are due.
            lease: How long the caller may hold them.
            channels: Only these, or all.

        Returns:
            By lane, then oldest due first, then smallest id; each with its lease token.
        """
        claimed: list[Delivery] = []
        with self._database.write() as connection:
            paused = self._paused(connection)
            if EVERYTHING in paused:
                return []
            for lane in lanes:
                wanted = self._due(lane, now, channels, paused)
                claimed += self._take(connection, wanted, limit - len(claimed), now, now + lease)
                if len(claimed) >= limit:
                    break
        return claimed

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
        sent = [outcome for outcome in outcomes if outcome.state == "sent"]
        with self._database.write() as connection:
            others = sum(self._finish(connection, one, at) for one in outcomes if one.state != "sent")
            return others + self._finish_sent(connection, sent, at)

    def release_expired(self, now: datetime) -> dict[str, int]:
        """Take back rows whose sender died.

        A mail is queued again (same Message-ID, so it may arrive twice but is not lost); every
        other channel becomes ``unknown``, because a text costs money and may have gone out. A mail
        that was claimed six times becomes ``failed``.

        Returns:
            New state → rows.
        """
        over = and_(IS_LEASED, delivery.c.lease_until <= now)
        mail, spent = delivery.c.channel == "email", delivery.c.attempts >= MAX_ATTEMPTS
        note = "The sender ended before it could report."
        with self._database.write() as connection:
            released = {
                state: connection.execute(
                    update(delivery)
                    .where(over, *condition)
                    .values(state=state, lease_until=None, lease_token=None, changed_at=now, error=note)
                ).rowcount
                for state, condition in (
                    ("failed", (mail, spent)),
                    ("queued", (mail,)),
                    ("unknown", ()),
                )
            }
        return {state: count for state, count in released.items() if count}

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
            ids: These, if ``failed``, ``unknown``, ``expired`` or ``cancelled``; ``None`` for all
                ``failed`` ones. An ``unknown`` SMS may be sent twice: look it up first.
            at: Now.
            expires_at: The new end of each row's life, where its own is earlier.

        Returns:
            How many rows were queued.
        """
        base = update(delivery).values(
            state="queued", due_at=at, attempts=0, error="", changed_at=at,
            expires_at=_later(delivery.c.expires_at, expires_at),
        )  # fmt: skip
        with self._database.write() as connection:
            if ids is None:
                return connection.execute(base.where(delivery.c.state == "failed")).rowcount
            return sum(
                connection.execute(
                    base.where(delivery.c.id.in_(part), delivery.c.state.in_(_RETRYABLE))
                ).rowcount
                for part in parts(sorted(ids))
            )

    def cancel(self, ids: Collection[int] | None, at: datetime, *, channel: str = EVERYTHING) -> int:
        """Turn queued rows into ``cancelled``: the given ones, or all (of one channel).

        Rows already claimed are on their way and stay as they are.
        """
        base = update(delivery).where(IS_QUEUED).values(state="cancelled", changed_at=at)
        if channel:
            base = base.where(delivery.c.channel == channel)
        with self._database.write() as connection:
            if ids is None:
                return connection.execute(base).rowcount
            return sum(
                connection.execute(base.where(delivery.c.id.in_(part))).rowcount
                for part in parts(sorted(ids))
            )

    def cancel_profile(self, profile_id: int, at: datetime, *, channel: str = EVERYTHING) -> int:
        """Turn a resident's queued rows into ``cancelled``, e.g. when they leave."""
        base = update(delivery).where(IS_QUEUED, delivery.c.profile_id == profile_id)
        if channel:
            base = base.where(delivery.c.channel == channel)
        with self._database.write() as connection:
            return connection.execute(base.values(state="cancelled", changed_at=at)).rowcount

    def confirm(self, provider: str, provider_ref: str, state: DeliveryState, at: datetime) -> bool:
        """Record a provider's receipt: ``delivered``, ``bounced`` or ``complained``.

        Returns:
            False if no row that was sent, or whose outcome is unknown, bears that reference.
        """
        with self._database.write() as connection:
            found = connection.execute(
                update(delivery)
                .where(
                    delivery.c.provider_ref == provider_ref,
                    text("provider_ref <> ''"),
                    delivery.c.provider == provider,
                    delivery.c.state.in_(("sent", "delivered", "unknown")),
                )
                .values(state=state, changed_at=at)
            )
        return found.rowcount > 0

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

    def last_push(self, profile_id: int) -> datetime | None:
        """Return when the latest push to a resident went out or is due; for ``windows.spaced``."""
        counted = ("queued", "leased", "sent", "delivered", "unknown")
        moment = func.max(func.coalesce(delivery.c.sent_at, delivery.c.due_at))
        condition = (delivery.c.profile_id == profile_id, delivery.c.state.in_(counted))
        with self._database.read() as connection:
            return connection.scalar(
                select(moment).where(*condition, delivery.c.lane.in_(("immediate", "digest")))
            )

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

    def _due(
        self, lane: Lane, now: datetime, channels: Collection[str] | None, paused: Mapping[str, str]
    ) -> Any:
        wanted = select(delivery.c.id, delivery.c.expires_at).where(
            IS_QUEUED, delivery.c.lane == lane, delivery.c.due_at <= now
        )
        if channels is not None:
            wanted = wanted.where(delivery.c.channel.in_(sorted(channels)))
        if paused:
            wanted = wanted.where(delivery.c.channel.not_in(sorted(paused)))
        wanted = wanted.order_by(delivery.c.due_at, delivery.c.id)
        return wanted.with_for_update(skip_locked=True)

    def _take(
        self, connection: Connection, wanted: Any, limit: int, now: datetime, until: datetime
    ) -> list[Delivery]:
        """Lease up to ``limit`` of the wanted rows; those past their end expire on the way."""
        taken: list[Delivery] = []
        while len(taken) < limit:
            rows = connection.execute(wanted.limit(min(limit - len(taken), BATCH))).all()
            if not rows:
                break
            over = [row.id for row in rows if row.expires_at <= now]
            live = [row.id for row in rows if row.expires_at > now]
            if over:
                connection.execute(
                    update(delivery).where(delivery.c.id.in_(over)).values(state="expired", changed_at=now)
                )
            if live:
                taken += self._lease(connection, live, now, until)
        return taken

    def _lease(
        self, connection: Connection, ids: Sequence[int], now: datetime, until: datetime
    ) -> list[Delivery]:
        leased = connection.execute(
            update(delivery)
            .where(delivery.c.id.in_(ids))
            .values(
                state="leased", lease_until=until, lease_token=secrets.token_hex(8),
                attempts=delivery.c.attempts + 1, changed_at=now,
            )
            .returning(*delivery.c)
        ).all()  # fmt: skip
        found = {row.id: row for row in leased}
        notices = notices_of(connection, ids)
        return [delivery_of(found[row_id], notices.get(row_id, ())) for row_id in ids]

    def _finish_sent(self, connection: Connection, outcomes: Sequence[Outcome], at: datetime) -> int:
        """Record the usual outcome with one prepared statement for all rows."""
        if not outcomes:
            return 0
        statement = (
            update(delivery)
            .where(delivery.c.id == bindparam("its_id"), delivery.c.lease_token == bindparam("its_token"))
            .where(IS_LEASED)
            .values(
                state="sent", lease_until=None, lease_token=None, changed_at=at, sent_at=at, error="",
                provider=bindparam("its_provider"), provider_ref=bindparam("its_ref"),
                segments=bindparam("its_segments"),
            )
        )  # fmt: skip
        rows = [
            {
                "its_id": one.delivery_id, "its_token": one.lease_token, "its_provider": one.provider,
                "its_ref": one.provider_ref, "its_segments": one.segments,
            }
            for one in outcomes
        ]  # fmt: skip
        return connection.execute(statement, rows).rowcount

    def _finish(self, connection: Connection, outcome: Outcome, at: datetime) -> int:
        values: dict[str, Any] = {
            "state": outcome.state, "lease_until": None, "lease_token": None, "changed_at": at,
            "error": outcome.error[:500],
        }  # fmt: skip
        if outcome.due_at is not None:
            values["due_at"] = outcome.due_at
        if outcome.untried:
            values["attempts"] = delivery.c.attempts - 1
        mine = (delivery.c.id == outcome.delivery_id, delivery.c.lease_token == outcome.lease_token)
        return connection.execute(update(delivery).where(*mine, IS_LEASED).values(values)).rowcount

    def _find(self, condition: Any) -> list[Delivery]:
        with self._database.read() as connection:
            rows = connection.execute(select(delivery).where(condition).order_by(delivery.c.id)).all()
            notices = notices_of(connection, [row.id for row in rows])
        return [delivery_of(row, notices.get(row.id, ())) for row in rows]

    def _paused(self, connection: Connection) -> dict[str, str]:
        rows = connection.execute(select(sending_switch.c.channel, sending_switch.c.reason)).all()
        return dict(sorted((row[0], row[1]) for row in rows))


def _later(column: Any, instant: datetime) -> Any:
    return case((column < instant, literal(instant, Instant)), else_=column)
