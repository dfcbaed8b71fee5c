"""HTML lists as Chinese bureaux write them, and what comes instead of a list."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.parsers.html_list import parse_html_list
from feeds.intake.parsers.refusals import what_page
from feeds.intake.recipes import read_recipe
from feeds.intake.types import Parsed
from feeds.kernel.errors import BadInputError
from tests.unit.listfixture import expected, golden_names, read_golden

URL = "https://www.shili.example/zwgk/list.html"
FIELDS = {"title": "a@title|a", "url": "a@href", "published": "span"}


def read(body: bytes | str, **recipe: Any) -> Parsed:
    given = {"items": "li", "fields": FIELDS, **recipe}
    return parse_html_list(
        body if isinstance(body, bytes) else body.encode(), {}, URL, read_recipe("html", given)
    )


@pytest.mark.parametrize("name", golden_names("html"))
def test_golden(name: str) -> None:
    assert read_golden(name, parse_html_list) == expected(name)


def test_the_fgw_shape(real_data: Path) -> None:
    body = (real_data / "lists" / "shanghai_fgw_style.html").read_bytes()
    recipe = {"items": "ul.nowrapli li", "fields": {**FIELDS, "published": "span.time"}}
    parsed = parse_html_list(body, {}, URL, read_recipe("html", recipe))
    assert (len(parsed.entries), parsed.oddities, parsed.title) == (40, (), "政策文件")
    assert parsed.entries[0].fields == {
        "title": "关于印发《上海市国土空间近期实施规划（2026—2030年）》的通知",
        "url": "https://www.shanghai.gov.cn/zhengce/detail?businessId=15f956ae58a844ceb7caba8781940458&siteId=0032",
        "published": "2026-08-28",
    }
    assert not any("…" in entry.fields["title"] for entry in parsed.entries)
    assert parsed.entries[-1].fields["published"] == "2025-03-17"


def test_the_wsjkw_shape(real_data: Path) -> None:
    body = (real_data / "lists" / "shanghai_wsjkw_style.gb18030.html").read_bytes()
    recipe = {
        "items": ".uli16.nowrapli.list-date li",
        "fields": {"title": "a", "url": "a@href", "published": "span"},
    }
    parsed = parse_html_list(body, {}, "https://wsjkw.example/zcfg/", read_recipe("html", recipe))
    assert (len(parsed.entries), parsed.oddities) == (31, ())
    assert parsed.entries[0].fields == {
        "title": "关于印发《上海市商务楼宇综合评价指南（试行）》的通知",
        "url": "https://wsjkw.example/zcfg/0000.html",
        "published": "2025-03-12",
    }
    assert parsed.entries[-1].fields["url"] == "https://wsjkw.example/zcfg/0030.html"


def test_gb18030_that_says_utf_8_is_read() -> None:
    page = '<html><meta charset="utf-8"><li><a href="/1">关于镕基路更名的公告，请市民知悉</a></li></html>'
    parsed = read(page.encode("gb18030"))
    assert parsed.entries[0].fields["title"] == "关于镕基路更名的公告，请市民知悉"
    assert [odd.problem for odd in parsed.oddities] == ["wrong-encoding"]


@pytest.mark.parametrize(("expression", "text"), [
    ("a", "甲 乙"),
    ("a@title", "全文"),
    ("a@:html", "甲 <b>乙</b>"),
    ("a@:own", "甲"),
    ("a@:next", "2026-03-05"),
    ("b@:next", ""),
    (".", "甲 乙 2026-03-05 丙"),
    ("@data-id", "7"),
    ("i@class|a@TITLE", "全文"),
    ("p[lang|=zh]", "丙"),
])  # fmt: skip
def test_places(expression: str, text: str) -> None:
    link = '<a href=x title=" 全文 ">甲 <b>乙</b></a>'
    page = f"<ul><li data-id=7>{link} <!-- - --> 2026-03-05 <p lang=zh-CN>丙</p></ul>"
    fields = {"title": "a", "x_it": expression}
    assert read(page, fields=fields).entries[0].fields.get("x_it", "") == text


def test_links_follow_base() -> None:
    page = '<base href="/b/"><li><a href="1.html">a</a></li>'
    assert read(page).entries[0].fields["url"] == "https://www.shili.example/b/1.html"
    assert read(page, base="https://z.example/").entries[0].fields["url"] == "https://z.example/1.html"
    odd = '<base href="javascript:x"><li><a href="1.html">a</a></li>'
    assert read(odd).entries[0].fields["url"] == "https://www.shili.example/zwgk/1.html"


@pytest.mark.parametrize(("page", "words"), [
    ("", "an empty page"),
    ("<html><body><div id=app></div><script src=/app.js></script></body></html>", "a script would fill"),
    ("<title>412 Precondition Failed</title><h1>Precondition Failed</h1>", "a check that it is"),
    ("<noscript>Please enable JavaScript to continue</noscript><p>Please enable JavaScript</p>", "a check"),
    ("<html><script>var acw_sc__v2='1'</script></html>", "a check"),
    ("<p>请完成安全验证后继续访问</p>", "a check"),
    ("<title>用户登录</title><form><input type='password'></form>", "a login page (用户登录)"),
    ("<h1>403 Forbidden</h1>", "a refusal"),
    ("<p>抱歉，您访问的页面不存在</p>", "an error page"),
    ("<p>网站正在维护，请稍后再来</p>", "an error page"),
    ("<title>通知公告</title><div class=list><a href=1>改版了</a></div>", "a web page (通知公告)"),
])  # fmt: skip
def test_no_items_says_what_came_instead(page: str, words: str) -> None:
    parsed = read(page)
    assert parsed.entries == ()
    assert [(odd.problem, odd.field) for odd in parsed.oddities] == [("no-items", "items")]
    assert words in parsed.oddities[0].message


def test_a_notice_about_captchas_is_a_page() -> None:
    text = "关于防范验证码诈骗的公告。" * 300
    assert what_page(f"<title>公告</title><script>x</script><p>{text}</p>") == "a web page (公告)"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'[{"a": 1}]', "make it a source of kind json"),
        (b"<div>" * 100_000, "deeper"),
        (b"<p>" * 500_001, "500000 tags"),
    ],
)
def test_what_is_no_page(body: bytes, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read(body)


def test_a_huge_list_stays_quick() -> None:
    page = "<ul>" + "<li><a href=/1 title=t>a</a><span>2026-01-01</span></li>" * 20_000 + "</ul>"
    started = time.perf_counter()
    parsed = read(page)
    assert len(parsed.entries) == 5_000
    assert parsed.oddities[-1].problem == "too-many"
    assert time.perf_counter() - started < 10


@given(st.text(max_size=80) | st.lists(st.sampled_from(
    ["<li>", "</li>", "<a href=x>", "<a title='", "'>", "<ul>", "<!--", "-->", "<script>", "<base href=//>",
     "<li", "文"]
), max_size=15).map("".join))  # fmt: skip
def test_no_page_breaks_it(page: str) -> None:
    try:
        parsed = read(page)
    except BadInputError:
        return
    assert all(entry.fields.get("title") or entry.fields.get("url") for entry in parsed.entries)


def test_a_renamed_title_is_no_list_of_addresses() -> None:
    rows = "".join(f'<li><a href="/{n}"></a><b>第{n}号公告</b></li>' for n in range(5))
    with pytest.raises(BadInputError, match=r"most rows have no title .* \('a@title \| a'\)"):
        read(f"<ul>{rows}</ul>")
    few = '<li><a href="/1"></a></li><li><a href="/2"></a></li><li><a href="/3">第3号公告</a></li>'
    assert len(read(f"<ul>{few}</ul>").entries) == 3  # two are a slip
    assert len(read(f"<ul>{rows}</ul>", fields={"url": "a@href"}).entries) == 5  # none was promised


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            "<ul class=nav><li><a href=/a>首页</a></li></ul><ul class='newdesign wide x'>"
            + "".join(f"<li><span><a href=/{n}>第{n}号公告</a></span></li>" for n in range(40))
            + "</ul>",
            "the answer is a web page that has 40 `li` in `ul.newdesign.wide`; compare `items` with it.",
        ),
        (
            "<table id=list>"
            + "".join(f"<tr><td><a href=/{n}>甲</a></td></tr>" for n in range(4))
            + "</table>",
            "that has 4 `tr` in `table#list > tbody`;",
        ),
        ("<p>今天没有公告</p>", "the answer is a web page; compare `items` with it."),
        ("<title>404 Not Found</title><p>404</p>", "the answer is an error page (404 Not Found)."),
    ],
)
def test_a_page_without_the_items_says_what_it_has(page: str, said: str) -> None:
    [oddity] = read(page, items=".olddesign li").oddities
    assert oddity.problem == "no-items" and said in oddity.message
