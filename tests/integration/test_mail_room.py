"""From a mail that came back to an ended subscription: pipe, Maildir, POP3; twice, killed, forged."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.jobs import joining, mailroom
from api.jobs.receipts import take_waiting
from api.mailing import mail_gaps, open_mail
from api.ops.cli import app
from api.settings import read_settings
from api.wiring import Services, build
from delivery.bounce_reports import bounce_token, return_path
from delivery.bounces import MaildirBox, open_mailbox
from delivery.dkim import key_pem, new_key
from delivery.mail_store import MailStore
from delivery.types import NewDelivery
from feeds.kernel.db import Database
from feeds.kernel.errors import FetchError, UsageError
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import NOW, profile
from tests.unit.test_bounces import ARF, dsn


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    yield build(
        read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example"),
        clock=FixedClock(NOW),
        database=database,
        demo=True,
    )


def sent_mail(services: Services, number: int = 1) -> tuple[int, int]:
    """A reader and the number of a mail that a provider took."""
    wish = profile(places=(FollowedPlace("sl"),))
    reader = joining.join(services, wish, email=f"r{number}@mail.example", verified=True).profile.id
    row = NewDelivery(
        f"digest:{reader}:email:x", reader, "email", "digest", NOW, NOW + timedelta(hours=9), {}
    )
    services.outbox.enqueue([row], NOW)
    [claimed] = services.outbox.claim(["digest"], 1, NOW, timedelta(minutes=5))
    services.outbox.finish(claimed.id, claimed.lease_token, "sent", at=NOW, provider="email")
    return reader, claimed.id


def state(services: Services, number: int) -> str:
    row = services.outbox.get(number)
    assert row is not None
    return row.state


def path(services: Services, number: int) -> str:
    return return_path(services.key, number, "bounces.shili.example")


def test_a_dead_address_ends_the_subscription_once(services: Services) -> None:
    reader, number = sent_mail(services)
    data = dsn("5.1.1", "550 5.1.1 user unknown", to=path(services, number))
    assert mailroom.take_one(services, data) == "bounced"
    assert state(services, number) == "bounced"
    assert services.subscriptions.live(reader, "email") is None
    assert services.suppressions.of("email", "r1@mail.example") is not None
    assert mailroom.take_one(services, data) == "bounced"  # the same report again changes nothing


def test_a_full_mailbox_ends_nothing(services: Services) -> None:
    reader, number = sent_mail(services)
    assert (
        mailroom.take_one(services, dsn("5.2.2", "552 5.2.2 mailbox full", to=path(services, number)))
        == "failed"
    )
    assert state(services, number) == "failed"
    assert services.subscriptions.live(reader, "email") is not None


def test_a_complaint_ends_it(services: Services) -> None:
    reader, number = sent_mail(services)
    text = ARF.replace("KIND", "abuse")
    data = (
        text[: text.index("Original-Mail-From")]
        + f"Original-Mail-From: <{path(services, number)}>\n\n--b--\n"
    )
    assert mailroom.take_one(services, data.encode()) == "complained"
    assert services.subscriptions.live(reader, "email") is None


def test_forged_and_strange_mails_touch_nobody(services: Services) -> None:
    reader, number = sent_mail(services)
    forged = dsn("5.1.1", "550 user unknown", to=f"b+{number}-aaaaaaaaaaaaaaaa@bounces.shili.example")
    assert mailroom.take_one(services, forged) == "strange"
    holiday = f"From: li@mail.example\r\nTo: {path(services, number)}\r\nSubject: 自动回复\r\n\r\n休假\r\n"
    assert mailroom.take_one(services, holiday.encode()) == "ignored"
    assert services.subscriptions.live(reader, "email") is not None
    assert state(services, number) == "sent"


def test_a_refusal_on_the_spot_counts_as_a_bounce(services: Services) -> None:
    reader, _ = sent_mail(services)
    row = NewDelivery(
        f"digest:{reader}:email:y", reader, "email", "digest", NOW, NOW + timedelta(hours=9), {}
    )
    services.outbox.enqueue([row], NOW)
    [claimed] = services.outbox.claim(["digest"], 1, NOW, timedelta(minutes=5))
    mailroom.refused(services, f"<d.{bounce_token(services.key, claimed.id)}@shili.example>", "5.1.1")
    assert services.subscriptions.live(reader, "email") is not None  # its sender still holds the row
    services.outbox.finish(claimed.id, claimed.lease_token, "failed", at=NOW, error="550 5.1.1")
    assert take_waiting(services).moved == 1
    assert services.subscriptions.live(reader, "email") is None
    mailroom.refused(services, "<test-1@shili.example>", "5.1.1")  # a mail without a row


def test_a_maildir_is_emptied_of_what_was_understood(services: Services, tmp_path: Path) -> None:
    _, number = sent_mail(services)
    for name in ("new", "cur", "tmp"):
        (tmp_path / "box" / name).mkdir(parents=True)
    new = tmp_path / "box" / "new"
    (new / "1.a").write_bytes(dsn("5.1.1", "user unknown", to=path(services, number)))
    (new / "2.b").write_bytes(dsn("5.1.1", "user unknown", to="b@x.example"))
    (new / "3.c").write_bytes(b"Subject: hello\r\n\r\nhello\r\n")
    box = MaildirBox(tmp_path / "box")
    taken = mailroom.take_all(services, box, limit=1)
    assert (taken.read, taken.verdicts) == (1, (("bounced", 1),))
    taken = mailroom.take_all(services, box)
    assert (taken.read, taken.ignored, taken.strange) == (2, 1, 1)
    assert list(new.iterdir()) == []
    assert [file.name for file in (tmp_path / "box" / "cur").iterdir()] == ["2.b:2,"]
    assert mailroom.take_all(services, box).read == 0


def test_killed_after_the_receipt_the_mail_comes_again_and_changes_nothing(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, number = sent_mail(services)
    (tmp_path / "box" / "new").mkdir(parents=True)
    (tmp_path / "box" / "new" / "1.a").write_bytes(dsn("5.1.1", "user unknown", to=path(services, number)))
    box = MaildirBox(tmp_path / "box")

    def dies(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(box, "done", dies)
    with pytest.raises(KeyboardInterrupt):
        mailroom.take_all(services, box)
    monkeypatch.undo()
    assert mailroom.take_all(services, MaildirBox(tmp_path / "box")).read == 1
    assert state(services, number) == "bounced"


class _Pop3(socketserver.StreamRequestHandler):
    """Enough of RFC 1939 for a mailbox: USER, PASS, UIDL, TOP, DELE, QUIT."""

    def handle(self) -> None:
        mails: dict[str, bytes] = self.server.mails  # type: ignore[attr-defined]
        names, gone = list(mails), set()
        self.wfile.write(b"+OK ready\r\n")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if verb == "PASS" and rest != "geheim":
                self.wfile.write(b"-ERR no\r\n")
            elif verb == "UIDL":
                listed = "".join(f"{n} {name}\r\n" for n, name in enumerate(names, 1))
                self.wfile.write(f"+OK\r\n{listed}.\r\n".encode())
            elif verb == "TOP":
                body = mails[names[int(rest.split()[0]) - 1]].replace(b"\r\n.", b"\r\n..")
                self.wfile.write(b"+OK\r\n" + body + b"\r\n.\r\n")
            elif verb == "DELE":
                gone.add(names[int(rest) - 1])
                self.wfile.write(b"+OK\r\n")
            elif verb == "QUIT":
                for name in gone:
                    del mails[name]
                self.wfile.write(b"+OK\r\n")
                return
            else:
                self.wfile.write(b"+OK\r\n")


@contextmanager
def pop3(mails: dict[str, bytes]) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Pop3) as server:
        server.daemon_threads = True
        server.mails = mails  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"pop3://bounces:geheim@127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_pop3_mailbox(services: Services) -> None:
    _, number = sent_mail(services)
    mails = {
        "u1": dsn("5.1.1", "user unknown", to=path(services, number)),
        "u2": dsn("5.1.1", "user unknown", to="b@x.example"),
    }
    with pop3(mails) as url:
        for read in (2, 0):
            box = open_mailbox(url)
            assert mailroom.take_all(services, box).read == read  # what is strange is handed out once
            box.close()
        with pytest.raises(FetchError) as caught:
            open_mailbox(url.replace("geheim", "falsch"))
    assert "falsch" not in str(caught.value)
    assert list(mails) == ["u2"]
    assert state(services, number) == "bounced"


@pytest.mark.parametrize(
    "url", ["imap://u:geheim@h", "maildir:", "pop3s://h", "/var/mail", "maildir:///no/where"]
)
def test_a_wrong_mailbox_is_told(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_mailbox(url)
    assert "geheim" not in str(caught.value)


def test_the_day_of_a_new_sender_is_shared(database: Database) -> None:
    store, day = MailStore(database), date(2026, 12, 1)
    assert [store.reserve(day, 20, 50) for _ in range(4)] == [20, 20, 10, 0]
    assert (store.taken(day), store.taken(date(2026, 12, 2))) == (50, 0)
    assert store.reserve(date(2026, 12, 2), 5, 75) == 5
    assert store.trim(date(2026, 12, 2)) == 1


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    def gaps(**fixed: Any) -> list[str]:
        real = {"smtp_url": "smtp://127.0.0.1:25", "mail_from": "示例 <n@city.example>"}
        return list(mail_gaps(read_settings({}, home=tmp_path, **(real | fixed))))

    assert list(mail_gaps(read_settings({}, home=tmp_path))) == []
    assert [word in " ".join(gaps()) for word in ("dkim-new", "MYCITY_MAIL_BOUNCES", "https")] == [True] * 3
    (tmp_path / "k.pem").write_bytes(key_pem(new_key("ed25519")))
    whole = {
        "dkim_keys": "a=k.pem", "mail_bounces": "b.city.example", "bounce_url": "maildir:///x",
        "base_url": "https://city.example",
    }  # fmt: skip
    assert gaps(**whole) == []
    assert gaps(**whole, mail_from="n@mail.city.example", dkim_domain="city.example") == []
    assert "MYCITY_DKIM_DOMAIN" in gaps(**whole, dkim_domain="other.example")[0]
    assert "MYCITY_MAIL_RATES" in gaps(**whole, mail_rates="x")[0]
    assert "missing.pem" in gaps(**whole | {"dkim_keys": "a=missing.pem"})[0]


def test_the_channel_is_made_of_the_settings(services: Services, tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(key_pem(new_key("ed25519")))
    fixed = {"smtp_url": "smtp://127.0.0.1:9", "mail_from": "n@city.example", "dkim_keys": "a=k.pem"}
    settings = read_settings({}, home=tmp_path, mail_warmup="2026-10-12,5", mail_rates="*=5/s", **fixed)
    channel = open_mail(settings, services.database, services.clock, services.zone)
    channel.close()
    with pytest.raises(UsageError, match="MYCITY_MAIL_WARMUP"):
        open_mail(
            settings.model_copy(update={"mail_warmup": "x"}), services.database, services.clock, services.zone
        )


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYCITY_HOME", str(tmp_path))
    monkeypatch.setenv("MYCITY_CITY", "shili")
    monkeypatch.setenv("MYCITY_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("MYCITY_MAIL_FROM", "n@city.example")
    runner = CliRunner()
    made = runner.invoke(app, ["mail", "dkim-new", "2026a"])
    assert made.exit_code == 0, made.output
    assert "2026a._domainkey.city.example." in made.output
    assert "v=DKIM1; k=rsa; p=" in made.output
    file = tmp_path / "dkim" / "2026a.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    assert isinstance(runner.invoke(app, ["mail", "dkim-new", "2026a"]).exception, UsageError)
    shown = runner.invoke(app, ["mail", "dkim-record", "2026a", str(file)])
    assert shown.output.split("TXT")[1] == made.output.split("TXT")[1]
    assert "k=ed25519" in runner.invoke(app, ["mail", "dkim-new", "e", "--kind", "ed25519"]).output
    runner.invoke(app, ["migrate"])
    taken = runner.invoke(app, ["mail", "bounce", "-"], input=dsn("5.1.1", "x", to="b@x.example"))
    assert (taken.exit_code, "strange" in taken.output) == (0, True), taken.output
    assert isinstance(runner.invoke(app, ["mail", "collect"]).exception, UsageError)
    assert json.dumps(taken.output)


def test_a_mail_that_breaks_is_left_and_those_behind_it_are_read(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from email import message_from_bytes

    def reads(raw: bytes, **options: Any) -> Any:
        if raw.startswith(b"Broken"):
            raise RecursionError
        return message_from_bytes(raw, **options)

    monkeypatch.setattr("delivery.bounce_reports.message_from_bytes", reads)
    _, number = sent_mail(services)
    for name in ("new", "cur", "tmp", "new/0-folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "new" / "1").write_bytes(b"Broken: x")
    (tmp_path / "new" / "2").write_bytes(b"Subject: =?utf-8?b?a?=\r\n\r\nx")
    (tmp_path / "new" / "3").write_bytes(dsn("5.1.1", "550 user unknown", to=path(services, number)))
    report = mailroom.take_all(services, MaildirBox(tmp_path))
    assert (report.read, report.strange, report.ignored) == (3, 1, 1)
    assert state(services, number) == "bounced"
    assert [one.name for one in (tmp_path / "cur").iterdir()] == ["1:2,"]
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["0-folder"]
