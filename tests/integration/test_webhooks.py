"""A resident's webhook from end to end, against a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from api.jobs import joining, webhook_building, webhooks
from api.jobs.digests import plan
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.channels.webhook import WebhookChannel, WebhookResult
from delivery.compose_webhook import message
from delivery.errors import PermanentError, RetryableError, SuppressedError, ThrottledError
from delivery.types import Delivery, WebhookMessage
from delivery.webhook_store import GRACE, WebhookStore, new_secret
from feeds.kernel.answers import Timeouts
from feeds.kernel.db import Database
from feeds.kernel.errors import StorageError, UsageError
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import FixedClock, SystemClock
from profiles.types import FollowedPlace, Profile
from tests.factories import new_notice
from tests.factories import profile as wished
from tests.integration.test_web_pages import check_bones
from tests.posting import Posted, Taker, taking
from tests.unit.test_webhook_compose import DIGEST
from tests.webfixture import KEY, NOW, city, fields, submit

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def echo(posted: Posted) -> tuple[int, bytes]:
    said = json.loads(posted.body)
    challenge = said["data"].get("challenge", "")
    return 200, json.dumps({"challenge": challenge}).encode()


@pytest.fixture
def endpoint() -> Iterator[Taker]:
    with taking() as made:
        made.answer = echo
        yield made


@pytest.fixture
def services(sqlite: Database, tmp_path: Path, endpoint: Taker) -> Services:
    environment = {"MYCITY_ALLOW_PRIVATE": endpoint.place, "MYCITY_WEBHOOKS": "true"}
    settings = read_settings(
        environment, home=tmp_path, city="shili", base_url="http://testserver", secret_key=KEY
    )
    return build(settings, clock=FixedClock(NOW), database=sqlite, city=city())


@pytest.fixture
def joined(services: Services) -> joining.Joined:
    return joining.join(services, wished(roles=("enterprise",)))


@pytest.fixture
def me(services: Services, joined: joining.Joined) -> Iterator[TestClient]:
    with TestClient(create_app(services), base_url="http://testserver", follow_redirects=False) as browser:
        submit(browser, f"/me/enter/{joined.manage_secret}", "/me/enter")
        yield browser


def advance(made: Services, by: timedelta) -> None:
    assert isinstance(made.clock, FixedClock)
    made.clock.advance(by)


# -- the page --------------------------------------------------------------------------------------------


def test_set_up_prove_test_rotate_stop(
    services: Services, me: TestClient, joined: joining.Joined, endpoint: Taker
) -> None:
    check_bones(me.get("/me/webhook").text)
    page = submit(me, "/me/webhook", "/me/webhook", url=endpoint.url("/hook?key=k"))
    check_bones(page.text)
    secret = str(LexborHTMLParser(page.text).css_first("#secret").attributes["value"])
    assert secret.startswith("whsec_") and endpoint.came == []
    assert "key=k" not in page.text  # an address may hold a secret
    assert secret not in me.get("/me/webhook").text
    assert services.subscriptions.live(joined.profile.id, "webhook") is None

    answer = submit(me, "/me/webhook", "/me/webhook/check", hour="9", frequency="immediate")
    assert answer.status_code == 200 and "检查通过" in answer.text
    (asked,) = endpoint.came
    assert asked.path == "/hook?key=k"
    said = Webhook(secret).verify(asked.body, fresh(asked, secret))
    assert said["type"] == "endpoint.check"
    live = services.subscriptions.live(joined.profile.id, "webhook")
    assert live is not None and (live.local_hour, live.frequency) == (9, "immediate")
    contact = services.contacts.get(joined.profile.id, "webhook")
    assert contact is not None and contact.verified_at == NOW

    assert "测试消息已被接收" in submit(me, "/me/webhook", "/me/webhook/test").text
    assert json.loads(endpoint.came[-1].body)["type"] == "endpoint.test"

    page = submit(me, "/me/webhook", "/me/webhook/secret")
    newer = str(LexborHTMLParser(page.text).css_first("#secret").attributes["value"])
    assert newer != secret
    submit(me, "/me/webhook", "/me/webhook/test")
    marks = endpoint.came[-1].headers["webhook-signature"].split(" ")
    assert len(marks) == 2
    advance(services, GRACE)
    submit(me, f"/me/enter/{joined.manage_secret}", "/me/enter")
    submit(me, "/me/webhook", "/me/webhook/test")
    assert len(endpoint.came[-1].headers["webhook-signature"].split(" ")) == 1

    assert "已停止" in submit(me, "/me/webhook", "/me/webhook/stop").text
    assert services.contacts.get(joined.profile.id, "webhook") is None
    assert services.webhooks.get(joined.profile.id, now=NOW) is None
    assert services.subscriptions.live(joined.profile.id, "webhook") is None


def fresh(posted: Posted, secret: str) -> dict[str, str]:
    """The library holds the time of signing against the machine's clock; ours stands."""
    stamp = datetime.fromtimestamp(int(posted.headers["webhook-timestamp"]), UTC)
    right = Webhook(secret).sign(posted.headers["webhook-id"], stamp, posted.body.decode())
    assert posted.headers["webhook-signature"] == right
    now = datetime.now(UTC)
    return {
        "webhook-id": posted.headers["webhook-id"],
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(posted.headers["webhook-id"], now, posted.body.decode()),
    }


