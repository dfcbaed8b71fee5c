"""What may be tried in an edition: not what stands there, what caps hold back, what was turned away. Pure.

It draws nothing itself (``explore`` does) and decides about no slot (``policy`` does, its only caller).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from profiles.types import Profile
from recommender.candidates import Pool
from recommender.clickthrough import Clickthrough
from recommender.explore import Explored, arms, explore, field_of, turns
from recommender.types import AGENCY_CAP, BLOCK, THEME_CAP, Ints, Mask


class Trials:
    """The trials of one run, over one pool and one local day."""

    def __init__(self, pool: Pool, counted: Clickthrough | None, seed: int, day: date) -> None:
        tops = tuple(code for code, theme in pool.city.themes.items() if not theme.parent)
        themes = counted.themes if counted else tops
        self.pool, self.seed, self.day = pool, seed, day
        self.ground = field_of(pool, themes)
        self.arms = arms(counted, themes, seed, day)
        self.caps = _Caps(pool, self.ground.columns)
        self.twinned = frozenset(column for columns in pool.twin_columns.values() for column in columns)

    def choose(
        self, profiles: Sequence[Profile], mask: Mask, taken: Sequence[Sequence[int]],
        before: Sequence[Sequence[int]],
    ) -> list[Explored | None]:  # fmt: skip
        """Choose a trial for each profile; row i of everything belongs to ``profiles[i]``.

        Args:
            profiles: Those whose edition has a slot for one.
            mask: bool (n_profiles, n): what each may be offered at all.
            taken: Columns of their editions.
            before: Columns of what they got earlier today.

        Returns:
            (column, chance), or ``None`` where nothing may be tried.
        """
        inside = mask[:, self.ground.columns]
        self._close(inside, profiles, taken)
        self.caps.close(inside, [[*early, *now][-BLOCK:] for early, now in zip(before, taken, strict=True)])
        rows = [self.arms.row_of(profile) for profile in profiles]
        lots = turns(self.seed, (profile.id for profile in profiles), self.day)
        return explore(inside, rows, lots, self.ground, self.arms)

    def _close(self, inside: Mask, profiles: Sequence[Profile], taken: Sequence[Sequence[int]]) -> None:
        """Close what stands in the edition, with its twins, and what a resident turned away from."""
        place, width, pool = self.ground.place, inside.shape[1], self.pool
        lines: list[int] = []
        gone: list[int] = []
        for line, (profile, columns) in enumerate(zip(profiles, taken, strict=True)):
            held = len(gone)
            gone += columns
            if not self.twinned.isdisjoint(columns):
                for column in columns:
                    gone += pool.twin_columns.get(pool.twins[column], ())
            for tag, weight in profile.taste:
                if weight < 0 and (row := pool.hide_rows.get(tag)) is not None:
                    gone += pool.hides.indices[pool.hides.indptr[row] : pool.hides.indptr[row + 1]].tolist()
            lines += [line] * (len(gone) - held)
        cells, at = place[gone], np.array(lines, dtype=np.int64)
        inside[at[cells < width], cells[cells < width]] = False


class _Caps:
    """Closes what would be one too many of an agency or of a theme in ten."""

    def __init__(self, pool: Pool, columns: Ints) -> None:
        width = max([8, *(number.bit_length() + 7 for number in pool.themes)]) // 8
        bits = b"".join(number.to_bytes(width, "little") for number in [*pool.themes, 0])
        rows = np.frombuffer(bits, dtype=np.uint8).reshape(-1, width)
        self.nothing = len(pool)
        self.agencies = np.array([*pool.agencies, -1], dtype=np.int64)
        self.themes = np.unpackbits(rows, axis=1, bitorder="little")
        self.columns = columns
        self._of_agency: dict[int, Mask] = {}
        self._of_themes: dict[bytes, Mask] = {}

    def close(self, inside: Mask, taken: Sequence[Sequence[int]]) -> None:
        """Close cells. ``taken``: for each line the last columns of the day, at most ten."""
        wide = np.array([[*one, *[self.nothing] * (BLOCK - len(one))] for one in taken], dtype=np.int64)
        agencies = np.sort(self.agencies[wide], axis=1)
        last, first = agencies[:, AGENCY_CAP - 1 :], agencies[:, : 1 - AGENCY_CAP]
        for line, cell in zip(*np.nonzero((last == first) & (last >= 0)), strict=True):
            inside[line] &= self._not_of(int(last[line, cell]))
        full = self.themes[wide].sum(axis=1, dtype=np.int64) >= THEME_CAP
        for line in np.flatnonzero(full.any(axis=1)).tolist():
            inside[line] &= self._without(full[line])

    def _not_of(self, agency: int) -> Mask:
        """The notices that are not of one agency; kept, because caps are often the same."""
        found = self._of_agency.get(agency)
        if found is None:
            found = self._of_agency[agency] = self.agencies[self.columns] != agency
        return found

    def _without(self, full: Mask) -> Mask:
        """The notices that have none of some themes."""
        key = full.tobytes()
        found = self._of_themes.get(key)
        if found is None:
            found = self._of_themes[key] = self.themes[self.columns][:, full].sum(axis=1) == 0
        return found
