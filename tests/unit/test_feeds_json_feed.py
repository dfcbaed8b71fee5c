"""JSON Feed as it comes: other versions, wrong types, damaged and hostile documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.parsers.feed import parse_feed
from feeds.intake.types import Parsed
from feeds.kernel.errors import BadInputError

URL = "https://www.sl.example/feed.json"
VERSION = "https://jsonfeed.org/version/1.1"


def read(item: Any = None, headers: dict[str, str] | None = None, **feed: Any) -> Parsed:
    document = {"version": VERSION, "title": "示例", "items": [item] if item is not None else [], **feed}
    return parse_feed(json.dumps(document).encode(), headers or {}, URL)


@pytest.mark.parametrize(("item", "field", "value"), [
    ({"content_html": "<p>a</p>", "content_text": "b"}, "body", "<p>a</p>"),
    ({"content_text": "b"}, "body", "b"), ({"summary": "s"}, "body", "s"),
    ({"summary": "s"}, "summary", None),
    ({"content_text": "b", "summary": "s"}, "summary", "s"),
    ({"content_text": "b", "summary": "b"}, "summary", None),
    ({"url": "/1"}, "url", "https://www.sl.example/1"),
    ({"external_url": "/2"}, "url", "https://www.sl.example/2"),
    ({"url": "/1", "external_url": "/2"}, "url", "https://www.sl.example/1"),
    ({"url": "http://[1"}, "url", None),
    ({"date_modified": "2026-11-20"}, "published", "2026-11-20"),
    ({"date_modified": "2026-11-20"}, "updated", "2026-11-20"),
    ({"date_published": "2026-11-19", "date_modified": "2026-11-20"}, "published", "2026-11-19"),
    ({"authors": [{"name": "甲"}, {"name": "乙"}]}, "agency", "甲"),
    ({"author": {"name": "丙"}}, "agency", "丙"),
    ({"authors": [{"url": "https://x.example/"}]}, "agency", None),
    ({"tags": ["a", " ", "b "]}, "tags", ["a", "b"]),
    ({"language": "zh_TW"}, "lang", "zh-TW"),
    ({"attachments": [{"url": "/a.pdf", "mime_type": "application/pdf", "size_in_bytes": 1}]}, "attachments",
     [{"url": "https://www.sl.example/a.pdf", "type": "application/pdf", "title": ""}]),
])  # fmt: skip
def test_fields(item: dict[str, Any], field: str, value: Any) -> None:
    feed = read(item)
    assert feed.entries[0].fields.get(field) == value and feed.oddities == ()


@pytest.mark.parametrize(("item", "field", "dropped"), [
    (None, "", True), ("text", "", True), ([1], "", True), (True, "", True),
    ({"title": ["x"]}, "title", False), ({"title": True}, "title", False),
    ({"tags": [1, "a"]}, "tags", False),
    ({"tags": {"a": 1}}, "tags", False), ({"authors": "甲"}, "authors", False),
    ({"authors": [1]}, "authors", False),
    ({"attachments": [{}]}, "attachments", False), ({"attachments": 7}, "attachments", False),
    ({"url": {}}, "url", False),
])  # fmt: skip
def test_a_wrong_type_costs_only_itself(item: Any, field: str, dropped: bool) -> None:
    feed = read(items=[item, {"id": "ok", "title": "t"}])
    assert [(one.line, one.field, one.problem, one.dropped) for one in feed.oddities] == [
        (1, field, "wrong-type", dropped)
    ]
    assert feed.entries[-1].guid == "ok" and feed.entries[-1].line == 2


def test_an_id_may_be_a_number() -> None:
    assert read({"id": 42}).entries[0].guid == "42"


def test_the_feed_stands_in_for_its_items() -> None:
    feed = read({"id": "1"}, authors=[{"name": "示例市"}], language="zh-CN", home_page_url="/")
    assert feed.entries[0].fields == {"agency": "示例市", "lang": "zh-CN"}
    assert (feed.lang, feed.link, feed.format) == ("zh-CN", "https://www.sl.example/", "JSON Feed 1.1")


@pytest.mark.parametrize(("headers", "hubs", "found"), [
    ({}, [{"type": "WebSub", "url": "https://hub.example/"}], ("https://hub.example/", URL)),
    ({}, [{"type": "rssCloud", "url": "https://hub.example/"}], ("", "")), ({}, [], ("", "")),
    ({}, "x", ("", "")),
    ({}, [{"type": "websub", "url": "javascript:x"}], ("", "")),
    ({}, [{"type": "websub", "url": 5}], ("", "")),
    ({"link": '<https://h2.example/>; rel="hub", </t>; rel="self"'}, [],
    ("https://h2.example/", "https://www.sl.example/t")),
])  # fmt: skip
def test_hub(headers: dict[str, str], hubs: Any, found: tuple[str, str]) -> None:
    feed = read(headers=headers, hubs=hubs, feed_url=URL)
    assert (feed.hub, feed.topic) == found


@pytest.mark.parametrize(
    "version",
    [
        "https://jsonfeed.org/version/1",
        "http://jsonfeed.org/version/1.1/",
        "https://www.jsonfeed.org/version/1.0",
    ],
)
def test_versions(version: str) -> None:
    assert read(version=version).format.startswith("JSON Feed 1.")


@pytest.mark.parametrize(("body", "part"), [
    (b'{"version": "https://jsonfeed.org/version/1.1", "items": [', "damaged JSON"),
    (b'{"version": "https://jsonfeed.org/version/1.1", "items": ' + b"[" * 200_000, "damaged JSON"),
    (b'{"version": "https://jsonfeed.org/version/1.1"}', "not a JSON Feed"),
    (b'{"version": "https://jsonfeed.org/version/9", "items": []}', "not a JSON Feed"),
    (b'{"a": "jsonfeed.org/version"}', "not a JSON Feed"), (b'{"items": []}', "is JSON"), (b"[]", "is JSON"),
    (json.dumps({"version": VERSION, "items": [{}] * 5001}).encode(), "more than 5000"),
])  # fmt: skip
def test_what_is_none(body: bytes, part: str) -> None:
    with pytest.raises(BadInputError, match=part) as caught:
        parse_feed(body, {}, URL)
    assert str(caught.value).startswith(URL) and str(caught.value).count(". ") == 0


def test_a_feed_in_gb18030_is_read() -> None:
    body = json.dumps(
        {"version": VERSION, "title": "示例市人民政府公告", "items": []}, ensure_ascii=False
    ).encode("gb18030")
    feed = parse_feed(body, {"content-type": "application/feed+json"}, URL)
    assert feed.title == "示例市人民政府公告"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "name", "type", "x"]),
    inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from(
    ["id", "url", "external_url", "title", "content_html", "content_text", "summary", "date_published",
    "date_modified",
     "authors", "author", "tags", "language", "attachments", "hubs", "feed_url", "home_page_url", "next_url",
     "expired", "items"]
)  # fmt: skip


@given(st.dictionaries(NAMES, ANY, max_size=6), st.lists(st.dictionaries(NAMES, ANY, max_size=6), max_size=3))
def test_any_values_give_a_feed_or_one_sentence(feed: dict[str, Any], items: list[Any]) -> None:
    document = {"version": VERSION, "items": items, **feed}
    try:
        read = parse_feed(json.dumps(document).encode(), {}, URL)
    except BadInputError as error:
        assert str(error).startswith(URL)
    else:
        assert all(isinstance(value, str | list) for one in read.entries for value in one.fields.values())
