"""The rules of a WebSub subscriber, by table."""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.intake.sources import Source
from feeds.intake.websub_rules import (
    DENIED_FOR,
    GIVEN_UP,
    LEASE_S,
    MOST_FAILURES,
    Subscription,
    after_ask,
    can_reach,
    check_signature,
    judge,
    lease_of,
    next_step,
    ping_at,
    renew_after,
    request_form,
    retry_in,
    topics_of,
    weigh,
    wish,
)

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HUB, TOPIC = "https://hub.example/", "https://sl.example/news.atom"
SECRET = "s" * 43


def subscription(**changes: Any) -> Subscription:
    plain = Subscription(
        1, HUB, TOPIC, "p" * 43, SECRET, "active", NOW, NOW + 10 * DAY, NOW + 8 * DAY, 0, "", None
    )
    return replace(plain, **changes)


def source(**changes: Any) -> Source:
    fields: dict[str, Any] = dict.fromkeys(Source.__dataclass_fields__, None)
    fields |= {
        "id": 1,
        "kind": "feed",
        "url": "https://sl.example/news.atom",
        "paused": False,
        "hub": HUB,
        "topic": TOPIC,
    }
    return Source(**(fields | changes))


def signed(body: bytes, method: str = "sha256", secret: str = SECRET) -> str:
    return f"{method}={hmac.new(secret.encode(), body, method).hexdigest()}"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, (HUB, TOPIC)),
        ({"kind": "json"}, (HUB, TOPIC)),
        ({"hub": ""}, None),
        ({"topic": ""}, None),
        ({"url": None}, None),
        ({"paused": True}, None),
        ({"gone_at": NOW}, None),
        ({"held_at": NOW}, (HUB, TOPIC)),  # an editor looks at it; that takes hours, not leases
        ({"hub": "http://hub.example/"}, None),  # the secret would go in the clear
        ({"hub": "http://hub.example/", "url": "http://sl.example/"}, ("http://hub.example/", TOPIC)),
    ],
)
def test_which_sources_want_a_hub(changes: dict[str, Any], wanted: tuple[str, str] | None) -> None:
    assert wish(source(**changes)) == wanted


@pytest.mark.parametrize(
    ("changes", "wanted", "step"),
    [
        (None, None, "rest"),
        (None, (HUB, TOPIC), "ask"),
        ({}, (HUB, TOPIC), "rest"),
        ({"next_at": NOW}, (HUB, TOPIC), "ask"),
        ({"next_at": None}, (HUB, TOPIC), "ask"),
        ({"state": "asked", "next_at": NOW + HOUR}, (HUB, TOPIC), "rest"),
        ({"state": "failed", "next_at": NOW - HOUR}, (HUB, TOPIC), "ask"),
        ({}, None, "leave"),
        ({}, ("https://other.example/", TOPIC), "leave"),
        ({}, (HUB, "https://sl.example/other"), "leave"),
        ({"state": "failed"}, None, "leave"),
        ({"state": "ended", "next_at": NOW + HOUR}, (HUB, TOPIC), "rest"),  # the old hub may still verify
        ({"state": "ended", "next_at": NOW}, ("https://other.example/", TOPIC), "ask"),
        ({"state": "ended", "next_at": NOW}, None, "rest"),
    ],
)
def test_the_next_step(changes: dict[str, Any] | None, wanted: tuple[str, str] | None, step: str) -> None:
    assert next_step(None if changes is None else subscription(**changes), wanted, NOW) == step


def test_what_a_hub_is_sent() -> None:
    base = "https://city.example/hooks/websub/"
    assert request_form(subscription(), "subscribe", base) == {
        "hub.mode": "subscribe",
        "hub.topic": TOPIC,
        "hub.callback": base + "p" * 43,
        "hub.lease_seconds": "1209600",
        "hub.secret": SECRET,
    }
    assert set(request_form(subscription(), "unsubscribe", base)) == {"hub.mode", "hub.topic", "hub.callback"}


