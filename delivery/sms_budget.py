"""What texts cost: reserved before a text is handed over, spent or given back afterwards.

The reservation is one UPDATE that finds room or changes nothing, so that many senders cannot spend the
same money. Only what a provider bills beyond the segments that we count can exceed a month, by that much;
nothing finds room afterwards. A process that dies keeps its reservation: it counts as spent until somebody
knows better. Money is whole ten-thousandths. Holds no number of anybody. Called by ``delivery.sms_pool``,
``api.jobs.sms_watch`` and the console.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Connection,
    case,
    delete,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from delivery.sms_tables import sms_attempt, sms_month, sms_part
from delivery.sms_weights import SLOW_ANSWER, SLOW_RECEIPT, Measure
from delivery.types import Receipt
from feeds.kernel.db import Database, change_plain, insert_missing, plain_rows
from feeds.kernel.time import from_micros, to_micros

Pot = Literal["calm", "alert"]
Outcome = Literal["accepted", "throttled", "retry", "refused", "unknown", "unheard", "given_up"]
KEPT = timedelta(days=120)
PARTS_KEPT = timedelta(days=7)
_FREE = ("throttled", "retry", "refused", "unheard")  # nothing is billed for these
_OPEN = ("", "unknown")


# Every text passes these; SQLAlchemy's part would be most of their cost.
_ROOM = "UPDATE sms_month SET {} = {} + ? WHERE month = ? AND calm + alert + ? <= ?"
_TAKE: Mapping[Pot, str] = {
    "calm": _ROOM.format("calm", "calm") + " AND calm + ? <= ?",
    "alert": _ROOM.format("alert", "alert"),
}
_HAD_TO_WAIT = "UPDATE sms_month SET refused_at = ? WHERE month = ?"
_ATTEMPT = (
    "INSERT INTO sms_attempt "
    "(out_id, number_index, provider, provider_ref, month, pot, price, segments, state, outcome, at) "
    "VALUES (?, ?, ?, '', ?, ?, ?, ?, 'reserved', '', ?) RETURNING id"
)
_ATTEMPTS = (
    "SELECT id, out_id, provider, provider_ref, outcome, price * segments, at, number_index FROM sms_attempt "
    "WHERE out_id = ? ORDER BY id"
)
_RESERVED = (
    "SELECT out_id, provider, month, pot, price, segments FROM sms_attempt "
    "WHERE id = ? AND state = 'reserved'"
)
_SETTLE = (
    "UPDATE sms_attempt SET state = ?, outcome = ?, answered_at = ?, segments = ?, provider_ref = ?, "
    "number_index = CASE WHEN ? = 'unknown' THEN number_index ELSE '' END WHERE id = ?"
)


class _Reserved(NamedTuple):
    """What is needed to put an attempt's money right."""

    out_id: str
    provider: str
    month: str
    pot: Pot
    price: int
    segments: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Money for a local month, and how much of it is kept for alerts alone."""

    total: int
    alert_reserve: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to hand a text to a provider."""

    id: int
    out_id: str
    provider: str
    provider_ref: str
    outcome: str
    cost: int
    at: datetime
    number_index: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody knows what became of it."""
        return self.outcome in _OPEN


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """A month at a glance; money in ten-thousandths.

    Attributes:
        open_texts: Texts whose money is reserved and whose outcome is not known.
        refused_at: When a text last had to wait because there was no money left.
    """

    month: str
    calm: int
    alert: int
    limits: Limits
    open_texts: int
    refused_at: datetime | None
    by_provider: Mapping[str, int]

    @property
    def left(self) -> int:
        """Money left for all texts together."""
        return max(0, self.limits.total - self.calm - self.alert)

    @property
    def left_calm(self) -> int:
        """Money left for texts that are no alerts."""
        return max(0, min(self.left, self.limits.total - self.limits.alert_reserve - self.calm))


class SmsBudget:
    """Reserves and accounts for money.

    Args:
        database: SQLite or PostgreSQL.
        limits: Of a month.
        zone: Where months begin.
    """

    def __init__(self, database: Database, limits: Limits, zone: ZoneInfo) -> None:
        self._database, self._limits, self._zone = database, limits, zone

    def month(self, at: datetime) -> str:
        """The local month of an instant."""
        return f"{at.astimezone(self._zone):%Y-%m}"

    def next_month(self, at: datetime) -> datetime:
        """The instant at which the next local month begins."""
        local = at.astimezone(self._zone)
        year, month = divmod(local.year * 12 + local.month, 12)
        return datetime(year, month + 1, 1, tzinfo=self._zone)

    def reserve(
        self,
        out_id: str,
        provider: str,
        pot: Pot,
        *,
        price: int,
        segments: int,
        at: datetime,
        number_index: str = "",
    ) -> int | None:
        """Set money aside for one attempt.

        Returns:
            The attempt's number, or ``None`` if the month has not enough left.
        """
        month, cost = self.month(at), price * segments
        take = [cost, month, cost, self._limits.total]
        if pot == "calm":
            take += [cost, self._limits.total - self._limits.alert_reserve]
        with self._database.write() as connection:
            if not change_plain(connection, _TAKE[pot], take):
                new = {"month": month, "calm": 0, "alert": 0}
                insert_missing(connection, sms_month, [new], ["month"])  # the month may be young
                if not change_plain(connection, _TAKE[pot], take):
                    change_plain(connection, _HAD_TO_WAIT, [to_micros(at), month])
                    return None
            values = [out_id, number_index, provider, month, pot, price, segments, to_micros(at)]
            return int(plain_rows(connection, _ATTEMPT, values)[0][0])

    def settle(
        self, attempt: int, outcome: Outcome, *, at: datetime, ref: str = "", segments: int = 0
    ) -> Receipt | None:
        """Record what became of an attempt and put the money right.

        Args:
            attempt: Its number.
            outcome: ``unknown`` keeps the reservation; a refusal gives the money back.
            at: When the provider answered.
            ref: The provider's references of all parts.
            segments: How many the provider bills, if it says so. More than were reserved are booked
                all the same: it is the truth, and later texts find less room.

        Returns:
            The receipt of the whole text, if all of it was reported before this was recorded.
        """
        with self._database.write() as connection:
            lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
            found = plain_rows(connection, _RESERVED + lock, [attempt])
            if not found:
                return None
            row = _Reserved(*found[0])
            state, billed = "spent", row.segments
            if outcome in _FREE:
                state = "released"
                self._book(connection, row, -row.price * row.segments)
            elif outcome == "unknown":
                state = "reserved"
            elif segments:
                billed = segments
                self._book(connection, row, row.price * (billed - row.segments))
            change_plain(connection, _SETTLE, [state, outcome, to_micros(at), billed, ref, outcome, attempt])
            early = self._parts(connection, row, ref, at) if ref and row.provider == "smpp" else None
            if early is not None:
                self._close(connection, early, at)
            return early

    def attempts(self, out_id: str) -> list[Attempt]:
        """All attempts for one text, oldest first."""
        with self._database.read() as connection:
            rows = plain_rows(connection, _ATTEMPTS, [out_id])
        return [Attempt(a, b, c, d, e, f, from_micros(at), n) for a, b, c, d, e, f, at, n in rows]

    def give_up(self, out_id: str, at: datetime) -> int:
        """Let a text be sent anew although nobody knows what became of it; its money stays spent."""
        waiting = [attempt for attempt in self.attempts(out_id) if attempt.is_open]
        for attempt in waiting:
            self.settle(attempt.id, "given_up", at=at)
        return len(waiting)

    def noted(self, receipts: Sequence[Receipt], at: datetime) -> list[Receipt]:
        """Account for receipts: what was delivered when, and parts joined to the text they belong to.

        Returns:
            The receipts to act on: with our own reference where it is known, one for all parts of a
            text, and none while parts are missing.
        """
        if not receipts:
            return []
        with self._database.write() as connection:
            whole = [found for one in receipts if (found := self._whole(connection, one, at)) is not None]
            for receipt in whole:
                self._close(connection, receipt, at)
        return whole

    def status(self, at: datetime) -> MonthStatus:
        """The month so far."""
        month = self.month(at)
        with self._database.read() as connection:
            row = connection.execute(select(sms_month).where(sms_month.c.month == month)).first()
            waiting = connection.execute(
                select(func.count()).select_from(sms_attempt).where(sms_attempt.c.state == "reserved")
            ).scalar_one()
            cost = func.sum(sms_attempt.c.price * sms_attempt.c.segments)
            spent = connection.execute(
                select(sms_attempt.c.provider, cost)
                .where(sms_attempt.c.month == month, sms_attempt.c.state != "released")
                .group_by(sms_attempt.c.provider)
            ).all()
        calm, alert, refused = (row.calm, row.alert, row.refused_at) if row else (0, 0, None)
        by_provider = {name: int(value) for name, value in sorted(spent)}
        return MonthStatus(month, calm, alert, self._limits, waiting, refused, by_provider)

    def measures(self, since: datetime, now: datetime) -> dict[str, Measure]:
        """What each provider did since then: texts, slow ones, failed ones."""
        attempt = sms_attempt.c
        slow_answer, slow_receipt = (_micros(SLOW_ANSWER), _micros(SLOW_RECEIPT))
        reports = select(attempt.provider).where(
            attempt.delivered_at.is_not(None), attempt.at >= now - timedelta(days=1)
        )
        late = or_(
            _micros_of(attempt.answered_at) - _micros_of(attempt.at) > slow_answer,
            _micros_of(attempt.delivered_at) - _micros_of(attempt.at) > slow_receipt,
            # Taken, not yet delivered, and the provider is one that reports at all.
            (attempt.outcome == "accepted")
            & (attempt.at < now - SLOW_RECEIPT)
            & attempt.provider.in_(reports),
        )
        failed = attempt.outcome.in_(("retry", "throttled", "unknown", "unheard"))
        stuck = (attempt.outcome == "") & (attempt.at < now - SLOW_ANSWER)
        counts = [
            func.sum(case((condition, 1), else_=0))
            for condition in (failed.is_not(True) & late, failed | stuck)
        ]
        with self._database.read() as connection:
            rows = connection.execute(
                select(attempt.provider, func.count(), *counts)
                .where(attempt.at >= since, attempt.outcome != "refused")
                .group_by(attempt.provider)
            ).all()
        return {name: Measure(texts, int(slow or 0), int(bad or 0)) for name, texts, slow, bad in rows}

    def trim(self, now: datetime) -> int:
        """Forget attempts and parts of long ago; the months stay."""
        with self._database.write() as connection:
            connection.execute(delete(sms_part).where(sms_part.c.at < now - PARTS_KEPT))
            return connection.execute(delete(sms_attempt).where(sms_attempt.c.at < now - KEPT)).rowcount

    def _book(self, connection: Connection, row: _Reserved, change: int) -> None:
        if change:
            column = sms_month.c[row.pot]
            connection.execute(
                update(sms_month).where(sms_month.c.month == row.month).values({column: column + change})
            )

    def _parts(self, connection: Connection, row: _Reserved, ref: str, at: datetime) -> Receipt | None:
        """Remember the parts of a text; what was reported before may already be all of it."""
        names, part = ref.split(","), sms_part.c
        base = {
            "provider": row.provider,
            "whole": ref,
            "out_id": row.out_id,
            "state": "",
            "code": "",
            "at": at,
        }
        insert_missing(connection, sms_part, [{"ref": name, **base} for name in names], ["provider", "ref"])
        mine = (part.provider == row.provider) & part.ref.in_(names)
        connection.execute(update(sms_part).where(mine).values(whole=ref, out_id=row.out_id))
        for found in connection.execute(select(sms_part).where(mine, part.state != "")).all():
            receipt = Receipt(row.provider, found.ref, found.state, found.at, found.code, row.out_id)
            if whole := self._joined(connection, receipt, ref, row.out_id):
                return whole
        return None

    def _whole(self, connection: Connection, receipt: Receipt, at: datetime) -> Receipt | None:
        """The receipt of the whole text that a receipt belongs to, once there is one."""
        if receipt.out_id or receipt.provider != "smpp":
            return self._named(connection, receipt)
        part = sms_part.c
        key = (part.provider == receipt.provider, part.ref == receipt.provider_ref)
        made = {"provider": receipt.provider, "ref": receipt.provider_ref, "whole": "", "out_id": "",
                "state": "", "code": "", "at": at}  # fmt: skip
        # If its text is just being recorded this waits for that; if it is not yet, it is found here then.
        insert_missing(connection, sms_part, [made], ["provider", "ref"])
        row = connection.execute(select(sms_part).where(*key)).one()
        if row.whole:  # two parts reported at the same moment must see each other
            whole = (part.provider == receipt.provider, part.whole == row.whole)
            connection.execute(select(part.ref).where(*whole).order_by(part.ref).with_for_update()).all()
        values = {"state": receipt.state, "code": receipt.code[:40]}
        connection.execute(update(sms_part).where(*key).values(values))
        return self._joined(connection, receipt, row.whole, row.out_id) if row.whole else None

    def _joined(self, connection: Connection, receipt: Receipt, whole: str, out_id: str) -> Receipt | None:
        states = connection.execute(
            select(sms_part.c.state).where(sms_part.c.provider == receipt.provider, sms_part.c.whole == whole)
        ).scalars()
        found = set(states)
        if receipt.state != "failed" and found != {"delivered"}:
            return None
        return replace(receipt, provider_ref=whole, out_id=out_id)

    def _named(self, connection: Connection, receipt: Receipt) -> Receipt:
        """Add our own reference where only the provider's is given."""
        if receipt.out_id or not receipt.provider_ref:
            return receipt
        row = connection.execute(
            select(sms_attempt.c.out_id).where(
                sms_attempt.c.provider_ref == receipt.provider_ref, sms_attempt.c.provider == receipt.provider
            )
        ).first()
        return replace(receipt, out_id=row.out_id) if row else receipt

    def _close(self, connection: Connection, receipt: Receipt, at: datetime) -> None:
        """Note on the attempt what its receipt says; a reservation of unknown outcome is spent then."""
        if not receipt.out_id:
            return
        attempt = sms_attempt.c
        waiting = attempt.outcome.in_(("", "accepted", "unknown"))
        delivered = receipt.state == "delivered"
        connection.execute(
            update(sms_attempt)
            .where(attempt.out_id == receipt.out_id, attempt.provider == receipt.provider, waiting)
            .values(
                state="spent",
                number_index="",
                outcome="delivered" if delivered else "failed",
                delivered_at=at if delivered else None,
                provider_ref=case(
                    (attempt.provider_ref == "", receipt.provider_ref), else_=attempt.provider_ref
                ),
            )
        )


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _micros_of(column: Any) -> Any:
    """An instant as the whole number it is stored as, to subtract."""
    return type_coerce(column, BigInteger)
