"""Personal feeds over HTTP, against a bare ASGI application that answers the same bytes.

``ratio_304``, ``ratio_200``: requests/s over the bare application's, on the same server (uvicorn, one
process), in interleaved rounds. Both are asked by one client in a process of its own, over 32 kept-alive
connections, for 10,000 distinct tokens in turn; ours looks each one up, with its shelf's version.
``server_busy``: how much of a processor the server had meanwhile; near 1, the server was what limited.
``first_build_ms``: a feed of 50 entries assembled and compressed that nobody fetched before, while its
entries were. ``cpu_ratio_…``: the same by the servers' own processor time, for machines that are busy with
other things. Absolute figures depend on the machine; ratios decide.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import insert, select

from api.feed_asgi import FeedPath
from api.feed_build import FeedBuilder
from api.jobs.joining import join
from api.wiring import Services
from bench.tools import NOW, rounded, scratch
from profiles.editions import NewEdition
from profiles.tables import feed_token, profile
from profiles.tokens import new_secret, secret_hash
from profiles.types import FollowedPlace, Profile

CONNECTIONS, TOKENS, PEOPLE = 32, 10_000, 24
REQUESTS = {304: 20_000, 200: 10_000}
TURNS, BUILDS = 20, 200
_PLACES = ("sl01", "sl02", "sl03", "sl")
_ROLES = ("citizen", "investor", "tourist", "enterprise")


def run(repeat: int) -> dict[str, Any]:
    """Serve both applications in processes of their own and take turns."""
    with scratch(load=True) as services:
        tokens = _residents(services)
        built = _first_builds(services)
        services.database.close()  # no connection may be carried into the servers' processes

        async def nothing(*_: Any) -> None:
            raise RuntimeError("only feeds are asked for here")

        with _served(FeedPath(services, nothing)) as ours:
            headers, body = _once(ours, f"/f/{tokens[0]}.atom")
            paths = [f"/f/{token}.atom" for token in tokens]
            tags = _warm(ours, paths)
            with _served(_Bare(headers, body)) as bare:
                found = _compare(repeat, paths, tags, ours, bare)
    return found | {"first_build_ms": built, "body_bytes_gzip": len(body)}


def _residents(services: Services) -> list[str]:
    """Make residents with a feed each: some really chosen for, the others with one of these shelves."""
    wishes = [
        Profile(
            id=0,
            created_at=NOW,
            roles=(_ROLES[n % len(_ROLES)],),
            places=(FollowedPlace(_PLACES[n // len(_ROLES) % len(_PLACES)]),),
        )
        for n in range(PEOPLE)
    ]
    chosen = [join(services, wish) for wish in wishes]
    tokens = [one.feed_token for one in chosen]
    shelves = [services.editions.shelf(one.profile.id) for one in chosen]
    people = range(PEOPLE + 1, TOKENS + 1)
    more = [new_secret() for _ in people]
    with services.database.write() as connection:
        first = dict(connection.execute(select(profile).where(profile.c.id == 1)).mappings().one())
        rows = [first | {"id": number, "manage_hash": secret_hash(f"manage {number}")} for number in people]
        connection.execute(insert(profile), rows)
        live = {"created_at": NOW, "ends_at": None}
        known = [
            {"hash": secret_hash(token), "profile_id": number} | live
            for token, number in zip(more, people, strict=True)
        ]
        connection.execute(insert(feed_token), known)
    editions = [
        NewEdition(number, "welcome", tuple(item.pick for item in shelves[number % PEOPLE].picks), NOW, 0)
        for number in people
    ]
    for start in range(0, len(editions), 500):
        services.editions.append(editions[start : start + 500])
    return tokens + more


def _first_builds(services: Services) -> float:
    """Milliseconds that a feed takes which nobody fetched before, its entries being cached."""
    builder = FeedBuilder(services)
    for profile_id in range(1, PEOPLE + 1):
        builder.personal_body(profile_id, "atom", None, (1, 0))
    taken = []
    for profile_id in range(PEOPLE + 1, PEOPLE + 1 + BUILDS):
        began = time.perf_counter()
        builder.personal_body(profile_id, "atom", None, (1, 0))
        taken.append((time.perf_counter() - began) * 1000)
    return rounded(taken)


def _compare(repeat: int, paths: list[str], tags: list[str], ours: int, bare: int) -> dict[str, Any]:
    asked = {
        304: [_request(path, tag) for path, tag in zip(paths, tags, strict=True)],
        200: [_request(path) for path in paths],
    }
    taken: dict[str, list[_Cost]] = {}
    for _ in range(repeat):
        for status in (304, 200):
            round_ = _round(asked[status], status, {"ours": ours, "bare": bare})
            for name, cost in round_.items():
                taken.setdefault(f"{name}_{status}", []).append(cost)
    found: dict[str, Any] = {}
    for status in (304, 200):
        pairs = list(zip(taken[f"bare_{status}"], taken[f"ours_{status}"], strict=True))
        found[f"ratio_{status}"] = rounded([bare_cost.wall / cost.wall for bare_cost, cost in pairs])
        found[f"cpu_ratio_{status}"] = rounded([bare_cost.cpu / cost.cpu for bare_cost, cost in pairs])
    for name, costs in taken.items():
        found[f"{name}_per_s"] = rounded([cost.count / cost.wall for cost in costs], 0)
    busy = [rounded([cost.cpu / cost.wall for cost in costs], 2) for costs in taken.values()]
    return found | {"server_busy": min(busy)}


class _Cost:
    """What requests cost: how many, seconds on the clock, seconds of the server's processor."""

    def __init__(self) -> None:
        self.count, self.wall, self.cpu = 0, 0.0, 0.0


