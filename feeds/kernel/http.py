"""The guarded client: the only way to an address that a person or a source gave us.

It calls public addresses only (checked on the very address that is dialled, again after every
redirect), counts bytes before and after decompression, and ends at one total deadline. It never
sends cookies or credentials, never reads proxy settings and never keeps a connection.
Called by ``feeds.intake.fetch``.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from time import monotonic

import httpcore2
import httpx2

from feeds.kernel.dialler import Dialler, Resolver, resolve_host
from feeds.kernel.errors import BlockedAddressError, FetchError
from feeds.kernel.inflate import inflate
from feeds.kernel.time import Clock, SystemClock

MAX_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for one connection attempt, for one read, and for everything together."""

    connect: float = 10.0
    read: float = 20.0
    total: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address answered: 200 with a body within the caps, or 304 without one.

    Attributes:
        url: The address that finally answered.
        headers: Names in lower case; repeated ones joined by ``, ``.
        moved_to: The new address if every redirect on the way was permanent, else ``""``.
    """

    status: int
    url: str
    body: bytes
    headers: Mapping[str, str]
    fetched_at: datetime
    moved_to: str = ""


class HttpStatusError(FetchError):
    """A status other than 200 and 304; ``retry_after`` is in seconds, ``None`` where not given."""

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class GuardedClient:
    """Fetches one address at a time; holds no connection, so it may be shared by threads.

    Args:
        user_agent: Who we are, with an address where people can complain.
        allow_private: ``host:port`` of intranet sources, exactly as their URLs name them; for these
            neither the port nor the address is checked. A public source cannot redirect into them.
        allowed_ports: Ports that any other address may have.
        timeouts: Seconds to wait.
        max_wire: Most bytes of body received.
        max_body: Most bytes of body after decompression.
        clock: Tells ``fetched_at``.
        resolve: Name → addresses; replaced in tests.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        allow_private: Collection[str] = (),
        allowed_ports: Collection[int] = (80, 443),
        timeouts: Timeouts | None = None,
        max_wire: int = 10_000_000,
        max_body: int = 20_000_000,
        clock: Clock | None = None,
        resolve: Resolver = resolve_host,
    ) -> None:
        self._user_agent = user_agent
        self._private = frozenset(item.lower() for item in allow_private)
        self._ports = frozenset(allowed_ports)
        self._timeouts = timeouts or Timeouts()
        self._max_wire, self._max_body = max_wire, max_body
        self._clock = clock or SystemClock()
        self._resolve = resolve

    def get(self, url: str, *, etag: str = "", last_modified: str = "", accept: str = "") -> Answer:
        """Fetch an address, following at most five redirects.

        Args:
            url: ``http`` or ``https``, without name and password.
            etag: Sent as If-None-Match where not empty; allows a 304.
            last_modified: Sent as If-Modified-Since where not empty; allows a 304.
            accept: The Accept header; ``""`` sends ``*/*``.

        Raises:
            BlockedAddressError: If this address, or one it redirects to, must not be called.
            HttpStatusError: If the final answer is neither 200 nor (when allowed) 304.
            FetchError: If nobody answers in time, or the answer breaks a cap or the protocol.
        """
        headers = self._headers(etag, last_modified, accept)
        allowed = (200, 304) if etag or last_modified else (200,)
        deadline = monotonic() + self._timeouts.total
        here = first = _parse(url)
        permanent = True
        for _ in range(MAX_REDIRECTS + 1):
            dialler = self._dialler(here, first, deadline)
            with self._answer(here, headers, dialler) as response:
                if response.status not in _REDIRECTS or not _header(response, b"location"):
                    moved = permanent and _is_move(first, here)
                    return self._finish(here, response, allowed=allowed, moved=moved)
                permanent = permanent and response.status in _PERMANENT
                here = _next_hop(here, _header(response, b"location"))
        raise FetchError(f"{show(first)} redirects more than {MAX_REDIRECTS} times; check the address.")

    def _headers(self, etag: str, last_modified: str, accept: str) -> list[tuple[bytes, bytes]]:
        wanted = {
            "User-Agent": self._user_agent,
            "Accept": accept or "*/*",
            "Accept-Encoding": "gzip, deflate",
            "If-None-Match": etag,
            "If-Modified-Since": last_modified,
        }
        # A validator came from a stranger; one that is not plain text is better not sent at all.
        sane = {name: text for name, text in wanted.items() if text and text.isascii() and text.isprintable()}
        return [(name.encode(), text.encode()) for name, text in sane.items()]

    def _dialler(self, here: httpx2.URL, first: httpx2.URL, deadline: float) -> Dialler:
        """Check what can be seen of an address before anybody is asked about it."""
        if here.scheme not in _DEFAULT_PORTS or not here.host:
            raise BlockedAddressError(f"{show(here)} is not a web address; only http and https are fetched.")
        if here.userinfo:
            raise BlockedAddressError(
                f"{show(here)} carries a name or password; give the address without it."
            )
        private = _place(here) in self._private and _place(first) in self._private
        if not private and _port(here) not in self._ports:
            raise BlockedAddressError(
                f"{show(here)} uses port {_port(here)}, which is not allowed for sources."
            )
        return Dialler(self._resolve, private=private, deadline=deadline)

    @contextmanager
    def _answer(
        self, url: httpx2.URL, headers: list[tuple[bytes, bytes]], dialler: Dialler
    ) -> Iterator[httpcore2.Response]:
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        limits = {
            "connect": self._timeouts.connect,
            "read": self._timeouts.read,
            "write": self._timeouts.read,
        }
        with (
            _translated(url),
            httpcore2.ConnectionPool(
                ssl_context=self._tls if url.scheme == "https" else None, network_backend=dialler
            ) as pool,
            pool.stream(
                "GET", target, headers=[(b"Host", url.netloc), *headers], extensions={"timeout": limits}
            ) as response,
        ):
            yield response

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpcore2.default_ssl_context()

    def _finish(
        self, url: httpx2.URL, response: httpcore2.Response, *, allowed: tuple[int, ...], moved: bool
    ) -> Answer:
        if response.status not in allowed:
            after = retry_after(_header(response, b"retry-after"), self._clock.now())
            raise HttpStatusError(
                f"{show(url)} answered {response.status} instead of 200.", response.status, after
            )
        body = self._body(url, response) if response.status == 200 else b""
        headers: dict[str, str] = {}
        for raw_name, raw_text in response.headers:
            name, text = raw_name.decode("latin-1").lower(), raw_text.decode("utf-8", "replace")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        return Answer(response.status, str(url), body, headers, self._clock.now(), str(url) if moved else "")

    def _body(self, url: httpx2.URL, response: httpcore2.Response) -> bytes:
        announced = _header(response, b"content-length")
        if announced.isdecimal() and int(announced) > self._max_wire:
            raise FetchError(f"{show(url)} announces {announced} bytes; at most {self._max_wire} are read.")
        wire = _capped(
            response.iter_stream(), self._max_wire, f"{show(url)} sends more than {self._max_wire} bytes."
        )
        plain = inflate(wire, _header(response, b"content-encoding"))
        return b"".join(
            _capped(plain, self._max_body, f"{show(url)} unpacks to more than {self._max_body} bytes.")
        )


