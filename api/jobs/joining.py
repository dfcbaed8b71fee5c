"""A resident joins, changes, stops, leaves. Joins profiles, tokens, contacts and selection.

Called by the join page, the API and the command line; checks every code against the city first.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import get_args

from api.jobs import signals
from api.jobs.confirming import may_ask
from api.jobs.selecting import select_for
from api.wiring import Services
from delivery.types import NewDelivery
from delivery.windows import NEVER, Rhythm, slot_after
from feeds.kernel.errors import UsageError
from feeds.kernel.time import at_local_time, local_date
from profiles.consent import SENSITIVE
from profiles.contacts import clean_address
from profiles.tokens import CONFIRM_WITHIN, LinkTarget, derived_secret, secret_hash
from profiles.types import Frequency, Profile

MAX_PLACES = 5
_TAG_MOST = 96


@dataclass(frozen=True, slots=True)
class Joined:
    """What a new resident gets; both secrets are shown this once."""

    profile: Profile
    feed_token: str
    manage_secret: str


def join(
    services: Services,
    wish: Profile,
    *,
    email: str = "",
    phone: str = "",
    digest_hour: int = 8,
    verified: bool = False,
    ends_at: datetime | None = None,
) -> Joined:
    """Create a profile with a feed address and a welcome edition.

    Args:
        services: The joined parts.
        wish: What they chose; its id and time are ignored.
        email: For a daily mail; empty means none.
        phone: For a daily SMS; empty means none.
        digest_hour: Local hour of the digests, 0 to 23.
        verified: The address was confirmed by the caller (demo, import by an operator).
        ends_at: The profile erases itself then, and its feed address ends; ``None``: never.

    Raises:
        UsageError: If a code is unknown to the city, or an address is none.
    """
    check(services, wish)
    for channel, text in (("email", email), ("sms", phone)):
        if text:
            check_hour(channel, digest_hour)
    addresses = {"email": email, "sms": phone}
    clean = {channel: clean_address(channel, text) for channel, text in addresses.items() if text}
    now = services.clock.now()
    # All at once: whoever dies in between leaves no profile that nobody can find by its address.
    with services.database.write() as connection:
        profile, secret = services.profiles.create(wish, at=now, connection=connection)
        for channel, address in clean.items():
            services.contacts.put(
                profile.id, channel, address, at=now, verified=verified, connection=connection
            )
        if ends_at is not None:
            services.endings.set(profile.id, ends_at, connection)
    token = services.tokens.issue(profile.id, at=now)
    if ends_at is not None:
        services.endings.set(profile.id, ends_at)  # the feed address too
    for purpose in _purposes(services, profile):
        services.consents.give(profile.id, purpose, at=now)
    for channel in clean:
        subscribe(services, profile, channel, digest_hour)
        if not verified:
            ask_to_confirm(services, profile, channel)
    select_for(services, [profile.id])
    return Joined(profile, token, secret)


def subscribe(
    services: Services,
    profile: Profile,
    channel: str,
    hour: int,
    *,
    frequency: Frequency = "daily",
    weekday: int = 0,
    workdays_only: bool = False,
) -> None:
    """Start messages on a channel: at once, daily or weekly, at a local hour.

    Raises:
        UsageError: If the hour is outside what the channel may use, or the day is none.
    """
    check_hour(channel, hour)
    check_rhythm(frequency, weekday)
    now = services.clock.now()
    services.consents.give(profile.id, f"channel:{channel}", at=now)
    due = NEVER
    if frequency != "immediate":
        rhythm = Rhythm(hour, frequency, weekday, workdays_only)
        due = slot_after(now, rhythm, services.zone, services.city.calendar)
    services.subscriptions.start(
        profile.id,
        channel,  # type: ignore[arg-type]
        frequency=frequency,
        local_hour=hour,
        lang=profile.lang,
        next_due_at=due,
        at=now,
        weekday=weekday,
        workdays_only=workdays_only,
    )


def rest(
    services: Services,
    profile_id: int,
    channel: str,
    first: date | None,
    last: date | None,
    *,
    keeps: bool = True,
) -> bool:
    """Let a channel rest from one local day to another, both included; emergencies still come.

    Args:
        services: The joined parts.
        profile_id: Whose.
        channel: Which.
        first: ``None`` ends a rest now.
        last: ``None``: until the resident ends it.
        keeps: What happened meanwhile comes afterwards in one message; else it is dropped.

    Returns:
        Whether the channel was on.

    Raises:
        UsageError: If the days are in the wrong order.
    """
    now = services.clock.now()
    if first is None:
        return services.subscriptions.rest(profile_id, channel, begins=None, ends=None, wake_at=now)
    if last is not None and (last < first or last < local_date(now, services.zone)):
        raise UsageError("The last day of a rest lies before its first, or in the past; choose a later one.")
    begins = max(at_local_time(first, 0, services.zone), now)
    ends = None if last is None else at_local_time(last + timedelta(days=1), 0, services.zone)
    return services.subscriptions.rest(
        profile_id, channel, begins=begins, ends=ends, keeps=keeps, wake_at=ends or NEVER
    )


def check_hour(channel: str, hour: int) -> None:
    """Check the local hour of a digest.

    Raises:
        UsageError: If the hour is outside what the channel may use.
    """
    if channel == "sms" and not 8 <= hour < 20:
        raise UsageError(
            f"Text messages are sent from 8 to 20 o'clock, not at {hour}; choose an hour in between."
        )
    if not 0 <= hour <= 23:
        raise UsageError(f"There is no hour {hour}; choose 0 to 23.")


def check_rhythm(frequency: str, weekday: int) -> None:
    """Check how often messages come.

    Raises:
        UsageError: If there is no such rhythm or weekday.
    """
    if frequency not in get_args(Frequency):
        raise UsageError(f"{frequency[:20]!r} is no rhythm; choose daily, weekly or immediate.")
    if not 0 <= weekday <= 6:
        raise UsageError(f"There is no weekday {weekday}; choose 0 (Monday) to 6 (Sunday).")


def check(services: Services, wish: Profile) -> None:
    """Check every code of a wish against the city.

    Raises:
        UsageError: Naming the first unknown code and the nearest known ones.
    """
    city = services.city
    tags = [f"role:{code}" for code in wish.roles] + [f"place:{place.code}" for place in wish.places]
    tags += [tag for tag in (*wish.interests, *wish.mutes) if not tag.startswith("word:")]
    for tag in tags:
        if not city.known(tag):
            near = ", ".join(city.suggest(tag)) or "see /api/v1/vocabulary"
            raise UsageError(f"{city.name.en} does not know {tag!r}; nearest: {near}.")
    for tag in (*wish.interests, *wish.mutes):
        if len(tag) > _TAG_MOST:
            raise UsageError(f"{tag[:20]}… is longer than {_TAG_MOST} characters; shorten it.")
    if len(wish.places) > MAX_PLACES:
        raise UsageError(f"You can follow up to {MAX_PLACES} places; {len(wish.places)} were given.")


def change(services: Services, wish: Profile) -> Profile:
    """Replace what a resident chose; takes effect at the next selection."""
    check(services, wish)
    now = services.clock.now()
    before = services.profiles.get(wish.id)
    changed = services.profiles.change(wish)
    if before.personalised and not changed.personalised:
        services.engagement.forget(wish.id)  # else clicks would be learned from once it is on again
    services.editions.touch(wish.id)  # language and discretion show in the feed at its next poll
    ended = set(_purposes(services, before)) - set(_purposes(services, changed))
    for purpose in ended:
        services.consents.end(wish.id, purpose, at=now)
        services.taste.release(wish.id, purpose.removeprefix(SENSITIVE))
    if ended:  # what was agreed to has also taught the theme above it, the agency, the place
        signals.relearn(services, wish.id)
    for purpose in set(_purposes(services, changed)) - set(_purposes(services, before)):
        services.consents.give(wish.id, purpose, at=now)
    return changed


def mute(services: Services, profile_id: int, tag: str) -> Profile:
    """Never pick a tag again for this resident."""
    profile = services.profiles.get(profile_id)
    return change(services, replace(profile, mutes=tuple(dict.fromkeys((*profile.mutes, tag)))))


def new_feed_address(services: Services, profile_id: int, *, keep_old_days: int = 0) -> str:
    """Make a new feed token; the old ones end now, or after up to 30 days."""
    if not 0 <= keep_old_days <= 30:
        raise UsageError("The old address can go on for 0 to 30 days.")
    now = services.clock.now()
    token = services.tokens.issue(profile_id, at=now, old_ends_at=now + timedelta(days=keep_old_days))
    if (ends_at := services.endings.of(profile_id)) is not None:
        services.endings.set(profile_id, ends_at)  # a visitor's new address ends with their stay
    return token


def ask_to_confirm(services: Services, profile: Profile, channel: str) -> str:
    """Queue the message that asks whether an address is really the resident's: a link, or a code by SMS.

    Nothing else goes to an address over a real channel before it was confirmed: anybody can type
    anybody's address into a form. A mail address that was given up is asked again, because its holder wishes
    it; only the confirmation lifts that.

    Returns:
        For a phone what :func:`api.jobs.phones.ask` says, else ``""``.
    """
    if channel == "sms":
        from api.jobs import phones  # it queues answers, which know how to join

        return phones.ask(services, profile)
    contact = services.contacts.get(profile.id, channel)
    if channel != "email" or contact is None or not may_ask(services, contact):
        return ""
    now = services.clock.now()
    token = derived_secret(services.key, "confirm", profile.id, channel, contact.address)
    services.tokens.remember(token, "confirm", LinkTarget(profile.id, channel), at=now)
    row = NewDelivery(
        dedupe_key=f"confirm:{secret_hash(token)[:24]}:{local_date(now, services.zone).isoformat()}",
        profile_id=profile.id,
        channel=channel,
        lane="confirmation",
        due_at=now,
        expires_at=now + CONFIRM_WITHIN,
        recipe={"kind": "confirm", "lang": profile.lang},
    )
    services.outbox.enqueue([row], now)
    return ""


def confirm(services: Services, token: str) -> LinkTarget | None:
    """Mark the address that a confirmation was sent to as the resident's; ``None`` for an unknown link.

    A link of an address that was replaced since confirms nothing. It also lifts what was noted against the
    address: that it bounced, or complained.
    """
    now = services.clock.now()
    target = services.tokens.find_confirmation(token, now=now)
    contact = services.contacts.get(target.profile_id, target.channel) if target else None
    if target is None or contact is None:
        return None
    expected = derived_secret(services.key, "confirm", target.profile_id, target.channel, contact.address)
    if not hmac.compare_digest(expected, token):
        return None
    if not services.contacts.prove(target.profile_id, target.channel, at=now, address=contact.address):
        return None
    services.suppressions.lift(target.channel, contact.address)
    services.suppressions.forget_troubles(target.channel, contact.address)
    return target


def stop_token(services: Services, profile_id: int, channel: str, *, at: datetime) -> str:
    """Return the token of the one-click stop address of a channel; always the same one."""
    token = derived_secret(services.key, "stop", profile_id, channel)
    services.tokens.remember(token, "stop", LinkTarget(profile_id, channel), at=at)
    return token


def stop(services: Services, token: str) -> LinkTarget | None:
    """Stop what a one-click address stops; doing so twice is fine. ``None`` for an unknown one."""
    found = services.tokens.find_stop(token)
    if found is None:
        return None
    stop_channel(services, found.profile_id, found.channel)
    return found


def stop_channel(services: Services, profile_id: int, channel: str, reason: str = "unsubscribed") -> bool:
    """End a channel's subscription and the consent to it; return whether one was live."""
    now = services.clock.now()
    services.consents.end(profile_id, f"channel:{channel}", at=now)
    ended = services.subscriptions.end(profile_id, channel, at=now, reason=reason)
    if channel == "sms":  # copies are made of these messages: they end, and their readers are told
        from api.jobs import copying

        copying.end_of(services, profile_id, reason="resident")
    return ended


