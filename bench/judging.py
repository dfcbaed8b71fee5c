"""What a simulated life was worth to its residents: figures from diaries, and verdicts over seeds. Pure.

Judged by the truth that only the simulation knows (who would open what), never by the score. Called by
``bench.residents``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from bench.town import Diary
from recommender.types import Floats, Mask

TOP = 10
#: How long a notice may be picked, in days.
_HORIZON = 7
#: A difference below this share of the baseline is too small to matter.
_MATTERS = 0.02
_DISCOUNT = 1 / np.log2(np.arange(2, TOP + 2))

Verdict = Literal["better", "worse", "no difference that matters", "too noisy to tell"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One question's answer: a paired difference over seeds.

    Attributes:
        value, base: Mean of what is judged and of what it is compared with.
        se: Standard error of the mean difference over the seeds; NaN for a single one.
    """

    question: str
    value: float
    base: float
    se: float
    verdict: Verdict

    def told(self) -> dict[str, object]:
        """As JSON-ready values, rounded."""
        return {
            "question": self.question,
            "value": round(self.value, 4),
            "base": round(self.base, 4),
            "difference": round(self.value - self.base, 4),
            "se": None if np.isnan(self.se) else round(self.se, 4),
            "verdict": self.verdict,
        }


def finding(question: str, values: Sequence[float], bases: Sequence[float], *, more: bool = True) -> Finding:
    """Compare what each seed gave.

    Args:
        question: In words.
        values: One for each seed. ``bases``: what the same seeds gave without it.
        bases: See ``values``.
        more: Whether more is better.

    Returns:
        "better" or "worse" where the 95 % interval (Student's t over the seeds) leaves out 0; "no difference
        that matters" where it lies within 2 % of the baseline; else "too noisy to tell".
    """
    gains = np.array(values, dtype=np.float64) - np.array(bases, dtype=np.float64)
    mean, base = float(gains.mean()), float(np.mean(bases))
    if gains.size < 2:
        return Finding(question, float(np.mean(values)), base, float("nan"), "too noisy to tell")
    se = float(gains.std(ddof=1) / np.sqrt(gains.size))
    reach = float(stats.t.ppf(0.975, gains.size - 1)) * se
    verdict: Verdict = "too noisy to tell"
    if abs(mean) > reach:
        verdict = "better" if (mean > 0) is more else "worse"
    elif abs(mean) + reach < _MATTERS * abs(base):
        verdict = "no difference that matters"
    return Finding(question, float(np.mean(values)), base, se, verdict)


def quality(diary: Diary) -> Floats:
    """NDCG@10 of each day's edition against what a reader of minds would have picked.

    Gains are the true chances to open. The ideal picks the best ten of each day from the last seven days'
    notices that it did not pick before, from the day after joining on. No edition counts as 0. A
    single day may come out above 1, where good notices are picked a day later than they could have been.

    Returns:
        float32 (n_people, days + 1); NaN up to the day of joining.
    """
    people, plan = len(diary.people), diary.plan
    found = np.full((people, plan.days + 1), np.nan, dtype=np.float32)
    got = np.zeros((people, plan.days + 1))
    for day, person, column, rank, _kind, _chance in diary.picks:
        if rank <= TOP:
            got[person, day] += diary.truth[day][person, column] * _DISCOUNT[rank - 1]
    published = np.array(diary.days)
    joined = np.array([diary.joined(person) for person in range(people)])
    left: Mask = published[None, :] > joined[:, None]  # what came before is in the welcome edition
    for day in sorted(diary.truth):
        open_now = left & (published <= day)[None, :] & (published > day - _HORIZON)[None, :]
        gains = np.where(open_now, diary.truth[day], 0.0)
        best = np.argsort(-gains, axis=1, kind="stable")[:, :TOP]
        top = np.take_along_axis(gains, best, axis=1)
        ideal = top @ _DISCOUNT[: top.shape[1]]
        here = (joined < day) & (ideal > 0)
        found[here, day] = (got[here, day] / ideal[here]).astype(np.float32)
        np.put_along_axis(left, best, False, axis=1)
    return found


