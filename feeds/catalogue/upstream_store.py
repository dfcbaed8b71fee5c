"""What publishers do to notices that are stored: changes that wait, changes without end, entries that vanish.

Part of :class:`feeds.catalogue.store.NoticeStore`, which everybody uses. It decides nothing: what
becomes of a change is said by ``feeds.intake.decide`` or by an editor. Every public method is one
transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import delete, distinct, func, select, update

from feeds.catalogue.notices import NoticeContent, PendingChange, Priority
from feeds.catalogue.tables import notice, notice_revision, pending_change
from feeds.kernel.db import Database, chunks, upsert

INTAKE = "intake"  # the actor of revisions that came from upstream
_LATEST = 500  # of a source's notices, among which vanished ones are looked for
_RETURN_WEIGHT = 3  # how much more a change back to an earlier text counts


class UpstreamStore:
    """Counts, keeps and finds what publishers change."""

    _db: Database

    def recent_changes(self, ids: Iterable[int], since: datetime) -> dict[int, int]:
        """Count the changes that upstream made to notices, for the cap on flapping ones.

        A change back to a text that was there before weighs four times as much as a new text.

        Args:
            ids: Of notices; those without a change are missing from the answer.
            since: The earliest change that counts.
        """
        columns = notice_revision.c
        found: dict[int, int] = {}
        with self._db.read() as connection:
            for part in chunks(list(dict.fromkeys(ids))):
                query = (
                    select(columns.notice_id, func.count(), func.count(distinct(columns.content)))
                    .where(
                        columns.notice_id.in_(part),
                        columns.revision > 1,
                        columns.actor == INTAKE,
                        columns.made_at >= since,
                    )
                    .group_by(columns.notice_id)
                )
                for notice_id, changes, texts in connection.execute(query):
                    found[notice_id] = changes + _RETURN_WEIGHT * (changes - texts)
        return found

    def vanished(
        self, source_id: int, seen_guids: Collection[str], since: datetime, limit: int
    ) -> list[tuple[str, str]]:
        """List recent released notices of a source that its answer does not name any more.

        Args:
            source_id: The source.
            seen_guids: What its answer names.
            since: How fresh a notice must be to count.
            limit: Most notices returned, the last stored first; those without an address are left out.

        Returns:
            (guid, address) of each.
        """
        recent = (
            select(notice.c.id, notice.c.guid)
            .where(notice.c.source_id == source_id)
            .order_by(notice.c.id.desc())
            .limit(_LATEST)
        )
        with self._db.read() as connection:
            ids = [row.id for row in connection.execute(recent) if row.guid not in seen_guids]
            query = select(notice.c.id, notice.c.guid, notice.c.details).where(
                notice.c.id.in_(ids), notice.c.state == "released", notice.c.fresh_at >= since
            )
            rows = connection.execute(query.order_by(notice.c.id.desc())).all() if ids else []
        return [(row.guid, row.details["url"]) for row in rows if row.details.get("url")][:limit]

    def hold_change(
        self,
        notice_id: int,
        content: NoticeContent,
        *,
        at: datetime,
        reason: str,
        priority: Priority | None = None,
    ) -> None:
        """Keep what upstream now says of a public notice until an editor has looked; the latest counts."""
        row = {"notice_id": notice_id, "content": content.to_dict(), "at": at, "reason": reason}
        row["priority"] = priority
        # Known from now on: the next poll that says the same asks nothing, whatever the editor decides.
        known = update(notice).where(notice.c.id == notice_id).values(upstream_hash=content.hash())
        with self._db.write() as connection:
            upsert(connection, pending_change, [row], ["notice_id"])
            connection.execute(known)

    def pending_changes(self, limit: int = 200) -> list[PendingChange]:
        """List the changes that wait for an editor, the longest waiting first."""
        query = select(pending_change).order_by(pending_change.c.at, pending_change.c.notice_id).limit(limit)
        with self._db.read() as connection:
            return [_pending(row) for row in connection.execute(query)]

    def count_pending(self) -> int:
        """Count the changes that wait for an editor."""
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(pending_change)) or 0

    def take_change(self, notice_id: int) -> PendingChange | None:
        """Remove and return the change of a notice that waits, or ``None``; only one caller gets it."""
        statement = delete(pending_change).where(pending_change.c.notice_id == notice_id)
        with self._db.write() as connection:
            row = connection.execute(statement.returning(*pending_change.c)).one_or_none()
            return _pending(row) if row else None


def _pending(row: Any) -> PendingChange:
    return PendingChange(
        row.notice_id, NoticeContent.from_dict(row.content), row.at, row.reason, row.priority
    )
