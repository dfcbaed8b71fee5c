"""May this person still be sent anything by this channel? Asked for a whole batch in one query a channel.

Subscription, address and suppression as they stand *now*: between planning and sending somebody may have
left, paused, or proved unreachable. It decides nothing and writes nothing. Called by
``delivery.outbox_guard`` inside the claim's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from feeds.kernel.db import listed, quick_rows
from feeds.kernel.time import from_micros, to_micros

Pair = tuple[int, str]

_COLUMNS = "j.value, s.id, s.lang, s.paused_from, s.paused_until, c.id, c.verified_at, x.reason, x.until"
_JOINS = (
    " LEFT JOIN subscription s ON s.profile_id = j.value AND s.channel = ? AND s.ended_at IS NULL"
    " LEFT JOIN contact c ON c.profile_id = j.value AND c.channel = ?"
    " LEFT JOIN suppression x ON x.channel = ? AND x.blind_index = c.blind_index"
)
_TROUBLED = (
    " WHERE s.id IS NULL OR x.reason IS NOT NULL OR s.paused_from IS NOT NULL OR s.paused_until IS NOT NULL"
    " OR (c.id IS NOT NULL AND c.verified_at IS NULL)"
)
_LISTS = {"sqlite": "json_each(?) AS j", "postgresql": "unnest(?::bigint[]) AS j(value)"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stands with one channel.

    Attributes:
        live: A subscription of the channel has not ended.
        known: There is an address.
        verified: It was confirmed.
        suppressed: Why the address gets nothing, e.g. ``bounced``; ``""`` where it does.
        suppressed_until: When that ends by itself, if ever.
        paused_from, paused_until: A holiday; without an end it lasts until the person ends it.
        lang: Of the subscription; ``""`` without one.
    """

    live: bool
    known: bool
    verified: bool
    suppressed: str = ""
    suppressed_until: datetime | None = None
    paused_from: datetime | None = None
    paused_until: datetime | None = None
    lang: str = ""

    def paused(self, now: datetime) -> bool:
        """Whether a holiday covers ``now`` (half-open)."""
        return paused_at(
            None if self.paused_from is None else to_micros(self.paused_from),
            None if self.paused_until is None else to_micros(self.paused_until),
            to_micros(now),
        )


# (profile id, subscription id, language, paused from, paused until, contact id, verified at, reason, until);
# instants in microseconds.
Row = tuple[
    int, int | None, str | None, int | None, int | None, int | None, int | None, str | None, int | None
]


def standing_rows(
    connection: Connection, channel: str, profile_ids: Sequence[int], *, troubled: bool = False
) -> list[Row]:
    """One row for each profile, as the driver gives it; for whoever looks at thousands.

    Args:
        connection: An open transaction.
        channel: Of all of them.
        profile_ids: Each once.
        troubled: Only those of whom anything is unusual: no subscription, a holiday (also a past one), an
            unconfirmed or suppressed address.
    """
    some = _TROUBLED if troubled else ""
    text = f"SELECT {_COLUMNS} FROM {_LISTS[connection.dialect.name]}{_JOINS}{some}"  # noqa: S608
    rows = quick_rows(connection, text, [listed(connection, profile_ids), channel, channel, channel])
    return rows


def standing(connection: Connection, pairs: Sequence[Pair]) -> dict[Pair, Standing]:
    """How each (profile id, channel) stands; a pair that nobody knows stands with nothing."""
    found: dict[Pair, Standing] = {}
    for channel in {channel for _, channel in pairs}:
        wanted = sorted({profile_id for profile_id, its in pairs if its == channel})
        for profile_id, sub, lang, begun, until, contact, verified, reason, lifted in standing_rows(
            connection, channel, wanted
        ):
            found[profile_id, channel] = Standing(
                sub is not None, contact is not None, verified is not None, reason or "",
                _instant(lifted), _instant(begun), _instant(until), lang or "",
            )  # fmt: skip
    return found


def paused_at(begun: int | None, until: int | None, now: int) -> bool:
    """Whether a holiday ``[begun, until)`` covers ``now``; all in microseconds, open ends allowed."""
    if begun is None and until is None:
        return False
    return (begun is None or begun <= now) and (until is None or now < until)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