def forget_behaviour(services: Services, profile_id: int, *, own: bool = False) -> int:
    """Delete what is known of a resident's behaviour: events, what was learned, their trace in every model.

    Args:
        services: The joined parts.
        profile_id: Whose.
        own: Also the weights they set themselves; choices (roles, places, interests, mutes) always stay.

    Returns:
        How many events went.
    """
    # Every step can be repeated, and the events go late: they are what the rest could be made of again.
    services.models.forget([f"id:{profile_id}"])
    services.engagement.forget(profile_id)  # first: a click that waits to be judged becomes an event
    services.taste.reset(profile_id, own=own)
    with services.database.write() as connection:  # feeds fetched before are known by the shelf they showed
        gone = services.feedback.forget(profile_id, connection)
        services.editions.touch(profile_id, connection)
    _forget_again(services, profile_id)
    return gone


def erase(services: Services, profile_id: int) -> None:
    """Delete a profile and all that hangs on it, including what waits in the outbox."""
    from api.jobs import copying

    # What may be repeated comes first: a run that was killed can be run again to the end.
    services.outbox.cancel_profile(profile_id, services.clock.now())
    copying.end_of(services, profile_id, reason="erased")
    services.inbox.forget_profile(profile_id)
    services.models.forget([f"id:{profile_id}"])
    services.profiles.erase(profile_id)
    _forget_again(services, profile_id)


