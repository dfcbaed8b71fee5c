"""The learned methods as they are judged: plain parts, the ranker, and the pipeline that ships.

They share one pass through time: every window is described once, whatever is asked of it. Called by
``replay.evaluate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recommender import mix
from recommender.learner import WINDOWS, Asked, Learner, Trained
from recommender.log import Log, Question, Split
from recommender.pairs import FEATURES
from recommender.replay.methods import PIPELINE
from recommender.replay.questions import questions
from recommender.types import Floats

#: Most questions before the first training window of the harness that are taken in.
MOST = 20_000


class _Pass:
    """One pass through a log, shared by all methods of a run."""

    def __init__(self) -> None:
        self._log: Log | None = None
        self._week: Sequence[Question] | None = None

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """Start over, unless another method already did for the same log."""
        if self._log is log and self._week is None:
            return
        self._log, self._split, self._seed, self._week = log, split, seed, None
        total = -(-(split.end - split.test) // split.window) + WINDOWS
        self.learner = Learner(log, frozen=split.frozen, seed=seed, windows=total)
        self._trained: dict[tuple[str, ...], Trained] = {}
        self._caught_up = False

    def look(self, week: Sequence[Question]) -> list[Asked]:
        """Describe the questions of a window, once; training windows are learned from, and give nothing."""
        if week is not self._week:
            self._catch_up()
            self._week = week
            self._asked: list[Asked] = []
            if week[0].start < self._split.test:
                self.learner.remember(week)
            else:
                self.learner.advance(week[0].start)
                self._asked = list(self.learner.look(week))
        return self._asked

    def _catch_up(self) -> None:
        """Learn from the windows before those that are asked about."""
        if self._caught_up or self._log is None:
            return
        self._caught_up = True
        split = self._split
        back = min(
            (split.frozen - split.start) // split.window,
            WINDOWS - (split.test - split.frozen) // split.window,
        )
        start = split.frozen - max(0, back) * split.window
        for week in questions(self._log, start, split.frozen, split.window, most=MOST, seed=self._seed):
            self.learner.remember(week)

    def trained(self, without: tuple[str, ...]) -> Trained:
        """What was learned in the training windows, without some groups of features."""
        if without not in self._trained:
            self._trained[without] = self.learner.train(without)
        return self._trained[without]


class Learned:
    """A method over the shared pass."""

    def __init__(
        self, name: str, shared: _Pass, score: Callable[[Asked, Trained | None], Floats],
        without: tuple[str, ...] | None = (), ablation: str = "",
    ) -> None:  # fmt: skip
        self.name, self.ablation = name, ablation
        self._pass, self._score, self._without = shared, score, without

    def begin(self, log: Log, split: Split, seed: int) -> None:
        """See :class:`recommender.replay.methods.Method`."""
        self._pass.begin(log, split, seed)

    def answer(self, week: Sequence[Question]) -> list[Floats]:
        """See :class:`recommender.replay.methods.Method`."""
        if not week:
            return []
        asked = self._pass.look(week)
        if not asked:  # a training window: nobody looks at the answers
            return [np.zeros(len(question.items), dtype=np.float32) for question in week]
        trained = self._pass.trained(self._without) if self._without is not None else None
        return [self._score(one, trained) for one in asked]


def methods() -> list[Learned]:
    """The learned methods, plain ones first; then the pipeline without each group of features."""
    shared = _Pass()

    def plain(name: str) -> Callable[[Asked, Trained | None], Floats]:
        return lambda asked, _trained: mix.part(asked.x, name)

    found = [Learned(name, shared, plain(name), None) for name in ("lightfm", "neighbours", "blend")]
    found.append(Learned("ranker", shared, _ranker))
    found.append(Learned(PIPELINE, shared, _pipeline))
    for group in dict.fromkeys(group for _, group in FEATURES):
        found.append(
            Learned(f"without-{group}", shared, _pipeline, (group,), f"without the features {group!r}")
        )
    return found


def _ranker(asked: Asked, trained: Trained | None) -> Floats:
    if trained is None or trained.ranker is None:
        return mix.part(asked.x, "blend")
    return trained.ranker.scores(asked.x)


def _pipeline(asked: Asked, trained: Trained | None) -> Floats:
    if trained is None:
        return mix.part(asked.x, "blend")
    return trained.scores(asked.x, asked.known)
