"""Choose editions for everybody: read the stores, score in batches, append to the ledger.

``choose`` is the pure core; ``select_editions`` is the job around it, which may be run twice or killed in the
middle: what was appended is on the shelf and is not picked again. Threads read the next batch and write the
one before while one is chosen. Never imports the training library. Called by ``api.jobs``.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.kernel.time import at_local_time, local_date
from profiles.editions import NewEdition
from profiles.shelves import Desk, StoredShelf, stored
from profiles.types import WELCOME_SIZE, Profile, Shelf
from recommender.blend import Asked, Blend, Prepared, ask, prepare, score_all
from recommender.candidates import Pool, eligible, from_notice, pool
from recommender.cells import cells
from recommender.edition import editions, table
from recommender.explain import explain
from recommender.model_file import Model
from recommender.policy import Hidden, Policy, Run
from recommender.rank import Near, depth, nearest, rank
from recommender.rerank import Stage
from recommender.second_stage import Acts, look_again, stage_of
from recommender.threads import one_blas_thread, side_by_side
from recommender.types import Mask, Weights

BATCH = 512
#: Profiles × candidates scored at once: half a megabyte for each array, so that a few fit into the cache.
_CELLS = 1 << 17
#: What is decided beside the score where nobody says otherwise.
NO_TRIALS = Policy(explore=False)


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

    def desk(self, profile_ids: Sequence[int], since: datetime) -> Desk:
        """A shelf for each id, and how many picks took a pace slot since an instant."""

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
        self._ready: Prepared | None = None
        self._run: tuple[Policy, Prepared, Run] | None = None
        self._stage: tuple[Prepared, Stage | None] | None = None
        self._lock = threading.Lock()

    def at(self, now: datetime) -> Pool:
        """Return the candidates of ``now``."""
        key = (self._notices.change_numbers(), now.replace(second=0, microsecond=0))
        with self._lock:
            if self._held is None or self._held[0] != key:
                encoded = pool((from_notice(notice) for notice in self._notices.pickable(now)), self._city)
                self._held = (key, encoded)
            return self._held[1]

    def prepared(self, now: datetime, model: Model | None, weights: Weights) -> Prepared:
        """Return the candidates of ``now`` with all that is the same for everybody.

        Freshness and deadlines are those of the minute, so that it does not matter who asked first in it.
        """
        found, minute = self.at(now), now.replace(second=0, microsecond=0)
        with self._lock:
            held = self._ready
            same = held is not None and held.pool is found and held.model is model and held.weights == weights
            if held is None or not same or held.now != minute:
                held = self._ready = prepare(found, weights, minute, model)
            return held

    def stage(self, ready: Prepared) -> Stage | None:
        """Return the second stage over what :meth:`prepared` gave, if the model has one."""
        with self._lock:
            if self._stage is None or self._stage[0] is not ready:
                self._stage = ready, stage_of(ready.model, ready.pool, ready.now)
            return self._stage[1]

    def governed(self, policy: Policy, ready: Prepared) -> Run:
        """Return a policy over what :meth:`prepared` gave."""
        with self._lock:
            if self._run is None or self._run[0] != policy or self._run[1] is not ready:
                self._run = policy, ready, _begin(policy, ready)
            return self._run[2]


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
    weights: Weights | None = None, *, now: datetime, policy: Policy | None = None,
    profile_ids: Sequence[int] | None = None, batch: int = BATCH,
    progress: Callable[[int], None] | None = None, hidden: Hidden | None = None, acts: Acts | None = None,
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
        policy: Trials, control group, reminders; ``None`` for reminders only.
        profile_ids: Only these; ``None`` for everybody. Unknown ids are skipped.
        batch: Most profiles in one transaction.
        progress: Called with the number of profiles done after each batch.
        hidden: Which notices a profile id hid; asked where a deadline of theirs is near.
        acts: What residents did last, for the second stage; without it there is none.

    Returns:
        Counts; ``editions`` are those written, none of them empty.
    """
    began = time.perf_counter()
    ready = shop.prepared(now, model, weights or Weights())
    midnight = at_local_time(local_date(now, ZoneInfo(city.timezone)), 0, ZoneInfo(city.timezone))
    second = None if acts is None or (stage := shop.stage(ready)) is None else (stage, acts)
    terms = _Terms(ready, now, shop.governed(policy or NO_TRIALS, ready), hidden, second)
    run = _Run(editions, terms, midnight)
    groups, tell = _groups(profiles, profile_ids, max(1, batch)), progress or _ignore
    if profile_ids is not None and len(profile_ids) <= batch:
        for group in groups:  # one at most: nothing to do side by side
            made = run.choose(group)
            run.settle(group, made, run.append(made))
            tell(run.done)
    else:
        with _quiet_collector(), one_blas_thread():
            _run_groups(run, groups, tell)
    return SelectReport(run.done, run.written, run.picks, time.perf_counter() - began, run.conflicts)


