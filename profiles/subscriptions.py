"""Subscriptions: which channel a profile wants served, how often, at which hour, and what ended it.

At most one live subscription for each (profile, channel). A change of frequency ends the old row
and makes a new one, so history stays. When the next digest is due and how far the last one reached is the
same for all of one rhythm and stands in ``rhythm``; a subscription holds only what differs. Called by the
entrances and by the digest jobs; ``delivery.digest_plans`` moves them on.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import Row, and_, func, select, update

from feeds.kernel.db import Database, insert_missing, insert_one
from feeds.kernel.errors import UsageError
from feeds.kernel.time import to_micros
from profiles.tables import profile, rhythm, subscription
from profiles.types import ChannelName, Frequency, Subscription

_LANG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,2}")
_KEY = ("channel", "frequency", "local_hour", "weekday", "workdays_only")
_OF_RHYTHM = ("next_due_at", "covered_until", "slot", "done_id", "last_result", "last_planned_at")
_READ = select(subscription, *(rhythm.c[name].label(f"r_{name}") for name in _OF_RHYTHM)).outerjoin(
    rhythm, and_(*(rhythm.c[name] == subscription.c[name] for name in _KEY))
)


class SubscriptionStore:
    """Starts, advances and ends subscriptions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(
        self,
        profile_id: int,
        channel: ChannelName,
        *,
        frequency: Frequency = "daily",
        local_hour: int = 8,
        lang: str,
        next_due_at: datetime,
        at: datetime,
        weekday: int = 0,
        workdays_only: bool = False,
    ) -> Subscription:
        """Start a subscription; a live one of the same channel ends with the reason ``changed``.

        The new one goes on where the old one's last digest ended, so a change of hour loses nothing; a rest
        goes on too.

        Args:
            profile_id: Whose.
            channel: Which channel.
            frequency: Daily, weekly, or immediate.
            local_hour: When, 0 to 23.
            lang: Of the messages.
            next_due_at: The next slot of the rhythm, for who is the first to choose it.
            at: Now.
            weekday: 0 (Monday) to 6, of a weekly one.
            workdays_only: Nothing on days off.

        Raises:
            UsageError: If ``lang`` is no language tag, or the rhythm is none.
        """
        if not _LANG.fullmatch(lang):  # it is written into recipes as it is
            raise UsageError(f"{lang[:20]!r} is no language; write it like zh-Hans or en.")
        if frequency not in get_args(Frequency) or not (0 <= local_hour <= 23 and 0 <= weekday <= 6):
            raise UsageError("Choose daily, weekly or immediate, an hour of 0 to 23 and a day of 0 to 6.")
        row: dict[str, Any] = {
            "profile_id": profile_id,
            "channel": channel,
            "frequency": frequency,
            "local_hour": local_hour,
            "lang": lang,
            "next_due_at": next_due_at,
            "covered_until": at,
            "created_at": at,
            "ended_at": None,
            "ended_reason": "",
            "weekday": weekday,
            "workdays_only": int(workdays_only),
        }
        with self._db.write() as connection:
            # One at a time for each profile: a double click waits here instead of failing.
            connection.execute(select(profile.c.id).where(profile.c.id == profile_id).with_for_update())
            live = (
                (subscription.c.profile_id == profile_id)
                & (subscription.c.channel == channel)
                & subscription.c.ended_at.is_(None)
            )
            if frequency != "immediate":
                mark = {name: row[name] for name in (*_KEY, "next_due_at")}
                insert_missing(connection, rhythm, [mark | {"covered_until": at, "slot": at}], _KEY)
            held = connection.execute(_READ.where(live)).one_or_none()
            if held is not None:
                before = _subscription(held)
                kept = (
                    "covered_until", "paused_from", "paused_until", "last_result", "last_planned_at",
                )  # fmt: skip
                row |= {name: getattr(before, name) for name in kept} | {"pause_keeps": held.pause_keeps}
            connection.execute(_end(profile_id, channel, at, "changed"))
            new_id = insert_one(connection, subscription, row)
            return _subscription(connection.execute(_READ.where(subscription.c.id == new_id)).one())

    def rest(
        self,
        profile_id: int,
        channel: str,
        *,
        begins: datetime | None,
        ends: datetime | None,
        keeps: bool = True,
        wake_at: datetime | None = None,
    ) -> bool:
        """Let a channel's live subscription rest during ``[begins, ends)``; ``begins=None`` takes it back.

        Args:
            profile_id: Whose.
            channel: Which channel.
            begins: Also a future instant, e.g. of a holiday.
            ends: ``None``: until it is taken back.
            keeps: What happens meanwhile comes afterwards, in one message; else it is dropped.
            wake_at: When an immediate subscription is to be looked at again.

        Returns:
            Whether there was a live subscription.
        """
        live = (
            (subscription.c.profile_id == profile_id)
            & (subscription.c.channel == channel)
            & subscription.c.ended_at.is_(None)
        )
        values: dict[str, Any] = {"paused_from": begins, "paused_until": ends, "pause_keeps": int(keeps)}
        with self._db.write() as connection:
            changed = connection.execute(update(subscription).where(live).values(values)).rowcount
            if wake_at is not None:
                immediate = live & (subscription.c.frequency == "immediate")
                connection.execute(update(subscription).where(immediate).values(next_due_at=wake_at))
            return changed > 0

    def end(self, profile_id: int, channel: str, *, at: datetime, reason: str) -> bool:
        """End the live subscription of a channel; return whether there was one."""
        with self._db.write() as connection:
            return connection.execute(_end(profile_id, channel, at, reason)).rowcount > 0

    def live(self, profile_id: int, channel: str) -> Subscription | None:
        """Return the live subscription of a channel, or ``None``."""
        return next(
            (item for item in self.of(profile_id) if item.channel == channel and item.ended_at is None), None
        )

    def of(self, profile_id: int) -> list[Subscription]:
        """Return every subscription of a profile, live and ended, oldest first."""
        query = _READ.where(subscription.c.profile_id == profile_id).order_by(subscription.c.id)
        with self._db.read() as connection:
            return [_subscription(row) for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """Count live subscriptions by channel."""
        query = select(subscription.c.channel, func.count()).where(subscription.c.ended_at.is_(None))
        with self._db.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(subscription.c.channel))}


def _end(profile_id: int, channel: str, at: datetime, reason: str) -> Any:
    live = (
        (subscription.c.profile_id == profile_id)
        & (subscription.c.channel == channel)
        & subscription.c.ended_at.is_(None)
    )
    return update(subscription).where(live).values(ended_at=at, ended_reason=reason)


def _subscription(row: Row[Any]) -> Subscription:
    """A row with what its rhythm says; planning writes to the rhythm where that is enough."""
    due, covered = row.next_due_at, row.covered_until
    result, planned = row.last_result, row.last_planned_at
    if row.r_slot is not None:
        due = row.r_next_due_at
        if to_micros(covered) == 0:
            covered = row.r_slot if row.id < row.r_done_id else row.r_covered_until
        begun = row.r_last_planned_at is not None and row.created_at < row.r_slot
        if begun and (planned is None or planned < row.r_last_planned_at):
            result, planned = row.r_last_result, row.r_last_planned_at
    return Subscription(
        row.id,
        row.profile_id,
        row.channel,
        row.frequency,
        row.local_hour,
        row.lang,
        due,
        covered,
        row.created_at,
        row.ended_at,
        row.ended_reason,
        row.weekday,
        bool(row.workdays_only),
        row.paused_from,
        row.paused_until,
        bool(row.pause_keeps),
        result,
        planned,
    )
