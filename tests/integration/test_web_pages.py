"""What anybody can read: the portal, search, one notice in each state, help, and the form of every page."""

from __future__ import annotations

import itertools
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.web import noticeview
from api.web.wording import Words, choose_lang, words
from api.wiring import Services
from feeds.catalogue.notices import NoticeContent
from feeds.desk.editing import SYSTEM
from tests import webfixture
from tests.webfixture import NOW, corrected, draft, find, staff, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
WEB = Path(noticeview.__file__).parent


def test_the_portal_shows_latest_notices_channels_themes_and_feeds(client: TestClient) -> None:
    page = LexborHTMLParser(client.get("/").text)
    titles = [node.text() for node in page.css(".notice > :first-child a")]
    assert len(titles) == 20 and all("【示例】" in title for title in titles)
    assert [node.attributes["href"] for node in page.css('[aria-label="按身份看"] a')][1:3] == [
        "/?role=citizen",
        "/?role=investor",
    ]
    alternates = {
        node.attributes["type"]: node.attributes["href"] for node in page.css("link[rel=alternate]")
    }
    assert alternates == {
        "application/rss+xml": "/feeds/all.rss",
        "application/atom+xml": "/feeds/all.atom",
        "application/feed+json": "/feeds/all.json",
    }
    assert "这座城市是虚构的" in page.body.text()  # type: ignore[union-attr]


def test_a_list_goes_on_until_its_end_without_repeats(client: TestClient) -> None:
    seen: list[str] = []
    path: str | None = "/?in=all&theme=17"
    while path:
        page = LexborHTMLParser(client.get(path).text)
        seen += [str(node.attributes["href"]) for node in page.css(".notice > :first-child a")]
        following = page.css_first("a[rel=next]")
        path = str(following.attributes["href"]) if following else None
    assert len(seen) > 20
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    "query", ["role=citizen", "theme=0805", "place=sl03", "place=sl0302&in=all", "role=aid&theme=17"]
)
def test_filters_show_only_what_fits(made: Services, client: TestClient, query: str) -> None:
    page = LexborHTMLParser(client.get(f"/?{query}").text)
    numbers = [
        int(str(node.attributes["href"]).split("/")[-1]) for node in page.css(".notice > :first-child a")
    ]
    assert numbers
    wanted = dict(pair.split("=") for pair in query.split("&"))
    for notice in made.notices.many(numbers).values():
        for kind in {"role", "theme"} & set(wanted):
            assert wanted[kind] in notice.codes(kind)
        if "place" in wanted:
            places = {notice.place, *notice.codes("place")}
            assert any(p == wanted["place"] or wanted["place"] in made.city.ancestors(p) for p in places if p)


