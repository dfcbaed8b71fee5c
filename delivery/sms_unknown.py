"""Texts of unknown outcome: which to ask about next, and what an answer makes of them.

Only moves rows that are ``unknown``; never sends and never calls a provider. A row keeps no number.
Called by ``api.jobs.receipts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from delivery.sms_tables import sms_asked
from delivery.types import Accepted
from feeds.kernel.db import Database, change_plain, insert_missing, plain_rows, run_plain_many
from feeds.kernel.time import to_micros

_OLDEST = (
    "SELECT d.id FROM delivery d LEFT JOIN sms_asked a ON a.delivery_id = d.id "
    "WHERE d.state = 'unknown' AND d.channel = 'sms' AND d.due_at <= ? "
    "ORDER BY coalesce(a.at, 0), d.id LIMIT ?"
)
_SENT = (
    "UPDATE delivery SET state = 'sent', error = '', changed_at = ?, sent_at = coalesce(sent_at, ?), "
    "provider = ?, provider_ref = ? WHERE id = ? AND state = 'unknown'"
)
_EXPIRED = (
    "UPDATE delivery SET state = 'expired', error = ?, changed_at = ? "
    "WHERE id = ? AND state = 'unknown' AND expires_at <= ?"
)
_FORGET = "DELETE FROM sms_asked WHERE delivery_id NOT IN (SELECT id FROM delivery WHERE state = 'unknown')"
_NEVER_SEEN = "No provider ever took it, and it is of no use any more."


class UnknownTexts:
    """Texts of unknown outcome.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, due_before: datetime, limit: int) -> list[int]:
        """Return numbers of texts due before an instant, those that were longest not asked about first."""
        with self._database.read() as connection:
            return [row[0] for row in plain_rows(connection, _OLDEST, [to_micros(due_before), limit])]

    def asked(self, ids: Sequence[int], at: datetime) -> None:
        """Note that these were looked at, so that others come first at the next round."""
        rows = [{"delivery_id": number, "at": at} for number in ids]
        with self._database.write() as connection:
            insert_missing(connection, sms_asked, rows, ["delivery_id"])
            values = [(to_micros(at), number) for number in ids]
            run_plain_many(connection, "UPDATE sms_asked SET at = ? WHERE delivery_id = ?", values)
            change_plain(connection, _FORGET)

    def taken(self, delivery_id: int, accepted: Accepted, at: datetime) -> int:
        """Note that a provider took a text; its report may still come. Returns how many rows moved."""
        values = [to_micros(at), to_micros(at), accepted.provider, accepted.ref, delivery_id]
        with self._database.write() as connection:
            return change_plain(connection, _SENT, values)

    def expire(self, delivery_id: int, at: datetime) -> int:
        """End a text that surely never went out and whose time is over; returns how many rows moved."""
        values = [_NEVER_SEEN, to_micros(at), delivery_id, to_micros(at)]
        with self._database.write() as connection:
            return change_plain(connection, _EXPIRED, values)
