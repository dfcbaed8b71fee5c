"""Senders that are killed at every step, providers that misbehave, clocks and disks: nothing is lost.

A real child process sends through the real SMTP channel to a real socket. What counts is what the sink has
taken whole: every message once at least, twice at most for those in flight, and then the very same message.
"""

from __future__ import annotations

import asyncio
import email
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from delivery.channels.email import EmailChannel
from delivery.outbox import OutboxStore
from delivery.outbox_leases import JobLeases
from delivery.sending import IN_FLIGHT, send_batch
from delivery.types import LANES, Accepted, Delivery, MailMessage, Message, NewDelivery, Prepared, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.errors import StorageError
from feeds.kernel.time import FixedClock

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
LEASE = timedelta(minutes=10)
ROOT = Path(__file__).resolve().parents[2]
MAILS = 90

CHILD = """
import os, secrets, sys
from datetime import timedelta
from zoneinfo import ZoneInfo
from delivery.channels.email import EmailChannel
from delivery.outbox import OutboxStore
from delivery.sending import send_batch
from delivery.types import Accepted, LANES, MailMessage, Prepared, SmsMessage
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock, parse_instant

url, target, moment, dies_at = sys.argv[1:5]
steps = dict.fromkeys(("prepare", "freeze", "send", "sent", "record"), 0)

def step(name):
    steps[name] += 1
    if dies_at == f"{name}:{steps[name]}":
        os.kill(os.getpid(), 9)

class Log:
    name = "log"
    def send(self, message):
        step("send")
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, (message.out_id + chr(10)).encode())
        os.close(handle)
        step("sent")
        return Accepted("log", "ref-" + message.out_id)
    def close(self):
        pass

class Mail(EmailChannel):
    def send(self, message):
        step("send")
        accepted = super().send(message)
        step("sent")
        return accepted

def prepare(rows):
    step("prepare")
    made = []
    for row in rows:
        # What a digest says is chosen at its first preparation; only the frozen recipe makes it the same.
        recipe = dict(row.recipe) | ({} if row.frozen else {"word": secrets.token_hex(8)})
        if row.channel == "sms":
            message = SmsMessage("+8613800000001", "t", {}, recipe["word"], 1, f"d{row.id}")
        else:
            text = recipe["word"] + chr(10) + "x" * 2_000
            message = MailMessage(f"r{row.profile_id}@mail.example", "s", text, "",
                                  f"<d{row.id}@city.example>", "n@city.example", clock.now())
        made.append(Prepared(row, message, recipe=recipe, notices=((7, 1),)))
    return made

class Store(OutboxStore):
    def freeze(self, prepared, at):
        standing = super().freeze(prepared, at)
        step("freeze")
        return standing
    def finish_many(self, outcomes, at):
        step("record")
        return super().finish_many(outcomes, at)

clock = FixedClock(parse_instant(moment, ZoneInfo("UTC")))
outbox = Store(Database(url))
outbox.release_expired(clock.now())
channels = {"email": Mail(f"smtp://{target}") if ":" in target else None, "sms": Log()}
while send_batch(outbox, channels, prepare, lanes=LANES, limit=60, clock=clock).claimed:
    pass
"""


@dataclass
class Sink:
    """An SMTP server that keeps what it takes, and misbehaves or kills a process at a step."""

    mode: str = ""
    kill_at: tuple[str, int] = ("", 0)
    victim: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def step(self, name: str) -> None:
        self.steps[name] += 1
        if (name, self.steps[name]) == self.kill_at:
            os.kill(self.victim, signal.SIGKILL)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client was killed; what it began does not count
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
            elif verb == b"RCPT" and self.mode in ("421", "451", "550"):
                answer = {"421": "4.3.2 closing", "451": "4.7.1 later", "550": "5.1.1 no such user"}[
                    self.mode
                ]
                writer.write(f"{self.mode} {answer}\r\n".encode())
            elif verb == b"DATA":
                self.step("before DATA")
                writer.write(b"354 go\r\n")
                first = await reader.readline()
                self.step("during DATA")
                content = first + await reader.readuntil(b"\r\n.\r\n")
                message = email.message_from_bytes(content[:-3])
                self.taken.append((str(message["Message-ID"]), _body(message)))
                self.step("after DATA")
                if self.mode == "lost":
                    writer.transport.abort()
                    return
                if self.mode == "hang":
                    await asyncio.sleep(1)
                writer.write(b"250 kept\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")


