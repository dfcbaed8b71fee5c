"""WeChat, browsers and chat tools against servers that behave, misbehave and vanish."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from delivery.channels.apprise import AppriseChannel, check
from delivery.channels.webpush import WebPushChannel
from delivery.channels.wechat import WechatChannel, classify, parse_template
from delivery.errors import (
    DeliveryError,
    PermanentError,
    RetryableError,
    SuppressedError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.types import PushMessage, SmsMessage, WechatMessage
from delivery.webpush_crypto import b64, derived_key, public_key
from feeds.kernel.errors import UsageError
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import FixedClock
from tests.posting import Posted, Taker, taking

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
TEMPLATE = parse_template("tpl-1:title=thing1,agency=thing2,time=date3,note=thing4")
SMS = SmsMessage("+8613800000001", "t", {}, "x", 1, "d1")


@pytest.fixture
def taker() -> Iterator[Taker]:
    with taking() as server:
        yield server
    while _OPEN:
        _OPEN.pop().close()


_OPEN: list[WechatChannel] = []


# -- WeChat --------------------------------------------------------------------------------------


class Account:
    """What WeChat does, as far as we call it: tokens that end, and codes a test asks for."""

    def __init__(self, taker: Taker) -> None:
        self.tokens, self.codes, self.sent = 0, list[int](), list[dict[str, Any]]()
        taker.answer = self.answer

    def answer(self, posted: Posted) -> tuple[int, bytes]:
        path, _, query = posted.path.partition("?")
        said = json.loads(posted.body)
        if path == "/cgi-bin/stable_token":
            assert said["grant_type"] == "client_credential" and said["secret"] == "s3cret"
            self.tokens += 1
            return 200, json.dumps({"access_token": f"token-{self.tokens}", "expires_in": 7200}).encode()
        code = self.codes.pop(0) if self.codes else 0
        if code == -999:
            return 0, b""
        if query != f"access_token=token-{self.tokens}":
            code = 40001
        if code:
            return 200, json.dumps({"errcode": code, "errmsg": "no rid: x"}).encode()
        self.sent.append({"path": path, **said})
        return 200, json.dumps({"errcode": 0, "errmsg": "ok", "msgid": 77}).encode()


def wechat(taker: Taker, seconds: list[float] | None = None, **options: Any) -> WechatChannel:
    now = seconds or [0.0]
    channel = WechatChannel(
        "wx1", "s3cret", template=TEMPLATE, host=taker.url(""), timeout=2.0, clock=lambda: now[0], **options
    )
    _OPEN.append(channel)
    return channel


def note() -> WechatMessage:
    fields = {"title": "【示例】体检通知", "agency": "示例市卫健委", "time": "2026-10-30"}
    return WechatMessage("openid-1", fields, "pages/me", "zh-Hans", "d7")


def test_a_template_message_arrives_with_its_fields(taker: Taker) -> None:
    account = Account(taker)
    channel = wechat(taker)
    assert channel.send(note()).ref == "77"
    channel.send(note())
    assert account.tokens == 1
    first = account.sent[0]
    assert first["path"] == "/cgi-bin/message/subscribe/send"
    assert (first["touser"], first["template_id"], first["page"]) == ("openid-1", "tpl-1", "pages/me")
    assert first["data"]["thing1"] == {"value": "【示例】体检通知"}
    assert first["data"]["thing4"] == {"value": "-"}  # WeChat refuses an empty field


def test_an_official_account_has_its_own_path(taker: Taker) -> None:
    account = Account(taker)
    wechat(taker, service_account=True).send(note())
    assert account.sent[0]["path"] == "/cgi-bin/message/subscribe/bizsend"
    assert "miniprogram_state" not in account.sent[0]


def test_the_token_is_renewed_before_it_ends_and_when_it_is_refused(taker: Taker) -> None:
    account, seconds = Account(taker), [0.0]
    channel = wechat(taker, seconds)
    channel.send(note())
    seconds[0] = 6_899.0
    channel.send(note())
    assert account.tokens == 1
    seconds[0] = 6_901.0
    channel.send(note())
    assert account.tokens == 2
    account.codes = [42001]
    channel.send(note())
    assert account.tokens == 3 and len(account.sent) == 4


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (43101, SuppressedError),
        (40003, SuppressedError),
        (45009, ThrottledError),
        (-1, ThrottledError),
        (47003, PermanentError),
        (99999, RetryableError),
    ],
)
def test_each_return_code_means_one_thing(taker: Taker, code: int, kind: type[DeliveryError]) -> None:
    account = Account(taker)
    account.codes = [code]
    with pytest.raises(kind):
        wechat(taker).send(note())
    assert type(classify({"errcode": code})) is kind


def test_a_broken_line_after_the_message_means_it_may_have_been_taken(taker: Taker) -> None:
    account = Account(taker)
    channel = wechat(taker)
    channel.send(note())
    account.codes = [-999]
    with pytest.raises(UnknownOutcomeError) as caught:
        channel.send(note())
    assert "token-" not in str(caught.value)


def test_an_unreachable_service_is_tried_again(taker: Taker) -> None:
    channel = WechatChannel("wx1", "s3cret", template=TEMPLATE, host="http://127.0.0.1:9", timeout=0.5)
    with pytest.raises(RetryableError):
        channel.send(note())
    with pytest.raises(PermanentError):
        channel.send(SMS)
    channel.close()


@pytest.mark.parametrize("text", ["", "x", "x:agency=thing1", "x:title=", "x:title=thing1,colour=thing2"])
def test_a_template_that_is_written_wrongly_is_explained(text: str) -> None:
    with pytest.raises(UsageError, match="title must be there"):
        parse_template(text)


# -- browsers ------------------------------------------------------------------------------------


class Browser:
    """A browser's keys, and how it reads what came."""

    def __init__(self, endpoint: str) -> None:
        self.key, self.auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        keys = {"p256dh": public_key(self.key), "auth": b64(self.auth)}
        self.said = {"endpoint": endpoint, "keys": keys}

    def read(self, body: bytes) -> dict[str, Any]:
        http_ece = pytest.importorskip("http_ece", reason="the oracle http-ece is not installed")
        return dict(json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth)))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taker]:
    """A push service; it speaks plain HTTP here, which read_device would refuse."""
    monkeypatch.setattr("delivery.channels.webpush.read_device", _any_device)
    with taking() as server:
        yield server


