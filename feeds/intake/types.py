"""The stages of an entry on its way in, before it is a notice. Pure data.

``Fetched`` (bytes) → ``RawEntry`` (parsed, untrusted) → ``NoticeContent`` (normalised, sanitised) →
``Decision`` (new, changed, same, duplicate). ``Oddity`` is what a person should know about a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry as upstream gave it: untrusted text, nothing normalised.

    Attributes:
        guid: Upstream's own id, or ``""``.
        line: Where it stood (line of a file, number of a feed's entry), from 1, for messages.
        fields: Field name (those of the notice file) → value as given.
    """

    guid: str
    line: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something about one row that a person should know; the row may still have landed.

    Attributes:
        line: 1-based; 0 for the whole file.
        field: The field concerned, or ``""``.
        problem: A stable short code such as ``no-title``, ``bad-date``, ``not-json``.
        message: One sentence: what is wrong and what was done or should be done.
        dropped: True where the row did not land.
    """

    line: int
    field: str
    problem: str
    message: str
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one entry: ``new``, ``changed``, ``same``, or ``duplicate`` inside its batch."""

    action: Literal["new", "changed", "same", "duplicate"]
    notice_id: int | None = None
    reason: str = ""


@dataclass(slots=True)
class IngestReport:
    """Counts and oddities of one ingest; printed by the command line, kept by the demo.

    ``read`` = ``new + changed + same + dropped``.
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    dropped: int = 0
    untagged: list[int] = field(default_factory=list)
    new_ids: list[int] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer from an address, body within the caps, headers lower-cased.

    Attributes:
        status: 200 or 304 (others raise ``FetchError``).
        url: The address that finally answered.
        moved_to: The new address if every redirect on the way was permanent, else ``""``.
    """

    status: int
    url: str
    body: bytes
    headers: Mapping[str, str]
    fetched_at: datetime
    moved_to: str = ""
