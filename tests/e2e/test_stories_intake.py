"""Journeys that begin at somebody else's server: a typhoon, and a document that three offices publish.

Everything is real but the clock: servers on loopback, the guarded client, the polling engine, selection,
the feed path. Each test says which part of its journey is not built yet.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.feed_asgi import FeedPath
from api.jobs import joining
from api.jobs.polling import poll_due
from api.jobs.scheduler import tick_poll
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace, Profile
from tests.loopback import Loopback, answer, serving

CAP = Path(__file__).resolve().parent.parent / "data" / "cap"


def local(text: str) -> datetime:
    """Read ``10-12 09:00`` of 2026 in Shanghai."""
    return datetime.fromisoformat(f"2026-{text.replace(' ', 'T')}:00+08:00").astimezone(UTC)


class Town:
    """The sample city, offices that publish on loopback, and a clock we can set."""

    def __init__(self, services: Services, web: Loopback) -> None:
        self.services, self.web = services, web

    def at(self, when: str) -> None:
        clock = self.services.clock
        assert isinstance(clock, FixedClock)
        clock.at = local(when)

    def office(self, slug: str, body: str | bytes, **settings: Any) -> None:
        self.says(slug, body)
        self.services.sources.add(
            slug=slug, name=f"示例·{slug}", url=self.web.url(f"/{slug}"), at=self.services.clock.now(),
            place=self.services.city.place, interval_s=900, **settings,
        )  # fmt: skip

    def says(self, slug: str, body: str | bytes) -> None:
        self.web.routes[f"/{slug}"] = answer(200, body.encode() if isinstance(body, str) else body)

    def join(self, name: str, **wish: Any) -> joining.Joined:
        made = Profile(id=0, created_at=self.services.clock.now(), **wish)
        return joining.join(self.services, made, verified=True, email=f"{name}@shili.example", digest_hour=9)

    def letters(self) -> list[str]:
        """Whom mail was captured for so far, sorted."""
        found = (self.services.settings.captured / "email").glob("*.eml")
        texts = (path.read_text(encoding="utf-8", errors="replace") for path in found)
        lines = (line for text in texts for line in text.splitlines() if line.lower().startswith("to:"))
        return sorted(line[3:].strip().partition("@")[0] for line in lines)

    def feed(self, joined: joining.Joined) -> dict[str, Any]:
        """Ask for a personal JSON feed as a feed reader does."""
        sent: list[Any] = []

        async def send_(message: Any) -> None:
            sent.append(message)

        async def nothing(*_: Any) -> None:
            raise AssertionError("this goes to the pages")

        scope = {
            "type": "http", "method": "GET", "path": f"/f/{joined.feed_token}.json", "headers": [],
            "query_string": b"",
        }  # fmt: skip
        asyncio.run(FeedPath(self.services, nothing)(scope, nothing, send_))
        assert sent[0]["status"] == 200
        found: dict[str, Any] = json.loads(sent[1]["body"])
        return found


@pytest.fixture
def town(sqlite: Database, tmp_path: Path) -> Iterator[Town]:
    with serving() as web:
        settings = read_settings(
            {}, home=tmp_path, city="shili", allow_private=web.place, poll_processes="0",
            mail_from="notices@shili.example",
        )  # fmt: skip
        services = build(settings, clock=FixedClock(local("09-26 09:00")), database=sqlite, demo=True)
        yield Town(services, web)


def test_a_typhoon_reaches_those_it_concerns_and_its_end_reaches_the_same(town: Town) -> None:
    """Story 8, its intake half. Not built yet: the 100,000 mails beside it, and the proof page."""
    homes = {"lan": "sl02", "zhe": "sl03", "zhang": "sl04", "wang": "sl06", "he": "sl05", "ting": "sl01"}
    for name, place in homes.items():
        town.join(name, roles=("citizen",), places=(FollowedPlace(place, "home"),))
    four, five = ["lan", "wang", "zhang", "zhe"], ["he", "lan", "wang", "zhang", "zhe"]
    town.office("observatory", (CAP / "typhoon-1-orange.cap").read_bytes(), kind="cap", release="publish")

    town.at("09-26 21:50")
    tick_poll(town.services)
    assert town.letters() == four  # at night, past quiet hours; 汀阳 hears of nothing

    town.at("09-26 22:10")  # the same again
    town.says("observatory", (CAP / "typhoon-1-orange.cap").read_bytes() + b"\n")
    tick_poll(town.services)
    assert town.letters() == four

    town.at("09-26 23:10")
    town.says("observatory", (CAP / "typhoon-2-red.cap").read_bytes())
    tick_poll(town.services)
    assert town.letters() == sorted(four + five)

    town.at("09-27 06:30")
    town.says("observatory", (CAP / "typhoon-3-cancel.cap").read_bytes())
    tick_poll(town.services)
    assert town.letters() == sorted(four + five + five)
    states = {notice.state for notice in town.services.notices.export()}
    assert states == {"withdrawn"}
    assert send(town.services).sent == 0


AGENCY = "示例市住房和城乡建设局"
Listed = tuple[str, str]  # title, document number


def _platform(*rows: Listed) -> str:
    """The city's platform answers JSON."""
    items = [
        {"TITLE": title, "NO": number, "URL": f"/p/{title}", "DAY": "2026-10-09"} for title, number in rows
    ]
    return json.dumps({"data": items}, ensure_ascii=False)


