"""The console of sources in a browser: what editors see of each, what they may do, and changes that wait."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from selectolax.lexbor import LexborHTMLParser
from sqlalchemy import update
from starlette.testclient import TestClient

from api import source_views
from api.ops import doctor
from api.web.wording import words
from api.wiring import Services
from feeds.catalogue.identity import Likeness
from feeds.catalogue.notices import NewNotice, NoticeContent
from feeds.intake.health import ALARMS
from feeds.intake.poll_log import source_poll
from feeds.intake.sources import Source
from feeds.intake.sources import source as source_table
from feeds.intake.types import Fetched
from tests import webfixture
from tests.integration.test_cli_sources import feed
from tests.integration.test_web_desk import enter
from tests.integration.test_web_pages import check_bones
from tests.webfixture import find, staff, submit, visitor

_filled, made, client = webfixture.filled, webfixture.made, webfixture.client
BODY = feed("停水通知", "停电通知")


def add(made: Services, slug: str, name: str, *, days: int = 100, **settings: Any) -> Source:
    url = f"https://{slug}.shili.example/feed.xml"
    at = made.clock.now() - timedelta(days=days)
    return made.sources.add(slug=slug, name=name, url=url, at=at, **settings)


def answered(
    made: Services, slug: str, at: datetime, *, entries: int = 12, new: int = 0, body: bytes = BODY
) -> None:
    source = made.sources.by_slug(slug)
    headers = {"content-type": "application/rss+xml", "etag": f'"{at:%j%H}"'}
    fetched = Fetched(200, source.url or "", body, headers, at)
    made.sources.record_ok(source, fetched, at=at, seconds=0.3, entries=entries, new=new)


def lived(made: Services, slug: str, weeks: list[int]) -> None:
    """Good polls with so many new entries in each week, the oldest first."""
    now = made.clock.now()
    answered(made, slug, now - timedelta(days=99), new=12)
    for number, count in enumerate(weeks):
        at = now - timedelta(weeks=len(weeks) - 1 - number, days=2)
        answered(made, slug, at, new=count, body=BODY + b" " * number)


def stock(made: Services) -> None:
    """Sources in every mood."""
    now = made.clock.now()
    usual = [3, 4, 2, 5, 3, 4, 4, 3, 5, 2, 4, 3, 4]
    add(made, "bulletin", "示例市公报", tags=["theme:0304"], rules=["exclude title: 招聘"])
    lived(made, "bulletin", usual)
    answered(made, "bulletin", now - timedelta(minutes=25), new=1, body=BODY + b"  ")
    add(made, "water", "示例市水务局 通知公告", release="review")
    lived(made, "water", usual)
    answered(made, "water", now - timedelta(hours=3), entries=0, body=b"<rss><channel/></rss>")
    add(made, "power", "示例市电力局")
    lived(made, "power", usual[:-2])
    for hours in (9, 7, 5, 3):
        source = made.sources.by_slug("power")
        error = "https://power.shili.example/feed.xml answered 500 instead of 200; it has trouble."
        made.sources.record_failure(source, at=now - timedelta(hours=hours), error=error, status=500)
    flood = add(made, "district", "柘渡区人民政府")
    lived(made, "district", usual)
    many = feed(*(f"第{n}号通告<b>&amp;</b>" for n in range(1, 13)), prefix="x")
    fetched = Fetched(200, flood.url or "", many, {"content-type": "application/rss+xml"}, now)
    made.sources.hold(
        flood.id,
        at=now,
        reason="12 entries of '柘渡区人民政府' suddenly look new; an editor must release the source.",
        fetched=fetched,
        entries=12,
    )
    add(made, "old", "旧网站", days=400)
    made.sources.record_failure(made.sources.by_slug("old"), at=now, error="It answered 410.", status=410)
    add(made, "resting", "示例大学")
    made.sources.pause("resting", True)
    add(made, "fresh", "示例市气象台", days=0, kind="cap")
    made.sources.check_health(now)


@pytest.fixture
def desk(made: Services) -> TestClient:
    """An editor's browser in front of a stocked console."""
    (_, key), _ = staff(made)
    stock(made)
    return enter(made, key)


def words_of(page: str, selector: str) -> list[str]:
    return [" ".join(node.text().split()) for node in LexborHTMLParser(page).css(selector)]


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("show", ["all", "alarms", "held", "paused", "nonsense"])
def test_the_list_is_whole_in_both_languages(desk: TestClient, show: str, lang: str) -> None:
    check_bones(desk.get(f"/editor/sources?show={show}&lang={lang}").text)


