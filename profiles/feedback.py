"""What residents did with what they were shown: impressions, opens, clicks, likes, hides.

Position and propensity are kept with each, so that a later evaluation can be fair. Simulated rows
are marked and stay marked. Called by the entrances (buffered) and read by training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from feeds.kernel.db import Database
from profiles.tables import feedback
from profiles.types import FeedbackKind


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One event.

    Attributes:
        position: Place in the list, from 1; 0 where there is none.
        propensity: Chance in (0, 1] that the notice was shown there.
        simulated: Made by the simulation, not by a person.
    """

    profile_id: int
    notice_id: int
    kind: FeedbackKind
    at: datetime
    channel: str = "web"
    position: int = 0
    propensity: float = 1.0
    simulated: bool = False


class FeedbackStore:
    """Records events and returns them for training."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record(self, rows: Sequence[FeedbackRow]) -> None:
        """Store events in one transaction."""
        if rows:
            with self._db.write() as connection:
                connection.execute(insert(feedback), [asdict(row) for row in rows])

    def training_rows(self, *, limit: int = 5_000_000) -> list[FeedbackRow]:
        """Return events other than impressions, oldest first (impressions are not signals of liking)."""
        query = select(feedback).where(feedback.c.kind != "impression").order_by(feedback.c.id).limit(limit)
        with self._db.read() as connection:
            return [_row(item) for item in connection.execute(query)]

    def of(self, profile_id: int) -> list[FeedbackRow]:
        """Return everything held about one profile's behaviour, oldest first."""
        query = select(feedback).where(feedback.c.profile_id == profile_id).order_by(feedback.c.id)
        with self._db.read() as connection:
            return [_row(item) for item in connection.execute(query)]

    def hidden(self, profile_id: int) -> frozenset[int]:
        """Return the notices a resident hid and did not say otherwise of since."""
        opinions = ("like", "dislike", "hide")
        query = (
            select(feedback.c.notice_id, feedback.c.kind)
            .where(feedback.c.profile_id == profile_id, feedback.c.kind.in_(opinions))
            .order_by(feedback.c.id)
        )
        with self._db.read() as connection:
            latest = {row.notice_id: row.kind for row in connection.execute(query)}
        return frozenset(notice_id for notice_id, kind in latest.items() if kind == "hide")

    def forget(self, profile_id: int) -> int:
        """Delete a profile's behaviour; return how many events went."""
        with self._db.write() as connection:
            return connection.execute(delete(feedback).where(feedback.c.profile_id == profile_id)).rowcount

    def counts(self) -> dict[str, int]:
        """Count events: all, and simulated."""
        with self._db.read() as connection:
            total = connection.scalar(select(func.count()).select_from(feedback)) or 0
            simulated = (
                connection.scalar(select(func.count()).select_from(feedback).where(feedback.c.simulated)) or 0
            )
        return {"all": total, "simulated": simulated}


def _row(item: object) -> FeedbackRow:
    names = FeedbackRow.__dataclass_fields__
    return FeedbackRow(**{name: getattr(item, name) for name in names})
