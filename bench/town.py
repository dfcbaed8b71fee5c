"""A made-up city lives for some days in a scratch installation: news, editions, reading, nightly training.

Everything is the product's own but the people, the news and the clock: notices go into the catalogue,
residents join, editions are selected, what they do is stored, the model is trained each night. Called by
``bench.residents``. The feedback counts as real inside the installation, which is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from api.jobs import signals
from api.jobs.selecting import select_all
from api.jobs.training import train_model
from api.wiring import Services
from bench.tools import scratch
from bench.trials import Trials, trials
from feeds.kernel.errors import MycityError
from feeds.kernel.time import FixedClock
from profiles.feedback import FeedbackRow
from profiles.types import FeedbackKind, Pick, Shelf
from recommender.simulation.people import People, Reading, drift, populate, read, relevance
from recommender.simulation.press import Printed, print_day
from recommender.simulation.scene import scene
from recommender.types import Floats, Mask

#: How editions are made: everything on; no explored slot; rules without anything learned; newest first.
Arm = Literal["shipped", "unexplored", "rules", "newest"]
ARMS: tuple[Arm, ...] = ("shipped", "unexplored", "rules", "newest")
START = datetime.fromisoformat("2026-10-12T07:00:00+08:00")
#: Days of news that were there before the service began, and how many notices each had.
BEFORE, BEFORE_A_DAY = 7, 20
#: Chance that a notice is about the late theme, once it is there.
LATE_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Plan:
    """One life of the city.

    Attributes:
        residents: How many join on the first day; ``joiners`` more on day ``joined`` (days count from 1).
        late: The day on which the late theme appears.
    """

    arm: Arm
    seed: int
    days: int = 16
    residents: int = 300
    joiners: int = 50
    joined: int = 3
    notices: int = 50
    late: int = 6


@dataclass
class Diary:
    """What happened; row i of everything belongs to person i, column j to notice j of ``printed``.

    Attributes:
        picks: (day, person, column, rank in the edition from 1, kind, propensity) of daily editions.
        shown: (day, person, column, position, looked, opened).
        trials: How the chances of exploring stand, on the last morning.
        truth: Day → float32 (n_people, n_notices), see :func:`recommender.simulation.people.relevance`.
        days: Day from 1 on which each notice was published; 0 for before.
        broken: Promises that did not hold, in words; must stay empty.
    """

    plan: Plan
    people: People
    printed: list[Printed]
    days: list[int]
    truth: dict[int, Floats] = field(default_factory=dict)
    picks: list[tuple[int, int, int, int, str, float]] = field(default_factory=list)
    shown: list[tuple[int, int, int, int, bool, bool]] = field(default_factory=list)
    trials: Trials | None = None
    trained: int = 0
    broken: list[str] = field(default_factory=list)

    def joined(self, person: int) -> int:
        """The day on which somebody joined."""
        return 1 if person < self.plan.residents else self.plan.joined


def live(plan: Plan) -> Diary:
    """Live one plan from the first morning to the last night. Same plan, same diary."""
    with scratch() as services:
        changes = {"explore": plan.arm == "shipped", "control_share": 0.0}
        services.settings = services.settings.model_copy(update=changes)
        return _Town(services, plan).live()


class _Town:
    """The installation, its people and their luck (the same in every arm)."""

    def __init__(self, services: Services, plan: Plan) -> None:
        self.services, self.plan = services, plan
        stage = scene(services.city, seed=plan.seed)
        self.people = populate(stage, size=plan.residents + plan.joiners, seed=plan.seed, now=START)
        self.editions: dict[int, list[Printed]] = {
            day: print_day(
                stage, day, count=plan.notices if day > 0 else BEFORE_A_DAY, morning=_morning(day),
                seed=plan.seed, late_share=LATE_SHARE if day >= plan.late else 0.0, archive=day < 1,
            )
            for day in range(1 - BEFORE, plan.days + 1)
        }  # fmt: skip
        printed = [item for day in self.editions.values() for item in day]
        days = [max(day, 0) for day, items in self.editions.items() for _ in items]
        self.diary = Diary(plan, self.people, printed, days)
        draw = np.random.default_rng((plan.seed, 3))
        size = (len(self.people), len(printed))
        self.looks, self.opens, self.opinions = (draw.random(size, dtype=np.float32) for _ in range(3))
        self.visits = draw.random((len(self.people), plan.days + 1))
        self.column: dict[int, int] = {}
        self.ids: dict[int, int] = {}
        self.seen: list[set[int]] = [set() for _ in range(len(self.people))]

    @property
    def learns(self) -> bool:
        """Whether behaviour is kept and trained on."""
        return self.plan.arm in ("shipped", "unexplored")

    @property
    def clock(self) -> FixedClock:
        clock = self.services.clock
        assert isinstance(clock, FixedClock)
        return clock

    def live(self) -> Diary:
        """Days pass: news, people who join, editions, reading, a night of training and drift."""
        for day in sorted(self.editions):
            self.clock.at = _morning(day)
            self._publish(self.editions[day])
            if day < 1:
                continue
            self._join(day)
            self.clock.at = _morning(day) + timedelta(minutes=30)
            self.diary.truth[day] = relevance(self.people, [item.subject for item in self.diary.printed])
            if day == self.plan.days and self.plan.arm == "shipped":
                self.diary.trials = trials(
                    self.services,
                    self.services.profiles.many(self.ids.values()),
                    self.diary.truth[day],
                    self.column,
                )
            select_all(self.services)
            self._note(day)
            self._read(day)
            self.clock.at = _morning(day) + timedelta(hours=16)
            self._train()
            self.people = drift(self.people, day=day, seed=self.plan.seed)
        self._check()
        return self.diary

    def _publish(self, items: Sequence[Printed]) -> None:
        numbers = self.services.notices.add([item.notice for item in items], at=self.clock.now())
        for number in numbers:
            self.column[number] = len(self.column)

    def _join(self, day: int) -> None:
        for person, wish in enumerate(self.people.wishes):
            if self.diary.joined(person) == day:
                wish = replace(wish, personalised=self.plan.arm != "newest")
                self.ids[person] = self.services.profiles.create(wish, at=self.clock.now())[0].id

    def _note(self, day: int) -> None:
        """Write down what the day's editions hold; welcome editions (of the day of joining) are not daily."""
        shelves = self.services.editions.shelves(self.ids.values(), since=_morning(day))
        for person, number in self.ids.items():
            if self.diary.joined(person) == day:
                continue
            today = [item.pick for item in shelves[number].picks]
            for rank, pick in enumerate(today, start=1):
                self.diary.picks.append(
                    (day, person, self.column[pick.notice_id], rank, pick.kind, pick.propensity)
                )
            self._promises(day, person, today)

    def _promises(self, day: int, person: int, today: Sequence[Pick]) -> None:
        """Write down what must never be."""
        wish, broken = self.people.wishes[person], self.diary.broken
        langs = {lang[:2] for lang in wish.langs}
        if len(today) > wish.pace:
            broken.append(f"day {day}: {len(today)} picks for a pace of {wish.pace}")
        for pick in today:
            tried = pick.kind == "explored" or pick.propensity < 1
            if tried and (self.plan.arm != "shipped" or "aid" in wish.roles):
                broken.append(f"day {day}: a trial on somebody who may not be tried on")
            if self.diary.printed[self.column[pick.notice_id]].subject.lang[:2] not in langs:
                broken.append(f"day {day}: a notice in a language they do not read")

    def _read(self, day: int) -> None:
        habits = self.people.habits
        here = {p: n for p, n in self.ids.items() if self.visits[p, day] < habits[p].visits}
        shelves = self.services.editions.shelves(here.values())
        shown: list[FeedbackRow] = []
        for order, (person, number) in enumerate(here.items()):
            self.clock.at = _morning(day) + timedelta(hours=1, seconds=13 * 3600 * order / len(here))
            shown += self._visit(day, person, shelves[number])
        if self.learns:
            signals.keep_shown(self.services, shown)

    def _visit(self, day: int, person: int, shelf: Shelf) -> list[FeedbackRow]:
        """Somebody goes once through what is on their shelf and was not shown to them before."""
        habit, seen = self.people.habits[person], self.seen[person]
        fresh = [one.pick for one in shelf.picks if one.pick.notice_id not in seen][: habit.screen]
        columns = np.array([self.column[pick.notice_id] for pick in fresh], dtype=np.int64)
        did = read(
            habit, self.diary.truth[day][person, columns], self.looks[person, columns],
            self.opens[person, columns], self.opinions[person, columns],
        )  # fmt: skip
        seen.update(pick.notice_id for pick in fresh)
        for line, column in enumerate(columns.tolist()):
            looked, opened = bool(did.looked[line]), bool(did.opened[line])
            self.diary.shown.append((day, person, column, line + 1, looked, opened))
        if self.learns:
            self._tell(shelf.profile_id, [pick.notice_id for pick in fresh], did, habit.channel)
        picks = [(pick.notice_id, pick.propensity) for pick in fresh]
        return signals.impressions(shelf.profile_id, picks, habit.channel, self.clock.now())

    def _tell(self, profile_id: int, notice_ids: Sequence[int], did: Reading, channel: str) -> None:
        """Hand in what somebody did, as the pages and feeds do."""
        acts: tuple[tuple[Mask, FeedbackKind], ...] = (
            (did.opened, "click"), (did.liked, "like"), (did.less, "less"),
        )  # fmt: skip
        for mask, kind in acts:
            for line in np.flatnonzero(mask).tolist():
                signals.opinion(self.services, profile_id, notice_ids[line], kind, channel=channel)

    def _train(self) -> None:
        if not self.learns:
            return
        try:
            train_model(self.services)
            self.diary.trained += 1
        except MycityError:
            return  # too little feedback yet: the service goes on by rules, as it would

    def _check(self) -> None:
        kept = self.services.feedback.counts()["all"]
        if self.plan.arm == "newest" and kept:
            self.diary.broken.append(f"{kept} rows of behaviour are kept of people who switched off")


def _morning(day: int) -> datetime:
    return START + timedelta(days=day - 1)
