"""How good an order is: NDCG, recall, reciprocal rank, coverage, diversity, novelty, and their errors. Pure.

Everything is about the first ten. Means are over questions; a mean over no question is None, and so is the
standard error of fewer than two. Called by ``replay.evaluate`` and ``replay.report``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommender.log import BANDS, Log, Question
from recommender.replay.documents import tags, tfidf
from recommender.types import Floats, Ints

#: How many of the first are judged.
TOP = 10
#: The measures that even a short report gives.
SHORT = ("ndcg10", "recall10", "mrr", "se", "se_by_user")
_GAIN = 1 / np.log2(np.arange(2, TOP + 2))
_IDEAL = np.cumsum(_GAIN)
Doubles = npt.NDArray[np.float64]


def best(scores: Floats) -> Ints:
    """Places of the ten highest scores, best first; equal ones in the order given, not-a-number last."""
    clean = np.where(np.isnan(scores), -np.inf, scores)
    return np.argsort(-clean, kind="stable")[:TOP]


@dataclass(frozen=True)
class Marks:
    """What one method got for each question; row n of everything belongs to one question.

    Attributes:
        ndcg: Binary gain, discount log2(rank + 1), ideal over min(10, hits); 0 to 1.
        recall: Share of the hits that are among the first ten.
        mrr: 1 / rank of the first hit anywhere in the order.
        diversity: 1 - mean cosine of the TF-IDF rows of all pairs among the first ten; 0 to 1.
        novelty: Mean surprise of the first ten in bits; see :class:`Judge`.
        user, known: int64: who was asked, and how many events they had before.
        top: int64 (n, 10): the items, -1 where there were fewer.
    """

    ndcg: Doubles
    recall: Doubles
    mrr: Doubles
    diversity: Doubles
    novelty: Doubles
    user: Ints
    known: Ints
    top: Ints

    def __len__(self) -> int:
        return len(self.ndcg)

    @classmethod
    def joined(cls, parts: Sequence[Marks]) -> Marks:
        """Put the marks of several windows one after another; of none, marks of no question."""
        if not parts:
            none, nobody = np.zeros(0), np.zeros(0, np.int64)
            return cls(none, none, none, none, none, nobody, nobody, np.zeros((0, TOP), np.int64))
        columns = {name: [getattr(part, name) for part in parts] for name in cls.__dataclass_fields__}
        return cls(**{name: np.concatenate(column) for name, column in columns.items()})

    def of(self, chosen: npt.NDArray[Any]) -> Marks:
        """The marks of some of the questions."""
        return Marks(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


class Judge:
    """Marks answers window by window, in order of time.

    Novelty of an item, new as it is, is that of its tags: the mean over its tags of ``-log2((events on items
    with the tag + 1) / (events + 2))``, counting the events before the window; words stand in for tags where
    there are none. What everybody cared for has about 0 bits, what nobody did has log2(events + 2).
    """

    def __init__(self, log: Log, frozen: int) -> None:
        self._log = log
        self._documents = tfidf(log, frozen)
        self._tags = tags(log)
        self._seen = np.zeros(self._tags.shape[1])
        self._read = 0
        self._low = 0
        self._surprise = np.zeros(0)

    def open(self, week: Sequence[Question]) -> None:
        """Go on to a window; its questions share their start."""
        until = self._log.events_before(week[0].start)
        fresh = np.bincount(self._log.event_item[self._read : until], minlength=len(self._log.items))
        self._seen += fresh @ self._tags
        self._read = until
        self._low = min(int(question.items[0]) for question in week)
        block = self._tags[self._low : max(int(question.items[-1]) for question in week) + 1]
        bits = -np.log2((self._seen + 1) / (until + 2))
        count = np.diff(block.indptr)
        rarest = np.log2(until + 2)
        self._surprise = np.where(count > 0, (block @ bits) / np.maximum(count, 1), rarest)

    def mark(self, week: Sequence[Question], answers: Sequence[Floats], name: str) -> Marks:
        """Mark one method's answers to the questions of the window that is open.

        Raises:
            ValueError: If the answers do not fit the questions; ``name`` says whose they are.
        """
        fits = len(answers) == len(week)
        if not fits or any(len(a) != len(q.items) for q, a in zip(week, answers, strict=True)):
            raise ValueError(f"{name} answered with arrays that do not fit its questions")
        top = np.full((len(week), TOP), -1, dtype=np.int64)
        basic = np.zeros((len(week), 3))
        for n, (question, scores) in enumerate(zip(week, answers, strict=True)):
            first = best(scores)
            top[n, : len(first)] = question.items[first]
            basic[n] = _basic(question.hits, np.asarray(scores), first)
        listed = top >= 0
        length = np.maximum(listed.sum(axis=1), 1)
        surprise = np.where(listed, self._surprise[np.where(listed, top - self._low, 0)], 0.0)
        return Marks(
            ndcg=basic[:, 0],
            recall=basic[:, 1],
            mrr=basic[:, 2],
            diversity=self._diversity(top),
            novelty=surprise.sum(axis=1) / length,
            user=np.array([question.user for question in week], dtype=np.int64),
            known=np.array([question.known for question in week], dtype=np.int64),
            top=top,
        )

    def _diversity(self, top: Ints) -> Doubles:
        """1 - mean cosine of all pairs, from the length of the sum of each list's rows."""
        listed = top >= 0
        size = listed.sum(axis=1)
        rows = self._documents[top[listed]]
        starts = np.concatenate([[0], np.cumsum(size)])
        sums = sparse.csr_matrix((np.ones(len(top[listed])), np.arange(starts[-1]), starts)) @ rows
        whole = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
        own = np.bincount(
            np.repeat(np.arange(len(top)), size),
            weights=np.asarray(rows.multiply(rows).sum(axis=1)).ravel(),
            minlength=len(top),
        )
        return np.asarray(1 - (whole - own) / np.maximum(size * (size - 1), 1), dtype=np.float64)


