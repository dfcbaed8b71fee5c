"""Reads the two big forms: a resident's choices and a notice written at the desk.

Keeps what was typed, so that an error loses nothing; every error is a sentence key for one field.
Stores nothing. Called by the routes of joining, the residents' pages and the desk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.datastructures import FormData

from api.web.wording import FULL, Lang, Words
from feeds.catalogue.notices import Notice, NoticeContent
from feeds.catalogue.tagging import EDITOR, Tag
from feeds.catalogue.vocabulary import City
from feeds.intake.sanitise import looks_like_html, plain_to_html, sanitise
from feeds.kernel.errors import UsageError
from profiles.contacts import clean_address
from profiles.types import PACE_MAX, PACE_MIN, FollowedPlace, Profile

if TYPE_CHECKING:
    from api.wiring import Services

PLACE_ROWS = 5
PLACE_LABELS = ("home", "work", "parents", "school", "visit", "other")
#: Hours at which both mail and SMS may arrive.
HOURS = range(8, 20)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """One line of the form: what was typed, what was chosen from the list, and what it is to them."""

    typed: str = ""
    chosen: str = ""
    label: str = "home"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error beside a field: a sentence key, its values, or a ready sentence."""

    key: str
    values: Mapping[str, str] = field(default_factory=dict)
    said: str = ""

    def text(self, words: Words) -> str:
        """The sentence."""
        return self.said or words(self.key, **self.values)


@dataclass(frozen=True)
class Wish:
    """A resident's choices as the form holds them."""

    roles: tuple[str, ...] = ()
    places: tuple[PlaceRow, ...] = (PlaceRow(),)
    interests: tuple[str, ...] = ()
    mutes: tuple[str, ...] = ()
    langs: tuple[str, ...] = ("zh-Hans",)
    pace: str = str(PACE_MAX)
    email: str = ""
    phone: str = ""
    hour: str = "8"
    discreet: bool = False
    agreed: bool = False

    def rows(self) -> tuple[PlaceRow, ...]:
        """The lines for places, filled up to five."""
        blank = tuple(PlaceRow(label=label) for label in ("home", "work", "parents", "other", "other"))
        return (*self.places, *blank[len(self.places) :])[:PLACE_ROWS]


def blank_wish(lang: Lang, roles: Sequence[str] = ()) -> Wish:
    """The form as it is first shown."""
    return Wish(langs=(FULL[lang],), places=(), roles=tuple(roles))


def wish_of(profile: Profile, city: City, lang: Lang) -> Wish:
    """The form filled with what a profile holds."""
    rows = tuple(
        PlaceRow("" if place.code in city.places else place.code, place.code, _known_label(place.label))
        for place in profile.places
    )
    return Wish(
        roles=profile.roles,
        places=rows,
        interests=profile.interests,
        mutes=profile.mutes,
        langs=profile.langs,
        pace=str(profile.pace),
        discreet=profile.discreet,
        agreed=any(
            city.is_sensitive(tag) for tag in (*(f"role:{c}" for c in profile.roles), *profile.interests)
        ),
    )


def read_wish(form: FormData) -> Wish:
    """Take the form as it was sent."""
    rows = tuple(
        PlaceRow(
            _text(form, f"place_{n}", 80),
            _text(form, f"pick_{n}", 32),
            _text(form, f"label_{n}", 16) or "home",
        )
        for n in range(PLACE_ROWS)
    )
    return Wish(
        roles=_many(form, "role"),
        places=rows,
        interests=_many(form, "interest"),
        mutes=_many(form, "mute"),
        langs=_many(form, "language"),
        pace=_text(form, "pace", 4),
        email=_text(form, "email", 300),
        phone=_text(form, "phone", 60),
        hour=_text(form, "hour", 4),
        discreet="discreet" in form,
        agreed="agree" in form,
    )


