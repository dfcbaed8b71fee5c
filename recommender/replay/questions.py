"""Cut a log into windows and ask: who will care for what of the things published in this window? Pure.

Every candidate is new; what a method may know ends where the window begins. Called by ``replay.evaluate`` and
by the training of the ranker, so that both ask the same questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recommender.log import Log, Question
from recommender.types import Ints, Mask

#: Windows and lists shorter than this are not asked about: any order would do.
FEWEST = 15


def windows(start: int, end: int, length: int) -> list[tuple[int, int]]:
    """Half-open windows one after another from ``start``; the last one is cut by ``end``."""
    return [(at, min(at + length, end)) for at in range(start, end, length)]


@dataclass(frozen=True)
class Plan:
    """Which questions a span of time gives, before any of them is written out.

    Attributes:
        total: How many there are; ``kept`` of them are asked.
        window, user: int64 (kept,): of each, sorted by window, then user.
        first, last: int64 (kept,): its hits are ``item[first:last]``, an int64 array.
    """

    start: int
    end: int
    length: int
    total: int
    window: Ints
    user: Ints
    first: Ints
    last: Ints
    item: Ints

    @property
    def kept(self) -> int:
        """How many are asked."""
        return len(self.user)


def questions(
    log: Log, start: int, end: int, length: int, *, most: int | None = None, seed: int = 0,
    among: Mask | None = None,
) -> Iterator[list[Question]]:  # fmt: skip
    """Give the questions of each window, in order of time; windows without any are left out.

    A user is asked about if they cared, inside the window, for at least one item published in it that is not
    their own, and at least :data:`FEWEST` candidates are left.

    Args:
        log: What happened.
        start: Begin of the first window.
        end: End of the last one.
        length: Length of a window in seconds.
        most: Ask no more than so many over all windows, the same share of each window's, drawn by seed.
        seed: Of that draw.
        among: bool (n_users,): ask only about these users.
    """
    yield from asked(log, plan(log, start, end, length, most=most, seed=seed, among=among))


def plan(
    log: Log, start: int, end: int, length: int, *, most: int | None = None, seed: int = 0,
    among: Mask | None = None,
) -> Plan:  # fmt: skip
    """Find which questions there are, without writing them out; see :func:`questions`."""
    window, user, item = _hits(log, start, end, length, among)
    begins = np.ones(len(user), dtype=bool)
    begins[1:] = (window[1:] != window[:-1]) | (user[1:] != user[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(user))
    enough = _offered(log, start, end, length, window[first], user[first]) >= FEWEST
    first, last = first[enough], last[enough]
    total = len(first)
    if most is not None and total > most:
        chosen = _even(window[first], most, seed)
        first, last = first[chosen], last[chosen]
    return Plan(start, end, length, total, window[first], user[first], first, last, item)


def asked(log: Log, plan: Plan) -> Iterator[list[Question]]:
    """Write out a plan's questions, window by window."""
    known = np.zeros(len(log.users), dtype=np.int64)
    read = 0
    bounds = windows(plan.start, plan.end, plan.length)
    for number in np.unique(plan.window).tolist():
        opened, closed = bounds[number]
        until = log.events_before(opened)
        known += np.bincount(log.event_user[read:until], minlength=len(log.users))
        read = until
        items = log.items_between(opened, closed)
        writers = _writers(log, items)
        low, high = np.searchsorted(plan.window, [number, number + 1])
        yield [
            _question(plan, n, (opened, closed), items, writers, int(known[plan.user[n]]))
            for n in range(low, high)
        ]


def _hits(log: Log, start: int, end: int, length: int, among: Mask | None) -> tuple[Ints, Ints, Ints]:
    """Window, user, item of what was cared for in the window it was published in; sorted, no repeats."""
    span = slice(log.events_before(start), log.events_before(end))
    user, item = log.event_user[span], log.event_item[span]
    window = (log.event_time[span] - start) // length
    published = log.item_time[item]
    fits = (published >= start) & ((published - start) // length == window) & (_writers(log, item) != user)
    if among is not None:
        fits &= among[user]
    window, user, item = window[fits], user[fits], item[fits]
    order = np.lexsort((item, user, window))
    window, user, item = window[order], user[order], item[order]
    new = np.ones(len(item), dtype=bool)
    new[1:] = (window[1:] != window[:-1]) | (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return window[new], user[new], item[new]


def _offered(log: Log, start: int, end: int, length: int, window: Ints, user: Ints) -> Ints:
    """How many candidates each question has: the window's items without the user's own."""
    items = log.items_between(start, end)
    when = (log.item_time[items] - start) // length
    writers = _writers(log, items)
    size = np.bincount(when, minlength=int(window.max(initial=0)) + 1)
    wide = len(log.users) + 1  # one more for the writer -1
    keys, own = np.unique(when * wide + writers + 1, return_counts=True)
    asked_for = window * wide + user + 1
    if not len(keys):
        return size[window]
    place = np.minimum(np.searchsorted(keys, asked_for), len(keys) - 1)
    return np.asarray(size[window] - np.where(keys[place] == asked_for, own[place], 0), dtype=np.int64)


def _writers(log: Log, items: Ints) -> Ints:
    """The user who wrote each item, -1 where it is nobody's."""
    by_author = np.append(log.author_user, -1)  # author -1 reads the last
    return np.asarray(by_author[log.item_author[items]], dtype=np.int64)


def _even(window: Ints, most: int, seed: int) -> Ints:
    """Draw ``most`` places of a sorted column so that every window keeps its share; in order."""
    shuffled = np.lexsort((np.random.default_rng(seed).random(len(window)), window))
    steps = ((np.arange(most) + 0.5) * len(window) / most).astype(np.int64)
    return np.sort(shuffled[steps])


def _question(
    plan: Plan, number: int, bounds: tuple[int, int], items: Ints, writers: Ints, known: int
) -> Question:
    user = int(plan.user[number])
    hits = np.zeros(len(items), dtype=bool)
    hits[plan.item[plan.first[number] : plan.last[number]] - items[0]] = True
    own = writers == user
    if own.any():
        items, hits = items[~own], hits[~own]
    return Question(user, *bounds, items, hits, known)
