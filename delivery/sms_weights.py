"""How texts are shared out between providers, and when a share moves. Pure.

A weight says how often a provider is chosen. Where 15 % or more of a quarter of an hour went slowly
or failed, ten points move away; when all is well, ten points every five minutes move back to where
the weights rest. Called by ``delivery.sms_pool`` and ``api.jobs.sms_watch``.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

SPAN = timedelta(minutes=15)
PAUSE = timedelta(minutes=5)
SHARE = 0.15
STEP = 10
FULL = 100
FEWEST = 5  # with fewer texts a share says nothing
SLOW_ANSWER = timedelta(seconds=10)
SLOW_RECEIPT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Measure:
    """What a provider did lately.

    Attributes:
        texts: Handed over, or tried to.
        slow: Answered, or delivered, too late.
        failed: Not taken, for a reason of the provider's own.
    """

    texts: int = 0
    slow: int = 0
    failed: int = 0

    @property
    def share(self) -> float:
        """Which part of the texts went badly."""
        return min(1.0, (self.slow + self.failed) / self.texts) if self.texts else 0.0

    @property
    def is_bad(self) -> bool:
        """Whether that is too much, out of enough."""
        return self.texts >= FEWEST and self.share >= SHARE


@dataclass(frozen=True, slots=True)
class Change:
    """New weights and why."""

    weights: Mapping[str, int]
    reason: str


def decide(
    weights: Mapping[str, int],
    rest: Mapping[str, int],
    measures: Mapping[str, Measure],
    *,
    changed_at: datetime | None,
    now: datetime,
) -> Change | None:
    """Say how the weights move, if they do.

    Args:
        weights: In use now.
        rest: Where they rest; its providers are those there are.
        measures: Of the last quarter of an hour.
        changed_at: When they last moved.
        now: Of the decision.
    """
    current = {name: weights.get(name, point) for name, point in rest.items()}
    if set(weights) != set(rest):
        return Change(current, "other providers are set up")
    if changed_at is not None and now - changed_at < PAUSE:
        return None
    bad = {name for name in current if measures.get(name, Measure()).is_bad}
    if bad and bad != set(current):
        return _away(current, bad, measures)
    return None if bad else _home(current, rest)


def choose_order(
    names: Sequence[str], weights: Mapping[str, int], rng: random.Random, *, last: Collection[str] = ()
) -> list[str]:
    """Put providers in the order in which they are tried: drawn by weight, ``last`` ones at the end.

    A provider of weight 0 is only tried after the others.
    """
    order: list[str] = []
    left = sorted(names)
    while left:
        fresh = [name for name in left if name not in last] or left
        shares = [max(0, weights.get(name, 0)) for name in fresh]
        drawn = rng.choices(fresh, shares)[0] if sum(shares) else rng.choice(fresh)
        order.append(drawn)
        left.remove(drawn)
    return order


def _away(current: dict[str, int], bad: set[str], measures: Mapping[str, Measure]) -> Change | None:
    worst = max(sorted(bad), key=lambda name: (measures[name].share, current[name]))
    others = sorted(set(current) - bad)
    best = min(others, key=lambda name: (measures.get(name, Measure()).share, -current[name]))
    points = min(STEP, current[worst], FULL - current[best])
    if not points:
        return None
    measure = measures[worst]
    reason = (
        f"{worst}: {measure.slow} slow and {measure.failed} failed of {measure.texts} in 15 minutes; "
        f"{points} points to {best}"
    )
    return Change({**current, worst: current[worst] - points, best: current[best] + points}, reason)


def _home(current: dict[str, int], rest: Mapping[str, int]) -> Change | None:
    moved = {name: weight + max(-STEP, min(STEP, rest[name] - weight)) for name, weight in current.items()}
    return Change(moved, "all is well; back towards rest") if moved != current else None
