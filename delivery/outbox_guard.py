"""The last look before a message goes out: does the person still want it here, and is the hour right?

Asked at the claim, for a batch at once. Immediate messages keep half an hour's distance from other pushes.
Alerts and confirmations pass quiet hours and holidays, but not an address that was found dead. Copies for
relatives are judged by whoever prepares them. It never writes.
Called by ``delivery.outbox_claim`` through ``OutboxStore.claim``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from delivery.carried import copy_of
from delivery.outbox_claim import Refusal
from delivery.types import Delivery, Lane
from delivery.windows import PUSH_SPACE, allowed_at
from feeds.kernel.db import listed, quick_rows, within
from feeds.kernel.time import from_micros, to_micros
from profiles.standing import Row, paused_at, standing_rows

_TICK = timedelta(microseconds=1)
_PUSHES = (
    "SELECT id, profile_id, dedupe_key, channel, created_at, coalesce(sent_at, changed_at) FROM delivery "
    "WHERE lane IN ('immediate', 'digest') AND state IN ('leased', 'sent', 'delivered', 'unknown') "
    "AND coalesce(sent_at, changed_at) > ?"
)
_URGENT = ("alert", "confirmation")
# Somebody who wrote STOP still gets the one answer to it; nobody answers an address that is dead.
_ANSWERED = ("opted_out",)


class StandingGuard:
    """Judges claimed rows by how their people stand now, and by the clock.

    Args:
        zone: Where people live; quiet hours are local.
        unchecked: Channels that reach nobody (capture): an unconfirmed address is served.
    """

    def __init__(self, zone: ZoneInfo, *, unchecked: Collection[str] = ()) -> None:
        self._zone, self._unchecked = zone, frozenset(unchecked)

    def __call__(self, connection: Connection, rows: Sequence[Delivery], now: datetime) -> dict[int, Refusal]:
        """Name the rows that must not go out now; see ``delivery.outbox_claim.Guard``."""
        refusals: dict[int, Refusal] = {}
        for channel, lane in {(row.channel, row.lane) for row in rows}:
            group = [row for row in rows if row.channel == channel and row.lane == lane]
            own = [row for row in group if "copy" not in row.recipe and not _asks(row)]
            refusals |= self._stopped(connection, channel, lane, own, to_micros(now))
            later = allowed_at(channel, now, self._zone, lane)
            if later > now:
                refusals = {row.id: Refusal("queued", "", later) for row in group} | refusals
        calm = [row for row in rows if row.lane == "immediate" and row.id not in refusals]
        return refusals | _too_soon(connection, calm, now) if calm else refusals

    def _stopped(
        self, connection: Connection, channel: str, lane: Lane, rows: Sequence[Delivery], now: int
    ) -> dict[int, Refusal]:
        found = standing_rows(connection, channel, list({row.profile_id for row in rows}), troubled=True)
        checked = channel not in self._unchecked
        bad = {row[0]: why for row in found if (why := _judged(row, channel, lane, now, checked=checked))}
        return {row.id: bad[row.profile_id] for row in rows if row.profile_id in bad} if bad else {}


@dataclass(frozen=True, slots=True)
class _Push:
    """Something that went out or goes out now: when it was planned, by which channel, and when it left."""

    planned: int
    channel: str
    at: int

    def hinders(self, other: _Push) -> bool:
        """Whether the other must keep its distance; one message by two channels is one push."""
        return not (self.planned == other.planned and self.channel != other.channel)


def _too_soon(connection: Connection, rows: Sequence[Delivery], now: datetime) -> dict[int, Refusal]:
    """Immediate messages that would come within half an hour of another push to the same reader.

    Planning spaces them, but after a pause many are due at once. Who gets a copy is a reader of their own.
    """
    instant, space = to_micros(now), PUSH_SPACE // _TICK
    here = {row.id: row for row in rows}
    planned: dict[int, int] = {}
    pushes: dict[tuple[int, str], list[_Push]] = {}
    text = f"{_PUSHES} AND {within(connection, 'profile_id')}"
    people = listed(connection, {row.profile_id for row in rows})
    for number, profile_id, key, channel, created, at in quick_rows(
        connection, text, [instant - space, people]
    ):
        if number in here:
            planned[number] = created
        else:
            reader = (profile_id, copy_of(key))
            pushes.setdefault(reader, []).append(_Push(created, channel, min(at, instant)))
    refusals: dict[int, Refusal] = {}
    for row in rows:
        before = pushes.setdefault((row.profile_id, copy_of(row.dedupe_key)), [])
        own = _Push(planned.get(row.id, 0), row.channel, instant)
        last = max((one.at for one in before if one.hinders(own)), default=None)
        if last is None:
            before.append(own)
        else:
            refusals[row.id] = Refusal("queued", "", from_micros(last + space))
    return refusals


def _asks(row: Delivery) -> bool:
    """A mail that asks whether an address is theirs: only its answer can lift what is noted against one."""
    return row.lane == "confirmation" and row.recipe.get("kind") == "confirm"


def _judged(row: Row, channel: str, lane: Lane, now: int, *, checked: bool) -> Refusal | None:
    """What speaks against sending, the weightiest first."""
    _, subscription, _, begun, until, contact, verified, reason, lifted = row
    if reason and (lifted is None or now < lifted) and not (lane == "confirmation" and reason in _ANSWERED):
        return Refusal("suppressed", f"The address is suppressed ({reason}).")
    if lane == "confirmation":
        return None
    if subscription is None:
        return Refusal("suppressed", f"The channel {channel} was stopped.")
    if checked and contact is not None and verified is None:
        return Refusal("suppressed", "The address was replaced and is not confirmed.")
    if lane not in _URGENT and (begun or until) and paused_at(begun, until, now):
        return Refusal("skipped", "paused")
    return None
