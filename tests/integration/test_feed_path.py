"""Feed documents over ASGI: conditional requests, methods, compression, secrecy."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from api.feed_asgi import FeedPath
from api.jobs import joining, signals
from api.jobs.selecting import select_for
from api.settings import read_settings
from api.wiring import Services, build
from feeds.desk.editing import SYSTEM
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import NOW, new_notice, profile

ATOM = "{http://www.w3.org/2005/Atom}"


class Answer:
    """What came back over ASGI."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body: bytes = b"".join(message.get("body", b"") for message in messages[1:])


def ask(application: Any, path: str, *, method: str = "GET", query: str = "", **headers: str) -> Answer:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(dict(message))

    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": query.encode()}
    asyncio.run(application(scope, receive, send))
    return Answer(messages)


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


@pytest.fixture
def services(database: Database, tmp_path: Path) -> Iterator[Services]:
    clock = FixedClock(NOW)
    made = build(read_settings({}, home=tmp_path, city="shili"), clock=clock, database=database, demo=True)
    made.notices.add(
        [
            new_notice(
                "a",
                title="【示例】第一季度纳税申报提醒",
                tags=("theme:04", "theme:0402", "role:enterprise"),
                level="city",
                place="sl",
            ),
            new_notice(
                "b",
                title="【示例】临时救助申请办法",
                tags=("theme:17", "theme:1706", "role:aid"),
                level="city",
                place="sl",
            ),
            new_notice(
                "c",
                title="【示例】海滨步道开放",
                tags=("theme:08", "theme:0805", "role:tourist"),
                level="city",
                place="sl",
            ),
        ],
        at=NOW - timedelta(hours=1),
    )
    yield made


@pytest.fixture
def path(services: Services) -> FeedPath:
    return FeedPath(services, behind)


@pytest.fixture
def joined(services: Services) -> joining.Joined:
    wish = profile(
        roles=("enterprise", "aid"), places=(FollowedPlace("sl"),), interests=("theme:0402", "theme:1706")
    )
    return joining.join(services, wish)


@pytest.mark.parametrize("fmt", ["rss", "atom", "json"])
def test_a_personal_feed_is_read_whole_then_not_again(
    path: FeedPath, joined: joining.Joined, fmt: str
) -> None:
    url = f"/f/{joined.feed_token}.{fmt}"
    first = ask(path, url)
    assert first.status == 200
    assert "第一季度纳税申报提醒" in first.body.decode()
    assert first.headers["cache-control"] == "private, max-age=900"
    assert first.headers["content-type"].endswith("charset=utf-8")
    tag = first.headers["etag"]
    for condition in (
        {"if_none_match": tag},
        {"if_none_match": f'"x", {tag}'},
        {"if_none_match": tag[:-1] + '-gzip"'},
        {"if_modified_since": first.headers["last-modified"]},
        {"if_none_match": "*"},
    ):
        assert ask(path, url, **condition).status == 304, condition
    assert (
        ask(path, url, if_none_match='"other"', if_modified_since=first.headers["last-modified"]).status
        == 200
    )


def test_rendering_again_gives_the_same_bytes(services: Services, joined: joining.Joined) -> None:
    url = f"/f/{joined.feed_token}.atom"
    first, second = ask(FeedPath(services, behind), url), ask(FeedPath(services, behind), url)
    assert (first.body, first.headers["etag"]) == (second.body, second.headers["etag"])


