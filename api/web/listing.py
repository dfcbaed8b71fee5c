"""Lists of notices as pages show them: filters from an address, items, day groups, deadline badges.

Reads the catalogue through its store; writes nothing. Called by the routes of the portal, the search
page, the residents' pages and the desk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from api.views import also_published
from api.web.wording import FULL, Words
from delivery.types import Also
from feeds.catalogue.notices import Notice
from feeds.catalogue.store import NoticeFilter
from feeds.catalogue.vocabulary import City
from feeds.kernel.time import from_micros, local_date, to_micros

if TYPE_CHECKING:
    from api.wiring import Services

PAGE_SIZE = 20
# An emergency without an end of its own is shown for a day, then it is an ordinary notice.
_EMERGENCY_LASTS = timedelta(hours=24)
_SOON = 7  # days
_MARKS = ("[SAMPLE]", "[Sample]")


@dataclass(frozen=True, slots=True)
class Badge:
    """A deadline in a few words; ``tone`` is past, today, soon or later, ``brief`` leaves the day out."""

    text: str
    tone: str
    brief: str


@dataclass(frozen=True, slots=True)
class Item:
    """One notice in a list.

    Attributes:
        mark: The sample city's mark, cut off the title to be shown small.
        also: Who else published the same.
    """

    notice: Notice
    mark: str
    title: str
    lang: str
    url: str
    agency: str
    day: date
    badge: Badge | None
    themes: tuple[tuple[str, str], ...]
    also: tuple[Also, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What a list was asked for; every field may be empty. ``lang`` is zh, en or all."""

    role: str = ""
    theme: str = ""
    place: str = ""
    lang: str = ""
    before: str = ""

    def url(self, path: str = "/", **changed: str) -> str:
        """The address of the same list with some fields changed; a changed filter starts at the top."""
        fields = {"role": self.role, "theme": self.theme, "place": self.place, "in": self.lang}
        fields |= changed
        kept = {key: value for key, value in fields.items() if value}
        return f"{path}?{urlencode(kept)}" if kept else path

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that a notice of this list must have."""
        pairs = (("role", self.role), ("theme", self.theme))
        return tuple(f"{kind}:{code}" for kind, code in pairs if code)

    @property
    def feed(self) -> str:
        """The address, without suffix, of the public feed nearest to this list."""
        for kind, code in (("role", self.role), ("theme", self.theme), ("place", self.place)):
            if code:
                return f"/feeds/{kind}/{code}"
        return "/feeds/all"


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list; ``next_mark`` continues it and is empty on the last page."""

    items: tuple[Item, ...]
    next_mark: str


def find(services: Services, query: Query, words: Words) -> Listing:
    """Return one page of released notices, freshest first."""
    city = services.city
    inside = (
        tuple(c for c in city.places if c == query.place or query.place in city.ancestors(c))
        if query.place
        else ()
    )
    lang = FULL["zh"] if query.lang == "zh" else query.lang if query.lang == "en" else ""
    which = NoticeFilter(tags=query.tags, places=inside, lang=lang, leads_only=not inside)
    found = services.notices.latest(which, limit=PAGE_SIZE + 1, before=read_mark(query.before))
    shown = found[:PAGE_SIZE]
    more = len(found) > PAGE_SIZE
    return Listing(items(services, shown, words), mark_of(shown[-1]) if more else "")


def items(services: Services, notices: Iterable[Notice], words: Words) -> tuple[Item, ...]:
    """Turn notices into items of a list, in the order given."""
    shown, today = list(notices), local_date(services.clock.now(), services.zone)
    also = also_published(services, shown, lang=words.lang)
    return tuple(_item(services, notice, words, today, also.get(notice.id, ())) for notice in shown)


def by_day(shown: Sequence[Item]) -> list[tuple[date, list[Item]]]:
    """Group items that follow each other on the same day."""
    return [(day, list(group)) for day, group in groupby(shown, key=lambda item: item.day)]


def emergencies(services: Services, words: Words) -> tuple[Item, ...]:
    """Emergency notices that are in force now, newest first; the reader's language wins over a twin."""
    now = services.clock.now()
    latest = services.notices.latest(NoticeFilter(states=("released",), leads_only=True), limit=60)
    urgent = [item for item in latest if item.priority == "emergency" and _in_force(item, now)]
    own = [item for item in urgent if item.content.lang.startswith(words.lang)]
    return items(services, own or urgent, words)


