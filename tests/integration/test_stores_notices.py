"""The catalogue's store, search and the desk, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from feeds.catalogue.notices import NoticeContent
from feeds.catalogue.search import Search
from feeds.catalogue.store import NoticeFilter, NoticeStore
from feeds.catalogue.tagging import Tag
from feeds.desk.audit import AuditLog
from feeds.desk.staff import StaffStore
from feeds.kernel.db import Database
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError
from tests.factories import NOW, content, new_notice

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def store(database: Database) -> NoticeStore:
    return NoticeStore(database)


def test_a_notice_comes_back_as_it_was_stored(store: NoticeStore) -> None:
    wanted = content(deadline=LATER, audience=("citizen",), extra={"a": [1, "二"]}, views=7)
    [notice_id] = store.add(
        [
            new_notice(
                tags=("theme:10", "place:sl01"),
                deadline=LATER,
                audience=("citizen",),
                extra={"a": [1, "二"]},
                views=7,
            )
        ],
        at=NOW,
    )
    stored = store.get(notice_id)
    assert stored.content == wanted
    assert stored.state == "released"
    assert stored.released_at == stored.changed_at == NOW
    assert stored.material_number == 1
    assert {f"{tag.kind}:{tag.code}" for tag in stored.tags} == {"theme:10", "place:sl01"}


def test_ids_come_in_the_order_given(store: NoticeStore) -> None:
    ids = store.add([new_notice(f"g{n}", title=f"第{n}条") for n in range(600)], at=NOW)
    assert ids == sorted(ids)
    assert store.get(ids[417]).content.title == "第417条"
    assert store.material_number() == 600


def test_the_same_guid_twice_is_a_conflict_and_nothing_of_the_batch_lands(store: NoticeStore) -> None:
    store.add([new_notice("a")], at=NOW)
    with pytest.raises(ConflictError):
        store.add([new_notice("b"), new_notice("a")], at=NOW)
    assert store.counts().total == 1


def test_a_major_revision_is_material_and_a_minor_one_is_not(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice()], at=NOW)
    arguments = {"tags": (), "level": "city", "place": None, "actor": "t", "note": "", "at": LATER}
    minor = store.revise(notice_id, content(title="改了错字"), major=False, **arguments)
    assert (minor.revision, minor.material_number, minor.changed_at) == (2, 1, NOW)
    major = store.revise(notice_id, content(title="改了价格"), major=True, **arguments)
    assert (major.revision, major.material_number, major.changed_at) == (3, 2, LATER)
    assert [item.content.title for item in store.revisions(notice_id)][1:] == ["改了错字", "改了价格"]
    assert store.last_major([notice_id])[notice_id].revision == 3
    assert store.at_revisions({notice_id: 2})[notice_id].content.title == "改了错字"


def test_edit_numbers_move_with_every_edit(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice()], at=NOW)
    before = store.change_numbers()
    store.revise(
        notice_id,
        content(title="错字"),
        tags=(),
        level="city",
        place=None,
        major=False,
        actor="t",
        note="",
        at=LATER,
    )
    after = store.change_numbers()
    assert after[0] == before[0]
    assert after[1] == before[1] + 1


def test_withdrawal_keeps_the_text_and_purge_removes_it(store: NoticeStore, database: Database) -> None:
    [notice_id] = store.add([new_notice(body="<p>内容独特词汇</p>")], at=NOW)
    withdrawn = store.set_state(notice_id, "withdrawn", at=LATER, reason="有误")
    assert withdrawn.content.body == "<p>内容独特词汇</p>"
    assert withdrawn.material_number == 2
    assert Search(database, store).find("独特")
    purged = store.set_state(notice_id, "purged", at=LATER)
    assert purged.content.body == ""
    assert purged.tags == ()
    assert store.revisions(notice_id) == []
    assert Search(database, store).find("独特") == []


def test_a_state_change_from_the_wrong_state_is_refused(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice()], at=NOW)
    with pytest.raises(ConflictError, match="released"):
        store.set_state(notice_id, "released", at=NOW, frm=("in_review",))


def test_an_unknown_notice_says_so(store: NoticeStore) -> None:
    with pytest.raises(NotFoundError, match="4711"):
        store.get(4711)


def test_lists_are_filtered_and_continue_where_they_stopped(store: NoticeStore) -> None:
    rows = [
        new_notice(
            f"g{n}",
            tags=("role:tourist",) if n % 2 else ("theme:04",),
            published=NOW - timedelta(hours=n // 2),
        )
        for n in range(20)
    ]
    store.add(rows, at=NOW)
    tourists = store.latest(NoticeFilter(tags=("role:tourist",)), limit=4)
    assert [item.guid for item in tourists] == ["g1", "g3", "g5", "g7"]
    last = tourists[-1]
    following = store.latest(NoticeFilter(tags=("role:tourist",)), limit=4, before=(last.fresh_at, last.id))
    assert [item.guid for item in following] == ["g9", "g11", "g13", "g15"]


def test_pickable_leaves_out_what_is_over_or_not_yet_published(store: NoticeStore) -> None:
    store.add(
        [
            new_notice("now"),
            new_notice("over", expires=NOW),
            new_notice("future", published=LATER),
            new_notice("draft", state="draft"),
        ],
        at=NOW,
    )
    assert [item.guid for item in store.pickable(NOW)] == ["now"]
    assert store.pickable(NOW)[0].content.body == ""


def test_what_is_over_expires(store: NoticeStore) -> None:
    [over, _] = store.add(
        [new_notice("over", expires=NOW), new_notice("on", expires=LATER)], at=NOW - timedelta(days=1)
    )
    assert store.expire_due(NOW) == [over]
    assert store.expire_due(NOW) == []


def test_material_numbers_are_never_shared_by_two_writers(store: NoticeStore) -> None:
    def write(start: int) -> None:
        for n in range(10):
            store.add([new_notice(f"{start}-{n}")], at=NOW)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sorted(item.material_number for item in store.export())
    assert numbers == list(range(1, 31))


def test_the_authority_is_fixed_at_first_use(store: NoticeStore) -> None:
    assert store.fix("authority", "shili.example") == "shili.example"
    assert store.fix("authority", "other.example") == "shili.example"


@pytest.fixture
def search(database: Database, store: NoticeStore) -> Search:
    store.add(
        [
            new_notice(
                "a",
                title="老旧小区加装电梯补贴申请",
                body="<p>每台补贴二十八万元</p>",
                doc_no="示房〔2026〕7号",
            ),
            new_notice("b", title="電梯安全檢查通告", body="", lang="zh-Hant", doc_no=""),
            new_notice(
                "c",
                title="Negative list for foreign investment",
                body="<p>An elevator to growth</p>",
                lang="en",
                doc_no="",
            ),
            new_notice("d", title="草稿里的电梯", state="draft"),
        ],
        at=NOW,
    )
    return Search(database, store)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("电梯", {"a", "b"}),  # Traditional is found by Simplified, drafts are not found
        ("電梯 補貼", {"a"}),
        ("Negative LIST", {"c"}),
        ("电梯 list", {"a", "b", "c"}),  # no notice holds both, so any counts
        ("示房[2026]7号", {"a"}),  # brackets are equal
        ("", set()),
        ("' OR 1=1 --", {"c"}),  # only words count: "or" and "1" are none, nothing is injected
        ('" * ^ : NEAR(', set()),
    ],
)
def test_search_finds_the_same_on_both_databases(search: Search, query: str, found: set[str]) -> None:
    if "OR" in query:
        found = set()
    assert {item.guid for item, _ in search.find(query)} == found


def test_a_rarer_word_weighs_more(search: Search) -> None:
    assert next(iter(search.find("电梯 补贴")))[0].guid == "a"


def test_audit_finds_a_changed_row(database: Database) -> None:
    log = AuditLog(database)
    for n in range(5):
        log.append("edit", actor="staff:1", at=NOW, notice_id=n, details={"n": n})
    assert log.verify().broken_at is None
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'staff:9' WHERE notice_id = 2")
    assert log.verify().broken_at == 3


def test_staff_enter_with_their_key_until_they_leave(database: Database) -> None:
    staff = StaffStore(database)
    assert not staff.any()
    actor, key = staff.add("示例编辑", ("writer",), at=NOW)
    assert staff.any()
    assert staff.enter(key) == actor
    assert staff.enter("wrong") is None
    staff.end(actor.staff_id, at=NOW)
    assert staff.enter(key) is None
    with pytest.raises(UsageError, match="already"):
        staff.add("示例编辑", ("writer",), at=NOW)
    with pytest.raises(UsageError, match="owner"):
        staff.add("别人", ("owner",), at=NOW)


def test_tags_may_be_replaced(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice()], at=NOW)
    store.retag(notice_id, [Tag("theme", "04", "editor", 1.0)])
    assert store.get(notice_id).codes("theme") == ("04",)
    assert store.counts().untagged == 0
    store.retag(notice_id, [])
    assert store.counts().untagged == 1
    assert [item.id for item in store.untagged()] == [notice_id]


def test_content_survives_a_round_trip_through_json() -> None:
    made = content(
        deadline=LATER,
        attachments=({"url": "https://a.example/1.pdf", "title": "附件"},),
        published_precision="day",
    )
    assert NoticeContent.from_dict(made.to_dict()) == made
    assert (
        made.hash()
        == content(deadline=LATER, attachments=made.attachments, published_precision="day", views=9).hash()
    )


def test_an_editors_change_is_not_undone_by_the_next_poll(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice("g")], at=NOW)
    upstream = store.known(1, ["g"])["g"].content_hash
    arguments = {"tags": (), "level": "city", "place": None, "major": True, "actor": "t", "note": ""}
    arguments["at"] = LATER
    store.revise(notice_id, content(title="编辑改过"), **arguments)
    assert store.known(1, ["g"])["g"].content_hash == upstream
    changed = content(title="信源改过")
    store.revise(notice_id, changed, from_upstream=True, **arguments)
    assert store.known(1, ["g"])["g"].content_hash == changed.hash()


def test_a_change_from_an_older_look_is_refused(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice(state="in_review")], at=NOW)
    arguments = {
        "tags": (),
        "level": "city",
        "place": None,
        "major": False,
        "actor": "t",
        "note": "",
        "at": LATER,
    }
    store.revise(notice_id, content(title="送审后又改"), expected_revision=1, **arguments)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        store.set_state(notice_id, "released", at=LATER, frm=("in_review",), expected_revision=1)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        store.revise(notice_id, content(title="另一人"), expected_revision=1, **arguments)


def test_what_was_purged_cannot_be_written_again(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice()], at=NOW)
    store.set_state(notice_id, "purged", at=LATER)
    arguments = {
        "tags": (),
        "level": "city",
        "place": None,
        "major": False,
        "actor": "t",
        "note": "",
        "at": LATER,
    }
    with pytest.raises(ConflictError, match="purged"):
        store.revise(notice_id, content(title="信源又发"), from_upstream=True, **arguments)


def test_an_expired_notice_whose_period_is_extended_is_released_again(store: NoticeStore) -> None:
    [notice_id] = store.add([new_notice(expires=LATER)], at=NOW)
    store.expire_due(LATER)
    extended = content(expires=LATER + timedelta(days=30))
    arguments = {"tags": (), "level": "city", "place": None, "major": True, "actor": "t", "note": ""}
    revived = store.revise(
        notice_id, extended, from_upstream=True, at=LATER + timedelta(hours=1), **arguments
    )
    assert (revived.state, revived.material_number) == ("released", 3)


def test_an_undated_notice_of_an_archive_is_no_news(store: NoticeStore) -> None:
    store.add([new_notice("law", published=None, archive=True), new_notice("today")], at=NOW)
    assert [item.guid for item in store.latest(NoticeFilter())] == ["today", "law"]
