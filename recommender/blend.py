"""The score: declared, learned, new, urgent; every part is kept so that reasons are true. Pure.

Called by ``select`` with a batch of profiles and all candidates; read by ``rank`` (the total) and ``explain``
(the parts). Weights and their reasons: :class:`recommender.types.Weights`, docs/decisions/0004-blend.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from math import isfinite
from zoneinfo import ZoneInfo

import numpy as np

from feeds.kernel.time import local_date
from profiles.bulk import Statements, pack_head
from profiles.types import Profile
from recommender.candidates import Pool
from recommender.clickthrough import Clickthrough, candidate_lift, row_shares
from recommender.diversity import Likeness
from recommender.features import UserRows, item_matrix
from recommender.model_file import Model
from recommender.topk import score
from recommender.types import Floats, Ints, Mask, Rows, Weights, add_product, csr
from recommender.wishes import Places, Wishes, wishes

#: Parts in the order of docs and tables; ``total`` is their sum.
PARTS = (
    "interest", "place", "role", "taste", "learned", "clicks", "deadline", "fresh", "editor", "priority",
    "citywide",
)  # fmt: skip
#: Two exact interests are worth 1.2, three 1.29, ever more 1.5: the second one tells less than the first.
_HALF = np.float32(0.5)
#: Kinds of interests that are said in words of their own.
_TOPIC_CODES = {"life": "life", "agency": "agency"}


@dataclass(frozen=True)
class Taught:
    """What a model says of the candidates, against their mean.

    Attributes:
        rows: Turns residents into rows over the model's vocabulary.
        items: float32 (dim + 1, n): vectors and biases, each less its mean.
        spread: float32 (dim + 1, dim + 1): their covariance. The variance of a resident's scores over all
            candidates is ``u · spread · u``, u being their vector and a 1, without working out any score.
        by_item: float32 (n, dim + 1): ``items`` turned over.
        users: float32 (n_user_features, dim).
    """

    rows: UserRows
    items: Floats
    by_item: Floats
    spread: Floats
    users: Floats
    names: Sequence[str]


@dataclass(frozen=True)
class Prepared:
    """What a run works out once for all batches.

    Attributes:
        fresh, pressure, priority, citywide, editor: float32 (n,), already weighted.
        days_left: Working days to each deadline; -1 without one.
        taught: ``None`` without a model.
        counted: Click-through by role and theme; ``None`` where nothing was counted.
        lift: float32 (n_roles + 1, n), that of the candidates, weighted; ``None`` likewise.
        statements: Numbers of what reasons say.
        heads: Id and revision of each candidate, packed.
    """

    pool: Pool
    weights: Weights
    now: datetime
    model: Model | None
    fresh: Floats
    pressure: Floats
    priority: Floats
    citywide: Floats
    editor: Floats
    days_left: list[int]
    taught: Taught | None = None
    counted: Clickthrough | None = None
    lift: Floats | None = None
    statements: Statements = field(default_factory=Statements)

    @cached_property
    def plain(self) -> Floats:
        """What is added for everybody."""
        found: Floats = self.fresh + self.editor + self.priority + self.citywide
        return found

    @cached_property
    def ruled_locally(self) -> Ints:
        """Columns that a rule puts first, but only for who follows their place."""
        return np.flatnonzero((self.pool.rank > 0) & self.pool.local)

    @cached_property
    def urgent(self) -> bool:
        """Whether any deadline presses."""
        return bool(self.pressure.any())

    @cached_property
    def alike(self) -> Likeness:
        """How like two candidates are: by the model's vectors, or by their tags without one."""
        if self.taught is not None and self.model is not None:
            return Likeness.of(item_matrix(self.pool.candidates, self.model.items) @ self.model.item_vectors)
        return Likeness.of(_tag_rows(self.pool))

    @cached_property
    def heads(self) -> list[bytes]:
        """Id and revision of each candidate, packed."""
        return [pack_head(one.notice_id, one.revision) for one in self.pool.candidates]

    @cached_property
    def said_of_topics(self) -> Ints:
        """The statement that each topic is followed."""
        number = self.statements.number
        return np.array(
            [number(_TOPIC_CODES.get(t.partition(":")[0], "interest"), (t,)) for t in self.pool.topic_rows],
            dtype=np.int64,
        )

    @cached_property
    def said_of_roles(self) -> Ints:
        """The statement that it is meant for each role."""
        return np.array(
            [self.statements.number("role", (tag,)) for tag in self.pool.role_rows], dtype=np.int64
        )

    def said_of_features(self, features: Ints) -> Ints:
        """The statements that the model followed features of residents; their own has none to name."""
        names = () if self.taught is None else self.taught.names
        known = self._said_of_features
        for feature in np.unique(features[known[features] < 0]).tolist():
            name = names[feature].removeprefix("interest:")
            known[feature] = self.statements.number("learned", () if name.startswith("id:") else (name,))
        return known[features]

    @cached_property
    def place_features(self) -> Mask:
        """Which features of residents are places; bool (n_user_features,)."""
        names = () if self.taught is None else self.taught.names
        return np.array([name.startswith("place:") for name in names], dtype=bool)

    @cached_property
    def _said_of_features(self) -> Ints:
        return np.full(0 if self.taught is None else len(self.taught.names), -1, dtype=np.int64)

    @cached_property
    def revisions(self) -> Ints:
        """Revision of each candidate."""
        return np.array([one.revision for one in self.pool.candidates], dtype=np.int64)


