"""Subscription messages of WeChat, over its REST interface, with the house's own HTTP client.

One access token serves a whole process; it is asked for under the "stable" interface, so that several
processes share it without telling each other. Each error number means one thing here: try later, never
again, or the reader has withdrawn. It never builds text and never reads the database.

Source: developers.weixin.qq.com, subscribeMessage.send, stable_token, the table of return codes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from delivery.errors import (
    DeliveryError,
    PermanentError,
    RetryableError,
    SuppressedError,
    ThrottledError,
    UnknownOutcomeError,
)
from delivery.types import Accepted, Message, WechatMessage
from feeds.kernel.errors import UsageError

HOST = "https://api.weixin.qq.com"
_MEANINGS = ("title", "agency", "time", "note")
# The token is renewed a little before it ends.
_EARLY = 300.0
_STALE = frozenset({40001, 40014, 42001})
_WITHDRAWN = frozenset({43101, 40003, 43107})
_OURS = {
    40037: "the template's id is not one of this account",
    47003: "a field does not fit the template",
    41030: "the page does not exist",
    40013: "the app id is not valid",
    40125: "the app secret is not valid",
    48001: "the account may not use this interface",
    61024: "the account may not use this interface",
}
_PATIENCE = {45009: 3600.0, 45011: 60.0, 45047: 60.0, 45002: 60.0, -1: 60.0}


@dataclass(frozen=True, slots=True)
class WechatTemplate:
    """An approved template: its id, and which of its fields says what.

    Attributes:
        fields: Meaning (``title``, ``agency``, ``time``, ``note``) → field, e.g. ``thing1``.
    """

    id: str
    fields: Mapping[str, str]


def parse_template(text: str) -> WechatTemplate:
    """Read ``ID:title=thing1,agency=thing3,time=date2,note=thing4``.

    Raises:
        UsageError: If it is written otherwise, or leaves the title out.
    """
    number, _, rest = text.strip().partition(":")
    pairs = [part.strip().partition("=") for part in rest.split(",") if part.strip()]
    fields = {meaning.strip(): field.strip() for meaning, _, field in pairs}
    if not number or "title" not in fields or not all(fields.values()) or set(fields) - set(_MEANINGS):
        raise UsageError(
            "MYCITY_WECHAT_TEMPLATE is written ID:title=thing1,agency=thing2,time=date3,note=thing4; "
            "title must be there, the others may be left out."
        )
    return WechatTemplate(number, fields)


class WechatChannel:
    """Sends subscription messages of one account. Safe to call from several threads.

    Args:
        app_id: Of the account.
        secret: Of the account.
        template: The approved long-term template.
        service_account: An official account (公众号) instead of a mini program.
        host: Where the interface is; replaced in tests.
        timeout: Seconds for each step.
        clock: Seconds that only grow.
    """

    name = "wechat"

    def __init__(
        self,
        app_id: str,
        secret: str,
        *,
        template: WechatTemplate,
        service_account: bool = False,
        host: str = HOST,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app_id, self._secret, self._template = app_id, secret, template
        self._path = "bizsend" if service_account else "send"
        self._service = service_account
        self._client = httpx2.Client(base_url=host, timeout=timeout, trust_env=False)
        self._clock = clock
        self._token, self._token_until = "", 0.0
        self._guard = threading.Lock()

    def send(self, message: Message) -> Accepted:
        """Send one message.

        Raises:
            SuppressedError: If the reader has not subscribed, or has left.
            ThrottledError: If the account's quota is used up, or the service is busy.
            PermanentError: If the message or the account does not fit.
            RetryableError: If the service cannot be reached.
            UnknownOutcomeError: If the line broke after the message was handed over.
        """
        if not isinstance(message, WechatMessage):
            raise PermanentError("The WeChat channel was given a message of another channel.")
        token = self._access(stale="")
        answer = self._post(f"/cgi-bin/message/subscribe/{self._path}", token, self._body(message))
        if answer.get("errcode") in _STALE:
            token = self._access(stale=token)
            answer = self._post(f"/cgi-bin/message/subscribe/{self._path}", token, self._body(message))
        if answer.get("errcode", 0) != 0:
            raise classify(answer)
        return Accepted(self.name, str(answer.get("msgid", "")))

    def set_menu(self, menu: Mapping[str, Any]) -> None:
        """Replace the menu of an official account.

        Raises:
            DeliveryError: If the service refuses it.
        """
        answer = self._post("/cgi-bin/menu/create", self._access(stale=""), menu)
        if answer.get("errcode", 0) != 0:
            raise classify(answer)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, message: WechatMessage) -> dict[str, Any]:
        said = {
            field: {"value": message.fields.get(meaning, "") or "-"}
            for meaning, field in self._template.fields.items()
        }
        body: dict[str, Any] = {"touser": message.to, "template_id": self._template.id, "data": said}
        body["page"] = message.page
        if not self._service:
            body |= {"miniprogram_state": "formal", "lang": "zh_CN" if message.lang[:2] == "zh" else "en_US"}
        return body

    def _access(self, *, stale: str) -> str:
        """The token in use; another one if it is ``stale`` or about to end."""
        with self._guard:
            if self._token and self._token != stale and self._clock() < self._token_until:
                return self._token
            wish = {"grant_type": "client_credential", "appid": self._app_id, "secret": self._secret}
            answer = self._call("/cgi-bin/stable_token", {**wish, "force_refresh": False}, handed_over=False)
            token = str(answer.get("access_token", ""))
            if not token:
                raise classify(answer)
            self._token = token
            self._token_until = self._clock() + max(float(answer.get("expires_in", 0)) - _EARLY, 30.0)
            return token

    def _post(self, path: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call(f"{path}?access_token={token}", body, handed_over=True)

    def _call(self, path: str, body: Mapping[str, Any], *, handed_over: bool) -> dict[str, Any]:
        try:
            response = self._client.post(path, json=dict(body))
            found = response.json() if response.status_code == 200 else None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise RetryableError(f"WeChat cannot be reached ({type(error).__name__}).") from None
        except (httpx2.HTTPError, ValueError) as error:
            # Never with its text: the address in it holds the token.
            if handed_over:
                raise UnknownOutcomeError(
                    f"WeChat's answer was lost ({type(error).__name__}); the message may have been taken."
                ) from None
            raise RetryableError(f"WeChat's answer was lost ({type(error).__name__}).") from None
        if not isinstance(found, dict):
            raise RetryableError(f"WeChat answered {response.status_code}.")
        return found


def classify(answer: Mapping[str, Any]) -> DeliveryError:
    """Name the error that a return code means."""
    code = int(answer.get("errcode", -1))
    if code in _WITHDRAWN:
        return SuppressedError(f"The reader does not take messages here (WeChat {code}).")
    if code in _PATIENCE:
        return ThrottledError(f"WeChat asks for patience ({code}).", _PATIENCE[code])
    if code in _STALE:
        return RetryableError(f"WeChat does not take our token ({code}).")
    if code in _OURS:
        return PermanentError(f"WeChat refused the message: {_OURS[code]} ({code}).")
    return RetryableError(f"WeChat answered with the unknown code {code}; see its table of return codes.")
