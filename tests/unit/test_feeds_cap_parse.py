"""Warnings as they really come: 33 real files, invented Chinese ones, refusals one by one, attacks."""

from __future__ import annotations

import http.server
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from feeds.intake.parsers.cap import is_linked, parse_cap
from feeds.intake.parsers.cap_info import circle_of, polygon_of
from feeds.intake.parsers.xml_tree import read_xml
from feeds.intake.types import Parsed, RawEntry
from feeds.kernel.errors import BadInputError

OWN = Path(__file__).resolve().parent.parent / "data" / "cap"
URL = "https://cap.shili.example/latest.xml"
NS = "urn:oasis:names:tc:emergency:cap:1.2"

# File → format, (language, priority) of each entry, addresses to follow, problems (``!`` left something out).
GOLDEN: dict[str, tuple[str, list[tuple[str, str]], int, list[str]]] = {
    # an entry around one message
    "amber.atom": ("Atom with CAP", [("en-US", "emergency")], 0, []),
    # only links to the message
    "amber.rss": ("RSS with CAP", [], 1, []),
    # two info blocks of one language are one notice
    "australia.cap": ("CAP 1.2", [("en-AU", "normal")], 0, []),
    # the third message has required elements missing; the six others land
    "bushfire_invalid.edxlde": (
        "EDXL-DE with CAP 1.2",
        [("en-AU", "normal"), ("en-AU", "normal")] + [("en-AU", "mandatory")] * 4,
        0,
        ["!missing-element", "unknown-value"],
    ),
    "bushfire_valid.edxlde": (
        "EDXL-DE with CAP 1.2",
        [("en-AU", "normal")] + [("en-AU", "mandatory")] * 6,
        0,
        [],
    ),
    # two languages, an all-clear
    "canada.cap": ("CAP 1.2", [("en-CA", "normal"), ("fr-CA", "normal")], 0, []),
    # an update that names no message starts a chain of its own
    "canada_errors.cap": ("CAP 1.2", [("en-CA", "normal")], 0, ["no-references"]),
    # CAP 1.2 inside an index made for 1.1; the signature is ignored
    "canada_signed.atom": ("Atom with CAP", [("en-CA", "mandatory"), ("fr-CA", "mandatory")], 0, []),
    "canada_signed.cap": ("CAP 1.2", [("en-CA", "mandatory"), ("fr-CA", "mandatory")], 0, []),
    # ISO-8859-1
    "earthquake-iso8859-1.cap": ("CAP 1.2", [("en", "normal")], 0, []),
    # the message inside wins over the link beside it
    "earthquake.atom": ("Atom with CAP", [("en", "normal")], 0, []),
    "earthquake.cap": ("CAP 1.1", [("en", "normal")], 0, []),
    "earthquake_index.atom": ("Atom with CAP", [], 1, []),
    "earthquake_signed.cap": ("CAP 1.1", [("en", "normal")], 0, []),
    "empty_weather_index.atom": ("Atom with CAP", [], 0, []),
    # no scope: nobody can say that it is for the public
    "invalid.cap": ("CAP 1.2", [], 0, ["!missing-element"]),
    "invalid.rss": ("RSS with CAP", [], 0, ["!no-link"]),
    "invalid_element.atom": ("Atom with CAP", [], 0, ["!no-link"]),
    # a message beside the entries belongs to nobody
    "no_entries.atom": ("Atom with CAP", [], 0, []),
    "no_id.atom": ("Atom with CAP", [], 0, ["!no-link"]),
    # without a link the id is the address
    "no_link.atom": ("Atom with CAP", [], 1, []),
    "no_optional_fields.cap": ("CAP 1.1", [], 0, ["!no-info"]),
    "no_title.atom": ("Atom with CAP", [], 1, []),
    # empty levels count as unknown, a broken polygon is left out, the warning lands
    "noaa_errors.cap": ("CAP 1.1", [("en", "normal")], 0, ["unknown-value"] * 3 + ["bad-polygon"]),
    "ny_index.rss": ("RSS with CAP", [], 2, []),
    "thunderstorm.cap": ("CAP 1.2", [("en", "emergency")], 0, []),
    "wcatwc-warning.cap": ("CAP 1.2", [("en", "emergency")], 0, []),
    "weather.atom": ("Atom with CAP", [("en", "mandatory")], 0, []),
    "weather.cap": ("CAP 1.1", [("en", "mandatory")], 0, []),
    "weather_index.atom": ("Atom with CAP", [], 2, []),
    # an identifier that no other message can name
    "weather_invalid.atom": ("Atom with CAP", [("en", "mandatory")], 0, ["bad-identifier"]),
    # DOCTYPE
    "xee.atom": ("refused", [], 0, []),
    "xee.cap": ("refused", [], 0, []),
}


