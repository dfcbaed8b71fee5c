"""Planning a tick of digests, beside the bare INSERT … SELECT of the same rows.

``plan_over_bare``: planning everybody (who is new to whom, the recipe, the run, who is unconfirmed or rests,
and moving on to the next hour), over one statement that only writes the same rows from the same table, with
keys and recipes put together in the same way; by the wall, and ``_cpu`` by the processor alone, for where
neighbours are loud. Both start from equal files. Figures are medians for 200,000 subscriptions; those with
``_1m_`` are one round of 1,000,000: ``all`` due, and ``48th`` the usual half hour in which one in 48 is.
``rerun_added`` must be 0. ``longest_lock_s``: the longest time that nobody else could write. Everybody was
planned the day before, and has an edition of 300 bytes to find; 2 % have not confirmed their address.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from api.ops.migrate import migrate
from bench.tools import NOW, rounded, seconds
from delivery.digest_plans import DigestPlanner, Terms
from feeds.kernel.db import Database
from feeds.kernel.time import to_micros
from feeds.kernel.workdays import WorkingCalendar

PEOPLE = int(os.environ.get("BENCH_PEOPLE", "200000"))
MILLION = int(os.environ.get("BENCH_MILLION", "1000000"))  # a smaller town for a quick look
HOUR = 3_600_000_000
_COLUMNS = (
    "dedupe_key, profile_id, channel, lane, state, due_at, expires_at, attempts, recipe, provider, "
    "provider_ref, segments, error, created_at, changed_at, frozen, begun, run_id"
)


def run(repeat: int) -> dict[str, Any]:
    """Measure planning alone; ``bench.outbox`` has it too."""
    return plan_figures(repeat)


def plan_figures(repeat: int) -> dict[str, Any]:
    """Measure everybody due, one in 48 due, and again."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        town = Path(folder) / "town.db"
        _settle(town, PEOPLE)
        for _ in range(repeat):
            for name, value in _round(town, Path(folder), PEOPLE).items():
                found.setdefault(name, []).append(value)
        town.unlink()
        _settle(town, MILLION)
        once = _round(town, Path(folder), MILLION)
        usual = _usual(town, Path(folder))
    added = max(*found["rerun_added"], once["rerun_added"])
    return {
        "plan_over_bare": rounded(found["over"]),
        "plan_over_bare_cpu": rounded(found["over_cpu"]),
        "plan_1m_over_bare": round(once["over"], 3),
        "plan_1m_over_bare_cpu": round(once["over_cpu"], 3),
        "plan_1m_all_s": round(once["plan_s"], 3),
        "bare_1m_all_s": round(once["bare_s"], 3),
        "longest_lock_s": round(once["lock_s"], 3),
        "rerun_added": int(added),
    } | usual


def _round(town: Path, folder: Path, people: int) -> dict[str, float]:
    with _copy(town, folder) as database:
        locks: list[float] = []
        planner, (plan_s, plan_cpu) = _planner(database, locks)
        again = planner.plan(NOW, _terms())
        with database.read() as connection:
            count = connection.exec_driver_sql("SELECT COUNT(*) FROM delivery").scalar_one()
    if count != people - people // 50:
        raise SystemExit(f"bench: {count} rows were planned for {people} people, 2 % of them unconfirmed")
    bare_s, bare_cpu = _bare(town, folder, "id % 50 <> 0")
    return {
        "over": plan_s / bare_s, "over_cpu": plan_cpu / bare_cpu, "plan_s": plan_s, "bare_s": bare_s,
        "lock_s": max(locks), "rerun_added": float(again.rows),
    }  # fmt: skip


def _usual(town: Path, folder: Path) -> dict[str, float]:
    """One in 48 is due."""
    with _copy(town, folder) as database:
        with database.write() as connection:  # an hour of their own, and the others not due
            connection.exec_driver_sql("UPDATE subscription SET local_hour = 8 WHERE id % 48 = 0")
            connection.exec_driver_sql(f"UPDATE rhythm SET next_due_at = {_AT} + {HOUR}")
            connection.exec_driver_sql(_RHYTHM.format(hour="8 AS h", limit=1))
        _, (took, _cpu) = _planner(database, [])
    bare_s, _ = _bare(town, folder, "id % 48 = 0 AND id % 50 <> 0")
    return {"plan_1m_48th_s": round(took, 3), "bare_1m_48th_s": round(bare_s, 3)}


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    began = time.process_time()
    took = seconds(work)
    return took, time.process_time() - began


