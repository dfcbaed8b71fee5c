"""Readers in WeChat: joining, reading, stopping by a word; signed and encrypted calls; strangers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.jobs import further, wechat
from api.jobs.selecting import select_for
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.wechat_wire import Incoming, Wire
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError, UsageError
from feeds.kernel.time import FixedClock
from tests.webfixture import KEY, NOW, city, fill

TOKEN, APP, AES = "agreed-token", "wx0123456789abcdef", "a" * 42 + "A"
READER = "oReader_1-abc"


STAMP = str(int(NOW.timestamp()))


@pytest.fixture
def made(sqlite: Database, tmp_path: Path) -> Services:
    services = joined_up(sqlite, tmp_path, AES)
    fill(services)
    return services


@pytest.fixture
def plain(sqlite: Database, tmp_path: Path) -> Services:
    """An account whose messages come unencrypted."""
    return joined_up(sqlite, tmp_path, "")


def joined_up(database: Database, home: Path, aes_key: str) -> Services:
    settings = read_settings(
        {}, home=home, city="shili", base_url="http://testserver", secret_key=KEY, wechat_app_id=APP,
        wechat_token=TOKEN, wechat_aes_key=aes_key,
    )  # fmt: skip
    return build(settings, clock=FixedClock(NOW), database=database, city=city())


def text(words: str) -> Incoming:
    return Incoming(READER, "gh_1", "text", words)


def test_joining_reading_and_stopping_by_a_word(made: Services) -> None:
    assert "还没有订阅" in wechat.answer(made, text("今天"))
    first = wechat.answer(made, text(" 订阅 "))
    assert re.search(r"http://testserver/me/enter/[\w-]{20,}", first) and "【示例】" in first
    profile = wechat.reader_of(made, READER)
    assert profile is not None and made.subscriptions.live(profile.id, "wechat") is not None
    again = wechat.answer(made, text("dy"))
    assert "已经订阅" in again and "/me/enter/" not in again
    assert made.profiles.count() == 1
    select_for(made, [profile.id])
    today = wechat.answer(made, text("今天"))
    assert today.startswith("【示例】与您有关的公告") and "http://testserver/notices/" in today
    assert "已停止" in wechat.answer(made, text("退订"))
    assert made.subscriptions.live(profile.id, "wechat") is None
    assert "没有订阅" in wechat.answer(made, text("TD"))
    wechat.answer(made, text("订阅"))
    assert made.subscriptions.live(profile.id, "wechat") is not None and made.profiles.count() == 1


def test_somebody_else_gets_their_own(made: Services) -> None:
    wechat.answer(made, text("订阅"))
    wechat.answer(made, Incoming("oOther", "gh_1", "text", "订阅"))
    assert made.profiles.count() == 2


def test_withdrawing_inside_wechat_ends_it(made: Services) -> None:
    wechat.answer(made, text("订阅"))
    profile = wechat.reader_of(made, READER)
    assert profile is not None
    event = Incoming(READER, "gh_1", "event", "", "subscribe_msg_change_event", {"tpl-1": "reject"})
    assert wechat.answer(made, event) == ""
    assert made.subscriptions.of(profile.id)[-1].ended_reason == "withdrawn"
    popup = Incoming(READER, "gh_1", "event", "", "subscribe_msg_popup_event", {"tpl-1": "accept"})
    wechat.answer(made, popup)
    assert made.subscriptions.live(profile.id, "wechat") is not None
    wechat.answer(made, Incoming(READER, "gh_1", "event", "", "unsubscribe"))
    assert made.subscriptions.live(profile.id, "wechat") is None


def test_anything_else_is_helped(made: Services) -> None:
    assert "退订" in wechat.answer(made, text("你好")) and "退订" in wechat.answer(
        made, Incoming(READER, "gh_1", "event", "", "subscribe")
    )
    assert made.profiles.count() == 0


# -- over HTTP -----------------------------------------------------------------------------------


def asked(wire: Wire, *more: str) -> dict[str, str]:
    said = {"timestamp": STAMP, "nonce": "n1", "signature": wire.sign(STAMP, "n1")}
    return said | ({"msg_signature": wire.sign(STAMP, "n1", *more)} if more else {})


def message(words: str, number: int = 77) -> str:
    return (
        f"<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[{READER}]]></FromUserName>"
        f"<CreateTime>1</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{words}]]></Content>"
        f"<MsgId>{number}</MsgId></xml>"
    )


def test_the_console_can_check_the_address_and_strangers_find_nothing(made: Services) -> None:
    wire, browser = Wire(APP, TOKEN), TestClient(create_app(made))
    good = asked(wire)
    assert browser.get("/hooks/wechat", params=good | {"echostr": "echo-1"}).text == "echo-1"
    assert browser.get("/hooks/wechat", params=good | {"nonce": "n2"}).status_code == 404
    assert browser.post("/hooks/wechat", content=message("订阅")).status_code == 404
    assert made.profiles.count() == 0


def test_an_old_call_from_somebodys_log_finds_nothing(made: Services) -> None:
    wire, browser = Wire(APP, TOKEN), TestClient(create_app(made))
    for stamp in (str(int(NOW.timestamp()) - 301), str(int(NOW.timestamp()) + 301), "", "x", "１"):
        said = {"timestamp": stamp, "nonce": "n1", "signature": wire.sign(stamp, "n1"), "echostr": "e"}
        assert browser.get("/hooks/wechat", params=said).status_code == 404


def test_in_the_encrypted_mode_a_plain_message_is_nobodys(made: Services) -> None:
    wire, browser = Wire(APP, TOKEN, AES), TestClient(create_app(made))
    answer = browser.post("/hooks/wechat", params=asked(wire), content=message("订阅").encode())
    assert answer.text == "success" and made.profiles.count() == 0


def test_a_message_that_is_repeated_acts_once(plain: Services) -> None:
    wire, browser = Wire(APP, TOKEN), TestClient(create_app(plain))
    said = [
        browser.post("/hooks/wechat", params=asked(wire), content=message("订阅", number).encode()).text
        for number in (1, 1, 2)
    ]
    assert "订阅好了" in said[0] and said[1] == "success" and "已经订阅" in said[2]
    assert plain.profiles.count() == 1


def test_a_plain_message_is_answered(plain: Services) -> None:
    wire, browser = Wire(APP, TOKEN), TestClient(create_app(plain))
    answer = browser.post("/hooks/wechat", params=asked(wire), content=message("订阅").encode())
    assert answer.status_code == 200 and "<FromUserName>gh_1</FromUserName>" in answer.text
    assert f"<ToUserName>{READER}</ToUserName>" in answer.text and "订阅好了" in answer.text


def test_an_encrypted_message_is_opened_and_answered_encrypted(made: Services) -> None:
    wire, browser = Wire(APP, TOKEN, AES), TestClient(create_app(made))
    sealed = wire.close(message("你好"), salt=os.urandom(16))
    body = f"<xml><ToUserName>gh_1</ToUserName><Encrypt><![CDATA[{sealed}]]></Encrypt></xml>".encode()
    answer = browser.post("/hooks/wechat", params=asked(wire, sealed), content=body).text
    inside = re.search(r"<Encrypt>(.*)</Encrypt>", answer)
    assert inside is not None and "每天最多十条" in wire.open(inside[1])
    parts = [re.search(rf"<{name}>(.*)</{name}>", answer) for name in ("MsgSignature", "TimeStamp", "Nonce")]
    assert all(parts) and wire.signed(*(part[1] for part in parts if part), inside[1])
    forged = asked(wire, sealed) | {"msg_signature": "0" * 40}
    assert browser.post("/hooks/wechat", params=forged, content=body).text == "success"


@pytest.mark.parametrize(
    "body", [b"", b"<xml>", b"<!DOCTYPE x><xml/>", b"\xff\xfe", b"<xml><Encrypt>AAAA</Encrypt></xml>"]
)
def test_what_cannot_be_read_does_no_harm(made: Services, body: bytes) -> None:
    wire, browser = Wire(APP, TOKEN, AES), TestClient(create_app(made))
    assert browser.post("/hooks/wechat", params=asked(wire, "AAAA"), content=body).status_code == 200
    assert made.profiles.count() == 0


def test_keys_and_owners_are_checked() -> None:
    with pytest.raises(UsageError, match="43 characters"):
        Wire(APP, TOKEN, "short")
    sealed = Wire("wx-other", TOKEN, AES).close("x", salt=os.urandom(16))
    with pytest.raises(BadInputError, match="another account"):
        Wire(APP, TOKEN, AES).open(sealed)


# -- browsers and chat tools on the page ---------------------------------------------------------


def device(path: str = "a") -> str:
    point = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    keys = f'{{"p256dh": "{point}", "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}'
    return f'{{"endpoint": "https://push.example/{path}", "expirationTime": null, "keys": {keys}}}'


def joined(made: Services) -> Any:
    from api.jobs import joining
    from tests.factories import profile

    return joining.join(made, profile(roles=("citizen",))).profile


def test_browsers_are_added_once_up_to_five_and_dropped(made: Services) -> None:
    reader = joined(made)
    assert [further.add_device(made, reader, device(name)) for name in "aab"] == [1, 1, 2]
    assert made.subscriptions.live(reader.id, "webpush") is not None
    for name in "cde":
        further.add_device(made, reader, device(name))
    with pytest.raises(UsageError, match="Up to 5"):
        further.add_device(made, reader, device("f"))
    further.stop(made, reader.id, "webpush")
    assert made.contacts.get(reader.id, "webpush") is None and further.devices(made, reader.id) == []


def test_a_chat_tool_is_kept_only_if_its_service_is_known(made: Services) -> None:
    reader = joined(made)
    with pytest.raises(UsageError):
        further.set_chat_tool(made, reader, "json://inside.example/")
    further.set_chat_tool(made, reader, "apprise:dingtalk://abc")
    kept = made.contacts.get(reader.id, "apprise")
    assert kept is not None and kept.address == "dingtalk://abc"
