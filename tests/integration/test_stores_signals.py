"""Feedback and taste as they are stored, on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from feeds.catalogue.tagging import Tag
from feeds.kernel.db import Database
from feeds.kernel.errors import NotFoundError, UsageError
from profiles import feedback as feedback_module
from profiles.editions import EditionStore, NewEdition
from profiles.feedback import KEEP, KEEP_SHOWN, SAME_SHOWING, FeedbackRow, FeedbackStore, KindCount
from profiles.store import ProfileStore
from profiles.taste import MOST_TAGS, TasteStore, TasteTag, learn
from profiles.types import Pick, Reason
from tests.factories import NOW, profile

HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    return FeedbackStore(database)


@pytest.fixture
def taste(database: Database) -> TasteStore:
    return TasteStore(database)


@pytest.fixture
def people(database: Database) -> list[int]:
    """Two who may be observed and one who may not."""
    profiles = ProfileStore(database)
    wishes = [profile(), profile(), profile(personalised=False)]
    return [profiles.create(wish, at=NOW)[0].id for wish in wishes]


def shown(profile_id: int, notice_id: int, **changes: object) -> FeedbackRow:
    row = FeedbackRow(profile_id, notice_id, "impression", NOW, "feed", 3, 0.25, sure=0.3)
    return replace(row, **changes)  # type: ignore[arg-type]


def tag(name: str, weight: float = 1.0) -> Tag:
    return Tag(*name.split(":", 1), cause="test", weight=weight)


def test_rows_come_back_as_they_were_told(store: FeedbackStore, people: list[int]) -> None:
    rows = [
        shown(people[0], 1),
        FeedbackRow(people[0], 1, "rating", NOW + HOUR, "web", 3, 0.25, value=4.0),
        FeedbackRow(people[1], 2, "less", NOW, "api", simulated=True),
    ]
    store.record(rows)
    store.record([])
    assert store.of(people[0]) == rows[:2]
    assert store.of(people[1]) == rows[2:]
    assert store.training_rows() == [rows[2], rows[1]]  # oldest first
    assert store.counts() == {"all": 3, "simulated": 1}


def test_impressions_come_since_an_instant_in_order(store: FeedbackStore, people: list[int]) -> None:
    late, early = shown(people[0], 1, at=NOW + HOUR), shown(people[0], 2)
    store.record([late, early, FeedbackRow(people[0], 1, "open", NOW)])
    assert store.impressions(NOW) == [early, late]
    assert store.impressions(NOW + HOUR) == [late]
    assert store.impressions(NOW + 2 * HOUR) == []


def test_the_same_showing_within_a_day_is_one(store: FeedbackStore, people: list[int]) -> None:
    one, two, off = people
    web = {"channel": "web"}
    first = [shown(one, 1, **web), shown(one, 1, position=9, **web), shown(one, 1), shown(two, 1, **web)]
    assert store.record_shown([*first, shown(off, 1, **web), shown(10**6, 1, **web)]) == 3
    again = shown(one, 1, at=NOW + SAME_SHOWING - HOUR, **web)
    assert store.record_shown([again, shown(one, 2, **web)]) == 1
    assert store.record_shown([shown(one, 1, at=NOW + SAME_SHOWING, **web)]) == 1
    assert store.record_shown([]) == 0
    assert [row.position for row in store.of(one) if row.channel == "web" and row.notice_id == 1] == [3, 3]
    assert store.of(off) == []


def test_an_entry_of_a_feed_is_shown_once_however_long_it_stands(
    store: FeedbackStore, people: list[int]
) -> None:
    """Every new edition serves the whole shelf again; a reader shows only what is new."""
    one, day = people[0], 24 * HOUR
    assert store.record_shown([shown(one, n) for n in range(50)]) == 50
    assert store.record_shown([shown(one, n, at=NOW + 3 * day) for n in range(3, 53)]) == 3
    assert store.record_shown([shown(one, 3, at=NOW + 3 * day, channel="web")]) == 1


def test_what_waited_is_left_out_once_the_shelf_moved_on(
    store: FeedbackStore, people: list[int], database: Database
) -> None:
    one, two, _ = people
    editions = EditionStore(database)
    picks = (Pick(1, 1, "new", (Reason("citywide"),)),)
    editions.append([NewEdition(one, "daily", picks, NOW, 0)])
    seen = {one: editions.shelf_version(one), two: 0}
    assert store.record_shown([shown(one, 1), shown(two, 1)], seen) == 2
    editions.touch(one)
    assert store.record_shown([shown(one, 2), shown(two, 2)], seen) == 1
    assert [row.notice_id for row in store.of(one)] == [1]


def test_nothing_comes_in_while_somebody_leaves(
    store: FeedbackStore, people: list[int], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes impressions has seen that they may: who clears or erases it all waits for them."""
    profiles, reached = ProfileStore(database), threading.Event()
    insert = feedback_module._insert

    def slow(connection: object, rows: object) -> None:
        reached.set()
        time.sleep(0.3)
        insert(connection, rows)  # type: ignore[arg-type]

    monkeypatch.setattr("profiles.feedback._insert", slow)

    def clear(leave: Callable[[int], object], number: int) -> Callable[[], None]:
        def job() -> None:
            assert reached.wait(5)
            leave(number)

        return job

    for number, leave in ((people[0], store.forget), (people[1], profiles.erase)):
        reached.clear()
        together(lambda number=number: store.record_shown([shown(number, 1)]), clear(leave, number))
        assert store.of(number) == []


