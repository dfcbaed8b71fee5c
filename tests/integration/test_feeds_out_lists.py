"""OPML lists of feeds, and the pages that lead to feeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.feed_asgi import FeedPath
from api.feed_lists import own_list
from api.jobs.joining import Joined, join
from api.web.app import create_app
from api.wiring import Services
from feeds.intake.opml import read_opml
from profiles.types import FollowedPlace, Profile
from tests import webfixture
from tests.webfixture import BASE, NOW

_filled, made = webfixture.filled, webfixture.made


@pytest.fixture
def browser(made: Services) -> TestClient:
    return TestClient(FeedPath(made, create_app(made)), base_url=BASE)


@pytest.fixture
def joined(made: Services) -> Joined:
    wish = Profile(
        id=0,
        created_at=NOW,
        roles=("aid", "enterprise"),
        places=(FollowedPlace("sl01", "parents"),),
        interests=("theme:0402", "theme:1706", "word:高新 & 奖励", "life:graduation"),
    )
    return join(made, wish)


def test_every_public_feed_is_in_the_citys_list_and_answers(browser: TestClient, made: Services) -> None:
    answer = browser.get("/feeds.opml", headers={"accept-language": "zh"})
    assert answer.headers["content-type"] == "text/x-opml; charset=utf-8"
    listed = read_opml(answer.content)
    assert not listed.oddities
    assert {one.url for one in listed.outlines} >= {
        f"{BASE}/feeds/all.atom",
        f"{BASE}/feeds/role/citizen.atom",
    }
    assert all(made.city.sample_mark in one.title for one in listed.outlines)
    for one in listed.outlines[:: max(1, len(listed.outlines) // 8)]:
        assert browser.get(one.url).status_code == 200


def test_ones_own_list_names_places_themes_and_searches_but_nothing_sensitive(
    made: Services, joined: Joined, browser: TestClient
) -> None:
    profile = made.profiles.get(joined.profile.id)
    listed = read_opml(own_list(made, profile, "zh-Hans"))
    assert {one.url.removeprefix(BASE) for one in listed.outlines} == {
        "/feeds/all.atom",
        "/feeds/alerts.atom",
        "/feeds/place/sl01.atom",
        "/feeds/theme/0402.atom",
        "/feeds/search.atom?q=%E9%AB%98%E6%96%B0+%26+%E5%A5%96%E5%8A%B1",
    }
    bare = read_opml(own_list(made, replace(profile, places=(), interests=()), "zh-Hans"))
    assert [one.url.removeprefix(BASE) for one in bare.outlines] == ["/feeds/all.atom", "/feeds/alerts.atom"]
    text = own_list(made, profile, "zh-Hans").decode()
    assert "role" not in text and "1706" not in text and joined.feed_token not in text
    assert browser.get("/me/feeds.opml", follow_redirects=False).status_code in (303, 401, 403)


def test_searches_that_mean_something_sensitive_or_are_of_somebody_discreet_are_left_out(
    made: Services, joined: Joined
) -> None:
    profile = made.profiles.get(joined.profile.id)
    quiet = next(one for one in made.city.themes.values() if one.sensitive)
    said = ("word:公园", f"word:{quiet.label.zh}", f"word:{quiet.label.en.upper()}", "word:领取临时救助")
    searches = [
        one.url for one in read_opml(own_list(made, replace(profile, interests=said), "zh-Hans")).outlines
        if "/feeds/search" in one.url
    ]  # fmt: skip
    assert searches == [f"{BASE}/feeds/search.atom?q=%E5%85%AC%E5%9B%AD"]
    discreet = own_list(made, replace(profile, interests=said, discreet=True), "zh-Hans").decode()
    assert "/feeds/search" not in discreet and "/feeds/place/sl01" in discreet


def test_a_personal_list_needs_the_token_and_names_nothing_else(browser: TestClient, joined: Joined) -> None:
    answer = browser.get(f"/f/{joined.feed_token}.opml")
    [one] = read_opml(answer.content).outlines
    assert one.url == f"{BASE}/f/{joined.feed_token}.atom"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert browser.get("/f/aaaaaaaaaaaaaaaaaaaaaaaa.opml").status_code == 404
    assert browser.get(one.url).status_code == 200


def test_pages_lead_to_feeds(browser: TestClient, joined: Joined) -> None:
    for page, least in ((f"/f/{joined.feed_token}", 3), ("/about/feeds", 3), ("/search?q=纳税", 1), ("/", 3)):
        answer = browser.get(page, headers={"accept": "text/html"})
        links = LexborHTMLParser(answer.text).css(
            'link[rel="alternate"][type$="xml"], link[rel="alternate"][type$="json"]'
        )
        assert len(links) >= least, page
        for link in links:
            found = browser.get(str(link.attributes["href"]))
            assert found.status_code == 200
            assert found.headers["content-type"].startswith(str(link.attributes["type"]))


def test_the_style_sheet_of_feeds_is_there(browser: TestClient) -> None:
    answer = browser.get("/static/feed.css")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")
    assert "@namespace atom" in answer.text