def alert(info: str = "", head: str = "", **changes: str) -> bytes:
    values = {
        "identifier": "m-1",
        "sender": "cap@shili.example",
        "sent": "2026-09-26T21:50:00+08:00",
        "status": "Actual",
        "msgType": "Alert",
        "scope": "Public",
    } | changes
    elements = "".join(f"<{name}>{text}</{name}>" for name, text in values.items() if text)
    return f'<alert xmlns="{NS}">{elements}{head}{info}</alert>'.encode()


def info(**changes: str) -> str:
    values = {
        "language": "zh-CN",
        "category": "Met",
        "event": "台风",
        "urgency": "Expected",
        "severity": "Severe",
        "certainty": "Likely",
        "headline": "台风橙色预警",
    } | changes
    return f"<info>{''.join(f'<{name}>{text}</{name}>' for name, text in values.items() if text)}</info>"


def parse(body: bytes) -> Parsed:
    return parse_cap(body, {}, URL)


def one(body: bytes) -> RawEntry:
    [entry] = parse(body).entries
    return entry


def cap(entry: RawEntry) -> dict[str, Any]:
    facts = entry.fields["cap"]
    assert isinstance(facts, dict)
    return facts


def test_every_real_file_has_an_expected_outcome(real_data: Path) -> None:
    assert {path.name for path in (real_data / "cap").iterdir()} == set(GOLDEN)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden(name: str, real_data: Path) -> None:
    form, entries, linked, problems = GOLDEN[name]
    body = (real_data / "cap" / name).read_bytes()
    if form == "refused":
        with pytest.raises(BadInputError, match="document type"):
            parse(body)
        return
    parsed = parse(body)
    warnings = [entry for entry in parsed.entries if not is_linked(entry)]
    assert parsed.format == form
    assert [(entry.fields["lang"], entry.fields["priority"]) for entry in warnings] == entries
    assert len(parsed.entries) - len(warnings) == linked
    assert ["!" * odd.dropped + odd.problem for odd in parsed.oddities] == problems
    assert all(entry.fields["cap_url"].startswith("http") for entry in parsed.entries if is_linked(entry))
    assert all(entry.fields["title"] and entry.fields["type"] == "warning" for entry in warnings)


def test_real_details(real_data: Path) -> None:
    english, french = parse((real_data / "cap" / "canada.cap").read_bytes()).entries
    assert english.guid == "cap@ec.gc.ca,2.49.0.1.124.6bddbc91.2012,2012-05-02T23:21:04Z"
    assert (french.guid, french.fields["lang_of"]) == (f"{english.guid}#fr-ca", english.guid)
    assert french.fields["title"] == "veille d'orages violents"
    facts = cap(english)
    assert facts["references"] == [
        "cap@ec.gc.ca,2.49.0.1.124.a3f342a4.2012,2012-05-02T21:45:05Z",
        "cap@ec.gc.ca,2.49.0.1.124.60f31a3a.2012,2012-05-02T21:55:21Z",
    ]
    assert (facts["msg_type"], facts["response"], facts["severity"]) == ("Update", ["AllClear"], "Minor")
    area = facts["areas"][0]
    assert area["desc"] == "Windsor - Leamington - Essex County"
    assert area["polygons"][0][0] == area["polygons"][0][-1] == [42.3481, -82.9314]
    assert area["geocodes"]["profile:CAP-CP:Location:0.3"][:2] == ["3537001", "3537003"]
    tsunami = one((real_data / "cap" / "wcatwc-warning.cap").read_bytes())
    assert [item["type"] for item in tsunami.fields["attachments"]][:1] == ["image/jpeg"]
    quake = one((real_data / "cap" / "earthquake.atom").read_bytes())
    assert cap(quake)["areas"][0]["circles"] == [[32.9525, -115.5527, 0.0]]
    fires = parse((real_data / "cap" / "australia.cap").read_bytes()).entries[0]
    assert len(cap(fires)["areas"]) == 2
    assert fires.fields["body"].count("<h2>") == 2  # each block under its own headline


