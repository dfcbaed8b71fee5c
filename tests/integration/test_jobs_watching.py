"""Watching: falls back to rules by itself, says so everywhere alike, measures from bounded samples."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import select

from api.jobs import joining, watching
from api.jobs.selecting import select_all
from api.jobs.watching import FEEDBACK, REST
from api.ops import doctor
from api.ops.metrics import metrics_text
from api.settings import read_settings
from api.wiring import Services, build
from feeds.desk.tables import audit
from feeds.kernel.db import Database
from feeds.kernel.errors import UsageError
from feeds.kernel.time import FixedClock
from profiles.editions import NewEdition
from profiles.feedback import FeedbackRow
from profiles.samples import Samples
from profiles.types import FollowedPlace, Pick, Reason
from recommender.control import Comparison, in_control
from recommender.monitor import BY_RULES, QUIET
from tests.factories import NOW, new_notice, pick, profile
from tests.models import small

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TAX = {"tags": ("theme:04", "theme:0402"), "level": "city", "place": "sl"}
KEY = "a key for tests only, long enough to be one"


@pytest.fixture
def services(sqlite: Database, tmp_path: Path) -> Iterator[Services]:
    yield joined(sqlite, tmp_path)


def joined(database: Database, home: Path, **changes: Any) -> Services:
    settings = read_settings({}, home=home, city="shili", secret_key=KEY, **changes)
    return build(settings, clock=FixedClock(NOW), database=database)


def clock_of(services: Services) -> FixedClock:
    assert isinstance(services.clock, FixedClock)
    return services.clock


def figures_of(services: Services) -> dict[str, float]:
    lines = metrics_text(services).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


# The verdict, and what follows from it


def _gone(services: Services) -> None:
    version = services.models.current()
    (services.settings.models / f"{version}.npz").unlink()


def _cut(services: Services) -> None:
    path = services.settings.models / f"{services.models.current()}.npz"
    path.write_bytes(path.read_bytes()[:100])


def _moved(span: timedelta) -> Callable[[Services], None]:
    def move(services: Services) -> None:
        clock_of(services).at = NOW + span

    return move


def _foreign(services: Services) -> None:
    rows = [new_notice(f"f{n}", **TAX) for n in range(25)]
    services.notices.add(rows, at=NOW)
    services.notebook.change(measures=watching.measure(services, NOW))


MOODS: dict[str, tuple[Callable[[Services], None], str]] = {
    "fine": (lambda services: None, "fine"),
    "file gone": (_gone, "missing"),
    "file cut": (_cut, "broken"),
    "folder gone": (lambda services: shutil.rmtree(services.settings.models), "missing"),
    "8 days old": (_moved(8 * DAY), "stale"),
    "27 hours old": (_moved(27 * HOUR), "late"),
    "clock set back": (_moved(-2 * DAY), "ahead"),
    "another vocabulary": (_foreign, "mismatched"),
    "worse": (lambda services: _set(services, resting_until=NOW + DAY), "worse"),
}


def _set(services: Services, **values: Any) -> None:
    services.notebook.change(**values)


@pytest.mark.parametrize("mood", MOODS)
def test_every_entrance_says_the_same(
    services: Services, mood: str, capsys: pytest.CaptureFixture[str]
) -> None:
    services.models.save(small())
    assert watching.usable_model(services, NOW) is not None
    act, state = MOODS[mood]
    act(services)
    now = services.clock.now()
    used = watching.usable_model(services, now)
    assert (used is None) == (state in BY_RULES)
    found = watching.view(services)
    assert found.verdict.state == state and found.verdict.alarm == (state not in QUIET)
    assert found.serving == (used.info.version if used else "")
    # the figures
    figures = figures_of(services)
    assert figures[f'mycity_model_state{{state="{state}"}}'] == 1
    assert sum(value for name, value in figures.items() if name.startswith("mycity_model_state")) == 1
    assert figures["mycity_model_alarm"] == found.verdict.alarm
    assert figures["mycity_model_in_use"] == bool(used)
    # the doctor (it has the machine's clock; here ours)
    from api.ops import console

    console.options.now = now.isoformat()
    try:
        (said,) = doctor._model(services.settings)
    finally:
        console.options.now = ""
    assert said.message.startswith(found.verdict.why) and said.status == ("ok" if state == "fine" else "bad")


def test_a_fall_back_is_logged_when_it_begins_and_ends(services: Services) -> None:
    services.models.save(small())
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            watching.usable_model(services, NOW)
        _cut(services)
        for _ in range(3):
            watching.usable_model(services, NOW)
        services.models.save(small(minutes=1))
        for _ in range(3):
            watching.usable_model(services, NOW + HOUR)
    told = [(line["event"], line.get("state")) for line in lines if "alarm" in line["event"]]
    assert told == [("model_alarm_begins", "broken"), ("model_alarm_ends", "fine")]
    assert services.notebook.read().state_since == NOW + HOUR


def test_a_new_installation_raises_no_alarm(services: Services) -> None:
    assert watching.usable_model(services, NOW) is None
    found = watching.watch(services)
    assert (found.verdict.state, found.verdict.alarm) == ("none", False)
    assert "mycity train" in found.verdict.why


def test_the_one_before_serves_while_the_newest_is_broken(services: Services) -> None:
    first = services.models.save(small())
    services.models.save(small(minutes=1))
    _cut(services)
    used = watching.usable_model(services, NOW)
    found = watching.view(services)
    assert used is not None and used.info.version == found.serving == first
    assert found.verdict.state == "older" and found.verdict.alarm and found.verdict.usable


@pytest.mark.parametrize("text", [None, "garbage/../../x"])
def test_without_a_pointer_the_newest_serves_with_an_alarm(services: Services, text: str | None) -> None:
    newest = [services.models.save(small(minutes=n)) for n in range(3)][-1]
    path = services.settings.models / "current"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    used = watching.usable_model(services, NOW)
    found = watching.view(services)
    assert used is not None and used.info.version == found.serving == newest
    assert found.verdict.state == "older" and found.verdict.alarm and "`current`" in found.verdict.why
    assert figures_of(services)["mycity_model_alarm"] == 1


def test_feeds_go_on_whatever_happens_to_the_notebook(services: Services) -> None:
    services.models.save(small())
    path = services.settings.notebook
    for content in (b"", b"{", b"[]", b'{"state": 3, "measures": {"at": 1}}', b"\xff"):
        path.write_bytes(content)
        assert watching.usable_model(services, NOW) is not None
    path.unlink()
    path.mkdir()  # cannot be written
    with structlog.testing.capture_logs() as lines:
        assert watching.usable_model(services, NOW) is not None
        assert select_all(services).profiles == 0
    assert "notebook_not_written" in {line["event"] for line in lines}


def test_selection_goes_by_rules_and_is_remembered(services: Services) -> None:
    version = services.models.save(small())
    joining.join(services, profile(places=(FollowedPlace("sl"),)), email="a@shili.example", verified=True)
    for n, by in enumerate((version, "")):
        new = new_notice(f"n{n}", title=f"【示例】第{n}号税务通知", doc_no=f"示税{n}号", **TAX)
        services.notices.add([new], at=services.clock.now())
        clock_of(services).advance(HOUR)
        report = select_all(services)
        last = services.notebook.read().selection
        assert last is not None and (last.at, last.model) == (services.clock.now(), by)
        assert (last.profiles, last.picks) == (1, report.picks) and report.picks == 1
        _gone(services) if by else None
    assert figures_of(services)["mycity_selection_profiles"] == 1


# Worse than the control group


def crowd(services: Services, *, rate: float, control_rate: float, count: int = 400) -> None:
    """Residents who were shown ten notices each; so many of them were opened."""
    wish = replace(profile(), roles=("citizen",))
    people = [services.profiles.create(wish, at=NOW - 60 * DAY)[0] for _ in range(count)]
    draw, rows = random.Random(5), list[FeedbackRow]()
    for one in people:
        mine = in_control(one, NOW.date(), 0.2, services.key, services.city)
        for n in range(1, 11):
            rows.append(FeedbackRow(one.id, n, "impression", NOW - HOUR, sure=0.9))
            if draw.random() < (control_rate if mine else rate):
                rows.append(FeedbackRow(one.id, n, "click", NOW - HOUR / 2))
    services.feedback.record(rows)
    services.editions.append(
        [NewEdition(one.id, "daily", (pick(1, score=1.0 + one.id / 1000),), NOW - HOUR, 0) for one in people]
    )


def test_a_model_that_is_worse_than_control_rests(sqlite: Database, tmp_path: Path) -> None:
    services = joined(sqlite, tmp_path, control_share=0.2)
    version = services.models.save(small())
    crowd(services, rate=0.03, control_rate=0.12)
    found = watching.watch(services)
    compared = found.notes.measures and found.notes.measures.comparison
    assert compared and compared.verdict == "worse" and compared.high < 0
    assert found.verdict.state == "worse" and found.serving == ""
    assert watching.usable_model(services, NOW) is None
    assert figures_of(services)['mycity_recommender_click_rate{group="control"}'] > 0.1
    # It rests, then gets a new trial on what happens from then on.
    clock_of(services).at = NOW + REST + HOUR
    services.models.save(small(minutes=int((REST + HOUR).total_seconds() // 60)))
    found = watching.watch(services)
    assert found.verdict.state == "fine" and found.notes.compared_from == NOW + REST
    # An editor need not wait.
    _set(services, resting_until=NOW + 30 * DAY)
    assert watching.view(services).verdict.state == "worse"
    watching.use(services, services.models.current() or version)
    assert watching.view(services).verdict.state == "fine"


def test_no_difference_and_too_few_change_nothing(sqlite: Database, tmp_path: Path) -> None:
    services = joined(sqlite, tmp_path, control_share=0.2)
    services.models.save(small())
    found = watching.watch(services)
    compared = found.notes.measures and found.notes.measures.comparison
    assert compared and compared.verdict == "too few" and found.verdict.state == "fine"
    crowd(services, rate=0.1, control_rate=0.1)
    found = watching.watch(services, measure_now=True)
    compared = found.notes.measures and found.notes.measures.comparison
    assert compared and compared.verdict == "no difference" and found.verdict.state == "fine"


# Measures


def test_measures_of_an_empty_city(services: Services) -> None:
    found = watching.measure(services, NOW)
    assert (found.editions, found.picks, found.wait_median, found.deciles) == (0, 0, None, ())
    assert found.coverage[7].rate == 0 and not found.sampled


def test_measures_come_from_the_ledger(sqlite: Database, tmp_path: Path) -> None:
    services = joined(sqlite, tmp_path, control_share=0.2)
    ids = services.notices.add([new_notice(f"n{n}", **TAX) for n in range(10)], at=NOW - 2 * DAY)
    old = services.notices.add(
        [new_notice("old", archive=True, published=NOW - 99 * DAY, **TAX)], at=NOW - 2 * DAY
    )
    crowd(services, rate=0.2, control_rate=0.2, count=60)
    explored = Pick(ids[1], 1, "explored", (Reason("explored", (), 0.0),), 0.0, 0.125)
    services.editions.append([NewEdition(1, "daily", (explored,), NOW - HOUR, 1)])
    found = watching.measure(services, NOW)
    assert found.editions == 61 and found.picks == 61 and not found.sampled
    assert (found.coverage[7].part, found.coverage[7].whole) == (2, 10) and old
    assert {share.name: share.part for share in found.reasons} == {"interest": 60, "explored": 1}
    assert found.explored == pytest.approx(1 / 61)
    assert found.wait_median == 1800
    assert [share.name for share in found.by["theme"]] == ["04"]


def test_long_ledgers_are_sampled(database: Database) -> None:
    from profiles.editions import EditionStore
    from profiles.store import ProfileStore

    store, made = EditionStore(database), ProfileStore(database)
    people = [made.create(profile(), at=NOW)[0].id for _ in range(4)]
    for n in range(150):
        at = NOW - timedelta(days=60) + n * timedelta(hours=12)
        store.append([NewEdition(one, "daily", (pick(n + 1),), at, n) for one in people])
    samples, since = Samples(database), NOW - timedelta(days=30)
    whole = samples.editions(since, most=10_000)
    assert whole.whole and len(whole.editions) == 4 * 90
    assert min(one.made_at for one in whole.editions) == since
    part = samples.editions(since, most=100)
    assert not part.whole and 50 <= len(part.editions) <= 100
    days = {one.made_at.date() for one in part.editions}
    assert max(days) - min(days) >= timedelta(days=15)  # from all over the span
    assert samples.editions(NOW + 90 * DAY, most=10).editions == ()
    assert samples.people(2) == people[::2][:2] or len(samples.people(2)) <= 2


def test_feedback_samples_are_bounded(database: Database) -> None:
    from profiles.feedback import FeedbackStore

    rows = [FeedbackRow(n % 3 + 1, n, "impression" if n % 2 else "click", NOW + n * HOUR) for n in range(60)]
    FeedbackStore(database).record(rows)
    samples = Samples(database)
    found = samples.feedback([1, 3], NOW + 6 * HOUR, each=1000)
    assert [(row.profile_id, row.notice_id) for row in found] == [
        (row.profile_id, row.notice_id) for row in rows if row.profile_id != 2 and row.notice_id >= 6
    ]
    latest = samples.feedback([1, 2, 3], NOW, each=7)  # everybody's latest
    assert [row.notice_id for row in latest] == list(range(39, 60))
    acts = samples.acts_after(NOW + 10 * HOUR, most=5)
    assert [row.notice_id for row in acts] == [50, 52, 54, 56, 58] and {row.kind for row in acts} == {"click"}


def test_of_too_many_rows_the_latest_are_kept(database: Database) -> None:
    """Also where they were stored in another order."""
    from profiles.feedback import FeedbackStore

    store = FeedbackStore(database)
    rows = [FeedbackRow(1, n, "click", NOW + n * HOUR) for n in range(9)]
    shown = [replace(row, kind="impression", propensity=0.5 if row.notice_id % 2 else 1.0) for row in rows]
    store.record([*rows[::-1], *shown[::-1]])
    assert store.training_rows(limit=3) == rows[6:] and store.training_rows() == rows
    assert store.impressions(NOW, limit=3) == shown[6:] and store.impressions(NOW) == shown
    assert store.impressions(NOW, explored=True) == shown[1::2]


def test_who_lets_themselves_be_observed(database: Database) -> None:
    from profiles.feedback import FeedbackStore
    from profiles.store import ProfileStore

    store = ProfileStore(database)
    on, off, quiet = (store.create(profile(personalised=wish), at=NOW)[0].id for wish in (True, False, True))
    FeedbackStore(database).record([FeedbackRow(who, 1, "open", NOW) for who in (on, off, 999)])
    FeedbackStore(database).record([FeedbackRow(quiet, 1, "impression", NOW)])
    assert Samples(database).still_observed([off, on, quiet, 999]) == {on}
    assert Samples(database).still_observed([]) == set()


def test_a_busy_city_is_compared_all_the_same(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the first residents read, both groups are measured, each by its own limit."""
    services = joined(sqlite, tmp_path, control_share=0.2)
    services.models.save(small())
    crowd(services, rate=0.1, control_rate=0.1)
    busy = [one for batch in services.profiles.batches() for one in batch][:40]
    many = [FeedbackRow(one.id, 100 + n, "impression", NOW - HOUR) for one in busy for n in range(100)]
    services.feedback.record(many)
    monkeypatch.setattr(watching, "MOST_PEOPLE", 50)
    monkeypatch.setattr(watching, "MOST_EACH", 30)
    compared = watching.measure(services, NOW).comparison
    assert compared is not None and compared.people == (50, 50) and compared.verdict != "too few"


