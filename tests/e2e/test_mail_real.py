"""Mails over real SMTP: signed, refused by a real 550, and a bounce written by a real mail server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import dkim
import pytest
from aiosmtpd.controller import Controller

from api.jobs import joining, mailroom
from api.jobs.receipts import take_waiting
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.mailing import open_mail
from api.ops.migrate import migrate
from api.settings import read_settings
from api.wiring import Services, build
from delivery.bounces import MaildirBox
from delivery.dkim import DkimKey, key_pem, new_key
from delivery.types import NewDelivery
from feeds.kernel.time import FixedClock, to_micros
from profiles.types import FollowedPlace
from tests.factories import NOW, new_notice, profile

POSTFIX = shutil.which("postfix", path="/usr/sbin:/usr/bin")
KEYS = [DkimKey("r1", new_key("rsa")), DkimKey("e1", new_key("ed25519"))]


class Sink:
    """Takes mails, except for addresses that begin with ``dead``."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.came = threading.Event()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("dead"):
            return "550 5.1.1 mailbox unknown"
        if address.startswith("busy"):
            return "550 Domain frequency limited"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        self.came.set()
        return "250 ok"


@contextmanager
def serving(sink: Sink) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture
def sink() -> Iterator[tuple[Sink, int]]:
    made = Sink()
    with serving(made) as port:
        yield made, port


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    for key in KEYS:
        (tmp_path / f"{key.selector}.pem").write_bytes(key_pem(key.key))
    settings = read_settings(
        {},
        home=tmp_path,
        city="shili",
        base_url="https://shili.example",
        mail_from="示例市公告 <notices@shili.example>",
        mail_bounces="bounces.shili.example",
        dkim_keys="r1=r1.pem,e1=e1.pem",
    )
    made = build(settings, clock=FixedClock(NOW - timedelta(days=1)), demo=True)
    migrate(made.database)
    yield made
    made.close()


def connect(services: Services, port: int) -> None:
    """Send over real SMTP from now on, as the wiring would."""
    settings = services.settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{port}"})
    services.channels = {
        "email": open_mail(
            settings,
            services.database,
            services.clock,
            services.zone,
            on_dead=lambda reference, code: mailroom.refused(services, reference, code),
        )
    }


def readers(services: Services, *names: str) -> list[int]:
    """Residents with a digest that is planned, of a notice released since they joined."""
    ids, tags = [], ("theme:04", "theme:0402")
    where = {"tags": tags, "level": "city", "place": "sl"}
    old = new_notice("old", title="【示例】旧公告", published=NOW - timedelta(days=3), **where)
    services.notices.add(
        [old], at=NOW - timedelta(days=2)
    )  # goes into the welcome edition, which is never mailed
    for name in names:
        wish = profile(places=(FollowedPlace("sl"),))
        ids.append(joining.join(services, wish, email=f"{name}@mail.example", verified=True).profile.id)
    clock = services.clock
    assert isinstance(clock, FixedClock)
    begin, clock.at = clock.at, NOW
    new = new_notice("n", title="【示例】纳税申报期延长", published=NOW, **where)
    services.notices.add([new], at=NOW)
    select_all(services)
    clock.at = NOW + timedelta(minutes=1)
    window = [to_micros(begin), to_micros(clock.at)]
    recipe = {"kind": "digest", "window": window, "lang": "zh-Hans", "template": ""}
    rows = [
        NewDelivery(
            f"digest:{n}:email:x",
            n,
            "email",
            "digest",
            clock.at,
            clock.at + timedelta(hours=9),
            recipe,
            frozen=False,
        )
        for n in ids
    ]
    assert services.outbox.enqueue(rows, clock.at) == len(ids)
    return ids


def state(services: Services, reader: int) -> str:
    return next(row.state for row in services.outbox.for_profile(reader) if row.lane == "digest")


