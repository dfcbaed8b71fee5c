"""Who may do what: declarations, cross-site requests, cookies, hosts, headers, limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.jobs import joining
from api.web.access import Access, rule_of
from api.web.app import create_app
from api.web.security import MAX_BODY, Limiter, Signer
from api.wiring import Services
from profiles.types import Profile
from tests import webfixture
from tests.webfixture import NOW, fields, services, staff, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client

UNSAFE = {"POST", "PUT", "DELETE", "PATCH"}
WISH = Profile(0, NOW, roles=("citizen",))


def routes(app: Any) -> list[Any]:
    """Every route of the application, those inside routers and mounts too."""
    found, waiting = [], list(app.routes)
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "routes", None)
        if inner:
            waiting.extend(inner)
        elif getattr(route, "endpoint", None) is not None:
            found.append(route)
        else:
            # Newer FastAPI keeps included routers whole; their routes are what counts.
            waiting.extend(route.effective_candidates())
    return found


def test_every_route_says_who_may_call_it(made: Services) -> None:
    found = routes(create_app(made))
    undeclared = [route.path for route in found if rule_of(route.endpoint) is None]
    assert undeclared == []
    assert len(found) > 40


def test_staff_and_demo_pages_do_not_exist_without_staff_and_demo(made: Services, tmp_path: Any) -> None:
    real = services(made.database, tmp_path, demo=False)
    browser = visitor(real)
    for route in routes(create_app(real)):
        rule = rule_of(route.endpoint)
        assert rule is not None
        if rule.who in (Access.STAFF, Access.DEMO) or rule.hidden:
            path = route.path.replace("{notice_id}", "1").replace("{name}", "a.eml")
            for method in route.methods:
                assert browser.request(method, path).status_code == 404, (method, path)


def test_manage_and_staff_pages_ask_strangers_to_enter(made: Services) -> None:
    staff(made)
    browser = visitor(made)
    for route in routes(create_app(made)):
        rule = rule_of(route.endpoint)
        assert rule is not None
        path = route.path.replace("{notice_id}", "1")
        for method in route.methods:
            if rule.who is Access.MANAGE and rule.bearer:
                assert browser.request(method, path, json={}).status_code == 401, (method, path)
            elif rule.who in (Access.MANAGE, Access.STAFF) and method == "GET":
                answer = browser.get(path)
                assert (answer.status_code, answer.headers["location"]) in (
                    (303, "/me/enter"),
                    (303, "/editor/enter"),
                ), path


def test_no_unsafe_page_works_without_the_form_it_belongs_to(made: Services) -> None:
    staff(made)
    browser = visitor(made)
    for route in routes(create_app(made)):
        rule = rule_of(route.endpoint)
        assert rule is not None
        for method in UNSAFE & route.methods:
            if not rule.bearer and not rule.foreign:
                path = route.path.replace("{notice_id}", "1")
                assert browser.request(method, path).status_code == 403, (method, path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_form_of_another_site_is_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    form = fields(client.get("/join").text, "/join")
    assert client.post("/join", data=form, headers=headers).status_code == status


def test_a_form_token_belongs_to_one_session_and_ends(made: Services, client: TestClient) -> None:
    joined = joining.join(made, WISH)
    form = fields(client.get("/join").text, "/join")
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    assert client.post("/me/forget", data=form).status_code == 403  # from before entering
    old = fields(client.get("/me/settings").text, "/me/forget")
    made.clock.advance(timedelta(hours=13))  # type: ignore[attr-defined]
    assert client.post("/me/forget", data=old).headers["location"] == "/me/enter"  # the visit is over


def test_signer_refuses_what_it_did_not_sign() -> None:
    signer, other = Signer(b"k" * 32), Signer(b"o" * 32)
    sealed = signer.seal("me", "7-1", ends_at=NOW + timedelta(hours=1))
    assert signer.unseal("me", sealed, now=NOW) == "7-1"
    assert signer.unseal("me", sealed, now=NOW + timedelta(hours=1)) is None
    assert signer.unseal("staff", sealed, now=NOW) is None
    assert other.unseal("me", sealed, now=NOW) is None
    assert signer.unseal("me", sealed.replace("7-1", "8-1", 1), now=NOW) is None
    for nonsense in ("", "....", "a.b.c.d", "7-1.9.é.x", "7-1." + "9" * 30 + ".a.b", sealed + "."):
        assert signer.unseal("me", nonsense, now=NOW) is None
    token = signer.form_token("s", now=NOW)
    assert signer.is_form_token(token, "s", now=NOW)
    assert not signer.is_form_token(token, "t", now=NOW)
    assert not signer.is_form_token(token, "s", now=NOW + timedelta(days=7))
    for nonsense in ("", "..", "a.b.c", "9" * 30 + ".a.b"):
        assert not signer.is_form_token(nonsense, "s", now=NOW)


def test_a_cookie_never_opens_the_profile_that_took_over_a_number(made: Services, client: TestClient) -> None:
    first = joining.join(made, WISH)
    submit(client, f"/me/enter/{first.manage_secret}", "/me/enter")
    assert client.get("/me").status_code == 200
    made.profiles.erase(first.profile.id)
    made.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    joining.join(made, WISH)  # on SQLite it may get the number that became free
    assert client.get("/me").headers["location"] == "/me/enter"


def test_cookies_are_closed_to_scripts_and_other_sites(made: Services) -> None:
    made.settings = made.settings.model_copy(update={"base_url": "https://testserver"})
    joined = joining.join(made, WISH)
    browser = visitor(made)
    answer = submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter", stay="on")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-mycity-me=")
    for part in ("HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age=2592000"):
        assert part in cookie
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_every_answer_carries_the_headers(client: TestClient) -> None:
    for path in (
        "/",
        "/notices/1",
        "/nix",
        "/healthz",
        "/static/site.css",
        "/api/v1/notices",
        "/me",
        "/api/v1/profile",
    ):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"


def test_links_never_follow_the_host_header(made: Services) -> None:
    browser = visitor(made)
    assert browser.get("/", headers={"host": "evil.example"}).status_code == 400
    assert browser.get("/healthz", headers={"host": "10.0.0.7:8000"}).status_code == 200
    answer = submit(browser, "/join", "/join")
    assert "http://testserver/f/" in answer.text


def test_head_answers_like_get_without_a_body(client: TestClient) -> None:
    got, head = client.get("/notices/1"), client.head("/notices/1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_a_body_that_is_too_long_is_refused(client: TestClient) -> None:
    answer = client.post("/join", data={"place_0": "x" * MAX_BODY})
    assert answer.status_code == 413

    def endless() -> Any:
        for _ in range(20):
            yield b"place_0=" + b"x" * 60_000

    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/join", content=endless(), headers=headers).status_code == 413


def test_guessing_is_slowed_down(made: Services) -> None:
    browser = visitor(made)
    form = fields(browser.get("/me/enter").text, "/me/enter")
    codes = [browser.post("/me/enter", data=form | {"secret": f"guess{n}"}).status_code for n in range(22)]
    assert codes == [422] * 20 + [429] * 2


def test_limiter_forgets_after_its_time() -> None:
    now = [0.0]
    limiter = Limiter(2, 10, tick=lambda: now[0])
    assert [limiter.allows("a"), limiter.allows("a"), limiter.allows("a"), limiter.allows("b")] == [
        True,
        True,
        False,
        True,
    ]
    now[0] = 10.1
    assert limiter.allows("a")


def test_a_wrong_method_says_what_is_allowed(client: TestClient) -> None:
    answer = client.delete("/about/feeds")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


def test_an_inner_slip_shows_a_page_and_no_trace(made: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = visitor(made, raise_server_exceptions=False)
    monkeypatch.setattr(type(made.notices), "tag_counts", lambda *a, **k: 1 / 0)
    answer = browser.get("/")
    assert answer.status_code == 500
    assert "我们这里出错了" in answer.text and "ZeroDivision" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_profiles_differ_by_their_secret(made: Services) -> None:
    one, two = joining.join(made, WISH), joining.join(made, replace(WISH, roles=("tourist",)))
    browser = visitor(made)
    headers = {"authorization": f"Bearer {two.manage_secret}"}
    assert browser.get("/api/v1/profile", headers=headers).json()["roles"] == ["tourist"]
    assert (
        browser.get("/api/v1/profile", headers={"authorization": f"Bearer {one.feed_token}"}).status_code
        == 401
    )
