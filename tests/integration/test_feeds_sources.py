"""The store of sources on both databases, and the rule for when to ask again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feeds.intake.sources import SourceStore, backoff_s, file_slug
from feeds.kernel.db import Database
from feeds.kernel.errors import ConflictError, NotFoundError, UsageError

NOW = datetime(2026, 10, 12, 2, tzinfo=UTC)
URL = "https://www.sl.example/rss.xml"


@pytest.fixture
def store(database: Database) -> SourceStore:
    return SourceStore(database)


@pytest.mark.parametrize(
    ("interval", "failures", "retry_after", "seconds"),
    [
        (3600, 0, None, 3600),
        (3600, 1, None, 7200),
        (3600, 2, None, 14_400),
        (3600, 99, None, 86_400),
        (60, 0, None, 300),
        (3600, 1, 50_000.0, 50_000),
        (3600, 1, 10.0, 7200),
        (3600, 1, 10e9, 86_400),
        (200_000, 3, None, 200_000),
    ],
)
def test_backoff(interval: int, failures: int, retry_after: float | None, seconds: int) -> None:
    assert backoff_s(interval, failures, retry_after) == seconds


def test_a_source_comes_back_as_it_was_added(store: SourceStore) -> None:
    added = store.add(
        slug="sl-gov",
        name="示例市政务公开",
        url=URL,
        at=NOW,
        agency="示例市人民政府",
        timezone="Asia/Shanghai",
        place="sl",
    )
    assert store.get(added.id) == store.by_slug("sl-gov") == added
    assert (added.kind, added.polls, added.next_poll_at, added.paused, added.held_at) == (
        "feed",
        0,
        NOW,
        False,
        None,
    )
    assert list(store.list()) == [added]


def test_twins_and_nonsense_are_refused(store: SourceStore) -> None:
    store.add(slug="a", name="A", url=URL, at=NOW)
    for slug, url in (("a", "https://other.example/"), ("b", URL)):
        with pytest.raises(ConflictError, match="already taken by source 'a'"):
            store.add(slug=slug, name="B", url=url, at=NOW)
    with pytest.raises(UsageError, match="short name"):
        store.add(slug="Ä b", name="B", url="https://x.example/", at=NOW)
    with pytest.raises(UsageError, match="needs an address"):
        store.add(slug="c", name="C", at=NOW)
    with pytest.raises(UsageError, match="no time zone"):
        store.add(slug="c", name="C", url="https://x.example/", at=NOW, timezone="Mars/North")
    with pytest.raises(NotFoundError):
        store.get(99)
    with pytest.raises(NotFoundError):
        store.by_slug("zz")
    with pytest.raises(NotFoundError):
        store.pause("zz", True)


def test_due(store: SourceStore) -> None:
    early = store.add(slug="early", name="E", url="https://e.example/", at=NOW - timedelta(hours=1))
    store.add(slug="late", name="L", url="https://l.example/", at=NOW + timedelta(hours=1))
    store.add(slug="desk", name="D", kind="desk", at=NOW)
    now = store.add(slug="now", name="N", url="https://n.example/", at=NOW)
    assert [one.id for one in store.due(NOW)] == [early.id, now.id]
    store.pause("early", True)
    store.hold(now.id, at=NOW, reason="flood")
    assert list(store.due(NOW)) == []
    store.pause("early", False)
    assert [one.slug for one in store.due(NOW)] == ["early"]


def test_polls_move_a_source_on(store: SourceStore) -> None:
    one = store.add(slug="a", name="A", url=URL, at=NOW, interval_s=3600)
    failed = store.record_failure(one.id, at=NOW, error="x" * 900, retry_after=9000)
    assert (failed.failures, len(failed.last_error), failed.polls) == (1, 500, 0)
    assert failed.next_poll_at == NOW + timedelta(seconds=9000)
    good = store.record_ok(
        one.id, at=NOW, etag='"1"', last_modified="yesterday", moved_to="https://new.example/"
    )
    assert (good.failures, good.last_error, good.polls, good.etag, good.url) == (
        0,
        "",
        1,
        '"1"',
        "https://new.example/",
    )
    assert (good.last_ok_at, good.next_poll_at) == (NOW, NOW + timedelta(hours=1))


def test_a_move_onto_another_source_is_not_followed(store: SourceStore) -> None:
    store.add(slug="b", name="B", url="https://b.example/", at=NOW)
    one = store.add(slug="a", name="A", url=URL, at=NOW)
    assert store.record_ok(one.id, at=NOW, moved_to="https://b.example/").url == URL


def test_a_released_source_starts_as_archive_again(store: SourceStore) -> None:
    one = store.add(slug="a", name="A", url=URL, at=NOW)
    store.record_ok(one.id, at=NOW, etag='"1"')
    assert store.hold(one.id, at=NOW, reason="12 entries look new").held_at == NOW
    freed = store.release("a", at=NOW)
    assert (freed.held_at, freed.polls, freed.etag, freed.next_poll_at) == (None, 0, "", NOW)


def test_one_source_for_each_name_in_files(store: SourceStore) -> None:
    one = store.ensure_file_source("上海市统一政策发布平台(索引样本)", at=NOW)
    assert store.ensure_file_source("上海市统一政策发布平台(索引样本)", at=NOW + timedelta(days=1)) == one
    two = store.ensure_file_source("GOV.UK content schema examples", at=NOW)
    assert (one.kind, one.url, one.name) == ("file", None, "上海市统一政策发布平台(索引样本)")
    assert one.slug.startswith("file-") and two.slug.startswith("gov-uk-content-schema-examples-")
    assert len(file_slug("x" * 500)) <= 63
    assert list(store.due(NOW)) == []
