"""What is done a shorter way gives what the long way gives: addresses, mail dates, plain bodies, batches."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.catalogue.city_files import load_city
from feeds.catalogue.fingerprint import fingerprint, fingerprints
from feeds.catalogue.identity import identity_of
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.words import cut, cut_folded, fold, one_form, one_form_of
from feeds.intake import dates
from feeds.intake.fields import MAX_URL, web_address
from feeds.intake.prepare import Preparer, Work
from feeds.intake.sanitise import _HTML, plain_to_html, sanitise, sanitise_plain, strip_markup
from feeds.intake.sources import Source
from feeds.intake.types import RawEntry

NOW = datetime(2026, 10, 12, 10, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
PIECES = st.lists(
    st.sampled_from([
        "正文。", "a < b", "&", "&amp;", "&nbsp;", "&#160;", "\xa0", "&#0;", "&lt;p&gt;", "\n", "\n\n", "\r",
        "\x85", "# 标题", "## #", "'", '"', "\x01", "\ufeff", "\u2028", "&#x1F600;", "&#13;", "\t ", "-->",
        "]]>", "</", "\ufffe",
    ]),
    max_size=12,
).map("".join)  # fmt: skip


@given(PIECES | st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_plain_body_is_what_the_cleaner_would_make_of_it(text: str) -> None:
    assert sanitise_plain(text) == sanitise(plain_to_html(text))


def test_a_plain_body_of_many_lines_and_entities_is_too() -> None:
    for text in ("行\n" * 600, "# 题\n" * 600, "&" * 20_001, "& " * 20_000):
        assert sanitise_plain(text) == sanitise(plain_to_html(text))


@given(st.text(st.sampled_from("ab;:/?#[]@.-_~%!$&'()*+,=\\ \"<>^`{|}0五\t"), max_size=30))
def test_an_address_that_needs_no_encoding_stays_as_it_is(rest: str) -> None:
    for text in (f"http://{rest}", f"https://a.example/{rest}", f"https://a.example{rest}", rest):
        assert web_address(text) == _long_way(text)


def test_a_long_address_is_none() -> None:
    longest = "https://a.example/".ljust(MAX_URL, "x")
    assert web_address(longest) == longest
    assert web_address(longest + "x") == ""


def _long_way(text: str) -> str:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]") if fine else ""


@given(
    st.sampled_from(["Mon", "Sun", "Fri"]), st.integers(0, 32), st.sampled_from(["Jan", "Feb", "Oct", "Dec"]),
    st.integers(1000, 2999), st.integers(0, 25), st.integers(0, 61), st.integers(0, 61),
    st.sampled_from(["GMT", "UTC"]) | st.tuples(st.sampled_from("+-"), st.integers(0, 1959)).map(
        lambda zone: f"{zone[0]}{zone[1]:04}"
    ),
)  # fmt: skip
def test_a_mail_date_means_what_the_library_says(
    weekday: str, day: int, month: str, year: int, hour: int, minute: int, second: int, zone: str
) -> None:
    text = f"{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} {zone}"
    try:
        expected = dates._rfc822(text, SHANGHAI)
    except (ValueError, OverflowError):
        expected = None
    assert dates._ours(text, SHANGHAI) is None
    assert dates.parse_when(text, SHANGHAI) == expected


@given(st.text(st.sampled_from("<>&;/abp 题lt#x9"), max_size=25))
def test_a_title_without_tags_and_entities_stays_as_it_is(text: str) -> None:
    bare = text.replace("<", "").replace("&", "")
    assert strip_markup(bare) == bare
    assert _HTML.search(bare) is None


@given(st.lists(st.text(st.sampled_from("一二三市区办ab12 .，\n１À㎡𠀀\ud800"), max_size=90), max_size=8))
def test_texts_have_the_same_fingerprint_together_and_alone(texts: list[str]) -> None:
    assert fingerprints(texts) == [fingerprint(text) for text in texts]


def test_long_texts_have_too() -> None:
    # With and without figures, longer than a batch, longer than what counts.
    texts = [
        "各区民政局要做好临时救助工作" * 3,
        "第12号令" * 3000,
        "",
        "甲乙丙丁戊己庚辛壬癸" * 900,
        "救助工作的通知" * 9,
    ] * 3
    assert fingerprints(texts) == [fingerprint(text) for text in texts]
    assert fingerprints([]) == []


@settings(deadline=None)  # the dictionaries are loaded once
@given(st.text(max_size=60))
def test_a_text_may_be_folded_before(text: str) -> None:
    assert one_form_of(fold(text)) == one_form(text)
    assert cut_folded(fold(text)) == cut(text)


def source_of(*rules: str) -> Source:
    """A source that says nothing of itself but its rules."""
    return Source(
        id=1, slug="s", name="示例", kind="feed", url=None, agency="", lang="", timezone="", licence="",
        place=None, trust=50, interval_s=3600, paused=False, created_at=NOW, next_poll_at=NOW,
        last_polled_at=None, last_ok_at=None, held_at=None, etag="", last_modified="", failures=0,
        last_error="", polls=1, recipe={}, rules=rules, tags=(), release="publish", full_text=False, ttl_s=0,
        hub="", topic="", moved_to="", moved_count=0, gone_at=None, last_status=200, last_new_at=None,
        last_entries=0, body_hash="", alarm="", alarm_at=None,
    )  # fmt: skip


@cache
def _preparer() -> Preparer:
    city = load_city("shili")
    return Preparer(city, Tagger(city))


@pytest.mark.parametrize("fields", [
    {"title": "关于停水的通知", "body": "临澜新片区10月12日停水。" * 4, "url": "https://a.example/1"},
    {"title": "市民政局关于臨時救助的通知 it’s", "body": "<p>各区</p>", "doc_no": "示民〔2026〕1号"},
    {"title": "拆迁公告", "region": "市级", "agency": "示例市民政局", "type": "notice"},
])  # fmt: skip
def test_a_row_is_finished_as_its_parts_say(fields: dict[str, Any]) -> None:
    preparer, source = _preparer(), source_of("review: 拆迁", "tag theme:0402: 停水")
    draft = preparer.draft(source, RawEntry("g", 1, fields), NOW, Work())
    assert draft is not None
    row, content = preparer.finish(source, draft), draft.content
    named = " ".join((content.title, content.title_en, content.doc_no, content.agency))
    assert row.words == (*cut(named), *cut(draft.text))
    assert row.identity == identity_of(content, draft.text)
    assert row.hash == content.hash() == draft.hash
    assert bool(row.hold) == ("拆迁" in content.title)


def test_rows_are_the_same_together_and_one_by_one() -> None:
    preparer, source = _preparer(), source_of("review: 拆迁")
    rows = [
        row
        for number in range(40)
        if (row := preparer.draft(source, _entry(number), NOW, Work())) is not None
    ]
    finished = [preparer.finish(source, row) for row in rows]
    assert preparer.finish_all(source, rows) == finished
    assert preparer.finish_all(source, []) == []


def _entry(number: int) -> RawEntry:
    word = ("停水", "拆迁", "医保", "招聘")[number % 4]
    return RawEntry(
        str(number), number, {"title": f"关于{word}的公告 {number}", "body": f"{word}。" * number}
    )
