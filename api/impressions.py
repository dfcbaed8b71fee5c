"""What feeds showed, kept in memory for half a minute and written in batches.

Never slows or breaks an answer, and never decides whom it may observe: the store does, when it writes. Each
process has its own. Called by ``api.feed_asgi``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from api.jobs import signals
from api.wiring import Services
from profiles.feedback import FeedbackRow

#: (notice id, propensity) in the order shown.
Shown = tuple[tuple[int, float], ...]
_FLUSH_AT, _FLUSH_EVERY = 1000, 30.0  # rows, seconds
_SEEN_MOST = 100_000


class Impressions:
    """Buffers what feeds showed, and writes it in batches. Safe in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._rows: dict[int, tuple[int, list[FeedbackRow]]] = {}  # by profile, with the shelf's version
        self._count = 0
        self._seen: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def add(self, profile_id: int, shelf_version: int, shown: Shown) -> bool:
        """Buffer one fetched feed, the first time its shelf is fetched; return whether to flush.

        Args:
            profile_id: Whose feed.
            shelf_version: Says whether this is the same list as the last time.
            shown: (notice id, propensity) in order; empty for somebody who is not observed.
        """
        # Read without the lock: at worst the same list is looked at twice.
        if not shown or self._seen.get(profile_id) == shelf_version:
            return False
        rows = signals.impressions(profile_id, shown, "feed", self._services.clock.now())
        with self._lock:
            if self._seen.get(profile_id) != shelf_version:
                self._seen[profile_id] = shelf_version
                if len(self._seen) > _SEEN_MOST:
                    self._seen.popitem(last=False)
                _, old = self._rows.pop(profile_id, (0, []))
                self._rows[profile_id] = (shelf_version, rows)
                self._count += len(rows) - len(old)
            return self._count >= _FLUSH_AT

    def flush(self) -> int:
        """Write what is buffered; return how many impressions were new. Never raises.

        What was fetched from a shelf that moved on since is left out: its resident may have cleared it all.
        """
        with self._lock:
            waiting, self._rows, self._count = self._rows, {}, 0
        rows = [row for _, shown in waiting.values() for row in shown]
        seen = {profile_id: version for profile_id, (version, _) in waiting.items()}
        return signals.keep_shown(self._services, rows, seen) if rows else 0

    def flush_regularly(self) -> None:
        """Write twice a minute until :meth:`close`, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="impressions", daemon=True).start()

    def close(self) -> None:
        """Write the rest and end the thread."""
        self._closed.set()
        self.flush()

    def _run(self) -> None:
        while not self._closed.wait(_FLUSH_EVERY):
            self.flush()
