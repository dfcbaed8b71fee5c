"""Reads RSS and Atom with feedparser, raw: nothing sanitised, no date or title interpreted.

The only import of feedparser. We find the encoding and refuse entities and deep nesting before it
sees a byte; it never opens a file or an address. Called by ``feeds.intake.fetch``.
"""

from __future__ import annotations

import calendar
import codecs
import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin
from xml.parsers import expat
from zoneinfo import ZoneInfo

import feedparser
from selectolax.lexbor import LexborHTMLParser

from feeds.intake.dates import parse_when
from feeds.intake.types import Oddity, Parsed, RawEntry
from feeds.kernel.errors import BadInputError

MAX_SIZE = 20_000_000  # bytes
MAX_DEPTH = 256
MAX_ENTRIES = 5_000
MAX_ATTRIBUTES = 256  # of one element; also namespaces of a feed
_UTC = ZoneInfo("UTC")
_ENTITIES = re.compile(r"<!ENTITY|<!DOCTYPE[^>]*\[", re.IGNORECASE)
_ENTRY = re.compile(r"<(?:item|entry)[\s>]")
_OPENED = re.compile(r"<(?!br|hr|img|input|meta|link|p|li|td|tr)[A-Za-z][^<>]*(?<!/)>")
_NAMESPACE = re.compile(r"xmlns:?[\w.-]{0,200}\s*=\s*[\"'][^\"'<>]{0,500}")
_HUGE_TAG = re.compile(r"<[A-Za-z][^<>]{100000}")
_FIRST_ELEMENT = re.compile(r"<[A-Za-z]")
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"'][^>]*\?>")
_XML_HEAD = re.compile(r"\A\s*<\?xml[^>]*\?>")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What Chinese servers call gb2312 or gbk is nearly always more than that.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "gb_2312-80": "gb18030"}
_FEED_TYPES = ("application/rss+xml", "application/atom+xml")
_MAIL = re.compile(r"\S+@\S+")


def parse_feed(body: bytes, headers: Mapping[str, str], url: str) -> Parsed:
    """Read a feed.

    Args:
        body: As received, at most 20 MB.
        headers: Names in lower case; ``content-type`` may name the encoding.
        url: Where it came from; relative links are resolved against it (or against ``xml:base``).

    Returns:
        Entries with the field names of the notice file. Dates stay text, so that one without a zone
        can be read in the source's zone. A feed without entries is fine.

    Raises:
        BadInputError: If it is no feed; where a page offers one, the sentence names its address.
    """
    if len(body) > MAX_SIZE:
        raise BadInputError(f"{url} has {len(body)} bytes; a feed of at most {MAX_SIZE} is read.")
    text, oddities = decode(body, headers.get("content-type", ""))
    _refuse_hostile(text, url)
    found = _parse(text, url)
    if not found.get("version"):  # feedparser leaves it out where the body is empty
        raise BadInputError(_no_feed(text, url))
    feed = found.feed
    if found.bozo and not isinstance(found.bozo_exception, feedparser.CharacterEncodingOverride):
        reason = str(found.bozo_exception)[:120]
        oddities.append(
            Oddity(0, "", "broken-xml", f"The feed is not well-formed ({reason}); what could be read was.")
        )
    entries = tuple(_entry(number, item, feed, url) for number, item in enumerate(found.entries, start=1))
    return Parsed(
        _get(feed, "title"), _get(feed, "link"), _get(feed, "language"), entries, tuple(oddities)
    )


def decode(body: bytes, content_type: str) -> tuple[str, list[Oddity]]:
    """Decode a document by BOM, XML declaration, header, UTF-8, GB18030, in this order of trust."""
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return body.decode(encoding, "replace").removeprefix("\ufeff"), []
    declared = _DECLARATION.search(body[:400].decode("latin-1"))
    header = _CHARSET.search(content_type)
    names = [match[1].lower() for match in (declared, header) if match]
    for name in [*names, "utf-8", "gb18030"]:
        try:
            text = body.decode(_WIDER.get(name, name))
        except (LookupError, UnicodeDecodeError):
            continue
        wrong = names and name not in names
        return text, [_encoding_oddity(names[0], name)] if wrong else []
    return body.decode("utf-8", "replace"), [_encoding_oddity(names[0] if names else "none", "damaged UTF-8")]


def _encoding_oddity(claimed: str, real: str) -> Oddity:
    return Oddity(0, "", "wrong-encoding", f"The feed says its encoding is {claimed}; it was read as {real}.")


def _refuse_hostile(text: str, url: str) -> None:
    """Stop what would cost feedparser seconds or gigabytes: its time grows with the square of some shapes."""
    first = _FIRST_ELEMENT.search(text)
    if _ENTITIES.search(text, 0, first.start() if first else len(text)):
        raise BadInputError(f"{url} defines XML entities, which no feed needs; it was not read.")
    if len(_ENTRY.findall(text)) > MAX_ENTRIES:
        raise BadInputError(f"{url} has more than {MAX_ENTRIES} entries; it was not read.")
    if len(set(_NAMESPACE.findall(text))) > MAX_ATTRIBUTES:
        raise BadInputError(f"{url} declares more than {MAX_ATTRIBUTES} namespaces; it was not read.")
    shape = _Shape()
    if not shape.measure(_as_utf8(text)):
        shape.estimate(text)
    if shape.depth > MAX_DEPTH:
        raise BadInputError(f"{url} nests elements deeper than {MAX_DEPTH}; it was not read.")
    if shape.attributes > MAX_ATTRIBUTES:
        raise BadInputError(
            f"{url} gives one element more than {MAX_ATTRIBUTES} attributes; it was not read."
        )


