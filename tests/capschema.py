"""A small checker of CAP 1.2 messages: which elements, in which order, how often, with which values.

Written after the tables of the OASIS standard; it is stricter than its schema where the text is (times,
polygons).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

NAMESPACE = "{urn:oasis:names:tc:emergency:cap:1.2}"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
_NAME = re.compile(r"[^\s,<&]+")
_NUMBER = r"-?\d+(?:\.\d+)?"
_POLYGON = re.compile(rf"{_NUMBER},{_NUMBER}(?: {_NUMBER},{_NUMBER}){{3,}}")
_CIRCLE = re.compile(rf"{_NUMBER},{_NUMBER} {_NUMBER}")

# Element → (least, most, what its text must be); in the order of the schema.
_Rules = Mapping[str, tuple[int, int, object]]
_MANY = 10_000
ALERT: _Rules = {
    "identifier": (1, 1, _NAME), "sender": (1, 1, _NAME), "sent": (1, 1, _TIME),
    "status": (1, 1, {"Actual", "Exercise", "System", "Test", "Draft"}),
    "msgType": (1, 1, {"Alert", "Update", "Cancel", "Ack", "Error"}),
    "source": (0, 1, None), "scope": (1, 1, {"Public", "Restricted", "Private"}), "restriction": (0, 1, None),
    "addresses": (0, 1, None), "code": (0, _MANY, None), "note": (0, 1, None),
    "references": (0, 1, None), "incidents": (0, 1, None), "info": (0, _MANY, None),
}  # fmt: skip
INFO: _Rules = {
    "language": (0, 1, re.compile(r"[a-zA-Z]{2,3}(?:-[a-zA-Z0-9]+)*")),
    "category": (1, _MANY, {"Geo", "Met", "Safety", "Security", "Rescue", "Fire", "Health", "Env",
                            "Transport",
                            "Infra", "CBRNE", "Other"}),
    "event": (1, 1, None),
    "responseType": (0, _MANY, {"Shelter", "Evacuate", "Prepare", "Execute", "Avoid", "Monitor", "Assess",
                                "AllClear", "None"}),
    "urgency": (1, 1, {"Immediate", "Expected", "Future", "Past", "Unknown"}),
    "severity": (1, 1, {"Extreme", "Severe", "Moderate", "Minor", "Unknown"}),
    "certainty": (1, 1, {"Observed", "Likely", "Possible", "Unlikely", "Unknown"}),
    "audience": (0, 1, None), "eventCode": (0, _MANY, None), "effective": (0, 1, _TIME),
    "onset": (0, 1, _TIME), "expires": (0, 1, _TIME), "senderName": (0, 1, None), "headline": (0, 1, None),
    "description": (0, 1, None), "instruction": (0, 1, None), "web": (0, 1, re.compile(r"https?://\S+")),
    "contact": (0, 1, None), "parameter": (0, _MANY, None), "resource": (0, _MANY, None),
    "area": (0, _MANY, None),
}  # fmt: skip
AREA: _Rules = {
    "areaDesc": (1, 1, None), "polygon": (0, _MANY, _POLYGON), "circle": (0, _MANY, _CIRCLE),
    "geocode": (0, _MANY, None), "altitude": (0, 1, None), "ceiling": (0, 1, None),
}  # fmt: skip
CODE: _Rules = {"valueName": (1, 1, None), "value": (1, 1, None)}
_INSIDE = {"info": INFO, "area": AREA, "geocode": CODE}


def check(document: bytes) -> list[str]:
    """Say everything that is wrong with a message; empty for a valid one."""
    root = ElementTree.fromstring(document)
    if root.tag != f"{NAMESPACE}alert":
        return [f"the root is {root.tag}"]
    return [*_element(root, ALERT, "alert"), *_meaning(root)]


def _element(element: ElementTree.Element, rules: _Rules, where: str) -> Iterator[str]:
    names = [child.tag.removeprefix(NAMESPACE) for child in element]
    order = [list(rules).index(name) if name in rules else -1 for name in names]
    if -1 in order:
        yield f"{where}: unknown {names[order.index(-1)]}"
    if order != sorted(order):
        yield f"{where}: wrong order {names}"
    for name, (least, most, wanted) in rules.items():
        found = [child for child in element if child.tag == NAMESPACE + name]
        if not least <= len(found) <= most:
            yield f"{where}: {len(found)} of {name}"
        for child in found:
            if name in _INSIDE:
                yield from _element(child, _INSIDE[name], name)
            elif not (child.text or "").strip():
                yield f"{where}: {name} is empty"
            elif not _fits(child.text or "", wanted):
                yield f"{where}: {name} is {child.text}"


def _fits(text: str, wanted: object) -> bool:
    if isinstance(wanted, re.Pattern):
        return wanted.fullmatch(text) is not None
    return not isinstance(wanted, set) or text in wanted


def _meaning(root: ElementTree.Element) -> Iterator[str]:
    for polygon in root.iter(f"{NAMESPACE}polygon"):
        points = (polygon.text or "").split()
        if points[0] != points[-1]:
            yield "a polygon is not closed"
    kind = root.findtext(f"{NAMESPACE}msgType")
    references = root.findtext(f"{NAMESPACE}references") or ""
    if kind in ("Update", "Cancel") and not references:
        yield f"{kind} names no message"
    for one in references.split():
        parts = one.split(",")
        if len(parts) != 3 or not _TIME.fullmatch(parts[2]):
            yield f"the reference {one} is none"
