"""Digest mails: signed, and accepted by a loopback sink; from composed parts, and from rows of the outbox.

``over_bare_sink``: mails written for one reader each and signed (RSA-2048), beside ready bytes handed over by
smtplib with as many connections and as few round trips. ``over_stdlib``: beside EmailMessage and dkimpy, one
process each.
``ledger_over_bare_sink``: from planned rows (claim, read, choose, fix, write, sign, send, record) on SQLite.
``verified_share``: what an independent verifier and an independent parser accept of what arrived. The sink is
Postfix's smtp-sink where it is installed, else a small one here; it shares the machine.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api.digest_views import Asked, digest_views
from api.jobs.sending import send
from api.wiring import Services
from bench.tools import NOW, rounded, scratch, seconds
from delivery.channels.email import EmailChannel
from delivery.compose import compose_mail
from delivery.dkim import DkimKey, DkimSigner, key_pem, new_key
from delivery.mime import to_bytes
from delivery.types import Digest, MailMessage, NewDelivery
from feeds.kernel.time import to_micros
from profiles.editions import NewEdition
from profiles.types import FollowedPlace, Pick, Profile, Reason

READERS = 600
PICKS = 10
THREADS = 4
_STDLIB_MAILS = 40
_CHECKED = 100
_numbers = count(1)


def run(repeat: int) -> dict[str, Any]:
    """Measure, all beside each other in every round."""
    rounds: list[dict[str, float]] = []
    signer = DkimSigner("bench.example", [DkimKey("r1", new_key("rsa"))])
    with scratch(load=True) as services, _sink() as (port, name):
        digests = _digests(services, _join(services))
        for _ in range(repeat):
            rounds.append(_round(services, digests, signer, port))
        share, size = _verified(services, signer)
    figures = {key: rounded([one[key] for one in rounds], 2 if "over" in key else 0) for key in rounds[0]}
    return figures | {"verified_share": share, "bytes_a_mail": size, "mails": READERS, "sink": name}


def _round(services: Services, digests: Sequence[Digest], signer: DkimSigner, port: int) -> dict[str, float]:
    ready = [to_bytes(_mail(digest), signer, end=b".\r\n") for digest in digests]
    bare = READERS / seconds(lambda: _bare(ready, port))
    channel = EmailChannel(f"smtp://127.0.0.1:{port}", signer=signer)
    try:
        signed = READERS / seconds(lambda: _each(digests, lambda digest: channel.send(_mail(digest))))
        _plan(services)
        services.channels = {"email": channel}
        ledger = READERS / seconds(lambda: _drain(services, READERS))
    finally:
        channel.close()
    stdlib = _STDLIB_MAILS / seconds(lambda: _stdlib(digests[:_STDLIB_MAILS], signer, port))
    return {
        "signed_per_s": signed,
        "bare_per_s": bare,
        "ledger_per_s": ledger,
        "stdlib_per_s": stdlib,
        "over_bare_sink": signed / bare,
        "over_stdlib": signed / stdlib,
        "ledger_over_bare_sink": ledger / bare,
    }


# What is measured


def _mail(digest: Digest) -> MailMessage:
    number = next(_numbers)
    return compose_mail(
        digest,
        to=f"reader{number}@bench.example",
        sender="示例市公告 <notices@bench.example>",
        message_id=f"<d{number}@bench.example>",
        date=NOW,
    )


def _each(items: Sequence[Any], work: Callable[[Any], Any]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, items):
            pass


def _bare(ready: Sequence[bytes], port: int) -> None:
    """Ready bytes by smtplib, one connection for each thread."""
    local = threading.local()
    opened: list[smtplib.SMTP] = []

    def hand_over(data: bytes) -> None:
        if not hasattr(local, "smtp"):
            local.smtp = smtplib.SMTP("127.0.0.1", port)
            local.smtp.ehlo()
            opened.append(local.smtp)
        smtp = local.smtp
        smtp.send(b"MAIL FROM:<notices@bench.example>\r\nRCPT TO:<reader@bench.example>\r\nDATA\r\n")
        if [smtp.getreply()[0] for _ in range(3)] != [250, 250, 354]:
            raise SystemExit("bench: the sink refused a mail")
        smtp.send(data)
        if smtp.getreply()[0] != 250:
            raise SystemExit("bench: the sink refused a mail")

    _each(ready, hand_over)
    for smtp in opened:
        smtp.quit()


def _stdlib(digests: Sequence[Digest], signer: DkimSigner, port: int) -> None:
    """The same mails as the standard library and dkimpy make them."""
    import dkim

    pem = key_pem(signer.keys[0].key)
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        for digest in digests:
            mail = _mail(digest)
            made = EmailMessage(policy=policy.SMTP.clone(max_line_length=998))
            made["From"], made["To"], made["Subject"] = mail.sender, mail.to, mail.subject
            made["Message-ID"], made["Date"] = mail.message_id, mail.date
            for name, value in mail.headers:
                made[name] = value
            made.set_content(mail.text)
            made.add_alternative(mail.html, subtype="html")
            data = made.as_bytes()
            head = dkim.sign(data, b"r1", b"bench.example", pem, canonicalize=(b"relaxed", b"relaxed"))
            smtp.sendmail("notices@bench.example", [mail.to], head + data)


def _drain(services: Services, expected: int) -> None:
    sent = 0
    while sent < expected:
        report = send(services, limit=500)
        if not report.sent:
            raise SystemExit(f"bench: {report}")
        sent += report.sent


def _verified(services: Services, signer: DkimSigner) -> tuple[float, int]:
    """Send some mails of the outbox to a sink that keeps them; let dkimpy and the email package judge."""
    import dkim

    record = signer.keys[0].record().encode()
    with TemporaryDirectory() as folder, _keeping(Path(folder)) as port:
        channel = EmailChannel(f"smtp://127.0.0.1:{port}", signer=signer)
        _plan(services, _CHECKED)
        services.channels = {"email": channel}
        _drain(services, _CHECKED)
        channel.close()
        taken = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    good = 0
    for data in taken:
        parsed = message_from_bytes(data, policy=policy.default)
        kinds = [part.get_content_type() for part in parsed.walk()]
        whole = not parsed.defects and kinds == ["multipart/alternative", "text/plain", "text/html"]
        good += whole and dkim.verify(data, dnsfunc=lambda *_, **__: record)
    return round(good / max(_CHECKED, len(taken)), 3), int(sum(map(len, taken)) / max(1, len(taken)))


# What it is measured with


def _join(services: Services) -> list[Profile]:
    """Residents with a confirmed address, a subscription and an edition of ten picks each."""
    people = []
    for number in range(READERS):
        wish = Profile(
            0, NOW, ("citizen",), (FollowedPlace("sl01", "home"),), ("theme:0402",), langs=("zh-Hans",)
        )
        one, _ = services.profiles.create(wish, at=NOW)
        services.contacts.put(one.id, "email", f"reader{number}@bench.example", at=NOW, verified=True)
        services.subscriptions.start(
            one.id, "email", lang="zh-Hans", next_due_at=NOW + timedelta(days=1), at=NOW
        )
        people.append(one)
    return people


def _picks(services: Services) -> list[list[Pick]]:
    """Fifty different lists of ten fresh notices."""
    notices = services.notices.pickable(NOW, limit=60)
    reasons = (Reason("interest", ("theme:0402",), 1.5), Reason("role", ("role:citizen",), 0.25))
    lists = [[notices[(salt * 7 + n * 3) % len(notices)] for n in range(PICKS)] for salt in range(50)]
    return [[Pick(one.id, one.revision, "new", reasons, 2.5, 1.0) for one in chosen] for chosen in lists]


def _digests(services: Services, people: Sequence[Profile]) -> list[Digest]:
    """As the outbox's rows describe them, for the rounds without it."""
    window, lists = (NOW - timedelta(days=1), NOW), _picks(services)
    asked = [
        Asked(one, lists[one.id % 50], "zh-Hans", window, "mail", f"https://bench.example/u/{one.id:024}")
        for one in people
    ]
    return digest_views(services, asked)


