"""Decides whom an emergency concerns, and in which language they read it. Pure.

Mutes, rank, pace and what a model learned do not count here. Called by :mod:`api.jobs.alerts`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feeds.catalogue.notices import Notice
from feeds.intake.cap_areas import CAUSE
from profiles.match import ABOUT_PLACE, Kinship, reach
from profiles.types import Profile, Reason

# Who follows only the city lives somewhere in it; a warning for one district is not theirs.
_WIDE = frozenset({"city", "province", "country"})


@dataclass(frozen=True, slots=True)
class Circle:
    """Whom one notice concerns.

    Attributes:
        everybody: It is for the whole city.
        places: Codes of followed places that it concerns.
    """

    everybody: bool
    places: frozenset[str]

    @property
    def unplaced(self) -> bool:
        """Nobody can tell where it holds; an editor must say so first."""
        return not self.everybody and not self.places


def circle_of(notice: Notice, kin: Kinship) -> Circle:
    """Work out whom a notice concerns.

    The areas that a warning itself names count alone; a place that its text happens to mention does not.
    A notice without areas is where its jurisdiction and its tags say. A place counts if it is one of these,
    lies inside one, or is a district, street or zone around one: who says only which district they live in
    may live in the street that is meant.
    """
    places = [tag for tag in notice.tags if tag.kind == "place" and tag.weight >= ABOUT_PLACE]
    areas = [tag for tag in places if tag.cause == CAUSE]
    found = reach(areas, kin) if areas else reach(places, kin, level=notice.level, place=notice.place)
    if found.citywide:
        return Circle(True, frozenset())
    wide = {code for code, kind in kin.place_kind.items() if kind in _WIDE}
    return Circle(False, frozenset(found.places) - wide)


def reasons_for(profile: Profile, circle: Circle) -> tuple[Reason, ...]:
    """Say why an emergency concerns somebody; empty if it does not.

    Of several places the first one they named is given. Somebody on a visit is told like everybody else.
    """
    if circle.everybody:
        return (Reason("emergency"), Reason("citywide"))
    for place in profile.places:
        if place.code in circle.places:
            return (Reason("emergency"), Reason("place", (f"place:{place.code}", place.label)))
    return ()


def version_for(profile: Profile, versions: Sequence[Notice]) -> Notice:
    """Choose the language version that somebody reads best; the first one if they read none of them."""
    return _best(profile.langs, versions)


def _best(langs: Sequence[str], versions: Sequence[Notice]) -> Notice:
    by_language: Mapping[str, Notice] = {_language(one.content.lang): one for one in reversed(versions)}
    for lang in langs:
        if _language(lang) in by_language:
            return by_language[_language(lang)]
    return versions[0]


def readers_of(langs: Sequence[str], versions: Sequence[Notice]) -> dict[int, tuple[str, ...]]:
    """Say which profiles read which version.

    Args:
        langs: Combinations of languages as profiles store them: lists in JSON.
        versions: One for each language.

    Returns:
        Notice id → combinations of those who read it best.
    """
    found: dict[int, list[str]] = {one.id: [] for one in versions}
    for stored in langs:
        found[_best(json.loads(stored), versions).id].append(stored)
    return {number: tuple(some) for number, some in found.items()}


def _language(tag: str) -> str:
    """``zh-Hans`` and ``zh-Hant`` are one language here."""
    return tag.lower().partition("-")[0]
