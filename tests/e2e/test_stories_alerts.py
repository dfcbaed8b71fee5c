"""Story 8 whole: a typhoon on a Saturday night while a digest run is under way, from the bureau to the
proof.

Everything is real but the clock and the provider of texts: the bureau's server on loopback, the guarded
client, the worker's own threads, an SMTP server. Also: the process that relays is killed between two
slices.
"""

from __future__ import annotations

import email
import email.policy
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from aiosmtpd.controller import Controller
from starlette.testclient import TestClient

from api.jobs import alert_proof, alerts, joining
from api.jobs.scheduler import tick_poll
from api.jobs.worker import Worker
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.channels.email import EmailChannel
from delivery.types import Accepted, Message, NewDelivery, Receipt, SmsMessage
from feeds.intake.parsers.cap import parse_cap
from feeds.intake.types import Fetched
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock, to_micros
from profiles.editions import NewEdition
from profiles.types import FollowedPlace, Pick, Profile, Reason
from tests.capschema import check
from tests.factories import new_notice
from tests.loopback import Loopback, answer, serving

CAP = Path(__file__).resolve().parent.parent / "data" / "cap"
HOMES = {"lan": "sl02", "zhe": "sl03", "zhang": "sl04", "wang": "sl06", "he": "sl05", "ting": "sl01"}
FOUR, FIVE = ["lan", "wang", "zhang", "zhe"], ["he", "lan", "wang", "zhang", "zhe"]
DIGESTS = 300


def local(text: str) -> datetime:
    """Read ``09-26 21:50`` of 2026 in Shanghai."""
    return datetime.fromisoformat(f"2026-{text.replace(' ', 'T')}:00+08:00").astimezone(UTC)


class Mailbox:
    """Keeps who got which subject, in the order of arrival; takes a moment for each mail, as servers do."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        name = envelope.rcpt_tos[0].partition("@")[0]
        self.got.append((name, str(mail["subject"])))
        return "250 taken"

    def alerts(self) -> Counter[str]:
        return Counter(name for name, subject in self.got if "预警" in subject or "lert" in subject)


class Texts:
    """A provider of texts that takes everything."""

    name = "texts"

    def __init__(self) -> None:
        self.got: list[SmsMessage] = []

    def send(self, message: Message) -> Accepted:
        assert isinstance(message, SmsMessage)
        self.got.append(message)
        return Accepted(self.name, message.out_id)

    def close(self) -> None:
        """Nothing is open."""


class Town:
    """The sample city with a real mail server, a provider of texts, and the bureau on loopback."""

    def __init__(self, services: Services, web: Loopback, box: Mailbox, texts: Texts) -> None:
        self.services, self.web, self.box, self.texts = services, web, box, texts
        self.people: dict[str, int] = {}

    def at(self, when: str) -> None:
        clock = self.services.clock
        assert isinstance(clock, FixedClock)
        clock.at = local(when)

    def says(self, name: str) -> None:
        body = (CAP / name).read_bytes() if name.endswith(".cap") else name.encode()
        self.web.routes["/observatory"] = answer(200, body)

    def settle(self) -> None:
        """Wait until the worker has nothing of an alert left."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            sizes = self.services.outbox.sizes()
            if not sizes.get(("alert", "queued")) and not sizes.get(("alert", "leased")):
                return
            time.sleep(0.02)
        raise AssertionError("alerts still wait")


