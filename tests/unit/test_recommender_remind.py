"""Deadlines are recalled in working days, each step once, only to who has the notice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.kernel.time import at_local_time, local_date
from profiles.shelves import stored
from profiles.types import Pick, Profile, Reason, Shelf, ShelvedPick
from recommender.candidates import pool
from recommender.remind import STEPS, Coming, coming, due
from recommender.types import Candidate
from tests.unit.recommender_world import DAY, candidate, city, person

ZONE = ZoneInfo(city().timezone)
DEADLINE = datetime(2026, 10, 30, 9, 0, tzinfo=UTC)  # Friday 17:00 local


def at(month: int, day: int, hour: int = 9, year: int = 2026) -> datetime:
    return at_local_time(date(year, month, day), hour, ZONE)


PICKED = at(10, 9, 15)


def award(deadline: datetime | None = DEADLINE, number: int = 1, **changes: Any) -> Candidate:
    """The story's notice: an award of 9 October that closes on 30 October at 17:00."""
    return candidate(
        number, "theme:0402", **({"deadline": deadline, "fresh_at": PICKED, "released_at": PICKED} | changes)
    )


def held(*picks: tuple[int, datetime], profile_id: int = 1) -> Shelf:
    picked = tuple(ShelvedPick(Pick(number, 1, "new", ()), when) for number, when in picks)
    return Shelf(profile_id, 2, picked, frozenset(number for number, _ in picks))


def after(shelf: Shelf, picks: list[Pick], when: datetime) -> Shelf:
    """The shelf once these picks are on it."""
    again = {pick.notice_id for pick in picks}
    kept = tuple(item for item in shelf.picks if item.pick.notice_id not in again)
    return replace(
        shelf,
        picks=tuple(ShelvedPick(pick, when) for pick in picks) + kept,
        picked=shelf.picked | again,
    )


def near(now: datetime, *candidates: Candidate) -> Coming:
    return coming(pool(candidates or [award()], city()), now)


def recalled(now: datetime, shelf: Shelf, *candidates: Candidate, who: Profile | None = None) -> list[Pick]:
    return due(who or person(), shelf, near(now, *candidates))


def params(picks: list[Pick]) -> list[tuple[str, ...]]:
    return [pick.reasons[0].params for pick in picks]


def test_the_story() -> None:
    """Due on Friday 23 October with 5 working days left, not a day earlier, not again on Monday."""
    shelf = held((1, PICKED))
    assert recalled(at(10, 22), shelf) == []
    found = recalled(at(10, 23), shelf)
    assert [(p.notice_id, p.kind, p.propensity, p.score) for p in found] == [(1, "reminder", 1.0, 0.0)]
    assert found[0].reasons == (Reason("reminder", ("2026-10-30", "5"), 1.0),)
    shelf = after(shelf, found, at(10, 23))
    for day in range(23, 29):
        assert recalled(at(10, day, 20), shelf) == []
    found = recalled(at(10, 29), shelf)
    assert params(found) == [("2026-10-30", "1")]
    shelf = after(shelf, found, at(10, 29))
    assert recalled(at(10, 29, 12), shelf) == recalled(at(10, 30), shelf) == []


def test_over_the_days_there_is_one_reminder_a_step_also_over_a_holiday() -> None:
    """Golden week: 5 working days left for eight days, while full editions push things off."""
    deadline = at(10, 14, 17)
    one, shelf, told = award(deadline), held((1, at(9, 15))), []
    for n in range(30):
        now = at(9, 16) + n * DAY
        found = recalled(now, shelf, one)
        told += [(local_date(now, ZONE), pick.reasons[0].params[1]) for pick in found]
        shelf = after(shelf, found, now)
        shelf = after(shelf, [Pick(100 + 10 * n + k, 1, "new", ()) for k in range(10)], now)
        shelf = replace(shelf, picks=shelf.picks[:50])
    assert [left for _, left in told] == ["5", "1"]
    assert [city().calendar.between(day, date(2026, 10, 14)) for day, _ in told] == [5, 1]


def test_nobody_is_told_of_what_they_never_got() -> None:
    other = held((2, PICKED))
    assert recalled(at(10, 23), other) == []
    assert near(at(10, 23)).holding([other, held((1, PICKED)), stored(held((1, PICKED)))]) == [1, 2]
    assert near(at(10, 22)).holding([held((1, PICKED))]) == []


def test_what_was_picked_late_is_recalled_only_at_the_next_step() -> None:
    assert recalled(at(10, 26), held((1, at(10, 23)))) == []
    assert params(recalled(at(10, 26), held((1, at(10, 22))))) == [("2026-10-30", "4")]
    assert params(recalled(at(10, 29), held((1, at(10, 26))))) == [("2026-10-30", "1")]
    assert recalled(at(10, 30), held((1, at(10, 29)))) == []


