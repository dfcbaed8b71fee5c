"""A resident's whole way in a real browser, and what only a browser can tell: keyboard, reflow, sizes.

Needs Chromium (Debian: ``apt install chromium``) and skips without it. The accessibility engine axe-core
is used where ``npm i --ignore-scripts axe-core`` was run in the project's folder.
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.web.app import create_app
from api.wiring import Services
from feeds.kernel.db import Database
from tests import webfixture
from tests.webfixture import corrected, draft, find, staff

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_filled = webfixture.filled
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)")


class Site:
    """A running server, its services, and two staff keys."""

    def __init__(self, services: Services, address: str, keys: tuple[str, str]) -> None:
        self.services, self.address, self.keys = services, address, keys


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, _filled: Path) -> Iterator[Site]:
    import uvicorn

    folder = tmp_path_factory.mktemp("site")
    shutil.copy(_filled, folder / "web.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = Database(f"sqlite:///{folder / 'web.db'}")
    made = webfixture.services(database, folder, base_url=f"http://127.0.0.1:{port}")
    (first, one), (_, two) = staff(made)
    corrected(made, first)
    made.desk.submit(draft(made, first).id, first)
    server = uvicorn.Server(uvicorn.Config(create_app(made), port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield Site(made, made.settings.base_url, (one, two))
    server.should_exit = True
    thread.join(10)
    database.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A tab whose every request stays with our server, and which may complain about nothing."""
    context = browser.new_context(
        locale="zh-CN", viewport={"width": 1280, "height": 900}, base_url=site.address
    )
    tab = context.new_page()
    complaints: list[str] = []
    tab.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security" in message.text else None,
    )
    tab.on(
        "request",
        lambda request: complaints.append(request.url) if not request.url.startswith(site.address) else None,
    )
    yield tab
    context.close()
    assert complaints == []


def join(page: Any) -> str:
    """Join as somebody whose parents live in a place under its old name; return the feed address."""
    page.goto("/")
    page.click(".hero .button")
    page.check("#role-citizen")
    page.fill("#place_0", "盐渚县")
    page.select_option("#label_0", "parents")
    page.check("#life-housing")
    page.click(".send button")
    assert page.text_content("h1") == "好了，这是您的公告"
    return str(page.input_value("#feedrss")).removesuffix(".rss")


def test_a_resident_joins_reads_says_so_and_leaves(page: Any, site: Site) -> None:
    feed = join(page)
    assert "禾渚区" in page.text_content(".resolved")
    assert page.locator(".pick").count() == 10
    page.click(".once .button")
    page.click(".send button")
    picks = page.locator(".pick")
    many = picks.count()
    assert many > 10 and all(picks.nth(n).locator(".reasons li").count() for n in range(3))
    unwanted = picks.first.get_attribute("id")
    page.locator("button[value=hide]").first.click()
    assert page.locator(f"#{unwanted}").count() == 0
    assert page.locator(".hidden li").count() == 1
    page.locator("button[value=like]").first.click()
    assert page.locator("button[aria-pressed=true]").count() == 1
    page.locator(".pick h2 a").first.click()
    assert page.url.endswith("?from=me") and "回到我的公告" in page.text_content("main")
    page.click(".crumbs a")
    page.locator(".mute summary").first.click()
    page.locator(".mute button").first.click()
    assert page.locator(".done").text_content().startswith("已屏蔽")
    page.click(".done button")
    assert page.locator(".done").text_content() == "已恢复。"
    page.goto("/me/settings")
    page.click("form[action='/me/personalise'] button")
    page.goto("/me")
    assert page.locator("button[value=like]").count() == 0
    assert page.goto(feed).status == 200
    page.goto("/me/erase")
    page.check("#sure")
    page.click("button.danger")
    assert page.text_content("h1") == "已全部删除"
    assert page.goto(feed).status == 404


def test_two_editors_release_a_notice(browser: Any, site: Site) -> None:
    pages = []
    for key in site.keys:
        tab = browser.new_context(locale="zh-CN", base_url=site.address).new_page()
        tab.goto("/editor/")
        tab.fill("#key", key)
        tab.click(".send button")
        pages.append(tab)
    first, second = pages
    first.goto("/editor/write")
    first.fill("#title", "柘南街道10月20日停水通知")
    first.fill("#body", "因管道检修停水。\n\n时间：9:00—17:00。")
    first.click("button[value=preview]")
    for box in first.locator(".suggest input").all():
        box.check()
    first.click("button[value=submit]")
    assert "已提交" in first.text_content(".done")
    first.click("button[value=approved]")
    assert "另一个人" in first.text_content(".error")
    second.goto(first.url.removesuffix("/move"))
    second.click("button[value=approved]")
    assert "已发布" in second.text_content(".done")
    second.click("text=看公众页面")
    assert "柘南街道10月20日停水通知" in second.text_content("h1")
    number = int(re.findall(r"\d+$", second.url)[0])
    assert site.services.notices.get(number).place == "sl0303"
    for tab in pages:
        tab.context.close()


PATHS = [
    "/",
    "/?role=aid",
    "/search?q=停水",
    "/join",
    "/about/feeds",
    "/about/privacy",
    "/me/enter",
    "/editor/enter",
    "/nix",
]


@pytest.mark.parametrize("width", [320, 640])
def test_nothing_needs_sideways_scrolling(page: Any, site: Site, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    price = find(site.services, "用水第一级价格")
    # 200 % of 640 pixels is what 320 at 100 % is; the largest text of our own comes on top.
    for path in [*PATHS, f"/notices/{price.id}"]:
        page.goto(path + ("&" if "?" in path else "?") + f"text={'m' if width == 320 else 'xl'}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_everything_to_press_is_large_enough(page: Any) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    small = """() => [...document.querySelectorAll(
        'button, .button, input:not([type=hidden]), select, summary, nav a, .tools a, .formats a')]
        .filter(e => e.checkVisibility() && !e.closest('.check'))
        .filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML.slice(0, 90))"""
    for path in PATHS:
        page.goto(path)
        assert page.evaluate(small) == [], path
    page.goto("/join")
    boxes = "() => [...document.querySelectorAll('.check')].map(e => e.getBoundingClientRect().height)"
    assert [height for height in page.evaluate(boxes) if 0 < height < 44] == []


def test_the_keyboard_reaches_the_skip_link_first_and_sees_where_it_is(page: Any) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.keyboard.press("Tab")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert style == "3px"
    page.goto("/join")
    page.focus("#role-citizen")
    page.keyboard.press("Space")
    assert page.is_checked("#role-citizen")


def test_the_consent_appears_with_what_needs_it(page: Any) -> None:
    page.goto("/join")
    assert not page.is_visible("#agree")
    page.check("#role-aid")
    assert page.is_visible("#agree")


@pytest.mark.parametrize(
    "look",
    [
        {},
        {"color_scheme": "dark"},
        {"forced_colors": "active"},
        {"contrast": "more"},
        {"viewport": {"width": 320, "height": 800}},
    ],
    ids=str,
)
@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_axe_finds_nothing(browser: Any, site: Site, look: dict[str, Any], locale: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed (npm i --ignore-scripts axe-core)")
    engine = AXE.read_text(encoding="utf-8")
    context = browser.new_context(locale=locale, base_url=site.address, **look)
    tab = context.new_page()
    price = find(site.services, "用水第一级价格")
    for path in [*PATHS, f"/notices/{price.id}"]:
        tab.goto(path)
        tab.evaluate(engine)
        result = tab.evaluate(
            "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
        )
        assert [(v["id"], v["nodes"][0]["html"]) for v in result["violations"]] == [], path
    context.close()
