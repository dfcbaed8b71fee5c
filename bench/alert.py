"""A warning for a whole city: released, planned for 100,000 residents, first mail and text accepted.

Once on an idle installation and once while a run of 100,000 digest mails is under way in the same
process, on SQLite. Mail goes to a loopback sink in a process of its own, texts to a port that takes them
at once. ``first_accept_s``: from the release until both a mail and a text were accepted, under load;
``queued_100k_s``: until every message was planned, under load; ``loaded_over_idle``: the worse of the
two, over itself when idle.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from api.jobs import alerts
from api.jobs.worker import Worker
from api.ops.migrate import migrate
from api.settings import read_settings
from api.wiring import Services, build
from bench.tools import NOW, rounded
from delivery.alert_outbox import AlertOutbox, AlertPlan, Slice
from delivery.channels.email import EmailChannel
from delivery.types import Accepted, MailMessage, Message
from feeds.catalogue.notices import NewNotice, NoticeContent
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database, plain_rows, run_plain, run_plain_many, to_json
from feeds.kernel.time import SystemClock, to_micros
from profiles.editions import NewEdition
from profiles.types import Pick, Reason

RESIDENTS = 100_000
#: One in so many gets texts as well.
TEXTS = 10
_KEY = "a key for benchmarks only, long enough to be one"


class Gate:
    """Notes when the first alert was accepted by a channel; passes everything on."""

    def __init__(self, name: str, port: Any = None) -> None:
        self.name, self._port = name, port
        self.first: float | None = None
        self.alerts = self.others = 0

    def send(self, message: Message) -> Accepted:
        """Send, or take at once where there is no port behind."""
        accepted = self._port.send(message) if self._port else Accepted(self.name, "1")
        said = message.subject if isinstance(message, MailMessage) else getattr(message, "text", "")
        if "预警" in said:
            self.alerts += 1
            if self.first is None:
                self.first = time.perf_counter()
        else:
            self.others += 1
        return accepted

    def close(self) -> None:
        """Close what is behind."""
        if self._port:
            self._port.close()


def run(repeat: int) -> dict[str, Any]:
    """Measure idle and loaded rounds in turn."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = multiprocessing.get_context("fork").Process(target=_sink, args=(port,), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            template = Path(folder) / "template.db"
            _prepare(template, Path(folder))
            rounds: dict[bool, list[dict[str, float]]] = {False: [], True: []}
            for _ in range(repeat):
                for load in (False, True):
                    rounds[load].append(_round(template, port, load))
    finally:
        server.terminate()
        server.join(5)
    return _report(rounds)


def _report(rounds: dict[bool, list[dict[str, float]]]) -> dict[str, Any]:
    def middle(load: bool, name: str) -> float:
        return rounded([one[name] for one in rounds[load]])

    return {
        "first_accept_s": middle(True, "first"),
        "queued_100k_s": middle(True, "queued"),
        "loaded_over_idle": round(
            max(middle(True, name) / middle(False, name) for name in ("first", "queued")), 2
        ),
        "first_accept_idle_s": middle(False, "first"),
        "queued_100k_idle_s": middle(False, "queued"),
        "queued_over_idle": round(middle(True, "queued") / middle(False, "queued"), 2),
        "digests_meanwhile": middle(True, "digests"),
        "messages": middle(True, "messages"),
    }


def _open(path: Path, home: Path, channels: dict[str, Any]) -> Services:
    settings = read_settings({}, home=home, city="shili", secret_key=_KEY, mail_from="notices@bench.example")
    clock = SystemClock()
    return build(settings, clock=clock, database=Database(f"sqlite:///{path}"), channels=channels)


