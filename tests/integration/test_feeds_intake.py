"""Sources of every kind, over real HTTP into a real store: what lands, what waits, what is taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feeds.catalogue.city_files import load_city
from feeds.catalogue.notices import Notice
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tagger
from feeds.catalogue.vocabulary import City
from feeds.intake.ingest import Ingestor
from feeds.intake.sources import Source, SourceStore
from feeds.intake.types import IngestReport
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError, FetchError, UsageError
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import FixedClock
from tests.loopback import Loopback, answer, serving


@pytest.fixture(scope="session")
def shili() -> City:
    return load_city("shili")


@pytest.fixture(scope="session")
def tagger(shili: City) -> Tagger:
    return Tagger(shili)


class House:
    """One installation that polls a loopback server."""

    def __init__(
        self, database: Database, city: City, tagger: Tagger, clock: FixedClock, web: Loopback
    ) -> None:
        self.notices, self.sources, self.clock, self.web = (
            NoticeStore(database),
            SourceStore(database),
            clock,
            web,
        )
        self.ingestor = Ingestor(self.notices, self.sources, tagger, city, clock)
        self.client = GuardedClient(user_agent="MyCity/test", allow_private=[web.place])

    def add(self, slug: str, body: bytes | str, *, kind: str = "feed", **settings: Any) -> Source:
        self.says(slug, body)
        url = self.web.url(f"/{slug}")
        return self.sources.add(
            slug=slug, name=f"示例·{slug}", kind=kind, url=url, at=self.clock.now(),
            timezone="Asia/Shanghai", **settings,
        )  # fmt: skip

    def says(self, slug: str, body: bytes | str, **headers: str) -> None:
        self.web.routes[f"/{slug}"] = answer(200, body.encode() if isinstance(body, str) else body, **headers)

    def poll(self, slug: str) -> IngestReport:
        report = self.ingestor.poll(self.sources.by_slug(slug), self.client)
        self.clock.advance(timedelta(minutes=30))
        return report

    def all(self) -> list[Notice]:
        return list(self.notices.export())

    def one(self, part: str) -> Notice:
        [found] = [notice for notice in self.all() if part in notice.content.title]
        return found


@pytest.fixture
def web() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture
def house(sqlite: Database, shili: City, tagger: Tagger, clock: FixedClock, web: Loopback) -> House:
    return House(sqlite, shili, tagger, clock, web)


def item(number: int | str, title: str = "", body: str = "", **more: str) -> str:
    extra = "".join(f"<{name}>{text}</{name}>" for name, text in more.items())
    return (
        f"<item><guid isPermaLink='false'>n-{number}</guid><title>{title or f'示例通知 {number}'}</title>"
        f"<link>https://sl.example/{number}</link><pubDate>Mon, 05 Oct 2026 08:00:00 +0800</pubDate>"
        f"<description>{body or f'第{number}项内容，请有关单位知悉。'}</description>{extra}</item>"
    )


def rss(*items: str) -> str:
    return f"<rss version='2.0'><channel><title>示例</title>{''.join(items)}</channel></rss>"


def problems(report: IngestReport) -> Counter[str]:
    return Counter(oddity.problem for oddity in report.oddities)


def balanced(report: IngestReport) -> bool:
    parts = (report.new, report.changed, report.same, report.dropped, report.skipped, report.deferred)
    return report.read == sum(parts)


# -- what a source's settings do ---------------------------------------------------------------------


def test_keyword_rules_leave_out_tag_and_send_to_review(house: House) -> None:
    house.add(
        "office",
        rss(item(1, "停水通知"), item(2, "招聘公告"), item(3, "房屋征收公告"), item(4, "开放日")),
        rules=["exclude title: 招聘", "tag theme:1301: 停水", "review: 征收"],
        tags=["role:enterprise"],
    )
    report = house.poll("office")
    assert (report.read, report.new, report.skipped, report.held) == (4, 3, 1, 1)
    assert balanced(report)
    assert {"theme:1301", "role:enterprise"} <= {f"{t.kind}:{t.code}" for t in house.one("停水").tags}
    assert "1301" not in house.one("开放日").codes("theme")
    waiting = house.one("征收")
    assert (waiting.state, waiting.reason) == ("in_review", "rule:review: 征收")
    assert house.one("停水").state == "released"


def test_what_a_source_under_review_says_waits_and_so_do_its_changes(house: House) -> None:
    house.add("office", rss(item(1, "停水通知")), release="review")
    assert house.poll("office").held == 1
    notice = house.one("停水")
    assert (notice.state, notice.reason) == ("in_review", "review-source")
    house.notices.set_state(notice.id, "released", at=house.clock.now())
    house.says("office", rss(item(1, "停水通知（时间有变）")))
    report = house.poll("office")
    assert (report.changed, report.held) == (0, 1)
    assert house.one("停水").content.title.endswith("停水通知")  # readers see the old text until it is taken
    [pending] = house.notices.pending_changes()
    assert pending.content.title.endswith("时间有变）")


def test_the_offices_word_list_stops_what_a_trusted_source_says(house: House) -> None:
    house.add("office", rss(item(1, "通知"), item(2, "会议纪要", "内部资料，注意保存")))
    report = house.poll("office")
    assert (report.new, report.held) == (2, 1)
    assert house.one("会议纪要").reason == "word:内部资料"


def test_a_list_cannot_call_itself_urgent(house: House) -> None:
    recipe = {"fields": {"title": "t", "url": "u", "priority": "p"}}
    with pytest.raises(UsageError, match="priority"):
        house.add("list", "[]", kind="json", recipe=recipe)


# -- lists -------------------------------------------------------------------------------------------


def test_an_html_list_whose_pages_are_read_politely_and_once(house: House) -> None:
    links = "".join(
        f"<li><a href='/page/{n}' title='示例区第{n}号公告全文标题'>示例区…</a><span>2026-10-0{n}</span></li>"
        for n in (1, 2, 3)
    )
    recipe = {
        "items": "ul.list li",
        "fields": {"title": "a@title", "url": "a@href", "published": "span"},
        "page": {"main": "div.article"},
    }
    for n in (1, 2, 3):
        page = f"<body><nav>首页</nav><div class='article'><p>正文{n}：自十月起执行。</p></div></body>"
        house.web.routes[f"/page/{n}"] = answer(200, page.encode(), Content_Type="text/html; charset=utf-8")
    house.add("list", f"<ul class='list'>{links}</ul>", kind="html", recipe=recipe, full_text=True)
    report = house.poll("list")
    assert (report.new, balanced(report)) == (3, True)
    notice = house.one("第2号公告")
    assert "正文2：自十月起执行" in notice.content.body
    assert "首页" not in notice.content.body
    asked = len(house.web.asked)
    house.says("list", f"<ul class='list'>{links}</ul> ")  # other bytes, the same entries
    report = house.poll("list")
    assert (report.same, report.new, report.changed) == (3, 0, 0)
    assert len(house.web.asked) == asked + 1  # no page was asked again


def test_a_page_that_is_gone_takes_its_notice_back_and_one_that_left_the_list_does_not(house: House) -> None:
    def listed(*numbers: int) -> str:
        return "".join(f"<li><a href='/page/{n}'>示例公告第{n}号</a> <i>2026-10-05</i></li>" for n in numbers)

    recipe = {"items": "li", "fields": {"title": "a", "url": "a@href", "published": "i"}}
    for n in (1, 2, 3):
        house.web.routes[f"/page/{n}"] = answer(200, b"<p>" + "正文。".encode() * 30 + b"</p>")
    house.add("list", listed(1, 2, 3), kind="html", recipe=recipe, full_text=True)
    house.poll("list")
    house.web.routes["/page/1"] = answer(410)
    house.says("list", listed(3))
    report = house.poll("list")
    assert report.withdrawn == 1
    assert house.one("第1号").state == "withdrawn"
    assert house.one("第1号").reason.startswith("发布方已撤回")
    assert house.one("第2号").state == "released"


def test_more_pages_than_are_polite_wait_for_the_next_poll(house: House) -> None:
    many = "".join(f"<li><a href='/page/{n}'>示例公告第{n}号</a></li>" for n in range(25))
    for n in range(25):
        house.web.routes[f"/page/{n}"] = answer(200, f"<p>{'正文。' * 30}{n}</p>".encode())
    recipe = {"items": "li", "fields": {"title": "a", "url": "a@href"}}
    house.add("list", many, kind="html", recipe=recipe, full_text=True)
    first = house.poll("list")
    assert (first.new, first.deferred, balanced(first)) == (20, 5, True)
    second = house.poll("list")
    assert (second.new, second.same, second.deferred) == (5, 20, 0)


def test_a_long_list_of_pages_is_archive_to_its_end_and_no_flood(house: House) -> None:
    many = "".join(f"<li><a href='/page/{n}'>示例公告第{n}号</a></li>" for n in range(60))
    for n in range(72):
        house.web.routes[f"/page/{n}"] = answer(200, f"<p>{'正文。' * 30}{n}</p>".encode())
    recipe = {"items": "li", "fields": {"title": "a", "url": "a@href"}}
    house.add("list", many, kind="html", recipe=recipe, full_text=True)
    reports = [house.poll("list") for _ in range(3)]
    assert [report.new for report in reports] == [20, 20, 20]
    assert all(notice.archive for notice in house.all())
    house.says("list", "".join(f"<li><a href='/page/{n}'>示例公告第{n}号</a></li>" for n in range(72)))
    report = house.poll("list")  # twelve new ones among sixty known ones are no flood
    assert (report.new, problems(report)["flood-held"]) == (12, 0)


def test_a_page_that_fails_is_tried_again_another_day_and_blocks_nothing(house: House) -> None:
    recipe = {"items": "li", "fields": {"title": "a", "url": "a@href"}}
    house.web.routes["/page/1"] = answer(503)
    house.add("list", "<li><a href='/page/1'>示例公告</a></li>", kind="html", recipe=recipe, full_text=True)
    assert problems(house.poll("list"))["no-page"] == 1
    assert house.one("示例公告").content.body == ""
    house.web.routes["/page/1"] = answer(200, f"<p>{'正文。' * 30}</p>".encode())
    house.says("list", "<li><a href='/page/1'>示例公告</a></li> ")
    assert house.poll("list").same == 1
    house.clock.advance(timedelta(days=1))
    house.says("list", "<li><a href='/page/1'>示例公告</a></li>")
    assert house.poll("list").changed == 1
    assert "正文" in house.one("示例公告").content.body


def test_an_entry_of_a_public_source_cannot_lead_into_the_intranet(house: House) -> None:
    with serving() as inner:
        inner.routes["/secret"] = answer(200, "<p>内网机密内容。</p>".encode() * 20)
        house.client = GuardedClient(
            user_agent="MyCity/test",
            allow_private=[inner.place],
            allowed_ports=(80, 443, house.web.port),
            resolve=lambda host, port: ["127.0.0.1"] if host == "127.0.0.1" else ["93.184.216.34"],
        )
        with pytest.raises(FetchError, match=r"is not public|not allowed"):
            house.client.get(inner.url("/secret"), named_by="https://feeds.example/list")
        assert inner.asked == []
        assert house.client.get(inner.url("/secret")).status == 200  # a person named it


def test_a_deadline_for_ever_is_no_deadline(house: House) -> None:
    rows = [{"t": "示例申报", "u": "/1", "d": "9999-12-31T23:59:59Z"}]
    recipe = {"fields": {"title": "t", "url": "u", "deadline": "d"}}
    house.add("list", json.dumps(rows, ensure_ascii=False), kind="json", recipe=recipe)
    assert problems(house.poll("list"))["bad-date"] == 1
    assert house.one("示例申报").content.deadline is None


# -- warnings ----------------------------------------------------------------------------------------

_CAP = Path(__file__).resolve().parent.parent / "data" / "cap"


def cap_index(*paths: str) -> str:
    entries = "".join(
        f"<entry><id>urn:{path}</id><title>示例预警</title><updated>2026-09-26T14:0{n}:00Z</updated>"
        f"<link type='application/cap+xml' href='{path}'/></entry>"
        for n, path in enumerate(paths)
    )
    return (
        "<feed xmlns='http://www.w3.org/2005/Atom'><title>示例</title><id>urn:i</id>"
        f"<updated>2026-09-26T14:00:00Z</updated>{entries}</feed>"
    )


def test_a_warning_behind_an_index_is_asked_for_until_it_comes(house: House) -> None:
    house.web.routes["/one.cap"] = answer(503)
    house.add("index", cap_index("/one.cap"), kind="cap")
    first = house.poll("index")
    assert (first.new, first.deferred, problems(first)["no-warning"]) == (0, 1, 1)
    house.web.routes["/one.cap"] = answer(200, (_CAP / "typhoon-1-orange.cap").read_bytes())
    assert house.poll("index").new == 2  # two languages
    asked = len(house.web.asked)
    house.says("index", cap_index("/one.cap") + " ")
    assert house.poll("index").same == 1
    assert len(house.web.asked) == asked + 1


def test_dead_links_of_an_index_block_nothing(house: House) -> None:
    house.web.routes["/live.cap"] = answer(200, (_CAP / "typhoon-1-orange.cap").read_bytes())
    dead = [f"/dead-{n}.cap" for n in range(22)]
    house.add("index", cap_index("/live.cap", *dead), kind="cap")
    assert sum(house.poll("index").new for _ in range(2)) == 2


def test_an_untrusted_warning_waits_and_its_changes_wait_too(house: House) -> None:
    house.add("cap", (_CAP / "typhoon-1-orange.cap").read_bytes(), kind="cap", release="review")
    assert house.poll("cap").held == 2
    assert {(notice.state, notice.reason) for notice in house.all()} == {("in_review", "untrusted-warning")}
    for notice in house.all():
        house.notices.set_state(notice.id, "released", at=house.clock.now())
    house.says("cap", (_CAP / "typhoon-2-red.cap").read_bytes())
    house.poll("cap")
    assert all(change.priority == "emergency" for change in house.notices.pending_changes())
    assert house.notices.count_pending() >= 1


def test_a_csv_list_and_a_json_list(house: House) -> None:
    house.add(
        "csv",
        "标题,日期,链接\n示例甲,2026-10-01,/a\n示例乙,2026-10-02,/b\n",
        kind="csv",
        recipe={"fields": {"title": "标题", "published": "日期", "url": "链接"}},
    )
    assert house.poll("csv").new == 2
    rows = {"data": {"rows": [{"TITLE": "示例<em>丙</em>", "URL": "/c", "TIME": "2026年10月3日"}]}}
    house.add(
        "json",
        json.dumps(rows, ensure_ascii=False),
        kind="json",
        recipe={"items": "data.rows", "fields": {"title": "TITLE", "url": "URL", "published": "TIME"}},
    )
    assert house.poll("json").new == 1
    notice = house.one("示例丙")
    assert notice.content.published is not None
    assert notice.content.published.isoformat() == "2026-10-02T16:00:00+00:00"
    assert notice.content.url.startswith("http://127.0.0.1:")


# -- across sources ----------------------------------------------------------------------------------

_TEXT = (
    "各区人民政府，市政府各部门：为进一步规范本市既有多层住宅加装电梯工作，根据有关规定，现就业主表决、"
    "资金筹集、方案审查、施工管理和后续养护等事项通知如下，请认真执行。本通知自2026年11月1日起施行，有效期五年。"
)


def test_three_sources_of_one_document_are_one_pick_and_three_notices(house: House) -> None:
    title = "关于加装电梯工作的通知"
    for slug in ("platform", "bureau", "district"):
        house.add(slug, rss(item(slug, title, _TEXT)), agency="示例市住房管理局")
        house.poll(slug)
    assert len(house.all()) == 3
    [lead] = [notice for notice in house.all() if notice.lead_id is None]
    assert len(house.notices.groups([lead.id])[lead.id]) == 2
    assert [notice.id for notice in house.notices.pickable(house.clock.now())] == [lead.id]


def test_notices_that_differ_in_a_number_are_different_notices(house: House) -> None:
    house.add("one", rss(item("a", "停水通知（第3号）", _TEXT)))
    house.add("two", rss(item("b", "停水通知（第4号）", _TEXT)))
    house.poll("one")
    report = house.poll("two")
    assert all(notice.lead_id is None for notice in house.all())
    assert report.new == 1


# -- taken back --------------------------------------------------------------------------------------


def test_an_atom_tombstone_withdraws_with_the_publishers_words(house: House) -> None:
    def atom(inner: str) -> str:
        return (
            "<feed xmlns='http://www.w3.org/2005/Atom' xmlns:at='http://purl.org/atompub/tombstones/1.0'>"
            f"<title>示例</title><id>urn:f</id><updated>2026-10-05T00:00:00Z</updated>{inner}</feed>"
        )

    entry = (
        "<entry><id>urn:1</id><title>示例公告甲</title><updated>2026-10-05T00:00:00Z</updated>"
        "<summary>内容</summary></entry>"
    )
    house.add("atom", atom(entry))
    house.poll("atom")
    tombstone = (
        "<at:deleted-entry ref='urn:1' when='2026-10-06T00:00:00Z'><at:comment>登记有误</at:comment>"
        "</at:deleted-entry>"
    )
    house.says("atom", atom(tombstone))
    assert house.poll("atom").withdrawn == 1
    notice = house.one("示例公告甲")
    assert (notice.state, notice.reason) == ("withdrawn", "发布方已撤回：登记有误")
    house.says("atom", atom(tombstone) + " ")
    assert house.poll("atom").withdrawn == 0


def test_a_flapping_entry_is_capped(house: House) -> None:
    house.add("office", rss(item(1, "停水通知", "计数 0")))
    house.poll("office")
    changed = 0
    for round_ in range(1, 40):
        house.says("office", rss(item(1, "停水通知", f"计数 {round_}")))
        changed += house.poll("office").changed
    assert changed <= 25
    house.says("office", rss(item(1, "停水通知", "计数 41")))
    assert problems(house.poll("office"))["flapping"] == 1


# -- trouble -----------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_kept_for_diagnosis(house: House) -> None:
    house.add("office", rss(item(1)))
    house.poll("office")
    house.says("office", "<html><body>系统维护中</body></html>")
    with pytest.raises(BadInputError):
        house.poll("office")
    source = house.sources.by_slug("office")
    assert source.failures == 1
    kept = {one.which: one for one in house.sources.answers("office")}
    assert "系统维护中".encode() in kept["last"].body
    assert "示例通知".encode() in kept["good"].body


def test_a_source_that_is_gone_is_not_asked_again(house: House) -> None:
    house.add("office", rss(item(1)))
    house.web.routes["/office"] = answer(410)
    with pytest.raises(FetchError):
        house.poll("office")
    assert house.sources.by_slug("office").gone_at is not None
    house.clock.advance(timedelta(days=30))
    assert [source.slug for source in house.sources.due(house.clock.now())] == []


def test_the_same_bytes_are_not_parsed_again(house: House) -> None:
    house.add("office", rss(item(1)))
    assert house.poll("office").new == 1
    report = house.poll("office")
    assert (report.unchanged, report.read) == (True, 0)


_KILLED = """
import sys
from datetime import datetime, UTC
from feeds.catalogue.city_files import load_city
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tagging import Tagger
from feeds.intake import ingest
from feeds.intake.sources import SourceStore
from feeds.kernel.db import Database
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import FixedClock

