"""An untrusted entry becomes content; what is odd is said, and nothing is lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.dates import parse_when
from feeds.intake.fields import clean
from feeds.intake.normalise import Normalised, normalise
from feeds.intake.types import RawEntry

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 10, 12, 2, tzinfo=UTC)
BODY = {"body": "正文。", "published": "2026-10-01"}


@dataclass
class Words:
    codes: frozenset[str] = frozenset(
        {"theme:0402", "role:citizen", "life:birth", "type:warning", "place:sl01"}
    )

    def known(self, tag: str) -> bool:
        return tag in self.codes

    def suggest(self, tag: str) -> tuple[str, ...]:
        return ("theme:0402",) if tag.startswith("theme:04") else ()


def run(fields: dict[str, Any], *, guid: str = "g1", **options: Any) -> Normalised:
    options.setdefault("vocabulary", Words())
    return normalise(RawEntry(guid, 7, fields), zone=SHANGHAI, default_lang="zh-Hans", now=NOW, **options)


def content(fields: dict[str, Any], **options: Any) -> Any:
    found = run(fields, **options).content
    assert found is not None
    return found


def odd(fields: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    return [(oddity.field, oddity.problem) for oddity in run(fields, **options).oddities]


def cst(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=SHANGHAI).astimezone(UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(("text", "start", "precision"), [
    ("2026-03-05", cst(2026, 3, 5), "day"),
    ("2026年3月5日", cst(2026, 3, 5), "day"),
    ("2026 年 3 月 5 日", cst(2026, 3, 5), "day"),
    ("2026.03.05", cst(2026, 3, 5), "day"),
    ("2026/3/5", cst(2026, 3, 5), "day"),
    ("20260305", cst(2026, 3, 5), "day"),
    ("２０２６－０３－０５", cst(2026, 3, 5), "day"),
    ("二〇二六年三月二十一日", cst(2026, 3, 21), "day"),
    ("二○二六年十二月十日", cst(2026, 12, 10), "day"),
    ("中華民國105年4月8日", cst(2016, 4, 8), "day"),
    ("2024-11", cst(2024, 11, 1), "month"),
    ("2024年11月", cst(2024, 11, 1), "month"),
    ("2026-03-05 08:00", cst(2026, 3, 5, 8), "instant"),
    ("2026-03-05T08:00:00Z", datetime(2026, 3, 5, 8, tzinfo=UTC), "instant"),
    ("2026-03-05T08:00:00.250+0800", datetime(2026, 3, 5, 0, 0, 0, 250_000, tzinfo=UTC), "instant"),
    ("2026年3月5日 10时30分", cst(2026, 3, 5, 10, 30), "instant"),
    ("2026年3月5日9时", cst(2026, 3, 5, 9), "instant"),
    ("2026-03-05 24:00", cst(2026, 3, 6), "instant"),
    ("Mon, 30 Dec 2019 00:17:00 GMT", datetime(2019, 12, 30, 0, 17, tzinfo=UTC), "instant"),
    ("Mon, 30 Dec 2019 00:17:00 -0000", datetime(2019, 12, 30, 0, 17, tzinfo=UTC), "instant"),
    ("Mon, 30 Dec 2019 00:17:00", cst(2019, 12, 30, 0, 17), "instant"),
    ("Mon, 30 Dec 2019 00:17:00 CST", cst(2019, 12, 30, 0, 17), "instant"),
    ("1881-02-27", datetime(1881, 2, 26, 15, 54, 17, tzinfo=UTC), "day"),
])  # fmt: skip
def test_dates(text: str, start: datetime, precision: str) -> None:
    when = parse_when(text, SHANGHAI)
    assert when is not None
    assert (when.start, when.precision) == (start, precision)


@pytest.mark.parametrize(
    "text",
    [
        "0000-00-00",
        "2026-02-31",
        "2026-13-01",
        "2026-00-10",
        "hello",
        "2026",
        "",
        "05/03/2026",
        "2026-03-05 25:00",
        "May",
        "2026-03-05T08:00:00+99:99",
        "٢٠٢٦",
        "Mon, 99 Foo 2019 00:17:00 GMT",
        "1-1-1",
        "99999-01-01",
        "2026-03-05 24:30",
    ],
)
def test_no_dates(text: str) -> None:
    assert parse_when(text, SHANGHAI) is None


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{4}[-./年][0-9]{1,2}[-./月][0-9]{1,2}.{0,12}"))
def test_no_text_breaks_the_date_reader(text: str) -> None:
    when = parse_when(text, SHANGHAI)
    assert when is None or when.start <= when.end


def test_a_day_as_deadline_means_its_end() -> None:
    found = content(
        BODY | {"title": "t", "deadline": "2026-10-20", "expires": "2026-11", "effective": "2026-10-15"}
    )
    assert found.deadline == cst(2026, 10, 21) - timedelta(microseconds=1)
    assert found.expires == cst(2026, 12, 1) - timedelta(microseconds=1)
    assert (found.effective, found.deadline_precision) == (cst(2026, 10, 15), "day")


@pytest.mark.parametrize(
    ("given_date", "problem"),
    [
        (None, "no-date"),
        ("", "no-date"),
        ("0000-00-00", "bad-date"),
        ("2026-02-31", "bad-date"),
        ("2026-10-14", "future-date"),
        ("2026-10-13", ""),
        ("2099-01-01T00:00:00Z", "future-date"),
        ({"a": 1}, "wrong-type"),
    ],
)
def test_odd_dates(given_date: Any, problem: str) -> None:
    fields = {"title": "t", "body": "b", "published": given_date}
    problems = [code for field, code in odd(fields) if field == "published"]
    assert problems[:1] == ([problem] if problem else [])
    assert (content(fields).published is None) == bool(problem)


def test_a_future_date_is_kept_for_the_record_and_gives_the_same_content_tomorrow() -> None:
    fields = {"title": "t", "body": "b", "published": "2026-12-01"}
    today = content(fields)
    tomorrow = normalise(
        RawEntry("g1", 7, fields), zone=SHANGHAI, default_lang="zh-Hans", now=NOW + timedelta(days=1)
    ).content
    assert today.extra["published_given"] == "2026-12-01"
    assert tomorrow is not None and tomorrow.hash() == today.hash()


def test_a_deadline_before_publication_is_kept_and_said() -> None:
    fields = BODY | {"title": "t", "deadline": "2026-09-30"}
    assert ("deadline", "deadline-before-published") in odd(fields)
    assert content(fields).deadline is not None
    assert odd(BODY | {"title": "t", "deadline": "2026-10-01"}) == []


@pytest.mark.parametrize(("raw", "title"), [
    ("  关于\u3000公积金 的\n通知 ", "关于 公积金 的 通知"),
    ("关于修改 《办法》 的通知", "关于修改《办法》的通知"),
    ("<em>公积金</em>提取 &amp; 缴存", "公积金提取 & 缴存"),
    ("A\u200b\ufeffB\u202eC", "ABC"),
    ("Cafe\u0301", "Café"),
    ("The “draft” rules", "The “draft” rules"),
    ("a\x00b\x1bc\ud800d\ufffee", "abcde"),
])  # fmt: skip
def test_titles(raw: str, title: str) -> None:
    assert content(BODY | {"title": raw}).title == title


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"body": "第一句话。第二句。"}, "第一句话。"),
        ({"body": "没有标点的很长的一段话" * 8}, ("没有标点的很长的一段话" * 8)[:39] + "…"),
        (
            {"url": "https://a.cn/1", "agency": "示例市教育局", "published": "2026-10-01"},
            "(无标题) 示例市教育局 2026-10-01",
        ),
        ({"url": "https://a.cn/1", "source": "GOV.UK", "lang": "en"}, "(untitled) GOV.UK g1"),
        ({"title": "<b> </b>", "body": "<p>正文！</p>"}, "正文！"),
    ],
)
def test_stand_in_titles(fields: dict[str, Any], title: str) -> None:
    assert content(fields).title == title
    assert ("title", "no-title") in odd(fields)


@pytest.mark.parametrize(
    "fields", [{}, {"title": None, "body": "", "url": " "}, {"id": "1", "agency": "x", "title": "\x00"}]
)
def test_a_row_that_says_nothing_is_dropped(fields: dict[str, Any]) -> None:
    found = run(fields)
    assert found.content is None
    last = found.oddities[-1]
    assert (last.problem, last.dropped, last.line) == ("empty-row", True, 7)


def test_control_characters_and_html_in_titles_are_said() -> None:
    assert ("title", "control-characters") in odd(BODY | {"title": "a\x07b"})
    assert ("title", "html-in-title") in odd(BODY | {"title": "<b>a</b>"})
    assert odd(BODY | {"title": "a\u200bb"}) == []


def test_bodies() -> None:
    assert content({"title": "t", "body": "一\n二\n\n三<1"}).body == "<p>一<br>二</p>\n<p>三&lt;1</p>"
    assert content({"title": "t", "body": "<p onclick=x>a</p>"}).body == "<p>a</p>"
    assert content({"title": "t", "body": "<a href='x'>a</a>", "base": "https://a.cn/b/"}).body.count(
        "https://a.cn/b/x"
    )
    assert ("body", "no-body") in odd({"title": "t", "body": " \n "})
    assert ("body", "too-long") in odd({"title": "t", "body": "字" * 500_001})


@pytest.mark.parametrize(
    ("given_lang", "lang"),
    [
        (None, "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh_TW", "zh-Hant"),
        ("zh-Hant", "zh-Hant"),
        ("en-us", "en"),
        ("en", "en"),
        ("ug", "ug"),
        ("<x>", "zh-Hans"),
        ("a" * 50, "zh-Hans"),
    ],
)
def test_languages(given_lang: str | None, lang: str) -> None:
    assert content(BODY | {"title": "t", "lang": given_lang}).lang == lang


def test_addresses() -> None:
    assert (
        content({"title": "t", "url": "HTTPS://a.cn/公告 1?a=b&c#d"}).url
        == "HTTPS://a.cn/%E5%85%AC%E5%91%8A%201?a=b&c#d"
    )
    for bad in ("javascript:alert(1)", "/relative", "ftp://a.cn/", "http://", "http://[1", "x" * 3000):
        assert content({"title": "t", "url": bad}).url == ""
        assert ("url", "bad-url") in odd({"title": "t", "url": bad})


def test_optional_fields_and_extra() -> None:
    found = content(
        BODY
        | {
            "title": "t",
            "agency": " 市教育局 ",
            "doc_no": "沪〔2026〕1号",
            "status": "有效",
            "views": "12",
            "phone": 12345,
            "x": {"y": ["\x00z"]},
            "tags": ["a", " a ", "b", 3, None],
            "attachments": [{"url": "https://a.cn/1.pdf", "title": "附件"}, {"url": "x"}],
            "empty": "",
        }
    )
    assert (found.agency, found.doc_no, found.validity, found.views, found.phone) == (
        "市教育局",
        "沪〔2026〕1号",
        "有效",
        12,
        "12345",
    )
    assert found.upstream_tags == ("a", "b", "3")
    assert found.attachments == ({"url": "https://a.cn/1.pdf", "title": "附件"},)
    assert found.extra == {"x": {"y": ["z"]}}
    assert content(BODY | {"title": "t", "tags": "a|b"}).upstream_tags == ("a", "b")


def test_what_the_publisher_declared() -> None:
    found = run(
        BODY
        | {
            "title": "t",
            "theme": "0402",
            "roles": ["citizen"],
            "life_events": "life:birth",
            "type": "warning",
            "priority": "mandatory",
            "jurisdiction": "sl01",
            "lang_of": "sl-1",
            "links": [{"kind": "interprets", "to": "sl-2"}, "corrects:sl-3", {"kind": "eats", "to": "x"}],
        }
    )
    assert found.content is not None
    assert (found.content.kind, found.content.audience) == ("warning", ("citizen",))
    assert found.declared.tags == ("theme:0402", "role:citizen", "life:birth", "type:warning", "place:sl01")
    assert (found.declared.priority, found.declared.place) == ("mandatory", "sl01")
    assert found.declared.links == (("interprets", "sl-2"), ("corrects", "sl-3"), ("language_of", "sl-1"))
    assert [oddity.problem for oddity in found.oddities] == ["bad-link"]


def test_unknown_codes_are_said_with_a_suggestion() -> None:
    found = run(
        BODY | {"title": "t", "theme": "0499", "roles": ["king"], "priority": "high", "tags": ["anything"]}
    )
    said = {oddity.field: oddity.message for oddity in found.oddities}
    assert "did you mean theme:0402?" in said["theme"]
    assert "role:king" in said["roles"] and "normal, mandatory, emergency" in said["priority"]
    assert found.declared.tags == () and "tags" not in said


def test_the_sample_mark() -> None:
    assert content(BODY | {"title": "通知"}, sample_mark="【示例】").title == "【示例】通知"
    assert content(BODY | {"title": "【示例】通知"}, sample_mark="【示例】").title == "【示例】通知"
    assert (
        content(BODY | {"title": "Notice", "lang": "en"}, sample_mark="【示例】").title == "[SAMPLE] Notice"
    )
    assert (
        content(BODY | {"title": "[SAMPLE] Notice", "lang": "en"}, sample_mark="【示例】").title
        == "[SAMPLE] Notice"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    (
        "title",
        "body",
        "url",
        "published",
        "deadline",
        "tags",
        "lang",
        "views",
        "links",
        "attachments",
        "theme",
        "roles",
        "priority",
        "agency",
        "status",
        "source",
        "lang_of",
        "jurisdiction",
        "expires",
        "whatever",
    )
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_no_row_breaks_it_and_what_comes_out_can_be_stored(fields: dict[str, Any]) -> None:
    found = run(fields)
    if found.content is None:
        return
    again = type(found.content).from_dict(found.content.to_dict())
    assert again.hash() == found.content.hash()
    assert found.content.title and not clean(found.content.title)[1]
    assert "\x00" not in str(found.content.to_dict()).replace("\\x00", "\x00")
    str(found.content.to_dict()).encode("utf-8")
