"""Feeds that stay cheap and true: what a change moves and what not, archives, tombstones, hubs."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import feedparser
import pytest
from jsonschema import Draft202012Validator

from api import feed_entries
from api.feed_asgi import FeedPath
from api.feed_changes import Changes
from api.feed_links import LANGS, PublicFeed, addresses, feeds_of, hub_links, public_address
from api.feed_memo import Memo
from api.jobs import joining
from api.views import personal_feed, public_feed
from api.wiring import Services
from delivery.feed_writer import FORMATS, RENDER, Format
from feeds.catalogue.identity import Likeness
from feeds.catalogue.notices import NewNotice, Notice
from feeds.catalogue.store import NoticeFilter
from feeds.catalogue.tagging import Tag
from feeds.desk.editing import SYSTEM
from feeds.kernel.db import Database, Lookup
from feeds.kernel.errors import StorageError
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.types import FollowedPlace
from tests.factories import NOW, new_notice, pick, profile
from tests.integration.test_feed_path import ATOM, Answer, ask, behind, joined, path, services

__all__ = ["joined", "path", "services"]  # fixtures

HISTORY = "{http://purl.org/syndication/history/1.0}"
STONE = "{http://purl.org/atompub/tombstones/1.0}deleted-entry"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHINESE_TAX = "第一季度纳税申报提醒"

# What https://www.jsonfeed.org/version/1.1/ asks for, as a schema; extensions begin with an underscore.
_TEXT = {"type": "string", "minLength": 1}
_WEB = {"type": "string", "pattern": "^https?://"}
_DAY = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"}
_AUTHORS = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["name"]}}
_OWN = {"^_": {"type": "object", "required": ["about"]}}
_FILE = {
    "type": "object",
    "required": ["url", "mime_type"],
    "additionalProperties": False,
    "properties": {"url": _WEB, "mime_type": _TEXT, "title": _TEXT, "size_in_bytes": {"type": "integer"}},
}
_ITEM = {
    "type": "object",
    "required": ["id", "content_html"],
    "additionalProperties": False,
    "patternProperties": _OWN,
    "properties": {
        "id": _TEXT, "url": _WEB, "external_url": _WEB, "title": _TEXT, "content_html": _TEXT,
        "summary": _TEXT, "date_published": _DAY, "date_modified": _DAY, "language": _TEXT,
        "authors": _AUTHORS, "tags": {"type": "array", "uniqueItems": True, "items": _TEXT},
        "attachments": {"type": "array", "items": _FILE},
    },
}  # fmt: skip
JSON_FEED = {
    "type": "object",
    "required": ["version", "title", "items"],
    "additionalProperties": False,
    "patternProperties": _OWN,
    "properties": {
        "version": {"const": "https://jsonfeed.org/version/1.1"}, "title": _TEXT, "home_page_url": _WEB,
        "feed_url": _WEB, "next_url": _WEB, "description": _TEXT, "language": _TEXT, "authors": _AUTHORS,
        "hubs": {"type": "array", "items": {"type": "object", "required": ["type", "url"]}},
        "items": {"type": "array", "items": _ITEM},
    },
}  # fmt: skip


def check_valid(fmt: Format, body: bytes) -> None:
    """Fail for what a strict reader would refuse."""
    if fmt == "json":
        Draft202012Validator(JSON_FEED).validate(json.loads(body))
        ids = [item["id"] for item in json.loads(body)["items"]]
    else:
        read = feedparser.parse(body, sanitize_html=False)
        assert not read.bozo, read.get("bozo_exception")
        assert read.version == {"atom": "atom10", "rss": "rss20"}[fmt]
        ids = [item.id for item in read.entries]
        (_check_atom if fmt == "atom" else _check_rss)(ElementTree.fromstring(body))
    assert len(ids) == len(set(ids))


def _check_atom(root: ElementTree.Element) -> None:
    for name in ("id", "title", "updated", "author"):
        assert len(root.findall(ATOM + name)) == 1, name
    for one in root.findall(f"{ATOM}entry"):
        for name in ("id", "title", "updated", "published", "content", "summary"):
            assert len(one.findall(ATOM + name)) == 1, name
        alternates = [
            link for link in one.findall(f"{ATOM}link") if link.get("rel", "alternate") == "alternate"
        ]
        assert len(alternates) == 1 and (alternates[0].get("href") or "").startswith("http")


def _check_rss(root: ElementTree.Element) -> None:
    [channel] = root
    for name in ("title", "link", "description", "language", "lastBuildDate"):
        assert len(channel.findall(name)) == 1, name
    for one in channel.findall("item"):
        assert len(one.findall("enclosure")) <= 1
        for name in ("title", "link", "description", "guid", "pubDate"):
            assert len(one.findall(name)) == 1, name
        for file in one.findall("enclosure"):
            assert set(file.keys()) == {"url", "length", "type"}


def notice(services: Services, guid: str) -> Notice:
    [found] = [item for item in services.notices.export() if item.guid == guid]
    return found


def reader_of(services: Services, notice_id: int) -> str:
    """Make a resident with one notice on the shelf; return the feed token."""
    made, _ = services.profiles.create(profile(), at=NOW)
    services.editions.append([NewEdition(made.id, "daily", (pick(notice_id),), NOW, 0)])
    return services.tokens.issue(made.id, at=NOW)


def etag(path: FeedPath, url: str, query: str = "") -> str:
    return ask(path, url, query=query).headers["etag"]


def titles(answer: Answer) -> list[str]:
    return [item["title"] for item in json.loads(answer.body)["items"]]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("lang", LANGS)
def test_the_fast_path_gives_the_very_bytes_of_the_renderers(
    path: FeedPath, services: Services, fmt: Format, lang: str
) -> None:
    file = {"url": "https://city.example/a.pdf", "title": "附件一"}
    services.notices.add(
        [new_notice("e", title="纳税新办法", title_en="New tax rules", tags=("theme:0402", "type:warning"),
                    attachments=(file,), level="city", place="sl")],
        at=NOW - timedelta(minutes=30),
    )  # fmt: skip
    for discreet, personalised in ((False, True), (True, True), (False, False)):
        wish = profile(
            roles=("enterprise", "aid"), places=(FollowedPlace("sl"),), langs=(lang,),
            interests=("theme:0402", "theme:1706"), discreet=discreet, personalised=personalised,
        )  # fmt: skip
        made = joining.join(services, wish)
        whose, shelf = services.profiles.get(made.profile.id), services.editions.shelf(made.profile.id)
        body = ask(path, f"/f/{made.feed_token}.{fmt}").body
        assert body == RENDER[fmt](personal_feed(services, whose, shelf, lang=lang))
        check_valid(fmt, body)
    for which in (
        PublicFeed("all"),
        PublicFeed("alerts"),
        PublicFeed("theme", "04"),
        PublicFeed("search", "纳税"),
    ):
        address = public_address(services, which, fmt, lang)
        at, _, query = address.removeprefix(services.settings.base_url).partition("?")
        body = ask(path, at, query=query).body
        assert body == RENDER[fmt](public_feed(services, which, lang=lang, self_url=address))
        check_valid(fmt, body)
    assert file["url"].encode() in body


def test_a_correction_reaches_its_feeds_at_once_and_leaves_the_others_alone(
    path: FeedPath, services: Services, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    his_token = reader_of(services, notice(services, "c").id)
    hers, his = f"/f/{joined.feed_token}.atom", f"/f/{his_token}.atom"
    step, there = "/feeds/theme/08.atom", "/feeds/theme/04.atom"
    a, c = notice(services, "a"), notice(services, "c")
    tags = {url: etag(path, url) for url in (hers, his, step, there)}
    made: list[int] = []
    parts = feed_entries.entry_parts

    def count(fmt: Format, view: Any, head: Any) -> Any:
        made.append(view.notice_id)
        return parts(fmt, view, head)

    monkeypatch.setattr(feed_entries, "entry_parts", count)
    services.desk.correct(
        a.id, replace(a.content, body="<p>改为4月20日</p>"), major=True, note="日期有误", actor=SYSTEM
    )
    for url, moved in ((hers, True), (his, False), (there, True), (step, False)):
        answer = ask(path, url, if_none_match=tags[url])
        assert answer.status == (200 if moved else 304), url
        assert ("改为4月20日" in answer.body.decode()) is moved
    assert made == [a.id]  # one entry, once, for all of them
    assert c.id not in made


def test_polls_of_what_stands_make_nothing(
    path: FeedPath, services: Services, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    tag = etag(path, url)
    cold = FeedPath(services, behind)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("rendered")

    monkeypatch.setattr(feed_entries, "entry_parts", refuse)
    monkeypatch.setattr(feed_entries, "entry_views", refuse)
    for server in (path, cold):  # also one that has just started and knows nothing
        answer = ask(server, url, if_none_match=tag)
        assert (answer.status, answer.body) == (304, b"")
    services.notices.add([new_notice("z", title="与此无关", tags=("theme:09",))], at=NOW)
    assert ask(path, url, if_none_match=tag).status == 304
    assert ask(path, url).status == 200  # and nothing is rendered again for a stranger's news


def test_other_tags_and_another_source_are_seen_at_the_next_poll(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.json"
    first = ask(path, url)
    a = notice(services, "a")
    services.notices.retag(a.id, [*a.tags, Tag("theme", "0805", "test", 1.0)])
    second = ask(path, url)
    assert second.body != first.body and second.headers["etag"] == first.headers["etag"]
    like = Likeness(a.id, "duplicate_of", "same document number")
    source = services.sources.add(slug="tax", name="示例税务局", url="https://t.shili.example/f", at=NOW)
    services.notices.add([NewNotice(a.content, source.id, "x", likeness=like)], at=NOW)
    assert "示例税务局" in ask(path, url).body.decode()


def test_a_purged_notice_leaves_a_neutral_stone(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    a = notice(services, "a")
    urls = [
        f"/f/{joined.feed_token}",
        "/feeds/all",
        "/feeds/theme/04",
        "/feeds/place/sl",
        "/feeds/role/enterprise",
    ]
    before = {url: ask(path, f"{url}.atom").headers["etag"] for url in urls}
    untouched = etag(path, "/feeds/theme/08.atom")
    services.desk.purge(a.id, "不应公开", SYSTEM)
    for url in urls:
        answer = ask(path, f"{url}.atom", if_none_match=before[url])
        assert answer.status == 200, url
        root = ElementTree.fromstring(answer.body)
        [stone] = root.findall(STONE)
        assert stone.get("ref", "").endswith(f":notice/{a.id}")
        assert (stone.get("when", ""), list(stone), stone.text) == (
            services.clock.now().replace(microsecond=0).isoformat(), [], None,
        )  # fmt: skip
        assert CHINESE_TAX not in answer.body.decode() and "不应公开" not in answer.body.decode()
        check_valid("atom", answer.body)
        for fmt in ("rss", "json"):
            assert f"notice/{a.id}" not in ask(path, f"{url}.{fmt}").body.decode().replace(
                f"notice/{a.id}0", ""
            )
    assert ask(path, "/feeds/theme/08.atom", if_none_match=untouched).status == 304


def test_archives_hold_everything_and_stay_as_they_are(path: FeedPath, services: Services) -> None:
    for n in range(7):
        some = [new_notice(f"t{17 * n + m}", tags=("theme:0402",)) for m in range(17)]
        services.notices.add(some, at=NOW + timedelta(minutes=n))
    url = "/feeds/theme/0402"
    seen: dict[str, list[str]] = {}
    at, query = f"{url}.atom", ""
    while at:
        root = ElementTree.fromstring(ask(path, at, query=query).body)
        check_valid("atom", ask(path, at, query=query).body)
        seen[at] = [one.findtext(f"{ATOM}id") or "" for one in root.findall(f"{ATOM}entry")]
        links = {link.get("rel"): link.get("href", "") for link in root.findall(f"{ATOM}link")}
        archive = root.find(f"{HISTORY}archive") is not None
        assert archive is ("/archive/" in at)
        assert ("hub" in links) is not archive
        if archive:
            assert links["current"] == f"{services.settings.base_url}{url}.atom"
        at = links.get("prev-archive", "").removeprefix(services.settings.base_url)
    assert list(seen) == [
        f"{url}.atom",
        f"{url}/archive/3.atom",
        f"{url}/archive/2.atom",
        f"{url}/archive/1.atom",
    ]
    assert [len(ids) for ids in seen.values()] == [50, 20, 50, 50]
    assert len({one for ids in seen.values() for one in ids}) == 120
    newest = json.loads(ask(path, f"{url}.json").body)
    assert newest["next_url"].endswith(f"{url}/archive/3.json")
    # Ten more, and one withdrawn: the old pages hold the same notices.
    withdrawn = notice(services, "t3")
    services.desk.withdraw(withdrawn.id, "示例", SYSTEM)
    services.desk.purge(notice(services, "t60").id, "示例", SYSTEM)
    services.notices.add(
        [new_notice(f"u{n}", tags=("theme:0402",)) for n in range(10)], at=NOW + timedelta(days=1)
    )
    for page in (1, 2):
        root = ElementTree.fromstring(ask(path, f"{url}/archive/{page}.atom").body)
        ids = [one.findtext(f"{ATOM}id") or "" for one in root.findall(f"{ATOM}entry")]
        gone = f":notice/{notice(services, 't60').id}"
        assert ids == [one for one in seen[f"{url}/archive/{page}.atom"] if not one.endswith(gone)]
    assert ask(path, f"{url}/archive/4.atom").status == 404
    assert ask(path, "/feeds/search/archive/1.atom", query="q=x").status == 404
    assert ask(path, f"{url}/archive/0.atom").status == 418


def test_whoever_asks_gets_what_they_can_use(path: FeedPath, joined: joining.Joined) -> None:
    own = f"/f/{joined.feed_token}"
    for accept, status, kind in (
        (BROWSER, 418, ""),
        ("*/*", 418, ""),
        ("application/rss+xml, */*;q=0.1", 200, "application/rss+xml; charset=utf-8"),
        ("application/feed+json", 200, "application/feed+json; charset=utf-8"),
    ):
        answer = ask(path, own, accept=accept)
        assert answer.status == status, accept
        assert answer.headers.get("content-type", "") == kind
        if status == 200:
            assert "Accept" in answer.headers["vary"].split(", ")
            again = ask(path, own, accept=accept, if_none_match=answer.headers["etag"])
            assert again.status == 304
    public = ask(path, "/feeds/theme/04", accept=BROWSER)
    assert (public.status, public.headers["location"], public.headers["vary"]) == (
        302,
        "/?theme=04",
        "Accept",
    )
    assert ask(path, "/feeds/theme/04").headers["content-type"].startswith("application/atom+xml")
    assert ask(path, "/feeds/theme/king", accept="application/rss+xml").status == 404


def test_a_browser_that_opens_a_feed_can_read_it(path: FeedPath, joined: joining.Joined) -> None:
    for fmt in ("rss", "atom"):
        url = f"/f/{joined.feed_token}.{fmt}"
        opened, fetched = ask(path, url, accept=BROWSER), ask(path, url)
        assert opened.headers["content-type"] == "application/xml; charset=utf-8"
        assert fetched.headers["content-type"] == f"application/{fmt}+xml; charset=utf-8"
        assert opened.body == fetched.body
        style = b'<?xml-stylesheet type="text/css" href="/static/feed.css"?>'
        assert opened.body.split(b"\n")[1] == style


def test_only_public_feeds_name_a_hub(path: FeedPath, services: Services, joined: joining.Joined) -> None:
    base = services.settings.base_url
    assert hub_links(services) == (f"{base}/hub",)
    answer = ask(path, "/feeds/theme/04.rss")
    assert answer.headers["link"] == f'<{base}/hub>; rel="hub", <{base}/feeds/theme/04.rss>; rel="self"'
    assert f'href="{base}/hub" rel="hub"' in answer.body.decode()
    assert json.loads(ask(path, "/feeds/all.json").body)["hubs"] == [{"type": "WebSub", "url": f"{base}/hub"}]
    for fmt in FORMATS:
        own = ask(path, f"/f/{joined.feed_token}.{fmt}")
        assert "link" not in own.headers and b"hub" not in own.body
        search = ask(path, f"/feeds/search.{fmt}", query="q=%E7%BA%B3%E7%A8%8E")
        assert "hub" not in search.headers["link"] and b'rel="hub"' not in search.body
    services.settings.__dict__["hub_url"] = "none"
    assert hub_links(services) == ()
    assert "hub" not in ask(FeedPath(services, behind), "/feeds/theme/04.rss").headers["link"]
    services.settings.__dict__["hub_url"] = "https://hub.example/"
    assert hub_links(services) == ("https://hub.example/",)


def test_which_public_feeds_hold_a_notice(services: Services) -> None:
    a = replace(
        notice(services, "a"),
        tags=(Tag("theme", "0402", "", 1.0), Tag("place", "sl01", "", 1.0)),
        place="sl01",
    )
    held = feeds_of(services, [a])
    assert {
        PublicFeed("all"),
        PublicFeed("theme", "0402"),
        PublicFeed("place", "sl01"),
        PublicFeed("place", "sl"),
    } <= set(held)
    assert len(held) == len(set(held))
    for which in held:
        found = addresses(services, which)
        assert len(set(found)) == 6
        assert all(one.startswith(services.settings.base_url + which.path + ".") for one in found)


def test_a_public_feed_in_english_names_itself(path: FeedPath, services: Services) -> None:
    found = json.loads(ask(path, "/feeds/theme/04.json", query="lang=en&x=1").body)
    assert found["feed_url"] == f"{services.settings.base_url}/feeds/theme/04.json?lang=en"


def test_a_source_with_another_name_is_seen_soon(
    path: FeedPath, services: Services, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    source = services.sources.add(slug="own", name="旧名", url="https://own.shili.example/f", at=NOW)
    services.notices.add([new_notice("s", tags=("theme:04",), source_id=source.id)], at=NOW)
    first = ask(path, "/feeds/theme/04.rss")
    assert "旧名" in first.body.decode()
    ask(path, url)
    listed = [replace(one, name="新名") if one.id == source.id else one for one in services.sources.list()]
    monkeypatch.setattr(services.sources, "list", lambda: listed)
    assert "旧名" in ask(path, "/feeds/theme/04.rss").body.decode()  # from memory
    monkeypatch.setattr("api.feed_build._LOOK_EVERY", 0.0)
    # No other feed was made in between, and nothing else changed.
    later = ask(path, "/feeds/theme/04.rss")
    assert "新名" in later.body.decode() and later.headers["etag"] == first.headers["etag"]


def test_one_look_up_says_all_that_a_poll_depends_on(services: Services, joined: joining.Joined) -> None:
    now = services.clock.now()
    state = services.tokens.feed_state(joined.feed_token, now=now)
    assert state is not None
    assert state[0] == joined.profile.id
    assert state[1] == services.editions.shelf_version(joined.profile.id)
    assert state[2:] == services.notices.change_numbers()
    old = joined.feed_token
    joining.new_feed_address(services, joined.profile.id)
    assert services.tokens.feed_state(old, now=services.clock.now()) is None


def test_a_look_up_is_safe_in_threads_after_closing_and_when_refused(database: Database) -> None:
    ask_one, wrong = Lookup(database, "SELECT ?"), Lookup(database, "SELECT x FROM nowhere WHERE y = ?")
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: found.extend(ask_one(n)[0][0] for _ in range(50)))
        for n in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found) == [n for n in range(4) for _ in range(50)]
    database.close()
    assert ask_one(7) == [(7,)]
    if database.dialect == "sqlite":
        with pytest.raises(StorageError, match="mycity migrate"):
            wrong(1)


def test_a_refused_look_up_is_a_503_that_says_when_to_come_back(
    path: FeedPath, services: Services, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise StorageError("locked")

    monkeypatch.setattr(services.tokens, "feed_state", refuse)
    answer = ask(path, f"/f/{joined.feed_token}.rss")
    assert (answer.status, answer.headers["retry-after"]) == (503, "120")


def test_what_is_remembered_is_bounded() -> None:
    memo: Memo[bytes] = Memo(100, len)
    for n in range(50):
        memo.put(n, b"x" * 9)
        memo.get(0)
    assert (len(memo), memo.size) == (11, 99)
    assert memo.get(0) is not None and memo.get(1) is None
    memo.put(0, b"x" * 200)
    assert (len(memo), memo.size) == (0, 0)


def test_more_changes_than_are_kept_make_everything_look_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.feed_changes._KEPT", 5)
    forgotten: list[Any] = []
    changes = Changes(services.notices, forgotten.append)
    first = changes.generation(services.notices.change_numbers())
    assert changes.stand([1, 2], first)
    services.notices.add([new_notice(f"m{n}") for n in range(9)], at=NOW)
    second = changes.generation(services.notices.change_numbers())
    assert second > first and len(forgotten) == 1
    assert not changes.stand([1], first) and changes.stand([1], second)
    assert changes.generation((0, 0)) == second  # a slower thread's older numbers


def test_many_polls_at_once_agree(path: FeedPath, services: Services, joined: joining.Joined) -> None:
    url, clock = f"/f/{joined.feed_token}.json", services.clock
    assert isinstance(clock, FixedClock)
    ask(path, url)
    a, seen = notice(services, "a"), []
    stop = threading.Event()

    def poll() -> None:
        own = 0
        while not stop.is_set() and own < 200:
            seen.append(tuple(titles(ask(path, url))))
            own += 1

    threads = [threading.Thread(target=poll) for _ in range(3)]
    for one in threads:
        one.start()
    for n in range(5):
        current = services.notices.get(a.id)
        services.desk.correct(
            a.id, replace(current.content, title=f"纳税提醒{n}"), major=True, note="日期", actor=SYSTEM
        )
    stop.set()
    for one in threads:
        one.join()
    assert any("纳税提醒4" in title for title in titles(ask(path, url)))


def test_the_listing_that_feeds_ask_is_the_listing(services: Services) -> None:
    for which in (
        NoticeFilter(),
        NoticeFilter(tags=("theme:04",), leads_only=True),
        NoticeFilter(places=("sl",)),
    ):
        assert services.notices.latest_ids(which, limit=2) == [
            one.id for one in services.notices.latest(which, limit=2)
        ]
