"""Plans digests for everybody whose hour has come, in statements about all of them and none about one.

Rows are put into the outbox and the subscriptions are moved on in one transaction, so a killed tick leaves
nothing half done; the key of a row names its slot, so a tick that comes again (two schedulers, a clock set
back) adds nothing. What a digest says is decided when it is prepared, never here. It reads the tables of
``profiles`` because the rows of a million subscribers must not pass through Python.
Called by ``api.jobs.digests``; docs/digests.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from delivery.digest_marks import Mark, any_due, begin, code_of, due_marks, finish, settle_broken
from delivery.digest_returns import edge
from delivery.digest_runs import mark_of, note_covered, open_run
from delivery.windows import NEVER, PUSH_SPACE, USEFUL_FOR, open_span
from feeds.kernel.db import Database, plain_rows, run_plain, run_plain_many
from feeds.kernel.errors import StorageError
from feeds.kernel.time import to_micros
from feeds.kernel.workdays import WorkingCalendar

# So many subscriptions are planned in one transaction: an alert gets in between.
SLICE = 25_000
_TICK = timedelta(microseconds=1)
# PostgreSQL: what was read has changed meanwhile, or two waited for each other.
_BROKEN_OFF = ("40001", "40P01")
_ATTEMPTS = 6
_Done = TypeVar("_Done")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")

_DIGEST = "s.frequency <> 'immediate'"
_SLOTS = """CREATE TEMP TABLE IF NOT EXISTS digest_slot (code INTEGER PRIMARY KEY, run_id BIGINT NOT NULL,
 since BIGINT NOT NULL, until BIGINT NOT NULL, due BIGINT NOT NULL, expires BIGINT NOT NULL,
 slot TEXT NOT NULL)"""
_BEGINS = "CASE s.covered_until WHEN 0 THEN t.since ELSE s.covered_until END"
# Of somebody's first window the edition of joining does not count: they saw it when they joined.
_ADD = """INSERT INTO delivery (dedupe_key, profile_id, channel, lane, state, due_at, expires_at, attempts,
 recipe, provider, provider_ref, segments, error, created_at, changed_at, frozen, begun, run_id)
 SELECT 'digest:' || s.profile_id || ':' || s.channel || ':' || t.slot, s.profile_id, s.channel, 'digest',
 'queued', t.due, t.expires, 0, '{{"kind":"digest","lang":"' || s.lang || '","template":"{template}",'
 || '"window":[' || {begins} || ',' || t.until || ']}}', '', '', 0, '', {now}, {now}, 0, 0, t.run_id
 FROM subscription s CROSS JOIN digest_slot t
 WHERE {span} AND t.code = {code} AND s.covered_until < t.until AND NOT {paused}{verified}
 AND EXISTS (SELECT 1 FROM edition e WHERE e.profile_id = s.profile_id AND e.made_at >= {begins}
 AND e.made_at < t.until AND (s.covered_until = 0 OR e.kind <> 'welcome'))
 ON CONFLICT (dedupe_key) DO NOTHING"""
# Few: who held a window of their own and was planned now, and who rests.
_KEEP = """UPDATE subscription AS s SET covered_until =
 CASE WHEN s.covered_until >= t.until THEN s.covered_until
 WHEN s.pause_keeps = 1 AND {paused} THEN {begins} ELSE 0 END,
 last_result = CASE WHEN {paused} THEN 'paused' ELSE s.last_result END,
 last_planned_at = CASE WHEN {paused} THEN {now} ELSE s.last_planned_at END
 FROM digest_slot AS t WHERE {span} AND (s.covered_until > 0 OR s.paused_from <= t.until)
 AND t.code = {code} AND (s.covered_until BETWEEN 1 AND t.until - 1 OR {paused})"""
_VERIFIED = """ AND NOT EXISTS (SELECT 1 FROM contact AS k {by} WHERE k.profile_id = s.profile_id
 AND k.channel = s.channel AND k.verified_at IS NULL AND k.channel IN ({channels}))"""
# Left alone, SQLite looks among all contacts; few are unconfirmed.
_BY = {"sqlite": "INDEXED BY ix_contact_unverified"}
# Written so that a subscription that rests and has no end of it gives false, never unknown.
_PAUSED = """(COALESCE(s.paused_from <= t.until, 1 = 0) AND COALESCE(t.until < s.paused_until, 1 = 1))"""

# Immediate messages. The window ends just after the message is due: an edition made until then is in it,
# and asks for no message of its own. One that counts as made later still (the ledger writes nothing before a
# planned slot, and clocks differ) takes the end of the window with it.
_ADD_NOW = """INSERT INTO delivery (dedupe_key, profile_id, channel, lane, state, due_at, expires_at,
 attempts, recipe, provider, provider_ref, segments, error, created_at, changed_at, frozen, begun, run_id)
 SELECT 'now:' || n.profile_id || ':{channel}:' || n.edition_id, n.profile_id, '{channel}', 'immediate',
 'queued', n.due, n.due + {useful}, 0, '{{"kind":"digest","lang":"' || n.lang
 || '","template":"{template}","window":[' || n.since || ','
 || (CASE WHEN n.latest > n.due THEN n.latest ELSE n.due END + 1) || ']}}',
 '', '', 0, '', {now}, {now}, 0, 0, {run}
 FROM (SELECT c.*, CASE WHEN c.wanted < {closes} THEN c.wanted ELSE {reopens} END AS due
 FROM (SELECT f.*, CASE WHEN f.pushed IS NULL OR f.pushed + {space} < {opens} THEN {opens}
 ELSE f.pushed + {space} END AS wanted
 FROM (SELECT s.profile_id, s.lang, MAX(e.id) AS edition_id, MAX(e.made_at) AS latest,
 CASE WHEN MIN(e.made_at) < {since} THEN MIN(e.made_at) ELSE {since} END AS since,
 (SELECT MAX(COALESCE(d.sent_at, d.due_at)) FROM delivery d WHERE d.profile_id = s.profile_id
 AND d.lane IN ('immediate', 'digest') AND d.state IN ('queued', 'leased', 'sent', 'delivered', 'unknown')
 AND d.created_at < {now} AND COALESCE(d.sent_at, d.due_at) > {spaced}) AS pushed
 FROM {driven} AND e.kind = 'daily' AND e.size > 0 AND s.channel = '{channel}' AND s.ended_at IS NULL
 AND s.frequency = 'immediate' AND NOT {paused}{verified}
 GROUP BY s.id, s.profile_id, s.lang, s.covered_until, s.pause_keeps, s.paused_until) AS f) AS c) AS n
 WHERE 1 = 1
 ON CONFLICT (dedupe_key) DO NOTHING"""
_MOVE_NOW = """UPDATE subscription AS s SET covered_until = {ends}, last_result = 'looked',
 last_planned_at = {now} FROM delivery AS d
 WHERE d.run_id = {run} AND d.created_at = {now} AND d.channel = '{channel}' AND s.profile_id = d.profile_id
 AND s.channel = d.channel AND s.ended_at IS NULL AND s.frequency = 'immediate'
 AND s.covered_until < {ends}"""
_LOOK_BACK = 1000
# What is not wanted from a rest lies before the window.
_SINCE = """(CASE WHEN s.pause_keeps = 0 AND s.paused_until > s.covered_until AND s.paused_until <= {now}
 THEN s.paused_until ELSE s.covered_until END)"""
# By new editions; one that landed late (its making began before the last message) still counts, and so does
# one that counts as made at a moment to come.
_BY_EDITION = """edition e CROSS JOIN subscription s WHERE e.id > {after} AND s.profile_id = e.profile_id
 AND (e.made_at >= {since}
 OR (e.id > {seen} AND e.made_at >= s.created_at
 AND (e.made_at < s.last_planned_at OR e.made_at > {now})))"""
# By subscriptions whose rest is over: what came meanwhile comes now.
_BY_REST = """subscription s CROSS JOIN edition e WHERE s.next_due_at <= {now} AND e.profile_id = s.profile_id
 AND e.made_at >= {since}"""
_RESTED = """SELECT 1 FROM subscription WHERE ended_at IS NULL AND frequency = 'immediate'
 AND next_due_at <= ? LIMIT 1"""
_AWAKE = """UPDATE subscription SET next_due_at = {never} WHERE ended_at IS NULL AND frequency = 'immediate'
 AND next_due_at <= {now}"""
_RESTS = """(COALESCE(s.paused_from <= {now}, 1 = 0) AND COALESCE({now} < s.paused_until, 1 = 1))"""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all subscriptions of one planning have in common.

    Attributes:
        channels: Those that are planned.
        real: Those of them that serve confirmed addresses only.
        template: The version of the wording; stands in the recipe.
    """

    zone: ZoneInfo
    calendar: WorkingCalendar
    channels: Sequence[str]
    real: Collection[str]
    template: str


