"""What residents did with what they were shown: impressions, opens, clicks, opinions.

Position and propensity are kept with each, so that a later evaluation can be fair; an impression also says
how sure it is that a person saw it. Simulated rows are marked and stay marked. The store learns nothing and
decides nothing; ``api.jobs.signals`` writes (and asks first whether the resident may be observed), training
and watching read, the scheduler trims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType

from sqlalchemy import Connection, and_, case, delete, func, or_, select

from feeds.kernel.db import Database, chunks
from feeds.kernel.time import to_micros
from profiles.tables import feedback, profile
from profiles.types import FeedbackKind

#: How sure it is that a person saw what a channel showed: a page was opened, a feed reader fetched an
#: entry, a mail was taken by a provider.
SURE: Mapping[str, float] = MappingProxyType({"web": 0.9, "feed": 0.3, "api": 0.3, "email": 0.2})
#: The same notice on the same channel within this span is one impression.
SAME_SHOWING = timedelta(hours=24)
#: How long impressions are kept, and everything else.
KEEP_SHOWN, KEEP = timedelta(days=180), timedelta(days=730)
#: What somebody said of a notice; the latest of these holds.
OPINIONS = ("save", "like", "dislike", "hide", "less", "rating")
#: What somebody did with a notice.
USES = ("open", "click")
_ACTS = (*USES, *OPINIONS)
#: What shows a notice again that was hidden before.
SHOWS_AGAIN = ("save", "like", "dislike")
_TRIM_STEP = 20_000


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """One event.

    Attributes:
        position: Place in the list, from 1; 0 where there is none.
        propensity: Chance in (0, 1] that the notice was shown there.
        simulated: Made by the simulation, not by a person.
        value: What was rated, 1 to 5; 0 for every other kind.
        sure: Of an impression: how sure it is that a person saw it, 0 to 1 (:data:`SURE`); 1 for acts.
    """

    profile_id: int
    notice_id: int
    kind: FeedbackKind
    at: datetime
    channel: str = "web"
    position: int = 0
    propensity: float = 1.0
    simulated: bool = False
    value: float = 0.0
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one notice on one channel.

    Attributes:
        shows: Impressions. ``seen``: the sum of how sure they are.
        uses: Residents who opened or clicked it there, each once.
    """

    notice_id: int
    channel: str
    shows: int
    seen: float
    uses: int


_NAMES = tuple(FeedbackRow.__dataclass_fields__)
_COLUMNS = tuple(feedback.c[name] for name in _NAMES)
_VALUES = attrgetter(*_NAMES)
_AT = _NAMES.index("at")


