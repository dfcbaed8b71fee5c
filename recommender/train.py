"""Train a model from feedback: which rows teach, over which vocabulary, and whether they are enough.

Pure but for the seconds it takes: rows, profiles and notices come in, a model goes out; saving it is the
shelf's work. Called by ``api.jobs`` (``mycity train``, nightly) and by the benches. Imports the training
library only when it fits.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from profiles.feedback import FeedbackRow
from profiles.match import kinship
from profiles.types import Profile
from recommender.candidates import from_notice
from recommender.features import IDENTITY_EVENTS, item_matrix, item_space, user_matrix, user_space
from recommender.model import DIM, EPOCHS, fit
from recommender.model_file import Model, ModelInfo
from recommender.types import RulesOnlyError, coo

LIKED = frozenset({"open", "click", "like"})
REFUSED = frozenset({"dislike", "hide"})
MIN_PAIRS, MIN_USERS = 50, 5


def train(
    rows: Sequence[FeedbackRow], profiles: Sequence[Profile], notices: Sequence[Notice], city: City,
    *, seed: int, now: datetime, simulated_share: float = 1.0, dim: int = DIM, epochs: int = EPOCHS,
) -> Model:  # fmt: skip
    """Learn from who opened, clicked or liked what.

    Args:
        rows: Any order, repeats allowed; rows of unknown profiles or notices are skipped, and so are those of
            people who switched personalisation off. A later dislike or hide takes a pair back.
        profiles: Real ones and simulated ones (negative ids).
        city: What contains which place.
        now: Stands in the model's version.
        dim: Length of the vectors.
        epochs: Passes over the rows.
        notices: The vocabulary of items; also those that nobody opened.
        seed: Same input and seed, same model bit for bit.
        simulated_share: Most that simulated pairs may make up of all, 0 to 1; more are left out by a seeded
            draw.

    Returns:
        A model whose vocabulary is frozen; residents with 5 or more events, real ones only, are features of
        their own.

    Raises:
        RulesOnlyError: If fewer than 50 pairs or 5 residents are left.
    """
    taught = {profile.id: profile for profile in profiles if profile.personalised}
    known = {notice.id: notice for notice in notices}
    pairs = _thinned(_pairs(rows, taught, known), simulated_share, seed)
    users = sorted({user for user, _ in pairs})
    if len(pairs) < MIN_PAIRS or len(users) < MIN_USERS:
        raise RulesOnlyError(
            f"Rules only: {len(pairs)} opened notices of {len(users)} residents are too few to learn from; "
            f"train again from {MIN_PAIRS} and {MIN_USERS} on."
        )
    people = [taught[user] for user in users]
    candidates = [from_notice(known[number]) for number in sorted(known)]
    user_row = {user: n for n, user in enumerate(users)}
    item_row = {candidate.notice_id: n for n, candidate in enumerate(candidates)}
    above = kinship(city).above
    wide = user_space(people, above, _known_well(rows, taught))
    deep = item_space(candidates)
    ordered = sorted(pairs)
    cells = coo(
        (user_row[u] for u, _ in ordered), (item_row[i] for _, i in ordered), (1.0 for _ in ordered),
        (len(people), len(candidates)),
    )  # fmt: skip
    fitted = fit(
        cells,
        user_matrix(people, above, wide),
        item_matrix(candidates, deep),
        seed=seed,
        dim=dim,
        epochs=epochs,
    )
    info = ModelInfo(
        version=f"{now:%Y%m%dT%H%M%SZ}", trained_at=now, rows=len(pairs), users=len(people),
        items=len(candidates), simulated_share=sum(pairs.values()) / len(pairs), seed=seed, dim=dim,
        epochs=epochs,
    )  # fmt: skip
    return Model(
        info, wide, deep, fitted.user_vectors, fitted.user_biases, fitted.item_vectors, fitted.item_biases
    )


def _pairs(
    rows: Iterable[FeedbackRow], taught: dict[int, Profile], known: dict[int, Notice]
) -> dict[tuple[int, int], bool]:
    """Pairs that somebody cared for, each with whether it is simulated; the last word of a pair counts."""
    pairs: dict[tuple[int, int], bool] = {}
    for row in sorted(rows, key=lambda item: item.at):
        pair = (row.profile_id, row.notice_id)
        if row.profile_id not in taught or row.notice_id not in known:
            continue
        if row.kind in REFUSED:
            pairs.pop(pair, None)
        elif row.kind in LIKED:
            pairs[pair] = pairs.get(pair, True) and row.simulated
    return pairs


def _thinned(pairs: dict[tuple[int, int], bool], share: float, seed: int) -> dict[tuple[int, int], bool]:
    """Leave out simulated pairs until they make up no more than ``share`` of all."""
    simulated = sorted(pair for pair, made_up in pairs.items() if made_up)
    real = len(pairs) - len(simulated)
    most = len(simulated) if share >= 1 else int(real * max(share, 0.0) / (1 - max(share, 0.0)))
    if len(simulated) <= most:
        return pairs
    kept = set(random.Random(seed).sample(simulated, most))  # noqa: S311 (a draw, not a secret)
    return {pair: made_up for pair, made_up in pairs.items() if not made_up or pair in kept}


def _known_well(rows: Iterable[FeedbackRow], taught: dict[int, Profile]) -> list[int]:
    events = Counter(row.profile_id for row in rows if row.kind != "impression" and not row.simulated)
    return sorted(
        user for user, times in events.items() if user > 0 and user in taught and times >= IDENTITY_EVENTS
    )