@pytest.mark.parametrize(
    "path",
    ["/?role=king", "/?theme=9999", "/?place=mars", "/notices/x", "/notices/999999", "/f/x", "/u/x", "/c/x"],
)
def test_what_does_not_exist_is_404_with_a_next_step(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "没有这一页" in answer.text and 'action="/search"' in answer.text
    answer = client.get(path, headers={"accept-language": "en"})
    assert "There is no such page" in answer.text


@pytest.mark.parametrize(
    "mark", ["x", "-", "1-", "99999999999999999999-1", "1-99999999999999999999999999999", "²-²"]
)
def test_a_damaged_mark_shows_the_top(client: TestClient, mark: str) -> None:
    assert client.get("/", params={"before": mark}).status_code in (200, 404)


def test_search_finds_and_keeps_what_was_typed(client: TestClient) -> None:
    page = client.get("/search", params={"q": '停水 <script>"'}).text
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "停水" in LexborHTMLParser(page).css_first(".notices").text()  # type: ignore[union-attr]
    assert "没有找到" in client.get("/search", params={"q": "zzzzzz"}).text


def test_language_is_asked_for_kept_or_taken_from_the_browser(made: Services) -> None:
    browser = visitor(made, "en-GB,en;q=0.9")
    assert '<html lang="en"' in browser.get("/").text
    answer = browser.get("/?lang=zh")
    assert '<html lang="zh-Hans"' in answer.text and answer.headers["content-language"] == "zh-Hans"
    assert '<html lang="zh-Hans"' in browser.get("/about/feeds").text  # the cookie keeps it
    assert 'data-text="l"' in browser.get("/?text=l").text
    assert 'data-text="l"' in browser.get("/join").text


def test_choosing_a_language_never_fails() -> None:
    assert choose_lang("", "", "") == "zh"
    assert choose_lang("", "", "fr, de;q=0.5") == "en"
    assert choose_lang("", "", "fr;q=1, zh-TW;q=0.9, en;q=0.8") == "zh"
    assert choose_lang("", "", "zh;q=0, en") == "en"
    assert choose_lang("de", "en", "zh") == "en"
    assert choose_lang("", "", "en;q=x, ;;,zh;q=0.1") == "zh"


def test_a_notice_says_who_when_until_when_and_why_each_tag(made: Services, client: TestClient) -> None:
    notice = find(made, "高新技术企业认定奖励申报工作的通知")
    page = LexborHTMLParser(client.get(f"/notices/{notice.id}").text)
    table = {row.css_first("dt").text(): row.css_first("dd").text() for row in page.css(".facts div")}  # type: ignore[union-attr]
    assert table["截止时间"] == "2026年10月30日 17:00"
    assert table["咨询电话"] == "0000-5550-4406"
    assert "还剩18天" in page.css_first(".key").text()  # type: ignore[union-attr]
    causes = [node.text() for node in page.css(".why dd")]
    assert len(causes) == len(notice.tags) and all("@" not in cause for cause in causes)
    assert any("发文机关是" in cause for cause in causes) and any("由编辑选定" in cause for cause in causes)


def test_language_versions_link_both_ways(made: Services, client: TestClient) -> None:
    chinese, english = (
        find(made, "高新技术企业认定奖励申报工作的通知"),
        find(made, "High-tech enterprise award 2026"),
    )
    assert f'href="/notices/{english.id}"' in client.get(f"/notices/{chinese.id}").text
    assert f'href="/notices/{chinese.id}"' in client.get(f"/notices/{english.id}").text


def test_drafts_and_unknown_ones_answer_alike_and_purged_ones_are_gone(
    made: Services, client: TestClient
) -> None:
    (editor, _), (other, _) = staff(made)
    waiting = draft(made, editor)
    one, two = client.get(f"/notices/{waiting.id}"), client.get("/notices/999999")
    assert (one.status_code, two.status_code) == (404, 404)
    assert re.sub(r"\d{16}\.\S+", "", one.text) == re.sub(r"\d{16}\.\S+", "", two.text).replace(
        "999999", str(waiting.id)
    )
    gone = made.desk.purge(find(made, "见义勇为").id, "公示期满", other)
    answer = client.get(f"/notices/{gone.id}")
    assert answer.status_code == 410 and "见义勇为" not in answer.text
    assert client.get(f"/api/v1/notices/{gone.id}").status_code == 410


def test_a_major_correction_shows_the_difference_and_a_minor_one_does_not(
    made: Services, client: TestClient
) -> None:
    (editor, _), _ = staff(made)
    notice = corrected(made, editor)
    page = LexborHTMLParser(client.get(f"/notices/{notice.id}").text)
    assert [node.text() for node in page.css("del")] == ["删去：3.45"] * 2
    assert [node.text() for node in page.css("ins")] == ["改为：3.54"] * 2
    assert "此前误为3.45元" in page.css_first(".banner").text()  # type: ignore[union-attr]
    other = find(made, "停水通告")
    content = NoticeContent.from_dict(other.content.to_dict() | {"phone": "0000-5550-0000"})
    made.desk.correct(other.id, content, major=False, note="", actor=editor)
    assert "<del>" not in client.get(f"/notices/{other.id}").text


def test_a_withdrawn_notice_stays_readable_and_says_why(made: Services, client: TestClient) -> None:
    notice = find(made, "道路命名")
    made.desk.withdraw(notice.id, "一条道路名称有误<b>", SYSTEM)
    answer = client.get(f"/notices/{notice.id}")
    assert answer.status_code == 200
    assert "这条公告已撤回" in answer.text and "一条道路名称有误&lt;b&gt;" in answer.text


def test_an_emergency_stands_above_the_portal_while_it_is_in_force(
    made: Services, client: TestClient
) -> None:
    assert 'class="emergency"' not in client.get("/").text  # the typhoon of 6 October is over
    content = NoticeContent(title="【示例】龙卷风红色预警", body="<p>立即避险</p>", kind="warning")
    notice = made.desk.write(content, tags=[], actor=SYSTEM, priority="emergency")
    made.notices.set_state(notice.id, "released", at=NOW)
    page = LexborHTMLParser(client.get("/").text)
    assert "龙卷风红色预警" in page.css_first(".emergency").text()  # type: ignore[union-attr]
    made.clock.advance(timedelta(hours=25))  # type: ignore[attr-defined]
    assert 'class="emergency"' not in client.get("/").text


def test_a_hostile_body_does_nothing(made: Services, client: TestClient) -> None:
    body = '<p onclick="x()">正文<img src="https://evil.example/t.gif"><script>x()</script>'
    body += '<a href="javascript:x()">a</a></p>'
    notice = made.desk.write(
        NoticeContent(title="【示例】<script>x()</script>", body=body), tags=[], actor=SYSTEM
    )
    made.notices.set_state(notice.id, "released", at=NOW)
    page = client.get(f"/notices/{notice.id}").text
    for bad in ("<script", "onclick", "evil.example", "javascript:"):
        assert bad not in page


def test_a_quiet_link_asks_before_it_tells(made: Services, client: TestClient) -> None:
    notice = find(made, "临时救助工作")
    answer = client.get(f"/notices/{notice.id}?ask=1")
    assert "救助" not in answer.text and "您关注的事项有更新" in answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    assert "临时救助" in client.get(f"/notices/{notice.id}").text


def test_probes_files_and_robots(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    sheet = client.get("/static/site.css?v=1")
    assert sheet.headers["cache-control"].endswith("immutable") and len(sheet.content) <= 20 * 1024
    assert client.get("/static/../app.py").status_code == 404
    assert "Disallow: /f/" in client.get("/robots.txt").text


PAGES = [
    "/",
    "/?role=aid",
    "/?lang=en",
    "/search?q=停水",
    "/notices/1",
    "/notices/9",
    "/join",
    "/about/feeds",
    "/about/privacy",
    "/me/enter",
    "/captured",
    "/nix",
    "/about/feeds?lang=en",
    "/about/privacy?lang=en",
    "/join?lang=en",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_its_bones(client: TestClient, path: str) -> None:
    check_bones(client.get(path).text)


def check_bones(html: str) -> None:
    """What a screen reader and a keyboard need, as far as it can be read from the source."""
    page = LexborHTMLParser(html)
    root = page.css_first("html")
    assert root is not None and root.attributes["lang"] in ("zh-Hans", "en")
    assert len(page.css("h1")) == 1 and len(page.css("main")) == 1
    assert page.css_first("title").text().startswith("【示例】")  # type: ignore[union-attr]
    assert page.css_first("a.skip").attributes["href"] == "#main"  # type: ignore[union-attr]
    levels = [int(str(node.tag)[1]) for node in page.css("h1, h2, h3, h4, h5, h6") if node.parent]
    body = [level for level in levels if level]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(body)), body
    ids = [node.attributes["id"] for node in page.css("[id]")]
    assert len(ids) == len(set(ids))
    labelled = {node.attributes.get("for") for node in page.css("label")}
    for field in page.css("input:not([type=hidden]), select, textarea"):
        assert field.attributes.get("id") in labelled, field.html
    for described in page.css("[aria-describedby], [aria-labelledby]"):
        for name in ("aria-describedby", "aria-labelledby"):
            for part in str(described.attributes.get(name) or "").split():
                assert part in ids, part
    for node in page.css("button, a"):
        assert node.text().strip() or node.attributes.get("aria-label"), node.html
    assert not page.css("[style], [onclick], script, img:not([alt])")
    for node in page.css("form[method=post]"):
        assert node.css_first("input[name=_form]") is not None


def _keys(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _keys(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            found[prefix + key] = value
    return found


def test_both_languages_say_the_same_things() -> None:
    zh, en = (
        _keys(tomllib.loads((WEB / "locale" / f"{lang}.toml").read_text(encoding="utf-8")))
        for lang in ("zh", "en")
    )
    assert set(zh) == set(en)
    for key, text in zh.items():
        named = set(re.findall(r"{(\w+)}", text)) - {"n"}
        assert named == set(re.findall(r"{(\w+)}", en[key])) - {"n"}, key
        assert text.strip() and en[key].strip()


def test_every_sentence_is_used_and_every_used_one_exists() -> None:
    sources = [*(WEB / "templates").rglob("*.html"), *WEB.rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    used = set(re.findall(r"""\bt\("([\w.]+)"\s*[,)]""", text)) | set(
        re.findall(r"""words\("([\w.]+)"\s*[,)]""", text)
    )
    used |= set(re.findall(r"""\bt\('([\w.]+)'\s*[,)]""", text)) | set(
        re.findall(r"""Problem\(\s*"([\w.]+)"\s*[,)]""", text)
    )
    have = set(words("zh").entries)
    plain = {re.sub(r"\.(one|other)$", "", key) for key in have}
    assert used - plain - have == set()
    built = tuple(set(re.findall(r"""["']([a-z]+(?:\.[a-z0-9_]+)*[._])["'{]""", text)))
    unused = {key for key in plain - used if not key.startswith(built) and f'"{key}"' not in text}
    assert unused <= {"site.comma"}, unused


def test_desk_refusals_are_translated_or_shown_as_they_are() -> None:
    chinese = words("zh")
    assert "另一个人" in chinese.explain(
        ValueError("You wrote or submitted this notice; a second person must approve it.")
    )
    assert "（editor）" in chinese.explain(
        ValueError("Your account may not approve notices; ask for the role `editor`.")
    )
    assert chinese.explain(ValueError("Something new.")) == "Something new."
    assert Words("en", {"a": {"one": "1 thing", "other": "{n} things"}})("a", n=2) == "2 things"


@pytest.mark.parametrize(
    ("old", "new", "gone", "came"),
    [
        ("每立方米3.45元", "每立方米3.54元", ["3.45"], ["3.54"]),
        ("同样", "同样", [], []),
        ("", "新", [], ["新"]),
        ("10月9日截止", "10月12日截止", ["9"], ["12"]),
        ("the fee is 10 yuan", "the fee was 12 yuan", ["is 10"], ["was 12"]),
    ],
)
def test_comparing_names_what_went_and_what_came(
    old: str, new: str, gone: list[str], came: list[str]
) -> None:
    pieces = noticeview.compare(old, new)
    assert [piece.text for piece in pieces if piece.kind == "gone"] == gone
    assert [piece.text for piece in pieces if piece.kind == "new"] == came
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == new
