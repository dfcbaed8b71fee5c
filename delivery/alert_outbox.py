"""The outbox as alerts use it: a whole city's messages planned by the database itself, and counted.

One statement plans thousands of rows, with what they carry; a row that stands already stays as it is, so
every slice can be planned again. Decides nothing: whom a warning concerns comes as an
:class:`AlertPlan`. Never sends, never opens an address. Called by ``api.jobs.alerts`` and
``api.jobs.alert_proof``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from feeds.kernel.db import Database, chunks, marks, plain_rows, run_plain, to_json
from feeds.kernel.time import from_micros, to_micros

# States of a message that reached somebody, or may have.
TOLD = ("leased", "sent", "delivered", "complained", "unknown")
#: What somebody does only after they have read it.
READ = ("open", "click", "save", "like", "rating")


@dataclass(frozen=True, slots=True)
class Version:
    """A warning in one language.

    Attributes:
        key: Beginning of the keys of this stage's messages.
        langs: What a profile's languages must be (as stored) to read this one; ``None``: all others.
        recipe: What its messages are built from; the same for everybody.
    """

    notice_id: int
    revision: int
    key: str
    langs: tuple[str, ...] | None
    recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """Whom one stage of one warning is told, and what.

    Attributes:
        family: Ids of the warning's notices, in all languages and whatever state.
        anew: Whether it is told to those it concerns; otherwise only those told before hear of it.
        everybody: It concerns the whole city.
        places: Codes of followed places that it concerns.
        follow: Whether anybody was told of an earlier stage.
        spared_all, spared: Everybody, or who follows one of these places, is told by another source's
            notice of the same warning: nobody of them is told anew, nor of an end.
    """

    family: tuple[int, ...]
    versions: tuple[Version, ...]
    channels: tuple[str, ...]
    anew: bool
    everybody: bool
    places: frozenset[str]
    follow: bool
    due_at: datetime
    expires_at: datetime
    spared_all: bool = False
    spared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Slice:
    """What one transaction planned: up to which profile, and how many messages a channel."""

    upto: int
    added: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Told:
    """One person in the proof of a warning.

    Attributes:
        place: Code of the first place they named that it concerns, or ``""``.
        states: Channel → state of its newest message of this stage.
        read: Whether they opened it somewhere.
        since: When the first message was planned.
    """

    profile_id: int
    place: str
    states: Mapping[str, str]
    read: bool
    since: datetime

    @property
    def confirmed(self) -> bool:
        """Whether it is known that it arrived."""
        return self.read or "delivered" in self.states.values()


class AlertOutbox:
    """Plans and counts alerts.

    Args:
        database: SQLite or PostgreSQL; both behave the same here.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def begun(self, family: Sequence[int]) -> bool:
        """Whether any message of this warning was ever planned."""
        query = f"SELECT 1 FROM delivery d WHERE {_OF_FAMILY.format(marks(family))} LIMIT 1"  # noqa: S608
        return bool(self._rows(query, family))

    def first_of(self, family: Sequence[int]) -> int | None:
        """The number of a warning's first message; of two warnings the lower one was told first."""
        query = f"SELECT MIN(d.id) FROM delivery d WHERE {_OF_FAMILY.format(marks(family))}"  # noqa: S608
        found = self._rows(query, family)[0][0] if family else None
        return None if found is None else int(found)

    def told(self, family: Sequence[int]) -> bool:
        """Whether anybody got a message of this warning, or may have."""
        query = (
            f"SELECT 1 FROM delivery d WHERE {_OF_FAMILY.format(marks(family))} "  # noqa: S608
            f"AND d.state IN ({marks(TOLD)}) LIMIT 1"
        )
        return bool(self._rows(query, (*family, *TOLD)))

    def cancel_outdated(self, family: Sequence[int], keys: Sequence[str], at: datetime) -> int:
        """Cancel what waits of earlier stages: it need not be sent and then corrected."""
        query = (
            "UPDATE delivery SET state = 'cancelled', changed_at = ? WHERE state = 'queued' AND id IN "  # noqa: S608
            f"(SELECT d.id FROM delivery d WHERE {_OF_FAMILY.format(marks(family))}) AND NOT {_begins(keys)} "
            "RETURNING id"
        )
        with self._db.write() as connection:
            return len(plain_rows(connection, query, (to_micros(at), *family, *_begins_values(keys))))

    def languages(self) -> list[str]:
        """Every combination of languages that profiles name, as stored."""
        return [row[0] for row in self._rows("SELECT DISTINCT langs FROM profile", ())]

    def plan(self, plan: AlertPlan, at: datetime, *, first: int, size: int) -> Iterator[Slice]:
        """Plan a stage's messages, a transaction for each slice; the first one is small.

        Stopped after any slice and begun again, it adds what is missing and nothing twice.
        """
        after, wanted = 0, first
        while (upto := self._upto(plan, after, wanted)) is not None:
            yield Slice(upto, self._slice(plan, after, upto, at))
            after, wanted = upto, size

    def concerned(self, plan: AlertPlan, after: int, limit: int) -> list[tuple[int, bool]]:
        """Return the next profiles that a stage concerns, with whether they were told before."""
        told = _follow(plan, "p.id")
        some = [told] if plan.follow else []
        some += [_circle(plan, "p.id")] if plan.anew else []
        condition = " OR ".join(f"({text})" for text, _ in some) or "1 = 0"
        shown, shown_values = told if plan.follow else ("1 = 0", ())
        query = (
            f"SELECT p.id, CASE WHEN {shown} THEN 1 ELSE 0 END FROM profile p "  # noqa: S608
            f"WHERE p.id > ? AND ({condition}) ORDER BY p.id LIMIT ?"
        )
        values = (*shown_values, after, *(value for _, each in some for value in each), limit)
        return [(row[0], bool(row[1])) for row in self._rows(query, values)]

    def reach(self, *, everybody: bool, places: Sequence[str], channels: Sequence[str]) -> dict[str, int]:
        """Count whom a warning would concern: channel → live subscriptions, ``""`` → residents."""
        plan = AlertPlan((), (), tuple(channels), True, everybody, frozenset(places), False, _EPOCH, _EPOCH)
        circle, values = _circle(plan, "p.id")
        found = {"": self._rows(f"SELECT COUNT(*) FROM profile p WHERE {circle}", values)[0][0]}  # noqa: S608
        circle, values = _circle(plan, "s.profile_id")
        query = (
            "SELECT s.channel, COUNT(*) FROM subscription s WHERE s.ended_at IS NULL "  # noqa: S608
            f"AND s.channel IN ({marks(plan.channels)}) AND {circle} GROUP BY s.channel"
        )
        found.update((row[0], row[1]) for row in self._rows(query, (*plan.channels, *values)))
        return found

    def planned(self, plan: AlertPlan, ids: Sequence[int]) -> set[int]:
        """Those of some profiles that have a message of this stage."""
        keys = [version.key for version in plan.versions]
        query = (
            f"SELECT DISTINCT profile_id FROM delivery WHERE profile_id IN ({marks(ids)}) "  # noqa: S608
            f"AND lane = 'alert' AND {_begins(keys)}"
        )
        return {row[0] for row in self._rows(query, (*ids, *_begins_values(keys)))} if ids else set()

    def is_done(self, stage: str) -> bool:
        """Whether a stage stands wholly in the ledger."""
        return bool(self._rows("SELECT 1 FROM alert_done WHERE stage = ?", (stage,)))

    def mark_done(self, stage: str, at: datetime) -> None:
        """Say that a stage stands wholly in the ledger."""
        with self._db.write() as connection:
            query = "INSERT INTO alert_done (stage, at) VALUES (?, ?) ON CONFLICT (stage) DO NOTHING"
            run_plain(connection, query, (stage, to_micros(at)))

    # -- proof -----------------------------------------------------------------------------------

    def first_accepted(self, family: Sequence[int]) -> datetime | None:
        """When a provider first took a message of this warning."""
        query = f"SELECT MIN(d.sent_at) FROM delivery d WHERE {_OF_FAMILY.format(marks(family))}"  # noqa: S608
        found = self._rows(query, family)[0][0]
        return None if found is None else from_micros(found)

    def states(self, family: Sequence[int], keys: Sequence[str] = ()) -> dict[tuple[str, str], int]:
        """Count a warning's messages by (channel, state): of some stages, or all."""
        query = (
            f"SELECT d.channel, d.state, COUNT(*) FROM delivery d WHERE {_OF_FAMILY.format(marks(family))} "  # noqa: S608
            f"{f'AND {_begins(keys)}' if keys else ''} GROUP BY d.channel, d.state"
        )
        rows = self._rows(query, (*family, *_begins_values(keys)))
        return {(row[0], row[1]): row[2] for row in rows}

    def people(self, plan: AlertPlan, since: datetime, *, after: int = 0, limit: int = 5000) -> list[Told]:
        """Return who belongs to a stage's proof, by id: those with a message, and those it concerns without.

        Args:
            plan: The stage; its ``places`` also name where each person counts.
            since: From when on reading it counts.
            after: Profiles after this id.
            limit: Most people returned.
        """
        keys = [version.key for version in plan.versions]
        mine = f"d.profile_id = p.id AND d.lane = 'alert' AND {_begins(keys)}"
        circle, circle_values = _circle(plan, "p.id") if plan.anew else ("1 = 0", ())
        query = (
            "SELECT p.id FROM profile p WHERE p.id > ? AND "  # noqa: S608
            f"(EXISTS (SELECT 1 FROM delivery d WHERE {mine}) OR ({circle})) ORDER BY p.id LIMIT ?"
        )
        values = (after, *_begins_values(keys), *circle_values, limit)
        with self._db.read() as connection:
            ids = [row[0] for row in plain_rows(connection, query, values)]
            return _people(connection, plan, keys, ids, since) if ids else []

    def late(
        self, plan: AlertPlan, since: datetime, now: datetime, patience: timedelta, *, after: int, limit: int
    ) -> list[Told]:
        """Return who may be written to once more, by id.

        Those with a message of this stage, none of them delivered, waiting or read; the first planned long
        enough ago, no second one since; and with another live channel than the only one that was used.

        Args:
            plan: The stage.
            since: From when on reading it counts.
            now: The present.
            patience: How long one waits for a confirmation.
            after: Profiles after this id.
            limit: Most people returned.
        """
        keys = [version.key for version in plan.versions]
        query = (
            "SELECT q.id FROM (SELECT d.profile_id AS id, MIN(d.channel) AS used FROM delivery d "  # noqa: S608
            f"WHERE d.profile_id > ? AND d.lane = 'alert' AND {_begins(keys)} GROUP BY d.profile_id "
            "HAVING MIN(d.created_at) <= ? AND MAX(d.created_at) - MIN(d.created_at) < ? "
            "AND SUM(CASE WHEN d.state IN ('delivered', 'queued', 'leased') THEN 1 ELSE 0 END) = 0) AS q "
            "WHERE EXISTS (SELECT 1 FROM subscription s WHERE s.profile_id = q.id AND s.ended_at IS NULL "
            f"AND s.channel IN ({marks(plan.channels)}) AND s.channel <> q.used) "
            f"AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.notice_id IN ({marks(plan.family)}) "
            f"AND f.profile_id = q.id AND f.at >= ? AND f.kind IN ({marks(READ)})) ORDER BY q.id LIMIT ?"
        )
        values = (
            after, *_begins_values(keys), to_micros(now - patience), patience // timedelta(microseconds=1),
            *plan.channels, *plan.family, to_micros(since), *READ, limit,
        )  # fmt: skip
        with self._db.read() as connection:
            ids = [row[0] for row in plain_rows(connection, query, values)]
            return _people(connection, plan, keys, ids, since) if ids else []

    def live(self, ids: Sequence[int], channels: Sequence[str]) -> dict[int, list[str]]:
        """Which of some channels each profile has a live subscription of."""
        found: dict[int, list[str]] = {}
        for part in chunks(ids):
            query = (
                f"SELECT profile_id, channel FROM subscription WHERE profile_id IN ({marks(part)}) "  # noqa: S608
                f"AND ended_at IS NULL AND channel IN ({marks(channels)}) ORDER BY id"
            )
            for number, channel in self._rows(query, (*part, *channels)):
                found.setdefault(number, []).append(channel)
        return found

    def versions_read(self, plan: AlertPlan, ids: Sequence[int]) -> dict[int, Version]:
        """Which language version each profile reads."""
        by_langs = {lang: version for version in plan.versions[1:] for lang in version.langs or ()}
        found: dict[int, Version] = {}
        for part in chunks(ids):
            query = f"SELECT id, langs FROM profile WHERE id IN ({marks(part)})"  # noqa: S608
            rows = self._rows(query, part)
            found.update((number, by_langs.get(langs, plan.versions[0])) for number, langs in rows)
        return found

    def again(self, rows: Sequence[tuple[int, str, str, Version]], at: datetime, expires_at: datetime) -> int:
        """Plan second messages: (profile, channel, key, version); a key that stands adds nothing."""
        added = 0
        with self._db.write() as connection:
            for profile_id, channel, key, version in rows:
                select = (
                    "SELECT ?, CAST(? AS BIGINT), ?, 'alert', 'queued', ?, ?, 0, ?, 0, ?, ?, '', '', 0, ''"
                )
                recipe = to_json({**version.recipe, "again": True})
                now = to_micros(at)
                values = (key, profile_id, channel, now, to_micros(expires_at), recipe, now, now)
                added += self._insert(connection, select + " WHERE 1 = 1", values, version).total()
        return added

    # -- statements ------------------------------------------------------------------------------

    def _upto(self, plan: AlertPlan, after: int, size: int) -> int | None:
        """The last profile of the next slice; ``None`` where nobody is left."""
        query = (
            "SELECT MAX(profile_id) FROM (SELECT s.profile_id FROM subscription s "  # noqa: S608
            f"WHERE s.ended_at IS NULL AND s.profile_id > ? AND s.channel IN ({marks(plan.channels)}) "
            "ORDER BY s.profile_id LIMIT ?) AS next"
        )
        found = self._rows(query, (after, *plan.channels, size))[0][0]
        return None if found is None else int(found)

    def _slice(self, plan: AlertPlan, after: int, upto: int, at: datetime) -> Counter[str]:
        added: Counter[str] = Counter()
        with self._db.write() as connection:
            for version in plan.versions:
                if plan.follow:  # those first, so that they read an update and not a first alert
                    values = self._values(plan, version, at, "update")
                    told = _follow(plan, "s.profile_id")
                    added += self._add(connection, plan, version, values, (after, upto), [told])
                if plan.anew:
                    values = self._values(plan, version, at, "new")
                    circle = [_circle(plan, "s.profile_id")]
                    added += self._add(connection, plan, version, values, (after, upto), circle)
        return added

    def _values(self, plan: AlertPlan, version: Version, at: datetime, stage: str) -> tuple[Any, ...]:
        recipe = dict(version.recipe)
        recipe.setdefault("stage", stage)
        return (
            version.key, to_micros(plan.due_at), to_micros(plan.expires_at), to_json(recipe),
            to_micros(at), to_micros(at),
        )  # fmt: skip

    def _add(
        self,
        connection: Connection,
        plan: AlertPlan,
        version: Version,
        values: tuple[Any, ...],
        span: tuple[int, int],
        conditions: Sequence[tuple[str, tuple[Any, ...]]],
    ) -> Counter[str]:
        some = [*conditions, *_reads(plan, version), *_not_in_another_language(plan, version)]
        select = (
            "SELECT CAST(? AS TEXT) || s.profile_id || ':' || s.channel, s.profile_id, s.channel, 'alert', "  # noqa: S608
            "'queued', ?, ?, 0, ?, 0, ?, ?, '', '', 0, '' FROM subscription s "
            "JOIN profile p ON p.id = s.profile_id "
            f"WHERE s.ended_at IS NULL AND s.channel IN ({marks(plan.channels)}) "
            "AND s.profile_id > ? AND s.profile_id <= ? "
            + "".join(f"AND ({text}) " for text, _ in some)
            + "ORDER BY s.profile_id"
        )
        bound = (*values, *plan.channels, *span, *(value for _, each in some for value in each))
        return self._insert(connection, select, bound, version)

    def _insert(
        self, connection: Connection, select: str, values: tuple[Any, ...], version: Version
    ) -> Counter[str]:
        """Insert what is new, with the notice each row carries; count it by channel."""
        carried = (version.notice_id, version.revision)
        insert = f"INSERT INTO delivery ({_COLUMNS}) {select} ON CONFLICT (dedupe_key) DO NOTHING"
        if connection.dialect.name == "postgresql":
            query = (
                f"WITH added AS ({insert} RETURNING id, channel), noted AS (INSERT INTO delivery_notice "  # noqa: S608
                "(delivery_id, notice_id, revision) SELECT id, CAST(? AS BIGINT), CAST(? AS INTEGER) "
                "FROM added) SELECT channel, COUNT(*) FROM added GROUP BY channel"
            )
            return Counter(dict(plain_rows(connection, query, (*values, *carried))))
        # Nobody else writes until this transaction ends, so what is above the old top is new.
        top = plain_rows(connection, "SELECT COALESCE(MAX(id), 0) FROM delivery")[0][0]
        run_plain(connection, insert, values)
        noted = (
            "INSERT INTO delivery_notice (delivery_id, notice_id, revision) "
            "SELECT id, ?, ? FROM delivery WHERE id > ?"
        )
        run_plain(connection, noted, (*carried, top))
        count = "SELECT channel, COUNT(*) FROM delivery WHERE id > ? GROUP BY channel"
        return Counter(dict(plain_rows(connection, count, (top,))))

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._db.read() as connection:
            return plain_rows(connection, query, values)


