"""The second stage of ranking: the trained ranker looks once more at the best of each profile. Pure.

The first stage scores everything; this one asks, of the few best, what a person's latest acts say of each.
What it says is one more part of the score, in standard deviations among those few, times the share that the
gate gave it for people of whom so much is known. Declared facts keep their weights. Called by ``select``
where the model in use holds a ranker that won.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from feeds.catalogue.vocabulary import City
from feeds.kernel.time import to_micros
from profiles.types import Profile
from recommender.blend import Asked, Prepared
from recommender.candidates import Pool
from recommender.features import user_features
from recommender.mix import band_of
from recommender.model_file import Model
from recommender.rank import Near
from recommender.rerank import Recent, Served, Stage
from recommender.tokens import tokens_of
from recommender.topk import CLOSED
from recommender.types import BAD, GOOD, REFUSED, TIMES, Candidate, Floats, Ints, Mask

if TYPE_CHECKING:  # the store stands beside the row; a pure module must not load it
    from profiles.feedback import FeedbackRow

#: Latest acts of a person that are looked at.
ACTS = 50


class Acts(Protocol):
    """Where behaviour comes from."""

    def recent(self, profile_ids: Iterable[int], most: int = ACTS) -> Mapping[int, Sequence[FeedbackRow]]:
        """Each profile's latest acts, newest first."""


@dataclass(frozen=True)
class Second:
    """What the second stage said of a batch.

    Attributes:
        stage: Who said it.
        columns: int64 (n_profiles, k): whom it looked at.
        x: float32 (n_profiles, k, n_features).
        added: float32 (n_profiles, k): the part, 0 where it has no say.
    """

    stage: Stage
    columns: Ints
    x: Floats
    added: Floats

    def at(self, rows: Ints, columns: Ints) -> tuple[Floats, Ints]:
        """The part at single cells, and where each of them stands in its row; -1 if it was not looked at."""
        same = self.columns[rows] == columns[:, None]
        place = np.where(same.any(axis=1), same.argmax(axis=1), -1)
        return np.where(place >= 0, self.added[rows, place], np.float32(0)).astype(np.float32), place

    def reasons(self, rows: Ints, place: Ints) -> dict[str, Floats]:
        """Code of a reason → what it added to the ranker's scores of single cells, float32 (n_cells,)."""
        return self.stage.reasons(self.x[rows, place])


def stage_of(model: Model | None, pool: Pool, now: datetime) -> Stage | None:
    """Set the stage for a run; ``None`` where the model holds no ranker of this release."""
    if model is None or not len(pool) or not {"ranker", "history"} <= set(model.extras):
        return None
    try:
        served = Served.of({name: model.extras[name] for name in ("ranker", "history")})
    except ValueError:
        return None  # written by another release; the first stage does without
    if not any(served.mix.share):
        return None
    parent, places = pool.kin.theme_parent, _places(pool.city)
    return served.scene(
        pool.ids,
        [tokens_of(one.tags, one.words, parent) for one in pool.candidates],
        [one.agency for one in pool.candidates],
        [places.get(one.agency, "") for one in pool.candidates],
        np.array([_since(one) for one in pool.candidates], dtype=np.int64),
        to_micros(now) // 1_000_000,
    )


