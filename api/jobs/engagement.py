"""Opens and clicks of mail, of residents who agreed to it and of nobody else.

An address is counted only where its reader has consented; it leads to our own page whatever becomes of
the counting. What a machine did is kept, marked, and never learned from. Called by
``api.jobs.building`` (addresses), ``api.web.routes.clicks`` (requests) and the scheduler
(:func:`settle`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from api.jobs import signals
from api.wiring import Services
from delivery.engagement_rules import (
    SETTLE,
    Event,
    Kind,
    Verdict,
    at_once,
    code_for,
    pair_of,
    settled,
)
from feeds.kernel.errors import MycityError

PURPOSE = "engagement"
CHANNEL = "email"
#: How long events are kept.
KEEP = timedelta(days=180)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a counted address leads.

    Attributes:
        veiled: The page must ask before it tells.
    """

    notice_id: int
    veiled: bool


def consenting(services: Services, profile_ids: Collection[int]) -> set[int]:
    """Return which of these residents agreed, and did not switch personalisation off."""
    return services.consents.observed(PURPOSE, profile_ids)


def link_of(services: Services, delivery_id: int, notice_id: int) -> str:
    """Return the counted address of a notice in one mail; always the same one."""
    return f"{services.settings.base_url}/r/{code_for(services.key, delivery_id, notice_id)}"


def pixel_of(services: Services, delivery_id: int) -> str:
    """Return the address of the one-pixel picture of a mail; always the same one."""
    return f"{services.settings.base_url}/o/{code_for(services.key, delivery_id, 0)}.gif"


def followed(services: Services, code: str, headers: Mapping[str, str], *, head: bool) -> Followed | None:
    """Note that a link was followed and return where it leads; ``None`` for a code that is not ours.

    The way is shown whether or not anything may be kept; what cannot be kept is lost.
    """
    pair = pair_of(services.key, code)
    if pair is None or not pair[1]:
        return None
    target = services.engagement.target(*pair)
    notice = services.notices.many([pair[1]]).get(pair[1])
    if target is None or notice is None:
        return None
    sensitive = any(services.city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)
    if not sensitive:  # nobody consented to that
        _note(services, pair, "click", headers, head=head)
    return Followed(pair[1], sensitive)


def opened(services: Services, code: str, headers: Mapping[str, str], *, head: bool) -> bool:
    """Note that the picture of a mail was fetched; False for a code that is not ours."""
    pair = pair_of(services.key, code)
    if pair is None or pair[1] or services.engagement.target(*pair) is None:
        return False
    _note(services, pair, "open", headers, head=head)
    return True


def settle(services: Services) -> dict[str, int]:
    """Judge events whose minute is over, and learn from those that a person did.

    May be killed and run again: what was learned already is not learned twice, for doing the same with
    a notice within half an hour is one act.
    """
    now = services.clock.now()
    done = {"person": 0, "automatic": 0}
    for delivery_id in services.engagement.waiting(now - SETTLE):
        events = services.engagement.of_delivery(delivery_id)
        verdicts = {
            event.id: verdict
            for event in events
            if event.at < now - SETTLE and (verdict := settled(events).get(event.id))
        }
        for event in events:
            if verdicts.get(event.id) == "person" and event.kind == "click":
                _learn(services, event)
        services.engagement.judge(verdicts)
        persons = sum(verdict == "person" for verdict in verdicts.values())
        done["person"] += persons
        done["automatic"] += len(verdicts) - persons
    services.engagement.trim(now - KEEP)
    return done


def agree(services: Services, profile_id: int) -> None:
    """Record the consent; doing so twice changes nothing."""
    if not services.consents.agreed(PURPOSE, [profile_id]):
        services.consents.give(profile_id, PURPOSE, at=services.clock.now())


def withdraw(services: Services, profile_id: int) -> int:
    """End the consent and delete everything that was stored for it, and what was learned from it.

    Returns:
        How many events went.
    """
    services.consents.end(profile_id, PURPOSE, at=services.clock.now())
    gone = services.engagement.forget(profile_id)
    if services.feedback.forget_acts(profile_id, channel=CHANNEL):
        signals.relearn(services, profile_id)
    return gone


def _note(
    services: Services, pair: tuple[int, int], kind: Kind, headers: Mapping[str, str], *, head: bool
) -> None:
    delivery_id, notice_id = pair
    target = services.engagement.target(delivery_id, notice_id)
    if target is None or target.profile_id not in consenting(services, [target.profile_id]):
        return
    now = services.clock.now()
    verdict: Verdict = at_once(kind, headers, head=head, sent_at=target.sent_at, now=now)
    event = Event(0, delivery_id, notice_id, target.profile_id, kind, now, verdict)
    try:
        services.engagement.add(event)
    except MycityError as error:
        _log.warning("engagement_lost", kind=kind, error=type(error).__name__)


def _learn(services: Services, event: Event) -> None:
    if event.profile_id in consenting(services, [event.profile_id]):
        signals.clicked(services, event.profile_id, event.notice_id, channel=CHANNEL)
