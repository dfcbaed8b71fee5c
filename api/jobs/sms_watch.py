"""Moves the weights of text message providers by what they did lately; forgets old accounts.

Decides nothing itself (``delivery.sms_weights``). Safe to run twice: a version is written once.
Called by the timer every minute and by ``mycity sms``.
"""

from __future__ import annotations

import structlog

from api.wiring import Services
from delivery.sms_pool import SmsPool
from delivery.sms_weights import SPAN, Change, decide

_log = structlog.get_logger(__name__)


def weigh(services: Services) -> Change | None:
    """Look at the last quarter of an hour, and move the weights if they should."""
    pool = services.channels.get("sms")
    if not isinstance(pool, SmsPool):
        return None
    now, current = services.clock.now(), services.sms_scales.current()
    change = decide(
        current.weights,
        {name: provider.weight for name, provider in pool.providers.items()},
        services.sms_budget.measures(now - SPAN, now),
        changed_at=current.at,
        now=now,
    )
    if change is None or not services.sms_scales.put(current.version, change.weights, change.reason, now):
        return None
    _log.info("sms_weights", weights=dict(change.weights), reason=change.reason)
    return change


def tick_sms(services: Services) -> dict[str, object]:
    """Weigh, and keep the accounts short."""
    change = weigh(services)
    gone = services.sms_budget.trim(services.clock.now())
    return {"weights": dict(change.weights) if change else "as before", "forgotten": gone}
