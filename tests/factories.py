"""Small builders of things tests need often. All content is invented."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from feeds.catalogue.notices import NewNotice, NoticeContent
from feeds.catalogue.tagging import Tag
from profiles.types import FollowedPlace, Pick, Profile, Reason

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)


def content(**changes: Any) -> NoticeContent:
    """Return a notice's content, with changes."""
    values: dict[str, Any] = {
        "title": "【示例】关于调整示例市居民用水价格的通知",
        "body": "<p>自2026年11月1日起，居民用水价格调整为每立方米3.54元。</p>",
        "agency": "示例市供水管理局",
        "doc_no": "示水〔2026〕12号",
        "published": NOW,
    }
    return NoticeContent(**(values | changes))


def new_notice(guid: str = "n-1", *, tags: tuple[str, ...] = ("theme:10",), **changes: Any) -> NewNotice:
    """Return a notice ready to be stored."""
    outer = {
        name: changes.pop(name)
        for name in ("source_id", "state", "archive", "priority", "level", "place")
        if name in changes
    }
    made = tuple(Tag(*tag.split(":", 1), cause="test", weight=1.0) for tag in tags)
    return NewNotice(content=content(**changes), guid=guid, tags=made, **({"source_id": 1} | outer))


def profile(**changes: Any) -> Profile:
    """Return a wish for a profile, with changes."""
    values: dict[str, Any] = {
        "id": 0,
        "created_at": NOW,
        "roles": ("citizen",),
        "places": (FollowedPlace("sl01", "home"),),
        "interests": ("theme:0402",),
    }
    return Profile(**(values | changes))


def pick(notice_id: int, **changes: Any) -> Pick:
    """Return a pick of a notice, with changes."""
    values: dict[str, Any] = {
        "notice_id": notice_id,
        "revision": 1,
        "kind": "new",
        "reasons": (Reason("interest", ("theme:0402",), 1.5), Reason("role", ("role:citizen",), 0.25)),
        "score": 2.5,
        "propensity": 1.0,
    }
    return Pick(**(values | changes))
