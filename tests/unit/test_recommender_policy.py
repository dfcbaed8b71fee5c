"""After the score: reminders, the trial slot, the control group; never past a rule or the pace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.bulk import Statements
from profiles.packing import pack_ids, pack_picks
from profiles.reasons import CODES
from profiles.shelves import StoredShelf
from profiles.types import Pick, Profile, Shelf, ShelvedPick
from recommender.candidates import Pool, pool
from recommender.explain import Said
from recommender.policy import BESIDE, BY_RULE, Policy, Run, reworded
from recommender.rank import Ranked
from recommender.types import AGENCY_CAP, THEME_CAP, Candidate, Mask
from tests.unit.recommender_world import DAY, HOUR, NOW, candidate, city, person, shelf

OPEN = tuple(c for c, t in city().themes.items() if not t.parent and not t.sensitive)
DUE = 900  # the notice whose deadline is near
CLOSES = NOW + 4 * DAY  # Friday: 4 working days left


def notices(count: int = 40, *more: Candidate) -> Pool:
    """Notices 1 to ``count`` over all open themes, each of its own agency, and what is given more."""
    made = [
        candidate(n, f"theme:{OPEN[n % len(OPEN)]}", agency=f"office-{n}", fresh_at=NOW - n * HOUR)
        for n in range(1, count + 1)
    ]
    return pool([*made, *more], city())


def deadline(number: int = DUE, **changes: Any) -> Candidate:
    values: dict[str, Any] = {"deadline": CLOSES, "fresh_at": NOW - 100 * HOUR, "agency": "award"}
    return candidate(number, f"theme:{OPEN[0]}", **(values | changes))


class Arranged(NamedTuple):
    """One profile's edition, told apart."""

    columns: tuple[int, ...]
    by_rule: int
    reminders: tuple[Pick, ...]
    explored: tuple[int, float] | None


def arranged(
    held: Pool, columns: tuple[int, ...], *, who: Profile | None = None,
    own: Shelf | StoredShelf | None = None, limit: int = 10, by_rule: int = 0,
    policy: Policy | None = None, mask: Mask | None = None, before: tuple[int, ...] = (),
    control: bool = False, hidden: frozenset[int] = frozenset(),
) -> Arranged:  # fmt: skip
    who = who or person()
    run = (policy or Policy(seed=5)).begin(held, NOW)
    there = np.ones((1, len(held)), dtype=bool) if mask is None else mask
    made = run.apply(
        [who], [own or shelf(who.id)], [Ranked(columns, by_rule)], [limit], there, np.array([control]),
        [before], lambda _id: hidden,
    )  # fmt: skip
    found, told, chance = made.ranked[0], made.reminders.get(0, ()), made.chances.get(0)
    if chance is None:
        return Arranged(found.columns, found.by_rule, told, None)
    return Arranged(found.columns[:-1], found.by_rule, told, (found.columns[-1], chance))


FIVE = (0, 1, 2, 3, 4)
TEN = tuple(range(10))


def test_a_trial_stands_in_an_empty_slot_or_in_that_of_the_last_pick() -> None:
    found = arranged(notices(), FIVE)
    assert found.columns == FIVE and found.explored is not None
    column, chance = found.explored
    assert column not in FIVE and 0 < chance < 1
    full = arranged(notices(), TEN)
    assert full.columns == TEN[:9] and full.explored is not None and full.explored[0] not in TEN


@pytest.mark.parametrize(
    ("columns", "changes", "options"),
    [
        ((0, 1), {}, {}),
        ((0, 1, 2), {}, {"limit": 3}),
        ((0, 1, 2), {"pace": 3}, {"limit": 3}),
        (FIVE, {"pace": 3}, {}),
        (FIVE, {"personalised": False}, {}),
        (FIVE, {"discreet": True}, {}),
        (FIVE, {"roles": ("citizen", "aid")}, {}),
        (FIVE, {}, {"control": True}),
        (FIVE, {}, {"own": shelf(1, 0)}),
        (FIVE, {}, {"policy": Policy(explore=False)}),
        (FIVE, {}, {"mask": np.zeros((1, 40), dtype=bool)}),
        (FIVE, {}, {"by_rule": 3}),
    ],
)
def test_no_trial(columns: tuple[int, ...], changes: dict[str, Any], options: dict[str, Any]) -> None:
    found = arranged(notices(), columns, who=person(**changes), **options)
    assert found.explored is None and found.columns == columns


