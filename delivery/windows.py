"""When a message may go out: digest windows, quiet hours, and the rest between two pushes. Pure.

All windows are half-open ``[start, end)`` and meet without gap or overlap, also where clocks change.
It never reads a clock. Called by the jobs that plan deliveries.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from delivery.types import Lane
from feeds.kernel.time import at_local_time, local_date

PUSH_SPACE = timedelta(minutes=30)
_DAY = timedelta(days=1)
# Local hours [from, to) in which a message may be pushed; feeds and pages are pulled, never quiet.
_OPEN_HOURS = {"sms": (8, 20), "email": (8, 22), "push": (8, 22)}
_PULLED = frozenset({"feed", "web"})


def daily_window(day: date, hour: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the 24 local hours that the digest of ``day`` covers.

    Args:
        day: The local day on which the digest is sent.
        hour: The chosen local hour, 0 to 23.
        zone: The reader's zone.

    Returns:
        ``(start, end)`` in UTC, half-open: from ``hour`` of the day before to ``hour`` of ``day``.
        23 or 25 hours long where clocks change; a local hour that does not exist counts as the
        one after the gap, one that exists twice as the first.
    """
    return at_local_time(day - _DAY, hour, zone), at_local_time(day, hour, zone)


def next_due(after: datetime, hour: int, zone: ZoneInfo) -> datetime:
    """Return the first ``hour`` o'clock of ``zone`` strictly after ``after``, in UTC."""
    day = local_date(after, zone) - _DAY
    while (due := at_local_time(day, hour, zone)) <= after:
        day += _DAY
    return due


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


def spaced(last_push: datetime | None, instant: datetime) -> datetime:
    """Return ``instant``, or 30 minutes after the last push to the same person, if that is later."""
    return instant if last_push is None else max(instant, last_push + PUSH_SPACE)
