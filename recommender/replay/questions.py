"""Cut a log into windows and ask: who will care for what of the things published in this window? Pure.

Every candidate is new; what a method may know ends where the window begins. Called by ``replay.evaluate`` and by
the training of the ranker, so that both ask the same questions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recommender.log import Log, Question

#: Windows and lists shorter than this are not asked about: any order would do.
FEWEST = 15


def windows(start: int, end: int, length: int) -> list[tuple[int, int]]:
    """Half-open windows one after another from ``start``; the last one is cut by ``end``."""
    return [(at, min(at + length, end)) for at in range(start, end, length)]


def questions(log: Log, start: int, end: int, length: int) -> Iterator[list[Question]]:
    """Give the questions of each window, in order of time; windows without any are left out.

    A user is asked about if they cared, inside the window, for at least one item published in it that is not
    their own, and at least :data:`FEWEST` candidates are left.
    """
    for opened, closed in windows(start, end, length):
        found = _questions(log, opened, closed)
        if found:
            yield found


def _questions(log: Log, start: int, end: int) -> list[Question]:
    items = log.items_between(start, end)
    if len(items) < FEWEST:
        return []
    first, last = log.events_before(start), log.events_before(end)
    before = np.bincount(log.event_user[:first], minlength=len(log.users))
    liked: dict[int, set[int]] = {}
    low = items[0]
    for user, item in zip(log.event_user[first:last].tolist(), log.event_item[first:last].tolist(), strict=True):
        if low <= item <= items[-1]:
            liked.setdefault(user, set()).add(item)
    writers = np.where(
        log.item_author[items] >= 0, log.author_user[np.maximum(log.item_author[items], 0)], -1
    ) if len(log.authors) else np.full(len(items), -1)
    found = []
    for user in sorted(liked):
        offered = items[writers != user]
        hits = np.isin(offered, list(liked[user]))
        if len(offered) >= FEWEST and hits.any():
            found.append(Question(user, start, end, offered, hits, int(before[user])))
    return found