def test_alarms_stand_first_and_are_words_not_colours(desk: TestClient) -> None:
    page = desk.get("/editor/sources").text
    names = words_of(page, ".sources .name a")
    assert set(names[:4]) == {"示例市水务局 通知公告", "示例市电力局", "柘渡区人民政府", "旧网站"}
    assert names[-1] == "示例大学"
    states = words_of(page, ".sources .badge")
    assert set(states[:4]) == {"警报：突然变空", "警报：抓不到", "警报：待放行", "警报：已停用"}
    assert "突然没有条目（平常约 12 条）" in page and "近一周5条，平常3.6条" in page
    assert "feed.xml 答复 500：对方服务器出错。" in page and "“柘渡区人民政府”有12条内容" in page
    assert len(words_of(desk.get("/editor/sources?show=alarms").text, ".sources tbody tr")) == 4
    front = desk.get("/editor/").text
    assert "4个有警报" in front
    assert "4 alarms" in desk.get("/editor/?lang=en").text


@pytest.mark.parametrize("slug", ["bulletin", "water", "power", "district", "old", "resting", "fresh"])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_source_has_a_page(desk: TestClient, slug: str, lang: str) -> None:
    answer = desk.get(f"/editor/sources/{slug}?lang={lang}")
    assert answer.status_code == 200
    check_bones(answer.text)


def test_the_page_shows_weeks_polls_and_the_kept_answers(desk: TestClient) -> None:
    page = LexborHTMLParser(desk.get("/editor/sources/water").text)
    assert len(page.css("svg.bars rect")) == 13
    assert len(page.css("details .polls tbody tr")) == 13
    kept = page.css("pre.answer")
    assert kept[0].text().startswith("<rss><channel/>") and len(kept) == 2
    assert "先审后发" in page.body.text()  # type: ignore[union-attr]
    assert desk.get("/editor/sources/nobody").status_code == 404


def test_a_held_flood_shows_what_was_held_and_can_be_released(made: Services, desk: TestClient) -> None:
    where = "/editor/sources/district"
    page = desk.get(where).text
    assert "12条内容突然看起来都是新的" in page and "第1号通告" in page and "……还有4条" in page
    assert "<b>&amp;</b>" not in page
    assert submit(desk, where, where, do="release").headers["location"] == f"{where}?done=release"
    assert "已放行" in desk.get(f"{where}?done=release").text
    assert made.sources.by_slug("district").held_at is None
    again = desk.post(where, data={"_form": form(desk, where), "do": "release"})
    assert again.status_code == 422 and "没有待放行的内容" in again.text


def test_poll_now_pause_and_resume(made: Services, desk: TestClient) -> None:
    where = "/editor/sources/bulletin"
    assert (made.sources.by_slug("bulletin").next_poll_at or 0) > made.clock.now()  # type: ignore[operator]
    desk.post(where, data={"_form": form(desk, where), "do": "poll"})
    assert [one.slug for one in made.sources.due(made.clock.now())].count("bulletin") == 1
    desk.post(where, data={"_form": form(desk, where), "do": "pause"})
    assert made.sources.by_slug("bulletin").paused and "恢复抓取" in desk.get(where).text
    desk.post(where, data={"_form": form(desk, where), "do": "resume"})
    assert not made.sources.by_slug("bulletin").paused
    assert desk.post(where, data={"_form": form(desk, where), "do": "delete"}).status_code == 422
    assert made.audit.verify().broken_at is None and made.audit.verify().rows == 3


def test_a_writer_looks_but_does_not_touch(made: Services, desk: TestClient) -> None:
    _, key = made.staff.add("小吴", ("writer",), at=made.clock.now())
    pen = enter(made, key)
    where = "/editor/sources/bulletin"
    refused = pen.post(where, data={"_form": form(pen, where), "do": "pause"})
    assert refused.status_code == 422 and "没有这项权限（editor）" in refused.text
    assert not made.sources.by_slug("bulletin").paused


def form(browser: TestClient, where: str) -> str:
    node = LexborHTMLParser(browser.get(where).text).css_first("input[name=_form]")
    assert node is not None
    return str(node.attributes["value"])


# -- what waits --------------------------------------------------------------------------------------


