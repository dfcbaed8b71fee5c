"""A small world for the recommender's tests: the sample city, candidates, notices. All invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from feeds.catalogue.city_files import load_city
from feeds.catalogue.notices import Notice
from feeds.catalogue.tagging import Tag
from feeds.catalogue.vocabulary import City
from profiles.editions import NewEdition
from profiles.types import Pick, Profile, Shelf, ShelvedPick
from recommender.blend import Blend, Prepared, blend, prepare
from recommender.candidates import eligible, pool
from recommender.model_file import Model
from recommender.select import choose
from recommender.types import Candidate, Weights
from tests.factories import content

NOW = datetime(2026, 10, 12, 2, 0, tzinfo=UTC)  # Monday 10:00 in the city
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@cache
def city() -> City:
    return load_city("shili")


def tags(*names: str, weight: float = 1.0) -> tuple[Tag, ...]:
    return tuple(Tag(*name.split(":", 1), cause="test", weight=weight) for name in names)


def candidate(number: int, *names: str, **changes: Any) -> Candidate:
    """A city-wide candidate of one hour ago with some tags."""
    values: dict[str, Any] = {
        "notice_id": number,
        "revision": 1,
        "lang": "zh-Hans",
        "level": "city",
        "place": "sl",
        "tags": tags(*names),
        "words": (),
        "fresh_at": NOW - HOUR,
        "released_at": NOW - HOUR,
        "title": f"通知{number}",
    }
    return Candidate(**(values | changes))


def street(number: int, code: str, *names: str, **changes: Any) -> Candidate:
    """A candidate that belongs to one street or district."""
    level = "street" if len(code) > 4 else "district"
    return candidate(number, f"place:{code}", *names, **({"level": level, "place": code} | changes))


def person(number: int = 1, **changes: Any) -> Profile:
    return Profile(**({"id": number, "created_at": NOW - 30 * DAY} | changes))


def shelf(
    profile_id: int = 1, version: int = 1, *, picked: tuple[int, ...] = (), today: tuple[int, ...] = ()
) -> Shelf:
    """A shelf that is no longer new; ``today`` are ids picked an hour ago."""
    picks = tuple(ShelvedPick(Pick(number, 1, "new", ()), NOW - HOUR) for number in today)
    return Shelf(profile_id, version, picks, frozenset((*picked, *today)))


def ready(candidates: list[Candidate], model: Model | None = None, **weights: float) -> Prepared:
    return prepare(pool(candidates, city()), Weights(**weights), NOW, model)


def scored(profiles: list[Profile], prepared: Prepared, *, welcome: bool = False) -> Blend:
    shelves = [shelf(one.id, 0 if welcome else 1) for one in profiles]
    first = np.array([welcome] * len(profiles))
    return blend(profiles, eligible(profiles, shelves, prepared.pool, NOW, first), prepared)


def picks(
    profile: Profile, candidates: list[Candidate], own: Shelf | None = None, **kwargs: Any
) -> list[Pick]:
    """The picks of one profile's daily edition (or welcome, with a shelf of version 0)."""
    made = editions([profile], candidates, own, **kwargs)
    return list(made[0].picks) if made else []


def editions(
    profiles: list[Profile], candidates: list[Candidate], own: Shelf | None = None, *,
    model: Model | None = None,
    used: int = 0,
) -> list[NewEdition]:  # fmt: skip
    shelves = {one.id: own or shelf(one.id) for one in profiles}
    today = dict.fromkeys(shelves, used)
    return choose(profiles, shelves, ready(candidates, model), NOW, today, NOW.replace(hour=0) - 8 * HOUR)


def ids(found: list[Pick]) -> list[int]:
    return [one.notice_id for one in found]


def notice(number: int, *names: str, title: str = "", **changes: Any) -> Notice:
    """A stored notice, released an hour ago."""
    values: dict[str, Any] = {
        "id": number,
        "source_id": 1,
        "guid": str(number),
        "state": "released",
        "revision": 1,
        "content": content(title=title or f"通知{number}", doc_no="", published=NOW - HOUR, body=""),
        "tags": tags(*names),
        "level": "city",
        "place": "sl",
        "priority": "normal",
        "archive": False,
        "created_at": NOW - HOUR,
        "released_at": NOW - HOUR,
        "changed_at": NOW - HOUR,
        "material_number": number,
    }
    return Notice(**(values | changes))


def library(count: int = 120) -> list[Notice]:
    """Notices over a few themes, roles and places, with titles that share words within a theme."""
    themes = ("0402", "0403", "0601", "1001", "1402", "1501")
    words = ("增值税申报", "银行贷款", "高新企业认定", "社区用水", "养老补贴", "博物馆展览")
    roles = ("enterprise", "investor", "enterprise", "citizen", "citizen", "tourist")
    places = ("sl01", "sl0201", "sl03", "sl0101")
    made = []
    for n in range(count):
        kind = n % len(themes)
        where = {"level": "district", "place": places[n % 4][:4]} if n % 5 == 0 else {}
        extra = (f"place:{places[n % 4]}",) if where else ()
        made.append(
            notice(
                n + 1,
                f"theme:{themes[kind]}",
                f"role:{roles[kind]}",
                *extra,
                title=f"关于{words[kind]}第{n}号的通知",
                **where,
            )
        )
    return made
