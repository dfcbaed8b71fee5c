"""The desk's outbox page and `mycity outbox`: who got what, what is held, what is switched off."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from api.jobs import outbox_answers
from api.ops.cli import main
from api.wiring import Services
from delivery.types import NewDelivery
from feeds.kernel.db import plain_rows
from tests import webfixture
from tests.factories import new_notice, profile
from tests.integration.test_web_desk import enter
from tests.integration.test_web_pages import check_bones
from tests.webfixture import staff, submit

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
PAGE = "/editor/outbox"


def fill(made: Services, count: int = 3) -> tuple[int, int, list[int]]:
    """Deliveries of two notices, one of them sensitive; returns their numbers and the people's."""
    now = made.clock.now()
    quiet = next(f"theme:{code}" for code in made.city.themes if made.city.is_sensitive(f"theme:{code}"))
    roads, aid = made.notices.add(
        [
            new_notice("roads", title="【示例】道路施工"),
            new_notice("aid", title="【示例】临时救助", tags=(quiet,)),
        ],
        at=now,
    )
    people = [made.profiles.create(profile(), at=now)[0].id for _ in range(count)]
    for person in people:
        made.contacts.put(person, "email", f"resident{person}@mail.example", at=now, verified=True)
    made.outbox.enqueue(
        [
            NewDelivery(
                f"k{person}", person, "email", "digest", now, now + timedelta(hours=9), {},
                ((roads, 1), (aid, 1)), run_id=77,
            )
            for person in people
        ],
        now,
    )  # fmt: skip
    for one in made.outbox.claim(["digest"], count - 1, now, timedelta(minutes=5)):
        made.outbox.finish(one.id, one.lease_token, "sent", at=now, provider="smtp")
    return roads, aid, people


def test_who_got_this(made: Services) -> None:
    roads, aid, people = fill(made)
    browser = enter(made, staff(made)[0][1])
    shown = browser.get(f"{PAGE}?notice={roads}")
    check_bones(shown.text)
    assert "r***@m***.example" in shown.text and f"resident{people[0]}@" not in shown.text
    assert "smtp" in shown.text and "已发出" in shown.text and "等待" in shown.text
    quiet = browser.get(f"{PAGE}?notice={aid}")
    assert "不列出任何人" in quiet.text and "少于20" in quiet.text and "r***@" not in quiet.text
    resident = browser.get(f"{PAGE}?profile={people[0]}")
    assert f">{roads}</a>" in resident.text and f">{aid}</a>" not in resident.text
    assert "敏感" not in resident.text.partition('id="h-who"')[2].partition("<table")[2]
    assert browser.get(f"{PAGE}?notice=99999999").status_code == 404
    for odd in ("-1", "1'--", "９", "9" * 40):
        assert browser.get(PAGE, params={"notice": odd}).status_code == 404


def test_numbers_of_sensitive_matters_from_twenty_on(made: Services) -> None:
    roads, aid, _ = fill(made, 22)
    found = outbox_answers.who_got(made, aid)
    assert [(one.state, one.count) for one in found.sums] == [("queued", -1), ("sent", 21)]
    assert (found.total, found.lines) == (-1, ())
    assert outbox_answers.who_got(made, roads).total == 22


def test_nothing_shows_that_a_resident_got_something_sensitive(made: Services) -> None:
    roads, aid, [person] = fill(made, 1)
    now = made.clock.now()
    row = NewDelivery("q", person, "email", "digest", now, now + timedelta(hours=9), {}, ((aid, 1),))
    made.outbox.enqueue([row], now)
    answer = outbox_answers.what_came(made, person)
    assert [one.notices for one in answer.lines] == [(roads,)]
    assert "withheld" not in json.dumps(asdict(answer), default=str)


def test_each_look_is_in_the_audit(made: Services) -> None:
    roads, aid, people = fill(made)
    browser = enter(made, staff(made)[0][1])
    browser.get(PAGE)
    browser.get(f"{PAGE}?notice={aid}")
    browser.get(f"{PAGE}?profile={people[0]}")
    outbox_answers.who_got(made, roads)
    with made.database.read() as connection:
        query = "SELECT actor, notice_id, details FROM audit WHERE action = 'outbox-look' ORDER BY id"
        rows = plain_rows(connection, query)
    assert [(notice, json.loads(details)) for _, notice, details in rows] == [
        (aid, {}), (None, {"profile": people[0]}), (roads, {}),
    ]  # fmt: skip
    assert rows[0][0] == rows[1][0] != rows[2][0] == "operator"


