"""Train the ranker on an installation's own feedback: what was shown, and which of it was cared for.

Windows are asked about one after another as in an evaluation, each described by what came before it; only
what a resident was really shown is asked about. The ranker is kept only if it wins on the latest windows.
Pure but for the seconds it takes. Called by ``train``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.kernel.time import to_micros
from profiles.types import Profile
from recommender.learner import WINDOWS, Learner
from recommender.log import Log, Question
from recommender.mix import Gate
from recommender.replay.own import log_of, split_of
from recommender.replay.questions import questions
from recommender.rerank import Served
from recommender.types import Ints

if TYPE_CHECKING:  # the store stands beside the row; a pure module must not load it
    from profiles.feedback import FeedbackRow

#: A list teaches only if it holds at least so many notices.
FEWEST_SHOWN = 5
#: What fewer residents than these declared stays out of the ranker's counts: it would tell of single people.
FEWEST_PEOPLE = 5


def learn_ranker(
    acts: Sequence[FeedbackRow], shown: Sequence[FeedbackRow], profiles: Sequence[Profile],
    notices: Sequence[Notice], city: City, *, now: datetime, seed: int,
) -> tuple[Served | None, Gate]:  # fmt: skip
    """Train a ranker and prove it.

    Args:
        acts: What residents did; simulated rows are left out.
        shown: Impressions.
        profiles: Whose acts count.
        notices: What the acts are about.
        city: What contains which place.
        now: Nothing after it counts.
        seed: Same input and seed, same ranker bit for bit.

    Returns:
        What serves, or ``None`` where the ranker did not win or could not be judged; and the figures.
    """
    learner = _taught([row for row in acts if row.at <= now], shown, profiles, notices, city, now, seed)
    if learner is None:
        return None, Gate(False, 0, {}, why="Too little was cared for yet.")
    trained = learner.train()
    return learner.served(trained, item_ids(learner.log)), trained.gate


def item_ids(log: Log) -> Ints:
    """Ids of the notices a log is about; int64 (n_items,)."""
    return np.array([int(name) for name in log.items], dtype=np.int64)


def _taught(
    acts: Sequence[FeedbackRow], shown: Sequence[FeedbackRow], profiles: Sequence[Profile],
    notices: Sequence[Notice], city: City, now: datetime, seed: int,
) -> Learner | None:  # fmt: skip
    """A learner that went through everything up to now; ``None`` where there is no earlier and later."""
    log = _unnamed(log_of([row for row in acts if not row.simulated], profiles, notices, city))
    split = split_of(log) if len(log.event_user) else None
    if split is None:
        return None
    end, window = to_micros(now) // 1_000_000 + 1, split.window
    # Windows lie where the split has one begin: acts and the notices they are about then share one.
    latest = split.frozen + (end - split.frozen) // window * window
    first = max(latest - WINDOWS * window, split.frozen - (split.frozen - split.start) // window * window)
    learner = Learner(log, frozen=end, seed=seed, windows=(end - first) // window + 1)
    seen = _seen(log, [row for row in shown if not row.simulated])
    for week in questions(log, first, end, window):
        learner.remember([asked for question in week if (asked := _only_shown(question, seen)) is not None])
    learner.advance(end)
    return learner


def _unnamed(log: Log) -> Log:
    """Leave out what only few declared, and words in a resident's own spelling."""
    held = Counter(token for tokens in log.user_tokens for token in tokens)
    kept = {n for n, times in held.items() if times >= FEWEST_PEOPLE and not n.startswith("interest:word:")}
    return replace(
        log, user_tokens=tuple(tuple(t for t in tokens if t in kept) for tokens in log.user_tokens)
    )


def _seen(log: Log, shown: Iterable[FeedbackRow]) -> Mapping[int, Ints]:
    """Numbers of the items each user was shown, sorted."""
    user_no = {int(name): n for n, name in enumerate(log.users)}
    item_no = {int(name): n for n, name in enumerate(log.items)}
    found: dict[int, set[int]] = {}
    for row in shown:
        if row.profile_id in user_no and row.notice_id in item_no:
            found.setdefault(user_no[row.profile_id], set()).add(item_no[row.notice_id])
    return {user: np.array(sorted(items), dtype=np.int64) for user, items in found.items()}


def _only_shown(question: Question, seen: Mapping[int, Ints]) -> Question | None:
    """The same about what was shown, or was cared for anyway; ``None`` if it teaches nothing."""
    kept = np.isin(question.items, seen.get(question.user, np.zeros(0, np.int64))) | question.hits
    if kept.sum() < FEWEST_SHOWN or question.hits[kept].all():
        return None
    return replace(question, items=question.items[kept], hits=question.hits[kept])
