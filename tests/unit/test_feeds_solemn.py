"""Which notices take no likes: one rule for pages, interface and what keeps opinions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from feeds.catalogue.notices import Notice, NoticeContent
from feeds.catalogue.solemn import OUT_OF_PLACE, takes, takes_likes
from feeds.catalogue.tagging import Tag

AT = datetime(2026, 10, 12, tzinfo=UTC)
PLAIN = Notice(
    id=1, source_id=None, guid="g", state="released", revision=1,
    content=NoticeContent(title="图书馆延时开放"), tags=(), level="city", place=None, priority="normal",
    archive=False, created_at=AT, released_at=AT, changed_at=AT, material_number=1,
)  # fmt: skip


@pytest.mark.parametrize(
    "title", ["讣告", "关于设立公祭日的公告", "行政处罚决定书", "火灾致3人遇难", "停业整顿通知"]
)
def test_titles_of_mourning_disaster_and_penalty(title: str) -> None:
    assert not takes_likes(replace(PLAIN, content=NoticeContent(title=title)))


@pytest.mark.parametrize("tag", ["theme:1701", "life:bereavement", "type:warning", "type:publicity"])
def test_tags_of_disaster_death_warning_and_public_display(tag: str) -> None:
    kind, _, code = tag.partition(":")
    notice = replace(PLAIN, tags=(Tag(kind, code, "rule@title:x", 1.0),))
    assert not takes_likes(notice)
    assert {kind for kind in ("like", "dislike", "less", "rating") if takes(notice, kind)} == set()
    assert takes(notice, "save") and takes(notice, "hide") and takes(notice, "open")


def test_emergencies_and_everything_else() -> None:
    assert not takes_likes(replace(PLAIN, priority="emergency"))
    assert takes_likes(replace(PLAIN, priority="mandatory"))
    assert all(takes(PLAIN, kind) for kind in OUT_OF_PLACE)
