"""Texts through Twilio (Messages API 2010-04-01): free text, basic authentication, form posts.

For places abroad; at home the text must be an approved template. It never reads the database.
Called by ``delivery.sms_pool``; reports and residents' texts arrive through ``read_callback``, which
checks Twilio's signature.

Source: the provider's pages on the Message resource, on error codes and on validating requests.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha1
from hmac import compare_digest
from hmac import new as hmac_new
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

from delivery.channels.sms_http import Answer, Caller
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.sms_errors import BadCallbackError, ForgedCallbackError, RefusedNumberError
from delivery.sms_inbound import Events, Inbound, e164
from delivery.types import Accepted, Message, Receipt, ReceiptState, SmsMessage
from feeds.kernel.time import Clock, SystemClock

NAME = "twilio"
ENDPOINT = "https://api.twilio.com"
CALLBACK_ANSWER = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_INVALID = (21211, 21214, 21217, 21612, 21614, 21635)
_THROTTLED = (20429, 14107, 21611, 30001, 63018)
_PERMANENT = (21408, 21602, 21604, 21605, 21617, 21609)
_STATES: Mapping[str, ReceiptState] = {"delivered": "delivered", "undelivered": "failed", "failed": "failed"}
# Twilio keeps no reference of ours. A message to the number that began in this span is the one asked for
# if there is no other; else nothing is said.
_BEFORE, _AFTER = timedelta(seconds=10), timedelta(seconds=120)


class TwilioChannel:
    """Hands texts to Twilio. Safe to call from several threads.

    Args:
        account: Account SID.
        token: Auth token.
        sender: A number in E.164, or the SID of a messaging service (MG…).
        hook: Address of our own hook, to which receipts are sent; ``""``: none are asked for.
    """

    name = NAME

    def __init__(
        self,
        account: str,
        token: str,
        *,
        sender: str,
        hook: str = "",
        endpoint: str = ENDPOINT,
        clock: Clock | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._account, self._token, self._sender, self._hook = account, token, sender, hook
        self._messages = f"{endpoint.rstrip('/')}/2010-04-01/Accounts/{quote(account, safe='')}/Messages"
        self._clock = clock or SystemClock()
        self._caller = caller or Caller("Twilio")
        self._authorization = "Basic " + b64encode(f"{account}:{token}".encode()).decode()

    def send(self, message: Message) -> Accepted:
        """Hand over one text.

        Returns:
            Its note says how many segments are billed.

        Raises:
            RefusedNumberError, PermanentError, ThrottledError, RetryableError, UnknownOutcomeError: By
                what the provider answers; see :func:`classify`.
        """
        if not isinstance(message, SmsMessage):
            raise PermanentError("The Twilio channel was given a message that is not a text.")
        form = {"To": message.to, "Body": message.text}
        form["MessagingServiceSid" if self._sender.startswith("MG") else "From"] = self._sender
        if self._hook:
            form["StatusCallback"] = f"{self._hook}?out={quote(message.out_id)}"
        headers = self._headers() | {"content-type": "application/x-www-form-urlencoded"}
        answer = self._caller.hand_over(f"{self._messages}.json", headers, urlencode(form).encode())
        if answer.status not in (200, 201):
            raise self._failed(answer)
        return Accepted(NAME, str(answer.data.get("sid", "")), f"segments={_count(answer.data)}")

    def ask(self, out_id: str, provider_ref: str, to: str, sent_at: datetime) -> Receipt | None:
        """Ask what became of a text; without its SID, by number and time, and only if that is one."""
        if provider_ref:
            url = f"{self._messages}/{quote(provider_ref, safe='')}.json"
            found = [self._caller.ask("GET", url, self._headers()).data]
        else:
            found = self._sent_about(to, sent_at)
        if len(found) != 1 or (state := _STATES.get(str(found[0].get("status")))) is None:
            return None
        code = str(found[0].get("error_code") or "")
        return Receipt(NAME, str(found[0].get("sid", "")), state, self._clock.now(), code, out_id)

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()

    def _sent_about(self, to: str, sent_at: datetime) -> list[Mapping[str, Any]]:
        begin = (sent_at - _BEFORE).astimezone(UTC)
        query = urlencode({"To": to, "DateSent>": f"{begin:%Y-%m-%d}", "PageSize": "50"})
        answer = self._caller.ask("GET", f"{self._messages}.json?{query}", self._headers())
        return [
            item
            for item in answer.data.get("messages") or []
            if str(item.get("direction", "outbound")).startswith("outbound")
            and (made := _made(item)) is not None
            and begin <= made <= sent_at + _AFTER
        ]

    def _headers(self) -> dict[str, str]:
        return {"authorization": self._authorization, "accept": "application/json"}

    def _failed(self, answer: Answer) -> DeliveryError:
        code = answer.data.get("code")
        if answer.status >= 500:
            return self._caller.unknown(f"HTTP {answer.status}")
        return classify(code if isinstance(code, int) else 0, answer.status)


def classify(code: int, status: int) -> DeliveryError:
    """Name the error that a refusal means; the provider's words are never repeated, they hold the number."""
    note = f"Twilio answered {status} ({code})"
    if code in _INVALID:
        return RefusedNumberError(f"{note}: no such number, or none that takes texts.", "invalid")
    if code == 21610:
        return RefusedNumberError(f"{note}: this number refused our texts.", "opted_out")
    if code in _THROTTLED or status == 429:
        return ThrottledError(f"{note}: slow down.", 5)
    if code in _PERMANENT:
        return PermanentError(f"{note}; it will not take this text.")
    # Account, token, sender or balance: about us, and somebody can repair it.
    return RetryableError(f"{note}; check account, token and sender.")