def check_wish(wish: Wish, city: City, *, contacts: bool = True) -> tuple[Profile, dict[str, Problem]]:
    """Turn choices into a profile, and say what does not fit, field by field.

    Args:
        wish: As the form was sent.
        city: Whose codes count.
        contacts: Whether the form has the fields for mail, phone and hour.

    Returns:
        A profile (id 0) of everything that fits, and the problems; the profile is good if there are none.
    """
    problems: dict[str, Problem] = {}
    places = _places(wish, city, problems)
    roles = tuple(code for code in wish.roles if city.known(f"role:{code}"))
    interests = tuple(tag for tag in wish.interests if city.known(tag) or tag.startswith("word:"))
    mutes = tuple(tag for tag in wish.mutes if city.known(tag) or tag.startswith("word:"))
    sensitive = [tag for tag in (*(f"role:{code}" for code in roles), *interests) if city.is_sensitive(tag)]
    if sensitive and not wish.agreed:
        problems["agree"] = Problem("join.error.agree")
    langs = tuple(lang for lang in wish.langs if lang in FULL.values())
    if not langs:
        problems["language"] = Problem("join.error.language")
    pace = int(wish.pace) if wish.pace.isascii() and wish.pace.isdigit() else 0
    if not PACE_MIN <= pace <= PACE_MAX:
        problems["pace"] = Problem("join.error.pace")
    if contacts:
        _contacts(wish, problems)
    profile = Profile(
        id=0,
        created_at=_EPOCH,
        roles=roles,
        places=places,
        interests=interests,
        mutes=mutes,
        langs=langs,
        pace=pace or PACE_MAX,
        discreet=wish.discreet,
    )
    return profile, problems


def changed_profile(old: Profile, new: Profile) -> Profile:
    """The old profile with what the form may change."""
    return replace(new, id=old.id, created_at=old.created_at, personalised=old.personalised)


@dataclass(frozen=True)
class Sheet:
    """A notice as the desk's form holds it."""

    title: str = ""
    body: str = ""
    lang: str = "zh-Hans"
    agency: str = ""
    kind: str = ""
    doc_no: str = ""
    phone: str = ""
    deadline_day: str = ""
    deadline_time: str = ""
    effective_day: str = ""
    places: str = ""
    tags: tuple[str, ...] = ()
    priority: str = "normal"
    note: str = ""
    major: str = ""


def sheet_of(services: Services, content: NoticeContent, tags: Sequence[Tag], priority: str) -> Sheet:
    """The form filled with a stored notice."""
    zone, city = services.zone, services.city
    deadline = content.deadline.astimezone(zone) if content.deadline else None
    effective = content.effective.astimezone(zone) if content.effective else None
    chosen = [f"{tag.kind}:{tag.code}" for tag in tags if tag.kind not in ("place", "agency", "type")]
    codes = [tag.code for tag in tags if tag.kind == "place" and tag.code in city.places]
    named = [code for code in codes if not any(code in city.ancestors(other) for other in codes)]
    return Sheet(
        title=content.title,
        body=content.body,
        lang=content.lang,
        agency=content.agency_slug,
        kind=content.kind,
        doc_no=content.doc_no,
        phone=content.phone,
        deadline_day=f"{deadline:%Y-%m-%d}" if deadline else "",
        deadline_time=f"{deadline:%H:%M}" if deadline and content.deadline_precision == "instant" else "",
        effective_day=f"{effective:%Y-%m-%d}" if effective else "",
        places="、".join(city.label(f"place:{code}", "zh") for code in named),
        tags=tuple(chosen),
        priority=priority,
    )


def read_sheet(form: FormData) -> Sheet:
    """Take the desk's form as it was sent."""
    return Sheet(
        title=_text(form, "title", 2000),
        body=str(form.get("body", "")).replace("\r\n", "\n"),
        lang=_text(form, "lang", 16),
        agency=_text(form, "agency", 64),
        kind=_text(form, "kind", 32),
        doc_no=_text(form, "doc_no", 300),
        phone=_text(form, "phone", 300),
        deadline_day=_text(form, "deadline_day", 12),
        deadline_time=_text(form, "deadline_time", 8),
        effective_day=_text(form, "effective_day", 12),
        places=_text(form, "places", 1000),
        tags=_many(form, "tag"),
        priority=_text(form, "priority", 16) or "normal",
        note=_text(form, "note", 500),
        major=_text(form, "major", 4),
    )


def place_names(sheet: Sheet, city: City) -> Sheet:
    """The sheet with places that were ticked among the suggestions written into its field."""
    ticked = [tag.partition(":")[2] for tag in sheet.tags if tag.startswith("place:") and city.known(tag)]
    # A place stands for what contains it, so only the smallest ones are named.
    smallest = [code for code in ticked if not any(code in city.ancestors(other) for other in ticked)]
    names = [
        part for part in (sheet.places, *(city.label(f"place:{code}", "zh") for code in smallest)) if part
    ]
    kept = tuple(tag for tag in sheet.tags if not tag.startswith("place:"))
    return replace(sheet, places="、".join(dict.fromkeys(names)), tags=kept)


