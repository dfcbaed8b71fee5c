"""The connection to a text message provider that speaks HTTP: pooled, patient, exact about failure.

Before the request has left, a failure costs nothing and is tried again. After it, silence, a torn
answer or an unexplained 5xx means "may have been taken". Addresses are fixed by settings; addresses
that a person gave are never called from here. Called by the adapters beside it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from delivery.errors import DeliveryError, RetryableError, ThrottledError, UnknownOutcomeError

_CONNECTIONS = 64
_BEFORE = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; ``data`` is ``{}`` where the body is no JSON object."""

    status: int
    data: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Caller:
    """Calls one provider. Safe to use from several threads.

    Args:
        provider: Stands in error messages.
        connect_seconds: Patience for a connection.
        answer_seconds: Patience for the answer.
    """

    def __init__(self, provider: str, *, connect_seconds: float = 5.0, answer_seconds: float = 20.0) -> None:
        self._provider = provider
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(answer_seconds, connect=connect_seconds, pool=connect_seconds),
            limits=httpx2.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=15,  # shorter than theirs, so that none dies in our hand
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def hand_over(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """Post a message.

        Raises:
            RetryableError: No connection; nothing left this machine.
            ThrottledError: Answered 429 or 503.
            UnknownOutcomeError: It left, and what became of it is not known.
        """
        try:
            answer = _answer(self._client.post(url, headers=dict(headers), content=content))
        except _BEFORE as error:
            raise self._unreachable(error) from error
        except httpx2.HTTPError as error:
            raise self.unknown(type(error).__name__) from error
        if answer.status in (429, 503):
            raise self._throttled(answer)
        if answer.status in (502, 504) or (not answer.data and answer.status // 100 in (2, 5)):
            raise self.unknown(f"HTTP {answer.status}")
        return answer

    def ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes = b"") -> Answer:
        """Ask a question that changes nothing over there; every failure may be tried again."""
        try:
            answer = _answer(self._client.request(method, url, headers=dict(headers), content=content))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status >= 500 or answer.status == 429:
            raise RetryableError(f"{self._provider} answered {answer.status}; it is asked again later.")
        return answer

    def unknown(self, reason: str) -> UnknownOutcomeError:
        """The error of a message that may have been taken."""
        return UnknownOutcomeError(
            f"{self._provider} did not say what became of the message ({reason}); it may have been taken."
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _unreachable(self, error: Exception) -> DeliveryError:
        return RetryableError(
            f"{self._provider} cannot be reached ({type(error).__name__}); it is tried again."
        )

    def _throttled(self, answer: Answer) -> DeliveryError:
        seconds = 10.0
        with contextlib.suppress(ValueError):
            seconds = min(3600.0, max(1.0, float(answer.headers.get("retry-after", "10"))))
        return ThrottledError(f"{self._provider} answered {answer.status}: slow down.", seconds)


def _answer(response: httpx2.Response) -> Answer:
    try:
        data = json.loads(response.content)
    except (ValueError, RecursionError):
        data = {}
    return Answer(response.status_code, data if isinstance(data, dict) else {}, dict(response.headers))
