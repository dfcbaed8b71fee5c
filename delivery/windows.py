"""When a message may go out: digest windows, quiet hours, and the rest between two pushes. Pure.

All windows are half-open ``[start, end)`` and meet without gap or overlap, also where clocks change: a
digest covers what lies between two *slots*, the instants at which a rhythm is due. It never reads a
clock. Called by the jobs that plan deliveries.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from delivery.types import Lane
from feeds.kernel.time import at_local_time, local_date
from feeds.kernel.workdays import WorkingCalendar

PUSH_SPACE = timedelta(minutes=30)
#: When something is due that is not due by the clock: immediate messages, a rest without an end.
NEVER = datetime(9998, 1, 1, tzinfo=UTC)
# A digest that could not be sent for so long after its hour is of no use any more; what it would have
# said comes in the next one.
USEFUL_FOR = timedelta(hours=14)
_DAY = timedelta(days=1)
# The longest that a calendar may close offices; beyond it, days off no longer move a digest.
_LONGEST_REST = 30
# Local hours [from, to) in which a message may be pushed; feeds and pages are pulled, never quiet.
_OPEN_HOURS = {"sms": (8, 20), "email": (8, 22), "push": (8, 22)}
_PULLED = frozenset({"feed", "web"})


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a digest comes.

    Attributes:
        hour: Local hour, 0 to 23.
        frequency: ``weekly`` comes on one weekday.
        weekday: 0 (Monday) to 6; counts for ``weekly`` only.
        workdays_only: On a day off nothing comes; a weekly digest whose day is off comes on the next
            working day, and a daily one then covers the whole gap.
    """

    hour: int
    frequency: Literal["daily", "weekly"] = "daily"
    weekday: int = 0
    workdays_only: bool = False


def slot_after(
    after: datetime, rhythm: Rhythm, zone: ZoneInfo, calendar: WorkingCalendar | None = None
) -> datetime:
    """Return the first slot of a rhythm strictly after ``after``, in UTC.

    Args:
        after: Any instant.
        rhythm: The hour that does not exist on a day counts as the one after the gap; the hour that
            exists twice counts as the first.
        zone: The reader's zone.
        calendar: The city's working days; without one every Monday to Friday is worked.
    """
    day = local_date(after, zone) - _DAY
    while not _is_slot(day, rhythm, calendar) or at_local_time(day, rhythm.hour, zone) <= after:
        day += _DAY
    return at_local_time(day, rhythm.hour, zone)


def slot_before(
    until: datetime, rhythm: Rhythm, zone: ZoneInfo, calendar: WorkingCalendar | None = None
) -> datetime:
    """Return the newest slot of a rhythm at or before ``until``, in UTC: where the window due now ends."""
    day = local_date(until, zone) + _DAY
    while not _is_slot(day, rhythm, calendar) or at_local_time(day, rhythm.hour, zone) > until:
        day -= _DAY
    return at_local_time(day, rhythm.hour, zone)


def _is_slot(day: date, rhythm: Rhythm, calendar: WorkingCalendar | None) -> bool:
    """Whether a digest comes on a day: it is meant for it, or for a day off just before it."""
    if not rhythm.workdays_only:
        return _meant(day, rhythm)
    calendar = calendar or WorkingCalendar()
    if not calendar.is_working(day):
        return False
    for _ in range(_LONGEST_REST):
        if _meant(day, rhythm):
            return True
        day -= _DAY
        if calendar.is_working(day):
            return False
    return False


def _meant(day: date, rhythm: Rhythm) -> bool:
    return rhythm.frequency == "daily" or day.weekday() == rhythm.weekday


def allowed_at(channel: str, instant: datetime, zone: ZoneInfo, lane: Lane = "immediate") -> datetime:
    """Return the first instant, not before ``instant``, at which ``channel`` may be pushed.

    SMS goes out 08:00-20:00, mail and every other push 08:00-22:00, local time, half-open. Three
    things are exempt: alerts, confirmations (their reader is waiting for them) and a digest other
    than SMS, which comes at the hour that the reader chose. Feeds and pages are pulled.
    """
    if lane in ("alert", "confirmation") or channel in _PULLED:
        return instant
    if lane == "digest" and channel != "sms":
        return instant
    opens, closes = _OPEN_HOURS.get(channel, _OPEN_HOURS["push"])
    day = local_date(instant, zone)
    if instant < (opening := at_local_time(day, opens, zone)):
        return opening
    if instant < at_local_time(day, closes, zone):
        return instant
    return at_local_time(day + _DAY, opens, zone)


def open_span(channel: str, instant: datetime, zone: ZoneInfo) -> tuple[datetime, datetime, datetime]:
    """Return when ``channel`` may next be pushed, when that ends, and when it may be pushed again.

    For whoever spaces many pushes at once: an instant of ``[opens, closes)`` stands, a later one waits
    for ``reopens``.
    """
    opens = allowed_at(channel, instant, zone)
    hours = _OPEN_HOURS.get(channel, _OPEN_HOURS["push"])
    day = local_date(opens, zone)
    return opens, at_local_time(day, hours[1], zone), at_local_time(day + _DAY, hours[0], zone)


def spaced(last_push: datetime | None, instant: datetime) -> datetime:
    """Return ``instant``, or 30 minutes after the last push to the same person, if that is later."""
    return instant if last_push is None else max(instant, last_push + PUSH_SPACE)
