"""One contract for every channel, against a real SMTP server that can misbehave."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dkim
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from delivery.channels.capture import CaptureChannel
from delivery.channels.email import EmailChannel, classify, parse_smtp_url
from delivery.dkim import DkimKey, DkimSigner, new_key
from delivery.errors import (
    DeadAddressError,
    DeliveryError,
    PermanentError,
    RetryableError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.mail_domains import DailyQuota, MailRates, Warmup, parse_rates
from delivery.types import Accepted, ChannelPort, MailMessage, SmsMessage
from feeds.kernel.errors import UsageError

NOW = datetime(2026, 10, 12, tzinfo=UTC)
MAIL = MailMessage(
    to="resident@mail.example",
    subject="【示例】公告",
    text="正文\n.点开头\n",
    html="<p>正文</p>\n",
    message_id="<d7.0af3@city.example>",
    sender="示例市公告 <notices@city.example>",
    date=datetime(2026, 10, 12, 1, tzinfo=UTC),
    headers=(("List-Unsubscribe", "<https://city.example/u/" + "x" * 200 + ">"),),
)
SMS = SmsMessage(
    "+8613800000001", "digest-zh-1", {"item1": "停水"}, "【示例市公告】停水。拒收请回复R", 1, "d7"
)


class Server:
    """A handler for aiosmtpd: keeps what it takes, or misbehaves as told by ``mode``."""

    def __init__(self) -> None:
        self.mode = ""
        self.pipelining = False
        self.senders: list[str] = []
        self.taken: list[bytes] = []
        self.recipients: list[str] = []
        self.connections = 0
        self.transports: list[Any] = []

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: Any
    ) -> Any:
        self.connections += 1
        self.transports.append(server.transport)
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]] if self.pipelining else responses

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.mode == "closed before MAIL":
            server.transport.abort()
        answers = {
            "sender refused": "550 5.7.1 not from here",
            "busy": "452 4.3.1 no room",
            "slow": "421 slow down",
        }
        if self.mode in answers:
            return answers[self.mode]
        envelope.mail_from = address
        self.senders.append(address)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        answers = {
            "greylist": "451 4.7.1 try again later",
            "unknown mailbox": f"550 5.1.1 <{address}>: no such user",
            "too frequent": "550 Domain frequency limited",
            "closing": "421 4.3.2 shutting down",
        }
        if self.mode in answers:
            return answers[self.mode]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(envelope.content)
        self.recipients += envelope.rcpt_tos
        if self.mode == "abort after content":
            server.transport.abort()
            return "250 never seen"
        if self.mode == "silent after content":
            await asyncio.sleep(3)
        if self.mode == "content refused":
            return "554 5.7.1 looks like spam"
        return "250 2.0.0 queued as 17"


@contextmanager
def running(server: Server, port: int, **options: Any) -> Iterator[str]:
    controller = Controller(server, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        done = threading.Event()

        def abort() -> None:
            for transport in server.transports:
                transport.abort()
            controller.loop.call_later(0.05, done.set)

        controller.loop.call_soon_threadsafe(abort)
        done.wait(5)
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["one by one", "pipelining"])
def smtp(request: pytest.FixtureRequest) -> Iterator[tuple[Server, str]]:
    handler = Server()
    handler.pipelining = request.param == "pipelining"
    with running(handler, free_port()) as url:
        yield handler, url


@pytest.fixture(params=["capture", "email"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChannelPort]:
    opened: ChannelPort
    with running(Server(), free_port()) as url:
        capture = request.param == "capture"
        opened = CaptureChannel(tmp_path / "captured") if capture else EmailChannel(url, timeout=5)
        yield opened
        opened.close()


class TestContract:
    """What ``ChannelPort`` promises."""

    def test_it_accepts_and_names_itself(self, channel: ChannelPort) -> None:
        accepted = channel.send(MAIL)
        assert isinstance(accepted, Accepted)
        assert accepted.provider == channel.name
        assert accepted.ref

    def test_it_takes_the_same_message_again(self, channel: ChannelPort) -> None:
        assert channel.send(MAIL).ref == channel.send(MAIL).ref

    def test_a_bad_message_is_permanent(self, channel: ChannelPort) -> None:
        for bad in (
            replace(MAIL, to="a@b.example, c@d.example"),
            replace(MAIL, subject="a\nBcc: x@y.example"),
        ):
            with pytest.raises(PermanentError):
                channel.send(bad)
        assert channel.send(MAIL).ref

    def test_many_threads(self, channel: ChannelPort) -> None:
        refs: list[str] = []
        mails = [replace(MAIL, message_id=f"<d{number}@city.example>") for number in range(40)]

        def work(part: list[MailMessage]) -> None:
            refs.extend(channel.send(one).ref for one in part)

        threads = [threading.Thread(target=work, args=(mails[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(refs)) == 40

    def test_it_can_be_closed_twice_and_used_again(self, channel: ChannelPort) -> None:
        channel.send(MAIL)
        channel.close()
        channel.close()
        assert channel.send(MAIL).ref


class TestEmail:
    def test_the_mail_arrives_as_it_was(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        channel = EmailChannel(url)
        assert channel.send(replace(MAIL, to="zhang@例子.测试")).note == "250 2.0.0 queued as 17"
        channel.close()
        found = email.message_from_bytes(server.taken[0], policy=email.policy.default)
        assert found["Subject"] == MAIL.subject
        assert server.recipients == ["zhang@xn--fsqu00a.xn--0zwm56d"]
        body = found.get_body(("plain",))
        assert body is not None
        assert body.get_content().replace("\r\n", "\n") == MAIL.text
        assert MAIL.headers[0][1].encode() in server.taken[0]

    def test_one_connection_for_many_mails(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        channel = EmailChannel(url)
        for _ in range(20):
            channel.send(MAIL)
        channel.close()
        assert (len(server.taken), server.connections) == (20, 1)

    @pytest.mark.parametrize(
        ("mode", "error"),
        [
            ("greylist", RetryableError),
            ("unknown mailbox", DeadAddressError),
            ("too frequent", ThrottledError),
            ("closing", RetryableError),
            ("content refused", PermanentError),
            ("sender refused", PermanentError),
            ("busy", RetryableError),
            ("slow", ThrottledError),
            ("closed before MAIL", RetryableError),
            ("abort after content", UnknownOutcomeError),
            ("silent after content", UnknownOutcomeError),
        ],
    )
    def test_faults(self, smtp: tuple[Server, str], mode: str, error: type[DeliveryError]) -> None:
        server, url = smtp
        server.mode = mode
        channel = EmailChannel(url, timeout=5, answer_timeout=0.5)
        with pytest.raises(error) as caught:
            channel.send(MAIL)
        assert "resident@" not in str(caught.value)
        server.mode = ""
        after = replace(MAIL, to="other@second.example") if mode in ("too frequent", "slow") else MAIL
        assert channel.send(after).ref  # the next mail is not harmed
        channel.close()

    def test_too_frequent_gives_the_provider_a_pause_and_no_other(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        server.mode = "too frequent"
        channel = EmailChannel(url, timeout=5)
        with pytest.raises(ThrottledError) as caught:
            channel.send(MAIL)
        assert caught.value.seconds >= 30
        server.mode = ""
        with pytest.raises(ThrottledError):
            channel.send(MAIL)  # held back here: the server is not even asked
        assert channel.send(replace(MAIL, to="other@second.example")).ref
        assert server.recipients == ["other@second.example"]
        channel.close()

    def test_rates_and_the_day_of_a_new_sender_hold_mails_back(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        places = iter([2, 0])
        quota = DailyQuota(Warmup(NOW.date(), 2), NOW.date, lambda *_: next(places, 0))
        rates = MailRates(parse_rates("mail.example=1/h"), lambda: 0.0)
        channel = EmailChannel(url, timeout=5, rates=rates, quota=quota)
        channel.send(MAIL)
        with pytest.raises(ThrottledError, match="provider") as caught:
            channel.send(MAIL)
        assert caught.value.seconds == 600  # the longest we let a row sleep
        channel.send(replace(MAIL, to="a@b.example"))
        with pytest.raises(ThrottledError, match="sender is new"):
            channel.send(replace(MAIL, to="a@c.example"))
        assert len(server.taken) == 2
        channel.close()

    def test_a_bounce_address_of_its_own_and_a_signature(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        signer = DkimSigner("city.example", [DkimKey("e1", new_key("ed25519"))])
        channel = EmailChannel(url, timeout=5, signer=signer)
        channel.send(replace(MAIL, envelope_from="b+17-aaaaaaaaaaaaaaaa@bounces.city.example"))
        assert server.senders == ["b+17-aaaaaaaaaaaaaaaa@bounces.city.example"]
        record = signer.keys[0].record().encode()
        assert dkim.verify(server.taken[0], dnsfunc=lambda *_, **__: record)
        channel.close()

    def test_who_is_told_of_a_dead_address(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        told: list[tuple[str, str]] = []
        server.mode = "unknown mailbox"
        channel = EmailChannel(url, timeout=5, on_dead=lambda *found: told.append(found))
        with pytest.raises(DeadAddressError):
            channel.send(MAIL)
        assert told == [(MAIL.message_id, "5.1.1")]
        channel.close()

    def test_required_tls_that_is_not_offered_is_told(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        with pytest.raises(RetryableError, match="MYCITY_MAIL_TLS"):
            EmailChannel(url, timeout=5, tls="require").send(MAIL)
        assert server.taken == []

    def test_a_refused_recipient_keeps_the_connection(self, smtp: tuple[Server, str]) -> None:
        server, url = smtp
        channel = EmailChannel(url)
        server.mode = "unknown mailbox"
        for _ in range(5):
            with pytest.raises(PermanentError):
                channel.send(MAIL)
        channel.close()
        assert server.connections == 1

    @pytest.mark.parametrize("mode", ["sender refused", "busy", "unknown mailbox"])
    def test_a_refusal_in_the_middle_keeps_answers_and_mails_together(
        self, smtp: tuple[Server, str], mode: str
    ) -> None:
        server, url = smtp
        channel = EmailChannel(url, timeout=5)
        for number in range(3):
            server.mode = ""
            channel.send(replace(MAIL, to=f"reader{number}@mail.example"))
            server.mode = mode
            with pytest.raises(DeliveryError):
                channel.send(MAIL)
        channel.close()
        assert server.recipients == [f"reader{number}@mail.example" for number in range(3)]

    def test_a_connection_that_died_idle_is_replaced(self) -> None:
        first, second = Server(), Server()
        port = free_port()
        channel = EmailChannel(f"smtp://127.0.0.1:{port}", timeout=5)
        for server in (first, second):
            with running(server, port):
                channel.send(MAIL)
        assert (len(first.taken), len(second.taken)) == (1, 1)
        with pytest.raises(RetryableError):
            channel.send(MAIL)  # nobody listens any more
        channel.close()

    def test_a_message_that_is_no_mail(self) -> None:
        with pytest.raises(PermanentError):
            EmailChannel("smtp://127.0.0.1:1").send(SMS)

    @pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
    @pytest.mark.parametrize(("password", "error"), [("good/p@ss", None), ("bad", RetryableError)])
    def test_login(self, password: str, error: type[Exception] | None) -> None:
        def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            right = data.login == b"us er" and data.password == b"good/p@ss"
            return AuthResult(success=right, handled=right)

        options = {"authenticator": check, "auth_required": True, "auth_require_tls": False}
        with running(Server(), free_port(), **options) as url:
            quoted = password.replace("/", "%2F").replace("@", "%40")
            channel = EmailChannel(url.replace("//", f"//us%20er:{quoted}@"), timeout=5)
            if error:
                with pytest.raises(error):
                    channel.send(MAIL)
            else:
                assert channel.send(MAIL).ref
            channel.close()

    def test_starttls_verifies_the_server(self, tmp_path: Path) -> None:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(_certificate(tmp_path))
        ours = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        server = Server()
        with running(server, free_port(), tls_context=theirs, require_starttls=True) as url:
            channel = EmailChannel(f"{url}?starttls=1", timeout=5, context=ours)
            assert channel.send(MAIL).ref
            channel.close()
            with pytest.raises(RetryableError, match="certificate does not hold"):
                EmailChannel(f"{url}?starttls=1", timeout=5).send(MAIL)
        assert len(server.taken) == 1

    @pytest.mark.parametrize(
        ("url", "port", "tls", "starttls"),
        [
            ("smtp://h", 25, False, False),
            ("smtp://h?starttls=1", 587, False, True),
            ("smtps://h", 465, True, False),
            ("smtp://u:p%40@h:2525", 2525, False, False),
        ],
    )
    def test_addresses(self, url: str, port: int, tls: bool, starttls: bool) -> None:
        found = parse_smtp_url(url)
        assert (found.host, found.port, found.tls, found.starttls) == ("h", port, tls, starttls)

    @pytest.mark.parametrize("url", ["", "http://h", "smtp://", "smtp://u:secret@h:port", "h:25"])
    def test_wrong_addresses(self, url: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_smtp_url(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("code", "text", "error"),
        [
            (421, "bye", RetryableError),
            (450, "4.2.0 greylisted", RetryableError),
            (550, "Connection frequency limited", ThrottledError),
            (550, "发送过于频繁，请稍后再试", ThrottledError),
            (452, "4.3.1 too many recipients", ThrottledError),
            (550, "please try again in an hour", RetryableError),
            (535, "authentication failed", RetryableError),
            (550, "5.1.1 user unknown", PermanentError),
            (552, "5.2.2 mailbox full", PermanentError),
            (554, "5.7.1 rejected", PermanentError),
            (-1, "", RetryableError),
        ],
    )
    def test_classify(self, code: int, text: str, error: type[DeliveryError]) -> None:
        assert type(classify(code, text)) is error


def _certificate(folder: Path) -> Path:
    """A certificate of our own for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    return path