def test_a_held_notice_says_why_it_waits(made: Services, desk: TestClient) -> None:
    content = NoticeContent(title="【示例】关于拆迁补偿的公告", body="<p>自即日起。</p>")
    reasons = ("word:拆迁", "review-source", "rule:review: 拆迁", "something-new")
    ids = made.notices.add(
        [NewNotice(content, 1, f"g{n}", state="in_review", reason=why) for n, why in enumerate(reasons)],
        at=made.clock.now(),
    )
    page = desk.get("/editor/?tab=review").text
    for part in ("词表里的“拆迁”", "先审后发", "关键词规则：review: 拆迁", "something-new"):
        assert part in page, part
    check_bones(page)
    where = f"/editor/notices/{ids[0]}"
    assert "待审原因：文中有本单位词表里的“拆迁”" in desk.get(where).text
    assert submit(desk, where, f"{where}/move", do="approved").status_code == 303
    assert visitor(made).get(f"/notices/{ids[0]}").status_code == 200


def hold_change(made: Services) -> tuple[int, NoticeContent]:
    price = find(made, "用水第一级价格")
    body = price.content.body.replace("3.45", "3.54")
    changed = replace(price.content, body=body)
    made.notices.hold_change(price.id, changed, at=made.clock.now(), reason="word:价格")
    return price.id, changed


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_change_that_waits_is_shown_word_by_word(made: Services, desk: TestClient, lang: str) -> None:
    number, _ = hold_change(made)
    check_bones(desk.get(f"/editor/changes?lang={lang}").text)
    page = desk.get(f"/editor/changes/{number}?lang={lang}").text
    check_bones(page)
    assert [text[-4:] for text in words_of(page, ".diff del, .diff ins")] == ["3.45", "3.54"]


def test_a_change_is_taken(made: Services, desk: TestClient) -> None:
    number, changed = hold_change(made)
    assert "1处" in desk.get("/editor/").text
    where = f"/editor/changes/{number}"
    silent = submit(desk, where, where, do="take", major="yes")
    assert silent.status_code == 422 and "要写明改了什么" in silent.text
    undecided = submit(desk, where, where, do="take")
    assert undecided.status_code == 422 and "小改动，还是重要更正" in undecided.text
    done = submit(desk, where, where, do="take", major="yes", note="价格误写")
    assert done.headers["location"] == "/editor/changes?done=taken"
    after = made.notices.get(number)
    assert after.content.body == changed.body and after.revision == 2
    assert made.notices.pending_changes() == [] and desk.get(where).status_code == 404
    assert "采用上游改动" in desk.get(f"/editor/notices/{number}").text


def test_a_change_is_left(made: Services, desk: TestClient) -> None:
    number, changed = hold_change(made)
    where = f"/editor/changes/{number}"
    assert submit(desk, where, where, do="dismiss").headers["location"].endswith("dismissed")
    notice = made.notices.get(number)
    assert notice.revision == 1 and made.notices.pending_changes() == []
    known = made.notices.known(notice.source_id, [notice.guid])[notice.guid]
    assert known.content_hash == changed.hash()  # so that the next poll does not ask again
    assert desk.get("/editor/changes?done=dismissed").status_code == 200


def test_a_change_that_was_not_looked_at_is_not_taken(made: Services, desk: TestClient) -> None:
    number, changed = hold_change(made)
    where = f"/editor/changes/{number}"
    given = webfixture.fields(desk.get(where).text, where)
    made.notices.hold_change(
        number, replace(changed, title="【示例】又变了"), at=made.clock.now(), reason="id-number"
    )
    late = desk.post(where, data=given | {"do": "take", "major": "no"})
    assert late.status_code == 422 and "刚才又变了" in late.text
    assert made.notices.get(number).revision == 1


# -- duplicates --------------------------------------------------------------------------------------


def test_a_notice_and_its_duplicates_name_each_other(made: Services, desk: TestClient) -> None:
    bureau = made.sources.by_slug("water")
    lead = find(made, "用水第一级价格")
    like = Likeness(lead.id, "duplicate_of", "same document number")
    maybe = Likeness(lead.id, "similar_to", "titles are alike")
    other = replace(lead.content, title="【示例】水价说明")
    now = made.clock.now()
    [twin] = made.notices.add([NewNotice(lead.content, bureau.id, "w1", likeness=like)], at=now)
    [kin] = made.notices.add([NewNotice(other, bureau.id, "w2", likeness=maybe)], at=now)
    browser = visitor(made)
    told = words_of(browser.get(f"/notices/{lead.id}").text, ".related li")
    assert f"同时发布： {bureau.name}" in told and "可能相同： 水价说明" in told
    assert sum("同时发布" in line for line in told) == 1, told
    bulletin = made.sources.by_slug("bulletin")
    made.notices.add([NewNotice(lead.content, bulletin.id, "b1", likeness=like)], at=now)
    told = words_of(browser.get(f"/notices/{lead.id}").text, ".related li")
    assert f"同时发布： {bureau.name}、{bulletin.name}" in told, told
    back = words_of(browser.get(f"/notices/{twin}").text, ".related li")
    first = made.sources.get(lead.source_id or 0).name
    assert back[0].startswith("同一公告，以此为准：") and back[0].endswith(f"（{first}）") and len(back) == 1
    english = words_of(visitor(made, "en").get(f"/notices/{kin}").text, ".related li")
    assert english[0].startswith("Possibly the same:")


