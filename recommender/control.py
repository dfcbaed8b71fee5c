"""The group whose order is newest first: who is in it, and whether choosing helped the others. Pure.

Membership comes from a keyed hash and the month, is stored nowhere and reads no behaviour. Called by
``policy`` (whose order), by the resident's own page (disclosure) and by the watch (comparison).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np

from feeds.catalogue.vocabulary import City
from profiles.types import Profile

if TYPE_CHECKING:
    from profiles.feedback import FeedbackRow

#: More than a fifth of a city is never held back.
MOST_SHARE = 0.2
#: The golden ratio's fraction: each month everybody moves on by so much of a circle, so who was in the group
#: this month is out of it the next (as long as the share is below 0.38), and in the long run all are in it
#: equally often.
_STEP = (math.sqrt(5) - 1) / 2
#: Below so many people, or so many clicks expected, in either group the comparison says "too few".
FEW_PEOPLE, FEW_CLICKS = 20, 5.0
#: Standard errors either side that hold 95 %.
USUAL = 1.959964
Verdict = Literal["too few", "better", "worse", "no difference"]


def spared(profile: Profile, city: City) -> bool:
    """Whether no trial may touch this resident: a sensitive role, discreet, or personalisation off."""
    return is_spared(profile, careful_roles(city))


def careful_roles(city: City) -> frozenset[str]:
    """Codes of the sensitive roles."""
    return frozenset(code for code, role in city.roles.items() if role.sensitive)


def is_spared(profile: Profile, careful: frozenset[str]) -> bool:
    """The same as :func:`spared` for many profiles of a city, given its :func:`careful_roles`."""
    return not profile.personalised or profile.discreet or not careful.isdisjoint(profile.roles)


def in_control(profile: Profile, month: date, share: float, key: bytes, city: City) -> bool:
    """Whether a resident's order is newest first this month.

    Args:
        profile: Somebody who is :func:`spared` never is.
        month: Any local day of it.
        share: Of those who may be in it, 0 to 1; 0 (or NaN) switches the group off, more than
            :data:`MOST_SHARE` counts as that.
        key: Secret of the installation, so that nobody outside can work out who is in it.
        city: Says which roles are sensitive.
    """
    return members([profile], month, share, key, city)[0]


def members(profiles: Sequence[Profile], month: date, share: float, key: bytes, city: City) -> list[bool]:
    """The same for many profiles; see :func:`in_control`."""
    if not share > 0:
        return [False] * len(profiles)
    turn, share = (month.year * 12 + month.month) * _STEP, min(share, MOST_SHARE)
    careful = careful_roles(city)
    base = hashlib.blake2b(b"control ", key=key[:64], digest_size=8, person=b"mycity")
    found = []
    for profile in profiles:
        own = base.copy()
        own.update(b"%d" % profile.id)
        start = int.from_bytes(own.digest(), "big") / 2**64
        found.append((start + turn) % 1.0 < share and not is_spared(profile, careful))
    return found


@dataclass(frozen=True, slots=True)
class Group:
    """What one group was shown, a person (in a month) an entry.

    Attributes:
        shown: float64 (n,): pairs shown, each as far as it was surely seen.
        opened: float64 (n,): those of them that were opened.
    """

    shown: Sequence[float]
    opened: Sequence[float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Click-through of the personalised and the control group.

    Attributes:
        personalised, control: Opened of shown, 0 to 1; 0 where nothing was shown.
        difference: The first minus the second; with 95 % it lies in ``low`` to ``high``.
        people: How many personalised, how many control.
        verdict: ``too few`` says that nothing should follow from the figures.
    """

    personalised: float
    control: float
    difference: float
    low: float
    high: float
    people: tuple[int, int]
    verdict: Verdict


