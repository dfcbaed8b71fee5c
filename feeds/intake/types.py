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
class Deletion:
    """An entry that its publisher has taken back: an Atom tombstone, a CAP Cancel, a page that is gone.

    Attributes:
        guid: The entry's name inside its source, as its RawEntry gave it.
        reason: The publisher's own words, or ``""``.
        at: When it was taken back, where the publisher says so.
    """

    guid: str
    reason: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one answer said, whatever its format: about itself, and its entries in its own order.

    Attributes:
        title, link, lang: Of the feed or list as a whole; ``""`` where it does not say.
        deleted: Entries that it says are taken back.
        ttl_s: Seconds it asks pollers to wait (RSS ``ttl``, ``sy:updatePeriod``); 0 where it does not say.
        hub, topic: Where it can be subscribed to (WebSub), and under which address; else ``""``.
        format: What it turned out to be, for people: ``RSS 2.0``, ``Atom 1.0``, ``JSON Feed 1.1``,
            ``CAP 1.2``, ``HTML list`` …
    """

    title: str
    link: str
    lang: str
    entries: tuple[RawEntry, ...]
    oddities: tuple[Oddity, ...]
    deleted: tuple[Deletion, ...] = ()
    ttl_s: int = 0
    hub: str = ""
    topic: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with one entry: ``new``, ``changed``, ``same``, or ``duplicate`` inside its batch."""

    action: Literal["new", "changed", "same", "duplicate"]
    notice_id: int | None = None
    reason: str = ""


@dataclass(slots=True)
class IngestReport:
    """Counts and oddities of one ingest; printed by the command line, kept by the demo.

    ``read`` = ``new + changed + same + dropped + skipped + deferred``.

    Attributes:
        skipped: Left out by a keyword rule of the source.
        deferred: Left for the next poll, because their pages are fetched a few at a time.
        held: Of the new ones, those that wait for an editor.
        withdrawn: Notices that upstream has taken back.
        new_ids, changed_ids, withdrawn_ids: Which notices those are; a held change is not among them.
        duplicates: Of the new ones, those that are linked to a notice of another source.
        unchanged: True where the source said that nothing has changed (304, or the same bytes).
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    dropped: int = 0
    skipped: int = 0
    deferred: int = 0
    held: int = 0
    withdrawn: int = 0
    duplicates: int = 0
    unchanged: bool = False
    untagged: list[int] = field(default_factory=list)
    new_ids: list[int] = field(default_factory=list)
    changed_ids: list[int] = field(default_factory=list)
    withdrawn_ids: list[int] = field(default_factory=list)
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