def _begin(policy: Policy, ready: Prepared) -> Run:
    return policy.begin(ready.pool, ready.now, ready.counted, ready.days_left)


def _ignore(_done: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all editions of a run are chosen by."""

    ready: Prepared
    now: datetime
    governed: Run
    hidden: Hidden | None = None
    second: tuple[Stage, Acts] | None = None


class _Run:
    """One run's instant, ledger and counts."""

    def __init__(self, editions: Editions, terms: _Terms, midnight: datetime) -> None:
        self.editions, self.terms, self.midnight = editions, terms, midnight
        self.done = self.written = self.picks = self.conflicts = 0

    def reads(self, groups: Iterable[list[Profile]]) -> Iterator[tuple[list[Profile], Desk]]:
        """Each batch with its shelves as they stand."""
        for group in groups:
            yield group, self.editions.desk([profile.id for profile in group], self.midnight)

    def choose(self, group: list[Profile]) -> list[NewEdition]:
        """Choose for one batch."""
        return [made for read in self.reads([group]) for made in _choose_all(*read, self.terms)]

    def append(self, made: Sequence[NewEdition]) -> list[int | None]:
        """Write, if there is anything to write."""
        return self.editions.append(made) if made else []

    def settle(self, group: Sequence[Profile], made: Sequence[NewEdition], numbers: list[int | None]) -> None:
        """Count what was written; choose once more for those whose shelf had moved on."""
        lost = self._count(made, numbers)
        if lost:
            again = self.choose([profile for profile in group if profile.id in lost])
            self.conflicts += len(self._count(again, self.append(again)))
        self.done += len(group)

    def _count(self, made: Sequence[NewEdition], numbers: list[int | None]) -> set[int]:
        kept = [item for item, number in zip(made, numbers, strict=True) if number is not None]
        self.written += len(kept)
        self.picks += sum(len(item.picks) for item in kept)
        return {item.profile_id for item in made} - {item.profile_id for item in kept}


def _run_groups(run: _Run, groups: Iterator[list[Profile]], progress: Callable[[int], None]) -> None:
    """Choose for one batch while one thread writes the batch before and another reads the next."""
    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
        reads = run.reads(groups)
        coming = reader.submit(next, reads, None)
        waiting: tuple[list[Profile], list[NewEdition], Future[list[int | None]]] | None = None
        while (read := coming.result()) is not None:
            coming = reader.submit(next, reads, None)
            made = _choose_all(*read, run.terms)
            if waiting is not None:
                run.settle(waiting[0], waiting[1], waiting[2].result())
                progress(run.done)
            waiting = read[0], made, writer.submit(run.append, made)
        if waiting is not None:
            run.settle(waiting[0], waiting[1], waiting[2].result())
            progress(run.done)


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Keep the collector from walking over and over through everything that stood before.

    What a run makes holds no circles, so young objects may also wait much longer to be looked at.
    """
    often = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(200_000, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()


def choose(
    profiles: Sequence[Profile], shelves: Mapping[int, Shelf], ready: Prepared, now: datetime,
    picked_today: Mapping[int, int] | None = None, since: datetime | None = None,
    policy: Policy | None = None, hidden: Hidden | None = None, acts: Acts | None = None,
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
        policy: Trials, control group, reminders; ``None`` for reminders only.
        hidden: Which notices a profile id hid.
        acts: What residents did last, for the second stage.

    Returns:
        Editions in the order of profiles; none for a profile with nothing to be told.
    """
    own = [shelves.get(one.id) or Shelf(one.id, 0, (), frozenset()) for one in profiles]
    used = [(picked_today or {}).get(one.id, 0) for one in profiles]
    got = [[p.pick.notice_id for p in shelf.picks if since and p.picked_at >= since] for shelf in own]
    run = _begin(policy or NO_TRIALS, ready)
    desk = Desk([stored(shelf) for shelf in own], used, since)
    stage = None if acts is None else stage_of(ready.model, ready.pool, ready.now)
    second = None if acts is None or stage is None else (stage, acts)
    made = _choose_all(profiles, desk, _Terms(ready, now, run, hidden, second), (own, got))
    return [replace(one, picks=tuple(one.picks)) for one in made]


def _choose_all(
    profiles: Sequence[Profile], desk: Desk, terms: _Terms,
    opened: tuple[Sequence[Shelf], Sequence[Sequence[int]]] | None = None,
) -> list[NewEdition]:  # fmt: skip
    """The same from unopened shelves.

    ``opened``: the shelves with their picks, and ids of what each profile already got today, where those of
    the desk do not hold them.
    """
    if not len(terms.ready.pool):
        return []
    since = desk.since
    shelves, got = opened or (
        desk.shelves, [[] if since is None else shelf.ids_since(since) for shelf in desk.shelves]
    )  # fmt: skip
    made: list[NewEdition] = []
    for start in range(0, len(profiles), BATCH):
        rows = slice(start, start + BATCH)
        part = Desk(desk.shelves[rows], desk.used[rows], since)
        made += _choose(profiles[rows], part, shelves[rows], got[rows], terms)
    return made


def _choose(
    profiles: Sequence[Profile], desk: Desk, shelves: Sequence[Shelf | StoredShelf],
    got: Sequence[Sequence[int]], terms: _Terms,
) -> list[NewEdition]:  # fmt: skip
    ready, run = terms.ready, terms.governed
    first = np.array([shelf.version == 0 for shelf in desk.shelves], dtype=bool)
    limits = [
        WELCOME_SIZE if welcome else max(0, profile.pace - used)
        for profile, welcome, used in zip(profiles, first.tolist(), desk.used, strict=True)
    ]
    before = [_columns(ids, ready) for ids in got]
    mask, control = eligible(profiles, desk.shelves, ready.pool, terms.now, first), run.controlled(profiles)
    asked = ask(profiles, ready, control)
    near, second = _near(asked, mask, first, ready, depth(limits)), None
    if terms.second is not None:
        near, second = look_again(asked, near, ready, *terms.second)
    ranked = rank(asked, near, ready, limits, before)
    arranged = run.apply(profiles, shelves, ranked, limits, mask, control, before, terms.hidden)
    rows = np.repeat(np.arange(len(profiles)), [len(one.columns) for one in arranged.ranked])
    columns = np.array([column for one in arranged.ranked for column in one.columns], dtype=np.int64)
    picks = cells(asked, rows, columns, ready, second)
    filled = table(picks, arranged, control, explain(picks))
    return editions(profiles, np.unique(rows).tolist(), desk, filled, columns, arranged, ready, terms.now)


def _near(asked: Asked, mask: Mask, first: Mask, ready: Prepared, count: int) -> Near:
    """Score everything, a few profiles at a time, and keep the best of each."""
    step = max(1, _CELLS // len(ready.pool))

    def block(start: int) -> Near:
        rows = slice(start, start + step)
        scores = score_all(asked.part(start, min(start + step, len(mask))), mask[rows], ready)
        if first[rows].any():
            scores = replace(scores, worthy=_with_fresh(scores, mask[rows], first[rows]))
        return nearest(scores, _forced(mask[rows], scores, ready), ready.pool, count)

    return Near.joined(side_by_side(block, range(0, len(mask), step)))


def _columns(ids: Sequence[int], ready: Prepared) -> list[int]:
    column_of = ready.pool.column_of
    return [column_of[one] for one in ids if one in column_of]


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


def _forced(mask: Mask, scores: Blend, ready: Prepared) -> Mask:
    """Mandatory notices and emergencies go first to all, or where they are local to who follows the place."""
    forced = np.zeros_like(mask)
    columns = np.flatnonzero(ready.pool.rank)
    if columns.size:
        local = ready.pool.local[columns]
        forced[:, columns] = mask[:, columns] & (~local[None, :] | (scores.parts["place"][:, columns] > 0))
    return forced
