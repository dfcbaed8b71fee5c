"""Signed webhooks: one POST of JSON to an address that a resident gave, through the guarded client.

The answer's status decides: 2xx taken, 410 never again, 429 and 5xx later, any other 4xx or a redirect
not this message. It never reads the database, and no error names the address: it may hold a secret.
Whoever keeps how sending went is told by ``on_result``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from delivery.compose_webhook import sign
from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.types import Accepted, Message, WebhookMessage
from feeds.kernel.errors import BlockedAddressError, FetchError
from feeds.kernel.http import Answer, GuardedClient, HostBusyError, HttpStatusError
from feeds.kernel.time import Clock

MOST_PATIENCE = 3600.0  # seconds that one Retry-After can put a message off
_BUSY_SECONDS = 30.0
_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class WebhookResult:
    """How one attempt went.

    Attributes:
        code: ``ok``, ``gone``, ``http_<status>``, ``timeout``, ``tls``, ``blocked`` or ``unreachable``.
    """

    profile_id: int
    at: datetime
    code: str

    @property
    def ok(self) -> bool:
        """Whether the message was taken."""
        return self.code == "ok"


class WebhookChannel:
    """Posts signed messages. Safe to call from several threads.

    Args:
        client: Guards the addresses; keeps nothing open.
        clock: Dates the signatures: receivers refuse old ones.
        on_result: Told of every attempt that reached an answer or a fault; must not raise.
    """

    name = "webhook"

    def __init__(
        self, client: GuardedClient, clock: Clock, on_result: Callable[[WebhookResult], None] | None = None
    ) -> None:
        self._client, self._clock = client, clock
        self._on_result = on_result or (lambda _: None)

    def send(self, message: Message) -> Accepted:
        """Post one message.

        Raises:
            PermanentError: Not a webhook's message, refused for good (410 and other 4xx), redirected,
                or an address that must not be called.
            ThrottledError: The endpoint, or our own queue for its host, asks for patience.
            RetryableError: It failed (5xx) or could not be reached. Trying again is safe, for the
                message keeps its id.
        """
        if not isinstance(message, WebhookMessage):
            raise PermanentError("The webhook channel was given a message of another kind.")
        try:
            post(self._client, message, self._clock.now())
        except HostBusyError as error:
            raise ThrottledError("Too many messages wait for this webhook's host.", _BUSY_SECONDS) from error
        except FetchError as error:
            code = code_of(error)
            self._tell(message, code)
            raise _fault(code, error) from error
        self._tell(message, "ok")
        return Accepted(self.name, message.message_id)

    def close(self) -> None:
        """Nothing is held open."""

    def _tell(self, message: WebhookMessage, code: str) -> None:
        if message.profile_id:
            self._on_result(WebhookResult(message.profile_id, self._clock.now(), code))


def post(client: GuardedClient, message: WebhookMessage, at: datetime) -> Answer:
    """Sign and post a message; redirects are not followed.

    Raises:
        FetchError: As :meth:`feeds.kernel.http.GuardedClient.post`.
    """
    headers = {"Content-Type": "application/json", **sign(message, at)}
    allowed = tuple(range(200, 300))
    return client.post(message.to, body=message.body, headers=headers, allowed=allowed, follow=False)


def code_of(error: FetchError) -> str:
    """Name a fault in one word that says nothing of the address."""
    if isinstance(error, HttpStatusError):
        return "gone" if error.status == 410 else f"http_{error.status}"
    if isinstance(error, BlockedAddressError):
        return "blocked"
    said = str(error)
    if "in time" in said:
        return "timeout"
    return "tls" if "certificate" in said or "TLS" in said else "unreachable"


def _fault(code: str, error: FetchError) -> DeliveryError:
    said = f"The webhook could not be reached ({code})."
    if isinstance(error, BlockedAddressError):
        return PermanentError("The webhook's address must not be called; it has to be public and https.")
    if not isinstance(error, HttpStatusError):
        return RetryableError(said)
    said = f"The webhook answered {error.status}."
    if error.status not in _LATER and error.status < 500:
        return PermanentError(said)
    if error.retry_after:
        return ThrottledError(said, min(error.retry_after, MOST_PATIENCE))
    return RetryableError(said)
