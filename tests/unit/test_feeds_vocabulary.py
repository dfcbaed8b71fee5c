"""A city's files: what they give, and the sentence that each defect earns."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from feeds.catalogue.city_files import load_city
from feeds.catalogue.vocabulary import City, CityError, Label

DATA = Path(os.environ.get("MYCITY_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))

HEAD = """slug = "tiny"
base = "common"
place = "t"
timezone = "Asia/Shanghai"
authority = "tiny.example"
sample_mark = "【示例】"
calendar = ["cn"]
[name]
zh = "小城"
en = "Tiny"
"""
PLACES = """code,kind,parent,zh,en,aliases,former
t,city,cn,小城市,Tiny City,小城,
t1,district,t,柳溪区,Liuxi District,柳溪?,旧溪县
t2,street,t1,桥头街道,Qiaotou Subdistrict,,
"""
AGENCIES = """slug,zh,en,place,aliases
water,小城市水务局,Tiny Water Authority,t,市水务局
"""
RULES = """[[rule]]
id = "theme.0503.tiny"
tag = "theme:0503"
title = ["山泉"]
"""


@pytest.fixture(scope="module")
def shanghai() -> City:
    return load_city("shanghai")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sound city, to be spoilt in one spot by a test."""
    place = tmp_path / "tiny"
    (place / "rules").mkdir(parents=True)
    files = (
        ("city.toml", HEAD),
        ("places.csv", PLACES),
        ("agencies.csv", AGENCIES),
        ("rules/own.toml", RULES),
    )
    for name, text in files:
        (place / name).write_text(text, encoding="utf-8")
    return place


def test_a_folder_city_builds_on_the_common_files(folder: Path) -> None:
    city = load_city(folder)
    assert (city.slug, city.sample_mark) == ("tiny", "【示例】")
    assert (city.name.of("zh-CN"), city.name.of("fr")) == ("小城", "Tiny")
    assert city.themes["0402"].parent == "04"
    assert set(city.roles) >= {"citizen", "investor", "tourist", "enterprise", "aid"}
    assert "cn-state-council" in city.agencies
    assert city.rules[-1].id == "theme.0503.tiny"
    assert load_city(str(folder)) == city


def test_own_rows_replace_common_ones_by_code(folder: Path) -> None:
    (folder / "roles.csv").write_text("code,zh,en,sensitive\ncitizen,住民,Dweller,0\n", encoding="utf-8")
    assert load_city(folder).roles["citizen"].label == Label("住民", "Dweller")


def test_careful_aliases_are_kept_apart(folder: Path) -> None:
    place = load_city(folder).places["t1"]
    assert (place.aliases, place.careful, place.former) == ((), ("柳溪",), ("旧溪县",))


DEFECTS = [
    ("city.toml", HEAD.replace('slug = "tiny"', "slug = "), r"tiny/city\.toml: not valid TOML.*line 1"),
    ("city.toml", HEAD.replace('place = "t"', ""), r"tiny/city\.toml, place: must be given as text"),
    (
        "city.toml",
        HEAD.replace('place = "t"', 'place = "x"'),
        r"tiny/city\.toml, place: 'x' is not in places\.csv",
    ),
    ("city.toml", HEAD.replace('en = "Tiny"', ""), r"tiny/city\.toml, \[name\]: needs zh and en"),
    ("city.toml", HEAD.replace('"common"', '"nowhere"'), r'city\.toml, base: there is no "nowhere"'),
    ("city.toml", HEAD.replace('["cn"]', '["mars"]'), r"calendar: there is no calendars/mars\.toml"),
    (
        "places.csv",
        PLACES.replace("t2,street,t1", "t2,street,t9"),
        r"places\.csv line 4, parent: 't9' is not a place",
    ),
    (
        "places.csv",
        PLACES.replace("t1,district,t,", "t1,district,t2,"),
        r"line 3, parent: 't1' would contain itself",
    ),
    ("places.csv", PLACES.replace("t2,street,t1", "t2,street,"), r"line 4, parent: a street needs one"),
    ("places.csv", PLACES.replace("t2,street", "t2,galaxy"), r"line 4, kind: 'galaxy' is not one of country"),
    ("places.csv", PLACES.replace("t2,", "t1,"), r"places\.csv line 4, code: 't1' already stands in line 3"),
    ("places.csv", PLACES.replace("桥头街道", ""), r"places\.csv line 4, zh: is empty"),
    ("places.csv", PLACES.replace(",former", ""), r"places\.csv line 1, former: the column is missing"),
    ("places.csv", PLACES + "t3,street\n", r"places\.csv line 5: has not as many cells"),
    ("agencies.csv", AGENCIES.replace(",t,", ",q,"), r"agencies\.csv line 2, place: 'q' is not a place"),
    (
        "roles.csv",
        "code,zh,en,sensitive\na,甲,A,yes\n",
        r"roles\.csv line 2, sensitive: 'yes' must be 0 or 1",
    ),
    ("themes.csv", "code,parent,zh,en\n9901,99,甲,A\n", r"themes\.csv line 2, parent: '99' is not a level-1"),
    (
        "rules/own.toml",
        RULES.replace("0503", "0599"),
        r"own\.toml line 1, rule .*, tag: 'theme:0599' is unknown, did",
    ),
    ("rules/own.toml", RULES.replace("title", "titel"), r"rule 'theme\.0503\.tiny', titel: unknown field"),
    ("rules/own.toml", RULES.replace('title = ["山泉"]', ""), r"needs at least one of title, text"),
    ("rules/own.toml", RULES.replace("山泉", "泉"), r"title: '泉' is too short"),
    ("rules/own.toml", RULES.replace('["山泉"]', '"山泉"'), r"title: must be a list of words"),
    (
        "rules/own.toml",
        RULES.replace('id = "theme.0503.tiny"', ""),
        r"own\.toml line 1, id: every rule needs one",
    ),
    ("rules/own.toml", RULES + RULES, r"own\.toml.*, id: already used in"),
    ("rules/own.toml", RULES.replace("[[rule]]", "[rule]"), r"own\.toml: only \[\[rule\]\] tables"),
]