def test_a_sample_is_from_all_over() -> None:
    people = [replace(profile(), id=n) for n in range(100)]
    assert [one.id for one in watching._spread(people, 4)] == [0, 25, 50, 75]
    assert watching._spread(people, 100) == people == watching._spread(people, 1000)


def test_many_looks_do_not_make_a_model_worse() -> None:
    """A difference that one look in forty shows by chance is shown, but nothing follows from it."""
    clear = Comparison(0.03, 0.12, -0.09, -0.14, -0.05, (400, 100), "worse")
    faint = Comparison(0.08, 0.12, -0.04, -0.075, -0.005, (400, 100), "worse")
    assert watching.surely_worse(clear) and not watching.surely_worse(faint)
    assert not watching.surely_worse(replace(clear, verdict="too few"))


def test_what_is_over_counts_as_released(services: Services) -> None:
    ids = services.notices.add([new_notice(f"n{n}", **TAX) for n in range(4)], at=NOW - 2 * DAY)
    services.notices.set_state(ids[0], "expired", at=NOW - DAY)
    found = watching.measure(services, NOW)
    assert found.coverage[7].whole == 4


def test_few_people_are_no_figure(sqlite: Database, tmp_path: Path) -> None:
    services = joined(sqlite, tmp_path, control_share=0.2)
    crowd(services, rate=0.5, control_rate=0.5, count=30)
    compared = watching.watch(services).notes.measures
    assert compared and compared.comparison and compared.comparison.verdict == "too few"
    assert not [name for name in figures_of(services) if "click_rate" in name]