def _round(requests: Sequence[bytes], status: int, servers: dict[str, Any]) -> dict[str, _Cost]:
    """Ask the servers in short turns, so that whatever else the machine does falls on both."""
    costs = {name: _Cost() for name in servers}
    waiting = {name: cycle(requests) for name in servers}
    begin, count = f"HTTP/1.1 {status}".encode(), REQUESTS[status] // TURNS
    for turn in range(TURNS):
        for name in sorted(servers, reverse=bool(turn % 2)):
            server, cost = servers[name], costs[name]
            cpu, began = server.cpu(), time.perf_counter()
            for answer in _asked(server.port, waiting[name], count):
                if not answer.startswith(begin):
                    raise SystemExit(f"bench: {bytes(answer[:40])!r} instead of {status}")
            cost.wall += time.perf_counter() - began
            cost.cpu += server.cpu() - cpu
            cost.count += count
    return costs


class _Bare:
    """The least an ASGI application can do: the same headers and bytes, no thought."""

    def __init__(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        entity = (b"content-type", b"content-length", b"content-encoding", b"x-content-type-options")
        self.whole = headers
        self.short = [(n, v) for n, v in headers if n not in (*entity, b"content-security-policy")]
        self.body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if any(name == b"if-none-match" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": self.short})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.whole})
        await send({"type": "http.response.body", "body": self.body})


class _Server:
    """Where one application listens, and the process that it is."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid

    def cpu(self) -> float:
        """Seconds of processor it had so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _served(application: Any) -> Iterator[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(application, port), daemon=True
    )
    process.start()
    try:
        _wait(port)
        yield _Server(port, process.pid or 0)
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


def _request(path: str, tag: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: gzip", "User-Agent: bench"]
    lines += [f"If-None-Match: {tag}"] if tag else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _asked(port: int, requests: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Ask over kept-alive connections, one request at a time on each; yield whole answers."""
    ready = selectors.DefaultSelector()
    held: dict[socket.socket, bytearray] = {}
    for _ in range(min(CONNECTIONS, count)):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held[one] = bytearray()
        ready.register(one, selectors.EVENT_READ)
        one.sendall(next(requests))
    sent, got = len(held), 0
    try:
        while got < count:
            for key, _ in ready.select():
                one: Any = key.fileobj
                data = one.recv(262_144)
                if not data:
                    raise SystemExit("bench: the server closed a connection")
                kept = held[one]
                kept += data
                if not _complete(kept):
                    continue
                answer, held[one] = bytes(kept[:64]) if count > 1 else bytes(kept), bytearray()
                got += 1
                if sent < count:
                    sent += 1
                    one.sendall(next(requests))
                yield answer
    finally:
        for one in held:
            one.close()


def _complete(answer: bytearray) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.find(b"content-length: ", 0, end)
    if at < 0:
        return True
    return len(answer) >= end + 4 + int(answer[at + 16 : answer.find(b"\r\n", at)])


def _once(server: Any, path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    [answer] = _asked(server.port, iter([_request(path)]), 1)
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head[:20]:
        raise SystemExit(f"bench: the feed answered {head[:60]!r}")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    own = (b"date", b"server")
    return [(name.lower(), value) for name, _, value in lines if name.lower() not in own], body


def _warm(server: Any, paths: list[str]) -> list[str]:
    """Fetch every feed once, and return their tags in order."""
    found = []
    for answer in _in_order(server, paths):
        at = answer.index(b"etag: ") + 6
        found.append(answer[at : answer.index(b"\r\n", at)].decode())
    return found


def _in_order(server: Any, paths: list[str]) -> Iterator[bytes]:
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        for path in paths:
            one.sendall(_request(path))
            kept = bytearray()
            while not _complete(kept):
                kept += one.recv(262_144)
            yield bytes(kept)
