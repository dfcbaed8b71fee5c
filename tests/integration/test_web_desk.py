"""The desk in a browser: signing in, writing, four eyes, correcting, withdrawing, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser
from starlette.testclient import TestClient

from api.wiring import Services
from tests import webfixture
from tests.integration.test_web_pages import check_bones
from tests.webfixture import draft, fields, find, staff, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client


def enter(made: Services, key: str, lang: str = "zh-CN") -> TestClient:
    browser = visitor(made, lang)
    assert submit(browser, "/editor/enter", "/editor/enter", key=f" {key} ").headers["location"] == "/editor/"
    return browser


@pytest.fixture
def desks(made: Services) -> tuple[TestClient, TestClient]:
    """Two members of staff, each with a browser."""
    (_, first), (_, second) = staff(made)
    return enter(made, first), enter(made, second)


def test_there_is_no_desk_before_there_is_staff(client: TestClient) -> None:
    for path in ("/editor/", "/editor/enter", "/editor/write", "/editor/notices/1"):
        assert client.get(path).status_code == 404


def test_a_wrong_key_is_refused_and_a_closed_account_is_out_at_once(made: Services) -> None:
    (actor, key), _ = staff(made)
    wrong = submit(visitor(made), "/editor/enter", "/editor/enter", key="no")
    assert wrong.status_code == 422 and "密钥不对" in wrong.text
    browser = enter(made, key)
    assert browser.get("/editor/").status_code == 200
    made.staff.end(actor.staff_id, at=made.clock.now())
    assert browser.get("/editor/").headers["location"] == "/editor/enter"


def test_a_shift_ends_after_eight_hours(made: Services) -> None:
    (_, key), _ = staff(made)
    browser = enter(made, key)
    made.clock.advance(timedelta(hours=8, minutes=1))  # type: ignore[attr-defined]
    assert browser.get("/editor/").headers["location"] == "/editor/enter"


def test_a_notice_goes_from_draft_to_release_with_four_eyes(
    made: Services, desks: tuple[TestClient, TestClient]
) -> None:
    first, second = desks
    sheet = fields(first.get("/editor/write").text, "/editor/write") | {
        "title": "关于开放社区自习室的通知",
        "body": "本月起开放。\n\n每天9:00—21:00。",
        "tag": ["theme:1102", "role:citizen"],
        "places": "柘南街道",
        "agency": "gov",
        "kind": "service",
        "deadline_day": "2026-10-30",
        "deadline_time": "17:00",
        "phone": "0000-5550-1000",
        "do": "submit",
    }
    answer = first.post("/editor/write", data=sheet)
    where = answer.headers["location"].partition("?")[0]
    number = int(where.rpartition("/")[2])
    notice = made.notices.get(number)
    assert notice.state == "in_review"
    assert notice.content.title == "【示例】关于开放社区自习室的通知"
    assert notice.content.body == "<p>本月起开放。</p>\n<p>每天9:00—21:00。</p>"
    assert {"11", "1102"} == set(notice.codes("theme")) and "sl0303" in notice.codes("place")
    assert (notice.level, notice.place) == ("street", "sl0303")
    assert visitor(made).get(f"/notices/{number}").status_code == 404
    check_bones(first.get(where).text)
    move = fields(first.get(where).text, f"{where}/move")
    refused = first.post(f"{where}/move", data=move | {"do": "approved"})
    assert refused.status_code == 422 and "要由另一个人审核" in refused.text
    move = fields(second.get(where).text, f"{where}/move")
    assert second.post(f"{where}/move", data=move | {"do": "approved"}).status_code == 303
    page = visitor(made).get(f"/notices/{number}")
    assert page.status_code == 200 and "还剩18天" in page.text and "由编辑选定" in page.text


def test_a_rejected_notice_returns_with_the_reason(
    made: Services, desks: tuple[TestClient, TestClient]
) -> None:
    first, second = desks
    waiting = draft(made, made.staff.get(1))  # type: ignore[arg-type]
    made.desk.submit(waiting.id, made.staff.get(1))  # type: ignore[arg-type]
    where = f"/editor/notices/{waiting.id}"
    assert submit(second, where, f"{where}/move", do="rejected", note="").status_code == 422
    submit(second, where, f"{where}/move", do="rejected", note="写明地点")
    assert made.notices.get(waiting.id).state == "draft"
    assert "写明地点" in first.get(where).text
    edited = submit(
        first, f"{where}/edit", f"{where}/edit", body="<p>地点：柘南街道</p><script>x()</script>", do="submit"
    )
    assert edited.headers["location"].endswith("submitted")
    assert made.notices.get(waiting.id).content.body == "<p>地点：柘南街道</p>"


def test_a_correction_is_minor_or_major_and_a_major_one_needs_a_note(
    made: Services, desks: tuple[TestClient, TestClient]
) -> None:
    first, _ = desks
    price = find(made, "用水第一级价格")
    where = f"/editor/notices/{price.id}/edit"
    body = fields(first.get(where).text, where)["body"].replace("3.45", "3.54")
    undecided = submit(first, where, where, body=body, do="save")
    assert undecided.status_code == 422 and "小改动，还是重要更正" in undecided.text
    silent = submit(first, where, where, body=body, do="save", major="yes")
    assert silent.status_code == 422 and "要写明改了什么" in silent.text
    same = submit(first, where, where, do="save", major="no")
    assert "没有可更正的" in same.text
    done = submit(first, where, where, body=body, do="save", major="yes", note="价格误写")
    assert done.headers["location"].endswith("corrected")
    after = made.notices.get(price.id)
    assert "3.54" in after.content.body and after.revision == 2
    assert set(after.tags) == set(price.tags)  # nobody touched them


def test_tags_alone_change_without_a_revision(made: Services, desks: tuple[TestClient, TestClient]) -> None:
    price = find(made, "用水第一级价格")
    where = f"/editor/notices/{price.id}/edit"
    ticked = [tag for tag in fields(desks[0].get(where).text, where)["tag"] if tag != "theme:0304"]
    answer = submit(desks[0], where, where, tag=[*ticked, "theme:1703"], do="save")
    assert answer.headers["location"].endswith("retagged")
    after = made.notices.get(price.id)
    assert after.revision == 1 and "1703" in after.codes("theme") and "0304" not in after.codes("theme")
    assert [row["action"] for row in made.audit.of(price.id)] == ["retag"]


def test_a_withdrawal_needs_a_reason(made: Services, desks: tuple[TestClient, TestClient]) -> None:
    first, _ = desks
    where = f"/editor/notices/{find(made, '道路命名').id}"
    assert submit(first, where, f"{where}/move", do="withdrawn", note=" ").status_code == 422
    assert (
        submit(first, where, f"{where}/move", do="withdrawn", note="名称有误")
        .headers["location"]
        .endswith("withdrawn")
    )


def test_the_preview_suggests_tags_and_saves_nothing(
    made: Services, desks: tuple[TestClient, TestClient]
) -> None:
    first, _ = desks
    before = made.notices.counts().total
    sheet: dict[str, Any] = fields(first.get("/editor/write").text, "/editor/write")
    sheet |= {"title": "柘南街道停水通知", "body": "因供水管道检修，10月20日停水。", "do": "preview"}
    answer = first.post("/editor/write", data=sheet)
    check_bones(answer.text)
    page = LexborHTMLParser(answer.text)
    suggested = {str(node.attributes["value"]): node for node in page.css(".suggest input[name=tag]")}
    assert any(tag.startswith("theme:") for tag in suggested) and "place:sl0303" in suggested
    assert "标题里有“停水”" in answer.text
    assert made.notices.counts().total == before
    again = first.post(
        "/editor/write", data=fields(answer.text, "/editor/write") | {"tag": list(suggested), "do": "preview"}
    )
    kept = fields(again.text, "/editor/write")
    assert kept["places"] == "柘南街道" and set(kept["tag"]) >= {
        tag for tag in suggested if tag.startswith("theme:") and len(tag) > 8
    }


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"title": " "}, "title"),
        ({"title": "长" * 301}, "title"),
        ({"deadline_day": "20026-10-01"}, "deadline_day"),
        ({"deadline_day": "2026-02-30"}, "deadline_day"),
        ({"deadline_time": "17:00"}, "deadline_day"),
        ({"deadline_day": "2026-10-30", "deadline_time": "25:00"}, "deadline_day"),
        ({"effective_day": "0001-01-01"}, "effective_day"),
        ({"places": "火星区"}, "places"),
    ],
)
def test_a_slip_is_said_beside_its_field(
    made: Services, desks: Any, changed: dict[str, str], field: str
) -> None:
    sheet = fields(desks[0].get("/editor/write").text, "/editor/write") | {
        "title": "标题",
        "body": "正文保留",
        "do": "save",
    }
    answer = desks[0].post("/editor/write", data=sheet | changed)
    assert answer.status_code == 422 and "正文保留" in answer.text
    assert LexborHTMLParser(answer.text).css_first(f"#{field}-error") is not None


@pytest.mark.parametrize("tab", ["draft", "review", "released", "closed", "untagged", "nonsense"])
def test_every_tab_opens_in_both_languages(
    made: Services, desks: tuple[TestClient, TestClient], tab: str
) -> None:
    draft(made, made.staff.get(1))  # type: ignore[arg-type]
    for lang in ("zh", "en"):
        check_bones(desks[0].get(f"/editor/?tab={tab}&lang={lang}").text)


def test_a_writer_cannot_approve(made: Services) -> None:
    (_, key), (other, _) = staff(made)
    _writer, pen = made.staff.add("小吴", ("writer",), at=made.clock.now())
    waiting = draft(made, other)
    made.desk.submit(waiting.id, other)
    where = f"/editor/notices/{waiting.id}"
    refused = submit(enter(made, pen), where, f"{where}/move", do="approved")
    assert refused.status_code == 422 and "没有这项权限（editor）" in refused.text
    english = submit(enter(made, pen, "en"), where, f"{where}/move", do="approved")
    assert "Your account may not approve notices" in english.text
    assert submit(enter(made, key), where, f"{where}/move", do="nonsense").status_code == 422


def test_a_notice_is_set_off_or_held_back_without_a_revision(
    made: Services, desks: tuple[TestClient, TestClient]
) -> None:
    first, _ = desks
    notice = find(made, "停水通告")
    where, page = f"/editor/notices/{notice.id}/weight", f"/editor/notices/{notice.id}"
    form = fields(first.get(page).text, where)
    assert form["weight"] == "0"
    numbers, revisions = made.notices.material_number(), made.notices.revisions(notice.id)
    assert first.post(where, data=form | {"weight": "1"}).headers["location"] == f"{page}?done=weighed"
    shown = first.get(f"{page}?done=weighed").text
    check_bones(shown)
    assert "权重已保存" in shown and "编辑权重" in shown and fields(shown, where)["weight"] == "1"
    after = made.notices.get(notice.id)
    assert (after.prominence, after.revision, after.changed_at) == (1, notice.revision, notice.changed_at)
    assert made.notices.material_number() == numbers and made.notices.revisions(notice.id) == revisions
    first.post(where, data=form | {"weight": "1"})  # again: no row in the audit
    first.post(where, data=form | {"weight": "-1"})
    rows = [row for row in made.audit.of(notice.id) if row["action"] == "weigh"]
    assert [(row["details"]["before"], row["details"]["prominence"]) for row in rows] == [(0, 1), (1, -1)]
    assert "降低" in first.get("/editor/?tab=released").text or "降低" in first.get(page).text
    for bad in ("2", "", "x", "-2"):
        assert first.post(where, data=form | {"weight": bad}).status_code == 422
    assert made.audit.verify().broken_at is None


def test_a_weight_needs_an_editor_and_a_notice_that_can_still_be_picked(made: Services) -> None:
    writer = made.staff.add("只写", ("writer",), at=made.clock.now())
    browser = enter(made, writer[1], "en")
    notice = find(made, "道路命名")
    where = f"/editor/notices/{notice.id}/weight"
    form = fields(browser.get(f"/editor/notices/{notice.id}").text, where)
    refused = browser.post(where, data=form | {"weight": "1"})
    assert refused.status_code == 422 and made.notices.get(notice.id).prominence == 0
    check_bones(refused.text)
    (_, key), _ = staff(made)
    editor = enter(made, key)
    made.notices.set_state(notice.id, "withdrawn", at=made.clock.now(), reason="x")
    assert where not in editor.get(f"/editor/notices/{notice.id}").text
    form = fields(editor.get("/editor/").text, "/editor/leave")
    assert editor.post(where, data=form | {"weight": "1"}).status_code == 422
