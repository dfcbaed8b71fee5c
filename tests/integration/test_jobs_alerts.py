"""Emergencies from release to capture: who is told, once, at night too; updates, the end, a crash.

Story 8 in the sample city's terms: 澜港, 柘渡, 樟原, 望汐 are warned at 21:50, 禾渚 is added at 23:10, all is
over at 06:30; 汀阳 hears of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.jobs import joining
from api.jobs.alerts import catch_up, relay, take_file, tell
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from delivery.types import Delivery, NewDelivery
from feeds.catalogue.notices import NewNotice
from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError, UsageError
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import content, profile

OWN = Path(__file__).resolve().parent.parent / "data" / "cap"
NIGHT = datetime(2026, 9, 26, 13, 50, tzinfo=UTC)  # Saturday 21:50
FOUR = ("sl02", "sl03", "sl04", "sl06")
FIVE = (*FOUR, "sl05")


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    yield build(
        read_settings({}, home=tmp_path, city="shili", mail_from="notices@shili.example"),
        clock=FixedClock(NIGHT - timedelta(days=1)),
        database=database,
        demo=True,
    )


@pytest.fixture
def people(services: Services) -> dict[str, int]:
    """Residents by what they are called here; it is Saturday 21:50 afterwards."""
    number = iter(range(1, 99))

    def join(email: bool = False, sms: bool = False, **wish: Any) -> int:
        n = next(number)
        address = {"email": f"p{n}@shili.example"} if email else {}
        phone = {"phone": f"138000000{n:02}"} if sms else {}
        return joining.join(
            services, profile(**wish), digest_hour=9, verified=True, **address, **phone
        ).profile.id

    made = {
        "lan": join(True, True, places=(FollowedPlace("sl02"),)),
        "zhe": join(False, True, places=(FollowedPlace("sl0301"),), mutes=("type:warning", "word:台风")),
        "zhang": join(places=(FollowedPlace("sl04", "work"),)),  # reads a feed only
        "wang": join(True, places=(FollowedPlace("sl06", "visit"),), langs=("en",)),
        "he": join(True, places=(FollowedPlace("sl05", "parents"),)),
        "ting": join(True, True, places=(FollowedPlace("sl01"),)),
        "city": join(True, places=(FollowedPlace("sl"),)),
        "nowhere": join(True, places=()),
    }
    _clock(services).at = NIGHT
    return made


def _clock(services: Services) -> FixedClock:
    assert isinstance(services.clock, FixedClock)
    return services.clock


def later(services: Services, minutes: int) -> None:
    _clock(services).advance(timedelta(minutes=minutes))


def warning(services: Services, codes: tuple[str, ...] = FOUR, guid: str = "ty", **changes: Any) -> int:
    """Store a warning the way a trusted source's lands."""
    outer = {name: changes.pop(name) for name in ("priority", "state", "archive", "tags") if name in changes}
    places = tuple(Tag("place", code, "cap:area", 1.0) for code in codes)
    words = {"title": "【示例】台风橙色预警", "published": services.clock.now(), "kind": "warning",
             "extra": {"cap": {"id": guid}}} | changes  # fmt: skip
    tags = outer.pop("tags", (*places, Tag("type", "warning", "test", 1.0)))
    item = NewNotice(content(**words), 7, guid, tags, "district" if codes else "unknown",
                     codes[0] if codes else None, **({"priority": "emergency"} | outer))  # fmt: skip
    [made] = services.notices.add([item], at=services.clock.now())
    return made


def revise(
    services: Services, notice_id: int, codes: tuple[str, ...], *, major: bool = True, **changes: Any
) -> None:
    old = services.notices.get(notice_id)
    services.notices.revise(
        notice_id, replace(old.content, **changes), level="district", place=codes[0], major=major,
        tags=[Tag("place", code, "cap:area", 1.0) for code in codes], actor="intake", note="",
        at=services.clock.now(), from_upstream=True,
    )  # fmt: skip


def lift(services: Services, notice_id: int) -> None:
    services.notices.set_state(notice_id, "withdrawn", at=services.clock.now(), reason="已解除")


def alerts(services: Services, people: dict[str, int]) -> dict[str, list[Delivery]]:
    found = {}
    for name, profile_id in people.items():
        rows = [row for row in services.outbox.for_profile(profile_id) if row.lane == "alert"]
        if rows:
            found[name] = rows
    return found


