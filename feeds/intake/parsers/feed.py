"""Reads RSS, Atom and JSON feeds, raw: nothing sanitised, no date or title interpreted.

Ordinary feeds are read by :mod:`feeds.intake.parsers.fast_feed`, all others by feedparser, which is
imported only here. We find the encoding and refuse entities and deep nesting before either sees a
byte; neither opens a file or an address. Called by ``feeds.intake.fetch``.
"""

from __future__ import annotations

import calendar
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
from feedparser.api import StrictFeedParser
from lxml import etree
from selectolax.lexbor import LexborHTMLParser

from feeds.intake.charset import decode
from feeds.intake.dates import parse_when
from feeds.intake.parsers.fast_feed import MAX_ATTRIBUTES, Dialect, hardened, read_fast
from feeds.intake.parsers.feed_about import About, read_about
from feeds.intake.parsers.json_feed import is_json_feed, parse_json_feed
from feeds.intake.types import Oddity, Parsed, RawEntry
from feeds.kernel.errors import BadInputError

MAX_SIZE = 20_000_000  # bytes
MAX_DEPTH = 256
MAX_ESCAPES = 300_000  # feedparser takes some 15 microseconds for each
MAX_ENTRIES = 5_000
_UTC = ZoneInfo("UTC")
_ENTITIES = re.compile(r"<!ENTITY|<!DOCTYPE[^>]*\[", re.IGNORECASE)
_ENTRY = re.compile(r"<(?:item|entry)[\s>]")
_OPENED = re.compile(r"<(?!br|hr|img|input|meta|link|p|li|td|tr)[A-Za-z][^<>]*(?<!/)>")
_NAMESPACE = re.compile(r"xmlns:?[\w.-]{0,200}\s*=\s*[\"'][^\"'<>]{0,500}")
_HUGE_TAG = re.compile(r"<[A-Za-z][^<>]{100000}")
_FIRST_ELEMENT = re.compile(r"<[A-Za-z]")
_XML_HEAD = re.compile(r"\A\s*<\?xml[^>]*\?>")
# What XML has no place for, as a character or as a reference to one.
_REFERENCE = (
    r"&#(?:0*(?:[0-8]|1[124-9]|2\d|3[01]|5529[6-9]|55[3-9]\d\d|56\d{3}|57[0-2]\d\d|573[0-3]\d|5734[0-3]|6553[45]"
    r"|(?!1(?:0\d{5}|10\d{4}|11[0-3]\d{3}|1140\d\d|11410\d|11411[01]);)[1-9]\d{6,})"
    r"|x0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]|[dD][89a-fA-F][0-9a-fA-F]{2}|[fF]{3}[eEfF]"
    r"|(?!10[0-9a-fA-F]{4};)[1-9a-fA-F][0-9a-fA-F]{5,}));"
)
_ILLEGAL = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|{_REFERENCE}")
_ILLEGAL_REFERENCE = re.compile(_REFERENCE.encode())
_CONTROLS = bytes(n for n in range(32) if n not in b"\t\n\r")
_FEED_TYPES = ("application/rss+xml", "application/atom+xml")
_MAIL = re.compile(r"\S+@\S+")
# Shapes of dates that dates.parse_when surely reads; asking it would cost more than the rest of an entry.
_PLAIN_DATE = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?:0[1-9]|1\d|2[0-8]) "
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?:19|20)\d\d "
    r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d (?:GMT|[+-](?:0\d|1[0-3])[0-5]\d)"
    r"|(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)?)?)",
    re.ASCII,
)
_VERSIONS = {
    "rss090": "RSS 0.90",
    "rss091n": "RSS 0.91",
    "rss091u": "RSS 0.91",
    "rss092": "RSS 0.92",
    "rss093": "RSS 0.93",
    "rss094": "RSS 0.94",
    "rss10": "RSS 1.0",
    "rss20": "RSS 2.0",
    "rss": "RSS",
    "atom01": "Atom 0.1",
    "atom02": "Atom 0.2",
    "atom03": "Atom 0.3",
    "atom10": "Atom 1.0",
    "atom": "Atom",
    "cdf": "CDF",
}


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
    if is_json_feed(text):
        return parse_json_feed(text, headers, url, oddities)
    document = _as_utf8(text)
    if _holds_illegal(document):
        text = _without_illegal(text, oddities)
        document = _as_utf8(text)
    _refuse_many(text, url)
    return _fast(document, headers, url, oddities) or _slow(text, document, headers, url, oddities)


