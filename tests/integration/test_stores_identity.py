"""Notices that say what another source says: found, linked, led by one; on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from bench import decide as bench_decide
from feeds.catalogue.identity import Identity, Likeness, identity_of, key_of, likeness
from feeds.catalogue.notices import KnownMessage, NewNotice
from feeds.catalogue.store import NoticeStore
from feeds.catalogue.tables import notice_key, notice_print, pending_change
from feeds.kernel.db import Database
from tests.factories import NOW, content, new_notice

LATER = NOW + timedelta(hours=1)
REVISION: dict[str, Any] = {"tags": (), "level": "city", "place": None, "actor": "intake", "note": ""}


@pytest.fixture
def store(database: Database) -> NoticeStore:
    return NoticeStore(database)


def seen(item: NewNotice) -> Identity:
    return identity_of(item.content, item.content.body)


def like(store: NoticeStore, source_id: int | None, **changes: Any) -> Likeness | None:
    mine = seen(new_notice(**changes))
    [others] = store.look_alikes([mine], not_source=source_id)
    return likeness(mine, source_id, others)


def group(store: NoticeStore, size: int = 3) -> list[int]:
    """The same notice from so many sources; the first leads."""
    ids = store.add([new_notice("a")], at=NOW)
    for source in range(2, size + 1):
        found = Likeness(ids[0], "duplicate_of")
        item = new_notice(f"s{source}", source_id=source)
        ids += store.add([NewNotice(item.content, source, item.guid, item.tags, likeness=found)], at=NOW)
    return ids


def picked(store: NoticeStore) -> list[int]:
    return sorted(item.id for item in store.pickable(LATER))


def rows(database: Database, table: Any, notice_id: int) -> int:
    with database.read() as connection:
        query = select(func.count()).select_from(table).where(table.c.notice_id == notice_id)
        return connection.scalar(query) or 0


def test_another_sources_notice_is_found_and_its_own_is_not(store: NoticeStore) -> None:
    [first] = store.add([new_notice(url="https://a.example/7")], at=NOW)
    assert like(store, 1) is None
    assert like(store, 2) == Likeness(first, "duplicate_of", "the same document number")
    assert like(store, None) == Likeness(first, "duplicate_of", "the same document number")
    assert like(store, 2, doc_no="", title="别的事", url="http://a.example/7") is not None
    assert like(store, 2, doc_no="示水〔2026〕13号") is None
    assert store.look_alikes([], not_source=1) == []


def test_a_whole_batch_is_looked_up_at_once(store: NoticeStore) -> None:
    items = [
        new_notice(
            f"g{n}", body="", title=f"【示例】关于第{n}号地块供水事项的公告", doc_no=f"示水〔2026〕{n}号"
        )
        for n in range(40)
    ]
    ids = store.add(items, at=NOW)
    found = store.look_alikes([seen(item) for item in items[::-1]], not_source=2)
    assert [{one.notice_id for one in others} for others in found] == [{i} for i in ids[::-1]]


def test_a_key_that_stands_everywhere_costs_a_bounded_look(store: NoticeStore) -> None:
    ids = store.add([new_notice(f"g{n}", doc_no="") for n in range(70)], at=NOW)
    [others] = store.look_alikes([seen(new_notice(doc_no=""))], not_source=2, limit=50)
    assert [one.notice_id for one in others] == ids[-10:]  # the newest
    [few] = store.look_alikes([seen(new_notice(doc_no=""))], not_source=2, limit=5)
    assert [one.notice_id for one in few] == ids[-10:-5]


def test_only_the_lead_is_picked_and_it_names_the_others(store: NoticeStore) -> None:
    first, second, third = group(store)
    assert picked(store) == [first]
    assert store.get(second).lead_id == store.get(third).lead_id == first
    assert store.groups([first, second]) == {first: [(second, 2), (third, 3)]}
    assert [(item.from_id, item.kind) for item in store.links(first)] == [
        (second, "duplicate_of"),
        (third, "duplicate_of"),
    ]


def test_a_duplicate_of_a_follower_follows_the_same_lead(store: NoticeStore) -> None:
    first, second = group(store, 2)
    item = new_notice("z", source_id=9)
    found = Likeness(second, "reprints")
    [last] = store.add([NewNotice(item.content, 9, "z", likeness=found)], at=LATER)
    assert store.get(last).lead_id == first


@pytest.mark.parametrize("state", ["withdrawn", "purged", "expired", "superseded", "in_review"])
def test_the_next_one_leads_when_the_lead_goes(store: NoticeStore, state: Any) -> None:
    first, second, third = group(store)
    numbers = store.change_numbers()
    store.set_state(first, state, at=LATER, reason="有误")
    assert picked(store) == [second]
    assert store.groups([second]) == {second: [(third, 3)]}
    # One material change, the lead's own: the others say what they said before.
    assert store.change_numbers() == (numbers[0] + 1, numbers[1] + 1)
    assert store.get(second).material_number < store.get(first).material_number
    store.set_state(second, "withdrawn", at=LATER, reason="有误")
    assert picked(store) == [third]
    store.set_state(third, "withdrawn", at=LATER, reason="有误")
    assert picked(store) == []
    if state != "purged":
        store.set_state(first, "released", at=LATER)
        assert picked(store) == [first]


def test_a_follower_that_goes_leaves_the_lead_alone(store: NoticeStore) -> None:
    first, second, third = group(store)
    store.set_state(second, "withdrawn", at=LATER)
    assert picked(store) == [first]
    assert store.get(second).lead_id is None
    assert store.groups([first]) == {first: [(third, 3)]}


def test_a_lead_that_expires_hands_over(store: NoticeStore) -> None:
    [first] = store.add([new_notice("a", expires=LATER)], at=NOW)
    item = new_notice("b", source_id=2)
    [second] = store.add([NewNotice(item.content, 2, "b", likeness=Likeness(first, "duplicate_of"))], at=NOW)
    store.expire_due(LATER)
    assert picked(store) == [second]
    extended = content(expires=LATER + timedelta(days=9))
    store.revise(first, extended, from_upstream=True, major=True, at=LATER, **REVISION)
    # It was public first, and nobody followed the second one yet.
    assert picked(store) == [first]
    assert store.get(second).lead_id == first


@pytest.mark.parametrize("state", ["in_review", "draft", "withdrawn", "purged"])
def test_what_repeats_a_hidden_notice_is_picked_itself(store: NoticeStore, state: Any) -> None:
    """Also the race: the target went between the look-up and the storing."""
    [hidden] = store.add([new_notice("a", state="in_review")], at=NOW)
    store.set_state(hidden, state, at=NOW)
    item = new_notice("b", source_id=2)
    [shown] = store.add([NewNotice(item.content, 2, "b", likeness=Likeness(hidden, "duplicate_of"))], at=NOW)
    assert picked(store) == [shown]
    if state in ("in_review", "draft"):
        store.set_state(hidden, "released", at=LATER)
        assert picked(store) == [shown]  # it was public first
        assert store.get(hidden).lead_id == shown


def test_a_target_that_never_was_is_no_harm(store: NoticeStore) -> None:
    item = new_notice("b", source_id=2)
    [only] = store.add([NewNotice(item.content, 2, "b", likeness=Likeness(4711, "duplicate_of"))], at=NOW)
    assert picked(store) == [only]
    assert store.links(only) == []


def test_what_is_only_similar_is_linked_and_picked(store: NoticeStore) -> None:
    [first] = store.add([new_notice("a")], at=NOW)
    item = new_notice("b", source_id=2)
    [second] = store.add([NewNotice(item.content, 2, "b", likeness=Likeness(first, "similar_to"))], at=NOW)
    store.set_state(first, "withdrawn", at=LATER)
    assert picked(store) == [second]
    assert store.groups([first, second]) == {}
    assert [item.kind for item in store.links(second)] == ["similar_to"]


def test_whoever_comes_first_leads_in_either_order(store: NoticeStore) -> None:
    for first_source, second_source in ((1, 2), (4, 3)):
        title = f"【示例】关于第{first_source}号水厂恢复供水的紧急通知"
        body = (
            "<p>" + "".join(f"第{n}水厂自本日起恢复供水，请示例区居民放心使用。" for n in range(9)) + "</p>"
        )
        one = new_notice(f"x{first_source}", source_id=first_source, title=title, doc_no="", body=body)
        [first] = store.add([one], at=NOW)
        found = like(store, second_source, title=title, doc_no="", body=body)
        assert found is not None
        assert (found.notice_id, found.certain) == (first, True)


def test_two_writers_of_one_lead_do_not_lose_it(store: NoticeStore) -> None:
    first, *_ = group(store, 2)

    def repeat(source: int) -> None:
        item = new_notice(f"r{source}", source_id=source)
        store.add(
            [NewNotice(item.content, source, item.guid, likeness=Likeness(first, "duplicate_of"))], at=NOW
        )

    threads = [threading.Thread(target=repeat, args=(n,)) for n in range(10, 16)]
    threads.append(threading.Thread(target=lambda: store.set_state(first, "withdrawn", at=LATER)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The one that led next leads all that followed; whoever came after the withdrawal stands alone.
    leads = picked(store)
    followers = [item for item in store.many(range(1, 20)).values() if item.lead_id is not None]
    assert {item.lead_id for item in followers} <= set(leads)
    assert len(leads) + len(followers) == 7


def test_a_revision_is_found_by_what_it_says_now(store: NoticeStore, database: Database) -> None:
    [first] = store.add([new_notice(title="【示例】关于第1号水厂恢复供水的通知", doc_no="")], at=NOW)
    store.add_keys(first, [key_of("cap", "m1")])
    changed = content(title="【示例】关于第2号水厂恢复供水的通知", doc_no="示水〔2026〕99号")
    store.revise(first, changed, major=True, at=LATER, **REVISION)
    assert like(store, 2, title="【示例】关于第1号水厂恢复供水的通知", doc_no="", body="") is None
    assert like(store, 2, title="不同", doc_no="示水〔2026〕99号", body="") == Likeness(
        first, "similar_to", "the same document number"
    )
    assert store.cap_known([key_of("cap", "m1")])[key_of("cap", "m1")].notice_id == first
    assert rows(database, notice_print, first) == 1


def test_purging_forgets_what_it_was_recognised_by(store: NoticeStore, database: Database) -> None:
    [first] = store.add([new_notice()], at=NOW)
    store.hold_change(first, content(title="后来的"), at=NOW, reason="r")
    store.set_state(first, "purged", at=LATER)
    assert [rows(database, table, first) for table in (notice_key, notice_print, pending_change)] == [0, 0, 0]
    assert like(store, 2) is None
    assert store.backfill_identities() == 0


def test_older_notices_are_recognised_after_a_backfill(store: NoticeStore, database: Database) -> None:
    ids = store.add([new_notice(f"g{n}", doc_no=f"示水〔2026〕{n}号") for n in range(7)], at=NOW)
    with database.write() as connection:
        before = sorted(connection.execute(select(notice_key)).all())
        prints = sorted(connection.execute(select(notice_print)).all())
        connection.execute(text("DELETE FROM notice_key"))
        connection.execute(text("DELETE FROM notice_print"))
    assert [store.backfill_identities(3) for _ in range(4)] == [3, 3, 1, 0]
    with database.read() as connection:
        assert sorted(connection.execute(select(notice_key)).all()) == before
        assert sorted(connection.execute(select(notice_print)).all()) == prints
    assert like(store, 2, doc_no="示水〔2026〕3号") == Likeness(
        ids[3], "duplicate_of", "the same document number"
    )


def test_a_held_change_waits_and_is_taken_once(store: NoticeStore) -> None:
    first, second = store.add([new_notice("a"), new_notice("b")], at=NOW)
    store.hold_change(first, content(title="一改"), at=LATER, reason="词表")
    store.hold_change(second, content(title="二改"), at=NOW, reason="词表")
    store.hold_change(first, content(title="再改"), at=LATER, reason="词表二")
    waiting = store.pending_changes()
    assert [(one.notice_id, one.content.title, one.at, one.reason) for one in waiting] == [
        (second, "二改", NOW, "词表"),
        (first, "再改", LATER, "词表二"),
    ]
    assert len(store.pending_changes(limit=1)) == 1
    assert store.take_change(second) == waiting[0]
    assert store.take_change(second) is None
    store.revise(first, content(title="三改"), from_upstream=True, major=True, at=LATER, **REVISION)
    assert store.pending_changes() == []


def test_messages_of_warnings_are_known(store: NoticeStore) -> None:
    keys = [key_of("cap", name) for name in ("m1", "m2", "m3", "m4")]
    made = [
        new_notice(f"w{n}", source_id=n, extra={"cap": {"sent": f"2026-10-12T0{n}:00:00+08:00"}})
        for n in (1, 2)
    ]
    first, second = store.add(made, at=NOW)
    store.add_keys(first, keys[:1])
    store.add_keys(second, keys[:2])
    store.add_keys(second, keys[:2])
    store.add_keys(0, keys[:3])
    found = store.cap_known([*keys, keys[0]])
    assert found == {
        keys[0]: KnownMessage(first, "w1", 1, "released", "2026-10-12T01:00:00+08:00"),
        keys[1]: KnownMessage(second, "w2", 2, "released", "2026-10-12T02:00:00+08:00"),
        keys[2]: KnownMessage(0),
    }
    assert store.cap_known(keys[:1], source_id=2)[keys[0]].notice_id == second
    assert store.cap_known([]) == {}


def test_changes_back_and_forth_weigh_more(store: NoticeStore) -> None:
    steady, flapping, quiet = store.add([new_notice(guid) for guid in "abc"], at=NOW)
    for n in range(6):
        at = NOW + timedelta(hours=n)
        store.revise(steady, content(title=f"第{n}版"), major=True, at=at, **REVISION)
        store.revise(flapping, content(title=f"第{n % 2}版"), major=True, at=at, **REVISION)
    store.revise(steady, content(title="编辑"), major=True, at=LATER, **(REVISION | {"actor": "staff:1"}))
    assert store.recent_changes([steady, flapping, quiet], NOW) == {steady: 6, flapping: 6 + 3 * 4}
    assert store.recent_changes([steady], NOW + timedelta(hours=4)) == {steady: 2}


def test_entries_that_left_a_list_are_named(store: NoticeStore) -> None:
    old = NOW - timedelta(days=40)
    made = [new_notice(guid, url=f"https://a.example/{guid}") for guid in ("a", "b", "c", "d")]
    made += [new_notice("old", url="https://a.example/old", published=old), new_notice("none", url="")]
    made += [new_notice("other", source_id=2, url="https://b.example/x")]
    made += [new_notice("hidden", url="https://a.example/h", state="in_review")]
    store.add(made, at=NOW)
    since = NOW - timedelta(days=30)
    assert store.vanished(1, {"b"}, since, 2) == [("d", "https://a.example/d"), ("c", "https://a.example/c")]
    assert [guid for guid, _ in store.vanished(1, {"b", "c"}, since, 9)] == ["d", "a"]
    assert store.vanished(3, set(), since, 9) == []


def test_the_benchmark_runs_on_a_small_catalogue() -> None:
    found = bench_decide.run(1, notices=2_000)
    assert found["over_bare_lookup"] > 0
    assert 0.2 < found["alike_share"] < 0.7
