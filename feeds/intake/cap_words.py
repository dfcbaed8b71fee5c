"""What a warning's levels mean: in words, in the Chinese colours, and for how urgently it is passed on.

Pure. The one place with the priority rule (docs/warnings.md). Called by :mod:`feeds.intake.parsers.cap`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from feeds.catalogue.notices import Priority

UNKNOWN = "Unknown"
# Strongest first; each value with its words in Chinese and English.
SEVERITY: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Extreme": ("特别严重", "extreme"),
        "Severe": ("严重", "severe"),
        "Moderate": ("较重", "moderate"),
        "Minor": ("一般", "minor"),
        UNKNOWN: ("未说明", "not stated"),
    }
)
URGENCY: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Immediate": ("立即应对", "act at once"),
        "Expected": ("尽快应对（一小时内）", "act soon, within the hour"),
        "Future": ("近期应对", "act in the near future"),
        "Past": ("已不需应对", "no action needed any more"),
        UNKNOWN: ("未说明", "not stated"),
    }
)
CERTAINTY: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Observed": ("已发生", "observed"),
        "Likely": ("很可能发生", "likely"),
        "Possible": ("可能发生", "possible"),
        "Unlikely": ("不太可能发生", "unlikely"),
        UNKNOWN: ("未说明", "not stated"),
    }
)
# Chinese warnings come in four colours; some systems write them where CAP wants a severity.
COLOURS: Mapping[str, str] = MappingProxyType(
    {"红": "Extreme", "橙": "Severe", "黄": "Moderate", "蓝": "Minor"}
)
_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "red": "Extreme", "orange": "Severe", "yellow": "Moderate", "blue": "Minor",
        "红": "Extreme", "橙": "Severe", "黄": "Moderate", "蓝": "Minor",
        "红色": "Extreme", "橙色": "Severe", "黄色": "Moderate", "蓝色": "Minor",
        "very likely": "Likely",
    }
)  # fmt: skip
_COLOUR = re.compile(r"([红橙黄蓝])色\s*[\W_]?\s*(?:预警|警报|警戒|信号|等级|级别)")


def level(table: Mapping[str, tuple[str, str]], given: str) -> str:
    """Bring a value as it was written to the table's own spelling; ``""`` where it is none of them."""
    word = " ".join(given.split()).lower()
    known = {name.lower(): name for name in table}
    found = known.get(word) or _OTHER_NAMES.get(word, "")
    return found if found in table else ""


def colour_in(text: str) -> str:
    """The colour that a Chinese title names (红, 橙, 黄, 蓝); ``""`` where it names none or several.

    A title with two colours tells of a change from one to the other, in an order that cannot be relied on.
    """
    found = set(_COLOUR.findall(text))
    return found.pop() if len(found) == 1 else ""


def colour_of(severity: str) -> str:
    """The colour of a severity; ``""`` for an unknown one."""
    return next((colour for colour, name in COLOURS.items() if name == severity), "")


def priority_of(
    severity: str, urgency: str, certainty: str, *, colour: str = "", response: Iterable[str] = ()
) -> Priority:
    """Say how urgently a warning is passed on.

    ``emergency``: extreme or severe, to be acted on at once or within the hour, observed or likely.
    ``mandatory``: at least moderate, not over, not unlikely. ``normal``: all others, and every all-clear.

    Args:
        severity: A key of :data:`SEVERITY`; likewise ``urgency`` and ``certainty``.
        urgency: See there.
        certainty: See there.
        colour: The colour that a Chinese warning names. A colour level is defined by how soon and how surely
            it comes, so beside one an unknown urgency counts as ``Expected``, an unknown certainty as
            ``Likely``.
        response: What people should do; ``AllClear`` says that the danger is over.
    """
    if colour:
        urgency = "Expected" if urgency == UNKNOWN else urgency
        certainty = "Likely" if certainty == UNKNOWN else certainty
    if "AllClear" in response:
        return "normal"
    if (
        severity in ("Extreme", "Severe")
        and urgency in ("Immediate", "Expected")
        and certainty in ("Observed", "Likely")
    ):
        return "emergency"
    if (
        severity in ("Extreme", "Severe", "Moderate")
        and urgency in ("Immediate", "Expected", "Future")
        and certainty in ("Observed", "Likely", "Possible")
    ):
        return "mandatory"
    return "normal"


def strength(severity: str) -> int:
    """Order severities: 4 for extreme down to 0 for unknown."""
    return len(SEVERITY) - 1 - list(SEVERITY).index(severity)


def levels_sentence(severity: str, urgency: str, certainty: str, *, chinese: bool) -> str:
    """Say the three levels in words, with the colour in Chinese."""
    if chinese:
        colour = colour_of(severity)
        shown = SEVERITY[severity][0] + (f"（{colour}色）" if colour else "")
        return f"严重程度：{shown}；紧迫程度：{URGENCY[urgency][0]}；可能性：{CERTAINTY[certainty][0]}。"
    return (
        f"Severity: {SEVERITY[severity][1]}; urgency: {URGENCY[urgency][1]};"
        f" certainty: {CERTAINTY[certainty][1]}."
    )
