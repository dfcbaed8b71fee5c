"""Bounded looks at the ledger and at feedback, for those who watch: never the whole of either.

However long the ledger is, a look reads a fixed number of rows: the first row since an instant is found by
bisection on the key, and blocks of neighbours are read from places spread evenly over what is newer. Writes
nothing. Called by ``api.jobs.watching`` and ``api.jobs.training``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, select

from feeds.kernel.db import Database, chunks
from profiles.editions import EditionStore
from profiles.feedback import FeedbackRow
from profiles.said import OPINIONS, USES
from profiles.tables import edition, feedback, profile
from profiles.types import Edition

_BLOCK = 50
_ACTS = (*USES, *OPINIONS)
_NAMES = tuple(FeedbackRow.__dataclass_fields__)
_ROW = tuple(feedback.c[name] for name in _NAMES)


@dataclass(frozen=True, slots=True)
class EditionSample:
    """Editions since an instant, oldest first; ``whole`` says that none was left out."""

    editions: tuple[Edition, ...]
    whole: bool


class Samples:
    """Reads a little of much."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._editions = EditionStore(database)

    def editions(self, since: datetime, *, most: int) -> EditionSample:
        """Read editions with ``made_at >= since``: all, or about ``most`` in blocks spread evenly.

        The ledger's numbers grow with time but for runs at a set clock (``--now``), which a bisection may
        place wrongly; what is older than ``since`` is left out in any case.
        """
        with self._db.read() as connection:
            last = connection.scalar(select(func.max(edition.c.id))) or 0
            first = _first_since(connection, since, last)
            span = last - first + 1
            if span <= most:
                starts, size = [first], most
            else:
                count = max(1, most // _BLOCK)
                starts, size = [first + span * n // count for n in range(count)], _BLOCK
            ids: set[int] = set()
            for start in starts:
                query = select(edition.c.id).where(edition.c.id >= start, edition.c.made_at >= since)
                ids.update(connection.scalars(query.order_by(edition.c.id).limit(size)))
        found = [one for part in chunks(sorted(ids)) for one in self._editions.by_ids(part)]
        return EditionSample(tuple(found), span <= most)

    def people(self, most: int) -> list[int]:
        """Ids of at most ``most`` residents, spread evenly over the order in which they joined."""
        with self._db.read() as connection:
            total = connection.scalar(select(func.count()).select_from(profile)) or 0
            step = max(1, -(-total // most))
            query = select(profile.c.id).where(profile.c.id % step == 0).order_by(profile.c.id)
            return list(connection.scalars(query.limit(most)))

    def feedback(self, profile_ids: Sequence[int], since: datetime, *, each: int) -> list[FeedbackRow]:
        """What some residents were shown and did since an instant, oldest first.

        Of each resident the latest ``each`` rows are read: nobody is left out because others did much.
        Acts come after their impressions: an impression that is read never lacks its act.
        """
        found: list[FeedbackRow] = []
        newest = (feedback.c.at.desc(), feedback.c.id.desc())
        rank = func.row_number().over(partition_by=feedback.c.profile_id, order_by=newest).label("rank")
        with self._db.read() as connection:
            for part in chunks(list(profile_ids)):
                mine = feedback.c.profile_id.in_(part) & (feedback.c.at >= since)
                ranked = select(*_ROW, rank).where(mine).subquery()
                query = select(*(ranked.c[name] for name in _NAMES)).where(ranked.c.rank <= each)
                found.extend(FeedbackRow(*row) for row in connection.execute(query))
        return sorted(found, key=lambda row: row.at)

    def acts_after(self, at: datetime, *, most: int) -> list[FeedbackRow]:
        """What residents did (no impressions) later than ``at``: the latest ``most``, oldest first."""
        query = (
            select(*_ROW)
            .where(feedback.c.kind.in_(_ACTS), feedback.c.at > at)
            .order_by(feedback.c.at.desc(), feedback.c.id.desc())
            .limit(most)
        )
        with self._db.read() as connection:
            return [FeedbackRow(*row) for row in connection.execute(query)][::-1]

    def still_observed(self, profile_ids: Iterable[int]) -> set[int]:
        """Return those of some residents who let themselves be observed and of whom an act is kept."""
        acts = exists().where(feedback.c.profile_id == profile.c.id, feedback.c.kind.in_(_ACTS))
        found: set[int] = set()
        with self._db.read() as connection:
            for part in chunks(sorted(profile_ids)):
                query = select(profile.c.id).where(profile.c.id.in_(part), profile.c.personalised, acts)
                found.update(connection.scalars(query))
        return found


def _first_since(connection: Connection, since: datetime, last: int) -> int:
    """The lowest number of an edition not older than ``since``; ``last + 1`` where all are."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        query = select(edition.c.made_at).where(edition.c.id >= middle).order_by(edition.c.id).limit(1)
        if (made_at := connection.scalar(query)) is None or made_at >= since:
            high = middle
        else:
            low = middle + 1
    return low
