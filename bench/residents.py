"""A simulated city lives 16 days, with and without learning: do feeds get better, is what is new found?

This is simulation: it shows that the loop works end to end and says nothing about real people
(docs/simulation.md). Each life runs the product's own catalogue, selection, stores and training; several
seeds, the same people, news and luck in every arm. Verdicts are paired over seeds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np

from bench.judging import Finding, exposure, finding, mean_quality, means, opened, reach_of_late
from bench.town import ARMS, Arm, Diary, Plan, live
from bench.trials import Trials

#: Own days of a resident (1 = the day after joining) that are compared.
EARLY, LATE = (1, 2), (11, 12, 13)
#: Seeds, and from how many rounds on there are as many seeds as rounds (the usual five would take too long).
_SEEDS, _MORE_FROM = 3, 6


@dataclass(frozen=True)
class Figures:
    """What one life was worth.

    Attributes:
        early, late: NDCG@10 against the truth in the first and in the last days of those who came first;
            ``joiner_early``, ``joiner_late`` of those who came into the running city.
        quality: The same over all days. ``opened``: opened per line shown in the second half.
        lovers, others: Share of the late theme's notices that reached those who like it, and those who do
            not.
        explored: Picks that were explored, of all.
        exposure: See :func:`bench.judging.exposure`.
        trials: See :class:`bench.trials.Trials`; only of the arm that explores.
        curve: NDCG@10 of everybody's own days 1, 2, 3 and so on.
        broken: Promises that did not hold.
    """

    arm: Arm
    seed: int
    early: float
    late: float
    joiner_early: float
    joiner_late: float
    quality: float
    opened: float
    lovers: float
    others: float
    picks: int
    explored: float
    trained: int
    exposure: dict[str, float]
    trials: Trials | None
    curve: list[float]
    broken: list[str]


def figures(plan: Plan) -> Figures:
    """Live one plan and judge it."""
    return judged(live(plan))


def judged(diary: Diary) -> Figures:
    """Judge a diary by the truth."""
    plan = diary.plan

    def first(person: int) -> bool:
        return person < plan.residents

    def joiner(person: int) -> bool:
        return person >= plan.residents

    last = [day for day in LATE if day < plan.days] or [max(1, plan.days - plan.joined)]
    return Figures(
        plan.arm, plan.seed, early=mean_quality(diary, EARLY, first), late=mean_quality(diary, last, first),
        joiner_early=mean_quality(diary, EARLY, joiner), joiner_late=mean_quality(diary, last, joiner),
        quality=mean_quality(diary, range(1, plan.days)), opened=opened(diary, 1 + plan.days // 2),
        lovers=reach_of_late(diary, lovers=True), others=reach_of_late(diary, lovers=False),
        picks=len(diary.picks), trained=diary.trained, exposure=exposure(diary), broken=diary.broken,
        trials=diary.trials,
        curve=[mean_quality(diary, [own]) for own in range(1, min(max(LATE) + 1, plan.days))],
        explored=float(np.mean([kind == "explored" for *_, kind, _ in diary.picks])) if diary.picks else 0.0,
    )  # fmt: skip


def run(repeat: int, plan: Plan | None = None, processes: int = 2) -> dict[str, Any]:
    """Live every arm with several seeds.

    Args:
        repeat: From 6 on the number of seeds; below that it is 3.
        plan: Sizes; arm and seed are set here. ``None`` for the full city.
        processes: Lives at the same time.
    """
    size = plan or Plan("shipped", 0)
    seeds = range(1, (repeat if repeat >= _MORE_FROM else _SEEDS) + 1)
    plans = [replace(size, arm=arm, seed=seed) for seed in seeds for arm in ARMS]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        lives = list(pool.map(figures, plans))
    return report(lives, size)


def report(lives: Sequence[Figures], size: Plan) -> dict[str, Any]:
    """Compare the arms seed by seed."""
    by_arm = {arm: [one for one in lives if one.arm == arm] for arm in ARMS}
    return {
        "simulated": True,
        "days": size.days,
        "residents": size.residents + size.joiners,
        "notices_a_day": size.notices,
        "seeds": len(by_arm["shipped"]),
        "arms": {arm: _table(some) for arm, some in by_arm.items() if some},
        "curves": {arm: _curve(some) for arm, some in by_arm.items() if some},
        "findings": [one.told() for one in _findings(by_arm)],
        "trials": [asdict(one.trials) | {"calibrated": one.trials.calibrated} for one in lives if one.trials],
        "broken": sorted({text for one in lives for text in one.broken}),
    }


def _findings(by_arm: dict[Arm, list[Figures]]) -> list[Finding]:
    shipped, without = by_arm["shipped"], by_arm["unexplored"]
    rules, newest = by_arm["rules"], by_arm["newest"]

    def of(some: Sequence[Figures], name: str) -> list[float]:
        return [float(getattr(one, name)) for one in some]

    def spread(some: Sequence[Figures], name: str) -> list[float]:
        return [one.exposure[name] for one in some]

    def growth(some: Sequence[Figures], prefix: str = "") -> list[float]:
        return [getattr(one, f"{prefix}late") - getattr(one, f"{prefix}early") for one in some]

    return [
        finding("NDCG, days 12-14: shipped against rules", of(shipped, "late"), of(rules, "late")),
        finding("NDCG, days 12-14: shipped against newest first", of(shipped, "late"), of(newest, "late")),
        finding("growth from days 2-3 to 12-14: shipped against rules", growth(shipped), growth(rules)),
        finding("the same for those who came on day 3", growth(shipped, "joiner_"), growth(rules, "joiner_")),
        finding(
            "opened per line, second half: shipped against rules", of(shipped, "opened"), of(rules, "opened")
        ),
        finding("opened per line: shipped against newest first", of(shipped, "opened"), of(newest, "opened")),
        finding(
            "late theme reaches who likes it: shipped against rules",
            of(shipped, "lovers"),
            of(rules, "lovers"),
        ),
        finding("the same: explored against unexplored", of(shipped, "lovers"), of(without, "lovers")),
        finding("NDCG over all days: what exploring costs", of(shipped, "quality"), of(without, "quality")),
        finding(
            "Gini of exposure (less is better)", spread(shipped, "gini"), spread(rules, "gini"), more=False
        ),
        finding("coverage of notices", spread(shipped, "coverage"), spread(rules, "coverage")),
        finding("effective number of themes", spread(shipped, "themes"), spread(rules, "themes")),
    ]


def _curve(some: Sequence[Figures]) -> list[float]:
    """NDCG by own day, mean over seeds."""
    return [round(float(value), 3) for value in np.mean([one.curve for one in some], axis=0)]


def _table(some: Sequence[Figures]) -> dict[str, float]:
    flat = [
        {name: float(value) for name, value in asdict(one).items() if isinstance(value, int | float)}
        | {f"exposure_{name}": value for name, value in one.exposure.items()}
        for one in some
    ]
    table = means(flat)
    table.pop("seed")
    return table