class TestCapture:
    def test_files(self, tmp_path: Path) -> None:
        channel = CaptureChannel(tmp_path / "captured")
        mail, sms = Path(channel.send(MAIL).ref), Path(channel.send(SMS).ref)
        assert mail == tmp_path / "captured" / "email" / "d7.0af3@city.example.eml"
        assert sms == tmp_path / "captured" / "sms" / "d7.txt"
        assert sms.read_text("utf-8").endswith(f"\n\n{SMS.text}\n")
        assert (
            email.message_from_bytes(mail.read_bytes(), policy=email.policy.default)["Subject"]
            == MAIL.subject
        )
        for path, mode in ((mail, 0o600), (sms, 0o600), (mail.parent, 0o700), (mail.parent.parent, 0o700)):
            assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_twice_is_one_file(self, tmp_path: Path) -> None:
        channel = CaptureChannel(tmp_path)
        channel.send(SMS)
        channel.send(replace(SMS, text="other"))
        (path,) = (tmp_path / "sms").iterdir()
        assert path.read_text("utf-8").endswith("other\n")

    @pytest.mark.parametrize(
        "reference", ["../../etc/passwd", "a/b", "", "digest:7:sms:2026-10-12", "中" * 300]
    )
    def test_references_stay_in_the_folder(self, tmp_path: Path, reference: str) -> None:
        path = Path(CaptureChannel(tmp_path).send(replace(SMS, out_id=reference)).ref)
        assert path.parent == tmp_path / "sms"
        assert path.is_file()

    def test_references_that_look_alike_stay_apart(self, tmp_path: Path) -> None:
        channel = CaptureChannel(tmp_path)
        assert channel.send(replace(SMS, out_id="a:b")).ref != channel.send(replace(SMS, out_id="a-b")).ref

    def test_they_expire(self, tmp_path: Path) -> None:
        channel = CaptureChannel(tmp_path)
        old, new = Path(channel.send(SMS).ref), Path(channel.send(MAIL).ref)
        now = datetime.now(UTC)
        os.utime(old, ((now - timedelta(days=8)).timestamp(),) * 2)
        assert channel.expire(timedelta(days=7), now) == 1
        assert not old.exists() and new.exists()
        assert CaptureChannel(tmp_path / "none").expire(timedelta(days=7), now) == 0

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "captured").write_text("a file")
        with pytest.raises(RetryableError, match="check the room and the rights"):
            CaptureChannel(tmp_path / "captured").send(SMS)

    def test_killed_writers_leave_no_half_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(source: str, target: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            CaptureChannel(tmp_path).send(SMS)
        assert list((tmp_path / "sms").iterdir()) == []
