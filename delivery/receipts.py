"""What providers report about messages they took: kept once each, and applied to the row they are about.

A report may come twice, out of order, for a message whose row is not committed yet, or for one that
nobody knows. Only a fitting state changes a row: ``delivered`` outweighs an earlier ``failed``, never the
other way round. What follows for people is not decided here. It holds no address and reads no clock.
Called by ``api.jobs.receipts`` and the sweeper.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select

from delivery.outbox_runs import count_bounces
from delivery.outbox_tables import delivery, delivery_of, receipt
from delivery.types import Delivery, Receipt
from feeds.kernel.db import Database, change_plain, plain_rows
from feeds.kernel.time import from_micros, to_micros

# A report about a message that nobody knows is given up after so long.
PATIENCE = timedelta(days=7)
_OUT = "out:"

# New state → states it may follow. A row that waits for another attempt was handed over before.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "delivered": ("sent", "unknown", "failed", "queued"),
    "failed": ("sent", "unknown"),
    "bounced": ("sent", "unknown", "delivered", "queued", "failed"),
    "complained": ("sent", "unknown", "delivered", "bounced"),
}
_MOVE = (
    "UPDATE delivery SET state = ?, error = ?, changed_at = ?, sent_at = coalesce(sent_at, ?), "
    "provider = ?, provider_ref = CASE WHEN provider_ref = '' THEN ? ELSE provider_ref END "
    "WHERE id = ? AND state = ?"
)
_ROW = "SELECT id, state, provider, channel, attempts, sent_at FROM delivery WHERE "


class ReceiptStore:
    """Keeps reports and applies them to the outbox.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, receipts: Sequence[Receipt], at: datetime) -> list[Delivery]:
        """Keep reports and apply those whose row is there; the others wait for it.

        Args:
            receipts: In the order they came; one that was kept before changes nothing.
            at: Now.

        Returns:
            The rows that changed their state because of this, as they are now, by id.
        """
        if not receipts:
            return []
        with self._database.write() as connection:
            moved = [_taken(connection, one, at) for one in receipts if _keep(connection, one, at)]
            return _changed(connection, moved, at)

    def apply_waiting(self, now: datetime, limit: int = 1_000) -> list[Delivery]:
        """Apply reports that came before their row; give up those that wait for more than a week.

        Returns:
            Like :meth:`take`.
        """
        with self._database.read() as connection:
            if not _waiting(connection, 1):
                return []
        with self._database.write() as connection:
            over = to_micros(now - PATIENCE)
            change_plain(
                connection, "UPDATE receipt SET waiting = 0 WHERE waiting = 1 AND taken_at < ?", [over]
            )
            moved = [_taken(connection, one, now) for one in _waiting(connection, limit)]
            return _changed(connection, moved, now)

    def waiting(self) -> int:
        """How many reports wait for their row."""
        with self._database.read() as connection:
            return int(plain_rows(connection, "SELECT count(*) FROM receipt WHERE waiting = 1")[0][0])

    def of(self, row: Delivery) -> list[Receipt]:
        """What was reported about one delivery, in order."""
        with self._database.read() as connection:
            found = connection.execute(
                select(receipt)
                .where(
                    ((receipt.c.provider == row.provider) & (receipt.c.provider_ref == row.provider_ref))
                    | (receipt.c.provider_ref == f"{_OUT}d{row.id}")
                )
                .order_by(receipt.c.at, receipt.c.id)
            )
            return [
                Receipt(one.provider, _plain(one.provider_ref), one.state, one.at, one.code, one.out_id)
                for one in found
                if row.provider_ref or one.provider_ref.startswith(_OUT)
            ]

    def trim(self, before: datetime) -> int:
        """Forget reports of long ago; the rows keep what they said."""
        with self._database.write() as connection:
            return connection.execute(delete(receipt).where(receipt.c.taken_at < before)).rowcount


def _keep(connection: Connection, one: Receipt, at: datetime) -> bool:
    """Store a report; False if it is known."""
    reference = one.provider_ref or f"{_OUT}{one.out_id}"
    if reference == _OUT:
        return False
    text = (
        "INSERT INTO receipt (provider, provider_ref, state, at, code, out_id, taken_at, waiting) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (provider, provider_ref, state) DO NOTHING"
    )
    values = [
        one.provider,
        reference,
        one.state,
        to_micros(one.at),
        one.code[:200],
        one.out_id,
        to_micros(at),
    ]
    return change_plain(connection, text, values) > 0


def _taken(connection: Connection, one: Receipt, at: datetime) -> tuple[int, bool] | None:
    """Apply a kept report; return the number of the row it moved, and whether it had been refused at once."""
    found = _row(connection, one)
    if found is None or found[1] == "leased":
        return None  # the row is not there, or its sender has not written yet: it goes on waiting
    number, state, _, _, attempts, sent_at = found
    reference = one.provider_ref or f"{_OUT}{one.out_id}"
    change_plain(
        connection,
        "UPDATE receipt SET waiting = 0 WHERE provider = ? AND provider_ref = ? AND state = ?",
        [one.provider, reference, one.state],
    )
    if state not in FOLLOWS[one.state] or (state == "queued" and not attempts):
        return None
    error = "" if one.state == "delivered" else one.code[:200]
    values = [
        one.state,
        error,
        to_micros(at),
        to_micros(one.at),
        one.provider,
        one.provider_ref,
        number,
        state,
    ]
    change_plain(connection, _MOVE, values)
    return int(number), state == "failed" and sent_at is None


def _row(connection: Connection, one: Receipt) -> tuple[int, str, str, str, int, int | None] | None:
    """The delivery a report is about: by the provider's reference, else by our own."""
    if one.provider_ref:
        text = f"{_ROW}provider_ref = ? AND provider_ref <> '' AND provider = ?"
        for row in plain_rows(connection, text, [one.provider_ref, one.provider]):
            return row
    number = one.out_id.removeprefix("d")
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    for row in plain_rows(connection, f"{_ROW}id = ?", [int(number)]):
        # A late report of the provider that was tried before says nothing about the message of the next.
        if row[2] in ("", one.provider) or row[3] == "email":
            return row
    return None


def _waiting(connection: Connection, limit: int) -> list[Receipt]:
    rows = plain_rows(
        connection,
        "SELECT provider, provider_ref, state, at, code, out_id FROM receipt WHERE waiting = 1 "
        "ORDER BY taken_at LIMIT ?",
        [limit],
    )
    return [
        Receipt(name, _plain(ref), state, from_micros(at), code, out)
        for name, ref, state, at, code, out in rows
    ]


def _changed(
    connection: Connection, moved: Sequence[tuple[int, bool] | None], at: datetime
) -> list[Delivery]:
    done = [one for one in moved if one is not None]
    numbers, refused = sorted({number for number, _ in done}), {number for number, at_once in done if at_once}
    if not numbers:
        return []
    rows = connection.execute(
        select(delivery).where(delivery.c.id.in_(numbers)).order_by(delivery.c.id)
    ).all()
    # What its provider refused at once was counted then; a report that says so later is no second bounce.
    bounced = [row for row in rows if row.state == "bounced" and row.id not in refused]
    bounces = Counter(row.run_id for row in bounced if row.run_id is not None)
    count_bounces(connection, bounces, at)
    return [delivery_of(row, ()) for row in rows]


def _plain(reference: str) -> str:
    return "" if reference.startswith(_OUT) else reference
