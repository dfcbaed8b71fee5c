"""Train a model from feedback: which rows teach, over which vocabulary, and whether they are enough.

Pure but for the seconds it takes: rows, profiles and notices come in, a model goes out; saving it is the
shelf's work. Called by ``api.jobs.training`` (``mycity train``, nightly and hourly) and by the benches.
Imports the training libraries only when it fits.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.kernel.errors import UsageError
from feeds.kernel.ids import content_hash
from feeds.kernel.time import local_date
from profiles.feedback import FeedbackRow
from profiles.match import kinship
from profiles.types import Profile
from recommender.candidates import from_notice
from recommender.features import IDENTITY_EVENTS, item_matrix, item_space, user_matrix, user_space
from recommender.model import DIM, EPOCHS, Fitted, fit, refit
from recommender.model_file import Extra, Model, ModelInfo
from recommender.monitor import MIN_GROUP_PEOPLE, MIN_GROUPS
from recommender.types import BAD, GOOD, REFUSED, TIMES, Candidate, RulesOnlyError, coo

MIN_PAIRS, MIN_USERS = 50, 5
PARTIAL_EPOCHS = 5

Pairs = dict[tuple[int, int], "Liking"]


@dataclass(frozen=True, slots=True)
class Liking:
    """That a resident cared for a notice.

    Attributes:
        times: How strongly: how often the pair teaches.
        at: The last act that says so; ``since``: the first.
        simulated: Whether all of it is made up.
    """

    times: int
    at: datetime
    since: datetime
    simulated: bool


def train(
    rows: Sequence[FeedbackRow], profiles: Sequence[Profile], notices: Sequence[Notice], city: City,
    *, seed: int, now: datetime, simulated_share: float = 1.0, dim: int = DIM, epochs: int = EPOCHS,
) -> Model:  # fmt: skip
    """Learn from who opened, clicked, saved, liked or rated what: a full fit.

    Args:
        rows: Feedback, in any order; what is later than ``now``, and what residents or notices not given
            did, is left out.
        profiles: Residents; those with ``personalised=False`` teach nothing.
        notices: What may have been shown.
        city: Whose places contain which.
        seed: Same input and seed, same model, bit for bit.
        now: When it is trained; names the version.
        simulated_share: Most that simulated pairs may make up of all, 0 to 1; more are left out by a seeded
            draw.
        dim: Length of the vectors.
        epochs: Passes over the pairs.

    Returns:
        A model whose vocabulary is frozen; residents with 5 or more events, real ones only, are features of
        their own.

    Raises:
        RulesOnlyError: If fewer than 50 pairs or 5 residents are left, or all feedback is later than ``now``.
    """
    past = _until(rows, now)
    taught = {profile.id: profile for profile in profiles if profile.personalised}
    known = {notice.id: notice for notice in notices}
    pairs = _thinned(liked(past, taught, known), simulated_share, seed)
    users = sorted({user for user, _ in pairs})
    if len(pairs) < MIN_PAIRS or len(users) < MIN_USERS:
        raise RulesOnlyError(
            f"Rules only: {len(pairs)} opened notices of {len(users)} residents are too few to learn from; "
            f"train again from {MIN_PAIRS} and {MIN_USERS} on."
        )
    people = [taught[user] for user in users]
    candidates = [from_notice(known[number]) for number in sorted(known)]
    above = kinship(city).above
    wide = user_space(people, above, city.is_sensitive, _known_well(past, taught))
    deep = item_space(candidates)
    fitted = fit(
        _cells(pairs, people, candidates), user_matrix(people, above, wide), item_matrix(candidates, deep),
        seed=seed, dim=dim, epochs=epochs,
    )  # fmt: skip
    instants = [one.at for one in pairs.values()]
    info = ModelInfo(
        version=_version(now), trained_at=now, rows=len(pairs), users=len(people), items=len(candidates),
        simulated_share=sum(one.simulated for one in pairs.values()) / len(pairs), seed=seed, dim=dim,
        epochs=epochs, data_from=min(instants), data_until=max(instants),
        vocabulary=content_hash(wide.hash, deep.hash),
    )  # fmt: skip
    return Model(info, wide, deep, *_arrays(fitted))


def train_partial(
    model: Model, rows: Sequence[FeedbackRow], profiles: Sequence[Profile], notices: Sequence[Notice],
    city: City, *, seed: int, now: datetime, epochs: int = PARTIAL_EPOCHS,
) -> Model | None:  # fmt: skip
    """Teach a model what came after it: same vocabulary, new rows only.

    Tags, words and residents that the model does not know are skipped; a hide cannot be untaught. Both wait
    for the next full fit.

    Args:
        model: The one in use; unchanged.
        rows: Feedback in any order; only what is later than ``model.info.data_until`` teaches.
        profiles: As in :func:`train`.
        notices: As there.
        city: As there.
        seed: As there.
        epochs: As there.
        now: When it is trained; names the version.

    Returns:
        A model of kind ``partial``, or ``None`` where nothing new can be learned.

    Raises:
        UsageError: If ``now`` is before the model was trained, or the training extra is not installed.
    """
    if now < model.info.trained_at:
        raise UsageError(
            f"The clock stands at {now:%Y-%m-%d %H:%M} UTC, before the model in use was trained "
            f"({model.info.trained_at:%Y-%m-%d %H:%M}); set the clock right, or run a full `mycity train`."
        )
    since = model.info.data_until
    new = [row for row in rows if row.at <= now and (since is None or row.at > since)]
    taught = {profile.id: profile for profile in profiles if profile.personalised}
    above = kinship(city).above
    wanted = sorted({row.profile_id for row in new} & set(taught))
    rows_of = user_matrix([taught[user] for user in wanted], above, model.users)
    taught = {user: taught[user] for user, size in zip(wanted, rows_of.getnnz(axis=1), strict=True) if size}
    known = {notice.id: notice for notice in notices}
    pairs = liked(new, taught, known)
    if not pairs:
        return None
    people = [taught[user] for user in sorted({user for user, _ in pairs})]
    candidates = [from_notice(known[number]) for number in sorted(known)]
    before = Fitted(model.user_vectors, model.user_biases, model.item_vectors, model.item_biases)
    fitted = refit(
        before, _cells(pairs, people, candidates), user_matrix(people, above, model.users),
        item_matrix(candidates, model.items), epochs=epochs, seed=seed,
    )  # fmt: skip
    old, made_up = model.info, sum(one.simulated for one in pairs.values())
    total = old.rows + len(pairs)
    info = replace(
        old, version=_version(now), trained_at=now, kind="partial", full_at=old.full, rows=total,
        simulated_share=(old.simulated_share * old.rows + made_up) / total, seed=seed, epochs=epochs,
        data_from=old.data_from or min(one.at for one in pairs.values()),
        data_until=max(one.at for one in pairs.values()),
    )  # fmt: skip
    return Model(info, model.users, model.items, *_arrays(fitted), extras=model.extras)


def train_ranker(
    acts: Sequence[FeedbackRow], shown: Sequence[FeedbackRow], profiles: Sequence[Profile],
    notices: Sequence[Notice], city: City, *, now: datetime, seed: int,
) -> tuple[dict[str, Extra], str, dict[str, float]]:  # fmt: skip
    """Train the ranker, once there is enough that was shown and chosen from, and only if it wins.

    Args:
        acts: What residents did.
        shown: Impressions.
        profiles: Whose acts count.
        notices: What the acts are about.
        city: What contains which place.
        now: Nothing after it counts.
        seed: Same input and seed, same ranker.

    Returns:
        What the model keeps of it, by name, nothing if it did not win; one sentence that says which; figures
        for the model's facts.
    """
    zone = ZoneInfo(city.timezone)
    groups, people = impression_groups(acts, shown, lambda at: local_date(at, zone))
    measured = {"ranker_groups": float(groups), "ranker_people": float(people)}
    if groups < MIN_GROUPS or people < MIN_GROUP_PEOPLE:
        said = (
            f"No ranker: {groups} lists that somebody chose from, by {people} residents, are too few; from "
            f"{MIN_GROUPS} and {MIN_GROUP_PEOPLE} on one is tried."
        )
        return {}, said, measured
    from recommender.ranker_training import learn_ranker  # it reads this module's rules of what counts

    served, gate = learn_ranker(acts, shown, profiles, notices, city, now=now, seed=seed)
    measured |= {"ranker_gain": gate.gain, "ranker_se": gate.se, "ranker_questions": float(gate.questions)}
    measured["ranker_kept"] = float(served is not None)
    if served is None:
        why = gate.why or f"it gained {gate.gain:+.3f} ± {gate.se:.3f} NDCG@10 on weeks it had not seen"
        return {}, f"No ranker: {why}; the order stays that of the blend.", measured
    said = f"The ranker won by {gate.gain:+.3f} ± {gate.se:.3f} NDCG@10 on {gate.questions} held-out lists."
    found: dict[str, Extra] = {**served.extras()}
    return found, said, measured


def impression_groups(
    acts: Iterable[FeedbackRow], shown: Iterable[FeedbackRow], day_of: Callable[[datetime], date]
) -> tuple[int, int]:
    """Count the lists a ranker could learn from: what one resident saw on one day, some used, some not.

    Returns:
        Number of such lists, and of residents they belong to. Simulated rows do not count.
    """
    used = {(row.profile_id, row.notice_id) for row in acts if row.kind in TIMES and not row.simulated}
    lists: dict[tuple[int, date], set[int]] = {}
    for row in shown:
        if not row.simulated:
            lists.setdefault((row.profile_id, day_of(row.at)), set()).add(row.notice_id)
    people = [
        user
        for (user, _), items in lists.items()
        if 0 < sum((user, item) in used for item in items) < len(items)
    ]
    return len(people), len(set(people))


def liked(
    rows: Iterable[FeedbackRow], taught: Mapping[int, Profile], known: Mapping[int, Notice],
    *, until: timedelta | None = None,
) -> Pairs:  # fmt: skip
    """Pairs that somebody cared for; the last word of a pair counts, a refusal takes it back.

    Args:
        rows: Any order.
        taught: Residents who count, by id.
        known: Notices that count, by id.
        until: A refusal later than this after the first act takes nothing back: what was cared for then
            stays so. ``None``: it always does (what is learned now should follow the last word).
    """
    pairs: Pairs = {}
    for row in sorted(rows, key=lambda item: item.at):
        pair = (row.profile_id, row.notice_id)
        if row.profile_id not in taught or row.notice_id not in known:
            continue
        value = row.value if row.kind == "rating" else GOOD
        before = pairs.get(pair)
        if row.kind in REFUSED or value <= BAD:
            if before is not None and (until is None or row.at - before.since <= until):
                del pairs[pair]
        elif row.kind in TIMES and value >= GOOD:
            own = before or Liking(0, row.at, row.at, True)
            times = max(TIMES[row.kind], own.times)
            pairs[pair] = Liking(times, row.at, own.since, row.simulated and own.simulated)
    return pairs


def _until(rows: Sequence[FeedbackRow], now: datetime) -> list[FeedbackRow]:
    past = [row for row in rows if row.at <= now]
    if rows and not past:
        first = min(row.at for row in rows)
        raise RulesOnlyError(
            f"Rules only: the clock stands at {now:%Y-%m-%d %H:%M} UTC, before the first feedback "
            f"({first:%Y-%m-%d %H:%M}); set the clock right and train again."
        )
    return past


def _cells(pairs: Pairs, people: Sequence[Profile], candidates: Sequence[Candidate]) -> Any:
    """The pairs as cells of ones, each as often as it teaches; in the order of ids."""
    user_row = {one.id: n for n, one in enumerate(people)}
    item_row = {one.notice_id: n for n, one in enumerate(candidates)}
    ordered = [pair for pair in sorted(pairs) for _ in range(pairs[pair].times)]
    return coo(
        (user_row[user] for user, _ in ordered), (item_row[item] for _, item in ordered),
        (1.0 for _ in ordered), (len(people), len(candidates)),
    )  # fmt: skip


def _arrays(fitted: Fitted) -> tuple[Any, Any, Any, Any]:
    return fitted.user_vectors, fitted.user_biases, fitted.item_vectors, fitted.item_biases


def _version(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}"


def _thinned(pairs: Pairs, share: float, seed: int) -> Pairs:
    """Leave out simulated pairs until they make up no more than ``share`` of all."""
    simulated = sorted(pair for pair, one in pairs.items() if one.simulated)
    real = len(pairs) - len(simulated)
    most = len(simulated) if share >= 1 else int(real * max(share, 0.0) / (1 - max(share, 0.0)))
    if len(simulated) <= most:
        return pairs
    kept = set(random.Random(seed).sample(simulated, most))  # noqa: S311 (a draw, not a secret)
    return {pair: one for pair, one in pairs.items() if not one.simulated or pair in kept}


def _known_well(rows: Iterable[FeedbackRow], taught: Mapping[int, Profile]) -> list[int]:
    events = Counter(row.profile_id for row in rows if row.kind != "impression" and not row.simulated)
    return sorted(
        user for user, times in events.items() if user > 0 and user in taught and times >= IDENTITY_EVENTS
    )