def _any_device(text: str) -> Any:
    from delivery.webpush_crypto import Device, unb64

    said = json.loads(text)
    return Device(said["endpoint"], unb64(said["keys"]["p256dh"]), unb64(said["keys"]["auth"]))


def pushing(service: Taker, gone: list[tuple[str, str]] | None = None) -> WebPushChannel:
    client = GuardedClient(user_agent="test", allow_private=(service.place,))
    seen = gone if gone is not None else []
    return WebPushChannel(
        client, derived_key(b"secret"), subject="mailto:a@shili.example", clock=FixedClock(NOW),
        gone=lambda out_id, endpoint: seen.append((out_id, endpoint)),
    )  # fmt: skip


def screen_note(*browsers: Browser, **options: Any) -> PushMessage:
    to = json.dumps([browser.said for browser in browsers])
    return PushMessage(to, "示例市：2 条", "体检\n停水", "https://shili.example/me", "zh", "d9", **options)


def test_a_note_is_encrypted_for_its_browser(service: Taker) -> None:
    browser = Browser(service.url("/push/abc"))
    accepted = pushing(service).send(screen_note(browser, topic="digest", urgent=True, useful_for=600))
    assert accepted.note == "1 of 1 devices"
    (came,) = service.came
    assert came.headers["ttl"] == "600" and came.headers["urgency"] == "high"
    assert came.headers["content-encoding"] == "aes128gcm" and came.headers["topic"] == b64(b"digest")
    assert came.headers["authorization"].startswith("vapid t=")
    assert browser.read(came.body) == {
        "title": "示例市：2 条", "body": "体检\n停水", "url": "https://shili.example/me", "lang": "zh",
    }  # fmt: skip


