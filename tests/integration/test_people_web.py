"""The phone on the web: codes, copies, a visitor's stay; and the addresses that SMS providers call."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.jobs import copying, joining, people, phones, texting
from api.jobs.sending import send
from api.wiring import Services
from delivery.channels.twilio import signature
from feeds.kernel.time import FixedClock
from profiles.types import Profile
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import NOW, fields, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
PHONE, OTHER = "+8613800000076", "+8613800000002"


@pytest.fixture
def joined(made: Services) -> joining.Joined:
    return joining.join(made, Profile(0, NOW, roles=("citizen",)), phone=PHONE, digest_hour=9)


@pytest.fixture
def me(client: TestClient, joined: joining.Joined) -> TestClient:
    submit(client, f"/me/enter/{joined.manage_secret}", "/me/enter")
    return client


def clock_of(made: Services) -> FixedClock:
    assert isinstance(made.clock, FixedClock)
    return made.clock


def texts(made: Services, number: str = PHONE) -> list[str]:
    """What a phone shows."""
    send(made)
    paths = sorted(
        (made.settings.captured / "sms").glob("*.txt"), key=lambda path: int(path.stem.removeprefix("d"))
    )
    found = [path.read_text(encoding="utf-8") for path in paths]
    return [text.partition("\n\n")[2].strip() for text in found if f"To: {number}\n" in text]


def code_of(text: str) -> str:
    [code] = re.findall(r"\d{6}", text)
    return code


def test_a_phone_is_confirmed_by_the_code_it_shows(made: Services, me: TestClient, joined: Any) -> None:
    assert "/me/phone" in me.get("/me/settings").text
    code = code_of(texts(made)[0])
    page = me.get("/me/phone")
    check_bones(page.text)
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    answer = submit(me, "/me/phone", "/me/phone", code=wrong)
    assert answer.status_code == 422
    check_bones(answer.text)
    assert made.contacts.proven("sms", PHONE) == {}
    assert submit(me, "/me/phone", "/me/phone", code=f" {code[:3]} {code[3:]} ").status_code == 303
    assert list(made.contacts.proven("sms", PHONE)) == [joined.profile.id]
    check_bones(me.get("/me/phone").text)
    with made.database.read() as connection:
        assert code not in str(connection.exec_driver_sql("SELECT * FROM delivery").all())
        assert connection.exec_driver_sql("SELECT count(*) FROM phone_code").scalar() == 0


def test_a_code_ends_after_ten_minutes_and_five_tries(made: Services, me: TestClient, joined: Any) -> None:
    code = code_of(texts(made)[0])
    profile = made.profiles.get(joined.profile.id)
    for _ in range(5):
        assert not phones.check(made, profile, "nonsense")
    assert not phones.check(made, profile, code)
    clock_of(made).advance(timedelta(minutes=2))
    assert phones.ask(made, profile) == "sent"
    fresh = code_of(texts(made)[-1])
    clock_of(made).advance(timedelta(minutes=11))
    assert not phones.check(made, profile, fresh)


def test_nobody_can_make_us_ring_a_strangers_phone(made: Services, joined: joining.Joined) -> None:
    profile = made.profiles.get(joined.profile.id)
    assert phones.ask(made, profile) == "wait"
    for _ in range(2):
        clock_of(made).advance(timedelta(minutes=2))
        assert phones.ask(made, profile) == "sent"
    clock_of(made).advance(timedelta(minutes=2))
    assert phones.ask(made, profile) == "enough"
    other = joining.join(made, Profile(0, NOW, roles=("citizen",)), phone=PHONE, digest_hour=9).profile
    clock_of(made).advance(timedelta(minutes=2))
    assert phones.ask(made, other) == "sent"  # what others did is not told
    assert made.outbox.for_profile(other.id) == []  # counted by number, not by profile
    assert len(texts(made)) <= 3


def test_the_page_does_not_tell_whether_a_number_opted_out(made: Services, me: TestClient) -> None:
    clock_of(made).advance(timedelta(minutes=2))
    pages = []
    for refused in (False, True):
        if refused:
            made.suppressions.add("sms", PHONE, reason="opted_out", at=made.clock.now())
        answer = submit(me, "/me/phone", "/me/phone/again")
        pages.append(me.get(answer.headers["location"]).text)
        clock_of(made).advance(timedelta(minutes=2))
    assert "已经受理" in pages[0]
    mains = [page.partition("<main")[2].partition("</main")[0] for page in pages]
    said, other = (re.sub(r'value="[^"]+"', "", main) for main in mains)
    assert said == other != ""


def test_a_replaced_number_is_not_confirmed_by_the_old_ones_code(made: Services, me: TestClient) -> None:
    code = code_of(texts(made)[0])
    answer = submit(me, "/me/settings", "/me/messages", channel="sms", address=OTHER, hour="9")
    assert answer.headers["location"].startswith("/me/phone")
    assert submit(me, "/me/phone", "/me/phone", code=code).status_code == 422
    assert submit(me, "/me/phone", "/me/phone", code=code_of(texts(made, OTHER)[-1])).status_code == 303


def test_copies_are_asked_for_shown_and_ended(made: Services, me: TestClient, joined: Any) -> None:
    check_bones(me.get("/me/copies").text)
    assert 'action="/me/copies"' not in me.get("/me/copies").text  # the own phone first
    made.contacts.prove(joined.profile.id, "sms", at=made.clock.now())
    answer = submit(me, "/me/copies", "/me/copies", number="12", relation="mother")
    assert answer.status_code == 422
    check_bones(answer.text)
    assert submit(me, "/me/copies", "/me/copies", number=OTHER, relation="mother").status_code == 303
    page = me.get("/me/copies").text
    check_bones(page)
    assert OTHER in page
    assert "等对方回复" in page
    [copy] = made.copies.of(joined.profile.id)
    copying.agreed(made, copy)
    assert "正在发送副本" in me.get("/me/copies").text
    assert submit(me, "/me/copies", "/me/copies/end", copy=str(copy.id)).status_code == 303
    assert made.copies.many([copy.id]) == {}
    assert "不再把您的母亲的公告短信抄送给您" in texts(made, OTHER)[-1]
    stranger = joining.join(made, Profile(0, NOW, roles=("citizen",)))
    foreign = made.copies.ask(stranger.profile.id, "sms", OTHER, "mother", at=NOW)
    submit(me, "/me/copies", "/me/copies", number="13800000003", relation="mother")
    me.post("/me/copies/end", data=fields(me.get("/me/copies").text, "/me/copies") | {"copy": foreign.id})
    still = made.copies.get(foreign.id)
    assert still is not None
    assert still.ended_at is None  # nobody ends another's copy


def test_what_was_stopped_by_something_stands_on_the_own_page(
    made: Services, me: TestClient, joined: Any
) -> None:
    joining.stop_channel(made, joined.profile.id, "sms", reason="invalid")
    for path in ("/me", "/me/settings"):
        page = me.get(path).text
        check_bones(page)
        assert "连续几次送不到" in page


def test_a_visitor_joins_until_a_day_and_then_nothing_is_left(made: Services, client: TestClient) -> None:
    page = client.get("/join?place=汀阳&until=2026-10-14")
    check_bones(page.text)
    form = fields(page.text, "/join")
    assert (form["until"], form["pick_0"], form["label_0"], form["role"]) == (
        "2026-10-14", "sl01", "visit", "tourist",
    )  # fmt: skip
    answer = client.post("/join", data=form | {"phone": PHONE, "hour": "9"})
    assert answer.status_code == 200
    check_bones(answer.text)
    assert "10月14日" in answer.text
    [feed] = set(re.findall(r"/f/([\w-]{20,})\.rss", answer.text))
    clock_of(made).at = NOW.replace(day=14, hour=15, minute=59)
    assert client.get(f"/f/{feed}").status_code == 200
    people.tick_people(made)
    assert made.profiles.count() == 1
    clock_of(made).at = NOW.replace(day=14, hour=16)  # midnight in the sample city
    assert client.get(f"/f/{feed}").status_code == 404
    people.tick_people(made)
    assert made.profiles.count() == 0
    assert made.contacts.holders("sms", PHONE) == []


@pytest.mark.parametrize("until", ["2026-10-11", "2027-10-11", "soon", "2026-13-01"])
def test_a_stay_must_end_within_ninety_days(made: Services, client: TestClient, until: str) -> None:
    assert fields(client.get(f"/join?until={until}").text, "/join")["until"] == ""
    answer = submit(client, "/join", "/join", role="tourist", until=until)
    assert answer.status_code == 422
    check_bones(answer.text)
    assert made.profiles.count() == 0


def up(made: Services, provider: str, body: object, **options: Any) -> Any:
    secret = options.pop("secret", texting.hook_secret(made, provider))
    return visitor(made).post(f"/hooks/sms/{provider}/{secret}", content=body, **options)


def test_aliyuns_texts_act_once_and_are_answered_in_its_form(made: Services) -> None:
    body = json.dumps(
        [
            {
                "phone_number": "13800000076",
                "content": "DY 鼓汀",
                "send_time": "2026-10-12 18:00:00",
                "sequence_id": 7,
            }
        ]
    ).encode()
    for _ in range(2):
        answer = up(made, "aliyun", body, headers={"content-type": "application/json"})
        assert answer.json() == {"code": 0, "msg": "成功"}
    assert made.profiles.count() == 1
    assert len(texts(made)) == 1


def test_a_stop_acts_before_the_provider_is_answered(made: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    up(made, "aliyun", b'[{"phone_number": "13800000076", "content": "DY", "sequence_id": 1}]')
    monkeypatch.setattr(texting, "act", lambda *_: None)
    both = [
        {"phone_number": "13800000076", "content": "TD", "sequence_id": 2},
        {"phone_number": "13800000002", "content": "DY", "sequence_id": 3},
    ]
    assert up(made, "aliyun", json.dumps(both).encode()).status_code == 200
    assert made.suppressions.holds("sms", PHONE, made.clock.now())
    assert made.contacts.proven("sms", OTHER) == {}  # the sign-up takes its turn, or the next tick's
    clock_of(made).advance(timedelta(minutes=1))
    people.tick_people(made)
    assert len(made.contacts.proven("sms", OTHER)) == 1


def test_tencents_texts_and_twilios_signed_ones_too(made: Services) -> None:
    body = json.dumps(
        {
            "extend": "0",
            "mobile": "13800000076",
            "nationcode": "86",
            "sign": "x",
            "text": "DY",
            "time": 1792000000,
        }
    ).encode()
    answer = up(made, "tencent", body, headers={"content-type": "application/json"})
    assert answer.json() == {"result": 0, "errmsg": "OK"}
    assert made.profiles.count() == 1


def test_a_call_without_the_secret_or_of_an_unknown_provider_is_not_found(made: Services) -> None:
    body = b'[{"phone_number": "13800000076", "content": "DY"}]'
    answers = [
        up(made, "aliyun", body, secret="x" * 24),
        up(made, "tencent", body, secret=texting.hook_secret(made, "aliyun")),
        up(made, "nobody", body),
        up(made, "aliyun", b"no json"),
        up(made, "twilio", b"MessageSid=SM1&From=%2B8613800000076&Body=DY"),  # not signed
        up(made, "aliyun", body, secret="%E4%BD%A0"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({re.sub(r"value=\"[^\"]+\"|href=\"[^\"]+\"", "", answer.text) for answer in answers}) == 1
    assert made.profiles.count() == 0
    assert up(made, "aliyun", b"x" * 400_000).status_code == 413


def test_twilios_calls_count_only_if_it_signed_them(made: Services) -> None:
    made.settings = made.settings.model_copy(update={"sms_twilio_secret": SecretStr("token of tests")})
    form = {"MessageSid": ["SM1"], "From": [PHONE], "To": ["+8610690000"], "Body": ["DY 鼓汀"]}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    signed = headers | {
        "x-twilio-signature": signature(texting.hook_address(made, "twilio"), form, "token of tests")
    }
    body = urlencode(form, doseq=True).encode()
    assert up(made, "twilio", body, headers=headers).status_code == 404
    answer = up(made, "twilio", body, headers=signed)
    assert (answer.status_code, "<Response/>" in answer.text) == (200, True)
    assert made.profiles.count() == 1
    assert up(made, "twilio", body + b"&x=1", headers=signed).status_code == 404
