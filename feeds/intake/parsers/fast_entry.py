"""Reads one entry of an ordinary feed the way feedparser does, or gives the whole feed up.

feedparser's reading depends on the order of elements, on repeated ones and on what it makes of a name;
each rule here repeats one of its rules for the plain case and raises :class:`Unsure` for the others.
Never guesses. Pure. Called by ``feeds.intake.parsers.fast_feed``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urljoin

from feeds.intake.parsers.feed_about import Base
from feeds.intake.types import RawEntry

Element = Any  # lxml ships no types
Tag = tuple[str | None, str | None, str | None]  # term, scheme, label

_ONCE = {
    "title": "title",
    "description": "summary",
    "summary": "summary",
    "content": "content",
    "content_encoded": "content",
    **dict.fromkeys(("published", "issued", "pubdate", "dcterms_issued"), "published"),
    **dict.fromkeys(("updated", "modified", "lastbuilddate", "dc_date", "dcterms_modified"), "updated"),
    "expirationdate": "expired",
    "dc_publisher": "publisher",
}
_TYPES = frozenset(("text", "text/plain", "html", "text/html"))
_HTML_TYPES = frozenset(("html", "text/html", "xhtml", "application/xhtml+xml"))
_CONSTRUCTS = frozenset(("title", "summary", "content"))
# Rules that touch nothing which we read, as long as the element holds only text.
_HARMLESS = frozenset(
    (
        *("rights", "copyright", "dc_rights", "source", "created", "dcterms_created", "generator"),
        *("language", "dc_language", "dc_contributor"),
        *("georss_point", "georss_line", "georss_polygon", "georss_box"),
        *("media_content", "media_thumbnail", "media_credit"),
    )
)
_MEDIA = frozenset(("media_content", "media_thumbnail", "media_credit"))
# Under these names feedparser keeps what we read, or what its other rules build on: an element without a
# rule is kept under its own name and would overwrite it.
_READ = frozenset(
    (
        *("id", "guid", "guidislink", "title", "link", "links", "summary", "description", "content"),
        *("published", "issued", "updated", "modified", "date", "expired", "language", "tags", "category"),
        *("author", "authors", "publisher", "publishers", "contributors", "subtitle", "rights", "license"),
        *("where", "source", "image", "textinput", "cloud", "item", "feed", "channel"),
    )
)
_LINK = frozenset(("href", "rel", "type", "title", "hreflang", "length"))
_ENCLOSURE = frozenset(("url", "type", "length", "title"))
_CATEGORY = frozenset(("term", "scheme", "domain", "label"))
_PERSON = frozenset(("name", "email", "uri", "url"))
_C1 = re.compile("[\x80-\x9f]")
_CP1252 = {n: bytes((n,)).decode("cp1252", "ignore") or chr(n) for n in range(0x80, 0xA0)}
_ESCAPED = re.compile(r"&([A-Za-z0-9_]+);")
_MAIL = re.compile(r"[A-Za-z0-9_.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,4}")
_MAIL_NAME = re.compile(_MAIL.pattern + r" \(([^()<>&@;?]+)\)")


class Unsure(Exception):
    """Something whose reading by feedparser is not certain; never leaves the fast reader."""


class Names(Protocol):
    """What feedparser calls a tag; which names it has rules for; which dates it need not read."""

    handled: frozenset[str]

    def __getitem__(self, tag: str, /) -> str:
        """The name of a tag."""
        ...

    def readable(self, date: str, /) -> bool:
        """Whether we read this date ourselves."""
        ...


class Feed:
    """The feed as far as it has been read."""

    def __init__(self, base: Base, names: Names, repair: bool) -> None:
        self.base, self.names, self._repair = base, names, repair
        self.title = self.link = self.lang = self.feed_lang = ""
        self.entries: list[RawEntry] = []
        self._has_title = self._has_link = self._has_id = False
        self._inert: set[str] = set()
        if base.resolve(base.url) != base.url:
            raise Unsure

    def text(self, element: Element) -> str:
        """The text of an element that holds nothing else."""
        if len(element):
            raise Unsure
        text = (element.text or "").strip()
        return self.repaired(text) if self._repair else text

    def construct(self, element: Element) -> str:
        """The text of a title, summary or content, plain or escaped HTML."""
        for key, value in element.attrib.items():
            if key != "type" or value.lower() not in _TYPES:
                raise Unsure
        return self.text(element)

    def repaired(self, text: str) -> str:
        """Undo what feedparser undoes: UTF-8 once read as Latin-1, and Windows-1252 as control characters."""
        if text.isascii():
            return text
        with suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")
        return text.translate(_CP1252) if _C1.search(text) else text

    def address(self, element: Element) -> str:
        """The text of a link, made absolute."""
        if len(element):
            raise Unsure
        text = (element.text or "").strip()
        text = self.base.resolve(text) if text else ""
        return self.repaired(text) if self._repair else text

    def inert(self, element: Element, name: str) -> None:
        """Pass over an element that feedparser has no rule for, with all that is inside."""
        if name not in self._inert:
            self._check_inert(name)
        for inner in element.iterdescendants() if len(element) else ():
            if (inside := self.names[inner.tag]) not in self._inert:
                self._check_inert(inside)

    def _check_inert(self, name: str) -> None:
        if name in self.names.handled or name in _READ or name.endswith(("_detail", "_parsed")):
            raise Unsure
        self._inert.add(name)

    def set_title(self, title: str) -> None:
        """Keep the feed's only title."""
        if self._has_title:
            raise Unsure
        self._has_title, self.title = True, title

    def add_link(self, element: Element) -> None:
        """Keep the feed's own address; the last one counts."""
        if element.attrib:
            found = _link(element, self.base)
            if found["rel"] != "alternate" or found["type"] not in _HTML_TYPES:
                return
            self.link = found["href"]
        else:
            self.link = _ESCAPED.sub(r"&\1", self.address(element))
        self._has_link = True

    def add_id(self, element: Element) -> None:
        """An id of the feed stands in for its address until there is one."""
        if self._has_id or element.attrib:
            raise Unsure
        self._has_id, value = True, self.address(element)
        if not self._has_link:
            self._has_link, self.link = True, value

    def finished(self) -> tuple[RawEntry, ...]:
        """The entries; those that name no language are in the feed's."""
        lang = self.feed_lang.strip()
        for entry in self.entries if lang else ():
            entry.fields.setdefault("lang", lang)  # type: ignore[attr-defined]  # read_entry makes a dict
        return tuple(self.entries)


