"""What is known at a moment: fading counts of tags, bodies and kinds, and each person's latest events. Pure.

The *world* (how often what carries a tag was cared for) moves on window by window and fits in a model file.
The *person* (latest events, own items) is looked up: in a log by the learner, in the feedback table when
serving. Called by ``learner``; read by ``pairs``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.log import DAY, Log
from recommender.types import Csr, FeatureSpace, Floats, Ints, Mask, csr, ones

#: Days in which a count halves: of the season, of the year, of ever.
HALF_LIVES = (30.0, 120.0, 720.0)
#: A word of fewer items, or a tag of fewer, says nothing that carries over to others.
FEWEST_ITEMS = {"w": 5, "t": 2}
WISH = "interest:"
#: Latest events of a person that are looked at.
RECENT = 500
#: Most groups (declared roles) that are counted apart.
MOST_GROUPS = 64


@dataclass(frozen=True)
class ItemSpace:
    """What items are made of: words and tags of a frozen vocabulary, bodies ``a:…`` and their kinds ``k:…``.

    Attributes:
        features: Name → column: words and tags, then bodies, then kinds.
        weight: float32 (width,): inverse document frequency. ``tags``: bool (width,): a tag.
        tokens: How many columns are words and tags; they stand first.
    """

    features: FeatureSpace
    weight: Floats
    tags: Mask
    tokens: int

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.features)

    @classmethod
    def frozen(cls, log: Log, before: int) -> ItemSpace:
        """Take words, tags and weights from the items before a moment, or from all where there are none.

        Bodies and kinds are all those of the log: they are numbered, nothing is learned by that.
        """
        early = int(np.searchsorted(log.item_time, before, side="left")) or len(log.items)
        seen = Counter(token for tokens in log.item_tokens[:early] for token in tokens)
        names = sorted(t for t, n in seen.items() if n >= FEWEST_ITEMS.get(t[:1], 2))
        for mark, every, numbers in (("a:", log.authors, log.item_author), ("k:", log.kinds, log.item_kind)):
            seen.update(mark + every[n] for n in numbers[:early].tolist() if n >= 0)
        features = FeatureSpace.of([*names, *(f"a:{n}" for n in log.authors), *(f"k:{n}" for n in log.kinds)])
        often = np.array([max(seen[name], FEWEST_ITEMS["w"]) for name in features.names], dtype=np.float64)
        weight = np.maximum(np.log((1 + early) / (1 + often)) + 1, 1).astype(np.float32)
        return cls.of(features, weight, len(names))

    @classmethod
    def of(cls, features: FeatureSpace, weight: Floats, tokens: int) -> ItemSpace:
        """Find the tags among the names."""
        tags = np.array([name.startswith("t:") for name in features.names], dtype=bool)
        tags[tokens:] = False
        return cls(features, weight, tags, tokens)

    def column(self, name: str) -> int:
        """Column of a body ``a:…`` or kind ``k:…``; -1 where unknown."""
        return self.features.columns.get(name, -1)

    def wishes(self, declared: Iterable[str]) -> list[int]:
        """Columns of the tags that somebody declared to follow: ``interest:x`` is tag ``x``."""
        names = ("t:" + name.removeprefix(WISH) for name in declared if name.startswith(WISH))
        return [column for name in names if (column := self.features.columns.get(name, -1)) >= 0]

    def rows(self, tokens: Sequence[Sequence[str]], author: Ints, kind: Ints, time: Ints) -> ItemRows:
        """Encode items; unknown tokens are skipped.

        Args:
            tokens: Words ``w:…`` and tags ``t:…`` of each.
            author: int64 (n,): column of the body, -1 for none.
            kind: int64 (n,): column of its kind, -1 for none.
            time: int64 (n,).
        """
        known, first = self.features.columns, self.tokens
        lines = [[c for t in line if (c := known.get(t, first)) < first] for line in tokens]
        bodies = zip(author.tolist(), kind.tolist(), strict=True)
        text = ones(
            (line + [c for c in two if c >= 0] for line, two in zip(lines, bodies, strict=True)), self.width
        )
        text.data = self.weight[text.indices]
        # Where an item has no known tag, its words stand for it.
        topics = ones((([c for c in line if self.tags[c]] or line) for line in lines), self.width)
        return ItemRows(l2(text), l1(topics), np.asarray(author), np.asarray(kind), np.asarray(time))


@dataclass(frozen=True)
class ItemRows:
    """Items as rows.

    Attributes:
        text: CSR (n, width): weighed words, tags, body and kind; rows of length 1. ``topics``: CSR (n,
            width): tags alone, rows sum to 1.
        author, kind: int64 (n,): columns, -1 for none. ``time``: int64 (n,).
    """

    text: Csr
    topics: Csr
    author: Ints
    kind: Ints
    time: Ints

    def __len__(self) -> int:
        return len(self.time)

    def some(self, rows: Ints | slice) -> ItemRows:
        """A part of the rows."""
        return ItemRows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def l2(rows: Csr) -> Csr:
    """Scale rows to length 1; empty rows stay empty."""
    return _scaled(rows, np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()))


def l1(rows: Csr) -> Csr:
    """Scale rows to sum 1; empty rows stay empty, cells of 0 go."""
    rows.eliminate_zeros()
    return _scaled(rows, np.asarray(rows.sum(axis=1)).ravel())


def _scaled(rows: Csr, by: Floats) -> Csr:
    times = np.divide(1.0, by, out=np.zeros_like(by), where=by > 0)
    rows.data = (rows.data * np.repeat(times, np.diff(rows.indptr))).astype(np.float32)
    return rows


@dataclass
class World:
    """Fading counts, one column per token, body and kind of an :class:`ItemSpace`.

    Attributes:
        items, events: float32 (3, width): items that carry it, and events on them, at each of
            :data:`HALF_LIVES`.
        groups: Names of declared roles. ``by_group``: float32 (n_groups, width): their events, slowest
            half-life.
        at: Moment the counts stand for.
    """

    items: Floats
    events: Floats
    groups: FeatureSpace
    by_group: Floats
    at: int

    @classmethod
    def empty(cls, width: int, groups: FeatureSpace, at: int) -> World:
        """Nothing has happened yet."""
        shape = (len(HALF_LIVES), width)
        return cls(
            np.zeros(shape, np.float32), np.zeros(shape, np.float32),
            groups, np.zeros((len(groups), width), np.float32), at,
        )  # fmt: skip

    def fade(self, moment: int) -> None:
        """Let the counts fade up to a moment."""
        left = fading((moment - self.at) / DAY)
        self.items *= left[:, None]
        self.events *= left[:, None]
        self.by_group *= left[-1]
        self.at = moment

    def rates(self) -> tuple[Floats, Floats]:
        """Smoothed events per item: of everybody (3, width), of each group (n_groups, width).

        What was seen little is drawn to the mean of everything.
        """
        return _rate(self.events, self.items), _rate(self.by_group, self.items[-1:])


def _rate(events: Floats, items: Floats) -> Floats:
    mean = events.sum(axis=1, keepdims=True) / np.maximum(items.sum(axis=1, keepdims=True), 1.0)
    found: Floats = ((events + mean) / (items + 1.0)).astype(np.float32)
    return found


def fading(days: Any) -> Floats:
    """What is left of 1 after so many days, a number or an array, at each half-life; float32 (3, ...)."""
    found: Floats = np.exp2(-np.multiply.outer(1 / np.array(HALF_LIVES), days)).astype(np.float32)
    return found


@dataclass(frozen=True)
class Persons:
    """What is known of some persons; row i of everything is one person.

    Attributes:
        event: int64 (n, most): rows of known items they cared for, newest first. ``age``: float32, days
            since. Where ``event`` is -1 there is none.
        own, own_age: The same for what they wrote, asked or keep themselves.
        groups: CSR (n, n_groups), rows sum to 1. ``kind``: int64 (n,), -1 for none.
        wishes: CSR (n, n_tokens): declared interests, ones.
        known: float32 (n,): number of events so far, not only of those looked at.
    """

    event: Ints
    age: Floats
    own: Ints
    own_age: Floats
    groups: Csr
    kind: Ints
    wishes: Csr
    known: Floats

    def __len__(self) -> int:
        return len(self.kind)

    def some(self, rows: Ints | slice) -> Persons:
        """A part of the persons."""
        return Persons(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class History:
    """A log read up to a moment, which only moves forward."""

    def __init__(self, log: Log, space: ItemSpace, recent: int = RECENT) -> None:
        self.log, self.space, self._recent = log, space, recent
        author = np.array([space.column(f"a:{name}") for name in log.authors] + [-1], dtype=np.int64)
        kind = np.array([space.column(f"k:{name}") for name in log.kinds] + [-1], dtype=np.int64)
        self.rows = space.rows(log.item_tokens, author[log.item_author], kind[log.item_kind], log.item_time)
        self._carried = ones_of(self.rows.text)
        self._kind = kind[log.user_kind]
        roles = Counter(t for tokens in log.user_tokens for t in tokens if t.startswith("role:"))
        self._groups = FeatureSpace.of(sorted(name for name, _ in roles.most_common(MOST_GROUPS)))
        self._group_rows = _group_rows(log.user_tokens, self._groups)
        self.world = World.empty(space.width, self._groups, min(0, int(log.item_time.min(initial=0))))
        self._events = _Latest.of(log.event_user, log.event_item, log.event_time, len(log.users))
        writer = np.append(log.author_user, -1)[log.item_author]
        mine = np.flatnonzero(writer >= 0)
        self._own = _Latest.of(writer[mine], mine, log.item_time[mine], len(log.users))
        self._read = (0, 0)

    def advance(self, moment: int) -> None:
        """Take in what happened before a moment."""
        log, world = self.log, self.world
        if moment < world.at:
            raise ValueError("A history only moves forward.")
        world.fade(moment)
        item, event = self._read
        items, events = int(np.searchsorted(log.item_time, moment, side="left")), log.events_before(moment)
        new = slice(item, items)
        world.items += fading((moment - log.item_time[new]) / DAY) @ self._carried[new]
        if events > event:
            who, what = log.event_user[event:events], log.event_item[event:events]
            left = fading((moment - log.event_time[event:events]) / DAY)
            carried = self._carried[what]
            world.events += left @ carried
            world.by_group += (self._group_rows[who].multiply(left[-1][:, None]).T @ carried).toarray()
        self._read = (items, events)

    def persons(self, users: Ints, wishes: Sequence[Sequence[int]], silent: Mask, alone: Mask) -> Persons:
        """Look persons up as they stand at the moment the history has reached.

        Args:
            users: int64 (n,).
            wishes: Columns of the tags each one declared.
            silent: bool (n,): treat as if they had cared for nothing yet.
            alone: bool (n,): nor written anything.
        """
        moment = self.world.at
        event, age, known = self._events.at(users, moment, self._recent)
        own, own_age, _ = self._own.at(users, moment, self._recent)
        event[silent], known[silent], own[alone] = -1, 0, -1
        return Persons(
            event, age, own, own_age, self._group_rows[users], self._kind[users],
            ones(wishes, self.space.width), known,
        )  # fmt: skip


def csr_of(values: Floats, columns: Ints, starts: Ints, width: int) -> Csr:
    """A CSR matrix from its three arrays."""
    matrix = csr([], width)  # for its type: scipy is imported in one place
    return type(matrix)((values, columns, starts), shape=(len(starts) - 1, width))


def ones_of(rows: Csr) -> Csr:
    """The same cells, each 1."""
    found = rows.copy()
    found.data = np.ones_like(found.data)
    return found


def _group_rows(tokens: Sequence[Sequence[str]], groups: FeatureSpace) -> Csr:
    return l1(
        ones(([groups.columns[t] for t in line if t in groups.columns] for line in tokens), len(groups))
    )


@dataclass(frozen=True)
class _Latest:
    """Things of each user in order of time, to look up the latest ones before a moment."""

    item: Ints
    time: Ints
    start: Ints

    @classmethod
    def of(cls, user: Ints, item: Ints, time: Ints, users: int) -> _Latest:
        order = np.argsort(user, kind="stable")
        return cls(item[order], time[order], np.searchsorted(user[order], np.arange(users + 1)))

    def at(self, users: Ints, moment: int, most: int) -> tuple[Ints, Floats, Floats]:
        """Items (n, most) newest first, -1 where there are no more; ages in days; how many in all."""
        low = self.start[users]
        count = np.array(
            [
                int(np.searchsorted(self.time[a:b], moment, side="left"))
                for a, b in zip(low, self.start[users + 1], strict=True)
            ],
            dtype=np.int64,
        )
        widest = max(1, min(most, int(count.max(initial=0))))
        back = count[:, None] - 1 - np.arange(widest)
        there = back >= 0
        where = np.where(there, low[:, None] + back, 0)
        if not len(self.item):
            return np.full(where.shape, -1), np.zeros(where.shape, np.float32), count.astype(np.float32)
        item = np.where(there, self.item[where], -1)
        age = np.where(there, (moment - self.time[where]) / DAY, 0).astype(np.float32)
        return item, age, count.astype(np.float32)