def test_a_chinese_warning_whole() -> None:
    chinese, english = parse((OWN / "typhoon-1-orange.cap").read_bytes()).entries
    fields = chinese.fields
    assert fields["title"] == "【示例】示例市气象台发布台风橙色预警"
    assert (fields["lang"], fields["priority"], fields["agency"]) == ("zh-CN", "emergency", "示例市气象台")
    assert (fields["published"], fields["expires"]) == (
        "2026-09-26T21:50:00+08:00",
        "2026-09-27T21:50:00+08:00",
    )
    assert (fields["tags"], fields["phone"]) == (["台风", "Met"], "0000-5550-0121")
    assert fields["url"] == "https://qixiang.shili.example/yujing"
    assert fields["summary"].startswith(
        "受台风“示例一号”影响，未来12小时沿海各区将有10级大风和大暴雨。 请关好门窗"
    )
    body = fields["body"]
    assert "<h3>防御指南</h3>\n<p>请关好门窗，远离江边和临时构筑物。<br>非必要不外出。</p>" in body
    assert "<ul><li>澜港区</li><li>柘渡、樟原、望汐</li></ul>" in body
    assert "严重程度：严重（橙色）；紧迫程度：尽快应对（一小时内）；可能性：很可能发生。" in body
    assert "What to do" in english.fields["body"]
    assert english.fields["lang_of"] == chinese.guid
    facts = cap(chinese)
    assert facts["id"] == "cap@qixiang.shili.example,SL-2026-09-26-0001,2026-09-26T13:50:00Z"
    assert (facts["incidents"], facts["colour"], facts["sent"]) == (
        ["TY-2026-07"],
        "橙",
        "2026-09-26T13:50:00Z",
    )
    assert facts["areas"][0]["geocodes"] == {"行政区划代码": ["sl02"]}


def test_gbk_bytes_colours_for_severities_and_no_headline() -> None:
    parsed = parse((OWN / "rain-red.gbk.cap").read_bytes())
    [entry] = parsed.entries
    assert parsed.oddities == ()
    assert entry.fields["title"] == "暴雨红色预警：汀阳区、示例市柘渡区"
    assert (cap(entry)["severity"], entry.fields["priority"]) == ("Extreme", "emergency")
    assert "lang" not in entry.fields  # the source's own language counts, not the standard's en-US
    assert entry.fields["phone"] == "0000-5550-0121"
    assert cap(entry)["contact"].startswith("示例市气象台值班室")


def test_utf16_and_a_wrong_label() -> None:
    text = alert(info()).decode()
    assert one(b"\xff\xfe" + text.encode("utf-16-le")).fields["title"] == "台风橙色预警"
    parsed = parse(b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode("gb18030"))
    assert parsed.entries[0].fields["title"] == "台风橙色预警"
    assert [odd.problem for odd in parsed.oddities] == ["wrong-encoding"]


def test_a_cancel_takes_back_every_message_it_names() -> None:
    parsed = parse((OWN / "typhoon-3-cancel.cap").read_bytes())
    assert parsed.entries == ()
    assert [item.guid for item in parsed.deleted] == [
        "cap@qixiang.shili.example,SL-2026-09-26-0001,2026-09-26T13:50:00Z",
        "cap@qixiang.shili.example,SL-2026-09-26-0002,2026-09-26T15:10:00Z",
    ]
    assert {item.reason for item in parsed.deleted} == {"台风“示例一号”已减弱远离，解除台风红色预警。"}
    assert {item.at.isoformat() for item in parsed.deleted if item.at} == {"2026-09-26T22:30:00+00:00"}


@pytest.mark.parametrize(
    ("problem", "body"),
    [
        ("not-actual", alert(info(), status="Exercise")),
        ("not-actual", alert(info(), status="Test")),
        ("not-actual", alert(info(), status="System")),
        ("not-actual", alert(info(), status="Draft")),
        ("not-actual", alert(head="<references>a,b,2026-09-26T21:50:00+08:00</references>",
                             status="Test", msgType="Cancel")),
        ("not-public", alert(info(), scope="Restricted")),
        ("not-public", alert(info(), scope="Private")),
        ("not-a-warning", alert(info(), msgType="Ack")),
        ("not-a-warning", alert(info(), msgType="Error")),
        ("expires-before-sent", alert(info(expires="2026-09-26T21:49:59+08:00"))),
        ("missing-element", alert(info(), identifier="")),
        ("missing-element", alert(info(), sender="")),
        ("missing-element", alert(info(), sent="")),
        ("missing-element", alert(info(), status="")),
        ("missing-element", alert(info(), msgType="")),
        ("missing-element", alert(info(event="", headline=""))),
        ("bad-date", alert(info(), sent="26 hours ago")),
        ("bad-date", alert(info(), sent="2026-09-26")),
        ("no-references", alert(msgType="Cancel")),
        ("no-info", alert()),
        ("unknown-version", alert(info()).replace(b"cap:1.2", b"cap:9.9")),
    ],
)  # fmt: skip
def test_refused_and_the_others_of_the_document_go_on(problem: str, body: bytes) -> None:
    good = alert(info(), identifier="good")
    wrapped = (
        b'<EDXLDistribution xmlns="urn:oasis:names:tc:emergency:EDXL:DE:1.0">'
        b"<distributionStatus>Actual</distributionStatus>" + body + good + b"</EDXLDistribution>"
    )
    parsed = parse(wrapped)
    assert [cap(entry)["identifier"] for entry in parsed.entries] == ["good"]
    assert [(odd.line, odd.problem, odd.dropped) for odd in parsed.oddities] == [(1, problem, True)]
    assert parsed.deleted == ()
    assert parsed.oddities[0].message.endswith((".", "out", "published."))


