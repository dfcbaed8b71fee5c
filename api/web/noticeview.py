"""What the page of one notice shows beside its text: facts, tags with their causes, what changed.

Pure but for the links, which it reads through the store. Called by the notice page and the desk.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from api.web.listing import agency_name, shown_title
from api.web.wording import Words
from feeds.catalogue.notices import Notice, Revision
from feeds.catalogue.tagging import EDITOR, Tag
from feeds.intake.sanitise import to_text
from feeds.intake.sources import Source
from feeds.kernel.errors import NotFoundError
from feeds.kernel.time import local_date

if TYPE_CHECKING:
    from api.wiring import Services

TAG_KINDS = ("theme", "role", "place", "life", "type", "agency")
_TOKEN = re.compile(r"[0-9A-Za-z]+(?:[.,:/%-][0-9A-Za-z]+)*|\s+|.", re.DOTALL)
_CAUSE = re.compile(r"(?P<rule>[^@]*)@(?P<where>[a-z_]+):(?P<word>.*)", re.DOTALL)
_AROUND = 30  # characters of unchanged text that stay visible beside a change
_SAME = ("duplicate_of", "reprints")  # kinds of link that make a group of one document
_MOST = 6000  # tokens compared; longer texts are compared by line


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the table of facts; ``href`` makes the value a link."""

    key: str
    value: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class ShownTag:
    """A tag with the reason it was given; ``href`` lists the notices that share it."""

    tag: str
    kind: str
    label: str
    why: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text in a comparison: kept, gone or new; ``cut`` stands for unchanged text left out."""

    kind: Literal["same", "gone", "new", "cut"]
    text: str


@dataclass(frozen=True, slots=True)
class Related:
    """Another notice that this one is linked with, and how, as a sentence key.

    Attributes:
        source: Who publishes it, where the title alone would not tell the two apart.
        more: Further ones that are linked in the same way and stand in the same line.
    """

    key: str
    url: str
    title: str
    lang: str
    source: str = ""
    more: tuple[Related, ...] = ()


def facts(services: Services, notice: Notice, words: Words) -> list[Fact]:
    """Return the table of facts, in reading order, without the empty ones."""
    content, zone = notice.content, services.zone

    def day(value: datetime | None) -> str:
        return words.day(local_date(value, zone)) if value else ""

    published = content.published
    exact = published is not None and content.published_precision == "instant"
    shown = words.instant(published, zone) if exact and published else day(published)
    deadline = content.deadline
    timed = deadline is not None and content.deadline_precision == "instant"
    until = words.instant(deadline, zone) if timed and deadline else day(deadline)
    place = notice.place if notice.place in services.city.places else None
    rows = [
        Fact("agency", agency_name(services.city, notice, words.lang)),
        Fact("doc_no", content.doc_no),
        Fact("index_no", content.index_no),
        Fact("genre", content.genre or content.doc_type),
        Fact("formed", day(content.formed)),
        Fact("published", shown or day(notice.released_at)),
        Fact("effective", day(content.effective)),
        Fact("lapses", day(content.lapses)),
        Fact("deadline", until),
        Fact("validity", _validity(content.validity, words)),
        Fact(
            "jurisdiction",
            services.city.label(f"place:{place}", words.lang) if place else "",
            f"/?place={place}",
        ),
        Fact("phone", content.phone, _dial(content.phone)),
    ]
    return [row for row in rows if row.value]


def shown_tags(services: Services, notice: Notice, words: Words) -> list[ShownTag]:
    """Return every tag with its cause in plain words, grouped by kind, strongest first."""
    ordered = sorted(notice.tags, key=lambda tag: TAG_KINDS.index(tag.kind) if tag.kind in TAG_KINDS else 99)
    return [shown_tag(services, tag, words) for tag in ordered if tag.kind in TAG_KINDS]


def shown_tag(services: Services, tag: Tag, words: Words) -> ShownTag:
    """Say one tag and why it was given."""
    name = f"{tag.kind}:{tag.code}"
    href = f"/?{tag.kind}={tag.code}" if tag.kind in ("theme", "role", "place") else ""
    return ShownTag(name, tag.kind, services.city.label(name, words.lang), cause_text(tag.cause, words), href)


def cause_text(cause: str, words: Words) -> str:
    """Say why a tag was given; an unknown kind of cause is said to be the program's guess."""
    if cause == EDITOR:
        return words("cause.editor")
    match = _CAUSE.fullmatch(cause)
    if match and words.has(f"cause.{match['where']}"):
        return words(f"cause.{match['where']}", word=match["word"])
    return words("cause.guess")


def last_change(revisions: Sequence[Revision]) -> tuple[Revision, Revision] | None:
    """Return the newest major revision after the first and the one before it, if there is one."""
    for number in range(len(revisions) - 1, 0, -1):
        if revisions[number].major:
            return revisions[number - 1], revisions[number]
    return None


def compare(old: str, new: str) -> list[Piece]:
    """Compare two plain texts by word and number (Chinese by character); long unchanged runs are cut."""
    left, right = _tokens(old), _tokens(new)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    pieces: list[Piece] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(left[i1:i2])))
            continue
        if i2 > i1:
            pieces.append(Piece("gone", "".join(left[i1:i2])))
        if j2 > j1:
            pieces.append(Piece("new", "".join(right[j1:j2])))
    return _shortened(_joined(pieces))


