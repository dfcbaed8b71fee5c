"""The guarded client: the only way to an address that a person or a source gave us.

It calls public addresses only (checked on the very address that is dialled, again after every
redirect), counts bytes before and after decompression, and ends at one total deadline. It never
sends cookies or credentials, never reads proxy settings and never keeps a connection.
Called by the intake: for feeds, lists, pages and hubs.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from json import dumps
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import httpcore2
import httpx2

from feeds.kernel.answers import (
    Answer,
    Hop,
    HttpStatusError,
    Question,
    Timeouts,
    Tls,
    describe_status,
    hops_of,
    retry_after,
)
from feeds.kernel.dialler import Dialler, Resolver, Stream, resolve_host, shared_tls
from feeds.kernel.errors import BlockedAddressError, FetchError, UsageError
from feeds.kernel.hosts import HostBusyError, HostGate
from feeds.kernel.inflate import ACCEPTED, inflate
from feeds.kernel.time import Clock, SystemClock

__all__ = [
    "Answer", "GuardedClient", "Hop", "HostBusyError", "HostGate", "HttpStatusError", "Timeouts", "Tls",
    "hops_of", "retry_after", "show",
]  # fmt: skip

MAX_REDIRECTS = 5
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})
_SAME_METHOD = frozenset({307, 308})
_EXCERPT = 4096  # bytes of an unwelcome answer that are kept
_EXCERPT_SECONDS = 1.0


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
        gate: Whose turn it is at a host; shared by all clients of a process. ``None``: no limit.
        tls: Whom to trust; default: whom the machine trusts, one context for the whole process.
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
        gate: HostGate | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._private = frozenset(item.lower() for item in allow_private)
        self._ports = frozenset(allowed_ports)
        self._timeouts = timeouts or Timeouts()
        self._limits = {"read": self._timeouts.read, "write": self._timeouts.read}
        self._max_wire, self._max_body = max_wire, max_body
        self._clock = clock or SystemClock()
        self._resolve, self._gate, self._tls = resolve, gate, tls

    def get(
        self,
        url: str,
        *,
        etag: str = "",
        last_modified: str = "",
        accept: str = "",
        named_by: str = "",
        trace: list[Hop] | None = None,
        follow: bool = True,
    ) -> Answer:
        """Fetch an address, following at most five redirects.

        Args:
            url: ``http`` or ``https``, without name and password.
            etag: Sent as If-None-Match where not empty; allows a 304.
            last_modified: Sent as If-Modified-Since where not empty; allows a 304.
            accept: The Accept header; ``""`` sends ``*/*``.
            named_by: The address whose answer named this one, where no person did: then an intranet
                address is called only if that one is in the intranet too.
            trace: Every request made is appended here, also when an error is raised.
            follow: ``False``: a redirect is an unwelcome status.

        Raises:
            BlockedAddressError: If this address, or one it redirects to, must not be called.
            HttpStatusError: If the final answer is neither 200 nor (when allowed) 304.
            HostBusyError: If our own queue for the host is too long.
            FetchError: If nobody answers in time, or the answer breaks a cap or the protocol;
                :func:`hops_of` tells the requests made before any of these.
        """
        validators = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        allowed = (200, 304) if etag or last_modified else (200,)
        question = Question("GET", self._headers(accept, validators), allowed=allowed, follow=follow)
        return self._follow(url, question, trace, named_by)

    def post(
        self,
        url: str,
        *,
        form: Mapping[str, Any] | None = None,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "",
        allowed: Collection[int] = (200, 201, 202, 204),
        named_by: str = "",
        trace: list[Hop] | None = None,
        follow: bool = True,
    ) -> Answer:
        """Send a form, a JSON document or plain bytes, under the same guard as :meth:`get`.

        A redirect is followed only if it keeps method and body (307, 308) and does not give up encryption.

        Args:
            url: As for :meth:`get`.
            form: Fields; a list as value repeats the field.
            json: Anything JSON can say; sent where ``form`` is ``None``.
            body: Bytes as they are; ``headers`` names their Content-Type.
            headers: More headers, e.g. a signature; one that is not printable ASCII is left out.
            accept: As for :meth:`get`.
            allowed: The statuses that are an answer.
            named_by: As for :meth:`get`.
            trace: As for :meth:`get`.
            follow: As for :meth:`get`.

        Raises:
            UsageError: If more than one of ``form``, ``json`` and ``body`` is given.
            HttpStatusError: If the final answer is not one of ``allowed``.
            FetchError: As for :meth:`get`; also if a redirect would drop what was sent.
        """
        if sum(one is not None for one in (form, json, body)) > 1:
            raise UsageError("A request carries a form, JSON or bytes; give one of them.")
        if form is not None:
            kind, data = "application/x-www-form-urlencoded", urlencode(form, doseq=True).encode()
        elif body is not None:
            kind, data = "application/octet-stream", body
        else:
            kind, data = "application/json", dumps(json, ensure_ascii=False).encode()
        more = {"Content-Type": kind, **(headers or {}), "Content-Length": str(len(data))}
        question = Question("POST", self._headers(accept, more), data, tuple(allowed), follow)
        return self._follow(url, question, trace, named_by)

    def _headers(self, accept: str, more: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
        wanted = {
            "User-Agent": self._user_agent,
            "Accept": accept or "*/*",
            "Accept-Encoding": ACCEPTED,
            "Connection": "close",  # RFC 9112 asks this of whoever keeps no connection
            **more,
        }
        # A validator came from a stranger; one that is not plain text is better not sent at all.
        sane = {name: text for name, text in wanted.items() if text and text.isascii() and text.isprintable()}
        return tuple((name.encode(), text.encode()) for name, text in sane.items())

    def _follow(self, url: str, question: Question, trace: list[Hop] | None, named_by: str) -> Answer:
        hops: list[Hop] = []
        try:
            origin = _parse(named_by) if named_by else None
            answer = self._walk(_parse(url), question, hops, origin)
            return replace(answer, hops=tuple(hops))
        except FetchError as error:
            vars(error)["hops"] = tuple(hops)  # read by hops_of
            raise
        finally:
            if trace is not None:
                trace.extend(hops)

    def _walk(
        self, first: httpx2.URL, question: Question, hops: list[Hop], origin: httpx2.URL | None
    ) -> Answer:
        deadline = monotonic() + self._timeouts.total
        here, permanent = first, True
        for _ in range(MAX_REDIRECTS + 1):
            dialler = self._dialler(here, origin or first, deadline)
            # The turn ends with the request, before the next host is asked for one.
            with (
                self._turn(here, deadline),
                self._exchange(here, question, dialler, deadline, hops) as (response, stream),
            ):
                moves = question.follow and response.status in _REDIRECTS
                location = _header(response, b"location") if moves else ""
                if not location:
                    moved = permanent and _is_move(first, here)
                    return self._finish(here, question, response, stream, moved=moved)
                permanent = permanent and response.status in _PERMANENT
                here = _next_hop(here, location, question.method, response.status)
        raise FetchError(f"{show(first)} redirects more than {MAX_REDIRECTS} times; check the address.")

    def _turn(self, url: httpx2.URL, deadline: float) -> AbstractContextManager[None]:
        return self._gate.turn(url.host, deadline) if self._gate else nullcontext()

    def _dialler(self, here: httpx2.URL, first: httpx2.URL, deadline: float) -> Dialler:
        """Check what can be seen of an address before anybody is asked about it."""
        if here.scheme not in _DEFAULT_PORTS or not here.host:
            raise BlockedAddressError(f"{show(here)} is not a web address; only http and https are fetched.")
        if here.userinfo:
            raise BlockedAddressError(
                f"{show(here)} carries a name or password; give the address without it."
            )
        start, place = _place(first), _place(here)
        inside = start in self._private
        private = inside and place in self._private
        advice = f"if it is an intranet source you trust, put {place} into MYCITY_ALLOW_PRIVATE"
        if place != start:
            # No advice to let somebody in whom a stranger points at.
            advice = f"{start} leads there{', and ' + advice if inside else ''}"
        if not private and _port(here) not in self._ports:
            raise BlockedAddressError(
                f"{show(here)} uses port {_port(here)}, which is not allowed for sources; {advice}."
            )
        return Dialler(
            self._resolve, private=private, advice=advice, deadline=deadline, limit=self._timeouts.connect
        )

    @contextmanager
    def _exchange(
        self, url: httpx2.URL, question: Question, dialler: Dialler, deadline: float, hops: list[Hop]
    ) -> Iterator[tuple[httpcore2.Response, Stream]]:
        """Make one request, and hang up and write its hop down at the end of the block."""
        started, status, stream = monotonic(), 0, None
        host, port, secure = url.raw_host, _port(url), url.scheme == "https"
        request = httpcore2.Request(
            question.method,
            httpcore2.URL(scheme=url.raw_scheme, host=host, port=port, target=url.raw_path),
            headers=[(b"Host", url.netloc), *question.headers],
            content=question.body,
            extensions={"timeout": self._limits},
        )
        try:
            with self._translated(url, deadline):
                tls = (self._tls or shared_tls()) if secure else None
                stream = dialler.dial(host.decode("ascii"), port, tls)
                response = httpcore2.HTTP11Connection(request.url.origin, stream).handle_request(request)
            status = response.status
            yield response, stream
        finally:
            tls_facts = stream.tls if stream else None
            if stream:
                stream.close()
            hops.append(Hop(str(url), status, dialler.address, monotonic() - started, tls_facts))

    @contextmanager
    def _translated(self, url: httpx2.URL, deadline: float, got: int | None = None) -> Iterator[None]:
        """Turn the library's errors into ours, in one sentence.

        ``got`` is how many bytes of body have come, ``None`` before the body.
        """
        try:
            yield
        except httpcore2.TimeoutException as error:
            raise FetchError(f"{show(url)} did not answer in time: {self._why(error, deadline)}.") from error
        except httpcore2.ConnectError as error:
            raise FetchError(f"{show(url)} cannot be reached: {error}.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            why = str(error).strip(". ")[:200]
            if got is not None:
                raise FetchError(f"{show(url)} broke off after {got} bytes ({why}).") from error
            if isinstance(error, httpcore2.NetworkError) or "without sending" in why:
                raise FetchError(f"{show(url)} hung up without an answer ({why}).") from error
            raise FetchError(f"{show(url)} does not speak HTTP properly ({why}).") from error

    def _why(self, error: httpcore2.TimeoutException, deadline: float) -> str:
        if str(error):
            return str(error)
        if deadline - monotonic() < 0.01:
            return f"it was not finished after {self._timeouts.total:g} seconds altogether"
        if isinstance(error, httpcore2.ConnectTimeout):
            return f"there was no connection within {self._timeouts.connect:g} seconds"
        return f"nothing came for {self._timeouts.read:g} seconds"

    def _finish(
        self,
        url: httpx2.URL,
        question: Question,
        response: httpcore2.Response,
        stream: Stream,
        *,
        moved: bool,
    ) -> Answer:
        headers = _headers_of(response)
        if response.status not in question.allowed:
            after = retry_after(headers.get("retry-after", ""), self._clock.now())
            body = self._excerpt(url, headers, response, stream)
            text = f"{show(url)} {describe_status(response.status, question.allowed, after)}."
            raise HttpStatusError(text, response.status, after, headers=headers, body=body)
        empty = response.status in (204, 304)
        body = b"" if empty else b"".join(self._body(url, headers, response, stream.deadline))
        return Answer(response.status, str(url), body, headers, self._clock.now(), str(url) if moved else "")

    def _body(
        self, url: httpx2.URL, headers: Mapping[str, str], response: httpcore2.Response, deadline: float
    ) -> Iterator[bytes]:
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_wire:
            raise FetchError(f"{show(url)} announces {announced} bytes; at most {self._max_wire} are read.")
        wire, packed, total = self._wire(url, response, deadline), headers.get("content-encoding", ""), 0
        for chunk in inflate(wire, packed, show(url)) if packed else wire:
            total += len(chunk)
            if total > self._max_body:
                raise FetchError(
                    f"{show(url)} unpacks to more than {self._max_body} bytes; check what it sends."
                )
            yield chunk

    def _wire(self, url: httpx2.URL, response: httpcore2.Response, deadline: float) -> Iterator[bytes]:
        chunks, total = response.iter_stream(), 0
        while True:
            with self._translated(url, deadline, total):
                chunk = next(chunks, None)
            if chunk is None:
                return
            total += len(chunk)
            if total > self._max_wire:
                raise FetchError(f"{show(url)} sends more than {self._max_wire} bytes; check the address.")
            yield chunk

    def _excerpt(
        self, url: httpx2.URL, headers: Mapping[str, str], response: httpcore2.Response, stream: Stream
    ) -> bytes:
        """Read the beginning of an unwelcome answer, as far as it comes at once; never fails."""
        stream.deadline = min(stream.deadline, monotonic() + _EXCERPT_SECONDS)
        found: list[bytes] = []
        with suppress(FetchError):
            for chunk in self._body(url, headers, response, stream.deadline):
                found.append(chunk)
                if sum(map(len, found)) >= _EXCERPT:
                    break
        return b"".join(found)[:_EXCERPT]


def _parse(url: str) -> httpx2.URL:
    try:
        return httpx2.URL(url.strip())
    except (httpx2.InvalidURL, ValueError) as error:
        raise BlockedAddressError(f"{url.strip()[:200]!r} is not a web address ({error}).") from error


def _next_hop(here: httpx2.URL, location: str, method: str, status: int) -> httpx2.URL:
    try:
        there = here.join(location).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError) as error:
        raise BlockedAddressError(f"{show(here)} redirects to no address ({error}).") from error
    if method == "POST" and status not in _SAME_METHOD:
        raise FetchError(
            f"{show(here)} answers a POST with redirect {status}, which would drop what was sent; "
            f"give the address {show(there)} itself if that is meant."
        )
    if method == "POST" and here.scheme == "https" and there.scheme == "http":
        raise FetchError(f"{show(here)} redirects a POST to plain http, which would show what was sent.")
    return there


def _is_move(first: httpx2.URL, here: httpx2.URL) -> bool:
    """Whether a permanent redirect should be remembered; never one that gives up encryption."""
    return here != first and not (first.scheme == "https" and here.scheme == "http")


def _headers_of(response: httpcore2.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_text in response.headers:
        name, text = raw_name.decode("latin-1").lower(), raw_text.decode("utf-8", "replace").strip()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


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
