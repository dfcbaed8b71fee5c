"""How what a resident declared meets what a notice is about, as strengths; and what a mute hides.

The one place that knows that a followed theme covers its children, that a street lies in a district, and that
tags above another tag were only implied by it. Learns nothing, reads no clock, database or file.
``recommender`` builds its matrices from :class:`Reach`; pages and tests call :func:`match`, which gives the
same figures for one person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from feeds.catalogue.tagging import Tag
from feeds.catalogue.vocabulary import City
from feeds.catalogue.words import fold
from profiles.types import FollowedPlace, Profile

# A followed tag meets: the same one, a narrower one (they follow its parent), a broader one (its child).
SAME, NARROWER, BROADER = 1.0, 0.9, 0.4
# A followed place meets itself (by kind), what is inside it (by kind of the followed), what contains it.
PLACE_SAME: Mapping[str, float] = {"street": 1.0, "zone": 1.0, "district": 0.8, "city": 0.3, "elsewhere": 0.8}
PLACE_INSIDE: Mapping[str, float] = {
    "street": 1.0,
    "zone": 0.9,
    "district": 0.7,
    "city": 0.3,
    "elsewhere": 0.8,
}
PLACE_CONTAINS: Mapping[str, float] = {"zone": 0.6, "district": 0.5}
PLACE_OTHER = 0.2  # provinces, countries
#: Weight of a place tag from which the notice is about the place: named in title, by issuer or region.
ABOUT_PLACE = 0.6
#: Home weighs most; a free label a little less than the three we know.
LABEL_FACTOR: Mapping[str, float] = {"home": 1.0, "work": 0.9, "parents": 0.9}
OTHER_LABEL = 0.8


@dataclass(frozen=True)
class Kinship:
    """Who is above and below whom in a city; made once by :func:`kinship`."""

    city: str
    theme_parent: Mapping[str, str]
    theme_children: Mapping[str, tuple[str, ...]]
    above: Mapping[str, tuple[str, ...]]
    below: Mapping[str, tuple[str, ...]]
    place_kind: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom one notice reaches.

    Attributes:
        topics: Followed tag → strength in (0, 1].
        roles: Role tag → strength in (0, 1].
        places: Followed place code → strength in (0, 1], before the label's factor.
        around: Followed place code → the wider place that the notice is really about, where it reaches
            the followed one only because it lies inside.
        hidden_by: Tags that hide the notice when muted.
        local: It belongs to some part of the city only (or lies outside), not to the city as a whole.
        outside: It lies outside the city and what contains it; only followers of the place may get it.
        citywide: It speaks to the whole city or country.
        title: Folded title, for followed and muted words.
    """

    topics: Mapping[str, float]
    roles: Mapping[str, float]
    places: Mapping[str, float]
    around: Mapping[str, str]
    hidden_by: frozenset[str]
    local: bool
    outside: bool
    citywide: bool
    title: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """How one profile meets one notice; empty mappings where nothing meets."""

    interests: Mapping[str, float] = field(default_factory=dict)
    roles: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[FollowedPlace, float] = field(default_factory=dict)
    muted: bool = False
    elsewhere: bool = False


def kinship(city: City) -> Kinship:
    """Turn a city's tables into look-ups."""
    children: dict[str, list[str]] = {}
    for code, theme in city.themes.items():
        if theme.parent:
            children.setdefault(theme.parent, []).append(code)
    above = {code: city.ancestors(code) for code in city.places}
    below: dict[str, list[str]] = {}
    for code, chain in above.items():
        for one in chain:
            below.setdefault(one, []).append(code)
    return Kinship(
        city=city.place,
        theme_parent={code: theme.parent for code, theme in city.themes.items()},
        theme_children={code: tuple(items) for code, items in children.items()},
        above=above,
        below={code: tuple(items) for code, items in below.items()},
        place_kind={code: place.kind for code, place in city.places.items()},
    )


