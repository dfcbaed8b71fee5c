"""Choose editions for everybody: read the stores, score in batches, append to the ledger.

``choose`` is the pure core; ``select_editions`` is the job around it, which may be run twice or killed in the
middle: what was appended is on the shelf and is not picked again. Never imports the training library. Called
by ``api.jobs``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.kernel.time import at_local_time, local_date
from profiles.editions import NewEdition
from profiles.types import WELCOME_SIZE, EditionKind, Pick, PickKind, Profile, Reason, Shelf
from recommender.blend import Blend, Prepared, blend, prepare
from recommender.candidates import Pool, eligible, from_notice, pool
from recommender.explain import explain
from recommender.model_file import Model
from recommender.rank import Ranked, rank
from recommender.types import Mask, Weights

BATCH = 500
#: Profiles × candidates scored at once: a megabyte for each array, whatever the number of candidates.
_CELLS = 1 << 18


class Notices(Protocol):
    """Where candidates come from."""

    def pickable(self, now: datetime) -> list[Notice]:
        """Notices that are released and in force at ``now``."""

    def change_numbers(self) -> tuple[int, int]:
        """While these stand, no notice was published, changed or tagged."""


class Profiles(Protocol):
    """Where residents come from."""

    def batches(self, size: int) -> Iterator[list[Profile]]:
        """All profiles in the order of ids."""

    def many(self, ids: Iterable[int]) -> list[Profile]:
        """Those that exist of some ids."""


class Editions(Protocol):
    """The ledger."""

    def shelves(self, profile_ids: Iterable[int], *, since: datetime | None = None) -> dict[int, Shelf]:
        """A shelf for each id, with the picks made since; version 0 where nothing was picked yet."""

    def picked_since(self, profile_ids: Iterable[int], since: datetime) -> dict[int, int]:
        """How many picks took a pace slot since an instant; ids without any may be missing."""

    def append(self, editions: Sequence[NewEdition]) -> list[int | None]:
        """Write all in one transaction; ``None`` where the shelf had moved on."""


class CandidateShop:
    """Keeps the encoded candidates while nothing changes: encoding costs more than choosing for one person.

    Safe in threads. What was encoded is used for at most a minute, so that a notice dated later today
    appears in time; deadlines and ends are checked against the real ``now`` at each choice anyway.
    """

    def __init__(self, notices: Notices, city: City) -> None:
        self._notices, self._city = notices, city
        self._held: tuple[tuple[tuple[int, int], datetime], Pool] | None = None
        self._lock = threading.Lock()

    def at(self, now: datetime) -> Pool:
        """Return the candidates of ``now``."""
        key = (self._notices.change_numbers(), now.replace(second=0, microsecond=0))
        with self._lock:
            if self._held is None or self._held[0] != key:
                encoded = pool((from_notice(notice) for notice in self._notices.pickable(now)), self._city)
                self._held = (key, encoded)
            return self._held[1]


@dataclass(frozen=True, slots=True)
class SelectReport:
    """What one run did.

    Attributes:
        conflicts: Editions that lost against another writer twice and were not written; the next run makes
            them.
        seconds: Wall time, all included.
    """

    profiles: int
    editions: int
    picks: int
    seconds: float
    conflicts: int


def select_editions(
    shop: CandidateShop, profiles: Profiles, editions: Editions, model: Model | None, city: City,
    weights: Weights | None = None, *, now: datetime, seed: int = 0, profile_ids: Sequence[int] | None = None,
    batch: int = BATCH, progress: Callable[[int], None] | None = None,
) -> SelectReport:  # fmt: skip
    """Make an edition for each profile that has something to be told.

    Args:
        shop: Where candidates come from.
        profiles: Where residents come from.
        editions: The ledger, read and written.
        city: Whose notices they are.
        weights: Of the blend; ``None`` for the standing ones.
        model: ``None`` for editions by rules only.
        now: The instant the editions are made at; also decides what "today" is for the pace.
        seed: Draws exploration; nothing is explored yet, so every seed gives the same editions.
        profile_ids: Only these; ``None`` for everybody. Unknown ids are skipped.
        batch: Most profiles in one transaction.
        progress: Called with the number of profiles done after each batch.

    Returns:
        Counts; ``editions`` are those written, none of them empty.
    """
    del seed
    began = time.perf_counter()
    ready = prepare(shop.at(now), weights or Weights(), now, model)
    midnight = at_local_time(local_date(now, ZoneInfo(city.timezone)), 0, ZoneInfo(city.timezone))
    done = written = picks = conflicts = 0
    for group in _groups(profiles, profile_ids, max(1, batch)):
        lost = group
        for _attempt in range(2):
            made = _choose_now(lost, editions, ready, now, midnight)
            results = editions.append(made) if made else []
            kept = [item for item, number in zip(made, results, strict=True) if number is not None]
            written, picks = written + len(kept), picks + sum(len(item.picks) for item in kept)
            lost_ids = {item.profile_id for item in made} - {item.profile_id for item in kept}
            lost = [profile for profile in lost if profile.id in lost_ids]
            if not lost:
                break
        conflicts += len(lost)
        done += len(group)
        if progress is not None:
            progress(done)
    return SelectReport(done, written, picks, time.perf_counter() - began, conflicts)


def choose(
    profiles: Sequence[Profile], shelves: Mapping[int, Shelf], ready: Prepared, now: datetime,
    picked_today: Mapping[int, int] | None = None, since: datetime | None = None,
) -> list[NewEdition]:  # fmt: skip
    """Choose the editions of one batch. Pure.

    Args:
        profiles: Any number; scored a few at a time.
        shelves: By profile id; a missing one is empty. Version 0 makes the edition a welcome.
        ready: From :func:`recommender.blend.prepare` at the same ``now``.
        now: The instant the editions are made at.
        picked_today: Pace slots already used, by profile id.
        since: Start of the local day; what was picked since then counts towards the caps. ``None``: nothing
            does.

    Returns:
        Editions in the order of profiles; none for a profile with nothing to be told.
    """
    if not len(ready.pool):
        return []
    step = max(1, _CELLS // len(ready.pool))
    return [
        made
        for start in range(0, len(profiles), step)
        for made in _choose(profiles[start : start + step], shelves, ready, now, picked_today or {}, since)
    ]


def _choose(
    profiles: Sequence[Profile], shelves: Mapping[int, Shelf], ready: Prepared, now: datetime,
    used: Mapping[int, int], since: datetime | None,
) -> list[NewEdition]:  # fmt: skip
    """The same for few enough profiles to stay inside the processor's cache."""
    own = [shelves.get(p.id) or Shelf(p.id, 0, (), frozenset()) for p in profiles]
    welcome = np.array([shelf.version == 0 for shelf in own], dtype=bool)
    mask = eligible(profiles, own, ready.pool, now, welcome)
    scores = blend(profiles, mask, ready)
    scores = replace(scores, worthy=_with_fresh(scores, mask, welcome))
    forced = _forced(profiles, mask, scores, ready)
    limits = [
        WELCOME_SIZE if shelf.version == 0 else max(0, profile.pace - used.get(profile.id, 0))
        for profile, shelf in zip(profiles, own, strict=True)
    ]
    before = [[] if since is None else _got_since(shelf, ready, since) for shelf in own]
    ranked = rank(scores.order, scores.worthy, forced, ready.pool, limits, before)
    reasons = explain(profiles, [one.columns for one in ranked], scores, ready)
    made = []
    for row, (profile, shelf) in enumerate(zip(profiles, own, strict=True)):
        if ranked[row].columns:
            kind: EditionKind = "welcome" if welcome[row] else "daily"
            picks = _picks(profile, row, ranked[row], reasons[row], scores, ready)
            made.append(NewEdition(profile.id, kind, picks, now, shelf.version))
    return made


