"""The store of sources on both databases: settings, claims, what polls found out, kept answers, alarms."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from feeds.intake.poll_log import KEPT_BODY
from feeds.intake.sources import Source, SourceStore, digest, file_slug
from feeds.intake.types import Fetched
from feeds.intake.websub import websub
from feeds.kernel.db import Database
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError

NOW = datetime(2026, 10, 12, 2, tzinfo=UTC)
URL = "https://www.sl.example/rss.xml"
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: Database) -> SourceStore:
    return SourceStore(database)


def fetched(body: bytes = b"<rss/>", *, status: int = 200, moved_to: str = "", **headers: str) -> Fetched:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Fetched(status, URL, body, named, NOW, moved_to)


def added(store: SourceStore, slug: str = "a", **settings: Any) -> Source:
    return store.add(
        **({"slug": slug, "name": "示例", "url": f"https://{slug}.example/", "at": NOW} | settings)
    )


def soon(at: datetime | None, wait: timedelta) -> bool:
    """Whether a due date is this far away, or up to a tenth more."""
    return at is not None and NOW + wait <= at <= NOW + wait * 1.1 + timedelta(seconds=1)


# -- settings ---------------------------------------------------------------------------------------


def test_a_source_comes_back_as_it_was_added(store: SourceStore) -> None:
    one = store.add(
        slug="sl-gov",
        name=" 示例市 政务公开 ",
        url=URL,
        at=NOW,
        agency="示例市人民政府",
        timezone="Asia/Shanghai",
        place="sl",
        rules=["exclude: 招聘", " "],
        tags=["theme:04", "theme:04"],
        release="review",
        full_text=True,
        interval_s=1,
    )
    assert store.get(one.id) == store.by_slug("sl-gov") == one
    assert (one.kind, one.polls, one.next_poll_at, one.paused, one.held_at) == ("feed", 0, NOW, False, None)
    assert (one.name, one.rules, one.tags) == ("示例市 政务公开", ["exclude: 招聘"], ["theme:04"])
    assert (one.release, one.full_text, one.interval_s) == ("review", True, 300)
    assert list(store.list()) == [one]


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"slug": "Ä b"}, "short name"),
        ({"name": "  "}, "needs a name"),
        ({"url": None}, "needs an address"),
        ({"kind": "cap", "url": None}, "cap source needs an address"),
        ({"url": "ftp://x.example/"}, "not a web address"),
        ({"url": "https://u:p@x.example/"}, "name or password"),
        ({"url": "https://[x"}, "not a web address"),
        ({"timezone": "Mars/North"}, "no time zone"),
        ({"kind": "gopher"}, "no kind of source"),
        ({"trust": 101}, "from 0 to 100"),
        ({"release": "maybe"}, "'publish' or 'review'"),
        ({"rules": ["nonsense"]}, "nonsense"),
        ({"tags": ["theme"]}, "not written like"),
        ({"kind": "cap", "recipe": {"items": "li"}}, "without a recipe"),
    ],
)
def test_nonsense_is_refused(store: SourceStore, settings: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        added(store, **settings)
    assert list(store.list()) == []


def test_twins_are_refused_and_named(store: SourceStore) -> None:
    added(store, url="https://www.sl.example/list")
    with pytest.raises(ConflictError, match="short name 'a' is already taken"):
        added(store, url="https://other.example/")
    for spelling in ("https://www.sl.example/list", "http://www.sl.example/list/"):
        with pytest.raises(ConflictError, match=r"already taken by source 'a' \(示例\); it is polled there"):
            added(store, "b", url=spelling)
    store.pause("a", True)
    with pytest.raises(ConflictError, match="paused there, resume it"):
        added(store, "b", url="https://www.sl.example/list")


def test_unknown_sources(store: SourceStore) -> None:
    for ask in (lambda: store.get(99), lambda: store.by_slug("zz"), lambda: store.pause("zz", True)):
        with pytest.raises(NotFoundError):
            ask()


def test_a_change_is_checked_and_has_everything_read_again(store: SourceStore) -> None:
    one = store.record_ok(added(store), fetched(etag='"1"'), at=NOW, entries=3, new=3)
    changed = store.change("a", at=NOW + HOUR, rules=["exclude: 招聘"], interval_s=7200)
    assert (changed.rules, changed.interval_s, changed.polls) == (["exclude: 招聘"], 7200, 1)
    assert (changed.etag, changed.next_poll_at) == ("", NOW + HOUR)
    assert changed.body_hash.startswith("-")  # no answer has this digest
    # A poll that asked before the change does not undo it, nor note what it saw as read.
    assert store.record_ok(one, fetched(etag='"2"'), at=NOW + HOUR).etag == ""
    assert store.change("a", at=NOW, name="新名称").url == one.url
    added(store, "b")
    for settings, error in (
        ({"slug": "No Short Name"}, UsageError),
        ({"url": ""}, UsageError),
        ({"kind": "json", "recipe": {"nonsense": 1}}, UsageError),
        ({"url": "http://b.example"}, ConflictError),
    ):
        with pytest.raises(error):
            store.change("a", at=NOW, **settings)
    moved = store.change("a", at=NOW, url="https://new.example/")
    assert (moved.url, moved.gone_at, moved.moved_to) == ("https://new.example/", None, "")


def test_one_source_for_each_name_in_files(store: SourceStore) -> None:
    one = store.ensure_file_source("上海市统一政策发布平台(索引样本)", at=NOW)
    assert store.ensure_file_source("上海市统一政策发布平台(索引样本)", at=NOW + timedelta(days=1)) == one
    two = store.ensure_file_source("GOV.UK content schema examples", at=NOW)
    assert (one.kind, one.url, one.name) == ("file", None, "上海市统一政策发布平台(索引样本)")
    assert one.slug.startswith("file-") and two.slug.startswith("gov-uk-content-schema-examples-")
    assert len(file_slug("x" * 500)) <= 63
    assert list(store.due(NOW)) == []


# -- due and claimed --------------------------------------------------------------------------------


def test_due(store: SourceStore) -> None:
    early = added(store, "early", at=NOW - HOUR)
    added(store, "late", at=NOW + HOUR)
    added(store, "desk", kind="desk", url=None)
    now = added(store, "now", kind="cap")
    assert [one.id for one in store.due(NOW)] == [early.id, now.id]
    assert store.count_due(NOW) == 2
    store.pause("early", True)
    store.hold(now.id, at=NOW, reason="flood")
    assert list(store.due(NOW)) == []
    store.pause("early", False)
    assert [one.slug for one in store.due(NOW)] == ["early"]


def test_who_claims_has_it_for_a_while(store: SourceStore) -> None:
    for number in range(5):
        added(store, f"s{number}", at=NOW - number * HOUR)
    mine, yours = store.claim_due(NOW, 3), store.claim_due(NOW, 3)
    assert [one.slug for one in mine] == ["s4", "s3", "s2"] and [one.slug for one in yours] == ["s1", "s0"]
    assert list(store.claim_due(NOW, 3)) == list(store.due(NOW)) == []
    store.record_unchanged(mine[0], fetched(status=304), at=NOW)
    killed = store.claim_due(NOW + timedelta(seconds=600), 9)
    assert {one.slug for one in killed} == {"s3", "s2", "s1", "s0"}


def test_a_poll_may_be_brought_forward(store: SourceStore) -> None:
    one = store.record_ok(added(store), fetched(), at=NOW)
    store.poll_by(one.id, at=NOW + HOUR * 9)
    assert store.get(one.id).next_poll_at == one.next_poll_at
    store.poll_by(one.id, at=NOW)
    assert store.get(one.id).next_poll_at == NOW


# -- what polls found out ---------------------------------------------------------------------------


def test_a_good_poll_moves_a_source_on(store: SourceStore) -> None:
    one = added(store)
    bad = store.record_failure(one, at=NOW, error="x" * 900)
    good = store.record_ok(
        bad, fetched(b"1", etag='"1"', last_modified="yesterday"), at=NOW, seconds=0.2, entries=9, new=9,
        ttl_s=7200, hub="https://hub.example/", topic=URL,
    )  # fmt: skip
    assert store.get(one.id) == good
    assert (good.failures, good.last_error, good.polls, good.etag, good.last_modified) == (
        0, "", 1, '"1"', "yesterday",
    )  # fmt: skip
    assert (good.last_ok_at, good.last_new_at, good.last_entries, good.last_status) == (NOW, NOW, 9, 200)
    assert (good.ttl_s, good.hub, good.topic, good.body_hash) == (
        7200,
        "https://hub.example/",
        URL,
        digest(b"1"),
    )
    assert soon(good.next_poll_at, 2 * HOUR)
    same = store.record_unchanged(good, fetched(b"", status=304), at=NOW)
    assert (same.polls, same.etag, same.body_hash, same.last_status, same.last_entries) == (
        2, '"1"', good.body_hash, 304, 9,
    )  # fmt: skip
    assert [(row.entries, row.new, row.error) for row in store.polls("a")] == [(9, 9, ""), (0, 0, "x" * 500)]


def test_an_answer_that_is_not_finished_is_read_again_soon(store: SourceStore) -> None:
    good = store.record_ok(added(store), fetched(etag='"1"'), at=NOW, entries=9, new=3, unfinished=True)
    assert (good.etag, good.body_hash, good.next_poll_at) == ("", "", NOW + timedelta(seconds=300))


def test_a_source_that_was_changed_meanwhile_stays_as_it_was_changed(store: SourceStore) -> None:
    asked = store.record_ok(added(store), fetched(etag='"1"'), at=NOW)
    changed = store.change("a", at=NOW, rules=["exclude: 招聘"])
    assert store.record_ok(asked, fetched(b"2", etag='"2"'), at=NOW) == changed
    assert store.record_failure(asked, at=NOW, error="x") == changed


@pytest.mark.parametrize(
    ("found", "wait"),
    [
        ({"status": 0}, timedelta(minutes=5)),
        ({"status": 404}, HOUR),
        ({"status": 503, "retry_after": 9000.2}, timedelta(seconds=9001)),
        ({"fetched": fetched(b"<html>")}, HOUR),
    ],
)
def test_a_bad_poll_waits(store: SourceStore, found: dict[str, Any], wait: timedelta) -> None:
    bad = store.record_failure(added(store), at=NOW, error="It is broken.", **found)
    assert (bad.failures, bad.last_error, bad.polls) == (1, "It is broken.", 0)
    assert soon(bad.next_poll_at, wait)


def test_gone_is_gone_until_somebody_resumes_it(store: SourceStore) -> None:
    gone = store.record_failure(added(store), at=NOW, error="gone", status=410)
    assert (gone.gone_at, gone.next_poll_at) == (NOW, None)
    assert list(store.due(NOW + timedelta(days=99))) == []
    store.pause("a", False)
    assert [one.gone_at for one in store.due(NOW)] == [None]
    assert (
        store.record_failure(store.by_slug("a"), at=NOW, error="It answered 410.", status=410).gone_at == NOW
    )


def test_a_permanent_move_is_followed_when_three_polls_agree(store: SourceStore) -> None:
    one, new = added(store), "https://new.example/"
    for moved_to, count, url in (
        (new, 1, one.url), (new, 2, one.url), ("", 0, one.url), ("https://other.example/", 1, one.url),
        (new, 1, one.url), (new, 2, one.url), (new, 0, new),
    ):  # fmt: skip
        one = store.record_unchanged(one, fetched(status=304, moved_to=moved_to), at=NOW)
        assert (one.moved_count, one.url) == (count, url)


@pytest.mark.parametrize("moved_to", ["https://b.example/", "http://a.example/"])
def test_a_move_onto_another_source_or_to_plain_text_is_not_followed(
    store: SourceStore, moved_to: str
) -> None:
    one = added(store)
    added(store, "b")
    for _ in range(5):
        one = store.record_unchanged(one, fetched(status=304, moved_to=moved_to), at=NOW)
    assert one.url == "https://a.example/"


def test_a_released_source_starts_as_archive_again(store: SourceStore) -> None:
    one = store.record_ok(added(store), fetched(etag='"1"'), at=NOW)
    held = store.hold(one.id, at=NOW, reason="12 entries look new", fetched=fetched(b"new"), entries=12)
    assert held.held_at == NOW and store.answers("a")[0].body == b"new"
    freed = store.release("a", at=NOW)
    assert (freed.held_at, freed.polls, freed.etag, freed.next_poll_at) == (None, 0, "", NOW)
    assert freed.body_hash.startswith("-")


def test_a_hub_under_a_lease_slows_polling(store: SourceStore, database: Database) -> None:
    one = added(store)
    good = store.record_ok(one, fetched(), at=NOW, entries=1, hub="https://hub.example/", topic=URL)
    assert soon(good.next_poll_at, HOUR)
    row = {
        "source_id": one.id, "hub": good.hub, "topic": URL, "path": "p", "secret": "s", "state": "active",
        "asked_at": NOW, "lease_until": NOW + HOUR, "next_at": None, "failures": 0, "last_error": "",
        "last_push_at": None,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(websub), row)
    later = store.record_unchanged(good, fetched(status=304), at=NOW)
    assert soon(later.next_poll_at, timedelta(days=1))
    store.record_push(one.id, at=NOW + HOUR, size=9, entries=2, new=1, changed=0)
    now = store.get(one.id)
    assert (now.last_new_at, now.last_entries, now.next_poll_at) == (NOW + HOUR, 1, later.next_poll_at)


def test_part_of_somebody_elses_transaction(store: SourceStore, database: Database) -> None:
    one = added(store)
    with pytest.raises(RuntimeError), database.write() as connection:
        store.record_ok(one, fetched(), at=NOW, connection=connection)
        raise RuntimeError
    assert store.get(one.id) == one and store.polls("a") == []


# -- kept answers, alarms ---------------------------------------------------------------------------


def test_answers_are_kept_cut_and_without_secrets(store: SourceStore) -> None:
    one = store.record_ok(
        added(store), fetched(b"x" * 100_000, set_cookie="sid=1", etag='"1"'), at=NOW, entries=3
    )
    store.record_failure(
        one, at=NOW, error="no feed", fetched=replace(fetched(b"<html>"), fetched_at=NOW + HOUR)
    )
    last, good = store.answers("a")
    assert (last.which, last.body, last.status, last.at) == ("last", b"<html>", 200, NOW + HOUR)
    assert (good.which, len(good.body), good.bytes, good.headers) == (
        "good",
        KEPT_BODY,
        100_000,
        {"etag": '"1"'},
    )


def test_an_empty_list_is_an_alarm_at_its_first_poll(store: SourceStore) -> None:
    one, other = added(store, kind="html", recipe=LIST), added(store, "b")
    one = store.record_ok(one, fetched(b"<ul>..."), at=NOW, entries=30, new=30)
    store.record_ok(other, fetched(b"<rss>"), at=NOW, entries=30, new=30)
    assert list(store.check_health(NOW)) == []
    one = store.record_ok(one, fetched(b"<div>"), at=NOW + HOUR, entries=0)
    (begun,) = store.check_health(NOW + HOUR, [one.id])
    assert (begun.source.slug, begun.was, begun.now.alarm) == ("a", "", "empty")
    assert [answer.body for answer in store.answers("a")] == [b"<div>", b"<ul>..."]
    assert list(store.check_health(NOW + HOUR)) == []
    one = store.record_unchanged(store.get(one.id), fetched(b"<div>"), at=NOW + 2 * HOUR)
    assert (one.alarm, one.alarm_at) == ("empty", NOW + HOUR)
    assert list(store.check_health(NOW + 2 * HOUR)) == []
    store.record_ok(one, fetched(b"<ul>"), at=NOW + 3 * HOUR, entries=28)
    (ended,) = store.check_health(NOW + 3 * HOUR)
    assert (ended.was, ended.now.alarm, store.by_slug("a").alarm_at) == ("empty", "", None)


LIST = {"items": "ul li", "fields": {"title": "a", "url": "a@href"}}


def test_silence_is_measured_against_its_own_weeks(store: SourceStore) -> None:
    born = NOW - timedelta(weeks=8)
    one, rare = added(store, at=born), added(store, "b", at=born)
    for week in range(7):
        at = born + timedelta(weeks=week, days=1)
        one = store.record_ok(one, fetched(str(week).encode()), at=at, entries=20, new=20)
        if week % 4 == 0:
            rare = store.record_ok(rare, fetched(str(week).encode()), at=at, entries=9, new=1)
    assert {verdict.state for _, verdict in store.healths(NOW)} == {"overdue"}
    for source in (one, rare):
        store.record_unchanged(source, fetched(status=304), at=NOW)
    later = NOW + timedelta(minutes=1)
    assert {source.slug: verdict.state for source, verdict in store.healths(later)} == {
        "a": "silent",
        "b": "fine",
    }


def test_old_polls_are_forgotten(store: SourceStore) -> None:
    one = added(store)
    for days in (92, 91, 90, 0):
        one = store.record_ok(one, fetched(str(days).encode()), at=NOW - timedelta(days=days))
    assert store.trim(NOW) == 2
    assert len(store.polls("a")) == 2
