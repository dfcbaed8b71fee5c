"""The open interface: what it takes, gives and refuses; and the demo's mailbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.jobs import joining
from api.wiring import Services
from delivery.channels.capture import CaptureChannel
from delivery.types import MailMessage, SmsMessage
from profiles.types import Profile
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, draft, services, shelve, staff, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
API = "/api/v1"


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.fixture
def joined(client: TestClient) -> dict[str, Any]:
    wish = {
        "roles": ["citizen"],
        "places": [{"place": "汀埠区", "label": "home"}],
        "interests": ["theme:1301"],
        "pace": 4,
    }
    answer = client.post(f"{API}/profiles", json=wish)
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def test_openapi_describes_only_the_interface(client: TestClient) -> None:
    described = client.get(f"{API}/openapi.json").json()
    assert set(described["paths"]) == {
        f"{API}{path}"
        for path in (
            "/notices",
            "/notices/{notice_id}",
            "/vocabulary",
            "/profiles",
            "/profile",
            "/profile/picks",
            "/profile/feedback",
            "/profile/feedback/{notice_id}",
            "/profile/taste",
            "/profile/taste/{tag}",
            "/profile/model",
            "/profile/reset",
            "/profile/subscriptions",
            "/profile/subscriptions/{channel}",
            "/profile/subscriptions/{channel}/rest",
        )
    }
    # Clients are generated from these names: a function that is renamed breaks them.
    names = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
    assert sorted(name.partition("_api_v1")[0] for name in names) == [
        "create_profile", "delete_feedback", "delete_profile", "delete_rest", "delete_taste",
        "get_model", "get_notice", "get_picks", "get_profile", "get_subscriptions", "get_taste",
        "list_notices", "post_feedback", "post_reset", "put_profile", "put_rest",
        "put_subscription", "put_taste", "vocabulary",
    ]  # fmt: skip
    assert described["paths"][f"{API}/profile"]["get"]["security"] == [{"manageSecret": []}]
    assert described["servers"] == [{"url": "http://testserver"}]
    assert client.get("/docs").status_code == 404 and client.get("/openapi.json").status_code == 404


def test_notices_are_listed_page_by_page(client: TestClient) -> None:
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 50, "lang": "en"}
    while True:
        page = client.get(f"{API}/notices", params=params).json()
        seen += [item["id"] for item in page["notices"]]
        assert all(item["lang"] == "en" and item["body_html"] is None for item in page["notices"])
        if page["next"] is None:
            break
        params["before"] = page["next"]
    assert len(seen) == len(set(seen)) > 10
    one = client.get(f"{API}/notices/{seen[0]}").json()
    assert one["body_html"] and one["url"] == f"http://testserver/notices/{seen[0]}"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"theme": "9999"}, None),
        ({"before": "x"}, None),
    ],
)
def test_a_query_that_does_not_fit_is_one_sentence(
    client: TestClient, params: dict[str, Any], field: str | None
) -> None:
    answer = client.get(f"{API}/notices", params=params)
    assert answer.status_code == 422
    assert answer.json()["error"].endswith(".") and answer.json().get("field") == field


def test_drafts_are_not_in_the_interface(made: Services, client: TestClient) -> None:
    (editor, _), _ = staff(made)
    answer = client.get(f"{API}/notices/{draft(made, editor).id}")
    assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing here."})


def test_a_profile_is_made_read_changed_and_erased(
    made: Services, client: TestClient, joined: dict[str, Any]
) -> None:
    key = bearer(joined["manage_secret"])
    assert joined["feed_url"] == f"http://testserver/f/{joined['feed_token']}.atom"
    assert joined["profile"]["places"] == [{"code": "sl01", "label": "home"}]  # a former name
    assert client.get(f"{API}/profile", headers=key).json() == joined["profile"]
    changed = client.put(
        f"{API}/profile", headers=key, json={"roles": ["tourist"], "personalised": False}
    ).json()
    assert (changed["roles"], changed["personalised"], changed["places"]) == (["tourist"], False, [])
    assert client.delete(f"{API}/profile", headers=key).status_code == 204
    assert client.get(f"{API}/profile", headers=key).status_code == 401


def test_picks_come_with_reasons_and_take_feedback(
    made: Services, client: TestClient, joined: dict[str, Any]
) -> None:
    key = bearer(joined["manage_secret"])
    profile = made.profiles.by_secret(joined["manage_secret"])
    assert profile is not None
    shelve(made, profile)
    picks = client.get(f"{API}/profile/picks", headers=key, params={"lang": "en"}).json()["picks"]
    assert picks and all(pick["reasons"] for pick in picks)
    answer = client.post(
        f"{API}/profile/feedback", headers=key, json={"notice_id": picks[1]["notice_id"], "kind": "like"}
    )
    assert answer.json() == {"kept": True}
    assert [(r.kind, r.position) for r in made.feedback.of(profile.id)] == [("like", 2)]
    assert (
        client.post(
            f"{API}/profile/feedback", headers=key, json={"notice_id": 10**9, "kind": "like"}
        ).status_code
        == 422
    )
    client.put(f"{API}/profile", headers=key, json={"personalised": False})
    answer = client.post(
        f"{API}/profile/feedback", headers=key, json={"notice_id": picks[1]["notice_id"], "kind": "hide"}
    )
    assert answer.json() == {"kept": False}


@pytest.mark.parametrize(
    ("wish", "part"),
    [
        ({"roles": ["citizen"], "admin": True}, "admin"),
        ({"pace": 11}, "pace"),
        ({"pace": 1}, "pace"),
        ({"languages": []}, "languages"),
        ({"roles": ["king"]}, "king"),
        ({"interests": ["theme:9999"]}, "theme:9999"),
        ({"places": [{"place": "火星区"}]}, "火星区"),
        ({"places": [{"place": "sl"}] * 6}, "places"),
        ({"roles": ["aid"]}, "agree_sensitive"),
        ({"email": "nobody"}, "e-mail"),
        ({"phone": "12"}, "phone"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    made: Services, client: TestClient, wish: dict[str, Any], part: str
) -> None:
    answer = client.post(f"{API}/profiles", json=wish)
    assert answer.status_code == 422
    said = answer.json()
    assert part in said["error"] + str(said.get("field"))
    assert made.profiles.count() == 0


def test_only_json_is_taken_so_that_no_form_of_another_site_fits(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post(f"{API}/profiles", content=b"{}", headers={"content-type": kind})
        assert (answer.status_code, answer.json()) == (415, {"error": "Send the body as application/json."})
    assert (
        client.post(f"{API}/profiles", content=b"{", headers={"content-type": "application/json"}).status_code
        == 422
    )


def test_a_cookie_is_no_key_to_the_interface(
    made: Services, client: TestClient, joined: dict[str, Any]
) -> None:
    webfixture.submit(client, f"/me/enter/{joined['manage_secret']}", "/me/enter")
    assert client.get("/me").status_code == 200
    answer = client.get(f"{API}/profile")
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    for scheme in ("Basic x", "Bearer", "Bearer ", "bearer wrong", joined["manage_secret"]):
        assert client.get(f"{API}/profile", headers={"authorization": scheme}).status_code == 401


def test_the_vocabulary_names_everything_a_profile_may_hold(made: Services, client: TestClient) -> None:
    words = client.get(f"{API}/vocabulary").json()
    assert [item["code"] for item in words["roles"]] == list(made.city.roles)
    assert len(words["themes"]) == len(made.city.themes) and words["city"]["code"] == "shili"
    assert {item["code"] for item in words["roles"] if item["sensitive"]} == {"aid"}


def capture(made: Services) -> None:
    channel = CaptureChannel(made.settings.captured)
    html = '<p style="color:red">正文</p><script>alert(1)</script><img src="https://evil.example/x.gif">'
    channel.send(
        MailMessage(
            to="lin@shili.example",
            subject="【示例】今天3条",
            text="今天有3条公告。",
            html=html,
            message_id="<m1@shili.example>",
            sender="notices@shili.example",
            date=datetime(2026, 10, 12, tzinfo=UTC),
        )
    )
    channel.send(SmsMessage("+8613800000001", "t", {"n": "3"}, "【示例市公告】【示例】今天有3条", 1, "s1"))


def test_the_mailbox_shows_what_would_have_been_sent(made: Services, client: TestClient) -> None:
    assert "还没有" in client.get("/captured").text
    capture(made)
    page = client.get("/captured").text
    check_bones(page)
    assert "【示例】今天3条" in page and "今天有3条" in page and "计1条" in page
    [mail] = (made.settings.captured / "email").iterdir()
    one = client.get(f"/captured/email/{mail.name}")
    check_bones(one.text)
    assert "frame-src 'self'" in one.headers["content-security-policy"]
    html = client.get(f"/captured/email/{mail.name}/html")
    policy = html.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "sandbox" in policy and "script-src" not in policy
    assert "allow-scripts" not in policy and "img-src" not in policy
    assert client.get(f"/captured/email/{mail.name}/source").headers["content-type"].startswith("text/plain")
    for name in ("..%2f..%2fweb.db", "../web.db", "x.eml", ".hidden.eml"):
        assert client.get(f"/captured/email/{name}").status_code == 404


def test_there_is_no_mailbox_outside_the_demo(made: Services, tmp_path: Any) -> None:
    capture(made)
    real = visitor(services(made.database, tmp_path, demo=False))
    assert real.get("/captured").status_code == 404
    assert "/captured" not in real.get("/").text


def test_joining_is_limited_for_each_address(made: Services) -> None:
    browser = visitor(made)
    made_one = browser.post(f"{API}/profiles", json={})
    assert made_one.status_code == 201
    limit = browser.app.state.limits["join"]  # type: ignore[attr-defined]
    while limit.allows("testclient"):
        pass
    answer = browser.post(f"{API}/profiles", json={})
    assert answer.status_code == 429 and "ten minutes" in answer.json()["error"]


def test_a_feed_token_is_no_manage_secret(made: Services, client: TestClient) -> None:
    joined = joining.join(made, Profile(0, NOW))
    assert client.get(f"{API}/profile", headers=bearer(joined.feed_token)).status_code == 401
    assert client.get(f"/f/{joined.manage_secret}").status_code == 404
