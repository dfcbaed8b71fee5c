"""Reads JSON Feed 1.0 and 1.1 into the same entries as an RSS or Atom feed gives.

Takes what is of the right type and names what is not; follows no ``next_url``. Never raises on an item,
never interprets a date. Called by ``feeds.intake.parsers.feed``, which has decoded the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from feeds.intake.parsers.feed_about import read_about
from feeds.intake.types import Oddity, Parsed, RawEntry
from feeds.kernel.errors import BadInputError

MAX_ENTRIES = 5_000
_VERSION = re.compile(r"https?://(?:www\.)?jsonfeed\.org/version/(1(?:\.\d)?)/?")
_CLAIM = re.compile(r"jsonfeed\.org\\?/version")
_START = 100_000  # characters in which a JSON Feed says that it is one


@dataclass(slots=True)
class _Item:
    """One object of the document, with what is odd about it."""

    line: int
    values: Mapping[str, Any]
    oddities: list[Oddity] = field(default_factory=list)

    def text(self, name: str) -> str:
        """A text; numbers count as text, anything else is named and left out."""
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self.note(name, f"{name} is {_kind(value)}, not a text; it was left out.")
        return ""

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        """A list of objects; one that stands alone is a list of one."""
        value = self.values.get(name)
        if value is None:
            return []
        given = [value] if isinstance(value, dict) else value
        if isinstance(given, list) and all(isinstance(one, dict) for one in given):
            return given
        self.note(name, f"{name} is no list of objects; what is none was left out.")
        return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []

    def texts(self, name: str) -> list[str]:
        """A list of texts; one that stands alone is a list of one."""
        value = self.values.get(name)
        if value is None:
            return []
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.note(name, f"{name} is no list of texts; what is none was left out.")
            given = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
        return [text for one in given if (text := one.strip())]

    def note(self, name: str, message: str) -> None:
        """Say what was odd."""
        self.oddities.append(Oddity(self.line, name, "wrong-type", message))


def is_json_feed(text: str) -> bool:
    """Whether a document is JSON that claims to be a JSON Feed; it may still be broken."""
    start = text[:_START].lstrip("\ufeff \t\r\n")
    return start.startswith("{") and (
        _CLAIM.search(start) is not None or _CLAIM.search(text, max(len(text) - _START, 0)) is not None
    )


def parse_json_feed(text: str, headers: Mapping[str, str], url: str, oddities: list[Oddity]) -> Parsed:
    """Read a JSON Feed.

    Args:
        text: The document.
        headers: Names in lower case; a ``link`` to a hub goes before the document's.
        url: Where it came from; relative links are resolved against it.
        oddities: What is already known to be odd.

    Returns:
        Entries with the field names of the notice file; ``body`` is ``content_html`` before
        ``content_text``. A feed that says it has ``expired`` is read, with an oddity.

    Raises:
        BadInputError: If it is no JSON, or no JSON Feed.
    """
    feed = _Item(0, _document(text, url), [*oddities])
    version = _VERSION.fullmatch(feed.text("version"))
    items = feed.values.get("items")
    if version is None or not isinstance(items, list):
        raise BadInputError(f"{url} is JSON, not a JSON Feed with a version and items; check the address.")
    if len(items) > MAX_ENTRIES:
        raise BadInputError(f"{url} has more than {MAX_ENTRIES} entries; it was not read.")
    if feed.values.get("expired") is True:
        feed.oddities.append(
            Oddity(0, "expired", "feed-expired", "The feed says that nothing more will come; stop asking it.")
        )
    if feed.text("next_url"):
        said = "The feed has older pages (next_url); only this page is read."
        feed.oddities.append(Oddity(0, "next_url", "more-pages", said))
    lang = feed.text("language").replace("_", "-")
    entries = tuple(_entries(items, feed, lang, url))
    about = read_about(None, headers, url)
    hub = about.hub or _hub(feed, url)
    return Parsed(
        feed.text("title"),
        _join(url, feed.text("home_page_url")),
        lang,
        entries,
        tuple(feed.oddities),
        hub=hub,
        topic=(about.topic or _join(url, feed.text("feed_url"))) if hub else "",
        format=f"JSON Feed {version[1] if '.' in version[1] else version[1] + '.0'}",
    )


def _document(text: str, url: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{url} is damaged JSON; ask its publisher, or try again later.") from error
    return found if isinstance(found, dict) else {}


def _hub(feed: _Item, url: str) -> str:
    for one in feed.objects("hubs"):
        address = one.get("url")
        if str(one.get("type", "")).lower() == "websub" and isinstance(address, str):
            joined = _join(url, address)
            if joined.startswith(("http://", "https://")):
                return joined
    return ""


def _entries(items: list[Any], feed: _Item, lang: str, url: str) -> Iterator[RawEntry]:
    author = _author(feed)
    for line, values in enumerate(items, start=1):
        if not isinstance(values, dict):
            said = f"The item is {_kind(values)}, not an object; it was left out."
            feed.oddities.append(Oddity(line, "", "wrong-type", said, dropped=True))
            continue
        item = _Item(line, values)
        fields = _fields(item, author, lang, url)
        feed.oddities.extend(item.oddities)
        yield RawEntry(item.text("id"), line, {name: value for name, value in fields.items() if value})


def _fields(item: _Item, author: str, lang: str, url: str) -> dict[str, Any]:
    body = item.text("content_html") or item.text("content_text")
    summary = item.text("summary")
    updated = item.text("date_modified")
    return {
        "title": item.text("title"),
        "body": body or summary,
        "summary": summary if body and summary != body else "",
        "published": item.text("date_published") or updated,
        "updated": updated,
        "agency": _author(item) or author,
        "tags": item.texts("tags"),
        # external_url is the page that an item is about: the original, where there is no page of its own.
        "url": _join(url, item.text("url") or item.text("external_url")),
        "lang": item.text("language").replace("_", "-") or lang,
        "attachments": [*_attachments(item, url)],
        "base": url if body or summary else "",
    }


def _author(item: _Item) -> str:
    """The first name; ``author`` is how version 1.0 wrote it."""
    for one in (*item.objects("authors"), *item.objects("author")):
        name = one.get("name")
        if isinstance(name, str) and name.strip():
            return name.strip()
    return ""


def _attachments(item: _Item, url: str) -> Iterator[dict[str, str]]:
    for one in item.objects("attachments"):
        texts = {key: one.get(name) for key, name in (("type", "mime_type"), ("title", "title"))}
        address = one.get("url")
        if isinstance(address, str) and address.strip():
            known = {key: text if isinstance(text, str) else "" for key, text in texts.items()}
            yield {"url": _join(url, address.strip()), **known}
        else:
            item.note("attachments", "An attachment has no address; it was left out.")


def _join(base: str, link: str) -> str:
    try:
        return urljoin(base, link) if link else ""
    except ValueError:  # such as "http://[1"
        return ""


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "true or false"}.get(type(value), "a number or nothing")
