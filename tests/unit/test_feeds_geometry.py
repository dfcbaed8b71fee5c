"""Shapes meet, touch, or miss each other; near the poles' side of nothing, but across the date line too."""

from __future__ import annotations

import pytest

from feeds.kernel.geometry import Disc, Polygon, Shape, box, is_usable, meets

SQUARE = box(30.0, 121.0, 31.0, 122.0)
# An L: the corner in the north-east is not part of it.
ELL = Polygon(((30.0, 121.0), (30.0, 122.0), (30.4, 122.0), (30.4, 121.4), (31.0, 121.4), (31.0, 121.0)))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (SQUARE, box(30.5, 121.5, 31.5, 122.5), True),
        (SQUARE, box(31.1, 121.0, 32.0, 122.0), False),
        (SQUARE, box(31.0, 121.0, 32.0, 122.0), True),  # they only touch
        (SQUARE, box(30.4, 121.4, 30.6, 121.6), True),  # one inside the other
        (SQUARE, box(29.0, 120.0, 33.0, 124.0), True),
        (box(30.4, 120.0, 30.6, 124.0), box(29.0, 121.4, 32.0, 121.6), True),  # a cross: no corner inside
        (ELL, box(30.6, 121.6, 30.9, 121.9), False),  # in the notch
        (ELL, box(30.1, 121.1, 30.2, 121.2), True),
        (SQUARE, Disc((30.5, 121.5)), True),
        (SQUARE, Disc((31.1, 121.5)), False),
        (SQUARE, Disc((31.1, 121.5), 12.0), True),  # 0.1 degree north is 11.1 km
        (SQUARE, Disc((31.1, 121.5), 10.0), False),
        (SQUARE, Disc((30.5, 122.1), 9.0), False),  # east: 0.1 degree is 9.6 km here
        (SQUARE, Disc((30.5, 122.1), 10.5), True),
        (ELL, Disc((30.7, 121.7), 5.0), False),
        (Disc((30.0, 121.0), 5.0), Disc((30.0, 121.1), 5.0), True),
        (Disc((30.0, 121.0), 4.0), Disc((30.0, 121.1), 5.0), False),
        (Disc((30.0, 121.0)), Disc((30.0, 121.0)), True),
        (box(-1.0, 179.0, 1.0, 180.0), Disc((0.0, -179.9), 30.0), True),
    ],
)
def test_whether_they_meet(one: Shape, other: Shape, expected: bool) -> None:
    assert meets(one, other) is expected
    assert meets(other, one) is expected


@pytest.mark.parametrize(
    "shape",
    [
        Polygon(((30.0, 121.0), (30.1, 121.0), (30.0, 121.0))),
        Polygon(((30.0, 121.0), (91.0, 121.0), (30.0, 122.0))),
        Disc((30.0, 200.0)),
        Disc((30.0, 121.0), -1.0),
        Disc((30.0, 121.0), float("nan")),
    ],
)
def test_what_is_no_shape(shape: Shape) -> None:
    assert not is_usable(shape)


def test_a_closed_line_may_repeat_its_first_corner() -> None:
    closed = Polygon((*SQUARE.corners, SQUARE.corners[0]))
    assert is_usable(closed) and meets(closed, Disc((30.5, 121.5)))