def counts(services: Services, people: dict[str, int]) -> dict[str, int]:
    return {name: len(rows) for name, rows in alerts(services, people).items()}


def texts(services: Services) -> list[str]:
    return [
        path.read_text(encoding="utf-8")
        for path in sorted((services.settings.captured / "sms").glob("*.txt"))
    ]


def test_story_8(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    report = relay(services, [typhoon])
    assert (report.notices, report.editions, dict(report.messages)) == (1, 4, {"email": 2, "sms": 2})
    assert counts(services, people) == {"lan": 2, "zhe": 1, "wang": 1}
    assert send(services).sent == 4  # at 21:50, in the quiet hours, whatever was muted
    assert "台风橙色预警" in texts(services)[0]

    later(services, 5)  # the same again
    again = relay(services, [typhoon])
    assert (again.editions, again.messages.total()) == (0, 0)

    later(services, 75)  # 23:10: red, one district more
    revise(services, typhoon, FIVE, title="【示例】台风红色预警")
    red = relay(services, [typhoon])
    assert dict(red.messages) == {"email": 3, "sms": 2}
    assert counts(services, people) == {"lan": 4, "zhe": 2, "wang": 2, "he": 1}
    assert send(services).sent == 5

    later(services, 440)  # Sunday 06:30
    lift(services, typhoon)
    over = relay(services, [typhoon])
    assert dict(over.messages) == {"email": 3, "sms": 2}
    assert counts(services, people) == {"lan": 6, "zhe": 3, "wang": 3, "he": 2}
    assert send(services).sent == 5
    assert relay(services, [typhoon]).messages.total() == 0


def test_reasons_and_the_ledger(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    [item] = [one for one in services.editions.shelf(people["zhang"]).picks if one.pick.notice_id == typhoon]
    assert item.pick.kind == "mandatory"
    assert [(one.code, one.params) for one in item.pick.reasons] == [
        ("emergency", ()), ("place", ("place:sl04", "work")),
    ]  # fmt: skip
    assert services.editions.picked_since([people["zhang"]], NIGHT) == {}  # takes no slot of the pace
    select_all(services)
    editions = services.editions.between(people["zhang"], NIGHT, NIGHT + timedelta(hours=1))
    assert [one.kind for one in editions if any(p.notice_id == typhoon for p in one.picks)] == ["alert"]
    later(services, 10)
    revise(services, typhoon, FOUR, title="【示例】台风红色预警")
    assert relay(services, [typhoon]).editions == 3  # not for the feed: it shows the change by itself


def test_the_whole_city(services: Services, people: dict[str, int]) -> None:
    assert set(counts(services, people)) == set()
    relay(services, [warning(services, ("sl",))])
    assert set(counts(services, people)) == set(people) - {"zhang"}


def test_a_street_warns_those_who_only_named_their_district(
    services: Services, people: dict[str, int]
) -> None:
    relay(services, [warning(services, ("sl0301",))])
    assert set(counts(services, people)) == {"zhe"}
    relay(services, [warning(services, ("sl0201",), guid="lan")])
    assert set(counts(services, people)) == {"zhe", "lan"}
    relay(services, [warning(services, ("sl0302",), guid="other street")])
    assert counts(services, people) == {"zhe": 1, "lan": 2}


def test_a_place_that_the_text_only_mentions_is_not_warned(
    services: Services, people: dict[str, int]
) -> None:
    tags = (Tag("place", "sl02", "cap:area", 1.0), Tag("place", "sl01", "title", 0.9))
    relay(services, [warning(services, ("sl02",), tags=tags)])
    assert set(counts(services, people)) == {"lan"}


def test_a_desk_s_own_emergency_goes_by_its_jurisdiction(services: Services, people: dict[str, int]) -> None:
    relay(services, [warning(services, ("sl05",), tags=(), extra={}, kind="")])
    assert set(counts(services, people)) == {"he"}


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": "mandatory"},
        {"priority": "normal"},
        {"state": "in_review"},
        {"state": "draft"},
        {"expires": NIGHT - timedelta(minutes=1)},
        {"archive": True, "published": NIGHT - timedelta(days=2)},
    ],
)
def test_what_is_no_alert(services: Services, people: dict[str, int], changes: dict[str, Any]) -> None:
    relay(services, [warning(services, **changes)])
    assert alerts(services, people) == {}