def test_the_latest_acts_of_many(store: FeedbackStore, people: list[int]) -> None:
    one, two, off = people
    acts = [FeedbackRow(one, n, "open", NOW + n * HOUR) for n in range(5)]
    same_moment = FeedbackRow(one, 9, "like", NOW + 4 * HOUR)
    store.record([*acts, same_moment, shown(one, 8, at=NOW + 9 * HOUR), FeedbackRow(two, 1, "click", NOW)])
    found = store.recent([one, two, off, one], most=3)
    assert found == {one: [same_moment, acts[4], acts[3]], two: [FeedbackRow(two, 1, "click", NOW)], off: []}
    assert store.recent([]) == {}


def test_what_is_held_is_counted_by_kind(store: FeedbackStore, people: list[int]) -> None:
    one, two, _ = people
    acts = [FeedbackRow(one, 1, "open", NOW - HOUR), FeedbackRow(one, 2, "open", NOW)]
    store.record([*acts, shown(one, 1), FeedbackRow(one, 1, "like", NOW + HOUR)])
    expected = [KindCount("open", 2, NOW - HOUR), KindCount("impression", 1, NOW)]
    assert store.kinds(one) == [expected[0], expected[1], KindCount("like", 1, NOW + HOUR)]
    assert store.kinds(two) == []


def test_what_was_said_is_found_behind_any_number_of_acts(store: FeedbackStore, people: list[int]) -> None:
    one = people[0]
    saves = [FeedbackRow(one, n, "save", NOW - n * HOUR) for n in (3, 1, 2)]
    again = FeedbackRow(one, 3, "save", NOW)
    store.record([*saves, again])
    store.record([FeedbackRow(one, n % 9, "open", NOW + n * HOUR) for n in range(5100)])
    assert store.saved(one) == [3, 1, 2]
    assert store.opinions(one) == {3: [saves[0], again], 1: [saves[1]], 2: [saves[2]]}
    assert store.opinions(one, [1, 5]) == {1: [saves[1]]}
    assert (store.saved(people[1]), store.opinions(people[1])) == ([], {})


