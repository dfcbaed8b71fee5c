"""Channels beside mail, text messages and webhooks: a resident's browsers, their chat tool, WeChat.

Adds and drops what a channel needs to reach somebody, and gives a digest the channel's form. Nothing is
sent here. Called by the pages, by ``api.jobs.building`` and by the channels' wiring.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from api.jobs import joining
from delivery.channels import apprise
from delivery.compose_push import compose_push, compose_wechat
from delivery.types import Delivery, Digest, Message
from delivery.webpush_crypto import read_device
from feeds.kernel.errors import UsageError
from profiles.types import Profile

if TYPE_CHECKING:
    from api.wiring import Services

CHANNELS = ("webpush", "wechat", "apprise")
MOST_DEVICES = 5
HOUR = 8


def add_device(services: Services, profile: Profile, text: str) -> int:
    """Add a browser of a resident, and serve the channel from now on; return how many they have.

    Raises:
        UsageError: If the browser's word cannot be used, or there are five already.
    """
    device = read_device(text)
    said = json.loads(text)
    mine = {"endpoint": device.endpoint, "keys": {name: said["keys"][name] for name in ("p256dh", "auth")}}
    others = [one for one in devices(services, profile.id) if one["endpoint"] != device.endpoint]
    if len(others) >= MOST_DEVICES:
        raise UsageError(
            f"Up to {MOST_DEVICES} browsers can be notified; switch it off in another one first."
        )
    _keep(services, profile.id, [*others, mine])
    if services.subscriptions.live(profile.id, "webpush") is None:
        joining.subscribe(services, profile, "webpush", HOUR)
    return len(others) + 1


def devices(services: Services, profile_id: int) -> list[dict[str, Any]]:
    """The browsers of a resident, as they described themselves."""
    contact = services.contacts.get(profile_id, "webpush")
    return json.loads(contact.address) if contact else []


def drop_device(services: Services, out_id: str, endpoint: str) -> None:
    """Forget a browser that its push service calls gone; the last one ends the channel.

    Args:
        services: The joined parts.
        out_id: Our reference of the note that was refused.
        endpoint: Where it was sent to.
    """
    row = services.outbox.get(int(out_id[1:])) if out_id[1:].isdigit() else None
    if row is None:
        return
    left = [one for one in devices(services, row.profile_id) if one["endpoint"] != endpoint]
    if left:
        _keep(services, row.profile_id, left)
    else:
        stop(services, row.profile_id, "webpush", reason="gone")


def set_chat_tool(services: Services, profile: Profile, url: str) -> None:
    """Keep the address of somebody's own chat tool, and serve it from now on.

    Raises:
        UsageError: If the address is none that may be used.
    """
    services.contacts.put(profile.id, "apprise", apprise.check(url), at=services.clock.now(), verified=True)
    joining.subscribe(services, profile, "apprise", HOUR)


def stop(services: Services, profile_id: int, channel: str, *, reason: str = "unsubscribed") -> None:
    """End a channel and forget what it needs; doing so twice is fine."""
    joining.stop_channel(services, profile_id, channel, reason)
    services.outbox.cancel_profile(profile_id, services.clock.now(), channel=channel)
    services.contacts.remove(profile_id, channel)


def compose(services: Services, row: Delivery, _profile: Profile, digest: Digest, address: str) -> Message:
    """Give a digest the form of the row's channel; one of :data:`CHANNELS`.

    These show on locked screens, so the digest is worded like a text message; but they may lead to the page.
    """
    digest = replace(digest, page_url=f"{services.settings.base_url}/me")
    out_id, urgent = f"d{row.id}", row.lane == "alert"
    if row.channel == "wechat":
        return compose_wechat(digest, to=address, out_id=out_id)
    useful_for = max(60, int((row.expires_at - services.clock.now()).total_seconds()))
    # A new digest takes the place of one that was never seen; an alert never does.
    topic = "" if urgent else "digest"
    return compose_push(digest, to=address, out_id=out_id, urgent=urgent, useful_for=useful_for, topic=topic)


def _keep(services: Services, profile_id: int, browsers: list[dict[str, Any]]) -> None:
    text = json.dumps(browsers, separators=(",", ":"), sort_keys=True)
    services.contacts.put(profile_id, "webpush", text, at=services.clock.now(), verified=True)