def _holds_illegal(document: bytes) -> bool:
    if len(document.translate(None, _CONTROLS)) != len(document) or _ILLEGAL_REFERENCE.search(document):
        return True
    return b"\xef\xbf\xbe" in document or b"\xef\xbf\xbf" in document


def _without_illegal(text: str, oddities: list[Oddity]) -> str:
    """Take out what no XML reader accepts; a feed must not be lost for one stray character."""
    cleaned, count = _ILLEGAL.subn("", text)
    oddities.append(
        Oddity(
            0,
            "",
            "control-characters",
            f"The feed held {count} characters that XML does not allow; they were taken out.",
        )
    )
    return cleaned


def _fast(document: bytes, headers: Mapping[str, str], url: str, oddities: list[Oddity]) -> Parsed | None:
    read = read_fast(document, url, _DIALECT)
    if read is None:
        return None
    about = read_about(read.root, headers, url)
    return _parsed(read.title, read.link, read.lang, read.entries, oddities, about, read.version)


def _slow(text: str, document: bytes, headers: Mapping[str, str], url: str, oddities: list[Oddity]) -> Parsed:
    _refuse_shape(text, document, url)
    found = _parse(document, url)
    if not found.get("version"):  # feedparser leaves it out where the body is empty
        raise BadInputError(_no_feed(text, url))
    feed = found.feed
    if found.bozo and not isinstance(found.bozo_exception, feedparser.CharacterEncodingOverride):
        reason = " ".join(str(found.bozo_exception).split())[:120]
        oddities.append(
            Oddity(0, "", "broken-xml", f"The feed is not well-formed ({reason}); what could be read was.")
        )
    entries = tuple(_entry(number, item, feed, url) for number, item in enumerate(found.entries, start=1))
    title, link, lang = (_get(feed, name) for name in ("title", "link", "language"))
    about = _about(document, headers, url)
    return _parsed(title, link, lang, entries, oddities, about, str(found.version))


def _parsed(
    title: str,
    link: str,
    lang: str,
    entries: tuple[RawEntry, ...],
    oddities: list[Oddity],
    about: About,
    version: str,
) -> Parsed:
    return Parsed(
        title,
        link,
        lang,
        entries,
        tuple(oddities),
        deleted=about.deleted,
        ttl_s=about.ttl_s,
        hub=about.hub,
        topic=about.topic,
        format=_VERSIONS.get(version, version),
    )


def _about(document: bytes, headers: Mapping[str, str], url: str) -> About:
    """What the document says about itself, as far as its tree can be built."""
    try:
        return read_about(etree.fromstring(document, hardened(recover=True)), headers, url)
    except (etree.XMLSyntaxError, ValueError):  # recovering libxml2 may hand out text that is no UTF-8
        return read_about(None, headers, url)


def _refuse_many(text: str, url: str) -> None:
    """Stop what would cost seconds or gigabytes, as far as the bare text shows it."""
    first = _FIRST_ELEMENT.search(text)
    if _ENTITIES.search(text, 0, first.start() if first else len(text)):
        raise BadInputError(f"{url} defines XML entities, which no feed needs; it was not read.")
    some = text.count("<item") + text.count("<entry")
    if some > MAX_ENTRIES and len(_ENTRY.findall(text)) > MAX_ENTRIES:
        raise BadInputError(f"{url} has more than {MAX_ENTRIES} entries; it was not read.")
    if text.count("xmlns") > MAX_ATTRIBUTES and len(set(_NAMESPACE.findall(text))) > MAX_ATTRIBUTES:
        raise BadInputError(f"{url} declares more than {MAX_ATTRIBUTES} namespaces; it was not read.")


