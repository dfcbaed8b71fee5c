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

from sqlalchemy import Connection, Select, and_, delete, func, or_, select

from feeds.kernel.db import Database, chunks
from feeds.kernel.time import to_micros
from profiles.said import OPINIONS, SHOWS_AGAIN, USES
from profiles.tables import feedback, profile, shelf
from profiles.types import FeedbackKind

#: How sure it is that a person saw what a channel showed: a page was opened, a feed reader fetched an
#: entry, a mail was taken by a provider.
SURE: Mapping[str, float] = MappingProxyType({"web": 0.9, "feed": 0.3, "api": 0.3, "email": 0.2})
#: The same notice on the same channel within this span is one impression.
SAME_SHOWING = timedelta(hours=24)
#: Where an entry lies in every answer for weeks and a reader shows it as new once: one impression in all.
SHOWN_ONCE = ("feed",)
#: How long impressions are kept, and uses. What somebody said stays until they take it back.
KEEP_SHOWN, KEEP = timedelta(days=180), timedelta(days=730)
_ACTS = (*USES, *OPINIONS)
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
class KindCount:
    """How many events of one kind are held of one resident, and the oldest one's instant."""

    kind: str
    count: int
    since: datetime


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

    def record_shown(self, rows: Sequence[FeedbackRow], seen: Mapping[int, int] | None = None) -> int:
        """Store impressions that are new, and return how many were.

        Each (profile, notice, channel) counts once in 24 hours, on the channels of :data:`SHOWN_ONCE` once as
        long as impressions are kept. Of two rows for the same thing the first stays. Two processes that write
        at the same moment may both store one: impressions are a statistic, and the guard would cost more than
        it saves. But nothing is stored of who switched personalisation off or was erased since.

        Args:
            rows: In any order.
            seen: For rows that were kept waiting: by profile, the version of the shelf they were made from.
                Rows of a shelf that moved on since are left out, for the resident may have cleared it all.
        """
        if not rows:
            return 0
        newest, kept = max(row.at for row in rows), []
        with self._db.write() as connection:
            observed, known = set[int](), set[tuple[int, int, str]]()
            for part in chunks(sorted({row.profile_id for row in rows})):
                observed.update(_observed(connection, part, seen or {}))
                known.update(_known(connection, part, newest))
            for row in rows:
                key = (row.profile_id, row.notice_id, row.channel)
                if row.profile_id in observed and key not in known:
                    known.add(key)
                    kept.append(row)
            if kept:
                _insert(connection, kept)
        return len(kept)

    def observes(self, profile_id: int, connection: Connection) -> bool:
        """Whether behaviour of this profile may be stored; nobody can change that before the caller ends.

        The row's lock also makes those wait who tell something of the same profile at the same time.
        """
        return bool(connection.scalar(_locked(profile_id)))

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
        """Return the latest acts, oldest first; ties in the order they were stored."""
        query = (
            select(*_COLUMNS)
            .where(feedback.c.kind.in_(_ACTS))
            .order_by(feedback.c.at.desc(), feedback.c.id.desc())
            .limit(limit)
        )
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)][::-1]

    def impressions(
        self, since: datetime, *, limit: int = 5_000_000, explored: bool = False
    ) -> list[FeedbackRow]:
        """Return the latest impressions with ``at >= since``, oldest first; ties as they were stored.

        Args:
            since: The earliest instant.
            limit: The most rows.
            explored: Only those that had a chance below 1 of being shown.
        """
        query = select(*_COLUMNS).where(feedback.c.kind == "impression", feedback.c.at >= since)
        if explored:
            query = query.where(feedback.c.propensity < 1)
        query = query.order_by(feedback.c.at.desc(), feedback.c.id.desc()).limit(limit)
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)][::-1]

    def recent(
        self, profile_ids: Iterable[int], most: int = 50, connection: Connection | None = None
    ) -> dict[int, list[FeedbackRow]]:
        """Return each profile's latest acts (no impressions), newest first; an empty list for none.

        Args:
            profile_ids: Any number.
            most: Most acts of one profile; ties go to what was stored later.
            connection: A transaction to read in; without it this opens its own.
        """
        if connection is None:
            with self._db.read() as own:
                return self.recent(profile_ids, most, own)
        wanted = list(dict.fromkeys(profile_ids))
        found: dict[int, list[FeedbackRow]] = {profile_id: [] for profile_id in wanted}
        newest = (feedback.c.at.desc(), feedback.c.id.desc())
        rank = func.row_number().over(partition_by=feedback.c.profile_id, order_by=newest).label("rank")
        for part in chunks(wanted):
            mine = feedback.c.profile_id.in_(part) & feedback.c.kind.in_(_ACTS)
            ranked = select(*_COLUMNS, rank).where(mine).subquery()
            query = select(ranked).where(ranked.c.rank <= most).order_by(ranked.c.profile_id, ranked.c.rank)
            for item in connection.execute(query):
                found[item.profile_id].append(FeedbackRow(*item[:-1]))
        return found

    def opinions(
        self, profile_id: int, notice_ids: Iterable[int] | None = None
    ) -> dict[int, list[FeedbackRow]]:
        """Return what a resident said, by notice, oldest first; of these notices, or of all."""
        mine = (feedback.c.profile_id == profile_id) & feedback.c.kind.in_(OPINIONS)
        query = select(*_COLUMNS).where(mine).order_by(feedback.c.id)
        wanted = None if notice_ids is None else set(notice_ids)
        found: dict[int, list[FeedbackRow]] = {}
        with self._db.read() as connection:
            # Nobody says so much that a second index would pay; what they opened is passed by.
            for item in connection.execute(query):
                if wanted is None or item.notice_id in wanted:
                    found.setdefault(item.notice_id, []).append(FeedbackRow(*item))
        return found

    def saved(self, profile_id: int) -> list[int]:
        """Return the notices a resident saved, the one saved last first; each once."""
        query = (
            select(feedback.c.notice_id)
            .where(feedback.c.profile_id == profile_id, feedback.c.kind == "save")
            .order_by(feedback.c.at.desc(), feedback.c.id.desc())
        )
        with self._db.read() as connection:
            return list(dict.fromkeys(connection.scalars(query)))

    def kinds(self, profile_id: int) -> list[KindCount]:
        """Count what is held of one resident by kind, most first; ties by name."""
        query = (
            select(feedback.c.kind, func.count(), func.min(feedback.c.at))
            .where(feedback.c.profile_id == profile_id)
            .group_by(feedback.c.kind)
        )
        with self._db.read() as connection:
            found = [KindCount(*item) for item in connection.execute(query)]
        return sorted(found, key=lambda item: (-item.count, item.kind))

    def of(self, profile_id: int) -> list[FeedbackRow]:
        """Return everything held about one profile's behaviour, oldest first."""
        query = select(*_COLUMNS).where(feedback.c.profile_id == profile_id).order_by(feedback.c.id)
        with self._db.read() as connection:
            return [FeedbackRow(*item) for item in connection.execute(query)]

    def hidden(self, profile_id: int) -> frozenset[int]:
        """Return the notices a resident hid and did not say otherwise of since."""
        latest = dict(self._said(profile_id, ("hide", *SHOWS_AGAIN)))
        return frozenset(notice_id for notice_id, kind in latest.items() if kind == "hide")

    def forget(self, profile_id: int, connection: Connection | None = None) -> int:
        """Delete a profile's behaviour; return how many events went. Who is just writing some is awaited."""
        if connection is None:
            with self._db.write() as own:
                return self.forget(profile_id, own)
        connection.execute(_locked(profile_id))
        return connection.execute(delete(feedback).where(feedback.c.profile_id == profile_id)).rowcount

    def forget_acts(self, profile_id: int, *, channel: str) -> int:
        """Delete what a resident did on one channel, impressions excepted; return how many events went."""
        acts = and_(
            feedback.c.profile_id == profile_id, feedback.c.kind.in_(USES), feedback.c.channel == channel
        )
        with self._db.write() as connection:
            connection.execute(_locked(profile_id))
            return connection.execute(delete(feedback).where(acts)).rowcount

    def trim(self, now: datetime) -> int:
        """Delete impressions older than 180 days and uses older than 2 years; return how many went.

        What somebody said stays: a saved notice must not get lost, nor a hidden one come back.
        Goes in steps, so that others can write in between; killed in the middle, it goes on the next time.
        """
        uses = and_(feedback.c.kind.in_(USES), feedback.c.at < now - KEEP)
        shown = and_(feedback.c.kind == "impression", feedback.c.at < now - KEEP_SHOWN)
        step = select(feedback.c.id).where(or_(uses, shown)).limit(_TRIM_STEP)
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