def test_an_exercise_reaches_nobody() -> None:
    parsed = parse((OWN / "exercise.cap").read_bytes())
    assert (parsed.entries, [odd.problem for odd in parsed.oddities]) == ((), ["not-actual"])
    wrapped = (
        b'<EDXLDistribution xmlns="urn:oasis:names:tc:emergency:EDXL:DE:1.0">'
        b"<distributionStatus>Exercise</distributionStatus>" + alert(info()) + b"</EDXLDistribution>"
    )
    assert parse(wrapped).entries == ()


@pytest.mark.parametrize(
    ("problem", "body"),
    [
        ("no-offset", alert(info(), sent="2026-09-26T21:50:00")),
        ("bad-identifier", alert(info(), identifier="m 1")),
        ("unknown-value", alert(info(severity="Terrible"))),
        ("bad-date", alert(info(expires="soon"))),
        ("bad-reference", alert(info(), msgType="Update", head="<references>m-0</references>")),
        ("no-references", alert(info(), msgType="Update")),
        ("no-namespace", alert(info()).replace(f' xmlns="{NS}"'.encode(), b"")),
        ("bad-polygon", alert(info(area="<areaDesc>a</areaDesc><polygon>1,2 3</polygon>"))),
        ("bad-circle", alert(info(area="<areaDesc>a</areaDesc><circle>91,0 5</circle>"))),
        ("control-characters", alert(info(description="a\x0bb"))),
    ],
)
def test_odd_but_kept(problem: str, body: bytes) -> None:
    parsed = parse(body)
    assert len(parsed.entries) == 1
    assert [(odd.problem, odd.dropped) for odd in parsed.oddities] == [(problem, False)]


def test_one_language_of_two_ends_before_it_was_sent() -> None:
    parsed = parse(alert(info(expires="2026-09-25T00:00:00+08:00") + info(language="en", headline="Typhoon")))
    assert [entry.fields["title"] for entry in parsed.entries] == ["Typhoon"]
    assert "lang_of" not in parsed.entries[0].fields


def test_blocks_of_one_language_are_one_notice_led_by_the_most_severe() -> None:
    entry = one(
        alert(
            info(headline="黄色预警", severity="Moderate", expires="2026-09-27T08:00:00+08:00",
                 area="<areaDesc>汀阳</areaDesc>")
            + info(headline="红色预警", severity="Extreme", expires="2026-09-27T06:00:00+08:00",
                   area="<areaDesc>澜港</areaDesc>")
        )
    )  # fmt: skip
    assert entry.fields["title"] == "红色预警"
    assert entry.fields["expires"] == "2026-09-27T08:00:00+08:00"
    assert [area["desc"] for area in cap(entry)["areas"]] == ["汀阳", "澜港"]
    assert entry.fields["body"].index("黄色预警") < entry.fields["body"].index("红色预警")


def test_escaped_messages_in_a_feed() -> None:
    escaped = alert(info()).decode().replace("&", "&amp;").replace("<", "&lt;")
    feed = (
        '<rss version="2.0"><channel><title>预警</title><ttl>5</ttl><item><title>t</title>'
        f"<link>/1.html</link><description>{escaped}</description></item>"
        "<item><title>n</title><description>&lt;alert broken</description></item></channel></rss>"
    )
    parsed = parse(feed.encode())
    assert (parsed.ttl_s, parsed.title, len(parsed.entries)) == (300, "预警", 1)
    assert parsed.entries[0].fields["url"] == "https://cap.shili.example/1.html"
    assert [(odd.line, odd.problem) for odd in parsed.oddities] == [(2, "broken-xml")]


