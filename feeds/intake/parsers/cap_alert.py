"""Reads one CAP message (an ``alert`` element) into entries, deletions and oddities.

Pure. It refuses what must never be published (tests, exercises, private messages, contradictions) and keeps
everything else, geometry included, without interpreting places. A signature inside a message is ignored: it
is not verified. Called by :mod:`feeds.intake.parsers.cap`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from feeds.intake.cap_chain import message_id, stamp
from feeds.intake.cap_words import (
    CERTAINTY,
    COLOURS,
    SEVERITY,
    UNKNOWN,
    URGENCY,
    colour_in,
    colour_of,
    level,
    levels_sentence,
    priority_of,
    strength,
)
from feeds.intake.dates import parse_when
from feeds.intake.fields import one_line, web_address
from feeds.intake.parsers.xml_tree import Element
from feeds.intake.sanitise import looks_like_html, plain_to_html, strip_markup
from feeds.intake.types import Deletion, Oddity, RawEntry

VERSIONS: Mapping[str, str] = {
    "http://www.incident.com/cap/1.0": "1.0",
    "urn:oasis:names:tc:emergency:cap:1.1": "1.1",
    "urn:oasis:names:tc:emergency:cap:1.2": "1.2",
    "": "1.2",  # some systems leave the namespace out
}
MAX_REFERENCES = 1000
MAX_POINTS = 20_000  # of all areas of one message
MAX_AREAS = 2000
_ORDER = ("normal", "mandatory", "emergency")
_HAN = re.compile(r"[\u3400-\u9fff]")
_PHONE = re.compile(r"\+?\d[\d\-() ]{4,}\d")
_LABELS = {
    True: {"instruction": "防御指南", "areas": "影响区域", "levels": "预警级别", "contact": "联系方式"},
    False: {
        "instruction": "What to do",
        "areas": "Areas concerned",
        "levels": "Levels",
        "contact": "Contact",
    },
}


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
class _Head:
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
class _Block:
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
    def priority(self) -> str:
        return priority_of(
            self.severity, self.urgency, self.certainty, colour=self.colour, response=self.response
        )

    @property
    def strength(self) -> int:
        return strength(self.severity)


def read_alert(alert: Element, line: int, found: Found, *, zone: ZoneInfo, link: str = "") -> None:
    """Read one message into ``found``.

    Args:
        alert: The element; its namespace is one of :data:`VERSIONS`.
        line: Its number in the document, from 1, for oddities.
        found: Where the result goes: an entry for each language, or deletions, or only oddities.
        zone: Where times without an offset belong (CAP demands one).
        link: Address of the message's page where it names none itself.
    """
    head = _head(alert, line, found, zone)
    if head is None:
        return
    if head.msg_type == "Cancel":
        found.deleted += [Deletion(one, _reason(alert), head.sent) for one in head.references]
        if not head.references:
            message = f"The cancellation {head.identifier[:80]!r} names no message; nothing was taken back."
            found.odd(line, "references", "no-references", message, dropped=True)
        return
    blocks: dict[str, list[_Block]] = {}
    for info in alert.all("info"):
        block = _block(info, head, found, zone)
        if block is not None:
            blocks.setdefault(block.lang.lower(), []).append(block)
    if not alert.all("info"):
        message = f"The message {head.identifier[:80]!r} says nothing (it has no info); it was left out."
        found.odd(line, "info", "no-info", message, dropped=True)
    first = ""
    for same_language in blocks.values():
        entry = _entry(head, same_language, link, first)
        first = first or entry.guid
        found.entries.append(entry)


def _head(alert: Element, line: int, found: Found, zone: ZoneInfo) -> _Head | None:
    texts = {name: one_line(alert.say(name)) for name in ("identifier", "sender", "sent", "status")}
    texts |= {name: one_line(alert.say(name)) for name in ("msgType", "scope")}
    name = texts["identifier"][:80]
    missing = [key for key, text in texts.items() if not text]
    if missing:
        message = f"The message {name!r} lacks {', '.join(missing)}; it was left out."
        found.odd(line, missing[0], "missing-element", message, dropped=True)
        return None
    refused = _refusal(texts)
    if refused:
        where, problem, message = refused
        found.odd(line, where, problem, f"The message {name!r} {message}", dropped=True)
        return None
    sent = parse_when(texts["sent"], zone)
    if sent is None or sent.precision != "instant":
        message = f"The message {name!r} has no readable time of sending; it was left out."
        found.odd(line, "sent", "bad-date", message, dropped=True)
        return None
    if not re.search(r"(?:Z|[+-]\d\d:?\d\d)$", texts["sent"]):
        message = f"The time {texts['sent'][:40]!r} has no offset; it was read in {zone.key}."
        found.odd(line, "sent", "no-offset", message)
    if re.search(r"[\s,<&]", texts["identifier"] + texts["sender"]):
        message = f"The identifier {name!r} holds a space or a comma, so that no other message can name it."
        found.odd(line, "identifier", "bad-identifier", message)
    return _Head(
        line,
        message_id(texts["sender"], texts["identifier"], sent.start),
        texts["identifier"],
        texts["sender"],
        sent.start,
        texts["sent"],
        texts["msgType"].capitalize(),
        tuple(_references(alert, line, found, zone)),
        alert,
    )


def _refusal(texts: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Why a message must not be published, if so: element, code, the rest of the sentence."""
    if texts["status"].lower() != "actual":
        return "status", "not-actual", f"is marked {texts['status'][:20]}, not Actual; it is never published."
    if texts["scope"].lower() != "public":
        return "scope", "not-public", f"is {texts['scope'][:20]}, not Public; it is never published."
    if texts["msgType"].lower() not in ("alert", "update", "cancel"):
        return "msgType", "not-a-warning", f"is of type {texts['msgType'][:20]}, not a warning; left out."
    return None


