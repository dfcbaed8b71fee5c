"""Writing down what a sender does with rows it holds: fix the recipe, begin, hold on, finish.

Every statement names the lease's token, so that a sender whose lease went to somebody else changes
nothing. It never sends and reads no clock. Called by ``delivery.outbox``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from delivery.types import Delivery, Outcome, Prepared
from feeds.kernel.db import change_plain, listed, plain_rows, quick_change, run_plain_many, to_json, within
from feeds.kernel.time import to_micros

_MINE = "state = 'leased' AND {ids} AND {tokens}"
_SENT = (
    "UPDATE delivery SET state = 'sent', lease_until = NULL, lease_token = NULL, begun = 0, error = '', "
    "changed_at = ?, sent_at = ?, provider = ?, provider_ref = ?, segments = ? "
    "WHERE id = ? AND lease_token = ? AND state = 'leased'"
)
_SENT_ALIKE = (
    "UPDATE delivery SET state = 'sent', lease_until = NULL, lease_token = NULL, begun = 0, error = '', "
    "changed_at = ?, sent_at = ?, provider = ?, provider_ref = '', segments = ? "
    "WHERE {ids} AND lease_token = ? AND state = 'leased'"
)
# One statement for many rows: psycopg sends one after the other otherwise.
_SENT_ARRAYS = (
    "UPDATE delivery SET state = 'sent', lease_until = NULL, lease_token = NULL, begun = 0, error = '', "
    "changed_at = ?, sent_at = ?, provider = done.provider, provider_ref = done.ref, "
    "segments = done.segments FROM unnest(?::text[], ?::text[], ?::integer[], ?::bigint[], ?::text[]) "
    "AS done(provider, ref, segments, id, token) "
    "WHERE delivery.id = done.id AND lease_token = done.token AND state = 'leased'"
)
_OTHER = (
    "UPDATE delivery SET state = ?, error = ?, due_at = coalesce(?, due_at), attempts = attempts - ?, "
    "lease_until = NULL, lease_token = NULL, begun = 0, changed_at = ? "
    "WHERE id = ? AND lease_token = ? AND state = 'leased' RETURNING run_id"
)


def held_by(connection: Connection, rows: Sequence[Delivery]) -> set[int]:
    """The rows whose lease still stands; locked until the transaction ends."""
    condition = _MINE.format(ids=within(connection, "id"), tokens=within(connection, "lease_token"))
    values = [listed(connection, [row.id for row in rows])]
    values.append(listed(connection, {row.lease_token for row in rows}))
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    text = f"SELECT id FROM delivery WHERE {condition}{lock}"  # noqa: S608
    return {row[0] for row in plain_rows(connection, text, values)}


def freeze(connection: Connection, prepared: Sequence[Prepared], at: datetime) -> set[int]:
    """Fix recipe and notices of rows that are not fixed yet; return those whose lease still stands."""
    standing = held_by(connection, [one.row for one in prepared])
    fresh = [
        one for one in prepared if one.row.id in standing and not one.row.frozen and one.recipe is not None
    ]
    if fresh:
        instant = to_micros(at)
        run_plain_many(
            connection,
            "UPDATE delivery SET recipe = ?, frozen = 1, changed_at = ? WHERE id = ? AND frozen = 0",
            [(to_json(dict(one.recipe or {})), instant, one.row.id) for one in fresh],
        )
        run_plain_many(
            connection,
            "INSERT INTO delivery_notice (delivery_id, notice_id, revision) VALUES (?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            [(one.row.id, *pair) for one in fresh for pair in dict(one.notices).items()],
        )
    return standing


def begin(connection: Connection, rows: Sequence[Delivery]) -> set[int]:
    """Note that these are handed over from now on; return those whose lease still stands."""
    standing = held_by(connection, rows)
    if standing:
        text = f"UPDATE delivery SET begun = 1 WHERE {within(connection, 'id')}"  # noqa: S608
        change_plain(connection, text, [listed(connection, standing)])
    return standing


def renew(connection: Connection, rows: Sequence[Delivery], until: datetime) -> int:
    """Let the leases of rows end later; return how many still stood."""
    standing = held_by(connection, rows)
    if standing:
        text = f"UPDATE delivery SET lease_until = ? WHERE {within(connection, 'id')}"  # noqa: S608
        change_plain(connection, text, [to_micros(until), listed(connection, standing)])
    return len(standing)


def finish(connection: Connection, outcomes: Sequence[Outcome], at: datetime) -> tuple[int, Counter[int]]:
    """Record outcomes; return how many were recorded, and run → rows that a provider rejected."""
    sent = [one for one in outcomes if one.state == "sent"]
    count, rejected = _sent(connection, sent, at), Counter[int]()
    for one in outcomes:
        if one.state != "sent":
            found = _other(connection, one, at)
            count += len(found)
            if one.rejected:
                rejected.update(run_id for (run_id,) in found if run_id is not None)
    return count, rejected


def _sent(connection: Connection, outcomes: Sequence[Outcome], at: datetime) -> int:
    """Record the usual outcome: together where the provider gave no reference of its own."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    named: list[Outcome] = []
    for one in outcomes:
        if one.provider_ref:
            named.append(one)
        else:
            groups.setdefault((one.provider, one.segments, one.lease_token), []).append(one.delivery_id)
    instant = to_micros(at)
    count = _named(connection, named, instant)
    for (provider, segments, token), ids in groups.items():
        text = _SENT_ALIKE.format(ids=within(connection, "id"))
        values = [instant, instant, provider, segments, listed(connection, ids), token]
        count += quick_change(connection, text, values)
    return count


def _named(connection: Connection, outcomes: Sequence[Outcome], instant: int) -> int:
    if not outcomes:
        return 0
    rows = [
        (one.provider, one.provider_ref, one.segments, one.delivery_id, one.lease_token) for one in outcomes
    ]
    if connection.dialect.name == "postgresql":
        columns = [list(column) for column in zip(*rows, strict=True)]
        return quick_change(connection, _SENT_ARRAYS, [instant, instant, *columns])
    return run_plain_many(connection, _SENT, [(instant, instant, *row) for row in rows])


def _other(connection: Connection, one: Outcome, at: datetime) -> list[tuple[Any, ...]]:
    due = None if one.due_at is None else to_micros(one.due_at)
    values = [
        one.state,
        one.error[:500],
        due,
        int(one.untried),
        to_micros(at),
        one.delivery_id,
        one.lease_token,
    ]
    return plain_rows(connection, _OTHER, values)