def test_old_rows_are_trimmed_each_kind_at_its_age(
    store: FeedbackStore, people: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profiles.feedback._TRIM_STEP", 2)
    one = people[0]
    kept = [
        shown(one, 1, at=NOW - KEEP_SHOWN),
        FeedbackRow(one, 1, "open", NOW - KEEP),
        FeedbackRow(one, 2, "open", NOW - KEEP_SHOWN - HOUR),
        FeedbackRow(one, 3, "save", NOW - 2 * KEEP),  # what they said stays until they take it back
        FeedbackRow(one, 4, "hide", NOW - 2 * KEEP),
    ]
    store.record([shown(one, n, at=NOW - KEEP_SHOWN - HOUR) for n in range(3)])
    store.record([FeedbackRow(one, n, "click", NOW - KEEP - HOUR) for n in range(2)])
    store.record(kept)
    assert store.trim(NOW) == 5
    assert store.trim(NOW) == 0
    assert store.of(one) == kept


def test_what_was_hidden_shows_again_after_a_kind_word(store: FeedbackStore, people: list[int]) -> None:
    one = people[0]
    for kind, hidden in (("hide", True), ("less", True), ("rating", True), ("save", False), ("hide", True)):
        store.record([FeedbackRow(one, 7, kind, NOW)])  # type: ignore[arg-type]
        assert store.hidden(one) == ({7} if hidden else set())


def test_taste_is_learned_as_the_arithmetic_says(taste: TasteStore, people: list[int]) -> None:
    one, two, _ = people
    events = [
        ([tag("theme:a"), tag("agency:b", 0.5)], 1.0),
        ([tag("theme:a"), tag("role:aid")], -2.0),
        ([], 0.3),
    ]
    expected: list[TasteTag] = []
    for tags, value in events:
        taste.learn(one, tags, value)
        expected = learn(expected, tags, value)
    assert [item.tag for item in taste.of(one)] == [item.tag for item in expected]
    assert [item.weight for item in taste.of(one)] == pytest.approx([item.weight for item in expected])
    assert taste.of(two) == []


def test_the_resident_has_the_last_word(taste: TasteStore, people: list[int]) -> None:
    one = people[0]
    taste.learn(one, [tag("theme:a"), tag("theme:b"), tag("theme:c")], 1.0)
    assert taste.set(one, "theme:a", 99.0) == TasteTag("theme:a", 3.0, own=True)
    taste.drop(one, "theme:b")
    taste.learn(one, [tag("theme:a"), tag("theme:b"), tag("theme:c")], -1.0)
    found = {item.tag: item for item in taste.of(one)}
    assert found["theme:a"] == TasteTag("theme:a", 3.0, own=True)
    assert found["theme:b"] == TasteTag("theme:b", 0.0, own=True)
    assert not found["theme:c"].own
    assert taste.reset(one) == 1
    assert {item.tag for item in taste.of(one)} == {"theme:a", "theme:b"}
    assert taste.release(one, "theme:b")
    assert not taste.release(one, "theme:b")
    taste.learn(one, [tag("theme:b")], 1.0)
    assert {item.tag for item in taste.of(one)} == {"theme:a", "theme:b"}
    assert taste.reset(one, own=True) == 2
    assert taste.of(one) == []


def test_taste_of_nobody_is_not_kept(taste: TasteStore, people: list[int], database: Database) -> None:
    taste.learn(people[0], [tag("theme:a")], 1.0)
    ProfileStore(database).erase(people[0])
    assert taste.of(people[0]) == []
    taste.learn(people[0], [tag("theme:a")], 1.0)
    assert taste.of(people[0]) == []
    with pytest.raises(NotFoundError):
        taste.set(people[0], "theme:a", 1.0)
    with pytest.raises(UsageError):
        taste.set(people[1], "theme:a", math.nan)


def test_a_busy_resident_stays_small(taste: TasteStore, people: list[int]) -> None:
    for n in range(60):
        taste.learn(people[0], [tag(f"theme:{n:02}")], 1.0)
    assert len(taste.of(people[0])) == MOST_TAGS


def test_events_of_one_resident_wait_for_each_other(taste: TasteStore, people: list[int]) -> None:
    """Each of them reads, fades and writes: one that overtook another would lose its share."""
    one, each = people[0], 8
    names = [f"theme:{n}" for n in range(4)]
    together(*(lambda name=name: [taste.learn(one, [tag(name)], 0.2) for _ in range(each)] for name in names))
    low = 0.2 * sum(0.5 ** (n / 30) for n in range(4 * each)) / 4  # all at once, at the latest moment
    weights = {item.tag: item.weight for item in taste.of(one)}
    assert set(weights) == set(names)
    total = sum(weights.values())
    assert total == pytest.approx(4 * low)  # the sum does not depend on whose turn it was


def test_setting_and_learning_at_once_keeps_what_was_set(taste: TasteStore, people: list[int]) -> None:
    one = people[0]
    together(
        lambda: [taste.learn(one, [tag("theme:a"), tag("theme:b")], 0.5) for _ in range(10)],
        lambda: [taste.set(one, "theme:a", -2.0) for _ in range(10)],
    )
    assert TasteTag("theme:a", -2.0, own=True) in taste.of(one)


def together(*jobs: Callable[[], object]) -> None:
    """Run jobs at once and raise what one of them raised."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        try:
            start.wait()
            job()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
