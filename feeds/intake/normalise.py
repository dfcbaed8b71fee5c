"""Turns an untrusted entry into the content of a notice, and says what was odd about it.

Pure: clock, zone and vocabulary are arguments. Never rejects a row that has a title, a body or an
address, never invents a date. Called by :mod:`feeds.intake.landing`, for files and feeds alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast, get_args
from zoneinfo import ZoneInfo

from feeds.catalogue.notices import LinkKind, NoticeContent, Precision, Priority
from feeds.intake.dates import When
from feeds.intake.fields import FieldReader, Vocabulary, clean, clean_json, one_line, web_address
from feeds.intake.sanitise import looks_like_html, plain_to_html, sanitise, strip_markup, to_text
from feeds.intake.types import Oddity, RawEntry

FUTURE = timedelta(days=1)
_MARK_EN = "[SAMPLE]"
STAND_IN = 40  # characters of a stand-in title
MAX_BODY = 500_000  # characters

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
    content = _content(entry, read, default_lang)
    content = _dated(content, read, now)
    content = _titled(content, read, entry, sample_mark)
    return Normalised(content, _declared(entry, read, content), tuple(read.oddities))


def _content(entry: RawEntry, read: FieldReader, default_lang: str) -> NoticeContent:
    kinds = read.codes("type", "type")
    plain: dict[str, Any] = {name: read.line(name) for name in _PLAIN}
    return NoticeContent(
        title="",
        body=_body(read, str(entry.fields.get("base") or "")),
        lang=_lang(read, default_lang),
        summary=to_text(read.text("summary")),
        kind=kinds[0] if kinds else "",
        audience=read.codes("roles", "role"),
        upstream_tags=read.lines("tags"),
        url=read.url("url"),
        validity=read.line("status"),
        views=read.number("views"),
        attachments=tuple(_attachments(entry.fields.get("attachments"), read)),
        extra={key: clean_json(value) for key, value in entry.fields.items() if _is_extra(key, value)},
        **plain,
    )


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
    return sanitise(text if looks_like_html(text) else plain_to_html(text), base=base)


def _lang(read: FieldReader, default: str) -> str:
    given = read.line("lang").replace("_", "-")
    if given.lower() in _LANGS:
        return _LANGS[given.lower()]
    if given.lower().startswith("en-"):
        return "en"
    if given and not (_LANG.fullmatch(given) and len(given) <= 16):
        read.note("lang", "unknown-value", f"lang {given[:40]!r} is not a language tag; {default} was used.")
        return default
    return given or default


def _attachments(value: Any, read: FieldReader) -> Iterator[Mapping[str, str]]:
    items = value if isinstance(value, (list, tuple)) else read.lines("attachments")
    for item in items:
        given = item if isinstance(item, Mapping) else {"url": item}
        url = web_address(one_line(clean(str(given.get("url") or ""))[0]))
        if not url:
            read.note("attachments", "bad-url", "An attachment has no web address; it was left out.")
            continue
        texts = {name: one_line(clean(str(given.get(name) or ""))[0]) for name in ("title", "type")}
        yield {"url": url, **{name: text for name, text in texts.items() if text}}


def _dated(content: NoticeContent, read: FieldReader, now: datetime) -> NoticeContent:
    published, deadline, formed = _published(read, now), read.when("deadline"), read.when("formed")
    effective, lapses, expires = read.when("effective"), read.when("lapses"), read.when("expires")
    if published and deadline and deadline.end < published.start:
        read.note(
            "deadline", "deadline-before-published", "The deadline lies before the date of publication."
        )
    extra = dict(content.extra)
    if published and published.start > now + FUTURE:
        extra["published_given"] = read.line("published")
        published = None
    return replace(
        content,
        published=_start(published),
        published_precision=_precision(published, "instant"),
        deadline=_end(deadline),
        deadline_precision=_precision(deadline, "day"),
        formed=_start(formed),
        effective=_start(effective),
        lapses=_end(lapses),
        expires=_end(expires),
        extra=extra,
    )


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


def _start(when: When | None) -> datetime | None:
    return when.start if when else None


def _end(when: When | None) -> datetime | None:
    return when.end if when else None


def _precision(when: When | None, default: Precision) -> Precision:
    return when.precision if when else default


def _titled(content: NoticeContent, read: FieldReader, entry: RawEntry, mark: str) -> NoticeContent:
    raw = read.text("title")
    if looks_like_html(raw):
        read.note("title", "html-in-title", "The title held HTML; only its text was kept.")
    title = read_title(raw)
    if not title:
        title = _stand_in(content, read, entry)
        read.note("title", "no-title", f"The row has no title; it is shown as {title!r}.")
    if len(title) > 500:
        read.note("title", "too-long", f"The title has {len(title)} characters; it was cut after 500.")
        title = title[:499].rstrip() + "…"
    return replace(content, title=_marked(title, mark, content.lang))


def _marked(title: str, mark: str, lang: str) -> str:
    if not mark or title.startswith(mark) or title.upper().startswith(_MARK_EN):
        return title
    return mark + title if lang.startswith("zh") else f"{_MARK_EN} {title}"


def read_title(raw: str) -> str:
    """Reduce a title to one readable line: no HTML, single spaces, none beside Chinese punctuation."""
    return _STRAY.sub("", one_line(clean(strip_markup(raw))[0]))


def _stand_in(content: NoticeContent, read: FieldReader, entry: RawEntry) -> str:
    """The first sentence of the body, else who and when."""
    first = _SENTENCE.search(to_text(content.body))
    if first:
        sentence = one_line(first[0])
        return sentence if len(sentence) <= STAND_IN else sentence[: STAND_IN - 1].rstrip() + "…"
    word = "(无标题)" if content.lang.startswith("zh") else "(untitled)"
    who = content.agency or read.line("source")
    which = read.line("published") if content.published else entry.guid
    return one_line(f"{word} {who} {which}")


def _declared(entry: RawEntry, read: FieldReader, content: NoticeContent) -> Declared:
    tags = [f"theme:{code}" for code in read.codes("theme", "theme")]
    tags += [f"role:{code}" for code in content.audience]
    tags += [f"life:{code}" for code in read.codes("life_events", "life")]
    tags += [f"type:{content.kind}"] if content.kind else []
    places = read.codes("jurisdiction", "place")[:1]
    tags += [f"place:{code}" for code in places]
    priority = read.choice("priority", get_args(Priority), "normal")
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