def signature(url: str, form: Mapping[str, list[str]], token: str) -> str:
    """What Twilio writes into X-Twilio-Signature for a form posted to ``url``."""
    said = "".join(name + value for name in sorted(form) for value in sorted(set(form[name])))
    return b64encode(hmac_new(token.encode(), (url + said).encode(), sha1).digest()).decode()


def read_callback(
    headers: Mapping[str, str], body: bytes, url: str, secret: str, *, now: datetime | None = None
) -> Events:
    """Read a receipt or a resident's text.

    Args:
        headers: Names in any case.
        body: The form.
        url: Exactly as Twilio was given it: our public address, with the query.
        secret: The auth token.
        now: When it came.

    Raises:
        ForgedCallbackError: If the signature does not fit.
        BadCallbackError: If it cannot be read.
    """
    now = now or SystemClock().now()
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise BadCallbackError("The call of Twilio is no form; nothing was taken from it.") from error
    given = next((value for name, value in headers.items() if name.lower() == "x-twilio-signature"), "")
    if not secret or not _same(given, signature(url, form, secret)):
        raise ForgedCallbackError("The call is not signed by Twilio; nothing in it was believed.")
    one = {name: values[0] for name, values in form.items()}
    sid = one.get("MessageSid") or one.get("SmsSid") or ""
    if not sid:
        raise BadCallbackError("The call of Twilio names no message; nothing was taken from it.")
    status = one.get("MessageStatus", "")
    if "Body" in one and status in ("", "received"):
        return [], [Inbound(NAME, sid, e164(one.get("From", "")), one["Body"], now, one.get("To", ""))]
    state = _STATES.get(status)
    out_id = dict(parse_qsl(urlsplit(url).query)).get("out", "")
    return ([Receipt(NAME, sid, state, now, one.get("ErrorCode", ""), out_id)] if state else []), []


def _same(given: str, expected: str) -> bool:
    try:
        return compare_digest(b64decode(given, validate=True), b64decode(expected))
    except (NotBase64, ValueError):
        return False


def _count(data: Mapping[str, Any]) -> int:
    text = str(data.get("num_segments", ""))
    return int(text) if text.isdecimal() else 0


def _made(item: Mapping[str, Any]) -> datetime | None:
    try:
        return parsedate_to_datetime(str(item.get("date_created")))
    except ValueError:
        return None