def mean_quality(diary: Diary, own_days: Sequence[int], who: Callable[[int], bool] = lambda _: True) -> float:
    """Mean NDCG over people and their own days (1 = the day after joining)."""
    table = quality(diary)
    cells = [
        table[person, diary.joined(person) + own]
        for person in range(len(diary.people)) for own in own_days
        if who(person) and diary.joined(person) + own <= diary.plan.days
    ]  # fmt: skip
    return float(np.nanmean(cells)) if cells else float("nan")


def opened(diary: Diary, since: int) -> float:
    """Opened per shown line from a day on."""
    lines = [was_opened for day, *_, was_opened in diary.shown if day >= since]
    return float(np.mean(lines)) if lines else 0.0


def reach_of_late(diary: Diary, *, lovers: bool) -> float:
    """Share of pairs (person, notice of the late theme) that were picked; of those who like it, or do not."""
    late, taste = diary.people.scene.late, diary.people.taste
    columns = {
        n
        for n, item in enumerate(diary.printed)
        if late in item.subject.themes and diary.days[n] < diary.plan.days
    }
    likes = taste[:, diary.people.scene.column[late]] > 0 if late else np.zeros(len(diary.people), dtype=bool)
    group = [person for person in range(len(diary.people)) if bool(likes[person]) is lovers]
    reads = {person: {lang[:2] for lang in diary.people.wishes[person].langs} for person in group}
    could = sum(diary.printed[c].subject.lang[:2] in reads[person] for person in group for c in columns)
    wanted = set(group)
    did = sum(person in wanted and column in columns for _, person, column, *_ in diary.picks)
    return did / could if could else 0.0


def exposure(diary: Diary) -> dict[str, float]:
    """How picks spread over the notices of the middle days (all had their seven days or nearly).

    Returns:
        ``gini`` (0 = all alike), ``coverage`` (share ever picked), ``top_tenth`` (share of picks that the
        most picked tenth got), ``themes`` and ``places`` (effective number: exp of the entropy), ``local``
        and ``english`` (picks per notice over picks per notice of the rest).
    """
    published = np.array(diary.days)
    columns = np.flatnonzero((published >= 2) & (published <= max(2, diary.plan.days - 2)))
    counts = np.bincount([c for _, _, c, *_ in diary.picks], minlength=published.size)[columns].astype(float)
    subjects = [diary.printed[column].subject for column in columns]
    ordered = np.sort(counts)[::-1]
    total = max(ordered.sum(), 1.0)
    ranks = np.arange(1, ordered.size + 1)
    return {
        "gini": float((2 * (ordered.cumsum() / total).sum() - ordered.size - 1) / ordered.size),
        "coverage": float((counts > 0).mean()),
        "top_tenth": float(ordered[ranks <= np.ceil(ordered.size / 10)].sum() / total),
        "themes": _effective([next(iter(subject.themes)) for subject in subjects], counts),
        "places": _effective([subject.place for subject in subjects], counts),
        "local": _parity(np.array([bool(subject.place) for subject in subjects]), counts),
        "english": _parity(np.array([subject.lang == "en" for subject in subjects]), counts),
    }


def means(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over seeds, rounded."""
    return {name: round(float(np.mean([table[name] for table in tables])), 3) for name in tables[0]}


def _effective(names: Sequence[str], counts: Floats) -> float:
    sums: dict[str, float] = {}
    for name, count in zip(names, counts.tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + count
    shares = np.array([value for value in sums.values() if value > 0])
    shares = shares / shares.sum() if shares.size else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _parity(group: Mask, counts: Floats) -> float:
    if not group.any() or group.all() or not counts[~group].sum():
        return 0.0
    return float(counts[group].mean() / counts[~group].mean())
