"""The trial slot: its stated chances are the true ones, and some notices are never tried."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from recommender import explore as module
from recommender.candidates import Pool, pool
from recommender.clickthrough import Clickthrough
from recommender.explore import DRAWS, Arms, Explored, Field, Turn, arms, field_of, turns
from recommender.types import Candidate, Mask
from tests.unit.recommender_world import NOW, candidate, city, person

TODAY = date(2026, 10, 12)
THEMES = tuple(code for code, theme in city().themes.items() if not theme.parent)
OPEN = tuple(code for code in THEMES if not city().themes[code].sensitive)[:5]


def explore(
    cells: Mask, rows: list[int], draws: list[Turn], ground: Field, drawn: Arms
) -> list[Explored | None]:
    """The real one, told by columns of the pool."""
    return module.explore(cells[:, ground.columns], rows, draws, ground, drawn)


def turn(seed: int, number: int, day: date) -> Turn:
    return turns(seed, [number], day)[0]


def world(per_theme: int = 4) -> tuple[Pool, Arms]:
    made = [candidate(10 * t + n, f"theme:{code}") for t, code in enumerate(OPEN) for n in range(per_theme)]
    return pool(made, city()), arms(None, THEMES, 7, TODAY)


def every_way(cells: Mask, held: Pool, drawn: Arms, row: int = 0, lots: int = 1) -> dict[int, list[float]]:
    """All (draw, notice) choices of one profile: column → chances stated, as often as made."""
    ground = field_of(held, THEMES)
    draws = [(n, k) for n in range(DRAWS) for k in range(lots)]
    found: dict[int, list[float]] = {}
    rows = [row] * len(draws)
    for one in explore(np.repeat(cells, len(draws), axis=0), rows, draws, ground, drawn):
        if one is not None:
            found.setdefault(one[0], []).append(one[1])
    return found


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.bool_, (1, 20)))
def test_stated_chances_are_exact_and_sum_to_one(cells: Mask) -> None:
    held, drawn = world()
    lots = 12  # divided by 1, 2, 3 and 4: every number of open notices here
    ways = every_way(cells, held, drawn, lots=lots)
    if not cells.any():
        assert not ways
        return
    for column, stated in ways.items():
        assert cells[0, column]
        assert len(set(stated)) == 1
        assert len(stated) / (DRAWS * lots) == pytest.approx(stated[0], abs=1e-12)
    assert sum(stated[0] for stated in ways.values()) == pytest.approx(1, abs=1e-12)


def test_over_many_people_each_is_tried_as_often_as_stated() -> None:
    held, drawn = world()
    ground, people = field_of(held, THEMES), 40_000
    cells = np.ones((people, len(held)), dtype=bool)
    found = explore(cells, [0] * people, turns(3, range(people), TODAY), ground, drawn)
    stated = dict(one for one in found if one is not None)
    made = Counter(one[0] for one in found if one is not None)
    for column, chance in stated.items():
        error = (chance * (1 - chance) / people) ** 0.5
        assert abs(made[column] / people - chance) < 4.5 * error + 1e-9
    assert sum(stated.values()) == pytest.approx(1, abs=1e-9)


def test_a_batch_gives_what_each_alone_gives() -> None:
    held, drawn = world()
    ground = field_of(held, THEMES)
    cells = np.random.default_rng(1).random((50, len(held))) < 0.3
    draws = turns(0, range(50), TODAY)
    together = explore(cells, [0] * 50, draws, ground, drawn)
    alone = [explore(cells[n : n + 1], [0], draws[n : n + 1], ground, drawn)[0] for n in range(50)]
    assert together == alone


def counted(clicks: float, shows: float, theme: str, role: str = "citizen") -> Clickthrough:
    roles = ("citizen", "enterprise")
    arrays_ = [np.zeros((3, len(THEMES)), dtype=np.float32) for _ in range(3)]
    line = roles.index(role) + 1
    arrays_[1][line, THEMES.index(theme)] = clicks
    arrays_[2][line, :] = shows
    return Clickthrough(roles, THEMES, *arrays_, NOW)


def test_what_is_opened_is_tried_more_and_what_is_not_less() -> None:
    held, flat = world()
    cells = np.ones((1, len(held)), dtype=bool)
    liked = arms(counted(60, 300, OPEN[0]), THEMES, 7, TODAY)
    row = liked.row_of(person(1, roles=("citizen",)))

    def share(drawn: Arms, line: int) -> float:
        winners, shares = drawn.winners(line, np.isin(THEMES, OPEN).tobytes())
        assert len(winners) == DRAWS
        return shares[THEMES.index(OPEN[0])]

    assert share(flat, 0) == pytest.approx(1 / 5, abs=0.07)
    assert share(liked, row) > 0.95
    # Another role has not been shown anything: it is still open what it likes.
    assert liked.row_of(person(1, roles=("enterprise",))) == 0
    assert share(liked, 0) < 0.4
    never = arms(counted(0, 300, OPEN[0]), THEMES, 7, TODAY)
    assert every_way(cells, held, never, 1)


def test_rows_follow_the_first_role_that_was_counted() -> None:
    drawn = arms(counted(1, 20, OPEN[0], "enterprise"), THEMES, 7, TODAY)
    assert drawn.row_of(person(1)) == 0
    assert drawn.row_of(person(1, roles=("citizen", "enterprise"))) == 2
    assert drawn.row_of(person(1, roles=("aid",))) == 0


def test_same_seed_and_day_same_draws() -> None:
    one, same = arms(None, THEMES, 7, TODAY), arms(None, THEMES, 7, TODAY)
    assert (one.draws == same.draws).all()
    assert (one.draws != arms(None, THEMES, 8, TODAY).draws).any()
    assert (one.draws != arms(None, THEMES, 7, date(2026, 10, 13)).draws).any()
    assert turn(7, 1, TODAY) == turn(7, 1, TODAY) != turn(7, 2, TODAY)
    assert turn(7, 1, TODAY) != turn(7, 1, date(2026, 10, 13))
    arms(None, THEMES, -1, TODAY)  # any whole number is a seed


def sensitive_tag() -> str:
    found = [f"theme:{code}" for code, theme in city().themes.items() if theme.sensitive]
    found += [f"life:{code}" for code, life in city().life_events.items() if life.sensitive]
    return (found or ["role:aid"])[0]


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ((f"theme:{OPEN[0]}",), {"priority": "mandatory"}),
        ((f"theme:{OPEN[0]}",), {"priority": "emergency"}),
        ((f"theme:{OPEN[0]}", sensitive_tag()), {}),
        ((f"theme:{OPEN[0]}", "role:aid"), {}),
        ((f"theme:{OPEN[0]}", "place:sl01"), {"level": "district", "place": "sl01"}),
        ((f"theme:{OPEN[0]}",), {"level": "elsewhere", "place": "elsewhere"}),
        (("type:news",), {}),
        (("theme:nonsense",), {}),
    ],
)
def test_what_is_never_tried(names: tuple[str, ...], changes: dict[str, Any]) -> None:
    held = pool([candidate(1, *names, **changes)], city())
    ground = field_of(held, THEMES)
    assert not ground.columns.size
    drawn = arms(None, THEMES, 7, TODAY)
    assert explore(np.ones((1, 1), dtype=bool), [0], [(0, 0)], ground, drawn) == [None]


def test_each_notice_stands_under_its_main_theme_once() -> None:
    child = next(code for code, theme in city().themes.items() if theme.parent == OPEN[1])
    both = candidate(1, f"theme:{OPEN[0]}", f"theme:{child}")
    heavy = [t if t.code == OPEN[0] else type(t)(t.kind, t.code, "test", 2.0) for t in both.tags]
    made: list[Candidate] = [both, candidate(2, f"theme:{child}"), candidate(3, *("theme:" + OPEN[2],))]
    made[0] = candidate(1, tags=tuple(heavy))
    held = pool(made, city())
    ground = field_of(held, THEMES)
    assert sorted(ground.columns.tolist()) == [0, 1, 2]
    assert [THEMES[n] for n in ground.present] == [OPEN[1], OPEN[2]]
    assert held.candidates[ground.columns[0]].notice_id == 1


def test_of_many_notices_the_newest_64_come() -> None:
    held = pool([candidate(n + 1, f"theme:{OPEN[0]}") for n in range(100)], city())
    ways = every_way(np.ones((1, 100), dtype=bool), held, arms(None, THEMES, 7, TODAY), lots=64)
    assert sorted(ways) == list(range(64))
    assert {stated[0] for stated in ways.values()} == {1 / 64}


def test_nothing_to_try() -> None:
    held, drawn = world()
    ground = field_of(held, THEMES)
    assert explore(np.zeros((2, len(held)), dtype=bool), [0, 0], [(1, 1)] * 2, ground, drawn) == [None, None]
    assert explore(np.zeros((0, len(held)), dtype=bool), [], [], ground, drawn) == []
    empty = pool([], city())
    assert explore(np.zeros((1, 0), dtype=bool), [0], [(1, 1)], field_of(empty, THEMES), drawn) == [None]
