"""Notifications of browsers (Web Push): encrypted for each device, signed, sent by the guarded client.

A reader may have several devices; a note counts as taken when one of them took it. What a push service says
is gone is told to whoever wired the channel, which forgets it. It never reads the database.

Source: RFC 8030, 8188, 8291, 8292.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from delivery.errors import DeliveryError, PermanentError, RetryableError, ThrottledError
from delivery.types import Accepted, Message, PushMessage
from delivery.webpush_crypto import Device, b64, encrypt, read_device, vapid
from feeds.kernel.errors import BlockedAddressError, FetchError
from feeds.kernel.http import GuardedClient, HttpStatusError
from feeds.kernel.time import Clock

_TAKEN = (200, 201, 202, 204)
_GONE = frozenset({404, 410})
# A signature is good for a day at most; one is made for half of it and used for all notes to a service.
_GOOD_FOR = timedelta(hours=12)
Gone = Callable[[str, str], None]


class WebPushChannel:
    """Sends notes to browsers. Safe to call from several threads.

    Args:
        client: The guarded client: endpoints come from browsers.
        key: See :func:`delivery.webpush_crypto.derived_key`.
        subject: Where a push service can complain.
        clock: For the signature's end.
        gone: Called with (our reference, endpoint) of a device that is no more.
    """

    name = "webpush"

    def __init__(
        self,
        client: GuardedClient,
        key: ec.EllipticCurvePrivateKey,
        *,
        subject: str,
        clock: Clock,
        gone: Gone = lambda _out_id, _endpoint: None,
    ) -> None:
        self._client, self._key, self._subject = client, key, subject
        self._clock, self._gone = clock, gone
        self._signed: dict[str, tuple[datetime, str]] = {}
        self._guard = threading.Lock()

    def send(self, message: Message) -> Accepted:
        """Send one note to every device of a reader.

        Raises:
            PermanentError: If no device is left, or the note cannot be sent at all.
            RetryableError: If no device took it, but one may later.
        """
        if not isinstance(message, PushMessage):
            raise PermanentError("The push channel was given a message that is no note.")
        devices = [read_device(json.dumps(one)) for one in _listed(message.to)]
        taken, errors = 0, []
        for device in devices:
            try:
                self._one(message, device)
                taken += 1
            except DeliveryError as error:
                errors.append(error)
        if taken:
            return Accepted(self.name, message.out_id, f"{taken} of {len(devices)} devices")
        errors.sort(key=lambda error: not isinstance(error, RetryableError))  # one may take it later
        raise errors[0] if errors else PermanentError("This reader has no browser that takes notes.")

    def close(self) -> None:
        """Nothing is held open."""

    def _one(self, message: PushMessage, device: Device) -> None:
        said = {"title": message.title, "body": message.text, "url": message.url, "lang": message.lang}
        data = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        body = encrypt(data, device, salt=os.urandom(16), sender=ec.generate_private_key(ec.SECP256R1()))
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(message.useful_for),
            "Urgency": "high" if message.urgent else "normal",
            "Authorization": self._authorization(device.endpoint),
        }
        if message.topic:
            headers["Topic"] = b64(message.topic.encode())[:32]
        try:
            # Not followed: a redirect would carry our signature and the note to another host.
            self._client.post(device.endpoint, body=body, headers=headers, allowed=_TAKEN, follow=False)
        except HttpStatusError as error:
            raise self._refused(message, device, error) from error
        except BlockedAddressError as error:
            raise PermanentError("The push service's address must not be called.") from error
        except FetchError as error:
            raise RetryableError("The push service cannot be reached.") from error

    def _refused(self, message: PushMessage, device: Device, error: HttpStatusError) -> DeliveryError:
        if error.status in _GONE:
            self._gone(message.out_id, device.endpoint)
            return PermanentError(f"The browser is gone ({error.status}).")
        if error.status == 429 or error.status == 503:
            return ThrottledError(f"The push service asks for patience ({error.status}).", 300.0)
        if error.status >= 500:
            return RetryableError(f"The push service answered {error.status}.")
        return PermanentError(f"The push service refused the note ({error.status}).")

    def _authorization(self, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        origin, now = f"{parts.scheme}://{parts.netloc}", self._clock.now()
        with self._guard:
            until, header = self._signed.get(origin, (now, ""))
            if until <= now + _GOOD_FOR / 2:
                until = now + _GOOD_FOR
                header = vapid(origin, self._key, subject=self._subject, until=int(until.timestamp()))
                if len(self._signed) > 100:  # endpoints come from browsers: anybody can make up origins
                    self._signed.clear()
                self._signed[origin] = (until, header)
            return header


def _listed(text: str) -> list[object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PermanentError("This reader's browsers cannot be read; they have to be added anew.") from error
    return found if isinstance(found, list) else [found]
