"""How much the ranker is believed, by how much is known of somebody; chosen where it was not trained. Pure.

A ranker tuned on busy users easily ruins newcomers. So each band of history has one plain part that stands
beside the ranker and a share for the ranker; both are chosen on windows that the ranker had not seen, and
the ranker is used at all only if it wins there. Called by ``learner``; the choice is kept in the model file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from recommender.log import BANDS
from recommender.pairs import NAMES
from recommender.types import Floats

#: Plain parts: columns and weights of their standard deviations. ``blend`` is the hand-set sum for the
#: first day.
PARTS: Mapping[str, Mapping[str, float]] = {
    "blend": {"neighbours": 1.0, "learned": 1.0, "similar_120": 0.5, "tags_120": 0.25},
    "neighbours": {"neighbours": 1.0},
    "content": {"similar_120": 1.0},
    "lightfm": {"learned": 1.0},
    "popular": {"tags_120": 1.0},
}
#: The part that stands where none is clearly better.
DEFAULT = "blend"
#: With fewer questions than this a band is judged by all questions.
FEWEST = 30
#: Length of the lists that are judged.
TOP = 10


class Described(Protocol):
    """A question with its columns; see :class:`recommender.learner.Asked`."""

    @property
    def x(self) -> Floats: ...  # noqa: D102
    @property
    def hits(self) -> np.ndarray: ...  # noqa: D102
    @property
    def known(self) -> int: ...  # noqa: D102
    @property
    def copy(self) -> bool: ...  # noqa: D102
    @property
    def start(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Mix:
    """For each band of :data:`recommender.log.BANDS`: the plain part, and the ranker's share from 0 to 1."""

    part: tuple[str, ...] = ("blend",) * len(BANDS)
    share: tuple[float, ...] = (0.0,) * len(BANDS)

    def scores(self, x: Floats, ranked: Floats | None, known: int) -> Floats:
        """Mix for one question; float32 (n,). ``ranked``: the ranker's scores, or ``None``."""
        band = band_of(known)
        return mixed(part(x, self.part[band]), ranked, self.share[band])


@dataclass(frozen=True)
class Gate:
    """Whether the ranker proved itself, and the figures.

    Attributes:
        questions: Held-out questions it was judged on. ``ndcg``: Name → mean NDCG@10 on them: ``ranker``,
            ``mixed``, each part, and ``parts``, the best one of each band.
        gain, se: Mean paired difference of ``mixed`` and ``parts``, and its standard error.
        why: A sentence where it was not judged.
    """

    passed: bool
    questions: int
    ndcg: Mapping[str, float]
    gain: float = 0.0
    se: float = 0.0
    why: str = ""

    def facts(self) -> dict[str, Any]:
        """For the model file."""
        return asdict(self) | {"ndcg": dict(self.ndcg)}


def band_of(known: int) -> int:
    """Number of the band that so many events fall into."""
    return next(n for n, (_, low, high) in enumerate(BANDS) if low <= known < high)


def part(x: Floats, name: str) -> Floats:
    """Scores of a plain part for one question; float32 (n,)."""
    found = np.zeros(len(x), dtype=np.float32)
    for column, weight in PARTS[name].items():
        found += np.float32(weight) * standard(x[:, NAMES.index(column)])
    return found


def mixed(plain: Floats, ranked: Floats | None, share: float) -> Floats:
    """Standard deviations of both, weighed; the plain part alone without a ranker."""
    if ranked is None or share <= 0:
        return plain
    if share >= 1:
        return ranked
    both: Floats = np.float32(1 - share) * standard(plain) + np.float32(share) * standard(ranked)
    return both


def standard(values: Floats) -> Floats:
    """Standard deviations from the mean; 0 where all are alike."""
    spread = float(values.std())
    if not spread > 1e-6:
        return np.zeros(len(values), dtype=np.float32)
    found: Floats = ((values - values.mean()) / np.float32(spread)).astype(np.float32)
    return found


def ndcg(scores: Floats, hits: np.ndarray) -> float:
    """NDCG@10 of one question, equal scores in the order given."""
    order = np.argsort(-scores, kind="stable")[:TOP]
    gain = 1 / np.log2(np.arange(2, TOP + 2))
    best = gain[: int(hits.sum())].sum()
    return float((hits[order] * gain[: len(order)]).sum() / best) if best else 0.0


