"""CAP 1.2 as we write it: element order, values, times; what could not be valid is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from delivery.cap import CapAlert, CapArea, CapInfo, cap_xml, instant, reference
from feeds.intake.parsers.cap import parse_cap
from tests.capschema import check

SHANGHAI = timezone(timedelta(hours=8))
SENT = datetime(2026, 9, 26, 21, 50, tzinfo=SHANGHAI)
INFO = CapInfo(
    language="zh-CN", event="台风", categories=("Met", "Safety"), urgency="Expected", severity="Severe",
    certainty="Likely", sender_name="示例市气象台", headline="台风 <橙色> & 预警", description="大风\n大雨",
    instruction="请勿外出", responses=("Shelter",), effective=SENT, expires=SENT + timedelta(hours=24),
    web="https://shili.example/notices/1", contact="0000-5550-0121",
    areas=(
        CapArea("澜港区", polygons=(((30.1, 121.1), (30.1, 121.3), (30.3, 121.3)),),
                circles=((30.2, 121.2, 5.0),),
                geocodes=(("行政区划代码", "sl02"),)),
    ),
)  # fmt: skip
ALERT = CapAlert("SL-1", "cap@shili.example", SENT, "Actual", "Alert", (INFO,))


@pytest.mark.parametrize(
    "alert",
    [
        ALERT,
        replace(
            ALERT, msg_type="Update", references=(reference("cap@shili.example", "SL-0", SENT),), note="更新"
        ),
        replace(
            ALERT, msg_type="Cancel", infos=(), references=(reference("cap@shili.example", "SL-0", SENT),)
        ),
        replace(ALERT, status="Test", source="示例", incidents=("TY-1",)),
        replace(
            ALERT, infos=(INFO, replace(INFO, language="en", event="Typhoon", areas=(CapArea("Langang"),)))
        ),
    ],
)
def test_what_is_written_is_cap(alert: CapAlert) -> None:
    assert check(cap_xml(alert)) == []


def test_our_own_reader_finds_everything_again() -> None:
    parsed = parse_cap(cap_xml(ALERT), {}, "x", zone=ZoneInfo("Asia/Shanghai"))
    [entry] = parsed.entries
    cap = entry.fields["cap"]
    assert (cap["identifier"], cap["sender"], cap["sent"]) == (
        "SL-1",
        "cap@shili.example",
        "2026-09-26T13:50:00Z",
    )
    assert (cap["event"], cap["severity"], cap["areas"][0]["desc"]) == ("台风", "Severe", "澜港区")
    assert cap["areas"][0]["polygons"][0][0] == cap["areas"][0]["polygons"][0][-1] == [30.1, 121.1]
    assert entry.fields["title"] == "台风 <橙色> & 预警"


@pytest.mark.parametrize(
    "alert",
    [
        replace(ALERT, identifier="SL 1"),
        replace(ALERT, sender="a,b"),
        replace(ALERT, status="Real"),
        replace(ALERT, msg_type="Warning"),
        replace(ALERT, infos=(replace(INFO, severity="Bad"),)),
        replace(ALERT, infos=(replace(INFO, categories=()),)),
        replace(ALERT, infos=(replace(INFO, categories=("Weather",)),)),
        replace(ALERT, infos=(replace(INFO, areas=(CapArea(""),)),)),
        replace(ALERT, infos=(replace(INFO, areas=(CapArea("x", polygons=(((1.0, 2.0), (1.0, 3.0)),)),)),)),
    ],
)
def test_what_could_not_be_valid_is_not_written(alert: CapAlert) -> None:
    with pytest.raises(ValueError, match=r"\."):
        cap_xml(alert)


def test_times_have_an_offset_and_never_a_z() -> None:
    assert instant(SENT) == "2026-09-26T21:50:00+08:00"
    assert instant(SENT.astimezone(UTC)) == "2026-09-26T13:50:00-00:00"
    assert instant(SENT.replace(microsecond=7)) == "2026-09-26T21:50:00+08:00"


def test_the_checker_can_see() -> None:
    good = cap_xml(ALERT).decode()
    for old, new in (
        ("<status>Actual</status>", "<status>Live</status>"),
        ("+08:00</sent>", "Z</sent>"),
        (" <scope>Public</scope>\n", ""),
        ("<areaDesc>澜港区</areaDesc>", ""),
        (
            " <identifier>SL-1</identifier>\n <sender>cap@shili.example</sender>",
            " <sender>x</sender>\n <identifier>SL-1</identifier>",
        ),
        ("30.1,121.1</polygon>", "30.3,121.3</polygon>"),
    ):
        assert old in good
        assert check(good.replace(old, new).encode()) != []
