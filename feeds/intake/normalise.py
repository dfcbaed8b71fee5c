"""Turns an untrusted entry into the content of a notice, and says what was odd about it.

Pure: clock, zone and vocabulary are arguments. Never rejects a row that has a title, a body or an
address, never invents a date. Called by :mod:`feeds.intake.landing`, for files and feeds alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, cast, get_args
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import LinkKind, NoticeContent, Priority
from feeds.intake.dates import When
from feeds.intake.fields import FieldReader, Vocabulary, clean, clean_json, one_line, web_address
from feeds.intake.sanitise import looks_like_html, sanitise, sanitise_plain, strip_markup, to_text
from feeds.intake.types import Oddity, RawEntry

FUTURE = timedelta(days=1)
_MARK_EN = "[SAMPLE]"
STAND_IN = 40  # characters of a stand-in title
MAX_BODY = 500_000  # characters
MAX_SLUG = 64  # characters
_PRIORITIES = get_args(Priority)
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})

_PLAIN = (
    "agency",
    "agency_slug",
    "doc_type",
    "doc_no",
    "index_no",
    "genre",
    "region",
    "openness",
    "phone",
    "title_en",
)
_READ = (
    frozenset(
        (
            *_PLAIN,
            "id",
            "source",
            "lang",
            "title",
            "body",
            "summary",
            "published",
            "updated",
            "formed",
            "effective",
            "lapses",
        )
    )
    | frozenset(
        (
            "deadline",
            "expires",
            "tags",
            "status",
            "url",
            "views",
            "type",
            "roles",
            "theme",
            "life_events",
            "priority",
        )
    )
    | frozenset(("links", "lang_of", "attachments", "jurisdiction"))
)
_SENTENCE = re.compile(r"[^。！？!?\n]+[。！？]?|[^.\n]+")
_STRAY = re.compile(r"\s+(?=[《》（）【】〔〕、，。：；！？])|(?<=[《》（）【】〔〕、，。：；！？])\s+")
_LANG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}")
_LANGS = {
    "zh": "zh-Hans",
    "zh-cn": "zh-Hans",
    "zh-sg": "zh-Hans",
    "zh-hans": "zh-Hans",
    "zh-hans-cn": "zh-Hans",
    "zh-tw": "zh-Hant",
    "zh-hk": "zh-Hant",
    "zh-mo": "zh-Hant",
    "zh-hant": "zh-Hant",
    "zh-hant-tw": "zh-Hant",
    "cn": "zh-Hans",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What the publisher decided himself and what therefore is not guessed.

    Attributes:
        tags: ``kind:code``, known to the city.
        place: Code of the place where the notice has force, or ``None``.
        links: (kind, id of the other notice in the same source).
    """

    tags: tuple[str, ...] = ()
    priority: Priority = "normal"
    place: str | None = None
    links: tuple[tuple[LinkKind, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Normalised:
    """One entry, normalised; ``content`` is ``None`` where the row says nothing at all."""

    content: NoticeContent | None
    declared: Declared
    oddities: tuple[Oddity, ...]


def normalise(
    entry: RawEntry,
    *,
    zone: ZoneInfo,
    default_lang: str,
    now: datetime,
    sample_mark: str = "",
    vocabulary: Vocabulary | None = None,
    agency: str = "",
    agencies: Mapping[str, str] = _NO_NAMES,
) -> Normalised:
    """Make a notice's content of one entry.

    Args:
        entry: Fields by the names of the notice file (docs/notice-file.md).
        zone: Where dates without a zone belong.
        default_lang: Used where the entry names no language.
        now: A ``published`` more than one day later is left empty and reported: it would lead every
            list for years. Freshness then counts from the release, and the given text stays in ``extra``.
        sample_mark: Put before every title of an invented city.
        vocabulary: Checks ``theme``, ``roles``, ``life_events`` and ``type``; ``None`` checks nothing.
        agency: Used where the entry names none.
        agencies: Name of an agency → its slug, used where the entry gives none.

    Returns:
        The content, what the publisher declared, and the oddities in the order they were met.
        A day or month given as a deadline (or expiry) means its last microsecond, as ``published``
        its first.
    """
    read = FieldReader(entry, zone, vocabulary)
    if not any(read.text(name) for name in ("title", "body", "url")):
        read.note("", "empty-row", "The row has neither title, body nor url; it was left out.", dropped=True)
        return Normalised(None, Declared(), tuple(read.oddities))
    read.oddities.clear()
    said = _said(entry, read, default_lang)
    _add_dates(said, read, now)
    said["title"] = _title(said, read, entry, sample_mark)
    declared = _declared(entry, read, said)
    _add_agency(said, agency, agencies)
    return Normalised(NoticeContent(**said), declared, tuple(read.oddities))


def _said(entry: RawEntry, read: FieldReader, default_lang: str) -> dict[str, Any]:
    """The content's attributes by name; those that the entry does not give are left out."""
    said: dict[str, Any] = {}
    if kinds := read.codes("type", "type"):
        said["kind"] = kinds[0]
    said |= {name: read.line(name) for name in _PLAIN if read.has(name)}
    said["body"] = _body(read, str(entry.fields.get("base") or ""))
    said["lang"] = _lang(read, default_lang)
    for name, field, reader in _SINGLE:
        if read.has(field):
            said[name] = reader(read, field)
    said["extra"] = {key: clean_json(value) for key, value in entry.fields.items() if _is_extra(key, value)}
    return said


def _add_agency(said: dict[str, Any], agency: str, agencies: Mapping[str, str]) -> None:
    """Give an entry that names no agency its source's, and an agency that the city knows its slug."""
    given, given_slug = said.get("agency", ""), said.get("agency_slug", "")
    agency = given or agency
    slug = given_slug or agencies.get(agency, "")
    if (agency, slug) != (given, given_slug):
        said |= {"agency": agency, "agency_slug": slug[:MAX_SLUG]}


def _is_extra(key: str, value: Any) -> bool:
    return key not in _READ and key != "base" and value not in (None, "", [], {})


def _body(read: FieldReader, base: str) -> str:
    text = read.text("body")
    if not text:
        read.note("body", "no-body", "The row has no body; only its title is shown and tagged.")
        return ""
    if len(text) > MAX_BODY:
        read.note("body", "too-long", f"The body has {len(text)} characters; it was cut after {MAX_BODY}.")
        text = text[:MAX_BODY]
    return sanitise(text, base=base) if looks_like_html(text) else sanitise_plain(text)


def _lang(read: FieldReader, default: str) -> str:
    if not read.has("lang"):
        return default
    given = read.line("lang").replace("_", "-")
    if given.lower() in _LANGS:
        return _LANGS[given.lower()]
    if given.lower().startswith("en-"):
        return "en"
    if given and not (_LANG.fullmatch(given) and len(given) <= 16):
        read.note("lang", "unknown-value", f"lang {given[:40]!r} is not a language tag; {default} was used.")
        return default
    return given or default


def _attachments(read: FieldReader, name: str) -> Iterator[Mapping[str, str]]:
    value = read.value(name)
    items = value if isinstance(value, (list, tuple)) else read.lines(name)
    for item in items:
        given = item if isinstance(item, Mapping) else {"url": item}
        url = web_address(one_line(clean(str(given.get("url") or ""))[0]))
        if not url:
            read.note("attachments", "bad-url", "An attachment has no web address; it was left out.")
            continue
        texts = {name: one_line(clean(str(given.get(name) or ""))[0]) for name in ("title", "type")}
        yield {"url": url, **{name: text for name, text in texts.items() if text}}


# Attribute of the content, field of the entry, and how it is read; in this order.
_SINGLE: tuple[tuple[str, str, Callable[[FieldReader, str], Any]], ...] = (
    ("summary", "summary", lambda read, name: to_text(read.text(name))),
    ("audience", "roles", lambda read, name: read.codes(name, "role")),
    ("upstream_tags", "tags", FieldReader.lines),
    ("url", "url", FieldReader.url),
    ("validity", "status", FieldReader.line),
    ("views", "views", FieldReader.number),
    ("attachments", "attachments", lambda read, name: tuple(_attachments(read, name))),
)


def _add_dates(said: dict[str, Any], read: FieldReader, now: datetime) -> None:
    published, deadline, formed = _published(read, now), read.when("deadline"), read.when("formed")
    effective, lapses, expires = read.when("effective"), read.when("lapses"), read.when("expires")
    if published and deadline and deadline.end < published.start:
        read.note(
            "deadline", "deadline-before-published", "The deadline lies before the date of publication."
        )
    if published and published.start > now + FUTURE:
        said["extra"]["published_given"] = read.line("published")
        published = None
    if published:
        said |= {"published": published.start, "published_precision": published.precision}
    if deadline:
        said |= {"deadline": deadline.end, "deadline_precision": deadline.precision}
    said |= {name: when.start for name, when in (("formed", formed), ("effective", effective)) if when}
    said |= {name: when.end for name, when in (("lapses", lapses), ("expires", expires)) if when}


def _published(read: FieldReader, now: datetime) -> When | None:
    if not read.text("published"):
        read.note(
            "published", "no-date", "The row has no date of publication; its release here counts instead."
        )
        return None
    found = read.when("published")
    if found and found.start > now + FUTURE:
        given = read.line("published")
        read.note(
            "published",
            "future-date",
            f"published {given!r} lies in the future; its release here counts instead.",
        )
    return found


def _title(said: Mapping[str, Any], read: FieldReader, entry: RawEntry, mark: str) -> str:
    raw = read.text("title")
    if looks_like_html(raw):
        read.note("title", "html-in-title", "The title held HTML; only its text was kept.")
    title = read_title(raw)
    if not title:
        title = _stand_in(said, read, entry)
        read.note("title", "no-title", f"The row has no title; it is shown as {title!r}.")
    if len(title) > 500:
        read.note("title", "too-long", f"The title has {len(title)} characters; it was cut after 500.")
        title = title[:499].rstrip() + "…"
    return _marked(title, mark, said["lang"])


def _marked(title: str, mark: str, lang: str) -> str:
    if not mark or title.startswith(mark) or title.upper().startswith(_MARK_EN):
        return title
    return mark + title if lang.startswith("zh") else f"{_MARK_EN} {title}"


def read_title(raw: str) -> str:
    """Reduce a title to one readable line: no HTML, single spaces, none beside Chinese punctuation."""
    title = one_line(clean(strip_markup(raw))[0])
    return _STRAY.sub("", title) if " " in title else title


def _stand_in(said: Mapping[str, Any], read: FieldReader, entry: RawEntry) -> str:
    """The first sentence of the body, else who and when."""
    first = _SENTENCE.search(to_text(said["body"]))
    if first:
        sentence = one_line(first[0])
        return sentence if len(sentence) <= STAND_IN else sentence[: STAND_IN - 1].rstrip() + "…"
    word = "(无标题)" if said["lang"].startswith("zh") else "(untitled)"
    who = said.get("agency") or read.line("source")
    which = read.line("published") if said.get("published") else entry.guid
    return one_line(f"{word} {who} {which}")


def _declared(entry: RawEntry, read: FieldReader, said: Mapping[str, Any]) -> Declared:
    tags = [f"theme:{code}" for code in read.codes("theme", "theme")]
    tags += [f"role:{code}" for code in said.get("audience", ())]
    tags += [f"life:{code}" for code in read.codes("life_events", "life")]
    tags += [f"type:{said['kind']}"] if "kind" in said else []
    places = read.codes("jurisdiction", "place")[:1]
    tags += [f"place:{code}" for code in places]
    priority = read.choice("priority", _PRIORITIES, "normal")
    links = [*_links(entry.fields.get("links"), read)]
    if other := read.line("lang_of"):
        links.append(("language_of", other))
    return Declared(tuple(tags), cast(Priority, priority), next(iter(places), None), tuple(links))


def _links(value: Any, read: FieldReader) -> Iterator[tuple[LinkKind, str]]:
    """Read ``{"interprets": "id" or [ids]}``, or a list of ``{"kind": …, "id": …}`` or ``"kind:id"``."""
    for kind, target in _pairs(value):
        if kind in get_args(LinkKind) and isinstance(target, (str, int)) and str(target).strip():
            yield cast(LinkKind, kind), str(target).strip()
        else:
            read.note("links", "bad-link", f"A link {str(kind)[:40]!r} is not understood; it was left out.")


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, str):
        value = value.split("|") if value else []
    if isinstance(value, Mapping):
        for kind, targets in value.items():
            yield from ((kind, one) for one in (targets if isinstance(targets, list) else [targets]))
        return
    for item in value if isinstance(value, (list, tuple)) else []:
        if isinstance(item, Mapping):
            yield item.get("kind"), item.get("id", item.get("to"))
        else:
            kind, _, target = str(item).partition(":")
            yield kind.strip(), target.strip()
