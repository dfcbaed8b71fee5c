"""Finds out which places of a city the areas of a warning mean, and says what was not understood.

Pure. Reads administrative codes and names; an area that only draws lines (polygons, circles) means every
place of the city whose own shape it meets, as far as the city's files say where that lies. Such shapes
are rough, so this errs on telling more. Called by ``feeds.intake.prepare`` and the desk's own alerts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feeds.catalogue.vocabulary import City, Place
from feeds.catalogue.words import one_form
from feeds.kernel.geometry import Disc, Polygon, Shape, is_usable, meets_any

CAUSE = "cap:area"
# Names of code lists that hold Chinese administrative codes; others (UGC, SAME, FIPS6 …) place nothing here.
_ADMINISTRATIVE = re.compile(
    r"行政区划|区划代码|区划编码|gb\s*[/-]?\s*t?\s*[-_]?\s*2260|adcode|xzqh", re.IGNORECASE
)
_CHINESE_CODE = re.compile(r"\d{6}(?:\d{3}){0,2}")
_HAN = re.compile(r"[\u3400-\u9fff]")
_LISTS = re.compile(r"[、，,；;/|\n]|以及|\s+and\s+|(?<=[区县市镇乡])[和与及]")
_INSIDE = re.compile(r"[(（]([^()（）]*)[)）]")
_WHOLE = frozenset(
    {"全市", "本市", "全市范围", "全市各区", "全市大部", "本市各区", "全域", "citywide", "whole city"}
)
_TAIL = re.compile(r"(?:等地区?|等区域?|等|境内|全境|全域|全区|辖区|地区|一带)$")
# Who is left out, not who is meant: too easily read the wrong way round.
_EXCEPT = re.compile(r"除.*外|except", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Concerned:
    """Whom the areas of a warning concern.

    Attributes:
        codes: Places of the city, in the order they were named; a place inside another one of them stays
            beside it. The city's own code where it is the whole city.
        citywide: Whether the whole city (or what contains it) is meant.
        elsewhere: Names and codes of places that do not lie in this city.
        unknown: Names that were not understood; an editor should look.
        guessed: True where no area was understood and the source's own place stands in.
    """

    codes: tuple[str, ...] = ()
    citywide: bool = False
    elsewhere: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    guessed: bool = False


def places_of(
    areas: Sequence[Mapping[str, Any]], city: City, *, source_place: str | None = None
) -> Concerned:
    """Say which places of ``city`` the areas of a warning mean.

    Administrative codes decide. Names do where an area has no code, or where its code means the whole city
    and every name in it is understood: senders often give the code of their own region there. An alias that
    means a place only beside another name of the city (金山, 宝山) counts beside another one that was
    understood, and where the source belongs to the city.

    Args:
        areas: As in ``extra["cap"]["areas"]``: ``desc`` and ``geocodes`` are read.
        city: Whose places they may be.
        source_place: Code of the place that the source is about; stands in where nothing was understood.

    Returns:
        Places, and what was not understood. Without areas the source's place stands in too.
    """
    ours = source_place in city.places if source_place else False
    named = [list(_names(str(area.get("desc") or ""))) for area in areas]
    sure = any(
        place is not None and not _is_careful(name, place) and _in_city(place, city)
        for names in named
        for name in names
        for place in (city.resolve_place(name),)
    )
    found = _Found(city)
    for area, names in zip(areas, named, strict=True):
        by_name = _Found(city)
        for name in names:
            by_name.name(name, trusted=ours or sure)
        by_code = _Found(city)
        for code in _codes(area.get("geocodes") or {}):
            by_code.code(code)
        narrower = by_code.whole and by_name.codes and not by_name.whole and not by_name.unknown
        said = by_name if narrower or not (by_code.codes or by_code.elsewhere) else by_code
        found.add(said if said.codes or said.elsewhere else _drawn(area, said, city))
    return _concerned(found, city, source_place if ours else None)


def drawn_places(shapes: Sequence[Shape], city: City) -> tuple[str, ...]:
    """Codes of the places inside the city whose shape meets one of some shapes, in the order of its files.

    Where every district is met, or the city is but no part of it that is known, the whole city is meant.
    """
    usable = [shape for shape in shapes if is_usable(shape)]
    met = [code for code, shape in city.shapes.items() if meets_any(shape, usable)]
    parts = [code for code in met if code != city.place and city.place in city.ancestors(code)]
    districts = {
        code
        for code, place in city.places.items()
        if place.kind == "district" and city.place in city.ancestors(code)
    }
    if (districts and districts <= set(parts)) or (not parts and city.place in met):
        return (city.place,)
    return tuple(parts)


def shapes_of(area: Mapping[str, Any]) -> tuple[Shape, ...]:
    """The polygons and circles of an area as kept in ``extra["cap"]["areas"]``; broken ones fall out."""
    found: list[Shape] = []
    for ring in area.get("polygons") or ():
        found.append(Polygon(tuple((float(lat), float(lon)) for lat, lon in ring)))
    for lat, lon, km in area.get("circles") or ():
        found.append(Disc((float(lat), float(lon)), float(km)))
    return tuple(shape for shape in found if is_usable(shape))


def _drawn(area: Mapping[str, Any], said: _Found, city: City) -> _Found:
    """What an area means by its lines alone; as it was said where they place nothing either."""
    shapes = shapes_of(area) if city.shapes else ()
    codes = drawn_places(shapes, city)
    if not codes:
        if shapes and city.place in city.shapes and not said.unknown:
            said.elsewhere.append("polygon")  # drawn wholly outside the city
        return said
    found = _Found(city)
    found.codes += codes
    return found


def _concerned(found: _Found, city: City, source_place: str | None) -> Concerned:
    elsewhere, unknown = tuple(dict.fromkeys(found.elsewhere)), tuple(dict.fromkeys(found.unknown))
    codes = tuple(dict.fromkeys(found.codes))
    if codes:
        whole = found.whole
        return Concerned((city.place,) if whole else codes, whole, elsewhere, unknown)
    if source_place and not (elsewhere and not unknown):
        return Concerned((source_place,), _holds(source_place, city), elsewhere, unknown, guessed=True)
    return Concerned((), False, elsewhere, unknown)


class _Found:
    """Places met while areas are read."""

    def __init__(self, city: City) -> None:
        self._city = city
        self.codes: list[str] = []
        self.elsewhere: list[str] = []
        self.unknown: list[str] = []

    @property
    def whole(self) -> bool:
        return any(_holds(code, self._city) for code in self.codes)

    def add(self, other: _Found) -> None:
        self.codes += other.codes
        self.elsewhere += other.elsewhere
        self.unknown += other.unknown

    def name(self, name: str, *, trusted: bool) -> None:
        """Take one name; ``trusted`` where careful aliases may count."""
        if one_form(name) in _WHOLE:
            (self.codes if trusted else self.unknown).append(self._city.place if trusted else name)
            return
        place = self._city.resolve_place(name)
        if place is None or (_is_careful(name, place) and not trusted):
            self.unknown.append(name)
        elif place.kind == "elsewhere":
            self.elsewhere.append(name)
        else:
            self.codes.append(place.code)

    def code(self, code: str) -> None:
        """Take one administrative code."""
        place = _place_of_code(code, self._city)
        (self.elsewhere if place is None else self.codes).append(code if place is None else place)


def _names(desc: str) -> Iterator[str]:
    """Single names of a description: 崇明、浦东新区（临港新片区）等地 → 崇明, 浦东新区, 临港新片区."""
    if _EXCEPT.search(desc):
        yield desc.strip()
        return
    inner = _INSIDE.findall(desc)
    for part in (part for text in (_INSIDE.sub(" ", desc), *inner) for part in _LISTS.split(text)):
        words = part.split() if _HAN.search(part) else [part.strip()]
        for word in words:
            bare = word.strip("。.:： ")
            if short := (bare if bare in _WHOLE else _TAIL.sub("", bare)):
                yield short


def _codes(geocodes: Mapping[str, Any]) -> Iterator[str]:
    for name, values in geocodes.items():
        if _ADMINISTRATIVE.search(name):
            for value in values if isinstance(values, (list, tuple)) else [values]:
                yield from (one for one in re.split(r"[\s,;|，；、]+", str(value)) if one)


def _place_of_code(code: str, city: City) -> str | None:
    """The place of the city that a code means, or the next one around it; ``None`` outside the city."""
    if code in city.places:
        return code
    if not _CHINESE_CODE.fullmatch(code):
        return None
    shapes = [code[:12], code[:9], code[:6], code[:4] + "00", code[:2] + "0000"]
    known = next((shape for shape in shapes if shape in city.places), None)
    if known is not None:
        return known
    # A province, or the whole country, around a city whose own code begins like it.
    bare = code[:6].rstrip("0")
    bare += "0" * (len(bare) % 2)
    contains = code[6:].strip("0") == "" and len(bare) <= 2 and city.place.startswith(bare)
    return city.place if contains and _CHINESE_CODE.fullmatch(city.place) else None


def _is_careful(name: str, place: Place) -> bool:
    return one_form(name) in {one_form(alias) for alias in place.careful}


def _in_city(place: Place, city: City) -> bool:
    return place.code == city.place or city.place in city.ancestors(place.code)


def _holds(code: str, city: City) -> bool:
    return code == city.place or code in city.ancestors(city.place)
