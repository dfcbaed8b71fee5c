"""Taking due rows: lease, ask whether they may still go out, hold what a person must release first.

One UPDATE takes the rows, one query of the guard's judges them all, and only what is refused is
written again. Written in the drivers' own words: these statements run for every message. It never
sends and reads no clock. Called by ``delivery.outbox``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from delivery.outbox_tables import carried
from delivery.types import Delivery, DeliveryState, Lane
from feeds.kernel.db import change_plain, listed, quick_rows, run_plain_many, within
from feeds.kernel.time import from_micros, to_micros

# Rows taken by one statement, and refused rows after which a claim leaves the rest for the next.
_CHUNK = 500
_MOST_REFUSED = 20_000

_RETURNED = "id, dedupe_key, profile_id, channel, due_at, expires_at, attempts, recipe, frozen, run_id"
_QUEUED = "SELECT id FROM delivery WHERE state = 'queued' AND lane = ? AND due_at <= ?"
_LEASE = (
    "UPDATE delivery SET state = 'leased', lease_until = ?, lease_token = ?, "
    "attempts = attempts + 1, changed_at = ? WHERE id "
)
_REFUSE = (
    "UPDATE delivery SET state = ?, error = ?, due_at = ?, changed_at = ?, lease_until = NULL, "
    "lease_token = NULL, attempts = attempts - 1 WHERE id = ?"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a claimed row does not go out now.

    Attributes:
        state: ``queued`` puts it back, due at ``due_at``; any other is its end.
        why: One line for the log, without an address.
    """

    state: DeliveryState
    why: str
    due_at: datetime | None = None


_OVER = Refusal("expired", "Its time is over.")
# Judges all rows of a batch in the claim's transaction; rows that it does not name may go out.
Guard = Callable[[Connection, Sequence[Delivery], datetime], Mapping[int, Refusal]]


def due_query(connection: Connection, channels: Sequence[str] | None, paused: Sequence[str]) -> str:
    """The query for the numbers of due rows: lane, instant, channels, paused ones, and how many."""
    text = _QUEUED
    if channels is not None:
        text += f" AND {within(connection, 'channel')}"
    if paused:
        text += f" AND NOT ({within(connection, 'channel')})"
    return f"{text} ORDER BY due_at, id LIMIT ?"


def take(
    connection: Connection,
    lane: Lane,
    limit: int,
    now: datetime,
    until: datetime,
    *,
    channels: Sequence[str] | None,
    paused: Sequence[str],
    guard: Guard,
) -> list[Delivery]:
    """Lease up to ``limit`` due rows of a lane; refused and expired ones do not use the limit up."""
    taken: list[Delivery] = []
    refused = 0
    while len(taken) < limit and refused < _MOST_REFUSED:
        wanted = min(limit - len(taken), _CHUNK)
        rows = _lease(connection, lane, wanted, now, until, channels, paused)
        if not rows:
            break
        refusals = _judged(connection, rows, now, guard)
        refused += len(refusals)
        taken += [row for row in rows if row.id not in refusals] if refusals else rows
        if len(rows) < wanted:
            break
    return _with_notices(connection, taken)


def _lease(
    connection: Connection,
    lane: Lane,
    limit: int,
    now: datetime,
    until: datetime,
    channels: Sequence[str] | None,
    paused: Sequence[str],
) -> list[Delivery]:
    query = due_query(connection, channels, paused)
    instant = to_micros(now)
    if connection.dialect.name == "postgresql":
        text = f"{_LEASE} = ANY(ARRAY({query} FOR UPDATE SKIP LOCKED)) RETURNING {_RETURNED}"
    else:
        text = f"{_LEASE} IN ({query}) RETURNING {_RETURNED}"
    token = secrets.token_hex(8)
    values: list[object] = [to_micros(until), token, instant, lane, instant]
    values += [listed(connection, some) for some in (channels, paused or None) if some is not None]
    rows = quick_rows(connection, text, [*values, limit])
    rows.sort(key=_place)
    instant_of, recipe_of = _instant, _recipe
    return [
        Delivery(
            number, key, profile_id, channel, lane, "leased", instant_of(due), instant_of(expires), attempts,
            recipe_of(recipe), token, "", "", 0, "", None, (), frozen == 1, run_id,
        )
        for number, key, profile_id, channel, due, expires, attempts, recipe, frozen, run_id in rows
    ]  # fmt: skip


def _place(row: tuple[Any, ...]) -> tuple[int, int]:
    return row[4], row[0]


# Rows of one run have the same instants and mostly the same recipe, which nobody changes.
_instant = lru_cache(1024)(from_micros)


@lru_cache(1024)
def _recipe(text: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(text)
    return found


def _judged(
    connection: Connection, rows: Sequence[Delivery], now: datetime, guard: Guard
) -> Mapping[int, Refusal]:
    """Write down what may not go out now, and return it."""
    late = {row.id: _OVER for row in rows if row.expires_at <= now}
    asked = [row for row in rows if row.id not in late] if late else rows
    refusals = {**guard(connection, asked, now), **late}
    if refusals:
        ends = {row.id: row.expires_at for row in rows}
        for number, one in refusals.items():
            if one.state == "queued" and one.due_at is not None and one.due_at >= ends[number]:
                refusals[number] = _OVER  # it could not go out in time
    if refusals:
        due = {row.id: row.due_at for row in rows}
        run_plain_many(
            connection,
            _REFUSE,
            [
                (one.state, one.why, to_micros(one.due_at or due[number]), to_micros(now), number)
                for number, one in refusals.items()
            ],
        )
    return refusals


def _with_notices(connection: Connection, rows: list[Delivery]) -> list[Delivery]:
    """Rows that were fixed before come with the notices they carry; planned ones have none yet."""
    frozen = [row.id for row in rows if row.frozen]
    if not frozen:
        return rows
    found = carried(connection, frozen)
    return [replace(row, notices=found[row.id]) if row.id in found else row for row in rows]


def put_back(connection: Connection, now: datetime, repeatable: Sequence[str], most: int) -> dict[str, int]:
    """End leases that ran out: see ``OutboxStore.release_expired``."""
    over = "state = 'leased' AND lease_until <= ?"
    head = (
        "UPDATE delivery SET state = ?, lease_until = NULL, lease_token = NULL, begun = 0, "
        "changed_at = ?, error = ?"
    )
    safe = f"({within(connection, 'channel')} OR begun = 0)"
    instant, names = to_micros(now), listed(connection, repeatable)
    note = "The sender ended before it could report."
    steps: list[tuple[str, str, list[object]]] = [
        ("failed", f"{over} AND {safe} AND attempts >= ?", [names, most]),
        ("queued", f"{over} AND {safe}", [names]),
        ("unknown", over, []),
    ]
    counts = {
        state: change_plain(connection, f"{head} WHERE {rest}", [state, instant, note, instant, *more])
        for state, rest, more in steps
    }
    return {state: count for state, count in counts.items() if count}