def tally(
    rows: Iterable[FeedbackRow], opened: frozenset[str], in_group: Callable[[int, date], bool | None],
    day_of: Callable[[FeedbackRow], date],
) -> tuple[Group, Group]:  # fmt: skip
    """Count what each person was shown and opened, each month for itself.

    A pair of person and notice counts in the month of its first impression, as sure as its surest one.

    Args:
        rows: Impressions and acts of any order. Simulated ones are left out.
        opened: Kinds that count as opened.
        in_group: Whether a profile is in the control group on a day; ``None`` leaves the profile out (those
            who can never be in it must not stand on the other side either).
        day_of: The local day of a row.

    Returns:
        The personalised group and the control group.
    """
    seen: dict[tuple[int, int], tuple[date, float]] = {}
    clicked: set[tuple[int, int]] = set()
    for row in sorted((one for one in rows if not one.simulated), key=lambda one: one.at):
        pair = (row.profile_id, row.notice_id)
        if row.kind == "impression":
            day, sure = seen.get(pair, (day_of(row), 0.0))
            seen[pair] = (day, max(sure, row.sure))
        elif row.kind in opened:
            clicked.add(pair)
    people: tuple[dict[tuple[int, int], list[float]], ...] = ({}, {})
    for pair, (day, sure) in seen.items():
        side = in_group(pair[0], day)
        if side is None or sure <= 0:
            continue
        own = people[side].setdefault((pair[0], day.year * 12 + day.month), [0.0, 0.0])
        own[0] += sure
        own[1] += sure * (pair in clicked)
    first, second = (Group([o[0] for o in p.values()], [o[1] for o in p.values()]) for p in people)
    return first, second


def compare(personalised: Group, control: Group) -> Comparison:
    """Compare the click-through of two groups.

    People differ, and what one person opens says more about them than about the order; so shows are not
    independent. Each group's number of shows is divided by its design effect (how much more people differ
    than chance would make them), then Wilson intervals give that of the difference (Newcombe's method 10),
    which stays sound where nobody clicked.

    Returns:
        "too few" below 20 people, or below 5 expected clicks, in either group; otherwise the verdict is what
        the interval says.
    """
    rates, spans, enough = [], [], True
    shown = sum(personalised.shown) + sum(control.shown)
    usual = (sum(personalised.opened) + sum(control.opened)) / shown if shown else 0.0
    for group in (personalised, control):
        total = float(sum(group.shown))
        rate = min(1.0, float(sum(group.opened)) / total) if total else 0.0
        effective = total / _design_effect(group, usual)
        enough &= len(group.shown) >= FEW_PEOPLE and effective * usual >= FEW_CLICKS
        rates.append(rate)
        spans.append(wilson(rate, effective))
    (one, other), ((low, high), (other_low, other_high)) = rates, spans
    least = one - other - math.hypot(one - low, other_high - other)
    most = one - other + math.hypot(high - one, other - other_low)
    verdict: Verdict = "too few"
    if enough:
        verdict = "better" if least > 0 else "worse" if most < 0 else "no difference"
    people = (len(personalised.shown), len(control.shown))
    return Comparison(one, other, one - other, least, most, people, verdict)


def wilson(rate: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate seen in ``n`` independent trials; (0, 1) where there were none."""
    if n <= 0:
        return 0.0, 1.0
    middle = (n * rate + USUAL**2 / 2) / (n + USUAL**2)
    half = USUAL * math.sqrt(n * rate * (1 - rate) + USUAL**2 / 4) / (n + USUAL**2)
    # Rounding must not leave the rate itself outside.
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))


def _design_effect(group: Group, usual: float) -> float:
    """Variance of the group's rate over people, relative to that of as many independent shows; at least 1."""
    shown, opened = np.asarray(group.shown, np.float64), np.asarray(group.opened, np.float64)
    total, chance = float(shown.sum()), usual * (1 - usual)
    if shown.size < 2 or total <= 0 or chance <= 0:
        return 1.0
    rate = float(opened.sum()) / total
    spread = float(np.square(opened - rate * shown).sum()) * shown.size / (shown.size - 1)
    return max(1.0, spread / (total * chance))
