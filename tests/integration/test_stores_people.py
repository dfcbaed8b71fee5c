"""Profiles, tokens, contacts, the ledger, subscriptions and feedback, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from feeds.kernel.db import Database
from feeds.kernel.errors import NotFoundError, StorageError, UsageError
from profiles.consent import ConsentStore
from profiles.contacts import ContactStore, clean_address
from profiles.editions import EditionStore, NewEdition
from profiles.feedback import FeedbackRow, FeedbackStore
from profiles.store import ProfileStore
from profiles.subscriptions import SubscriptionStore
from profiles.tables import contact, feed_token
from profiles.tables import profile as profile_table
from profiles.tokens import CONFIRM_WITHIN, LinkTarget, TokenStore, derived_secret
from profiles.types import FollowedPlace
from tests.factories import NOW, pick, profile

LATER = NOW + timedelta(hours=1)
KEY = b"k" * 32


@pytest.fixture
def profiles(database: Database) -> ProfileStore:
    return ProfileStore(database)


def test_a_profile_comes_back_with_everything_in_order(profiles: ProfileStore) -> None:
    wish = profile(
        roles=("tourist", "citizen"),
        places=(
            FollowedPlace("sl01", "home"),
            FollowedPlace("sl02", "work"),
            FollowedPlace("sl01", "parents"),
        ),
        interests=("theme:04", "word:电梯"),
        mutes=("agency:x",),
        langs=("en", "zh-Hans"),
        pace=2,
        discreet=True,
    )
    stored, secret = profiles.create(wish, at=NOW)
    assert profiles.get(stored.id) == replace(wish, id=stored.id)
    assert profiles.by_secret(secret) == stored
    assert profiles.by_secret("nonsense") is None


def test_a_profile_may_be_changed_and_erased(profiles: ProfileStore, database: Database) -> None:
    stored, _ = profiles.create(profile(), at=NOW)
    profiles.change(replace(stored, roles=("investor",), personalised=False))
    assert profiles.get(stored.id).roles == ("investor",)
    TokenStore(database).issue(stored.id, at=NOW)
    EditionStore(database).append([NewEdition(stored.id, "welcome", (pick(1),), NOW, 0)])
    FeedbackStore(database).record([FeedbackRow(stored.id, 1, "open", NOW)])
    profiles.erase(stored.id)
    with pytest.raises(NotFoundError):
        profiles.get(stored.id)
    with database.read() as connection:
        assert connection.execute(select(feed_token)).all() == []
    assert EditionStore(database).count() == (0, 0)
    assert FeedbackStore(database).of(stored.id) == []
    with pytest.raises(NotFoundError):
        profiles.erase(stored.id)


def test_the_number_of_an_erased_profile_never_comes_back(profiles: ProfileStore) -> None:
    first, _ = profiles.create(profile(), at=NOW)
    profiles.erase(first.id)
    assert profiles.create(profile(), at=NOW)[0].id > first.id


def test_a_pace_out_of_bounds_is_refused(profiles: ProfileStore) -> None:
    for pace in (1, 11):
        with pytest.raises(UsageError, match="2 to 10"):
            profiles.create(profile(pace=pace), at=NOW)


def test_batches_walk_through_everybody(profiles: ProfileStore) -> None:
    made = [profiles.create(profile(), at=NOW)[0].id for _ in range(7)]
    assert [[p.id for p in batch] for batch in profiles.batches(3)] == [made[:3], made[3:6], made[6:]]
    assert profiles.count() == 7


def test_secrets_are_stored_only_as_hashes(profiles: ProfileStore, database: Database) -> None:
    stored, secret = profiles.create(profile(), at=NOW)
    token = TokenStore(database).issue(stored.id, at=NOW)
    with database.read() as connection:
        kept = str(connection.execute(select(profile_table)).all()) + str(
            connection.execute(select(feed_token)).all()
        )
    assert secret not in kept
    assert token not in kept
    assert len(token) >= 22


def test_a_new_feed_token_ends_the_old_one_now_or_later(profiles: ProfileStore, database: Database) -> None:
    tokens = TokenStore(database)
    stored, _ = profiles.create(profile(), at=NOW)
    first = tokens.issue(stored.id, at=NOW)
    second = tokens.issue(stored.id, at=NOW, old_ends_at=NOW + timedelta(days=30))
    assert tokens.resolve(first, now=NOW) == tokens.resolve(second, now=NOW) == stored.id
    assert tokens.resolve(first, now=NOW + timedelta(days=30)) is None
    tokens.issue(stored.id, at=LATER)
    assert tokens.resolve(second, now=LATER) is None
    tokens.revoke_all(stored.id, at=LATER)
    assert tokens.resolve("unknown-token-unknown", now=LATER) is None


def test_a_stop_token_is_the_same_every_time(profiles: ProfileStore, database: Database) -> None:
    tokens = TokenStore(database)
    stored, _ = profiles.create(profile(), at=NOW)
    token = derived_secret(KEY, "stop", stored.id, "email")
    assert (
        token
        == derived_secret(KEY, "stop", stored.id, "email")
        != derived_secret(KEY, "stop", stored.id, "sms")
    )
    tokens.remember(token, "stop", LinkTarget(stored.id, "email"), at=NOW)
    tokens.remember(token, "stop", LinkTarget(stored.id, "email"), at=LATER)
    assert tokens.find_stop(token) == LinkTarget(stored.id, "email")
    assert tokens.find_confirmation(token, now=NOW) is None  # a stop address confirms nothing
    tokens.remember("c" * 24, "confirm", LinkTarget(stored.id, "email"), at=NOW)
    assert tokens.find_confirmation("c" * 24, now=NOW + timedelta(days=6)) == LinkTarget(stored.id, "email")
    assert tokens.find_confirmation("c" * 24, now=NOW + CONFIRM_WITHIN) is None
    assert tokens.find_stop("x") is None


def test_addresses_are_sealed_and_found_by_blind_index(profiles: ProfileStore, database: Database) -> None:
    contacts = ContactStore(database, KEY)
    stored, _ = profiles.create(profile(), at=NOW)
    contacts.put(stored.id, "email", "Li.Hua@Example.ORG ", at=NOW)
    found = contacts.get(stored.id, "email")
    assert found is not None
    assert found.address == "Li.Hua@example.org"
    assert contacts.holders("email", "Li.Hua@example.org") == [stored.id]
    contacts.put(stored.id, "email", "new@example.org", at=NOW, verified=True)
    assert contacts.holders("email", "Li.Hua@example.org") == []
    with database.read() as connection:
        assert b"example" not in connection.scalar(select(contact.c.sealed))
    with pytest.raises(StorageError, match="SECRET_KEY"):
        ContactStore(database, b"another key of enough length").get(stored.id, "email")
    contacts.remove(stored.id, "email")
    assert contacts.get(stored.id, "email") is None


@pytest.mark.parametrize(
    ("channel", "text", "clean"),
    [
        ("email", "a@b.cn", "a@b.cn"),
        ("email", "a@b.cn, evil@x.org", None),
        ("email", "a@b.cn\nBcc: x@y.z", None),
        ("email", "a@b", None),
        ("email", "张三@例子.cn", None),
        ("sms", "138 0000 0001", "+8613800000001"),
        ("sms", "+86-138-0000-0001", "+8613800000001"),
        ("sms", "12", None),
        ("sms", "not a phone", None),
        ("fax", "1", None),
    ],
)
def test_addresses_are_checked(channel: str, text: str, clean: str | None) -> None:
    if clean is None:
        with pytest.raises(UsageError):
            clean_address(channel, text)
    else:
        assert clean_address(channel, text) == clean


@pytest.fixture
def reader(profiles: ProfileStore) -> int:
    return profiles.create(profile(), at=NOW)[0].id


def test_an_edition_moves_the_shelf_and_reads_back(database: Database, reader: int) -> None:
    editions = EditionStore(database)
    [first] = editions.append([NewEdition(reader, "welcome", (pick(1), pick(2)), NOW, 0)])
    [second] = editions.append([NewEdition(reader, "daily", (pick(3),), LATER, 1)])
    shelf = editions.shelf(reader)
    assert [item.pick.notice_id for item in shelf.picks] == [3, 1, 2]
    assert [item.picked_at for item in shelf.picks] == [LATER, NOW, NOW]
    assert (shelf.version, shelf.picked) == (2, {1, 2, 3})
    assert editions.shelf_version(reader) == 2
    [only] = editions.between(reader, LATER, LATER + timedelta(seconds=1))
    assert (only.id, only.picks) == (second, (pick(3),))
    assert [item.id for item in editions.by_ids([first, second])] == [first, second]
    assert editions.between(reader, NOW, LATER)[0].id == first  # half-open


def test_a_lost_race_writes_nothing(database: Database, reader: int) -> None:
    editions = EditionStore(database)
    editions.append([NewEdition(reader, "daily", (pick(1),), NOW, 0)])
    assert editions.append([NewEdition(reader, "daily", (pick(2),), NOW, 0)]) == [None]
    assert editions.count() == (1, 1)


def test_a_notice_is_picked_once_unless_it_is_an_update(database: Database, reader: int) -> None:
    editions = EditionStore(database)
    editions.append([NewEdition(reader, "daily", (pick(1),), NOW, 0)])
    assert editions.append([NewEdition(reader, "daily", (pick(1),), NOW, 1)]) == [None]
    again = pick(1, kind="update", revision=2)
    assert editions.append([NewEdition(reader, "daily", (again,), LATER, 1)]) != [None]
    assert editions.picked_since([reader], NOW) == {reader: 1}  # an update takes no pace slot


def test_an_empty_edition_is_never_written(database: Database, reader: int) -> None:
    assert EditionStore(database).append([NewEdition(reader, "daily", (), NOW, 0)]) == [None]
    assert EditionStore(database).shelf_version(reader) == 0


def test_many_writers_never_pick_a_notice_twice(database: Database, reader: int) -> None:
    editions = EditionStore(database)

    def write() -> None:
        for notice_id in range(1, 21):
            editions.append(
                [NewEdition(reader, "daily", (pick(notice_id),), NOW, editions.shelf_version(reader))]
            )

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    picked = [p.notice_id for e in editions.between(reader, NOW, LATER) for p in e.picks]
    assert len(picked) == len(set(picked))
    assert editions.shelf_version(reader) == len(picked)


def test_the_shelf_keeps_the_latest_fifty(database: Database, reader: int) -> None:
    editions = EditionStore(database)
    editions.append([NewEdition(reader, "welcome", tuple(pick(n) for n in range(1, 51)), NOW, 0)])
    editions.append([NewEdition(reader, "daily", (pick(51), pick(52)), LATER, 1)])
    shelf = editions.shelf(reader)
    assert len(shelf.picks) == 50
    assert [item.pick.notice_id for item in shelf.picks[:3]] == [51, 52, 1]
    assert len(shelf.picked) == 52


def test_one_live_subscription_a_channel(database: Database, reader: int) -> None:
    store = SubscriptionStore(database)
    first = store.start(reader, "email", lang="zh-Hans", next_due_at=NOW, at=NOW)
    second = store.start(reader, "email", local_hour=18, lang="en", next_due_at=LATER, at=NOW)
    assert store.live(reader, "email") == second
    assert [(item.id, item.ended_reason) for item in store.of(reader)] == [
        (first.id, "changed"),
        (second.id, ""),
    ]
    again = store.start(reader, "email", local_hour=18, lang="en", next_due_at=NOW, at=LATER)
    # Who joins a rhythm is due when it is, and goes on where the last digest ended.
    assert (again.next_due_at, again.covered_until) == (LATER, NOW)
    assert store.end(reader, "email", at=NOW, reason="unsubscribed")
    assert not store.end(reader, "email", at=NOW, reason="unsubscribed")
    assert store.counts() == {}


def test_consents_stay_as_a_record(database: Database, reader: int) -> None:
    store = ConsentStore(database)
    store.give(reader, "channel:email", at=NOW)
    store.end(reader, "channel:email", at=LATER)
    [held] = store.all(reader)
    assert (held.purpose, held.given_at, held.ended_at) == ("channel:email", NOW, LATER)


def test_feedback_comes_back_and_can_be_forgotten(database: Database, reader: int) -> None:
    store = FeedbackStore(database)
    rows = [
        FeedbackRow(reader, 5, "click", NOW, position=2, propensity=0.5),
        FeedbackRow(reader, 6, "impression", NOW, channel="feed"),
        FeedbackRow(reader, 7, "hide", LATER, simulated=True),
    ]
    store.record(rows)
    assert store.of(reader) == rows
    assert store.training_rows() == [rows[0], rows[2]]
    assert store.counts() == {"all": 3, "simulated": 1}
    assert store.forget(reader) == 3
