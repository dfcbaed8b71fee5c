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
    """Put values into a text's slots; an empty one leaves no hole in the sentence.

    >>> fill("{place}停水。{detail}", {"place": "澜港区", "detail": ""})
    '澜港区停水。'
    """
    filled = _SLOT.sub(lambda found: values.get(found[1], "").strip(), text)
    lines = (re.sub(r"[ \t]{2,}", " ", line).strip() for line in filled.splitlines())
    return "\n".join(line for line in lines if line)