@pytest.mark.parametrize(
    "url", ["", "http://elsewhere.example/x", "nonsense", "https://me:pw@a.example/", "https://a.example/#x"]
)
def test_addresses_that_will_not_do(me: TestClient, services: Services, url: str) -> None:
    answer = submit(me, "/me/webhook", "/me/webhook", url=url)
    assert answer.status_code == 422
    check_bones(answer.text)
    assert LexborHTMLParser(answer.text).css_first("#url-error") is not None
    assert services.webhooks.get(1, now=NOW) is None


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        (lambda posted: (200, b"ok"), "没有原样给出"),
        (lambda posted: (200, posted.body), "没有原样给出"),  # an echo of everything agrees to nothing
        (lambda posted: (404, b""), "404"),
        (lambda posted: (410, b""), "410"),
        (lambda posted: (302, b""), "302"),
        (lambda posted: (0, b""), "联系不上"),
    ],
)
def test_an_endpoint_that_does_not_echo_is_not_served(
    me: TestClient,
    services: Services,
    joined: joining.Joined,
    endpoint: Taker,
    says: Callable[[Posted], tuple[int, bytes]],
    shown: str,
) -> None:
    submit(me, "/me/webhook", "/me/webhook", url=endpoint.url())
    endpoint.answer = says
    answer = submit(me, "/me/webhook", "/me/webhook/check", hour="9")
    assert answer.status_code == 422 and shown in answer.text
    assert services.subscriptions.live(joined.profile.id, "webhook") is None
    assert "等待检查" in me.get("/me/webhook").text
    test = me.post("/me/webhook/test", data=fields(me.get("/me/webhook").text, "/me/webhook/stop"))
    assert "没有可以联系的网址" in test.text  # nothing is sent before the proof


def test_a_plain_challenge_will_do(services: Services, joined: joining.Joined, endpoint: Taker) -> None:
    webhooks.set_up(services, joined.profile, endpoint.url())
    endpoint.answer = lambda posted: (202, json.loads(posted.body)["data"]["challenge"].encode() + b"\n")
    assert webhooks.prove(services, joined.profile, 8) == "ok"


def test_another_address_has_to_prove_itself_again(
    services: Services, joined: joining.Joined, endpoint: Taker
) -> None:
    webhooks.set_up(services, joined.profile, endpoint.url("/one"))
    assert webhooks.prove(services, joined.profile, 8) == "ok"
    webhooks.set_up(services, joined.profile, endpoint.url("/two"))
    assert webhooks.state(services, joined.profile.id).state == "waiting"
    assert services.subscriptions.live(joined.profile.id, "webhook") is None
    assert webhooks.test(services, joined.profile) == "none"


def test_the_demo_calls_nobody(
    services: Services, me: TestClient, joined: joining.Joined, endpoint: Taker
) -> None:
    services.demo = True
    submit(me, "/me/webhook", "/me/webhook", url=endpoint.url())
    answer = submit(me, "/me/webhook", "/me/webhook/check", hour="9")
    assert answer.status_code == 422 and "这是演示" in answer.text
    assert endpoint.came == [] and webhooks.state(services, joined.profile.id).state == "waiting"


