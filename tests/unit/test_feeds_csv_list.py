"""CSV lists, however carelessly they were made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.parsers.csv_list import parse_csv_list
from feeds.intake.recipes import read_recipe
from feeds.intake.types import Parsed
from feeds.kernel.errors import BadInputError
from tests.unit.listfixture import expected, golden_names, read_golden

URL = "https://www.shili.example/list.csv"


def read(body: str | bytes, **recipe: Any) -> Parsed:
    given = {"fields": {"title": "标题", "url": "链接"}, **recipe}
    return parse_csv_list(
        body if isinstance(body, bytes) else body.encode(), {}, URL, read_recipe("csv", given)
    )


def titles(body: str | bytes, **recipe: Any) -> list[str]:
    return [entry.fields.get("title", "") for entry in read(body, **recipe).entries]


@pytest.mark.parametrize("name", golden_names("csv"))
def test_golden(name: str) -> None:
    assert read_golden(name, parse_csv_list) == expected(name)


def test_the_shanghai_index(real_data: Path) -> None:
    body = (real_data / "lists" / "shanghai_notices.csv").read_bytes()
    fields = {"title": "标题", "url": "官方链接", "published": "发布日期", "doc_no": "文号", "tags": "分类"}
    parsed = parse_csv_list(body, {}, URL, read_recipe("csv", {"fields": fields}))
    assert (len(parsed.entries), parsed.oddities) == (71, ())
    first, last = parsed.entries[0], parsed.entries[-1]
    assert (first.line, first.fields["doc_no"], first.fields["tags"]) == (
        2,
        "沪规划资源总〔2026〕262号",
        ["规划与土地"],
    )
    assert (last.line, last.fields["published"]) == (72, "2024-08-02")


def test_the_japanese_list(real_data: Path) -> None:
    body = (real_data / "lists" / "jp_digital_procurement.csv").read_bytes()
    fields = {"title": "タイトル", "url": "URL", "published": "更新日", "summary": "備考"}
    parsed = parse_csv_list(body, {}, URL, read_recipe("csv", {"fields": fields}))
    assert len(parsed.entries) == 885
    assert parsed.entries[0].fields == {
        "title": "調達ポータル 調達情報の検索",
        "url": "https://www.p-portal.go.jp/pps-web-biz/UAA01/OAA0101",
        "published": "2022/10/25",
    }
    assert (parsed.entries[-1].line, parsed.entries[-1].fields["published"]) == (886, "2024/12/27")
    found = [odd.problem for odd in parsed.oddities]
    assert (found.count("repeated-url"), found.count("short-rows"), len(found)) == (44, 1, 45)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    assert titles(f"日期{delimiter}标题{delimiter}链接\n1{delimiter}甲{delimiter}/1\n") == ["甲"]


def test_header_lines() -> None:
    assert titles("公告登记册\n\n标题,链接\n甲,/1", header=2) == ["甲"]
    assert titles("甲,/1\n乙,/2", header=False, fields={"title": "#1", "url": "#2"}) == ["甲", "乙"]
    assert titles("甲,/1\n乙,/2", header=["标题", "链接"]) == ["甲", "乙"]
    assert titles("标题,链接\n甲,/1", fields={"title": "名称|标题", "url": "#2"}) == ["甲"]


@pytest.mark.parametrize(("body", "expected_titles", "odd"), [
    ('标题,链接\n"甲""好""",/1\n"乙,丙",/2\n', ['甲"好"', "乙,丙"], []),
    ('标题,链接\n"甲\n续",/1\n乙,/2\n', ["甲\n续", "乙"], []),
    ('标题,链接\n"甲,/1\n乙,/2\n丙,/3\n', ["甲", "乙", "丙"], ["open-quote"]),
    ('标题,链接\n"甲,/1\n"乙",/2\n丙,/3\n', ["甲", "乙", "丙"], ["open-quote"]),
    ('标题,链接\n说"甲"的,/1\n"乙"x,/2\n', ['说"甲"的', "乙x"], []),
    ("标题,链接\n甲,/1,多\n", ["甲"], ["extra-cells"]),
    ("标题,链接\n甲,/1,,\n", ["甲"], []),
    ("标题,链接\n甲\n", ["甲"], ["short-rows"]),
    ("标题,链接\r甲,/1\r\r乙,/2\r", ["甲", "乙"], []),
    ("标题,链接\n", [], ["no-items"]),
    ("标题,链接,备\0注\n甲\0,/1,\n", ["甲"], []),
])  # fmt: skip
def test_careless_files(body: str, expected_titles: list[str], odd: list[str]) -> None:
    parsed = read(body)
    assert [entry.fields["title"] for entry in parsed.entries] == expected_titles
    assert [oddity.problem for oddity in parsed.oddities] == odd


def test_lines_are_those_of_the_file() -> None:
    parsed = read('\n标题,链接\n"甲\n续",/1\n\n乙,/2\n')
    assert [entry.line for entry in parsed.entries] == [3, 6]


@pytest.mark.parametrize(("body", "words"), [
    (b"", "no column for title or url"),
    (b"a,b\n1,2", "its columns: a, b"),
    (b"<html><title>404</title><h1>404 Not Found</h1></html>", "an error page"),
    (b"PK\x03\x04 rest", "spreadsheet"),
    (b"%PDF-1.7", "PDF"),
])  # fmt: skip
def test_what_is_no_table(body: bytes, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read(body)


def test_a_missing_column_is_named_once() -> None:
    parsed = read("标题,链接\n甲,/1\n乙,/2", fields={"title": "标题", "agency": "单位|部门"})
    assert [(odd.field, odd.problem) for odd in parsed.oddities] == [("agency", "no-column")]
    assert "'单位 or 部门'" in parsed.oddities[0].message


def test_open_quotes_everywhere_stay_quick() -> None:
    body = "标题,链接\n" + '"\n' * 400_000
    started = time.perf_counter()
    parsed = read(body)
    assert time.perf_counter() - started < 15
    assert len(parsed.entries) <= 5_000


@given(st.text(st.sampled_from('标题,链接"\n\r;甲乙/1 \t|'), max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    try:
        parsed = read("标题,链接\n" + text)
    except BadInputError as error:  # rows without titles are a changed layout, and said to be
        assert "most rows have no title" in str(error)
        return
    assert all(entry.fields.get("title") or entry.fields.get("url") for entry in parsed.entries)


def test_a_renamed_title_column_is_no_list_of_addresses() -> None:
    with pytest.raises(BadInputError, match=r"no column '标题' for the title \(its columns: 题目, 链接\)"):
        read("题目,链接\n停水,/1\n")
    with pytest.raises(BadInputError, match=r"most rows have no title .* \('标题'\); its layout"):
        read("标题,链接\n" + "".join(f",/{n}\n" for n in range(3)))
    assert len(read("标题,链接\n停水,/1\n,/2\n").entries) == 2
