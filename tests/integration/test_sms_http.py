"""Aliyun, Tencent Cloud and Twilio against a double that verifies signatures; their SDKs as oracles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from delivery.channels import aliyun, tencent, twilio
from delivery.channels.aliyun import AliyunChannel
from delivery.channels.sms_http import Caller
from delivery.channels.tencent import TencentChannel
from delivery.channels.twilio import TwilioChannel
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError, UnknownOutcomeError
from delivery.sms_errors import BadCallbackError, ForgedCallbackError, RefusedNumberError
from delivery.sms_inbound import UNHEARD
from delivery.sms_templates import Template
from delivery.types import Receipt, SmsMessage
from feeds.kernel.time import FixedClock
from tests.smsdoubles import KEY, SECRET, Double

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)
HOOK = "https://city.example/hooks/sms/twilio/abc"
TEMPLATES = {"digest-zh-2": Template("SMS_12", ("count", "item2", "item1"))}
MESSAGE = SmsMessage(
    "+8613800000001",
    "digest-zh-2",
    {"item1": "水价“调整”", "count": "2", "item2": "停水 9-17时"},
    "【示例市公告】今天2条与您有关：1.水价“调整”；2.停水 9-17时。拒收请回复R",
    1,
    "d17",
)


@pytest.fixture(scope="module")
def _double() -> Iterator[Double]:
    double = Double()
    yield double
    double.close()


@pytest.fixture
def double(_double: Double) -> Double:
    _double.reset()
    return _double


def open_(name: str, url: str, secret: str = SECRET) -> Any:
    clock, caller = FixedClock(NOW), Caller(name, connect_seconds=0.5, answer_seconds=0.3)
    if name == "aliyun":
        return AliyunChannel(
            KEY, secret, sign_name="示例市公告", templates=TEMPLATES, endpoint=url, clock=clock, caller=caller
        )
    if name == "tencent":
        return TencentChannel(
            KEY,
            secret,
            app_id="1400",
            sign_name="示例市公告",
            templates=TEMPLATES,
            endpoint=url,
            clock=clock,
            caller=caller,
        )
    return TwilioChannel(
        KEY, secret, sender="+12025550100", hook=HOOK, endpoint=url, clock=clock, caller=caller
    )


@pytest.fixture
def channel(double: Double) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(name: str, **more: Any) -> Any:
        made.append(open_(name, more.pop("url", double.url), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


EVERY = pytest.mark.parametrize("name", ["aliyun", "tencent", "twilio"])


def test_aliyun_takes_template_and_parameters(double: Double, channel: Callable[..., Any]) -> None:
    accepted = channel("aliyun").send(MESSAGE)
    assert (accepted.provider, accepted.ref) == ("aliyun", "biz0")
    values = double.seen[0].values
    assert values == {
        "PhoneNumbers": "13800000001",
        "SignName": "示例市公告",
        "TemplateCode": "SMS_12",
        "OutId": "d17",
        "TemplateParam": values["TemplateParam"],
    }
    assert json.loads(values["TemplateParam"]) == dict(MESSAGE.params)


def test_tencent_takes_parameters_in_the_registered_order(
    double: Double, channel: Callable[..., Any]
) -> None:
    accepted = channel("tencent").send(MESSAGE)
    assert (accepted.ref, accepted.note) == ("serial0", "segments=2")
    values = double.seen[0].values
    assert values["TemplateParamSet"] == ["2", "停水 9-17时", "水价“调整”"]
    assert (values["PhoneNumberSet"], values["SessionContext"]) == (["+8613800000001"], "d17")


def test_twilio_takes_the_text_and_where_to_report(double: Double, channel: Callable[..., Any]) -> None:
    accepted = channel("twilio").send(MESSAGE)
    assert (accepted.ref, accepted.note) == (f"SM{0:032x}", "segments=2")
    assert double.seen[0].values == {
        "To": "+8613800000001",
        "Body": MESSAGE.text,
        "From": "+12025550100",
        "StatusCallback": f"{HOOK}?out=d17",
    }


@EVERY
def test_a_wrong_secret_is_retryable_because_it_is_ours(name: str, channel: Callable[..., Any]) -> None:
    with pytest.raises(RetryableError, match="check account") as caught:
        channel(name, secret="wrong").send(MESSAGE)
    assert not isinstance(caught.value, ThrottledError)


@EVERY
def test_nobody_there_costs_nothing(name: str, channel: Callable[..., Any]) -> None:
    with pytest.raises(RetryableError, match="cannot be reached"):
        channel(name, url="http://127.0.0.1:9").send(MESSAGE)


@EVERY
@pytest.mark.parametrize("fault", ["hang", "drop", (500, b"oops"), (502, {}), (200, b"<html>")])
def test_silence_after_the_request_is_unknown(
    name: str, fault: Any, double: Double, channel: Callable[..., Any]
) -> None:
    double.script.append(fault)
    with pytest.raises(UnknownOutcomeError, match="may have been taken"):
        channel(name).send(MESSAGE)
    assert len(double.seen) == 1  # and was sent once


@EVERY
@pytest.mark.parametrize("status", [429, 503])
def test_slow_down(name: str, status: int, double: Double, channel: Callable[..., Any]) -> None:
    double.script.append((status, {}))
    with pytest.raises(ThrottledError) as caught:
        channel(name).send(MESSAGE)
    assert caught.value.seconds == 10


def tencent_code(code: str) -> tuple[int, Any]:
    return 200, {"Response": {"SendStatusSet": [{"Code": code, "Message": "", "Fee": 0}]}}


def tencent_error(code: str) -> tuple[int, Any]:
    return 200, {"Response": {"Error": {"Code": code, "Message": "13800000001"}}}


@pytest.mark.parametrize(
    ("name", "answer", "kind", "more"),
    [
        ("aliyun", (200, {"Code": "isv.MOBILE_NUMBER_ILLEGAL"}), RefusedNumberError, "invalid"),
        (
            "aliyun",
            (200, {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发分钟级流控"}),
            ThrottledError,
            60,
        ),
        (
            "aliyun",
            (200, {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发小时级流控"}),
            ThrottledError,
            3600,
        ),
        (
            "aliyun",
            (200, {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "触发天级流控"}),
            ThrottledError,
            86400,
        ),
        ("aliyun", (400, {"Code": "Throttling.User"}), ThrottledError, 5),
        ("aliyun", (200, {"Code": "isv.TEMPLATE_PARAMS_ILLEGAL"}), PermanentError, None),
        ("aliyun", (200, {"Code": "isv.AMOUNT_NOT_ENOUGH"}), RetryableError, None),
        ("aliyun", (200, {"Code": "isp.SYSTEM_ERROR"}), UnknownOutcomeError, None),
        ("aliyun", (500, {"Code": "InternalError"}), UnknownOutcomeError, None),
        ("tencent", tencent_code("FailedOperation.PhoneNumberInBlacklist"), RefusedNumberError, "opted_out"),
        (
            "tencent",
            tencent_code("InvalidParameterValue.IncorrectPhoneNumber"),
            RefusedNumberError,
            "invalid",
        ),
        ("tencent", tencent_code("LimitExceeded.PhoneNumberThirtySecondLimit"), ThrottledError, 30),
        ("tencent", tencent_code("LimitExceeded.PhoneNumberDailyLimit"), ThrottledError, 86400),
        ("tencent", tencent_error("RequestLimitExceeded"), ThrottledError, 2),
        ("tencent", tencent_error("InvalidParameterValue.ContentLengthLimit"), PermanentError, None),
        ("tencent", tencent_code("FailedOperation.InsufficientBalanceInSmsPackage"), RetryableError, None),
        ("tencent", tencent_error("InternalError.Timeout"), UnknownOutcomeError, None),
        ("twilio", (400, {"code": 21211, "message": "+8613800000001"}), RefusedNumberError, "invalid"),
        ("twilio", (400, {"code": 21610, "message": ""}), RefusedNumberError, "opted_out"),
        ("twilio", (400, {"code": 21611, "message": ""}), ThrottledError, 5),
        ("twilio", (400, {"code": 21408, "message": ""}), PermanentError, None),
        ("twilio", (401, {"code": 20003, "message": ""}), RetryableError, None),
    ],
)
def test_what_an_answer_means(
    name: str, answer: Any, kind: type[DeliveryError], more: Any, double: Double, channel: Callable[..., Any]
) -> None:
    double.script.append(answer)
    with pytest.raises(DeliveryError) as caught:
        channel(name).send(MESSAGE)
    assert type(caught.value) is kind
    assert "13800000001" not in str(caught.value)
    if isinstance(caught.value, RefusedNumberError):
        assert caught.value.reason == more
    if isinstance(caught.value, ThrottledError):
        assert caught.value.seconds == more


@pytest.mark.parametrize("name", ["aliyun", "tencent"])
def test_a_template_that_is_not_registered_is_said_and_nothing_is_sent(
    name: str, double: Double, channel: Callable[..., Any]
) -> None:
    other = SmsMessage(MESSAGE.to, "digest-zh-3", MESSAGE.params, MESSAGE.text, 1, "d1")
    with pytest.raises(PermanentError, match="digest-zh-3 has no id in MYCITY_SMS_FILE"):
        channel(name).send(other)
    assert double.seen == []


@EVERY
def test_asking_later(name: str, double: Double, channel: Callable[..., Any]) -> None:
    one = channel(name)
    assert one.ask("d17", "", MESSAGE.to, NOW) is None  # nothing is known of it
    ref = one.send(MESSAGE).ref
    for known in ("", ref):
        receipt = one.ask("d17", known, MESSAGE.to, NOW)
        assert receipt is not None and (receipt.provider, receipt.state, receipt.out_id) == (
            name,
            "delivered",
            "d17",
        )
    if name == "twilio":
        one.send(MESSAGE)
        assert one.ask("d17", "", MESSAGE.to, NOW) is None  # two could be meant
    else:
        assert one.ask("d18", "", MESSAGE.to, NOW) is None
    double.script.append((500, b""))
    with pytest.raises(RetryableError):
        one.ask("d17", "", MESSAGE.to, NOW)


@pytest.mark.parametrize(
    ("sent_at", "days"),
    [
        (datetime(2026, 10, 11, 15, 59, 58, tzinfo=UTC), ["20261011", "20261012"]),  # 23:59:58 in Beijing
        (datetime(2026, 10, 11, 16, 0, 2, tzinfo=UTC), ["20261011", "20261012"]),
        (datetime(2026, 10, 11, 4, 0, tzinfo=UTC), ["20261011"]),
    ],
)
def test_near_midnight_aliyun_is_asked_about_both_days(
    double: Double, channel: Callable[..., Any], sent_at: datetime, days: list[str]
) -> None:
    none = {"Code": "OK", "SmsSendDetailDTOs": {"SmsSendDetailDTO": []}}
    double.script.extend([(200, none)] * len(days))
    assert channel("aliyun").ask("d17", "", MESSAGE.to, sent_at) == UNHEARD
    assert [seen.values["SendDate"] for seen in double.seen] == days


def test_aliyun_did_not_hear_of_a_text_only_if_both_days_say_so(
    double: Double, channel: Callable[..., Any]
) -> None:
    sent_at = datetime(2026, 10, 11, 15, 59, 58, tzinfo=UTC)
    none: dict[str, Any] = {"Code": "OK", "SmsSendDetailDTOs": {"SmsSendDetailDTO": []}}
    item = {"OutId": "d17", "SendStatus": 3, "ErrCode": "DELIVERED"}
    there = {"Code": "OK", "SmsSendDetailDTOs": {"SmsSendDetailDTO": [item]}}
    double.script.extend([(200, none), (200, {"Code": "isp.SYSTEM_ERROR"})])
    assert channel("aliyun").ask("d17", "", MESSAGE.to, sent_at) is None
    double.script.extend([(200, none), (200, there)])
    found = channel("aliyun").ask("d17", "", MESSAGE.to, sent_at)
    assert isinstance(found, Receipt) and found.state == "delivered"


def test_aliyun_callbacks() -> None:
    reports = [
        {
            "phone_number": "13800000001",
            "success": True,
            "report_time": "2026-10-12 10:00:03",
            "err_code": "DELIVERED",
            "biz_id": "b1",
            "out_id": "d17",
        },
        {
            "phone_number": "13800000002",
            "success": False,
            "report_time": "",
            "err_code": "MOBILE_NOT_ON_SERVICE",
            "biz_id": "b2",
            "out_id": "d18",
        },
    ]
    receipts, texts = aliyun.read_callback({}, json.dumps(reports).encode(), "", "", now=NOW)
    assert [(r.state, r.out_id, r.provider_ref, r.code) for r in receipts] == [
        ("delivered", "d17", "b1", "DELIVERED"),
        ("failed", "d18", "b2", "MOBILE_NOT_ON_SERVICE"),
    ]
    assert receipts[0].at == datetime(2026, 10, 12, 2, 0, 3, tzinfo=UTC) and receipts[1].at == NOW
    up = [
        {
            "phone_number": "13800000001",
            "send_time": "2026-10-12 10:00:00",
            "content": "td",
            "sign_name": "示例市公告",
            "dest_code": "1234",
            "sequence_id": 99,
        }
    ]
    receipts, texts = aliyun.read_callback({}, json.dumps(up).encode(), "", "", now=NOW)
    assert receipts == [] and [(t.from_number, t.text, t.ref, t.to) for t in texts] == [
        ("+8613800000001", "td", "99", "1234")
    ]


def test_tencent_callbacks() -> None:
    reports = [
        {
            "user_receive_time": "2026-10-12 10:00:03",
            "nationcode": "86",
            "mobile": "13800000001",
            "report_status": "SUCCESS",
            "errmsg": "DELIVRD",
            "description": "",
            "sid": "s1",
        }
    ]
    receipts, _ = tencent.read_callback({}, json.dumps(reports).encode(), "", "", now=NOW)
    assert [(r.state, r.provider_ref, r.code) for r in receipts] == [("delivered", "s1", "DELIVRD")]
    up = {
        "extend": "01",
        "mobile": "13800000001",
        "nationcode": "86",
        "sign": "示例市公告",
        "text": "DY",
        "time": 1791770430,
    }
    _, texts = tencent.read_callback({}, json.dumps(up).encode(), "", "", now=NOW)
    assert [(t.from_number, t.text, t.to) for t in texts] == [("+8613800000001", "DY", "01")]
    assert texts[0].ref == tencent.read_callback({}, json.dumps(up).encode(), "", "", now=NOW)[1][0].ref


@pytest.mark.parametrize("read", [aliyun.read_callback, tencent.read_callback])
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_torn_call_is_refused(read: Any, body: bytes) -> None:
    with pytest.raises(BadCallbackError):
        read({}, body, "", "", now=NOW)


def test_twilio_calls_must_be_signed() -> None:
    validator = pytest.importorskip("twilio.request_validator", reason="the SDK is the oracle")
    url, form = (
        f"{HOOK}?out=d17",
        {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30003", "To": "+861"},
    )
    signature = validator.RequestValidator(SECRET).compute_signature(url, form)
    body = urlencode(form).encode()
    receipts, _ = twilio.read_callback({"X-Twilio-Signature": signature}, body, url, SECRET, now=NOW)
    assert [(r.state, r.provider_ref, r.out_id, r.code) for r in receipts] == [
        ("failed", "SM1", "d17", "30003")
    ]
    text = {
        "MessageSid": "SM2",
        "From": "+12025550111",
        "To": "+12025550100",
        "Body": "停 STOP",
        "NumMedia": "0",
    }
    signature = validator.RequestValidator(SECRET).compute_signature(HOOK, text)
    _, texts = twilio.read_callback(
        {"x-twilio-signature": signature}, urlencode(text).encode(), HOOK, SECRET, now=NOW
    )
    assert [(t.from_number, t.text, t.ref) for t in texts] == [("+12025550111", "停 STOP", "SM2")]
    for headers, other, secret in (
        ({}, body, SECRET),
        ({"X-Twilio-Signature": signature}, body, SECRET),
        ({"X-Twilio-Signature": "no base64"}, body, SECRET),
        ({"X-Twilio-Signature": signature}, urlencode(text | {"Body": "DY"}).encode(), SECRET),
        ({"X-Twilio-Signature": signature}, urlencode(text).encode(), ""),
    ):
        with pytest.raises(ForgedCallbackError):
            twilio.read_callback(headers, other, HOOK, secret, now=NOW)


# The official SDKs: the same clock and nonce give the same signature, and the double takes their requests.


def test_aliyun_signs_like_its_sdk(double: Double) -> None:
    utils = pytest.importorskip("alibabacloud_tea_openapi.utils", reason="the SDK is the oracle").Utils
    from darabonba.request import DaraRequest

    ours = AliyunChannel(
        KEY,
        SECRET,
        sign_name="示例市公告",
        templates=TEMPLATES,
        endpoint=double.url,
        clock=FixedClock(NOW),
        nonce=lambda: "n0nce",
    )
    query = {"PhoneNumbers": "138", "SignName": "示例市 公告*~+", "TemplateParam": '{"a":"甲/乙"}'}
    _, headers = ours.signed("SendSms", query)
    request = DaraRequest()
    request.method, request.pathname, request.query = "POST", "/", query
    request.headers = {name: value for name, value in headers.items() if name != "authorization"}
    theirs = utils.get_authorization(
        request, "ACS3-HMAC-SHA256", headers["x-acs-content-sha256"], KEY, SECRET
    )
    assert headers["authorization"] == theirs
    ours.close()


def test_tencent_signs_like_its_sdk(double: Double) -> None:
    client = pytest.importorskip("tencentcloud.sms.v20210111.sms_client", reason="the SDK is the oracle")
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.http.request import RequestInternal

    ours = open_("tencent", double.url)
    _, headers, content = ours.signed("SendSms", {"PhoneNumberSet": ["+86138"], "SignName": "示例"})
    request = RequestInternal(double.host, "POST", "/")
    request.header = {
        "Content-Type": "application/json",
        "Host": double.host,
        "X-TC-Timestamp": str(int(NOW.timestamp())),
    }
    request.data = content.decode()
    sdk = client.SmsClient(Credential(KEY, SECRET), "ap-guangzhou")
    theirs = sdk._get_tc3_signature({}, request, "2026-10-12", "sms", SECRET)
    assert headers["authorization"].endswith(f"Signature={theirs}")
    ours.close()


_SDK_CALLS = """
import sys
url, key, secret = sys.argv[1:]
host = url.removeprefix("http://")
from alibabacloud_dysmsapi20170525.client import Client
from alibabacloud_dysmsapi20170525.models import SendSmsRequest
from alibabacloud_tea_openapi.models import Config
client = Client(Config(access_key_id=key, access_key_secret=secret, endpoint=host, protocol="http"))
sent = client.send_sms(SendSmsRequest(phone_numbers="13800000001", sign_name="示例市公告",
    template_code="SMS_1", template_param='{"a":"甲"}', out_id="sdk"))
