"""Runs of digests: which slots were planned, how many rows each made, which are done, which are missing.

A run is a row, unique by (kind, slot), so that planning can be run twice. Whether a run is held or halted
is the outbox's note about it (``delivery.outbox_runs``); here it is only shown. Called by the jobs that
plan, by the sweeper, the desk and ``mycity digests runs``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from delivery.digest_returns import give_back, owed
from delivery.windows import Rhythm, slot_after
from feeds.kernel.db import Database, marks, plain_rows, run_plain
from feeds.kernel.time import from_micros, to_micros
from feeds.kernel.workdays import WorkingCalendar

RunKind = Literal["digest", "immediate", "correction"]
RunState = Literal["open", "held", "halted", "completed"]
_TICK = timedelta(microseconds=1)

_SHOWN = """SELECT r.id, r.kind, r.slot, r.planned_at, r.rows, r.state, r.reason, r.completed_at, o.held_why
 FROM digest_run r LEFT JOIN delivery_run o ON o.run_id = r.id"""
_TOLD = "WHERE r.kind = 'digest' OR r.rows > 0"
_WAITING = (
    "SELECT 1 FROM delivery d WHERE d.run_id = digest_run.id AND d.state IN ('queued', 'leased', 'held')"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One planning of one slot.

    Attributes:
        slot: The hour whose digests it made; for the other kinds the hour it was planned in.
        rows: Messages it put into the outbox.
        state: ``held`` waits for a person's confirmation, ``halted`` stopped because mails bounced.
        reason: Why it is not open, or why it made nothing.
    """

    id: int
    kind: RunKind
    slot: datetime
    planned_at: datetime
    rows: int
    state: RunState
    reason: str = ""
    completed_at: datetime | None = None


