"""Signed cookies, form tokens, limits, and the headers every answer carries.

Secrets are compared in constant time and never logged. Nothing here trusts the Host header: links
start with the configured base URL. Called by ``app`` (the wrappers) and ``access`` (the checks).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feeds.kernel.time import from_micros, to_micros

MAX_BODY = 512 * 1024  # bytes of a form or an API call; the longest notice we know has 180 kB
FORM_LIFE = timedelta(days=7)
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Probes of load balancers come with any Host and need no page.
_ANY_HOST = ("/healthz", "/readyz")


class Signer:
    """Signs short texts with keys derived from the installation's secret, one key for each purpose."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mac(self, purpose: str, *parts: object) -> str:
        """Return 32 URL-safe characters (192 bits) over the parts."""
        derived = hmac.new(self._key, b"mycity/web/" + purpose.encode(), hashlib.sha256).digest()
        text = "\x1f".join(str(part) for part in parts).encode()
        digest = hmac.new(derived, text, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:24]).decode()

    def seal(self, purpose: str, payload: str, *, ends_at: datetime) -> str:
        """Make a cookie value that :meth:`unseal` accepts until ``ends_at``."""
        ends, nonce = to_micros(ends_at), secrets.token_urlsafe(6)
        return f"{payload}.{ends}.{nonce}.{self.mac(purpose, payload, ends, nonce)}"

    def unseal(self, purpose: str, value: str, *, now: datetime) -> str | None:
        """Return the payload of a cookie value, or ``None`` if it is forged or over."""
        parts = value.split(".")
        if len(parts) != 4 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 18:
            return None
        payload, ends, nonce, mac = parts
        if not _same(mac, self.mac(purpose, payload, ends, nonce)) or now >= from_micros(int(ends)):
            return None
        return payload

    def form_token(self, session: str, *, now: datetime) -> str:
        """Make the hidden field of a form: it shows that the form came from our page, for this session."""
        at, nonce = to_micros(now), secrets.token_urlsafe(9)
        return f"{at}.{nonce}.{self.mac('form', session, at, nonce)}"

    def is_form_token(self, token: str, session: str, *, now: datetime) -> bool:
        """Whether a hidden field is ours, for this session, and not older than a week."""
        parts = token.split(".")
        if len(parts) != 3 or not parts[0].isascii() or not parts[0].isdigit() or len(parts[0]) > 18:
            return False
        if not _same(parts[2], self.mac("form", session, parts[0], parts[1])):
            return False
        return from_micros(int(parts[0])) + FORM_LIFE > now


class Once:
    """Remembers the last few thousand things that may happen once (a form sent twice by a double click)."""

    def __init__(self, size: int = 4096) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._size = size

    def first(self, name: str) -> bool:
        """Whether this name was never seen; it is from now on."""
        if name in self._seen:
            return False
        self._seen[name] = None
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)
        return True


class Limiter:
    """Allows ``most`` events in ``seconds`` for each key, counted in this process on the machine's clock."""

    def __init__(self, most: int, seconds: float, *, tick: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._tick = most, seconds, tick
        self._events: OrderedDict[str, deque[float]] = OrderedDict()

    def allows(self, key: str) -> bool:
        """Count one event and say whether it is within the limit."""
        now = self._tick()
        events = self._events.setdefault(key, deque())
        self._events.move_to_end(key)
        while events and events[0] <= now - self._seconds:
            events.popleft()
        if len(self._events) > 10_000:
            self._events.popitem(last=False)
        if len(events) >= self._most:
            return False
        events.append(now)
        return True


def client_key(request: Request) -> str:
    """Who asks, for limits: an IPv4 address or the /64 of an IPv6 one (the server resolves proxies)."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network(f"{host}/64", strict=False)) if address.version == 6 else host


def cookie_name(name: str, base_url: str) -> str:
    """The name of a cookie: with the ``__Host-`` guarantee wherever the service is reached by https."""
    return f"__Host-mycity-{name}" if base_url.startswith("https://") else f"mycity-{name}"


def set_cookie(response: Response, name: str, value: str, *, base_url: str, seconds: int | None) -> None:
    """Set a cookie no script reads and no other site sends with a POST; ``None`` ends with the browser."""
    response.set_cookie(
        cookie_name(name, base_url),
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="lax",
        secure=base_url.startswith("https://"),
    )


def drop_cookie(response: Response, name: str, *, base_url: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(
        cookie_name(name, base_url),
        path="/",
        httponly=True,
        samesite="lax",
        secure=base_url.startswith("https://"),
    )


def from_our_page(headers: Headers, base_url: str) -> bool:
    """Whether an unsafe request can have come from a page of ours.

    Browsers say where a request comes from (``Sec-Fetch-Site``, else ``Origin``); a request that
    says nothing is left to the form token.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin == origin_of(base_url)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class Shield:
    """Wraps the application: known hosts only, bounded bodies, headers on every answer, HEAD as GET."""

    app: ASGIApp
    base_url: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        head = scope["method"] == "HEAD"
        guarded = self._sender(send, head=head)
        if not self._knows(headers.get("host", ""), scope["path"]):
            refusal = PlainTextResponse("This host name is not served here; set MYCITY_BASE_URL.\n", 400)
            await refusal(scope, receive, guarded)
            return
        if head:
            scope = {**scope, "method": "GET", "mycity.head": True}
        await self.app(scope, _bounded(receive, headers), guarded)

    def _knows(self, host: str, path: str) -> bool:
        name = re.sub(r":\d+$", "", host).lower()
        own = (urlsplit(self.base_url).hostname or "").lower()
        return path in _ANY_HOST or name.strip("[]") in (own, "localhost", "127.0.0.1", "::1")

    def _sender(self, send: Send, *, head: bool) -> Send:
        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self.base_url.startswith("https://"):
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return sender


class BodyTooLarge(Exception):
    """A request body is larger than any form of ours."""


def _bounded(receive: Receive, headers: Headers) -> Receive:
    length = headers.get("content-length", "0")
    announced = int(length) if length.isascii() and length.isdigit() and len(length) < 12 else MAX_BODY + 1
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if max(received, announced) > MAX_BODY:
                raise BodyTooLarge
        return message

    return bounded


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode())
