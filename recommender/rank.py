"""Put each profile's candidates in order: rules first, then score, never too much of one thing. Pure.

Only the best few of each profile are looked at one by one; all the others are passed over by one comparison.
Called by ``select`` for a batch. It never adds a candidate that has no reason, so a list may be short or
empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.blend import Asked, Blend, Prepared
from recommender.candidates import Pool
from recommender.diversity import mmr
from recommender.topk import CLOSED, top
from recommender.types import AGENCY_CAP, BLOCK, THEME_CAP, Floats, Ints, Mask

#: How many of the best are weighed against each other; all are looked at only where caps leave gaps.
DEPTH = 64
#: How many more than are wanted are ordered for diversity; caps are made up for from these, then by score.
_SPARE = 4
#: How many more are tried behind those before everything is looked at.
_BEHIND = 16
_EMERGENCY = 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """Columns of the picks, best first; the first ``by_rule`` of them stand there by rule."""

    columns: tuple[int, ...]
    by_rule: int


@dataclass(frozen=True)
class Near:
    """The best of each profile of a batch, before caps.

    Attributes:
        columns: int64 (n_profiles, k), best first.
        values: float32 (n_profiles, k), what they are ordered by; closed where there are no more.
        orders: For each profile float32 (n,), what all its candidates are ordered by; closed for those
            that are not worthy or stand by rule.
        by_rule: For each profile the columns that stand by rule, in order, however many.
    """

    columns: Ints
    values: Floats
    orders: Sequence[Floats]
    by_rule: Sequence[list[int]]

    @classmethod
    def joined(cls, parts: Sequence[Near]) -> Near:
        """The same of several batches, one after the other."""
        return cls(
            np.concatenate([one.columns for one in parts]), np.concatenate([one.values for one in parts]),
            [order for one in parts for order in one.orders], [rule for one in parts for rule in one.by_rule],
        )  # fmt: skip


def depth(limits: Sequence[int]) -> int:
    """How many of the best to look at for editions of these sizes."""
    return max(DEPTH, 3 * max(limits, default=0))


def nearest(scores: Blend, forced: Mask, pool: Pool, count: int) -> Near:
    """Find the best of each profile.

    Args:
        scores: What is worthy, and the order: higher is better; ties go to the smaller column, which is
            newer, then of smaller id.
        forced: bool (n_profiles, n): eligible, and a rule puts it first.
        pool: Which of them are emergencies.
        count: How many, from :func:`depth`.
    """
    closed = np.logical_not(scores.worthy)
    closed |= forced
    open_order: Floats = scores.order + closed.astype(np.float32) * CLOSED
    by_rule: list[list[int]] = [[] for _ in range(len(forced))]
    for row in np.flatnonzero(forced.any(axis=1)).tolist():
        by_rule[row] = _by_rule(scores.order[row], forced[row], pool)
    return Near(*top(open_order, count), list(open_order), by_rule)


def rank(
    asked: Asked, near: Near, ready: Prepared, limits: Sequence[int], before: Sequence[Sequence[int]]
) -> list[Ranked]:
    """Choose the picks of a batch of profiles.

    Args:
        asked: Row i of everything belongs to its profile i.
        near: Of this batch. Among these, what is like something better placed moves back
            (:mod:`recommender.diversity`), unless newness is the order.
        ready: Agencies, level-1 themes and twins by column.
        limits: Most picks of each profile; emergencies come on top of it. 0 leaves only those.
        before: Columns of what each profile already got today; they count towards the caps.

    Returns:
        For each profile, in any ten (counted from the first, with ``before``) at most 3 of one agency and 4
        of one level-1 theme; rules are exempt from that. Of twins only the best. Empty if nothing is worthy.
    """
    pool = ready.pool
    first = [
        _within(rule, pool, limit) if rule else [] for rule, limit in zip(near.by_rule, limits, strict=True)
    ]
    rooms = [
        limit - (sum(pool.rank[column] != _EMERGENCY for column in own) if own else 0)
        for limit, own in zip(limits, first, strict=True)
    ]
    most = max(rooms, default=0)
    if most <= 0:
        return [Ranked(tuple(own), len(own)) for own in first]
    standing = [[*got, *own] for got, own in zip(before, first, strict=True)]
    tried = _tried(asked, near, ready, most, standing)
    found = []
    for row, room in enumerate(rooms):
        picked: list[int] = []
        if room > 0 and tried[row]:
            picked = _Blocks(pool, standing[row]).fill(tried[row], room, near.orders[row])
        found.append(Ranked((*first[row], *picked), len(first[row])))
    return found


def _tried(
    asked: Asked, near: Near, ready: Prepared, most: int, standing: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The nearest of each profile in the order they are tried."""
    columns, values, own = near.columns, near.values, ~asked.newest
    take = min(most + _SPARE, columns.shape[1])
    if rows := np.flatnonzero(own).tolist():
        chosen = mmr(
            values[rows], columns[rows], ready.alike, ready.weights.diversity, take,
            standing=_padded([standing[row] for row in rows]), mask=values[rows] > CLOSED,
        )  # fmt: skip
        # The chosen ones first, in their order; then the others as they stood.
        place = np.broadcast_to(np.arange(columns.shape[1]) + take, columns.shape).copy()
        line, step = np.nonzero(chosen >= 0)
        place[np.array(rows)[line], chosen[line, step]] = step
        columns = np.take_along_axis(columns, place.argsort(axis=1)[:, : take + _BEHIND], 1)
    ends = np.count_nonzero(values > CLOSED, axis=1).tolist()
    return [line[:end] for line, end in zip(columns.tolist(), ends, strict=True)]