def check_sheet(
    sheet: Sheet, services: Services, *, base: Notice | None = None
) -> tuple[NoticeContent, tuple[Tag, ...], dict[str, Problem]]:
    """Turn the desk's form into content and tags, and say what does not fit.

    Args:
        sheet: As the form was sent.
        services: For the city and its zone.
        base: The notice before; what the form has not, and what nobody touched, stays as it was.
    """
    city, problems = services.city, dict[str, Problem]()
    if not sheet.title.strip():
        problems["title"] = Problem("desk.error.title")
    elif len(sheet.title) > 300:
        problems["title"] = Problem("desk.error.long", {"count": str(len(sheet.title))})
    places = _named_places(sheet.places, city, problems)
    wanted = _wanted(sheet, places, services, problems)
    before = sheet_of(services, base.content, base.tags, base.priority) if base else None
    changed: dict[str, Any] = {}
    for names, values in wanted.items():
        if before is None or any(getattr(sheet, name) != getattr(before, name) for name in names):
            changed |= values
    content = replace(base.content if base else NoticeContent(title="—"), **changed)
    tags = _tags(sheet, places, city)
    return content, _kept(base, before, sheet, tags, city) if base and before else tags, problems


def _kept(base: Notice, before: Sheet, sheet: Sheet, tags: Sequence[Tag], city: City) -> tuple[Tag, ...]:
    """The tags as wanted, where an untouched kind stays whole and a tag that stays keeps its cause."""
    same = {"agency": sheet.agency == before.agency, "type": sheet.kind == before.kind}
    same["place"] = sheet.places == before.places
    for kind in ("theme", "role", "life"):
        same[kind] = _ticked(sheet, kind, city) == _ticked(before, kind, city)
    old = {(tag.kind, tag.code): tag for tag in base.tags}
    kept = [tag for tag in base.tags if same.get(tag.kind, True)]
    return (*kept, *(old.get((tag.kind, tag.code), tag) for tag in tags if not same.get(tag.kind, True)))


def _ticked(sheet: Sheet, kind: str, city: City) -> set[str]:
    """The ticked tags of a kind; wide themes have no box of their own."""
    found = {tag for tag in sheet.tags if tag.startswith(f"{kind}:") and city.known(tag)}
    return {tag for tag in found if kind != "theme" or city.themes[tag[6:]].parent}


