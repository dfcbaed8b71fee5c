"""Shapes on the ground and whether they meet: polygons without holes, circles, points. Pure.

Exact enough for warnings: everything is measured in a plane around the first shape, which is off by less than
a percent over a few hundred kilometres. Shapes that only touch do meet: who stands on the line is warned.
Called by ``feeds.catalogue.shapes`` and ``feeds.intake.cap_areas``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]  # latitude, longitude in degrees
_KM_A_DEGREE = 111.195
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed line without holes; the last corner may repeat the first, or not."""

    corners: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Disc:
    """Everything within ``km`` of a point; 0 is the point itself."""

    centre: Point
    km: float = 0.0


Shape = Polygon | Disc


def box(south: float, west: float, north: float, east: float) -> Polygon:
    """A rectangle between two latitudes and two longitudes."""
    return Polygon(((south, west), (south, east), (north, east), (north, west)))


def is_usable(shape: Shape) -> bool:
    """Whether a shape lies on the globe and encloses something, or is a point."""
    points = shape.corners if isinstance(shape, Polygon) else (shape.centre,)
    if isinstance(shape, Polygon) and len(set(points)) < 3:
        return False
    if isinstance(shape, Disc) and not (0 <= shape.km < 20_100):
        return False
    return all(-90 <= lat <= 90 and -180 <= lon <= 180 for lat, lon in points)


def meets(one: Shape, other: Shape) -> bool:
    """Whether two shapes have a point in common."""
    origin = one.corners[0] if isinstance(one, Polygon) else one.centre
    if isinstance(one, Disc) and isinstance(other, Disc):
        return _distance(_flat(one.centre, origin), _flat(other.centre, origin)) <= one.km + other.km + _CLOSE
    if isinstance(one, Disc):
        return _disc_meets(one, other, origin) if isinstance(other, Polygon) else False
    if isinstance(other, Disc):
        return _disc_meets(other, one, origin)
    return _rings_meet(_ring(one, origin), _ring(other, origin))


def meets_any(one: Shape, others: Sequence[Shape]) -> bool:
    """Whether a shape meets one of several."""
    return any(meets(one, other) for other in others)


def _disc_meets(disc: Disc, polygon: Polygon, origin: Point) -> bool:
    centre, ring = _flat(disc.centre, origin), _ring(polygon, origin)
    return _inside(centre, ring) or any(
        _to_edge(centre, a, b) <= disc.km + _CLOSE for a, b in zip(ring, (*ring[1:], ring[0]), strict=True)
    )


def _rings_meet(one: Sequence[Point], other: Sequence[Point]) -> bool:
    if _inside(one[0], other) or _inside(other[0], one):
        return True
    edges = [*zip(other, (*other[1:], other[0]), strict=True)]
    return any(_cross(a, b, c, d) for a, b in zip(one, (*one[1:], one[0]), strict=True) for c, d in edges)


def _ring(polygon: Polygon, origin: Point) -> list[Point]:
    corners = list(polygon.corners)
    if len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    return [_flat(corner, origin) for corner in corners]


def _flat(point: Point, origin: Point) -> Point:
    """Kilometres east and north of ``origin``; the shorter way round the globe."""
    east = (point[1] - origin[1] + 180) % 360 - 180
    return east * _KM_A_DEGREE * math.cos(math.radians(origin[0])), (point[0] - origin[0]) * _KM_A_DEGREE


def _distance(a: Point, b: Point) -> float:
    return math.hypot(a[0] - b[0], a[1] - b[1])


def _inside(point: Point, ring: Sequence[Point]) -> bool:
    """Count how often a ray to the east crosses the line."""
    x, y = point
    odd = False
    for (ax, ay), (bx, by) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            odd = not odd
    return odd


def _to_edge(point: Point, a: Point, b: Point) -> float:
    length = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2
    if length == 0:
        return _distance(point, a)
    along = ((point[0] - a[0]) * (b[0] - a[0]) + (point[1] - a[1]) * (b[1] - a[1])) / length
    share = min(1.0, max(0.0, along))
    return _distance(point, (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])))


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two edges have a point in common."""
    sides = (_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b))
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(_to_edge(point, start, end) <= _CLOSE for start, end, point in ends)


def _turn(a: Point, b: Point, point: Point) -> float:
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