def test_head_gzip_methods_and_stray_queries(path: FeedPath, joined: joining.Joined) -> None:
    url = f"/f/{joined.feed_token}.json"
    head = ask(path, url, method="HEAD")
    whole = ask(path, url, query="utm_source=x&a=%zz")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(whole.body)
    zipped = ask(path, url, accept_encoding="br;q=1, gzip;q=0.5")
    assert gzip.decompress(zipped.body) == whole.body
    assert "content-encoding" not in ask(path, url, accept_encoding="gzip;q=0").headers
    refused = ask(path, url, method="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_unknown_and_ended_addresses_look_the_same(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    assert ask(path, url).status == 200
    joining.new_feed_address(services, joined.profile.id)
    ended, unknown = ask(path, url), ask(path, "/f/aaaaaaaaaaaaaaaaaaaaaaaa.rss")
    assert ended.status == unknown.status == 404
    assert (ended.body, ended.headers) == (unknown.body, unknown.headers)


def test_no_role_word_and_no_secret_stand_in_a_personal_feed(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    for fmt in ("rss", "atom", "json"):
        text = ask(path, f"/f/{joined.feed_token}.{fmt}").body.decode()
        assert joined.feed_token not in text
        assert joined.manage_secret not in text
        for role in services.city.roles.values():
            for word in (role.label.zh, role.label.en):
                assert f"“{word}”" not in text
        assert "需要帮助" not in text
        for quoted in (
            "“扶贫”",
            ">扶贫<",
            '"扶贫"',
        ):  # a sensitive theme is not named, though its notice is there
            assert quoted not in text
        assert "临时救助申请办法" in text


def test_a_discreet_profile_gets_neutral_entries(path: FeedPath, services: Services) -> None:
    wish = profile(roles=("aid",), places=(FollowedPlace("sl"),), interests=("theme:1706",), discreet=True)
    token = joining.join(services, wish).feed_token
    text = ask(path, f"/f/{token}.atom").body.decode()
    assert "救助" not in text
    assert "您关注的事项有更新" in text


def test_a_major_correction_moves_updated_once_and_a_typo_never(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.atom"
    clock = services.clock
    assert isinstance(clock, FixedClock)

    def entry() -> tuple[str, str, str]:
        services_path = FeedPath(services, behind)
        for item in ElementTree.fromstring(ask(services_path, url).body).findall(f"{ATOM}entry"):
            if "纳税" in (item.findtext(f"{ATOM}title") or ""):
                return (
                    item.findtext(f"{ATOM}id") or "",
                    item.findtext(f"{ATOM}updated") or "",
                    item.findtext(f"{ATOM}title") or "",
                )
        raise AssertionError("the entry is gone")

    before = entry()
    [notice] = [item for item in services.notices.latest(_all()) if item.guid == "a"]
    clock.advance(timedelta(minutes=20))
    corrected = replace(notice.content, title="【示例】第一季度纳税申报提醒（更正）")
    services.desk.correct(notice.id, corrected, major=True, note="日期有误", actor=SYSTEM)
    after = entry()
    clock.advance(timedelta(minutes=40))
    services.desk.correct(
        notice.id, replace(corrected, body="<p>改字</p>"), major=False, note="", actor=SYSTEM
    )
    typo = entry()
    assert before[0] == after[0] == typo[0]
    assert before[1] < after[1] == typo[1]
    assert "更正" in after[2]
    assert services.audit.verify().broken_at is None


def test_a_minor_edit_is_shown_without_a_new_etag(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.atom"
    first = ask(path, url)
    [notice] = [item for item in services.notices.latest(_all()) if item.guid == "a"]
    services.desk.correct(
        notice.id, replace(notice.content, body="<p>改正了错字</p>"), major=False, note="", actor=SYSTEM
    )
    second = ask(path, url)
    assert "改正了错字" in second.body.decode()
    assert second.headers["etag"] == first.headers["etag"]


def test_a_withdrawn_notice_stays_in_the_feed_marked(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    [notice] = [item for item in services.notices.latest(_all()) if item.guid == "a"]
    services.desk.withdraw(notice.id, "依据失效", SYSTEM)
    text = ask(path, f"/f/{joined.feed_token}.json").body.decode()
    assert "已撤回" in text
    assert "依据失效" in text


@pytest.mark.parametrize("kind", ["all", "alerts", "role/enterprise", "theme/04", "place/sl", "search"])
def test_public_feeds_are_for_everybody(path: FeedPath, kind: str) -> None:
    query = "q=纳税" if kind == "search" else ""
    for fmt in ("rss", "atom", "json"):
        answer = ask(path, f"/feeds/{kind}.{fmt}", query=query)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "public, max-age=300"
        if fmt == "json":
            assert json.loads(answer.body)["version"] == "https://jsonfeed.org/version/1.1"
        else:
            ElementTree.fromstring(answer.body)
        assert (
            ask(path, f"/feeds/{kind}.{fmt}", query=query, if_none_match=answer.headers["etag"]).status == 304
        )


def test_an_unknown_public_feed_says_so(path: FeedPath) -> None:
    answer = ask(path, "/feeds/role/king.rss")
    assert answer.status == 404
    assert "king" in answer.body.decode()


def test_everything_else_goes_behind(path: FeedPath) -> None:
    for other in ("/", "/f/short.rss", "/feeds/role/x/y.rss", "/f/aaaaaaaaaaaaaaaaaaaaaaaa"):
        assert ask(path, other).status == 418


def test_impressions_are_noted_once_a_shelf_and_never_on_a_304(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    tag = ask(path, url).headers["etag"]
    ask(path, url)
    ask(path, url, if_none_match=tag)
    assert path.impressions.flush() == len(services.editions.shelf(joined.profile.id).picks)
    services.notices.add(
        [new_notice("d", title="【示例】新增纳税辅导", tags=("theme:0402",), level="city", place="sl")],
        at=NOW,
    )
    select_for(services, [joined.profile.id])
    ask(path, url)
    assert path.impressions.flush() > 0
    assert path.impressions.flush() == 0


def test_a_new_edition_notes_only_what_is_new(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    """Also days later: the entries of before still stand in the document, and no reader shows them again."""
    clock = services.clock
    assert isinstance(clock, FixedClock)
    ask(path, f"/f/{joined.feed_token}.rss")
    before = path.impressions.flush()
    clock.advance(timedelta(days=3))
    services.notices.add(
        [new_notice("d", title="【示例】新增纳税辅导", tags=("theme:0402",), level="city", place="sl")],
        at=clock.now(),
    )
    select_for(services, [joined.profile.id])
    ask(path, f"/f/{joined.feed_token}.rss")
    new = len(services.editions.shelf(joined.profile.id).picks) - before
    assert path.impressions.flush() == new == 1


def test_what_was_buffered_does_not_come_back_after_a_reset(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    ask(path, url)
    joining.forget_behaviour(services, joined.profile.id)
    assert path.impressions.flush() == 0
    assert services.feedback.of(joined.profile.id) == []
    ask(path, url)
    joining.forget_behaviour(services, joined.profile.id)
    ask(path, url)  # fetched again before anything was written
    assert path.impressions.flush() == len(services.editions.shelf(joined.profile.id).picks)


def test_impressions_are_written_while_the_server_runs(
    path: FeedPath, services: Services, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = threading.Event()
    keep = services.feedback.record_shown

    def note(*given: Any) -> int:
        found = keep(*given)
        written.set()
        return found

    monkeypatch.setattr("api.impressions._FLUSH_EVERY", 0.01)
    monkeypatch.setattr(services.feedback, "record_shown", note)
    path.impressions.flush_regularly()
    ask(path, f"/f/{joined.feed_token}.rss")
    assert written.wait(10)
    path.impressions.close()
    assert len(services.feedback.of(joined.profile.id)) == len(
        services.editions.shelf(joined.profile.id).picks
    )


def test_what_is_hidden_leaves_the_feed_at_the_next_poll(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    url = f"/f/{joined.feed_token}.rss"
    first = ask(path, url)
    [notice] = [item for item in services.notices.latest(_all()) if item.guid == "a"]
    signals.opinion(services, joined.profile.id, notice.id, "hide")
    second = ask(path, url, if_none_match=first.headers["etag"])
    assert second.status == 200
    assert notice.content.title not in second.body.decode()
    signals.opinion(services, joined.profile.id, notice.id, "like")
    assert notice.content.title in ask(path, url).body.decode()


def test_nobody_is_observed_who_switched_personalisation_off(
    path: FeedPath, services: Services, joined: joining.Joined
) -> None:
    joining.change(services, replace(joined.profile, personalised=False))
    assert ask(path, f"/f/{joined.feed_token}.rss").status == 200
    assert path.impressions.flush() == 0


def test_a_discreet_entry_leads_to_a_page_that_asks_first(path: FeedPath, services: Services) -> None:
    wish = profile(roles=("aid",), places=(FollowedPlace("sl"),), interests=("theme:1706",), discreet=True)
    feed = json.loads(ask(path, f"/f/{joining.join(services, wish).feed_token}.json").body)
    [veiled] = [item for item in feed["items"] if item["title"].endswith("您关注的事项有更新")]
    assert veiled["url"].endswith("?ask=1")


def _all() -> Any:
    from feeds.catalogue.store import NoticeFilter

    return NoticeFilter()