def test_html_in_a_description_is_kept_for_the_cleaner_and_plain_text_is_escaped() -> None:
    assert "a<br />b" in one(alert(info(description="a&lt;br /&gt;b"))).fields["body"]
    assert "5 &lt; 6" in one(alert(info(description="5 &lt; 6"))).fields["body"]
    hostile = one(alert(info(area="<areaDesc>&lt;script&gt;x&lt;/script&gt;</areaDesc>"))).fields["body"]
    assert "<script" not in hostile


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("1,2 3,4 5,6 1,2", 4),
        ("1,2 3,4 5,6", 4),  # an open ring is closed
        ("1,2 3,4", 0),
        ("1,2 3,4 5,6, 1,2", 0),
        ("121.5,31.2 121.6,31.2 121.6,31.3 121.5,31.2", 0),  # longitude first
        ("nan,1 2,2 3,3 nan,1", 0),
        ("", 0),
    ],
)
def test_polygons(text: str, points: int) -> None:
    assert len(polygon_of(text) or ()) == points


def test_circles() -> None:
    assert circle_of("31.2,121.5 10") == [31.2, 121.5, 10.0]
    assert [circle_of(text) for text in ("31.2,121.5", "31.2 10", "1,1 -3", "1,1 nan", "")] == [None] * 5


# -- attacks -----------------------------------------------------------------------------------------


class _Trap:
    """A loopback server and a pipe that would block whoever opens it; if all is well nobody comes."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.fifo = folder / "secret"
        os.mkfifo(self.fifo)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self) -> str:
        web = f"http://127.0.0.1:{self.server.server_port}"
        return (
            f'<!DOCTYPE alert PUBLIC "-//A/B/EN" "{web}/a.dtd" [<!ENTITY % remote SYSTEM "{web}/b">'
            f'<!ENTITY x SYSTEM "file://{self.fifo}">%remote;]>'
        )


@pytest.fixture
def trap(tmp_path: Path) -> Any:
    made = _Trap(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def _opened_nothing(trap: _Trap, body: bytes) -> None:
    """Opening the pipe would block for ever, and asking the server would leave a trace."""
    done = threading.Event()
    refused: list[BadInputError] = []

    def read() -> None:
        try:
            parse(body)
        except BadInputError as error:
            refused.append(error)
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(5)
    assert trap.asked == []
    with pytest.raises(OSError, match="No such device"):  # nobody reads from the pipe
        os.open(trap.fifo, os.O_WRONLY | os.O_NONBLOCK)
    [error] = refused
    assert str(error).endswith("was not read.")


def test_entities_open_no_file_and_no_socket(trap: _Trap) -> None:
    text = alert(info(description="&x;")).decode()
    _opened_nothing(trap, (trap.document() + text).encode())
    _opened_nothing(trap, b"\xff\xfe" + (trap.document() + text).encode("utf-16-le"))


def test_xinclude_is_refused(trap: _Trap) -> None:
    web = f"http://127.0.0.1:{trap.server.server_port}/x"
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{web}"/>'
    _opened_nothing(trap, alert(info() + include))


@pytest.mark.parametrize("name", ["xee.atom", "xee.cap"])
def test_the_real_attacks_open_nothing(name: str, real_data: Path, trap: _Trap) -> None:
    _opened_nothing(trap, (real_data / "cap" / name).read_bytes())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<a>" * 150 + b"</a>" * 150, "inside each other"),
        (b"<a>" + b"<b/>" * 200_001 + b"</a>", "in all"),
        (b" " * 8_000_001, "more than 8000000"),
        (b"", "not XML"),
        (b"<alert", "not XML"),
        (b"<html><body/></html>", "no CAP warning"),
        (b"<alert xmlns='urn:other'/>", "not CAP"),
        (b"<!DOCTYPE alert [<!ENTITY a 'x'>]><alert/>", "document type"),
        (b"<alert>&nbsp;</alert>", "not XML"),
    ],
)
def test_unreadable(body: bytes, says: str) -> None:
    with pytest.raises(BadInputError, match=says) as caught:
        parse(body)
    assert "\n" not in str(caught.value)


def test_a_doctype_inside_a_text_is_only_text() -> None:
    entry = one(alert(info(description="<![CDATA[<!DOCTYPE html><p>x</p>]]>")))
    assert "<p>x</p>" in entry.fields["body"]


def test_the_tree_keeps_text_and_order() -> None:
    root, odd = read_xml("<a xmlns='u'><b> x </b><c/><b>y</b><d xmlns='v'>z</d>t</a>", URL)
    assert ([one.text for one in root.all("b")], root.say("b"), root.say("d"), root.text, odd) == (
        [" x ", "y"],
        "x",
        "",
        "t",
        [],
    )
    assert [one.name for one in root.walk()] == ["a", "b", "c", "b", "d"]
