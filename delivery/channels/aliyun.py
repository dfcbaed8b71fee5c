"""Texts through Aliyun (Dysmsapi 2017-05-25, signature ACS3-HMAC-SHA256): template and parameters.

Takes our template names for its own codes; the signature in 【】 is a parameter there, never text. It
never reads the database. Called by ``delivery.sms_pool``; reports arrive through ``read_callback``.

Source: the provider's pages on the request signature version 3 and on SendSms, QuerySendDetails,
SmsReport and SmsUp.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import new as hmac_new
from typing import Any
from urllib.parse import quote, urlsplit

from delivery.channels.sms_http import Answer, Caller
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.sms_errors import RefusedNumberError
from delivery.sms_inbound import (
    BEIJING,
    LISTED_AFTER,
    UNHEARD,
    Events,
    Inbound,
    Unheard,
    e164,
    instant,
    invented_ref,
    json_items,
)
from delivery.sms_templates import Template, filled
from delivery.types import Accepted, Message, Receipt, ReceiptState, SmsMessage
from feeds.kernel.time import Clock, SystemClock

NAME = "aliyun"
VERSION = "2017-05-25"
ENDPOINT = "https://dysmsapi.aliyuncs.com"
CALLBACK_ANSWER = b'{"code":0,"msg":"ok"}'
_PERMANENT = (
    "isv.TEMPLATE_MISSING_PARAMETERS", "isv.TEMPLATE_PARAMS_ILLEGAL", "isv.INVALID_PARAMETERS",
    "isv.PARAM_LENGTH_LIMIT", "isv.PARAM_NOT_SUPPORT_URL", "isv.INVALID_JSON_PARAM",
    "isv.BLACK_KEY_CONTROL_LIMIT", "isv.SMS_CONTENT_ILLEGAL",
)  # fmt: skip
_PAGE = 50
_MIDNIGHT = timedelta(minutes=10)  # their clock, and how long a call may take
_UNSURE = ("isp.SYSTEM_ERROR", "InternalError", "ServiceUnavailable")
_SPANS = (("天", 86400.0), ("day", 86400.0), ("小时", 3600.0), ("hour", 3600.0))


class AliyunChannel:
    """Hands texts to Aliyun. Safe to call from several threads.

    Args:
        key_id, key_secret: Of an access key that may only send texts.
        sign_name: The registered signature without 【】.
        templates: Our template name → its code there.
        endpoint: Another region's address.
        nonce: Makes the value that a request carries once.
    """

    name = NAME

    def __init__(
        self,
        key_id: str,
        key_secret: str,
        *,
        sign_name: str,
        templates: Mapping[str, Template],
        endpoint: str = ENDPOINT,
        clock: Clock | None = None,
        caller: Caller | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._key_id, self._secret = key_id, key_secret
        self._sign_name, self._templates = sign_name, templates
        self._endpoint = endpoint.rstrip("/")
        self._clock = clock or SystemClock()
        self._caller = caller or Caller("Aliyun")
        self._nonce = nonce

    def send(self, message: Message) -> Accepted:
        """Hand over one text.

        Raises:
            RefusedNumberError, PermanentError, ThrottledError, RetryableError, UnknownOutcomeError: By
                what the provider answers; see :func:`classify`.
        """
        if not isinstance(message, SmsMessage):
            raise PermanentError("The Aliyun channel was given a message that is not a text.")
        template = filled(self._templates, message)
        query = {
            "PhoneNumbers": _number(message.to),
            "SignName": self._sign_name,
            "TemplateCode": template.id,
            "TemplateParam": json.dumps(dict(template.values), ensure_ascii=False, separators=(",", ":")),
            "OutId": message.out_id,
        }
        url, headers = self.signed("SendSms", query)
        answer = self._caller.hand_over(url, headers, b"")
        code = str(answer.data.get("Code", ""))
        if code != "OK":
            raise self._failed(answer, code)
        return Accepted(NAME, str(answer.data.get("BizId", "")))

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Receipt | Unheard | None:
        """Ask what became of a text, by our own reference.

        Returns:
            ``None``: not known (yet); ``"unheard"``: it was never taken.
        """
        days = [self._listed(day, to, provider_ref) for day in _days(sent_at)]
        mine = [item for items in days for item in items or () if item.get("OutId") == out_id]
        for item in mine:
            if item.get("SendStatus") in (2, 3):
                state: ReceiptState = "delivered" if item["SendStatus"] == 3 else "failed"
                at = instant(item.get("ReceiveDate"), self._clock.now())
                return Receipt(NAME, provider_ref, state, at, str(item.get("ErrCode", ""))[:40], out_id)
        whole = all(items is not None and len(items) < _PAGE for items in days)
        listed = whole and self._clock.now() - sent_at > LISTED_AFTER
        return None if mine or provider_ref or not listed else UNHEARD

    def _listed(self, day: str, to: str, provider_ref: str) -> list[Mapping[str, Any]] | None:
        """The texts of a day to a number; ``None`` if the provider does not say."""
        query = {
            "PhoneNumber": _number(to), "SendDate": day, "PageSize": str(_PAGE), "CurrentPage": "1",
        }  # fmt: skip
        if provider_ref:
            query["BizId"] = provider_ref
        url, headers = self.signed("QuerySendDetails", query)
        answer = self._caller.ask("POST", url, headers)
        if answer.data.get("Code") != "OK":
            return None
        return list((answer.data.get("SmsSendDetailDTOs") or {}).get("SmsSendDetailDTO") or [])

    def signed(self, action: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return address and headers of a request with an empty body."""
        text = canonical_query(query)
        headers = {
            "host": urlsplit(self._endpoint).netloc,
            "x-acs-action": action,
            "x-acs-content-sha256": sha256(b"").hexdigest(),
            "x-acs-date": f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}",
            "x-acs-signature-nonce": self._nonce(),
            "x-acs-version": VERSION,
        }
        headers["authorization"] = authorization("POST", text, headers, self._key_id, self._secret)
        return f"{self._endpoint}/?{text}", headers

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _failed(self, answer: Answer, code: str) -> DeliveryError:
        if code in _UNSURE or (answer.status >= 500 and not code):
            return self._caller.unknown(code or f"HTTP {answer.status}")
        return classify(code, str(answer.data.get("Message", "")))


