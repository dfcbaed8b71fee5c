"""JSON lists as they really come: nested, wrapped, broken, hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feeds.intake.parsers.json_list import parse_json_list
from feeds.intake.recipes import read_recipe
from feeds.intake.types import Parsed
from feeds.kernel.errors import BadInputError
from tests.unit.listfixture import expected, golden_names, read_golden

URL = "https://www.shili.example/list.json"
FIELDS = {"title": "title", "url": "url", "published": "date"}


def read(value: Any, **recipe: Any) -> Parsed:
    body = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return parse_json_list(body, {}, URL, read_recipe("json", {"fields": FIELDS, **recipe}))


def titles(value: Any, **recipe: Any) -> list[str]:
    return [entry.fields.get("title", "") for entry in read(value, **recipe).entries]


def problems(value: Any, **recipe: Any) -> list[str]:
    return [oddity.problem for oddity in read(value, **recipe).oddities]


@pytest.mark.parametrize("name", golden_names("json"))
def test_golden(name: str) -> None:
    assert read_golden(name, parse_json_list) == expected(name)


def test_the_gov_cn_shape(real_data: Path) -> None:
    body = (real_data / "lists" / "govcn_latest_policies_style.json").read_bytes()
    recipe = {
        "fields": {"title": "TITLE", "url": "URL", "published": "DOCRELPUBTIME", "summary": "SUB_TITLE"}
    }
    parsed = parse_json_list(body, {}, URL, read_recipe("json", recipe))
    assert (len(parsed.entries), parsed.oddities) == (71, ())
    assert parsed.entries[0].fields == {
        "title": "关于印发《上海市国土空间近期实施规划（2026—2030年）》的通知",
        "url": "https://www.shanghai.gov.cn/zhengce/detail?businessId=15f956ae58a844ceb7caba8781940458&siteId=0032",
        "published": "2026-08-28",
    }
    assert parsed.entries[-1].fields["published"] == "2024-08-02"


def test_the_scenic_spots(real_data: Path) -> None:
    body = (real_data / "lists" / "shanghai_scenic_spots.jsonl").read_bytes()
    fields = {"id": "CODE", "title": "NAME", "published": "TIME", "status": "TYPE", "x_limit": "MAX_NUM"}
    parsed = parse_json_list(body, {}, URL, read_recipe("json", {"items": "data.rows", "fields": fields}))
    assert (len(parsed.entries), parsed.oddities) == (150, ())
    first, last = parsed.entries[0], parsed.entries[-1]
    assert (first.guid, first.fields["title"], first.fields["x_limit"]) == (
        "474",
        "中国共产党一大·二大·四大纪念馆",
        "2775",
    )
    assert (last.line, last.guid, last.fields["published"]) == (150, "49", "2025-11-25 08:00")


@pytest.mark.parametrize(("items", "value"), [
    ("", [{"title": "a"}, {"title": "b"}]),
    ("data.rows", {"data": {"rows": [{"title": "a"}, {"title": "b"}]}}),
    ("/data/ro.ws", {"data": {"ro.ws": [{"title": "a"}, {"title": "b"}]}}),
    ("$.data.*", {"data": {"x": {"title": "a"}, "y": {"title": "b"}}}),
    ("g.*.rows", {"g": [{"rows": [{"title": "a"}]}, {"rows": []}, {"rows": [{"title": "b"}]}]}),
    ("0.list", [{"list": [{"title": "a"}, {"title": "b"}]}]),
])  # fmt: skip
def test_paths(items: str, value: Any) -> None:
    assert titles(value, items=items) == ["a", "b"]


def test_one_object_is_one_item() -> None:
    assert titles({"data": {"title": "a"}}, items="data") == ["a"]


@pytest.mark.parametrize("body", [
    b'\xef\xbb\xbf [{"title": "a"}] \n',
    b'callback([{"title": "a"}]);',
    b'jQuery123.cb_4({"x": [{"title": "a"}]})',
    b'var list = [{"title": "a"}];',
    '[{"title": "a"}]'.encode("utf-16"),
])  # fmt: skip
def test_wrappings(body: bytes) -> None:
    assert titles(body, items="x" if b"x" in body[:30] and b"cb_4" in body else "") == ["a"]


@pytest.mark.parametrize(("body", "words"), [
    (b"", "answered with nothing"),
    (b"  \n", "answered with nothing"),
    (b"[{]", "line 1, column 3"),
    (b'[{"title": "a"}] tail', "goes on after its JSON"),
    (b'[{"title": "a"}]);', "goes on after its JSON"),
    ("<html><title>统一身份认证</title><input type=password></html>".encode(), "a login page (统一身份认证)"),
    (b"[" * 200_000, "nested too deep"),
    (b'{"a":' * 200_000, "nested too deep"),
    (b"\x00\x01\x02", "not JSON"),
    (b"[" + b"{}," * 500_000 + b"{}]", "500000 objects"),
])  # fmt: skip
def test_what_is_no_json(body: bytes, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(body)
    message = str(caught.value)
    assert words in message
    assert URL in message
    assert len(message) < 300


def test_too_long_a_body_is_not_read() -> None:
    with pytest.raises(BadInputError, match="at most 20000000"):
        read(b" " * 20_000_001)


def test_nothing_there_is_said() -> None:
    assert problems([]) == ["no-items"]
    assert problems({"a": 1}, items="data.rows") == ["no-items"]
    said = read({"code": 500, "msg": "系统繁忙"}, items="data.rows").oddities[0].message
    assert "系统繁忙" in said
    assert "it has code, x" in read({"code": 1, "x": 2}, items="data").oddities[0].message
    assert read("text").oddities[0].problem == "wrong-type"


def test_numbers_are_kept_as_they_were_written() -> None:
    body = b'[{"title": 1.10, "url": "/1", "date": 17672256000001234567890, "x": NaN}]'
    assert read(body).entries[0].fields["title"] == "1.10"
    assert read(body).entries[0].fields["published"] == "17672256000001234567890"
    assert titles(b'[{"title": ' + b"9" * 10_000 + b"}]") == ["9" * 10_000]


def test_wrong_types_are_named() -> None:
    parsed = read(
        [{"title": {"zh": "a"}, "url": "/1"}, {"title": [], "url": "/2"}, 5, None, [{"title": "c"}]]
    )
    assert [entry.line for entry in parsed.entries] == [1, 2]
    assert [(odd.line, odd.field, odd.problem, odd.dropped) for odd in parsed.oddities] == [
        (1, "title", "wrong-type", False),
        (3, "", "wrong-type", True),
        (4, "", "wrong-type", True),
        (5, "", "wrong-type", True),
    ]
    other = {"title": "zh|en", "url": "url"}
    assert titles([{"zh": {"x": 1}, "en": "b", "url": "/1"}], fields=other) == ["b"]


def test_links() -> None:
    rows = [
        {"title": "t", "url": url}
        for url in ("a.html", "//x.example/b", "javascript:x()", "http://[1", "#", "")
    ]
    parsed = read(rows, base="https://y.example/z/")
    assert [entry.fields.get("url", "") for entry in parsed.entries] == [
        "https://y.example/z/a.html",
        "https://x.example/b",
        *[""] * 4,
    ]
    assert [odd.problem for odd in parsed.oddities] == ["bad-url"] * 3


def test_at_most_so_many_items() -> None:
    rows = [{"title": str(number)} for number in range(5_001)]
    assert len(titles(rows)) == 5_000
    assert problems(rows) == ["too-many"]
    assert titles(rows, max_items=2) == ["0", "1"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["title", "url", "date", "rows", ""]), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.sampled_from(["", "rows", "rows.*", "*.rows", "0", "rows.0.title"]),
)
@example([{"url": False}] * 3, "")
def test_no_json_breaks_it(value: Any, items: str) -> None:
    try:
        parsed = read(value, items=items)
    except BadInputError as error:  # rows without titles are a changed layout, and said to be
        assert URL in str(error)
        return
    assert all(entry.fields.get("title") or entry.fields.get("url") for entry in parsed.entries)


@given(st.binary(max_size=60))
def test_no_bytes_break_it(body: bytes) -> None:
    try:
        read(body)
    except BadInputError as error:
        assert URL in str(error)


def test_a_renamed_title_is_no_list_of_addresses() -> None:
    rows = [{"name": f"第{n}号公告", "url": f"https://www.shili.example/{n}"} for n in range(5)]
    with pytest.raises(BadInputError, match=r"most rows have no title .* \('title'\); its layout"):
        read(rows)
    assert titles([*rows[:2], {"title": "停水", "url": "/3"}, {"title": "停电", "url": "/4"}])[2:] == [
        "停水",
        "停电",
    ]
