"""What is opened more than usual, by role and theme: exact where counts are plain, else 0."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.feedback import FeedbackRow
from profiles.types import Profile
from recommender.candidates import pool
from recommender.clickthrough import (
    MIN_PEOPLE,
    MOST_LIFT,
    Clickthrough,
    candidate_lift,
    clickthrough,
    looked_at,
    row_shares,
)
from recommender.simulate import simulate
from tests.unit.recommender_world import DAY, HOUR, NOW, candidate, city, library, notice, person

TAXES, BOOKS = notice(1, "theme:0402"), notice(2, "theme:1402")
NOTICES = [TAXES, BOOKS]
TAX_TOP = city().themes["0402"].parent or "0402"
BOOK_TOP = city().themes["1402"].parent or "1402"


def people(count: int, first: int = 1, **changes: Any) -> list[Profile]:
    return [person(first + n, **changes) for n in range(count)]


def seen(profile: int, notice_id: int = 1, **changes: Any) -> FeedbackRow:
    values: dict[str, Any] = {"kind": "impression", "at": NOW - HOUR, "position": 0}
    return FeedbackRow(profile, notice_id, **(values | changes))


def act(profile: int, notice_id: int = 1, kind: Any = "click", **changes: Any) -> FeedbackRow:
    return FeedbackRow(profile, notice_id, kind, **({"at": NOW - HOUR / 2} | changes))


def counted(rows: list[FeedbackRow], profiles: list[Profile], **changes: Any) -> Clickthrough:
    return clickthrough(rows, profiles, NOTICES, city(), NOW, **changes)


def at(one: Clickthrough, row: str, theme: str, array: str = "lift") -> float:
    line = 0 if not row else one.roles.index(row) + 1
    return float(getattr(one, array)[line, one.themes.index(theme)])


def shown_to(profiles: list[Profile], opens: dict[int, int]) -> list[FeedbackRow]:
    """Each sees both notices; the first ``opens[id]`` of them open notice ``id``."""
    rows = [seen(p.id, number) for p in profiles for number in (1, 2)]
    return rows + [act(p.id, number) for number, many in opens.items() for p in profiles[:many]]


def test_no_rows_lift_nothing() -> None:
    for rows, profiles in ([], []), ([], people(9)), ([seen(n) for n in range(1, 10)], people(9)):
        found = counted(rows, profiles)
        assert not found.lift.any()
        assert found.lift.shape == (len(found.roles) + 1, len(found.themes))
        assert found.as_of == NOW and found.simulated_share == 0.0
    assert clickthrough([], [], [], city(), NOW).lift.shape == found.lift.shape


def test_plain_counts_give_the_plain_formula() -> None:
    group = people(100)
    found = counted(shown_to(group, {1: 40, 2: 10}), group, half_life_days=1e9)
    assert at(found, "", TAX_TOP, "clicks") == pytest.approx(40)
    assert at(found, "", TAX_TOP, "shows") == pytest.approx(100)
    usual = 50 / 200
    assert at(found, "", TAX_TOP) == pytest.approx(math.log((40 + 24 * usual) / 124 / usual), abs=1e-5)
    assert at(found, "", BOOK_TOP) == pytest.approx(math.log((10 + 24 * usual) / 124 / usual), abs=1e-5)
    others = [t for t in found.themes if t not in (TAX_TOP, BOOK_TOP)]
    assert all(at(found, "", theme) == pytest.approx(0, abs=1e-6) for theme in others)


def test_a_role_leans_on_everybody_and_few_lean_most() -> None:
    citizens, firms = people(200, 1, roles=("citizen",)), people(40, 1000, roles=("enterprise",))
    rows = shown_to(citizens, {1: 20, 2: 60}) + shown_to(firms, {1: 30, 2: 2})
    found = counted(rows, citizens + firms)
    assert at(found, "citizen", TAX_TOP) < 0 < at(found, "enterprise", TAX_TOP)
    # A role that nobody has stands where everybody stands.
    assert at(found, "tourist", TAX_TOP) == pytest.approx(at(found, "", TAX_TOP), abs=1e-5)
    half = counted(shown_to(citizens, {1: 20, 2: 60}) + shown_to(firms[:8], {1: 6, 2: 0}), citizens + firms)
    assert at(half, "", TAX_TOP) < at(half, "enterprise", TAX_TOP) < at(found, "enterprise", TAX_TOP)


def test_few_people_and_sensitive_roles_have_no_row_of_their_own() -> None:
    crowd = people(50, 1, roles=("citizen",))
    few = people(MIN_PEOPLE - 1, 500, roles=("investor",))
    needy = people(20, 900, roles=("aid",))
    rows = shown_to(crowd, {1: 5, 2: 20}) + shown_to(few, {1: 4}) + shown_to(needy, {1: 20})
    found = counted(rows, crowd + few + needy)
    assert "aid" not in found.roles
    assert at(found, "investor", TAX_TOP, "shows") == 0
    assert at(found, "investor", TAX_TOP) == pytest.approx(at(found, "", TAX_TOP), abs=1e-5)
    alone = counted([seen(1), act(1)], people(1))
    assert not alone.lift.any() and not alone.shows.any()


def test_where_clicks_are_rare_a_few_shows_without_one_say_little() -> None:
    group = people(400)
    rows = [seen(p.id, 2) for p in group] + [act(group[0].id, 2), act(group[1].id, 2)]
    rows += [seen(p.id, 1) for p in group[:60]]
    assert -0.15 < at(counted(rows, group), "", TAX_TOP) < 0


def test_a_repeat_is_no_second_chance_and_the_surest_show_counts() -> None:
    group = people(10)
    rows = [seen(p.id, sure=0.3, at=NOW - n * HOUR) for p in group for n in range(1, 9)]
    found = counted([*rows, *(act(p.id) for p in group[:3])], group, half_life_days=1e9)
    assert at(found, "", TAX_TOP, "shows") == pytest.approx(3)
    rows += [seen(p.id, sure=0.9) for p in group]
    found = counted([*rows, *(act(p.id) for p in group[:3])], group, half_life_days=1e9)
    assert at(found, "", TAX_TOP, "shows") == pytest.approx(9)
    assert at(found, "", TAX_TOP, "clicks") == pytest.approx(2.7)


def test_what_does_not_count() -> None:
    group = [*people(10), person(50, personalised=False)]
    base = [seen(p.id) for p in group[:10]] + [act(1), act(2)]
    plain = counted(base, group)
    odd = [
        seen(50), act(50),  # switched off
        seen(77), act(77),  # unknown resident
        seen(3, 99), act(3, 99),  # unknown notice
        act(4, 2),  # opened, never shown
        seen(5, 2, at=NOW + DAY), act(6, at=NOW + DAY),  # later than now
        act(7, kind="rating", value=3.0),
        act(8), act(8, kind="less", at=NOW),  # taken back
    ]  # fmt: skip
    assert counted(base + odd, group).arrays()["lift"].tolist() == plain.lift.tolist()
    assert counted([*base, act(7, kind="rating", value=4.0)], group).clicks.sum() > plain.clicks.sum()


def test_old_counts_fade() -> None:
    group = people(10)
    old = [seen(p.id, at=NOW - 14 * DAY) for p in group] + [act(1, at=NOW - 14 * DAY)]
    found = counted(old, group)
    assert at(found, "", TAX_TOP, "shows") == pytest.approx(5, rel=1e-3)
    assert at(found, "", TAX_TOP, "clicks") == pytest.approx(0.5, rel=1e-3)


def test_a_show_far_down_weighs_less() -> None:
    place = np.repeat(np.arange(1, 11), 1000)
    opened = np.zeros(place.size, dtype=bool)
    for n in range(10):  # as many as looked there: 200 at the first, 200 / n at the n-th
        opened[n * 1000 : n * 1000 + 200 // (n + 1)] = True
    found = looked_at(place, opened, np.ones(place.size, dtype=np.float32))[::1000]
    assert found[0] == 1
    assert (np.diff(found) <= 0).all()
    # Smoothed, so nearer to 1 than the truth, but on its side.
    truth = 1 / np.arange(1, 11)
    assert (np.abs(found - truth) < 0.15).all()


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=60))
def test_what_is_looked_at_stays_within_bounds(cells: list[tuple[int, bool]]) -> None:
    place = np.array([c[0] for c in cells], dtype=np.int64)
    opened = np.array([c[1] for c in cells], dtype=bool)
    found = looked_at(place, opened, np.ones(len(cells), dtype=np.float32))
    assert ((found >= np.float32(0.1)) & (found <= 1)).all()
    assert (found[place <= 1] == 1).all()


def test_position_is_corrected_for() -> None:
    """Two themes equally wanted, one always shown far down: only the plain rate tells them apart."""
    draw = np.random.default_rng(11)
    group, rows = people(4000), []
    for p in group:
        for number, place in ((1, 1 + draw.integers(0, 2)), (2, 7 + draw.integers(0, 3))):
            rows.append(seen(p.id, number, position=int(place)))
            if draw.random() < 0.3 / place**0.7:
                rows.append(act(p.id, number))
    found = counted(rows, group)
    bare = counted([replace(row, position=0) for row in rows], group)
    assert abs(at(found, "", BOOK_TOP)) < 0.35 * abs(at(bare, "", BOOK_TOP))


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.9), (0.5, 0.5), (0.25, 0.25), (0.0, 0.0)])
def test_simulated_rows_weigh_no_more_than_allowed(share: float, expected: float) -> None:
    real, made_up = people(10), people(90, -90)
    rows = shown_to(real, {1: 5}) + [replace(r, simulated=True) for r in shown_to(made_up, {2: 60})]
    found = counted(rows, real + made_up, simulated_share=share)
    assert found.simulated_share == pytest.approx(expected, abs=1e-3)
    if not share:
        assert found.lift.tolist() == pytest.approx(counted(shown_to(real, {1: 5}), real).lift)


def test_only_simulated_rows_count_nothing_where_none_are_allowed() -> None:
    made_up = people(30, -90)
    rows = [replace(r, simulated=True) for r in shown_to(made_up, {2: 20})]
    assert not counted(rows, made_up, simulated_share=0.9).lift.any()


def test_simulated_residents_have_lasting_likings() -> None:
    notices = library()
    made = simulate(notices, city(), residents=300, seed=3, now=NOW)
    found = clickthrough(made.rows, made.profiles, notices, city(), NOW, half_life_days=60)
    assert found.simulated_share == 1.0
    assert float(np.ptp(found.lift)) > 0.3
    assert np.abs(found.lift).max() <= MOST_LIFT


kinds = st.sampled_from(["impression", "open", "click", "save", "like", "dislike", "hide", "less", "rating"])
row = st.builds(
    FeedbackRow,
    profile_id=st.integers(1, 12), notice_id=st.integers(1, 4), kind=kinds,
    at=st.integers(-20, 2).map(lambda n: NOW + n * DAY), position=st.integers(-1, 40),
    simulated=st.booleans(), value=st.floats(0, 5), sure=st.floats(0, 1) | st.just(float("nan")),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(row, max_size=60), st.floats(0, 1), st.permutations(list(range(12))))
def test_any_rows_give_bounded_lifts_in_any_order(
    rows: list[FeedbackRow], share: float, mix: list[int]
) -> None:
    roles = [("citizen",), ("enterprise", "investor"), (), ("aid",)]
    group = [person(n + 1, roles=roles[n % 4]) for n in range(12)]
    one = counted(rows, group, simulated_share=share)
    assert np.isfinite(one.lift).all() and np.abs(one.lift).max() <= MOST_LIFT
    assert (one.shows >= 0).all() and (one.clicks >= 0).all()
    assert 0 <= one.simulated_share <= share + 1e-6
    other = counted(rows, [group[n] for n in mix], simulated_share=share)
    assert one.lift.tolist() == other.lift.tolist()


def test_candidates_take_the_mean_of_their_themes() -> None:
    group = people(60, roles=("citizen",))
    found = counted(shown_to(group, {1: 40, 2: 5}), group)
    held = pool(
        [
            candidate(1, "theme:0402"),
            candidate(2, "theme:0402", "theme:1402"),
            candidate(3),
            candidate(4, "theme:nonsense"),
            candidate(5, f"theme:{TAX_TOP}", "theme:0402"),
        ],
        city(),
    )
    lifts = candidate_lift(found, held)
    assert lifts.shape == (len(found.roles) + 1, 5) and lifts.dtype == np.float32
    column = {c.notice_id: n for n, c in enumerate(held.candidates)}
    tax, book = at(found, "citizen", TAX_TOP), at(found, "citizen", BOOK_TOP)
    line = lifts[found.roles.index("citizen") + 1]
    assert line[column[1]] == line[column[5]] == pytest.approx(tax)
    assert line[column[2]] == pytest.approx((tax + book) / 2)
    assert line[column[3]] == line[column[4]] == 0


def test_rows_speak_for_roles() -> None:
    found = counted([], [])
    asked = [
        person(1), person(2, roles=("citizen",)), person(3, roles=("citizen", "investor")),
        person(4, roles=("aid",)), person(5, roles=("citizen",), personalised=False),
    ]  # fmt: skip
    shares = row_shares(found, asked)
    citizen, investor = found.roles.index("citizen") + 1, found.roles.index("investor") + 1
    assert shares.sum(axis=1).tolist() == [1, 1, 1, 1, 0]
    assert shares[0, 0] == shares[1, citizen] == shares[3, 0] == 1
    assert shares[2, citizen] == shares[2, investor] == 0.5


def test_kept_beside_the_model_and_read_back() -> None:
    group = people(30)
    found = counted(shown_to(group, {1: 12, 2: 3}), group)
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    again = Clickthrough.of(facts, found.arrays())
    assert again.lift.tolist() == found.lift.tolist() and again.facts() == found.facts()


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "zone", "share", "roles"])
def test_what_does_not_fit_is_refused(spoil: str) -> None:
    found = counted([], [])
    facts, arrays = found.facts(), dict(found.arrays())
    if spoil == "missing":
        arrays.pop("shows")
    elif spoil == "shape":
        arrays["lift"] = arrays["lift"][:, 1:]
    elif spoil == "nan":
        arrays["clicks"] = np.full_like(found.lift, np.nan)
    elif spoil == "zone":
        facts["as_of"] = "2026-10-12T02:00:00"
    elif spoil == "share":
        facts["simulated_share"] = 1.5
    else:
        facts["roles"] = None
    with pytest.raises(ValueError, match="click-through"):
        Clickthrough.of(facts, arrays)


def test_the_clock_before_the_data_knows_nothing() -> None:
    group = people(30)
    rows = shown_to(group, {1: 12})
    found = clickthrough(rows, group, NOTICES, city(), NOW - timedelta(days=30))
    assert not found.lift.any()
