"""Reads one ``info`` element of a CAP message: its language, levels and areas, and what is odd about them.

Pure. Also holds what the readers of messages share. Called by :mod:`feeds.intake.parsers.cap_alert`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import Priority
from feeds.intake.cap_words import (
    CERTAINTY,
    COLOURS,
    SEVERITY,
    UNKNOWN,
    URGENCY,
    colour_in,
    colour_of,
    level,
    priority_of,
    strength,
)
from feeds.intake.dates import parse_when
from feeds.intake.fields import one_line
from feeds.intake.parsers.xml_tree import Element
from feeds.intake.types import Deletion, Oddity, RawEntry

MAX_POINTS = 20_000  # of all areas of one message
MAX_AREAS = 2000
HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(slots=True)
class Found:
    """What a document's messages came to, collected while it is read."""

    entries: list[RawEntry] = field(default_factory=list)
    deleted: list[Deletion] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)

    def odd(self, line: int, where: str, problem: str, message: str, *, dropped: bool = False) -> None:
        """Note something odd about message number ``line``."""
        self.oddities.append(Oddity(line, where, problem, message, dropped))


@dataclass(frozen=True, slots=True)
class Head:
    """What holds for a whole message."""

    line: int
    id: str
    identifier: str
    sender: str
    sent: datetime
    sent_given: str
    msg_type: str
    references: tuple[str, ...]
    alert: Element


@dataclass(frozen=True, slots=True)
class Block:
    """One ``info`` element, read."""

    info: Element
    lang: str
    severity: str
    urgency: str
    certainty: str
    colour: str
    response: tuple[str, ...]
    areas: tuple[dict[str, Any], ...]

    @property
    def priority(self) -> Priority:
        """How urgently it is passed on."""
        return priority_of(
            self.severity, self.urgency, self.certainty, colour=self.colour, response=self.response
        )

    @property
    def strength(self) -> int:
        """Its severity as a number, 0 to 4."""
        return strength(self.severity)


def values_of(blocks: Sequence[Block], name: str) -> list[str]:
    """Texts of all elements of one name in several blocks, each once."""
    found = (one_line(one.text) for block in blocks for one in block.info.all(name))
    return list(dict.fromkeys(text for text in found if text))


def read_block(info: Element, head: Head, found: Found, zone: ZoneInfo) -> Block | None:
    """Read one block; ``None`` where it must not be published, which is noted."""
    expires = info.say("expires")
    until = parse_when(expires, zone) if expires else None
    if expires and until is None:
        message = f"expires {expires[:40]!r} is not a date of the calendar; it was left empty."
        found.odd(head.line, "expires", "bad-date", message)
    if until is not None and until.end < head.sent:
        message = (
            f"The message {head.identifier[:80]!r} ends ({expires}) before it was sent; it was left out."
        )
        found.odd(head.line, "expires", "expires-before-sent", message, dropped=True)
        return None
    if not any(info.say(name) for name in ("headline", "event", "description")):
        message = f"The message {head.identifier[:80]!r} names neither event nor headline; it was left out."
        found.odd(head.line, "event", "missing-element", message, dropped=True)
        return None
    text = " ".join(info.say(name) for name in ("headline", "event", "description"))
    colour = colour_in(info.say("headline")) or colour_in(info.say("event"))
    severity = _level(SEVERITY, "severity", info, head, found)
    if severity == UNKNOWN and colour:
        severity = COLOURS[colour]
    return Block(
        info,
        info.say("language") or ("" if HAN.search(text) else "en"),
        severity,
        _level(URGENCY, "urgency", info, head, found),
        _level(CERTAINTY, "certainty", info, head, found),
        colour or (colour_of(severity) if HAN.search(info.say("headline") or info.say("event")) else ""),
        tuple(one_line(one.text) for one in info.all("responseType") if one.text.strip()),
        tuple(_areas(info, head, found)),
    )


def _level(table: Mapping[str, tuple[str, str]], name: str, info: Element, head: Head, found: Found) -> str:
    given = info.say(name)
    known = level(table, given)
    if not known:
        message = f"{name} {given[:40]!r} is none of {', '.join(table)}; it counts as Unknown."
        found.odd(head.line, name, "unknown-value", message)
    return known or UNKNOWN


def _areas(info: Element, head: Head, found: Found) -> Iterator[dict[str, Any]]:
    room = MAX_POINTS
    for area in info.all("area")[:MAX_AREAS]:
        polygons: list[list[list[float]]] = []
        for given in (one.text.strip() for one in area.all("polygon")):
            points = polygon_of(given)
            if points and len(points) <= room:
                polygons.append(points)
                room -= len(points)
            elif given:
                message = "A polygon cannot be read, or has too many points; its area stays without it."
                found.odd(head.line, "polygon", "bad-polygon", message)
        circles = []
        for given in (one.text.strip() for one in area.all("circle")):
            circle = circle_of(given)
            if circle:
                circles.append(circle)
            elif given:
                found.odd(
                    head.line, "circle", "bad-circle", "A circle cannot be read; its area stays without it."
                )
        codes: dict[str, list[str]] = {}
        for pair in area.all("geocode"):
            if (key := one_line(pair.say("valueName"))) and (value := one_line(pair.say("value"))):
                codes.setdefault(key, []).append(value)
        yield {
            "desc": one_line(area.say("areaDesc")),
            "polygons": polygons,
            "circles": circles,
            "geocodes": codes,
        }


def polygon_of(text: str) -> list[list[float]] | None:
    """Read ``lat,lon lat,lon …`` (WGS 84); an open ring is closed; ``None`` if it is no polygon."""
    points = [_point(pair) for pair in text.split()]
    ring = [point for point in points if point is not None]
    if not ring or len(ring) < len(points):
        return None
    if ring[0] != ring[-1]:
        ring.append(ring[0])
    return ring if len(ring) >= 4 else None


def circle_of(text: str) -> list[float] | None:
    """Read ``lat,lon radius`` (km) as [lat, lon, radius]; ``None`` if it is no circle."""
    pair, _, radius = text.partition(" ")
    point = _point(pair)
    try:
        size = float(radius)
    except ValueError:
        return None
    return [*point, size] if point is not None and 0 <= size <= 20_040 else None


def _point(pair: str) -> list[float] | None:
    try:
        lat, lon = (float(part) for part in pair.split(","))
    except ValueError:
        return None
    return [lat, lon] if -90 <= lat <= 90 and -180 <= lon <= 180 else None