def _padded(lists: Sequence[Sequence[int]]) -> Ints | None:
    """The lists as rows of one array, -1 where there is nothing; ``None`` if all are empty."""
    width = max(map(len, lists), default=0)
    if not width:
        return None
    return np.array([[*one, *[-1] * (width - len(one))] for one in lists], dtype=np.int64)


def _by_rule(order: Floats, forced: Mask, pool: Pool) -> list[int]:
    """Emergencies, then mandatory notices, each by score; of twins only the first."""
    columns = np.flatnonzero(forced)
    ranked = columns[np.lexsort((columns, -order[columns], -pool.rank[columns]))].tolist()
    seen: set[int] = set()
    return [column for column in ranked if _first_twin(column, pool, seen)]


def _within(rule: list[int], pool: Pool, limit: int) -> list[int]:
    """All emergencies, and as many others as there is room for."""
    urgent = sum(pool.rank[column] == _EMERGENCY for column in rule)
    return rule[: urgent + max(limit, 0)]


class _Blocks:
    """Fills ten after ten; what a cap holds back waits for the next ten."""

    __slots__ = ("agencies", "count", "full_agencies", "full_themes", "pool", "themes", "twins")

    def __init__(self, pool: Pool, before: Iterable[int]) -> None:
        self.pool = pool
        self.twins: set[int] = set()
        self._next_block()
        for column in before:
            if self.count == BLOCK:
                self._next_block()
            self._add(column)

    def _next_block(self) -> None:
        self.agencies: dict[int, int] = {}
        self.themes: dict[int, int] = {}
        self.full_agencies: set[int] = set()
        self.full_themes = 0
        self.count = 0

    def _add(self, column: int) -> None:
        agency, themes = self.pool.agencies[column], self.pool.themes[column]
        self.agencies[agency] = self.agencies.get(agency, 0) + 1
        if agency >= 0 and self.agencies[agency] >= AGENCY_CAP:
            self.full_agencies.add(agency)
        while themes:
            bit = themes & -themes
            themes ^= bit
            self.themes[bit] = self.themes.get(bit, 0) + 1
            if self.themes[bit] >= THEME_CAP:
                self.full_themes |= bit
        if self.pool.twins[column] >= 0:
            self.twins.add(self.pool.twins[column])
        self.count += 1

    def fill(self, near: list[int], room: int, order: Floats) -> list[int]:
        """Take up to ``room`` columns, first in the order of ``near``, then of what is left.

        Args:
            near: Some of the best, in the order they are tried.
            room: At least 1.
            order: float32 (n,): all of them, closed what is not open.
        """
        picked: list[int] = []
        waiting, all_there = near, False
        while waiting and len(picked) < room:
            if self.count >= BLOCK:
                self._next_block()
            waiting, used_up = self._pass(waiting, room, picked)
            if used_up and not all_there and self.count + room - len(picked) <= BLOCK:
                self._finish(near, room, order.copy(), picked)
                break
            if (used_up or not waiting) and not all_there:
                waiting, all_there = waiting + _others(near, order), True
            elif used_up:  # inside this ten: what a cap holds back stays out
                break
        return picked

    def _finish(self, near: list[int], room: int, order: Floats, picked: list[int]) -> None:
        """Fill what is left of this ten, one best at a time, closing what it fills up."""
        agencies, themes = self.pool.cap_arrays
        order[near] = CLOSED
        shut: set[int] = set()
        shut_themes = 0
        while len(picked) < room:
            for agency in self.full_agencies - shut:
                order[agencies == agency] = CLOSED
                shut.add(agency)
            if self.full_themes != shut_themes:
                order[(themes & self.full_themes) != 0] = CLOSED
                shut_themes = self.full_themes
            column = int(order.argmax())
            if order[column] == CLOSED:
                break
            order[column] = CLOSED
            if self.pool.twins[column] not in self.twins:
                picked.append(column)
                self._add(column)

    def _pass(self, waiting: list[int], room: int, picked: list[int]) -> tuple[list[int], bool]:
        """Go through the list once for this ten; returns what is left, and whether it was all seen."""
        agencies, themes, twins = self.pool.agencies, self.pool.themes, self.pool.twins
        held: list[int] = []
        for n, column in enumerate(waiting):
            if themes[column] & self.full_themes or agencies[column] in self.full_agencies:
                held.append(column)
            elif twins[column] not in self.twins:
                picked.append(column)
                self._add(column)
                if self.count >= BLOCK or len(picked) == room:
                    return held + waiting[n + 1 :], False
        return held, True


def _others(near: list[int], order: Floats) -> list[int]:
    """All that are open beyond the near ones, best first."""
    order = order.copy()
    order[near] = CLOSED
    (columns,), (values,) = top(order[None, :], order.size)
    found: list[int] = columns[values > CLOSED].tolist()
    return found


def _first_twin(column: int, pool: Pool, seen: set[int]) -> bool:
    twin = pool.twins[column]
    if twin >= 0 and twin in seen:
        return False
    seen.add(twin)
    return True