def compare_revisions(old: Revision, new: Revision) -> dict[str, list[Piece]]:
    """Compare title and text of two revisions; a part that did not change is left out."""
    pairs = {
        "title": (old.content.title, new.content.title),
        "body": (to_text(old.content.body), to_text(new.content.body)),
        "phone": (old.content.phone, new.content.phone),
    }
    return {key: compare(*pair) for key, pair in pairs.items() if pair[0] != pair[1]}


def related(services: Services, notice: Notice, words: Words) -> list[Related]:
    """Return public notices linked with this one, each with how, seen from here.

    A notice that repeats another one names first the one that stands for both; that one names, once,
    every source that says the same.
    """
    links = services.notices.links(notice.id)
    group = services.notices.groups([notice.id]).get(notice.id, [])
    wanted = {link.to_id if link.from_id == notice.id else link.from_id for link in links}
    wanted |= {number for number, _ in group} | ({notice.lead_id} if notice.lead_id else set())
    others = {number: other for number, other in services.notices.many(wanted).items() if other.is_public}
    found = []
    told: set[int] = set()
    if notice.lead_id and (lead := others.get(notice.lead_id)):
        reprint = any((link.to_id, link.kind) == (lead.id, "reprints") for link in links)
        key = "links.reprints.out" if reprint else "links.lead"
        found.append(replace(_related(services, key, lead, words), source=_publisher(services, lead, words)))
        told.add(lead.id)
    also = [_also(services, others[number], at, words) for number, at in group if number in others]
    if also:
        found.append(replace(also[0], more=tuple(also[1:])))
    told |= {number for number, _ in group}
    for link in links:
        outward = link.from_id == notice.id
        other = others.get(link.to_id if outward else link.from_id)
        if other is None or (other.id in told and link.kind in _SAME):
            continue
        found.append(_related(services, f"links.{link.kind}.{'out' if outward else 'in'}", other, words))
    return found


def _related(services: Services, key: str, other: Notice, words: Words) -> Related:
    lang = "en" if "language_of" in key and other.content.lang == "en" else words.lang
    _, title, shown_lang = shown_title(services.city, other, lang)
    return Related(key, f"/notices/{other.id}", title, shown_lang)


def _also(services: Services, other: Notice, source_id: int | None, words: Words) -> Related:
    """Name who else published it: its source, or its issuer where that has no name."""
    named = services.sources.get(source_id).name if source_id is not None else ""
    if not (name := named or agency_name(services.city, other, words.lang)):
        return _related(services, "links.also", other, words)
    return Related("links.also", f"/notices/{other.id}", name, other.content.lang)


def _publisher(services: Services, notice: Notice, words: Words) -> str:
    """The source of a notice, or its issuer where that has no name."""
    source = origin(services, notice)
    return (source.name if source else "") or agency_name(services.city, notice, words.lang)


def origin(services: Services, notice: Notice) -> Source | None:
    """The source that a notice came from; ``None`` for one that was written here."""
    if notice.source_id is None:
        return None
    try:
        return services.sources.get(notice.source_id)
    except NotFoundError:
        return None


def alike(services: Services, notice: Notice) -> list[Notice]:
    """Return the notices, public or not, that may say the same as this one, for an editor to compare."""
    links = services.notices.links(notice.id)
    wanted = {
        link.to_id if link.from_id == notice.id else link.from_id
        for link in links
        if link.kind in (*_SAME, "similar_to")
    }
    found = services.notices.many(wanted).values()
    return sorted((other for other in found if other.state != "purged"), key=lambda other: other.id)


def _validity(value: str, words: Words) -> str:
    return words(f"validity.{value}") if words.has(f"validity.{value}") else value


def _dial(phone: str) -> str:
    digits = re.match(r"[+\d][\d\- ]{4,}", phone.strip())
    return "tel:" + re.sub(r"[^\d+]", "", digits[0]) if digits else ""


def _tokens(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    return tokens if len(tokens) <= _MOST else text.splitlines(keepends=True)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Swallow a single unchanged sign between two changes: whole phrases read better than confetti."""
    result: list[Piece] = []
    waiting: Piece | None = None
    gone, new = "", ""
    for piece in pieces:
        if piece.kind == "same":
            if (gone or new) and len(piece.text) < 2 and "\n" not in piece.text:
                waiting = piece
                continue
            _flush(result, gone, new)
            if waiting:
                result.append(waiting)
            gone, new, waiting = "", "", None
            result.append(piece)
            continue
        if waiting:
            gone, new, waiting = gone + waiting.text, new + waiting.text, None
        gone += piece.text if piece.kind == "gone" else ""
        new += piece.text if piece.kind == "new" else ""
    _flush(result, gone, new)
    if waiting:
        result.append(waiting)
    return result


def _flush(result: list[Piece], gone: str, new: str) -> None:
    if gone:
        result.append(Piece("gone", gone))
    if new:
        result.append(Piece("new", new))


def _shortened(pieces: Sequence[Piece]) -> list[Piece]:
    short: list[Piece] = []
    for number, piece in enumerate(pieces):
        if piece.kind != "same" or len(piece.text) <= 3 * _AROUND:
            short.append(piece)
            continue
        if number:
            short.append(Piece("same", piece.text[:_AROUND]))
        short.append(Piece("cut", "…"))
        if number < len(pieces) - 1:
            short.append(Piece("same", piece.text[-_AROUND:]))
    return short
