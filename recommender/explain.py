"""Say why, from the arrays that made the score: one to three reasons, declared facts first. Pure.

Nothing is worked out afterwards or guessed: each reason's contribution is its share of the score, and one
that added nothing is never given. Called by ``select`` for the picks of a batch; sentences are in
``profiles.reasons``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date
from profiles.match import interests_met, label_factor
from profiles.types import Profile, Reason
from recommender.blend import PARTS, Blend, Prepared
from recommender.candidates import Pool
from recommender.types import Ints

MOST = 3
_LIFE_OR_AGENCY = {"life": "life", "agency": "agency"}


def explain(
    profiles: Sequence[Profile], picks: Sequence[Sequence[int]], scores: Blend, ready: Prepared
) -> list[list[tuple[Reason, ...]]]:
    """Give the reasons of a batch's picks.

    Args:
        profiles: Row i of ``scores`` belongs to ``profiles[i]``.
        picks: For each profile, the columns of its picks.
        scores: Of this batch.
        ready: What the scores were made from.

    Returns:
        For each profile and pick 1 to 3 reasons: what a rule decided, then declared facts by contribution,
        then the deadline, then the model; "new" or "the whole city" only where nothing else is true.
        Contributions are above 0.
    """
    rows = np.array([row for row, columns in enumerate(picks) for _ in columns], dtype=np.int64)
    columns = np.array([column for one in picks for column in one], dtype=np.int64)
    near = _learned(rows, columns, scores, ready)
    parts = (scores.parts[name][rows, columns].tolist() for name in ("interest", "place", "role", "deadline"))
    cells = iter(zip(*parts, near, strict=True))
    return [
        [_reasons(profile, column, next(cells), ready) for column in one]
        for profile, one in zip(profiles, picks, strict=True)
    ]


def breakdown(row: int, column: int, scores: Blend) -> dict[str, float]:
    """Every part of one score, also those of 0 or less; their sum is the score, but for float rounding."""
    return {name: float(scores.parts[name][row, column]) for name in PARTS}


def _reasons(
    profile: Profile, column: int, cell: tuple[float, float, float, float, Reason | None], ready: Prepared
) -> tuple[Reason, ...]:
    interest, place, role, deadline, near = cell
    pool = ready.pool
    declared: list[Reason] = []
    if interest > 0:
        declared += _interests(profile, column, interest, pool)
    if place > 0:
        declared.append(_place(profile, column, place, pool))
    if role > 0:
        declared += _roles(profile, column, role, pool)
    if len(declared) > 1:
        declared.sort(key=_by_contribution)
    if pool.rank[column]:
        code = "emergency" if pool.rank[column] == 2 else "mandatory"
        declared.insert(0, Reason(code, (), float(ready.priority[column])))
    if profile.personalised:
        if deadline > 0:
            declared.append(_deadline(column, deadline, ready))
        if near is not None:
            declared.append(near)
    if len(declared) > MOST:
        declared = _first_of_kinds(declared)
    return tuple(declared) or (_plain(column, ready),)


def _by_contribution(reason: Reason) -> float:
    return -reason.contribution


def _first_of_kinds(reasons: list[Reason]) -> list[Reason]:
    """Three of them; a second reason of one code waits until every other code has been heard."""
    first: dict[str, Reason] = {}
    for reason in reasons:
        first.setdefault(reason.code, reason)
    kept = list(first.values())
    kept += [reason for reason in reasons if reason not in kept]
    return sorted(kept[:MOST], key=reasons.index)


def _interests(profile: Profile, column: int, value: float, pool: Pool) -> list[Reason]:
    """The part is shared among the interests that met, by strength."""
    strengths = _met(profile, column, pool)
    if len(strengths) == 1:
        return [_interest(tag, value) for tag in strengths]
    share = value / sum(strengths.values())
    found = [_interest(tag, share * strength) for tag, strength in strengths.items()]
    return sorted(found, key=lambda one: (-one.contribution, one.params))


# Strengths are few, so the same reasons go to thousands of people: making them once saves a third.
@lru_cache(maxsize=1 << 15)
def _interest(tag: str, value: float) -> Reason:
    return Reason(_LIFE_OR_AGENCY.get(tag.partition(":")[0], "interest"), (tag,), value)


@lru_cache(maxsize=1 << 15)
def _role(tag: str, value: float) -> Reason:
    return Reason("role", (tag,), value)


@lru_cache(maxsize=1 << 15)
def _at(code: str, label: str, value: float) -> Reason:
    return Reason("place", (f"place:{code}", label), value)


def _met(profile: Profile, column: int, pool: Pool) -> Mapping[str, float]:
    """The same as :func:`profiles.match.interests_met`, for thousands of interests as well."""
    reach = pool.reaches[column]
    if len(profile.interests) < 50:
        return interests_met(profile.interests, reach)
    wanted, words = _wanted(profile.interests)
    return {tag: reach.topics[tag] for tag in reach.topics if tag in wanted} | interests_met(words, reach)


@lru_cache(maxsize=64)
def _wanted(interests: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    words = tuple(tag for tag in interests if tag.startswith("word:"))
    return frozenset(interests).difference(words), words


def _place(profile: Profile, column: int, value: float, pool: Pool) -> Reason:
    """The one place that gave the part its value; among equals the one named first."""
    reach = pool.reaches[column].places
    best = profile.places[0]
    if len(profile.places) > 1:
        best = max(profile.places, key=lambda place: reach.get(place.code, 0.0) * label_factor(place.label))
    wider = pool.reaches[column].around.get(best.code)
    # About the district around it, not about the place itself: then the district is what is named.
    return _at(wider, "", value) if wider else _at(best.code, best.label, value)


def _roles(profile: Profile, column: int, value: float, pool: Pool) -> list[Reason]:
    reach = pool.reaches[column].roles
    met = {tag: reach[tag] for tag in map("role:".__add__, profile.roles) if tag in reach}
    share = value / sum(met.values())
    return [_role(tag, share * strength) for tag, strength in met.items()]


def _deadline(column: int, value: float, ready: Prepared) -> Reason:
    deadline = ready.pool.candidates[column].deadline
    day = local_date(deadline, ZoneInfo(ready.pool.city.timezone)).isoformat() if deadline else ""
    return Reason("deadline", (day, str(ready.days_left[column])), value)


def _plain(column: int, ready: Prepared) -> Reason:
    """Nothing personal is true of it: it is for the whole city, or it is simply new."""
    if ready.citywide[column] > 0:
        return Reason("citywide", (), float(ready.citywide[column]))
    return Reason("fresh", (), max(float(ready.fresh[column]), 1e-3))


def _learned(rows: Ints, columns: Ints, scores: Blend, ready: Prepared) -> list[Reason | None]:
    """Name, for each pick, the declared fact that weighed most in what the model added, if that is enough.

    The score in standard deviations is a sum over the resident's features (and the notice's own popularity),
    each measured against the mean of the candidates; the largest of them is named.
    """
    found: list[Reason | None] = [None] * rows.size
    basis, model, vectors, biases = scores.learned, ready.model, ready.item_vectors, ready.item_biases
    if basis is None or model is None or vectors is None or biases is None:
        return found
    values = scores.parts["learned"][rows, columns]
    enough = (values > 0) & (values >= ready.weights.learned * ready.weights.learned_said)
    chosen = np.flatnonzero(enough)
    if not chosen.size:
        return found
    away = vectors[columns[chosen]] - basis.vectors[rows[chosen]]
    popular = (biases[columns[chosen]] - basis.biases[rows[chosen]]).tolist()
    starts = basis.users.indptr
    counts = np.diff(starts)[rows[chosen]]
    ends = np.cumsum(counts)
    # One line for each pair of a pick and a feature of its resident.
    offset = np.arange(ends[-1]) - np.repeat(ends - counts, counts) + np.repeat(starts[rows[chosen]], counts)
    features = basis.users.indices[offset]
    shares = np.einsum("ij,ij->i", np.repeat(away, counts, axis=0), model.user_vectors[features])
    shares *= basis.users.data[offset]
    lists, names, begin = shares.tolist(), model.users.names, 0
    numbers: list[int] = features.tolist()
    for pick, end, bias in zip(chosen.tolist(), ends.tolist(), popular, strict=True):
        mine = lists[begin:end]
        best = max(mine)
        if bias > best:
            found[pick] = Reason("popular", (), float(values[pick]))
        else:
            feature = names[numbers[begin + mine.index(best)]]
            found[pick] = Reason("learned", tuple(_tags((feature,))), float(values[pick]))
        begin = end
    return found


def _tags(features: Iterable[str]) -> Iterable[str]:
    """``interest:theme:0402`` → its tag; a resident's own feature has none to show."""
    return (name.removeprefix("interest:") for name in features if not name.startswith("id:"))
