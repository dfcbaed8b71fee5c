"""The last look before a message goes out: does the person still want it here, and is the hour right?

Asked at the claim, for a batch at once. Alerts and confirmations pass quiet hours and holidays, but not an
address that was found dead. Copies for relatives are judged by whoever prepares them. It never writes.
Called by ``delivery.outbox_claim`` through ``OutboxStore.claim``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from delivery.outbox_claim import Refusal
from delivery.types import Delivery, Lane
from delivery.windows import allowed_at
from feeds.kernel.time import to_micros
from profiles.standing import Row, paused_at, standing_rows

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
            own = [row for row in group if "copy" not in row.recipe]
            refusals |= self._stopped(connection, channel, lane, own, to_micros(now))
            later = allowed_at(channel, now, self._zone, lane)
            if later > now:
                refusals = {row.id: Refusal("queued", "", later) for row in group} | refusals
        return refusals

    def _stopped(
        self, connection: Connection, channel: str, lane: Lane, rows: Sequence[Delivery], now: int
    ) -> dict[int, Refusal]:
        found = standing_rows(connection, channel, list({row.profile_id for row in rows}), troubled=True)
        checked = channel not in self._unchecked
        bad = {row[0]: why for row in found if (why := _judged(row, channel, lane, now, checked=checked))}
        return {row.id: bad[row.profile_id] for row in rows if row.profile_id in bad} if bad else {}


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