def test_calls_from_the_page_are_limited(
    me: TestClient, services: Services, endpoint: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.routes.webhook._CALLS", 2)
    submit(me, "/me/webhook", "/me/webhook", url=endpoint.url())
    statuses = [submit(me, "/me/webhook", "/me/webhook/check", hour="9").status_code for _ in range(3)]
    assert statuses == [200, 200, 429] and len(endpoint.came) == 2
    assert me.post("/me/webhook/stop", data={}).status_code == 403  # not from our form


def test_the_page_in_english(me: TestClient, endpoint: Taker) -> None:
    submit(me, "/me/webhook", "/me/webhook", url=endpoint.url())
    text = me.get("/me/webhook?lang=en").text
    check_bones(text)
    assert "Check and start" in text and "签名" not in text


# -- sending ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (200, None, "ok"),
        (202, None, "ok"),
        (410, PermanentError, "gone"),
        (400, PermanentError, "http_400"),
        (404, PermanentError, "http_404"),
        (307, PermanentError, "http_307"),
        (408, RetryableError, "http_408"),
        (429, RetryableError, "http_429"),
        (500, RetryableError, "http_500"),
        (0, RetryableError, "unreachable"),
    ],
)
def test_the_answer_decides(endpoint: Taker, status: int, error: type[Exception] | None, code: str) -> None:
    told: list[WebhookResult] = []
    channel = WebhookChannel(client(endpoint.place), FixedClock(NOW), told.append)
    endpoint.answer = lambda _: (status, b"")
    if error is None:
        assert channel.send(one(endpoint.url("/h?key=k"))).ref == "msg_d1"
    else:
        with pytest.raises(error) as raised:
            channel.send(one(endpoint.url("/h?key=k")))
        assert "key=k" not in str(raised.value) and endpoint.place not in str(raised.value)
    assert [(item.profile_id, item.code) for item in told] == [(3, code)]


def client(*places: str, **more: Any) -> GuardedClient:
    return GuardedClient(user_agent="tests", allow_private=places, **more)


def one(url: str) -> WebhookMessage:
    return message(
        "t", {}, at=NOW, to=url, secrets=(new_secret(),), message_id="msg_d1", profile_id=3, out_id="d1"
    )


def test_retry_after_is_heard(endpoint: Taker) -> None:
    from tests.loopback import answer, serving

    with serving() as web:
        channel = WebhookChannel(client(web.place), FixedClock(NOW))
        handler: Any = web.server.RequestHandlerClass
        handler.do_POST = handler.do_GET
        for said, waits in (("120", 120.0), ("999999", 3600.0)):
            web.routes["/h"] = answer(503, b"", Retry_After=said)
            with pytest.raises(ThrottledError) as raised:
                channel.send(one(web.url("/h")))
            assert raised.value.seconds == waits


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://169.254.169.254/", "https://[::1]/"])
def test_an_address_inside_is_never_called(url: str) -> None:
    told: list[WebhookResult] = []
    with pytest.raises(PermanentError, match="public"):
        WebhookChannel(client(), FixedClock(NOW), told.append).send(one(url))
    assert told[0].code == "blocked"


def test_one_that_hangs_is_left(endpoint: Taker) -> None:
    import threading

    release = threading.Event()

    def hang(_: Posted) -> tuple[int, bytes]:
        release.wait(5)
        return 200, b""

    endpoint.answer = hang
    channel = WebhookChannel(client(endpoint.place, timeouts=Timeouts(0.1, 0.1, 0.2)), SystemClock())
    with pytest.raises(RetryableError, match="timeout"):
        channel.send(one(endpoint.url()))
    release.set()


def test_retries_keep_their_id_and_renew_their_time(endpoint: Taker) -> None:
    clock = FixedClock(NOW)
    channel, sent = WebhookChannel(client(endpoint.place), clock), one(endpoint.url())
    endpoint.answer = lambda _: (500, b"")
    for _ in range(2):
        with pytest.raises(RetryableError):
            channel.send(sent)
        clock.advance(HOUR)
    first, second = (posted.headers for posted in endpoint.came)
    assert first["webhook-id"] == second["webhook-id"] == "msg_d1"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 3600


# -- from the outbox -------------------------------------------------------------------------------------


def row(profile_id: int, key: str = "digest:1:webhook:x") -> Delivery:
    return Delivery(
        id=5, dedupe_key=key, profile_id=profile_id, channel="webhook", lane="digest", state="leased",
        due_at=NOW, expires_at=NOW + DAY, attempts=1, recipe={},
    )  # fmt: skip


