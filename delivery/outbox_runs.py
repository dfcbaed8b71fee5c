"""Runs of the outbox: held if they are large, halted if too many bounce, released by a person.

A run is every row that one planning made. Nothing here sends or reads a clock. Called by
``delivery.outbox``, ``delivery.receipts`` and the desk.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from feeds.kernel.db import change_plain, listed, plain_rows, quick_rows, within
from feeds.kernel.time import from_micros, to_micros

# A run halts by itself from so many bounces on, if they are more than this share of what was sent.
LEAST_BOUNCES = 10
BOUNCE_SHARE = 0.10
# One lock of PostgreSQL's for all runs; a number of our own.
_LOCK = 7_406_005
_SEEN = (
    "INSERT INTO delivery_run (run_id, bounced, held_why, released_by) VALUES (?, 0, '', '') "
    "ON CONFLICT (run_id) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run that waits for a person.

    Attributes:
        why: ``size`` (more recipients than ``confirm_above``) or ``bounces``.
        rows: Messages that wait.
        bounced: Bounces since it began or was last released.
    """

    run_id: int
    why: str
    since: datetime
    rows: int
    bounced: int


def waiting(connection: Connection, run_ids: Collection[int], above: int, at: datetime) -> dict[int, str]:
    """Which of these runs may not send now, with the reason; a run that is too large is held from here on."""
    found = _waiting(connection, run_ids, above)
    if found:
        _alone(connection)
        found = _waiting(connection, run_ids, above)  # a person may have released it meanwhile
    for run_id, why in found.items():
        hold(connection, run_id, why, at)
    return found


def _waiting(connection: Connection, run_ids: Collection[int], above: int) -> dict[int, str]:
    marks = within(connection, "run_id")
    known = {
        row[0]: row[1:]
        for row in quick_rows(
            connection,
            f"SELECT run_id, held_why, released_at FROM delivery_run WHERE {marks}",  # noqa: S608
            [listed(connection, run_ids)],
        )
    }
    found = {run_id: known[run_id][0] for run_id in known if known[run_id][0]}
    for run_id in run_ids:
        released = run_id in known and known[run_id][1] is not None
        if above and run_id not in found and not released and _larger(connection, run_id, above):
            found[run_id] = "size"
    return found


def _alone(connection: Connection) -> None:
    """Have the runs to oneself until the transaction ends.

    Whoever comes here may hold rows of the outbox. So whoever is here waits for no row: two claimers of one
    run, each with rows that the other wants to hold, would wait for each other for ever.
    """
    if connection.dialect.name == "postgresql":
        plain_rows(connection, "SELECT pg_advisory_xact_lock(?)", [_LOCK])


def _move(connection: Connection, run_id: int, old: str, new: str, at: datetime) -> int:
    """Change the state of a run's rows, past those that somebody is changing just now.

    Their claimer asks :func:`waiting` in the same transaction, and every later claim does.
    """
    free = " FOR UPDATE SKIP LOCKED" if connection.dialect.name == "postgresql" else ""
    text = (
        "UPDATE delivery SET state = ?, changed_at = ? WHERE id IN "  # noqa: S608
        f"(SELECT id FROM delivery WHERE run_id = ? AND state = ?{free})"
    )
    return change_plain(connection, text, [new, to_micros(at), run_id, old])


def hold(connection: Connection, run_id: int, why: str, at: datetime) -> int:
    """Hold what a run still has to send; return how many rows."""
    _alone(connection)
    change_plain(connection, _SEEN, [run_id])
    change_plain(
        connection,
        "UPDATE delivery_run SET held_at = ?, held_why = ? WHERE run_id = ? AND held_why = ''",
        [to_micros(at), why, run_id],
    )
    return _move(connection, run_id, "queued", "held", at)


def count_bounces(connection: Connection, bounces: Mapping[int, int], at: datetime) -> list[int]:
    """Add bounces to their runs; return the runs that halt because of them."""
    halted = []
    if bounces:
        _alone(connection)
    for run_id, more in bounces.items():
        change_plain(connection, _SEEN, [run_id])
        ((bounced, why, released),) = plain_rows(
            connection,
            "UPDATE delivery_run SET bounced = bounced + ? WHERE run_id = ? "
            "RETURNING bounced, held_why, released_at",
            [more, run_id],
        )
        enough = int(bounced / BOUNCE_SHARE)
        if bounced >= LEAST_BOUNCES and not why and _sent(connection, run_id, released or 0, enough) < enough:
            hold(connection, run_id, "bounces", at)
            halted.append(run_id)
    return halted


def release(connection: Connection, run_id: int, by: str, at: datetime) -> int:
    """Let a held run go on; its bounces are counted anew. Returns the rows that are queued again."""
    _alone(connection)
    change_plain(connection, _SEEN, [run_id])
    change_plain(
        connection,
        "UPDATE delivery_run SET held_why = '', held_at = NULL, bounced = 0, released_at = ?, "
        "released_by = ? WHERE run_id = ?",
        [to_micros(at), by, run_id],
    )
    return _move(connection, run_id, "held", "queued", at)


def held(connection: Connection) -> list[HeldRun]:
    """Runs that wait for a person, oldest first."""
    rows = plain_rows(
        connection,
        "SELECT run_id, held_why, held_at, (SELECT count(*) FROM delivery WHERE "
        "delivery.run_id = delivery_run.run_id AND state = 'held'), bounced "
        "FROM delivery_run WHERE held_why <> '' ORDER BY held_at, run_id",
    )
    return [
        HeldRun(run_id, why, from_micros(since), count, bounced)
        for run_id, why, since, count, bounced in rows
    ]


def _larger(connection: Connection, run_id: int, above: int) -> bool:
    text = "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE run_id = ? LIMIT ?) AS few"
    return bool(plain_rows(connection, text, [run_id, above + 1])[0][0] > above)


def _sent(connection: Connection, run_id: int, since: int, enough: int) -> int:
    """Rows of a run that a provider took or refused since it was released, counted up to ``enough``."""
    text = (
        "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE run_id = ? AND changed_at >= ? AND "
        "state IN ('sent', 'delivered', 'bounced', 'complained', 'failed') LIMIT ?) AS few"
    )
    return int(plain_rows(connection, text, [run_id, since, enough])[0][0])
