"""Turns a :class:`FeedView` into RSS 2.0 and Atom 1.0 bytes. The only import of feedgen.

Pure: the same view gives the same bytes; no clock, no database. It never shows more of a sensitive
entry than a neutral title. Called by the demo, and by ``delivery.feed_writer`` for what it has not made yet.

Source: the W3C feed validator's tests, RFC 4287, 5005 and 6721, the RSS 2.0 and content module texts.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from feedgen.ext.base import BaseEntryExtension, BaseExtension
from feedgen.feed import FeedGenerator
from feedgen.util import xml_elem

from delivery.conditional import RENDERER_VERSION, etag, etag_matches, not_modified
from delivery.content import UNKNOWN_TYPE, content_html, description, shown_tags
from delivery.types import Enclosure, EntryView, FeedView
from delivery.wording import readable, shown_title

__all__ = ["RENDERER_VERSION", "etag", "etag_matches", "not_modified", "render_atom", "render_rss"]

_ATOM = "http://www.w3.org/2005/Atom"
_HISTORY = "http://purl.org/syndication/history/1.0"
_TOMBSTONES = "http://purl.org/atompub/tombstones/1.0"
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_FULL_WIDTH = {"<": "＜", ">": "＞", "&": "＆"}
_HTML_SIGNS = re.compile(r"[<>]|&(?=#?\w+;)")
ATOM_TYPE = "application/atom+xml"
RSS_TYPE = "application/rss+xml"


class _Rest(BaseExtension):  # type: ignore[misc]
    """What feedgen cannot say of a feed: hubs and archives in RSS, RFC 5005 and RFC 6721 at all."""

    feed: FeedView

    def extend_ns(self) -> dict[str, str]:
        """Declare only what is used, so that ordinary feeds stay as they are."""
        found = {"fh": _HISTORY} if self.feed.archive else {}
        return found | ({"at": _TOMBSTONES} if self.feed.gone else {})

    def extend_atom(self, root: Any) -> Any:
        """Append links, the sign of an archive, and the stones of what is gone."""
        self._append(root, "link")
        for ref, when in self.feed.gone:
            stone = xml_elem(f"{{{_TOMBSTONES}}}deleted-entry", root, ref=readable(ref))
            stone.set("when", when.replace(microsecond=0).isoformat())
        return root

    def extend_rss(self, root: Any) -> Any:
        """Append to the channel; RSS has no word for what is gone."""
        self._append(root[0], f"{{{_ATOM}}}link")
        return root

    def _append(self, parent: Any, name: str) -> None:
        pairs = [("hub", hub) for hub in self.feed.hubs] + list(self.feed.links)
        for rel, href in pairs:
            xml_elem(name, parent, href=readable(href), rel=rel)
        if self.feed.archive:
            xml_elem(f"{{{_HISTORY}}}archive", parent)


class _Origin(BaseEntryExtension):  # type: ignore[misc]
    """What feedgen cannot say of an Atom entry: languages, and links that are not alternate.

    feedgen 1.0 drops ``rel`` and ``type`` of every link of an entry, so a second one would be read
    as a second alternate, which RFC 4287 forbids.
    """

    lang = ""
    title_lang = ""
    via = ""
    via_title = ""
    enclosures: tuple[Enclosure, ...] = ()

    def extend_atom(self, entry: Any) -> Any:
        """Set ``xml:lang``; append ``<link rel="via">`` and one ``<link rel="enclosure">`` a file."""
        if self.lang:
            entry.set(_XML_LANG, self.lang)
        if self.title_lang:
            entry.find("title").set(_XML_LANG, self.title_lang)
        if self.via:
            link = xml_elem("link", entry, href=self.via, rel="via")
            if self.via_title:
                link.set("title", self.via_title)
        for one in self.enclosures:
            _enclose(xml_elem("link", entry, href=readable(one.url), rel="enclosure"), one)
        return entry


def _enclose(link: Any, one: Enclosure) -> None:
    if one.type:
        link.set("type", readable(one.type))
    if one.length:
        link.set("length", str(one.length))
    if one.title:
        link.set("title", readable(one.title))


def render_rss(feed: FeedView) -> bytes:
    """Render RSS 2.0 with ``content:encoded``, Dublin Core creators, languages and rights, UTF-8."""
    generator = _head(feed, RSS_TYPE)
    for entry in feed.entries:
        _rss_item(generator.add_entry(order="append"), entry, feed)
    return _styled(generator.rss_str(), feed)


def render_atom(feed: FeedView) -> bytes:
    """Render Atom 1.0 with HTML content, UTF-8."""
    generator = _head(feed, ATOM_TYPE)
    generator.register_extension("origin", BaseExtension, _Origin, atom=True, rss=False)
    for entry in feed.entries:
        _atom_entry(generator.add_entry(order="append"), entry, feed)
    return _styled(generator.atom_str(), feed)


def _head(feed: FeedView, media_type: str) -> Any:
    generator = FeedGenerator()
    generator.load_extension("dc", atom=False, rss=True)
    generator.register_extension("rest", _Rest, atom=True, rss=True)
    generator.rest.feed = feed
    generator.id(readable(feed.feed_id))
    generator.title(readable(feed.title) or "MyCity")
    generator.subtitle(readable(feed.subtitle or feed.title) or "MyCity")
    generator.language(feed.lang)
    generator.generator("MyCity")
    generator.author(name=readable(feed.author or feed.title) or "MyCity")
    generator.updated(feed.updated.replace(microsecond=0))
    if feed.self_url:
        generator.link(href=readable(feed.self_url), rel="self", type=media_type)
    # feedgen takes the last link as the RSS <link>, so the page comes last.
    generator.link(href=readable(feed.page_url), rel="alternate", type="text/html")
    return generator


def _common(item: Any, entry: EntryView, feed: FeedView) -> None:
    item.guid(readable(entry.entry_id), permalink=False)
    item.title(shown_title(entry, feed.lang))
    item.published(entry.published.replace(microsecond=0))
    item.updated(entry.updated.replace(microsecond=0))
    for tag in shown_tags(entry):
        item.category(term=tag, label=tag)


def _rss_item(item: Any, entry: EntryView, feed: FeedView) -> None:
    _common(item, entry, feed)
    # Some readers take an RSS title for HTML, some for text; full-width signs read alike in both.
    item.title(_HTML_SIGNS.sub(lambda sign: _FULL_WIDTH[sign.group(0)], shown_title(entry, feed.lang)))
    item.link(href=readable(entry.url), rel="alternate")
    item.description(description(entry, feed.lang))
    item.content(content_html(entry, feed.lang, feed.timezone), type="html")
    if entry.sensitive:
        return
    if entry.agency:
        item.dc.dc_creator(readable(entry.agency))
    if entry.lang:
        item.dc.dc_language(readable(entry.lang))
    if entry.licence:
        item.dc.dc_rights(readable(entry.licence))
    if entry.source_name and entry.source_url:
        item.source(readable(entry.source_url), readable(entry.source_name))
    for one in entry.enclosures[:1]:  # RSS readers know one file an item
        item.enclosure(readable(one.url), str(one.length), readable(one.type) or UNKNOWN_TYPE)


def _atom_entry(item: Any, entry: EntryView, feed: FeedView) -> None:
    _common(item, entry, feed)
    item.link(href=readable(entry.url), rel="alternate")
    item.summary(description(entry, feed.lang), type="html")
    item.content(content_html(entry, feed.lang, feed.timezone), type="html")
    if entry.sensitive:
        return
    if entry.lang and entry.lang != feed.lang:
        item.origin.lang = readable(entry.lang)
    item.origin.title_lang = readable(entry.title_lang)
    if entry.agency:
        item.author(name=readable(entry.agency))
    if entry.licence:
        item.rights(readable(entry.licence))
    item.origin.via, item.origin.via_title = readable(entry.source_url), readable(entry.source_name)
    item.origin.enclosures = entry.enclosures


def _styled(rendered: Any, feed: FeedView) -> bytes:
    """Name the style sheet, which feedgen cannot: a line after the XML declaration."""
    body = rendered if isinstance(rendered, bytes) else str(rendered).encode("utf-8")
    if not feed.style_url:
        return body
    declaration, line, rest = body.partition(b"\n")
    style = f'<?xml-stylesheet type="text/css" href="{escape(readable(feed.style_url))}"?>'
    return declaration + line + style.encode() + b"\n" + rest
