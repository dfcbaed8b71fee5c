"""Training: in this process, in a child that may be killed, and when the timer wants it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from api.jobs import training_apart, watching
from api.jobs.library import published
from api.jobs.notebook import Notes
from api.jobs.training import STEPS, readable, train_further, train_model
from api.jobs.training_apart import AGAIN, HOURLY, Trainer, due, tick_train
from api.settings import read_settings
from api.wiring import Services, build
from feeds.kernel.db import Database
from feeds.kernel.errors import ConflictError, MycityError, UsageError
from feeds.kernel.time import FixedClock
from profiles.feedback import FeedbackRow
from recommender.clickthrough import Clickthrough
from recommender.model_file import ModelShelf
from recommender.types import RulesOnlyError
from tests.factories import NOW, new_notice, profile
from tests.models import small

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = "a key for tests only, long enough to be one"
THEMES = ("0402", "0403", "0601", "1001", "1402", "1501")


def town(database: Database, home: Path, **changes: Any) -> Services:
    """A city with notices and residents who opened what they follow."""
    settings = read_settings({}, home=home, city="shili", secret_key=KEY, **changes)
    services = build(settings, clock=FixedClock(NOW), database=database)
    rows = [
        new_notice(
            f"n{n}", title=f"【示例】关于第{n}号事项的通知", doc_no=f"示{n}号",
            tags=(f"theme:{THEMES[n % 6]}",), level="city", place="sl", published=NOW - 2 * DAY,
        )
        for n in range(60)
    ]  # fmt: skip
    ids = services.notices.add(rows, at=NOW - 2 * DAY)
    draw, told = random.Random(2), list[FeedbackRow]()
    for n in range(24):
        wish = replace(profile(), interests=(f"theme:{THEMES[n % 6]}",))
        one = services.profiles.create(wish, at=NOW - 30 * DAY)[0]
        for number in draw.sample(ids[n % 6 :: 6], 5):
            told.append(FeedbackRow(one.id, number, "impression", NOW - 2 * HOUR, sure=0.9, position=1))
            if draw.random() < 0.8:
                told.append(FeedbackRow(one.id, number, "click", NOW - HOUR))
    services.feedback.record(told)
    return services


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Iterator[Services]:
    yield town(sqlite, tmp_path)


def clock_of(services: Services) -> FixedClock:
    assert isinstance(services.clock, FixedClock)
    return services.clock


# In this process


def test_a_full_training_is_saved_with_its_facts(services: Services) -> None:
    steps: list[tuple[int, int]] = []
    made, version = train_model(services, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n, STEPS) for n in range(STEPS + 1)]
    found = watching.usable_model(services, NOW)
    assert found is not None and found.info.version == version == services.models.current()
    info = found.info
    assert (info.kind, info.data_until, info.vocabulary) == ("full", NOW - HOUR, made.vocabulary)
    assert info.metrics["ranker_groups"] > 0 and "ranker" not in found.extras
    counted = Clickthrough.of(*found.extras["clicks"])
    assert counted.as_of == NOW and counted.clicks.sum() > 0
    assert train_model(services)[1] == version.replace("-000", "-001")


def test_a_model_lost_before_the_first_selection_is_missing(services: Services) -> None:
    _, version = train_model(services)
    shutil.rmtree(services.settings.models)
    found = watching.view(services)
    assert found.verdict.state == "missing" and found.verdict.alarm and not found.serving
    assert f"Model {version} was trained and its files are gone" in found.verdict.why
    assert watching.usable_model(services, NOW) is None


def test_teaching_further_saves_only_what_is_new(services: Services) -> None:
    with pytest.raises(UsageError, match=r"run `mycity train`"):
        train_further(services)
    _, full = train_model(services)
    clock_of(services).advance(HOUR)
    assert train_further(services).version == "" and services.models.current() == full
    ids = [one.id for one in services.notices.pickable(NOW)][:6]
    services.feedback.record([FeedbackRow(1, number, "like", NOW + HOUR / 2) for number in ids])
    done = train_further(services)
    found = services.models.load_current()
    assert found is not None and found.info.version == done.version
    assert found.info.kind == "partial" and found.info.full == NOW and "6 new pairs" in done.said
    assert "clicks" in found.extras and found.info.metrics["ranker_groups"] > 0
    clock_of(services).advance(HOUR)
    services.feedback.record([FeedbackRow(2, ids[0], "impression", services.clock.now(), sure=0.9)])
    clock_of(services).advance(HOUR)
    shown = train_further(services)  # only the click-through is new
    after = services.models.load_current()
    assert after is not None and after.info.version == shown.version != done.version
    assert after.item_vectors.tobytes() == found.item_vectors.tobytes()
    assert Clickthrough.of(*after.extras["clicks"]).as_of == services.clock.now()


def test_too_little_or_later_feedback_is_refused(sqlite: Database, tmp_path: Path) -> None:
    services = build(
        read_settings({}, home=tmp_path, city="shili", secret_key=KEY), clock=FixedClock(NOW), database=sqlite
    )
    with pytest.raises(RulesOnlyError, match="0 opened notices of 0 residents"):
        train_model(services)
    services = town(sqlite, tmp_path)
    clock_of(services).at = NOW - DAY
    with pytest.raises(RulesOnlyError, match="the clock stands at"):
        train_model(services)
    assert services.models.look().state == "none"


def test_who_leaves_while_it_trains_is_not_in_the_model(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recommender import train as module

    ids = [one.id for one in services.notices.pickable(NOW)]
    services.feedback.record(
        [FeedbackRow(who, n, "open", NOW - HOUR) for who in (3, 4, 5, 6) for n in ids[:8]]
    )
    real = module.train

    def slow(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        assert {"id:3", "id:4", "id:5", "id:6"} <= set(made.users.names)
        services.profiles.erase(3)
        services.profiles.change(replace(services.profiles.get(4), personalised=False))
        services.feedback.forget(5)
        return made

    monkeypatch.setattr(module, "train", slow)
    train_model(services)
    found = services.models.load_current()
    assert found is not None and "id:6" in found.users.columns
    assert not {"id:3", "id:4", "id:5"} & set(found.users.names)


def test_what_is_over_goes_on_teaching(services: Services) -> None:
    made, _ = train_model(services)
    for one in services.notices.pickable(NOW)[5:]:
        services.notices.set_state(one.id, "expired", at=NOW)
    assert len(readable(services)) == 5 and len(published(services)) == 60
    assert all(one.content.body == "" for one in published(services))
    again, _ = train_model(services)
    assert (again.info.rows, again.info.items) == (made.info.rows, made.info.items)
    assert again.item_vectors.tobytes() == made.item_vectors.tobytes()
    before, after = (Clickthrough.of(*one.extras["clicks"]) for one in (made, again))
    assert after.clicks.sum() == before.clicks.sum() > 0


def test_only_residents_with_feedback_are_loaded(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.jobs import training

    for _ in range(5):
        services.profiles.create(profile(), at=NOW)
    asked: list[set[int]] = []
    many = services.profiles.many
    monkeypatch.setattr(
        type(services.profiles), "many", lambda _self, ids: many(asked.append(set(ids)) or asked[-1])
    )
    monkeypatch.setattr(type(services.profiles), "batches", None)
    training.train_model(services)
    assert asked[0] == set(range(1, 25))


def test_of_too_many_impressions_the_latest_count(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.jobs import training

    monkeypatch.setattr(training, "_SHOWN_MOST", 7)
    late = [FeedbackRow(1, n, "impression", NOW - n * HOUR / 60) for n in range(1, 10)]
    services.feedback.record(late)
    assert training._shown(services, NOW) == late[6::-1]


def test_a_second_training_is_refused(services: Services) -> None:
    with services.models.training():
        for job in (train_model, train_further):
            with pytest.raises(ConflictError, match="under way"):
                job(services)


# In a child


def test_a_child_trains_and_serving_sees_it(services: Services) -> None:
    trainer = Trainer()
    done = trainer.run(services, "full")
    assert done.version == services.models.current() and "in use now" in done.said
    found = watching.usable_model(services, NOW)
    assert found is not None and found.info.version == done.version and found.info.trained_at == NOW
    with pytest.raises(MycityError, match="0 opened"):
        services.feedback.trim(NOW + 3 * 365 * DAY)
        trainer.run(services, "full")
    assert services.models.current() == done.version
    trainer.close()
    with pytest.raises(MycityError, match="closed"):
        trainer.run(services, "full")


def test_a_child_is_given_no_secret(services: Services) -> None:
    order = repr(training_apart._order(services, "full"))
    assert KEY not in order and "secret" not in order


@pytest.mark.parametrize("way", ["kill", "close", "patience"])
def test_a_child_that_dies_leaves_the_model_before(services: Services, way: str) -> None:
    _, before = train_model(services)
    files = {path.name: path.read_bytes() for path in services.settings.models.glob("2*")}
    trainer = Trainer(patience_s=0.2 if way == "patience" else 60)
    said: list[str] = []

    def run() -> None:
        try:
            trainer.run(services, "full")
        except MycityError as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while (pid := trainer.pid()) is None and thread.is_alive():
        time.sleep(0.005)
    if way == "kill":
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    elif way == "close":
        trainer.close()
    thread.join(30)
    assert not thread.is_alive() and len(said) == 1 and "the model before stays in use" in said[0]
    assert services.models.current() == before and trainer.pid() is None
    assert {path.name: path.read_bytes() for path in services.settings.models.glob("2*")} == files
    assert train_model(services)[1] != before  # and the next one is not locked out


# When


@pytest.mark.parametrize(
    ("notes", "trained", "full", "wanted"),
    [
        ({}, None, None, "full"),
        ({"full_tried_at": NOW - HOUR}, None, None, None),  # refused for now
        ({"full_tried_at": NOW - AGAIN}, None, None, "full"),
        ({"full_tried_at": NOW + DAY}, None, None, "full"),  # the clock was set back
        ({}, NOW - HOUR / 2, NOW - HOUR / 2, None),
        ({}, NOW - HOURLY, NOW - HOURLY, "partial"),
        ({"refreshed_at": NOW - HOUR / 2}, NOW - 5 * HOUR, NOW - 5 * HOUR, None),
        ({"partial_tried_at": NOW - HOUR / 2}, NOW - 5 * HOUR, NOW - 5 * HOUR, None),
        ({}, NOW - HOUR / 2, NOW - DAY, "full"),  # of the night before
        ({"full_tried_at": NOW - HOUR}, NOW - 2 * HOUR, NOW - DAY, "partial"),  # failed; meanwhile go on
    ],
)
def test_what_is_due(
    notes: dict[str, Any], trained: datetime | None, full: datetime | None, wanted: str | None
) -> None:
    info = None if trained is None else replace(small().info, trained_at=trained, full_at=full)
    assert due(Notes(**notes), info, NOW, NOW - 7 * HOUR) == wanted


def test_a_clock_that_ran_ahead_once_holds_nothing_up() -> None:
    night = NOW - 7 * HOUR
    ahead = replace(small().info, trained_at=NOW + 3 * DAY, full_at=NOW + 3 * DAY)
    assert due(Notes(), ahead, NOW, night) == "full"
    later = Notes(partial_tried_at=NOW + 2 * DAY, refreshed_at=NOW + DAY)
    mended = replace(ahead, trained_at=NOW - HOUR, full_at=NOW - HOUR)
    assert due(later, mended, NOW, night) == "partial"
    near = replace(ahead, trained_at=NOW + HOUR / 12, full_at=NOW + HOUR / 12)  # clocks of two machines
    assert due(Notes(), near, NOW, night) is None


def test_a_training_given_up_at_the_end_of_the_day_is_made_at_the_next_start(services: Services) -> None:
    trainer = Trainer()
    trainer.close()
    assert tick_train(services, trainer) == {"full": 0, "partial": 0}
    notes = services.notebook.read()
    assert notes.full_tried_at is None and notes.said == ""
    assert tick_train(services, Trainer()) == {"full": 1, "partial": 0}


def test_a_night_is_local(services: Services) -> None:
    assert training_apart._night(services, NOW) == NOW - 7 * HOUR  # 03:00 of 10:00 in the city
    assert training_apart._night(services, NOW - 8 * HOUR) == NOW - 31 * HOUR


def test_the_timer_trains_at_night_and_each_hour(services: Services) -> None:
    trainer = Trainer()
    assert tick_train(services, trainer) == {"full": 1, "partial": 0}
    assert tick_train(services, trainer) == {"full": 0, "partial": 0}
    clock_of(services).advance(HOUR)
    assert tick_train(services, trainer) == {"full": 0, "partial": 1}
    notes = services.notebook.read()
    assert notes.said == "There was nothing new to learn." and notes.refreshed_at == NOW + HOUR
    clock_of(services).at = NOW + 17 * HOUR
    assert tick_train(services, trainer) == {"full": 1, "partial": 0}
    assert len(services.models.versions()) == 2


def test_a_refusal_is_kept_and_not_repeated_at_once(sqlite: Database, tmp_path: Path) -> None:
    services = build(
        read_settings({}, home=tmp_path, city="shili", secret_key=KEY), clock=FixedClock(NOW), database=sqlite
    )
    trainer = Trainer()
    assert tick_train(services, trainer) == {"full": 0, "partial": 0}
    assert services.notebook.read().said.startswith("Rules only: 0 opened")
    tried = services.notebook.read().full_tried_at
    clock_of(services).advance(HOUR)
    tick_train(services, trainer)
    assert services.notebook.read().full_tried_at == tried


def test_without_the_extra_it_says_so_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_apart, "find_spec", lambda _name: None)
    trainer = Trainer()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert tick_train(services, trainer) == {"full": 0, "partial": 0}
    assert [line["event"] for line in lines] == ["training_not_installed"]
    assert watching.usable_model(services, NOW) is None


def test_the_demo_is_not_trained_by_the_timer(sqlite: Database, tmp_path: Path) -> None:
    made = build(
        read_settings({}, home=tmp_path, city="shili"), clock=FixedClock(NOW), database=sqlite, demo=True
    )
    assert tick_train(made, Trainer()) == {"full": 0, "partial": 0}


def test_a_copy_of_the_folder_is_a_backup(services: Services, tmp_path: Path) -> None:
    _, version = train_model(services)
    shutil.copytree(services.settings.models, tmp_path / "elsewhere")
    found = ModelShelf(tmp_path / "elsewhere").load_current()
    assert found is not None and found.info.version == version
