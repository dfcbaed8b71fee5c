"""Follows the catalogue's two change numbers, so that a feed knows whether any of *its* notices changed.

While the numbers stand, nothing is asked. When they moved, the catalogue is asked once which notices changed
since, for all feeds together. Keeps a number a changed notice, bounded. Called by ``api.feed_asgi``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable

from feeds.catalogue.store import NoticeStore

_KEPT = 100_000


class Changes:
    """Counts generations: each time something changed, a new one begins. Safe in threads.

    Args:
        notices: The catalogue.
        forget: Told which notices read differently now; ``None`` means any may.
    """

    def __init__(self, notices: NoticeStore, forget: Callable[[Collection[int] | None], None]) -> None:
        self._notices, self._forget = notices, forget
        self._numbers: tuple[int, int] | None = None
        self._generation = self._floor = 0
        self._last: dict[int, int] = {}
        self._lock = threading.Lock()

    def generation(self, numbers: tuple[int, int]) -> int:
        """Return the generation that these change numbers belong to, or a later one.

        Args:
            numbers: (material, edit) as the database says now. Older ones, read by a slower thread, begin
                nothing.
        """
        if numbers == self._numbers:
            return self._generation
        with self._lock:
            known = self._numbers
            if known is None:
                self._numbers = numbers
            elif numbers[0] > known[0] or numbers[1] > known[1]:
                self._note(self._notices.changed_after(*known))
                self._numbers = (max(numbers[0], known[0]), max(numbers[1], known[1]))
            return self._generation

    def everything(self) -> None:
        """Say that any notice may read differently: a source has another name, say."""
        with self._lock:
            self._generation += 1
            self._floor, self._last = self._generation, {}
            self._forget(None)

    def stand(self, ids: Iterable[int], since: int) -> bool:
        """Whether none of these notices changed since a generation."""
        if since < self._floor:
            return False
        last = self._last
        return all(last.get(number, 0) <= since for number in ids)

    def _note(self, changed: Collection[int]) -> None:
        generation = self._generation + 1
        if len(self._last) + len(changed) > _KEPT:
            self._floor, self._last = generation, {}
        else:
            self._last |= dict.fromkeys(changed, generation)
        self._forget(changed)
        self._generation = generation
