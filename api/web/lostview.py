"""Says which channels were stopped for a resident by something that happened, and why.

Reads subscriptions only; an ended one that its resident stopped on these pages is no news. Called by the
residents' pages.
"""

from __future__ import annotations

from api.wiring import Services
from profiles.types import Profile, Subscription

_NEWS = ("bounced", "complained", "invalid", "recycled", "texted")


def lost(services: Services, profile: Profile) -> list[tuple[str, str]]:
    """Return (channel, reason) of each channel that ended so and was not started again, newest last."""
    last: dict[str, Subscription] = {}
    for item in services.subscriptions.of(profile.id):
        last[item.channel] = item
    return [
        (channel, item.ended_reason)
        for channel, item in last.items()
        if item.ended_at is not None and item.ended_reason in _NEWS
    ]
