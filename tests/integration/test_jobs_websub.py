"""WebSub from end to end: our application on a real server, a real hub, a real source, all on loopback."""

from __future__ import annotations

import hmac
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import structlog
import uvicorn
from sqlalchemy import update

from api.jobs import websub as job
from api.jobs.websub import subscribe_due
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from feeds.catalogue.store import NoticeFilter
from feeds.catalogue.tagging import Tagger
from feeds.intake import sources as sources_module
from feeds.intake.sources import Source
from feeds.intake.websub import WebSubStore, is_reliable
from feeds.intake.websub_rules import BAD_SIGNATURE, MISSED, MOST_FAILURES, Subscription
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from tests.hub import Hub, hub
from tests.loopback import Loopback, answer, serving
from tests.webfixture import KEY, NOW, city

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OLD = [f"示例旧通知第{number}号" for number in range(1, 6)]


@dataclass
class World:
    """One city, one source, one hub."""

    services: Services
    clock: FixedClock
    web: Loopback
    hub: Hub
    topic: str
    source_id: int

    @property
    def store(self) -> WebSubStore:
        return self.services.websub

    @property
    def source(self) -> Source:
        return self.services.sources.get(self.source_id)

    @property
    def subscription(self) -> Subscription:
        found = self.store.of(self.source_id)
        assert found is not None
        return found

    @property
    def callback(self) -> str:
        return job.callbacks(self.services) + self.subscription.path

    def due(self) -> bool:
        return any(one.id == self.source_id for one in self.services.sources.due(self.clock.now()))

    def says(self, titles: Sequence[str], **options: str) -> bytes:
        """Make the source say something from now on."""
        body = atom(self.topic, self.hub.url, titles)
        self.web.routes["/news.atom"] = answer(200, body, Content_Type="application/atom+xml", **options)
        return body

    def poll(self) -> None:
        self.services.ingestor.poll(self.source, self.services.client())
        self.set(hub=self.hub.url, topic=self.topic)

    def set(self, **changes: Any) -> None:
        """Change the source's row as a poll would."""
        with self.services.database.write() as connection:
            table = sources_module.source
            connection.execute(update(table).where(table.c.id == self.source_id).values(**changes))

    def titles(self) -> set[str]:
        found = self.services.notices.latest(NoticeFilter(states=("released",)), limit=100)
        return {item.content.title.removeprefix("【示例】") for item in found}

    def stored(self, title: str) -> bool:
        return within(lambda: title in self.titles())

    def post(self, body: bytes, **headers: str) -> int:
        """Send something to the callback address as no hub would."""
        parts = urlsplit(self.callback)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            names = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request("POST", parts.path, body=body, headers=names)
            return connection.getresponse().status
        finally:
            connection.close()

    def sign(self, body: bytes, method: str = "sha256") -> str:
        return f"{method}={hmac.new(self.subscription.secret.encode(), body, method).hexdigest()}"


def atom(topic: str, hub_url: str, titles: Sequence[str]) -> bytes:
    entries = "".join(
        f"<entry><id>urn:x:{title}</id><title>{title}</title><updated>2026-10-12T09:00:00+08:00</updated>"
        f"<link href='https://sl.example/{number}'/><content>正文{title}</content></entry>"
        for number, title in enumerate(titles)
    )
    return (
        f"<?xml version='1.0' encoding='utf-8'?><feed xmlns='http://www.w3.org/2005/Atom'>"
        f"<title>示例市政务公开</title><id>urn:x:feed</id><updated>2026-10-12T09:00:00+08:00</updated>"
        f"<link rel='self' href='{topic}'/><link rel='hub' href='{hub_url}'/>{entries}</feed>"
    ).encode()


