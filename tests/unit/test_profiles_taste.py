"""The arithmetic of taste: bounded, in order, never moving what the resident set."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.catalogue.tagging import Tag
from profiles.taste import (
    HALF_LIFE,
    LEAST_WEIGHT,
    MOST_TAGS,
    MOST_WEIGHT,
    TASTE_KINDS,
    TasteTag,
    cut,
    fade,
    learn,
    lesson,
)
from tests.unit.recommender_world import city

KINDS = st.sampled_from([*TASTE_KINDS, "role", "word"])
TAGS = st.lists(
    st.builds(Tag, KINDS, st.sampled_from("abcdefgh"), st.just("test"), st.floats(0.01, 1.0)), max_size=6
)
VALUES = st.floats(-2.5, 2.5)
KNOWN = st.lists(
    st.builds(
        TasteTag, st.sampled_from([f"theme:{c}" for c in "abcdefghijkl"]), st.floats(-3, 3), st.booleans()
    ),
    unique_by=lambda item: item.tag,
    max_size=12,
)


def tag(name: str, weight: float = 1.0) -> Tag:
    return Tag(*name.split(":", 1), cause="test", weight=weight)


def weights(taste: list[TasteTag]) -> dict[str, float]:
    return {item.tag: item.weight for item in taste}


@given(KNOWN, st.lists(st.tuples(TAGS, VALUES), max_size=20))
def test_whatever_happens_taste_stays_bounded(
    known: list[TasteTag], events: list[tuple[list[Tag], float]]
) -> None:
    taste = known
    for tags, value in events:
        taste = learn(taste, tags, value)
        learned = [item for item in taste if not item.own]
        assert len(learned) <= MOST_TAGS
        assert all(abs(item.weight) <= MOST_WEIGHT for item in taste)
        if value:
            assert all(abs(item.weight) >= LEAST_WEIGHT for item in learned)
        assert [abs(item.weight) for item in taste] == sorted((abs(t.weight) for t in taste), reverse=True)
        assert len({item.tag for item in taste}) == len(taste)


@given(KNOWN, st.lists(st.tuples(TAGS, VALUES), max_size=20))
def test_what_the_resident_set_is_never_moved(
    known: list[TasteTag], events: list[tuple[list[Tag], float]]
) -> None:
    taste = known
    for tags, value in events:
        taste = learn(taste, tags, value)
    assert {item for item in taste if item.own} == {item for item in known if item.own}


@given(KNOWN, st.lists(TAGS, min_size=1, max_size=30))
def test_a_dropped_tag_never_comes_back(known: list[TasteTag], events: list[list[Tag]]) -> None:
    dropped = TasteTag("theme:a", 0.0, own=True)
    taste = [dropped, *(item for item in known if item.tag != dropped.tag)]
    for tags in events:
        taste = learn(taste, [*tags, tag("theme:a")], 1.0)
    assert weights(taste)["theme:a"] == 0.0


@given(KNOWN, TAGS)
def test_an_event_that_says_nothing_changes_nothing(known: list[TasteTag], tags: list[Tag]) -> None:
    assert set(learn(known, tags, 0.0)) == set(known)


def test_weights_fade_by_events_and_old_ones_are_forgotten() -> None:
    assert fade(2.0, HALF_LIFE) == pytest.approx(1.0)
    taste = learn([], [tag("theme:a")], 1.0)
    for _ in range(HALF_LIFE):
        taste = learn(taste, [tag("theme:b")], 0.5)
    assert weights(taste)["theme:a"] == pytest.approx(0.5)
    for _ in range(7 * HALF_LIFE):
        taste = learn(taste, [tag("theme:b")], 0.5)
    assert set(weights(taste)) == {"theme:b"}
    assert weights(taste)["theme:b"] == MOST_WEIGHT


def test_order_counts_and_is_that_of_the_events() -> None:
    like, dislike = ([tag("theme:a")], 3.0), ([tag("theme:a")], -1.0)
    there = learn(learn([], *like), *dislike)
    back = learn(learn([], *dislike), *like)
    assert weights(there)["theme:a"] == pytest.approx(fade(3.0) - 1.0)
    assert weights(back)["theme:a"] == pytest.approx(3.0 + fade(-1.0))


def test_of_too_many_tags_the_strongest_stay_and_ties_go_by_name() -> None:
    tags = [tag(f"agency:{n:03}", 0.5) for n in range(60)] + [tag("theme:z", 1.0)]
    taste = learn([], tags, 1.0)
    assert [item.tag for item in taste] == ["theme:z", *(f"agency:{n:03}" for n in range(MOST_TAGS - 1))]


def test_only_kinds_that_taste_is_made_of_are_learned() -> None:
    taste = learn([], [tag("role:aid"), tag("word:x"), *(tag(f"{kind}:a") for kind in TASTE_KINDS)], 1.0)
    assert {item.tag for item in taste} == {f"{kind}:a" for kind in TASTE_KINDS}


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        learn([], [tag("theme:a")], broken)
    with pytest.raises(ValueError, match="finite"):
        learn([], [tag("theme:a", broken)], 1.0)
    assert cut(9.0) == MOST_WEIGHT
    assert cut(-9.0) == -MOST_WEIGHT


def test_a_lesson_leaves_out_what_only_contains_something_else() -> None:
    town, place = city(), next(p for p in city().places.values() if p.kind == "street")
    assert place.parent is not None
    said = lesson(
        [
            tag("theme:04"), tag("theme:0402"), tag(f"place:{town.place}"), tag(f"place:{place.parent}"),
            tag(f"place:{place.code}"), tag("role:citizen"), tag("agency:tax", 0.8),
        ],
        town, (),
    )  # fmt: skip
    assert {(t.kind, t.code, t.weight) for t in said} == {
        ("theme", "0402", 1.0), ("theme", "04", 0.5), ("place", place.code, 1.0), ("agency", "tax", 0.8),
    }  # fmt: skip
    assert lesson([tag(f"place:{town.place}")], town, ()) == []


def test_something_sensitive_teaches_only_who_agreed_and_only_what_they_agreed_to() -> None:
    town = city()
    theme = next(item for item in town.themes.values() if item.sensitive and item.parent)
    tags = [tag(f"theme:{theme.code}"), tag(f"theme:{theme.parent}"), tag("role:aid"), tag("agency:tax")]
    assert lesson(tags, town, ()) == []
    assert lesson(tags, town, {"theme:0402"}) == []
    everything = lesson(tags, town, {f"theme:{theme.code}"})
    assert {t.code for t in everything} == {theme.code, theme.parent, "tax"}
    # Agreed to the role only: neither the theme nor what stands for it.
    assert {t.code for t in lesson(tags, town, {"role:aid"})} == {"tax"}
