"""What a feed shows and hides, and when it says "not modified"."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import feedparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]

from delivery.jsonfeed import render_json
from delivery.syndication import RENDERER_VERSION, etag, etag_matches, not_modified, render_atom, render_rss
from delivery.types import FeedView
from tests.unit.test_delivery_golden import BASE, at, entry, feed

RENDERERS = [render_rss, render_atom, render_json]
NAMES = ["rss", "atom", "json"]
everywhere = pytest.mark.parametrize("render", RENDERERS, ids=NAMES)
SECRETS = ("不应出现", "救助", "secret", "aid")


def content(render: Any, view: FeedView, place: int = 0) -> str:
    if render is render_json:
        return str(json.loads(render(view))["items"][place]["content_html"])
    return str(feedparser.parse(render(view)).entries[place].content[0].value)


def titles(render: Any, view: FeedView) -> list[str]:
    if render is render_json:
        return [item["title"] for item in json.loads(render(view))["items"]]
    return [item.title for item in feedparser.parse(render(view)).entries]


@everywhere
def test_same_view_same_bytes(render: Any) -> None:
    assert render(feed()) == render(feed())


@everywhere
def test_the_order_is_kept(render: Any) -> None:
    view = feed(entries=tuple(entry(number) for number in (3, 1, 2)))
    assert titles(render, view) == [f"【示例】第{number}号公告" for number in (3, 1, 2)]


@everywhere
def test_an_empty_feed(render: Any) -> None:
    assert titles(render, feed(entries=())) == []


@everywhere
@pytest.mark.parametrize(
    ("mark", "zh", "en"),
    [
        ("", "甲", "甲"),
        ("withdrawn", "【已撤回】甲", "[Withdrawn] 甲"),
        ("corrected", "【更正】甲", "[Correction] 甲"),
        ("expired", "【已到期】甲", "[Expired] 甲"),
        ("emergency", "【紧急】甲", "[Emergency] 甲"),
    ],
)
def test_marks(render: Any, mark: str, zh: str, en: str) -> None:
    marked = (entry(1, title="甲", mark=mark, mark_note="说明<b>", body_html="<p>正文</p>"),)
    assert titles(render, feed(entries=marked)) == [zh]
    assert titles(render, feed("en", entries=marked)) == [en]
    shown = content(render, feed(entries=marked))
    if mark:
        assert shown.startswith("<p><strong>【")
        assert "说明&lt;b&gt;" in shown
    assert shown.index("<p>正文</p>") >= 0


@everywhere
def test_deadline_before_and_reasons_after_the_body(render: Any) -> None:
    shown = content(render, feed())
    places = [
        shown.index(text)
        for text in ("截止：2026年10月13日（周二）17:00", "一、对象", "来源：", "为什么收到：")
    ]
    assert places == sorted(places)
    english = content(render, feed("en"))
    assert "Deadline: Tue 13 Oct 2026, 17:00" in english
    assert english.index("Why you get this: You follow the zone Lingang; You follow") > english.index(
        "welcome"
    )


@everywhere
def test_a_deadline_in_the_readers_zone(render: Any) -> None:
    view = feed(entries=(entry(1, deadline=at(13, 17)),))
    assert "10月14日" in content(render, view)
    assert "10月13日" in content(render, replace(view, timezone="Europe/Berlin"))


@everywhere
def test_a_public_feed_has_no_reasons(render: Any) -> None:
    view = feed(entries=(entry(1),))
    assert "为什么" not in render(view).decode()
    assert "reasons" not in render(view).decode()


@everywhere
def test_sensitive_entries_say_nothing(render: Any) -> None:
    text = render(feed()).decode()
    assert "您关注的事项有更新" in titles(render, feed())
    assert not [secret for secret in SECRETS if secret in text]
    english = render(feed("en")).decode()
    assert "[Withdrawn] An update on something you follow" in titles(render, feed("en"))
    assert "secret" not in english


@everywhere
def test_the_address_of_a_personal_feed_is_nowhere(render: Any) -> None:
    assert b'rel="self"' not in render(feed())
    assert b"feed_url" not in render(feed())
    public = render(feed(self_url=f"{BASE}/feeds/all.x"))
    assert f"{BASE}/feeds/all.x".encode() in public


@everywhere
def test_characters_that_xml_cannot_carry(render: Any) -> None:
    bad = "甲\x00\x08\x0b\x1f\ufffe\ud800乙"
    view = feed(
        title=bad,
        subtitle=bad,
        author=bad,
        entries=(
            entry(
                1, title=bad, summary=bad, body_html=f"<p>{bad}</p>", agency=bad, tags=(bad,), reasons=(bad,),
                licence=bad, source_name=bad, source_url=f"{BASE}/{bad}", url=f"{BASE}/{bad}", phone=bad,
                mark="corrected", mark_note=bad,
            ),
        ),
    )  # fmt: skip
    assert titles(render, view) == ["【更正】甲乙"]


@everywhere
@given(text=st.text(max_size=40))
def test_any_text_is_well_formed(render: Any, text: str) -> None:
    view = feed(
        title=text, entries=(entry(1, title=text, summary=text, agency=text, tags=(text,), mark="expired"),)
    )
    data = render(view)
    if render is render_json:
        json.loads(data)
    else:
        etree.fromstring(data)


def test_rss_specifics() -> None:
    channel = etree.fromstring(render_rss(feed(self_url=f"{BASE}/x.rss"))).find("channel")
    assert channel.findtext("link") == f"{BASE}/me"
    assert channel.findtext("language") == "zh-Hans"
    assert channel.findtext("lastBuildDate") == "Mon, 12 Oct 2026 01:06:00 +0000"
    first = channel.find("item")
    order = [etree.QName(child).localname for child in first]
    assert order.index("description") < order.index("encoded")
    assert first.find("guid").get("isPermaLink") == "false"
    assert first.findtext("guid") == "tag:city.example,2026:notice/1"
    assert first.findtext("{http://purl.org/dc/elements/1.1/}creator") == "示例市科学技术局"
    assert first.findtext("{http://purl.org/dc/elements/1.1/}rights") == "开放数据许可（示例）"
    assert first.find("source").get("url") == "https://policy.city.example/1"
    assert [child.text for child in first.findall("category")] == ["企业", "科技"]
    assert channel.findall("item")[4].findtext("title") == "Road works on Guting Bridge ＜A & B＞"


def test_atom_specifics() -> None:
    space = "{http://www.w3.org/2005/Atom}"
    root = etree.fromstring(render_atom(feed(self_url=f"{BASE}/x.atom")))
    xml_lang = "{http://www.w3.org/XML/1998/namespace}lang"
    assert root.get(xml_lang) == "zh-Hans"
    assert root.findtext(f"{space}updated") == "2026-10-12T01:06:00+00:00"
    assert [(link.get("rel"), link.get("href")) for link in root.findall(f"{space}link")] == [
        ("self", f"{BASE}/x.atom"), ("alternate", f"{BASE}/me"),
    ]  # fmt: skip
    entries = root.findall(f"{space}entry")
    assert entries[0].find(f"{space}content").get("type") == "html"
    assert entries[0].findtext(f"{space}rights") == "开放数据许可（示例）"
    assert [(link.get("rel"), link.get("href")) for link in entries[0].findall(f"{space}link")] == [
        (None, f"{BASE}/notices/1"), ("via", "https://policy.city.example/1"),
    ]  # fmt: skip
    assert [one.get(xml_lang) for one in entries] == [None, None, None, None, "en", None]


def test_json_specifics() -> None:
    found = json.loads(render_json(feed()))
    assert found["version"] == "https://jsonfeed.org/version/1.1"
    assert found["_mycity"]["about"] == f"{BASE}/about/feeds"
    first = found["items"][0]
    assert first["id"] == "tag:city.example,2026:notice/1"
    assert first["date_modified"] == "2026-10-12T01:01:00Z"
    assert first["_mycity"]["reasons"] == ["您关注“企业奖励”", "您关注的地点：汀阳区（工作）"]
    assert first["_mycity"]["source"] == {"name": "示例市政策平台", "url": "https://policy.city.example/1"}
    assert set(found["items"][3]["_mycity"]) == {"about"}


TAG = etag(RENDERER_VERSION, "rss", "zh", 7, [(1, 10), (2, 11)])


def test_an_etag_names_everything_that_decides_the_bytes() -> None:
    others = {
        etag(RENDERER_VERSION + 1, "rss", "zh", 7, [(1, 10), (2, 11)]),
        etag(RENDERER_VERSION, "atom", "zh", 7, [(1, 10), (2, 11)]),
        etag(RENDERER_VERSION, "rss", "en", 7, [(1, 10), (2, 11)]),
        etag(RENDERER_VERSION, "rss", "zh", 8, [(1, 10), (2, 11)]),
        etag(RENDERER_VERSION, "rss", "zh", 7, [(1, 10), (2, 12)]),
        etag(RENDERER_VERSION, "rss", "zh", 7, [(2, 11), (1, 10)]),
        etag(RENDERER_VERSION, "rss", "zh", 7, []),
    }
    assert len(others) == 7 and TAG not in others
    assert etag(RENDERER_VERSION, "rss", "zh", 7, iter([(1, 10), (2, 11)])) == TAG
    assert TAG.startswith('W/"') and TAG.endswith('"')


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ("{tag}", True),
        ("{strong}", True),
        ("*", True),
        (' "other" , {tag}', True),
        ('W/"other", "another"', False),
        ('"{opaque}-gzip"', True),
        ('W/"{opaque}-gzip"', True),
        ('W/"{opaque}--gzip"', True),
        ('"{opaque};br"', True),
        ("{opaque}", True),
        ('W/"{opaque}x"', False),
        ("", False),
        (",,,", False),
        ('""', False),
    ],
)
def test_if_none_match(header: str, matches: bool) -> None:
    opaque = TAG[3:-1]
    value = header.replace("{tag}", TAG).replace("{strong}", TAG[2:]).replace("{opaque}", opaque)
    assert etag_matches(value, TAG) is matches


CHANGED = datetime(2026, 10, 12, 1, 0, 0, 999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("none_match", "since", "expected"),
    [
        (None, None, False),
        (TAG, None, True),
        ('"other"', "Mon, 12 Oct 2026 09:00:00 GMT", False),  # If-None-Match wins
        (TAG, "Thu, 01 Jan 1970 00:00:00 GMT", True),
        (None, "Mon, 12 Oct 2026 01:00:00 GMT", True),
        (None, "Mon, 12 Oct 2026 00:59:59 GMT", False),
        ("", "Mon, 12 Oct 2026 01:00:00 GMT", True),
        (None, "Monday, 12-Oct-26 01:00:00 GMT", True),
        (None, "yesterday", False),
        (None, "", False),
        (None, "Mon, 12 Oct 99999999 01:00:00 GMT", False),
    ],
)
def test_not_modified(none_match: str | None, since: str | None, expected: bool) -> None:
    assert not_modified(none_match, since, TAG, CHANGED) is expected