def within(check: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def settings_for(port: int, home: Path, *places: str) -> Any:
    environment = {"MYCITY_ALLOW_PRIVATE": ",".join(places)}
    address = f"http://127.0.0.1:{port}"
    return read_settings(environment, home=home, city="shili", base_url=address, secret_key=KEY)


@cache
def tagger() -> Tagger:
    return Tagger(city())


@pytest.fixture
def world(sqlite: Database, tmp_path: Path) -> Iterator[World]:
    """Everything runs, the source has been polled once, nobody has subscribed yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving() as web, hub() as made_hub:
        clock = FixedClock(NOW)
        settings = settings_for(port, tmp_path, web.place, made_hub.place)
        services = build(settings, clock=clock, database=sqlite, city=city())
        services.__dict__["tagger"] = tagger()  # takes a moment to build
        added = services.sources.add(slug="sl", name="示例市政务公开", url=web.url("/news.atom"), at=NOW)
        made = World(services, clock, web, made_hub, web.url("/news.atom"), added.id)
        made.says(OLD)
        made.poll()
        server = uvicorn.Server(
            uvicorn.Config(create_app(services), port=port, log_level="error", lifespan="off")
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert within(lambda: server.started, 20)
        yield made
        server.should_exit = True
        thread.join(10)


def subscribed(world: World) -> Subscription:
    assert subscribe_due(world.services)["asked"] == 1
    assert within(lambda: world.subscription.state == "active")
    return world.subscription


# -- the whole circle ------------------------------------------------------------------------------------


def test_from_asking_to_a_notice(world: World) -> None:
    have = subscribed(world)
    (asked,) = world.hub.asked
    assert asked == {
        "hub.mode": "subscribe",
        "hub.topic": world.topic,
        "hub.callback": world.callback,
        "hub.lease_seconds": "1209600",
        "hub.secret": have.secret,
    }
    assert len(have.path) == len(have.secret) == 43 and have.path != have.secret
    assert (have.failures, have.lease_until) == (0, NOW + 14 * DAY)
    assert world.hub.replies[0].content_type.startswith("text/plain")
    assert world.store.active(NOW) == {world.source_id}
    assert subscribe_due(world.services) == {"asked": 0, "failed": 0, "left": 0}

    before, asked_before = world.source, len(world.web.asked)
    body = world.says([*OLD, "示例新通知"])
    assert world.hub.publish(world.topic, body) == [202]
    assert world.stored("示例新通知")
    assert world.subscription.last_push_at == NOW
    assert len(world.web.asked) == asked_before  # nobody had to be polled
    after = world.source
    assert (after.etag, after.polls, after.body_hash) == (before.etag, before.polls, before.body_hash)

    assert world.hub.publish(world.topic, body) == [202]  # said twice, stored once
    time.sleep(0.2)
    assert len(world.titles()) == len(OLD) + 1


def test_a_hub_may_verify_after_its_answer(world: World) -> None:
    world.hub.verifies = "later"
    assert subscribe_due(world.services)["asked"] == 1
    world.hub.wait()
    assert world.subscription.state == "active"


def test_a_slow_hub_that_fails_after_verifying_counts_as_confirmed(world: World) -> None:
    world.hub.delay, world.hub.answers = 0.2, 500
    assert subscribe_due(world.services)["failed"] == 1
    assert (world.subscription.state, world.subscription.failures) == ("active", 0)


# -- leases ----------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_before_it_ends(world: World) -> None:
    world.hub.lease = "864000"
    first = subscribed(world)
    world.clock.advance(8 * DAY - HOUR)
    assert subscribe_due(world.services)["asked"] == 0
    world.clock.advance(2 * HOUR)
    assert subscribe_due(world.services)["asked"] == 1
    again = world.subscription
    assert again.lease_until == world.clock.now() + 10 * DAY
    # A renewal that gets lost must not leave the two sides with different secrets.
    assert (again.path, again.secret, again.state) == (first.path, first.secret, "active")
    assert len(world.hub.leases) == 1


def test_a_renewal_that_is_never_verified_does_not_end_the_lease_early(world: World) -> None:
    world.hub.lease = "864000"
    subscribed(world)
    world.hub.verifies = "never"
    world.clock.advance(9 * DAY)
    assert subscribe_due(world.services)["asked"] == 1
    assert world.subscription.state == "active"
    assert world.hub.publish(world.topic, world.says([*OLD, "示例续期中"])) == [202]
    assert world.stored("示例续期中")
    world.clock.advance(2 * DAY)
    assert world.store.active(world.clock.now()) == set()
    world.hub.verifies = "first"
    assert subscribe_due(world.services)["asked"] == 1
    assert world.store.active(world.clock.now()) == {world.source_id}


@pytest.mark.parametrize(
    ("granted", "believed", "renewed_after"),
    [
        ("60", timedelta(minutes=1), HOUR),
        ("99999999", 14 * DAY, 14 * DAY * 4 / 5),
        ("", DAY, DAY * 4 / 5),
        ("soon", DAY, DAY * 4 / 5),
    ],
)
def test_odd_leases(world: World, granted: str, believed: timedelta, renewed_after: timedelta) -> None:
    world.hub.lease = granted
    if granted == "soon":  # our hub cannot keep such a lease itself
        world.hub.verifies = "never"
        subscribe_due(world.services)
        query = {"hub.mode": "subscribe", "hub.topic": world.topic, "hub.challenge": "x"}
        world.hub.ask(world.callback, query | {"hub.lease_seconds": "soon"})
    else:
        subscribed(world)
    have = world.subscription
    assert (have.lease_until, have.next_at) == (NOW + believed, NOW + renewed_after)


def test_a_replayed_verification_is_confirmed_and_moves_nothing(world: World) -> None:
    subscribed(world)
    before = world.subscription
    world.clock.advance(DAY)
    query = {
        "hub.mode": "subscribe",
        "hub.topic": world.topic,
        "hub.challenge": "abc",
        "hub.lease_seconds": "1209600",
    }
    reply = world.hub.ask(world.callback, query)
    assert (reply.status, reply.body) == (200, "abc")
    assert world.subscription == before


# -- what is not confirmed -------------------------------------------------------------------------------


def test_a_wrong_topic_is_not_confirmed(world: World) -> None:
    world.hub.topic = "https://other.example/feed"
    subscribe_due(world.services)
    assert world.hub.replies[-1].status == 404
    assert (world.subscription.state, world.hub.leases) == ("asked", {})


@pytest.mark.parametrize(
    "query",
    [
        {"hub.mode": "subscribe", "hub.challenge": "x"},
        {"hub.mode": "unsubscribe", "hub.topic": "T", "hub.challenge": "x"},
        {"hub.mode": "subscribe", "hub.topic": "T"},
        {"hub.mode": "subscribe", "hub.topic": "T", "hub.challenge": "x" * 5000},
        {"hub.mode": "denied", "hub.topic": "https://other.example/feed"},
        {},
    ],
)
def test_nothing_else_is_confirmed(world: World, query: dict[str, str]) -> None:
    subscribed(world)
    before = world.subscription
    named = {name: world.topic if text == "T" else text for name, text in query.items()}
    assert world.hub.ask(world.callback, named).status == 404
    assert world.subscription == before


@pytest.mark.parametrize("path", ["x", "p" * 43, "%00" * 43, "通知", "a/b"])
def test_an_unknown_address_answers_like_an_ended_one(world: World, path: str) -> None:
    base = job.callbacks(world.services)
    query = {"hub.mode": "subscribe", "hub.topic": world.topic, "hub.challenge": "x"}
    quoted = urlencode({"": path}, safe="%/").removeprefix("=")
    assert world.hub.ask(base + quoted, query).status == 404
    world.hub.leases[world.topic, base + quoted] = next(iter(world.hub.leases.values()), _lease())
    assert world.hub.publish(world.topic, b"x") in ([410], [404])


def _lease() -> Any:
    from tests.hub import Lease

    return Lease("secret", 1)


def test_a_denied_subscription_leaves_the_source_to_polling(world: World) -> None:
    world.hub.denies = "not\nfor you"
    subscribe_due(world.services)
    have = world.subscription
    assert (have.state, have.lease_until) == ("failed", None)
    assert have.last_error == "The hub denied the subscription (not for you)."
    world.clock.advance(8 * DAY)
    assert subscribe_due(world.services)["asked"] == 0
    assert world.due()
    world.clock.advance(30 * DAY)
    world.hub.denies = None
    subscribed(world)


def test_a_hub_may_deny_later(world: World) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY)
    query = {"hub.mode": "denied", "hub.topic": world.topic, "hub.reason": "closed"}
    assert world.hub.ask(world.callback, query).status == 200
    assert world.store.active(NOW) == set()
    world.clock.advance(HOUR)
    assert world.due()


# -- hubs that fail --------------------------------------------------------------------------------------


def test_a_dead_hub_changes_nothing_for_the_source(world: World) -> None:
    dead = world.hub.url.replace("/hub", "")
    world.set(hub=dead.replace(str(world.hub.port), str(_closed_port())))
    allowed = f"{world.services.settings.allow_private},{urlsplit(world.source.hub).netloc}"
    world.services.settings = world.services.settings.model_copy(update={"allow_private": allowed})
    waits = []
    for failures in range(1, MOST_FAILURES + 1):
        assert subscribe_due(world.services) == {"asked": 0, "failed": 1, "left": 0}
        have = world.subscription
        assert have.failures == failures and "cannot be reached" in have.last_error
        assert have.next_at is not None
        waits.append((have.next_at - world.clock.now()).total_seconds())
        assert subscribe_due(world.services)["failed"] == 0
        world.clock.at = have.next_at
    assert waits == [1800, 7200, 28_800, 86_400, 7 * 86_400]
    assert world.subscription.state == "failed"
    assert world.due()
    world.says([*OLD, "示例轮询所得"])
    world.services.ingestor.poll(world.source, world.services.client())
    assert "示例轮询所得" in world.titles()


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_dead_hub_is_called_once_in_a_round(world: World) -> None:
    world.hub.verifies, world.hub.answers = "never", 503
    for number in range(3):
        added = world.services.sources.add(
            slug=f"more-{number}", name="M", url=f"{world.topic}?{number}", at=NOW
        )
        with world.services.database.write() as connection:
            table = sources_module.source
            named = {"hub": world.hub.url, "topic": f"{world.topic}?{number}"}
            connection.execute(update(table).where(table.c.id == added.id).values(**named))
    assert subscribe_due(world.services) == {"asked": 0, "failed": 4, "left": 0}
    assert len(world.hub.asked) == 1
    assert {item.failures for item in world.store.all()} == {1}


def test_a_hub_that_refuses_is_asked_less_and_less(world: World) -> None:
    world.hub.verifies, world.hub.answers = "never", 400
    assert subscribe_due(world.services)["failed"] == 1
    assert "400" in world.subscription.last_error
    assert world.subscription.state == "asked"


def test_a_hub_that_must_not_be_called_is_given_up(world: World) -> None:
    world.set(hub="http://169.254.169.254/latest/meta-data")
    assert subscribe_due(world.services)["failed"] == 0  # it could not call us back either
    with_public_base = world.services.settings.model_copy(update={"base_url": "https://city.example"})
    world.services.settings = with_public_base
    assert subscribe_due(world.services)["failed"] == 1
    assert (world.subscription.state, world.subscription.next_at) == ("failed", NOW + 7 * DAY)


def test_a_hub_that_cannot_call_us_is_not_asked_and_that_is_said_once(world: World) -> None:
    world.set(hub="https://hub.example/")
    job._say_unreachable.cache_clear()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert subscribe_due(world.services) == {"asked": 0, "failed": 0, "left": 0}
    assert [line["event"] for line in logs] == ["websub_needs_a_public_address"]
    assert world.store.all() == []


# -- messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", ["wrong", "", "md5"])
def test_a_badly_signed_message_is_ignored_and_the_source_polled_as_usual(world: World, signs: str) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY)
    world.hub.signs = signs
    assert world.hub.publish(world.topic, world.says([*OLD, "示例伪造"])) == [202]
    time.sleep(0.2)
    assert "示例伪造" not in world.titles()
    assert world.subscription.last_error == BAD_SIGNATURE
    assert world.subscription.last_push_at is None
    assert world.store.active(NOW) == set()
    assert not world.due()  # it is no way to make us poll, either
    world.clock.advance(HOUR)
    assert world.due()
    world.hub.signs = "sha512"
    assert world.hub.publish(world.topic, world.says([*OLD, "示例真实"])) == [202]
    assert world.stored("示例真实")
    assert world.store.active(world.clock.now()) == {world.source_id}


def test_a_renewal_does_not_make_a_hub_that_never_signs_reliable(world: World) -> None:
    subscribed(world)
    world.hub.signs = ""
    world.hub.publish(world.topic, b"x")
    world.clock.advance(12 * DAY)
    assert subscribe_due(world.services)["asked"] == 1
    assert (world.subscription.state, world.subscription.last_error) == ("active", BAD_SIGNATURE)
    assert world.store.active(world.clock.now()) == set()


def test_a_weak_signature_is_a_reason_to_look_and_no_more(world: World) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    world.hub.signs = "sha1"
    assert world.hub.publish(world.topic, world.says([*OLD, "示例弱签名"])) == [202]
    assert within(world.due)
    assert "示例弱签名" not in world.titles()
    assert world.store.active(NOW) == {world.source_id}


def test_an_empty_message_is_a_reason_to_look(world: World) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW)
    assert world.post(b"", X_Hub_Signature=world.sign(b"")) == 202
    assert not world.due()  # it was polled just now
    world.clock.advance(timedelta(minutes=5))
    assert world.due()


def test_a_message_about_another_topic_is_not_taken_in(world: World) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    body = world.says([*OLD, "示例他题"])
    assert world.hub.publish(world.topic, body, about="https://other.example/feed") == [202]
    assert within(world.due)
    assert "示例他题" not in world.titles()


@pytest.mark.parametrize("kind", ["application/atom+xml", "text/html", "application/x-www-form-urlencoded"])
def test_what_is_no_feed_makes_us_look(world: World, kind: str) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    body = b"<html><title>Login</title></html>"
    assert world.post(body, X_Hub_Signature=world.sign(body), Content_Type=kind) == 202
    assert within(world.due)
    assert world.source.failures == 0


def test_a_message_that_is_too_long_makes_us_look(world: World) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    with suppress(OSError):  # where we answer and close before it has sent everything
        assert world.post(b"x" * 30_000_000, X_Hub_Signature="sha256=00") == 202
    assert within(world.due)


def test_a_sudden_flood_is_left_to_a_poll(world: World) -> None:
    """A hub sends only what is new, so that most of it looks new says nothing; the whole list does."""
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    body = world.says([f"示例洪水{number}" for number in range(40)])
    assert world.hub.publish(world.topic, body) == [202]
    assert within(world.due)
    assert world.source.held_at is None
    assert not any("洪水" in title for title in world.titles())
    world.poll()
    assert world.source.held_at is not None
    assert not any("洪水" in title for title in world.titles())


@pytest.mark.parametrize("changes", [{"polls": 0}, {"full_text": True}, {"kind": "cap"}])
def test_some_sources_are_only_polled_when_their_hub_calls(world: World, changes: dict[str, Any]) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=None, **changes)
    assert world.hub.publish(world.topic, world.says([*OLD, "示例先轮询"])) == [202]
    assert within(world.due)
    assert "示例先轮询" not in world.titles()


def test_what_cannot_be_taken_in_is_logged_and_shows_no_trace(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY, last_polled_at=NOW - HOUR)
    monkeypatch.setattr(type(world.services.ingestor), "take", lambda *a, **k: 1 / 0)
    assert world.hub.publish(world.topic, world.says([*OLD, "示例内部错误"])) == [202]
    assert within(world.due)


def test_a_message_that_is_lost_after_the_answer_is_found_by_a_poll(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed(world)
    world.set(next_poll_at=NOW + DAY)
    monkeypatch.setattr(job, "take", lambda *_: None)  # as if the process had been killed
    assert world.hub.publish(world.topic, world.says([*OLD, "示例丢失"])) == [202]
    world.clock.advance(timedelta(seconds=world.source.interval_s))
    assert world.due()
    world.services.ingestor.poll(world.source, world.services.client())
    assert "示例丢失" in world.titles()


def test_many_messages_at_once_are_taken_in_one_after_the_other(world: World) -> None:
    subscribed(world)
    bodies = [world.says([*OLD, f"示例并发{number}"]) for number in range(12)]
    threads = [threading.Thread(target=world.hub.publish, args=(world.topic, body)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(world.stored(f"示例并发{number}") for number in range(12))


# -- leaving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"paused": True}, {"gone_at": NOW}, {"hub": "", "topic": ""}])
def test_we_leave_when_nothing_more_is_wanted(world: World, changes: dict[str, Any]) -> None:
    subscribed(world)
    world.set(**changes)
    assert subscribe_due(world.services) == {"asked": 0, "failed": 0, "left": 1}
    assert world.hub.asked[-1] == {
        "hub.mode": "unsubscribe",
        "hub.topic": world.topic,
        "hub.callback": world.callback,
    }
    assert (world.subscription.state, world.hub.leases) == ("ended", {})
    assert world.store.active(NOW) == set()
    world.clock.advance(30 * DAY)
    assert subscribe_due(world.services) == {"asked": 0, "failed": 0, "left": 0}


def test_a_hub_that_did_not_hear_us_leave_is_told_410(world: World) -> None:
    subscribed(world)
    world.set(paused=True)
    world.hub.verifies = "never"
    assert subscribe_due(world.services)["left"] == 1
    assert world.hub.publish(world.topic, b"x") == [410]
    assert world.hub.leases == {}
    late = {"hub.mode": "subscribe", "hub.topic": world.topic, "hub.challenge": "x"}
    assert world.hub.ask(world.callback, late).status == 404


def test_a_source_that_changes_its_hub_gets_a_new_address_there(world: World) -> None:
    old = subscribed(world)
    with hub() as other:
        allowed = f"{world.services.settings.allow_private},{other.place}"
        world.services.settings = world.services.settings.model_copy(update={"allow_private": allowed})
        world.set(hub=other.url)
        assert subscribe_due(world.services)["left"] == 1
        assert (world.hub.leases, other.asked) == ({}, [])
        world.clock.advance(HOUR)
        assert subscribe_due(world.services)["asked"] == 1
        new = world.subscription
        assert (new.state, new.hub) == ("active", other.url)
        assert new.path != old.path and new.secret != old.secret
        assert len(other.leases) == 1


def test_a_paused_source_takes_nothing_in(world: World) -> None:
    subscribed(world)
    world.set(paused=True)
    assert world.hub.publish(world.topic, world.says([*OLD, "示例暂停"])) == [202]
    time.sleep(0.2)
    assert "示例暂停" not in world.titles()


# -- the store, on both databases ------------------------------------------------------------------------


def test_the_store(database: Database) -> None:
    store = WebSubStore(database)
    assert (list(store.all()), store.of(1), store.by_path("x" * 43), store.active(NOW)) == (
        [],
        None,
        None,
        set(),
    )
    made = store.ensure(7, hub="https://hub.example/", topic="https://sl.example/", at=NOW)
    assert store.ensure(7, hub="https://other.example/", topic="t", at=NOW) == made
    assert store.by_path(made.path) == store.of(7) == made
    assert store.by_path(made.path + "'") is None
    assert store.by_path("\x00" * 43) is None
    assert (made.state, made.failures, made.next_at) == ("asked", 0, NOW)
    assert store.asked(7, at=NOW)
    assert not store.asked(7, at=NOW)  # a second process a moment later
    assert not store.asked(8, at=NOW)
    store.failed(7, error="e" * 900, at=NOW, retry_after=86_400.0)
    failed = store.of(7)
    assert failed is not None
    assert (len(failed.last_error), failed.next_at, failed.state) == (500, NOW + DAY, "asked")
    store.verified(7, lease=DAY, at=NOW)
    assert store.active(NOW) == {7}
    assert store.active(NOW + DAY) == set()
    store.failed(7, error="too late", at=NOW)
    for since, blamed in ((NOW - HOUR, False), (NOW, True), (NOW, False)):
        assert store.missed(7, since=since) is blamed
    assert store.active(NOW) == set()
    store.verified(7, lease=DAY, at=NOW)
    found = store.of(7)
    assert found is not None and found.last_error == MISSED
    store.pushed(7, at=NOW)
    assert store.active(NOW) == {7}
    assert not store.missed(7, since=NOW)
    with database.read() as connection:
        assert [is_reliable(connection, number, NOW) for number in (7, 8)] == [True, False]
    store.refused(7)
    assert store.active(NOW) == set()
    store.ended(7, at=NOW)
    store.verified(7, lease=DAY, at=NOW)
    assert not store.asked(7, at=NOW + DAY)
    ended = store.of(7)
    assert ended is not None and ended.state == "ended"
    fresh = store.ensure(7, hub="https://other.example/", topic="t", at=NOW)
    assert fresh.path != made.path and fresh.secret != made.secret
    assert (fresh.state, fresh.hub, fresh.last_error, fresh.next_at) == (
        "asked",
        "https://other.example/",
        "",
        NOW,
    )
    assert store.by_path(made.path) is None