@pytest.mark.parametrize(
    ("base", "hub", "reachable"),
    [
        ("https://city.example", HUB, True),
        ("http://8.8.8.8:8000", HUB, True),
        ("http://127.0.0.1:8000", HUB, False),
        ("http://[::1]:8000", HUB, False),
        ("http://10.0.0.7", HUB, False),
        ("http://localhost:8000", HUB, False),
        ("http://mycity", HUB, False),
        ("http://mycity.local", HUB, False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:9000/hub", False),
        ("http://127.0.0.1:8000", "http://hub.lan:9000/", True),
        ("http://127.0.0.1:8000", "https://HUB.lan/", True),
        ("http://127.0.0.1:8000", "http://[fd00::1]:9000/", True),
        ("http://127.0.0.1:8000", "http://hub.lan:99999/", False),
        ("http://127.0.0.1:8000", "http://[hub", False),
    ],
)
def test_whether_a_hub_can_call_back(base: str, hub: str, reachable: bool) -> None:
    assert can_reach(base, hub, ["hub.lan:9000", "Hub.lan:443", "[fd00::1]:9000"]) is reachable


@pytest.mark.parametrize(
    ("failures", "retry_after", "wait"),
    [
        (1, None, timedelta(minutes=30)),
        (2, None, 2 * HOUR),
        (3, None, 8 * HOUR),
        (4, None, DAY),
        (5, None, GIVEN_UP),
        (500, None, GIVEN_UP),
        (1, 60.0, timedelta(minutes=30)),
        (1, 7200.0, 2 * HOUR),
        (1, 1e300, GIVEN_UP),
    ],
)
def test_when_to_try_again(failures: int, retry_after: float | None, wait: timedelta) -> None:
    assert retry_in(failures, retry_after) == wait


@pytest.mark.parametrize(
    ("changes", "mode", "topic", "judgement"),
    [
        (None, "subscribe", TOPIC, "refuse"),
        ({"state": "asked", "failures": 1}, "subscribe", TOPIC, "start"),
        ({"state": "asked", "failures": 1}, "subscribe", TOPIC + "#", "refuse"),
        ({"state": "asked", "failures": 1}, "unsubscribe", TOPIC, "refuse"),
        ({"state": "asked", "failures": 1}, "", TOPIC, "refuse"),
        ({"state": "asked", "failures": 1}, "publish", TOPIC, "refuse"),
        ({}, "subscribe", TOPIC, "again"),
        ({"failures": 1}, "subscribe", TOPIC, "start"),  # a renewal
        ({"state": "failed", "failures": MOST_FAILURES}, "subscribe", TOPIC, "start"),  # very late
        ({}, "unsubscribe", TOPIC, "refuse"),
        ({"state": "ended"}, "unsubscribe", TOPIC, "stop"),
        ({"state": "ended"}, "subscribe", TOPIC, "refuse"),
        ({"state": "ended"}, "denied", TOPIC, "refuse"),
        ({}, "denied", TOPIC, "denied"),
        ({}, "denied", "https://other.example/", "refuse"),
    ],
)
def test_what_a_hubs_question_means(
    changes: dict[str, Any] | None, mode: str, topic: str, judgement: str
) -> None:
    assert judge(None if changes is None else subscription(**changes), mode, topic) == judgement


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        ("864000", 10 * DAY),
        ("60", timedelta(minutes=1)),
        ("1209600", 14 * DAY),
        ("99999999", 14 * DAY),
        ("9" * 400, 14 * DAY),
        ("", DAY),
        ("0", DAY),
        ("-5", DAY),
        ("1e9", DAY),
        ("٣٦٠٠", DAY),
    ],
)
def test_leases(text: str, lease: timedelta) -> None:
    assert lease_of(text) == lease


@given(st.integers(1, LEASE_S))
def test_a_renewal_leaves_time_to_try_again(seconds: int) -> None:
    lease = timedelta(seconds=seconds)
    wait = renew_after(lease)
    assert wait >= timedelta(minutes=48)
    if lease >= HOUR:
        assert lease - wait == lease / 5


