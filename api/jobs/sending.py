"""One round of sending with everything joined: urgent lanes first, calm ones after.

What may go out is judged at the claim (``delivery.outbox_guard``), what is said is prepared by
``api.jobs.building``. Nothing is planned here. Called by the worker, the scheduler, the commands, and by
whoever has just put something urgent into the outbox.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from api.jobs import signals
from api.jobs.building import prepare
from api.wiring import Services
from delivery.carried import CarriedStore
from delivery.outbox_breaker import Breaker
from delivery.outbox_guard import StandingGuard
from delivery.sending import LEASE, URGENT_LEASE, SendReport, merged, send_batch
from delivery.types import LANES, Delivery, Lane, Prepared
from profiles.feedback import FeedbackRow

URGENT: tuple[Lane, ...] = LANES[:2]
CALM: tuple[Lane, ...] = LANES[2:]
# The channel of a demo and of tests, which keeps messages in files and reaches nobody.
_CAPTURE = "capture"


def send(
    services: Services,
    *,
    limit: int = 500,
    lanes: Sequence[Lane] = LANES,
    stop: threading.Event | None = None,
) -> SendReport:
    """Send due messages, urgent lanes first, at most ``limit`` of each kind.

    Args:
        services: The joined parts.
        limit: Most rows of the urgent lanes, and most of the calm ones.
        lanes: Only these.
        stop: When set, what is not begun is put back at once.
    """
    services.outbox.release_expired(services.clock.now())
    groups = [[lane for lane in group if lane in lanes] for group in (URGENT, CALM)]
    return merged([_round(services, group, limit, stop) for group in groups if group])


def guard_of(services: Services) -> StandingGuard:
    """The last look before sending, as this installation needs it."""
    unchecked = [name for name, port in services.channels.items() if port.name == _CAPTURE]
    return StandingGuard(services.zone, unchecked=unchecked)


def _round(services: Services, lanes: Sequence[Lane], limit: int, stop: threading.Event | None) -> SendReport:
    shown: list[Prepared] = []

    def prepared(rows: Sequence[Delivery]) -> Sequence[Prepared]:
        found = prepare(services, rows)
        shown.extend(replace(one, message=None) for one in found if one.shown)
        return found

    report = send_batch(
        services.outbox,
        services.channels,
        prepared,
        lanes=lanes,
        limit=limit,
        clock=services.clock,
        threads=services.settings.send_threads,
        lease=URGENT_LEASE if lanes[0] in URGENT else LEASE,
        stop=stop,
        guard=guard_of(services),
        breaker=_breaker(services, urgent=lanes[0] in URGENT),
        confirm_above=services.settings.confirm_above,
    )
    _note_shown(services, shown)
    return report


_breakers: WeakKeyDictionary[object, dict[bool, Breaker]] = WeakKeyDictionary()


def _breaker(services: Services, *, urgent: bool) -> Breaker:
    """One for each kind of lane: an alert tries a provider again sooner than a digest does."""
    own = _breakers.setdefault(services.outbox, {True: Breaker.impatient(), False: Breaker()})
    return own[urgent]


def _note_shown(services: Services, mails: Sequence[Prepared]) -> None:
    """Keep what the mails showed that a provider took."""
    if not mails:
        return
    sent = CarriedStore(services.database).sent_at([one.row.id for one in mails], beside=_CAPTURE)
    rows: list[FeedbackRow] = []
    for one in mails:
        if one.row.id in sent:
            rows += signals.impressions(one.row.profile_id, one.shown, "email", sent[one.row.id])
    signals.keep_shown(services, rows)
