"""Turns a :class:`FeedView` into a JSON Feed 1.1. Pure, like ``delivery.syndication``.

What the format has no word for stands in ``_mycity``: the reasons, the mark, the deadline, the
source and its licence, and ``about``, the page that explains them.

Source: https://www.jsonfeed.org/version/1.1/
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from delivery.content import content_html, shown_reasons, shown_tags
from delivery.types import EntryView, FeedView
from delivery.wording import readable, shown_title, words

JSON_TYPE = "application/feed+json"
_VERSION = "https://jsonfeed.org/version/1.1"


def render_json(feed: FeedView) -> bytes:
    """Render JSON Feed 1.1, UTF-8; absent values are left out, not null."""
    about = readable(feed.about_url or feed.page_url)
    head: dict[str, Any] = {
        "version": _VERSION,
        "title": readable(feed.title) or "MyCity",
        "home_page_url": readable(feed.page_url),
        "feed_url": readable(feed.self_url),
        "description": readable(feed.subtitle),
        "language": feed.lang,
        "authors": [{"name": readable(feed.author)}] if feed.author else [],
        "_mycity": {"about": about, "id": readable(feed.feed_id), "updated": _instant(feed.updated)},
        "items": [_item(entry, feed, about) for entry in feed.entries],
    }
    kept = {name: value for name, value in head.items() if value or name == "items"}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _item(entry: EntryView, feed: FeedView, about: str) -> dict[str, Any]:
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
        item["_mycity"].update(_extension(entry))
    item["_mycity"] = {name: value for name, value in item["_mycity"].items() if value}
    return {name: value for name, value in item.items() if value}


def _extension(entry: EntryView) -> dict[str, Any]:
    source = {"name": readable(entry.source_name), "url": readable(entry.source_url)}
    return {
        "reasons": list(shown_reasons(entry)),
        "deadline": _instant(entry.deadline) if entry.deadline else "",
        "phone": readable(entry.phone),
        "revision": entry.revision,
        "source": {name: value for name, value in source.items() if value},
        "licence": readable(entry.licence),
    }


def _instant(instant: datetime) -> str:
    return instant.replace(microsecond=0).isoformat().replace("+00:00", "Z")