class _Shape:
    """The deepest nesting and the most attributes of one element; expat counts and builds nothing."""

    def __init__(self) -> None:
        self.depth = self.attributes = self._now = 0

    def measure(self, document: bytes) -> bool:
        """Count in the well-formed part; say whether that was all of it."""
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        try:
            parser.Parse(document, True)
        except expat.ExpatError:
            return False
        return True

    def estimate(self, text: str) -> None:
        """For broken documents: how many more elements open than close (void ones of HTML aside)."""
        opened = len(_OPENED.findall(text))
        self.depth = max(self.depth, opened - text.count("</") - text.count("<![CDATA["))
        if _HUGE_TAG.search(text):
            self.attributes = MAX_ATTRIBUTES + 1

    def _start(self, _name: str, attributes: dict[str, str]) -> None:
        self._now += 1
        self.depth = max(self.depth, self._now)
        self.attributes = max(self.attributes, len(attributes))

    def _end(self, _name: str) -> None:
        self._now -= 1


def _as_utf8(text: str) -> bytes:
    return _XML_HEAD.sub("", text, count=1).encode("utf-8", "replace")


def _parse(text: str, url: str) -> Any:
    # A stream, never the bytes themselves: feedparser would try them as a file name first.
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    return feedparser.parse(
        io.BytesIO(_as_utf8(text)), response_headers=headers, resolve_relative_uris=False, sanitize_html=False
    )


def _entry(number: int, item: Any, feed: Any, url: str) -> RawEntry:
    body, base = _body(item)
    summary = _get(item, "summary")
    fields: dict[str, Any] = {
        "title": _get(item, "title"),
        "body": body or summary,
        "summary": summary if body and summary != body else "",
        "published": _date(item, "published") or _date(item, "updated"),
        "expires": _date(item, "expired"),
        "agency": _author(item),
        "tags": [tag for tag in map(_tag, item.get("tags") or ()) if tag],
        "url": _get(item, "link"),
        "lang": _language(item) or _get(feed, "language"),
        "attachments": [*_enclosures(item, base or url)],
        "base": base,
    }
    return RawEntry(_get(item, "id"), number, {name: value for name, value in fields.items() if value})


def _get(item: Any, name: str) -> str:
    # dict.get: the attribute style warns and falls back from "updated" to "published".
    value = dict.get(item, name)
    return value.strip() if isinstance(value, str) else ""


def _body(item: Any) -> tuple[str, str]:
    contents: Sequence[Any] = item.get("content") or ()
    best = max(
        contents, key=lambda one: (one.get("type") != "text/plain", len(one.get("value") or "")), default=None
    )
    detail = best or item.get("summary_detail") or {}
    return (str((best or {}).get("value") or "").strip(), str(detail.get("base") or ""))


def _date(item: Any, name: str) -> str:
    """The date as written if we can read it, else as feedparser understood it."""
    raw = _get(item, name)
    parsed = dict.get(item, f"{name}_parsed")
    if raw and isinstance(parsed, time.struct_time) and parse_when(raw, _UTC) is None:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC).isoformat()
    return raw


def _author(item: Any) -> str:
    """The name of the issuer; an author that is only a mail address is nobody's name."""
    detail = item.get("author_detail") or {}
    name = str(detail.get("name") or "") or _get(item, "author") or _get(item, "publisher")
    return "" if _MAIL.fullmatch(name) else name


def _tag(tag: Any) -> str:
    return str(tag.get("label") or tag.get("term") or "").strip()


def _language(item: Any) -> str:
    for name in ("content", "title_detail", "summary_detail"):
        detail = item.get(name)
        detail = detail[0] if isinstance(detail, list) and detail else detail
        if isinstance(detail, Mapping) and detail.get("language"):
            return str(detail["language"])
    return ""


def _enclosures(item: Any, url: str) -> Iterator[dict[str, str]]:
    for link in item.get("links") or ():
        if link.get("rel") == "enclosure" and link.get("href"):
            texts = {name: str(link.get(name) or "") for name in ("type", "title")}
            yield {"url": _join(url, str(link["href"])), **texts}


def _no_feed(text: str, url: str) -> str:
    start = text.lstrip()[:2000].lower()
    if not start:
        return f"{url} answered with nothing; check the address."
    if start[0] in "{[":
        return f"{url} is JSON, not an RSS or Atom feed; give the address of the feed."
    if "<opml" in start:
        return f"{url} is a list of feeds (OPML); import it with `mycity sources import-opml`."
    if "<alert" in start:
        return f"{url} is a CAP warning, not a feed; relay it with `mycity alert`."
    offered = _offered(text, url)
    if offered:
        return f"{url} is a web page, not a feed; it offers the feed {offered}, give that address."
    if "<html" in start or "<!doctype html" in start:
        return f"{url} is a web page, not a feed; look for the address of its feed."
    return f"{url} is neither an RSS nor an Atom feed; look for the address of the feed."


def _offered(text: str, url: str) -> str:
    for link in LexborHTMLParser(text[:500_000]).css("link[rel][type][href]"):
        attributes = link.attributes
        kind = (attributes.get("type") or "").lower()
        if "alternate" in (attributes.get("rel") or "").lower().split() and kind in _FEED_TYPES:
            return _join(url, attributes.get("href") or "")
    return ""


def _join(base: str, link: str) -> str:
    try:
        return urljoin(base, link)
    except ValueError:  # such as "http://[1"
        return ""