class _Entry:
    """What has been read of one entry."""

    __slots__ = ("about", "authors", "feed", "files", "got", "id", "persons", "tags", "url")

    def __init__(self, feed: Feed, about: str) -> None:
        self.feed, self.about = feed, about
        self.got: dict[str, str] = {}
        self.id: str | None = None
        self.url: str | None = None
        self.tags: list[Tag] = []
        self.files: list[dict[str, str]] = []
        self.authors: list[str] = []
        self.persons: list[str] = []


def read_entry(item: Element, number: int, feed: Feed, about: str) -> RawEntry:
    """Read an ``item`` or ``entry``.

    Args:
        item: Its element.
        number: Its place in the feed, from 1.
        feed: The feed, as far as it was read.
        about: The address that RDF gives it, or ``""``.

    Raises:
        Unsure: At the first thing that feedparser might read otherwise.
    """
    entry = _Entry(feed, about)
    names, got = feed.names, entry.got
    for child in item:
        name = names[child.tag]
        slot = _ONCE.get(name)
        if slot is not None:
            if slot in got:
                raise Unsure
            got[slot] = feed.construct(child) if slot in _CONSTRUCTS else feed.text(child)
        elif name in _RULES:
            _RULES[name](entry, child)
        elif name in _HARMLESS:
            if len(child):
                raise Unsure
        else:
            feed.inert(child, name)
    return RawEntry((entry.id if entry.id is not None else about).strip(), number, _fields(entry))


def _fields(entry: _Entry) -> dict[str, Any]:
    got, feed = entry.got, entry.feed
    content, summary = got.get("content", ""), got.get("summary")
    if summary is None:
        summary = content
    base = feed.base.url if "content" in got or "summary" in got else ""
    published, updated, expires = (_date(entry, name) for name in ("published", "updated", "expired"))
    fields: dict[str, Any] = {
        "title": got.get("title"),
        "body": content or summary,
        "summary": summary if content and summary != content else "",
        "published": published or updated,
        "updated": updated,
        "expires": expires,
        "agency": _agency(entry),
        "tags": [text for term, _, label in entry.tags if (text := (label or term or "").strip())],
        "url": (entry.url or "").strip(),
        "lang": feed.lang if base or "title" in got else "",
        "attachments": [
            {**file, "url": _joined(base or feed.base.given, file["url"])} for file in entry.files
        ],
        "base": base,
    }
    return {name: value for name, value in fields.items() if value}