def _references(alert: Element, line: int, found: Found, zone: ZoneInfo) -> Iterator[str]:
    text = re.sub(r"\s*,\s*", ",", alert.say("references"))
    for given in dict.fromkeys(text.split()[:MAX_REFERENCES]):
        sender, _, rest = given.partition(",")
        identifier, _, sent = rest.rpartition(",")
        when = parse_when(sent, zone)
        if sender and identifier and when:
            yield message_id(sender, identifier, when.start)
        else:
            message = f"The reference {given[:80]!r} is not of sender, identifier and time; it was left out."
            found.odd(line, "references", "bad-reference", message)
    if not text and alert.say("msgType").lower() == "update":
        message = "The update names no message that it updates; it counts as a new warning."
        found.odd(line, "references", "no-references", message)


def _reason(alert: Element) -> str:
    """Why it was taken back, in the publisher's words."""
    info = next(iter(alert.all("info")), None)
    words = alert.say("note") or (info.say("headline") or info.say("description") if info else "")
    return one_line(words)[:500]


# -- one info element --------------------------------------------------------------------------------


def _block(info: Element, head: _Head, found: Found, zone: ZoneInfo) -> _Block | None:
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
    return _Block(
        info,
        info.say("language") or ("" if _HAN.search(text) else "en"),
        severity,
        _level(URGENCY, "urgency", info, head, found),
        _level(CERTAINTY, "certainty", info, head, found),
        colour or (colour_of(severity) if _HAN.search(info.say("headline") or info.say("event")) else ""),
        tuple(one_line(one.text) for one in info.all("responseType") if one.text.strip()),
        tuple(_areas(info, head, found)),
    )


def _level(table: Mapping[str, tuple[str, str]], name: str, info: Element, head: _Head, found: Found) -> str:
    given = info.say(name)
    known = level(table, given)
    if not known:
        message = f"{name} {given[:40]!r} is none of {', '.join(table)}; it counts as Unknown."
        found.odd(head.line, name, "unknown-value", message)
    return known or UNKNOWN


def _areas(info: Element, head: _Head, found: Found) -> Iterator[dict[str, Any]]:
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


# -- one entry ---------------------------------------------------------------------------------------


def _entry(head: _Head, blocks: Sequence[_Block], link: str, first: str) -> RawEntry:
    """All blocks of one language; the most severe one (the first of equals) gives title and levels."""
    main = max(blocks, key=lambda one: one.strength)
    info = main.info
    chinese = _is_chinese(main)
    contact = next((one_line(one.info.say("contact")) for one in blocks if one.info.say("contact")), "")
    fields: dict[str, Any] = {
        "title": _title(main, chinese),
        "body": "\n".join(_body(one, chinese, several=len(blocks) > 1) for one in blocks),
        "lang": main.lang,
        "published": head.sent_given,
        "effective": info.say("effective") or info.say("onset"),
        "expires": _last(blocks),
        "agency": one_line(info.say("senderName")) or head.sender,
        "url": web_address(one_line(info.say("web"))) or link,
        "type": "warning",
        "priority": max((one.priority for one in blocks), key=_ORDER.index),
        "tags": _values(blocks, "event") + _values(blocks, "category"),
        "phone": _phone(contact),
        "attachments": _resources(blocks),
        "cap": _facts(head, blocks, main, contact),
    }
    if first:
        fields["lang_of"] = first
    guid = head.id if not first else f"{head.id}#{main.lang.lower()}"
    return RawEntry(guid, head.line, {key: value for key, value in fields.items() if value not in ("", [])})