def badge(notice: Notice, words: Words, services: Services) -> Badge | None:
    """Say how long there is to act: the day, and the calendar days left."""
    content, zone, now = notice.content, services.zone, services.clock.now()
    if content.deadline is None or notice.state != "released":
        return None
    local = content.deadline.astimezone(zone)
    left = (local.date() - local_date(now, zone)).days
    timed = content.deadline_precision == "instant"
    if left < 0 or (timed and content.deadline < now):
        return Badge(words("deadline.past"), "past", words("deadline.past"))
    clock = f" {local:%H:%M}" if timed else ""
    day = words.day(local.date(), local_date(now, zone)) + clock
    if left == 0:
        return Badge(words("deadline.today", clock=clock), "today", words("deadline.today", clock=clock))
    tone = "soon" if left <= _SOON else "later"
    return Badge(words("deadline.left", n=left, day=day), tone, words("deadline.only", n=left))


def shown_title(city: City, notice: Notice, lang: str) -> tuple[str, str, str]:
    """The sample mark (or nothing), the title without it, and the title's language."""
    content = notice.content
    english = lang == "en" and bool(content.title_en)
    title = content.title_en if english else content.title
    for mark in (city.sample_mark, *_MARKS) if city.sample_mark else ():
        if title.startswith(mark):
            return mark, title.removeprefix(mark).strip(), "en" if english else content.lang
    return "", title, "en" if english else content.lang


def agency_name(city: City, notice: Notice, lang: str) -> str:
    """The issuer's name; in English where the city knows it."""
    known = city.agencies.get(notice.content.agency_slug) or next(
        (city.agencies[code] for code in notice.codes("agency") if code in city.agencies), None
    )
    if known and (lang == "en" or not notice.content.agency):
        return known.label.of(lang)
    return notice.content.agency


def theme_label(city: City, code: str, lang: str) -> tuple[str, str]:
    """The theme to show and its name; "other" says nothing alone, so its parent stands for it."""
    theme = city.themes[code]
    if theme.parent and theme.label.zh in ("其他", "其它"):
        code, theme = theme.parent, city.themes[theme.parent]
    return code, theme.label.of(lang)


def tag_name(city: City, tag: str, lang: str) -> str:
    """The name of a tag that stands alone; "other" says nothing without what it is the rest of."""
    kind, _, code = tag.partition(":")
    theme = city.themes.get(code) if kind == "theme" else None
    name = city.label(tag, lang)
    if theme and theme.parent and theme.label.zh in ("其他", "其它") and lang == "zh":
        return f"{city.label(f'theme:{theme.parent}', lang)}·{name}"
    return name


def read_mark(text: str) -> tuple[datetime, int] | None:
    """Read where a list continues; anything unreadable means its top."""
    match = re.fullmatch(r"([0-9]{1,17})-([0-9]{1,18})", text)
    return (from_micros(int(match[1])), int(match[2])) if match else None


def known_query(city: City, query: Query) -> bool:
    """Whether every code in the query exists in this city."""
    place = not query.place or query.place in city.places
    return place and all(city.known(tag) for tag in query.tags)


def with_lang(query: Query, lang: str) -> Query:
    """The query in another language of notices."""
    return replace(query, lang=lang)


def _item(services: Services, notice: Notice, words: Words, today: date, also: tuple[Also, ...] = ()) -> Item:
    mark, title, lang = shown_title(services.city, notice, words.lang)
    codes = [code for code in notice.codes("theme") if code in services.city.themes]
    leaves = [code for code in codes if services.city.themes[code].parent] or codes
    return Item(
        notice=notice,
        mark=mark,
        title=title,
        lang=lang,
        url=f"/notices/{notice.id}",
        agency=agency_name(services.city, notice, words.lang),
        day=local_date(notice.fresh_at, services.zone),
        badge=badge(notice, words, services),
        themes=tuple(dict.fromkeys(theme_label(services.city, code, words.lang) for code in leaves[:3])),
        also=also,
    )


def _in_force(notice: Notice, now: datetime) -> bool:
    ends = notice.content.expires or (notice.released_at or notice.fresh_at) + _EMERGENCY_LASTS
    # An archive import is released today but speaks of long ago.
    return notice.fresh_at <= now < min(ends, notice.fresh_at + 7 * _EMERGENCY_LASTS)


def mark_of(notice: Notice) -> str:
    """The mark that continues a list after this notice."""
    return f"{to_micros(notice.fresh_at)}-{notice.id}"
