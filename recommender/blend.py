"""The score: declared, learned, new, urgent; every part is kept so that reasons are true. Pure.

Called by ``select`` with a batch of profiles and all candidates; read by ``rank`` (the total) and ``explain``
(the parts). Weights and their reasons: :class:`recommender.types.Weights`, docs/decisions/0004-blend.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date
from profiles.match import is_beyond_a_visit, label_factor
from profiles.types import Profile
from recommender.candidates import Pool, met
from recommender.features import item_matrix, user_matrix
from recommender.model_file import Model
from recommender.types import Csr, Floats, Mask, Weights

#: Parts in the order of docs and tables; ``total`` is their sum.
PARTS = ("interest", "place", "role", "learned", "deadline", "fresh", "priority", "citywide")
#: Two exact interests are worth 1.2, three 1.29, ever more 1.5: the second one tells less than the first.
_HALF = 0.5


@dataclass(frozen=True)
class Prepared:
    """What a run works out once for all batches.

    Attributes:
        fresh, pressure, priority, citywide: float32 (n,), already weighted.
        days_left: Working days to each deadline; -1 without one.
        items: CSR of the candidates over the model's vocabulary, ``item_vectors`` (n, dim) and
            ``item_biases`` (n,) their sums; all ``None`` without a model.
    """

    pool: Pool
    weights: Weights
    model: Model | None
    fresh: Floats
    pressure: Floats
    priority: Floats
    citywide: Floats
    days_left: list[int]
    items: Csr | None = None
    item_vectors: Floats | None = None
    item_biases: Floats | None = None


@dataclass(frozen=True)
class Learned:
    """What is needed to say which declared fact the model followed.

    Attributes:
        users: CSR (n_profiles, n_user_features). ``scale``: float32 (n_profiles,): weight / standard
            deviation.
        vectors: float32 (n_profiles, dim): mean of the candidates' vectors. ``biases``: float32
            (n_profiles,).
    """

    users: Csr
    scale: Floats
    vectors: Floats
    biases: Floats


@dataclass(frozen=True)
class Blend:
    """Scores of a batch.

    Attributes:
        parts: Part → float32 (n_profiles, n); each in the unit of the score. See :data:`PARTS`.
        total: float32 (n_profiles, n), the sum of the parts.
        order: What is sorted by, higher first: the total, or newness where personalisation is off.
        declared: bool (n_profiles, n): an interest, place or role is met.
        worthy: bool (n_profiles, n): eligible and there is a reason that is more than freshness.
        elsewhere: bool (n_profiles, n): belongs to places the profile does not follow although it follows
            some.
    """

    parts: dict[str, Floats]
    total: Floats
    order: Floats
    declared: Mask
    worthy: Mask
    elsewhere: Mask
    learned: Learned | None


def prepare(pool: Pool, weights: Weights, now: datetime, model: Model | None = None) -> Prepared:
    """Work out everything about the candidates that is the same for every profile."""
    ages = np.array(
        [max(0.0, (now - c.fresh_at).total_seconds() / 3600) for c in pool.candidates], dtype=np.float32
    )
    days = _days_left(pool, now)
    left = np.array(days, dtype=np.float32)
    near = (left >= 0) & (left <= weights.deadline_reach)
    pressure = np.where(near, weights.deadline / (1 + np.maximum(left, 0) / weights.deadline_days), 0.0)
    heights = np.array([0.0, weights.mandatory, weights.emergency], dtype=np.float32)
    ready = Prepared(
        pool=pool, weights=weights, model=model, days_left=days,
        fresh=(weights.fresh * np.exp2(-ages / weights.half_life_hours)).astype(np.float32),
        pressure=pressure.astype(np.float32), priority=heights[pool.rank],
        citywide=(weights.citywide * pool.citywide).astype(np.float32),
    )  # fmt: skip
    if model is None:
        return ready
    items = item_matrix(pool.candidates, model.items)
    vectors, biases = items @ model.item_vectors, items @ model.item_biases
    return Prepared(**{**vars(ready), "items": items, "item_vectors": vectors, "item_biases": biases})


def strengths(profiles: Sequence[Profile], pool: Pool) -> tuple[Floats, Floats, Floats, Mask]:
    """How what was declared meets each candidate, before weights.

    Returns:
        Interest (0 to 1.5), place (0 to 1), role (0 to 1), each float32 (n_profiles, n); and bool
        (n_profiles, n): the candidate belongs to places of which the profile, which follows some, follows
        none. There the role is 0.
    """
    wanted = met(profiles, pool, pool.topics, pool.topic_rows, lambda p: p.interests)
    wanted.data = (1 + _HALF) * wanted.data / (wanted.data + _HALF)
    interest: Floats = wanted.toarray()
    place = _place_strength(profiles, pool)
    anywhere = np.array([bool(p.places) for p in profiles], dtype=bool)
    elsewhere = anywhere[:, None] & pool.local[None, :] & (place == 0)
    roles = met(profiles, pool, pool.roles, pool.role_rows, lambda p: (f"role:{role}" for role in p.roles))
    np.minimum(roles.data, 1.0, out=roles.data)
    role: Floats = roles.toarray()
    role *= ~elsewhere
    return interest, place, role, elsewhere


def blend(profiles: Sequence[Profile], mask: Mask, ready: Prepared) -> Blend:
    """Score a batch.

    Args:
        profiles: Row i of everything belongs to ``profiles[i]``.
        mask: bool (n_profiles, n), from :func:`recommender.candidates.eligible`.
        ready: From :func:`prepare`; its clock is the clock of the scores.

    Returns:
        Scores for all cells; cells outside the mask are scored too but never ``worthy``.
    """
    weights, pool = ready.weights, ready.pool
    interest, place, role, elsewhere = strengths(profiles, pool)
    declared = (interest > 0) | (place > 0) | (role > 0)
    learned, basis = _learned(profiles, mask, ready)
    place *= weights.place
    place += elsewhere * np.float32(weights.elsewhere)  # the strength there is 0
    shape = mask.shape
    parts: dict[str, Floats] = {
        "interest": interest * np.float32(weights.interest),
        "place": place,
        "role": role * np.float32(weights.role),
        "learned": learned,
        "deadline": ready.pressure * declared,
        "fresh": np.broadcast_to(ready.fresh, shape),
        "priority": np.broadcast_to(ready.priority, shape),
        "citywide": np.broadcast_to(ready.citywide, shape),
    }
    total = parts["interest"] + place
    for name in ("role", "learned", "deadline"):
        total += parts[name]
    total += ready.fresh + ready.priority + ready.citywide
    open_to_all = np.array([not (p.roles or p.places or p.interests) for p in profiles], dtype=bool)
    worthy = declared | open_to_all[:, None]
    if basis is not None and ready.item_biases is not None and weights.learned > 0:
        # What many open is no reason to show it to this one: the notice's own popularity does not count here.
        popular = basis.scale[:, None] * (ready.item_biases[None, :] - basis.biases[:, None])
        floor = weights.learned * weights.learned_floor
        worthy |= (np.minimum(learned, learned - popular) >= floor) & ~elsewhere
    order = total
    if off := [n for n, profile in enumerate(profiles) if not profile.personalised]:
        order = total.copy()
        order[off] = np.arange(shape[1], 0, -1, dtype=np.float32)  # columns stand newest first
    return Blend(parts, total, order, declared, worthy & mask, elsewhere, basis)


def _place_strength(profiles: Sequence[Profile], pool: Pool) -> Floats:
    """The best of a profile's places for each candidate; several that contain each other count once."""
    found = np.zeros((len(profiles), len(pool)), dtype=np.float32)
    table = pool.places
    for row, profile in enumerate(profiles):
        for followed in profile.places:
            line = pool.place_rows.get(followed.code)
            if line is not None:
                columns = table.indices[table.indptr[line] : table.indptr[line + 1]]
                values = table.data[table.indptr[line] : table.indptr[line + 1]] * np.float32(
                    label_factor(followed.label)
                )
                if followed.label == "visit":
                    values[[is_beyond_a_visit(followed, pool.reaches[column]) for column in columns]] = 0
                found[row, columns] = np.maximum(found[row, columns], values)
    return found


