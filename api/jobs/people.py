"""The people tick: ends what has an end, makes up for what was interrupted, asks silent phones.

Every step is bounded and can be run again. Called by the scheduler once a minute.
"""

from __future__ import annotations

from datetime import timedelta

from api.jobs import inbound, joining, receipts
from api.jobs.confirming import REGAIN_AFTER
from api.jobs.copying import ASK_AGAIN, ASK_WITHIN, KEPT_AFTER
from api.jobs.replying import Reply, queue
from api.wiring import Services
from feeds.kernel.errors import NotFoundError

# A phone that was asked and does not answer is let go after so long.
ANSWER_WITHIN = timedelta(days=14)
_NUMBERS_KEPT = timedelta(days=1)
_WORDS_KEPT = timedelta(days=30)
_CODES_KEPT = timedelta(days=2)


def tick_people(services: Services) -> dict[str, int]:
    """Do one round."""
    settled = receipts.settle_unknown(services)
    return {
        "ended": end_over(services),
        "texts": inbound.catch_up(services),
        "receipts": receipts.take_waiting(services).moved,
        "settled": settled.known + settled.queued,
        "asked": reconfirm(services),
    }


def end_over(services: Services) -> int:
    """Erase the profiles whose last day is over; return how many."""
    gone = 0
    for profile_id in services.endings.over(services.clock.now()):
        try:
            joining.erase(services, profile_id)
            gone += 1
        except NotFoundError:
            continue  # erased by its holder in the same moment
    return gone


def reconfirm(services: Services) -> int:
    """Ask phones that gave no sign of life for long whether they are still their resident's.

    Until they answer with Y, nothing else goes there.

    Returns:
        How many were asked.
    """
    now = services.clock.now()
    silent = services.contacts.silent("sms", since=now - timedelta(days=services.settings.sms_reconfirm_days))
    held = services.contacts.many((profile_id, "sms") for profile_id in silent)
    profiles = [one for one in services.profiles.many(silent) if (one.id, "sms") in held]
    for profile in profiles:
        number = held[profile.id, "sms"].address
        services.contacts.doubt(profile.id, "sms", at=now)
        still = Reply(
            f"still:{profile.id}:{now:%Y-%m-%d}", "still", profile.lang, profile.id, number=number,
            life=timedelta(days=2), patient=True,
        )  # fmt: skip
        queue(services, still)
    return len(profiles)


def tidy(services: Services) -> int:
    """Delete what is not needed any more (housekeeping); return how many rows."""
    now = services.clock.now()
    gone = services.inbox.forget_numbers(now - _NUMBERS_KEPT) + services.inbox.trim(now - _WORDS_KEPT)
    gone += services.copies.trim(unanswered_before=now - ASK_WITHIN, ended_before=now - KEPT_AFTER)
    gone += services.codes.trim(now - _CODES_KEPT)
    gone += services.asked.trim({
        "confirm": now - _CODES_KEPT, "regain": now - REGAIN_AFTER, "copy": now - ASK_AGAIN,
    })  # fmt: skip
    gone += services.suppressions.trim(now, troubles_before=now - receipts.KEPT_TROUBLES)
    return gone + unanswered(services)


def unanswered(services: Services) -> int:
    """Let go of phones that were asked and did not answer; return how many."""
    found = services.contacts.unanswered("sms", before=services.clock.now() - ANSWER_WITHIN)
    for profile_id in found:
        inbound.let_go(services, profile_id)
    return len(found)
