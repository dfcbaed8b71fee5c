"""A warning of the office's own: from ready words, two people, a test, an update, an end, CAP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.jobs import issuing, joining
from api.jobs.alert_building import alert_text
from api.jobs.alerts import tell
from api.wiring import Services
from delivery.compose_alert import compose_alert_mail
from feeds.catalogue.notices import Notice
from feeds.desk.staff import Actor
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import profile
from tests.webfixture import fields, services, visitor


@pytest.fixture
def made(sqlite: Database, tmp_path: Path) -> Iterator[Services]:
    joined = services(sqlite, tmp_path)
    object.__setattr__(joined.settings, "alert_test_list", "duty@shili.example, 13800009999")
    yield joined


def person(made: Services, number: int, place: str, **wish: Any) -> int:
    return joining.join(
        made, profile(places=(FollowedPlace(place),), **wish), digest_hour=9, verified=True,
        email=f"p{number}@shili.example", phone=f"138000001{number:02}",
    ).profile.id  # fmt: skip


def entered(made: Services, name: str, *roles: str, lang: str = "zh-CN") -> tuple[Actor, TestClient]:
    actor, key = made.staff.add(name, roles, at=made.clock.now())
    browser = visitor(made, lang)
    assert (
        browser.post(
            "/editor/enter", data=fields(browser.get("/editor/enter").text, "/editor/enter") | {"key": key}
        ).status_code
        == 303
    )
    return actor, browser


def filled(browser: TestClient, do: str, **changed: Any) -> Any:
    page = browser.get("/editor/alert/new?template=water-outage").text
    form = fields(page, "/editor/alert/new")
    return browser.post(
        "/editor/alert/new",
        data=form
        | {"place": ["sl02"], "phone": "0000-5550-0121", "detail": "主管道破裂。", "do": do}
        | changed,
    )


def letters(made: Services, kind: str = "email") -> list[str]:
    return [one.read_text("utf-8") for one in sorted((made.settings.captured / kind).glob("*.*"))]


def test_written_released_by_a_second_person_updated_and_ended(made: Services) -> None:
    inside, outside = person(made, 1, "sl0201"), person(made, 2, "sl01")
    english = person(made, 3, "sl02", langs=("en",))
    _, writer = entered(made, "示例撰写", "writer", "editor")
    _, second = entered(made, "示例值班", "editor", lang="en")
    assert "突发停水" in writer.get("/editor/alert/new").text

    preview = filled(writer, "preview")
    assert preview.status_code == 200 and "不到 20 人" in preview.text  # never a count of a few
    assert "澜港区突发停水" in preview.text and "Sudden water outage: Langang District" in preview.text
    assert letters(made) == []

    where = filled(writer, "submit").headers["location"]
    number = int(re.search(r"/editor/alerts/(\d+)", where)[1])  # type: ignore[index]
    page = writer.get(where)
    assert page.headers["refresh"] == "5" and "还没有发出" in page.text
    refused = writer.post(
        f"/editor/alerts/{number}", data=fields(page.text, f"/editor/alerts/{number}") | {"do": "released"}
    )
    assert refused.status_code == 422 and "要由另一个人审核" in refused.text

    made.clock.advance(timedelta(seconds=42))  # type: ignore[attr-defined]
    form = fields(second.get(f"/editor/alerts/{number}").text, f"/editor/alerts/{number}")
    assert second.post(f"/editor/alerts/{number}", data=form | {"do": "released"}).status_code == 303
    texts = letters(made, "sms")
    assert len(texts) == 2 and len(letters(made)) == 2
    chinese = next(one for one in texts if "紧急：" in one)
    assert "澜港区突发停水" in chinese and "0000-5550-0121" in chinese and "拒收请回复R" in chinese
    assert any("Emergency: Sudden water outage: Langang District" in one for one in texts)
    listed = second.get("/editor/alerts").text
    assert "first message out after" in listed
    assert made.outbox.for_profile(outside) == []
    assert {row.channel for row in made.outbox.for_profile(inside)} == {"email", "sms"}

    made.clock.advance(timedelta(minutes=20))  # type: ignore[attr-defined]
    page = second.get(f"/editor/alerts/{number}/update").text
    form = fields(page, f"/editor/alerts/{number}/update")
    form |= {"place": ["sl02", "sl01"], "note": "范围扩大", "do": "submit"}
    assert second.post(f"/editor/alerts/{number}/update", data=form).status_code == 303
    assert {row.dedupe_key.split(":")[2] for row in made.outbox.for_profile(inside)} == {"1", "2"}
    assert len(made.outbox.for_profile(outside)) == 2
    assert sum("】更新：" in one for one in letters(made, "sms")) == 1
    assert sum("】Update:" in one for one in letters(made, "sms")) == 1

    form = fields(second.get(f"/editor/alerts/{number}").text, f"/editor/alerts/{number}")
    form |= {"note": "供水已恢复", "do": "cancelled"}
    assert second.post(f"/editor/alerts/{number}", data=form).status_code == 303
    ended = [one for one in letters(made, "sms") if "】解除：" in one or "】Over:" in one]
    assert len(ended) == 3 and all("供水已恢复" in one for one in ended)
    assert len(made.outbox.for_profile(english)) == 6
    assert made.audit.verify().broken_at is None


def test_ready_words_are_not_laid_over_what_somebody_wrote(made: Services) -> None:
    _, writer = entered(made, "示例撰写", "writer")
    kept = filled(writer, "preview", title_zh="我自己写的标题")
    assert "我自己写的标题" in kept.text and "突发停水</h3>" not in kept.text
    anew = filled(writer, "fill", title_zh="我自己写的标题")
    assert "我自己写的标题" not in anew.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"place": []}, "至少勾选一个地点"),
        ({"hours": "500"}, "不超过 168 小时"),
        ({"hours": "x"}, "不超过 168 小时"),
        ({"received": "quarter past"}, "21:50"),
        ({"shape": "30.2"}, "多边形"),
        ({"severity": "Awful"}, "从给出的选项里选"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_lost(
    made: Services, changes: dict[str, Any], said: str
) -> None:
    _, writer = entered(made, "示例撰写", "writer")
    answer = filled(writer, "submit", **changes)
    assert answer.status_code == 422 and said in answer.text
    assert "主管道破裂" in answer.text
    assert made.notices.by_state(("in_review", "draft")) == []


def test_an_area_may_be_drawn(made: Services) -> None:
    _, writer = entered(made, "示例撰写", "writer")
    where = filled(writer, "submit", place=[], shape="30.15,121.20 2").headers["location"]
    notice = made.notices.get(int(re.findall(r"\d+", where)[0]))
    assert [tag.code for tag in notice.tags if tag.cause == "cap:area" and tag.weight == 1] == ["sl02"]
    assert notice.content.extra["cap"]["areas"][0]["circles"] == [[30.15, 121.2, 2.0]]


def test_a_test_reaches_the_test_list_alone_and_says_so_everywhere(made: Services) -> None:
    person(made, 1, "sl02")
    _, writer = entered(made, "示例撰写", "writer")
    assert "已向测试名单发出 4 条" in filled(writer, "test").text  # two languages, two addresses
    assert made.notices.by_state(("in_review", "draft", "released")) == []
    mails, texts = letters(made), letters(made, "sms")
    assert len(mails) == len(texts) == 2
    assert all("演练" in one or "TEST" in one for one in texts)
    assert all("To: duty@shili.example" in one for one in mails)
    assert all("13800009999" in one for one in texts)
    object.__setattr__(made.settings, "alert_test_list", "")
    assert 'value="test"' not in filled(writer, "preview").text
    refused = filled(writer, "test")
    assert refused.status_code == 422 and "MYCITY_ALERT_TEST_LIST" in refused.text


def test_one_person_may_override_only_with_the_right_and_stays_flagged(made: Services) -> None:
    person(made, 1, "sl02")
    _, writer = entered(made, "示例撰写", "writer")
    assert filled(writer, "override", note="夜里只有我").status_code == 422
    [left] = [one for one in made.notices.by_state(("in_review",)) if one.content.lang == "zh-Hans"]
    issuing.cancel(made, left.id, "x", Actor("s", 0, ("editor",)))
    duty, alone = entered(made, "示例值班长", "writer", "duty")
    assert "写明为什么" in filled(alone, "override").text  # without a reason nothing goes out
    assert letters(made, "sms") == []
    where = filled(alone, "override", note="夜里只有我").headers["location"]
    number = int(re.findall(r"\d+", where)[0])
    assert len(letters(made, "sms")) == 1
    assert issuing.unsigned(made, number) and "等待第二人复核" in alone.get("/editor/alerts").text
    with pytest.raises(UsageError, match="second person"):
        issuing.countersign(made, number, Actor(duty.name, duty.staff_id, ("editor", "duty")))
    _, second = entered(made, "示例复核", "editor")
    form = fields(second.get(f"/editor/alerts/{number}").text, f"/editor/alerts/{number}")
    assert second.post(f"/editor/alerts/{number}", data=form | {"do": "countersigned"}).status_code == 303
    assert not issuing.unsigned(made, number)
    actions = [row["action"] for row in made.audit.of(number)]
    assert actions == ["write", "submit", "override", "countersign"]
    assert made.audit.of(number)[2]["details"]["note"] == "夜里只有我"


def test_the_table_binds_the_office_too(made: Services) -> None:
    made.city = replace(made.city, issuers=tuple(one for one in made.city.issuers if one.rule != "office"))
    _, writer = entered(made, "示例撰写", "writer")
    answer = filled(writer, "submit")
    assert answer.status_code == 422 and "权限表不允许本单位" in answer.text


def test_the_table_is_shown(made: Services) -> None:
    _, editor = entered(made, "示例编辑", "editor", lang="en")
    page = editor.get("/editor/issuers").text
    assert "Shili Meteorological Station" in page and "sender:cap@qixiang.shili.example" in page


def test_nobody_else_sees_these_pages(made: Services) -> None:
    entered(made, "示例编辑", "editor")
    for path in (
        "/editor/alerts",
        "/editor/alert/new",
        "/editor/issuers",
        "/editor/alerts/1",
        "/editor/alerts/1/unconfirmed.csv",
    ):
        assert visitor(made).get(path).status_code in (303, 404)


def released(made: Services) -> Notice:
    one, two = Actor("a", 1, ("writer",)), Actor("b", 2, ("editor",))
    template = made.city.alert_templates["gas-leak"]
    words = issuing.filled(made, template, {"time": "21:40", "phone": "110", "detail": ""}, ["sl02"])
    wish = issuing.Wish(
        "gas-leak", ("sl02",), "Extreme", "Immediate", "Observed", 2, made.clock.now(), words, phone="110"
    )
    return issuing.release(made, issuing.write(made, wish, one).id, two)


def test_the_list_is_by_the_clock_and_an_expired_one_vanishes(made: Services) -> None:
    notice = released(made)
    browser = visitor(made)
    answer = browser.get(f"/alerts/{notice.id}.cap")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/cap+xml")
    assert isinstance(made.clock, FixedClock)
    made.clock.advance(timedelta(hours=3))
    assert browser.get(f"/alerts/{notice.id}.cap").status_code == 404
    made.notices.expire_due(made.clock.now())
    assert "已到期" in browser.get(f"/notices/{notice.id}").text


def test_an_end_tells_nobody_to_leave(made: Services) -> None:
    person(made, 1, "sl02")
    notice = released(made)
    tell(made, notice.id)
    issuing.cancel(made, notice.id, "已修复", Actor("b", 2, ("editor",)))
    tell(made, notice.id)
    [text] = [one for one in letters(made, "sms") if "】解除：" in one]
    assert "解除：澜港区燃气泄漏。已修复。" in text and "撤离" not in text
    stored = made.notices.get(notice.id)
    said = alert_text(made, stored, lang="zh-Hans", step="end")
    mail = compose_alert_mail(
        said, reason="", unsubscribe_url="", to="a@example.org", sender="b@example.org",
        message_id="<m@example.org>", date=made.clock.now(),
    )  # fmt: skip
    for part in (mail.subject, mail.text, mail.html):
        assert "撤离" not in part and "严重程度" not in part and "电器" not in part
    assert "已修复" in mail.text


def test_a_warning_without_a_text_is_refused(made: Services) -> None:
    _, writer = entered(made, "示例撰写", "writer")
    form = fields(writer.get("/editor/alert/new?template=other").text, "/editor/alert/new")
    form |= {"place": ["sl02"], "do": "submit"}
    answer = writer.post("/editor/alert/new", data=form)
    assert answer.status_code == 422 and "请写明发生了什么" in answer.text
    assert made.notices.by_state(("in_review", "draft")) == []
    sent = writer.post("/editor/alert/new", data=form | {"detail": "有树倒下。"})
    assert sent.status_code == 303
    notices = made.notices.by_state(("in_review",))
    assert all("致电" not in one.content.body and "Ask at" not in one.content.body for one in notices)
    english = next(one for one in notices if one.content.lang == "en")
    assert "有树倒下" not in english.content.body and "an incident was reported in" in english.content.body


def test_an_update_says_what_changed_and_names_the_new_places(made: Services) -> None:
    person(made, 1, "sl02")
    person(made, 2, "sl02", langs=("en",))
    notice = released(made)
    tell(made, notice.id)
    _, editor = entered(made, "示例编辑", "editor", "writer")
    path = f"/editor/alerts/{notice.id}/update"
    form = fields(editor.get(path).text, path) | {
        "place": ["sl02", "sl01"],
        "note": "范围扩大",
        "phone": "119",
    }
    preview = editor.post(path, data=form | {"do": "preview"}).text
    assert "更新内容：范围扩大" in preview and "英文正文不会自动翻译" in preview
    assert editor.post(path, data=form | {"do": "submit", "note_en": "More places"}).status_code == 303
    updated = made.notices.get(notice.id)
    both = issuing.named(made, ("sl02", "sl01"), "zh"), issuing.named(made, ("sl01", "sl02"), "zh")
    assert any(one in updated.content.title for one in both)
    assert "119" in updated.content.extra["cap"]["instruction"]
    texts = letters(made, "sms")
    assert any("更新：" in one and "范围扩大" in one for one in texts)
    assert any("Update: " in one and "More places" in one and "范围" not in one for one in texts), texts


def test_new_places_and_phone_refill_what_nobody_touched(made: Services) -> None:
    _, writer = entered(made, "示例撰写", "writer")
    form = fields(filled(writer, "preview").text, "/editor/alert/new") | {"place": ["sl01"], "phone": "119"}
    again = fields(writer.post("/editor/alert/new", data=form | {"do": "preview"}).text, "/editor/alert/new")
    assert made.city.label("place:sl01", "zh") in again["title_zh"] and "澜港区" not in again["body_zh"]
    assert "119" in again["instruction_en"] and "0000-5550-0121" not in again["instruction_zh"]
    own = again | {"place": ["sl01"], "title_zh": "我的标题"}
    changed = own | {"place": ["sl02"], "do": "submit"}
    refused = writer.post("/editor/alert/new", data=changed)
    assert refused.status_code == 422 and "可能还是旧的" in refused.text
    assert made.notices.by_state(("in_review",)) == []
    assert writer.post("/editor/alert/new", data=changed | {"confirmed": "1"}).status_code == 303


def test_the_second_person_sees_what_goes_out(made: Services) -> None:
    _, writer = entered(made, "示例撰写", "writer", "editor")
    where = filled(writer, "submit").headers["location"]
    assert 'value="released"' not in writer.get(where).text  # who wrote it is offered nothing
    _, second = entered(made, "示例值班", "editor")
    page = second.get(where).text
    assert 'value="released"' in page and "不到 20 人" in page and "0000-5550-0121" in page
    assert "紧急：" in page and "Emergency: " in page and "What to do" in page and "怎么办" in page


def test_the_whole_city_at_the_highest_level_must_be_meant(made: Services) -> None:
    made.city = replace(made.city, issuers=())
    _, writer = entered(made, "示例撰写", "writer")
    wish = {"place": [made.city.place], "severity": "Extreme"}
    refused = filled(writer, "submit", **wish)
    assert refused.status_code == 422 and "请勾选确认" in refused.text and 'name="everybody"' in refused.text
    where = filled(writer, "submit", **wish, everybody="1").headers["location"].partition("?")[0]
    _, second = entered(made, "示例值班", "editor")
    form = fields(second.get(where).text, where) | {"do": "released"}
    form.pop("everybody", None)
    assert second.post(where, data=form).status_code == 422
    assert second.post(where, data=form | {"everybody": "1"}).status_code == 303


def test_names_and_levels_are_said_as_people_do(made: Services) -> None:
    notice = released(made)
    said = alert_text(made, notice, lang="zh-Hans", step="new")
    assert "色）" not in said.level and said.level.startswith("严重程度：")
    content = replace(notice.content, agency="cap@qixiang.shili.example")
    assert alert_text(made, replace(notice, content=content), lang="zh", step="new").agency == "示例市气象台"
    assert (
        "Meteorological" in alert_text(made, replace(notice, content=content), lang="en", step="new").agency
    )
