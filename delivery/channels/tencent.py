"""Texts through Tencent Cloud (SMS 2021-01-11, signature TC3-HMAC-SHA256): template and parameters.

Parameters go in the order that the registered template has them; our reference travels as
SessionContext. It never reads the database. Called by ``delivery.sms_pool``; reports arrive through
``read_callback``.

Source: the provider's pages on signature version 3, on SendSms and PullSmsSendStatusByPhoneNumber,
and on the two callbacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from hmac import new as hmac_new
from typing import Any
from urllib.parse import urlsplit

from delivery.channels.sms_http import Caller
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.sms_errors import RefusedNumberError
from delivery.sms_inbound import Events, Inbound, e164, instant, invented_ref, json_items
from delivery.sms_templates import Template, filled
from delivery.types import Accepted, Message, Receipt, ReceiptState, SmsMessage
from feeds.kernel.time import Clock, SystemClock

NAME = "tencent"
VERSION = "2021-01-11"
ENDPOINT = "https://sms.tencentcloudapi.com"
CALLBACK_ANSWER = b'{"result":0,"errmsg":"OK"}'
_TYPE = "application/json"
_SPANS = (("ThirtySecond", 30.0), ("OneHour", 3600.0), ("Daily", 86400.0))
_OURS = (
    "AuthFailure", "UnauthorizedOperation", "FailedOperation.InsufficientBalance",
    "FailedOperation.TemplateIncorrectOrUnapproved", "FailedOperation.SignatureIncorrectOrUnapproved",
    "FailedOperation.NotEnterpriseCertification", "UnsupportedOperation.", "FailedOperation.MissingSignature",
)  # fmt: skip


class TencentChannel:
    """Hands texts to Tencent Cloud. Safe to call from several threads.

    Args:
        secret_id, secret_key: Of a sub-account that may only send texts.
        app_id: SmsSdkAppId.
        sign_name: The registered signature without 【】.
        templates: Our template name → its id there and the order of its parameters.
        region: Where the application lives.
    """

    name = NAME

    def __init__(
        self,
        secret_id: str,
        secret_key: str,
        *,
        app_id: str,
        sign_name: str,
        templates: Mapping[str, Template],
        region: str = "ap-guangzhou",
        endpoint: str = ENDPOINT,
        clock: Clock | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._id, self._key = secret_id, secret_key
        self._app_id, self._sign_name, self._templates = app_id, sign_name, templates
        self._region, self._endpoint = region, endpoint.rstrip("/")
        self._clock = clock or SystemClock()
        self._caller = caller or Caller("Tencent Cloud")

    def send(self, message: Message) -> Accepted:
        """Hand over one text.

        Returns:
            Its note says how many segments are billed.

        Raises:
            RefusedNumberError, PermanentError, ThrottledError, RetryableError, UnknownOutcomeError: By
                what the provider answers; see :func:`classify`.
        """
        if not isinstance(message, SmsMessage):
            raise PermanentError("The Tencent channel was given a message that is not a text.")
        template = filled(self._templates, message)
        body = {
            "PhoneNumberSet": [message.to],
            "SmsSdkAppId": self._app_id,
            "SignName": self._sign_name,
            "TemplateId": template.id,
            "TemplateParamSet": [value for _, value in template.values],
            "SessionContext": message.out_id,
        }
        url, headers, content = self.signed("SendSms", body)
        answer = self._caller.hand_over(url, headers, content)
        reply: Mapping[str, Any] = answer.data.get("Response") or {}
        status = (reply.get("SendStatusSet") or [{}])[0]
        code = str((reply.get("Error") or {}).get("Code") or status.get("Code") or "")
        if code.startswith("InternalError") or not code:
            raise self._caller.unknown(code or f"HTTP {answer.status}")
        if code.lower() != "ok":
            raise classify(code)
        return Accepted(NAME, str(status.get("SerialNo", "")), f"segments={int(status.get('Fee') or 0)}")

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Receipt | None:
        """Ask what became of a text, by our own reference or theirs; ``None``: not known (yet).

        The list holds reports only, so its silence does not prove that the text was never taken.
        """
        begin = int(sent_at.timestamp()) - 60
        body = {
            "BeginTime": begin, "EndTime": int(self._clock.now().timestamp()) + 60, "Offset": 0,
            "Limit": 100, "PhoneNumber": to, "SmsSdkAppId": self._app_id,
        }  # fmt: skip
        url, headers, content = self.signed("PullSmsSendStatusByPhoneNumber", body)
        reply = self._caller.ask("POST", url, headers, content).data.get("Response") or {}
        for item in reply.get("PullSmsSendStatusSet") or []:
            known = provider_ref and item.get("SerialNo") == provider_ref
            if known or item.get("SessionContext") == out_id:
                state: ReceiptState = "delivered" if item.get("ReportStatus") == "SUCCESS" else "failed"
                at = instant(item.get("UserReceiveTime") or "", self._clock.now())
                code = str(item.get("Description", ""))[:40] if state == "failed" else ""
                return Receipt(NAME, str(item.get("SerialNo", "")), state, at, code, out_id)
        return None

    def signed(self, action: str, body: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes]:
        """Return address, headers and body of a request."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        now = self._clock.now()
        host = urlsplit(self._endpoint).netloc
        headers = {
            "content-type": _TYPE, "host": host, "x-tc-action": action, "x-tc-version": VERSION,
            "x-tc-region": self._region, "x-tc-timestamp": str(int(now.timestamp())),
        }  # fmt: skip
        headers["authorization"] = authorization(
            content, host, int(now.timestamp()), f"{now:%Y-%m-%d}", self._id, self._key
        )
        return f"{self._endpoint}/", headers, content

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()


