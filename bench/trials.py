"""Are the chances that explored picks carry the true ones? An estimate made from them, against the truth.

The real exploration is asked many times, with other seeds, over one morning's real candidates and shelves.
Called by ``bench.town`` for the arm that explores; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api.wiring import Services
from feeds.kernel.time import local_date
from profiles.types import Profile
from recommender.candidates import eligible
from recommender.clickthrough import Clickthrough
from recommender.control import spared
from recommender.explore import Arms, Field, Turn, arms, explore, field_of, turns
from recommender.replay.offpolicy import Doubles, estimate
from recommender.types import Floats, Mask

#: How often exploration is asked.
TIMES = 40


@dataclass(frozen=True, slots=True)
class Trials:
    """What was asked, what came, what is true.

    Attributes:
        rows: Picks that exploration made.
        weight: Mean of 1 / (chance × open notices that have a chance); 1 if the chances are true.
        weight_se: Its standard error.
        logged: Mean true worth of what was explored; exploring goes where clicks were, so it is not the mean.
        estimate: What showing any open notice would be worth, by inverse propensity from the explored ones.
        estimate_se: Its standard error.
        truth: What it is worth (open notices without any chance count as 0 in both).
    """

    rows: int
    weight: float
    weight_se: float
    logged: float
    estimate: float
    estimate_se: float
    truth: float

    @property
    def calibrated(self) -> bool:
        """Whether weight and estimate are within three standard errors of what they should be."""
        near = abs(self.estimate - self.truth) <= 3 * self.estimate_se
        return abs(self.weight - 1) <= 3 * self.weight_se and near


def trials(
    services: Services, profiles: list[Profile], truth: Floats, column: dict[int, int]
) -> Trials | None:
    """Ask the real exploration again and again.

    Args:
        services: The installation on its last day.
        profiles: Row i of ``truth`` belongs to ``profiles[i]``; who may not be tried on is left out.
        truth: float32 (n_profiles, n_printed): the true chance to open.
        column: Notice id → column of ``truth``.

    Returns:
        ``None`` where nothing may be tried.
    """
    now = services.clock.now()
    pool = services.shop.at(now)
    lines = [n for n, profile in enumerate(profiles) if not spared(profile, services.city)]
    tried = [profiles[line] for line in lines]
    held = services.editions.shelves(profile.id for profile in tried)
    fresh = eligible(tried, [held[one.id] for one in tried], pool, now, np.zeros(len(tried), dtype=bool))
    counted = _counted(services)
    tops = tuple(code for code, theme in services.city.themes.items() if not theme.parent)
    ground = field_of(pool, counted.themes if counted else tops)
    inside = fresh[:, ground.columns]
    if not inside.any():
        return None
    wanted = [column[pool.candidates[at].notice_id] for at in ground.columns.tolist()]
    gains = truth[np.ix_(lines, wanted)].astype(np.float64)
    day, rows = local_date(now, services.zone), []
    for seed in range(TIMES):
        drawn = arms(counted, tops, seed, day)
        rows += _asked(tried, inside, gains, ground, drawn, turns(seed, [one.id for one in tried], day))
    reward, chance, target, reachable, mean = np.array(rows).T
    weights = target / chance
    found = estimate(reward, chance, target, clip=float("inf"))
    return Trials(
        len(rows), float(weights.mean() / reachable.mean()),
        float(weights.std(ddof=1) / np.sqrt(weights.size) / reachable.mean()), float(reward.mean()),
        found.ips or 0.0, found.ips_se or 0.0, float(mean.mean()),
    )  # fmt: skip


def _asked(
    tried: Sequence[Profile], inside: Mask, gains: Doubles, ground: Field, drawn: Arms, own: Sequence[Turn]
) -> list[tuple[float, float, float, float, float]]:
    """One morning's trials: reward, chance, target, share of open notices with a chance, their gain."""
    place = {at: n for n, at in enumerate(ground.columns.tolist())}
    themes = np.repeat(ground.present, np.diff([*ground.starts.tolist(), inside.shape[1]]))
    rows = [drawn.row_of(profile) for profile in tried]
    found = []
    for line, one in enumerate(explore(inside, rows, own, ground, drawn)):
        if one is not None:
            open_themes = np.zeros(len(drawn.themes), dtype=np.uint8)
            open_themes[themes[inside[line]]] = 1
            shares = np.asarray(drawn.winners(rows[line], open_themes.tobytes())[1])
            there, target = inside[line] & (shares[themes] > 0), 1 / float(inside[line].sum())
            at, chance = one
            found.append(
                (
                    gains[line, place[at]],
                    chance,
                    target,
                    there.sum() * target,
                    gains[line, there].sum() * target,
                )
            )
    return found


def _counted(services: Services) -> Clickthrough | None:
    model = services.models.load_current()
    extra = None if model is None else model.extras.get("clicks")
    return None if extra is None else Clickthrough.of(*extra)