def test_a_row_becomes_a_message(services: Services, joined: joining.Joined, endpoint: Taker) -> None:
    secret = webhooks.set_up(services, joined.profile, endpoint.url())
    made = webhook_building.compose(services, row(joined.profile.id), joined.profile, DIGEST, endpoint.url())
    assert (made.message_id, made.secrets, made.out_id) == ("msg_d5", (secret,), "d5")
    alert = webhook_building.compose(
        services, row(joined.profile.id, key="alert:1:1:1:webhook"), joined.profile, DIGEST, endpoint.url()
    )
    assert json.loads(alert.body)["type"] == "notices.alert"
    webhooks.stop(services, joined.profile.id)
    with pytest.raises(SuppressedError):
        webhook_building.compose(services, row(joined.profile.id), joined.profile, DIGEST, endpoint.url())


def test_from_a_notice_to_a_signed_digest(services: Services, endpoint: Taker) -> None:
    tags = {"tags": ("theme:04", "theme:0402"), "level": "city", "place": "sl"}
    services.notices.add([new_notice("old", title="【示例】旧公告", **tags)], at=NOW)  # for the welcome
    wish = wished(places=(FollowedPlace("sl"),), interests=("theme:0402",), roles=("enterprise",))
    profile = joining.join(services, wish).profile
    secret = webhooks.set_up(services, profile, endpoint.url("/hook"))
    assert webhooks.prove(services, profile, 9) == "ok"
    advance(services, HOUR)
    services.notices.add([new_notice("tax", title="【示例】纳税申报提醒", **tags)], at=services.clock.now())
    select_all(services)
    advance(services, DAY)
    plan(services)
    endpoint.answer = lambda _: (500, b"")
    assert send(services).states == {"queued": 1}
    endpoint.answer = lambda _: (204, b"")
    advance(services, timedelta(minutes=2))
    assert send(services).sent == 1
    assert send(services).claimed == 0
    failed, taken = endpoint.came[-2:]
    assert failed.headers["webhook-id"] == taken.headers["webhook-id"]
    assert failed.body == taken.body
    said = Webhook(secret).verify(taken.body, fresh(taken, secret))
    assert said["type"] == "notices.digest"
    assert [entry["title"] for entry in said["data"]["entries"]] == ["【示例】纳税申报提醒"]
    stands = webhooks.state(services, profile.id)
    assert (stands.state, stands.failures, stands.last_code) == ("live", 0, "ok")


def test_one_that_is_gone_ends_its_subscription(
    services: Services, me: TestClient, joined: joining.Joined, endpoint: Taker
) -> None:
    live(services, joined.profile, endpoint)
    endpoint.answer = lambda _: (410, b"")
    message_ = webhook_building.compose(
        services, row(joined.profile.id), joined.profile, DIGEST, endpoint.url()
    )
    with pytest.raises(PermanentError):
        webhooks.channel(services).send(message_)
    assert services.subscriptions.live(joined.profile.id, "webhook") is None
    assert "410" in me.get("/me/webhook").text
    with pytest.raises(SuppressedError):
        webhook_building.compose(services, row(joined.profile.id), joined.profile, DIGEST, endpoint.url())
    endpoint.answer = echo
    assert "检查通过" in submit(me, "/me/webhook", "/me/webhook/check", hour="9").text
    assert webhooks.state(services, joined.profile.id).state == "live"


def live(services: Services, profile: Profile, endpoint: Taker) -> None:
    webhooks.set_up(services, profile, endpoint.url())
    assert webhooks.prove(services, profile, 8) == "ok"


@pytest.mark.parametrize("what", ["address", "secret", "stopped"])
def test_what_is_replaced_while_it_is_asked_is_not_proved(
    services: Services, me: TestClient, joined: joining.Joined, endpoint: Taker, what: str
) -> None:
    webhooks.set_up(services, joined.profile, endpoint.url("/old"))

    def replaced(posted: Posted) -> tuple[int, bytes]:
        if what == "stopped":
            webhooks.stop(services, joined.profile.id)
        else:
            webhooks.set_up(services, joined.profile, endpoint.url("/new" if what == "address" else "/old"))
        return echo(posted)

    endpoint.answer = replaced
    answer = submit(me, "/me/webhook", "/me/webhook/check", hour="9")
    assert answer.status_code == 422 and "检查期间网址或密钥换过了" in answer.text
    contact = services.contacts.get(joined.profile.id, "webhook")
    assert contact is None or contact.verified_at is None
    assert services.subscriptions.live(joined.profile.id, "webhook") is None


def test_a_new_secret_of_the_same_webhook_does_not_undo_its_proof(
    services: Services, joined: joining.Joined, endpoint: Taker
) -> None:
    webhooks.set_up(services, joined.profile, endpoint.url())

    def rotated(posted: Posted) -> tuple[int, bytes]:
        webhooks.rotate(services, joined.profile)
        return echo(posted)

    endpoint.answer = rotated
    assert webhooks.prove(services, joined.profile, 9) == "ok"


