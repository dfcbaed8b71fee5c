"""Confirming a phone on the web: a six-digit code goes to the number, whoever types it here holds it.

Bounded for each number, each profile and the whole installation, so that nobody can make us ring strangers'
phones or run up a bill. Called by joining, the settings page and the page for the code.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from api.jobs.replying import Reply, queue
from api.wiring import Services
from profiles.asked import Rules
from profiles.codes import CODE_LIFE
from profiles.contacts import can_text
from profiles.types import Profile

Asked = Literal["sent", "wait", "enough", "busy", "unfit", "none"]
WAIT = timedelta(seconds=60)
A_DAY, A_DAY_EACH = 3, 6  # codes for one number; for one profile, whatever numbers it tries


def ask(services: Services, profile: Profile) -> Asked:
    """Send a code to the profile's unconfirmed phone.

    Returns:
        ``sent``: the number gets a code, if it gets texts of ours at all. Whether its owner wants none, or
        others asked it today, is the same word: that is nobody else's matter. ``wait`` (this profile asked
        within the last minute); ``enough`` (it asked often enough today); ``busy`` (too many in this hour
        for everybody); ``unfit`` (no mobile number); ``none`` (nothing to confirm).
    """
    now = services.clock.now()
    contact = services.contacts.get(profile.id, "sms")
    if contact is None or contact.verified_at is not None:
        return "none"
    number = contact.address
    if not can_text(number):
        return "unfit"
    rules = Rules(A_DAY_EACH, A_DAY, WAIT, services.settings.sms_codes_per_hour)
    taken = services.asked.take(
        "confirm", "sms", number, profile.id, rules, at=now, same_since=now - WAIT,
        allowed=not services.suppressions.holds("sms", number, now),
    )  # fmt: skip
    if taken in ("enough", "busy"):
        return taken
    if taken in ("again", "wait"):
        return "wait"
    if taken == "go":
        code = services.codes.make(profile.id, number, at=now)
        key = f"code:{code.id}"
        queue(
            services,
            Reply(key, "code", profile.lang, profile.id, code=code.id, life=CODE_LIFE, number=number),
        )
    return "sent"


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
    if not services.contacts.prove(profile.id, "sms", at=now, address=contact.address):
        return False
    services.codes.forget(profile.id)
    return True
