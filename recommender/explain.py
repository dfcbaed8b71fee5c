"""Say why, from the arrays that made the score: one to three reasons, declared facts first. Pure.

Nothing is worked out afterwards or guessed: each reason's contribution is its share of the score, and one
that added nothing is never given. Called by ``select`` for the picks of one profile; sentences are in
``profiles.reasons``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date
from profiles.match import interests_met, label_factor
from profiles.types import Profile, Reason
from recommender.blend import PARTS, Blend, Prepared
from recommender.candidates import Pool
from recommender.types import Floats

MOST = 3
_LIFE_OR_AGENCY = {"life": "life", "agency": "agency"}


def explain(
    profile: Profile, row: int, columns: Sequence[int], scores: Blend, ready: Prepared
) -> list[tuple[Reason, ...]]:
    """Give the reasons of one profile's picks.

    Args:
        profile: Whose row ``row`` of ``scores`` is.
        row: See there.
        columns: Its picks.
        scores: Of its batch.
        ready: What the scores were made from.

    Returns:
        For each pick 1 to 3 reasons: what a rule decided, then declared facts by contribution, then the
            deadline,
        then the model; "new" or "the whole city" only where nothing else is true. Contributions are above 0.
    """
    near = _learned(row, columns, scores, ready) if profile.personalised else {}
    return [_reasons(profile, row, column, scores, ready, near.get(column)) for column in columns]


def breakdown(row: int, column: int, scores: Blend) -> dict[str, float]:
    """Every part of one score, also those of 0 or less; their sum is the score."""
    return {name: float(scores.parts[name][row, column]) for name in PARTS}


def _reasons(
    profile: Profile, row: int, column: int, scores: Blend, ready: Prepared, near: Reason | None
) -> tuple[Reason, ...]:
    pool = ready.pool
    value = {name: float(scores.parts[name][row, column]) for name in ("interest", "place", "role")}
    found: list[Reason] = []
    if rank := pool.rank[column]:
        code = "emergency" if rank == 2 else "mandatory"
        found.append(Reason(code, (), float(ready.priority[column])))
    declared = _interests(profile, column, value["interest"], pool)
    declared += _place(profile, column, value["place"], pool) + _roles(profile, column, value["role"], pool)
    found += sorted(declared, key=lambda reason: -reason.contribution)
    if profile.personalised and declared:
        found += _deadline(row, column, scores, ready)
    if near is not None:
        found.append(near)
    return tuple(_first_of_kinds(found)) or (_plain(column, ready),)


def _first_of_kinds(reasons: list[Reason]) -> list[Reason]:
    """At most three; a second reason of one code waits until every other code has been heard."""
    codes: set[str] = set()
    again: list[Reason] = []
    kept: list[Reason] = []
    for reason in reasons:
        if reason.contribution <= 0:
            continue
        (again if reason.code in codes else kept).append(reason)
        codes.add(reason.code)
    kept = kept[:MOST] + again[: max(0, MOST - len(kept))]
    return sorted(kept, key=reasons.index)


def _interests(profile: Profile, column: int, value: float, pool: Pool) -> list[Reason]:
    """The part is shared among the interests that met, by strength."""
    if value <= 0:
        return []
    strengths = _met(profile, column, pool)
    total = sum(strengths.values())
    return [
        Reason(_LIFE_OR_AGENCY.get(tag.partition(":")[0], "interest"), (tag,), value * strength / total)
        for tag, strength in sorted(strengths.items(), key=lambda item: (-item[1], item[0]))
    ]


def _met(profile: Profile, column: int, pool: Pool) -> Mapping[str, float]:
    reach = pool.reaches[column]
    if len(profile.interests) <= len(reach.topics):
        return interests_met(profile.interests, reach)
    wanted = set(profile.interests)  # thousands of interests: ask the notice instead
    words = [tag for tag in wanted if tag.startswith("word:")]
    return interests_met(words, reach) | {tag: s for tag, s in reach.topics.items() if tag in wanted}


def _place(profile: Profile, column: int, value: float, pool: Pool) -> list[Reason]:
    """The one place that gave the part its value; among equals the one named first."""
    if value <= 0:
        return []
    reach = pool.reaches[column].places
    best = max(profile.places, key=lambda place: reach.get(place.code, 0.0) * label_factor(place.label))
    return [Reason("place", (f"place:{best.code}", best.label), value)]


def _roles(profile: Profile, column: int, value: float, pool: Pool) -> list[Reason]:
    if value <= 0:
        return []
    reach = pool.reaches[column].roles
    met = {f"role:{role}": s for role in profile.roles if (s := reach.get(f"role:{role}", 0.0)) > 0}
    total = sum(met.values())
    ranked = sorted(met.items(), key=lambda item: (-item[1], item[0]))
    return [Reason("role", (tag,), value * strength / total) for tag, strength in ranked]


def _deadline(row: int, column: int, scores: Blend, ready: Prepared) -> list[Reason]:
    deadline = ready.pool.candidates[column].deadline
    value = float(scores.parts["deadline"][row, column])
    if deadline is None or value <= 0:
        return []
    day: date = local_date(deadline, ZoneInfo(ready.pool.city.timezone))
    return [Reason("deadline", (day.isoformat(), str(ready.days_left[column])), value)]


def _plain(column: int, ready: Prepared) -> Reason:
    """Nothing personal is true of it: it is for the whole city, or it is simply new."""
    if ready.citywide[column] > 0:
        return Reason("citywide", (), float(ready.citywide[column]))
    return Reason("fresh", (), max(float(ready.fresh[column]), 1e-3))


def _learned(row: int, columns: Sequence[int], scores: Blend, ready: Prepared) -> dict[int, Reason]:
    """Name the declared fact that weighed most in what the model added.

    The score in standard deviations is a sum over the resident's features (and the notice's own popularity),
    each measured against the mean of the candidates; the largest of them is named.
    """
    basis, model, floor = scores.learned, ready.model, ready.weights.learned * ready.weights.learned_floor
    part = scores.parts["learned"]
    chosen = [column for column in columns if part[row, column] > 0 and part[row, column] >= floor]
    if (
        basis is None
        or model is None
        or ready.item_vectors is None
        or ready.item_biases is None
        or not chosen
    ):
        return {}
    start, end = basis.users.indptr[row], basis.users.indptr[row + 1]
    features, weights = basis.users.indices[start:end], basis.users.data[start:end]
    away: Floats = ready.item_vectors[chosen] - basis.vectors[row]
    shares = (away @ model.user_vectors[features].T) * weights
    popular = ready.item_biases[chosen] - basis.biases[row]
    names = model.users.names
    found: dict[int, Reason] = {}
    for n, column in enumerate(chosen):
        best = int(np.argmax(shares[n]))
        value = float(part[row, column])
        if popular[n] > shares[n, best]:
            found[column] = Reason("popular", (), value)
        else:
            found[column] = Reason("learned", _tag(names[features[best]]), value)
    return found


def _tag(feature: str) -> tuple[str, ...]:
    """``interest:theme:0402`` → its tag; a resident's own feature has none to show."""
    if feature.startswith("id:"):
        return ()
    return (feature.removeprefix("interest:"),)
