"""What a city is: its themes, roles, life events, places, agencies, tagging rules and calendar.

Pure data and look-ups; reads no file (that is ``feeds.catalogue.city_files``), no settings, no clock.
Called by tagging, pages, feeds, the recommender and the doctor.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from feeds.catalogue.words import one_form
from feeds.kernel.errors import MycityError
from feeds.kernel.workdays import WorkingCalendar

if TYPE_CHECKING:
    from feeds.catalogue.alert_templates import AlertTemplate
    from feeds.catalogue.issuers import IssuerRule
    from feeds.kernel.geometry import Shape

TAG_KINDS = ("theme", "role", "life", "type", "place", "agency")
PLACE_KINDS = ("country", "province", "city", "district", "street", "zone", "elsewhere")
_STEP = re.compile(r"[\s·・/>,,、\-]+")


class CityError(MycityError):
    """A city's files cannot be used; the message names file, line and field."""


@dataclass(frozen=True, slots=True)
class Label:
    """One name in the two languages of the service."""

    zh: str
    en: str

    def of(self, lang: str) -> str:
        """The Chinese name for any ``zh…`` language, else the English one."""
        return self.zh if lang.lower().startswith("zh") else self.en


@dataclass(frozen=True, slots=True)
class Theme:
    """A subject; ``parent`` is empty for a level-1 theme."""

    code: str
    parent: str
    label: Label
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """Whom a notice is for; a sensitive role is never named outside the resident's own pages."""

    code: str
    label: Label
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class LifeEvent:
    """A turn in somebody's life that brings a bundle of notices."""

    code: str
    label: Label
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class NoticeType:
    """What a notice does: inform, ask for opinions, warn, hire."""

    code: str
    label: Label


@dataclass(frozen=True, slots=True)
class Place:
    """A country, city, district, street or zone, with what people call it now and called it before.

    ``careful`` holds the aliases marked with ``?``: they mean it only beside another name of the city.
    """

    code: str
    kind: str
    parent: str
    label: Label
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    careful: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agency:
    """A body that issues notices; ``place`` is where it has its say."""

    slug: str
    label: Label
    place: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to give a tag; see docs/cities.md for what each list means."""

    id: str
    tag: str
    title: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    doc_type: tuple[str, ...] = ()
    agency: tuple[str, ...] = ()


@dataclass(frozen=True)
class City:
    """Everything a city says about itself; mappings are by code and keep the order of the files.

    Attributes:
        checks: The office's word list: what holds one of these waits for an editor; folded.
        issuers: Who may have which warnings passed on at once; empty: whoever may publish.
        alert_templates: Ready words for the office's own warnings, by code.
        shapes: Where places lie, by code; many have none.
    """

    slug: str
    name: Label
    place: str
    timezone: str
    authority: str
    sample_mark: str
    sms_signature: str
    themes: Mapping[str, Theme]
    roles: Mapping[str, Role]
    life_events: Mapping[str, LifeEvent]
    notice_types: Mapping[str, NoticeType]
    places: Mapping[str, Place]
    agencies: Mapping[str, Agency]
    rules: tuple[Rule, ...]
    decoys: tuple[str, ...]
    calendar: WorkingCalendar
    checks: tuple[str, ...] = ()
    issuers: tuple[IssuerRule, ...] = ()
    alert_templates: Mapping[str, AlertTemplate] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    _names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def _entry(self, tag: str) -> Theme | Role | LifeEvent | NoticeType | Place | Agency | None:
        kind, _, code = tag.partition(":")
        tables: dict[str, Mapping[str, Theme | Role | LifeEvent | NoticeType | Place | Agency]] = {
            "theme": self.themes, "role": self.roles, "life": self.life_events,
            "type": self.notice_types, "place": self.places, "agency": self.agencies,
        }  # fmt: skip
        return tables[kind].get(code) if kind in tables else None

    def known(self, tag: str) -> bool:
        """Whether ``tag`` ("theme:0402") has a known kind and a code of this city."""
        return self._entry(tag) is not None

    def label(self, tag: str, lang: str) -> str:
        """The name of a tag in ``lang``; an unknown tag gives its code, so old tags stay readable."""
        entry = self._entry(tag)
        return entry.label.of(lang) if entry else tag.partition(":")[2] or tag

    def is_sensitive(self, tag: str) -> bool:
        """Whether the tag must not stand in a subject, an SMS, a log or a personal feed."""
        entry = self._entry(tag)
        return isinstance(entry, (Theme, Role, LifeEvent)) and entry.sensitive

    def ancestors(self, place_code: str) -> tuple[str, ...]:
        """Codes of the places that contain this one, nearest first; empty if there are none."""
        chain: list[str] = []
        place = self.places.get(place_code)
        while place and place.parent:
            chain.append(place.parent)
            place = self.places.get(place.parent)
        return tuple(chain)

    def resolve_place(self, name: str) -> Place | None:
        """The place somebody means: by code, name, alias or former name, with or without its ending.

        Names may be nested ("上海市虹口区曲阳路街道", "虹口·曲阳路"). A name that fits two places of
        equal rank gives None rather than a guess.
        """
        if name.strip() in self.places:
            return self.places[name.strip()]
        whole = one_form(name)
        for candidate in (whole, *reversed([step for step in _STEP.split(whole) if step])):
            code = self._names.get(candidate) or self._names.get(self._without_container(candidate))
            if code:
                return self.places[code]
        return None

    def _without_container(self, name: str) -> str:
        """Cut leading names of the city and its districts, longest first, as long as something is left."""
        for length in range(len(name) - 2, 1, -1):
            code = self._names.get(name[:length])
            if code and self.places[code].kind in ("province", "city", "district"):
                return self._without_container(name[length:])
        return name

    def suggest(self, tag: str) -> tuple[str, ...]:
        """Up to three known tags that look like ``tag``, nearest first, for "did you mean" sentences."""
        kind, _, code = tag.partition(":")
        kinds = [kind] if kind in TAG_KINDS else list(TAG_KINDS)
        spellings: dict[str, str] = {}
        for one in kinds:
            for entry in self._table(one):
                known = f"{one}:{_key(entry)}"
                for word in (_key(entry), entry.label.zh, entry.label.en.lower()):
                    spellings.setdefault(word, known)
        hits = difflib.get_close_matches(one_form(code or kind), spellings, n=6, cutoff=0.5)
        return tuple(dict.fromkeys(spellings[hit] for hit in hits))[:3]

    def _table(self, kind: str) -> Iterable[Theme | Role | LifeEvent | NoticeType | Place | Agency]:
        if kind == "theme":
            return self.themes.values()
        if kind == "role":
            return self.roles.values()
        if kind == "life":
            return self.life_events.values()
        if kind == "type":
            return self.notice_types.values()
        return self.places.values() if kind == "place" else self.agencies.values()


def _key(entry: Theme | Role | LifeEvent | NoticeType | Place | Agency) -> str:
    return entry.slug if isinstance(entry, Agency) else entry.code
