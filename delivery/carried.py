"""Which notices a channel already brought to which resident, and when; reads the outbox, writes nothing.

Apart from :mod:`delivery.outbox` because preparing asks it for many residents at once. A copy that goes to
somebody else's address is a reader of its own. Called by
``api.jobs.digest_building`` and ``api.jobs.sending``.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from feeds.kernel.db import Database, chunks, marks, plain_rows
from feeds.kernel.time import from_micros, to_micros

_COPY = ":copy:"
# What never reached anybody does not count as brought; what may have does.
_NOT_BROUGHT = "'expired', 'cancelled', 'skipped', 'failed', 'suppressed'"
# Digests bring what is at most a week old; a row may have waited, and been tried, for some days more.
_LOOKED_BACK = timedelta(days=30)
#: (profile id, channel, copy as in the dedupe key or "")
Reader = tuple[int, str, str]


def copy_of(dedupe_key: str) -> str:
    """The part of a dedupe key that names a copy, or ``""``."""
    return dedupe_key.partition(_COPY)[2]


class CarriedStore:
    """Answers what was brought before.

    Args:
        database: SQLite or PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def pairs(
        self, profile_ids: Collection[int], notice_ids: Collection[int], now: datetime
    ) -> dict[Reader, set[tuple[int, int]]]:
        """Return reader → (notice, revision) of those notices that a delivery brought, or is about to bring.

        Args:
            profile_ids: Whose.
            notice_ids: Only these are looked for.
            now: Deliveries of the last 30 days count.
        """
        since = to_micros(now - _LOOKED_BACK)
        found: dict[Reader, set[tuple[int, int]]] = {}
        with self._database.read() as connection:
            for people in chunks(sorted(set(profile_ids)), 200):
                for notices in chunks(sorted(set(notice_ids)), 400):
                    query = (
                        "SELECT d.profile_id, d.channel, d.dedupe_key, n.notice_id, n.revision "  # noqa: S608
                        "FROM delivery d JOIN delivery_notice n ON n.delivery_id = d.id "
                        f"WHERE d.profile_id IN ({marks(people)}) AND n.notice_id IN ({marks(notices)}) "
                        f"AND d.created_at >= ? AND d.state NOT IN ({_NOT_BROUGHT})"
                    )
                    for profile_id, channel, key, notice, revision in plain_rows(
                        connection, query, (*people, *notices, since)
                    ):
                        reader = (profile_id, channel, copy_of(key))
                        found.setdefault(reader, set()).add((notice, revision))
        return found

    def sent_at(self, ids: Collection[int], *, beside: str) -> dict[int, datetime]:
        """Return delivery id → when a provider took it, of those that were taken.

        Args:
            ids: Of deliveries.
            beside: This provider does not count.
        """
        found: dict[int, datetime] = {}
        with self._database.read() as connection:
            for part in chunks(sorted(ids)):
                query = (
                    f"SELECT id, sent_at FROM delivery WHERE id IN ({marks(part)}) "  # noqa: S608
                    "AND sent_at IS NOT NULL AND provider <> ?"
                )
                rows = plain_rows(connection, query, (*part, beside))
                found |= {number: from_micros(instant) for number, instant in rows}
        return found