def _plan(services: Services, readers: int = READERS) -> None:
    """Fresh editions and planned rows, as planning leaves them: no content yet.

    What earlier rounds brought is forgotten, or nothing would be left to say.
    """
    with services.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM delivery_notice")
        connection.exec_driver_sql("DELETE FROM delivery")
        connection.exec_driver_sql("DELETE FROM edition")
        connection.exec_driver_sql("DELETE FROM shelf")
        connection.exec_driver_sql("DELETE FROM rhythm")  # or new editions count as made after the slot
    at = services.clock.now() - timedelta(hours=1)
    lists = _picks(services)
    ids = list(range(1, readers + 1))
    services.editions.append([NewEdition(n, "daily", lists[n % 50], at, 0) for n in ids])
    window = [to_micros(at - timedelta(hours=1)), to_micros(services.clock.now())]
    recipe = {"kind": "digest", "window": window, "lang": "zh-Hans", "template": ""}
    now = services.clock.now()
    rows = [
        NewDelivery(
            f"digest:{n}:email:{next(_numbers)}",
            n,
            "email",
            "digest",
            now,
            now + timedelta(hours=8),
            recipe,
            frozen=False,
        )
        for n in ids
    ]
    services.outbox.enqueue(rows, now)


@contextmanager
def _sink() -> Iterator[tuple[int, str]]:
    """A server that takes everything and keeps nothing, in a process of its own."""
    port = _free_port()
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program:
        command = [program, "-u", "nobody", f"127.0.0.1:{port}", "64"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _await(port)
            yield port, "smtp-sink"
        finally:
            process.terminate()
            process.wait(5)
        return
    with _served(port, "") as own:
        yield own, "bench"


@contextmanager
def _keeping(folder: Path) -> Iterator[int]:
    with _served(_free_port(), str(folder)) as port:
        yield port


@contextmanager
def _served(port: int, folder: str) -> Iterator[int]:
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port, folder), daemon=True)
    process.start()
    try:
        _await(port)
        yield port
    finally:
        process.terminate()
        process.join(5)


def _await(port: int) -> None:
    for _ in range(1_200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("bench: the sink did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(port: int, folder: str) -> None:
    """A small SMTP server that accepts everything; keeps the mails where a folder is named."""
    kept = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-sink\r\n250-PIPELINING\r\n250 SIZE 33554432\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                if folder:
                    text = data[:-3].replace(b"\r\n..", b"\r\n.")
                    Path(folder, f"{next(kept):06}").write_bytes(text)
                writer.write(b"250 taken\r\n")
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
