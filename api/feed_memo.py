"""Remembers a bounded amount of what was made last. Safe in threads. Called by ``api.feed_asgi``."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Memo(Generic[_Item]):
    """Items by key, least recently used first out.

    Args:
        limit: The most that all together may weigh.
        weight: Of one item.
    """

    def __init__(self, limit: int, weight: Callable[[_Item], int]) -> None:
        self._limit, self._weight, self.size = limit, weight, 0
        self._items: OrderedDict[Hashable, _Item] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable) -> _Item | None:
        """Return what is remembered under a key."""
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
            return found

    def put(self, key: Hashable, item: _Item) -> None:
        """Remember an item, forgetting the longest unused ones beyond the limit."""
        with self._lock:
            old = self._items.pop(key, None)
            self.size += self._weight(item) - (0 if old is None else self._weight(old))
            self._items[key] = item
            while self.size > self._limit and self._items:
                self.size -= self._weight(self._items.popitem(last=False)[1])
