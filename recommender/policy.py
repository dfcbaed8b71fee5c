"""What is decided after the score: deadlines recalled, one trial, the control group's order. Pure.

It moves no notice past a rule, a cap or the pace, and scores nothing. ``Policy`` says what an installation
wants; ``Run`` is that for one run of selection over one pool. Called by ``select``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import at_local_time, local_date
from profiles.bulk import Statements
from profiles.reasons import CODES, UNTRUE_BY_DATE
from profiles.shelves import StoredShelf
from profiles.types import Pick, Profile, Shelf
from recommender.candidates import Pool
from recommender.clickthrough import Clickthrough
from recommender.control import careful_roles, is_spared, members
from recommender.explain import Said
from recommender.explore import Explored
from recommender.rank import Ranked
from recommender.remind import Coming, coming, due
from recommender.trial import Trials
from recommender.types import Mask

#: A trial comes only beside at least so many picks that were chosen, and only where the pace is above it.
BESIDE = 3
#: Rules have no share of the score; the ledger wants a contribution above 0.
BY_RULE = 1.0
_MOST_REASONS = 3
#: Numbers of the reasons that are untrue where newness alone orders: inferred ones, and those for a place in
#: the order rather than for being offered.
_UNTRUE = [CODES[code] for code in sorted(UNTRUE_BY_DATE | {"fresh"})]
_EMERGENCY = 2


#: Profile id → ids of the notices its resident hid.
Hidden: TypeAlias = Callable[[int], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation wants beside the score.

    Attributes:
        seed: Of trials; same seed, same day, same trials.
        explore: Whether editions may hold a trial.
        control_share: Share of residents whose order is newest first, 0 to 1; 0 for none.
        key: Secret that draws the control group.
        remind: Whether deadlines are recalled.
    """

    seed: int = 0
    explore: bool = True
    control_share: float = 0.0
    key: bytes = b""
    remind: bool = True

    def begin(
        self, pool: Pool, now: datetime, counted: Clickthrough | None = None,
        days_left: Sequence[int] | None = None,
    ) -> Run:  # fmt: skip
        """Work out what is the same for everybody in a run.

        Args:
            pool: The candidates of ``now``.
            now: Aware, UTC; decides the local day.
            counted: Click-through by role and theme; ``None`` where nothing was counted.
            days_left: Working days to each deadline, -1 without one, where they are known already.
        """
        zone = ZoneInfo(pool.city.timezone)
        today = local_date(now, zone)
        return Run(
            policy=self, pool=pool, today=today, midnight=at_local_time(today, 0, zone),
            near=coming(pool, now, days_left) if self.remind else None, counted=counted,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arranged:
    """A batch's editions before their reasons.

    Attributes:
        ranked: For each profile what stands by rule and what was chosen, and last the trial if there is one.
        reminders: By row, whole picks that stand after those by rule; rows without any are left out.
        chances: By row, with what chance the trial was drawn; rows without one are left out.
    """

    ranked: list[Ranked]
    reminders: Mapping[int, tuple[Pick, ...]]
    chances: Mapping[int, float]


@dataclass(frozen=True)
class Run:
    """A policy over the candidates of one run; see :meth:`Policy.begin`."""

    policy: Policy
    pool: Pool
    today: date
    midnight: datetime
    near: Coming | None
    counted: Clickthrough | None

    @cached_property
    def careful(self) -> frozenset[str]:
        """Roles whose holders no trial touches."""
        return careful_roles(self.pool.city)

    @cached_property
    def trials(self) -> Trials:
        """What may be tried today; made once it is needed."""
        return Trials(self.pool, self.counted, self.policy.seed, self.today)

    def controlled(self, profiles: Sequence[Profile]) -> Mask:
        """Whose order is newest first as a comparison; bool (n_profiles,)."""
        share, key, city = self.policy.control_share, self.policy.key, self.pool.city
        return np.array(members(profiles, self.today, share, key, city), dtype=bool)

    def apply(
        self, profiles: Sequence[Profile], shelves: Sequence[Shelf | StoredShelf], ranked: Sequence[Ranked],
        limits: Sequence[int], mask: Mask, control: Mask, before: Sequence[Sequence[int]],
        hidden: Hidden | None = None,
    ) -> Arranged:  # fmt: skip
        """Arrange the editions of a batch; row i of everything belongs to ``profiles[i]``.

        Reminders take at most half the pace and push out the last chosen picks, never a rule. A trial takes
        the last slot: an empty one if there is one, else that of the last chosen pick.

        Args:
            profiles: Any number.
            shelves: With all their picks; version 0 is a first edition.
            ranked: From :func:`recommender.rank.rank`.
            limits: Most picks of each, emergencies not counted.
            mask: bool (n_profiles, n): what each may be offered.
            control: From :meth:`controlled`.
            before: Columns of what each got today already; they count towards the caps.
            hidden: Which notices a profile id hid; asked only for those with something to recall.
        """
        told: dict[int, tuple[Pick, ...]] = {}
        if self.near is not None:
            for row in self.near.holding(shelves):
                own = self._recalled(profiles[row], shelves[row], ranked[row], limits[row], hidden)
                if own:
                    told[row] = own
        made = list(ranked)
        for row, own in told.items():
            made[row] = Ranked(self._fitted(ranked[row], limits[row] - len(own)), ranked[row].by_rule)
        chances = {}
        for row, one in self._tried(profiles, shelves, made, ranked, limits, mask, control, before, told):
            kept = self._fitted(made[row], limits[row] - len(told.get(row, ())) - 1)
            made[row] = Ranked((*kept, one[0]), made[row].by_rule)
            chances[row] = one[1]
        return Arranged(made, told, chances)

    def _tried(
        self, profiles: Sequence[Profile], shelves: Sequence[Shelf | StoredShelf], made: Sequence[Ranked],
        ranked: Sequence[Ranked], limits: Sequence[int], mask: Mask, control: Mask,
        before: Sequence[Sequence[int]], told: Mapping[int, tuple[Pick, ...]],
    ) -> list[tuple[int, Explored]]:  # fmt: skip
        """Rows and their trials; only rows that have a slot for one."""
        if not self.policy.explore:
            return []
        rows = []
        for row, (one, limit, compared) in enumerate(zip(made, limits, control.tolist(), strict=True)):
            chosen = len(one.columns) - one.by_rule
            if chosen < BESIDE or compared:
                continue
            slots = chosen + len(told.get(row, ())) + self._slots(one.columns[: one.by_rule])
            if chosen - (slots >= limit) >= BESIDE and self._may_try(profiles[row], shelves[row]):
                rows.append(row)
        if not rows:
            return []
        taken, early = [ranked[row].columns for row in rows], [before[row] for row in rows]
        found = self.trials.choose([profiles[row] for row in rows], mask[rows], taken, early)
        return [(row, one) for row, one in zip(rows, found, strict=True) if one is not None]

    def _recalled(
        self, profile: Profile, shelf: Shelf | StoredShelf, one: Ranked, limit: int,
        hidden: Hidden | None,
    ) -> tuple[Pick, ...]:  # fmt: skip
        room = min((limit + 1) // 2, limit - self._slots(one.columns[: one.by_rule]))
        if self.near is None or room <= 0:
            return ()
        whole = shelf.opened() if isinstance(shelf, StoredShelf) else shelf
        found = due(profile, whole, self.near)
        gone = hidden(profile.id) if found and hidden else ()
        return tuple(pick for pick in found if pick.notice_id not in gone)[:room]

    def _may_try(self, profile: Profile, shelf: Shelf | StoredShelf) -> bool:
        """Whether this resident may be tried with now: not in a first edition, and once a day."""
        if not shelf.version or profile.pace <= BESIDE or is_spared(profile, self.careful):
            return False
        if isinstance(shelf, StoredShelf):
            if not shelf.ids_since(self.midnight):
                return True
            shelf = shelf.opened(self.midnight)
        today = (item.pick.kind for item in shelf.picks if item.picked_at >= self.midnight)
        return "explored" not in today

    def _fitted(self, one: Ranked, limit: int) -> tuple[int, ...]:
        """Leave out the last chosen columns until no more than ``limit`` slots are taken."""
        chosen = max(0, limit - self._slots(one.columns[: one.by_rule]))
        return one.columns[: one.by_rule + chosen]

    def _slots(self, columns: Sequence[int]) -> int:
        """How many of these take a slot of the pace: all but emergencies."""
        return sum(self.pool.rank[column] != _EMERGENCY for column in columns) if columns else 0


def reworded(said: Said, tried: Mask, control: Mask, statements: Statements) -> Said:
    """Say of a trial only that it is one, and to the control group that newness alone ordered.

    Args:
        said: Reasons of a batch's picks.
        tried: bool (n_picks,).
        control: bool (n_picks,): picks of the control group that do not stand by rule. They keep up to two
            reasons for being offered; those for a place in the order, and those inferred, would be untrue.
        statements: That the numbers belong to.
    """
    if not (tried.any() or control.any()):
        return said
    pick = np.repeat(np.arange(tried.size), np.diff(said.starts))
    untrue = np.isin(np.array(statements.codes, dtype=np.int64)[said.said], _UNTRUE)
    kept = np.flatnonzero(~tried[pick] & ~(control[pick] & untrue))
    place = np.arange(kept.size) - np.searchsorted(pick[kept], pick[kept])
    kept = kept[~control[pick[kept]] | (place < _MOST_REASONS - 1)]
    ours = np.flatnonzero(tried | control)
    number = np.where(tried[ours], statements.number("explored"), statements.number("control"))
    order = np.argsort(np.concatenate([pick[kept], ours]), kind="stable")
    picks = np.concatenate([pick[kept], ours])[order]
    worth = np.concatenate([said.worth[kept], np.full(ours.size, BY_RULE, dtype=np.float32)])
    return Said(
        np.searchsorted(picks, np.arange(tried.size + 1)),
        np.concatenate([said.said[kept], number])[order], worth[order].astype(np.float32),
    )  # fmt: skip