@dataclass(slots=True)
class Planned:
    """What a planning did.

    Attributes:
        due: Subscriptions whose hour had come.
        rows: Digests put into the outbox.
        runs: Ids of the runs they belong to.
    """

    due: int = 0
    rows: int = 0
    runs: set[int] = field(default_factory=set)

    def add(self, other: Planned) -> None:
        """Count what another one did as well."""
        self.due += other.due
        self.rows += other.rows
        self.runs |= other.runs


class DigestPlanner:
    """Puts due digests into the outbox.

    Args:
        database: SQLite or PostgreSQL; the statements are the same.
        size: Subscriptions in one transaction.
    """

    def __init__(self, database: Database, *, size: int = SLICE) -> None:
        self._database = database
        self._size = size

    def plan(self, now: datetime, terms: Terms) -> Planned:
        """Plan every live daily and weekly subscription that is due, and move it on to its next hour.

        Nothing is queued for somebody to whom no edition was made since their last digest, who rests,
        or whose address is not confirmed. A digest that could not go out in time any more is left to
        the next one: its window stays open.
        """
        if not all(_NAME.fullmatch(name) for name in (*terms.channels, terms.template)):
            raise ValueError(f"not names of channels and a template: {terms.channels}, {terms.template!r}")
        done = Planned()
        with self._database.read() as connection:
            if not any_due(connection, now):
                return done
        spans: list[_Span] | None = None
        while spans is None or spans:
            step = _repeated(partial(self._step, now, terms, spans))
            if step is None:
                break
            spans, part = step
            done.add(part)
        return done

    def _step(
        self, now: datetime, terms: Terms, spans: Sequence[_Span] | None
    ) -> tuple[list[_Span], Planned] | None:
        """Plan the next slice in one transaction; return what is left, or ``None`` if there is nothing to do.

        It changes nothing but the database, so that it can be tried again.
        """
        part = Planned()
        with self._database.write() as connection:
            if not _alone(connection, still=True):
                return None  # somebody else is planning the very same
            some = due_marks(connection, now, terms.zone, terms.calendar, terms.channels)
            if not some:
                return None
            if spans is None:
                some = [replace(one, since=settle_broken(connection, one)) for one in some]
                spans = self._spans(connection, some)
                _note_missed(connection, some, now)
            if spans:
                begin(connection, some, spans[0].upto)
                self._slice(connection, now, terms, some, spans[0], part)
            left = list(spans[1:])
            if not left:
                finish(connection, some, now)
        return left, part

    def plan_immediate(self, now: datetime, terms: Terms) -> Planned:
        """Plan a message for who wants news at once and got an edition since the last look.

        It is driven by the new editions, not by the subscriptions. Two pushes to one person are 30
        minutes apart and inside the channel's hours; what is picked until the message is due comes with
        it, so a busy morning is one message and not ten.
        """
        return _repeated(partial(self._at_once, now, terms))

    def _at_once(self, now: datetime, terms: Terms) -> Planned:
        done = Planned()
        with self._database.write() as connection:
            if not _alone(connection):
                return done
            seen = mark_of(connection, "immediate")
            last = int(plain_rows(connection, "SELECT COALESCE(MAX(id), 0) FROM edition")[0][0])
            woken = bool(plain_rows(connection, _RESTED, [to_micros(now)]))
            if last <= seen and not woken:
                return done
            run = open_run(connection, "immediate", _hour_of(now), now, last)
            words = {"now": to_micros(now), "seen": seen, "run": run}
            # Numbers may become visible out of order where several write; a look back costs little.
            words["after"] = max(0, seen - _LOOK_BACK)
            for driven in (_BY_EDITION, _BY_REST) if woken else (_BY_EDITION,):
                for channel in terms.channels:
                    done.rows += self._immediate(connection, channel, now, terms, words, driven)
            if woken:
                connection.exec_driver_sql(_AWAKE.format(never=to_micros(NEVER), now=to_micros(now)))
            done.due = done.rows
            done.runs.add(run)
        return done

    def _immediate(
        self,
        connection: Connection,
        channel: str,
        now: datetime,
        terms: Terms,
        words: dict[str, int],
        driven: str,
    ) -> int:
        opens, closes, reopens = (to_micros(one) for one in open_span(channel, now, terms.zone))
        by = _BY.get(connection.dialect.name, "")
        verified = _VERIFIED.format(by=by, channels=_texts([channel])) if channel in terms.real else ""
        said: dict[str, Any] = words | {
            "channel": channel, "opens": opens, "closes": closes, "reopens": reopens,
            "space": PUSH_SPACE // _TICK, "useful": USEFUL_FOR // _TICK, "template": terms.template,
            "verified": verified, "ends": edge(connection, "d", 1), "spaced": to_micros(now - PUSH_SPACE),
            "since": _SINCE.format(**words), "paused": _RESTS.format(**words),
        }  # fmt: skip
        added = connection.exec_driver_sql(_ADD_NOW.format(driven=driven.format(**said), **said)).rowcount
        if added:
            connection.exec_driver_sql(_MOVE_NOW.format(**said))
        return int(added)

    def _spans(self, connection: Connection, some: Sequence[Mark]) -> list[_Span]:
        """Conditions that cut what is due into parts of at most a slice."""
        lived = [one for one in some if one.lived and not one.late]
        if not lived:
            return []
        hours = ", ".join(str(hour) for hour in sorted({one.rhythm.hour for one in lived}))
        query = (
            "SELECT COUNT(*), MIN(s.id), MAX(s.id) FROM subscription s WHERE s.ended_at IS NULL "  # noqa: S608
            f"AND s.local_hour IN ({hours})"
        )
        count, first, last = plain_rows(connection, query)[0]
        if count <= self._size:
            return [_Span(f"s.ended_at IS NULL AND s.local_hour IN ({hours}) AND {_DIGEST}", last + 1)]
        # So many are due that going through the table is cheaper than through the index of hours
        # (the plus keeps SQLite from that index).
        live = f"s.ended_at IS NULL AND +s.local_hour IN ({hours}) AND {_DIGEST}"
        return [
            _Span(f"{live} AND s.id >= {start} AND s.id < {start + self._size}", start + self._size)
            for start in range(first, last + 1, self._size)
        ]

    def _slice(
        self,
        connection: Connection,
        now: datetime,
        terms: Terms,
        some: Sequence[Mark],
        span: _Span,
        done: Planned,
    ) -> None:
        runs = _runs(connection, some, now)
        run_plain(connection, _SLOTS)
        run_plain(connection, "DELETE FROM digest_slot")
        run_plain_many(
            connection,
            "INSERT INTO digest_slot VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_values(one, runs, terms) for one in some if one.lived and not one.late],
        )
        by = _BY.get(connection.dialect.name, "")
        verified = _VERIFIED.format(by=by, channels=_texts(sorted(terms.real))) if terms.real else ""
        code, words = code_of(terms.channels), {"begins": _BEGINS, "paused": _PAUSED, "now": to_micros(now)}
        add = _ADD.format(template=terms.template, span=span.where, code=code, verified=verified, **words)
        done.rows += connection.exec_driver_sql(add).rowcount
        connection.exec_driver_sql(_KEEP.format(span=span.where, code=code, **words))
        count = (
            f"SELECT COUNT(*) FROM subscription s JOIN digest_slot t ON t.code = {code} WHERE {span.where}"  # noqa: S608
        )
        done.due += int(plain_rows(connection, count)[0][0])
        done.runs.update(runs.values())


