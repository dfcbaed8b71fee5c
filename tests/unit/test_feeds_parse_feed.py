"""RSS and Atom as they really come: wrong encodings, dates without zone, pages instead of feeds, attacks."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import feedparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.dates import parse_when
from feeds.intake.parsers import feed as reader
from feeds.intake.parsers.feed import parse_feed
from feeds.intake.types import RawEntry
from feeds.kernel.errors import BadInputError

URL = "https://www.sl.example/rss/all.xml"
GOLDEN = Path(__file__).parent.parent / "data" / "feeds"


def rss(items: str, head: str = '<?xml version="1.0" encoding="UTF-8"?>') -> bytes:
    start = f'{head}<rss version="2.0"><channel><title>公告</title><link>/x/</link><language>zh-CN</language>'
    return f"{start}{items}</channel></rss>".encode()


def entry(items: str) -> RawEntry:
    return parse_feed(rss(f"<item>{items}</item>"), {}, URL).entries[0]


def test_rss() -> None:
    feed = parse_feed(
        rss(
            "<item><title>一</title><link>/1.html</link><guid isPermaLink='false'>g1</guid>"
            "<pubDate>2026-11-20 08:00:00</pubDate>"
            "<description>&lt;p onclick='x'&gt;正文&lt;/p&gt;</description>"
            "<category>公积金</category><category>住房</category>"
            "<enclosure url='/a.pdf' type='application/pdf' length='1'/>"
            "<author>a@b.cn (市教育局)</author></item><item><title>二</title></item>"
        ),
        {},
        URL,
    )
    assert (feed.title, feed.lang, len(feed.entries), feed.oddities) == ("公告", "zh-CN", 2, ())
    first = feed.entries[0]
    assert (first.guid, first.line) == ("g1", 1)
    assert first.fields["published"] == "2026-11-20 08:00:00"  # its zone is the source's, not ours to guess
    assert first.fields["body"] == "<p onclick='x'>正文</p>"  # raw; normalise cleans
    assert first.fields["url"] == "https://www.sl.example/1.html"
    assert first.fields["tags"] == ["公积金", "住房"]
    assert first.fields["attachments"] == [
        {"url": "https://www.sl.example/a.pdf", "type": "application/pdf", "title": ""}
    ]
    assert (first.fields["agency"], first.fields["lang"]) == ("市教育局", "zh-CN")


def test_atom() -> None:
    body = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en" xml:base="https://gov.example/a/"><title>T</title>
      <entry><id>urn:1</id><title type="html">&lt;b&gt;A&lt;/b&gt;</title><link href="one"/>
      <updated>2026-10-01T08:00:00+08:00</updated>
      <author><name>HM Government</name></author><summary>short</summary>
      <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">
      <p>long</p></div></content></entry></feed>"""
    first = parse_feed(body.encode(), {}, URL).entries[0]
    assert first.fields["url"] == "https://gov.example/a/one"
    assert (first.fields["title"], first.fields["summary"], first.fields["agency"]) == (
        "<b>A</b>",
        "short",
        "HM Government",
    )
    assert "<p>long</p>" in first.fields["body"] and first.fields["base"] == "https://gov.example/a/"
    assert (first.fields["published"], first.fields["lang"]) == ("2026-10-01T08:00:00+08:00", "en")


@pytest.mark.parametrize(("encoding", "head", "content_type", "odd"), [
    ("utf-8", '<?xml version="1.0"?>', "", []),
    ("utf-8-sig", '<?xml version="1.0" encoding="gb2312"?>', "", []),
    ("utf-16", '<?xml version="1.0" encoding="utf-16"?>', "", []),
    ("gb18030", '<?xml version="1.0" encoding="gb2312"?>', "", []),
    ("gbk", "", "text/xml; charset=GBK", []),
    ("gb18030", '<?xml version="1.0" encoding="utf-8"?>', "text/xml; charset=utf-8", ["wrong-encoding"]),
    ("gb18030", "", "", []),
    ("utf-8", '<?xml version="1.0" encoding="x-nonsense"?>', "", ["wrong-encoding"]),
    ("big5", '<?xml version="1.0" encoding="big5"?>', "", []),
])  # fmt: skip
def test_encodings(encoding: str, head: str, content_type: str, odd: list[str]) -> None:
    text = rss("<item><title>關於公積金的通知</title></item>", head).decode()
    if encoding == "big5":
        text = text.replace("公告", "公告")
    feed = parse_feed(text.encode(encoding), {"content-type": content_type}, URL)
    assert feed.entries[0].fields["title"] == "關於公積金的通知"
    assert [oddity.problem for oddity in feed.oddities] == odd


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "answered with nothing"),
        (b'{"items": []}', "is JSON"),
        (b"<html><body>404</body></html>", "is a web page, not a feed"),
        (
            b"<!DOCTYPE html><html><link rel='alternate' type='application/rss+xml' href='/feed.xml'></html>",
            r"offers the feed https://www\.sl\.example/feed\.xml",
        ),
        (b"<opml version='2.0'/>", "import-opml"),
        (b"<alert xmlns='urn:oasis:names:tc:emergency:cap:1.2'/>", "CAP warning"),
        (b"plain text", "neither an RSS nor an Atom feed"),
        (b"\x00\x01\x02\xff", "neither"),
    ],
)
def test_what_is_no_feed(body: bytes, part: str) -> None:
    with pytest.raises(BadInputError, match=part) as caught:
        parse_feed(body, {}, URL)
    assert str(caught.value).startswith(URL) and str(caught.value).count(". ") == 0