def look_again(
    asked: Asked, near: Near, ready: Prepared, stage: Stage, acts: Acts
) -> tuple[Near, Second | None]:
    """Order the best of each profile once more.

    Args:
        asked: Row i of everything belongs to its profile i.
        near: Of this batch.
        ready: What the scores were made from.
        stage: From :func:`stage_of`.
        acts: Asked once, and only for those whose order may be personal.

    Returns:
        The same best in their new order, and what was said; ``None`` where nothing was.
    """
    people = _people(asked, ready, acts)
    share = np.array([stage.served.mix.share[band_of(one.known)] for one in people], dtype=np.float32)
    share[asked.newest] = 0
    rows = np.flatnonzero(share > 0)
    if not rows.size or not near.columns.shape[1]:
        return near, None
    inside = near.values[rows] > CLOSED
    columns = near.columns[rows]
    learned = _standard(_learned(asked, rows, columns, ready), inside)
    x = np.zeros((*near.columns.shape, stage.served.ranker.width), dtype=np.float32)
    x[rows] = stage.features([people[row] for row in rows.tolist()], columns, learned)
    scores = stage.served.ranker.scores(x[rows].reshape(-1, x.shape[-1])).reshape(columns.shape)
    cap = ready.weights.learned_cap
    added = np.zeros(near.columns.shape, dtype=np.float32)
    added[rows] = (
        np.float32(ready.weights.second) * share[rows, None] * np.clip(_standard(scores, inside), -cap, cap)
    )
    values = np.where(near.values > CLOSED, near.values + added, near.values)
    order = np.argsort(-values, axis=1, kind="stable")
    again = replace(
        near, columns=np.take_along_axis(near.columns, order, 1), values=np.take_along_axis(values, order, 1)
    )
    return again, Second(stage, near.columns, x, added)


def cared_for(rows: Sequence[FeedbackRow]) -> list[tuple[int, datetime]]:
    """Notices that somebody cared for, and when last; the last word on each counts.

    Args:
        rows: Of one person, newest first.
    """
    found: dict[int, datetime | None] = {}
    for row in rows:
        value = row.value if row.kind == "rating" else GOOD
        if row.notice_id in found:
            continue
        if row.kind in REFUSED or value <= BAD:
            found[row.notice_id] = None
        elif row.kind in TIMES and value >= GOOD:
            found[row.notice_id] = row.at
    return [(notice_id, at) for notice_id, at in found.items() if at is not None]


def _people(asked: Asked, ready: Prepared, acts: Acts) -> list[Recent]:
    """What is known of each; of those whose order is newness nothing is read."""
    personal = [p.id for p, plain in zip(asked.profiles, asked.newest.tolist(), strict=True) if not plain]
    found = acts.recent(personal, ACTS) if personal else {}
    above, now = ready.pool.kin.above, ready.now
    return [_recent(profile, cared_for(found.get(profile.id, ())), above, now) for profile in asked.profiles]


def _recent(
    profile: Profile,
    cared: Sequence[tuple[int, datetime]],
    above: Mapping[str, tuple[str, ...]],
    now: datetime,
) -> Recent:
    names = user_features(profile, above)
    return Recent(
        events=[(notice_id, (now - at).total_seconds() / 86_400) for notice_id, at in cared],
        roles=sorted(name for name in names if name.startswith("role:")),
        interests=sorted(name for name in names if name.startswith("interest:")),
        known=len(cared),
    )


def _learned(asked: Asked, rows: Ints, columns: Ints, ready: Prepared) -> Floats:
    if asked.vectors is None or ready.taught is None:
        return np.zeros(columns.shape, dtype=np.float32)
    found: Floats = np.einsum("ij,ikj->ik", asked.vectors[rows], ready.taught.by_item[columns])
    return found


def _standard(values: Floats, inside: Mask) -> Floats:
    """Standard deviations from the mean among what is inside, row by row; 0 where all are alike."""
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    off = np.where(inside, values - np.where(inside, values, 0).sum(axis=1, keepdims=True) / count, 0)
    spread = np.sqrt((off**2).sum(axis=1, keepdims=True) / count)
    found: Floats = np.where(spread > 1e-6, off / np.maximum(spread, 1e-6), 0).astype(np.float32)
    return found


def _places(city: City) -> dict[str, str]:
    return {slug: agency.place for slug, agency in city.agencies.items() if agency.place}


def _since(one: Candidate) -> int:
    moment = one.fresh_at if one.archive or one.released_at is None else one.released_at
    return to_micros(moment) // 1_000_000