def _attachments(entry: _Entry, base: str) -> list[dict[str, str]]:
    return [{**file, "url": _joined(base, file["url"])} for file in entry.files]


def _date(entry: _Entry, name: str) -> str:
    date = entry.got.get(name, "")
    if date and not entry.feed.names.readable(date):
        raise Unsure
    return date


def _on_link(entry: _Entry, element: Element) -> None:
    if not element.attrib:
        address = entry.feed.address(element).replace("&amp;", "&")
        entry.url = _ESCAPED.sub(r"&\1", address)
        return
    found = _link(element, entry.feed.base)
    if found["rel"] == "alternate" and found["type"] in _HTML_TYPES:
        entry.url = found["href"]
    elif found["rel"] == "enclosure" and found["href"]:
        entry.files.append({"url": found["href"], "type": found["type"], "title": found.get("title", "")})


def _link(element: Element, base: Base) -> dict[str, str]:
    found = dict(element.attrib)
    if len(element) or not found.get("href") or not found.keys() <= _LINK:
        raise Unsure
    rel = found.get("rel", "alternate").lower()
    kind = found.get("type", "application/atom+xml" if rel == "self" else "text/html").lower()
    return {**found, "rel": rel, "type": kind, "href": base.resolve(found["href"])}


def _on_guid(entry: _Entry, element: Element) -> None:
    given = element.attrib
    if entry.id is not None or entry.about or (given and [key.lower() for key in given] != ["ispermalink"]):
        raise Unsure
    if given and given.values() != ["true"]:
        entry.id = entry.feed.text(element)
        return
    entry.id = entry.feed.address(element)
    if entry.url is None:
        entry.url = entry.id


def _on_category(entry: _Entry, element: Element) -> None:
    given, tags = dict(element.attrib), entry.tags
    if not given.keys() <= _CATEGORY:
        raise Unsure
    tag = (given.get("term"), given.get("scheme", given.get("domain")), given.get("label"))
    if any(tag) and tag not in tags:
        tags.append(tag)
    value = entry.feed.text(element)
    if value and tags and not tags[-1][0]:
        tags[-1] = (value, *tags[-1][1:])
    elif value and (value, None, None) not in tags:
        tags.append((value, None, None))


def _on_author(entry: _Entry, element: Element) -> None:
    if not len(element):
        entry.authors.append(entry.feed.text(element))
        return
    before = len(entry.persons)
    for part in element:
        name = entry.feed.names[part.tag]
        if name not in _PERSON or len(part):
            raise Unsure
        if name == "name":
            entry.persons.append((part.text or "").strip())
    if len(entry.persons) == before:
        raise Unsure


def _agency(entry: _Entry) -> str:
    """The first author that is written as text, the last that is written as a person, else the publisher."""
    authors, persons, publisher = entry.authors, entry.persons, entry.got.get("publisher", "")
    if persons:
        if authors or not persons[-1]:
            raise Unsure
        name = persons[-1]
    elif any(authors):
        first = next(one for one in authors if one)
        name = _named(first)
        if not name:
            if len(authors) > 1:
                raise Unsure
            name = first
    else:
        name = publisher
    return "" if re.fullmatch(r"\S+@\S+", name) else name


def _named(author: str) -> str:
    """The name in ``name``, ``mail (name)`` or ``mail`` (``""``)."""
    if "@" not in author or _MAIL.fullmatch(author):
        return "" if "@" in author else author
    if match := _MAIL_NAME.fullmatch(author):
        return match[1].strip()
    raise Unsure


def _on_enclosure(entry: _Entry, element: Element) -> None:
    given = dict(element.attrib)
    if len(element) or not given.keys() <= _ENCLOSURE:
        raise Unsure
    if url := given.get("url"):
        entry.files.append(
            {"url": url, "type": given.get("type", "").lower(), "title": given.get("title", "")}
        )


def _on_media(entry: _Entry, element: Element) -> None:
    for part in element:
        if entry.feed.names[part.tag] not in _MEDIA or len(part):
            raise Unsure


def _on_contributor(entry: _Entry, element: Element) -> None:
    for part in element:
        if entry.feed.names[part.tag] not in _PERSON or len(part):
            raise Unsure


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:
        return ""


_RULES = {
    "link": _on_link,
    "guid": _on_guid,
    "id": _on_guid,
    "category": _on_category,
    "dc_subject": _on_category,
    "author": _on_author,
    "dc_creator": _on_author,
    "dc_author": _on_author,
    "enclosure": _on_enclosure,
    "media_group": _on_media,
    "contributor": _on_contributor,
}