def _planner(database: Database, locks: list[float]) -> tuple[DigestPlanner, tuple[float, float]]:
    class Watched(DigestPlanner):
        """Also keeps how long each slice held the lock."""

        def _slice(self, *arguments: Any) -> None:
            began = time.perf_counter()
            super()._slice(*arguments)
            locks.append(time.perf_counter() - began)

    planner = Watched(database)
    return planner, _timed(lambda: planner.plan(NOW, _terms()))


def _bare(town: Path, folder: Path, who: str) -> tuple[float, float]:
    with _copy(town, folder) as database:

        def write() -> None:
            with database.write() as connection:
                connection.exec_driver_sql(_BARE.format(who=who))

        return _timed(write)


_AT = to_micros(NOW)
_BARE = (
    f"INSERT INTO delivery ({_COLUMNS}) "
    "SELECT 'digest:' || profile_id || ':' || channel || ':2026-10-12T10:00+00:00', profile_id, channel, "
    f"'digest', 'queued', {_AT}, {_AT}, 0, "
    """'{{"kind":"digest","lang":"' || lang || '","template":"mail-1","window":[' || next_due_at """
    f"|| ',' || {_AT} || ']}}}}', '', '', 0, '', {_AT}, {_AT}, 0, 0, 1 "
    "FROM subscription WHERE ended_at IS NULL AND {who}"
)
# Due since their hour of today, planned to that of yesterday.
_RHYTHM = (
    "INSERT INTO rhythm (channel, frequency, local_hour, weekday, workdays_only, next_due_at, covered_until, "
    f"slot) SELECT 'email', 'daily', h, 0, 0, {_AT} - (18 - h) * {HOUR}, {_AT} - (42 - h) * {HOUR}, "
    f"{_AT} - (42 - h) * {HOUR} FROM (SELECT {{hour}} FROM subscription LIMIT {{limit}})"
)


def _terms() -> Terms:
    return Terms(ZoneInfo("Asia/Shanghai"), WorkingCalendar(), ("email", "sms"), ("email",), "mail-1")


@contextmanager
def _copy(town: Path, folder: Path) -> Iterator[Database]:
    path = folder / "copy.db"
    shutil.copy(town, path)
    database = Database(f"sqlite:///{path}")
    try:
        yield database
    finally:
        database.close()
        for name in ("copy.db", "copy.db-wal", "copy.db-shm"):
            (folder / name).unlink(missing_ok=True)


def _settle(path: Path, people: int) -> None:
    """Everybody has a daily mail at one of ten hours of the morning, 2 % have not confirmed it."""
    database = Database(f"sqlite:///{path}")
    migrate(database)
    hour = f"(id % 10) * {HOUR}"  # 18:00 is now; the others were missed by a scheduler that stood still
    with database.write() as connection:
        for text in (
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {people}) "
            "INSERT INTO profile (id, created_at, langs, pace, personalised, discreet, manage_hash) "
            f"SELECT i, {_AT}, '[\"zh-Hans\"]', 10, 1, 0, 'h' || i FROM n",
            "INSERT INTO subscription (profile_id, channel, frequency, local_hour, lang, next_due_at, "
            "covered_until, created_at, ended_reason) SELECT id, 'email', 'daily', 18 - id % 10, 'zh-Hans', "
            f"{_AT} - {hour}, 0, {_AT} - 240 * {HOUR}, '' FROM profile",
            _RHYTHM.format(hour="DISTINCT local_hour AS h", limit=24),
            "INSERT INTO edition (profile_id, made_at, kind, size, picks) SELECT id, "
            f"{_AT} - {hour} - 2 * {HOUR}, 'daily', 5, randomblob(300) FROM profile",
            "INSERT INTO contact (profile_id, channel, sealed, blind_index, verified_at, created_at) "
            "SELECT id, 'email', randomblob(60), hex(randomblob(32)), "
            f"CASE WHEN id % 50 THEN {_AT} END, {_AT} FROM profile",
        ):
            connection.exec_driver_sql(text)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
