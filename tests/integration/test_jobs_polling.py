"""Rounds of polling over real servers, with real processes that read: whole, bounded, and after mishaps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs import polling
from api.jobs.polling import poll, poll_due
from api.jobs.workshop import Workshop
from api.settings import read_settings
from api.wiring import Services, build
from feeds.catalogue.store import NoticeFilter
from feeds.intake.prepare import Prepared
from feeds.intake.sources import Source
from feeds.intake.types import Fetched
from feeds.kernel.db import Database
from feeds.kernel.errors import BadInputError, FetchError, MycityError, StorageError
from feeds.kernel.time import FixedClock
from tests.loopback import Loopback, answer, serving, with_validators

FEW = polling.FEW


@pytest.fixture
def web() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture
def services(sqlite: Database, tmp_path: Path, web: Loopback, clock: FixedClock) -> Services:
    settings = read_settings({}, home=tmp_path, city="shili", allow_private=web.place)
    return build(settings, clock=clock, database=sqlite, demo=True)


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop("shili", size=2) as made:
        yield made


def feed(name: str, *numbers: int) -> bytes:
    items = "".join(
        f"<item><guid isPermaLink='false'>{name}-{n}</guid><title>{name}关于示例事项的通知{n}</title>"
        f"<pubDate>Mon, 12 Oct 2026 08:00:00 +0800</pubDate><description>正文{name}{n}</description></item>"
        for n in numbers
    )
    return f"<rss version='2.0'><channel><title>{name}</title>{items}</channel></rss>".encode()


def add(services: Services, web: Loopback, name: str, answering: Any = None, **settings: Any) -> Source:
    web.routes[f"/{name}"] = answering or with_validators(feed(name, 1, 2), f'"{name}"')
    return services.sources.add(
        slug=name, name=f"【示例】{name}", url=web.url(f"/{name}"), at=services.clock.now(), **settings
    )


def titles(services: Services) -> list[str]:
    return sorted(notice.content.title for notice in services.notices.latest(NoticeFilter(), limit=500))


def processes(workshop: Workshop) -> list[int]:
    workshop.warm()
    return workshop.pids()


# -- rounds -----------------------------------------------------------------------------------------


def test_a_round_takes_in_what_is_due_and_the_next_one_nothing(
    services: Services, web: Loopback, workshop: Workshop
) -> None:
    for n in range(12):
        add(services, web, f"s{n}")
    done = poll_due(services, workshop=workshop)
    assert sorted(source.slug for source, _ in done) == sorted(f"s{n}" for n in range(12))
    assert [(report.read, report.new) for _, report in done] == [(2, 2)] * 12
    assert len(titles(services)) == 24
    assert poll_due(services, workshop=workshop) == []
    assert isinstance(services.clock, FixedClock)
    services.clock.advance(timedelta(hours=2))
    again = poll_due(services, workshop=workshop)
    assert [(report.unchanged, report.new) for _, report in again] == [(True, 0)] * 12
    assert {source.polls for source in services.sources.list()} == {2}


def test_one_that_fails_never_stops_the_others(
    services: Services, web: Loopback, workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {
        "missing": answer(404),
        "page": answer(200, b"<html><body>no feed</body></html>", Content_Type="text/html"),
        "gone": answer(410),
        "later": answer(503, Retry_After="7000"),
    }
    for name, answering in bad.items():
        add(services, web, name, answering)
    for n in range(8):
        add(services, web, f"s{n}")
    failed: dict[str, MycityError] = {}
    seen: list[tuple[int, int]] = []
    done = poll(
        services,
        services.sources.due(services.clock.now()),
        failed=lambda source, error: failed.update({source.slug: error}),
        progress=lambda count, total: seen.append((count, total)),
        workshop=workshop,
    )
    assert len(done) == 8 and set(failed) == set(bad)
    assert isinstance(failed["page"], BadInputError) and isinstance(failed["missing"], FetchError)
    assert seen == [(n, 12) for n in range(1, 13)]
    stands = {source.slug: source for source in services.sources.list()}
    assert [stands[name].failures for name in bad] == [1, 1, 1, 1]
    assert stands["gone"].next_poll_at is None and stands["gone"].alarm == "gone"
    (kept,) = services.sources.answers("page")
    assert (kept.which, kept.body[:6]) == ("last", b"<html>")


def test_what_breaks_in_our_own_code_is_said_in_one_sentence(
    services: Services, web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(services, web, "a")
    add(services, web, "b")
    whole = services.notices.add

    def breaks(notices: Any, **options: Any) -> Any:
        if any(notice.guid.startswith("a-") for notice in notices):
            raise ZeroDivisionError("what a surprise")
        return whole(notices, **options)

    monkeypatch.setattr(services.notices, "add", breaks)
    failed: list[str] = []
    done = poll(services, services.sources.list(), failed=lambda _, error: failed.append(str(error)))
    assert [source.slug for source, _ in done] == ["b"]
    assert failed == ["Its answer could not be taken in (ZeroDivisionError); please report it."]
    assert services.sources.by_slug("a").last_error == failed[0]


def test_a_database_that_refuses_ends_the_round(
    services: Services, web: Loopback, monkeypatch: pytest.MonkeyPatch, workshop: Workshop
) -> None:
    for n in range(30):
        add(services, web, f"s{n}")

    def full(*_: Any, **_options: Any) -> Any:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(services.notices, "add", full)
    with pytest.raises(StorageError, match="disk is full"):
        poll_due(services, workshop=workshop)
    monkeypatch.undo()
    assert isinstance(services.clock, FixedClock)
    services.clock.advance(timedelta(minutes=11))  # the claims are over
    assert len(poll_due(services, workshop=workshop)) == 30


def test_two_rounds_at_once_share_the_sources(services: Services, web: Loopback, workshop: Workshop) -> None:
    for n in range(20):
        add(services, web, f"s{n}")
    done: list[Any] = []
    rounds = [
        threading.Thread(target=lambda: done.extend(poll_due(services, workshop=workshop))) for _ in range(2)
    ]
    for one in rounds:
        one.start()
    for one in rounds:
        one.join()
    assert sorted(source.slug for source, _ in done) == sorted(f"s{n}" for n in range(20))
    assert len(web.asked) == 20


def test_a_list_that_suddenly_is_empty_raises_an_alarm_while_the_others_run(
    services: Services, web: Loopback
) -> None:
    recipe = {"items": "ul li", "fields": {"title": "a", "url": "a@href"}}
    page = (
        "<ul>"
        + "".join(f"<li><a href='/{n}.html'>关于示例事项{n}的通知</a></li>" for n in range(9))
        + "</ul>"
    )
    add(services, web, "district", answer(200, page.encode(), Content_Type="text/html; charset=utf-8"),
        kind="html", recipe=recipe)  # fmt: skip
    add(services, web, "other")
    assert len(poll_due(services)) == 2
    assert isinstance(services.clock, FixedClock)
    services.clock.advance(timedelta(hours=2))
    web.routes["/district"] = answer(200, b"<table><tr><td>new</td></tr></table>", Content_Type="text/html")
    web.routes["/other"] = with_validators(feed("other", 1, 2, 3), '"2"')
    poll_due(services)
    alarms = {source.slug: source.alarm for source in services.sources.list()}
    assert alarms == {"district": "empty", "other": ""}
    assert len(titles(services)) == 12


# -- mishaps ----------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from api.jobs import polling
from api.settings import read_settings
from api.wiring import build
from feeds.kernel.time import FixedClock
from datetime import datetime, UTC
home, place, at = sys.argv[1:]
services = build(read_settings({}, home=Path(home), city="shili", allow_private=place),
                 clock=FixedClock(datetime.fromisoformat(at)), demo=True)
polling.poll_due(services, progress=lambda done, total: print(done, flush=True))
"""


