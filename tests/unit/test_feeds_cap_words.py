"""The priority rule, the colours and the words for levels."""

from __future__ import annotations

from itertools import product

import pytest

from feeds.intake.cap_words import (
    CERTAINTY,
    SEVERITY,
    URGENCY,
    colour_in,
    colour_of,
    level,
    levels_sentence,
    priority_of,
    strength,
)


@pytest.mark.parametrize(
    ("levels", "priority"),
    [
        (("Extreme", "Immediate", "Observed"), "emergency"),
        (("Severe", "Expected", "Likely"), "emergency"),
        (("Severe", "Immediate", "Likely"), "emergency"),
        (("Severe", "Future", "Likely"), "mandatory"),
        (("Severe", "Expected", "Possible"), "mandatory"),
        (("Moderate", "Immediate", "Observed"), "mandatory"),
        (("Moderate", "Future", "Possible"), "mandatory"),
        (("Extreme", "Past", "Observed"), "normal"),
        (("Extreme", "Immediate", "Unlikely"), "normal"),
        (("Extreme", "Unknown", "Unknown"), "normal"),
        (("Minor", "Immediate", "Observed"), "normal"),
        (("Unknown", "Immediate", "Observed"), "normal"),
    ],
)
def test_priority(levels: tuple[str, str, str], priority: str) -> None:
    assert priority_of(*levels) == priority


@pytest.mark.parametrize(
    ("levels", "colour", "priority"),
    [
        (("Extreme", "Unknown", "Unknown"), "红", "emergency"),
        (("Severe", "Unknown", "Unknown"), "橙", "emergency"),
        (("Moderate", "Unknown", "Unknown"), "黄", "mandatory"),
        (("Minor", "Unknown", "Unknown"), "蓝", "normal"),
        (("Extreme", "Past", "Unknown"), "红", "normal"),
        (("Severe", "Future", "Possible"), "橙", "mandatory"),
    ],
)
def test_a_colour_implies_how_soon_and_how_surely(
    levels: tuple[str, str, str], colour: str, priority: str
) -> None:
    assert priority_of(*levels, colour=colour) == priority


def test_an_all_clear_is_never_an_emergency() -> None:
    for levels in product(SEVERITY, URGENCY, CERTAINTY):
        assert priority_of(*levels, response=("AllClear",)) == "normal"


def test_more_severe_never_means_less_urgent() -> None:
    order = ["normal", "mandatory", "emergency"]
    for urgency, certainty in product(URGENCY, CERTAINTY):
        ranks = [order.index(priority_of(one, urgency, certainty)) for one in SEVERITY]
        assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    ("title", "colour"),
    [
        ("示例市气象台发布台风橙色预警", "橙"),
        ("台风红色预警信号生效", "红"),
        ("暴雨蓝色（预警）", "蓝"),
        ("大雾黄色 警报", "黄"),
        ("台风橙色预警升级为红色预警", ""),  # two: which one holds cannot be told
        ("红色预警，红色预警", "红"),
        ("红色文化展", ""),
        ("Orange warning", ""),
    ],
)
def test_colours_in_titles(title: str, colour: str) -> None:
    assert colour_in(title) == colour


def test_values_in_any_spelling() -> None:
    assert [level(SEVERITY, one) for one in ("SEVERE", " red ", "橙色", "Blue", "terrible", "")] == [
        "Severe", "Extreme", "Severe", "Minor", "", "",
    ]  # fmt: skip
    assert level(CERTAINTY, "Very Likely") == "Likely"  # CAP 1.0
    assert level(URGENCY, "red") == ""
    assert [colour_of(one) for one in SEVERITY] == ["红", "橙", "黄", "蓝", ""]
    assert [strength(one) for one in SEVERITY] == [4, 3, 2, 1, 0]


def test_words() -> None:
    assert levels_sentence("Extreme", "Immediate", "Observed", chinese=True) == (
        "严重程度：特别严重（红色）；紧迫程度：立即应对；可能性：已发生。"
    )
    assert levels_sentence("Unknown", "Past", "Possible", chinese=False) == (
        "Severity: not stated; urgency: no action needed any more; certainty: possible."
    )
