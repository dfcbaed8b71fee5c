"""The settings page and the open interface on when messages come; in both languages."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from api.jobs import joining
from api.wiring import Services
from profiles.types import FollowedPlace, Profile
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    wish = Profile(0, NOW, roles=("citizen",), places=(FollowedPlace("sl03", "parents"),))
    return joining.join(made, wish, email="lin@shili.example", verified=True)


@pytest.fixture
def me(client: TestClient, joined: joining.Joined) -> TestClient:
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    return client


def test_a_rhythm_is_chosen_and_said_back(made: Services, me: TestClient, joined: joining.Joined) -> None:
    page = me.get("/me/settings").text
    check_bones(page)
    assert "每天 08:00 发送。" in page
    weekly = {"frequency": "weekly", "weekday": "4", "hour": "18", "workdays": "1"}
    answer = submit(me, "/me/settings", "/me/messages", **weekly)
    assert answer.headers["location"] == "/me/settings?done=started"
    live = made.subscriptions.live(joined.profile.id, "email")
    assert live is not None
    assert (live.frequency, live.weekday, live.local_hour, live.workdays_only) == ("weekly", 4, 18, True)
    assert "每周五 18:00 发送。遇节假日" in me.get("/me/settings").text
    submit(me, "/me/settings", "/me/messages", frequency="immediate")
    assert "有新内容就发。" in me.get("/me/settings").text
    for wrong in ({"frequency": "hourly"}, {"weekday": "9"}, {"hour": "3"}):
        assert submit(me, "/me/settings", "/me/messages", **wrong).status_code == 422


def test_a_rest_is_set_said_and_ended(made: Services, me: TestClient, joined: joining.Joined) -> None:
    days = {"first": "2026-10-20", "last": "2026-10-25", "keeps": "0"}
    assert submit(me, "/me/settings", "/me/rest", **days).headers["location"].endswith("rests")
    page = me.get("/me/settings").text
    check_bones(page)
    assert "不再补发" in page
    live = made.subscriptions.live(joined.profile.id, "email")
    assert live is not None
    assert live.paused_from is not None
    assert (live.paused_until - live.paused_from).days == 6  # type: ignore[operator]
    assert submit(me, "/me/settings", "/me/rest", end="1").headers["location"].endswith("awake")
    assert "不再补发" not in me.get("/me/settings").text
    for wrong in (
        {"first": "someday"},
        {"first": "2026-10-20", "last": "2026-10-19"},
        {"last": "2026-10-01"},
    ):
        answer = submit(me, "/me/settings", "/me/rest", **wrong)
        assert answer.status_code == 422
        assert "日期不对" in answer.text
    assert submit(me, "/me/settings", "/me/rest", channel="sms").status_code == 422


def test_the_page_says_why_nothing_came_and_lists_every_channel_that_is_on(
    made: Services, me: TestClient, joined: joining.Joined
) -> None:
    joining.subscribe(made, joined.profile, "webhook", 9)
    page = me.get("/me/settings").text
    assert "还没到第一次发送的时间" in page
    assert "程序接口" in page
    assert submit(me, "/me/settings", "/me/rhythm", frequency="immediate").status_code == 303
    live = made.subscriptions.live(joined.profile.id, "webhook")
    assert live is not None
    assert live.frequency == "immediate"


def test_the_page_is_whole_in_english(made: Services, joined: joining.Joined) -> None:
    with visitor(made, "en") as browser:
        submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
        page = browser.get("/me/settings").text
    check_bones(page)
    assert "Sent daily at 08:00." in page
    assert "The first one is not due yet." in page
    with visitor(made, "en") as browser:
        submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
        assert "The first one is not due yet." in browser.get("/me").text
    assert "Pause for some days" in page


def test_the_open_interface_gives_and_takes_the_same(
    made: Services, client: TestClient, joined: joining.Joined
) -> None:
    key = {"authorization": f"Bearer {joined.manage_secret}"}
    path = "/api/v1/profile/subscriptions"
    [mail] = client.get(path, headers=key).json()["subscriptions"]
    assert (mail["channel"], mail["frequency"], mail["last_result"]) == ("email", "daily", "not_yet")
    wanted = {"frequency": "weekly", "hour": 18, "weekday": 4}
    assert client.put(f"{path}/email", json=wanted, headers=key).json()["weekday"] == 4
    rests = client.put(f"{path}/email/rest", json={"first": "2026-10-12"}, headers=key).json()
    assert rests["last_result"] == "resting_open"
    assert client.delete(f"{path}/email/rest", headers=key).status_code == 204
    assert client.put(f"{path}/sms", json=wanted, headers=key).status_code == 404
    assert client.put(f"{path}/email", json={"hour": 23}, headers=key).status_code == 422
    assert client.get(path).status_code == 401


def test_the_first_page_says_when_the_next_message_comes(made: Services, me: TestClient) -> None:
    page = me.get("/me").text
    check_bones(page)
    assert "还没到第一次发送的时间" in page
    assert 'href="/me/settings">更改发送时间' in page
    joining.stop_channel(made, made.profiles.get(1).id, "email")
    assert "更改发送时间" not in me.get("/me").text
