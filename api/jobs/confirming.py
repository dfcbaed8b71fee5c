"""May a mail ask whether an address is somebody's? Limits, and addresses that were given up.

Limits are counted by the address itself and outlive the profile that named it. Sends and queues nothing.
Called by ``api.jobs.joining``.
"""

from __future__ import annotations

from datetime import timedelta

from api.wiring import Services
from feeds.kernel.time import at_local_time, local_date
from profiles.asked import AskedKind, Rules
from profiles.contacts import Contact

# Mails that ask whether an address is theirs: by one profile a day, to one address a day.
CONFIRM_RULES = Rules(each=6, address=3)
# An address that complained is asked again at most so often, and only for who had confirmed it before.
REGAIN_AFTER = timedelta(days=30)


def may_ask(services: Services, contact: Contact) -> bool:
    """Whether a mail may ask for this address now; it is counted.

    An address that bounced for good is asked at its holder's new wish; one that complained only at the wish
    of who had confirmed it before, once in :data:`REGAIN_AFTER`. Asking lifts nothing, confirming does.
    """
    now, address, number = services.clock.now(), contact.address, contact.profile_id
    found = services.suppressions.of("email", address)
    given_up = found is not None and found.until is None
    if contact.verified_at is not None:
        if not given_up:
            return False
        services.contacts.doubt(number, "email", at=now)  # it was theirs; it has to be shown anew
    kind: AskedKind = "confirm"
    allowed = True
    if found is not None and given_up and found.reason == "complained":
        kind = "regain"
        own = number in services.contacts.asked("email", address, since=found.at)
        allowed = own and not services.asked.unanswered(kind, "email", address, since=now - REGAIN_AFTER)
    midnight = at_local_time(local_date(now, services.zone), 0, services.zone)
    since = min(midnight, now) - timedelta(microseconds=1)
    taken = services.asked.take(
        kind, "email", address, number, CONFIRM_RULES, at=now, same_since=since, allowed=allowed
    )
    return taken in ("go", "again")  # again: the row is there already, or its process died before it
