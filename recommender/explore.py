"""One slot to learn whether something unasked is wanted: Thompson sampling with exact chances. Pure.

Draws are seeded arrays that callers hand in or have made here; no clock, no database, no hidden state but a
memo. It says which notice and with what chance, never whether an edition has room (``policy`` does). Reasons
and limits: docs/decisions/0014-exploration.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

import numpy as np

from profiles.types import Profile
from recommender.candidates import Pool
from recommender.clickthrough import Clickthrough
from recommender.types import Candidate, Floats, Ints, Mask

#: Draws in one matrix; a resident's day uses one of them. Chances are exact in steps of 1/512.
DRAWS = 512
#: What an arm is believed to be before anything is known: one opened in 25 shown.
_OPENED, _PASSED = 1.0, 24.0
#: Of an arm's notices the newest so many may come: chances stay large enough for the ledger's half floats.
_MOST_NOTICES = 64

Explored: TypeAlias = tuple[int, float]
Turn: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Arms:
    """What may be tried, and one day's draws of how well it may do.

    Attributes:
        themes: Codes of level-1 themes.
        roles: Role codes that were counted for themselves → their row; row 0 is everybody.
        draws: float32 (512, rows, n_themes): each a draw from what is believed of (row, theme).
    """

    themes: tuple[str, ...]
    roles: dict[str, int]
    draws: Floats
    _won: dict[tuple[int, bytes], tuple[list[int], list[float]]] = field(default_factory=dict, repr=False)

    def row_of(self, profile: Profile) -> int:
        """The row that speaks for a resident: that of the first role they named that was counted, else 0."""
        if not self.roles:
            return 0
        return next((self.roles[role] for role in profile.roles if role in self.roles), 0)

    def winners(self, row: int, open_themes: bytes) -> tuple[list[int], list[float]]:
        """Which theme wins each draw among some, and how often each does.

        Args:
            row: Of :attr:`draws`.
            open_themes: A byte for each theme, 0 where it is not open; at least one is.

        Returns:
            512 themes, and for each theme its share of them; the shares sum to 1.
        """
        found = self._won.get((row, open_themes))
        if found is None:
            may = np.frombuffer(open_themes, dtype=np.uint8) > 0
            won = np.where(may, self.draws[:, row], -1.0).argmax(axis=1)
            shares = np.bincount(won, minlength=may.size) / len(self.draws)
            found = self._won[row, open_themes] = won.tolist(), shares.tolist()
        return found


@dataclass(frozen=True)
class Field:
    """The notices that may be tried at all: for the whole city, with a theme; no rule, nothing sensitive.

    Attributes:
        columns: int64 (m,): their columns in the pool, by theme, then newest first.
        place: int64 (n + 1,): where each column of the pool stands in ``columns``, m for those that do not;
            the last entry, for "no column", is m too.
        starts: int64 (n_present,): where each theme's begin.
        present: int64 (n_present,): which themes those are.
    """

    columns: Ints
    place: Ints
    starts: Ints
    present: Ints


def arms(counted: Clickthrough | None, themes: Sequence[str], seed: int, day: date) -> Arms:
    """Draw what each arm, a level-1 theme for a role or for everybody, may be worth.

    Args:
        counted: Clicks and shows so far; ``None`` where nothing was counted: then all arms are alike.
        themes: Level-1 themes, used without ``counted``.
        seed: Of the run.
        day: Local. Same counts, seed and day, same draws.
    """
    draw = np.random.default_rng([seed & 0xFFFFFFFF, day.toordinal()])
    if counted is None:
        flat = draw.beta(_OPENED, _PASSED, (DRAWS, 1, len(themes))).astype(np.float32)
        return Arms(tuple(themes), {}, flat)
    clicks = np.maximum(counted.clicks, 0).astype(np.float64)
    passed = np.maximum(counted.shows - counted.clicks, 0).astype(np.float64)
    made = draw.beta(clicks + _OPENED, passed + _PASSED, (DRAWS, *clicks.shape)).astype(np.float32)
    enough = {role: n + 1 for n, role in enumerate(counted.roles) if counted.shows[n + 1].any()}
    return Arms(counted.themes, enough, made)


def field_of(pool: Pool, themes: Sequence[str]) -> Field:
    """Find the notices that may be tried, each under its one main theme."""
    column = {code: n for n, code in enumerate(themes)}
    main = np.array([column.get(_main_theme(one, pool), -1) for one in pool.candidates], dtype=np.int64)
    tags = [[f"{tag.kind}:{tag.code}" for tag in one.tags] for one in pool.candidates]
    told = {tag for tag in {tag for own in tags for tag in own} if pool.city.is_sensitive(tag)}
    sensitive = [not told.isdisjoint(own) for own in tags]
    may = (main >= 0) & (pool.rank == 0) & ~pool.local & ~pool.outside
    may &= ~np.array(sensitive, dtype=bool).reshape(main.shape)
    chosen = np.flatnonzero(may)
    chosen = chosen[np.argsort(main[chosen], kind="stable")]
    present, starts = np.unique(main[chosen], return_index=True)
    place = np.full(len(pool) + 1, chosen.size, dtype=np.int64)
    place[chosen] = np.arange(chosen.size)
    return Field(chosen, place, starts.astype(np.int64), present)


def explore(
    inside: Mask, rows: Sequence[int], turns: Sequence[Turn], ground: Field, drawn: Arms
) -> list[Explored | None]:
    """Choose one notice to try for each profile.

    The theme that wins the profile's draw among those with an open notice, then one of its newest open
    notices, all equally likely. So the chance of a notice is (share of the 512 draws its theme wins among the
    same themes) / (open notices of the theme): exact for the draw that :func:`turns` makes.

    Args:
        inside: bool (n_profiles, m): which notices of ``ground`` may be tried with whom.
        rows: Of ``drawn``, for each profile; see :meth:`Arms.row_of`.
        turns: From :func:`turns`, for each profile.
        ground: Of the pool.
        drawn: With the same themes.

    Returns:
        (column of the pool, chance) for each profile, ``None`` where nothing is open.
    """
    found: list[Explored | None] = [None] * inside.shape[0]
    if not inside.size:
        return found
    some = np.logical_or.reduceat(inside, ground.starts, axis=1)
    open_themes = np.zeros((inside.shape[0], len(drawn.themes)), dtype=np.uint8)
    open_themes[:, ground.present] = some
    begins = dict(zip(ground.present.tolist(), ground.starts.tolist(), strict=True))
    ends = dict(zip(ground.present.tolist(), [*ground.starts[1:].tolist(), inside.shape[1]], strict=True))
    for line in np.flatnonzero(some.any(axis=1)).tolist():
        draw, lot = turns[line]
        won, shares = drawn.winners(rows[line], open_themes[line].tobytes())
        theme = won[draw % DRAWS]
        there = inside[line, begins[theme] : ends[theme]].nonzero()[0][:_MOST_NOTICES]
        column = ground.columns[begins[theme] + there[lot % there.size]]
        found[line] = int(column), shares[theme] / there.size
    return found


def turns(seed: int, profile_ids: Iterable[int], day: date) -> list[Turn]:
    """Two numbers for each resident that are as good as random, for their day.

    Returns:
        Which draw, and which notice: each 0 to 2^64 - 1, the same whenever the same is asked.
    """
    base = hashlib.blake2b(f"explore {seed} {day.isoformat()} ".encode(), digest_size=16)
    found = []
    for profile_id in profile_ids:
        own = base.copy()
        own.update(b"%d" % profile_id)
        digest = own.digest()
        found.append((int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")))
    return found


def _main_theme(candidate: Candidate, pool: Pool) -> str:
    """The level-1 theme of the theme tag with the most weight; the first of equals; empty without one."""
    themes = [tag for tag in candidate.tags if tag.kind == "theme"]
    if not themes:
        return ""
    code = max(themes, key=lambda tag: tag.weight).code
    return (pool.city.themes[code].parent or code) if code in pool.city.themes else code
