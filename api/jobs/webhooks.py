"""A resident's own webhook: set up, proved, tested, given a new secret, ended.

Nothing is sent to an address before its owner has proved it by echoing a challenge. Every step can be
repeated. Called by the page ``/me/webhook``, the channel (:func:`took`) and the scheduler (:func:`tend`).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import structlog

from api.jobs import joining
from api.wiring import Services
from delivery.channels.webhook import WebhookChannel, WebhookResult, code_of, post
from delivery.compose_webhook import message
from delivery.types import ChannelPort
from delivery.webhook_store import Webhook, new_secret
from feeds.kernel.answers import Timeouts
from feeds.kernel.errors import FetchError, StorageError, UsageError
from feeds.kernel.http import GuardedClient
from profiles.contacts import Contact, clean_address
from profiles.types import Frequency, Profile

CHANNEL = "webhook"
#: A webhook that took nothing for so long, in so many attempts, is ended.
FAILING_FOR, FAILING_TIMES = timedelta(days=5), 5
_ANSWER = 64 * 1024  # bytes of an answer that are read
_log = structlog.get_logger(__name__)


def client(services: Services) -> GuardedClient:
    """The guarded client for addresses that residents gave: short waits, short answers."""
    return services.client(timeouts=Timeouts(connect=5, read=10, total=15), most=_ANSWER)


def channel(services: Services) -> ChannelPort:
    """The channel that really posts; how each attempt went is kept."""
    return WebhookChannel(client(services), services.clock, partial(took, services))


def set_up(services: Services, profile: Profile, url: str) -> str:
    """Keep an address with a new secret; nothing is sent to it before :func:`prove`.

    Returns:
        The secret, which cannot be shown again.

    Raises:
        UsageError: If the address is none, or not https.
    """
    clean = clean_address(CHANNEL, url)
    allowed = {part.strip().lower() for part in services.settings.allow_private.split(",")}
    parts = urlsplit(clean)
    if parts.scheme != "https" and parts.netloc not in allowed:
        raise UsageError("A webhook's address begins with https://.")
    secret, now = new_secret(), services.clock.now()
    joining.stop_channel(services, profile.id, CHANNEL, reason="replaced")
    services.webhooks.put(profile.id, secret, at=now)  # first: an address is never proved with a newer secret
    services.contacts.put(profile.id, CHANNEL, clean, at=now)
    return secret


def prove(services: Services, profile: Profile, hour: int, frequency: Frequency = "daily") -> str:
    """Send a challenge, and begin to serve the address if it echoes it; return ``ok`` or what was wrong.

    The answer must be 2xx and be the challenge, alone or as ``{"challenge": …}``: a server that merely says
    yes to everything has agreed to nothing.
    """
    challenge = secrets.token_urlsafe(24)
    contact = services.contacts.get(profile.id, CHANNEL)
    held = services.webhooks.get(profile.id, now=services.clock.now())
    code, body = _call(services, contact, held, "endpoint.check", {"challenge": challenge})
    if code != "ok":
        return code
    if not _echoes(body, challenge):
        return "no_echo"
    if contact is None or held is None:
        return "none"
    if not _proved(services, contact, held):
        return "changed"
    joining.subscribe(services, profile, CHANNEL, hour, frequency=frequency)
    return "ok"


def _proved(services: Services, contact: Contact, held: Webhook) -> bool:
    """Keep that an address was proved, unless it or its secret was replaced while it was asked."""
    now = services.clock.now()
    with services.database.write() as connection:
        return services.webhooks.revive(held, connection, now=now) and services.contacts.prove(
            contact.profile_id, CHANNEL, at=now, address=contact.address, connection=connection
        )


def test(services: Services, profile: Profile) -> str:
    """Send a test message to a proved address; return ``ok`` or what was wrong."""
    contact = services.contacts.get(profile.id, CHANNEL)
    if contact is None or contact.verified_at is None:
        return "none"
    held = services.webhooks.get(profile.id, now=services.clock.now())
    return _call(services, contact, held, "endpoint.test", {"city": services.city.name.of(profile.lang)})[0]


def rotate(services: Services, profile: Profile) -> str | None:
    """Make a new secret; the old one goes on signing for a day. ``None``: there is no webhook."""
    secret = new_secret()
    made = services.webhooks.rotate(profile.id, secret, at=services.clock.now())
    return secret if made else None


def stop(services: Services, profile_id: int) -> None:
    """End a webhook and forget its address and secret; doing so twice is fine."""
    joining.stop_channel(services, profile_id, CHANNEL)
    services.contacts.remove(profile_id, CHANNEL)
    services.webhooks.remove(profile_id)


def took(services: Services, result: WebhookResult) -> None:
    """Keep how an attempt went; one that answered 410 ends. Never raises: the message was judged already."""
    try:
        services.webhooks.note(result)
        if result.code == "gone":
            _end(services, result.profile_id, "gone")
    except StorageError as error:
        _log.warning("webhook_result_lost", code=result.code, error=type(error).__name__)


def tend(services: Services) -> dict[str, int]:
    """End webhooks that have failed for days; their owners read why on ``/me/webhook``."""
    since = services.clock.now() - FAILING_FOR
    ended = [
        _end(services, profile_id, "failing")
        for profile_id in services.webhooks.failing(since=since, failures=FAILING_TIMES)
    ]
    return {"ended": sum(ended)}


@dataclass(frozen=True, slots=True)
class State:
    """What ``/me/webhook`` shows; the address without what may be a secret in it.

    Attributes:
        host: Of the address, or ``""`` where there is none.
        state: ``none``, ``waiting`` (not proved), ``live`` or ``ended``.
    """

    host: str
    state: str
    hour: int
    frequency: str = "daily"
    last_ok_at: object = None
    failing_since: object = None
    failures: int = 0
    last_code: str = ""
    ended_why: str = ""


def state(services: Services, profile_id: int) -> State:
    """Tell how a resident's webhook stands."""
    contact = services.contacts.get(profile_id, CHANNEL)
    held = services.webhooks.get(profile_id, now=services.clock.now())
    if contact is None or held is None:
        return State("", "none", 8)
    live = services.subscriptions.live(profile_id, CHANNEL)
    stands = "ended" if held.ended_at else "live" if live and contact.verified_at else "waiting"
    return State(
        host=urlsplit(contact.address).netloc,
        state=stands,
        hour=live.local_hour if live else 8,
        frequency=live.frequency if live else "daily",
        last_ok_at=held.last_ok_at,
        failing_since=held.failing_since,
        failures=held.failures,
        last_code=held.last_code,
        ended_why=held.ended_why,
    )


def _end(services: Services, profile_id: int, why: str) -> bool:
    ended = services.webhooks.end(profile_id, why, at=services.clock.now())
    # Also where it had ended: a process may have died between the two.
    joining.stop_channel(services, profile_id, CHANNEL, reason=why)
    if ended:
        _log.info("webhook_ended", profile=profile_id, why=why)
    return ended


def _call(
    services: Services, contact: Contact | None, held: Webhook | None, kind: str, data: dict[str, str]
) -> tuple[str, bytes]:
    """Post one message now, outside the outbox; return its code and the answer's body."""
    now = services.clock.now()
    if contact is None or held is None:
        return "none", b""
    if services.demo:
        return "demo", b""  # which reaches nobody
    made = message(
        kind, data, at=now, to=contact.address, secrets=held.secrets,
        message_id=f"msg_{secrets.token_hex(12)}", profile_id=contact.profile_id,
    )  # fmt: skip
    try:
        answer = post(client(services), made, now)
    except FetchError as error:
        return code_of(error), b""
    return "ok", answer.body


def _echoes(body: bytes, challenge: str) -> bool:
    text = body[:4096].decode("utf-8", "replace").strip()
    if text == challenge:
        return True
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("challenge") == challenge