def _facts(head: _Head, blocks: Sequence[_Block], main: _Block, contact: str) -> dict[str, Any]:
    """What is kept of a message beside the notice it makes; docs/warnings.md lists the keys."""
    return {
        "id": head.id,
        "identifier": head.identifier,
        "sender": head.sender,
        "sent": stamp(head.sent),
        "msg_type": head.msg_type,
        "status": "Actual",
        "scope": "Public",
        "references": list(head.references),
        "incidents": head.alert.say("incidents").split(),
        "note": one_line(head.alert.say("note")),
        "language": main.lang,
        "event": one_line(main.info.say("event")),
        "category": _values(blocks, "category"),
        "severity": main.severity,
        "urgency": main.urgency,
        "certainty": main.certainty,
        "colour": main.colour,
        "response": list(dict.fromkeys(one for block in blocks for one in block.response)),
        "onset": main.info.say("onset"),
        "contact": contact,
        "areas": [area for block in blocks for area in block.areas],
        "resources": _resources(blocks),
    }


def _title(block: _Block, chinese: bool) -> str:
    """The publisher's headline; else event, level and areas."""
    if headline := one_line(block.info.say("headline")):
        return headline
    event = one_line(block.info.say("event")) or _first_line(block.info.say("description"))
    areas = ("、" if chinese else "; ").join(area["desc"] for area in block.areas if area["desc"])
    if chinese and "预警" not in event:
        event += (f"{block.colour}色" if block.colour else "") + "预警"
    return f"{event}{'：' if chinese else ': '}{areas}" if areas else event


def _first_line(text: str) -> str:
    return one_line(strip_markup(text))[:80]


def _body(block: _Block, chinese: bool, *, several: bool) -> str:
    """Description, instruction, areas and levels as HTML; the publisher's own HTML is kept for cleaning."""
    info, labels = block.info, _LABELS[chinese]
    parts = []
    if several and (headline := one_line(info.say("headline"))):
        parts.append(f"<h2>{html.escape(headline)}</h2>")
    parts.append(_prose(info.say("description")))
    if instruction := info.say("instruction"):
        parts += [f"<h3>{labels['instruction']}</h3>", _prose(instruction)]
    names = [html.escape(area["desc"]) for area in block.areas if area["desc"]]
    if names:
        parts += [f"<h3>{labels['areas']}</h3>", f"<ul>{''.join(f'<li>{name}</li>' for name in names)}</ul>"]
    if {block.severity, block.urgency, block.certainty} != {UNKNOWN}:
        words = levels_sentence(block.severity, block.urgency, block.certainty, chinese=chinese)
        parts += [f"<h3>{labels['levels']}</h3>", f"<p>{words}</p>"]
    if contact := one_line(info.say("contact")):
        parts += [f"<h3>{labels['contact']}</h3>", f"<p>{html.escape(contact)}</p>"]
    return "\n".join(part for part in parts if part)


def _prose(text: str) -> str:
    return text if looks_like_html(text) else plain_to_html(text)


def _is_chinese(block: _Block) -> bool:
    text = block.info.say("headline") + block.info.say("event")
    return block.lang.lower().startswith("zh") or (not block.lang and _HAN.search(text) is not None)


def _values(blocks: Sequence[_Block], name: str) -> list[str]:
    found = (one_line(one.text) for block in blocks for one in block.info.all(name))
    return list(dict.fromkeys(text for text in found if text))


def _last(blocks: Sequence[_Block]) -> str:
    """The end of the block that lasts longest; none where one of them has no end."""
    ends = [block.info.say("expires") for block in blocks]
    whens = [parse_when(text, ZoneInfo("UTC")) for text in ends]
    if not all(whens):
        return ""
    return max(zip(whens, ends, strict=True), key=lambda pair: pair[0].end if pair[0] else 0)[1]


def _phone(contact: str) -> str:
    """The contact if it is short, else the first number in it: it must fit into a short message."""
    if len(contact) <= 30:
        return contact
    number = _PHONE.search(contact)
    return number[0].strip() if number else ""


def _resources(blocks: Sequence[_Block]) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in (one for block in blocks for one in block.info.all("resource")):
        url = web_address(one_line(one.say("uri")))
        if url:
            texts = {"title": one_line(one.say("resourceDesc")), "type": one_line(one.say("mimeType"))}
            found.setdefault(url, {"url": url, **{key: text for key, text in texts.items() if text}})
    return list(found.values())