@pytest.fixture
def town(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    box, texts = Mailbox(), Texts()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    with serving() as web:
        settings = read_settings(
            {}, home=tmp_path, city="shili", allow_private=web.place, poll_processes="0",
            mail_from="notices@shili.example", secret_key="a key for tests only, long enough to be one",
        )  # fmt: skip
        channels = {"email": EmailChannel(f"smtp://127.0.0.1:{port}"), "sms": texts}
        services = build(settings, clock=FixedClock(local("09-26 09:00")), database=sqlite, channels=channels)
        made = Town(services, web, box, texts)
        for number, (name, place) in enumerate(HOMES.items()):
            wish = Profile(0, services.clock.now(), places=(FollowedPlace(place, "home"),))
            phone = {"phone": f"1380000000{number}"} if name in ("lan", "ting") else {}
            joined = joining.join(
                services, wish, verified=True, email=f"{name}@shili.example", digest_hour=9, **phone
            )
            made.people[name] = joined.profile.id
        made.says("typhoon-1-orange.cap")
        services.sources.add(
            slug="observatory", name="示例·气象台", url=web.url("/observatory"), at=services.clock.now(),
            place="sl", interval_s=60, kind="cap", release="publish",
        )  # fmt: skip
        yield made
        for channel in channels.values():
            channel.close()
    server.stop()


def digests(town: Town) -> None:
    """Plan a run of digests for everybody's neighbours: people who follow 汀阳, where no warning holds."""
    services = town.services
    now = services.clock.now()
    [notice] = services.notices.add([new_notice()], at=now)
    pick = Pick(notice, 1, "new", (Reason("citywide"),))
    rows = []
    for number in range(DIGESTS):
        wish = Profile(0, now, places=(FollowedPlace("sl01", "home"),))
        reader = joining.join(
            services, wish, verified=True, email=f"n{number}@shili.example", digest_hour=9
        ).profile.id
        rows.append(reader)
    ids = services.editions.append(
        [NewEdition(one, "daily", (pick,), now, services.editions.shelf_version(one)) for one in rows]
    )
    window = [to_micros(now) - 86_400_000_000, to_micros(now)]
    planned = [
        NewDelivery(
            f"digest:{one}:email:x", one, "email", "digest", now, local("09-27 20:00"),
            {"kind": "digest", "editions": [edition], "lang": "zh-Hans", "template": "mail-1",
             "window": window},
            ((notice, 1),),
        )
        for one, edition in zip(rows, ids, strict=True)
    ]  # fmt: skip
    services.outbox.enqueue(planned, now)


def test_a_typhoon_on_a_saturday_night_during_a_digest_run(town: Town) -> None:
    services, box = town.services, town.box
    digests(town)
    worker = Worker(services, urgent_seconds=0.02, calm_seconds=0.02).start()
    try:
        while sum(name.startswith("n") for name, _ in box.got) < 20:  # the run is well under way
            time.sleep(0.01)
        town.at("09-26 21:50")
        began = time.monotonic()
        landed = threading.Thread(target=tick_poll, args=(services,))
        landed.start()
        while not box.alerts() or not town.texts.got:
            assert time.monotonic() - began < 10
            time.sleep(0.005)
        first = time.monotonic() - began
        landed.join()
        town.settle()
        assert first < 2  # from the poll, not only from the release
        assert sorted(box.alerts()) == FOUR and set(box.alerts().values()) == {1}  # quiet hours are passed
        assert [one.to for one in town.texts.got] == ["+8613800000000"]  # 汀阳 gets none

        town.at("09-26 21:55")  # the same again
        town.says((CAP / "typhoon-1-orange.cap").read_text("utf-8") + "\n")
        tick_poll(services)
        town.settle()
        assert sum(box.alerts().values()) == 4

        town.at("09-26 23:10")  # red, 禾渚 added
        town.says("typhoon-2-red.cap")
        tick_poll(services)
        town.settle()
        assert box.alerts() == Counter(dict.fromkeys(FOUR, 2) | {"he": 1})
        assert "更新" in town.texts.got[1].text

        number = next(
            n.id
            for n in services.notices.export()
            if n.content.lang.startswith("zh") and "台风" in n.content.title
        )
        services.receipts.take(
            [Receipt("texts", town.texts.got[1].out_id, "delivered", services.clock.now())],
            services.clock.now(),
        )
        found = alert_proof.proof(services, number, services.clock.now())
        assert found.channels["email"]["sent"] == 5 and found.channels["sms"]["delivered"] == 1
        assert {code: one.people for code, one in found.districts.items()} == {
            HOMES[name]: 1 for name in FIVE
        }
        assert (found.total.confirmed, found.total.unconfirmed) == (1, 4)
        public(town, number, "Update")

        town.at("09-27 06:30")
        town.says("typhoon-3-cancel.cap")
        tick_poll(services)
        town.settle()
        assert box.alerts() == Counter(dict.fromkeys(FOUR, 3) | {"he": 2})
        assert "解除" in town.texts.got[-1].text and len(town.texts.got) == 3
        public(town, number, "Cancel")
        assert box.alerts()["ting"] == 0
    finally:
        worker.stop()


def public(town: Town, number: int, kind: str) -> None:
    """The public CAP is valid and says where the warning stands."""
    browser = TestClient(create_app(town.services), base_url=town.services.settings.base_url)
    answer_ = browser.get(f"/alerts/{number}.cap")
    assert answer_.status_code == 200
    assert check(answer_.content) == []
    root = ElementTree.fromstring(answer_.content)
    space = "{urn:oasis:names:tc:emergency:cap:1.2}"
    assert root.findtext(f"{space}msgType") == kind
    references = root.findtext(f"{space}references") or ""
    assert "cap@qixiang.shili.example,SL-2026-09-26-0001,2026-09-26T21:50:00+08:00" in references
    assert "示例·气象台" in (root.findtext(f"{space}source") or "")


_RELAY = """
import os, signal, sys
from pathlib import Path
from api.jobs import alerts
from api.settings import read_settings
from api.wiring import build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from datetime import datetime
alerts._FIRST = alerts._SLICE = 10
services = build(
    read_settings({}, home=Path(sys.argv[1]), city="shili"), database=Database(sys.argv[2]),
    clock=FixedClock(datetime.fromisoformat("2026-09-26T21:50:00+08:00")), demo=True,
)
real, planned = services.alert_outbox.plan, 0
def plan(*args, **named):
    global planned
    for some in real(*args, **named):
        planned += 1
        yield some
        if planned == 2:
            os.kill(os.getpid(), signal.SIGKILL)
services.alert_outbox.plan = plan
alerts.relay(services, [int(sys.argv[3])])
"""


def test_killed_between_two_slices_and_run_again(sqlite: Database, tmp_path: Path) -> None:
    services = build(
        read_settings({}, home=tmp_path, city="shili"), database=sqlite,
        clock=FixedClock(local("09-26 09:00")), demo=True,
    )  # fmt: skip
    for number in range(45):
        wish = Profile(0, services.clock.now(), places=(FollowedPlace("sl02", "home"),))
        joining.join(services, wish, verified=True, email=f"n{number}@shili.example", digest_hour=9)
    services.clock.at = local("09-26 21:50")  # type: ignore[attr-defined]
    landed = services.ingestor
    source = alerts._file_source(services)
    body = (CAP / "typhoon-1-orange.cap").read_bytes()
    prepared = landed.complete(source, parse_cap(body, {}, "x", zone=services.zone), services.client())
    report = landed.take(source, Fetched(200, "x", body, {}, services.clock.now()), prepared)
    command = [sys.executable, "-c", _RELAY, str(tmp_path), str(sqlite.engine.url), str(report.new_ids[0])]
    died = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    before = services.outbox.sizes()[("alert", "queued")]
    assert before == 20  # two slices
    told = alerts.catch_up(services)
    assert told.messages["email"] == 25
    assert services.outbox.sizes()[("alert", "queued")] == 45
    assert told.editions == 45
    assert alerts.catch_up(services).messages.total() == 0