def _choose_now(
    profiles: Sequence[Profile], editions: Editions, ready: Prepared, now: datetime, midnight: datetime
) -> list[NewEdition]:
    ids = [profile.id for profile in profiles]
    return choose(
        profiles,
        editions.shelves(ids, since=midnight),
        ready,
        now,
        editions.picked_since(ids, midnight),
        midnight,
    )


def _groups(profiles: Profiles, ids: Sequence[int] | None, size: int) -> Iterator[list[Profile]]:
    if ids is None:
        yield from profiles.batches(size)
        return
    for start in range(0, len(ids), size):
        if found := profiles.many(ids[start : start + size]):
            yield found


def _with_fresh(scores: Blend, mask: Mask, welcome: Mask) -> Mask:
    """A first edition may also hold what is merely new, but not what belongs to other people's streets."""
    if not welcome.any():
        return scores.worthy
    return scores.worthy | (mask & ~scores.elsewhere & welcome[:, None])


def _forced(profiles: Sequence[Profile], mask: Mask, scores: Blend, ready: Prepared) -> Mask:
    """Mandatory notices and emergencies go first to all, or where they are local to who follows the place."""
    forced = np.zeros_like(mask)
    columns = np.flatnonzero(ready.pool.rank)
    if columns.size:
        local = ready.pool.local[columns]
        forced[:, columns] = mask[:, columns] & (~local[None, :] | (scores.parts["place"][:, columns] > 0))
    return forced


def _got_since(shelf: Shelf, ready: Prepared, since: datetime) -> list[int]:
    columns = (ready.pool.column_of.get(one.pick.notice_id) for one in shelf.picks if one.picked_at >= since)
    return [column for column in columns if column is not None]


def _picks(
    profile: Profile,
    row: int,
    ranked: Ranked,
    reasons: Sequence[tuple[Reason, ...]],
    scores: Blend,
    ready: Prepared,
) -> tuple[Pick, ...]:
    """Turn columns into picks; no score is kept of somebody who switched personalisation off."""
    values = (
        scores.total[row, list(ranked.columns)].tolist() if profile.personalised else [0.0] * len(reasons)
    )
    kinds: list[PickKind] = ["new"] * len(ranked.columns)
    kinds[: ranked.by_rule] = ["mandatory"] * ranked.by_rule
    found = (ready.pool.candidates[column] for column in ranked.columns)
    return tuple(
        Pick(one.notice_id, one.revision, kind, why, score)
        for one, kind, why, score in zip(found, kinds, reasons, values, strict=True)
    )
