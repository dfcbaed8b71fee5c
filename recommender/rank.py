"""Put one profile's candidates in order: rules first, then score, never too much of one thing. Pure.

Called by ``select`` for each profile. It never adds a candidate that has no reason, so a list may be short or
empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.candidates import Pool
from recommender.types import AGENCY_CAP, BLOCK, THEME_CAP, Floats, Ints, Mask

#: How many of the best are looked at first; the whole list is sorted only where caps leave gaps.
_DEPTH = 48
_EMERGENCY = 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """Columns of the picks, best first; the first ``by_rule`` of them stand there by rule."""

    columns: tuple[int, ...]
    by_rule: int


def rank(
    order: Floats, worthy: Mask, forced: Mask, pool: Pool, limit: int, before: Sequence[int] = ()
) -> Ranked:
    """Choose the picks of one profile.

    Args:
        order: float32 (n,), higher is better; ties go to the smaller column, which is newer, then of smaller
            id.
        worthy: bool (n,): eligible, with a reason.
        forced: bool (n,): eligible, and a rule puts it first.
        pool: Agencies, level-1 themes and twins by column.
        limit: Most picks; emergencies come on top of it. 0 leaves only those.
        before: Columns of what the profile already got today; they count towards the caps.

    Returns:
        In any ten (counted from the first, with ``before``) at most 3 of one agency and 4 of one level-1
        theme; rules are exempt from that. Of twins only the best. Empty if nothing is worthy.
    """
    first = _by_rule(order, forced, pool, limit)
    chosen, emergencies = list(first), sum(pool.rank[c] == _EMERGENCY for c in first)
    room = limit - (len(chosen) - emergencies)
    if room <= 0:
        return Ranked(tuple(chosen), len(first))
    open_columns = np.flatnonzero(worthy & ~forced)
    blocks = _Blocks(pool, before)
    blocks.taken(chosen)
    near = _best(order, open_columns, max(_DEPTH, 3 * room))
    picked = blocks.fill(near, room)
    if len(picked) < room and near.size < open_columns.size:
        blocks = _Blocks(pool, before)
        blocks.taken(chosen)
        picked = blocks.fill(_best(order, open_columns, open_columns.size), room)
    return Ranked((*chosen, *picked), len(first))


def _by_rule(order: Floats, forced: Mask, pool: Pool, limit: int) -> list[int]:
    """Emergencies, then mandatory notices up to the limit, each by score."""
    columns = np.flatnonzero(forced)
    if not columns.size:
        return []
    ranked = columns[np.lexsort((columns, -order[columns], -pool.rank[columns]))].tolist()
    seen: set[int] = set()
    urgent = [c for c in ranked if pool.rank[c] == _EMERGENCY and _first_twin(c, pool, seen)]
    told = [c for c in ranked if pool.rank[c] != _EMERGENCY and _first_twin(c, pool, seen)]
    return urgent + told[: max(limit, 0)]


def _best(order: Floats, columns: Ints, depth: int) -> Ints:
    """The best ``depth`` columns and everything equal to the last of them, in order."""
    keys = -order[columns]
    if columns.size > depth:
        keep = keys <= np.partition(keys, depth - 1)[depth - 1]
        columns, keys = columns[keep], keys[keep]
    ranked: Ints = columns[np.argsort(keys, kind="stable")]
    return ranked


class _Blocks:
    """Fills ten after ten; what a cap holds back waits for the next ten."""

    def __init__(self, pool: Pool, before: Iterable[int]) -> None:
        self.pool = pool
        self.agencies: Counter[int] = Counter()
        self.themes: Counter[str] = Counter()
        self.twins: set[int] = set()
        self.count = 0
        self.taken(before)

    def taken(self, columns: Iterable[int]) -> None:
        """Count what is already on the list."""
        for column in columns:
            if self.count == BLOCK:
                self.next_block()
            self.add(column)

    def next_block(self) -> None:
        self.agencies.clear()
        self.themes.clear()
        self.count = 0

    def add(self, column: int) -> None:
        self.agencies[self.pool.agencies[column]] += 1
        self.themes.update(self.pool.themes[column])
        self.twins.add(self.pool.twins[column])
        self.count += 1

    def fits(self, column: int) -> bool:
        agency = self.pool.agencies[column]
        if agency >= 0 and self.agencies[agency] >= AGENCY_CAP:
            return False
        return all(self.themes[theme] < THEME_CAP for theme in self.pool.themes[column])

    def fill(self, ranked: Ints, room: int) -> list[int]:
        """Take up to ``room`` columns, best first."""
        picked: list[int] = []
        waiting: list[int] = ranked.tolist()
        while waiting and len(picked) < room:
            if self.count >= BLOCK:
                self.next_block()
            held: list[int] = []
            for n, column in enumerate(waiting):
                if self.pool.twins[column] >= 0 and self.pool.twins[column] in self.twins:
                    continue
                if not self.fits(column):
                    held.append(column)
                    continue
                picked.append(column)
                self.add(column)
                if self.count >= BLOCK or len(picked) == room:
                    held.extend(waiting[n + 1 :])
                    break
            else:
                if self.count < BLOCK:  # the list is used up inside this ten: what a cap holds back stays out
                    return picked
            waiting = held
        return picked


def _first_twin(column: int, pool: Pool, seen: set[int]) -> bool:
    twin = pool.twins[column]
    if twin >= 0 and twin in seen:
        return False
    seen.add(twin)
    return True
