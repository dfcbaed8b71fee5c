"""The text of a notice, found in pages of the shapes that Chinese offices use; invented, marked 示例."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.intake.page_text import PageText, main_text
from feeds.intake.recipes import read_recipe
from feeds.intake.sanitise import sanitise, to_text

PAGES = Path(__file__).parent.parent / "data" / "lists" / "pages"
URL = "https://shili.example/zwgk/t1.html"
TEXT = "示例市民中心自三月五日起调整开放时间，请市民互相转告，周一闭馆。"


def read(page: str | bytes, **page_recipe: Any) -> PageText:
    body = page if isinstance(page, bytes) else page.encode()
    recipe = read_recipe("feed", {"page": page_recipe}) if page_recipe else None
    return main_text(body, {}, URL, recipe)


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("*.html")))
def test_golden(name: str) -> None:
    expected = json.loads((PAGES / f"{name}.json").read_text(encoding="utf-8"))
    page = read((PAGES / f"{name}.html").read_bytes())
    shown = page.html + to_text(page.html)
    assert [text for text in expected["keep"] if text not in shown] == []
    assert [text for text in expected["drop"] if text in shown] == []
    assert (page.title, page.published) == (expected["title"], expected["published"])
    assert [item["url"] for item in page.attachments] == expected["attachments"]
    assert not expected.get("table") or "<table" in page.html
    assert {odd.problem for odd in page.oddities} <= {"no-text"}
    assert "<p" not in page.html or "<" in sanitise(page.html, base=URL)


def test_the_recipe_comes_first() -> None:
    page = (
        "<h1 class=t>真标题</h1><i class=d>发布：2026年3月5日</i>"
        f"<div id=a><p>{TEXT}</p><p class=x>请忽略</p></div>"
        f"<div id=b><a href='f/1.pdf'>附件</a></div><div><p>{TEXT * 5}</p><p>{TEXT * 5}</p></div>"
    )
    found = read(page, main="#a, #b", remove=[".x"], title=".t", published=".d")
    assert (found.title, found.published) == ("真标题", "2026年3月5日")
    assert to_text(found.html) == f"{TEXT}\n附件"
    assert found.attachments == ({"url": "https://shili.example/zwgk/f/1.pdf", "title": "附件"},)
    assert found.oddities == ()


def test_the_recipe_may_name_what_else_would_go() -> None:
    assert TEXT in read(f"<div class=footer><p>{TEXT}</p></div>", main=".footer").html


def test_a_recipe_that_matches_nothing_is_said_and_the_text_guessed() -> None:
    found = read(f"<body><div><p>{TEXT}</p><p>{TEXT}</p></div>", main="#gone")
    assert TEXT in found.html
    assert [odd.problem for odd in found.oddities] == ["no-main"]


def test_links_are_whole_and_lead_to_pages() -> None:
    links = "<a href='x.html'>甲</a><a href='javascript:y()'>乙</a>"
    page = f"<base href='/b/'><article><p>{TEXT}{links}</p><p>{TEXT}</p>"
    found = read(page).html
    assert 'href="https://shili.example/b/x.html"' in found
    assert "javascript" not in found
    assert "乙" in found


def test_the_title_is_not_said_twice() -> None:
    found = read(f"<title>示例公告</title><article><h1>示例公告</h1><p>{TEXT}</p><p>{TEXT}</p></article>")
    assert found.title == "示例公告"
    assert "示例公告" not in found.html


def test_utf_16_is_text() -> None:
    assert TEXT in read(f"<div><p>{TEXT}</p><p>{TEXT}</p></div>".encode("utf-16")).html


def test_gb18030_that_says_utf_8_is_read() -> None:
    page = f"<meta charset=utf-8><title>示例公告</title><div><p>{TEXT}</p><p>{TEXT}</p></div>"
    found = read(page.encode("gb18030"))
    assert TEXT in found.html
    assert [odd.problem for odd in found.oddities] == ["wrong-encoding"]


@pytest.mark.parametrize(("head", "title", "published"), [
    ("<title>示例公告_示例市政府</title>", "示例公告", ""),
    ("<title>2026-2030年规划 - 示例市</title>", "2026-2030年规划", ""),
    ("<title>示例局</title><meta property='og:title' content='示例公告'>", "示例公告", ""),
    ("<title>示例</title><meta name='PubDate' content='2026-03-05 08:00:00'>", "示例", "2026-03-05 08:00:00"),
    ("<meta name='PubDate' content='不详'><meta name=createDate content=2026-03-06>", "", "2026-03-06"),
])  # fmt: skip
def test_title_and_date(head: str, title: str, published: str) -> None:
    found = read(f"<html><head>{head}</head><body><div><p>{TEXT}</p><p>{TEXT}</p></div></body></html>")
    assert (found.title, found.published) == (title, published)


def test_a_page_of_one_file() -> None:
    found = read(
        "<title>示例统计公报</title><div class=content><a href='/u/gb.pdf'>示例统计公报.pdf</a></div>"
    )
    assert found.attachments == ({"url": "https://shili.example/u/gb.pdf", "title": "示例统计公报.pdf"},)
    file = main_text(b"%PDF-1.7 ...", {}, "https://shili.example/f/%E5%85%AC%E5%91%8A.pdf")
    assert file.attachments[0]["title"] == "公告.pdf"
    assert main_text(b"%PDF-1.7 ...", {}, URL).oddities[0].problem == "no-text"


@pytest.mark.parametrize(("body", "words"), [
    (b"", "empty"),
    (b"<html><script>location='/login'</script></html>", "a script would fill"),
    ("<title>用户登录</title><input type=password>".encode(), "a login page"),
    (b"<div>" * 50_000, "nests elements deeper"),
    (b"<p>" * 100_000, "too many elements"),
    (b"x" * 5_000_001, "at most 5000000"),
    (b"<br>" * 30_000, "too many elements"),
    (b"\0" * 100, "a file"),
])  # fmt: skip
def test_why_there_is_no_text(body: bytes, words: str) -> None:
    found = read(body)
    assert found.html == ""
    assert [odd.problem for odd in found.oddities] == ["no-text"]
    assert words in found.oddities[0].message


@pytest.mark.parametrize("body", [
    b"<a href=x.pdf>a</a>" * 5_000,
    b"<div>" * 70 + "示例，".encode() * 100_000 + b"</div>" * 70,
    (b"<div>" * 70 + b"x" + b"</div>" * 70) * 60,
    "<p>第一条　本办法，示例，示例，示例示例示例示例示例。</p>".encode() * 4_000,
    b"<p>" * 9_000 + "相关链接".encode(),
])  # fmt: skip
def test_hostile_pages_stay_quick(body: bytes) -> None:
    started = time.perf_counter()
    read(body)
    assert time.perf_counter() - started < 20


_PIECES = [
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<table><tr><td>",
    "<a href='x.pdf'>",
    "</a>",
    "<!--",
    "<svg>",
    "<title>",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*_PIECES, TEXT, "附件", "上一篇：", "&#xD800;", "\x00", "<"]), max_size=20).map(
        "".join
    )
)
def test_no_page_breaks_it(page: str) -> None:
    found = read(page)
    assert isinstance(found.html, str)
    assert bool(found.html) or found.oddities or found.attachments
