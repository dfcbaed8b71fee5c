"""How many people each channel can reach: counted, never listed.

Reads three tables in one query and names nobody. Who asks decides which counts are too small to be told.
Called by ``api.jobs.reaching``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from feeds.kernel.db import Database, marks, plain_rows
from feeds.kernel.time import to_micros

_KINDS = ("role", "place", "interest")


@dataclass(frozen=True, slots=True)
class Reach:
    """One channel among some people.

    Attributes:
        live: Subscriptions that have not ended.
        reachable: Of these: address confirmed, not suppressed, not on holiday.
        unconfirmed: Address not confirmed yet.
        suppressed: Address gets nothing (bounced, complained, opted out …).
    """

    live: int
    reachable: int
    unconfirmed: int
    suppressed: int


class ReachStore:
    """Counts people by channel."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def people(self, wanted: Sequence[tuple[str, str]] = ()) -> int:
        """Count profiles that named any of the criteria; all of them without one.

        Args:
            wanted: (kind, code), kind ``role``, ``place`` or ``interest``.
        """
        where, values = _among("p.id", wanted)
        with self._db.read() as connection:
            found = plain_rows(connection, f"SELECT count(*) FROM profile p WHERE 1 = 1{where}", values)  # noqa: S608
        return int(found[0][0])

    def silent(self, wanted: Sequence[tuple[str, str]] = ()) -> int:
        """Count those among them whom no channel serves: they see the page and the feed alone."""
        where, values = _among("p.id", wanted)
        query = (
            "SELECT count(*) FROM profile p WHERE NOT EXISTS (SELECT 1 FROM subscription s "  # noqa: S608
            f"WHERE s.profile_id = p.id AND s.ended_at IS NULL){where}"
        )
        with self._db.read() as connection:
            return int(plain_rows(connection, query, values)[0][0])

    def by_channel(self, now: datetime, wanted: Sequence[tuple[str, str]] = ()) -> dict[str, Reach]:
        """Count each channel's subscriptions among them, by name of the channel."""
        where, values = _among("s.profile_id", wanted)
        at = to_micros(now)
        muted = "(x.reason IS NOT NULL AND (x.until IS NULL OR x.until > ?))"
        away = "(s.paused_from <= ? AND (s.paused_until IS NULL OR s.paused_until > ?))"
        query = (
            f"SELECT s.channel, count(*), sum(CASE WHEN c.verified_at IS NULL THEN 1 ELSE 0 END), "  # noqa: S608
            f"sum(CASE WHEN {muted} THEN 1 ELSE 0 END), "
            f"sum(CASE WHEN c.verified_at IS NULL OR {muted} OR coalesce({away}, false) THEN 0 ELSE 1 END) "
            "FROM subscription s "
            "LEFT JOIN contact c ON c.profile_id = s.profile_id AND c.channel = s.channel "
            "LEFT JOIN suppression x ON x.channel = s.channel AND x.blind_index = c.blind_index "
            f"WHERE s.ended_at IS NULL{where} GROUP BY s.channel ORDER BY s.channel"
        )
        with self._db.read() as connection:
            rows = plain_rows(connection, query, (at, at, at, at, *values))
        return {row[0]: Reach(int(row[1]), int(row[4]), int(row[2]), int(row[3])) for row in rows}


def _among(column: str, wanted: Sequence[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    """The condition that somebody named one of the criteria, and its values."""
    if not wanted:
        return "", ()
    parts, values = [], list[str]()
    for kind in _KINDS:
        codes = [code for its, code in wanted if its == kind]
        if codes:
            parts.append(f"(k.kind = '{kind}' AND k.code IN ({marks(codes)}))")
            values += codes
    named = " OR ".join(parts) or "1 = 0"
    return (
        f" AND EXISTS (SELECT 1 FROM profile_criterion k WHERE k.profile_id = {column} AND ({named}))",  # noqa: S608
        tuple(values),
    )
