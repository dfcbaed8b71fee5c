"""Writes a warning as CAP 1.2 (Common Alerting Protocol), the XML that other warning systems read. Pure.

Elements stand in the order that the schema demands; what CAP forbids (spaces and commas in an identifier,
words that are not in its lists) is refused rather than written. It knows no store: facts come in as plain
values. Called by ``api.cap_out``.

Source: OASIS Common Alerting Protocol 1.2, section 3 (element order, value lists, times with an offset).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from xml.sax.saxutils import escape

from delivery.wording import readable

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
MEDIA_TYPE = "application/cap+xml"
STATUSES = ("Actual", "Exercise", "System", "Test", "Draft")
MESSAGES = ("Alert", "Update", "Cancel", "Ack", "Error")
CATEGORIES = (
    "Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env", "Transport", "Infra", "CBRNE",
    "Other",
)  # fmt: skip
RESPONSES = (
    "Shelter", "Evacuate", "Prepare", "Execute", "Avoid", "Monitor", "Assess", "AllClear", "None",
)  # fmt: skip
URGENCIES = ("Immediate", "Expected", "Future", "Past", "Unknown")
SEVERITIES = ("Extreme", "Severe", "Moderate", "Minor", "Unknown")
CERTAINTIES = ("Observed", "Likely", "Possible", "Unlikely", "Unknown")
_FORBIDDEN = re.compile(r"[\s,<&]")


@dataclass(frozen=True, slots=True)
class CapArea:
    """Where: a description, and as far as known lines and codes.

    Attributes:
        polygons: Closed lines of (latitude, longitude).
        circles: (latitude, longitude, km).
        geocodes: (name of the list, code).
    """

    desc: str
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    circles: tuple[tuple[float, float, float], ...] = ()
    geocodes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CapInfo:
    """What is said in one language."""

    language: str
    event: str
    categories: tuple[str, ...]
    urgency: str
    severity: str
    certainty: str
    sender_name: str = ""
    headline: str = ""
    description: str = ""
    instruction: str = ""
    responses: tuple[str, ...] = ()
    effective: datetime | None = None
    expires: datetime | None = None
    web: str = ""
    contact: str = ""
    areas: tuple[CapArea, ...] = ()


@dataclass(frozen=True, slots=True)
class CapAlert:
    """One message.

    Attributes:
        source: What it was made of, where it is somebody else's warning.
        references: Earlier messages of the chain: ``sender,identifier,time``.
    """

    identifier: str
    sender: str
    sent: datetime
    status: str
    msg_type: str
    infos: tuple[CapInfo, ...] = ()
    source: str = ""
    note: str = ""
    references: tuple[str, ...] = ()
    incidents: tuple[str, ...] = field(default=())


def cap_xml(alert: CapAlert) -> bytes:
    """Write a message.

    Raises:
        ValueError: If it could not be valid CAP.
    """
    for name, text in (("identifier", alert.identifier), ("sender", alert.sender)):
        if not text or _FORBIDDEN.search(text):
            raise ValueError(f"The {name} is empty or holds a space, a comma, < or &.")
    _known("status", alert.status, STATUSES)
    _known("msgType", alert.msg_type, MESSAGES)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<alert xmlns="{NAMESPACE}">']
    lines += _all(
        1,
        ("identifier", alert.identifier), ("sender", alert.sender), ("sent", instant(alert.sent)),
        ("status", alert.status), ("msgType", alert.msg_type), ("source", alert.source), ("scope", "Public"),
        ("note", alert.note), ("references", " ".join(alert.references)),
        ("incidents", " ".join(alert.incidents)),
    )  # fmt: skip
    for info in alert.infos:
        lines += _info(info)
    return ("\n".join([*lines, "</alert>"]) + "\n").encode()


def instant(moment: datetime) -> str:
    """An instant as CAP writes it: whole seconds and an offset, ``-00:00`` for UTC, never ``Z``."""
    text = moment.replace(microsecond=0).isoformat()
    return text.removesuffix("+00:00") + "-00:00" if text.endswith("+00:00") else text


def reference(sender: str, identifier: str, sent: datetime) -> str:
    """Name a message the way ``references`` do."""
    return f"{sender},{identifier},{instant(sent)}"


def _info(info: CapInfo) -> list[str]:
    for category in info.categories:
        _known("category", category, CATEGORIES)
    for response in info.responses:
        _known("responseType", response, RESPONSES)
    _known("urgency", info.urgency, URGENCIES)
    _known("severity", info.severity, SEVERITIES)
    _known("certainty", info.certainty, CERTAINTIES)
    if not info.categories or not info.event:
        raise ValueError("An info needs a category and an event.")
    lines = [" <info>"]
    lines += _all(2, ("language", info.language), *(("category", one) for one in info.categories))
    lines += _all(2, ("event", info.event), *(("responseType", one) for one in info.responses))
    lines += _all(
        2,
        ("urgency", info.urgency), ("severity", info.severity), ("certainty", info.certainty),
        ("effective", instant(info.effective) if info.effective else ""),
        ("expires", instant(info.expires) if info.expires else ""),
        ("senderName", info.sender_name), ("headline", info.headline), ("description", info.description),
        ("instruction", info.instruction), ("web", info.web), ("contact", info.contact),
    )  # fmt: skip
    for area in info.areas:
        lines += _area(area)
    return [*lines, " </info>"]


def _area(area: CapArea) -> list[str]:
    if not area.desc:
        raise ValueError("An area needs a description.")
    lines = ["  <area>", *_all(3, ("areaDesc", area.desc))]
    for ring in area.polygons:
        lines += _all(3, ("polygon", " ".join(f"{lat:g},{lon:g}" for lat, lon in _closed(ring))))
    for lat, lon, km in area.circles:
        lines += _all(3, ("circle", f"{lat:g},{lon:g} {km:g}"))
    for name, code in area.geocodes:
        lines += ["   <geocode>", *_all(4, ("valueName", name), ("value", code)), "   </geocode>"]
    return [*lines, "  </area>"]


def _closed(ring: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    closed = list(ring) if ring and ring[0] == ring[-1] else [*ring, *ring[:1]]
    if len(closed) < 4:
        raise ValueError("A polygon needs three corners.")
    return closed


def _all(depth: int, *elements: tuple[str, str]) -> list[str]:
    """Write elements that say something."""
    return [
        f"{' ' * depth}<{name}>{escape(readable(text).strip())}</{name}>"
        for name, text in elements
        if text.strip()
    ]


def _known(name: str, value: str, values: Sequence[str]) -> None:
    if value not in values:
        raise ValueError(f"{value!r} is no {name} of CAP 1.2.")