def _forget_again(services: Services, profile_id: int) -> None:
    """Take out what a training saved in between; one that saves later finds no events and leaves them out."""
    services.models.forget([f"id:{profile_id}"])


def export(services: Services, profile_id: int) -> dict[str, object]:
    """Return everything held about a resident, as JSON-ready values."""
    from dataclasses import asdict

    profile = services.profiles.get(profile_id)
    editions = services.editions.between(
        profile_id, profile.created_at, services.clock.now() + timedelta(days=1)
    )
    held: dict[str, Sequence[object]] = {
        "contacts": [asdict(item) for item in services.contacts.of(profile_id)],
        "consents": [asdict(item) for item in services.consents.all(profile_id)],
        "subscriptions": [asdict(item) for item in services.subscriptions.of(profile_id)],
        "editions": [asdict(item) for item in editions],
        "feedback": [asdict(item) for item in services.feedback.of(profile_id)],
        "taste": [asdict(item) for item in services.taste.of(profile_id)],
        "copies": [_plain_copy(asdict(item)) for item in services.copies.of(profile_id)],
        "asked": services.asked.of(profile_id),
        "texts": [asdict(item) for item in services.inbox.of_profile(profile_id)],
        "engagement": [asdict(item) for item in services.engagement.of(profile_id)],
        "webhook": [hook] if (hook := services.webhooks.about(profile_id)) else [],
    }
    held_as_model = _held_by_model(services, profile)
    ends_at = services.endings.of(profile_id)
    return {"profile": asdict(profile), "ends_at": ends_at, **held, "model": held_as_model}


def _plain_copy(held: dict[str, object]) -> dict[str, object]:
    """A copy without whether its number could be asked: that is its owner's matter."""
    return {name: value for name, value in held.items() if name not in ("told", "asked_at")}


def _held_by_model(services: Services, profile: Profile) -> dict[str, object]:
    """What the model in use holds of a resident as themselves; all else it holds of everybody together."""
    model = services.models.load_current()
    if model is None:
        return {"version": "", "identity": None}
    column = model.users.columns.get(f"id:{profile.id}")
    if column is None:
        return {"version": model.info.version, "identity": None}
    vector = [round(float(number), 6) for number in model.user_vectors[column]]
    return {
        "version": model.info.version,
        "identity": {"vector": vector, "bias": round(float(model.user_biases[column]), 6)},
    }


def _purposes(services: Services, profile: Profile) -> list[str]:
    """What this profile needs separate consent for: sensitive roles and interests."""
    tags = [f"role:{code}" for code in profile.roles] + list(profile.interests)
    return [f"{SENSITIVE}{tag}" for tag in tags if services.city.is_sensitive(tag)]
