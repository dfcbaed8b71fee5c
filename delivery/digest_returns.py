"""Gives windows back: what was planned and never reached its reader is said by their next digest.

A window is given back once: when it expired unsent, met a rest, or failed for a reason that may pass. What a
provider refused for good is not. It tells by the rows alone, so it can be asked at every tick and killed
anywhere. It plans and sends nothing. Called by ``delivery.digest_runs`` and ``delivery.digest_plans``;
docs/digests.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from delivery.retry import WAITS
from feeds.kernel.db import change_plain, plain_rows
from feeds.kernel.time import to_micros

_TICK = timedelta(microseconds=1)
# A refusal for good ends a message at once; any other failure ends it after the last attempt, or where the
# next one would come too late (``delivery.retry``).
_TRIED = (
    f"(d.attempts > {len(WAITS)} OR d.changed_at + CASE d.attempts "
    + " ".join(f"WHEN {n} THEN {wait // _TICK}" for n, wait in enumerate(WAITS, start=1))
    + " END >= d.expires_at)"
)
# CROSS JOIN: SQLite keeps the order and begins at the runs, not at a million subscriptions.
_UNSENT = f"""SELECT d.id, d.profile_id, d.channel, d.state, {{since}} AS since, {{until}} AS until
 FROM digest_run g CROSS JOIN delivery d
 WHERE {{which}} AND g.kind IN ('digest', 'immediate') AND d.run_id = g.id
 AND d.state IN ('expired', 'skipped', 'failed') AND (d.state = 'expired' OR (d.state = 'skipped'
 AND d.error = 'paused') OR (d.state = 'failed' AND {_TRIED})) AND d.dedupe_key NOT LIKE ?"""  # noqa: S608
# The subscription, or its rhythm for it, was planned to the end of the window (or beyond it).
_REACHED = """(s.covered_until {op} w.until OR (s.covered_until = 0 AND EXISTS (SELECT 1 FROM rhythm r
 WHERE r.channel = s.channel AND r.frequency = s.frequency AND r.local_hour = s.local_hour
 AND r.weekday = s.weekday AND r.workdays_only = s.workdays_only
 AND (r.covered_until {op} w.until OR (r.slot {op} w.until AND s.id < r.done_id)))))"""
# A later message, whatever became of it, covers the window already.
_AGAIN = """EXISTS (SELECT 1 FROM delivery n WHERE n.profile_id = w.profile_id AND n.channel = w.channel
 AND n.id > w.id AND n.lane IN ('digest', 'immediate') AND n.dedupe_key NOT LIKE ?
 AND {since} <= w.since AND {until} > w.until)"""
_DROPPED = """COALESCE(s.pause_keeps = 0 AND s.paused_from <= ? AND COALESCE(s.paused_until > w.since, 1 = 1),
 1 = 0)"""
_OWED = f"""SELECT s.id AS id, MIN(w.since) AS since FROM ({{unsent}}) AS w
 CROSS JOIN subscription s
 WHERE s.profile_id = w.profile_id AND s.channel = w.channel AND s.ended_at IS NULL
 AND w.since < w.until AND (w.state <> 'skipped' OR s.pause_keeps = 1)
 AND ({_REACHED.format(op="=")} OR (s.created_at < w.until AND {_REACHED.format(op=">")}
 AND NOT {_DROPPED} AND NOT {{again}})) GROUP BY s.id"""  # noqa: S608
_COPIES = "%:copy:%"


def owed(connection: Connection, now: datetime) -> bool:
    """Whether an open run holds a window that is to be given back."""
    query = f"{_query(connection, None)} LIMIT 1"
    return bool(plain_rows(connection, query, [_COPIES, to_micros(now), _COPIES]))


def give_back(connection: Connection, now: datetime, run_id: int | None = None) -> int:
    """Give back the windows of one run, or of every open one; return how many subscriptions got one."""
    text = (
        "UPDATE subscription AS s SET covered_until = b.since "  # noqa: S608
        f"FROM ({_query(connection, run_id)}) AS b WHERE s.id = b.id"
    )
    done = 0
    # A window may come to its turn only when the one after it was given back.
    while changed := change_plain(connection, text, [_COPIES, to_micros(now), _COPIES]):
        done += changed
    return done


def edge(connection: Connection, row: str, n: int) -> str:
    """Where the window of a message begins (0) or ends (1), as SQL; ``row`` is the alias of the message."""
    if connection.dialect.name == "sqlite":
        return f"json_extract({row}.recipe, '$.window[{n}]')"
    return f"({row}.recipe::json->'window'->>{n})::bigint"


def _query(connection: Connection, run_id: int | None) -> str:
    which = "g.state = 'open'" if run_id is None else f"g.id = {int(run_id)}"
    unsent, again = (
        text.format(since=edge(connection, row, 0), until=edge(connection, row, 1), which=which)
        for text, row in ((_UNSENT, "d"), (_AGAIN, "n"))
    )
    return _OWED.format(unsent=unsent, again=again)
