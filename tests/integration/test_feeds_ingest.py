"""Files and feeds land in a real catalogue: once, whole, again, and after being killed in the middle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feeds.catalogue.city_files import load_city
from feeds.catalogue.notices import NewNotice
from feeds.catalogue.store import NoticeFilter, NoticeStore
from feeds.catalogue.tagging import Tag, Tagger
from feeds.catalogue.vocabulary import City
from feeds.intake.ingest import Ingestor
from feeds.intake.sources import Source, SourceStore
from feeds.intake.types import IngestReport
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError, ConflictError, FetchError
from feeds.kernel.http import GuardedClient
from feeds.kernel.time import FixedClock
from tests.loopback import Loopback, answer, serving, with_validators


@pytest.fixture(scope="session")
def shili() -> City:
    return load_city("shili")


@pytest.fixture(scope="session")
def tagger(shili: City) -> Tagger:
    return Tagger(shili)


class House:
    """One installation, with an ingestor."""

    def __init__(self, database: Database, city: City, tagger: Tagger, clock: FixedClock) -> None:
        self.notices, self.sources, self.clock = NoticeStore(database), SourceStore(database), clock
        self.ingestor = Ingestor(self.notices, self.sources, tagger, city, clock)

    def bring(self, path: Path, **options: Any) -> IngestReport:
        return self.ingestor.import_file(path, **options)

    def all(self) -> list[Any]:
        return list(self.notices.export())


@pytest.fixture
def house(sqlite: Database, shili: City, tagger: Tagger, clock: FixedClock) -> House:
    return House(sqlite, shili, tagger, clock)


@pytest.fixture
def web() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


def client(web: Loopback) -> GuardedClient:
    return GuardedClient(user_agent="MyCity/test", allow_private=[web.place])


def write(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows)
    )
    return path


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"n-{number}",
        "source": "示例市公报",
        "title": f"关于公积金提取的通知（第{number}号）",
        "body": "可以提取公积金。",
        "published": "2026-10-01",
        "url": f"https://sl.example/{number}",
    } | changes


def problems(report: IngestReport) -> Counter[str]:
    return Counter(oddity.problem for oddity in report.oddities)


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    assert report.read == report.new + report.changed + report.same + report.dropped
    return report.read, report.new, report.changed, report.same, report.dropped


# -- files ------------------------------------------------------------------------------------------


def test_a_file_on_both_databases(
    database: Database, shili: City, tagger: Tagger, clock: FixedClock, tmp_path: Path
) -> None:
    house = House(database, shili, tagger, clock)
    path = write(
        tmp_path / "f.jsonl", row(1), row(2), row(3, title=None, body="", url=""), row(4, source="另一个来源")
    )
    assert counts(house.bring(path)) == (4, 3, 0, 0, 1)
    assert counts(house.bring(path)) == (4, 0, 0, 3, 1)
    assert {(one.name, one.kind) for one in house.sources.list()} == {
        ("示例市公报", "file"),
        ("另一个来源", "file"),
    }
    write(path, row(1), row(2, body="可以提取公积金和补贴，条件如下。"))
    assert counts(house.bring(path)) == (2, 0, 1, 1, 0)


def test_what_lands_is_archive_tagged_and_marked(house: House, tmp_path: Path) -> None:
    house.bring(write(tmp_path / "f.jsonl", row(1)))
    (notice,) = house.all()
    assert (notice.archive, notice.state, notice.priority) == (True, "released", "normal")
    assert notice.content.title == "【示例】关于公积金提取的通知（第1号）"
    assert notice.codes("theme")


def test_what_the_publisher_declared_is_not_guessed(house: House, shili: City, tmp_path: Path) -> None:
    theme = next(code for code, item in shili.themes.items() if item.parent)
    place = next(code for code, item in shili.places.items() if item.kind == "district")
    first = row(1, theme=theme, roles=["citizen"], priority="mandatory", jurisdiction=place)
    other = row(2, source="别的栏目", links=[{"kind": "interprets", "to": "n-1"}], lang_of="n-9")
    report = house.bring(write(tmp_path / "f.jsonl", other, first))
    one, two = (next(n for n in house.all() if n.guid == guid) for guid in ("n-1", "n-2"))
    chosen = {(tag.kind, tag.code) for tag in one.tags if tag.cause == "editor"}
    assert {
        ("theme", theme),
        ("theme", shili.themes[theme].parent),
        ("role", "citizen"),
        ("place", place),
    } <= chosen
    assert (one.priority, one.level, one.place) == ("mandatory", "district", place)
    assert [(link.from_id, link.to_id, link.kind) for link in house.notices.links(one.id)] == [
        (two.id, one.id, "interprets")
    ]
    assert problems(report) == {"link-not-found": 1}
    house.bring(tmp_path / "f.jsonl")
    assert len(house.notices.links(one.id)) == 1


def test_an_editors_tag_survives_a_change_by_the_publisher(house: House, shili: City, tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", row(1))
    (notice_id,) = house.bring(path).new_ids
    house.notices.retag(notice_id, (Tag("role", "citizen", "editor", 1.0),))
    house.bring(write(path, row(1, title="关于公积金提取的通知（更正）")))
    assert ("role", "citizen", "editor") in {
        (t.kind, t.code, t.cause) for t in house.notices.get(notice_id).tags
    }


@pytest.mark.parametrize(
    ("change", "major"),
    [
        ({"title": "另一个标题"}, True),
        ({"deadline": "2026-11-01"}, True),
        ({"doc_no": "示〔2026〕9号"}, True),
        ({"phone": "0000"}, False),
    ],
)
def test_changes_by_the_publisher(house: House, tmp_path: Path, change: dict[str, Any], major: bool) -> None:
    (notice_id,) = house.bring(write(tmp_path / "f.jsonl", row(1))).new_ids
    house.bring(write(tmp_path / "f.jsonl", row(1, **change)))
    last = house.notices.revisions(notice_id)
    assert sorted((one.revision, one.major) for one in last)[-1] == (2, major)


def test_withdrawn_here_stays_withdrawn(house: House, tmp_path: Path) -> None:
    (notice_id,) = house.bring(write(tmp_path / "f.jsonl", row(1))).new_ids
    house.notices.set_state(notice_id, "purged", at=house.clock.now())
    report = house.bring(write(tmp_path / "f.jsonl", row(1, title="还是秘密")))
    assert counts(report) == (1, 0, 0, 1, 0)
    assert "秘密" not in house.notices.get(notice_id).content.title


def test_duplicate_ids_and_addresses_keep_every_row(house: House, tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.jsonl",
        row(1),
        row(1, title="同号不同文"),
        row(1),
        row(2, url="https://sl.example/1"),
        row(1, source="另一个来源"),
    )
    report = house.bring(path)
    assert counts(report) == (5, 5, 0, 0, 0)
    assert sorted(one.guid for one in house.all()) == ["n-1", "n-1", "n-1#2", "n-1#3", "n-2"]
    assert problems(report) == {"duplicate-id": 2, "repeated-url": 3}
    assert [o.line for o in report.oddities if o.problem == "duplicate-id"] == [2, 3]
    assert counts(house.bring(path)) == (5, 0, 0, 5, 0)


def test_rows_without_id_are_recognised(house: House, tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", row(1, id=None), row(2, id="", url=""))
    house.bring(path)
    assert counts(house.bring(path)) == (2, 0, 0, 2, 0)


class PowerCut(BaseException):
    """Not an Exception: nothing may catch it."""


def test_killed_in_the_middle_and_run_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path / "f.jsonl",
        *(row(n, links={"interprets": "n-1"} if n == 50 else None) for n in range(1, 51)),
    )
    real, calls = NoticeStore.add, 0

    def add(self: NoticeStore, notices: Any, **options: Any) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise PowerCut
        return real(self, notices, **options)

    monkeypatch.setattr(NoticeStore, "add", add)
    with pytest.raises(PowerCut):
        house.bring(path, batch=10)
    assert len(house.all()) == 20
    assert counts(house.bring(path, batch=10)) == (50, 30, 0, 20, 0)
    assert counts(house.bring(path, batch=7)) == (50, 0, 0, 50, 0)
    assert len(house.all()) == 50 and len(house.notices.links(house.all()[0].id)) == 1


def test_somebody_else_was_faster(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.jsonl", row(1), row(2))
    real, raced = NoticeStore.add, False

    def add(self: NoticeStore, notices: list[NewNotice], **options: Any) -> list[int]:
        nonlocal raced
        if not raced:
            raced = True
            real(self, notices[:1], **options)
            raise ConflictError("raced")
        return real(self, notices, **options)

    monkeypatch.setattr(NoticeStore, "add", add)
    assert counts(house.bring(path)) == (2, 1, 0, 1, 0)
    assert len(house.all()) == 2


def test_progress_is_told_in_bytes(house: House, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = write(tmp_path / "f.jsonl", *(row(n) for n in range(25)))
    house.bring(path, batch=10, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size,) * 2 and len(told) == 4
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_bad_rows_are_named_and_good_rows_land(house: House, tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.jsonl",
        row(1),
        "{broken",
        row(2, published="0000-00-00"),
        row(3, published="2031-01-01"),
        row(4, theme="9999"),
        row(5, title="<b>粗</b>\x07体"),
        row(6, title=None, body=""),
        "{}",
        "x" * 2_000_100,
        row(7),
    )
    report = house.bring(path)
    assert counts(report) == (10, 7, 0, 0, 3)
    said = {(oddity.line, oddity.problem, oddity.dropped) for oddity in report.oddities}
    assert {
        (2, "not-json", True),
        (3, "bad-date", False),
        (4, "future-date", False),
        (5, "unknown-tag", False),
        (6, "html-in-title", False),
        (6, "control-characters", False),
        (7, "no-title", False),
        (7, "no-body", False),
        (8, "empty-row", True),
        (9, "too-long", True),
    } == said
    assert set(report.seconds) >= {"parse", "tag", "store"}


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl", "."])
def test_files_that_are_none(house: House, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(BadInputError):
        house.bring(tmp_path / name)
    assert house.all() == []


def test_untagged_rows_are_listed_by_line(house: House, tmp_path: Path) -> None:
    report = house.bring(write(tmp_path / "f.jsonl", row(1), row(2, title="嗯", body="嗯嗯", source="嗯")))
    assert report.untagged == [2]


def test_the_sample_city_lands_without_an_oddity(house: House) -> None:
    import feeds.cities.shili as package

    report = house.bring(Path(str(package.__file__)).with_name("notices.jsonl"))
    assert report.new == report.read > 100 and report.oddities == [] and report.untagged == []


def test_real_notices(sqlite: Database, real_data: Path, clock: FixedClock) -> None:
    city = load_city("shanghai")
    house = House(sqlite, city, Tagger(city), clock)
    report = house.bring(real_data / "notices.jsonl")
    assert counts(report) == (2272, 2272, 0, 0, 0)
    assert problems(report) == {
        "no-body": 223,  # 220 empty ones and 3 of white space only
        "no-date": 67, "repeated-url": 27, "deadline-before-published": 4, "no-title": 3,
        "too-long": 1,  # an English title of 1,490 characters
    }  # fmt: skip
    assert counts(house.bring(real_data / "notices.jsonl")) == (2272, 0, 0, 2272, 0)


# -- feeds ------------------------------------------------------------------------------------------


def feed(*numbers: int, title: str = "关于公积金提取的通知") -> bytes:
    items = "".join(
        f"<item><guid isPermaLink='false'>g{n}</guid><title>{title} {n}</title><link>/{n}.html</link>"
        f"<pubDate>Mon, 12 Oct 2026 08:00:00 +0800</pubDate><description>正文</description></item>"
        for n in numbers
    )
    return f"<rss version='2.0'><channel><title>t</title>{items}</channel></rss>".encode()


def source(house: House, web: Loopback, path: str = "/feed") -> Source:
    return house.sources.add(
        slug="a", name="示例市政务公开", url=web.url(path), at=house.clock.now(), agency="示例市人民政府"
    )


def poll(house: House, web: Loopback, **options: Any) -> IngestReport:
    return house.ingestor.poll(house.sources.by_slug("a"), client(web), **options)


def test_a_feed_is_archive_first_and_news_then(house: House, web: Loopback) -> None:
    source(house, web)
    web.routes["/feed"] = with_validators(feed(1, 2), '"1"', Last_Modified="Mon, 12 Oct 2026 00:00:00 GMT")
    assert counts(poll(house, web)) == (2, 2, 0, 0, 0)
    assert counts(poll(house, web)) == (0, 0, 0, 0, 0)
    assert web.asked[1][1]["if-none-match"] == '"1"'
    web.routes["/feed"] = with_validators(feed(3, 2, 1, title="关于公积金提取的通知"), '"2"')
    assert counts(poll(house, web)) == (3, 1, 0, 2, 0)
    assert [(one.guid, one.archive) for one in house.all()] == [("g1", True), ("g2", True), ("g3", False)]
    one = house.all()[0].content
    assert (one.agency, one.url) == ("示例市人民政府", web.url("/1.html"))
    now = house.sources.by_slug("a")
    assert (now.polls, now.etag, now.last_ok_at, now.failures) == (3, '"2"', house.clock.now(), 0)


def test_a_changed_entry_is_revised(house: House, web: Loopback) -> None:
    source(house, web)
    web.routes["/feed"] = answer(200, feed(1))
    poll(house, web)
    web.routes["/feed"] = answer(200, feed(1, title="更正"))
    assert counts(poll(house, web)) == (1, 0, 1, 0, 0)
    assert house.all()[0].revision == 2


def test_a_flood_is_held_until_an_editor_releases_it(house: House, web: Loopback) -> None:
    source(house, web)
    web.routes["/feed"] = with_validators(feed(*range(12)), '"1"')
    poll(house, web)
    web.routes["/feed"] = with_validators(feed(*range(100, 112)), '"2"')
    report = poll(house, web)
    assert counts(report) == (12, 0, 0, 0, 12) and problems(report) == {"flood-held": 1}
    held = house.sources.by_slug("a")
    assert (held.held_at, held.etag, len(house.all())) == (house.clock.now(), '"1"', 12)
    house.clock.advance(timedelta(days=2))
    assert list(house.sources.due(house.clock.now())) == []
    house.sources.release("a", at=house.clock.now())
    assert counts(poll(house, web)) == (12, 12, 0, 0, 0)
    assert all(one.archive for one in house.all())


def test_a_dry_run_changes_nothing(house: House, web: Loopback) -> None:
    before = source(house, web)
    web.routes["/feed"] = answer(200, feed(1, 2))
    assert counts(poll(house, web, dry_run=True)) == (2, 2, 0, 0, 0)
    web.routes["/feed"] = answer(500)
    with pytest.raises(FetchError):
        poll(house, web, dry_run=True)
    assert house.all() == [] and house.sources.by_slug("a") == before


@pytest.mark.parametrize(
    ("status", "body", "error", "part"),
    [
        (404, b"", FetchError, "answered 404"),
        (200, b"<html></html>", BadInputError, "web page"),
        (200, b"", BadInputError, "nothing"),
    ],
)
def test_a_bad_poll_is_noted_and_asked_later(
    house: House, web: Loopback, status: int, body: bytes, error: type, part: str
) -> None:
    source(house, web)
    web.routes["/feed"] = answer(status, body, Retry_After="30000")
    with pytest.raises(error, match=part):
        poll(house, web)
    now = house.sources.by_slug("a")
    assert (now.failures, now.polls) == (1, 0) and part in now.last_error
    assert now.next_poll_at is not None
    wait = now.next_poll_at - house.clock.now()
    least = (
        timedelta(seconds=30_000) if status == 404 else timedelta(hours=1)
    )  # what it asks for, or its interval
    assert least <= wait <= 1.1 * least


def test_a_permanent_move_is_followed(house: House, web: Loopback) -> None:
    source(house, web, "/old")
    web.routes |= {"/old": answer(301, Location="/feed"), "/feed": answer(200, feed(1))}
    for _ in range(2):
        poll(house, web)
        assert house.sources.by_slug("a").url == web.url("/old")  # one poll may be a mistake of theirs
    poll(house, web)
    assert house.sources.by_slug("a").url == web.url("/feed")


def test_ids_that_repeat_in_a_feed(house: House, web: Loopback) -> None:
    source(house, web)
    twice = feed(1, 2).replace(b"g2", b"g1")
    web.routes["/feed"] = answer(200, twice)
    assert counts(poll(house, web)) == (2, 2, 0, 0, 0)
    web.routes["/feed"] = answer(200, twice + b" ")  # other bytes, so that it is read again
    assert counts(poll(house, web)) == (2, 0, 0, 2, 0)
    web.routes["/feed"] = answer(200, feed(7, 7))
    report = poll(house, web)
    assert counts(report) == (2, 1, 0, 0, 1) and problems(report) == {"duplicate-id": 1}


def test_killed_before_the_source_moved_on(
    house: House, web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(house, web)
    web.routes["/feed"] = with_validators(feed(1, 2), '"1"')

    def cut(*_args: Any, **_options: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(SourceStore, "record_ok", cut)
        with pytest.raises(PowerCut):
            poll(house, web)
    assert counts(poll(house, web)) == (2, 0, 0, 2, 0)


def test_only_feeds_are_polled(house: House, web: Loopback) -> None:
    desk = house.sources.add(slug="desk", name="D", kind="desk", at=house.clock.now())
    with pytest.raises(Exception, match="no address to ask"):
        house.ingestor.poll(replace(desk), client(web))


def test_real_feeds_over_http(house: House, web: Loopback, real_data: Path) -> None:
    seen = 0
    for path in sorted((real_data / "rss").glob("*.xml")):
        slug = path.stem
        web.routes[f"/{path.name}"] = with_validators(path.read_bytes(), f'"{slug}"', Content_Type="text/xml")
        house.sources.add(slug=slug, name=slug, url=web.url(f"/{path.name}"), at=house.clock.now(), lang="en")
        first = house.ingestor.poll(house.sources.by_slug(slug), client(web))
        second = house.ingestor.poll(house.sources.by_slug(slug), client(web))
        assert first.new == first.read > 10 and second.read == 0
        seen += first.new
    assert seen == 152
    assert len(house.notices.latest(NoticeFilter(), limit=500)) == 152
