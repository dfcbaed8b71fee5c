"""Keeps the weights of the text message providers, every version with its reason.

Decides nothing (``delivery.sms_weights`` does) and sends nothing. Called by ``delivery.sms_pool`` and
``api.jobs.sms_watch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from delivery.sms_tables import sms_weight
from feeds.kernel.db import Database, insert_missing

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Weights:
    """One version; version 0 stands for "none was ever written"."""

    version: int
    at: datetime | None
    weights: Mapping[str, int]
    reason: str


class SmsScales:
    """The history of weights, newest in use.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> Weights:
        """The version in use."""
        return next(iter(self.history(1)), Weights(0, None, {}, ""))

    def history(self, limit: int = 20) -> list[Weights]:
        """The newest versions first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(sms_weight).order_by(sms_weight.c.version.desc()).limit(limit)
            ).all()
        return [Weights(row.version, row.at, row.weights, row.reason) for row in rows]

    def put(self, after: int, weights: Mapping[str, int], reason: str, at: datetime) -> bool:
        """Write the version that follows ``after``; False if another process was quicker."""
        row = {"version": after + 1, "at": at, "weights": dict(weights), "reason": reason}
        with self._database.write() as connection:
            connection.execute(delete(sms_weight).where(sms_weight.c.version <= after - KEPT))
            before = connection.execute(
                select(sms_weight.c.version).where(sms_weight.c.version == after + 1)
            ).first()
            insert_missing(connection, sms_weight, [row], ["version"])
            stands = connection.execute(
                select(sms_weight.c.at, sms_weight.c.reason).where(sms_weight.c.version == after + 1)
            ).one()
        # On PostgreSQL another process may have written it between the look and the insert.
        return before is None and (stands.at, stands.reason) == (at, reason)
