"""Reads what a city's files say about warnings: who may issue them, ready words, where places lie.

Checks every line like ``feeds.catalogue.city_files``, its only caller, which finds the files and cuts them
into rows. docs/cities.md is the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from feeds.catalogue.alert_templates import SLOTS, AlertTemplate, slots_of
from feeds.catalogue.issuers import SEVERITIES, WHO_KINDS, IssuerRule
from feeds.catalogue.vocabulary import CityError, Label, Place
from feeds.kernel.geometry import Disc, Point, Polygon, Shape, box, is_usable

ISSUER_COLUMNS = ("rule", "zh", "en", "who", "events", "most")
SHAPE_COLUMNS = ("place", "shape", "points", "km", "approximate", "source")
_SHAPES = ("box", "polygon", "circle", "point")
_URGENCIES = ("Immediate", "Expected", "Future", "Past", "Unknown")
_CERTAINTIES = ("Observed", "Likely", "Possible", "Unlikely", "Unknown")
_CATEGORIES = (
    "Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE",
    "Other",
)  # fmt: skip
_KEYS = {
    "id",
    "category",
    "severity",
    "urgency",
    "certainty",
    "hours",
    "event",
    "title",
    "body",
    "instruction",
}


class Row(Protocol):
    """One line of a CSV file, with the place to name in an error."""

    def need(self, column: str) -> str:
        """A cell that must not be empty."""

    def get(self, column: str) -> str:
        """A cell."""

    def many(self, column: str) -> tuple[str, ...]:
        """The parts of a cell between ``|``."""

    def flag(self, column: str) -> bool:
        """0 or 1."""

    def error(self, column: str, problem: str) -> CityError:
        """What is wrong here."""


def issuers_of(rows: Iterable[Row]) -> tuple[IssuerRule, ...]:
    """Read ``issuers.csv``."""
    return tuple(map(_issuer, rows))


def _issuer(row: Row) -> IssuerRule:
    who, most = row.many("who"), row.need("most")
    for name in who:
        kind, _, rest = name.partition(":")
        if kind not in WHO_KINDS or bool(rest) == (kind == "office"):
            raise row.error("who", f"{name!r} must be office or begin with sender:, source: or agency:")
    if not who:
        raise row.error("who", "is empty")
    if most not in SEVERITIES:
        raise row.error("most", f"{most!r} is not one of {', '.join(SEVERITIES)}")
    events = row.many("events")
    if not events:
        raise row.error("events", "is empty; * means every event")
    return IssuerRule(row.need("rule"), row.need("zh"), row.need("en"), who, events, most)


def shapes_of(rows: Iterable[Row], places: Mapping[str, Place]) -> dict[str, Shape]:
    """Read ``shapes.csv``: place → where it lies."""
    found: dict[str, Shape] = {}
    for row in rows:
        code = row.need("place")
        if code not in places:
            raise row.error("place", f"{code!r} is not a place")
        row.flag("approximate")
        row.need("source")
        found[code] = _shape(row)
    return found


def _shape(row: Row) -> Shape:
    kind, points = row.need("shape"), _points(row)
    if kind not in _SHAPES:
        raise row.error("shape", f"{kind!r} is not one of {', '.join(_SHAPES)}")
    wanted = {"box": 2, "circle": 1, "point": 1}.get(kind)
    if wanted is not None and len(points) != wanted:
        raise row.error("points", f"a {kind} has {wanted} of them, not {len(points)}")
    shape: Shape
    if kind == "box":
        (south, west), (north, east) = points
        if south >= north or west >= east:
            raise row.error("points", "a box is its south-west corner, then its north-east one")
        shape = box(south, west, north, east)
    elif kind == "polygon":
        shape = Polygon(points)
    else:
        shape = Disc(points[0], _km(row) if kind == "circle" else 0.0)
    if not is_usable(shape):
        raise row.error("points", "lie outside the globe, or enclose nothing")
    return shape


def _points(row: Row) -> tuple[Point, ...]:
    points = []
    for pair in row.need("points").split():
        lat, _, lon = pair.partition(",")
        try:
            points.append((float(lat), float(lon)))
        except ValueError:
            raise row.error("points", f"{pair!r} is not latitude,longitude") from None
    return tuple(points)


def _km(row: Row) -> float:
    try:
        km = float(row.need("km"))
    except ValueError:
        raise row.error("km", f"{row.get('km')!r} is not a number") from None
    if not 0 < km < 1000:
        raise row.error("km", "must be above 0 and below 1000")
    return km


def templates_of(entries: Any, where: str) -> Iterable[AlertTemplate]:
    """Read the ``[[template]]`` tables of one ``alert_templates.toml``."""
    if not isinstance(entries, list):
        raise CityError(f"{where}: only [[template]] tables may stand here")
    for entry in entries:
        yield _template(entry, where)


def _template(entry: Mapping[str, Any], where: str) -> AlertTemplate:
    code = entry.get("id")
    if not isinstance(code, str) or not code:
        raise CityError(f"{where}, id: every template needs one")
    where = f"{where}, template {code!r}"
    for key in sorted(set(entry) ^ _KEYS):
        raise CityError(f"{where}, {key}: {'unknown field' if key in entry else 'is missing'}")
    for key, known in (
        ("category", _CATEGORIES), ("severity", SEVERITIES), ("urgency", _URGENCIES),
        ("certainty", _CERTAINTIES),
    ):  # fmt: skip
        if entry[key] not in known:
            raise CityError(f"{where}, {key}: {entry[key]!r} is not one of {', '.join(known)}")
    hours = entry["hours"]
    if not isinstance(hours, (int, float)) or not 0 < hours <= 168:
        raise CityError(f"{where}, hours: must be above 0 and at most 168")
    labels = {key: _label(entry[key], f"{where}, {key}") for key in ("event", "title", "body", "instruction")}
    return AlertTemplate(
        code, labels["event"], entry["category"], entry["severity"], entry["urgency"], entry["certainty"],
        float(hours), labels["title"], labels["body"], labels["instruction"],
    )  # fmt: skip


def _label(value: Any, where: str) -> Label:
    if not isinstance(value, Mapping) or set(value) != {"zh", "en"}:
        raise CityError(f"{where}: needs zh and en")
    for lang, text in value.items():
        if not isinstance(text, str) or not text.strip():
            raise CityError(f"{where}, {lang}: is empty")
        for slot in sorted(slots_of(text) - set(SLOTS)):
            raise CityError(f"{where}, {lang}: there is no slot {{{slot}}}; choose from {', '.join(SLOTS)}")
    return Label(value["zh"].strip(), value["en"].strip())
