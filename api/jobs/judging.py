"""Judging the recommender on what this installation's own residents did. Reads only, changes nothing.

Called by ``mycity evaluate`` without ``--data``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from api.jobs.library import published
from api.wiring import Services
from recommender.replay.evaluate import evaluate
from recommender.replay.methods import Method
from recommender.replay.own import exploration, log_of, split_of
from recommender.replay.questions import plan

#: Fewer questions, or fewer explored picks that were shown, say nothing.
LEAST_QUESTIONS, LEAST_EXPLORED = 30, 100
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def judge_own(
    services: Services, methods: Callable[[], Sequence[Method]], *, seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Judge methods on the feedback of this installation.

    Args:
        services: The joined parts.
        methods: Gives the methods; asked only where there is enough to judge by.
        seed: Of the methods and draws.
        progress: Told (stage, done, total).

    Returns:
        What ``Result.json`` gives, with ``off_policy`` beside it. Where there is too little,
        ``{"enough": False, "reason": …, "questions": …, "off_policy": …}``.
    """
    acts = services.feedback.training_rows()
    profiles = [profile for batch in services.profiles.batches() for profile in batch]
    log = log_of(acts, profiles, published(services), services.city)
    tried = exploration(services.feedback.impressions(_EVER, explored=True), acts)
    if tried.rows < LEAST_EXPLORED:
        off: dict[str, Any] = {"enough": False, "rows": tried.rows, "needed": LEAST_EXPLORED}
    else:
        off = {"enough": True, **tried.json()}
    split = split_of(log)
    asked = 0 if split is None else plan(log, split.test, split.end, split.window).total
    if split is None or asked < LEAST_QUESTIONS:
        residents = len(set(log.event_user.tolist()))
        reason = (
            f"Too little feedback to judge by: {len(log.event_user)} events of {residents} residents give "
            f"{asked} questions, {LEAST_QUESTIONS} are needed."
        )
        return {"enough": False, "reason": reason, "questions": asked, "off_policy": off}
    found = evaluate(log, split, methods(), seed=seed, progress=progress).json()
    return {**found, "off_policy": off}