def test_an_answer_of_endless_brackets_is_no_echo(
    services: Services, joined: joining.Joined, endpoint: Taker
) -> None:
    webhooks.set_up(services, joined.profile, endpoint.url())
    endpoint.answer = lambda _: (200, b"[" * 4096)
    assert webhooks.prove(services, joined.profile, 9) == "no_echo"


def test_one_that_fails_for_days_ends_and_its_owner_is_told(
    services: Services, me: TestClient, joined: joining.Joined, endpoint: Taker
) -> None:
    live(services, joined.profile, endpoint)
    number = joined.profile.id
    for _ in range(6):
        webhooks.took(services, WebhookResult(number, services.clock.now(), "http_500"))
        assert webhooks.tend(services) == {"ended": 0}
        advance(services, timedelta(hours=20))
    webhooks.took(services, WebhookResult(number, services.clock.now(), "ok"))  # one success begins anew
    assert webhooks.tend(services) == {"ended": 0}
    for _ in range(7):
        webhooks.took(services, WebhookResult(number, services.clock.now(), "timeout"))
        advance(services, timedelta(hours=20))
    assert webhooks.tend(services) == {"ended": 1}
    assert webhooks.tend(services) == {"ended": 0}
    assert services.subscriptions.live(number, "webhook") is None
    submit(me, f"/me/enter/{joined.manage_secret}", "/me/enter")
    assert "连续几天" in me.get("/me/webhook").text


def test_erased_with_its_owner_and_exported_without_its_secret(
    services: Services, joined: joining.Joined, endpoint: Taker
) -> None:
    secret = webhooks.set_up(services, joined.profile, endpoint.url())
    held = joining.export(services, joined.profile.id)
    assert held["webhook"] == [services.webhooks.about(joined.profile.id)]
    assert secret not in str(held)
    joining.erase(services, joined.profile.id)
    assert services.webhooks.about(joined.profile.id) is None


def test_the_store(database: Database) -> None:
    from profiles.store import ProfileStore

    made, _ = ProfileStore(database).create(wished(), at=NOW)
    store = WebhookStore(database, KEY.encode())
    first, second = new_secret(), new_secret()
    assert not store.rotate(made.id, first, at=NOW) and store.get(made.id, now=NOW) is None
    store.put(made.id, first, at=NOW)
    assert store.rotate(made.id, second, at=NOW)
    held = store.many([made.id, 99], now=NOW)[made.id]
    assert held.secrets == (second, first) and first not in repr(held)
    after = store.get(made.id, now=NOW + GRACE)
    assert after is not None and after.secrets == (second,)
    with database.read() as connection:
        sealed = bytes(connection.exec_driver_sql("SELECT sealed FROM webhook").fetchone()[0])
    assert second.encode() not in sealed
    with pytest.raises(StorageError, match="MYCITY_SECRET_KEY"):
        WebhookStore(database, b"another key, also long enough").get(made.id, now=NOW)
    for code in ("http_500", "timeout"):
        store.note(WebhookResult(made.id, NOW, code))
    failing = store.get(made.id, now=NOW)
    assert failing is not None
    assert (failing.failures, failing.failing_since, failing.last_code) == (2, NOW, "timeout")
    assert store.failing(since=NOW, failures=2) == [made.id]
    assert store.failing(since=NOW, failures=3) == store.failing(since=NOW - HOUR, failures=2) == []
    assert store.end(made.id, "failing", at=NOW) and not store.end(made.id, "gone", at=NOW)
    assert store.failing(since=NOW, failures=2) == []
    with database.write() as connection:
        assert store.revive(failing, connection, now=NOW)
    revived = store.get(made.id, now=NOW)
    assert revived is not None and (revived.ended_at, revived.failures) == (None, 0)
    store.remove(made.id)
    store.remove(made.id)


def test_a_contact_of_a_webhook_is_one_web_address() -> None:
    from profiles.contacts import clean_address

    assert clean_address("webhook", " HTTPS://A.example/Hook?Key=1 ") == "https://a.example/Hook?Key=1"
    for text in (
        "https://a b.example",
        "javascript:alert(1)",
        "https://",
        "https://a.example:0/",
        "x" * 2000,
    ):
        with pytest.raises(UsageError):
            clean_address("webhook", text)