@dataclass(frozen=True)
class Asked:
    """A batch of profiles as scoring sees them; row i belongs to ``profiles[i]``.

    Attributes:
        newest: bool (n_profiles,): the newest come first, whatever the score.
        users: (n_profiles, n_user_features); ``None`` without a model.
        vectors: float32 (n_profiles, dim + 1), each with a 1 behind it and divided by the standard deviation
            of its scores, weighted: times ``Taught.items`` it gives the learned part before the cut. 0 where
            the model is not used.
        shares: float32 (n_profiles, n_roles + 1): which rows of the lift speak for whom; ``None`` without.
    """

    profiles: Sequence[Profile]
    said: Wishes
    newest: Mask
    users: Rows | None
    vectors: Floats | None
    shares: Floats | None

    def part(self, start: int, stop: int) -> Asked:
        """The same of some of the profiles."""
        rows = slice(start, stop)
        return Asked(
            self.profiles[rows], self.said.part(start, stop), self.newest[rows],
            None if self.users is None else self.users.part(start, stop),
            None if self.vectors is None else self.vectors[rows],
            None if self.shares is None else self.shares[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class Blend:
    """Scores of a batch.

    Attributes:
        parts: Part → float32 (n_profiles, n); each in the unit of the score. See :data:`PARTS`.
        total: float32 (n_profiles, n), the sum of the parts.
        order: What is sorted by, higher first: the total, or newness where personalisation is off.
        worthy: bool (n_profiles, n): eligible and there is a reason that is more than freshness.
        elsewhere: bool (n_profiles, n): belongs to places the profile does not follow although it follows
            some.
    """

    parts: dict[str, Floats]
    total: Floats
    order: Floats
    worthy: Mask
    elsewhere: Mask


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
    counted = _counted(model)
    return Prepared(
        pool=pool, weights=weights, now=now, model=model, days_left=days,
        fresh=(weights.fresh * np.exp2(-ages / weights.half_life_hours)).astype(np.float32),
        pressure=pressure.astype(np.float32), priority=heights[pool.rank],
        citywide=(weights.citywide * pool.citywide).astype(np.float32),
        editor=(weights.editor * pool.prominence).astype(np.float32),
        taught=None if model is None or not len(pool) else _taught(pool, model),
        counted=counted,
        lift=None if counted is None else np.float32(weights.clicks) * candidate_lift(counted, pool),
    )  # fmt: skip


def ask(profiles: Sequence[Profile], ready: Prepared, newest: Mask | None = None) -> Asked:
    """Look up what a batch of profiles says, once for all that is worked out from it.

    Args:
        profiles: Any number.
        ready: From :func:`prepare`.
        newest: bool (n_profiles,): whose order is newness, beside those who switched personalisation off.
    """
    said, counted, taught = wishes(profiles, ready.pool), ready.counted, ready.taught
    said = replace(said, interests=_unwanted(profiles, said.interests, ready))
    users = None if taught is None else taught.rows.rows(profiles)
    vectors = shares = None
    if taught is not None and users is not None:
        vectors = _vectors(users, taught, said.personalised, ready.weights)
    if counted is not None and ready.lift is not None:
        shares = row_shares(counted, profiles)
    off = ~said.personalised
    return Asked(profiles, said, off if newest is None else off | newest, users, vectors, shares)


def blend(profiles: Sequence[Profile], mask: Mask, ready: Prepared) -> Blend:
    """Score a batch: the same as :func:`score_all` for what the profiles say."""
    return score_all(ask(profiles, ready), mask, ready)


def score_all(asked: Asked, mask: Mask, ready: Prepared) -> Blend:
    """Score profiles, few enough at a time to stay inside the processor's cache, with every candidate.

    Args:
        asked: From :func:`ask`.
        mask: bool (n_profiles, n), from :func:`recommender.candidates.eligible`.
        ready: From :func:`prepare`; its clock is the clock of the scores.

    Returns:
        Scores for all cells; cells outside the mask are scored too but never ``worthy``. Single cells, with
        what they are made of, are in :mod:`recommender.cells`: the same figures.
    """
    weights, said, shape = ready.weights, asked.said, mask.shape
    interest, place, role, elsewhere = strengths(said, ready.pool, weights)
    total = interest + place
    total += role
    worthy = total > 0  # something declared is met
    # Products and sums: where masks are scattered they take a tenth of what `where=` takes.
    away = elsewhere * np.float32(weights.elsewhere)
    place += away  # the strength there is 0
    total += away
    deadline = worthy * ready.pressure if ready.urgent else None
    learned, taste = _learned(asked, ready), _taste(said, ready)
    clicks = None if asked.shares is None or ready.lift is None else asked.shares @ ready.lift
    for part in (learned, taste, deadline, clicks):
        if part is not None:
            total += part
    total += ready.plain
    spared = ready.ruled_locally
    if spared.size:  # a rule of a place speaks for who follows the place, and for nobody else
        total[:, spared] -= ready.priority[spared] * (place[:, spared] <= 0)
    worthy |= said.says_nothing[:, None]
    _worthy_by_behaviour(worthy, learned, taste, elsewhere, asked, ready)
    worthy &= mask
    nothing = np.broadcast_to(np.float32(0), shape)
    parts: dict[str, Floats] = {
        "interest": interest, "place": place, "role": role,
        "taste": nothing if taste is None else taste,
        "learned": nothing if learned is None else learned,
        "clicks": nothing if clicks is None else clicks,
        "deadline": nothing if deadline is None else deadline,
        "fresh": np.broadcast_to(ready.fresh, shape), "editor": np.broadcast_to(ready.editor, shape),
        "priority": _priority(place, ready),
        "citywide": np.broadcast_to(ready.citywide, shape),
    }  # fmt: skip
    order = total
    if asked.newest.any():
        order = total.copy()
        order[asked.newest] = np.arange(shape[1], 0, -1, dtype=np.float32)  # columns stand newest first
    return Blend(parts, total, order, worthy, elsewhere)


def strengths(said: Wishes, pool: Pool, weights: Weights) -> tuple[Floats, Floats, Floats, Mask]:
    """How what was declared meets each candidate, weighted.

    Returns:
        Interest, place, role, each float32 (n_profiles, n), 0 or more; and bool (n_profiles, n): the
        candidate belongs to places of which the profile, which follows some, follows none. There the role is
        0.
    """
    shape = said.follows_some.size, len(pool)
    interest: Floats = np.zeros(shape, dtype=np.float32)
    add_product(interest, said.interests, pool.topics)
    if said.words is not None:
        interest += (said.words.spoken @ said.words.said).toarray()
    saturate(interest, weights)
    place = _place_strength(said.places, pool, weights, shape)
    elsewhere = place == 0
    elsewhere &= pool.local
    elsewhere &= said.follows_some[:, None]
    role: Floats = np.zeros(shape, dtype=np.float32)
    add_product(role, said.roles, pool.roles)
    np.minimum(role, 1.0, out=role)
    role *= np.float32(weights.role)
    role *= ~elsewhere
    return interest, place, role, elsewhere


def saturate(met: Floats, weights: Weights) -> None:
    """Turn sums of strengths of interests into the part, in place: w × 1.5 x / (x + 0.5)."""
    met += _HALF  # w × 1.5 - w × 0.75 / (x + 0.5), so that 0 stays exactly 0
    np.divide(np.float32(-weights.interest) * _HALF * (1 + _HALF), met, out=met)
    met += np.float32(weights.interest) * (1 + _HALF)


def _place_strength(places: Places, pool: Pool, weights: Weights, shape: tuple[int, int]) -> Floats:
    """The best of a profile's places for each candidate; several that contain each other count once."""
    found: Floats = np.zeros(shape, dtype=np.float32)
    counts = np.diff(places.starts)
    for number in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > number)
        lines = places.starts[rows] + number
        where = places.rows[lines]
        values = pool.places[where]
        values *= (np.float32(weights.place) * places.factors[lines])[:, None]
        for one in np.flatnonzero(places.visits[lines]).tolist():
            values[one, pool.around[where[one]] >= 0] = 0
        if rows.size == shape[0] and not number:
            found = values
        else:
            found[rows] = np.maximum(found[rows], values)
    return found


def _priority(place: Floats, ready: Prepared) -> Floats:
    """What a rule adds: everywhere what is for all, and what is local only to who follows the place."""
    whole: Floats = np.broadcast_to(ready.priority, place.shape)
    spared = ready.ruled_locally
    if spared.size:
        whole = whole.copy()
        whole[:, spared] *= place[:, spared] > 0
    return whole


def _unwanted(profiles: Sequence[Profile], interests: Rows, ready: Prepared) -> Rows:
    """Weaken followed tags of which behaviour, or the resident, says less; the others keep their strength.

    Without this a followed tag would outweigh any "less": 1 + taste × ``unwanted``, at least
    ``unwanted_rest``.
    """
    rows, weights, data = ready.pool.topic_rows, ready.weights, interests.data
    for number, profile in enumerate(profiles):
        if not (profile.taste and profile.personalised):
            continue
        against = {rows[tag]: w for tag, w in profile.taste if w < 0 and tag in rows and isfinite(w)}
        if not against:
            continue
        first, end = interests.indptr[number : number + 2].tolist()
        for cell, topic in enumerate(interests.indices[first:end].tolist(), first):
            if topic in against:
                data = data.copy() if data is interests.data else data
                data[cell] = max(weights.unwanted_rest, 1 + weights.unwanted * against[topic])
    return replace(interests, data=data)


def _taste(said: Wishes, ready: Prepared) -> Floats | None:
    """What behaviour says; ``None`` where it says nothing of anybody."""
    if not said.tastes.nnz:
        return None
    weights, cap = ready.weights, np.float32(ready.weights.taste_cap)
    found: Floats = np.zeros((said.tastes.shape[0], len(ready.pool)), dtype=np.float32)
    add_product(found, said.tastes, ready.pool.tags)
    np.clip(found, np.float32(weights.taste_least), cap, out=found)
    found *= np.float32(weights.taste)
    return found


def _vectors(users: Rows, taught: Taught, personalised: Mask, weights: Weights) -> Floats:
    """Residents' vectors over the standard deviation of their scores among all candidates, weighted."""
    found = np.ones((users.shape[0], taught.items.shape[0]), dtype=np.float32)
    own = np.zeros((users.shape[0], taught.users.shape[1]), dtype=np.float32)
    add_product(own, users, taught.users)
    found[:, :-1] = own
    spread = np.sqrt(np.maximum(np.einsum("ij,ij->i", found @ taught.spread, found), 0))
    used = (np.diff(users.indptr) > 0) & personalised & (spread > 1e-6) & np.isfinite(spread)
    found[~used] = 0
    found *= np.where(used, weights.learned / np.where(used, spread, 1), 0).astype(np.float32)[:, None]
    return found


def _learned(asked: Asked, ready: Prepared) -> Floats | None:
    """The model's scores in standard deviations among all candidates, cut; 0 where not used."""
    if asked.vectors is None or ready.taught is None:
        return None
    found = score(asked.vectors, ready.taught.items)
    cap = np.float32(abs(ready.weights.learned) * ready.weights.learned_cap)
    np.clip(found, -cap, cap, out=found)
    return found


def _worthy_by_behaviour(
    worthy: Mask, learned: Floats | None, taste: Floats | None, elsewhere: Mask, asked: Asked, ready: Prepared
) -> None:
    """Add what was learned or felt strongly enough, unless it belongs to other people's places."""
    weights = ready.weights
    if taste is not None:
        worthy |= (taste >= weights.taste_floor) & ~elsewhere
    if learned is not None and asked.vectors is not None and ready.taught is not None and weights.learned > 0:
        floor = np.float32(weights.learned * weights.learned_floor)
        found = np.flatnonzero(learned >= floor)
        rows = np.searchsorted(np.arange(1, len(worthy) + 1) * worthy.shape[1], found, side="right")
        columns = found - rows * worthy.shape[1]
        # What many open is no reason to show it to this one: the notice's own popularity does not count here.
        alone = learned[rows, columns] - asked.vectors[rows, -1] * ready.taught.items[-1, columns]
        kept = (alone >= floor) & ~elsewhere[rows, columns]
        worthy[rows[kept], columns[kept]] = True


def _taught(pool: Pool, model: Model) -> Taught:
    items = item_matrix(pool.candidates, model.items)
    both = np.column_stack([items @ model.item_vectors, items @ model.item_biases]).astype(np.float64)
    # A model whose arrays hold odd values is refused where it is loaded; here they must only do no harm.
    both = np.nan_to_num(both, nan=0.0, posinf=0.0, neginf=0.0)
    both -= both.mean(axis=0)
    users = np.ascontiguousarray(np.nan_to_num(model.user_vectors, nan=0.0, posinf=0.0, neginf=0.0))
    return Taught(
        UserRows(pool.kin.above, model.users), np.ascontiguousarray(both.T, dtype=np.float32),
        np.ascontiguousarray(both, dtype=np.float32),
        (both.T @ both / len(pool)).astype(np.float32), users, model.users.names,
    )  # fmt: skip


def _counted(model: Model | None) -> Clickthrough | None:
    extra = None if model is None else model.extras.get("clicks")
    try:
        return None if extra is None else Clickthrough.of(*extra)
    except ValueError:  # counts that do not hold together are left out; the rest of the model serves
        return None


def _tag_rows(pool: Pool) -> Floats:
    tags = [
        {f"{tag.kind}:{tag.code}": max(0.0, min(tag.weight, 1.0)) for tag in c.tags} for c in pool.candidates
    ]
    columns = {tag: n for n, tag in enumerate(sorted({tag for one in tags for tag in one}))}
    found: Floats = csr(({columns[t]: w for t, w in one.items()} for one in tags), len(columns)).toarray()
    return found


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
