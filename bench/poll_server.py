"""Many small web servers on loopback addresses of their own, which answer slowly and know ETags.

Run by ``bench.poll`` as a process of its own: ``python -m bench.poll_server SOURCES DELAY_S`` reads all
feeds' entries (JSON) from its input, prints its port, then its counts for each line it is sent.
"""

from __future__ import annotations

import asyncio
import html
import json
import sys
from collections import Counter
from functools import partial


def address_of(number: int) -> str:
    """Return the loopback address of a source: 127.0.1.1, 127.0.1.2, … 127.0.2.1 …."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def feed(number: int, entries: list[dict[str, str]]) -> bytes:
    """Build the feed of one source; no two sources say the same."""
    host = address_of(number)
    items = []
    for n, entry in enumerate(entries):
        paragraphs = "".join(f"<p>{html.escape(part)}</p>" for part in entry["body"].split("\n"))
        items.append(
            f"<item><guid isPermaLink='false'>s{number}-{n}</guid>"
            f"<title>{html.escape(entry['title'])}（第{number}号之{n}）</title>"
            f"<link>http://{host}/{n}.html</link><pubDate>{entry['published']}</pubDate>"
            f"<description>{html.escape(paragraphs)}</description></item>"
        )
    head = "<?xml version='1.0' encoding='utf-8'?><rss version='2.0'><channel>"
    return f"{head}<title>【示例】信源{number}</title><link>http://{host}/</link>{''.join(items)}</channel></rss>".encode()


class Server(asyncio.Protocol):
    """One connection: one request, one answer after the delay."""

    def __init__(self, answers: tuple[bytes, bytes, bytes], delay_s: float, counts: Counter[str]) -> None:
        self.full, self.unchanged, self.etag = answers
        self.delay_s, self.counts, self.got = delay_s, counts, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole."""
        self.got += data
        if b"\r\n\r\n" in self.got:
            known = self.etag in self.got
            self.counts["304" if known else "200"] += 1
            self.got = b""
            loop = asyncio.get_running_loop()
            loop.call_later(self.delay_s, self.answer, self.unchanged if known else self.full)

    def answer(self, raw: bytes) -> None:
        """Send and close."""
        self.transport.write(raw)  # type: ignore[attr-defined]
        self.transport.close()


def _answers(number: int, body: bytes) -> tuple[bytes, bytes, bytes]:
    etag = f'"v1-{number}"'.encode()
    full = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/rss+xml; charset=utf-8\r\nETag: " + etag
        + b"\r\nConnection: close\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip
    return full, b"HTTP/1.1 304 Not Modified\r\nETag: " + etag + b"\r\nConnection: close\r\n\r\n", etag


async def _serve(sources: int, delay_s: float, entries: list[list[dict[str, str]]]) -> None:
    loop = asyncio.get_running_loop()
    counts: Counter[str] = Counter()
    port = 0
    for number in range(sources):
        answers = _answers(number, feed(number, entries[number]))
        make = partial(Server, answers, delay_s, counts)
        server = await loop.create_server(make, address_of(number), port, backlog=16)
        port = port or server.sockets[0].getsockname()[1]
    print(port, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.stdin.readline())))