def _prepare(path: Path, home: Path) -> None:
    """Fill a database with residents, their addresses, one edition and 100,000 digests that wait."""
    services = _open(path, home, {})
    migrate(services.database)
    now = to_micros(services.clock.now())
    later = to_micros(services.clock.now() + timedelta(days=30))
    contacts: Any = services.contacts
    ids = range(1, RESIDENTS + 1)
    texting = range(TEXTS, RESIDENTS + 1, TEXTS)
    with services.database.write() as connection:
        run_plain_many(
            connection,
            "INSERT INTO profile (id, created_at, langs, pace, personalised, discreet, manage_hash) "
            "VALUES (?, ?, ?, 10, 1, 0, ?)",
            [(n, now, to_json(["zh-Hans"] if n % 20 else ["en"]), f"{n:064x}") for n in ids],
        )
        run_plain_many(
            connection,
            "INSERT INTO profile_criterion (profile_id, kind, code, label, position) "
            "VALUES (?, 'place', ?, 'home', 0)",
            [(n, f"sl0{n % 6 + 1}") for n in ids],
        )
        rows = [(n, "email") for n in ids] + [(n, "sms") for n in texting]
        run_plain_many(
            connection,
            "INSERT INTO subscription (profile_id, channel, frequency, local_hour, lang, next_due_at, "
            "covered_until, created_at, ended_at, ended_reason) "
            "VALUES (?, ?, 'daily', 8, 'zh-Hans', ?, ?, ?, NULL, '')",
            [(n, channel, later, now, now) for n, channel in rows],
        )
        run_plain_many(
            connection,
            "INSERT INTO contact (profile_id, channel, sealed, blind_index, verified_at, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (n, channel, contacts._seal(address, f"{n}/{channel}"), f"{channel}{n}", now, now)
                for n, channel in rows
                for address in [f"r{n}@bench.example" if channel == "email" else f"+86138{n:08}"]
            ],
        )
    shown = services.notices.add(
        [_notice(f"d{n}", f"关于第{n}件事的通知") for n in range(5)], at=services.clock.now()
    )
    picks = tuple(Pick(n, 1, "new", (Reason("citywide"),)) for n in shown)
    [edition] = services.editions.append([NewEdition(1, "daily", picks, services.clock.now(), 0)])
    recipe = to_json({
        "kind": "digest", "editions": [edition], "lang": "zh-Hans", "template": "mail-1",
        "window": [now - 86_400_000_000, now],
    })  # fmt: skip
    with services.database.write() as connection:
        run_plain(
            connection,
            "INSERT INTO delivery (dedupe_key, profile_id, channel, lane, state, due_at, expires_at, "
            "attempts, "
            "recipe, created_at, changed_at, provider, provider_ref, segments, error) "
            "SELECT 'digest:' || id || ':email:x', id, 'email', 'digest', 'queued', ?, ?, 0, ?, ?, ?, "
            "'', '', 0, '' "
            "FROM profile",
            (now, later, recipe, now, now),
        )
        for number in shown:
            run_plain(
                connection,
                "INSERT INTO delivery_notice (delivery_id, notice_id, revision) "
                "SELECT id, ?, 1 FROM delivery",
                (number,),
            )
        run_plain(connection, "ANALYZE")
    with services.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    services.close()


def _notice(guid: str, title: str, **changes: Any) -> NewNotice:
    content = NoticeContent(
        title=title, body=f"<p>{title}。</p>", agency="示例市气象台", published=NOW, **changes
    )
    return NewNotice(content, 1, guid, (Tag("theme", "04", "bench", 1.0),))


def _warning(services: Services) -> int:
    at = services.clock.now()
    content = NoticeContent(
        title="【示例】台风红色预警", body="<p>请留在室内。</p>", summary="请留在室内。", kind="warning",
        published=at, expires=at + timedelta(hours=8), extra={"cap": {"id": "bench", "event": "台风"}},
    )  # fmt: skip
    tags = (Tag("place", "sl", "cap:area", 1.0), Tag("type", "warning", "bench", 1.0))
    new = NewNotice(content, 7, "bench", tags, "city", "sl", priority="emergency")
    return services.notices.add([new], at=at)[0]


class _Timed(AlertOutbox):
    """Notes when the last slice was planned."""

    done = 0.0

    def plan(self, plan: AlertPlan, at: Any, *, first: int, size: int) -> Iterator[Slice]:
        """Pass on, then look at the clock."""
        yield from super().plan(plan, at, first=first, size=size)
        self.done = time.perf_counter()

    def concerned(self, plan: AlertPlan, after: int, limit: int) -> list[tuple[int, bool]]:
        """Leave the ledger out: it follows, and is not what is measured."""
        return []


@contextmanager
def _senders(services: Services) -> Iterator[None]:
    """What a server runs; its calm lanes are busy with digests, or idle."""
    worker = Worker(services).start()
    try:
        yield
    finally:
        worker.stop()


def _round(template: Path, port: int, load: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mycity.db"
        shutil.copy(template, path)
        gates = {"email": Gate("smtp", EmailChannel(f"smtp://127.0.0.1:{port}")), "sms": Gate("sms")}
        services = _open(path, Path(folder), gates)
        try:
            return _measure(services, gates, load)
        finally:
            services.close()


def _measure(services: Services, gates: dict[str, Gate], load: bool) -> dict[str, float]:
    services.__dict__["alert_outbox"] = timed = _Timed(services.database)
    if not load:
        with services.database.write() as connection:
            run_plain(connection, "UPDATE delivery SET state = 'cancelled' WHERE lane = 'digest'")
        with services.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with _senders(services):
        while load and gates["email"].others < 500:  # the run is well under way
            time.sleep(0.02)
        before = gates["email"].others
        notice = _warning(services)
        began = time.perf_counter()
        teller = threading.Thread(target=lambda: told.append(alerts.relay(services, [notice])), daemon=True)
        told: list[alerts.AlertReport] = []
        teller.start()
        while not timed.done or any(gate.first is None for gate in gates.values()):
            time.sleep(0.002)
        digests = gates["email"].others - before
        messages = _count(services)
    first = max(gate.first for gate in gates.values() if gate.first is not None) - began
    teller.join(60)
    return {"first": first, "queued": timed.done - began, "digests": digests, "messages": messages}


def _count(services: Services) -> int:
    with services.database.read() as connection:
        query = "SELECT COUNT(*) FROM delivery WHERE lane = 'alert'"
        return int(plain_rows(connection, query)[0][0])


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