def test_a_digest_arrives_signed_and_a_dead_address_gets_no_second(
    services: Services, sink: tuple[Sink, int]
) -> None:
    handler, port = sink
    good, dead, busy = readers(services, "li", "dead", "busy")
    connect(services, port)
    report = send(services)
    assert dict(report.states) == {"sent": 1, "failed": 1, "queued": 1}
    [(sender, recipients, data)] = handler.taken
    assert recipients == ["li@mail.example"]
    assert sender.startswith("b+")
    assert sender.endswith("@bounces.shili.example")
    records = {f"{key.selector}._domainkey.shili.example.".encode(): key.record().encode() for key in KEYS}
    for number in range(2):
        assert dkim.DKIM(data).verify(idx=number, dnsfunc=lambda name, **_: records[name])
    parsed = message_from_bytes(data, policy=policy.default)
    assert not parsed.defects
    assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert str(parsed["List-Unsubscribe"]).startswith("<https://shili.example/u/")
    assert "纳税申报期延长" in str(parsed["Subject"])
    assert len(data) < 100_000
    # the refusal ends the subscription as a bounce would; "too frequent" ends nothing and costs no attempt
    assert take_waiting(services).ended == 1
    assert services.subscriptions.live(dead, "email") is None
    assert services.subscriptions.live(good, "email") is not None
    assert services.subscriptions.live(busy, "email") is not None
    row = next(row for row in services.outbox.for_profile(busy) if row.lane == "digest")
    assert (row.state, row.attempts) == ("queued", 0)


@pytest.mark.skipif(POSTFIX is None or os.getuid() != 0, reason="needs postfix, and root to run it")
def test_a_real_mail_server_bounces_and_the_subscription_ends(
    services: Services, sink: tuple[Sink, int], tmp_path: Path
) -> None:
    _, next_hop = sink
    back = Sink()
    _, dead = readers(services, "li", "dead")
    with serving(back) as bounce_port, postfix(tmp_path, next_hop, bounce_port) as port:
        connect(services, port)
        assert dict(send(services).states) == {"sent": 2}
        assert back.came.wait(20), "no bounce came back"
    [(sender, recipients, report)] = back.taken
    assert sender in ("", "<>", None)
    assert state(services, dead) == "sent"
    box = tmp_path / "box"
    (box / "new").mkdir(parents=True)
    (box / "new" / "1").write_bytes(f"Delivered-To: {recipients[0]}\r\n".encode() + report)
    taken = mailroom.take_all(services, MaildirBox(box))
    assert taken.verdicts == (("bounced", 1),)
    assert state(services, dead) == "bounced"
    assert services.subscriptions.live(dead, "email") is None


@contextmanager
def postfix(folder: Path, next_hop: int, bounce_port: int) -> Iterator[int]:
    """Postfix of its own: takes mail on a free port, relays it to one sink and bounces to another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    home = (
        Path("/var/tmp") / f"mycity-postfix-{os.getpid()}"
    )  # its daemons drop rights: no private folder will do
    config, queue, data = home / "etc", home / "queue", home / "data"
    for one in (config, queue, data):
        one.mkdir(parents=True)
    shutil.chown(data, "postfix", "postfix")
    home.chmod(0o755)
    (config / "master.cf").write_text(
        f"127.0.0.1:{port} inet n - n - - smtpd\n"
        "cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n"
        "bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n"
        "smtp unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n"
        "anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\ntlsmgr unix - - n 1000? 1 tlsmgr\n"
        "proxymap unix - - n - - proxymap\npickup unix n - n 60 1 pickup\n"
        "showq unix n - n - - showq\nflush unix n - n 1000? 0 flush\nverify unix - - n - 1 verify\n"
        "local unix - n n - - local\npostlog unix-dgram n - n - 1 postlogd\n"
    )
    (config / "transport").write_text(f"bounces.shili.example smtp:[127.0.0.1]:{bounce_port}\n")
    (config / "main.cf").write_text(
        f"queue_directory = {queue}\ndata_directory = {data}\ncompatibility_level = 3.6\n"
        "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nmydestination =\n"
        "myhostname = relay.shili.example\nsmtp_dns_support_level = disabled\nsmtp_host_lookup = native\n"
        f"relayhost = [127.0.0.1]:{next_hop}\ntransport_maps = texthash:{config}/transport\n"
        f"maillog_file = /var/log/mycity-postfix-{os.getpid()}.log\nalias_maps =\nalias_database =\n"
        f"smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtp_tls_security_level = none\n"
    )
    log = Path(f"/var/log/mycity-postfix-{os.getpid()}.log")
    command = [str(POSTFIX), "-c", str(config)]
    try:
        subprocess.run([*command, "start"], check=True, capture_output=True, timeout=30)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        subprocess.run([*command, "stop"], check=False, capture_output=True, timeout=30)
        shutil.rmtree(home, ignore_errors=True)
        log.unlink(missing_ok=True)