def test_one_trial_a_day() -> None:
    tried = Pick(77, 1, "explored", (), 0.0, 0.1)
    today = Shelf(1, 4, (ShelvedPick(tried, NOW - HOUR),), frozenset({77}))
    yesterday = Shelf(1, 4, (ShelvedPick(tried, NOW - DAY),), frozenset({77}))
    assert arranged(notices(), FIVE, own=today).explored is None
    assert arranged(notices(), FIVE, own=yesterday).explored is not None


def everything_tried(held: Pool, columns: tuple[int, ...], who: Profile, **options: Any) -> set[int]:
    """Columns that any of many seeds tries."""
    found = set()
    for seed in range(60):
        one = arranged(held, columns, who=who, policy=Policy(seed=seed), **options).explored
        found |= set() if one is None else {one[0]}
    return found


def test_what_a_resident_turned_away_from_is_not_tried() -> None:
    held, child = notices(12), next(c for c, t in city().themes.items() if t.parent == OPEN[1])
    held = notices(12, candidate(50, f"theme:{child}", agency="below"))
    plain = everything_tried(held, (0, 2, 3), person())
    column = held.column_of[50]
    assert column in plain
    turned = person(taste=((f"theme:{OPEN[1]}", -0.5), (f"theme:{OPEN[2]}", 2.0)))
    kept = everything_tried(held, (0, 2, 3), turned)
    gone = {n for n, c in enumerate(held.candidates) if any(t.code in (OPEN[1], child) for t in c.tags)}
    assert kept and not kept & gone


def test_a_trial_is_no_twin_and_breaks_no_cap() -> None:
    twin = candidate(60, f"theme:{OPEN[5]}", agency="elsewhere", twin="same")
    same = candidate(61, f"theme:{OPEN[6]}", agency="here", twin="same")
    held = notices(4, twin, same)
    one, other = held.column_of[60], held.column_of[61]
    rest = tuple(n for n in range(len(held)) if n not in (one, other))
    assert everything_tried(held, rest, person()) == {one, other}
    assert everything_tried(held, (one, *rest), person()) == set()
    crowd = [candidate(n, f"theme:{OPEN[0]}", agency="one" if n < 6 else f"o{n}") for n in range(1, 12)]
    more = [candidate(30 + n, f"theme:{OPEN[3]}", agency="one") for n in range(3)]
    full = pool([*crowd, *more, candidate(40, f"theme:{OPEN[3]}", agency="free")], city())
    mine = tuple(full.column_of[n] for n in (1, 2, 3, 7))
    assert AGENCY_CAP == 3 and THEME_CAP == 4
    assert everything_tried(full, mine, person()) == {full.column_of[40]}
    # What came earlier today counts as well.
    early = (full.column_of[1], full.column_of[2])
    later = tuple(full.column_of[n] for n in (3, 7, 8))
    assert everything_tried(full, later, person(), before=early) == {full.column_of[40]}


def test_only_what_may_be_offered_is_tried() -> None:
    held = notices()
    mask = np.zeros((1, 40), dtype=bool)
    mask[0, [0, 1, 2, 20, 21]] = True
    assert everything_tried(held, (0, 1, 2), person(), mask=mask) == {20, 21}


def test_chances_over_people_are_those_that_are_stated() -> None:
    held = notices(30)
    people = [person(n, roles=("citizen",)) for n in range(1, 6001)]
    run = Policy(seed=9).begin(held, NOW)
    columns = (0, 1, 2, 3)
    found = run.apply(
        people, [shelf(p.id) for p in people], [Ranked(columns, 0)] * len(people), [10] * len(people),
        np.ones((len(people), len(held)), dtype=bool), run.controlled(people), [()] * len(people),
    )  # fmt: skip
    tried = [(found.ranked[row].columns[-1], chance) for row, chance in found.chances.items()]
    assert len(tried) == len(people)
    stated = dict(tried)
    assert sum(stated.values()) == pytest.approx(1, abs=1e-6)
    for column, chance in stated.items():
        seen = sum(one[0] == column for one in tried) / len(people)
        assert abs(seen - chance) < 5 * (chance * (1 - chance) / len(people)) ** 0.5 + 1e-9


