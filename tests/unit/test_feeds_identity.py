"""What a notice is recognised by: digests that survive copying, and rules that never guess."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.catalogue.fingerprint import distance, fingerprint, is_copy, plain_form, same_numbers
from feeds.catalogue.identity import Identity, StoredIdentity, identity_of, key_of, likeness
from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.urls import canonical_url
from feeds.intake.sanitise import to_text

SIMPLER, TRADITIONAL = opencc.OpenCC("t2s"), opencc.OpenCC("s2t")
DAY = datetime(2026, 10, 12, 2, tzinfo=UTC)
TITLE = "关于示例市东示区老旧小区加装电梯补贴申请有关事项的通知"
_DRAW = random.Random(11)
TEXT = (
    "".join(_DRAW.choice("电梯补贴申请业主单元楼道材料街道窗口受理公示发放标准金额") for _ in range(400))
    + "共28万元，3月5日起。"
)
OTHER_TEXT = "".join(_DRAW.choice("公园绿化树木河道桥梁道路排水泵站施工围挡照明") for _ in range(400))


def said(text: str = TEXT, **changes: Any) -> Identity:
    values: dict[str, Any] = {
        "title": TITLE, "agency": "示例市东示区住房局", "doc_no": "东示房〔2026〕7号",
        "url": "https://a.example/notices/7.html", "published": DAY,
    }  # fmt: skip
    return identity_of(NoticeContent(**(values | changes)), text)


def stored(one: Identity, notice_id: int = 1, mine: Identity | None = None, **changes: Any) -> StoredIdentity:
    shared = frozenset(one.keys) & frozenset((mine or one).keys)
    made = StoredIdentity(
        notice_id, 1, None, "released", one.title_key, one.doc_key, one.agency_key, one.url_key, one.day,
        one.simhash, one.size, one.lang, shared,
    )  # fmt: skip
    return replace(made, **changes)


def judged(mine: Identity, other: Identity, **changes: Any) -> str | None:
    found = likeness(mine, 2, [stored(other, mine=mine, **changes)])
    return found.kind if found else None


NO_NUMBER = {"doc_no": "", "url": "https://b.example/x/9"}
NEAR_TEXT = TEXT[:120] + "请" + TEXT[121:]
OTHER_NUMBER = TEXT.replace("28万", "29万")


@pytest.mark.parametrize(("changes", "text", "kind"), [
    ({}, TEXT, "duplicate_of"),
    # The same address.
    ({"doc_no": ""}, TEXT, "duplicate_of"),
    ({"doc_no": ""}, "", "duplicate_of"),
    ({"doc_no": "", "url": "http://A.example:80/notices/7.html?utm_a=x#top"}, OTHER_TEXT, "duplicate_of"),
    ({"doc_no": "", "title": "加装电梯补贴"}, TEXT, "duplicate_of"),
    ({"doc_no": "", "title": "加装电梯补贴"}, OTHER_TEXT, "similar_to"),
    ({"doc_no": "", "title": "加装电梯补贴"}, "", "similar_to"),
    ({"doc_no": "", "published": DAY + timedelta(days=200)}, TEXT, "similar_to"),
    # The same number of one agency.
    ({"url": ""}, "", "duplicate_of"),
    ({"url": "", "doc_no": "东示房[2026] 7号"}, OTHER_TEXT, "duplicate_of"),
    ({"url": "", "published": DAY + timedelta(days=20)}, TEXT, "duplicate_of"),
    ({"url": "", "published": DAY + timedelta(days=400)}, TEXT, "similar_to"),
    ({"url": "", "published": None}, TEXT, "duplicate_of"),
    ({"url": "", "agency": ""}, "", "duplicate_of"),
    ({"url": "", "title": "一图读懂加装电梯补贴"}, OTHER_TEXT, "similar_to"),
    ({"url": "", "agency": "示例市西示区住房局"}, TEXT, "similar_to"),
    ({"url": "", "agency": "示例市西示区住房局", "title": "别的通知"}, TEXT, None),
    ({"doc_no": "东示房〔2026〕8号"}, TEXT, None),
    ({"doc_no": "东示房〔2025〕7号"}, TEXT, None),
    # The same title and text.
    (NO_NUMBER, TEXT, "duplicate_of"),
    (NO_NUMBER | {"agency": "示例市新闻网"}, TEXT, "reprints"),
    (NO_NUMBER, "转自示例市政府网。" + TEXT, "reprints"),
    (NO_NUMBER | {"published": DAY + timedelta(days=3)}, TEXT, "duplicate_of"),
    (NO_NUMBER | {"published": DAY + timedelta(days=4)}, TEXT, "similar_to"),
    (NO_NUMBER | {"published": None}, TEXT, "similar_to"),
    (NO_NUMBER, NEAR_TEXT, "duplicate_of"),
    (NO_NUMBER | {"agency": ""}, NEAR_TEXT, "duplicate_of"),
    (NO_NUMBER | {"agency": "示例市新闻网"}, NEAR_TEXT, "similar_to"),
    (NO_NUMBER | {"agency": "示例市新闻网"}, "【转载】" + NEAR_TEXT, "reprints"),
    (NO_NUMBER, OTHER_NUMBER, "similar_to"),
    (NO_NUMBER, OTHER_TEXT, "similar_to"),
    (NO_NUMBER, "", "similar_to"),
    # Titles that differ in a number, a date or a place.
    (NO_NUMBER | {"title": TITLE.replace("东示", "西示")}, TEXT, "similar_to"),
    (NO_NUMBER | {"title": TITLE + "（第2号）"}, TEXT, "similar_to"),
    (NO_NUMBER | {"title": "2025年" + TITLE}, NEAR_TEXT, "similar_to"),
    (NO_NUMBER | {"title": TITLE.replace("东示", "西示")}, OTHER_NUMBER, None),
    (NO_NUMBER | {"title": TITLE.replace("东示", "西示")}, "", None),
    # A title that any notice may bear.
    (NO_NUMBER | {"title": "通知公告"}, OTHER_TEXT, None),
    # Another language.
    ({"lang": "en"}, TEXT, None),
    ({"lang": "zh-Hant"}, TEXT, "duplicate_of"),
])  # fmt: skip
def test_likeness(changes: dict[str, Any], text: str, kind: str | None) -> None:
    assert judged(said(text, **changes), said()) == kind


def test_a_short_title_names_nothing() -> None:
    short = NO_NUMBER | {"title": "人事任免"}
    assert judged(said(TEXT, **short), said(TEXT, **(short | {"url": ""}))) == "similar_to"
    assert judged(said(OTHER_TEXT, **short), said(TEXT, **(short | {"url": ""}))) is None


@pytest.mark.parametrize(("change", "found"), [
    ({"source_id": 2}, False), ({"state": "withdrawn"}, False), ({"state": "purged"}, False),
    ({"state": "expired"}, True), ({"state": "in_review"}, True), ({"source_id": None}, True),
])  # fmt: skip
def test_who_is_compared_at_all(change: dict[str, Any], found: bool) -> None:
    assert (judged(said(), said(), **change) is not None) is found


def test_the_lead_then_the_first_is_named() -> None:
    mine = said()
    others = [
        stored(mine, 3, lead_id=9, source_id=3), stored(mine, 9, source_id=4), stored(mine, 12, source_id=5),
        stored(said("", doc_no="", url=""), 1, mine=mine),
    ]  # fmt: skip
    for order in (others, others[::-1], [others[2], others[0], others[3], others[1]]):
        found = likeness(mine, 2, order)
        assert found is not None
        assert (found.notice_id, found.kind) == (9, "duplicate_of")


def test_an_earlier_publication_is_no_reprint() -> None:
    mine = said(TEXT, **NO_NUMBER, agency="示例市新闻网", published=DAY - timedelta(days=1))
    assert judged(mine, said()) == "duplicate_of"


def test_a_text_that_another_source_says_twice_tells_nothing() -> None:
    mine = said(TEXT, **NO_NUMBER)
    twice = [stored(said(TEXT, doc_no="", url=f"https://a.example/{n}"), n, mine=mine) for n in (4, 5)]
    found = likeness(mine, 2, twice)
    assert found is not None
    assert (found.notice_id, found.kind) == (4, "similar_to")
    assert likeness(mine, 2, [twice[0], replace(twice[1], source_id=7)]).kind == "duplicate_of"  # type: ignore[union-attr]


def test_a_key_that_outlived_its_text_proves_nothing() -> None:
    mine = said(TEXT, **NO_NUMBER)
    stale = stored(said(OTHER_TEXT), mine=said(OTHER_TEXT), shared=frozenset(mine.keys))
    found = likeness(mine, 2, [stale])
    assert found is not None
    assert found.kind == "similar_to"


def test_nothing_at_all_is_like_nothing() -> None:
    empty = identity_of(NoticeContent("—"), "")
    assert empty.keys == ()
    assert likeness(empty, 2, [stored(empty)]) is None
    assert likeness(empty, 2, []) is None


@pytest.mark.parametrize(("url", "other", "same"), [
    ("https://a.example/x", "http://a.example/x#y", True),
    ("https://a.example/x?id=1", "https://a.example/x?id=2", False),
    ("https://a.example/", "https://a.example", None),  # the front page is no notice
    ("", "", None),
    ("http://[::1", "http://[::1", None),
])  # fmt: skip
def test_addresses(url: str, other: str, same: bool | None) -> None:
    one, two = said(url=url).url_key, said(url=other).url_key
    assert (one == two if one and two else None) is same


@pytest.mark.parametrize("doc_no", ["", "无", "第1号", "2026", "无文号无文号"])
def test_what_is_no_document_number(doc_no: str) -> None:
    assert said(doc_no=doc_no).doc_key == 0


@pytest.mark.parametrize(("one", "other", "same"), [
    ("關於調整電價的通知", "关于调整电价的通知", True), ("ＡＢＣ　１２", "abc 12", True),
    ("关于《办法》的通知", "关于“办法”的 通知", True), ("第1.5号", "第15号", False),
    ("第3号", "第4号", False),
    ("Notice of Meeting", "notice  of meeting", True), ("2026-3-5", "2026-35", False),
])  # fmt: skip
def test_titles_that_read_alike(one: str, other: str, same: bool) -> None:
    assert (plain_form(one) == plain_form(other)) is same


REMARKS = [
    "发布时间：2026-03-05 10:20 来源：示例网 浏览次数：123\n{}",
    "{}\n责任编辑：示例\n【打印】【关闭】",
    "發布日期：2026-03-05\n{}\n字体：[大 中 小]",
    "  {}  \n",
]


@pytest.mark.parametrize("remarks", REMARKS)
def test_a_pages_own_remarks_do_not_count(remarks: str) -> None:
    for text in (TEXT, TEXT * 20):
        assert fingerprint(remarks.format(text)) == fingerprint(text)


def test_near_texts_share_a_band_and_differ_in_few_bits() -> None:
    one, near, far = fingerprint(TEXT), fingerprint(NEAR_TEXT), fingerprint(OTHER_TEXT)
    assert distance(one.simhash, near.simhash) <= 3
    assert set(one.bands) & set(near.bands)
    assert distance(one.simhash, far.simhash) > 10
    assert not set(one.bands) & set(far.bands)
    assert same_numbers(one.simhash, near.simhash)
    assert not same_numbers(one.simhash, fingerprint(OTHER_NUMBER).simhash)


def test_short_texts_have_nothing_to_be_found_by() -> None:
    for text in ("", " \n", "详见附件。", "，" * 500, "a b c"):
        assert fingerprint(text).bands == ()
        assert (fingerprint(text).simhash, fingerprint(text).exact) == (0, 0)


@given(st.text(max_size=400))
def test_any_text_has_a_fingerprint_within_63_bits(text: str) -> None:
    found = fingerprint(text)
    assert found == fingerprint(text)
    assert all(0 <= number < 2**63 for number in (found.simhash, found.exact, *found.bands))
    one = identity_of(NoticeContent(text or "—", agency=text, doc_no=text), text)
    assert all(0 < key < 2**63 for key in one.keys)
    assert len(set(one.keys)) == len(one.keys)


@given(st.text(alphabet="关于調整電價的通知第12号 aB，.", max_size=60))
def test_traditional_and_simplified_are_one(text: str) -> None:
    other = SIMPLER.convert(text)
    assert fingerprint(text * 3) == fingerprint(other * 3)


def test_a_long_text_costs_no_more_than_its_beginning() -> None:
    assert fingerprint(TEXT * 200) == fingerprint((TEXT * 200)[:20_000] + "x" * 100_000)


def test_copies_say_so() -> None:
    assert is_copy("转自：示例网\n" + TEXT)
    assert is_copy(TEXT + "（轉載自示例網）")
    assert not is_copy(TEXT + "转自" + TEXT * 2)


def test_keys_are_the_same_in_every_process() -> None:
    program = (
        "from feeds.catalogue.identity import key_of; from feeds.catalogue.fingerprint import fingerprint;"
        f"print(key_of('url', 'a', '示例'), fingerprint({TEXT!r}))"
    )
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
    )
    assert found.stdout.strip() == f"{key_of('url', 'a', '示例')} {fingerprint(TEXT)}"
    assert key_of("url", "a", "示例") == 7590622898793648273
    assert key_of("a", "bc") != key_of("ab", "c") != key_of("doc", "ab", "c")


def test_real_notices_of_different_documents_are_never_one(real_data: Path) -> None:
    """All pairs that share a key, as if every notice came from a source of its own, known copies excepted."""
    lines = (real_data / "notices.jsonl").read_text(encoding="utf-8").split("\n")
    # GOV.UK's examples show one page in several states; every other notice is one of its own.
    rows = [row for row in map(json.loads, filter(None, lines)) if not row["id"].startswith("govuk-")]
    rows = [row for row in rows if row["title"]]
    made = [_of(row) for row in rows]
    by_key: dict[int, list[int]] = {}
    certain = set()
    for at, mine in enumerate(made):
        seen = {other for key in mine.keys for other in by_key.get(key, ())}
        for other in seen:
            found = likeness(mine, 2, [stored(made[other], mine=mine)])
            if found and found.certain:
                certain.add((rows[other]["id"], rows[at]["id"]))
        for key in mine.keys:
            by_key.setdefault(key, []).append(at)
    # Each of these is one law that stands in the collection twice, on one day, word for word.
    assert certain == {("cnlaw-092", "cnlaw-094"), ("cnlaw-153", "cnlaw-157")}


def _of(row: dict[str, Any]) -> Identity:
    published = datetime.fromisoformat(row["published"]).replace(tzinfo=UTC) if row["published"] else None
    content = NoticeContent(
        row["title"], lang=row["lang"], agency=row["agency"] or "", doc_no=row["doc_no"] or "",
        url=row["url"] or "", published=published,
    )  # fmt: skip
    return identity_of(content, to_text(row["body"] or ""))


def test_copies_of_real_notices_are_found(real_data: Path) -> None:
    lines = (real_data / "notices.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [
        r
        for r in map(json.loads, filter(None, lines))
        if r["title"] and len(r["body"] or "") > 300 and r["lang"] != "en"
    ]
    rows = [r for r in rows if r["published"]]
    rows = [r for r in rows[:: len(rows) // 120] if _of(r).specific]
    found = 0
    for row in rows:
        text = TRADITIONAL.convert(row["body"]) if row["lang"] == "zh-Hans" else row["body"]
        copy = _of(row | {"body": REMARKS[0].format(text), "url": "https://other.example/1", "doc_no": ""})
        found += judged(copy, _of(row)) in ("duplicate_of", "reprints")
    assert found >= 0.95 * len(rows)


@pytest.mark.parametrize("url", ["http://a.example:99999/x", "http://[bad/x"])
def test_what_is_no_address_stays_as_it_is(url: str) -> None:
    assert canonical_url(url) == url