def _body(message: Any) -> bytes:
    return next(part.get_payload(decode=True) for part in message.walk() if not part.is_multipart())


@contextmanager
def running(sink: Sink) -> Iterator[Sink]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=1 << 22))
    sink.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield sink
    finally:

        async def close() -> None:
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def row(number: int, **changes: object) -> NewDelivery:
    values: dict[str, object] = {
        "dedupe_key": f"digest:{number}:email:2026-10-12", "profile_id": number, "channel": "email",
        "lane": "digest", "due_at": NOW, "expires_at": NOW + timedelta(hours=12),
        "recipe": {"kind": "digest"}, "frozen": False,
    }  # fmt: skip
    return NewDelivery(**{**values, **changes})  # type: ignore[arg-type]


def child(database: Database, target: str, moment: datetime, dies_at: str, sink: Sink | None = None) -> int:
    command = [sys.executable, "-c", CHILD, database.url, target, moment.isoformat(), dies_at]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
    if sink is not None:
        sink.victim = process.pid
    return process.wait(60)


@pytest.mark.parametrize(
    "dies_at",
    [
        "prepare:1", "freeze:1", "send:40", "before DATA", "during DATA", "after DATA", "sent:40", "record:3",
        "prepare:2",
    ],
)  # fmt: skip
def test_a_mailer_killed_at_any_step(sqlite: Database, dies_at: str) -> None:
    outbox = OutboxStore(sqlite)
    outbox.enqueue([row(number) for number in range(MAILS)], NOW)
    with running(Sink()) as sink:
        if "DATA" in dies_at:
            sink.kill_at = (dies_at, 40)
        assert child(sqlite, f"127.0.0.1:{sink.port}", NOW, dies_at, sink) == -9
        sink.kill_at = ("", 0)
        assert child(sqlite, f"127.0.0.1:{sink.port}", NOW + LEASE + LEASE, "") == 0
    texts: dict[str, set[bytes]] = {}
    for reference, text in sink.taken:
        texts.setdefault(reference, set()).add(text)
    counts = Counter(reference for reference, _ in sink.taken)
    assert len(counts) == MAILS, "lost"
    assert sum(count - 1 for count in counts.values()) <= IN_FLIGHT
    assert max(counts.values()) <= 2
    assert all(len(same) == 1 for same in texts.values()), "the second copy says something else"
    assert outbox.status(NOW).counts == {"email": {"sent": MAILS}}


@pytest.mark.parametrize("dies_at", ["prepare:1", "freeze:1", "send:25", "sent:25", "record:2"])
def test_a_texter_killed_at_any_step(sqlite: Database, tmp_path: Path, dies_at: str) -> None:
    """A text never goes out twice by itself; what may have gone out is ``unknown`` until somebody asks."""
    outbox = OutboxStore(sqlite)
    outbox.enqueue([row(number, channel="sms") for number in range(MAILS)], NOW)
    log = tmp_path / "sent.log"
    assert child(sqlite, str(log), NOW, dies_at) == -9
    assert child(sqlite, str(log), NOW + LEASE + LEASE, "") == 0
    went = Counter(log.read_text().split())
    assert max(went.values()) == 1
    counts = outbox.status(NOW).counts["sms"]
    assert counts.get("unknown", 0) <= IN_FLIGHT + IN_FLIGHT // 2
    assert counts["sent"] + counts.get("unknown", 0) == MAILS
    unknown = {f"d{one.id}" for one in outbox.recent(MAILS, state="unknown")}
    assert {f"d{one.id}" for one in outbox.recent(MAILS)} - set(went) <= unknown, "lost and nobody knows"


@pytest.mark.parametrize(
    ("mode", "state", "attempts", "copies"),
    [("421", "queued", 1, 0), ("451", "queued", 1, 0), ("550", "failed", 1, 0), ("lost", "queued", 1, 1),
     ("hang", "queued", 1, 1)],
)  # fmt: skip
def test_a_mail_server_that_misbehaves(
    sqlite: Database, clock: FixedClock, mode: str, state: str, attempts: int, copies: int
) -> None:
    outbox = OutboxStore(sqlite)
    outbox.enqueue([row(1)], NOW)
    with running(Sink(mode)) as sink:
        channel = EmailChannel(f"smtp://127.0.0.1:{sink.port}", timeout=2, answer_timeout=0.3)
        send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
        (stored,) = outbox.recent(1)
        assert (stored.state, stored.attempts, len(sink.taken)) == (state, attempts, copies)
        assert stored.error and "@mail.example" not in stored.error
        sink.mode = ""
        clock.advance(timedelta(minutes=2))
        send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
        channel.close()
    (stored,) = outbox.recent(1)
    assert stored.state == ("failed" if state == "failed" else "sent")
    assert len({reference for reference, _ in sink.taken}) <= 1


