"""The learned pipeline over a log: one pass through time, each window described before it is known.

LightFM, the features of pairs, the trees, and how much of them is believed for whom. The same code is
judged by ``replay.learned`` and trains what is served. Called by those two; pure but for the seconds it
takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recommender import factors, pairs
from recommender.boosting import fit
from recommender.history import History, ItemSpace, Persons
from recommender.log import Log, Question
from recommender.mix import Gate, Mix, choose, standard
from recommender.pairs import Scene
from recommender.ranker import Ranker
from recommender.rerank import Known, Served
from recommender.types import Floats, Ints, Mask

#: Windows before the last one that the ranker learns from: three years of weeks.
WINDOWS = 156
#: LightFM is fitted anew after so many windows, or fewer times where there are very many.
REFIT, MOST_FITS = 26, 16
#: Share of the questions that are asked a second time as if nothing had been known of the user.
COPIES = 0.2
#: Most rows the ranker learns from, and most that are described together.
MOST_ROWS, CHUNK = 500_000, 200_000
#: Most rows of one window that are remembered; above that, questions are drawn by seed.
MOST_OF_WINDOW = 15_000
#: A ranker needs this many questions to learn from, and this many to prove itself on.
FEWEST, FEWEST_HELD = 100, 50
#: Share of the training windows, the latest, that are held out to prove it.
HELD = 1 / 3


@dataclass(frozen=True)
class Asked:
    """A question and what is said of each of its candidates.

    Attributes:
        x: float32 (n, width), columns of :data:`recommender.pairs.NAMES`. ``known``: events of the user, 0
            for a copy that is taken for a newcomer. ``copy``: it is such a copy.
    """

    x: Floats
    hits: np.ndarray
    start: int
    known: int
    copy: bool


@dataclass(frozen=True)
class Trained:
    """What training gives: the trees, how much of them is believed, and why.

    Attributes:
        ranker: ``None`` where there was too little to learn from. If it did not win, the mix gives it no say.
    """

    ranker: Ranker | None
    mix: Mix
    gate: Gate

    def scores(self, x: Floats, known: int) -> Floats:
        """Score the candidates of one question; float32 (n,), comparable only among them."""
        return self.mix.scores(x, self.ranker.scores(x) if self.ranker else None, known)


class Learner:
    """A log on its way through time."""

    def __init__(self, log: Log, *, frozen: int, seed: int, windows: int = WINDOWS) -> None:
        self.log, self._seed = log, seed
        self.history = History(log, ItemSpace.frozen(log, frozen))
        self._rows = self.history.rows.text
        self._interests = factors.Interests(log, self.history.space, self._rows, frozen)
        self._factors: factors.Factors | None = None
        self._every = max(REFIT, -(-windows // MOST_FITS))
        self._since = 0
        self._draw = np.random.default_rng([seed, 7])
        self.asked: list[Asked] = []

    def advance(self, moment: int) -> None:
        """Move on to the begin of a window; LightFM is fitted anew when it is time."""
        self.history.advance(moment)
        if (self._factors is None or self._since >= self._every) and self.log.events_before(moment):
            self._factors = factors.learn(self.log, self._rows, self._interests, moment, self._seed)
            self._since = 0
        self._since += 1

    def remember(self, week: Sequence[Question]) -> None:
        """Describe the questions of a past window, some of them also as if the user were a newcomer."""
        if not week:
            return
        share = MOST_OF_WINDOW / max(1, sum(len(question.items) for question in week))
        if share < 1:
            kept = self._draw.random(len(week)) < share
            week = [question for question, keep in zip(week, kept, strict=True) if keep] or week[:1]
        self.advance(week[0].start)
        drawn = self._draw.random(len(week))
        silent = [q for q, chance in zip(week, drawn, strict=True) if chance < COPIES / 2]
        signup = [q for q, chance in zip(week, drawn, strict=True) if COPIES / 2 <= chance < COPIES]
        plain, said = [False] * len(week), [True] * len(signup)
        alone = plain + [True] * len(silent) + said
        declared = plain + [False] * len(silent) + said
        self.asked += self.look([*week, *silent, *signup], np.array(alone), np.array(declared))

    def look(
        self, week: Sequence[Question], alone: Mask | None = None, declared: Mask | None = None
    ) -> Iterator[Asked]:
        """Describe the questions of the window that the history stands before.

        Args:
            week: All with one start.
            alone: bool (n,): take the user for a newcomer who has cared for nothing yet.
            declared: bool (n,): and who has written nothing, but ticked what they came to care for.
        """
        if not week:
            return
        none = np.zeros(len(week), dtype=bool)
        alone, declared = none if alone is None else alone, none if declared is None else declared
        low, high = min(int(q.items[0]) for q in week), max(int(q.items[-1]) for q in week) + 1
        step = max(1, CHUNK // (high - low))
        for first in range(0, len(week), step):
            part = slice(first, first + step)
            users = np.array([q.user for q in week[part]], dtype=np.int64)
            x = self._described(users, low, high, alone[part], declared[part], week[0].end)
            for row, q, new in zip(x, week[part], alone[part].tolist(), strict=True):
                mine = row[q.items - low]
                mine[:, pairs.LEARNED] = standard(mine[:, pairs.LEARNED])
                yield Asked(mine, q.hits, q.start, 0 if new else q.known, new)

    def _described(self, users: Ints, low: int, high: int, alone: Mask, declared: Mask, asked: int) -> Floats:
        moment, follows = self.history.world.at, self._interests
        wishes = [
            follows.of(user, moment) if ticked else follows.declared[user]
            for user, ticked in zip(users.tolist(), declared.tolist(), strict=True)
        ]
        scene, persons = self._scene(self.history.persons(users, wishes, alone, declared), low, high, asked)
        columns = np.broadcast_to(np.arange(high - low), (len(users), high - low))
        x = pairs.features(scene, persons, columns)
        if self._factors is not None:
            meant = [wish if new else None for wish, new in zip(wishes, alone.tolist(), strict=True)]
            x[:, :, pairs.LEARNED] = self._factors.scores(users, meant, np.arange(low, high))
        return x

    def _scene(self, persons: Persons, low: int, high: int, asked: int) -> tuple[Scene, Persons]:
        """The window's items beside the latest known ones and those that the persons' events are about."""
        latest = np.arange(max(0, low - pairs.MOST_KNOWN), low)
        used = np.unique(np.concatenate([persons.event.ravel(), persons.own.ravel()]))
        rows = np.concatenate([used[(used >= 0) & (used < (latest[0] if len(latest) else low))], latest])
        place = np.full(low + 1, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        here = replace(persons, event=place[persons.event], own=place[persons.own])
        known = self.history.rows.some(rows)
        candidates = self.history.rows.some(slice(low, high))
        return pairs.scene(self.history.world, candidates, known, len(latest), asked), here

    def train(self, without: Sequence[str] = ()) -> Trained:
        """Fit the ranker on what was remembered, once to be proved on the latest windows and once on all.

        Args:
            without: Groups of features to leave out.
        """
        hide = np.array([group in without for _, group in pairs.FEATURES], dtype=bool)
        starts = sorted({asked.start for asked in self.asked})
        cut = starts[int(len(starts) * (1 - HELD))] if starts else 0
        early = [asked for asked in self.asked if asked.start < cut]
        held = [asked for asked in self.asked if asked.start >= cut]
        enough = _real(early) >= FEWEST and _real(held) >= FEWEST_HELD
        first = self._fit(early, hide) if enough else None
        mix, gate = choose(held, [first.scores(masked(a.x, hide)) for a in held] if first else None)
        return Trained(self._fit(self.asked, hide) if enough else None, mix, gate)

    def served(self, trained: Trained, ids: Ints) -> Served | None:
        """What a model file keeps, as of the moment reached; ``None`` where the ranker did not win.

        Args:
            trained: From :meth:`train`.
            ids: int64 (n_items,): what the items of the log are called when serving.
        """
        if trained.ranker is None or not trained.gate.passed:
            return None
        until = int(np.searchsorted(self.log.item_time, self.history.world.at, side="left"))
        latest = slice(max(0, until - pairs.MOST_KNOWN), until)
        rows = self._rows[latest]
        known = Known(
            ids[latest],
            self.log.item_time[latest],
            rows.indptr.astype(np.int64),
            rows.indices.astype(np.int64),
        )
        return Served(
            trained.ranker, trained.mix, trained.gate, self.history.space, self.history.world, known
        )

    def _fit(self, asked: Sequence[Asked], hide: np.ndarray) -> Ranker:
        kept = _sampled(asked, self._seed)
        x = masked(np.concatenate([a.x for a in kept]), hide)
        y = np.concatenate([a.hits for a in kept]).astype(np.int64)
        return fit(x, y, np.array([len(a.x) for a in kept]), seed=self._seed)


def masked(x: Floats, hide: np.ndarray) -> Floats:
    """Rows without some columns: they read 0 everywhere."""
    return np.where(hide, np.float32(0), x) if hide.any() else x


def _real(asked: Sequence[Asked]) -> int:
    return sum(not a.copy for a in asked)


def _sampled(asked: Sequence[Asked], seed: int) -> Sequence[Asked]:
    """No more than so many rows, whole questions, by a seeded draw; order kept."""
    total = sum(len(a.x) for a in asked)
    if total <= MOST_ROWS:
        return asked
    chance = np.random.default_rng([seed, 8]).random(len(asked))
    return [a for a, c in zip(asked, chance, strict=True) if c < MOST_ROWS / total]
