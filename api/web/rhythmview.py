"""How a resident's messages come, as their pages show it: rhythm, rest, and why nothing came.

Reads and words; changes nothing. Called by ``routes.me`` and ``routes.rhythm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from starlette.datastructures import FormData

from api.jobs import silence
from api.jobs.digests import CHANNELS
from api.web.forms import HOURS
from api.web.wording import Words
from api.wiring import Services
from feeds.kernel.errors import UsageError
from profiles.types import Frequency, Profile, Subscription

#: Channels whose address is typed on the settings page; the others have pages of their own.
TYPED = ("email", "sms")
FREQUENCIES: tuple[Frequency, ...] = ("daily", "weekly", "immediate")
WEEKDAYS = range(7)


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel on the settings page.

    Attributes:
        waiting: Its address is not confirmed yet.
        says: Its rhythm in a sentence, without the address.
        why: Why the last message did not come, or that it did; and when the next one may.
        rest: The rest that was asked for, in a sentence; ``""`` without one.
        first, last: Local days to begin a rest with, as the form suggests them.
    """

    name: str
    live: Subscription | None
    address: str = ""
    waiting: bool = False
    says: str = ""
    why: str = ""
    rest: str = ""
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A rhythm as the form gives it."""

    frequency: Frequency
    hour: int
    weekday: int
    workdays_only: bool


def channels_of(services: Services, profile: Profile, words: Words) -> dict[str, ChannelView]:
    """Say every channel that is typed here, and every other one that is on, in a fixed order."""
    found: dict[str, ChannelView] = {}
    today = services.clock.now().astimezone(services.zone).date()
    for name in CHANNELS:
        live = services.subscriptions.live(profile.id, name)
        if live is None and name not in TYPED:
            continue
        contact = services.contacts.get(profile.id, name) if name in TYPED else None
        if live is None:
            found[name] = ChannelView(name, None)
            continue
        found[name] = ChannelView(
            name,
            live,
            contact.address if contact else "",
            contact is not None and contact.verified_at is None,
            rhythm_text(live, words),
            silence.why(services, profile.id, name).text(words.lang),
            _rest_text(services, live, words),
            today,
            today + timedelta(days=7),
        )
    return found


def awaited(services: Services, profile: Profile, words: Words) -> list[tuple[str, str]]:
    """Channel → why nothing came, and when the next message may; for channels that are on."""
    live = {one.channel for one in services.subscriptions.of(profile.id) if one.ended_at is None}
    return [
        (name, silence.why(services, profile.id, name).text(words.lang)) for name in CHANNELS if name in live
    ]


def rhythm_text(live: Subscription, words: Words) -> str:
    """Say how often and when messages of a subscription come."""
    if live.frequency == "immediate":
        return words("rhythm.said_immediate")
    hour = f"{live.local_hour:02d}"
    if live.frequency == "weekly":
        said = words("rhythm.said_weekly", day=words(f"rhythm.day_{live.weekday}"), hour=hour)
    else:
        said = words("rhythm.said_workdays" if live.workdays_only else "rhythm.said_daily", hour=hour)
    if live.frequency == "weekly" and live.workdays_only:
        said += words("rhythm.said_moved")
    return said


def read_rhythm(form: FormData) -> Rhythm:
    """Take a rhythm from a form; what it has not is as it always was: daily.

    Raises:
        UsageError: If a value cannot come from our page.
    """
    hour, weekday = str(form.get("hour", "")), str(form.get("weekday", "0"))
    frequency = str(form.get("frequency", "daily"))
    chosen = next((one for one in FREQUENCIES if one == frequency), None)
    if chosen is None or not (hour.isascii() and hour.isdigit() and int(hour) in HOURS):
        raise UsageError("Choose a rhythm and an hour from the list.")
    if not (weekday.isascii() and weekday.isdigit() and int(weekday) in WEEKDAYS):
        raise UsageError("Choose a day from the list.")
    return Rhythm(chosen, int(hour), int(weekday), "workdays" in form)


def _rest_text(services: Services, live: Subscription, words: Words) -> str:
    now = services.clock.now()
    if live.paused_from is None or (live.paused_until is not None and live.paused_until <= now):
        return ""
    first = words.day(live.paused_from.astimezone(services.zone).date())
    if live.paused_until is None:
        said = words("rhythm.rests_open", first=first)
    else:
        last = (live.paused_until.astimezone(services.zone) - timedelta(days=1)).date()
        said = words("rhythm.rests", first=first, last=words.day(last))
    return said + words("rhythm.rest_keeps" if live.pause_keeps else "rhythm.rest_drops")