class RunStore:
    """Reads and completes runs; the planning stores make them.

    Args:
        database: SQLite or PostgreSQL; both behave the same here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(self, limit: int = 50) -> list[Run]:
        """Return the newest runs, newest slot first; an hour of looks that found nothing is left out."""
        with self._database.read() as connection:
            rows = plain_rows(
                connection, f"{_SHOWN} {_TOLD} ORDER BY r.slot DESC, r.id DESC LIMIT ?", [limit]
            )
        return [_run(row) for row in rows]

    def get(self, run_id: int) -> Run | None:
        """Return one run."""
        with self._database.read() as connection:
            found = plain_rows(connection, f"{_SHOWN} WHERE r.id = ?", [run_id])
        return _run(found[0]) if found else None

    def count_rows(self, run_ids: Collection[int]) -> None:
        """Write down how many messages some runs have by now."""
        if not run_ids:
            return
        wanted = sorted(run_ids)
        query = (
            "UPDATE digest_run SET rows = (SELECT COUNT(*) FROM delivery d WHERE d.run_id = digest_run.id) "  # noqa: S608
            f"WHERE id IN ({marks(wanted)})"
        )
        with self._database.write() as connection:
            run_plain(connection, query, wanted)

    def complete_due(self, now: datetime) -> int:
        """Complete every open run of which nothing waits any more; return how many.

        What ended unsent in such a run is given back to the subscriptions: the next digest covers it.
        """
        with self._database.read() as connection:
            over = [
                row[0] for row in plain_rows(
                    connection, f"SELECT id FROM digest_run WHERE state = 'open' AND NOT EXISTS ({_WAITING})"  # noqa: S608
                )
            ]  # fmt: skip
        done = 0
        for run_id in over:
            with self._database.write() as connection:
                done += _complete(connection, run_id, now)
        return done

    def give_back(self, now: datetime) -> int:
        """Give back what ended unsent so far in runs of which other messages still wait; return how many."""
        with self._database.read() as connection:
            if not owed(connection, now):
                return 0
        with self._database.write() as connection:
            return give_back(connection, now)

    def missing(
        self, now: datetime, zone: ZoneInfo, calendar: WorkingCalendar, *, days: int = 7
    ) -> list[datetime]:
        """Return slots of the last days that live subscriptions had and no run was made for, oldest first.

        A slot that a later digest covered is noted as a run of no rows, so it is not missing.
        """
        since = now - timedelta(days=days)
        query = (
            "SELECT r.frequency, r.local_hour, r.weekday, r.workdays_only, MIN(r.next_due_at) FROM rhythm r "
            "WHERE r.next_due_at <= ? AND EXISTS (SELECT 1 FROM subscription s WHERE s.ended_at IS NULL "
            "AND s.channel = r.channel AND s.frequency = r.frequency AND s.local_hour = r.local_hour "
            "AND s.weekday = r.weekday AND s.workdays_only = r.workdays_only) GROUP BY 1, 2, 3, 4"
        )
        with self._database.read() as connection:
            groups = plain_rows(connection, query, [to_micros(now)])
            slots = "SELECT slot FROM digest_run WHERE kind = 'digest' AND slot > ?"
            known = plain_rows(connection, slots, [to_micros(since)])
        made = {from_micros(row[0]) for row in known}
        found: set[datetime] = set()
        for frequency, hour, weekday, workdays, first in groups:
            rhythm = Rhythm(int(hour), frequency, int(weekday), bool(workdays))
            slot = slot_after(max(since, from_micros(first) - _TICK), rhythm, zone, calendar)
            while slot <= now:
                found.add(slot)
                slot = slot_after(slot, rhythm, zone, calendar)
        return sorted(found - made)

    def mark(self, kind: RunKind) -> int:
        """Return how far the runs of a kind have looked; 0 before the first."""
        with self._database.read() as connection:
            return mark_of(connection, kind)

    def trim(self, before: datetime) -> int:
        """Forget completed runs of slots before an instant, but never the newest mark of a kind."""
        query = (
            "DELETE FROM digest_run WHERE state = 'completed' AND slot < ? AND id NOT IN "
            "(SELECT MAX(id) FROM digest_run GROUP BY kind)"
        )
        with self._database.write() as connection:
            return connection.exec_driver_sql(query.replace("?", str(to_micros(before)))).rowcount


def mark_of(connection: Connection, kind: RunKind) -> int:
    """How far the runs of a kind have looked."""
    found = plain_rows(connection, "SELECT MAX(mark) FROM digest_run WHERE kind = ?", [kind])[0][0]
    return int(found or 0)


def open_run(connection: Connection, kind: RunKind, slot: int, now: datetime, mark: int = 0) -> int:
    """The id of the run of a slot, which is made if it is not there, and open from here on."""
    query = (
        "INSERT INTO digest_run (kind, slot, planned_at, state, mark) VALUES (?, ?, ?, 'open', ?) "
        "ON CONFLICT (kind, slot) DO UPDATE SET state = 'open', completed_at = NULL, reason = '', "
        "mark = CASE WHEN digest_run.mark < excluded.mark THEN excluded.mark ELSE digest_run.mark END "
        "RETURNING id"
    )
    return int(plain_rows(connection, query, [kind, slot, to_micros(now), mark])[0][0])


def note_covered(connection: Connection, slots: Collection[int], by: datetime, now: datetime) -> None:
    """Write down that slots were missed and are covered by a later digest."""
    query = (
        "INSERT INTO digest_run (kind, slot, planned_at, state, completed_at, reason) "
        "VALUES ('digest', ?, ?, 'completed', ?, ?) ON CONFLICT (kind, slot) DO NOTHING"
    )
    at, reason = to_micros(now), f"covered by {by.isoformat(timespec='minutes')}"
    for slot in sorted(slots):
        run_plain(connection, query, [slot, at, at, reason])


def _complete(connection: Connection, run_id: int, now: datetime) -> int:
    query = (
        "UPDATE digest_run SET state = 'completed', completed_at = "  # noqa: S608
        f"{to_micros(now)} WHERE id = {run_id} AND state = 'open' AND NOT EXISTS ({_WAITING})"
    )
    done = connection.exec_driver_sql(query).rowcount
    # Only afterwards: by now nothing of it can end unsent any more.
    give_back(connection, now, run_id)
    return done


def _run(row: tuple[Any, ...]) -> Run:
    run_id, kind, slot, planned_at, rows, state, reason, completed_at, held = row
    if held and state == "open":
        state, reason = ("halted" if held == "bounces" else "held"), held
    done = None if completed_at is None else from_micros(completed_at)
    return Run(run_id, kind, from_micros(slot), from_micros(planned_at), rows, state, reason, done)
