"""Judge what was learned on a week it has not seen, against the order of time. Pure.

A model is fitted on what was known before the last week and asked to order that week's notices for each
resident who cared for one of them. It says nothing of who was not shown what; the control group does. Called
by ``api.jobs.training`` at each full fit; the figures go into the model's facts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from profiles.feedback import FeedbackRow
from profiles.match import kinship
from profiles.types import Profile
from recommender.candidates import from_notice
from recommender.features import item_matrix, user_matrix
from recommender.monitor import MIN_CANDIDATES, MIN_QUESTIONS
from recommender.train import liked, train
from recommender.types import Floats, Mask, RulesOnlyError

WEEK = timedelta(days=7)
DEPTH = 10
MOST_QUESTIONS = 2_000


def held_out(
    rows: Sequence[FeedbackRow], profiles: Sequence[Profile], notices: Sequence[Notice], city: City,
    *, seed: int, now: datetime,
) -> dict[str, float]:  # fmt: skip
    """Measure the learned part on the last week of real feedback.

    A question is a resident who cared for a notice published in the last week; the candidates are all notices
    of that week. What came as an archive belongs to the week of its own date. Simulated feedback is left out
    on both sides. What residents declare today stands for what they declared then, as no past of it is kept:
    the figure is a little too good where they changed it after what they read.

    Args:
        rows: As for :func:`recommender.train.train`; so are the others.
        profiles: Residents.
        notices: Of the last week, and those that the earlier feedback is about.
        city: Whose places contain which.
        seed: Of the fit, and of the draw where there are more than 2,000 questions.
        now: End of the week.

    Returns:
        ``held_out_residents`` who cared for one, ``held_out_candidates``; and ``ndcg10_learned``,
        ``ndcg10_newest``, ``ndcg10_gain`` (paired mean), ``ndcg10_gain_se``, ``questions``, but where there
        are too few questions, candidates, or rows to learn from.
    """
    cut = now - WEEK
    real = [row for row in rows if not row.simulated and row.at <= now]
    week = [
        notice for notice in notices if notice.released_at is not None and cut <= _out(notice, now) <= now
    ]
    taught = {one.id: one for one in profiles if one.personalised}
    pairs = liked([row for row in real if row.at >= cut], taught, {one.id: one for one in week})
    users = sorted({user for user, _ in pairs})
    counted = {"held_out_residents": float(len(users)), "held_out_candidates": float(len(week))}
    if len(users) < MIN_QUESTIONS or len(week) < MIN_CANDIDATES:
        return counted
    if len(users) > MOST_QUESTIONS:
        users = sorted(random.Random(seed).sample(users, MOST_QUESTIONS))  # noqa: S311 (a draw, not a secret)
    try:
        model = train([row for row in real if row.at < cut], profiles, notices, city, seed=seed, now=cut)
    except RulesOnlyError:
        return counted
    week.sort(key=lambda one: (_out(one, now), one.id), reverse=True)  # newest first; ties stay so
    column = {one.id: n for n, one in enumerate(week)}
    wanted = np.zeros((len(users), len(week)), dtype=bool)
    row_of = {user: n for n, user in enumerate(users)}
    for user, notice_id in pairs:
        if user in row_of:
            wanted[row_of[user], column[notice_id]] = True
    people = user_matrix([taught[user] for user in users], kinship(city).above, model.users)
    scores = model.scores(people, item_matrix([from_notice(one) for one in week], model.items))
    learned, newest = ndcg(scores, wanted), ndcg(np.zeros_like(scores), wanted)
    gain = learned - newest
    return counted | {
        "ndcg10_learned": float(learned.mean()), "ndcg10_newest": float(newest.mean()),
        "ndcg10_gain": float(gain.mean()),
        "ndcg10_gain_se": float(gain.std(ddof=1) / np.sqrt(len(gain))),
        "questions": float(len(users)),
    }  # fmt: skip


def _out(notice: Notice, now: datetime) -> datetime:
    """When a released notice came out: an imported one at its own date, not that of the import."""
    return notice.fresh_at if notice.archive else notice.released_at or now


def ndcg(scores: Floats, wanted: Mask, depth: int = DEPTH) -> Floats:
    """NDCG of each row: binary gain, log2(rank + 1), ideal over min(depth, wanted); ties keep column order.

    Args:
        scores: float32 (n, m), higher first.
        wanted: bool (n, m).
        depth: How many places count.

    Returns:
        float32 (n,) in 0..1; 0 where nothing is wanted.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    discount = 1.0 / np.log2(np.arange(2, 2 + depth))
    hits = np.take_along_axis(wanted, order, axis=1)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(wanted.sum(axis=1), depth)]
    got = hits @ discount[: hits.shape[1]]
    found: Floats = np.divide(got, ideal, out=np.zeros_like(got), where=ideal > 0).astype(np.float32)
    return found
