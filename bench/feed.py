"""A personal feed over HTTP, against a bare ASGI application that answers the same bytes.

``ratio_304``, ``ratio_200``: requests/s over the bare application's, on the same server (uvicorn, one
process), asked by the same client over kept-alive connections, in interleaved rounds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import uvicorn

from api.feed_asgi import FeedPath
from api.jobs.joining import join
from bench.tools import NOW, rounded, scratch
from profiles.types import FollowedPlace, Profile

CONNECTIONS, REQUESTS = 8, 4_000


def run(repeat: int) -> dict[str, Any]:
    """Serve both applications in processes of their own and take turns."""
    with scratch(load=True) as services:
        wish = Profile(id=0, created_at=NOW, roles=("citizen",), places=(FollowedPlace("sl01"),))
        path = f"/f/{join(services, wish).feed_token}.atom"

        async def nothing(*_: Any) -> None:
            raise RuntimeError("only feeds are asked for here")

        with _served(FeedPath(services, nothing)) as ours:
            status, headers, body = asyncio.run(_once(ours, path, ()))
            if status != 200:
                raise SystemExit(f"bench: the feed answered {status}")
            tag = headers["etag"]
            with _served(_Bare(tag, body)) as bare:
                return _compare(repeat, path, tag, ours, bare) | {"body_bytes_gzip": len(body)}


def _compare(repeat: int, path: str, tag: str, ours: int, bare: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"ours_304": [], "bare_304": [], "ours_200": [], "bare_200": []}
    for _ in range(repeat):
        for name, port in (("ours", ours), ("bare", bare)):
            rates[f"{name}_304"].append(asyncio.run(_rate(port, path, (("If-None-Match", tag),), 304)))
            rates[f"{name}_200"].append(asyncio.run(_rate(port, path, (), 200)))
    pairs = {kind: zip(rates[f"ours_{kind}"], rates[f"bare_{kind}"], strict=True) for kind in ("304", "200")}
    return {
        "ratio_304": rounded([a / b for a, b in pairs["304"]]),
        "ratio_200": rounded([a / b for a, b in pairs["200"]]),
    } | {f"{name}_per_s": rounded(values, 0) for name, values in rates.items()}


class _Bare:
    """The least an ASGI application can do: the same headers and bytes, no thought."""

    def __init__(self, tag: str, body: bytes) -> None:
        self.headers = [(b"etag", tag.encode()), (b"content-type", b"application/atom+xml; charset=utf-8")]
        self.body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if any(name == b"if-none-match" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": self.headers})
            await send({"type": "http.response.body", "body": b""})
            return
        length = (b"content-length", str(len(self.body)).encode())
        zipped = (b"content-encoding", b"gzip")
        await send({"type": "http.response.start", "status": 200, "headers": [*self.headers, length, zipped]})
        await send({"type": "http.response.body", "body": self.body})


@contextmanager
def _served(application: Any) -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_serve, args=(application, port), daemon=True)
    process.start()
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.join(5)


def _serve(application: Callable[..., Any], port: int) -> None:
    uvicorn.run(
        application, host="127.0.0.1", port=port, log_level="critical", access_log=False, lifespan="off"
    )


def _wait(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("bench: the server did not start")


def _request(path: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: gzip", "User-Agent: bench"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _rate(port: int, path: str, headers: tuple[tuple[str, str], ...], expected: int) -> float:
    """Requests a second over a few kept-alive connections."""
    request = _request(path, headers)

    async def ask(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(request)
            status, _, _ = await _read(reader)
            if status != expected:
                raise SystemExit(f"bench: {status} instead of {expected}")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask(REQUESTS // CONNECTIONS) for _ in range(CONNECTIONS)))
    return REQUESTS / (time.perf_counter() - began)


async def _once(
    port: int, path: str, headers: tuple[tuple[str, str], ...]
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(path, headers))
    answer = await _read(reader)
    writer.close()
    return answer


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split(" ")[1]), headers, body
