"""What follows when somebody sends us a text: DY signs up, TD stops, Y agrees, all else gets help once.

Each message acts once, however often a provider tells us; a process that dies in between is made up for by
:func:`catch_up`. No wording is kept, and a machine is never answered twice. Called by the SMS hooks, by the
SMPP channel's events and by the people tick.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b

import structlog

from api.jobs import copying, joining
from api.jobs.replying import Reply, Template, queue
from api.wiring import Services
from delivery.sms_inbound import Inbound
from delivery.sms_words import read
from feeds.kernel.errors import UsageError
from profiles.contacts import can_text, clean_address
from profiles.inbox import InboundRow
from profiles.types import FollowedPlace, Profile, Subscription

_log = structlog.get_logger(__name__)
HOUR = 9
ANSWERS_A_DAY = 5
MESSAGES_A_DAY = 60
# After a stop that may have been a slip, DY goes on with what was chosen before, for so long.
RESUME_WITHIN = timedelta(days=30)
_DAY = timedelta(days=1)
# Words beside DY that mean a group of people, as tags. Sensitive ones are not offered by text message.
GROUPS: dict[str, tuple[str, ...]] = {
    "老人": ("life:retirement", "theme:1301", "theme:1703"),
    "老年人": ("life:retirement", "theme:1301", "theme:1703"),
    "老年": ("life:retirement", "theme:1301", "theme:1703"),
    "长者": ("life:retirement", "theme:1301", "theme:1703"),
    "退休": ("life:retirement", "theme:1301", "theme:1703"),
    "elder": ("life:retirement", "theme:1301", "theme:1703"),
    "家长": ("life:schooling",),
    "上学": ("life:schooling",),
    "parent": ("life:schooling",),
    "企业": ("role:enterprise",),
    "公司": ("role:enterprise",),
    "business": ("role:enterprise",),
    "投资": ("role:investor",),
    "游客": ("role:tourist",),
    "旅游": ("role:tourist",),
    "毕业": ("life:graduation",),
    "租房": ("life:housing",),
    "买房": ("life:housing",),
}
# The same number may write twice at once; others need not wait for it.
_TURNS = tuple(threading.Lock() for _ in range(64))


@dataclass(frozen=True, slots=True)
class InboundReport:
    """What came of a batch: messages acted on, seen before, from no phone (or too many from one)."""

    acted: int = 0
    known: int = 0
    ignored: int = 0
    failed: int = 0


def take(services: Services, messages: Sequence[Inbound]) -> InboundReport:
    """Act on messages; one that fails is tried again by :func:`catch_up`."""
    counts = {"acted": 0, "known": 0, "ignored": 0, "failed": 0}
    for row in keep(services, messages, counts):
        counts["acted" if act(services, row) else "failed"] += 1
    return InboundReport(**counts)


def keep(services: Services, messages: Sequence[Inbound], counts: dict[str, int]) -> list[InboundRow]:
    """Write messages down before anything is done, and return those that are new. Quick."""
    now = services.clock.now()
    kept = []
    for message in messages:
        command = read(message.text)
        number = _number(message.from_number)
        busy = bool(number) and services.inbox.received(number, since=now - _DAY) >= MESSAGES_A_DAY
        if not number or command.word == "robot" or (busy and command.word != "stop"):
            counts["ignored"] += 1
            continue
        ref = (
            message.ref
            or blake2b(
                f"{number}\x1f{message.text}\x1f{message.at}".encode("utf-8", "replace"), digest_size=16
            ).hexdigest()
        )
        rest = " ".join((*command.rest, *(("en",) if _is_latin(message.text) else ())))
        row = services.inbox.take(message.provider, ref, number, command.word, rest, at=now)
        if row is None:
            counts["known"] += 1
        else:
            kept.append(row)
    return kept


def act(services: Services, row: InboundRow) -> bool:
    """Do what a message asks for and note it; False if that failed and is to be tried again."""
    try:
        with _TURNS[hash(row.number) % len(_TURNS)]:
            answer = _ACTS[row.word](services, row)
    except Exception as error:
        _log.error("inbound_failed", inbound=row.id, word=row.word, error=type(error).__name__)
        return False
    services.inbox.finish(row.id, answer, at=services.clock.now())
    return True


def catch_up(services: Services) -> int:
    """Act on what was written down and never finished; return how many."""
    now = services.clock.now()
    rows = services.inbox.waiting(now - timedelta(seconds=30))
    return sum(act(services, row) for row in rows if row.number)


def _start(services: Services, row: InboundRow) -> str:
    now, number = services.clock.now(), row.number
    wish = _wish(services, row)
    services.suppressions.lift("sms", number)
    waiting = copying.asked(services, number)
    before = {
        profile_id: _last(services, profile_id) for profile_id in services.contacts.proven("sms", number)
    }
    if waiting and not before and not row.rest.replace("en", "").strip():
        return _agree(services, row)  # DY as the answer to the question they were just asked
    for profile_id in services.contacts.asked("sms", number, since=now - timedelta(days=400)):
        let_go(services, profile_id)  # they were asked, and this may be the number's new owner
    for profile_id, last in before.items():
        if last is not None and last.ended_at is None:
            services.contacts.prove(profile_id, "sms", at=now, address=number)
            return _already(services, row, profile_id, wish)
    for profile_id, last in before.items():
        if _may_resume(services, profile_id, number, last):
            profile = _widened(services, services.profiles.get(profile_id), wish)
            services.contacts.prove(profile_id, "sms", at=now, address=number)
            joining.subscribe(services, profile, "sms", last.local_hour if last else HOUR)
            return _answer(services, row, "welcome", profile)
    for profile_id in before:
        let_go(services, profile_id)
    joined = joining.join(services, wish.profile, phone=number, digest_hour=HOUR, verified=True)
    if wish.unknown and not wish.profile.places:
        return _unplaced(services, row, joined.profile, wish.unknown)
    return _answer(services, row, "welcome", joined.profile)


def _stop(services: Services, row: InboundRow) -> str:
    now, number = services.clock.now(), row.number
    services.suppressions.add("sms", number, reason="opted_out", at=now)
    lang = _end_all(services, number)
    return _answer(services, row, "stopped", None, lang=lang)


def _not_me(services: Services, row: InboundRow) -> str:
    now, number = services.clock.now(), row.number
    services.suppressions.add("sms", number, reason="recycled", at=now)
    _end_all(services, number)
    for profile_id in services.contacts.holders("sms", number):
        services.contacts.remove(profile_id, "sms")
    return _answer(services, row, "stopped", None)


def _end_all(services: Services, number: str) -> str:
    """End everything that goes to a number, tell the others concerned; return the language it was in."""
    lang = ""
    for profile_id in services.contacts.holders("sms", number):
        live = services.subscriptions.live(profile_id, "sms")
        lang = live.lang if live else lang
        services.outbox.cancel_profile(profile_id, services.clock.now(), channel="sms")
        joining.stop_channel(services, profile_id, "sms", reason="texted")
    copying.end_at(services, number, reason="recipient")
    return lang


def _yes(services: Services, row: InboundRow) -> str:
    number, now = row.number, services.clock.now()
    if copying.asked(services, number):
        return _agree(services, row)
    held = services.contacts.asked("sms", number, since=now - timedelta(days=60))
    for profile_id in held:
        services.contacts.prove(profile_id, "sms", at=now, address=number)
    if held:
        return _answer(services, row, "kept", services.profiles.get(held[0]))
    return _help(services, row)


def _agree(services: Services, row: InboundRow) -> str:
    """The recipient of a copy said yes: to what they were asked last; the answer says whose copy it is."""
    copy = max(copying.asked(services, row.number), key=lambda one: (one.asked_at, one.id))
    copying.agreed(services, copy)
    profile = services.profiles.get(copy.profile_id)
    return _answer(services, row, "copyon", None, lang=profile.lang, whom=copy.whom(profile.lang))


def _help(services: Services, row: InboundRow) -> str:
    return _answer(services, row, "help", None)


_ACTS = {
    "start": _start, "stop": _stop, "not_me": _not_me, "yes": _yes, "help": _help, "other": _help,
}  # fmt: skip


def _already(services: Services, row: InboundRow, profile_id: int, wish: _Wish) -> str:
    profile = _widened(services, services.profiles.get(profile_id), wish)
    if wish.unknown and not wish.profile.places:
        if profile.places:
            return _help(services, row)  # it shows how a place is written
        return _unplaced(services, row, profile, wish.unknown)
    return _answer(services, row, "already", profile)


def _unplaced(services: Services, row: InboundRow, profile: Profile, name: str) -> str:
    """Say which word was not understood, and name the place that looks most like it."""
    near = services.city.suggest(f"place:{name}")
    example = services.city.label(near[0], profile.lang) if near else _example(services, profile.lang)
    return _answer(services, row, "unplaced", profile, name=name, example=example)


def _answer(
    services: Services,
    row: InboundRow,
    template: Template,
    profile: Profile | None,
    *,
    lang: str = "",
    **params: str,
) -> str:
    """Queue the answer to a message unless this number has had enough; return the template's name."""
    now = services.clock.now()
    had = services.inbox.answers(row.number, since=now - _DAY)
    once = template in ("help", "already", "stopped", "unplaced")
    if len(had) >= ANSWERS_A_DAY or (once and template in had):
        return ""
    lang = lang or (profile.lang if profile else "en" if "en" in row.rest.split() else "zh-Hans")
    values = {
        "phone": services.settings.sms_enquiry_phone,
        "hour": str(HOUR),
        "scope": _scope(services, profile, lang),
        "example": _example(services, lang),
    } | params
    if profile is not None and (live := services.subscriptions.live(profile.id, "sms")):
        values["hour"] = str(live.local_hour)
    number = profile.id if profile else 0
    said = Reply(f"in:{row.id}", template, lang, number, values, inbound=row.id, number=row.number)
    queue(services, said)
    return template