# -- figures -----------------------------------------------------------------------------------------


def test_figures_are_for_this_machine_only(made: Services) -> None:
    stock(made)
    here = visitor(made, client=("127.0.0.1", 50000))
    answer = here.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(
        "text/plain; version=0.0.4"
    )
    lines = answer.text.splitlines()
    for line in (
        'mycity_sources{state="empty"} 1.0',
        'mycity_sources{state="silent"} 0.0',
        'mycity_source_alarm{alarm="failing",source="power"} 1.0',
        'mycity_source_success_age_seconds{source="bulletin"} 1500.0',
        'mycity_source_failures{source="power"} 4.0',
        "mycity_notices_held 0.0",
        "mycity_changes_pending 0.0",
    ):
        assert line in lines, line
    assert not any("resting" in line and "due" in line for line in lines)
    for who in (("8.8.8.8", 1), ("testclient", 1)):
        assert visitor(made, client=who).get("/metrics").status_code == 404
    assert here.get("/metrics", headers={"x-forwarded-for": "8.8.8.8"}).status_code == 404


def test_figures_are_for_whoever_has_the_token(made: Services) -> None:
    settings = made.settings.model_copy(update={"metrics_token": SecretStr("figures-please")})
    browser = visitor(replace(made, settings=settings), client=("8.8.8.8", 1))
    assert browser.get("/metrics").status_code == 404
    right, wrong = ({"authorization": f"Bearer {word}"} for word in ("figures-please", "figures"))
    assert browser.get("/metrics", headers=wrong).status_code == 404
    assert browser.get("/metrics", headers=right).status_code == 200


def test_views_know_why_the_next_poll_is_then(made: Services) -> None:
    stock(made)
    bulletin = source_views.view(made, "bulletin")
    assert source_views.why_next(bulletin.source) == "interval"
    assert source_views.why_next(made.sources.by_slug("power")) == "errors"
    assert source_views.why_next(made.sources.by_slug("old")) == "gone"
    assert source_views.alarms(made) == 4


def test_list_desk_and_figures_tell_the_same_alarms(made: Services) -> None:
    stock(made)
    now = made.clock.now()
    lived(made, "resting", [4] * 13)
    made.sources.pause("resting", False)
    answered(made, "resting", now, entries=2, body=BODY + b"   ")  # of usually twelve
    lived(made, "fresh", [0] * 13)
    add(made, "flaps", "示例市林业局")
    lived(made, "flaps", [4] * 13)
    for minutes in range(25, 0, -1):
        flaps, at = made.sources.by_slug("flaps"), now - timedelta(hours=3, minutes=minutes)
        made.sources.record_failure(flaps, at=at, error="broken", status=500)
    answered(made, "flaps", now, new=1, body=BODY + b"    ")
    add(made, "quiet", "示例市档案局")
    lived(made, "quiet", [20] * 10)
    answered(made, "quiet", now)
    quiet, long_ago = made.sources.by_slug("quiet"), now - timedelta(days=30)
    with made.database.write() as connection:
        connection.execute(
            update(source_table).where(source_table.c.id == quiet.id).values(last_new_at=long_ago)
        )
        row = source_poll.c
        connection.execute(
            update(source_poll).where(row.source_id == quiet.id, row.at > long_ago).values(new=0)
        )
    add(made, "broken", "示例市园林局", days=0)
    made.sources.record_failure(made.sources.by_slug("broken"), at=now, error="It broke.", status=0)
    made.sources.check_health(now)
    listed = {one.source.slug: one.health.state for one in source_views.overview(made)}
    wanted = {"shrunk", "flapping", "silent", "empty", "failing", "held", "gone"}
    assert wanted <= set(listed.values()), listed
    assert listed["broken"] == "failing"
    alarms = {slug: state for slug, state in listed.items() if state in ALARMS}
    assert source_views.alarms(made) == len(alarms)
    figures = visitor(made, client=("127.0.0.1", 50000)).get("/metrics").text
    told = re.findall(r'mycity_source_alarm\{alarm="(\w+)",source="([\w-]+)"\} 1.0', figures)
    assert {slug: state for state, slug in told} == alarms
    for state in set(listed.values()):
        count = list(listed.values()).count(state)
        assert f'mycity_sources{{state="{state}"}} {count}.0' in figures, state


