"""Turns a :class:`FeedView` into a JSON Feed 1.1. Pure, like ``delivery.syndication``.

What the format has no word for stands in ``_mycity``: the reasons, the mark, the deadline, the
source and its licence, and ``about``, the page that explains them.

Source: https://www.jsonfeed.org/version/1.1/
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from delivery.content import UNKNOWN_TYPE, content_html, shown_reasons, shown_tags
from delivery.types import Enclosure, EntryView, FeedView
from delivery.wording import readable, shown_title, words

JSON_TYPE = "application/feed+json"
_VERSION = "https://jsonfeed.org/version/1.1"


def render_json(feed: FeedView) -> bytes:
    """Render JSON Feed 1.1, UTF-8; absent values are left out, not null."""
    items = [_item(entry, feed) for entry in feed.entries]
    return _packed(_head(feed) | {"items": items})


def json_frame(feed: FeedView) -> tuple[bytes, bytes]:
    """Return what stands before and after the items of :func:`render_json`; items are joined by commas."""
    whole = _packed(_head(feed) | {"items": []})
    return whole[:-2], whole[-2:]


def json_item(entry: EntryView, feed: FeedView) -> bytes:
    """Return one item as it stands in :func:`render_json`."""
    return _packed(_item(entry, feed))


def _packed(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _head(feed: FeedView) -> dict[str, Any]:
    about = readable(feed.about_url or feed.page_url)
    older = [href for rel, href in feed.links if rel == "prev-archive"]
    head: dict[str, Any] = {
        "version": _VERSION,
        "title": readable(feed.title) or "MyCity",
        "home_page_url": readable(feed.page_url),
        "feed_url": readable(feed.self_url),
        "next_url": readable(older[0]) if older else "",
        "description": readable(feed.subtitle),
        "language": feed.lang,
        "authors": [{"name": readable(feed.author)}] if feed.author else [],
        "hubs": [{"type": "WebSub", "url": readable(hub)} for hub in feed.hubs],
        "_mycity": {"about": about, "id": readable(feed.feed_id), "updated": _instant(feed.updated)},
    }
    return {name: value for name, value in head.items() if value}


def _item(entry: EntryView, feed: FeedView) -> dict[str, Any]:
    about = readable(feed.about_url or feed.page_url)
    item: dict[str, Any] = {
        "id": readable(entry.entry_id),
        "url": readable(entry.url),
        "title": shown_title(entry, feed.lang),
        "content_html": content_html(entry, feed.lang, feed.timezone),
        "summary": words(feed.lang)["neutral_body"] if entry.sensitive else readable(entry.summary),
        "date_published": _instant(entry.published),
        "date_modified": _instant(entry.updated),
        "tags": list(shown_tags(entry)),
        "_mycity": {"about": about, "mark": entry.mark},
    }
    if not entry.sensitive:
        item["language"] = entry.lang
        item["external_url"] = readable(entry.source_url)
        item["authors"] = [{"name": readable(entry.agency)}] if entry.agency else []
        item["attachments"] = [_attachment(one) for one in entry.enclosures]
        item["_mycity"].update(_extension(entry))
    item["_mycity"] = {name: value for name, value in item["_mycity"].items() if value}
    return {name: value for name, value in item.items() if value}


def _attachment(one: Enclosure) -> dict[str, Any]:
    kept = {
        "url": readable(one.url),
        "mime_type": readable(one.type) or UNKNOWN_TYPE,
        "title": readable(one.title),
        "size_in_bytes": one.length,
    }
    return {name: value for name, value in kept.items() if value}


def _extension(entry: EntryView) -> dict[str, Any]:
    source = {"name": readable(entry.source_name), "url": readable(entry.source_url)}
    return {
        "reasons": list(shown_reasons(entry)),
        "deadline": _instant(entry.deadline) if entry.deadline else "",
        "phone": readable(entry.phone),
        "revision": entry.revision,
        "source": {name: value for name, value in source.items() if value},
        "licence": readable(entry.licence),
        "title_language": readable(entry.title_lang),
    }


def _instant(instant: datetime) -> str:
    return instant.replace(microsecond=0).isoformat().replace("+00:00", "Z")
