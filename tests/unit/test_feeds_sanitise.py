"""Upstream HTML becomes harmless, stays readable, and costs little time however it is nested."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.sanitise import (
    _clean,
    _is_plain,
    looks_like_html,
    plain_to_html,
    sanitise,
    strip_markup,
    text_of,
    to_text,
)

PIECES = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<div class=x>",
        "<script>",
        "</script>",
        "<svg>",
        "<style>",
        "<a href='javascript:x'>",
        "<a href='https://a.cn/?a=1&b=2'>",
        "</a>",
        "<img src=x onerror=y>",
        "<h1>",
        "</h1>",
        "<table><tr><td>",
        "</table>",
        "<ul><li>",
        "&amp;",
        "&lt;",
        "&nbsp;",
        "&",
        "<",
        ">",
        "公告",
        " ",
        "\n",
        "\u3000",
        "<!--",
        "-->",
        "<math>",
        "<template>",
        "<noscript>",
        "<iframe src=x>",
        "<textarea>",
        "<pre>",
        "<ol start=3>",
        "<td colspan=2>",
        "</div>",
        '"',
        "'",
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_twice_is_once(markup: str) -> None:
    once = sanitise(markup)
    assert sanitise(once) == once


@given(st.lists(PIECES, max_size=30).map("".join))
def test_nothing_active_survives(markup: str) -> None:
    clean = sanitise(markup).lower()
    for bad in (
        "<script",
        "<style",
        "<svg",
        "<iframe",
        "<img",
        "<form",
        "<h1",
        "javascript:",
        "onerror=",
        "class=",
    ):
        assert bad not in clean.replace("&lt;", "")


@given(st.text(max_size=80))
def test_plain_text_survives_as_text(text: str) -> None:
    plain = text.replace("&", "").replace("#", "").replace("\x00", "")
    assert "".join(to_text(sanitise(plain_to_html(plain))).split()) == "".join(plain.split())


@pytest.mark.parametrize(
    ("markup", "clean"),
    [
        ("<p style='color:red' onclick=x() data-a=1 hx-get='/x' id=q class=w>a</p>", "<p>a</p>"),
        ("<h1>标题</h1>", "<h2>标题</h2>"),
        ("<form action=/x><input value=1>text</form>", "text"),
        ("<a href='http://a.cn' target=_blank>a</a>", '<a href="http://a.cn" rel="noopener nofollow">a</a>'),
        (
            "<a href='mailto:a@b.cn'>a</a><a href='tel:12345'>b</a>",
            '<a href="mailto:a@b.cn" rel="noopener nofollow">a</a>'
            '<a href="tel:12345" rel="noopener nofollow">b</a>',
        ),
        (
            "<a href='data:text/html,x'>a</a><a href=' java\nscript:x'>b</a>",
            '<a rel="noopener nofollow">a</a><a rel="noopener nofollow">b</a>',
        ),
        ("<td colspan=2>x", "x"),
        (
            "<table><tr><td colspan=2 onclick=x>1</table>",
            '<table><tbody><tr><td colspan="2">1</td></tr></tbody></table>',
        ),
        ("a<script>alert(1)</script>b<style>x{}</style>", "ab"),
        ("<p>unclosed <b>bold", "<p>unclosed <b>bold</b></p>"),
        ("<!-- hidden -->x", "x"),
    ],
)
def test_sanitise(markup: str, clean: str) -> None:
    assert sanitise(markup) == clean


def test_relative_links_need_a_base() -> None:
    assert sanitise("<a href='/x?a=1'>a</a>") == '<a rel="noopener nofollow">a</a>'
    assert 'href="https://sh.cn/x?a=1"' in sanitise(
        "<a href='/x?a=1'>a</a>", base="https://sh.cn/list/1.html"
    )
    assert sanitise("<a href='/x'>a</a>", base="javascript:1") == '<a rel="noopener nofollow">a</a>'


@pytest.mark.parametrize(
    "attack",
    [
        "<div>" * 100_000,
        "<b></div>" * 50_000,
        "<select>" + "<option>" * 50_000,
        "<svg>" + "<tr>" * 100_000,
        "&" * 500_000,
        "<" * 300_000,
        "<br" * 200_000,
        "<table>" * 50_000,
        "".join(f"<b lang=a{i}>" for i in range(250)) + "<p>x" * 10_000,
    ],
)
def test_hostile_nesting_costs_little(attack: str) -> None:
    started = time.process_time()
    once = sanitise(attack)
    to_text(attack)
    assert time.process_time() - started < 4  # without the guards: 13 to 80 seconds
    assert sanitise(once) == once


@pytest.mark.parametrize(("markup", "text"), [
    ("<p>中<b>文</b>&amp;</p><p>二</p>", "中文&\n二"),
    ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 2\n3"),
    ("a<br>b<hr/>c", "a\nb\nc"),
    ("<p> a \u3000 b </p>", "a b"),
    ("plain &lt; text", "plain < text"),
    ("<p>a<script>x</script><style>y</style></p>", "a"),
    ("", ""),
])  # fmt: skip
def test_to_text(markup: str, text: str) -> None:
    assert to_text(markup) == text


def test_plain_text_becomes_paragraphs() -> None:
    text = "## 第一章  总则 ##\n\n第一条 a<b\n第二条 &amp;\n\n\u3000\u3000末段\n### 三级"
    assert plain_to_html(text) == (
        "<h3>第一章  总则</h3>\n<p>第一条 a&lt;b<br>第二条 &amp;</p>\n<p>末段</p>\n<h4>三级</h4>"
    )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b", False),
        ("<某某>", False),
        ("<b>x</b>", True),
        ("x<br/>", True),
        ("<blah>", False),
        ("<P CLASS=x>", True),
    ],
)
def test_looks_like_html(text: str, html: bool) -> None:
    assert looks_like_html(text) is html


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("<em>公积金</em>提取", "公积金提取"),
        ("&lt;b&gt;x&lt;/b&gt;", "x"),
        ("A &amp;amp; B", "A & B"),
        ("PM2.5 < 35", "PM2.5 < 35"),
    ],
)
def test_strip_markup(title: str, plain: str) -> None:
    assert strip_markup(title) == plain


_SCRAPS = st.lists(
    st.sampled_from(
        [
            *("<p>", "</p>", "<b>", "</b>", "<i>", "</i>", "</a>", "<br>", "<div>", "</div>", "<table>"),
            *(
                "<a href='https://x.example/?a=1&b=2'>",
                "<tr>",
                "<td lang='a>b'>",
                "</td>",
                "</table>",
                "<ul>",
                "<li>",
            ),
            *("</ul>", "<pre>", "</pre>", "<h1>", "</h1>", "<span lang='zh\"'>", "</span>", "<q>", "</q>"),
            *("<hr>", "&lt;b&gt;", "&amp;amp;", "&nbsp;", "文字", " a ", "\n", "<", ">", "3 < 4", "</p"),
            *("<sub>2</sub>", "<ruby>", "<rt>", "<script>x</script>", "<dl><dt>", "<code>", "<ol start='3'>"),
            *("\r\n", "<blockquote>", "<s>", "<em>"),
        ]
    ),
    max_size=25,
)


@given(_SCRAPS)
def test_cleaned_html_is_read_alike_the_fast_way_and_the_thorough_way(scraps: list[str]) -> None:
    cleaned = sanitise("".join(scraps), base="https://x.example/")
    assert text_of(cleaned) == to_text(cleaned)


@given(_SCRAPS)
def test_cleaning_is_stable_also_where_the_second_look_is_spared(scraps: list[str]) -> None:
    cleaned = sanitise("".join(scraps), base="https://x.example/")
    assert sanitise(cleaned, base="https://x.example/") == cleaned
    if _is_plain(cleaned):
        assert _clean(cleaned, "https://x.example/") == cleaned