def test_a_held_run_is_released_and_sending_is_switched(made: Services) -> None:
    fill(made)
    made.outbox.hold(77, made.clock.now())
    browser = enter(made, staff(made)[0][1])
    assert "数量超过" in browser.get(PAGE).text
    done = submit(browser, PAGE, PAGE, run="77", do="release")
    assert done.headers["location"] == f"{PAGE}?done=release"
    assert made.outbox.held_runs() == []
    again = submit(browser, f"{PAGE}?done=release", PAGE, channel="sms", reason="核对短信内容", do="pause")
    assert again.headers["location"].endswith("pause")
    page = browser.get(PAGE).text
    check_bones(page)
    assert made.outbox.paused() == {"sms": "核对短信内容"} and "核对短信内容" in page
    submit(browser, PAGE, PAGE, channel="sms", do="resume")
    assert made.outbox.paused() == {}
    with made.database.read() as connection:
        rows = plain_rows(connection, "SELECT details FROM audit WHERE action = 'outbox' ORDER BY id")
    actions = [json.loads(details)["do"] for (details,) in rows]
    assert actions == ["release", "pause", "resume"]


def test_a_writer_may_see_the_state_but_neither_act_nor_ask_who(made: Services) -> None:
    roads, _, people = fill(made)
    made.outbox.hold(77, made.clock.now(), "bounces")
    _, key = made.staff.add("写稿人", ("writer",), at=made.clock.now())
    browser = enter(made, key, "en")
    page = browser.get(PAGE).text
    assert "came back" in page and "Let it go on" not in page and "Stop sending now" not in page
    assert 'id="who-notice"' not in page
    for question in (f"notice={roads}", f"profile={people[0]}"):
        refused = browser.get(f"{PAGE}?{question}")
        assert refused.status_code == 403 and "@m***" not in refused.text


def test_the_command_line(
    made: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roads, aid, people = fill(made)
    environment = {
        "MYCITY_HOME": str(made.settings.home), "MYCITY_DATABASE_URL": made.database.url,
        "MYCITY_CITY": "shili", "MYCITY_SECRET_KEY": webfixture.KEY,
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, dict[str, object]]:
        monkeypatch.setattr("sys.argv", ["mycity", "--now", "2026-10-12T18:00", "--json", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    assert run("outbox", "who", "--notice", str(roads))[1]["total"] == 3
    code, found = run("outbox", "who", "--notice", str(aid))
    assert (code, found["total"], found["lines"]) == (0, -1, [])
    lines = run("outbox", "who", "--profile", str(people[0]))[1]["lines"]
    assert [(one["provider"], one["to"]) for one in lines] == [("smtp", "")]  # type: ignore[attr-defined,index]
    assert run("outbox", "who")[0] == 2
    assert run("outbox", "release", "77")[0] == 2
    made.outbox.hold(77, made.clock.now())
    assert run("outbox", "status")[1]["held"][0]["run_id"] == 77  # type: ignore[index]
    assert run("outbox", "release", "77")[1] == {"released": 1}
    assert run("outbox", "pause", "--channel", "sms")[1] == {"paused": True, "channel": "sms"}
    assert run("outbox", "pause", "--channel", "pigeon")[0] == 2
    assert run("outbox", "resume", "--channel", "sms")[1] == {"paused": False}
    assert run("outbox", "cancel", "--run", "77")[1] == {"cancelled": 1}
    assert run("outbox", "cancel")[0] == 2
    assert run("outbox", "sweep")[0] == 0
    for channel, address in (
        ("email", "a@mail.example"), ("sms", "13800000001"), ("webhook", "https://example.org/x"),
        ("wechat", "openid"), ("webpush", '{"endpoint":"https://push.example/x"}'), ("apprise", "ntfy://topic"),
    ):  # fmt: skip
        assert run("channels", "test", channel, address)[1]["provider"] == "capture", channel
