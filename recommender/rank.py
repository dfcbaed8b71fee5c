"""Put each profile's candidates in order: rules first, then score, never too much of one thing. Pure.

Called by ``select`` for a batch. It never adds a candidate that has no reason, so a list may be short or
empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.candidates import Pool
from recommender.types import AGENCY_CAP, BLOCK, THEME_CAP, Floats, Ints, Mask

#: How many of the best are looked at first; the whole list is sorted only where caps leave gaps.
_DEPTH = 96
_EMERGENCY = 2


@dataclass(frozen=True, slots=True)
class Ranked:
    """Columns of the picks, best first; the first ``by_rule`` of them stand there by rule."""

    columns: tuple[int, ...]
    by_rule: int


def rank(
    order: Floats, worthy: Mask, forced: Mask, pool: Pool, limits: Sequence[int],
    before: Sequence[Sequence[int]] | None = None,
) -> list[Ranked]:  # fmt: skip
    """Choose the picks of a batch of profiles.

    Args:
        order: float32 (n_profiles, n), higher is better; ties go to the smaller column, which is newer, then
            of smaller id.
        worthy: bool (n_profiles, n): eligible, with a reason.
        forced: bool (n_profiles, n): eligible, and a rule puts it first.
        pool: Agencies, level-1 themes and twins by column.
        limits: Most picks of each profile; emergencies come on top of it. 0 leaves only those.
        before: Columns of what each profile already got today; they count towards the caps.

    Returns:
        For each profile, in any ten (counted from the first, with ``before``) at most 3 of one agency and 4
        of one level-1 theme; rules are exempt from that. Of twins only the best. Empty if nothing is worthy.
    """
    open_cells = worthy & ~forced
    found = []
    for row, limit in enumerate(limits):
        first = _by_rule(order[row], forced[row], pool, limit) if forced[row].any() else []
        room = limit - sum(pool.rank[column] != _EMERGENCY for column in first)
        columns = np.flatnonzero(open_cells[row]) if room > 0 else np.empty(0, dtype=np.int64)
        picked: list[int] = []
        if columns.size:
            near = _best(order[row], columns, max(_DEPTH, 3 * room))
            blocks = _Blocks(pool, [*(before[row] if before else ()), *first])
            picked = blocks.fill(near, room, columns if len(near) < columns.size else None, order[row])
        found.append(Ranked((*first, *picked), len(first)))
    return found


def _best(order: Floats, columns: Ints, depth: int) -> list[int]:
    """The best ``depth`` columns and everything equal to the last of them, in order."""
    keys = -order[columns]
    if columns.size > depth:
        near = keys <= np.partition(keys, depth - 1)[depth - 1]
        columns, keys = columns[near], keys[near]
    ranked: list[int] = columns[np.argsort(keys, kind="stable")].tolist()
    return ranked


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


class _Blocks:
    """Fills ten after ten; what a cap holds back waits for the next ten."""

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

    def fill(self, near: list[int], room: int, more: Ints | None, order: Floats) -> list[int]:
        """Take up to ``room`` columns, best first; ``more`` is sorted only where near ones do not do."""
        picked: list[int] = []
        waiting = near
        while waiting and len(picked) < room:
            if self.count >= BLOCK:
                self._next_block()
            waiting, used_up = self._pass(waiting, room, picked)
            if used_up:  # inside this ten: what a cap holds back stays out
                if more is None:
                    break
                more = more[~np.isin(more, near)]
                waiting, more = waiting + _best(order, more, more.size), None
        return picked

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


def _first_twin(column: int, pool: Pool, seen: set[int]) -> bool:
    twin = pool.twins[column]
    if twin >= 0 and twin in seen:
        return False
    seen.add(twin)
    return True
