"""What a source is, what a poll of it found out, and what an alarm about it says. Pure data.

Stored by :mod:`feeds.intake.sources`, from where everybody imports them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from feeds.intake.health import Health
    from feeds.intake.types import Fetched

SourceKind = Literal["feed", "json", "html", "csv", "cap", "file", "desk"]
POLLED: tuple[SourceKind, ...] = ("feed", "json", "html", "csv", "cap")
ReleaseRule = Literal["publish", "review"]


@dataclass(frozen=True, slots=True)
class Source:
    """Somebody who publishes, and how we stand with them.

    Attributes:
        kind: ``feed`` (RSS, Atom, JSON Feed), ``json``, ``html``, ``csv`` (lists) and ``cap`` are
            polled; ``file`` came with imports; ``desk`` is our own editors.
        agency: Issuer of entries that name none.
        lang, timezone: For entries that name none; empty means the city's.
        place: Code of the place that its notices concern where they do not say.
        trust: 0 (checked by hand) to 100; for the editors' order.
        interval_s: Seconds between polls.
        held_at: Since when an answer waits for an editor, because most of it suddenly looked new.
        failures: Failed polls since the last good one.
        polls: Good polls so far; while 0, what comes is archive.
        recipe: How a list is read (:mod:`feeds.intake.recipes`); empty for feeds and CAP.
        rules: Keyword rules (:mod:`feeds.intake.rules`), in order.
        tags: ``kind:code`` that every entry of this source gets.
        release: ``publish`` at once (unless the office's word list objects), or ``review`` first.
            A CAP source that publishes is a trusted one: its warnings are alerts at once.
        full_text: Whether the page of each new entry is fetched for its text.
        ttl_s: Seconds between polls that the source last asked for.
        hub, topic: Its WebSub hub, and the address it is known under there; else empty.
        moved_to, moved_count: Where permanent redirects have led, in how many polls in a row.
        gone_at: When it answered 410; it is not asked again.
        last_status: Of the last answer; 0 where nobody answered.
        last_new_at: When it last brought a new entry.
        last_entries: Entries of its last full answer.
        body_hash: Digest of its last full answer; the same bytes again are not parsed again.
        alarm, alarm_at: What is wrong (:mod:`feeds.intake.health`) and since when; empty if nothing.
    """

    id: int
    slug: str
    name: str
    kind: SourceKind
    url: str | None
    agency: str
    lang: str
    timezone: str
    licence: str
    place: str | None
    trust: int
    interval_s: int
    paused: bool
    created_at: datetime
    next_poll_at: datetime | None
    last_polled_at: datetime | None
    last_ok_at: datetime | None
    held_at: datetime | None
    etag: str
    last_modified: str
    failures: int
    last_error: str
    polls: int
    recipe: Mapping[str, Any]
    rules: Sequence[str]
    tags: Sequence[str]
    release: ReleaseRule
    full_text: bool
    ttl_s: int
    hub: str
    topic: str
    moved_to: str
    moved_count: int
    gone_at: datetime | None
    last_status: int
    last_new_at: datetime | None
    last_entries: int
    body_hash: str
    alarm: str
    alarm_at: datetime | None


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm that began, changed or ended (``now.alarm`` is ``""``)."""

    source: Source
    was: str
    now: Health


@dataclass(frozen=True, slots=True)
class Polled:
    """A good poll, as it is noted.

    Attributes:
        asked: The source as it was when it was asked.
        fetched: The answer; validators, hints and the digest of its bytes are taken from it.
        at: When.
        seconds: How long asking took.
        entries: How many entries it held.
        new: How many of them are new; the first poll's count too, though they are archive.
        changed: How many revise a notice.
        ttl_s: Seconds that the document asks pollers to wait.
        hub, topic: Its WebSub hub, and the address it is known under there.
        unfinished: Some of it was left for the next poll, which comes soon and reads it all again.
        unchanged: It says nothing new (304, or the same bytes); nothing else but ``at`` counts then.
    """

    asked: Source
    fetched: Fetched
    at: datetime
    seconds: float = 0.0
    entries: int = 0
    new: int = 0
    changed: int = 0
    ttl_s: int = 0
    hub: str = ""
    topic: str = ""
    unfinished: bool = False
    unchanged: bool = False
