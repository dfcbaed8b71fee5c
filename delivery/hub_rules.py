"""The rules of our WebSub hub: what may be asked of it, which topics are ours, when it tries again. Pure.

W3C WebSub, the hub's side, for our own public feeds and nothing else: a personal feed is never
announced, not even denied by name. Called by ``api.jobs.hub`` (which talks), ``delivery.hub_store``
(which remembers) and the route ``/hub``.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Literal, cast
from urllib.parse import urlencode, urlsplit

Mode = Literal["subscribe", "unsubscribe"]
Format = Literal["rss", "atom", "json"]

LEASE_DEFAULT, LEASE_LEAST, LEASE_MOST = timedelta(days=10), timedelta(hours=1), timedelta(days=30)
#: Waits after an attempt that failed; no chance is in them. One attempt more, and a subscriber is given up.
DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 720, 1440))
MOST_FAILURES = len(DELAYS) + 1
#: Waits after an intent that could not be verified because nobody answered.
ASK_AGAIN = (timedelta(minutes=1), timedelta(minutes=10))
MOST_SUBSCRIBERS, MOST_OF_HOST, MOST_OF_CALLBACK = 20_000, 1_000, 50
MOST_ASKED, MOST_ASKED_OF_HOST = 2_000, 50
MOST_PATIENCE = timedelta(days=1)
_CALLBACK_MOST, _TOPIC_MOST, _SECRET_MOST = 2_000, 1_000, 200
_PATH = re.compile(
    r"/feeds/(?P<kind>all|alerts|role|theme|place|agency)(?:/(?P<code>[\w.-]{1,64}))?\.(?P<fmt>rss|atom|json)",
    re.ASCII,
)
_CODED = ("role", "theme", "place", "agency")
TYPES: Mapping[Format, str] = {
    "rss": "application/rss+xml; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
}


class Refused(Exception):
    """A request that the hub does not take; says why in one sentence.

    Attributes:
        status: 400 for what is wrong, 403 for what is not for everybody, 429 for too much.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Topic:
    """A public feed in one format and language."""

    kind: str
    code: str
    fmt: Format
    lang: str = "zh-Hans"

    def address(self, base_url: str) -> str:
        """Return the one address of this feed, which is also what it calls ``self``."""
        path = f"{base_url}/feeds/{self.kind}" + (f"/{self.code}" if self.kind in _CODED else "")
        return f"{path}.{self.fmt}" + ("?lang=en" if self.lang.startswith("en") else "")


@dataclass(frozen=True, slots=True)
class Wish:
    """A request that may be verified.

    Attributes:
        key: Names (topic, callback) in 64 characters.
        host: Of the callback, lower case.
        secret: To sign with, or ``""``.
    """

    mode: Mode
    topic: str
    callback: str = field(repr=False)
    host: str
    lease: timedelta
    secret: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """Name the pair of topic and callback."""
        return key_of(self.topic, self.callback)


def key_of(*parts: str) -> str:
    """Name texts of any length in 64 characters."""
    return sha256("\n".join(parts).encode()).hexdigest()


def read_wish(form: Mapping[str, str], base_url: str) -> Wish:
    """Read a request to the hub (W3C WebSub §5.1).

    Args:
        form: Its fields, each once.
        base_url: Our own address.

    Raises:
        Refused: If it is none, or about a topic that is not a public feed of ours.
    """
    mode = form.get("hub.mode", "")
    if mode not in ("subscribe", "unsubscribe"):
        raise Refused("hub.mode must be subscribe or unsubscribe; this hub announces its own feeds itself.")
    callback = form.get("hub.callback", "")
    host = _host_of(callback)
    topic = topic_of(form.get("hub.topic", ""), base_url)
    if topic is None:
        raise Refused("This is not a public feed of ours; /about/feeds lists them.", 403)
    secret = form.get("hub.secret", "")
    if len(secret.encode("utf-8", "replace")) >= _SECRET_MOST:
        raise Refused("hub.secret must be shorter than 200 bytes.")
    lease = lease_of(form.get("hub.lease_seconds", ""))
    own = topic.address(base_url)
    return Wish("subscribe" if mode == "subscribe" else "unsubscribe", own, callback, host, lease, secret)


def topic_of(url: str, base_url: str) -> Topic | None:
    """Return which public feed an address names; ``None`` for every other address.

    Only the very address that the feed calls ``self`` will do, for that is what a subscriber is told of.
    Searches are not announced: what anybody types is no topic.
    """
    if not url.startswith(base_url + "/") or len(url) > _TOPIC_MOST:
        return None
    path, _, query = url[len(base_url) :].partition("?")
    match = _PATH.fullmatch(path)
    if match is None or (match["kind"] in _CODED) != bool(match["code"]) or query not in ("", "lang=en"):
        return None
    lang = "en" if query else "zh-Hans"
    return Topic(match["kind"], match["code"] or "", cast("Format", match["fmt"]), lang)


def lease_of(text: str) -> timedelta:
    """Read ``hub.lease_seconds``: an hour to 30 days, ten days where there is no sensible number."""
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        return LEASE_DEFAULT
    return min(max(timedelta(seconds=int(text)), LEASE_LEAST), LEASE_MOST)


def question(wish: Wish, challenge: str) -> str:
    """Return the address that verifies an intent (§5.3): the callback, its own query kept."""
    asked = {"hub.mode": wish.mode, "hub.topic": wish.topic, "hub.challenge": challenge}
    if wish.mode == "subscribe":
        asked["hub.lease_seconds"] = str(int(wish.lease.total_seconds()))
    return _with(wish.callback, asked)


def denial(callback: str, topic: str, reason: str) -> str:
    """Return the address that tells a subscriber that it is over (§5.2)."""
    return _with(callback, {"hub.mode": "denied", "hub.topic": topic, "hub.reason": reason})


def headers_of(topic: str, hub: str, fmt: Format, secret: str, body: bytes) -> dict[str, str]:
    """Return what describes and signs a distribution (§7)."""
    headers = {"Content-Type": TYPES[fmt], "Link": link_header(hub, topic)}
    if secret:
        mark = hmac.new(secret.encode(), body, "sha256").hexdigest()
        headers["X-Hub-Signature"] = f"sha256={mark}"
    return headers


def link_header(hub: str, topic: str) -> str:
    """Return the ``Link`` header of a feed: its hub and itself."""
    return f'<{hub}>; rel="hub", <{topic}>; rel="self"'


def retry_in(failures: int, asked: float | None = None) -> timedelta | None:
    """Return how long to wait after so many failures in a row; ``None``: the subscriber is given up.

    Args:
        failures: From 1.
        asked: Seconds of Retry-After; obeyed up to a day.
    """
    if failures >= MOST_FAILURES:
        return None
    patience = min(timedelta(seconds=min(asked or 0, 1e9)), MOST_PATIENCE)
    return max(DELAYS[max(failures, 1) - 1], patience)


def _host_of(callback: str) -> str:
    try:
        parts = urlsplit(callback)
        host = (parts.hostname or "").lower()
        fine = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        fine, host = False, ""
    plain = callback.isascii() and callback.isprintable() and not any(map(str.isspace, callback))
    if not fine or not plain or len(callback) > _CALLBACK_MOST or len(host) > 253:
        raise Refused("hub.callback must be an http or https address of at most 2000 plain characters.")
    if parts.username is not None or parts.password is not None or "#" in callback:
        raise Refused("hub.callback must have no name, password or # part.")
    return host


def _with(callback: str, asked: Mapping[str, str]) -> str:
    return f"{callback}{'&' if '?' in callback else '?'}{urlencode(asked)}"
