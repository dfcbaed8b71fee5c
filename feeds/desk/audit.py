"""The audit: an append-only chain of what was done at the desk.

Each row's hash covers the row and the hash before it, so a changed or removed row breaks the chain
from there on; :meth:`AuditLog.verify` finds the place. It proves order and content inside this
database, not against someone who rewrites the whole chain: publish the newest hash elsewhere for that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from feeds.desk.tables import audit
from feeds.kernel.db import Database
from feeds.kernel.time import to_micros

_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of checking the chain; ``broken_at`` is the first bad row's id, or ``None``."""

    rows: int
    broken_at: int | None
    newest_hash: str


class AuditLog:
    """Appends to the chain and checks it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def append(
        self,
        action: str,
        *,
        actor: str,
        at: datetime,
        notice_id: int | None = None,
        details: Mapping[str, Any],
    ) -> None:
        """Add one row at the end of the chain."""
        with self._db.write() as connection:
            previous = _last_hash(connection)
            row = {
                "at": at,
                "actor": actor,
                "action": action,
                "notice_id": notice_id,
                "details": dict(details),
                "previous": previous,
            }
            connection.execute(insert(audit).values(row | {"hash": _row_hash(row)}))

    def verify(self) -> Verdict:
        """Walk the chain from its start."""
        previous, rows = _START, 0
        with self._db.read() as connection:
            for row in connection.execute(select(audit).order_by(audit.c.id)):
                rows += 1
                if row.previous != previous or _row_hash(dict(row._mapping)) != row.hash:
                    return Verdict(rows, row.id, previous)
                previous = row.hash
        return Verdict(rows, None, previous)

    def of(self, notice_id: int) -> list[Mapping[str, Any]]:
        """Return what was done to one notice, oldest first."""
        with self._db.read() as connection:
            query = select(audit).where(audit.c.notice_id == notice_id).order_by(audit.c.id)
            return [dict(row._mapping) for row in connection.execute(query)]


def _last_hash(connection: Connection) -> str:
    query = select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)
    if connection.dialect.name == "postgresql":
        # Two desks appending at once must not share a predecessor; the unique index would refuse
        # the second, the lock makes it wait instead.
        connection.exec_driver_sql("LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE")
    return connection.scalar(query) or _START


def _row_hash(row: Mapping[str, Any]) -> str:
    said = [
        to_micros(row["at"]),
        row["actor"],
        row["action"],
        row["notice_id"],
        row["details"],
        row["previous"],
    ]
    encoded = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(encoded.encode()).hexdigest()
