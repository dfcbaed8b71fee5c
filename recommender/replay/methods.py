"""What may be judged: the protocol of a method, and the plain methods that learned ones have to beat. Pure.

A method answers the questions of one window after another and may know only what happened before the window.
Called by ``replay.evaluate``; ``replay.learned`` offers the learned methods in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from recommender.log import DAY, Log, Question, Split
from recommender.replay.documents import l2, tags, tfidf
from recommender.types import Csr, Floats, Ints

#: Name of the method that is what the service really does.
PIPELINE = "pipeline"
#: What happened so long ago counts half.
HALF_LIFE = 120 * DAY


class Method(Protocol):
    """Something that orders candidates.

    ``name`` is short, lower-case, and the key of its results; :data:`PIPELINE` is what ships. A method may
    have an attribute ``ablation``, a text that says which part of the pipeline it goes without; such methods
    are run only when ablations are asked for, and are reported apart.
    """

    name: str

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """Take the log. Called once before the first window, and again for another log."""
        ...

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """Score the candidates of each question: float32 (n_items,), higher is better.

        Called with the windows in order of time, training windows first. All questions of a call have one
        ``start``; only events with ``time < start`` may be used, and ``hits`` of these questions not at all
        (those of earlier calls are the past and may be). Equal scores stand in order of time.
        """
        ...


def baselines() -> list[Method]:
    """The methods that learn nothing but counts; they need no training library."""
    return [Random(), Newest(), Popularity(), Content()]


class Random:
    """Any order, by seed."""

    name = "random"

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """See :class:`Method`."""
        self._draw = np.random.default_rng([seed, 1])

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """See :class:`Method`."""
        return [self._draw.random(len(question.items), dtype=np.float32) for question in week]


class Newest:
    """Newest first, for everybody the same."""

    name = "newest"

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """See :class:`Method`."""
        self._time = log.item_time

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """See :class:`Method`; a float32 holds the seconds of 194 days exactly."""
        return [(self._time[question.items] - question.start).astype(np.float32) for question in week]


class Popularity:
    """How much tags were cared for, for everybody the same.

    Rate of a tag: (decayed events on items that carry it + 0.5) / (decayed items that carry it + 1). Score of
    an item: the mean rate of its tags; of one without tags, of its words; 0 without either.
    """

    name = "popularity"

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """See :class:`Method`."""
        self._log = log
        self._tags = tags(log)
        self._events = np.zeros(self._tags.shape[1])
        self._items = np.zeros(self._tags.shape[1])
        self._at = int(log.item_time[0]) if len(log.items) else 0
        self._read = (0, 0)

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """See :class:`Method`."""
        if not week:
            return []
        self._move(week[0].start)
        rate = ((self._events + 0.5) / (self._items + 1)).astype(np.float32)
        low = min(int(question.items[0]) for question in week)
        high = max(int(question.items[-1]) for question in week) + 1
        block = self._tags[low:high]
        count = np.maximum(np.diff(block.indptr), 1)
        score = np.asarray(block @ rate).ravel() / count
        return [score[question.items - low].astype(np.float32) for question in week]

    def _move(self, moment: int) -> None:
        """Let the counts fade up to a moment and add what happened since the last one."""
        log = self._log
        self._events *= _fade(moment - self._at)
        self._items *= _fade(moment - self._at)
        event, item = self._read
        until = log.events_before(moment), int(np.searchsorted(log.item_time, moment, side="left"))
        seen = np.bincount(
            log.event_item[event : until[0]],
            weights=_fade(moment - log.event_time[event : until[0]]),
            minlength=len(log.items),
        )
        self._events += seen @ self._tags
        self._items += _fade(moment - log.item_time[item : until[1]]) @ self._tags[item : until[1]]
        self._at, self._read = moment, until


class Content:
    """How alike an item is to what this user cared for: cosine with the decayed sum of their past items."""

    name = "content"

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """See :class:`Method`."""
        self._log = log
        self._documents = tfidf(log, split.frozen)
        self._order = np.argsort(
            log.event_user, kind="stable"
        )  # each user's events together, in order of time
        self._from = np.searchsorted(log.event_user[self._order], np.arange(len(log.users) + 1))

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """See :class:`Method`."""
        if not week:
            return []
        users = sorted({question.user for question in week})
        place = {user: n for n, user in enumerate(users)}
        low = min(int(question.items[0]) for question in week)
        high = max(int(question.items[-1]) for question in week) + 1
        profiles = l2(self._past(users, week[0].start) @ self._documents)
        score = (profiles @ self._documents[low:high].T).toarray()
        return [score[place[question.user], question.items - low].astype(np.float32) for question in week]

    def _past(self, users: list[int], moment: int) -> Csr:
        """CSR (users, items): how much of each past event is left at a moment."""
        from scipy import sparse

        rows: list[Ints] = []
        for user in users:
            mine = self._order[self._from[user] : self._from[user + 1]]
            rows.append(mine[: np.searchsorted(self._log.event_time[mine], moment, side="left")])
        events = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        weight = _fade(moment - self._log.event_time[events]).astype(np.float32)
        starts = np.cumsum([0, *(len(row) for row in rows)])
        shape = (len(users), len(self._log.items))
        return sparse.csr_matrix((weight, self._log.event_item[events], starts), shape=shape)


def _fade(seconds: Ints | int) -> np.ndarray:
    """What is left of a weight of 1 after so many seconds."""
    return np.power(0.5, np.asarray(seconds, dtype=np.float64) / HALF_LIFE)
