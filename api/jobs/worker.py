"""The sender that never stops: urgent lanes by a thread of their own, calm ones by another.

An alert never waits behind digests: its thread has its own connection and its own messages in flight,
looks four times a second, and is woken at once by whoever has put something urgent into the outbox of
this process. Every few seconds it takes back what a dead sender held, so that a worker started alone is
enough. It plans nothing. Called by ``mycity serve``, ``scheduler`` and ``worker``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from weakref import WeakSet

import structlog

from api.jobs.sending import CALM, URGENT, send
from api.wiring import Services
from delivery.types import Lane

_log = structlog.get_logger(__name__)
URGENT_SECONDS = 0.25
CALM_SECONDS = 5.0
# Urgent rows are claimed in smaller batches, so that the first of them leaves sooner.
_URGENT_LIMIT, _CALM_LIMIT = 100, 500
# Pause between looks for rows whose sender died.
_TAKE_BACK_SECONDS = 5.0
# After an error: long enough for a locked database or a full disk to be looked at.
_PAUSE = 2.0

_running: WeakSet[Worker] = WeakSet()


def wake() -> None:
    """Tell the workers of this process that something urgent waits; does nothing without one."""
    for worker in list(_running):
        worker.wake()


class Worker:
    """Two threads that send what the outbox holds.

    Args:
        services: The joined parts.
        urgent_seconds: Pause between looks for alerts and confirmations.
        calm_seconds: Pause between looks for the rest.
    """

    def __init__(
        self,
        services: Services,
        *,
        urgent_seconds: float = URGENT_SECONDS,
        calm_seconds: float = CALM_SECONDS,
    ) -> None:
        self._services = services
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._sent: dict[str, int] = {}
        self._take_back_at = 0.0
        self._threads = [
            threading.Thread(target=self._run, args=work, name=f"{work[0]}-lanes", daemon=True)
            for work in (
                ("urgent", URGENT, _URGENT_LIMIT, urgent_seconds, self._woken),
                ("calm", CALM, _CALM_LIMIT, calm_seconds, self._stop),
            )
        ]

    @property
    def sent(self) -> int:
        """Messages that providers took since the start."""
        return sum(self._sent.values())

    def start(self) -> Worker:
        """Begin; returns itself."""
        _running.add(self)
        self._services.outbox.on_urgent(self.wake)
        listen = getattr(self._services.channels.get("sms"), "listen", None)
        if listen is not None:
            listen()  # receipts and residents' texts come without anything being sent
        for thread in self._threads:
            thread.start()
        return self

    def wake(self) -> None:
        """Look for urgent messages now."""
        self._woken.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Put back what is not begun, finish what is, and wait for both threads."""
        _running.discard(self)
        self._stop.set()
        self._woken.set()
        for thread in self._threads:
            thread.join(timeout)

    def _run(
        self, name: str, lanes: Sequence[Lane], limit: int, seconds: float, woken: threading.Event
    ) -> None:
        while not self._stop.is_set():
            if woken is self._woken:
                woken.clear()  # before the look: what comes after it wakes again
            if self._round(name, lanes, limit) == 0:
                woken.wait(seconds)

    def _round(self, name: str, lanes: Sequence[Lane], limit: int) -> int:
        """Send once; 0 if nothing was due. An error is logged and must not end the thread."""
        services = self._services
        try:
            self._take_back()
            if not services.outbox.any_due(lanes, services.clock.now()):
                return 0
            report = send(services, limit=limit, lanes=lanes, stop=self._stop)
        except Exception as error:
            _log.error("sending_failed", lanes=name, error=f"{type(error).__name__}: {error}"[:300])
            self._stop.wait(_PAUSE)
            return 0
        self._sent[name] = self._sent.get(name, 0) + report.sent
        if report.claimed:
            _log.info(
                "sent", lanes=name, claimed=report.claimed, states=dict(report.states), lost=report.lost
            )
        return report.claimed

    def _take_back(self) -> None:
        """End leases that ran out, also where nothing else is due; the threads share the pause."""
        tick = time.monotonic()
        if tick < self._take_back_at:
            return
        self._take_back_at = tick + _TAKE_BACK_SECONDS
        released = self._services.outbox.release_expired(self._services.clock.now())
        if released:
            _log.warning("taken_back", states=released)
