"""What another way of choosing would have earned, from what was shown and with which chance. Pure.

Inverse propensity scoring: a shown row counts as often as the other way would have shown it for each time it
was shown. Right on average where every notice that the other way may show had a chance to be shown (support),
and where the chances in the log are the true ones. Called by ``mycity evaluate`` and by what watches the
exploration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
#: No row counts more than so many times; what is cut is reported, and pulls the estimate down.
CLIP = 50.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean reward a row that the target policy would have earned.

    Attributes:
        rows: Rows that could be used.
        logged, logged_se: What the logging policy really earned.
        ips, ips_se: Inverse propensity scoring: unbiased but for the clipping, and spread out.
        snips, snips_se: The same divided by the mean weight: slightly biased, steadier, never out of range.
        effective: Effective sample size, (Σw)²/Σw²; far below ``rows`` the estimate hangs on few of them.
        clipped: Share of the rows whose weight was cut.
        left_out: Rows without a usable chance, reward or target; they are not counted.
    """

    rows: int
    logged: float | None
    logged_se: float | None
    ips: float | None
    ips_se: float | None
    snips: float | None
    snips_se: float | None
    effective: float
    clipped: float
    left_out: int

    def json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def estimate(
    reward: npt.ArrayLike, propensity: npt.ArrayLike, target: npt.ArrayLike, *, clip: float = CLIP,
    seen: npt.ArrayLike | None = None, target_seen: npt.ArrayLike | None = None,
) -> Estimate:  # fmt: skip
    """Estimate what a target policy would have earned.

    Args:
        reward: Of each shown row, e.g. 1 if it was opened.
        propensity: Chance in (0, 1] with which it was shown.
        target: Chance in [0, 1] with which the target policy would have shown it in the same situation.
        clip: Most that one row may weigh.
        seen: Chance that a person looks at the position where the row stood, see :func:`examination`.
        target_seen: The same for the position where the target policy would put it. Both or neither: rewards
            then depend on being seen, and a row that stood low counts for more.

    Returns:
        The estimate; None in it where no row is left, errors None under two. Rows with a chance outside (0,
        1], a target outside [0, 1], or anything that is not a finite number are left out and counted.

    Raises:
        ValueError: If the columns differ in length, the clip is not positive, or one position column is
        missing.
    """
    if (seen is None) != (target_seen is None):
        raise ValueError("give both position columns or neither")
    if not clip > 0:
        raise ValueError("the clip must be positive")
    r, p, q = (np.asarray(column, dtype=np.float64) for column in (reward, propensity, target))
    looks = np.ones_like(r) if seen is None else np.asarray(seen, dtype=np.float64)
    would = np.ones_like(r) if target_seen is None else np.asarray(target_seen, dtype=np.float64)
    if len({len(column) for column in (r, p, q, looks, would)}) > 1:
        raise ValueError("the columns differ in length")
    usable = np.isfinite(r) & (p > 0) & (p <= 1) & (q >= 0) & (q <= 1) & (looks > 0) & (would >= 0)
    usable &= np.isfinite(looks) & np.isfinite(would)
    r, raw = r[usable], (q[usable] / p[usable]) * (would[usable] / looks[usable])
    weight = np.minimum(raw, clip)
    return _estimate(r, weight, float((raw > clip).mean()) if len(r) else 0.0, int((~usable).sum()))


def _estimate(reward: Doubles, weight: Doubles, clipped: float, left_out: int) -> Estimate:
    n = len(reward)
    total = float(weight.sum())
    ips = float((weight * reward).mean()) if n else None
    snips = float((weight * reward).sum() / total) if total > 0 else None
    # The error of a ratio of means, to first order.
    residue = weight * (reward - (snips or 0.0))
    snips_se = float(np.sqrt((residue**2).sum()) / total) if total > 0 and n > 1 else None
    squares = float((weight**2).sum())
    return Estimate(
        rows=n,
        logged=float(reward.mean()) if n else None,
        logged_se=_error(reward),
        ips=ips,
        ips_se=_error(weight * reward),
        snips=snips,
        snips_se=snips_se,
        effective=total**2 / squares if squares > 0 else 0.0,
        clipped=clipped,
        left_out=left_out,
    )


def _error(values: Doubles) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def examination(position: npt.ArrayLike, *, strength: float = 1.0) -> Doubles:
    """Chance that a person looks at a place in a list, relative to the first: position^-strength.

    Positions count from 1; 0 (no list) and less count as seen.
    """
    return np.maximum(np.asarray(position, dtype=np.float64), 1.0) ** -strength


def even(propensity: npt.ArrayLike) -> Doubles:
    """Target of a policy that shows every notice that had a chance equally often, up to a common factor.

    How many there were in each situation is not in the log, so only the self-normalised estimate means
    something.
    """
    known = np.asarray(propensity, dtype=np.float64)
    usable = known[(known > 0) & (known <= 1)]
    return np.full(len(known), float(usable.min()) if len(usable) else 0.0)