LAUGHS = (
    "<!DOCTYPE r [<!ENTITY a 'x'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9))
    + "]>"
)


@pytest.mark.parametrize("body", [
    rss("<item><title>&j;</title></item>", LAUGHS),
    rss("<item><title>&x;</title></item>", "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"),
    rss("", "<!DOCTYPE r SYSTEM 'http://127.0.0.1/x.dtd' [\n]>"),
    rss("<item><title>&x;</title></item>", "<!doctype r [<!entity x 'y'>]>").decode().encode("utf-16"),
    rss("<a>" * 300 + "</a>" * 300), rss("<a>" * 200_000), rss("<item>" * 300 + "&"),
        rss("<item><title>x</title></item>" * 5001),
        rss("<item " + " ".join(f"a{n}='1'" for n in range(50_000)) + "/>"),
        rss("<item " + " ".join(f"a{n}='1'" for n in range(50_000)) + "/>&"),
        rss("".join(f"<x{n}:a xmlns:x{n}='u{n}'/>" for n in range(20_000))),
])  # fmt: skip
def test_attacks_are_refused_at_once(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(BadInputError, match=r"entities|deeper than 256|more than 5000|more than 256"):
        parse_feed(body, {}, URL)
    assert time.process_time() - started < 1


def test_a_plain_doctype_is_fine() -> None:
    head = '<?xml version="1.0"?><!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.netscape.com/rss-0.91.dtd">'
    assert len(parse_feed(rss("<item><title>a</title></item>", head), {}, URL).entries) == 1


def test_too_large() -> None:
    with pytest.raises(BadInputError, match="at most"):
        parse_feed(b"x" * 20_000_001, {}, URL)


def test_a_body_that_names_a_file_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "feed.xml"
    file.write_bytes(rss("<item><title>secret</title></item>"))
    with pytest.raises(BadInputError):
        parse_feed(str(file).encode(), {}, URL)
    with pytest.raises(BadInputError):
        parse_feed(f"file://{file}".encode(), {}, URL)


def test_not_well_formed_is_read_as_far_as_it_goes() -> None:
    feed = parse_feed(rss("<item><title>a & b</title></item><item><title>c</title></item>"), {}, URL)
    assert [one.fields["title"] for one in feed.entries] == ["a & b", "c"]
    assert [oddity.problem for oddity in feed.oddities] == ["broken-xml"]


def test_an_empty_feed_is_a_feed() -> None:
    assert parse_feed(rss(""), {}, URL).entries == ()


@pytest.mark.parametrize(
    ("items", "field", "value"),
    [
        ("<title>t</title><author>only@mail.cn</author>", "agency", None),
        (
            "<title>t</title><pubDate>Tuesday, 20 Oct 26 14:00 EDT</pubDate>",
            "published",
            "2026-10-20T18:00:00+00:00",
        ),
        ("<title>t</title>", "published", None),
    ],
)
def test_fields(items: str, field: str, value: Any) -> None:
    got = entry(items).fields.get(field)
    assert got == value or (field == "published" and value and got)


def test_real_files(real_data: Path) -> None:
    counts = {}
    for path in sorted((real_data / "rss").glob("*.xml")):
        feed = parse_feed(path.read_bytes(), {"content-type": "text/xml"}, URL)
        counts[path.name] = len(feed.entries)
        assert all(one.guid and one.fields["title"] and one.fields["published"] for one in feed.entries)
    assert counts == {"gdacs-rss-24h.xml": 21, "gdacs-rss-7d.xml": 115, "gdacs-rss.xml": 16}


def test_real_attacks(real_data: Path) -> None:
    for name in ("xee.atom", "xee.cap"):
        with pytest.raises(BadInputError, match="entities"):
            parse_feed((real_data / "cap" / name).read_bytes(), {}, URL)


def test_every_broken_real_file_gives_a_feed_or_one_sentence(real_data: Path) -> None:
    for path in sorted((real_data / "cap").iterdir()):
        try:
            parse_feed(path.read_bytes(), {}, URL)
        except BadInputError as error:
            assert str(error).startswith(URL)


# -- golden files: an input beside what it must be read as ---------------------------------------------


def shown(path: Path) -> dict[str, Any]:
    """A feed as read, in the form of the expected files."""
    return json.loads(json.dumps(asdict(parse_feed(path.read_bytes(), {}, URL)), default=datetime.isoformat))


INPUTS = sorted(path for path in GOLDEN.iterdir() if not path.name.endswith(".expected.json"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_golden_files(path: Path) -> None:
    assert shown(path) == json.loads((GOLDEN / f"{path.name}.expected.json").read_text())


# -- about the feed itself ---------------------------------------------------------------------------


def about(head: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
    spaces = 'xmlns:a="http://www.w3.org/2005/Atom" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"'
    body = f'<rss version="2.0" {spaces}><channel>{head}</channel></rss>'.encode()
    feed = parse_feed(body, headers or {}, URL)
    return feed.ttl_s, feed.hub, feed.topic


SELF = '<a:link rel="self" href="https://sl.example/f"/>'
HUB = '<a:link rel="hub" href="https://hub.example/"/>'


@pytest.mark.parametrize(("head", "wait"), [
    ("<ttl>60</ttl>", 3600), ("<ttl> 5 </ttl>", 300), ("<ttl>0</ttl>", 0), ("<ttl>-5</ttl>", 0),
    ("<ttl>soon</ttl>", 0),
    ("<ttl>999999999</ttl>", 366 * 86_400), ("<ttl>99999999999999999999</ttl>", 0), ("", 0),
    ("<sy:updatePeriod>daily</sy:updatePeriod>", 86_400),
    ("<sy:updatePeriod>Hourly</sy:updatePeriod>", 3_600),
    ("<sy:updatePeriod>weekly</sy:updatePeriod><sy:updateFrequency>7</sy:updateFrequency>", 86_400),
    ("<sy:updatePeriod>daily</sy:updatePeriod><sy:updateFrequency>0</sy:updateFrequency>", 86_400),
    ("<sy:updatePeriod>never</sy:updatePeriod>", 0),
    ("<ttl>1</ttl><sy:updatePeriod>daily</sy:updatePeriod>", 60),
])  # fmt: skip
def test_how_long_to_wait(head: str, wait: int) -> None:
    assert about(head)[0] == wait
    assert about(head + "<title>a</title><title>b</title>")[0] == wait  # the same from feedparser's path


@pytest.mark.parametrize(("head", "link", "found"), [
    (HUB + SELF, "", ("https://hub.example/", "https://sl.example/f")),
    (SELF, "", ("", "")), (HUB, "", ("https://hub.example/", "")),
    (HUB + SELF, '<https://h2.example/>; rel="hub"', ("https://h2.example/", "https://sl.example/f")),
    (HUB + SELF, '<https://h2.example/>; rel=hub, </t>; rel="self"',
    ("https://h2.example/", "https://www.sl.example/t")),
    ("", '<https://h2.example/?a,b>; title="x, y"; rel="next hub"', ("https://h2.example/?a,b", "")),
    ("", '<javascript:x>; rel="hub"', ("", "")), ("", "<<<;;;>>> rel=hub", ("", "")),
    ('<a:link rel="hub" href="http://[1"/><a:link rel="HUB" href="/hub"/>', "",
    ("https://www.sl.example/hub", "")),
])  # fmt: skip
def test_hub_and_topic(head: str, link: str, found: tuple[str, str]) -> None:
    assert about(head, {"link": link})[1:] == found


def test_many_tombstones_are_all_read() -> None:
    stones = "".join(f'<at:deleted-entry ref="urn:{n}" when="2026-11-20T00:00:00Z"/>' for n in range(3))
    body = f'<feed xmlns="http://www.w3.org/2005/Atom" xmlns:at="http://purl.org/atompub/tombstones/1.0">{stones}</feed>'
    assert [one.guid for one in parse_feed(body.encode(), {}, URL).deleted] == ["urn:0", "urn:1", "urn:2"]


# -- what may be in a feed -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [
    "links", "authors", "tags", "contributors", "source", "image", "where", "cloud", "item",
    "generator_detail",
    "s:detail", "p:parsed", "gml:pos", "gml:Point", "georss:where", "psc:chapter", "itunes:explicit",
])  # fmt: skip
def test_no_name_of_an_element_breaks_the_reading(name: str) -> None:
    spaces = (
        'xmlns:s="urn:summary" xmlns:p="urn:published" xmlns:gml="http://www.opengis.net/gml" '
        'xmlns:georss="http://www.georss.org/georss" xmlns:psc="http://podlove.org/simple-chapters" '
        'xmlns:itunes="http://www.itunes.com/DTDs/PodCast-1.0.dtd"'
    )
    twice = f"<{name}>x</{name}><title>t</title><link>/1</link><{name} a='b'>x</{name}>"
    item = f"<item>{twice}<author>y</author></item>"
    body = f'<rss version="2.0" {spaces}><channel>{item}</channel></rss>'.encode()
    try:
        assert parse_feed(body, {}, URL).entries
    except BadInputError as error:
        assert str(error).startswith(URL) and str(error).count(". ") == 0


@given(st.text(max_size=300))
def test_any_text_gives_a_feed_or_one_sentence(text: str) -> None:
    for body in (
        text.encode("utf-8", "replace"),
        rss(f"<item><title>{text}".encode("utf-8", "replace").decode()),
    ):
        try:
            parse_feed(body, {}, URL)
        except BadInputError as error:
            assert str(error).startswith(URL)


@given(st.from_regex(reader._PLAIN_DATE, fullmatch=True))
def test_dates_that_are_not_tried_can_be_read(date: str) -> None:
    assert parse_when(date, ZoneInfo("UTC")) is not None


@pytest.mark.parametrize("reference", [
    "&#0;", "&#8;", "&#11;", "&#x1F;", "&#xD800;", "&#55296;", "&#57343;", "&#xfffe;", "&#65535;",
    "&#x110000;", "&#1114112;",
    "&#99999999999;", "&#xFFFFFFFFFF;", "&#0000;", "&#x00D801;",
])  # fmt: skip
def test_references_to_what_is_no_character_are_taken_out(reference: str) -> None:
    feed = parse_feed(rss(f"<item><title>一{reference}二</title></item>"), {}, URL)
    assert feed.entries[0].fields["title"] == "一二"
    assert [oddity.problem for oddity in feed.oddities] == ["control-characters"]


@pytest.mark.parametrize(("reference", "text"), [
    ("&#9;", "\t"), ("&#10;", "\n"), ("&#32;", " "), ("&#0000065;", "A"), ("&#x0041;", "A"),
    ("&#55295;", "\ud7ff"), ("&#57344;", "\ue000"),
    ("&#65533;", "\ufffd"), ("&#x1F600;", "\U0001f600"), ("&#x10FFFF;", "\U0010ffff"),
    ("&#1114111;", "\U0010ffff"), ("&#1000000;", chr(10**6)),
])  # fmt: skip
def test_references_to_characters_stay(reference: str, text: str) -> None:
    feed = parse_feed(rss(f"<item><title>一{reference}二</title></item>"), {}, URL)
    assert feed.entries[0].fields["title"] == f"一{text}二" and feed.oddities == ()


# -- what we rely on in feedparser ---------------------------------------------------------------------


def raw(body: bytes) -> Any:
    return reader._parse(body, URL)


def test_feedparser_keeps_bytes_as_they_are() -> None:
    given = "<p onclick='x'><script>1</script><a href='/x'>"
    item = f"<item><description><![CDATA[{given}]]></description></item>"
    assert raw(rss(item)).entries[0].summary == given  # nothing cleaned, nothing resolved


def test_feedparser_resolves_links_against_the_address_of_the_feed() -> None:
    assert raw(rss("<item><link>/1</link></item>")).entries[0].link == "https://www.sl.example/1"


def test_feedparser_expands_no_entity_and_takes_no_name_of_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "s"
    secret.write_text("secret")
    head = f"<!DOCTYPE r [<!ENTITY x SYSTEM '{secret.as_uri()}'>]>"
    assert "secret" not in str(raw(rss("<item><title>&x;</title></item>", head)))
    assert not raw(str(secret).encode()).get("version")


def test_feedparser_keeps_a_date_without_zone_as_text() -> None:
    item = raw(rss("<item><pubDate>2026-11-20 08:00:00</pubDate></item>")).entries[0]
    assert dict.get(item, "published") == "2026-11-20 08:00:00" and dict.get(item, "updated") is None


def test_feedparser_reads_what_is_broken() -> None:
    found = raw(rss("<item><title>a & b</title><link>"))
    assert found.bozo and found.entries[0].title == "a & b"


def test_feedparser_is_of_a_version_that_this_was_tested_with() -> None:
    assert feedparser.__version__.startswith("6.0.")
