"""What follows from a provider's report: a dead address gets nothing more, its resident is told on /me.

A report acts once: only a row that it moved counts. Never sends and never judges by the text of an error,
only by its code. Called by the SMS hooks, the SMPP channel's events, the mail bounces and the people tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from api.jobs import copying, joining
from api.wiring import Services
from delivery.sms_inbound import UNHEARD, Unheard
from delivery.types import Accepted, Delivery, Receipt
from profiles.suppression import SuppressionReason

_log = structlog.get_logger(__name__)
# So many failures within so many days, nothing delivered in between, and an address rests or is given up.
SOFT_MOST, SOFT_DAYS, SOFT_REST = 3, timedelta(days=14), timedelta(days=14)
TEXTS_MOST, TEXTS_DAYS = 3, timedelta(days=30)
KEPT_TROUBLES = timedelta(days=60)
# A text whose outcome is unknown is asked about from so long after it was handed over.
ASK_AFTER = timedelta(seconds=60)
_ASKED_MOST = 100
# A row with one of these in its recipe goes to another address than its profile's own.
_ELSEWHERE = frozenset({"copy", "copy_id", "inbound"})


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """What reports changed: rows moved, subscriptions and copies ended, addresses that rest for a while."""

    moved: int = 0
    ended: int = 0
    resting: int = 0


@dataclass(slots=True)
class _Tally:
    ended: int = 0
    resting: int = 0


def take(services: Services, receipts: Sequence[Receipt]) -> ReceiptReport:
    """Keep reports, move the rows they are about, and do what follows for the people."""
    return follow(services, services.receipts.take(receipts, services.clock.now()))


def take_waiting(services: Services) -> ReceiptReport:
    """The same for reports that came before their row was written."""
    return follow(services, services.receipts.apply_waiting(services.clock.now()))


def follow(services: Services, rows: Sequence[Delivery]) -> ReceiptReport:
    """Do what follows from rows that a report has just moved."""
    tally = _Tally()
    good = [row for row in rows if row.state == "delivered"]
    if good:
        _well(services, good)
    for row in rows:
        if row.state in ("bounced", "complained", "failed"):
            address = _address(services, row)
            if address:
                _badly(services, row, address, tally)
    return ReceiptReport(len(rows), tally.ended, tally.resting)


def _well(services: Services, rows: Sequence[Delivery]) -> None:
    own = [row for row in rows if row.profile_id and not _ELSEWHERE & row.recipe.keys()]
    services.contacts.seen(((row.profile_id, row.channel) for row in own), at=services.clock.now())
    if not services.suppressions.any_trouble():
        return
    for channel in {row.channel for row in own}:
        services.suppressions.recovered(channel, [row.profile_id for row in own if row.channel == channel])
    for row in rows:
        if _ELSEWHERE & row.recipe.keys() and (address := _address(services, row)):
            services.suppressions.forget_troubles(row.channel, address)


def _badly(services: Services, row: Delivery, address: str, tally: _Tally) -> None:
    now = services.clock.now()
    if row.state == "complained":
        _give_up(services, row, address, "complained", tally)
    elif row.state == "bounced" and not is_soft(row.error):
        _give_up(services, row, address, "bounced", tally)
    elif row.channel == "sms":
        if _count(services, row, address, now, TEXTS_DAYS) >= TEXTS_MOST:
            _give_up(services, row, address, "invalid", tally)
    elif row.channel == "email" and _count(services, row, address, now, SOFT_DAYS) >= SOFT_MOST:
        services.suppressions.add("email", address, reason="bounced", at=now, until=now + SOFT_REST)
        services.suppressions.forget_troubles("email", address)
        tally.resting += 1


def is_soft(code: str) -> bool:
    """Whether a bounce is about now and not for ever: an enhanced status 4.x.x, or a reply 4xx."""
    return code.strip().startswith("4")


def _count(services: Services, row: Delivery, address: str, now: datetime, within: timedelta) -> int:
    services.suppressions.note_trouble(row.channel, address, row.id, at=now)
    return services.suppressions.troubles(row.channel, address, since=now - within)


def _give_up(
    services: Services, row: Delivery, address: str, reason: SuppressionReason, tally: _Tally
) -> None:
    """End whatever goes to an address, for every profile that gave it, and suppress it."""
    now, channel = services.clock.now(), row.channel
    services.suppressions.add(channel, address, reason=reason, at=now)
    services.suppressions.forget_troubles(channel, address)
    for profile_id in services.contacts.holders(channel, address):
        if joining.stop_channel(services, profile_id, channel, reason=reason):
            tally.ended += 1
        services.outbox.cancel_profile(profile_id, now, channel=channel)
    for copy in services.copies.at(channel, address):
        tally.ended += copying.end(
            services, copy, reason="recipient" if reason == "complained" else "bounced"
        )
    _log.info("address_given_up", channel=channel, reason=reason, delivery=row.id)


def _address(services: Services, row: Delivery) -> str:
    """Where a row went, as far as it is still known."""
    recipe = row.recipe
    if "inbound" in recipe:
        found = services.inbox.many([recipe["inbound"]]).get(recipe["inbound"])
        return found.number if found else ""
    number = recipe.get("copy", recipe.get("copy_id"))
    if number is not None:
        copy = services.copies.get(number)
        return copy.address if copy else ""
    if row.channel not in ("email", "sms"):
        return ""
    contact = services.contacts.get(row.profile_id, row.channel)
    return contact.address if contact else ""


@dataclass(frozen=True, slots=True)
class SettleReport:
    """What asking about texts of unknown outcome gave."""

    asked: int = 0
    known: int = 0
    queued: int = 0


def settle_unknown(services: Services) -> SettleReport:
    """Ask the provider about texts that may or may not have gone out; only one it never saw goes again.

    A provider that cannot be asked, or cannot tell yet, leaves the row as it is: for a later report, a later
    question, or a person.
    """
    now = services.clock.now()
    ask = getattr(services.channels.get("sms"), "ask", None)
    if ask is None:
        return SettleReport()
    asked = known = queued = 0
    ids = services.sms_unknown.next(now - ASK_AFTER, _ASKED_MOST)
    if ids:
        services.sms_unknown.asked(ids, now)  # before asking: one that breaks must not always come first
    for row in services.outbox.many(ids):
        address = _address(services, row)
        if not address:
            continue
        asked += 1
        found = _ask(ask, row, address)
        if isinstance(found, Receipt):
            known += take(services, [found]).moved
        elif isinstance(found, Accepted):
            known += services.sms_unknown.taken(row.id, found, now)
        elif found == UNHEARD and now < row.expires_at:
            queued += services.outbox.retry([row.id], now, row.expires_at)
        elif found == UNHEARD:
            known += services.sms_unknown.expire(row.id, now)
    return SettleReport(asked, known, queued)


def _ask(ask: object, row: Delivery, address: str) -> Receipt | Accepted | Unheard | None:
    """A report; that it was taken; ``unheard`` if surely no provider took it; ``None``: nobody can tell."""
    try:
        found = ask(f"d{row.id}", row.provider_ref, address, row.sent_at or row.due_at)  # type: ignore[operator]
    except Exception as error:  # a provider that is down answers at a later round
        _log.warning("ask_failed", delivery=row.id, error=type(error).__name__)
        return None
    return found if isinstance(found, Receipt | Accepted) else UNHEARD if found == UNHEARD else None
