"""The sample city's files: every rule a reader, a demo or an editor relies on, checked on the files alone."""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import re
import tomllib
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import feeds.cities.shili

FOLDER = Path(feeds.cities.shili.__file__).parent
COMMON = FOLDER.parent / "common"
FIELDS = {
    "id", "source", "lang", "title", "body", "published", "agency", "doc_type", "doc_no", "tags", "region",
    "status", "url", "theme", "type", "roles",
}  # fmt: skip
OPTIONAL = {
    "deadline", "effective", "expires", "phone", "title_en", "priority", "jurisdiction", "links",
    "life_events", "lang_of",
}  # fmt: skip
ROLES = {"citizen", "investor", "tourist", "enterprise", "aid"}
TYPES = {
    "news", "regulation", "interpretation", "consultation", "rumour", "recruitment", "procurement",
    "publicity", "warning", "subsidy", "service", "event", "approval",
}  # fmt: skip
LIFE_EVENTS = {
    "graduation", "birth", "marriage", "schooling", "housing", "moving", "starting_business",
    "closing_business", "retirement", "illness", "disability", "bereavement", "unemployment", "travel",
    "driving",
}  # fmt: skip
LINK_KINDS = {"interprets", "corrects", "repeals", "reprints"}
FIRST, LAST = date(2026, 7, 20), date(2026, 10, 12)
OFF = {date(2026, 9, 25) + timedelta(days=n) for n in range(3)} | {date(2026, 10, n) for n in range(1, 8)}
WORKED = {date(2026, 9, 20), date(2026, 10, 10)}
ALIKE = 0.85


def read(name: str) -> str:
    return FOLDER.joinpath(name).read_text(encoding="utf-8")