def _scope(services: Services, profile: Profile | None, lang: str) -> str:
    """What a sign-up is about, as far as it may stand on a screen: places, never roles."""
    name = services.city.name.of(lang).removesuffix(" (sample city)")
    if profile is None or profile.discreet or not profile.places:
        return name
    return services.city.label(f"place:{profile.places[0].code}", lang)


def _example(services: Services, lang: str) -> str:
    """A name of a place, to show how it is written."""
    for kind in ("street", "district"):
        for place in services.city.places.values():
            if place.kind == kind:
                short = place.aliases[0] if place.aliases else place.label.zh
                return short if lang.startswith("zh") else place.label.en.split()[0]
    return services.city.name.of(lang)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What stood beside DY: a profile of it, and the piece that names nothing here."""

    profile: Profile
    unknown: str = ""


def _wish(services: Services, row: InboundRow) -> _Wish:
    city = services.city
    places: dict[str, FollowedPlace] = {}
    tags: list[str] = []
    pieces, unknown = row.rest.split(), ""
    english = "en" in pieces
    for piece in (piece for piece in pieces if piece != "en"):
        found, rest = _group(piece)
        tags += [tag for tag in found if city.known(tag) and not city.is_sensitive(tag)]
        place = city.resolve_place(rest) if rest else None
        if place is not None:
            places.setdefault(place.code, FollowedPlace(place.code, "home" if not places else ""))
        elif rest:
            unknown = unknown or rest
    roles = tuple(dict.fromkeys(tag.partition(":")[2] for tag in tags if tag.startswith("role:")))
    wish = Profile(
        id=0,
        created_at=row.received_at,
        roles=roles or ("citizen",),
        places=tuple(places.values())[: joining.MAX_PLACES],
        interests=tuple(dict.fromkeys(tag for tag in tags if not tag.startswith("role:"))),
        langs=("en", "zh-Hans") if english else ("zh-Hans",),
    )
    return _Wish(wish, unknown)


def _group(piece: str) -> tuple[tuple[str, ...], str]:
    """Tags that a piece means, and what of it is left: "汀阳老人" means a group and a place."""
    for word in sorted(GROUPS, key=len, reverse=True):
        if piece.endswith(word):
            return GROUPS[word], piece.removesuffix(word)
    return (), piece


def _widened(services: Services, profile: Profile, wish: _Wish) -> Profile:
    """The profile with what stood beside DY added to it."""
    held = {place.code for place in profile.places}
    more = tuple(place for place in wish.profile.places if place.code not in held)
    interests = tuple(dict.fromkeys((*profile.interests, *wish.profile.interests)))
    if not more and interests == profile.interests:
        return profile
    places = (*profile.places, *more)[: joining.MAX_PLACES]
    return joining.change(services, replace(profile, places=places, interests=interests))


def _last(services: Services, profile_id: int) -> Subscription | None:
    """The latest subscription to text messages, live or ended."""
    own = [item for item in services.subscriptions.of(profile_id) if item.channel == "sms"]
    return own[-1] if own else None


def _may_resume(services: Services, profile_id: int, number: str, last: Subscription | None) -> bool:
    """Whether DY goes on with the profile of before: stopped lately, by a number that was lately proven.

    A number that nobody proved for long may have a new owner, who must not inherit anything.
    """
    now = services.clock.now()
    if last is None:
        return True  # joined, and died before it subscribed
    proven = services.contacts.proven("sms", number)[profile_id]
    fresh = timedelta(days=services.settings.sms_reconfirm_days)
    by_choice = last.ended_reason in ("texted", "unsubscribed", "changed")
    ended = last.ended_at or now
    return by_choice and now - ended <= RESUME_WITHIN and ended - proven <= fresh


def let_go(services: Services, profile_id: int) -> None:
    """Take the number from a profile that seems to have lost it; its other channels stay."""
    services.outbox.cancel_profile(profile_id, services.clock.now(), channel="sms")
    joining.stop_channel(services, profile_id, "sms", reason="recycled")
    services.contacts.remove(profile_id, "sms")


def _number(text: str) -> str:
    """The sender as a phone that can be texted, or ``""``: service numbers and short codes get nothing."""
    try:
        number = clean_address("sms", text)
    except UsageError:
        return ""
    return number if can_text(number) else ""


def _is_latin(text: str) -> bool:
    """Whether a text is longer than a code word and has no Chinese: its sender is answered in English."""
    plain = text.strip()
    return plain.isascii() and plain.split(" ")[0].lower() in _ENGLISH


_ENGLISH = {"help", "info", "stop", "stopall", "unsubscribe", "subscribe", "start", "join", "yes", "wrong"}
