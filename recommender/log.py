"""A log of who cared for what, in numbered columns: what the learned parts are trained and judged on.

Users and items are numbers here; names stand beside them once. MyCity's own feedback and the three files of
an evaluation folder both become a :class:`Log`, so that what is measured offline is what serves. Pure data:
no clock, no file, no database. Made by ``train`` and ``replay.files``, read by ``history`` and everything
above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recommender.types import Ints

#: Users with so many earlier events are one band of the reports: without history, a little, well known.
BANDS: tuple[tuple[str, int, int], ...] = (("0", 0, 1), ("1-19", 1, 20), ("20+", 20, 1 << 62))
#: Seconds of a day; all times of a log are whole seconds since 1970, UTC.
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Split:
    """Where time is cut; seconds since 1970, UTC.

    Attributes:
        start: Nothing before it is used. ``frozen``: vocabularies are frozen here and ranker training begins.
        test: First test window; trained once before it. ``end``: nothing from here on is used.
        window: Length of a window in seconds.
        given: The folder said so itself; otherwise these are quantiles of the events' times.
    """

    start: int
    frozen: int
    test: int
    end: int
    window: int
    given: bool


def _none() -> Ints:
    return np.zeros(0, dtype=np.int64)


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
    #: What users keep, as if it were their own: int64 (n_kept,) each, sorted by time; these are events too.
    kept_user: Ints = field(default_factory=_none)
    kept_item: Ints = field(default_factory=_none)
    kept_time: Ints = field(default_factory=_none)
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


def hide(log: Log, users: Iterable[int]) -> Log:
    """The same log as if these users had never done anything: no event and no item counts as theirs.

    They keep their numbers, their kind and what they declared. What they wrote stays, as written by somebody.
    """
    gone = np.zeros(len(log.users) + 1, dtype=bool)  # one more, so that author -1 reads False
    gone[list(users)] = True
    left, keeps = ~gone[log.event_user], ~gone[log.kept_user]
    return replace(
        log,
        author_user=np.where(gone[log.author_user], -1, log.author_user),
        event_user=log.event_user[left],
        event_item=log.event_item[left],
        event_time=log.event_time[left],
        kept_user=log.kept_user[keeps],
        kept_item=log.kept_item[keeps],
        kept_time=log.kept_time[keeps],
    )


def tag_kind(token: str) -> str | None:
    """Kind of a tag token: ``theme`` of ``t:theme:0402``, ``""`` of ``t:roads``; a word has None."""
    if not token.startswith("t:"):
        return None
    kind, colon, _ = token[2:].partition(":")
    return kind if colon else ""


def declarable(log: Log, before: int) -> str | None:
    """Which kind of tag a newcomer would be offered to tick: the one that stands first on most items.

    Whoever writes a log puts first what an item is about. A kind with a single tag, or with a new tag for
    almost every item, cannot be ticked and is passed over while there is another.

    Returns:
        The kind, ``""`` where tags have no kinds, None where no item before that moment has a tag.
    """
    until = int(np.searchsorted(log.item_time, before, side="left"))
    tagged = [[t for t in tokens if t.startswith("t:")] for tokens in log.item_tokens[:until]]
    uses = Counter(token for tokens in tagged for token in tokens)
    kinds = {token: tag_kind(token) or "" for token in uses}
    tags = Counter(kinds.values())
    total: Counter[str] = Counter()
    for token, n in uses.items():
        total[kinds[token]] += n
    useful = {kind for kind in tags if tags[kind] > 1 and total[kind] >= 2 * tags[kind]} or set(tags)
    first = Counter(next((kinds[t] for t in tokens if kinds[t] in useful), None) for tokens in tagged)
    return min(useful, key=lambda kind: (-first[kind], kind), default=None)


def interests(log: Log, users: Sequence[int], before: int, most: int = 3) -> list[tuple[str, ...]]:
    """What each user would tick, going by what they did: ``interest:<tag>`` for their most used tags.

    Only tags of the kind that can be declared and events before the moment; most used first, equal ones by
    name. A user without such events ticks nothing.
    """
    kind = declarable(log, before)
    until = log.events_before(before)
    wanted = {user: Counter[str]() for user in users}
    usable = [tuple(t[2:] for t in tokens if tag_kind(t) == kind) for tokens in log.item_tokens]
    for user, item in zip(log.event_user[:until].tolist(), log.event_item[:until].tolist(), strict=True):
        if user in wanted:
            wanted[user].update(usable[item])
    ranked = [sorted(wanted[user].items(), key=lambda pair: (-pair[1], pair[0])) for user in users]
    return [tuple(f"interest:{tag}" for tag, _ in pairs[:most]) for pairs in ranked]