def rows(name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    with folder.joinpath(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(name).splitlines()]


NOTICES = lines("notices.jsonl")
BY_ID = {notice["id"]: notice for notice in NOTICES}
PLACES = {row["code"]: row for row in rows("places.csv")}
BY_NAME = {row["zh"]: row["code"] for row in PLACES.values()}


def day(text: str) -> date:
    return date.fromisoformat(text[:10])


def is_working(when: date) -> bool:
    return when in WORKED or (when.weekday() < 5 and when not in OFF)


def district(notice: dict[str, Any]) -> str:
    """The code of the district of a notice's zone, street or district; the city's code for the rest."""
    region = "sl" if notice["region"] == "市级" else BY_NAME[notice["region"]]
    code: str = notice.get("jurisdiction", region)
    while PLACES[code]["kind"] not in ("city", "district"):
        code = PLACES[code]["parent"]
    return code


def having(**wanted: str) -> list[dict[str, Any]]:
    return [n for n in NOTICES if all(n.get(key) == value for key, value in wanted.items())]


def test_files_are_utf8_with_unix_line_ends() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix in {".csv", ".toml", ".jsonl", ".txt", ".py"}:
            data = path.read_bytes()
            data.decode("utf-8")
            assert b"\r" not in data, path.name
            assert not data.startswith(b"\xef\xbb\xbf"), path.name
            assert data.endswith(b"\n"), path.name


def test_city_names_itself_and_is_marked() -> None:
    city = tomllib.loads(read("city.toml"))
    assert city["slug"] == "shili"
    assert (city["base"], city["place"], city["timezone"]) == ("common", "sl", "Asia/Shanghai")
    assert city["authority"] == "shili.example"
    assert (city["sample_mark"], city["sms_signature"]) == ("【示例】", "示例市公告")
    assert city["calendar"] == ["cn"]
    assert city["name"] == {"zh": "示例市", "en": "Shili (sample city)"}


def test_places_form_a_city_of_six_districts() -> None:
    kinds = Counter(row["kind"] for row in PLACES.values())
    assert (kinds["city"], kinds["district"], kinds["zone"]) == (1, 6, 4)
    assert len(PLACES) == len(rows("places.csv")) == len(BY_NAME)
    for code, row in PLACES.items():
        assert row["parent"] in PLACES or (code == "sl" and row["parent"] == "cn")
    streets = Counter(row["parent"] for row in PLACES.values() if row["kind"] == "street")
    assert set(streets) == {f"sl0{number}" for number in range(1, 7)}
    assert set(streets.values()) <= {4, 5}
    assert sum(bool(row["former"]) for row in PLACES.values() if row["kind"] == "district") >= 2


def test_agencies_belong_to_known_places() -> None:
    agencies = rows("agencies.csv")
    assert len(agencies) >= 30
    assert len({row["slug"] for row in agencies}) == len({row["zh"] for row in agencies}) == len(agencies)
    for row in agencies:
        assert row["place"] in PLACES
        assert row["zh"].startswith("示例")
        assert row["en"]


def test_decoys_hold_a_place_name_but_are_none() -> None:
    decoys = [line.partition("#")[0].strip() for line in read("decoys.txt").splitlines()]
    decoys = [decoy for decoy in decoys if decoy]
    names = {name for row in PLACES.values() for name in (row["zh"], *row["aliases"].split("|")) if name}
    stems = {re.sub("(街道|区|市|镇)$", "", name.rstrip("?")) for name in names}
    assert len(decoys) >= 15
    assert len(set(decoys)) == len(decoys)
    for decoy in decoys:
        assert decoy not in names
        assert any(stem in decoy for stem in stems), decoy
    said = "\n".join(notice["title"] + notice["body"] for notice in NOTICES)
    assert sum(decoy in said for decoy in decoys) >= 5, "the notices must try the decoys"


def test_rules_have_ids_tags_and_word_lists() -> None:
    rules = tomllib.loads(read("rules/shili.toml"))["rule"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"id", "tag", "title", "text", "also", "unless", "upstream", "doc_type", "agency"}
        assert re.fullmatch(r"(theme|role|type|life|place):\w+", rule["tag"])
        assert any(rule.get(key) for key in ("title", "text", "upstream", "doc_type", "agency"))


def test_notices_are_many_and_have_their_fields() -> None:
    assert len(NOTICES) >= 170
    assert [notice["id"] for notice in NOTICES] == [f"sl-{n:04d}" for n in range(1, len(NOTICES) + 1)]
    for notice in NOTICES:
        assert set(notice) >= FIELDS, notice["id"]
        assert set(notice) <= FIELDS | OPTIONAL, notice["id"]
        assert notice["url"] == f"https://shili.example/notices/{notice['id']}"
        assert notice["status"] in {"有效", "失效", ""}
        assert notice["type"] in TYPES
        assert notice["source"]
        assert notice["doc_type"]
        assert notice["tags"]
        assert set(notice["roles"]) <= ROLES
        assert len(set(notice["roles"])) == len(notice["roles"]) <= 3
        assert set(notice.get("life_events", ())) <= LIFE_EVENTS
    assert {notice["type"] for notice in NOTICES} == TYPES
    assert having(status="失效")


def test_languages_and_marks() -> None:
    languages = Counter(notice["lang"] for notice in NOTICES)
    assert set(languages) == {"zh-Hans", "en"}
    assert languages["zh-Hans"] >= 140
    assert languages["en"] >= 15
    for notice in NOTICES:
        mark = "【示例】" if notice["lang"] == "zh-Hans" else "[SAMPLE] "
        assert notice["title"].startswith(mark), notice["id"]
        assert len(notice["title"]) > len(mark) + 5
        assert notice.get("title_en", mark + "[SAMPLE] ").startswith(("[SAMPLE] ", mark))
    versions = [notice for notice in NOTICES if "lang_of" in notice]
    assert len(versions) >= 8
    for notice in versions:
        original = BY_ID[notice["lang_of"]]
        assert (notice["lang"], original["lang"]) == ("en", "zh-Hans")
        assert notice["published"][:10] >= original["published"][:10]
        assert notice.get("deadline") == original.get("deadline")
        assert notice.get("jurisdiction") == original.get("jurisdiction")


def test_agencies_places_and_themes_are_known() -> None:
    agencies = {row["zh"] for row in rows("agencies.csv")}
    themes = {row["code"] for row in rows("themes.csv", COMMON)}
    for notice in NOTICES:
        assert notice["agency"] in agencies, notice["id"]
        assert notice["region"] == "市级" or notice["region"] in BY_NAME, notice["id"]
        assert notice.get("jurisdiction", "sl") in PLACES
        assert notice["theme"] in themes


def test_every_role_theme_and_district_is_covered() -> None:
    roles = Counter(role for notice in NOTICES for role in notice["roles"])
    assert all(roles[role] >= 22 for role in ROLES), roles
    themes = {notice["theme"][:2] for notice in NOTICES}
    assert themes == {f"{number:02d}" for number in range(1, 23)}
    districts = Counter(map(district, NOTICES))
    assert all(districts[f"sl0{number}"] >= 8 for number in range(1, 7)), districts
    regions = {notice["region"] for notice in NOTICES} - {"市级"}
    assert sum(PLACES[BY_NAME[region]]["kind"] == "street" for region in regions) >= 15
    assert {n["jurisdiction"] for n in NOTICES if "jurisdiction" in n} == {"slz1", "slz2", "slz3", "slz4"}


def test_dates_lie_in_the_season_and_most_are_recent() -> None:
    for notice in NOTICES:
        published = notice["published"]
        assert FIRST <= day(published) <= LAST, notice["id"]
        if "T" in published:
            assert published.endswith("+08:00")
            assert datetime.fromisoformat(published) <= datetime.fromisoformat("2026-10-12T17:30:00+08:00")
        for key in ("effective", "expires"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\d", notice.get(key, "2026-01-01")), notice["id"]
        if "deadline" in notice:
            assert day(notice["deadline"]) >= day(published), notice["id"]
            assert "T" not in notice["deadline"] or notice["deadline"].endswith("+08:00")
        if "expires" in notice:
            assert day(notice["expires"]) >= day(published), notice["id"]
    assert sum(day(notice["published"]) >= date(2026, 10, 6) for notice in NOTICES) >= 75
    assert sum("deadline" in notice for notice in NOTICES) >= 25


def test_offices_do_not_publish_on_days_off() -> None:
    for notice in NOTICES:
        if not is_working(day(notice["published"])):
            assert notice["type"] == "warning" or "tourist" in notice["roles"], notice["id"]
    assert any(day(notice["published"]) == date(2026, 10, 10) for notice in NOTICES)


def test_weekdays_in_the_text_are_right() -> None:
    dated = re.compile(r"(\d{1,2})月(\d{1,2})日（星期([一二三四五六日])")
    for notice in NOTICES:
        for month, number, name in dated.findall(notice["body"]):
            when = date(2026, int(month), int(number))
            assert "一二三四五六日"[when.weekday()] == name, (notice["id"], month, number)


def test_bodies_are_full_and_no_two_are_alike() -> None:
    for notice in NOTICES:
        assert len(notice["body"]) >= 60, notice["id"]
        assert notice["body"] == notice["body"].strip()
    assert len({notice["title"] for notice in NOTICES}) == len(NOTICES)
    for a, b in suspects(6, 0.25):
        ratio = difflib.SequenceMatcher(None, a["body"], b["body"], autojunk=False).ratio()
        assert ratio <= ALIKE, (a["id"], b["id"], ratio)


def suspects(length: int, share: float) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of notices whose bodies share more than ``share`` of the shorter one's ``length``-grams."""
    grams = [{n["body"][i : i + length] for i in range(len(n["body"]) - length + 1)} for n in NOTICES]
    holders: dict[str, list[int]] = {}
    for number, found in enumerate(grams):
        for gram in found:
            holders.setdefault(gram, []).append(number)
    common = Counter(pair for held in holders.values() for pair in itertools.combinations(held, 2))
    return [
        (NOTICES[a], NOTICES[b])
        for (a, b), count in common.items()
        if count > share * min(len(grams[a]), len(grams[b]))
    ]


def test_document_numbers_are_unique_and_rise_with_the_date() -> None:
    series: dict[str, list[tuple[int, date]]] = {}
    for notice in NOTICES:
        if notice["doc_no"]:
            match = re.fullmatch(r"(示\w+)〔2026〕(\d+)号", notice["doc_no"])
            assert match, notice["doc_no"]
            series.setdefault(match[1], []).append((int(match[2]), day(notice["published"])))
    assert sum(map(len, series.values())) >= 40
    for prefix, issued in series.items():
        issued.sort()
        for (number, when), (following, later) in itertools.pairwise(issued):
            assert number < following, prefix
            assert when <= later, prefix


def test_phones_are_invented() -> None:
    dialled = re.compile(r"\d{3,4}-\d{4}-\d{4}|\b1\d{10}\b|\b0\d{2,3}-\d{7,8}\b|\b400-?\d{3}-?\d{4}\b")
    for notice in NOTICES:
        for phone in dialled.findall(notice["body"] + notice.get("phone", "")):
            assert phone.startswith("0000-5550-"), (notice["id"], phone)
    assert sum("phone" in notice for notice in NOTICES) >= len(NOTICES) * 0.8


def test_mails_and_addresses_are_invented() -> None:
    for notice in NOTICES:
        for mail in re.findall(r"[\w.]+@([\w.]+\w)", notice["body"]):
            assert mail == "shili.example", notice["id"]
        for host in re.findall(r"https?://([^/\s]+)", notice["body"]):
            assert host == "shili.example", notice["id"]


def test_links_point_to_notices() -> None:
    kinds = set()
    for notice in NOTICES:
        for link in notice.get("links", ()):
            assert set(link) == {"kind", "to"}
            assert link["kind"] in LINK_KINDS
            assert link["to"] in BY_ID
            assert link["to"] != notice["id"]
            kinds.add(link["kind"])
    assert kinds == LINK_KINDS
    explained = [BY_ID[n["links"][0]["to"]] for n in having(type="interpretation") if "links" in n]
    assert any(notice["type"] == "regulation" for notice in explained)


def test_priorities() -> None:
    urgent = having(priority="emergency")
    assert len(urgent) == 1
    assert urgent[0]["type"] == "warning"
    assert "台风" in urgent[0]["title"]
    assert "红色预警" in urgent[0]["title"]
    assert 2 <= len(having(priority="mandatory")) <= 3
    assert {notice.get("priority", "emergency") for notice in NOTICES} == {"emergency", "mandatory"}


def test_consultations_close_and_a_rumour_is_denied() -> None:
    consultations = having(type="consultation")
    assert len(consultations) >= 2
    assert all("deadline" in notice for notice in consultations)
    assert having(type="rumour", doc_type="辟谣")


def test_a_public_display_ends_after_seven_working_days() -> None:
    displays = [
        n
        for n in NOTICES
        if n["type"] in {"publicity", "approval"}
        and re.search("公示期?[^。]{0,8}7个工作日|共7个工作日", n["body"])
    ]
    seven = 0
    for notice in displays:
        day_of, last = day(notice["published"]), day(notice["expires"])
        days = [day_of + timedelta(days=n) for n in range((last - day_of).days + 1)]
        seven += sum(map(is_working, days[1:])) == 7
        assert sum(map(is_working, days)) >= 7, notice["id"]
    assert seven >= 5
    assert any(day(notice["expires"]) > LAST for notice in displays)
    assert any(day(notice["expires"]) < LAST for notice in displays), "one has already ended"


@pytest.mark.parametrize(
    ("region", "words", "published", "deadline"),
    [
        ("荷塘埭街道", "65岁以上老年人免费体检", "2026-10-08T15:00", "2026-10-23"),
        ("樟原区", "高新技术企业认定奖励申报", "2026-10-09T09:05", "2026-10-30T17:00:00+08:00"),
        ("市级", "负面清单", "2026-10-12T11:00", "2026-11-11"),
        ("鼓汀街道", "鼓汀门站今晚限流", "2026-10-01T17:40", None),
        ("市级", "第四季度临时救助", "2026-10-12", None),
        ("石埠渡镇", "10月10日9:00—17:00停水", "2026-10-08", None),
        ("市级", "高校毕业生就业补贴", "2026-09-28", "2026-11-30"),
        ("市级", "育儿补贴", "2026-10-08", None),
        ("市级", "义务教育", "2026-08-03", "2026-08-14"),
        ("市级", "重度残疾人护理补贴", "2026-09-14", "2026-10-31"),
        ("市级", "召回", "2026-10-10", None),
        ("市级", "公积金额度", "2026-10-10", None),
        ("市级", "系伪造", "2026-10-12", None),
    ],
)
def test_the_notices_of_the_stories_are_there(
    region: str, words: str, published: str, deadline: str | None
) -> None:
    found = [n for n in having(region=region) if words in n["title"] and n["published"].startswith(published)]
    assert len(found) == 1
    assert found[0].get("deadline") == deadline


def test_events_follow_their_notices() -> None:
    events = lines("events.jsonl")
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    for event in events:
        at = datetime.fromisoformat(event["at"])
        assert event["at"].endswith("+08:00")
        published = BY_ID[event["id"]]["published"]
        assert at > datetime.fromisoformat(published if "T" in published else published + "T00:00:00+08:00")
        assert is_working(at.date())
    kinds = Counter((event["event"], event.get("major")) for event in events)
    assert kinds == {("correct", True): 1, ("correct", False): 1, ("withdraw", None): 1}
    assert all(event["reason"] for event in events if event["event"] == "withdraw")


def test_the_water_price_is_corrected_then_a_typo_is_fixed() -> None:
    major, minor = (event for event in lines("events.jsonl") if event["event"] == "correct")
    notice = BY_ID[major["id"]]
    assert minor["id"] == major["id"]
    assert notice["published"] == "2026-10-09T09:00:00+08:00"
    assert (major["at"], minor["at"]) == ("2026-10-09T10:20:00+08:00", "2026-10-09T11:00:00+08:00")
    assert major["fields"]["title"] == notice["title"].replace("3.45", "3.54")
    assert major["fields"]["body"] == notice["body"].replace("3.45", "3.54") != notice["body"]
    old, new = major["fields"]["body"], minor["fields"]["body"]
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


def test_five_residents_one_a_role() -> None:
    residents = tomllib.loads(read("residents.toml"))["resident"]
    assert {resident["slug"] for resident in residents} == ROLES
    themes = {row["code"] for row in rows("themes.csv", COMMON)}
    known = {"theme": themes, "life": LIFE_EVENTS, "role": ROLES}
    assert len(residents) == len({resident["phone"] for resident in residents}) == 5
    for resident in residents:
        assert resident["slug"] == resident["roles"][0]
        assert resident["name_zh"].startswith("【示例】")
        assert set(resident["roles"]) <= ROLES
        assert resident["lang"] == resident["langs"][0]
        assert resident["email"].endswith("@shili.example")
        assert resident["phone"].startswith("+861380000000")
        assert 2 <= resident["pace"] <= 10
        assert all(place["code"] in PLACES and place["label"] for place in resident["places"])
        for tag in resident["interests"] + resident["mutes"]:
            kind, _, code = tag.partition(":")
            assert code in known[kind], tag
        assert not set(resident["interests"]) & set(resident["mutes"])
    assert next(r for r in residents if r["slug"] == "investor")["langs"] == ["en", "zh-Hans"]