def test_killed_in_the_middle_and_again(services: Services, web: Loopback, workshop: Workshop) -> None:
    for n in range(40):
        add(
            services,
            web,
            f"s{n}",
            slow(with_validators(feed(f"s{n}", 1, 2), f'"{n}"'), 0.0 if n < 20 else 1.0),
        )
    clock = services.clock
    assert isinstance(clock, FixedClock)
    command = [sys.executable, "-c", KILLED, str(services.settings.home), web.place, clock.now().isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if int(line) == 7:
                break
        process.send_signal(signal.SIGKILL)
    for n in range(20, 40):
        web.routes[f"/s{n}"] = with_validators(feed(f"s{n}", 1, 2), f'"{n}"')
    landed = len(titles(services))
    assert 14 <= landed < 80
    assert poll_due(services, workshop=workshop) == []  # claimed by the one that was killed
    clock.advance(timedelta(minutes=11))
    poll_due(services, workshop=workshop)
    assert len(titles(services)) == len(set(titles(services))) == 80
    assert {source.polls for source in services.sources.list()} == {1}


def slow(answering: Any, seconds: float) -> Any:
    def send(handler: Any) -> None:
        time.sleep(seconds)
        answering(handler)

    return send


def test_a_process_that_dies_costs_one_source(services: Services, web: Loopback, clock: FixedClock) -> None:
    source = add(services, web, "a")
    fetched = Fetched(200, web.url("/a"), feed("a", 1, 2), {}, clock.now())
    with Workshop("shili", size=1) as workshop:
        assert len(workshop.read(source, fetched, clock.now()).rows) == 2
        (pid,) = workshop.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(BadInputError, match="process that read its answer died"):
            workshop.read(source, fetched, clock.now())
        assert len(workshop.read(source, fetched, clock.now()).rows) == 2
        assert workshop.pids() != [pid]


def test_a_process_that_takes_too_long_is_replaced(
    services: Services, web: Loopback, clock: FixedClock
) -> None:
    source = add(services, web, "a")
    fetched = Fetched(200, web.url("/a"), feed("a", 1, 2), {}, clock.now())
    with Workshop("shili", size=1, patience_s=0.3) as workshop:
        (pid,) = processes(workshop)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(BadInputError, match=r"within 0\.3 seconds"):
            workshop.read(source, fetched, clock.now())
        workshop._patience = 30.0
        assert isinstance(workshop.read(source, fetched, clock.now()), Prepared)


def test_an_error_comes_back_as_it_is(
    services: Services, web: Loopback, clock: FixedClock, workshop: Workshop
) -> None:
    source = add(services, web, "a")
    page = Fetched(200, web.url("/a"), b"<html></html>", {"content-type": "text/html"}, clock.now())
    with pytest.raises(BadInputError) as here:
        services.ingestor.preparer.read(source, page, clock.now())
    with pytest.raises(BadInputError) as there:
        workshop.read(source, page, clock.now())
    assert str(here.value) == str(there.value)


def test_processes_end_with_whoever_started_them() -> None:
    program = (
        "from api.jobs.workshop import Workshop\nimport os, signal\n"
        "w = Workshop('shili', size=1); w.warm(); print(*w.pids(), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the process outlived its engine")


def test_the_benchmark_runs_small() -> None:
    from bench.poll import run

    found = run(1, sources=20, entries=2, delay_s=0.05)
    assert found["second_round_304_share"] == 1.0 and found["round_over_ideal"] > 1
