"""Who may have which warnings passed on at once; how the table, ready words and shapes of a city are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from feeds.catalogue.alert_templates import fill
from feeds.catalogue.city_files import load_city
from feeds.catalogue.issuers import IssuerRule, Verdict, authorised
from feeds.catalogue.vocabulary import CityError

TABLE = (
    IssuerRule(
        "w",
        "气象台",
        "Observatory",
        ("sender:cap@w.example", "agency:weather"),
        ("台风", "Typhoon"),
        "Extreme",
    ),
    IssuerRule("a", "水务", "Water", ("source:water",), ("*",), "Severe"),
    IssuerRule("o", "本单位", "Office", ("office",), ("停水",), "Moderate"),
)


@pytest.mark.parametrize(
    ("names", "event", "severity", "expected"),
    [
        (("sender:cap@w.example",), "台风橙色预警", "Severe", Verdict(True, "rule", "w")),
        (("sender:CAP@w.example",), "TYPHOON", "Extreme", Verdict(True, "rule", "w")),
        (("sender:x", "agency:weather"), "Typhoon", "Minor", Verdict(True, "rule", "w")),
        (("sender:cap@w.example",), "地震", "Severe", Verdict(False, "event")),
        (("sender:x@w.example",), "台风", "Severe", Verdict(False, "issuer")),
        (("source:water",), "洪水", "Severe", Verdict(True, "rule", "a")),
        (("source:water",), "洪水", "Extreme", Verdict(False, "severity")),
        (
            ("source:water",),
            "洪水",
            "Huge",
            Verdict(False, "severity"),
        ),  # an unknown word counts as the strongest
        (("source:water",), "洪水", "Unknown", Verdict(True, "rule", "a")),
        (("office",), "突发停水", "Moderate", Verdict(True, "rule", "o")),
        (("office",), "突发停水", "Severe", Verdict(False, "severity")),
    ],
)
def test_the_table(names: tuple[str, ...], event: str, severity: str, expected: Verdict) -> None:
    assert authorised(TABLE, names, event, severity) == expected


def test_a_city_without_a_table_trusts_as_before() -> None:
    assert authorised((), ("sender:x",), "x", "Extreme") == Verdict(True, "no-table")


def test_ready_words() -> None:
    assert (
        fill("{place}停水，电话{phone}。{detail}", {"place": "澜港区", "phone": "110"})
        == "澜港区停水，电话110。"
    )
    assert fill("Since {time}.  {detail}\n{detail}", {"time": "21:50"}) == "Since 21:50."


@pytest.mark.parametrize("name", ["shili", "shanghai"])
def test_the_cities_that_ship(name: str) -> None:
    city = load_city(name)
    districts = {code for code, place in city.places.items() if place.kind == "district"}
    assert districts <= set(city.shapes) and city.place in city.shapes
    assert any("office" in row.who for row in city.issuers)
    assert {"water-outage", "gas-leak", "other"} <= set(city.alert_templates)
    assert authorised(city.issuers, ("agency:nobody",), "台风", "Severe").allowed is False


def city_with(folder: Path, **files: str) -> Path:
    (folder / "city.toml").write_text(
        'slug="t"\nbase="common"\nplace="t1"\ntimezone="Asia/Shanghai"\nauthority="t.example"\n'
        '[name]\nzh="某市"\nen="Some"\n', encoding="utf-8",
    )  # fmt: skip
    (folder / "places.csv").write_text(
        "code,kind,parent,zh,en,aliases,former\nt1,city,cn,某市,Some,,\n", "utf-8"
    )
    (folder / "agencies.csv").write_text("slug,zh,en,place,aliases\n", "utf-8")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, "utf-8")
    return folder


ISSUERS = "rule,zh,en,who,events,most\n"
SHAPES = "place,shape,points,km,approximate,source\n"
READY = (
    '[[template]]\nid="x"\ncategory="Fire"\nseverity="Severe"\nurgency="Immediate"\ncertainty="Observed"\nhours=2\n'
    'event={zh="火",en="Fire"}\ntitle={zh="火",en="Fire"}\nbody={zh="火",en="Fire"}\ninstruction={zh="走",en="Go"}\n'
)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"issuers__csv": ISSUERS + "a,甲,A,somebody,*,Severe\n"}, "line 2, who: 'somebody'"),
        ({"issuers__csv": ISSUERS + "a,甲,A,sender:,*,Severe\n"}, "line 2, who: 'sender:'"),
        ({"issuers__csv": ISSUERS + "a,甲,A,office,,Severe\n"}, "line 2, events: is empty"),
        ({"issuers__csv": ISSUERS + "a,甲,A,office,*,Bad\n"}, "line 2, most: 'Bad'"),
        ({"shapes__csv": SHAPES + "t9,point,\"30,121\",,1,x\n"}, "line 2, place: 't9'"),
        ({"shapes__csv": SHAPES + "t1,star,\"30,121\",,1,x\n"}, "line 2, shape: 'star'"),
        ({"shapes__csv": SHAPES + "t1,box,\"30,121\",,1,x\n"}, "line 2, points: a box has 2"),
        ({"shapes__csv": SHAPES + "t1,box,\"31,122 30,121\",,1,x\n"}, "line 2, points: a box is"),
        ({"shapes__csv": SHAPES + "t1,circle,\"30,121\",far,1,x\n"}, "line 2, km: 'far'"),
        ({"shapes__csv": SHAPES + "t1,point,\"300,121\",,1,x\n"}, "line 2, points: lie outside"),
        ({"shapes__csv": SHAPES + "t1,point,\"30;121\",,1,x\n"}, "is not latitude,longitude"),
        ({"shapes__csv": SHAPES + "t1,point,\"30,121\",,1,\n"}, "line 2, source: is empty"),
        ({"alert_templates__toml": READY.replace('"Fire"\nsev', '"Weather"\nsev')}, "category: 'Weather'"),
        ({"alert_templates__toml": READY.replace("hours=2", "hours=0")}, "template 'x', hours"),
        ({"alert_templates__toml": READY.replace('zh="走"', 'zh="去{wo}"')}, "there is no slot {wo}"),
        ({"alert_templates__toml": READY + "colour=1\n"}, "colour: unknown field"),
    ],
)  # fmt: skip
def test_a_defect_is_named(tmp_path: Path, files: dict[str, str], said: str) -> None:
    assert load_city(city_with(tmp_path)).issuers == ()
    with pytest.raises(CityError) as caught:
        load_city(city_with(tmp_path, **files))
    assert said in str(caught.value)