@dataclass(frozen=True, slots=True)
class _Span:
    """Some subscriptions, as a condition, and the id below which all are planned with them."""

    where: str
    upto: int


def _values(one: Mark, runs: dict[int, int], terms: Terms) -> tuple[Any, ...]:
    end = to_micros(one.end)
    return (
        one.code(terms.channels), runs[end], one.since, end, to_micros(one.due),
        to_micros(one.end + USEFUL_FOR), one.end.isoformat(timespec="minutes"),
    )  # fmt: skip


def _runs(connection: Connection, some: Sequence[Mark], now: datetime) -> dict[int, int]:
    """Slot → run id; the run of a slot is made when it is first planned, and opened again by later rows."""
    lived = [one for one in some if one.lived and not one.late]
    return {end: open_run(connection, "digest", end, now)
            for end in sorted({to_micros(one.end) for one in lived})}  # fmt: skip


def _note_missed(connection: Connection, some: Sequence[Mark], now: datetime) -> None:
    for one in [one for one in some if one.lived]:
        by = one.following if one.late else one.end
        note_covered(connection, [to_micros(slot) for slot in one.missed], by, now)


def _repeated(work: Callable[[], _Done]) -> _Done:
    """Run a transaction; again where PostgreSQL broke it off because of somebody else's."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except StorageError as error:
            # The driver's error is what SQLAlchemy's holds, and that is the cause of ours.
            cause = getattr(error.__cause__, "orig", None)
            if getattr(cause, "sqlstate", None) not in _BROKEN_OFF:
                raise
    return work()


def _alone(connection: Connection, *, still: bool = False) -> bool:
    """Let nobody else plan meanwhile, and see one state of things to the end of the transaction.

    SQLite's write lock does all of it already.

    Args:
        connection: In a transaction that has read nothing yet.
        still: Also wait for editions being written, and keep others from being written meanwhile.
    """
    if connection.dialect.name == "sqlite":
        return True
    run_plain(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if still:
        run_plain(connection, "LOCK TABLE edition IN SHARE MODE")
    return bool(plain_rows(connection, "SELECT pg_try_advisory_xact_lock(?)", [_LOCK])[0][0])


_LOCK = 0x6D79_6369  # "myci": any number that nothing else here locks


def _hour_of(now: datetime) -> int:
    return to_micros(now.replace(minute=0, second=0, microsecond=0))


def _texts(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