def reach(
    tags: Sequence[Tag], kin: Kinship, *, level: str = "unknown", place: str | None = None,
    agency: str = "", title: str = "",
) -> Reach:  # fmt: skip
    """Work out whom a notice reaches.

    Args:
        tags: Any order; unknown kinds and codes are kept as they are and met only exactly. A weight that is
            not a number counts as 0, others are cut to 0..1.
        kin: Of the city the notice was tagged for.
        level: Of its jurisdiction.
        place: Code of its jurisdiction, or ``None``.
        agency: Slug of its agency, or empty.
        title: As published.
    """
    weights = _weights(tags, agency)
    themes = _narrowest({c: w for (k, c), w in weights.items() if k == "theme"}, kin.theme_parent)
    where = _places(weights, level, place, kin)
    topics = {f"{k}:{c}": w for (k, c), w in weights.items() if k not in ("theme", "place", "role")}
    topics.update(_theme_reach(themes, kin))
    outside = _outside(level, where, kin)
    places, around = _place_reach(where, kin)
    whole = any(_holds_city(code, kin) for code in where)
    local = outside or (bool(where) and not whole)
    return Reach(
        topics=topics,
        roles={f"role:{c}": w for (k, c), w in weights.items() if k == "role"},
        places=places,
        around=around,
        hidden_by=_hidden_by(weights, where, kin),
        local=local,
        outside=outside,
        citywide=not local and (whole or level in ("city", "country")),
        title=fold(title),
    )


def match(profile: Profile, notice: Reach) -> Match:
    """Say how one profile meets one notice.

    Returns:
        Strengths in (0, 1] by followed tag, role and place (place strengths include the label's factor);
        ``elsewhere`` is True where the notice belongs to places none of which the profile follows although it
        follows some; there a role does not count.
    """
    places: dict[FollowedPlace, float] = {}
    for followed in profile.places:
        strength = notice.places.get(followed.code, 0.0) * label_factor(followed.label)
        if strength > 0 and not is_beyond_a_visit(followed, notice):
            places[followed] = strength
    elsewhere = notice.local and bool(profile.places) and not places
    roles = (
        {}
        if elsewhere
        else {f"role:{r}": w for r in profile.roles if (w := notice.roles.get(f"role:{r}", 0.0))}
    )
    return Match(
        interests=interests_met(profile.interests, notice),
        roles=roles,
        places=places,
        muted=any(hides(tag, notice) for tag in profile.mutes),
        elsewhere=elsewhere,
    )


def interests_met(interests: Sequence[str], notice: Reach) -> dict[str, float]:
    """Strength of each followed tag that a notice meets; words count 1."""
    topics = notice.topics
    met = {tag: topics[tag] for tag in interests if tag in topics}
    for tag in interests:
        if tag.startswith("word:") and says(tag[5:], notice.title):
            met[tag] = SAME
    return met


def hides(tag: str, notice: Reach) -> bool:
    """Whether muting ``tag`` hides a notice; muting a theme or place hides what is below it too."""
    return says(tag[5:], notice.title) if tag.startswith("word:") else tag in notice.hidden_by


def says(word: str, folded_title: str) -> bool:
    """Whether a title (folded) says a word; Latin words must stand whole, Chinese ones may stand anywhere."""
    plain, pattern = _word(word)
    if not plain or plain not in folded_title:
        return False
    return pattern is None or pattern.search(folded_title) is not None


def is_beyond_a_visit(followed: FollowedPlace, notice: Reach) -> bool:
    """Whether a notice is about what lies around a place that somebody only visits.

    Who lives on an island wants to know of its district; who spends a day there does not.
    """
    return followed.label == "visit" and followed.code in notice.around


def label_factor(label: str) -> float:
    """How much a place weighs by what it is to somebody."""
    return LABEL_FACTOR.get(label, OTHER_LABEL)


@lru_cache(maxsize=4096)
def _word(word: str) -> tuple[str, re.Pattern[str] | None]:
    plain = fold(word).strip()
    return plain, re.compile(rf"\b{re.escape(plain)}\b") if plain.isascii() and plain else None