def test_same_seed_and_day_same_trial() -> None:
    assert arranged(notices(), FIVE) == arranged(notices(), FIVE)
    assert len(everything_tried(notices(), FIVE, person())) > 10


def holding(*picked: int, today: tuple[int, ...] = ()) -> Shelf:
    """A shelf with picks of five days ago."""
    old = tuple(ShelvedPick(Pick(n, 1, "new", ()), NOW - 5 * DAY) for n in picked)
    return Shelf(1, 3, old, frozenset(picked))


def unopened(own: Shelf) -> StoredShelf:
    """The same shelf as the ledger keeps it."""
    found = StoredShelf(own.profile_id, 0, b"", b"")
    for item in reversed(own.picks):
        packed, ids = pack_picks((item.pick,), CODES), pack_ids([item.pick.notice_id])
        found = found.after(packed, 1, ids, item.picked_at)
    return replace(found, version=own.version)


@pytest.mark.parametrize("kind", ["explored", "new"])
@pytest.mark.parametrize("ago", [HOUR, DAY])
def test_a_shelf_unopened_says_the_same(kind: Any, ago: Any) -> None:
    held = notices(40, deadline())
    today = ShelvedPick(Pick(77, 1, kind, (), 0.0, 0.5), NOW - ago)
    own = replace(holding(DUE), picks=(today, *holding(DUE).picks), picked=frozenset({DUE, 77}))
    opened, closed = arranged(held, FIVE, own=own), arranged(held, FIVE, own=unopened(own))
    assert opened == closed and len(opened.reminders) == 1
    assert (opened.explored is None) == (kind == "explored" and ago == HOUR)


def test_a_reminder_takes_a_slot_of_the_pace() -> None:
    held = notices(40, deadline())
    own = holding(DUE)
    found = arranged(held, FIVE, own=own, policy=Policy(explore=False))
    assert [p.notice_id for p in found.reminders] == [DUE] and found.columns == FIVE
    full = arranged(held, TEN, own=own, policy=Policy(explore=False))
    assert len(full.columns) == 9 and len(full.reminders) == 1
    both = arranged(held, TEN, own=own)
    assert len(both.columns) == 8 and len(both.reminders) == 1 and both.explored is not None
    assert not arranged(held, (), own=own, limit=0).reminders
    assert arranged(held, (), own=own).reminders


def test_reminders_take_half_the_pace_and_never_the_place_of_a_rule() -> None:
    held = notices(40, *(deadline(DUE + n) for n in range(8)))
    own = holding(*range(DUE, DUE + 8))
    found = arranged(held, TEN, own=own, policy=Policy(explore=False))
    assert len(found.reminders) == 5 and found.columns == TEN[:5]
    ruled = arranged(held, TEN, own=own, by_rule=8, policy=Policy(explore=False))
    assert len(ruled.reminders) == 2 and ruled.columns == TEN[:8] and ruled.by_rule == 8


def test_emergencies_take_no_slot() -> None:
    held = notices(20, *(candidate(n, "type:warning", priority="emergency") for n in (70, 71)))
    urgent = tuple(held.column_of[n] for n in (70, 71))
    rest = tuple(n for n in range(12) if n not in urgent)[:4]
    found = arranged(held, (*urgent, *rest), by_rule=2, limit=4)
    assert found.explored is not None and found.columns == (*urgent, *rest[:3])


def test_without_reminders_none_is_made() -> None:
    held = notices(10, deadline())
    own = holding(DUE)
    off = Policy(explore=False, remind=False)
    assert not arranged(held, FIVE, own=own, policy=off).reminders
    assert off.begin(held, NOW).near is None
    assert not arranged(held, FIVE, own=own, hidden=frozenset({DUE})).reminders