def _basic(hits: npt.NDArray[np.bool_], scores: Floats, first: Ints) -> tuple[float, float, float]:
    """NDCG, recall and reciprocal rank of one answer."""
    wanted = int(hits.sum())
    found = hits[first]
    if not wanted:
        return 0.0, 0.0, 0.0
    if found.any():
        rank = int(np.argmax(found)) + 1
    else:
        clean = np.where(np.isnan(scores), -np.inf, scores)
        rank = int(np.argmax(hits[np.argsort(-clean, kind="stable")])) + 1
    ndcg = float(found @ _GAIN[: len(found)] / _IDEAL[min(TOP, wanted) - 1])
    return ndcg, float(found.sum()) / wanted, 1 / rank


def mean(values: Doubles) -> float | None:
    """The mean, None of nothing."""
    return float(values.mean()) if len(values) else None


def error(values: Doubles) -> float | None:
    """Standard error of the mean over questions, None of fewer than two."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def error_by_user(values: Doubles, user: Ints) -> float | None:
    """Standard error of the mean if users, not questions, were drawn; None of fewer than two users.

    Questions of one user are alike, so this is the larger one; it says how another set of users might come
    out.
    """
    names, place = np.unique(user, return_inverse=True)
    if len(names) < 2:
        return None
    residue = np.bincount(place, weights=values - values.mean())
    return float(np.sqrt((residue**2).sum() * len(names) / (len(names) - 1)) / len(values))


def paired(one: Marks, other: Marks) -> tuple[float | None, float | None]:
    """Mean difference in NDCG between two methods on the same questions, and its standard error."""
    difference = one.ndcg - other.ndcg
    return mean(difference), error(difference)


def in_band(marks: Marks, low: int, high: int) -> Marks:
    """The marks of users with ``low <= known < high``."""
    return marks.of((marks.known >= low) & (marks.known < high))


def brief(marks: Marks) -> dict[str, float | None]:
    """NDCG and its standard error."""
    return {"ndcg10": mean(marks.ndcg), "se": error(marks.ndcg)}


def summary(marks: Marks, candidates: int) -> dict[str, Any]:
    """All measures of one method, as in the report; ``candidates``: how many items were ever offered."""
    shown = np.unique(marks.top)
    distinct = int((shown >= 0).sum())
    bands = {name: in_band(marks, low, high) for name, low, high in BANDS}
    return {
        "ndcg10": mean(marks.ndcg),
        "recall10": mean(marks.recall),
        "mrr": mean(marks.mrr),
        "coverage10": distinct / candidates if candidates else None,
        "ndcg10_cold": mean(bands["0"].ndcg),
        "se": error(marks.ndcg),
        "se_by_user": error_by_user(marks.ndcg, marks.user),
        "diversity10": mean(marks.diversity),
        "novelty10": mean(marks.novelty),
        "questions": len(marks),
        "bands": {
            name: {
                "n": len(part),
                "ndcg10": mean(part.ndcg),
                "recall10": mean(part.recall),
                "mrr": mean(part.mrr),
                "se": error(part.ndcg),
            }
            for name, part in bands.items()
        },
    }