def _locked(profile_id: int) -> Select[tuple[bool]]:
    """Whether a profile is personalised; the row is held until the transaction ends (PostgreSQL)."""
    query = select(profile.c.personalised).where(profile.c.id == profile_id)
    return query.with_for_update(key_share=True)


def _observed(connection: Connection, profile_ids: Sequence[int], seen: Mapping[int, int]) -> Iterable[int]:
    """Of these, who may be observed and whose shelf stands as it was seen; nobody changes that meanwhile.

    Always in the order of the ids, so that two who hold many never wait for each other.
    """
    mine = profile.c.id.in_(profile_ids) & profile.c.personalised
    held = select(profile.c.id).where(mine).order_by(profile.c.id).with_for_update(read=True)
    here = list(connection.scalars(held))
    if not seen:
        return here
    query = select(shelf.c.profile_id, shelf.c.version).where(shelf.c.profile_id.in_(profile_ids))
    versions = {item.profile_id: item.version for item in connection.execute(query)}
    return [number for number in here if seen.get(number) in (None, versions.get(number, 0))]


def _known(
    connection: Connection, profile_ids: Sequence[int], newest: datetime
) -> Iterable[tuple[int, int, str]]:
    """The impressions that are stored already and count for those of ``newest`` too."""
    query = select(feedback.c.profile_id, feedback.c.notice_id, feedback.c.channel).where(
        feedback.c.profile_id.in_(profile_ids),
        feedback.c.kind == "impression",
        or_(feedback.c.at > newest - SAME_SHOWING, feedback.c.channel.in_(SHOWN_ONCE)),
    )
    return ((row[0], row[1], row[2]) for row in connection.execute(query))
