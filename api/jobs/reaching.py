"""Whom each channel can reach, whether it really sends, and what a message to all of them would cost.

Counts and estimates only; small counts of what is sensitive are not told. Called by the editors' page of
channels and by ``mycity channels reach``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.sms_wiring import read_terms
from api.wiring import Services
from delivery.sms_cost import estimate
from delivery.sms_templates import UNIT
from profiles.reach import Reach

#: Below this a count of something sensitive would tell of single people.
LEAST_TOLD = 20
CHANNELS = ("email", "sms", "webhook", "webpush", "wechat", "apprise")
_NONE = Reach(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ChannelReach:
    """One channel as an editor sees it.

    Attributes:
        name: Of the channel.
        real: Whether messages really go out; otherwise they are written to files.
        hidden: The counts are too small to be told.
        price: Of one usual message, in the money of MYCITY_SMS_FILE; 0 where nothing is charged by message;
            ``None`` where it is not known.
    """

    name: str
    real: bool
    reach: Reach
    hidden: bool
    price: float | None

    @property
    def cost(self) -> float | None:
        """Of one usual message to everybody reachable."""
        return None if self.price is None or self.hidden else self.price * self.reach.reachable


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows: people asked about, those only feeds and pages serve, and each channel."""

    people: int
    silent: int
    hidden: bool
    channels: tuple[ChannelReach, ...]


def overview(services: Services, tags: Sequence[str] = ()) -> Overview:
    """Count who can be reached among those who named any of the tags, e.g. ``role:…``, ``place:…``.

    Something sensitive is only counted by itself: together with other tags its few people could be
    found by subtraction.
    """
    wanted = [_criterion(tag) for tag in tags]
    private = any(services.city.is_sensitive(tag) for tag in tags)
    people = services.reach.people(wanted)
    silent = services.reach.silent(wanted)
    hidden = private and (len(tags) > 1 or min(people, silent or people) < LEAST_TOLD)
    found = services.reach.by_channel(services.clock.now(), wanted)
    rows = tuple(
        ChannelReach(
            name,
            services.channels[name].name != "capture",
            _NONE if hidden else found.get(name, _NONE),
            hidden or (private and _tells(found.get(name, _NONE))),
            price_of(services, name),
        )
        for name in CHANNELS
        if name in services.channels
    )
    return Overview(people, silent, hidden, rows)


def _tells(reach: Reach) -> bool:
    """Whether any of the counts, or what is left between two of them, is small enough to tell of somebody."""
    counts = (reach.live, reach.reachable, reach.unconfirmed, reach.suppressed, reach.live - reach.reachable)
    return any(0 < count < LEAST_TOLD for count in counts)


def price_of(services: Services, channel: str) -> float | None:
    """What one usual message costs: a text message of one segment at home; all else nothing we know of."""
    if channel != "sms":
        return 0.0
    if services.demo or not services.settings.sms_providers:
        return None
    terms, weights = read_terms(services.settings), services.sms_scales.current().weights
    found = estimate(terms, weights, segments=1, texts={"+86": 1})
    return None if found.unserved else found.expected / UNIT


def _criterion(tag: str) -> tuple[str, str]:
    kind, _, code = tag.partition(":")
    return (kind, code) if kind in ("role", "place") else ("interest", tag)
