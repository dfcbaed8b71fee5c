"""What ends, ends: a feed address that is taken back (story 2), a visitor's stay (story 4).

Everything is real but the clock: selection, planning, the outbox, the feed path, the people tick.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.jobs import joining
from api.jobs.digests import plan
from api.jobs.people import tick_people
from api.jobs.selecting import select_all
from api.jobs.sending import send
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.e2e.test_stories import City, local
from tests.webfixture import fields

PHONE, MAIL = "+8613800000004", "family@shili.example"


@pytest.fixture
def city(sqlite: Database, tmp_path: Path) -> Iterator[City]:
    settings = read_settings({}, home=tmp_path, city="shili", base_url="http://testserver")
    yield City(build(settings, clock=FixedClock(local("09-28 09:00")), database=sqlite, demo=True))


def test_an_address_that_is_taken_back_is_gone_within_a_minute_and_no_other(city: City) -> None:
    """Story 2: finance, personnel and the lawyer of a firm have an address each; personnel leaves."""
    services = city.services
    seats = {
        name: city.join(
            "09-28 10:00", roles=("enterprise",), places=(FollowedPlace("slz2", "work"),), interests=(theme,)
        )
        for name, theme in (("finance", "theme:0401"), ("personnel", "theme:1501"), ("law", "theme:0802"))
    }
    city.release(
        "10-09 09:00", title="【示例】高企认定奖励申报", body="<p>财政奖励，可以申报。</p>", region="市级"
    )
    select_all(services)
    before = {name: city.poll(seat, "atom") for name, seat in seats.items()}
    assert {answer[0] for answer in before.values()} == {200}

    city.clock.at = local("10-09 11:00")
    fresh = joining.new_feed_address(services, seats["personnel"].profile.id)
    city.clock.at += timedelta(seconds=59)
    assert city.poll(seats["personnel"], "atom")[0] == 404
    assert city.poll(seats["personnel"], "rss", before["personnel"][1]["etag"])[0] == 404
    for name in ("finance", "law"):
        assert city.poll(seats[name], "atom") == before[name]
        assert city.poll(seats[name], "atom", before[name][1]["etag"])[0] == 304
    assert services.tokens.resolve(fresh, now=city.clock.now()) == seats["personnel"].profile.id

    joining.erase(services, seats["personnel"].profile.id)
    assert services.tokens.resolve(fresh, now=city.clock.now()) is None
    assert city.poll(seats["finance"], "atom")[0] == 200


def test_a_visitor_reads_until_the_last_midnight_and_then_nothing_is_left_or_sent(city: City) -> None:
    """Story 4. A family scans a square code on a poster: 汀阳老城厢, until 4 October; no account."""
    services = city.services
    city.release("09-28 09:00", title="【示例】旧公告", body="<p>以前的事。</p>", region="汀阳老城厢")
    city.clock.at = local("09-30 15:00")
    phone = TestClient(
        create_app(services), base_url="http://testserver", headers={"accept-language": "zh-CN"},
        follow_redirects=False,
    )  # fmt: skip
    form = fields(phone.get("/join?place=老城厢&until=2026-10-04").text, "/join")
    joined = phone.post("/join", data=form | {"email": MAIL, "hour": "9"})
    assert joined.status_code == 200
    [token] = set(re.findall(r"/f/([\w-]{20,})\.rss", joined.text))
    [profile_id] = services.contacts.holders("email", MAIL)
    assert services.profiles.get(profile_id).roles == ("tourist",)

    city.release(
        "10-01 17:40",
        title="【示例】汀阳老城厢步行街限流",
        body="<p>18时至22时，请改走南门。</p>",
        region="汀阳老城厢",
    )
    select_all(services)
    city.clock.at += timedelta(minutes=2)
    page = phone.get(f"/f/{token}")
    assert page.status_code == 200
    assert "限流" in page.text

    city.clock.at = local("10-02 09:00")
    assert plan(services).planned == 1
    assert send(services).sent >= 1
    city.release(
        "10-04 10:00", title="【示例】汀阳老城厢夜市延长", body="<p>至23时。</p>", region="汀阳老城厢"
    )
    select_all(services)

    city.clock.at = local("10-04 23:59")
    tick_people(services)
    assert phone.get(f"/f/{token}").status_code == 200
    city.clock.at = local("10-05 00:00")
    for suffix in ("", ".rss", ".atom", ".json"):
        assert phone.get(f"/f/{token}{suffix}").status_code == 404
    city.clock.at += timedelta(minutes=1)
    tick_people(services)
    assert services.profiles.many([profile_id]) == []
    assert services.contacts.holders("email", MAIL) == []

    sent = len(list((services.settings.captured / "email").glob("*.eml")))
    city.release("10-05 08:00", title="【示例】汀阳老城厢游客须知", body="<p>新的。</p>", region="汀阳老城厢")
    select_all(services)
    for hours in (1, 25):
        city.clock.at = local("10-05 08:00") + timedelta(hours=hours)
        plan(services)
        send(services)
    assert len(list((services.settings.captured / "email").glob("*.eml"))) == sent


def test_a_visitor_who_makes_a_new_address_does_not_stay_longer(city: City) -> None:
    services = city.services
    city.clock.at = local("09-30 15:00")
    wish = services.profiles.get(city.join("09-30 15:00", roles=("tourist",)).profile.id)
    joined = joining.join(services, wish, ends_at=local("10-05 00:00"))
    fresh = joining.new_feed_address(services, joined.profile.id, keep_old_days=30)
    city.clock.at = local("10-04 23:59")
    assert services.tokens.resolve(fresh, now=city.clock.now()) == joined.profile.id
    city.clock.at = local("10-05 00:00")
    assert services.tokens.resolve(fresh, now=city.clock.now()) is None
    assert services.tokens.resolve(joined.feed_token, now=city.clock.now()) is None