def _weights(tags: Iterable[Tag], agency: str) -> dict[tuple[str, str], float]:
    weights: dict[tuple[str, str], float] = {("agency", agency): 1.0} if agency else {}
    for tag in tags:
        weight = min(tag.weight, 1.0)
        if weight > 0 and weight > weights.get((tag.kind, tag.code), 0.0):  # false for NaN too
            weights[tag.kind, tag.code] = weight
    return weights


def _narrowest(weights: Mapping[str, float], parent: Mapping[str, str]) -> dict[str, float]:
    """Drop a parent that a child speaks for at least as strongly: tagging adds parents by itself."""
    implied = {
        parent[code] for code, weight in weights.items()
        if parent.get(code) and weight >= weights.get(parent[code], 0.0)
    }  # fmt: skip
    return {code: weight for code, weight in weights.items() if code not in implied}


def _theme_reach(themes: Mapping[str, float], kin: Kinship) -> dict[str, float]:
    found: dict[str, float] = {}
    for code, weight in themes.items():
        offers = [(code, SAME)]
        if up := kin.theme_parent.get(code):
            offers.append((up, NARROWER))
        offers += [(child, BROADER) for child in kin.theme_children.get(code, ())]
        for one, factor in offers:
            tag = f"theme:{one}"
            found[tag] = max(found.get(tag, 0.0), weight * factor)
    return found


def _places(
    weights: Mapping[tuple[str, str], float], level: str, place: str | None, kin: Kinship
) -> dict[str, float]:
    """The places a notice is about, without those that only contain another one of them."""
    # A place that the text only mentions in passing is not what the notice is about.
    where = {code: w for (kind, code), w in weights.items() if kind == "place" and w >= ABOUT_PLACE}
    if place:
        # Jurisdiction is where it has force; a place named in the title may be narrower.
        where[place] = max(
            where.get(place, 0.0), 1.0 if level in ("district", "street", "elsewhere") else 0.5
        )
    implied = {
        up for code, weight in where.items() for up in kin.above.get(code, ()) if weight >= where.get(up, 2.0)
    }
    return {code: weight for code, weight in where.items() if code not in implied}


def _place_reach(where: Mapping[str, float], kin: Kinship) -> tuple[dict[str, float], dict[str, str]]:
    found: dict[str, float] = {}
    around: dict[str, str] = {}

    def offer(code: str, strength: float, wider: str = "") -> None:
        if strength > found.get(code, 0.0):
            found[code] = strength
            around.pop(code, None)
            if wider:
                around[code] = wider

    for code, weight in where.items():
        kind = kin.place_kind.get(code, "")
        offer(code, weight * PLACE_SAME.get(kind, PLACE_OTHER))
        for up in kin.above.get(code, ()):
            offer(up, weight * PLACE_INSIDE.get(kin.place_kind.get(up, ""), PLACE_OTHER))
        if kind in PLACE_CONTAINS:  # city and country reach everybody alike, that is no followed place
            for down in kin.below.get(code, ()):
                offer(down, weight * PLACE_CONTAINS[kind], code)
    return found, around


def _holds_city(code: str, kin: Kinship) -> bool:
    return code == kin.city or code in kin.above.get(kin.city, ())


def _outside(level: str, where: Mapping[str, float], kin: Kinship) -> bool:
    """Whether none of its places is the city, inside it or around it; ``elsewhere`` says so by itself."""
    if level == "elsewhere":
        return True
    near = [code for code in where if _holds_city(code, kin) or kin.city in kin.above.get(code, ())]
    return bool(where) and not near


def _hidden_by(
    weights: Mapping[tuple[str, str], float], where: Mapping[str, float], kin: Kinship
) -> frozenset[str]:
    tags = {f"{kind}:{code}" for kind, code in weights if kind != "place"}
    tags |= {
        f"theme:{kin.theme_parent[code]}"
        for kind, code in weights
        if kind == "theme" and kin.theme_parent.get(code)
    }
    tags |= {f"place:{code}" for kind, code in weights if kind == "place"}
    tags |= {f"place:{one}" for code in where for one in (code, *kin.above.get(code, ()))}
    return frozenset(tags)