ingest.BATCH = 5
database = Database(sys.argv[1])
city = load_city("shili")
sources = SourceStore(database)
clock = FixedClock(datetime(2026, 10, 12, 2, 0, tzinfo=UTC))
ingestor = ingest.Ingestor(NoticeStore(database), sources, Tagger(city), city, clock)
client = GuardedClient(user_agent="MyCity/test", allow_private=[sys.argv[2]])
print("ready", flush=True)
ingestor.poll(sources.by_slug("office"), client)
"""


def test_killed_in_the_middle_nothing_is_lost_and_nothing_comes_twice(house: House, tmp_path: Path) -> None:
    house.add("office", rss(*(item(n) for n in range(2000))))
    url = house.notices._db.url
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, url, house.web.place], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"ready"
    deadline = time.monotonic() + 60
    while house.notices.counts().total < 20 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = house.notices.counts().total
    assert 0 < before < 2000, "it was killed too early or too late to show anything"
    assert house.sources.by_slug("office").polls == 0
    report = house.poll("office")
    assert (report.same, report.new) == (before, 2000 - before)
    assert len({notice.guid for notice in house.all()}) == house.notices.counts().total == 2000


def test_a_title_that_vanishes_is_kept(house: House) -> None:
    house.add("office", rss(item(1, "停水通知")))
    house.poll("office")
    house.says("office", rss(item(1, "停水通知").replace("<title>停水通知</title>", "<title></title>")))
    report = house.poll("office")
    assert (report.changed, problems(report)["title-lost"]) == (0, 1)
    assert house.one("停水").content.title.endswith("停水通知")


def test_a_copy_that_becomes_another_notice_is_no_copy_any_more(house: House) -> None:
    title = "关于进一步做好加装电梯工作的通知"
    house.add("one", rss(item("a", title, _TEXT)), agency="示例市住房管理局")
    house.add("two", rss(item("b", title, _TEXT)), agency="示例市住房管理局")
    house.poll("one")
    house.poll("two")
    assert sum(notice.lead_id is not None for notice in house.all()) == 1
    house.says("two", rss(item("b", "南部片区停水抢修紧急通知", "今晚八时至明晨六时停水，请储水备用。")))
    assert house.poll("two").changed == 1
    assert all(notice.lead_id is None for notice in house.all())
    assert house.notices.groups([notice.id for notice in house.all()]) == {}