def _bureau(*rows: Listed) -> str:
    """The bureau has a table, with the number in a cell of its own."""
    return "".join(
        f"<tr><td><a href='/b/{title}'>{title}</a></td><td>{number}</td><td>2026-10-09</td></tr>"
        for title, number in rows
    ).join(("<table>", "</table>"))


def _district(*rows: Listed) -> str:
    """The district has a list, with the number in brackets behind the title."""
    return "".join(
        f"<li><a href='/d/{title}' title='{title}'>{title[:6]}…</a><i>（{number}）</i><b>2026-10-09</b></li>"
        for title, number in rows
    ).join(("<ul class='news'>", "</ul>"))


_RECIPES: dict[str, dict[str, Any]] = {
    "platform": {
        "items": "data",
        "fields": {"title": "TITLE", "doc_no": "NO", "url": "URL", "published": "DAY"},
    },
    "bureau": {
        "items": "tr",
        "fields": {
            "title": "a", "url": "a@href", "doc_no": "td:nth-child(2)", "published": "td:nth-child(3)",
        },
    },
    "district": {
        "items": "ul.news li",
        "fields": {"title": "a@title", "url": "a@href", "doc_no": "i", "published": "b"},
    },
}  # fmt: skip


def test_one_document_of_three_offices_is_one_pick_and_a_list_that_falls_silent_is_seen(town: Town) -> None:
    """Story 10. Not built yet: the end of a 公示 after its seven working days."""
    document = ("关于进一步做好既有多层住宅加装电梯工作的通知", "示建〔2026〕15号")
    old = [("国庆假期值班安排", "示建〔2026〕9号"), ("办事大厅搬迁公告", "示建〔2026〕8号")]
    says = {"platform": _platform, "bureau": _bureau, "district": _district}
    town.at("10-08 09:00")
    for (slug, write), mine, kind in zip(
        says.items(),
        (old[:1], old[1:], [("旧城改造公告", "示汀〔2026〕3号")]),
        ("json", "html", "html"),
        strict=True,
    ):
        town.office(slug, write(*mine), kind=kind, recipe=_RECIPES[slug], agency=AGENCY)
    poll_due(town.services)
    joined = town.join("resident", roles=("citizen",), places=(FollowedPlace("sl01", "home"),))

    for hour, (slug, write) in enumerate(says.items(), start=9):
        town.at(f"10-09 {hour:02}:30")
        town.says(slug, write(document, *old))
        poll_due(town.services)
    select_all(town.services)
    picked = [item for item in town.feed(joined)["items"] if document[0] in item["title"]]
    assert len(picked) == 1
    for slug in says:
        assert f"示例·{slug}" in json.dumps(picked[0], ensure_ascii=False)

    town.at("10-12 08:00")  # Monday: the district has a new design
    town.says("district", "<main><article>新版网站</article></main>")
    town.says("platform", _platform(("停水通知", "示水〔2026〕40号"), document, *old))
    town.at("10-12 09:30")
    poll_due(town.services)
    district, platform = (town.services.sources.by_slug(slug) for slug in ("district", "platform"))
    assert (district.alarm, platform.alarm) == ("empty", "")
    assert any("停水通知" in notice.content.title for notice in town.services.notices.export())
    assert all(notice.state == "released" for notice in town.services.notices.export())  # nothing was lost