def test_a_run_that_came_late_recalls_once_with_the_true_figure() -> None:
    shelf = held((1, PICKED))
    assert params(recalled(at(10, 27), shelf)) == [("2026-10-30", "3")]
    found = recalled(at(10, 29), shelf)
    assert params(found) == [("2026-10-30", "1")]
    assert recalled(at(10, 30), after(shelf, found, at(10, 29))) == []
    assert params(recalled(at(10, 30), shelf)) == [("2026-10-30", "0")]


def test_what_fell_off_the_shelf_is_recalled_within_three_days_of_a_step() -> None:
    forgotten = Shelf(1, 9, (), frozenset({1}))
    assert [bool(recalled(at(10, day), forgotten)) for day in range(21, 31)] == [
        False, False, True, True, True, False, False, False, True, True,
    ]  # fmt: skip


def test_a_deadline_that_passed_or_is_missing_is_not_recalled() -> None:
    shelf = held((1, PICKED))
    assert recalled(at(10, 30, 18), shelf) == []
    assert recalled(at(10, 23), shelf, award(None)) == []
    assert recalled(at(10, 23), shelf, award(ends=at(10, 20))) == []


def test_a_deadline_that_moved_counts_anew() -> None:
    shelf = held((1, PICKED))
    shelf = after(shelf, recalled(at(10, 23), shelf), at(10, 23))
    later = award(at(11, 6, 17), revision=2)
    assert recalled(at(10, 29), shelf, later) == []
    found = recalled(at(10, 30), shelf, later)
    assert params(found) == [("2026-11-06", "5")] and found[0].revision == 2
    shelf = after(shelf, found, at(10, 30))
    assert recalled(at(11, 2), shelf, later) == []
    sooner = award(at(11, 3, 17), revision=3)
    assert params(recalled(at(11, 2), shelf, sooner)) == [("2026-11-03", "1")]


@pytest.mark.parametrize("mute", ["theme:0402", "theme:04", "word:通知"])
def test_what_is_muted_is_not_recalled(mute: str) -> None:
    shelf = held((1, PICKED))
    assert recalled(at(10, 23), shelf, who=person(mutes=(mute,))) == []


def test_a_deadline_is_recalled_whatever_else_was_chosen() -> None:
    for changes in ({"personalised": False}, {"roles": ("aid",)}, {"discreet": True}):
        assert recalled(at(10, 23), held((1, PICKED)), who=person(**changes))


def test_the_nearest_comes_first() -> None:
    shelf = held((3, PICKED), (1, PICKED), (2, PICKED))
    notices = award(DEADLINE, 3), award(DEADLINE - DAY, 2), award(DEADLINE, 1)
    assert [p.notice_id for p in recalled(at(10, 23), shelf, *notices)] == [2, 1, 3]


def test_known_days_spare_the_counting_and_change_nothing() -> None:
    held_here = pool([award(DEADLINE - n * DAY, n + 1) for n in range(12)] + [award(None, 50)], city())
    now = at(10, 23)
    zone_day = local_date(now, ZONE)
    known = [
        -1 if c.deadline is None or c.deadline < now
        else city().calendar.between(zone_day, local_date(c.deadline, ZONE))
        for c in held_here.candidates
    ]  # fmt: skip
    assert coming(held_here, now, known) == coming(held_here, now)


def test_nothing_near() -> None:
    assert not near(at(8, 3)).notices
    assert coming(pool([], city()), at(10, 23)).holding([held((1, PICKED))]) == []
    assert near(at(10, 23)).holding([]) == []


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(8, 17), st.sets(st.integers(0, 60), max_size=61),
    st.integers(0, 10),
)  # fmt: skip
def test_however_runs_fall_no_step_comes_twice(
    picked: int, open_for: int, hour: int, missed: set[int], pace: int
) -> None:
    start = at(9, 1, hour)
    deadline = start + (picked + open_for) * DAY
    one, shelf = award(deadline), held((1, start + picked * DAY))
    steps: list[int] = []
    for n in range(picked, picked + open_for + 3):
        if n in missed:
            continue
        now = start + n * DAY + timedelta(hours=1)
        found = recalled(now, shelf, one)
        assert len(found) <= 1
        for pick in found:
            left = int(pick.reasons[0].params[1])
            assert left == city().calendar.between(local_date(now, ZONE), local_date(deadline, ZONE))
            steps.append(min(step for step in STEPS if left <= step))
        shelf = after(shelf, found, now)
        shelf = after(shelf, [Pick(100 + 10 * n + k, 1, "new", ()) for k in range(pace)], now)
        shelf = replace(shelf, picks=shelf.picks[:50])
    assert steps == sorted(set(steps), reverse=True)