def _refuse_shape(text: str, document: bytes, url: str) -> None:
    """Stop the shapes of which feedparser's time grows with the square; libxml2 stops them by itself."""
    if text.count("&") > MAX_ESCAPES:
        raise BadInputError(f"{url} has more than {MAX_ESCAPES} escaped characters; it was not read.")
    shape = _Shape()
    if not shape.measure(document):
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


def _parse(document: bytes, url: str) -> Any:
    # A stream, never the bytes themselves: feedparser would try them as a file name first.
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    try:
        return feedparser.parse(
            io.BytesIO(document), response_headers=headers, resolve_relative_uris=False, sanitize_html=False
        )
    except Exception as error:  # it meets names and values that its rules did not expect
        kind = type(error).__name__
        raise BadInputError(f"{url} is no feed that can be read ({kind}); it was not read.") from error


def _entry(number: int, item: Any, feed: Any, url: str) -> RawEntry:
    body, base = _body(item)
    summary = _get(item, "summary")
    fields: dict[str, Any] = {
        "title": _get(item, "title"),
        "body": body or summary,
        "summary": summary if body and summary != body else "",
        "published": _date(item, "published") or _date(item, "updated"),
        "updated": _date(item, "updated"),
        "expires": _date(item, "expired"),
        "agency": _author(item),
        "tags": [tag for tag in map(_tag, _mappings(item, "tags")) if tag],
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
    contents = _mappings(item, "content")
    best = max(
        contents, key=lambda one: (one.get("type") != "text/plain", len(one.get("value") or "")), default=None
    )
    detail = best or _mapping(item, "summary_detail")
    return (str((best or {}).get("value") or "").strip(), str(detail.get("base") or ""))


def _mapping(item: Any, name: str) -> Mapping[str, Any]:
    """A part of an entry; an element that happens to bear its name may have put text there."""
    found = dict.get(item, name)
    return found if isinstance(found, Mapping) else {}


def _mappings(item: Any, name: str) -> Sequence[Mapping[str, Any]]:
    found = dict.get(item, name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _date(item: Any, name: str) -> str:
    """The date as written if we can read it, else as feedparser understood it."""
    raw = _get(item, name)
    if not raw or _readable(raw):
        return raw
    parsed = dict.get(item, f"{name}_parsed")
    if not isinstance(parsed, time.struct_time):
        return raw
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return raw


def _readable(date: str) -> bool:
    return _PLAIN_DATE.fullmatch(date) is not None or parse_when(date, _UTC) is not None


def _author(item: Any) -> str:
    """The name of the issuer; an author that is only a mail address is nobody's name."""
    name = str(_mapping(item, "author_detail").get("name") or "")
    name = name or _get(item, "author") or _get(item, "publisher")
    return "" if _MAIL.fullmatch(name) else name


def _tag(tag: Mapping[str, Any]) -> str:
    return str(tag.get("label") or tag.get("term") or "").strip()


def _language(item: Any) -> str:
    contents = _mappings(item, "content")
    for detail in (*contents[:1], _mapping(item, "title_detail"), _mapping(item, "summary_detail")):
        if detail.get("language"):
            return str(detail["language"])
    return ""


def _enclosures(item: Any, url: str) -> Iterator[dict[str, str]]:
    for link in _mappings(item, "links"):
        if link.get("rel") == "enclosure" and link.get("href"):
            texts = {name: str(link.get(name) or "") for name in ("type", "title")}
            yield {"url": _join(url, str(link["href"])), **texts}


def _rules() -> frozenset[str]:
    """The names that feedparser has a rule for."""
    return frozenset(
        name.split("_", 2)[2] for name in dir(StrictFeedParser) if name.startswith(("_start_", "_end_"))
    )


_DIALECT = Dialect(
    {space.lower(): prefix for space, prefix in StrictFeedParser.namespaces.items()}, _rules(), _readable
)


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