@pytest.mark.parametrize(("file", "text", "sentence"), DEFECTS)
def test_each_defect_has_its_sentence(folder: Path, file: str, text: str, sentence: str) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(CityError, match=sentence) as caught:
        load_city(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[year]]\nyear = 2030\noff = ["2030-13-01"]\n', r"year 2030, off: '2030-13-01' is not a date"),
        ('[[year]]\nyear = 2030\nworked = ["2029-01-01"]\n', r"worked: '2029-01-01' is not within that year"),
    ],
)
def test_a_bad_calendar_is_named(folder: Path, text: str, sentence: str) -> None:
    (folder / "calendars").mkdir()
    (folder / "calendars" / "cn.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CityError, match=sentence):
        load_city(folder)


def test_a_missing_file_and_a_missing_city_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CityError, match="no city 'atlantis'"):
        load_city("atlantis")
    with pytest.raises(CityError, match="no city"):
        load_city(tmp_path / "nothing")
    (folder / "places.csv").write_bytes(b"code,kind,parent,zh,en,aliases,former\n" + b"\xff\xfe")
    with pytest.raises(CityError, match=r"places\.csv: is not UTF-8"):
        load_city(folder)


def test_one_year_of_a_calendar_can_be_asked_for(folder: Path) -> None:
    (folder / "city.toml").write_text(HEAD.replace('["cn"]', '"cn2026"'), encoding="utf-8")
    assert load_city(folder).calendar.years == {2026}


def test_shanghai_has_all_districts_and_streets(shanghai: City) -> None:
    kinds = [place.kind for place in shanghai.places.values()]
    assert kinds.count("district") == 16
    numbered = [p for p in shanghai.places.values() if p.code.isdigit() and len(p.code) == 9]
    assert len(numbered) == 234
    assert all(p.parent == p.code[:6] for p in numbered)


@pytest.mark.skipif(not DATA.is_dir(), reason="no reference data: set MYCITY_TEST_DATA")
def test_official_theme_names_and_street_codes_are_unchanged(shanghai: City) -> None:
    themes = json.loads((DATA / "reference/themes_govcn.json").read_text(encoding="utf-8"))["themes"]
    official = {t["code"]: t["name"] for top in themes for t in (top, *top["children"])}
    assert {code: theme.label.zh for code, theme in shanghai.themes.items()} == official
    streets = json.loads((DATA / "reference/shanghai_streets.json").read_text(encoding="utf-8"))
    assert {s["code"]: s["name"] for s in streets}.items() <= {
        p.code: p.label.zh for p in shanghai.places.values()
    }.items()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("310109", "310109"),
        ("虹口", "310109"),
        ("虹口区", "310109"),
        ("普陀", "310107"),
        ("闸北", "310106"),
        ("卢湾区", "310101"),
        ("南汇", "310115"),
        ("崇明县", "310151"),
        ("上海县", "310112"),
        ("Pudong", "310115"),
        ("曲阳路", "310109010"),
        ("虹口·曲阳路街道", "310109010"),
        ("上海市虹口区曲阳路街道", "310109010"),
        ("浦东张江镇", "310115125"),
        ("临港新片区", "sh-lingang"),
        ("上海", "310000"),
    ],
)
def test_places_are_found_by_what_people_call_them(shanghai: City, name: str, code: str) -> None:
    place = shanghai.resolve_place(name)
    assert place is not None
    assert place.code == code


@pytest.mark.parametrize("name", ["UK", "US", "台湾地区", "舟山普陀区山", "", "虹桥"])
def test_an_unknown_or_ambiguous_name_is_nobody(shanghai: City, name: str) -> None:
    assert shanghai.resolve_place(name) is None


def test_ancestors_go_up_to_the_country(shanghai: City) -> None:
    assert shanghai.ancestors("310109010") == ("310109", "310000", "cn")
    assert shanghai.ancestors("cn") == shanghai.ancestors("nowhere") == ()


def test_labels_sensitivity_and_suggestions(shanghai: City) -> None:
    assert shanghai.label("theme:0402", "zh-Hans") == "税务"
    assert shanghai.label("theme:0402", "en") == "Taxation"
    assert shanghai.label("role:aid", "zh") == "需要帮助的人"
    assert shanghai.label("theme:9999", "en") == "9999"
    assert all(map(shanghai.is_sensitive, ("role:aid", "life:illness", "life:disability", "theme:1802")))
    assert not shanghai.is_sensitive("role:citizen")
    assert not shanghai.is_sensitive("place:310109")
    assert shanghai.known("agency:sh-fgj") and not shanghai.known("theme:9999") and not shanghai.known("what")
    assert shanghai.suggest("role:citizn") == ("role:citizen",)
    assert "theme:0402" in shanghai.suggest("theme:税务局")


@pytest.mark.parametrize("name", ["shanghai", "shili"])
def test_the_shipped_cities_load(name: str) -> None:
    city = load_city(name)
    assert city.places[city.place].kind == "city"
    assert len({rule.id for rule in city.rules}) == len(city.rules) > 100