def test_measuring_waits_an_hour(services: Services) -> None:
    first = watching.watch(services).notes.measures
    assert first is not None
    again = watching.watch(services, NOW + timedelta(minutes=59)).notes.measures
    assert again == first
    later = watching.watch(services, NOW + HOUR).notes.measures
    assert later is not None and later.at == NOW + HOUR


# Putting a version in use


def test_another_version_is_put_in_use_and_audited(services: Services) -> None:
    first, second = services.models.save(small()), services.models.save(small(minutes=1))
    writer, _ = services.staff.add("写手", ("writer",), at=NOW)
    with pytest.raises(UsageError, match="editor"):
        watching.use(services, first, writer)
    editor, _ = services.staff.add("编辑", ("editor",), at=NOW)
    assert watching.use(services, first, editor) == first
    assert watching.view(services).serving == first
    assert watching.use(services, second) == second and watching.use(services, "") == first
    with services.database.read() as connection:
        rows = connection.execute(select(audit.c.actor, audit.c.details).order_by(audit.c.id)).all()
    assert [(row.actor, row.details["now"]) for row in rows] == [
        (editor.label, first), ("command-line", second), ("command-line", first)
    ]  # fmt: skip


def test_the_demo_is_never_stale(sqlite: Database, tmp_path: Path) -> None:
    settings = read_settings({}, home=tmp_path, city="shili")
    services = build(settings, clock=FixedClock(NOW - 3 * DAY), database=sqlite, demo=True)
    services.models.save(small())
    for at in (NOW - 3 * DAY, NOW + 90 * DAY):
        clock_of(services).at = at
        assert watching.usable_model(services, at) is not None
    assert watching.control_share(services) == 0


def test_what_is_remembered_comes_back(services: Services) -> None:
    crowd(services, rate=0.2, control_rate=0.2, count=40)
    found = watching.watch(services).notes
    again = watching.Notebook(services.settings.notebook).read()
    assert again == found and again.measures == found.measures
    assert json.loads(services.settings.notebook.read_text())["measures"]["editions"] == 40
    assert timedelta(days=14) == FEEDBACK and isinstance(again.measures and again.measures.at, datetime)