_EPOCH = from_micros(0)
_BY_NAME = 500
# Those with a default in Python only must be named by a plain statement.
_COLUMNS = (
    "dedupe_key, profile_id, channel, lane, state, due_at, expires_at, attempts, recipe, frozen, "
    "created_at, changed_at, provider, provider_ref, segments, error"
)
_OF_FAMILY = (
    "d.lane = 'alert' AND d.id IN (SELECT n.delivery_id FROM delivery_notice n WHERE n.notice_id IN ({}))"
)


def _begins(keys: Sequence[str]) -> str:
    """A condition on ``dedupe_key`` that holds for keys with one of these beginnings."""
    return "(" + " OR ".join("substr(dedupe_key, 1, ?) = ?" for _ in keys) + ")" if keys else "(1 = 0)"


def _begins_values(keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(value for key in keys for value in (len(key), key))


def _circle(plan: AlertPlan, alias: str) -> tuple[str, tuple[Any, ...]]:
    text, values = _within(plan.everybody, plan.places, alias)
    return _but_spared(plan, alias, text, values)


def _follow(plan: AlertPlan, alias: str) -> tuple[str, tuple[Any, ...]]:
    """Who was told before and hears of this stage: of an end nobody for whom the warning still stands."""
    text, values = _told(plan, anew=plan.anew, alias=alias)
    return (text, values) if plan.anew else _but_spared(plan, alias, text, values)


def _but_spared(
    plan: AlertPlan, alias: str, text: str, values: tuple[Any, ...]
) -> tuple[str, tuple[Any, ...]]:
    if not (plan.spared_all or plan.spared):
        return text, values
    spared, more = _within(plan.spared_all, plan.spared, alias)
    return f"({text}) AND NOT ({spared})", (*values, *more)


def _within(everybody: bool, places: frozenset[str], alias: str) -> tuple[str, tuple[Any, ...]]:
    if everybody:
        return "1 = 1", ()
    codes = sorted(places)
    if not codes:
        return "1 = 0", ()
    return (
        f"EXISTS (SELECT 1 FROM profile_criterion c WHERE c.profile_id = {alias} AND c.kind = 'place' "  # noqa: S608
        f"AND c.code IN ({marks(codes)}))",
        tuple(codes),
    )


def _told(plan: AlertPlan, *, anew: bool, alias: str) -> tuple[str, tuple[Any, ...]]:
    """Who was told of an earlier stage; ``anew``: and is concerned still, so that every channel counts."""
    keys = [version.key for version in plan.versions]
    base = (
        f"EXISTS (SELECT 1 FROM delivery d JOIN delivery_notice n ON n.delivery_id = d.id "  # noqa: S608
        f"WHERE d.profile_id = {alias} AND d.lane = 'alert' AND d.state IN ({marks(TOLD)}) "
        f"AND n.notice_id IN ({marks(plan.family)}) AND NOT {_begins(keys)}"
    )
    values = (*TOLD, *plan.family, *_begins_values(keys))
    if alias == "p.id":
        return base + ")", values
    own = base + " AND d.channel = s.channel)"
    if not anew:
        return own, values
    circle, circle_values = _circle(plan, alias)
    return f"{own} OR ({base}) AND {circle})", (*values, *values, *circle_values)


def _reads(plan: AlertPlan, version: Version) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Only who reads this language best; the first version is for everybody who reads none of them."""
    if len(plan.versions) == 1:
        return
    if version.langs is not None:
        yield (f"p.langs IN ({marks(version.langs)})", version.langs) if version.langs else ("1 = 0", ())
        return
    others = tuple(lang for other in plan.versions if other is not version for lang in other.langs or ())
    if others:
        yield f"p.langs NOT IN ({marks(others)})", others


def _not_in_another_language(plan: AlertPlan, version: Version) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Nobody is told twice because they changed their language in between."""
    for other in plan.versions:
        if other.key != version.key:
            yield (
                "NOT EXISTS (SELECT 1 FROM delivery o WHERE o.dedupe_key = "
                "CAST(? AS TEXT) || s.profile_id || ':' || s.channel)",
                (other.key,),
            )


def _people(
    connection: Connection, plan: AlertPlan, keys: Sequence[str], ids: Sequence[int], since: datetime
) -> list[Told]:
    # A few are asked for by name, since between them may lie the whole city.
    within = f"IN ({marks(ids)})" if len(ids) <= _BY_NAME else "BETWEEN ? AND ?"
    bound = tuple(ids) if len(ids) <= _BY_NAME else (ids[0], ids[-1])
    states: dict[int, dict[str, str]] = {}
    begun: dict[int, int] = {}
    query = (
        f"SELECT d.profile_id, d.channel, d.state, d.created_at FROM delivery d WHERE d.profile_id {within} "  # noqa: S608
        f"AND d.lane = 'alert' AND {_begins(keys)} ORDER BY d.id"
    )
    for number, channel, state, at in plain_rows(connection, query, (*bound, *_begins_values(keys))):
        before = states.setdefault(number, {}).get(channel)
        states[number][channel] = "delivered" if before == "delivered" else state
        begun.setdefault(number, at)
    places: dict[int, str] = {}
    codes = sorted(plan.places)
    only = f"AND code IN ({marks(codes)})" if codes and not plan.everybody else ""
    query = (
        f"SELECT profile_id, code FROM profile_criterion WHERE profile_id {within} "  # noqa: S608
        f"AND kind = 'place' {only} ORDER BY profile_id, position"
    )
    for number, code in plain_rows(connection, query, (*bound, *(codes if only else ()))):
        places.setdefault(number, code)
    query = (
        f"SELECT DISTINCT profile_id FROM feedback WHERE notice_id IN ({marks(plan.family)}) "  # noqa: S608
        f"AND profile_id {within} AND at >= ? AND kind IN ({marks(READ)})"
    )
    values = (*plan.family, *bound, to_micros(since), *READ)
    read = {row[0] for row in plain_rows(connection, query, values)}
    return [
        Told(
            number, places.get(number, ""), states.get(number, {}), number in read,
            from_micros(begun.get(number, to_micros(since))),
        )
        for number in ids
    ]  # fmt: skip
