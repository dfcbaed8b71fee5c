"""A log of who cared for what, in numbered columns: what the learned parts are trained and judged on.

Users and items are numbers here; names stand beside them once. MyCity's own feedback and the three files of an
evaluation folder both become a :class:`Log`, so that what is measured offline is what serves. Pure data: no
clock, no file, no database. Made by ``train`` and ``replay.files``, read by ``history`` and everything above it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommender.types import Ints

#: Users with so many earlier events are one band of the reports: without history, a little, well known.
BANDS: tuple[tuple[str, int, int], ...] = (("0", 0, 1), ("1-19", 1, 20), ("20+", 20, 1 << 62))
#: Seconds of a day; all times of a log are whole seconds since 1970, UTC.
DAY = 86_400


@dataclass(frozen=True)
class Log:
    """Users, items and events.

    Attributes:
        users: Names; user ``u`` is ``users[u]``.
        user_tokens: What each user declared (``role:org08``, ``interest:theme:0402``, ``place:sl01``), maybe
            nothing.
        items: Names; item ``i`` is ``items[i]``. Sorted by ``item_time``, ties in the order they were given.
        item_time: int64 (n_items,): when each was published.
        item_tokens: Features of each item: tags (``t:…``) and title words (``w:…``), without repeats.
        item_author: int64 (n_items,): number of the body (or person) that wrote it, -1 where unknown.
        item_kind: int64 (n_items,): number of the kind of that body (its organisation), -1 where unknown.
        authors, kinds: Names for both.
        author_user: int64 (n_authors,): the user that an author is, -1 for none. A user's own items are a
            profile of them, and are never offered to them.
        user_kind: int64 (n_users,): the kind of body a user belongs to, -1 for none.
        event_user, event_item, event_time: int64 (n_events,), sorted by time, ties in the order given.
    """

    users: tuple[str, ...]
    user_tokens: tuple[tuple[str, ...], ...]
    items: tuple[str, ...]
    item_time: Ints
    item_tokens: tuple[tuple[str, ...], ...]
    item_author: Ints
    item_kind: Ints
    authors: tuple[str, ...]
    kinds: tuple[str, ...]
    author_user: Ints
    user_kind: Ints
    event_user: Ints
    event_item: Ints
    event_time: Ints
    #: What was left out or guessed while reading, one sentence each; printed with every result.
    remarks: tuple[str, ...] = field(default=())

    def events_before(self, moment: int) -> int:
        """How many events lie before a moment; they are the first so many."""
        return int(np.searchsorted(self.event_time, moment, side="left"))

    def items_between(self, start: int, end: int) -> Ints:
        """Numbers of the items with ``start <= time < end``, in order of time."""
        low, high = np.searchsorted(self.item_time, [start, end], side="left")
        return np.arange(low, high, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to be answered: which of these items will this user care for in this window?

    Attributes:
        start, end: The window, half-open; a method may know only what happened before ``start``.
        items: int64 (n,): the candidates, in order of time; the user's own are left out.
        hits: bool (n,): which of them the user cared for inside the window; at least one is True.
        known: How many events of this user lie before ``start``.
    """

    user: int
    start: int
    end: int
    items: Ints
    hits: np.ndarray
    known: int

    @property
    def band(self) -> str:
        """Name of the band of :data:`BANDS` that ``known`` falls into."""
        return next(name for name, low, high in BANDS if low <= self.known < high)