def choose(held: Sequence[Described], ranked: Sequence[Floats] | None) -> tuple[Mix, Gate]:
    """Choose part and share of each band on held-out questions, and say whether the ranker won.

    What is not clearly better is not chosen: a band's part is the hand-set blend unless another one clearly
    beats it; the ranker has all the say where it clearly beats the part, none where it clearly loses, and
    half where that cannot be told. Clearly means by more than a standard error of the paired difference among
    windows, and by more where there are few of them: what is in the news moves all questions of a window
    alike, so thousands of questions in three windows still say little.

    Args:
        held: Questions, copies among them; copies count only where a band has too few real ones.
        ranked: Scores for each of them by a ranker that had not seen them; ``None`` where none could be
            trained.

    Returns:
        A mix without the ranker, and a closed gate, unless the mix gains more than a standard error on the
        parts.
    """
    real = np.array([not asked.copy for asked in held], dtype=bool)
    if not real.any():
        return Mix(), Gate(False, 0, {}, why="There is nothing to judge on.")
    bands = np.array([band_of(asked.known) for asked in held])
    windows = np.array([asked.start for asked in held])
    marks = {name: np.array([ndcg(part(asked.x, name), asked.hits) for asked in held]) for name in PARTS}
    if ranked is not None:
        marks["ranker"] = np.array([ndcg(r, asked.hits) for r, asked in zip(ranked, held, strict=True)])
    parts, shares = [], []
    for band in range(len(BANDS)):
        rows = _rows(bands, real, band)
        best = max(PARTS, key=lambda name: round(float(marks[name][rows].mean()), 9))
        own = best if _clearly(marks[best] - marks[DEFAULT], rows, windows) > 0 else DEFAULT
        parts.append(own)
        sign = _clearly(marks["ranker"] - marks[own], rows, windows) if ranked is not None else -1
        shares.append((0.0, 0.5, 1.0)[sign + 1])
    alone, both = Mix(tuple(parts)), Mix(tuple(parts), tuple(shares))
    marks["parts"] = _marks(held, alone, None)
    if ranked is None:
        why = "There were too few questions to train a ranker."
        return alone, Gate(False, int(real.sum()), _means(marks, real), why=why)
    marks["mixed"] = _marks(held, both, ranked)
    gain, se = _paired((marks["mixed"] - marks["parts"])[real], windows[real])
    passed = gain > se
    gate = Gate(passed, int(real.sum()), _means(marks, real), gain, se if np.isfinite(se) else 0.0)
    return both if passed else alone, gate


def _clearly(difference: np.ndarray, rows: np.ndarray, windows: np.ndarray) -> int:
    """1 or -1 where questions differ clearly for the better or the worse, else 0."""
    gain, se = _paired(difference[rows], windows[rows])
    enough = se * (1 + 2 / max(1, len(np.unique(windows[rows])) - 1))
    return int(gain > enough) - int(gain < -enough)


def _marks(held: Sequence[Described], by: Mix, ranked: Sequence[Floats] | None) -> np.ndarray:
    return np.array(
        [ndcg(by.scores(a.x, ranked[n] if ranked else None, a.known), a.hits) for n, a in enumerate(held)]
    )


def _means(marks: Mapping[str, np.ndarray], real: np.ndarray) -> dict[str, float]:
    return {name: float(values[real].mean()) for name, values in marks.items()}


def _rows(bands: np.ndarray, real: np.ndarray, band: int) -> np.ndarray:
    """The questions a band is judged by: its real ones, else with copies, else everybody's."""
    for rows in ((bands == band) & real, bands == band):
        if rows.sum() >= FEWEST:
            return np.asarray(rows)
    return real


def _paired(difference: np.ndarray, windows: np.ndarray) -> tuple[float, float]:
    """Mean, and its standard error with windows as the sample; infinite for a single one."""
    _, window = np.unique(windows, return_inverse=True)
    mean, count = float(difference.mean()), int(window.max()) + 1
    if count < 2:
        return mean, float("inf")
    off = np.bincount(window, weights=difference - mean)
    return mean, float(np.sqrt((off**2).sum() * count / (count - 1)) / len(difference))