assert sent.body.code == "OK", sent
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.sms.v20210111 import models, sms_client
profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=host))
request = models.SendSmsRequest()
request.from_json_string('{"PhoneNumberSet":["+8613800000001"],"SmsSdkAppId":"1400","TemplateId":"1","SignName":"示例"}')
answer = sms_client.SmsClient(Credential(key, secret), "ap-guangzhou", profile).SendSms(request)
assert answer.SendStatusSet[0].Code == "Ok", answer
from twilio.rest import Client as Twilio
made = Twilio(key, secret)
made.api.base_url = url
assert made.messages.create(to="+12025550111", from_="+12025550100", body="hi").sid.startswith("SM")
print("taken")
"""


def test_the_official_sdks_are_taken_by_the_double(double: Double) -> None:
    """In a process of its own: three SDKs need not load here, and their warnings are not ours."""
    for name in ("alibabacloud_dysmsapi20170525", "tencentcloud", "twilio"):
        pytest.importorskip(name, reason="the SDK is the oracle")
    for secret, expected in ((SECRET, True), ("another", False)):
        done = subprocess.run(
            [sys.executable, "-c", _SDK_CALLS, double.url, KEY, secret],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout.strip() == "taken") is expected, done.stderr[-800:]
    assert [seen.action for seen in double.seen] == ["SendSms", "SendSms", "send"]