def test_nobody_is_told_where_nobody_knows_the_place(services: Services, people: dict[str, int]) -> None:
    notice = warning(services, (), tags=())
    assert relay(services, [notice]).unplaced == [notice]
    assert alerts(services, people) == {}


def test_a_fresh_warning_in_a_first_answer_is_told(services: Services, people: dict[str, int]) -> None:
    relay(services, [warning(services, archive=True)])
    assert len(alerts(services, people)) == 3


def test_a_minor_change_reaches_nobody(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    send(services)
    later(services, 5)
    revise(services, typhoon, FIVE, major=False, title="【示例】台风橙色预警。")
    assert relay(services, [typhoon]).messages.total() == 1  # only the district that is new to it
    assert counts(services, people) == {"lan": 2, "zhe": 1, "wang": 1, "he": 1}


def test_an_area_that_is_dropped_hears_of_it(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    send(services)
    later(services, 30)
    revise(services, typhoon, ("sl03",), title="【示例】台风橙色预警，范围缩小")
    relay(services, [typhoon])
    assert counts(services, people) == {"lan": 4, "zhe": 2, "wang": 2}


def test_an_all_clear_reaches_those_who_were_told_and_nobody_else(
    services: Services, people: dict[str, int]
) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    send(services)
    later(services, 30)
    revise(services, typhoon, FIVE, title="【示例】台风预警解除")
    with services.database.write() as connection:
        connection.exec_driver_sql("UPDATE notice SET priority = 'normal'")
    relay(services, [typhoon])
    assert counts(services, people) == {"lan": 4, "zhe": 2, "wang": 2}


def test_what_was_not_sent_is_replaced_not_corrected(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    later(services, 1)
    revise(services, typhoon, FIVE, title="【示例】台风红色预警")
    report = relay(services, [typhoon])
    assert (report.replaced, report.messages.total()) == (4, 5)
    assert send(services).sent == 5
    later(services, 1)
    revise(services, typhoon, FIVE, title="【示例】台风红色预警持续")
    relay(services, [typhoon])
    later(services, 1)
    lift(services, typhoon)
    assert relay(services, [typhoon]).replaced == 5
    assert send(services).sent == 5  # the end, to those who got the red one


def test_withdrawn_before_anything_was_sent_nobody_hears_of_it(
    services: Services, people: dict[str, int]
) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    later(services, 1)
    lift(services, typhoon)
    report = relay(services, [typhoon])
    assert (report.replaced, report.messages.total(), report.editions) == (4, 0, 0)
    assert send(services).sent == 0


def test_who_stopped_a_channel_gets_no_more_on_it(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    send(services)
    services.subscriptions.end(people["lan"], "sms", at=services.clock.now(), reason="stopped")
    later(services, 5)
    lift(services, typhoon)
    relay(services, [typhoon])
    assert [row.channel for row in alerts(services, people)["lan"]].count("sms") == 1
    assert [row.channel for row in alerts(services, people)["lan"]].count("email") == 2


def test_who_joins_later_gets_the_update_as_a_first_alert(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    later(services, 5)
    new = joining.join(
        services,
        profile(places=(FollowedPlace("sl02"),)),
        digest_hour=9,
        verified=True,
        email="z@shili.example",
    ).profile.id
    people["new"] = new
    relay(services, [typhoon])  # still the same stage
    assert counts(services, people)["new"] == 1


@pytest.mark.parametrize("dies_in", ["append", "_slice", "_insert"])
def test_killed_in_the_middle_and_run_again(
    services: Services, people: dict[str, int], monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    typhoon = warning(services)
    store: Any = services.editions if dies_in == "append" else services.alert_outbox
    real = getattr(store, dies_in)

    def dies(*args: Any, **named: Any) -> Any:
        if dies_in != "_slice":
            real(*args, **named)  # done, and then the light goes out; an insert is not yet committed
        raise KeyboardInterrupt

    monkeypatch.setattr(store, dies_in, dies)
    with pytest.raises(KeyboardInterrupt):
        relay(services, [typhoon])
    monkeypatch.setattr(store, dies_in, real)
    later(services, 1)
    relay(services, [typhoon])
    assert counts(services, people) == {"lan": 2, "zhe": 1, "wang": 1}
    editions = services.editions.between(people["lan"], NIGHT, NIGHT + timedelta(hours=1))
    assert [one.kind for one in editions].count("alert") == 1
    assert send(services).sent == 4


def test_what_landed_before_a_crash_is_caught_up_with(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    later(services, 3)
    assert catch_up(services).messages.total() == 4
    assert catch_up(services).messages.total() == 0
    send(services)
    lift(services, typhoon)
    later(services, 13 * 60)
    assert catch_up(services).messages.total() == 0  # too late to be of use


def test_the_first_language_speaks_for_all(services: Services, people: dict[str, int]) -> None:
    chinese = warning(services)
    english = warning(services, guid="ty#en", title="[SAMPLE] Orange typhoon warning", lang="en")
    services.notices.link(english, chinese, "language_of")
    relay(services, [chinese, english])
    send(services)
    later(services, 5)
    lift(services, chinese)
    assert relay(services, [chinese]).messages.total() == 4
    assert {row.notices[0][0] for row in alerts(services, people)["wang"]} == {english, chinese}


def test_a_repeat_from_another_source_is_told_through_the_first(
    services: Services, people: dict[str, int]
) -> None:
    first = warning(services)
    second = warning(services, guid="the same from elsewhere")
    with services.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE notice SET lead_id = {first} WHERE id = {second}")
    relay(services, [first, second])
    assert counts(services, people) == {"lan": 2, "zhe": 1, "wang": 1}


def test_an_edition_of_selection_is_used_where_it_was_faster(
    services: Services, people: dict[str, int]
) -> None:
    typhoon = warning(services)
    select_all(services)
    report = relay(services, [typhoon])
    assert report.messages.total() == 4
    assert send(services).sent == 4


def test_each_reads_their_own_language(services: Services, people: dict[str, int]) -> None:
    chinese = warning(services)
    english = warning(services, guid="ty#en", title="[SAMPLE] Orange typhoon warning", lang="en")
    services.notices.link(english, chinese, "language_of")
    report = relay(services, [chinese, english])
    assert (report.notices, report.messages.total()) == (1, 4)
    assert alerts(services, people)["wang"][0].notices == ((english, 1),)
    assert alerts(services, people)["lan"][0].notices == ((chinese, 1),)
    assert relay(services, [english]).messages.total() == 0
    send(services)
    later(services, 5)
    for one in (chinese, english):
        lift(services, one)
    assert relay(services, [english, chinese]).messages.total() == 4


def test_an_alert_is_of_no_use_after_its_end(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services, expires=NIGHT + timedelta(hours=2))
    relay(services, [typhoon])
    assert {row.expires_at for rows in alerts(services, people).values() for row in rows} == {
        NIGHT + timedelta(hours=2)
    }
    later(services, 121)
    assert send(services).sent == 0


# -- from a file -------------------------------------------------------------------------------------


def test_story_8_from_files(services: Services, people: dict[str, int]) -> None:
    landed, told = take_file(services, OWN / "typhoon-1-orange.cap")
    assert (landed.new, told.messages.total()) == (2, 4)
    assert set(counts(services, people)) == {"lan", "zhe", "wang"}
    send(services)
    later(services, 5)
    landed, told = take_file(services, OWN / "typhoon-1-orange.cap")
    assert (landed.new, landed.changed, told.messages.total()) == (0, 0, 0)
    later(services, 75)
    landed, told = take_file(services, OWN / "typhoon-2-red.cap")
    assert (landed.new, landed.changed, told.messages.total()) == (0, 2, 5)
    send(services)
    later(services, 440)
    landed, told = take_file(services, OWN / "typhoon-3-cancel.cap")
    assert (landed.withdrawn, told.messages.total()) == (2, 5)
    assert send(services).sent == 5


def cap_file(tmp_path: Path, name: str, minute: int, *references: str, **changes: str) -> Path:
    """Write a warning for 澜港, sent some minutes after 21:50."""
    sent = (NIGHT + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%S-00:00")
    said = {"msgType": "Alert", "severity": "Severe", "headline": "【示例】橙色预警", "note": ""} | changes
    named = "".join(f"<references>cap@shili.example,{one}</references>" for one in references)
    text = (
        f'<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>{name}</identifier>'
        f"<sender>cap@shili.example</sender><sent>{sent}</sent><status>Actual</status>"
        f"<msgType>{said['msgType']}</msgType><scope>Public</scope><note>{said['note']}</note>{named}"
        f"<info><language>zh-CN</language><event>台风</event><urgency>Expected</urgency>"
        f"<severity>{said['severity']}</severity><certainty>Likely</certainty>"
        f"<headline>{said['headline']}</headline><area><areaDesc>澜港区</areaDesc></area></info></alert>"
    )
    path = tmp_path / f"{name}.cap"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_warning_that_grows_into_an_emergency(
    services: Services, people: dict[str, int], tmp_path: Path
) -> None:
    yellow = cap_file(tmp_path, "m1", 0, severity="Moderate", headline="【示例】黄色预警")
    assert take_file(services, yellow)[1].messages.total() == 0
    orange = cap_file(tmp_path, "m2", 30, "m1,2026-09-26T13:50:00-00:00", msgType="Update")
    later(services, 30)
    assert take_file(services, orange)[1].messages.total() == 2
    send(services)
    later(services, 30)
    lower = cap_file(
        tmp_path, "m3", 60, "m2,2026-09-26T14:20:00-00:00",
        msgType="Update", severity="Minor", headline="【示例】蓝色预警",
    )  # fmt: skip
    assert take_file(services, lower)[1].messages.total() == 2  # who was told hears that it is less
    assert set(counts(services, people)) == {"lan"}


def test_messages_may_come_in_any_order(services: Services, people: dict[str, int], tmp_path: Path) -> None:
    first = cap_file(tmp_path, "m1", 0)
    update = cap_file(tmp_path, "m2", 30, "m1,2026-09-26T13:50:00-00:00", msgType="Update")
    end = cap_file(tmp_path, "m3", 60, "m1,2026-09-26T13:50:00-00:00", msgType="Cancel")
    later(services, 70)
    assert take_file(services, update)[1].messages.total() == 2
    assert take_file(services, first)[1].messages.total() == 0
    send(services)
    assert take_file(services, end)[1].messages.total() == 2
    later(services, 1)
    for late in (first, update, end):
        landed, told = take_file(services, late)
        assert (landed.new, landed.changed, landed.withdrawn, told.messages.total()) == (0, 0, 0, 0)


def test_a_cancellation_that_comes_first(services: Services, people: dict[str, int], tmp_path: Path) -> None:
    take_file(services, cap_file(tmp_path, "m3", 60, "m1,2026-09-26T13:50:00-00:00", msgType="Cancel"))
    landed, told = take_file(services, cap_file(tmp_path, "m1", 0))
    assert (landed.new, told.messages.total()) == (0, 0)


def test_one_source_cannot_cancel_another_s_warning(
    services: Services, people: dict[str, int], tmp_path: Path
) -> None:
    stranger = services.sources.add(
        slug="stranger", name="x", kind="cap", url="https://x.invalid/", release="review", at=NIGHT
    )
    end = cap_file(tmp_path, "m3", 60, "m1,2026-09-26T13:50:00-00:00", msgType="Cancel")
    alert = cap_file(tmp_path, "m1", 0)
    take_file(services, end, source=stranger)  # before it comes
    assert take_file(services, alert)[1].messages.total() == 2
    send(services)
    landed, told = take_file(services, end, source=stranger)  # and after
    assert (landed.withdrawn, told.messages.total()) == (0, 0)


def test_an_untrusted_source_waits_for_an_editor(
    services: Services, people: dict[str, int], tmp_path: Path
) -> None:
    stranger = services.sources.add(
        slug="stranger", name="x", kind="cap", url="https://x.invalid/", release="review", at=NIGHT
    )
    landed, told = take_file(services, cap_file(tmp_path, "m1", 0), source=stranger)
    [notice] = landed.new_ids
    assert (services.notices.get(notice).state, told.messages.total()) == ("in_review", 0)
    services.notices.set_state(notice, "released", at=services.clock.now())
    assert relay(services, [notice]).messages.total() == 2


def test_an_old_message_without_an_end_is_no_emergency(
    services: Services, people: dict[str, int], tmp_path: Path
) -> None:
    old = cap_file(tmp_path, "old", -60 * 25)
    text = re.sub(r"<expires>.*?</expires>", "", old.read_text(encoding="utf-8"))
    old.write_text(text, encoding="utf-8")
    landed, told = take_file(services, old)
    assert landed.new == 1 and told.stale == list(landed.new_ids) and told.messages.total() == 0
    assert catch_up(services).messages.total() == 0  # nor later
    fresh = cap_file(tmp_path, "fresh", -60)
    assert take_file(services, fresh)[1].messages.total() > 0


def test_an_exercise_from_a_file_reaches_nobody(services: Services, people: dict[str, int]) -> None:
    landed, told = take_file(services, OWN / "exercise.cap")
    assert ([odd.problem for odd in landed.oddities], told.notices) == (["not-actual"], 0)


def test_files_that_are_none(services: Services, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        take_file(services, tmp_path / "none.cap")
    (tmp_path / "page.cap").write_text("<html/>")
    with pytest.raises(BadInputError, match="no CAP"):
        take_file(services, tmp_path / "page.cap")


def test_an_issuer_that_may_not_waits_for_an_editor(
    services: Services, people: dict[str, int], tmp_path: Path
) -> None:
    known = services.sources.add(
        slug="bureau", name="x", kind="cap", url="https://b.invalid/", release="publish", at=NIGHT
    )
    flood = cap_file(tmp_path, "f1", 0, headline="【示例】洪水橙色预警")
    text = flood.read_text(encoding="utf-8").replace("<event>台风</event>", "<event>洪水</event>")
    flood.write_text(text, encoding="utf-8")  # the observatory does not speak of floods
    landed, told = take_file(services, flood, source=known)
    [notice] = landed.new_ids
    waiting = services.notices.get(notice)
    assert (waiting.state, waiting.reason) == ("in_review", "unauthorised-issuer")
    assert (landed.held, told.messages.total()) == (1, 0)
    services.notices.set_state(notice, "released", at=services.clock.now(), frm=("in_review",))
    assert relay(services, [notice]).messages.total() == 2  # an editor has looked


def test_an_area_that_is_only_drawn(services: Services, people: dict[str, int], tmp_path: Path) -> None:
    drawn = cap_file(tmp_path, "d1", 0)
    text = drawn.read_text(encoding="utf-8").replace(
        "<areaDesc>澜港区</areaDesc>", "<areaDesc>沿海一线</areaDesc><circle>30.15,121.20 2</circle>"
    )
    drawn.write_text(text, encoding="utf-8")
    assert take_file(services, drawn)[1].messages.total() == 2
    assert set(counts(services, people)) == {"lan"}


# -- one warning from two sources, and what was replaced while it was on its way ----------------------


def twins(services: Services, first: int, second: int) -> None:
    """Say that the second is the first one's warning, from another source."""
    services.notices.link(second, first, "duplicate_of")
    with services.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE notice SET lead_id = {first} WHERE id = {second}")


def said(services: Services, people: dict[str, int], notice_id: int) -> dict[str, int]:
    """Who has how many messages of one notice."""
    found = {
        name: len([row for row in rows if row.notices[0][0] == notice_id])
        for name, rows in alerts(services, people).items()
    }
    return {name: count for name, count in found.items() if count}


def test_a_wider_repeat_is_told_where_only_it_warns(services: Services, people: dict[str, int]) -> None:
    first, second = warning(services), warning(services, FIVE, guid="the same from elsewhere")
    twins(services, first, second)
    relay(services, [first, second])
    assert said(services, people, first) == {"lan": 2, "zhe": 1, "wang": 1}
    assert said(services, people, second) == {"he": 1}
    send(services)
    later(services, 5)
    assert relay(services, [first, second]).messages.total() == 0
    revise(services, second, FIVE, title="【示例】台风红色预警")
    relay(services, [second])
    assert said(services, people, second) == {"he": 2}


def test_a_warning_that_one_source_ends_stands_while_the_other_s_does(
    services: Services, people: dict[str, int]
) -> None:
    first, second = warning(services), warning(services, ("sl02", "sl05"), guid="the same from elsewhere")
    twins(services, first, second)
    relay(services, [first, second])
    send(services)
    later(services, 5)
    lift(services, first)
    relay(services, [first])
    # 澜港 is warned by the other one still: told of that, and not that it is over.
    assert said(services, people, first) == {"lan": 2, "zhe": 2, "wang": 2}
    assert said(services, people, second) == {"lan": 2, "he": 1}
    send(services)
    assert relay(services, [first, second]).messages.total() == 0
    later(services, 5)
    lift(services, second)
    relay(services, [second])
    assert said(services, people, second) == {"lan": 4, "he": 2}
    assert said(services, people, first) == {"lan": 2, "zhe": 2, "wang": 2}


def test_the_end_of_a_repeat_is_no_end_where_the_first_stands(
    services: Services, people: dict[str, int]
) -> None:
    first, second = warning(services), warning(services, FIVE, guid="the same from elsewhere")
    twins(services, first, second)
    relay(services, [first, second])
    send(services)
    later(services, 5)
    revise(services, first, FIVE, title="【示例】台风橙色预警，范围扩大")
    relay(services, [first])
    send(services)
    later(services, 5)
    lift(services, second)
    assert relay(services, [second]).messages.total() == 0  # 禾渚 is told by the first one by now
    assert said(services, people, second) == {"he": 1}


def test_what_was_put_back_is_not_sent_after_its_end(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    now = services.clock.now()
    [mail] = services.outbox.claim(["alert"], 1, now, timedelta(minutes=5), channels=["email"])
    later(services, 1)
    lift(services, typhoon)
    relay(services, [typhoon])
    services.outbox.finish(mail.id, mail.lease_token, "queued", at=now, due_at=now, error="421 try later")
    report = send(services)
    row = services.outbox.get(mail.id)
    assert row is not None
    assert (row.state, row.error, report.sent) == ("skipped", "outdated", 1)  # the end alone went out


def test_what_was_put_back_is_not_sent_after_an_update(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    now = services.clock.now()
    claimed = services.outbox.claim(["alert"], 9, now, timedelta(minutes=5))
    later(services, 1)
    revise(services, typhoon, FOUR, title="【示例】台风红色预警")
    relay(services, [typhoon])
    for row in claimed:
        services.outbox.finish(row.id, row.lease_token, "queued", at=now, due_at=now, error="421")
    assert send(services).sent == len(claimed)
    assert {row.state for row in services.outbox.many([row.id for row in claimed])} == {"skipped"}


def test_a_put_back_row_of_the_present_stage_goes_out(services: Services, people: dict[str, int]) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    now = services.clock.now()
    claimed = services.outbox.claim(["alert"], 9, now, timedelta(minutes=5))
    later(services, 1)
    revise(services, typhoon, FOUR, major=False, title="【示例】台风橙色预警。")
    relay(services, [typhoon])
    for row in claimed:
        services.outbox.finish(row.id, row.lease_token, "queued", at=now, due_at=now, error="421")
    assert send(services).sent == len(claimed)


def test_a_queued_end_of_an_older_version_is_told_as_an_end(
    services: Services, people: dict[str, int]
) -> None:
    typhoon = warning(services)
    relay(services, [typhoon])
    send(services)
    later(services, 1)
    lift(services, typhoon)
    relay(services, [typhoon])
    with services.database.write() as connection:
        old = '{"kind": "alert", "editions": [1], "lang": "zh-Hans", "window": [1, 2]}'
        connection.execute(
            text("UPDATE delivery SET recipe = :old, frozen = 1 WHERE state = 'queued'"), {"old": old}
        )
    before = len(texts(services))
    send(services)
    assert len(texts(services)) > before
    assert all("解除：" in one for one in texts(services)[before:])


def test_the_desk_sends_its_warning_without_what_can_wait(services: Services, people: dict[str, int]) -> None:
    now = services.clock.now()
    calm = NewDelivery(
        "digest:calm", people["lan"], "email", "digest", now, now + timedelta(hours=9), {"kind": "digest"}
    )
    services.outbox.enqueue([calm], now)
    tell(services, warning(services))
    states = {row.lane: row.state for row in services.outbox.for_profile(people["lan"])}
    assert states == {"digest": "queued", "alert": "sent"}