def mails(rows: list[Delivery] | tuple[Delivery, ...]) -> list[Prepared]:  # type: ignore[misc]
    return [
        Prepared(
            one,
            MailMessage("r@mail.example", "s", "t\n", "", f"<d{one.id}@city.example>", "n@city.example", NOW),
            recipe=dict(one.recipe),
        )
        for one in rows
    ]


class Counting:
    """A channel that counts."""

    name = "counting"

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, message: Message) -> Accepted:
        assert isinstance(message, MailMessage | SmsMessage)
        self.sent.append(getattr(message, "message_id", ""))
        return Accepted("counting")

    def close(self) -> None:
        pass


def test_the_clock_goes_back_an_hour(database: Database, clock: FixedClock) -> None:
    """Slots, not clocks, make keys: nothing comes twice, and what a dead sender held comes later."""
    outbox, channel = OutboxStore(database), Counting()
    outbox.enqueue([row(1), row(2)], NOW)
    outbox.claim(LANES, 1, NOW, LEASE)  # its sender dies
    send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
    clock.at = NOW - timedelta(hours=1)
    assert outbox.enqueue([row(1), row(2)], clock.now()) == 0
    assert outbox.release_expired(clock.now()) == {}
    assert send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock).claimed == 0
    clock.at = NOW + LEASE
    assert outbox.release_expired(clock.now()) == {"queued": 1}
    send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
    assert len(channel.sent) == len(set(channel.sent)) == 2


def test_job_leases_when_the_clock_goes_back(database: Database) -> None:
    leases = JobLeases(database)
    assert leases.take("digests", "one", NOW, LEASE)
    assert not leases.take("digests", "two", NOW + LEASE / 2, LEASE)
    assert leases.take("digests", "one", NOW + LEASE / 2, LEASE)
    assert leases.take("digests", "two", NOW - timedelta(hours=2), LEASE), "a lease of the future is void"
    leases.give("digests", "two")
    assert leases.holders() == {}


def test_a_locked_database(sqlite: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the database nothing is sent; afterwards everything is, once."""
    outbox, channel = OutboxStore(sqlite), Counting()
    outbox.enqueue([row(number) for number in range(5)], NOW)
    impatient = Database(sqlite.url)
    with impatient.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")  # of the one pooled connection
    with sqlite.write() as holder:
        holder.exec_driver_sql("UPDATE delivery SET error = error")
        with pytest.raises(StorageError, match="holds the database"):
            send_batch(OutboxStore(impatient), {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
    impatient.close()
    assert channel.sent == []
    send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=9, clock=clock)
    assert len(channel.sent) == 5
    assert {one.attempts for one in outbox.recent(5)} == {1}


def test_a_full_disk(tmp_path: Path, _sqlite_template: Path, clock: FixedClock) -> None:
    """Results that cannot be written stop the round at once: at most what is in flight is repeated."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    size = _sqlite_template.stat().st_size + 1_500_000
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        shutil.copy(_sqlite_template, folder / "mycity.db")
        database = Database(f"sqlite:///{folder / 'mycity.db'}")
        outbox, channel = OutboxStore(database), Counting()
        outbox.enqueue([row(number) for number in range(300)], NOW)

        class Filling(Counting):
            def send(self, message: Message) -> Accepted:
                if len(self.sent) == 40:
                    _fill(folder / "ballast")
                return super().send(message)

        filling = Filling()
        with pytest.raises(StorageError, match=r"disk is full|cannot be written"):
            while send_batch(outbox, {"email": filling}, mails, lanes=LANES, limit=60, clock=clock).claimed:
                pass
        (folder / "ballast").unlink()
        clock.advance(2 * LEASE)
        outbox.release_expired(clock.now())
        while send_batch(outbox, {"email": channel}, mails, lanes=LANES, limit=60, clock=clock).claimed:
            pass
        counts = Counter(filling.sent + channel.sent)
        assert len(counts) == 300
        assert sum(count - 1 for count in counts.values()) <= IN_FLIGHT
        assert outbox.status(NOW).counts == {"email": {"sent": 300}}
        database.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb") as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
                ballast.flush()
        except OSError:
            pass
