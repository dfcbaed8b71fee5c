"""Which requests our hub takes, which topics are ours, and when it tries again."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from delivery.hub_rules import (
    DELAYS,
    LEASE_DEFAULT,
    MOST_FAILURES,
    Refused,
    Topic,
    Wish,
    denial,
    headers_of,
    lease_of,
    question,
    read_wish,
    retry_in,
    topic_of,
)

BASE = "https://city.example"
GOOD = {
    "hub.mode": "subscribe",
    "hub.topic": f"{BASE}/feeds/all.atom",
    "hub.callback": "https://reader.example/hook?user=7",
    "hub.lease_seconds": "864000",
    "hub.secret": "a secret",
}


def wish(**changes: str) -> Wish:
    return read_wish(GOOD | {f"hub.{name}": text for name, text in changes.items()}, BASE)


def test_a_good_request() -> None:
    assert wish() == Wish(
        "subscribe",
        f"{BASE}/feeds/all.atom",
        "https://reader.example/hook?user=7",
        "reader.example",
        timedelta(days=10),
        "a secret",
    )
    assert "a secret" not in repr(wish()) and "user=7" not in repr(wish())
    assert wish().key == wish(mode="unsubscribe", secret="", lease_seconds="5").key
    assert wish().key != wish(topic=f"{BASE}/feeds/all.rss").key


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("/feeds/all.atom", Topic("all", "", "atom")),
        ("/feeds/alerts.rss", Topic("alerts", "", "rss")),
        ("/feeds/role/enterprise.json", Topic("role", "enterprise", "json")),
        ("/feeds/place/sl01.atom?lang=en", Topic("place", "sl01", "atom", "en")),
        ("/feeds/agency/sl-water.rss", Topic("agency", "sl-water", "rss")),
    ],
)
def test_public_feeds_are_topics_by_their_one_address(path: str, topic: Topic) -> None:
    assert topic_of(BASE + path, BASE) == topic
    assert topic.address(BASE) == BASE + path


@pytest.mark.parametrize(
    "address",
    [
        f"{BASE}/f/AAAAAAAAAAAAAAAAAAAAAAAA.atom",
        f"{BASE}/f/AAAAAAAAAAAAAAAAAAAAAAAA",
        f"{BASE}/feeds/all",
        f"{BASE}/feeds/all.atom?lang=zh",
        f"{BASE}/feeds/all.atom?x=1",
        f"{BASE}/feeds/all.atom#top",
        f"{BASE}/feeds/all/1.atom",
        f"{BASE}/feeds/all/archive/1.atom",
        f"{BASE}/feeds/role.atom",
        f"{BASE}/feeds/role/../../f/x.atom",
        f"{BASE}/feeds/search.atom?q=x",
        f"{BASE}.evil.example/feeds/all.atom",
        f"{BASE}@evil.example/feeds/all.atom",
        "http://city.example/feeds/all.atom",
        "https://other.example/feeds/all.atom",
        "/feeds/all.atom",
        "",
    ],
)
def test_everything_else_is_no_topic(address: str) -> None:
    assert topic_of(address, BASE) is None
    with pytest.raises(Refused) as refused:
        wish(topic=address)
    assert refused.value.status == 403
    assert "/f/" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mode": "publish"}, "hub.mode"),
        ({"mode": ""}, "hub.mode"),
        ({"callback": ""}, "hub.callback"),
        ({"callback": "ftp://reader.example/x"}, "hub.callback"),
        ({"callback": "https:///x"}, "hub.callback"),
        ({"callback": "https://reader.example:0/x"}, "hub.callback"),
        ({"callback": "https://reader.example:99999/x"}, "hub.callback"),
        ({"callback": "https://me:pw@reader.example/x"}, "password"),
        ({"callback": "https://reader.example/x#y"}, "# part"),
        ({"callback": "https://reader.example/\r\nX: y"}, "plain"),
        ({"callback": "https://读者.example/x"}, "plain"),
        ({"callback": "https://reader.example/" + "x" * 2000}, "2000"),
        ({"secret": "x" * 200}, "hub.secret"),
        ({"secret": "密" * 67}, "hub.secret"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(changes: dict[str, str], says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        wish(**changes)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "lease"),
    [
        ("864000", timedelta(days=10)),
        ("1", timedelta(hours=1)),
        ("0", timedelta(hours=1)),
        ("99999999999", timedelta(days=30)),
        ("9" * 40, LEASE_DEFAULT),
        ("-5", LEASE_DEFAULT),
        ("٣", LEASE_DEFAULT),
        ("", LEASE_DEFAULT),
    ],
)
def test_leases_stay_within_bounds(text: str, lease: timedelta) -> None:
    assert lease_of(text) == lease


def test_the_question_keeps_the_callbacks_own_query() -> None:
    asked = parse_qs(urlsplit(question(wish(), "c/h+1")).query)
    assert asked == {
        "user": ["7"],
        "hub.mode": ["subscribe"],
        "hub.topic": [f"{BASE}/feeds/all.atom"],
        "hub.challenge": ["c/h+1"],
        "hub.lease_seconds": ["864000"],
    }
    leaving = parse_qs(urlsplit(question(wish(mode="unsubscribe"), "c")).query)
    assert "hub.lease_seconds" not in leaving
    over = parse_qs(urlsplit(denial("https://reader.example/hook", "t", "no & more")).query)
    assert over == {"hub.mode": ["denied"], "hub.topic": ["t"], "hub.reason": ["no & more"]}


def test_a_distribution_is_described_and_signed() -> None:
    headers = headers_of(f"{BASE}/feeds/all.atom", f"{BASE}/hub", "atom", "密钥", b"<feed/>")
    right = hmac.new("密钥".encode(), b"<feed/>", hashlib.sha256).hexdigest()
    assert headers == {
        "Content-Type": "application/atom+xml; charset=utf-8",
        "Link": f'<{BASE}/hub>; rel="hub", <{BASE}/feeds/all.atom>; rel="self"',
        "X-Hub-Signature": f"sha256={right}",
    }
    assert "X-Hub-Signature" not in headers_of("t", "h", "rss", "", b"")


def test_waits_are_fixed_and_end() -> None:
    waits: list[Any] = [retry_in(number) for number in range(1, MOST_FAILURES + 1)]
    assert waits == [*DELAYS, None]
    assert retry_in(1, 7200.0) == timedelta(hours=2)
    assert retry_in(1, 1e300) == timedelta(days=1)
    assert retry_in(5, 1.0) == DELAYS[4]
