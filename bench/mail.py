"""Digest mails: claimed from the outbox, composed, turned into bytes and accepted by a loopback sink.

``sent_per_s``: through the real sending loop (lease, compose text and HTML for one person, MIME, SMTP over
4 connections, record the result) on SQLite. The sink runs in a process of its own and shares the machine.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from datetime import timedelta
from typing import Any

from bench.tools import NOW, rounded, sample_notices, scratch, seconds
from delivery.channels.email import EmailChannel
from delivery.compose import compose_mail
from delivery.sending import send_batch
from delivery.types import Delivery, Digest, EntryView, MailMessage, NewDelivery
from feeds.intake.sanitise import to_text

MAILS = 1_000


def run(repeat: int) -> dict[str, Any]:
    """Measure whole batches."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sink = multiprocessing.get_context("fork").Process(target=_sink, args=(port,), daemon=True)
    sink.start()
    entries = tuple(_entry(n, row) for n, row in enumerate(sample_notices()[:10]))
    try:
        return _measure(repeat, port, entries)
    finally:
        sink.terminate()
        sink.join(5)


def _measure(repeat: int, port: int, entries: tuple[EntryView, ...]) -> dict[str, Any]:
    rates, size = [], 0
    with scratch() as services:
        channel = EmailChannel(f"smtp://127.0.0.1:{port}")
        for number in range(repeat):
            rows = [_row(number, n) for n in range(MAILS)]
            services.outbox.enqueue(rows, NOW)

            def build(row: Delivery) -> MailMessage:
                nonlocal size
                message = _message(row, entries)
                size = len(message.text) + len(message.html)
                return message

            def go(build: Any = build) -> None:
                report = send_batch(
                    services.outbox,
                    {"email": channel},
                    build,
                    lanes=("digest",),
                    limit=MAILS,
                    clock=services.clock,
                )
                if report.sent != MAILS:
                    raise SystemExit(f"bench: {report}")

            rates.append(MAILS / seconds(go))
        channel.close()
    return {"sent_per_s": rounded(rates, 0), "mails": MAILS, "characters_a_mail": size}


def _message(row: Delivery, entries: tuple[EntryView, ...]) -> MailMessage:
    digest = Digest(
        lang="zh-Hans",
        city_name="示例市",
        signature="示例市公告",
        entries=entries,
        window_start=NOW - timedelta(days=1),
        window_end=NOW,
        timezone="Asia/Shanghai",
        page_url="https://bench.example/me",
        unsubscribe_url=f"https://bench.example/u/token-of-{row.profile_id}",
        sample=True,
    )
    to, reference = f"reader{row.profile_id}@bench.example", f"<d{row.id}@bench.example>"
    return compose_mail(digest, to=to, sender="notices@bench.example", message_id=reference, date=NOW)


def _row(number: int, n: int) -> NewDelivery:
    key = f"digest:{number}:{n}"
    return NewDelivery(key, n, "email", "digest", NOW, NOW + timedelta(hours=8), {"n": n})


def _entry(n: int, row: dict[str, Any]) -> EntryView:
    return EntryView(
        notice_id=n,
        revision=1,
        entry_id=f"tag:bench.example,2026:notice/{n}",
        url=f"https://bench.example/notices/{n}",
        title=row["title"],
        summary=to_text(row["body"])[:120],
        body_html=f"<p>{row['body']}</p>",
        lang=row["lang"],
        updated=NOW,
        published=NOW,
        agency=row["agency"],
        reasons=("您关注“税务”", "面向全市"),
    )


def _sink(port: int) -> None:
    """A small SMTP server that accepts everything and keeps nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-sink\r\n250-8BITMIME\r\n250 SIZE 33554432\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 kept nothing\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 24)
        await server.serve_forever()

    asyncio.run(main())
