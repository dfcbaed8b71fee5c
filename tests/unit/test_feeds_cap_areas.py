"""Which places of a city the areas of a warning mean: codes, names, false friends, what is not understood."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feeds.catalogue.city_files import load_city
from feeds.catalogue.vocabulary import City
from feeds.intake.cap_areas import Concerned, places_of


@pytest.fixture(scope="module")
def shanghai() -> City:
    return load_city("shanghai")


@pytest.fixture(scope="module")
def shili() -> City:
    return load_city("shili")


def areas(*descs: str, **codes: Any) -> list[dict[str, Any]]:
    names = {"admin": "行政区划代码", "gb": "GB/T 2260", "same": "SAME", "ugc": "UGC", "fips": "FIPS6"}
    return [{"desc": desc, "geocodes": {names[key]: value for key, value in codes.items()}} for desc in descs]


@pytest.mark.parametrize(
    ("desc", "codes"),
    [
        ("崇明、浦东、奉贤、金山", ("310151", "310115", "310120", "310116")),
        ("崇明区和宝山区", ("310151", "310113")),
        ("崇明 浦东", ("310151", "310115")),
        ("上海市崇明区，浦东新区等地", ("310151", "310115")),
        ("浦东新区（临港新片区）", ("310115", "sh-lingang")),
        ("Chongming District; Jinshan District and Baoshan District", ("310151", "310116", "310113")),
        ("闸北", ("310106",)),  # what it was called before
        ("虹口区曲阳路街道", ("310109010",)),
    ],
)
def test_names(shanghai: City, desc: str, codes: tuple[str, ...]) -> None:
    found = places_of(areas(desc), shanghai)
    assert (found.codes, found.unknown, found.guessed) == (codes, (), False)
    assert not found.citywide


@pytest.mark.parametrize("desc", ["全市", "本市", "上海市", "上海", "全市范围"])
def test_the_whole_city(shanghai: City, desc: str) -> None:
    found = places_of(areas(desc), shanghai, source_place="310000")
    assert (found.codes, found.citywide, found.guessed) == (("310000",), True, False)


@pytest.mark.parametrize(
    ("values", "codes", "elsewhere"),
    [
        (["310151"], ("310151",), ()),
        (["310151000000"], ("310151",), ()),
        (["310101013000"], ("310101013",), ()),
        (["310101013001"], ("310101013",), ()),  # a village or neighbourhood inside
        (["310151", "310115 310120,310116"], ("310151", "310115", "310120", "310116"), ()),
        (["310230"], ("310000",), ()),  # a code that no longer exists, but of this city
        (["310000"], ("310000",), ()),
        (["000000"], ("310000",), ()),  # the whole country
        (["320500"], (), ("320500",)),
        (["300000"], (), ("300000",)),
        (["31015", "abc"], (), ("31015", "abc")),
    ],
)
def test_codes(shanghai: City, values: list[str], codes: tuple[str, ...], elsewhere: tuple[str, ...]) -> None:
    found = places_of(areas("", admin=values), shanghai)
    assert (found.codes, found.elsewhere, found.unknown) == (codes, elsewhere, ())
    assert places_of(areas("", gb=values), shanghai) == found
    assert found.citywide == (codes == ("310000",))


def test_codes_beat_names_unless_they_only_mean_the_sender(shanghai: City) -> None:
    assert places_of(areas("长江口沿线", admin=["310151"]), shanghai).codes == ("310151",)
    assert places_of(areas("崇明、宝山", admin=["310000"]), shanghai).codes == ("310151", "310113")
    assert places_of(areas("崇明、沿江地带", admin=["310000"]), shanghai).citywide


def test_other_code_lists_place_nothing_here(shanghai: City) -> None:
    found = places_of(areas("New York", same=["310151"], ugc=["NYZ072"], fips=["310151"]), shanghai)
    assert found == Concerned(unknown=("New York",))


def test_a_name_that_other_cities_have_too_needs_the_city_beside(shanghai: City) -> None:
    assert places_of(areas("金山"), shanghai) == Concerned(unknown=("金山",))
    assert places_of(areas("金山"), shanghai, source_place="310000").codes == ("310116",)
    assert places_of(areas("金山", "崇明"), shanghai).codes == ("310116", "310151")
    assert places_of(areas("金山区"), shanghai).codes == ("310116",)
    assert places_of(areas("舟山普陀"), shanghai).codes == ()


@pytest.mark.parametrize("desc", ["长江口区海面", "除崇明外全市", "北部地区", "", "黄浦江沿线"])
def test_what_is_not_understood_concerns_the_source_s_place(shanghai: City, desc: str) -> None:
    found = places_of(areas(desc), shanghai, source_place="310000")
    assert (found.codes, found.citywide, found.guessed) == (("310000",), True, True)
    assert bool(found.unknown) == bool(desc)
    district = places_of(areas(desc), shanghai, source_place="310151")
    assert (district.codes, district.citywide) == (("310151",), False)
    assert places_of(areas(desc), shanghai).codes == ()


def test_partly_understood_does_not_grow_to_the_whole_city(shanghai: City) -> None:
    found = places_of(areas("崇明、长江口区海面"), shanghai, source_place="310000")
    assert (found.codes, found.unknown, found.guessed) == (("310151",), ("长江口区海面",), False)


def test_elsewhere_is_not_the_source_s_place(shanghai: City) -> None:
    found = places_of(areas("", admin=["320500"]), shanghai, source_place="310000")
    assert (found.codes, found.elsewhere) == ((), ("320500",))


def test_no_areas_at_all(shanghai: City) -> None:
    assert places_of([], shanghai, source_place="310000").citywide
    assert places_of([], shanghai) == Concerned()
    assert places_of([], shanghai, source_place="nowhere") == Concerned()


def test_the_sample_city(shili: City) -> None:
    found = places_of(
        [*areas("澜港区", admin=["sl02"]), *areas("柘渡、樟原、望汐")], shili, source_place="sl"
    )
    assert found.codes == ("sl02", "sl03", "sl04", "sl06")
    english = "Langang District; Zhedu District; Zhangyuan District; Wangxi District"
    assert places_of(areas(english), shili).codes == found.codes
    assert places_of(areas("盐渚县"), shili).codes == ("sl05",)
    assert places_of(areas("科学城"), shili).unknown == ("科学城",)
    assert places_of(areas("科学城、樟原"), shili).codes == ("slz2", "sl04")


def test_lines_mean_the_places_they_meet(shili: City) -> None:
    triangle = {"desc": "", "polygons": [[[30.15, 121.2], [30.15, 121.25], [30.2, 121.2], [30.15, 121.2]]]}
    assert places_of([triangle], shili) == Concerned(("sl02",))
    ring = {"desc": "沿海一线", "circles": [[30.18, 121.5, 0.5]]}
    assert places_of([ring], shili) == Concerned(("sl06", "slz4"))  # a name that says nothing, lines that do
    across = {"desc": "", "polygons": [[[29, 120], [29, 123], [32, 123], [32, 120]]]}
    assert places_of([across], shili) == Concerned(("sl",), citywide=True)
    far = {"desc": "", "circles": [[45.0, 100.0, 10.0]]}
    assert places_of([far], shili, source_place="sl").codes == ()  # and the source's place does not stand in


def test_names_and_codes_go_before_lines(shili: City) -> None:
    area = {"desc": "禾渚区", "polygons": [[[30.15, 121.2], [30.15, 121.25], [30.2, 121.2]]]}
    assert places_of([area], shili).codes == ("sl05",)


def test_lines_place_nothing_in_a_city_that_does_not_say_where_it_lies(shili: City) -> None:
    area = {"desc": "", "polygons": [[[30.15, 121.2], [30.15, 121.25], [30.2, 121.2]]]}
    assert places_of([area], replace(shili, shapes={})) == Concerned()
