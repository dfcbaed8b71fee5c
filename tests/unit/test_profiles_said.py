"""What acts on one notice come to: which opinion holds, and what it says about taste."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.feedback import FeedbackRow
from profiles.said import OPINIONS, SHOWS_AGAIN, USES, Said, said, worth
from profiles.types import FeedbackKind
from tests.factories import NOW


def acts(*kinds: str) -> list[FeedbackRow]:
    """Acts as they are stored; ``rating5`` rates with five stars."""
    return [act(kind) for kind in kinds]


def act(kind: str) -> FeedbackRow:
    stars = float(kind[-1]) if kind[-1].isdigit() else 0.0
    name: FeedbackKind = "rating" if stars else kind  # type: ignore[assignment]
    return FeedbackRow(1, 1, name, NOW, value=stars)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), Said()),
        (("open", "click"), Said()),
        (("like",), Said("like", weight=1.0)),
        (("like", "dislike"), Said("dislike", weight=-1.0)),
        (("less", "save"), Said("", saved=True, weight=1.0)),
        (("dislike", "rating4"), Said("", rating=4, weight=0.5)),
        (("like", "rating2"), Said("like", rating=2, weight=-0.5)),
        (("less", "hide"), Said("less", hidden=True, weight=-1.0)),
        (("rating1", "hide"), Said("", hidden=True, rating=1, weight=-1.0)),
        (("like", "hide"), Said("like", hidden=True, weight=-0.5)),
        (("hide", "less"), Said("less", hidden=True, weight=-1.0)),
        (("hide", "save"), Said("", saved=True, weight=1.0)),
        (("rating5", "save"), Said("", saved=True, rating=5, weight=1.0)),
        (("rating2", "save"), Said("", saved=True, rating=2, weight=-0.5)),
        (("save", "rating2"), Said("", saved=True, rating=2, weight=-0.5)),
        (("rating2", "like", "save"), Said("like", saved=True, rating=2, weight=1.0)),
    ],
)
def test_the_latest_word_counts_and_milder_ones_take_nothing_away(
    kinds: tuple[str, ...], expected: Said
) -> None:
    assert said(acts(*kinds)) == expected


KINDS = st.lists(st.sampled_from([*(k for k in OPINIONS if k != "rating"), *USES, "rating1", "rating4"]))


@given(KINDS)
def test_what_is_said_stays_in_bounds_and_uses_count_once(kinds: list[str]) -> None:
    rows = acts(*kinds)
    told = said(rows)
    assert -1 <= told.weight <= 1
    assert told == said([row for row in rows if row.kind in OPINIONS])
    used = 0.3 * ("open" in kinds) + 0.5 * ("click" in kinds)
    assert worth(rows) == pytest.approx(told.weight + used)


@given(KINDS)
def test_hiding_never_helps_and_the_last_of_hiding_and_showing_decides(kinds: list[str]) -> None:
    rows = acts(*kinds)
    assert said([*rows, act("hide")]).weight <= min(said(rows).weight, -0.5)
    telling = [kind for kind in kinds if kind == "hide" or kind in SHOWS_AGAIN]
    assert said(rows).hidden == (telling[-1:] == ["hide"])
