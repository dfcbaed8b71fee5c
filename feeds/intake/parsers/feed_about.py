"""What a feed says about itself and its vanished entries: its hub, how often to ask, its tombstones.

feedparser keeps only the last tombstone and knows no hub of an RSS feed, so these are read from the
tree, for both readers alike. Never raises on what a feed says, never opens an address. Pure. Called
by ``feeds.intake.parsers.feed``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

from feeds.intake.dates import parse_when
from feeds.intake.types import Deletion

Element = Any  # lxml ships no types

ATOM = "http://www.w3.org/2005/Atom"
MAX_TTL = 366 * 86_400  # seconds
MAX_DELETED = 5_000
_AT = "{http://purl.org/atompub/tombstones/1.0}"
_SY = "{http://purl.org/rss/1.0/modules/syndication/}"
_PERIODS = {"hourly": 3_600, "daily": 86_400, "weekly": 604_800, "monthly": 2_592_000, "yearly": 31_536_000}
_UTC = ZoneInfo("UTC")
_NUMBER = re.compile(r"\d{1,9}")
_SLASHES = re.compile(r"^([A-Za-z][A-Za-z0-9+,.-]*://)/+")
# Addresses that joining leaves as they are; most links are such and need not be taken apart.
_WHOLE = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?/[A-Za-z0-9._~%/+=,@!$&*:-]*(?:\?[A-Za-z0-9._~%/+=,@!$&*:-]+)?"
)
_HEADER_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\s\";,]+))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s\";,]+))", re.IGNORECASE)


class Base:
    """The address that relative ones are read against, with feedparser's reading of odd ones."""

    def __init__(self, url: str) -> None:
        self.given = url
        joined = _join(url, url)
        self.url = joined if joined.startswith(("http://", "https://")) else url

    def resolve(self, uri: str) -> str:
        """Make an address absolute; ``""`` where it is none."""
        return uri if _WHOLE.fullmatch(uri) else _join(self.url, uri)


@dataclass(frozen=True, slots=True)
class About:
    """See :class:`feeds.intake.types.Parsed`."""

    ttl_s: int = 0
    hub: str = ""
    topic: str = ""
    deleted: tuple[Deletion, ...] = ()


def read_about(root: Element | None, headers: Mapping[str, str], url: str) -> About:
    """Read what a feed says about itself.

    Args:
        root: The tree of an RSS or Atom document, as far as it could be built, or ``None``.
        headers: Names in lower case; ``link`` goes before what the document says.
        url: Where the feed came from.
    """
    base = Base(url)
    links = list(_header_links(headers.get("link", "")))
    parents = () if root is None else _parents(root)
    for parent in parents:
        for link in parent.iterchildren(f"{{{ATOM}}}link"):
            links += [(rel, link.get("href") or "") for rel in (link.get("rel") or "").lower().split()]
    hub = _first(links, "hub", base)
    return About(
        next((wait for parent in parents if (wait := _ttl(parent))), 0),
        hub,
        _first(links, "self", base) if hub else "",
        () if root is None else tuple(_deleted(root, base)),
    )


def _parents(root: Element) -> tuple[Element, ...]:
    channels = [child for child in root if isinstance(child.tag, str) and child.tag.endswith("channel")]
    return (*channels[:1], root)


def _first(links: list[tuple[str, str]], rel: str, base: Base) -> str:
    for name, href in links:
        address = base.resolve(href.strip()) if name == rel and href.strip() else ""
        if address.startswith(("http://", "https://")):
            return address
    return ""


def _header_links(header: str) -> Iterator[tuple[str, str]]:
    for match in _HEADER_LINK.finditer(header[:8_000]):
        rel = _REL.search(match[2])
        for name in ((rel[1] or rel[2] or "") if rel else "").lower().split():
            yield name, match[1]


def _ttl(parent: Element) -> int:
    """Seconds: ``ttl`` in minutes, else the period of the syndication module; 0 where neither is sound."""
    minutes = _NUMBER.fullmatch((parent.findtext("ttl") or "").strip())
    if minutes and int(minutes[0]):
        return min(int(minutes[0]) * 60, MAX_TTL)
    period = _PERIODS.get((parent.findtext(f"{_SY}updatePeriod") or "").strip().lower(), 0)
    times = _NUMBER.fullmatch((parent.findtext(f"{_SY}updateFrequency") or "1").strip())
    return period // (int(times[0]) or 1) if times else period


def _deleted(root: Element, base: Base) -> Iterator[Deletion]:
    for count, stone in enumerate(root.iterchildren(f"{_AT}deleted-entry")):
        ref = (stone.get("ref") or "").strip()
        if not ref or count >= MAX_DELETED:
            continue
        when = parse_when(stone.get("when") or "", _UTC)
        comment = stone.find(f"{_AT}comment")
        reason = " ".join("".join(comment.itertext()).split()) if comment is not None else ""
        yield Deletion(base.resolve(ref), reason, when.start if when else None)


def _join(base: str, uri: str) -> str:
    try:
        return urljoin(base, _SLASHES.sub(r"\1", uri))
    except ValueError:  # such as "http://[1"
        return ""
