"""Lets a host be asked by few at a time and not too often; shared by every client of a process.

It knows nothing of HTTP and opens nothing. Called by ``feeds.kernel.http`` before every request,
redirects included; a thread holds one turn at most, so turns cannot block each other for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Lock
from time import monotonic

from feeds.kernel.errors import FetchError

_TIDY_FROM = 256  # hosts remembered before idle ones are looked for


class HostBusyError(FetchError):
    """Our own queue for a host was too long; says nothing about the source, which was not asked."""


@dataclass(slots=True)
class _Host:
    running: int = 0
    free_at: float = float("-inf")
    waiting: deque[Condition] = field(default_factory=deque)


class HostGate:
    """Gives turns at hosts, first come first served. Thread-safe.

    Args:
        max_concurrent: Most turns of one host at the same time.
        min_gap_s: Least seconds between the beginnings of two turns of one host.
        now: A clock that only moves forward, in seconds; deadlines are in its terms.
    """

    def __init__(
        self, max_concurrent: int = 2, min_gap_s: float = 0.0, *, now: Callable[[], float] = monotonic
    ) -> None:
        self._most, self._gap, self._now = max(1, max_concurrent), max(0.0, min_gap_s), now
        self._lock = Lock()
        self._hosts: dict[str, _Host] = {}
        self._tidy_at = _TIDY_FROM

    @contextmanager
    def turn(self, host: str, deadline: float) -> Iterator[None]:
        """Wait for a turn at a host, and hold it while the block runs.

        Args:
            host: The name as an address gives it; upper and lower case are the same.
            deadline: When waiting makes no sense any more, in terms of ``now``.

        Raises:
            HostBusyError: If the turn does not come before the deadline; at once where that is certain.
        """
        key = host.lower()
        with self._lock:
            entry = self._enter(key)
            if not self._wait(entry, deadline):
                raise HostBusyError(
                    f"{key} was not asked: {self._most} requests at a time are allowed there and the others "
                    "took too long; poll its sources less often or spread them."
                )
            entry.running += 1
            entry.free_at = self._now() + self._gap
            self._wake(entry)
        try:
            yield
        finally:
            with self._lock:
                entry.running -= 1
                self._wake(entry)
                self._forget(key, entry)

    def busy(self) -> int:
        """Count the hosts somebody holds or waits for."""
        with self._lock:
            return sum(bool(entry.running or entry.waiting) for entry in self._hosts.values())

    def _enter(self, key: str) -> _Host:
        if len(self._hosts) >= self._tidy_at:
            for name, entry in list(self._hosts.items()):
                self._forget(name, entry)
            self._tidy_at = max(_TIDY_FROM, 2 * len(self._hosts))
        return self._hosts.setdefault(key, _Host())

    def _wait(self, entry: _Host, deadline: float) -> bool:
        """Stand in the queue until it is our turn (true) or too late (false); the lock is held."""
        if not entry.waiting and entry.running < self._most and entry.free_at <= self._now():
            return True
        ahead = len(entry.waiting)
        if max(entry.free_at, self._now()) + ahead * self._gap > deadline:
            return False
        ticket = Condition(self._lock)
        entry.waiting.append(ticket)
        try:
            while True:
                now = self._now()
                first = entry.waiting[0] is ticket and entry.running < self._most
                if first and entry.free_at <= now:
                    return True
                if now >= deadline:
                    return False
                ticket.wait(min(deadline, entry.free_at if first else deadline) - now)
        finally:
            entry.waiting.remove(ticket)
            self._wake(entry)  # whoever leaves without a turn must not take the wake-up along

    def _wake(self, entry: _Host) -> None:
        if entry.waiting and entry.running < self._most:
            entry.waiting[0].notify()

    def _forget(self, key: str, entry: _Host) -> None:
        if not entry.running and not entry.waiting and entry.free_at <= self._now():
            self._hosts.pop(key, None)
