"""The fast writer makes the very bytes that the renderers make of the whole feed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.feed_accept import takes_gzip, wanted, wanted_format
from api.feed_zip import unzipped, zipped
from delivery.feed_files import enclosures_of
from delivery.feed_writer import FORMATS, RENDER, Format, entry_parts, reason_gaps, write
from delivery.types import Also, Enclosure, EntryView, FeedView
from tests.unit.test_delivery_golden import BASE, entry, feed

WORDS = st.text(
    alphabet=st.one_of(st.sampled_from("公告示例<>&\"'\r\n\t;]]> a\x00\ue000"), st.characters()), max_size=12
)
LANGS = st.sampled_from(["zh-Hans", "en", "zh-Hant", ""])
INSTANTS = st.integers(0, 4_000_000_000).map(
    lambda s: datetime.fromtimestamp(s, UTC) + timedelta(microseconds=s % 7)
)
ENTRIES = st.builds(
    EntryView,
    notice_id=st.integers(1, 9),
    revision=st.integers(1, 9),
    entry_id=st.integers(1, 9).map("tag:city.example,2026:notice/{}".format),
    url=WORDS.map(f"{BASE}/".__add__),
    title=WORDS.map("题".__add__),
    summary=WORDS,
    body_html=WORDS,
    lang=LANGS,
    updated=INSTANTS,
    published=INSTANTS,
    agency=WORDS,
    source_name=WORDS,
    source_url=WORDS,
    licence=WORDS,
    tags=st.lists(WORDS, max_size=3).map(tuple),
    reasons=st.lists(WORDS, max_size=3).map(tuple),
    deadline=st.none() | INSTANTS,
    phone=WORDS,
    mark=st.sampled_from(["", "corrected", "withdrawn"]),
    mark_note=WORDS,
    sensitive=st.booleans(),
    also=st.lists(st.builds(Also, WORDS, WORDS), max_size=2).map(tuple),
    enclosures=st.lists(st.builds(Enclosure, WORDS, WORDS, st.integers(0, 9), WORDS), max_size=2).map(tuple),
    title_lang=st.sampled_from(["", "en"]),
)  # fmt: skip
FEEDS = st.builds(
    FeedView,
    feed_id=WORDS.map("tag:x".__add__),
    self_url=st.sampled_from(["", f"{BASE}/feeds/all.atom?q=<&>"]),
    page_url=st.just(f"{BASE}/me?a=1&b=2"),
    title=WORDS,
    subtitle=WORDS,
    lang=st.sampled_from(["zh-Hans", "en"]),
    updated=INSTANTS,
    entries=st.lists(ENTRIES, max_size=3).map(tuple),
    author=WORDS,
    about_url=st.sampled_from(["", f"{BASE}/about/feeds"]),
    style_url=st.sampled_from(["", "/static/feed.css"]),
    hubs=st.lists(WORDS.map(f"{BASE}/hub".__add__), max_size=2).map(tuple),
    links=st.lists(st.tuples(st.sampled_from(["prev-archive", "current"]), WORDS), max_size=2).map(tuple),
    archive=st.booleans(),
    gone=st.lists(st.tuples(WORDS, INSTANTS), max_size=2).map(tuple),
)  # fmt: skip


def fast(fmt: Format, view: FeedView) -> bytes:
    blank = replace(view, entries=())
    entries = [
        (entry_parts(fmt, replace(one, reasons=("others",)), blank), reason_gaps(fmt, one.reasons, view.lang))
        for one in view.entries
    ]
    return write(fmt, blank, entries)


@pytest.mark.parametrize("fmt", FORMATS)
@settings(max_examples=120, deadline=None)
@given(view=FEEDS)
def test_the_same_bytes_for_any_feed(fmt: Format, view: FeedView) -> None:
    assert fast(fmt, view) == RENDER[fmt](view)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("lang", ["zh-Hans", "en"])
def test_the_same_bytes_for_the_golden_feeds(fmt: Format, lang: str) -> None:
    assert fast(fmt, feed(lang)) == RENDER[fmt](feed(lang))


def test_an_entry_is_kept_without_anybodys_reasons() -> None:
    for fmt in FORMATS:
        parts = entry_parts(fmt, entry(1, reasons=("秘密理由",)), feed(entries=()))
        assert "秘密".encode() not in b"".join(parts)
        assert len(parts) == (3 if fmt == "json" else 2)
        assert len(entry_parts(fmt, entry(1, sensitive=True), feed(entries=()))) == 1


def test_packing_gives_equal_bytes_and_comes_back() -> None:
    body = "公告".encode() * 9000
    assert unzipped(zipped(body)) == body
    assert zipped(body) == zipped(body)
    assert zipped(body)[4:8] == b"\0\0\0\0"  # no time


CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
FEEDPARSER = (
    "application/atom+xml,application/rdf+xml,application/rss+xml,application/x-netcdf,"
    "application/xml;q=0.9,text/xml;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ""),
        ("*/*", ""),
        (CHROME, "page"),
        (FEEDPARSER, "atom"),
        ("application/rss+xml, text/html;q=0.5", "rss"),
        ("text/html, application/rss+xml;q=0.9", "page"),
        ("application/feed+json", "json"),
        ("application/json, application/rss+xml", "rss"),
        ("application/xml", "atom"),
        ("application/atom+xml;q=0, application/rss+xml;q=0.1", "rss"),
        ("APPLICATION/RSS+XML ; q=1", "rss"),
        ("application/rss+xml;q=oops", ""),
        (",;,=", ""),
    ],
)
def test_what_a_client_wants(accept: str, expected: str) -> None:
    assert wanted(accept) == expected
    assert wanted_format(accept) == (expected if expected in FORMATS else "atom")


@pytest.mark.parametrize(
    ("header", "takes"),
    [(b"", False), (b"gzip", True), (b"br, GZIP;q=0.1", True), (b"gzip;q=0.000", False), (b"*", True),
     (b"gzip; q=0", False), (b"identity", False)],
)  # fmt: skip
def test_who_takes_gzip(header: bytes, takes: bool) -> None:
    assert takes_gzip(header) is takes


def test_the_files_of_a_notice() -> None:
    given_files: list[dict[str, Any]] = [
        {"url": "https://city.example/a.PDF?x=1", "title": "表一"},
        {"url": "https://city.example/a.PDF?x=1"},
        {"url": "ftp://city.example/b.pdf"},
        {"url": "http://city.example/c", "type": "Text/Plain; charset=gbk", "length": "12"},
        {"url": "http://city.example/d.bin", "type": "文件", "length": "-1"},
    ]
    assert enclosures_of(given_files) == (
        Enclosure("https://city.example/a.PDF?x=1", "application/pdf", 0, "表一"),
        Enclosure("http://city.example/c", "text/plain", 12),
        Enclosure("http://city.example/d.bin"),
    )
