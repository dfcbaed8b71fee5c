"""How far each rhythm was planned: one row for all who chose the same channel, hour and days.

Planning moves that row on and leaves the subscriptions alone, so a million digests cost no million writes
beside the outbox. It decides nothing about anybody. Called by ``delivery.digest_plans`` inside its
transactions; ``profiles.subscriptions`` makes and reads the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from delivery.windows import USEFUL_FOR, Rhythm, allowed_at, slot_after, slot_before
from feeds.kernel.db import marks, plain_rows, run_plain, run_plain_many
from feeds.kernel.time import from_micros, to_micros
from feeds.kernel.workdays import WorkingCalendar

# Slots missed for longer are not noted one by one.
_NOTED = timedelta(days=8)
_TICK = timedelta(microseconds=1)
_KEY = "channel = ? AND frequency = ? AND local_hour = ? AND weekday = ? AND workdays_only = ?"
_SAME = (
    "r.channel = s.channel AND r.frequency = s.frequency AND r.local_hour = s.local_hour "
    "AND r.weekday = s.weekday AND r.workdays_only = s.workdays_only"
)
_DUE = """SELECT r.channel, r.frequency, r.local_hour, r.weekday, r.workdays_only, r.next_due_at,
 r.covered_until, r.slot, r.done_id, EXISTS (SELECT 1 FROM subscription s WHERE {same} AND s.ended_at IS NULL)
 FROM rhythm r WHERE r.next_due_at <= ? AND r.channel IN ({channels}) AND r.frequency IN ('daily', 'weekly')
 ORDER BY 1, 2, 3, 4, 5"""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rhythm on a channel at this tick: what its window is, and when it is due again.

    Attributes:
        since, end: The window of whoever holds nothing of their own.
        due: When the messages may go out.
        following: The next slot.
        late: Too late to send; the next digest covers it.
        missed: Slots of before that this one covers.
        begun: The slot of a planning that was broken off, where it was another one.
        done_id: How far that planning came.
        lived: Somebody has this rhythm.
    """

    channel: str
    rhythm: Rhythm
    since: int
    end: datetime
    due: datetime
    following: datetime
    late: bool
    missed: tuple[datetime, ...]
    begun: int
    done_id: int
    lived: bool

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """Its row."""
        one = self.rhythm
        return self.channel, one.frequency, one.hour, one.weekday, int(one.workdays_only)

    def code(self, channels: Sequence[str]) -> int:
        """Its number; :func:`code_of` says the same of a subscription in SQL."""
        one = self.rhythm
        code = one.hour + 24 * one.weekday + 168 * one.workdays_only + 336 * (one.frequency == "weekly")
        return code + 672 * list(channels).index(self.channel)


def code_of(channels: Sequence[str]) -> str:
    """The number of a subscription's rhythm and channel, as SQL: what :meth:`Mark.code` computes."""
    numbers = " ".join(f"WHEN '{name}' THEN {672 * n}" for n, name in enumerate(channels) if n)
    return (
        "(s.local_hour + 24 * s.weekday + 168 * s.workdays_only"
        f" + CASE s.frequency WHEN 'weekly' THEN 336 ELSE 0 END + CASE s.channel {numbers} ELSE 0 END)"
    )


def due_marks(
    connection: Connection, now: datetime, zone: ZoneInfo, calendar: WorkingCalendar, channels: Sequence[str]
) -> list[Mark]:
    """Return the rhythms whose slot has come."""
    query = _DUE.format(same=_SAME, channels=marks(channels))
    rows = plain_rows(connection, query, [to_micros(now), *channels])
    return [_mark(row, now, zone, calendar) for row in rows]


def any_due(connection: Connection, now: datetime) -> bool:
    """Whether there is anything to plan at all; most ticks end here."""
    query = "SELECT 1 FROM rhythm WHERE next_due_at <= ? LIMIT 1"
    return bool(plain_rows(connection, query, [to_micros(now)]))


def _mark(row: tuple[Any, ...], now: datetime, zone: ZoneInfo, calendar: WorkingCalendar) -> Mark:
    channel, frequency, hour, weekday, workdays, oldest, since, slot, done_id, lived = row
    rhythm = Rhythm(int(hour), frequency, int(weekday), bool(workdays))
    end = slot_before(now, rhythm, zone, calendar)
    due = allowed_at(channel, now, zone, "digest")
    late = due >= end + USEFUL_FOR
    missed = []
    passed = slot_after(max(from_micros(oldest), now - _NOTED) - _TICK, rhythm, zone, calendar)
    while passed < end:
        missed.append(passed)
        passed = slot_after(passed, rhythm, zone, calendar)
    return Mark(
        channel, rhythm, since, end, due, slot_after(now, rhythm, zone, calendar), late,
        (*missed, *([end] if late else [])), slot, done_id, bool(lived),
    )  # fmt: skip


def settle_broken(connection: Connection, one: Mark) -> int:
    """Settle a planning that was broken off and that this tick cannot end; return where it ended.

    Who was planned then is covered to that slot; the others keep the window that they had.
    """
    if not one.done_id or (one.begun == to_micros(one.end) and not one.late):
        return one.since
    run_plain(
        connection,
        f"UPDATE subscription SET covered_until = ? WHERE {_KEY} AND ended_at IS NULL "  # noqa: S608
        "AND covered_until = 0 AND id >= ?",
        [one.since, *one.key, one.done_id],
    )
    query = f"UPDATE rhythm SET covered_until = slot, done_id = 0 WHERE {_KEY}"  # noqa: S608
    run_plain(connection, query, one.key)
    return one.begun


def begin(connection: Connection, some: Collection[Mark], done_id: int) -> None:
    """Say that subscriptions below an id are planned; from here on the ledger grows behind the slot only."""
    query = f"UPDATE rhythm SET slot = ?, done_id = ? WHERE {_KEY} AND next_due_at < ?"  # noqa: S608
    run_plain_many(
        connection,
        query,
        [(to_micros(one.end), done_id, *one.key, to_micros(one.following)) for one in some if not one.late],
    )


def finish(connection: Connection, some: Collection[Mark], now: datetime) -> None:
    """Move rhythms on; a late one covers nothing, so that the next digest says it."""
    query = (
        "UPDATE rhythm SET covered_until = CASE WHEN ? = 1 THEN covered_until ELSE ? END, slot = ?, "  # noqa: S608
        "done_id = 0, next_due_at = ?, last_result = ?, last_planned_at = ? "
        f"WHERE {_KEY} AND next_due_at < ?"
    )
    rows = []
    for one in some:
        end, following = to_micros(one.end), to_micros(one.following)
        result = "late" if one.late else "looked"
        rows.append((int(one.late), end, end, following, result, to_micros(now), *one.key, following))
    run_plain_many(connection, query, rows)