def _capped(chunks: Iterable[bytes], cap: int, message: str) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > cap:
            raise FetchError(message)
        yield chunk


@contextmanager
def _translated(url: httpx2.URL) -> Iterator[None]:
    """Turn the library's errors into ours, in one sentence."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise FetchError(f"{show(url)} did not answer in time ({error or 'timeout'}).") from error
    except httpcore2.NetworkError as error:
        raise FetchError(f"{show(url)} cannot be reached ({error}).") from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise FetchError(f"{show(url)} does not speak HTTP properly ({error}).") from error


def _parse(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url.strip())
    except (httpx2.InvalidURL, ValueError) as error:
        raise BlockedAddressError(f"{url.strip()[:200]!r} is not a web address ({error}).") from error


def _next_hop(here: httpx2.URL, location: str) -> httpx2.URL:
    try:
        there = here.join(location)
    except (httpx2.InvalidURL, ValueError) as error:
        raise BlockedAddressError(f"{show(here)} redirects to no address ({error}).") from error
    return there.copy_with(fragment=None)


def _is_move(first: httpx2.URL, here: httpx2.URL) -> bool:
    """Whether a permanent redirect should be remembered; never one that gives up encryption."""
    return here != first and not (first.scheme == "https" and here.scheme == "http")


def _header(response: httpcore2.Response, name: bytes) -> str:
    found = (text.decode("utf-8", "replace") for key, text in response.headers if key.lower() == name)
    return next(found, "").strip()


def _port(url: httpx2.URL) -> int:
    return url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _place(url: httpx2.URL) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{host.lower()}:{_port(url)}"


def show(url: httpx2.URL) -> str:
    """Write an address for a message: without name and password, at most 200 characters."""
    return str(url.copy_with(userinfo=b""))[:200]


def retry_after(text: str, now: datetime) -> float | None:
    """Read a Retry-After header (seconds or a date) as seconds from ``now``; ``None`` if it is neither."""
    if text.isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