def _wanted(
    sheet: Sheet, places: Sequence[str], services: Services, problems: dict[str, Problem]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """What the form says, by the fields of the form that say it."""
    city, zone = services.city, services.zone
    deadline, timed = _deadline(sheet, zone, problems)
    effective = _day(sheet.effective_day, zone, "effective_day", problems)
    agency = city.agencies.get(sheet.agency)
    title = " ".join(sheet.title.split()) or "—"
    if city.sample_mark and not title.startswith((city.sample_mark, "[SAMPLE]")):
        title = city.sample_mark + title  # an invented notice says so wherever it goes
    return {
        ("title",): {"title": title},
        ("body",): {"body": body_html(sheet.body)},
        ("lang",): {"lang": sheet.lang if sheet.lang in FULL.values() else "zh-Hans"},
        ("agency",): {
            "agency": agency.label.zh if agency else "",
            "agency_slug": agency.slug if agency else "",
        },
        ("kind",): {"kind": sheet.kind if sheet.kind in city.notice_types else ""},
        ("doc_no",): {"doc_no": sheet.doc_no},
        ("phone",): {"phone": sheet.phone},
        ("deadline_day", "deadline_time"): {
            "deadline": deadline,
            "deadline_precision": "instant" if timed else "day",
        },
        ("effective_day",): {"effective": effective},
        ("places", "agency"): {"region": _region(places or ([agency.place] if agency else []), city)},
    }


def body_html(text: str) -> str:
    """Turn what was typed into safe HTML: plain text becomes paragraphs, simple HTML is cleaned."""
    return sanitise(text) if looks_like_html(text) else plain_to_html(text)


def desk_tag(tag: str) -> Tag:
    """A tag that a person chose."""
    kind, _, code = tag.partition(":")
    return Tag(kind, code, EDITOR, 1.0)


def _tags(sheet: Sheet, places: Sequence[str], city: City) -> tuple[Tag, ...]:
    chosen = [tag for tag in sheet.tags if city.known(tag)]
    for code in [tag.partition(":")[2] for tag in chosen if tag.startswith("theme:")]:
        if parent := city.themes[code].parent:
            chosen.append(f"theme:{parent}")
    for place in places:
        chosen += [f"place:{code}" for code in (place, *city.ancestors(place)) if not _is_wide(city, code)]
    if sheet.kind in city.notice_types:
        chosen.append(f"type:{sheet.kind}")
    if sheet.agency in city.agencies:
        chosen.append(f"agency:{sheet.agency}")
    return tuple(desk_tag(tag) for tag in dict.fromkeys(chosen))


def _named_places(text: str, city: City, problems: dict[str, Problem]) -> list[str]:
    """Codes of the places in a list of names."""
    found = []
    for name in (part.strip() for part in re.split(r"[、，,;；]", text)):
        place = city.resolve_place(name) if name else None
        if place:
            found.append(place.code)
        elif name:
            problems["places"] = Problem("join.error.place", {"name": name})
    return found


def _region(places: Sequence[str], city: City) -> str:
    """The name of the smallest place that holds them all; it decides where the notice has force."""
    chains = [(code, *city.ancestors(code)) for code in places]
    shared = (
        next((code for code in chains[0] if all(code in chain for chain in chains)), "") if chains else ""
    )
    return city.places[shared].label.zh if shared else ""


def _is_wide(city: City, code: str) -> bool:
    return city.places[code].kind in ("country", "province")


def _deadline(sheet: Sheet, zone: ZoneInfo, problems: dict[str, Problem]) -> tuple[datetime | None, bool]:
    if sheet.deadline_time and not sheet.deadline_day:
        problems["deadline_day"] = Problem("desk.error.time")
        return None, False
    day = _day(sheet.deadline_day, zone, "deadline_day", problems)
    if day is None or not sheet.deadline_time:
        return day, False
    try:
        clock = time.fromisoformat(sheet.deadline_time)
    except ValueError:
        problems["deadline_day"] = Problem("desk.error.day")
        return day, False
    local = datetime.combine(day.astimezone(zone).date(), clock.replace(tzinfo=None), tzinfo=zone)
    return local.astimezone(UTC), True


def _day(text: str, zone: ZoneInfo, name: str, problems: dict[str, Problem]) -> datetime | None:
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=zone)
        if not 1949 <= day.year <= 2100:  # "20026年" and its like stop here
            raise ValueError
    except ValueError:
        problems[name] = Problem("desk.error.day")
        return None
    return day.astimezone(UTC)


def _places(wish: Wish, city: City, problems: dict[str, Problem]) -> tuple[FollowedPlace, ...]:
    found: dict[str, FollowedPlace] = {}
    for number, row in enumerate(wish.places):
        if not row.typed and not row.chosen:
            continue
        place = city.resolve_place(row.typed) if row.typed else city.places.get(row.chosen)
        if place is None:
            near = [city.label(tag, "zh") for tag in city.suggest(f"place:{row.typed}")]
            key = "join.error.place_near" if near else "join.error.place"
            problems[f"place_{number}"] = Problem(key, {"name": row.typed, "near": "、".join(near)})
            continue
        label = row.label if row.label in PLACE_LABELS else "other"
        found.setdefault(place.code, FollowedPlace(place.code, "" if label == "other" else label))
    return tuple(found.values())


def _contacts(wish: Wish, problems: dict[str, Problem]) -> None:
    for name, channel, text in (("email", "email", wish.email), ("phone", "sms", wish.phone)):
        if not text:
            continue
        try:
            clean_address(channel, text)
        except UsageError:
            problems[name] = Problem(f"join.error.{name}")
    if (wish.email or wish.phone) and not (
        wish.hour.isascii() and wish.hour.isdigit() and int(wish.hour) in HOURS
    ):
        problems["hour"] = Problem("join.error.hour")


def _known_label(label: str) -> str:
    return label if label in PLACE_LABELS else "other"


def _text(form: FormData, name: str, most: int) -> str:
    return str(form.get(name, "")).strip()[:most]


def _many(form: FormData, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value)[:100] for value in form.getlist(name)))