@pytest.mark.parametrize("method", ["sha256", "sha384", "sha512"])
def test_a_right_signature_is_good(method: str) -> None:
    header = signed("通知".encode(), method)
    assert check_signature(header, SECRET, "通知".encode()) == "good"
    assert check_signature(f" {header.upper()} ", SECRET, "通知".encode()) == "good"
    assert check_signature(header, SECRET, b"x") == "bad"
    assert check_signature(header, SECRET + "x", "通知".encode()) == "bad"
    assert check_signature(header[:-1], SECRET, "通知".encode()) == "bad"


def test_sha1_is_no_proof_of_content() -> None:
    assert check_signature(signed(b"x", "sha1"), SECRET, b"x") == "weak"
    assert check_signature(signed(b"y", "sha1"), SECRET, b"x") == "bad"


@pytest.mark.parametrize(
    "header", ["", "sha256", "sha256=", "=", "md5=00", "sha224=00", "SHA256=é", "sha256=通知", "x" * 9000]
)
def test_nonsense_is_no_signature(header: str) -> None:
    assert check_signature(header, SECRET, b"x") == "bad"


@given(st.text(max_size=80), st.binary(max_size=80))
def test_nobody_signs_by_chance(header: str, body: bytes) -> None:
    assert check_signature(header, SECRET, body) == "bad"


@pytest.mark.parametrize(
    ("signature", "links", "body", "treatment"),
    [
        (signed(b"x"), [], b"x", "take"),
        (signed(b"x"), [f'<{HUB}>; rel="hub", <{TOPIC}>; rel="self"'], b"x", "take"),
        (signed(b"x"), [f"<{TOPIC}>; rel=self"], b"x", "take"),
        (signed(b"x"), ['<https://other.example/>; rel="self"'], b"x", "ping"),
        (signed(b""), [], b"", "ping"),
        (signed(b" \n"), [], b" \n", "ping"),
        (signed(b"x", "sha1"), [], b"x", "ping"),
        (signed(b"y"), [], b"x", "ignore"),
        ("", [], b"x", "ignore"),
        ("", [], b"", "ignore"),
    ],
)
def test_what_to_do_with_a_message(signature: str, links: list[str], body: bytes, treatment: str) -> None:
    assert weigh(subscription(), signature, links, body) == treatment


@pytest.mark.parametrize(
    ("lines", "topics"),
    [
        (['<a>; rel="self"'], ["a"]),
        (['<a>;rel="hub self"; type="x", <b>; REL=Self'], ["a", "b"]),
        (['<a>; rel="selfish"', "<b>; rel=hub", "<c>", "rel=self", "<<<>>>; rel=self;;", ""], [""]),
    ],
)
def test_links(lines: list[str], topics: list[str]) -> None:
    assert topics_of(lines) == topics


def test_a_ping_is_not_a_way_to_make_us_poll_every_minute() -> None:
    assert ping_at(source(), NOW) == NOW
    assert ping_at(source(last_polled_at=NOW - HOUR), NOW) == NOW
    assert ping_at(source(last_polled_at=NOW), NOW) == NOW + timedelta(minutes=5)


def test_a_failed_renewal_leaves_a_running_lease_alone() -> None:
    running, over = subscription(), subscription(lease_until=NOW)
    assert after_ask(running, MOST_FAILURES, NOW)["state"] == "active"
    assert after_ask(over, 1, NOW) == {
        "state": "asked",
        "failures": 1,
        "next_at": NOW + timedelta(minutes=30),
    }
    assert after_ask(over, MOST_FAILURES, NOW)["state"] == "failed"
    assert DENIED_FOR > GIVEN_UP


def test_a_subscription_never_shows_its_secrets() -> None:
    shown = repr(subscription(path="P" * 43, secret="S" * 43))
    assert "PPP" not in shown and "SSS" not in shown
