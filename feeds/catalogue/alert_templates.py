"""Ready words for the office's own warnings, with slots for what only the moment knows. Pure.

A template is written and checked in peace; in the night only its slots are filled. Never reads a file
(``feeds.catalogue.city_files`` does). Called by ``api.jobs.issuing`` and its pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from feeds.catalogue.vocabulary import Label

SLOTS = ("place", "time", "phone", "detail")
_SLOT = re.compile(r"\{([a-z]+)\}")
_SENTENCES = re.compile(r"(?<=[。！？])|(?<=\. )")


@dataclass(frozen=True, slots=True)
class AlertTemplate:
    """Ready words for one kind of event.

    Attributes:
        code: Its name, e.g. ``water-outage``.
        event: What it is called, also in CAP's ``event``.
        category: One of CAP's categories, e.g. ``Infra``.
        severity, urgency, certainty: What is proposed.
        hours: How long it is proposed to last.
        title, body, instruction: With slots ``{place}``, ``{time}``, ``{phone}``, ``{detail}``.
    """

    code: str
    event: Label
    category: str
    severity: str
    urgency: str
    certainty: str
    hours: float
    title: Label
    body: Label
    instruction: Label


def slots_of(text: str) -> set[str]:
    """The names in braces that a text holds."""
    return set(_SLOT.findall(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    r"""Put values into a text's slots; a sentence of which a slot stays empty is left out.

    >>> fill("{place}停水。{detail}", {"place": "澜港区", "detail": ""})
    '澜港区停水。'
    >>> fill("留意通知。\n问询请致电{phone}。", {"phone": ""})
    '留意通知。'
    """
    known = {name: value.strip() for name, value in values.items() if value.strip()}

    def line_of(line: str) -> str:
        whole = (part for part in _SENTENCES.split(line) if slots_of(part) <= known.keys())
        return re.sub(r"[ \t]{2,}", " ", _SLOT.sub(lambda found: known[found[1]], "".join(whole))).strip()

    return "\n".join(line for line in map(line_of, text.splitlines()) if line)
