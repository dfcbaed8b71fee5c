"""Answers that are read and landed together: the same outcome, whoever fails and whatever they share."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.jobs.asking import Askers
from api.jobs.polling import poll
from api.jobs.workshop import Workshop
from api.settings import read_settings
from api.wiring import Services, build
from feeds.catalogue.store import NoticeFilter
from feeds.intake.prepare import Prepared
from feeds.intake.sources import Source
from feeds.intake.types import Fetched
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError
from feeds.kernel.time import FixedClock
from tests.loopback import Loopback, answer, serving

SAME = "示例区关于做好二〇二六年度老旧小区加装电梯工作的通知"


@pytest.fixture
def web() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture
def services(sqlite: Database, tmp_path: Path, web: Loopback, clock: FixedClock) -> Services:
    settings = read_settings({}, home=tmp_path, city="shili", allow_private=web.place)
    return build(settings, clock=clock, database=sqlite, demo=True)


def feed(name: str) -> bytes:
    body = "各街道、镇人民政府：现将有关事项通知如下，请结合实际认真贯彻执行，并于月底前报送情况。" * 4
    items = "".join(
        f"<item><guid isPermaLink='false'>{name}-{n}</guid><title>{title}</title>"
        f"<pubDate>Mon, 12 Oct 2026 08:00:00 +0800</pubDate><description>{text}</description></item>"
        for n, (title, text) in enumerate(((SAME, body), (f"{name}自己的通知", f"{name}的正文")))
    )
    return f"<rss version='2.0'><channel><title>{name}</title>{items}</channel></rss>".encode()


def add(services: Services, web: Loopback, name: str) -> Source:
    web.routes[f"/{name}"] = answer(200, feed(name), Content_Type="application/rss+xml")
    return services.sources.add(
        slug=name, name=f"【示例】{name}", url=web.url(f"/{name}"), at=services.clock.now()
    )


def test_sources_that_say_the_same_in_one_go_find_each_other(services: Services, web: Loopback) -> None:
    sources = [add(services, web, f"s{n}") for n in range(9)]
    done = poll(services, sources)
    assert sum(report.new for _, report in done) == 18
    assert sorted(report.duplicates for _, report in done) == [0] + [1] * 8
    notices = services.notices.latest(NoticeFilter(), limit=50)
    leads = {one.lead_id for one in notices if one.content.title.endswith(SAME) and one.lead_id}
    assert len(leads) == 1


def test_a_process_that_dies_with_several_answers_costs_none_of_the_others(
    services: Services, web: Loopback, clock: FixedClock
) -> None:
    source = add(services, web, "a")
    good = Fetched(200, web.url("/a"), feed("a"), {}, clock.now())
    page = Fetched(200, web.url("/a"), b"<html></html>", {"content-type": "text/html"}, clock.now())
    tasks = [(source, one, clock.now(), None) for one in (good, page, good)]
    with Workshop("shili", size=1) as workshop:
        workshop.warm()
        os.kill(workshop.pids()[0], signal.SIGKILL)
        first, bad, last = workshop.read_many(tasks)
    assert (
        isinstance(first, Prepared) and isinstance(last, Prepared) and len(first.rows) == len(last.rows) == 2
    )
    assert isinstance(bad, BadInputError)


def test_whoever_leaves_early_lets_the_threads_go(services: Services, web: Loopback) -> None:
    sources = [add(services, web, f"s{n}") for n in range(60)]
    with Workshop("shili", size=1) as workshop:
        before = set(threading.enumerate())
        askers = Askers(services, sources, workshop, 4)
        assert next(askers.results())
        askers.stop()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith(("asker-", "reader-")):
                thread.join(20)
                assert not thread.is_alive()
    assert len(web.asked) < 60  # no more than may be under way
