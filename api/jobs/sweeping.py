"""Looks for work that was lost, and puts it back on its way: dead senders, missing runs, silent providers.

Everything it does can be done twice: rows carry leases and unique keys. It sends nothing itself. Called by
the scheduler every minute and by ``mycity outbox sweep``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from api.jobs import digests, receipts
from api.wiring import Services

_log = structlog.get_logger(__name__)
# Providers' reports are kept so long; the rows keep what they said.
_KEEP_RECEIPTS = timedelta(days=90)
# A slot is missing only when its own tick had time to plan it.
_GRACE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What was found and put right.

    Attributes:
        released: New state → rows whose sender had died.
        expired: Waiting rows whose time was over.
        receipts: Reports that had come before their row.
        missing: Slots of digests that no run had been made for.
        planned: Messages planned for them now.
        settled: Texts of unknown outcome that the provider gave an answer about.
        failed: Steps that could not be done, with the kind of error; they are tried again.
    """

    released: dict[str, int] = field(default_factory=dict)
    expired: int = 0
    receipts: int = 0
    missing: int = 0
    planned: int = 0
    settled: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def sweep(services: Services, *, asking: bool = True) -> SweepReport:
    """Find lost work and put it back; a step that fails keeps no other from its turn.

    Args:
        services: The joined parts.
        asking: Also apply reports that wait and ask providers; the scheduler's people tick does that itself.
    """
    now = services.clock.now()
    failed: dict[str, str] = {}
    found: dict[str, int] = {}
    released: dict[str, int] = {}

    def step(name: str, work: Callable[[], int]) -> None:
        try:
            found[name] = work()
        except Exception as error:
            failed[name] = type(error).__name__
            _log.error("sweep_failed", step=name, error=f"{type(error).__name__}: {error}"[:300])

    def release() -> int:
        released.update(services.outbox.release_expired(now))
        return sum(released.values())

    step("released", release)
    step("expired", lambda: services.outbox.expire(now))
    if asking:
        step("receipts", lambda: receipts.take_waiting(services).moved)
        step("settled", lambda: _settled(services))
    step("missing", lambda: _missing(services))
    if found.get("missing"):
        step("planned", lambda: digests.plan(services).planned)
    step("trimmed", lambda: services.receipts.trim(now - _KEEP_RECEIPTS))
    return SweepReport(
        released, found.get("expired", 0), found.get("receipts", 0), found.get("missing", 0),
        found.get("planned", 0), found.get("settled", 0), failed,
    )  # fmt: skip


def tick_sweep(services: Services) -> dict[str, int]:
    """Sweep, in the few numbers that a log needs."""
    report = sweep(services, asking=False)
    if report.missing:
        _log.warning("runs_were_missing", slots=report.missing, planned=report.planned)
    return {
        "released": sum(report.released.values()),
        "missing": report.missing,
        "planned": report.planned,
        "failed": len(report.failed),
    }


def _missing(services: Services) -> int:
    """Slots whose own tick should have planned them some time ago."""
    late = services.clock.now() - _GRACE
    return sum(slot <= late for slot in digests.missing(services))


def _settled(services: Services) -> int:
    report = receipts.settle_unknown(services)
    return report.known + report.queued