class FeedbackStore:
    """Records events, returns them for training and watching, forgets them."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record(self, rows: Sequence[FeedbackRow], connection: Connection | None = None) -> None:
        """Store events with one statement, in one transaction or in the caller's."""
        if not rows:
            return
        if connection is not None:
            _insert(connection, rows)
            return
        with self._db.write() as own:
            _insert(own, rows)

    def record_shown(self, rows: Sequence[FeedbackRow]) -> int:
        """Store impressions, each (profile, notice, channel) once in 24 hours; return how many were stored.

        Nothing is stored of who switched personalisation off or was erased since the rows were made. Of two
        rows for the same thing the first stays. Two processes that write at the same moment may both store
        one: impressions are a statistic, and the guard would cost more than it saves.
        """
        if not rows:
            return 0
        newest, kept = max(row.at for row in rows), []
        with self._db.write() as connection:
            observed, seen = set[int](), set[tuple[int, int, str]]()
            for part in chunks(sorted({row.profile_id for row in rows})):
                observed.update(_observed(connection, part))
                seen.update(_seen(connection, part, since=newest - SAME_SHOWING))
            for row in rows:
                key = (row.profile_id, row.notice_id, row.channel)
                if row.profile_id in observed and key not in seen:
                    seen.add(key)
                    kept.append(row)
            if kept:
                _insert(connection, kept)
        return len(kept)

    def observes(self, profile_id: int, connection: Connection) -> bool:
        """Whether behaviour of this profile may be stored; nobody can change that before the caller ends.

        The row's lock also makes those wait who tell something of the same profile at the same time.
        """
        query = select(profile.c.personalised).where(profile.c.id == profile_id)
        return bool(connection.scalar(query.with_for_update(key_share=True)))

    def about(
        self, profile_id: int, notice_id: int, connection: Connection | None = None
    ) -> list[FeedbackRow]:
        """Return what a resident did with one notice, oldest first, without impressions."""
        query = (
            select(*_COLUMNS)
            .where(
                feedback.c.profile_id == profile_id,
                feedback.c.kind.in_(_ACTS),
                feedback.c.notice_id == notice_id,
            )
            .order_by(feedback.c.id)
        )
        if connection is not None:
            return [FeedbackRow(*item) for item in connection.execute(query)]
        with self._db.read() as own:
            return [FeedbackRow(*item) for item in own.execute(query)]

    def take_back(self, profile_id: int, notice_id: int, kind: FeedbackKind, connection: Connection) -> int:
        """Delete what was said of a notice in one kind; return how many events went."""
        said = and_(
            feedback.c.profile_id == profile_id, feedback.c.kind == kind, feedback.c.notice_id == notice_id
        )
        return connection.execute(delete(feedback).where(said)).rowcount

    def training_rows(self, *, limit: int = 5_000_000) -> list[FeedbackRow]:
        """Return events other than impressions, oldest first (impressions are not signals of liking)."""
        query = select(*_COLUMNS).where(feedback.c.kind.in_(_ACTS)).order_by(feedback.c.id).limit(limit)
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)]

    def impressions(self, since: datetime, *, limit: int = 5_000_000) -> list[FeedbackRow]:
        """Return impressions with ``at >= since``, oldest first; ties in the order they were stored."""
        query = (
            select(*_COLUMNS)
            .where(feedback.c.kind == "impression", feedback.c.at >= since)
            .order_by(feedback.c.at, feedback.c.id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)]

    def recent(self, profile_ids: Iterable[int], most: int = 50) -> dict[int, list[FeedbackRow]]:
        """Return each profile's latest acts (no impressions), newest first; an empty list for none.

        Args:
            profile_ids: Any number.
            most: Most acts of one profile; ties go to what was stored later.
        """
        wanted = list(dict.fromkeys(profile_ids))
        found: dict[int, list[FeedbackRow]] = {profile_id: [] for profile_id in wanted}
        newest = (feedback.c.at.desc(), feedback.c.id.desc())
        rank = func.row_number().over(partition_by=feedback.c.profile_id, order_by=newest).label("rank")
        with self._db.read() as connection:
            for part in chunks(wanted):
                mine = feedback.c.profile_id.in_(part) & feedback.c.kind.in_(_ACTS)
                ranked = select(*_COLUMNS, rank).where(mine).subquery()
                query = (
                    select(ranked).where(ranked.c.rank <= most).order_by(ranked.c.profile_id, ranked.c.rank)
                )
                for item in connection.execute(query):
                    found[item.profile_id].append(FeedbackRow(*item[:-1]))
        return found

    def tallies(self, since: datetime) -> list[Tally]:
        """Count shows and uses of each notice on each channel since ``since``, by notice, then channel.

        Simulated events do not count.
        """
        shown = feedback.c.kind == "impression"
        query = (
            select(
                feedback.c.notice_id,
                feedback.c.channel,
                func.sum(case((shown, 1), else_=0)),
                func.sum(case((shown, feedback.c.sure), else_=0.0)),
                func.count(case((~shown, feedback.c.profile_id)).distinct()),
            )
            .where(
                feedback.c.kind.in_(("impression", *USES)),
                feedback.c.at >= since,
                feedback.c.simulated.is_(False),
            )
            .group_by(feedback.c.notice_id, feedback.c.channel)
            .order_by(feedback.c.notice_id, feedback.c.channel)
        )
        with self._db.read() as connection:
            return [
                Tally(item[0], item[1], int(item[2]), float(item[3]), int(item[4]))
                for item in connection.execute(query)
            ]

    def of(self, profile_id: int) -> list[FeedbackRow]:
        """Return everything held about one profile's behaviour, oldest first."""
        query = select(*_COLUMNS).where(feedback.c.profile_id == profile_id).order_by(feedback.c.id)
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)]

    def hidden(self, profile_id: int) -> frozenset[int]:
        """Return the notices a resident hid and did not say otherwise of since."""
        latest = dict(self._said(profile_id, ("hide", *SHOWS_AGAIN)))
        return frozenset(notice_id for notice_id, kind in latest.items() if kind == "hide")

    def forget(self, profile_id: int) -> int:
        """Delete a profile's behaviour; return how many events went."""
        with self._db.write() as connection:
            return connection.execute(delete(feedback).where(feedback.c.profile_id == profile_id)).rowcount

    def trim(self, now: datetime) -> int:
        """Delete impressions older than 180 days and acts older than 2 years; return how many went.

        Goes in steps, so that others can write in between; killed in the middle, it goes on the next time.
        """
        acts = and_(feedback.c.kind.in_(_ACTS), feedback.c.at < now - KEEP)
        shown = and_(feedback.c.kind == "impression", feedback.c.at < now - KEEP_SHOWN)
        step = select(feedback.c.id).where(or_(acts, shown)).limit(_TRIM_STEP)
        gone = 0
        while True:
            with self._db.write() as connection:
                count = connection.execute(delete(feedback).where(feedback.c.id.in_(step))).rowcount
            gone += count
            if count < _TRIM_STEP:
                return gone

    def counts(self) -> dict[str, int]:
        """Count events: all, and simulated."""
        with self._db.read() as connection:
            total = connection.scalar(select(func.count()).select_from(feedback)) or 0
            simulated = (
                connection.scalar(select(func.count()).select_from(feedback).where(feedback.c.simulated)) or 0
            )
        return {"all": total, "simulated": simulated}

    def _said(self, profile_id: int, kinds: Collection[str]) -> list[tuple[int, FeedbackKind]]:
        query = (
            select(feedback.c.notice_id, feedback.c.kind)
            .where(feedback.c.profile_id == profile_id, feedback.c.kind.in_(kinds))
            .order_by(feedback.c.id)
        )
        with self._db.read() as connection:
            return [(row.notice_id, row.kind) for row in connection.execute(query)]


def _insert(connection: Connection, rows: Sequence[FeedbackRow]) -> None:
    """One plain statement: SQLAlchemy's look at each value would cost more than storing it."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    statement = f"INSERT INTO feedback ({', '.join(_NAMES)}) VALUES ({', '.join([mark] * len(_NAMES))})"  # noqa: S608
    values = []
    for row in rows:
        plain = list(_VALUES(row))
        plain[_AT] = to_micros(row.at)
        values.append(tuple(plain))
    connection.exec_driver_sql(statement, values)


def _observed(connection: Connection, profile_ids: Sequence[int]) -> Iterable[int]:
    mine = profile.c.id.in_(profile_ids) & profile.c.personalised
    return connection.scalars(select(profile.c.id).where(mine))


def _seen(
    connection: Connection, profile_ids: Sequence[int], *, since: datetime
) -> Iterable[tuple[int, int, str]]:
    query = select(feedback.c.profile_id, feedback.c.notice_id, feedback.c.channel).where(
        feedback.c.profile_id.in_(profile_ids), feedback.c.kind == "impression", feedback.c.at > since
    )
    return ((row[0], row[1], row[2]) for row in connection.execute(query))
