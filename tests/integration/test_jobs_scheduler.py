"""The timer and its ticks: real APScheduler, real database; a failing tick never stops the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.jobs import joining, scheduler
from api.jobs.selecting import select_all
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from profiles.types import FollowedPlace
from tests.factories import NOW, new_notice, profile

TAX = {"tags": ("theme:04", "theme:0402"), "level": "city", "place": "sl"}


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Iterator[Services]:
    settings = read_settings({}, home=tmp_path, city="shili")
    made = build(settings, clock=FixedClock(NOW - timedelta(days=1)), database=sqlite, demo=True)
    old = new_notice("old", title="【示例】旧公告", published=NOW - timedelta(days=3), **TAX)
    made.notices.add([old], at=NOW - timedelta(days=2))
    yield made


def test_a_tick_plans_and_sends_what_is_due(services: Services) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    joining.join(services, profile(places=(FollowedPlace("sl"),)), email="a@shili.example", verified=True)
    assert scheduler.tick_digests(services) == {"planned": 0, "corrections": 0, "claimed": 0, "sent": 0}
    services.notices.add([new_notice("new", published=clock.now(), **TAX)], at=clock.now())
    clock.advance(timedelta(minutes=1))
    select_all(services)
    clock.at = NOW
    assert scheduler.tick_digests(services) == {"planned": 1, "corrections": 0, "claimed": 1, "sent": 1}
    assert scheduler.tick_digests(services) == {"planned": 0, "corrections": 0, "claimed": 0, "sent": 0}


def test_housekeeping_ends_what_is_over(services: Services) -> None:
    clock = services.clock
    assert isinstance(clock, FixedClock)
    services.notices.add([new_notice("ends", expires=NOW, **TAX)], at=clock.now())
    channel = services.channels["sms"]
    folder = services.settings.captured / "sms"
    folder.mkdir(parents=True, mode=0o700)
    assert set(scheduler.housekeeping(services).values()) == {0}
    clock.at = NOW
    assert scheduler.housekeeping(services)["expired"] == 1
    assert services.notices.counts().by_state["expired"] == 1
    channel.close()


def test_the_timer_ticks_although_one_job_fails(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    ticked = {name: threading.Event() for name in ("select", "digests")}

    def fails(_: Services, **_options: object) -> None:
        raise RuntimeError("a source is broken")

    def works(name: str) -> object:
        return lambda _services: ticked[name].set()

    monkeypatch.setattr(scheduler, "poll_due", fails)
    monkeypatch.setattr(scheduler, "select_all", works("select"))
    monkeypatch.setattr(scheduler, "tick_digests", works("digests"))
    monkeypatch.setattr(scheduler, "interval_seconds", lambda _settings: dict.fromkeys(scheduler.JOBS, 0.2))
    stop = scheduler.start(services)
    try:
        for name, event in ticked.items():
            assert event.wait(10), f"{name} never ticked"
            event.clear()
            assert event.wait(10), f"{name} ticked only once"
    finally:
        stop()