def authorization(content: bytes, host: str, stamp: int, day: str, secret_id: str, key: str) -> str:
    """The value of the Authorization header of a JSON request to ``/``."""
    request = (
        f"POST\n/\n\ncontent-type:{_TYPE}\nhost:{host}\n\ncontent-type;host\n{sha256(content).hexdigest()}"
    )
    scope = f"{day}/sms/tc3_request"
    to_sign = f"TC3-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signing = ("TC3" + key).encode()
    for step in (day, "sms", "tc3_request"):
        signing = hmac_new(signing, step.encode(), sha256).digest()
    signature = hmac_new(signing, to_sign.encode(), sha256).hexdigest()
    return (
        f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}, "
        f"SignedHeaders=content-type;host, Signature={signature}"
    )


def classify(code: str) -> DeliveryError:
    """Name the error that a code other than Ok means."""
    note = f"Tencent Cloud answered {code}"
    if code == "FailedOperation.PhoneNumberInBlacklist":
        return RefusedNumberError(f"{note}: this number refused our texts.", "opted_out")
    if code in ("InvalidParameterValue.IncorrectPhoneNumber", "FailedOperation.PhoneNumberParseFail"):
        return RefusedNumberError(f"{note}: no such number.", "invalid")
    if code.startswith("LimitExceeded"):
        seconds = next((span for word, span in _SPANS if word in code), 60.0)
        return ThrottledError(f"{note}: too many texts.", seconds)
    if code.startswith("RequestLimitExceeded"):
        return ThrottledError(f"{note}: slow down.", 2)
    if code.startswith(_OURS):
        # Account, key, signature, template or balance: about us, and somebody can repair it.
        return RetryableError(f"{note}; check account, signature and template.")
    if code.startswith(("InvalidParameter", "MissingParameter", "FailedOperation.ContainSensitiveWord")):
        return PermanentError(f"{note}; it will not take this text. Compare template and parameters.")
    return RetryableError(f"{note}; it is tried again.")


def read_callback(
    headers: Mapping[str, str], body: bytes, url: str, secret: str, *, now: datetime | None = None
) -> Events:
    """Read receipts (a list) or a resident's text (one object).

    The provider signs nothing; the secret in the hook's own address is what admits a caller, and the
    route has compared it.

    Raises:
        BadCallbackError: If it cannot be read.
    """
    now = now or SystemClock().now()
    receipts, texts = [], []
    for item in json_items(body, "Tencent Cloud"):
        if "report_status" in item:
            state: ReceiptState = "delivered" if item["report_status"] == "SUCCESS" else "failed"
            at = instant(item.get("user_receive_time"), now)
            code = str(item.get("errmsg") or "")[:40]
            receipts.append(Receipt(NAME, str(item.get("sid") or ""), state, at, code))
        elif "text" in item:
            sender = e164(str(item.get("mobile", "")), str(item.get("nationcode", "")))
            text = str(item["text"])
            ref = invented_ref(sender, text, str(item.get("time")))
            at = instant(item.get("time"), now)
            texts.append(Inbound(NAME, ref, sender, text, at, str(item.get("extend", ""))))
    return receipts, texts
