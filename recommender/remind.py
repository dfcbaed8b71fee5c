"""Which deadlines of notices somebody already has are near enough to say so once more. Pure.

Counts working days on the city's calendar; decides nothing about order, and what it needs to remember stands
on the shelf. Called by ``select`` through ``policy``: once a run, then for the few who hold such a notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date, to_micros
from feeds.kernel.workdays import WorkingCalendar
from profiles.bulk import unpack_many_ids
from profiles.match import Reach, hides
from profiles.shelves import StoredShelf, stored
from profiles.types import Pick, Profile, Reason, Shelf, ShelvedPick
from recommender.candidates import Pool

#: Working days left at which a deadline is recalled, each once.
STEPS = (5, 1)
#: What is off the shelf was picked longer ago than this; then a step must have been passed within these days,
#: or it is missed: a shelf of 50 surely remembers what was recalled in them, at ten picks a day.
_MEMORY = timedelta(days=3)
#: No day count goes on for longer.
_FAR = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Near:
    """A notice whose deadline is within the first step.

    Attributes:
        reach: What mutes it.
        day: Local day of the deadline.
        left: Working days from today to that day.
        passed: The smallest step that was passed in the last three days; 0 if none was.
    """

    revision: int
    reach: Reach
    deadline: datetime
    day: date
    left: int
    passed: int


@dataclass(frozen=True)
class Coming:
    """Deadlines that are near, worked out once a run.

    Attributes:
        notices: Notice id → what is near of it.
        today: Local day of the run.
    """

    notices: Mapping[int, Near]
    today: date
    zone: ZoneInfo
    calendar: WorkingCalendar

    def holding(self, shelves: Sequence[Shelf | StoredShelf]) -> list[int]:
        """Which shelves (by place) remember one of these notices: only they need :func:`due`."""
        if not self.notices or not shelves:
            return []
        packed = [(one if isinstance(one, StoredShelf) else stored(one)).picked for one in shelves]
        rows, picked = unpack_many_ids(packed)
        found: list[int] = np.unique(rows[np.isin(picked, np.array(list(self.notices)))]).tolist()
        return found


def coming(pool: Pool, now: datetime, days_left: Sequence[int] | None = None) -> Coming:
    """Find the notices of a pool whose deadline is at most five working days off and not yet past.

    Args:
        pool: The candidates.
        now: Aware, UTC.
        days_left: Working days to each deadline, -1 without one, where they are known already: spares a look
            at every candidate.
    """
    zone, calendar = ZoneInfo(pool.city.timezone), pool.city.calendar
    today = local_date(now, zone)
    found: dict[int, Near] = {}
    known: dict[date, tuple[int, int]] = {}
    alive = pool.until > to_micros(now)
    if days_left is not None:
        left_of = np.array(days_left, dtype=np.int64)
        alive &= (left_of >= 0) & (left_of <= STEPS[0])
    for column in np.flatnonzero(alive).tolist():
        one = pool.candidates[column]
        if one.deadline is None or one.deadline - now > _FAR:
            continue
        day = local_date(one.deadline, zone)
        if day not in known:
            known[day] = calendar.between(today, day), calendar.between(today - _MEMORY, day)
        left, before = known[day]
        if left <= STEPS[0]:
            passed = min((step for step in STEPS if left <= step < before), default=0)
            found[one.notice_id] = Near(one.revision, pool.reaches[column], one.deadline, day, left, passed)
    return Coming(found, today, zone, calendar)


def due(profile: Profile, shelf: Shelf, near: Coming) -> list[Pick]:
    """Make the reminders of one profile.

    A step is due once fewer working days are left than it, or as many, and more were left when the notice was
    last picked or recalled. So nothing is recalled on the working day it was picked, a step comes once, the
    smaller one if both were passed, and a deadline that moved counts anew.

    Args:
        profile: What it mutes is not recalled.
        shelf: With all its picks, not only today's.
        near: Of this run.

    Returns:
        The nearest deadline first, then the smaller id. Each names the deadline's day and the working days
        left.
    """
    last = {item.pick.notice_id: item for item in shelf.picks}
    found = []
    for number in near.notices.keys() & shelf.picked:
        one = near.notices[number]
        muted = any(hides(tag, one.reach) for tag in profile.mutes)
        if muted or not _is_due(one, last.get(number), near):
            continue
        reason = Reason("reminder", (one.day.isoformat(), str(one.left)), 1.0)
        found.append(Pick(number, one.revision, "reminder", (reason,)))
    return sorted(found, key=lambda pick: (near.notices[pick.notice_id].deadline, pick.notice_id))


def _is_due(one: Near, last: ShelvedPick | None, near: Coming) -> bool:
    if last is None:
        return one.passed > 0
    if last.pick.kind == "reminder" and _recalled(last.pick) != one.day.isoformat():
        return True  # what was recalled was another date
    told = local_date(last.picked_at, near.zone)
    then = near.calendar.between(told, one.day) if one.day - told < _FAR else STEPS[0] + 1
    return any(one.left <= step < then for step in STEPS)


def _recalled(pick: Pick) -> str:
    params = (reason.params for reason in pick.reasons if reason.code == "reminder" and reason.params)
    return next((own[0] for own in params), "")
