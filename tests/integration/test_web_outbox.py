"""The desk's outbox page and `mycity outbox`: who got what, what is held, what is switched off."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import outbox_answers
from api.ops import doctor
from api.ops.cli import main
from api.ops.migrate import migrate
from api.settings import read_settings
from api.web.wording import words
from api.wiring import Services
from delivery.types import NewDelivery
from feeds.kernel.db import Database, plain_rows
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
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


def test_stopping_is_chosen_and_reasoned(made: Services) -> None:
    """One click in a hurry must not silence every warning."""
    browser = enter(made, staff(made)[0][1], "en")
    page = browser.get(PAGE).text
    assert '<option value="">– choose –</option>' in page and "nobody is warned" in page
    assert '<button class="danger" name="do" value="pause">' in page
    assert 'name="reason" maxlength="200" required' in page
    for form, said in (
        ({"channel": "", "reason": "text"}, "Choose what to stop."),
        ({"channel": "all", "reason": " "}, "Say why sending is stopped"),
    ):
        refused = submit(browser, PAGE, PAGE, do="pause", **form)
        assert refused.status_code == 422 and said in refused.text
    assert made.outbox.paused() == {}
    submit(browser, PAGE, PAGE, do="pause", channel="all", reason="wrong text")
    assert made.outbox.paused() == {"": "wrong text"}
    assert words("zh").explain(UsageError("Choose what to stop.")) == "请选择要停止的渠道。"


def test_what_a_dead_sender_holds_is_late(made: Services) -> None:
    fill(made, 3)
    taken = made.clock.now()
    made.outbox.claim(["digest"], 1, taken, timedelta(minutes=10))
    browser = enter(made, staff(made)[0][1], "en")
    at_once = browser.get(PAGE).text
    assert "held by a sender" not in at_once
    assert isinstance(made.clock, FixedClock)
    made.clock.advance(timedelta(minutes=3))
    found = {one.name: one for one in doctor.at_work(made.database, made.clock.now(), made.zone)}
    since = f"{taken.astimezone(made.zone):%H:%M}"
    back = f"{(taken + timedelta(minutes=10)).astimezone(made.zone):%H:%M}"
    assert found["senders"].status == "note"
    assert found["senders"].message.startswith(f"1 message is held by a sender since {since}; if it has died")
    assert f"come back at {back}" in found["senders"].message
    assert "No message has waited" not in found["queue"].message
    page = browser.get(PAGE).text
    assert "1 due messages are held by a sender" in page and "Nothing is late" not in page
    made.clock.advance(timedelta(minutes=8))
    (stuck,) = [one for one in doctor.at_work(made.database, made.clock.now()) if one.name == "senders"]
    assert stuck.status == "bad" and "mycity worker" in stuck.message


def test_the_reasons_are_said_in_words(made: Services) -> None:
    for lang in ("zh", "en"):
        for _, name, _ in outbox_answers._WHY:
            assert words(lang).has(f"outbox.w_{name}"), name
    assert outbox_answers.why_text("The address is suppressed (bounced).").startswith("mails to the address")
    assert outbox_answers.why_text("550 no such user") == "550 no such user"
    assert outbox_answers.why_of("The address is suppressed (recycled).") == "suppressed"
    _, _, [person] = fill(made, 1)
    (row,) = made.outbox.claim(["digest"], 1, made.clock.now(), timedelta(minutes=5))
    made.outbox.finish(row.id, row.lease_token, "skipped", at=made.clock.now(), error="muted")
    page = enter(made, staff(made)[0][1]).get(f"{PAGE}?profile={person}").text
    assert "读者已屏蔽全部内容" in page and "muted" not in page


def test_retry_says_why_not(
    made: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = made.clock.now()
    person = made.profiles.create(profile(), at=now)[0].id
    old = NewDelivery("c", person, "email", "confirmation", now, now + timedelta(minutes=10), {})
    made.outbox.enqueue(
        [old, NewDelivery("d", person, "email", "digest", now, now + timedelta(days=1), {})], now
    )
    environment = {
        "MYCITY_HOME": str(made.settings.home), "MYCITY_DATABASE_URL": made.database.url,
        "MYCITY_CITY": "shili", "MYCITY_SECRET_KEY": webfixture.KEY, "COLUMNS": "200",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    later = now + timedelta(minutes=30)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["mycity", "--now", later.isoformat(), *arguments])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    made.outbox.expire(later)
    code, said = run("outbox", "retry", "1")
    assert code == 2 and "asks for a new one" in said
    assert made.outbox.get(1).state == "expired"  # type: ignore[union-attr]
    code, said = run("outbox", "retry", "99")
    assert code == 2 and "There is no delivery 99" in said
    code, said = run("outbox", "retry", "2")
    assert code == 2 and "Delivery 2 is queued" in said
    assert run("outbox", "retry")[1].startswith("Nothing is queued again")
    made.outbox.enqueue([NewDelivery("e", person, "sms", "digest", now, now + timedelta(days=1), {})], now)
    (text,) = made.outbox.claim(["digest"], 1, later, timedelta(minutes=5), channels=["sms"])
    made.outbox.finish(text.id, text.lease_token, "unknown", at=later)
    code, said = run("outbox", "retry", str(text.id))
    assert code == 2 and f"`mycity sms resend {text.id}`" in said
    (row,) = made.outbox.claim(["digest"], 1, later, timedelta(minutes=5))
    made.outbox.finish(row.id, row.lease_token, "failed", at=later)
    assert run("outbox", "retry", "2") == (0, "1 delivery is queued again.\n")
    (row,) = made.outbox.claim(["digest"], 1, later, timedelta(minutes=5))
    made.outbox.finish(row.id, row.lease_token, "sent", at=later, provider="smtp")
    shown = run("outbox", "who", "--profile", str(person))[1]
    assert f"{later.astimezone(made.zone):%Y-%m-%d %H:%M:%S}" in shown and "+00:00" not in shown


def test_the_doctor_reads_what_is_set(tmp_path: Path) -> None:
    def mail(**values: str) -> list[tuple[str, str]]:
        settings = read_settings({}, home=tmp_path, city="shili", **values)
        return [(one.status, one.message) for one in doctor.examine(settings) if one.name == "mail"]

    status, said = mail(smtp_url="foo")[0]
    assert status == "bad" and "smtp://user" in said
    assert "MYCITY_SMTP_URL" in mail(smtp_url="foo", mail_from="a@city.example")[0][1]
    assert "ok" not in {status for status, _ in mail(smtp_url="foo", mail_from="a@city.example")}
    status, said = mail(smtp_url="smtp://h", mail_from="a@city.example", mail_rates="qq.com=many")[0]
    assert status == "bad" and said.startswith("MYCITY_MAIL_RATES: 'qq.com=many'")
    assert mail(smtp_url="smtp://h", mail_from="a@city.example")[0][0] == "ok"


def test_a_missing_key_is_bad_outside_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MYCITY_HOME", str(tmp_path))
    monkeypatch.delenv("MYCITY_SECRET_KEY", raising=False)
    monkeypatch.setattr("sys.argv", ["mycity", "doctor"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("MYCITY_SECRET_KEY=") and len(line.partition("=")[2]) >= 32
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "ready.json").write_text("{}")
    (key,) = [one for one in doctor.examine(read_settings({}, home=tmp_path)) if one.name == "secret key"]
    assert key.status == "note"
    database = Database(read_settings({}, home=tmp_path).database)
    migrate(database)
    database.close()
    (key,) = doctor._key(read_settings({}, home=tmp_path))
    assert key.status == "bad"


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
