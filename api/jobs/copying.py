"""Copies for relatives: asking them, ending copies and telling both sides, rows beside planned digests.

Nobody gets a copy before they said yes themselves, and no copy tells what its resident read. Called by the
copies page, by inbound texts, by receipts and right after digests are planned.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from api.jobs.replying import Reply, queue
from api.wiring import Services
from delivery.types import Delivery
from feeds.kernel.errors import UsageError
from profiles.asked import Rules
from profiles.contacts import can_text, clean_address
from profiles.copies import Copy
from profiles.types import Profile

ASK_WITHIN = timedelta(days=7)
# A number that was asked and gave no answer is asked by nobody for so long.
ASK_AGAIN = timedelta(days=30)
RULES = Rules(each=6, address=3)  # a day
_WAITING_MOST = 2  # residents whose question a number has before it, at once
KEPT_AFTER = timedelta(days=30)
_LIFE = timedelta(days=1)


def add_rows(services: Services, *, now: datetime | None = None) -> int:
    """Add the rows of copies beside the digests just planned; return how many are new."""
    return services.copy_rows.add(now or services.clock.now())


def whom(services: Services, row: Delivery) -> str:
    """Whose digest a row is a copy of, as its reader calls them (母亲); ``""`` for what is no copy."""
    number = row.recipe.get("copy")
    copy = services.copies.get(number) if number is not None else None
    return copy.relation_in(str(row.recipe.get("lang", "zh"))) if copy else ""


def ask(services: Services, profile: Profile, number: str, relation: str) -> Copy:
    """Ask somebody whether they want copies of a resident's text messages.

    A number that wants nothing from us, was asked too often or did not answer lately is not asked, and its
    copy waits like any other: none of that is the resident's matter.

    Raises:
        UsageError: If the resident gets none themselves or asked often enough today, or the number is none or
            their own.
    """
    now, clean = services.clock.now(), clean_address("sms", number)
    if not can_text(clean):
        raise UsageError("This number cannot get text messages; give the number of a mobile phone.")
    own = services.contacts.get(profile.id, "sms")
    if own is None or own.verified_at is None or services.subscriptions.live(profile.id, "sms") is None:
        raise UsageError(
            "Copies are made of your own text messages; start those and confirm your phone first."
        )
    if own.address == clean:
        raise UsageError("This is your own number; give the number of whoever should get the copy.")
    held = [one for one in services.copies.of(profile.id) if one.ended_at is None]
    again = any(one.address == clean for one in held)
    if not again and services.asked.by("copy", profile.id, since=now - _LIFE) >= RULES.each:
        raise UsageError("You asked often enough today; try again tomorrow.")
    copy = services.copies.ask(profile.id, "sms", clean, relation, at=now)
    if not held:
        services.consents.give(profile.id, "copy:sms", at=now)
    if copy.confirmed_at is None and (copy.told or _tell(services, copy, now)):
        params = {"whom": copy.whom(profile.lang)}
        queue(
            services,
            Reply(
                f"copyask:{copy.id}", "copyask", profile.lang, profile.id, params, copy=copy.id, life=_LIFE,
                patient=True, number=clean,
            ),
        )  # fmt: skip
    return copy


def _tell(services: Services, copy: Copy, now: datetime) -> bool:
    """Whether a number may be asked now; counted, and noted on the copy, in one transaction."""
    number = copy.address
    waiting = {
        one.profile_id
        for one in services.copies.at("sms", number)
        if one.confirmed_at is None and one.asked_at >= now - ASK_WITHIN
    }
    silent = services.asked.unanswered("copy", "sms", number, since=now - ASK_AGAIN)
    allowed = (
        not services.suppressions.holds("sms", number, now)
        and len(waiting) < _WAITING_MOST
        and all(profile_id in waiting for profile_id in silent)
    )
    with services.database.write() as connection:
        taken = services.asked.take(
            "copy", "sms", number, copy.profile_id, RULES, at=now, same_since=now, allowed=allowed,
            connection=connection,
        )  # fmt: skip
        if taken == "go":
            services.copies.tell(copy.id, at=now, connection=connection)
    return taken == "go"


def asked(services: Services, number: str) -> list[Copy]:
    """Return the copies that a number was lately asked about and has not agreed to."""
    since = services.clock.now() - ASK_WITHIN
    return [
        copy
        for copy in services.copies.at("sms", number)
        if copy.confirmed_at is None and copy.asked_at >= since
    ]


def agreed(services: Services, copy: Copy) -> None:
    """Record the recipient's yes."""
    services.copies.confirm(copy.id, at=services.clock.now())
    services.asked.answered("copy", "sms", copy.address, at=services.clock.now())


def end(services: Services, copy: Copy, *, reason: str) -> bool:
    """End one copy and tell the other side; return whether it was open.

    Args:
        services: The joined parts.
        copy: Which one.
        reason: ``recipient`` (they stopped it; the resident is told), else the recipient is told.
    """
    if not services.copies.end(copy.id, at=services.clock.now(), reason=reason):
        return False
    if not any(one.ended_at is None for one in services.copies.of(copy.profile_id)):
        services.consents.end(copy.profile_id, "copy:sms", at=services.clock.now())
    if copy.confirmed_at is None:
        return True  # nothing ever went there: there is nothing to tell
    if reason == "recipient":
        _tell_resident(services, copy)
    elif reason != "bounced":
        _tell_recipient(services, copy)
    return True


def end_of(services: Services, profile_id: int, *, reason: str) -> int:
    """End every copy of a resident's messages; return how many."""
    return sum(
        end(services, copy, reason=reason) for copy in services.copies.of(profile_id) if copy.ended_at is None
    )


def end_at(services: Services, number: str, *, reason: str) -> int:
    """End every copy that goes to a number; return how many."""
    return sum(end(services, copy, reason=reason) for copy in services.copies.at("sms", number))


def _tell_recipient(services: Services, copy: Copy) -> None:
    """Say that there will be no more; their number is kept for it a day, although the profile may go."""
    profile = next(iter(services.profiles.many([copy.profile_id])), None)
    lang = profile.lang if profile else "zh-Hans"
    now = services.clock.now()
    held = services.inbox.take("mycity", f"copyoff:{copy.id}", copy.address, "told", "", at=now)
    if held is None:
        return
    services.inbox.finish(held.id, "", at=now)
    params = {"whom": copy.whom(lang), "phone": services.settings.sms_enquiry_phone}
    queue(
        services,
        Reply(
            f"copyoff:{copy.id}",
            "copyoff",
            lang,
            0,
            params,
            inbound=held.id,
            life=_LIFE,
            patient=True,
            number=copy.address,
        ),
    )


def _tell_resident(services: Services, copy: Copy) -> None:
    """Say that the recipient wants no more; it also stands on the copies page."""
    live = services.subscriptions.live(copy.profile_id, "sms")
    own = services.contacts.get(copy.profile_id, "sms")
    if live is None or own is None:
        return
    params = {"phone": services.settings.sms_enquiry_phone}
    queue(
        services,
        Reply(
            f"copyend:{copy.id}",
            "copyend",
            live.lang,
            copy.profile_id,
            params,
            life=_LIFE,
            patient=True,
            number=own.address,
        ),
    )