def test_a_device_that_is_gone_is_told_and_the_others_still_get_it(service: Taker) -> None:
    gone: list[tuple[str, str]] = []
    dead, alive = Browser(service.url("/dead")), Browser(service.url("/alive"))
    service.answer = lambda posted: (410 if posted.path == "/dead" else 201, b"")
    assert pushing(service, gone).send(screen_note(dead, alive)).note == "1 of 2 devices"
    assert gone == [("d9", service.url("/dead"))]
    with pytest.raises(PermanentError):
        pushing(service, gone).send(screen_note(dead))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, ThrottledError), (503, ThrottledError), (500, RetryableError), (413, PermanentError)],
)
def test_what_a_push_service_answers_decides(service: Taker, status: int, kind: type[DeliveryError]) -> None:
    service.answer = lambda _posted: (status, b"")
    with pytest.raises(kind):
        pushing(service).send(screen_note(Browser(service.url("/x"))))


def test_an_address_inside_the_house_is_never_called(service: Taker) -> None:
    channel = WebPushChannel(
        GuardedClient(user_agent="test", allowed_ports=(service.port,)), derived_key(b"secret"),
        subject="mailto:a@shili.example", clock=FixedClock(NOW),
    )  # fmt: skip
    with pytest.raises(PermanentError, match="must not be called"):
        channel.send(screen_note(Browser(service.url("/x"))))
    assert not service.came


def test_one_signature_serves_half_a_day(service: Taker) -> None:
    clock = FixedClock(NOW)
    client = GuardedClient(user_agent="test", allow_private=(service.place,))
    channel = WebPushChannel(client, derived_key(b"secret"), subject="mailto:a@shili.example", clock=clock)
    browser = Browser(service.url("/x"))
    channel.send(screen_note(browser))
    clock.advance(timedelta(hours=5))
    channel.send(screen_note(browser))
    clock.advance(timedelta(hours=2))
    channel.send(screen_note(browser))
    signed = [came.headers["authorization"] for came in service.came]
    assert signed[0] == signed[1] != signed[2]


# -- chat tools ----------------------------------------------------------------------------------


class Library:
    """Apprise as far as it is called."""

    def __init__(self, *, reads: bool = True, takes: bool = True) -> None:
        self.reads, self.takes, self.notes = reads, takes, list[dict[str, str]]()

    def Apprise(self) -> Library:
        return self

    def add(self, _url: str) -> bool:
        return self.reads

    def notify(self, **said: str) -> bool:
        self.notes.append(said)
        return self.takes


def chat(url: str = "dingtalk://token") -> PushMessage:
    return PushMessage(url, "【示例】一条", "体检", "https://shili.example/n/1", "zh-Hans", "d3")


def test_a_chat_tool_gets_title_text_and_address() -> None:
    library = Library()
    AppriseChannel(library).send(chat())
    assert library.notes == [{"title": "【示例】一条", "body": "体检\nhttps://shili.example/n/1"}]
    with pytest.raises(RetryableError):
        AppriseChannel(Library(takes=False)).send(chat())
    with pytest.raises(PermanentError):
        AppriseChannel(Library(reads=False)).send(chat())


@pytest.mark.parametrize(
    "url",
    ["", "json://127.0.0.1/", "ntfys://inside.example/x", "file:///etc/passwd", "tgram://", "slack://u@h/x"],
)
def test_a_service_whose_address_is_free_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="chat tool"):
        check(url)
    with pytest.raises(PermanentError):
        AppriseChannel(Library()).send(chat(url))