def test_who_is_in_the_control_group() -> None:
    people = [person(n) for n in range(400)] + [person(n, personalised=False) for n in range(400, 800)]
    held = notices(1)
    assert not Policy().begin(held, NOW).controlled(people).any()
    inside = Policy(control_share=0.2, key=b"k").begin(held, NOW).controlled(people)
    assert 40 < inside[:400].sum() < 130 and not inside[400:].any()


def reasons(said: Said, statements: Statements) -> list[list[tuple[str, float]]]:
    return [
        [(statements.all[said.said[n]][0], float(said.worth[n])) for n in range(begin, end)]
        for begin, end in zip(said.starts[:-1].tolist(), said.starts[1:].tolist(), strict=True)
    ]


def test_what_is_said_of_a_trial_and_to_the_control_group() -> None:
    words = Statements()
    lines = [
        [("interest", 2.0), ("taste", 0.5), ("role", 1.0)], [("learned", 1.5)],
        [("interest", 2.0), ("role", 1.0), ("place", 0.5)], [("mandatory", 10.0), ("interest", 1.0)],
        [("fresh", 0.5)], [],
    ]  # fmt: skip
    counts = np.cumsum([0, *map(len, lines)])
    flat = [one for own in lines for one in own]
    said = Said(
        counts, np.array([words.number(code) for code, _ in flat]),
        np.array([worth for _, worth in flat], dtype=np.float32),
    )  # fmt: skip
    none = np.zeros(6, dtype=bool)
    assert reworded(said, none, none, words) is said
    control = ~none
    control[3] = False  # stands by rule
    assert reasons(reworded(said, none, control, words), words) == [
        [("interest", 2.0), ("role", 1.0), ("control", BY_RULE)], [("control", BY_RULE)],
        [("interest", 2.0), ("role", 1.0), ("control", BY_RULE)], lines[3],
        [("control", BY_RULE)], [("control", BY_RULE)],
    ]  # fmt: skip
    tried = np.array([False, True, False, False, False, False])
    found = reasons(reworded(said, tried, none, words), words)
    assert found == [lines[0], [("explored", BY_RULE)], *lines[2:]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 29), unique=True, max_size=14), st.integers(0, 3), st.integers(0, 10),
    st.integers(0, 6), st.integers(0, 50), st.integers(2, 10), st.booleans(),
)  # fmt: skip
def test_nothing_is_moved_past_the_pace_a_rule_or_the_order(
    columns: list[int], by_rule: int, limit: int, dues: int, seed: int, pace: int, off: bool
) -> None:
    """Whatever was ranked: rules stay, the order stays, the pace holds, nothing stands twice."""
    held = notices(30, *(deadline(DUE + n) for n in range(6)))
    by_rule = min(by_rule, len(columns), limit)
    ranked = Ranked(tuple(columns[: max(limit, by_rule)]), by_rule)
    found = arranged(
        held, ranked.columns, who=person(pace=pace, personalised=not off), by_rule=by_rule, limit=limit,
        own=holding(*range(DUE, DUE + dues)), policy=Policy(seed=seed),
    )  # fmt: skip
    assert found.by_rule == by_rule and ranked.columns[: len(found.columns)] == found.columns
    assert len(found.columns) >= by_rule
    tried = () if found.explored is None else (found.explored[0],)
    assert len(found.columns) + len(found.reminders) + len(tried) <= limit
    assert len({*found.columns, *tried}) == len(found.columns) + len(tried)
    assert len(found.reminders) <= dues
    if tried:
        assert len(found.columns) - by_rule >= BESIDE and pace > BESIDE and not off


def test_a_run_of_nothing() -> None:
    run: Run = Policy(control_share=0.1).begin(pool([], city()), NOW)
    nobody: list[Profile] = []
    nothing = run.apply(nobody, [], [], [], np.zeros((0, 0), dtype=bool), run.controlled(nobody), [])
    assert not nothing.ranked
    alone = run.apply(
        [person()], [shelf()], [Ranked((), 0)], [10], np.zeros((1, 0), dtype=bool), np.array([False]), [()]
    )
    assert alone.ranked == [Ranked((), 0)] and not alone.reminders and not alone.chances


def test_a_policy_is_what_it_says() -> None:
    assert Policy() == replace(Policy(), seed=0) and Policy().control_share == 0 and Policy().explore
