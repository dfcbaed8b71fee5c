"""Confirming a phone on the web: a six-digit code goes to the number, whoever types it here holds it.

Bounded for each number, each profile and the whole installation, so that nobody can make us ring strangers'
phones or run up a bill. Called by joining, the settings page and the page for the code.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from api.jobs.replying import Reply, queue
from api.wiring import Services
from profiles.codes import CODE_LIFE
from profiles.contacts import can_text
from profiles.types import Profile

Asked = Literal["sent", "wait", "enough", "busy", "refused", "unfit", "none"]
WAIT = timedelta(seconds=60)
A_DAY, A_DAY_EACH = 3, 6  # codes for one number; for one profile, whatever numbers it tries
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


def ask(services: Services, profile: Profile) -> Asked:
    """Send a code to the profile's unconfirmed phone.

    Returns:
        ``sent``; ``wait`` (one went out within the last minute); ``enough`` (three today for this number);
        ``busy`` (too many in this hour for everybody); ``refused`` (its owner wants nothing from us and has
        to send DY first); ``unfit`` (no mobile number); ``none`` (nothing to confirm).
    """
    now = services.clock.now()
    contact = services.contacts.get(profile.id, "sms")
    if contact is None or contact.verified_at is not None:
        return "none"
    if why := _unfit(services, contact.address, now):
        return why
    if services.codes.made_by(profile.id, since=now - _DAY) >= A_DAY_EACH:
        return "enough"
    code = services.codes.make(profile.id, contact.address, at=now)
    queue(
        services,
        Reply(f"code:{code.id}", "code", profile.lang, profile.id, code=code.id, life=CODE_LIFE),
    )
    return "sent"


def _unfit(services: Services, number: str, now: datetime) -> Asked | None:
    if not can_text(number):
        return "unfit"
    if services.suppressions.holds("sms", number, now):
        return "refused"
    before = services.codes.made_for(number, since=now - _DAY)
    if before and before[-1] > now - WAIT:
        return "wait"
    if len(before) >= A_DAY:
        return "enough"
    if services.codes.count(since=now - _HOUR) >= services.settings.sms_codes_per_hour:
        return "busy"
    return None


def check(services: Services, profile: Profile, typed: str) -> bool:
    """Confirm the phone if the code is right; a number that was replaced meanwhile is not confirmed."""
    now = services.clock.now()
    contact = services.contacts.get(profile.id, "sms")
    if contact is None:
        return False
    if contact.verified_at is not None:
        return True
    if not services.codes.accepts(profile.id, contact.address, typed, at=now):
        return False
    services.contacts.prove(profile.id, "sms", at=now)
    services.codes.forget(profile.id)
    return True