def test_the_review_queue_names_where_a_notice_came_from(made: Services, desk: TestClient) -> None:
    water, lead = made.sources.by_slug("water"), find(made, "用水第一级价格")
    content = replace(lead.content, title="【示例】水价说明", url="https://water.shili.example/7.html")
    maybe = Likeness(lead.id, "similar_to", "titles are alike")
    held = NewNotice(content, water.id, "w7", state="in_review", reason="review-source", likeness=maybe)
    [number] = made.notices.add([held], at=made.clock.now())
    for where in ("/editor/?tab=review", f"/editor/notices/{number}"):
        page = desk.get(where).text
        check_bones(page)
        assert '<a href="/editor/sources/water">' in page and "（water）" in page
        assert f'href="{content.url}"' in page
        assert f"可能相同： 第{lead.id}号" in " ".join(words_of(page, ".meta"))


def test_two_sources_of_one_name_can_be_told_apart(made: Services, desk: TestClient) -> None:
    add(made, "bulletin-2", "示例市公报", days=0)
    page = desk.get("/editor/sources").text
    assert {"bulletin", "bulletin-2"} <= set(words_of(page, ".sources .slug"))
    assert page.count("历史不足一周") == 1


def test_a_source_that_never_answered_says_why(made: Services, desk: TestClient) -> None:
    add(made, "wrong", "示例市园林局", days=0)
    url = "https://wrong.shili.example/feed.xml"
    error = f"{url} is a web page, not a feed; look for the address of its feed."
    made.sources.record_failure(made.sources.by_slug("wrong"), at=made.clock.now(), error=error, status=200)
    page = desk.get("/editor/sources/wrong").text
    assert "警报：抓不到" in page and f"第一次抓取就失败，至今没有成功过：{url} 是网页，不是订阅源。" in page


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("U answered 404 instead of 200; check it.", "U 答复 404：没有这一页，请核对地址。"),
        ("U answered 429 instead of 200; wait, in 60 seconds at the earliest.", "U 答复 429：对方嫌问得太勤"),
        ("U answered 418 instead of 200.", "U 答复 418。"),
        ("U did not answer in time: nothing came for 10 seconds.", "U 超时没有答复。"),
        (
            "U cannot be reached: its certificate is not accepted: it has expired; …",
            "U 的证书已过期",
        ),
        ("U cannot be reached: TLS does not come about (wrong version); check …", "U 的加密连接（TLS）"),
        ("U cannot be reached: nobody listens on 1.2.3.4 port 80; check the port and …", "U 拒绝连接"),
        ("U cannot be reached: the name x.example is not known (no); check it.", "U 的域名 x.example 查不到"),
        ("U is an error page (系统错误), not JSON; look at it in a browser.", "U 是一个出错页面"),
        ("U is a web page (首页), not a CSV; look at it in a browser.", "U 是网页，不是 CSV"),
        (
            "In U most rows have no title where the recipe looks for it ('题'); its layout may have changed.",
            "U 的多数条目在读取方法指定的位置（题）没有标题",
        ),
        ("Changed by its publisher", "发布方已更改"),
    ],
)
def test_stored_errors_are_said_in_chinese(error: str, said: str) -> None:
    assert words("zh").explain(ValueError(error)).startswith(said)
    assert words("en").explain(ValueError(error)) == error


def test_the_doctor_names_what_waits(made: Services) -> None:
    stock(made)
    content = NoticeContent(title="【示例】待审公告")
    made.notices.add([NewNotice(content, 1, "g", state="in_review", reason="x")], at=made.clock.now())
    found = {item.name: item for item in doctor.at_work(made.database, made.clock.now())}
    assert found["sources"].status == "note" and "water (empty)" in found["sources"].message
    assert found["desk"].message.startswith("Waiting for an editor: 1 notices, 0 upstream changes")
    assert found["queue"].status == "ok"