def _learned(profiles: Sequence[Profile], mask: Mask, ready: Prepared) -> tuple[Floats, Learned | None]:
    """The model's scores in standard deviations of one's own candidates, cut, weighted; 0 where not used."""
    model, weights = ready.model, ready.weights
    if model is None or ready.item_vectors is None or ready.item_biases is None or not mask.size:
        return np.zeros(mask.shape, dtype=np.float32), None
    users = user_matrix(profiles, ready.pool.kin.above, model.users)
    used = np.diff(users.indptr) > 0
    used &= np.array([profile.personalised for profile in profiles], dtype=bool)
    raw: Floats = (users @ model.user_vectors) @ ready.item_vectors.T
    raw += ready.item_biases
    if not np.isfinite(raw.sum()):  # a sum shows any odd value without a second array
        np.nan_to_num(raw, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    inside = mask.astype(np.float32)
    count = np.maximum(inside.sum(axis=1), 1)
    mean = np.einsum("ij,ij->i", raw, inside) / count
    raw -= mean[:, None]
    spread = np.sqrt(np.einsum("ij,ij,ij->i", raw, raw, inside) / count)
    used &= spread > 1e-6
    scale = np.where(used, weights.learned / np.maximum(spread, 1e-6), 0.0).astype(np.float32)
    raw *= scale[:, None]
    cap = np.float32(abs(weights.learned) * weights.learned_cap)
    np.clip(raw, -cap, cap, out=raw)
    vectors = (inside @ ready.item_vectors) / count[:, None]
    return raw, Learned(users, scale, vectors, (inside @ ready.item_biases) / count)


def _days_left(pool: Pool, now: datetime) -> list[int]:
    """Working days from today to each deadline, local; far ones are not counted day by day."""
    zone = ZoneInfo(pool.city.timezone)
    today, known, found = local_date(now, zone), {}, []
    for candidate in pool.candidates:
        if candidate.deadline is None:
            found.append(-1)
            continue
        day = local_date(candidate.deadline, zone)
        if day not in known:
            far = (day - today).days > 90
            known[day] = 90 if far else pool.city.calendar.between(today, day)
        found.append(known[day] if day >= today else -1)
    return found
