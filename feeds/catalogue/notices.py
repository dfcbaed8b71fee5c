"""What a notice is: its content, its states, its links; one dataclass for each stage of its life.

Pure data, no I/O. ``RawEntry`` (as received, :mod:`feeds.intake.types`) becomes :class:`NoticeContent`
(normalised), then :class:`NewNotice` (tagged, ready to store), then :class:`Notice` (stored).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Literal

from feeds.catalogue.identity import Identity, Likeness
from feeds.catalogue.tagging import Level as Level
from feeds.catalogue.tagging import Tag
from feeds.kernel.ids import content_hash
from feeds.kernel.time import from_micros, to_micros

State = Literal["draft", "in_review", "scheduled", "released", "superseded", "withdrawn", "expired", "purged"]
Precision = Literal["instant", "day", "month"]
Priority = Literal["normal", "mandatory", "emergency"]
Prominence = Literal[-1, 0, 1]
LinkKind = Literal[
    "interprets", "corrects", "repeals", "reprints", "language_of", "duplicate_of", "similar_to"
]

# States a resident may see; all others answer like a notice that does not exist.
UNDATED_ARCHIVE_AGE = timedelta(days=3650)
PUBLIC_STATES: tuple[State, ...] = ("released", "withdrawn", "expired", "superseded")


@dataclass(frozen=True, slots=True)
class NoticeContent:
    """Everything that a revision of a notice says; two equal contents are the same revision.

    Attributes:
        title: Plain text, never empty (a stand-in where upstream gave none), no HTML.
        body: Sanitised HTML, possibly empty.
        lang: ``zh-Hans``, ``zh-Hant``, ``en`` or another BCP 47 tag.
        summary: Plain text, possibly empty.
        published: Upstream's own date in UTC; ``None`` where unknown.
        published_precision: How exact ``published`` is; a ``day`` is stored as local midnight.
        deadline: Last instant to act (half-open windows treat it as included), or ``None``.
        audience: Role codes the publisher named.
        upstream_tags: The publisher's own keywords, as given.
        extra: Anything else that upstream gave, kept for export.
    """

    title: str
    body: str = ""
    lang: str = "zh-Hans"
    summary: str = ""
    agency: str = ""
    agency_slug: str = ""
    doc_type: str = ""
    doc_no: str = ""
    index_no: str = ""
    genre: str = ""
    kind: str = ""
    audience: tuple[str, ...] = ()
    upstream_tags: tuple[str, ...] = ()
    region: str = ""
    url: str = ""
    validity: str = ""
    openness: str = ""
    phone: str = ""
    title_en: str = ""
    published: datetime | None = None
    published_precision: Precision = "instant"
    formed: datetime | None = None
    effective: datetime | None = None
    lapses: datetime | None = None
    deadline: datetime | None = None
    deadline_precision: Precision = "day"
    expires: datetime | None = None
    views: int | None = None
    attachments: tuple[Mapping[str, str], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    # Asked for when an entry is compared and again when it is stored; what was said never changes.
    _hash: str = field(default="", init=False, repr=False, compare=False)

    def hash(self) -> str:
        """Digest what a reader would see; ``views`` and ``extra`` are left out, they flap."""
        if not self._hash:
            shown = self.to_dict()
            shown.pop("views", None)
            shown.pop("extra", None)
            digest = content_hash(*(f"{key}={shown[key]}" for key in sorted(shown)))
            object.__setattr__(self, "_hash", digest)
        return self._hash

    def to_dict(self) -> dict[str, Any]:
        """Turn into JSON-ready values; empty fields are left out, instants become microseconds."""
        return {
            name: to_micros(value) if name in _INSTANTS else value
            for name, value in zip(_NAMES, _values(self), strict=True)
            if value is not None and value != "" and value != () and value != {}
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoticeContent:
        """Undo :meth:`to_dict`; unknown keys (from a newer version) are ignored."""
        read: dict[str, Any] = {}
        for name, value in values.items():
            if name not in _NAMES:
                continue
            if name in _INSTANTS:
                value = from_micros(value)
            elif name in _TUPLES:
                value = tuple(value)
            read[name] = value
        return cls(**read)


_NAMES = tuple(item.name for item in fields(NoticeContent) if item.init)
_values = attrgetter(*_NAMES)
_INSTANTS = frozenset({"published", "formed", "effective", "lapses", "deadline", "expires"})
_TUPLES = frozenset({"audience", "upstream_tags", "attachments"})


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice ready to be stored: normalised, tagged, with its place in the house.

    Attributes:
        source_id: The source it came from; ``None`` for one written at the desk.
        guid: Its name inside the source; unique there.
        archive: True for imports and a source's first poll: searchable and fit for a welcome
            edition, pushed only while newer than 7 days.
        level, place: Jurisdiction; ``place`` is a code of the city's files or ``None``.
        words: Cut for the full-text index; ``None`` cuts them when the notice is stored.
        identity: What it is recognised by elsewhere; ``None`` works it out when the notice is stored.
        likeness: The notice of another source that it repeats, if any.
        reason: Why it waits for an editor, for a state that waits.
    """

    content: NoticeContent
    source_id: int | None
    guid: str
    tags: tuple[Tag, ...] = ()
    level: Level = "unknown"
    place: str | None = None
    priority: Priority = "normal"
    state: State = "released"
    archive: bool = False
    actor: str = "intake"
    words: tuple[str, ...] | None = None
    identity: Identity | None = None
    likeness: Likeness | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A stored notice at its current revision.

    Attributes:
        released_at: When it became public here; ``None`` before release.
        changed_at: Its last material change (release, major revision, withdrawal, expiry, purge).
        material_number: That change's number in the one sequence; 0 before release.
        reason: Why it was withdrawn, or why it waits for an editor; else empty.
        lead_id: The notice that is picked in its place, because both are one document.
        prominence: The editors' weight in ranking: 1 recommended, 0 as it comes, -1 held back. Readers see it
            only as the reason "recommended by the editors"; it is no part of any revision.
    """

    id: int
    source_id: int | None
    guid: str
    state: State
    revision: int
    content: NoticeContent
    tags: tuple[Tag, ...]
    level: Level
    place: str | None
    priority: Priority
    archive: bool
    created_at: datetime
    released_at: datetime | None
    changed_at: datetime | None
    material_number: int
    reason: str = ""
    lead_id: int | None = None
    prominence: Prominence = 0

    @property
    def is_public(self) -> bool:
        """Whether a resident may see it (withdrawn ones stay readable, marked)."""
        return self.state in PUBLIC_STATES

    @property
    def fresh_at(self) -> datetime:
        """The instant its freshness is counted from: ``published``, else the release."""
        return freshness(self.content, self.released_at or self.created_at, archive=self.archive)

    def codes(self, kind: str) -> tuple[str, ...]:
        """Codes of its tags of one kind, strongest first."""
        return tuple(tag.code for tag in self.tags if tag.kind == kind)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What the decision needs to know of a notice that is already stored.

    Attributes:
        content_hash: Of what upstream last said, not of an editor's own changes.
    """

    notice_id: int
    content_hash: str
    revision: int
    state: str


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What is stored under the key of a warning's message.

    Attributes:
        notice_id: 0 where the message was cancelled before it came; then nothing else is known.
        sent: When the stored warning's newest message was sent, as it said itself, or ``""``.
        message, lang: Id and language of that message, as it said itself, or ``""``.
        ended: When it was taken back, if it was.
    """

    notice_id: int
    guid: str = ""
    source_id: int | None = None
    state: str = ""
    sent: str = ""
    message: str = ""
    lang: str = ""
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class PendingChange:
    """What upstream now says of a public notice, waiting for an editor to look at it.

    Attributes:
        priority: The one it would have from then on; ``None`` leaves it as it is.
    """

    notice_id: int
    content: NoticeContent
    at: datetime
    reason: str
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """One kept version of a notice: what it said, who changed it, when, why, and how much."""

    notice_id: int
    revision: int
    made_at: datetime
    actor: str
    note: str
    major: bool
    content: NoticeContent


def freshness(content: NoticeContent, arrived: datetime, *, archive: bool) -> datetime:
    """Return the instant freshness is counted from.

    An undated notice of an archive counts as ten years old: that it was imported today is no news.
    """
    if content.published is not None:
        return content.published
    return arrived - UNDATED_ARCHIVE_AGE if archive else arrived


@dataclass(frozen=True, slots=True)
class Link:
    """A directed relation between two notices, such as an interpretation and its document."""

    from_id: int
    to_id: int
    kind: LinkKind