def canonical_query(query: Mapping[str, str]) -> str:
    """Sorted and percent-encoded as the signature wants it."""
    return "&".join(
        f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in sorted(query.items())
    )


def authorization(method: str, query: str, headers: Mapping[str, str], key_id: str, secret: str) -> str:
    """The value of the Authorization header; every given header is signed."""
    names = sorted(headers)
    signed = ";".join(names)
    head = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    request = f"{method}\n/\n{query}\n{head}\n{signed}\n{headers['x-acs-content-sha256']}"
    to_sign = f"ACS3-HMAC-SHA256\n{sha256(request.encode()).hexdigest()}"
    signature = hmac_new(secret.encode(), to_sign.encode(), sha256).hexdigest()
    return f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={signed},Signature={signature}"


def classify(code: str, text: str) -> DeliveryError:
    """Name the error that a code other than OK means; ``text`` is never repeated, it may hold the number."""
    note = f"Aliyun answered {code or 'without a code'}"
    if code == "isv.MOBILE_NUMBER_ILLEGAL":
        return RefusedNumberError(f"{note}: no such number.", "invalid")
    if code == "isv.BUSINESS_LIMIT_CONTROL":
        seconds = next((span for word, span in _SPANS if word in text.lower()), 60.0)
        return ThrottledError(f"{note}: too many texts to this number.", seconds)
    if code.startswith("Throttling"):
        return ThrottledError(f"{note}: slow down.", 5)
    if code in _PERMANENT:
        return PermanentError(f"{note}; it will not take this text. Compare template and parameters.")
    # Account, key, signature, template or balance: about us, and somebody can repair it.
    return RetryableError(f"{note}; check account, signature and template.")


def read_callback(
    headers: Mapping[str, str], body: bytes, url: str, secret: str, *, now: datetime | None = None
) -> Events:
    """Read SmsReport (receipts) or SmsUp (texts from residents).

    The provider signs nothing; the secret in the hook's own address is what admits a caller, and the
    route has compared it.

    Raises:
        BadCallbackError: If it cannot be read.
    """
    now = now or SystemClock().now()
    receipts, texts = [], []
    for item in json_items(body, "Aliyun"):
        if "biz_id" in item or "out_id" in item:
            receipts.append(_receipt(item, now))
        elif "content" in item:
            sender = e164(str(item.get("phone_number", "")))
            at, text = instant(item.get("send_time"), now), str(item["content"])
            ref = str(item.get("sequence_id") or invented_ref(sender, text, str(item.get("send_time"))))
            texts.append(Inbound(NAME, ref, sender, text, at, str(item.get("dest_code", ""))))
    return receipts, texts


def _receipt(item: Mapping[str, Any], now: datetime) -> Receipt:
    done = item.get("success") in (True, "true", "True")
    return Receipt(
        NAME, str(item.get("biz_id") or ""), "delivered" if done else "failed",
        instant(item.get("report_time"), now), str(item.get("err_code") or "")[:40],
        str(item.get("out_id") or ""),
    )  # fmt: skip


def _days(sent_at: datetime) -> list[str]:
    """The days under which a text may be listed: near midnight it may have been taken on the other one."""
    return sorted(
        {f"{instant.astimezone(BEIJING):%Y%m%d}" for instant in (sent_at - _MIDNIGHT, sent_at + _MIDNIGHT)}
    )


def _number(to: str) -> str:
    return to.removeprefix("+86") if to.startswith("+86") else to.lstrip("+")
