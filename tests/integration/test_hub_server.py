"""Our hub on real sockets: good subscribers, bad ones, our own subscriber as the other side, and kill -9."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn
from starlette.testclient import TestClient

from api.feed_asgi import FeedPath
from api.jobs import hub
from api.jobs.websub import subscribe_due
from api.settings import read_settings
from api.web.app import create_app
from api.wiring import Services, build
from delivery.hub_rules import ASK_AGAIN, DELAYS, MOST_FAILURES, Refused, read_wish
from delivery.hub_store import LEASE, HubStore
from feeds.catalogue.store import NoticeFilter
from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock
from tests.factories import new_notice
from tests.webfixture import KEY, NOW, city

ROOT = Path(__file__).resolve().parent.parent.parent
DAY = timedelta(days=1)


@dataclass
class Subscriber:
    """A subscriber on 127.0.0.1 that keeps to the Recommendation until a test tells it otherwise.

    Attributes:
        says: Its answer to a challenge; ``None``: the challenge.
        verifies: Status of that answer.
        takes: Status of its answer to content.
        extra: Headers of its answers.
        hold: Answers to content wait for this.
    """

    port: int = 0
    says: bytes | None = None
    verifies: int = 200
    takes: int = 204
    extra: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def subscriber() -> Iterator[Subscriber]:
    made = Subscriber()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            made.asked.append(asked)
            challenge = asked.get("hub.challenge", "").encode()
            self._answer(made.verifies, challenge if made.says is None else made.says)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            made.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if made.hold is not None:
                made.hold.wait(20)
            self._answer(made.takes, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, text in made.extra.items():
                self.send_header(name, text)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        if made.hold is not None:
            made.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def make(
    database: Database, home: Path, *places: str, base: str = "http://testserver", **more: str
) -> Services:
    environment = {"MYCITY_ALLOW_PRIVATE": ",".join(places), "MYCITY_POLL_PER_HOST": "8", **more}
    settings = read_settings(environment, home=home, city="shili", base_url=base, secret_key=KEY)
    return build(settings, clock=FixedClock(NOW), database=database, city=city())


@pytest.fixture
def reader() -> Iterator[Subscriber]:
    with subscriber() as made:
        yield made


@pytest.fixture
def services(sqlite: Database, tmp_path: Path, reader: Subscriber) -> Services:
    made = make(sqlite, tmp_path, reader.place)
    publish(made, "old", "示例旧通知")
    return made


@pytest.fixture
def browser(services: Services) -> Iterator[TestClient]:
    with TestClient(create_app(services), base_url="http://testserver") as client:
        yield client


def publish(made: Services, guid: str, title: str, **changes: Any) -> int:
    values = {"tags": ("theme:10", "role:citizen"), "level": "city", "place": "sl01"} | changes
    return made.notices.add([new_notice(guid, title=f"【示例】{title}", **values)], at=made.clock.now())[0]


def wanting(callback: str, path: str = "/feeds/all.atom", **changes: str) -> dict[str, str]:
    form = {"hub.mode": "subscribe", "hub.callback": callback, "hub.topic": f"http://testserver{path}"}
    return form | {"hub.secret": "a secret"} | {f"hub.{name}": text for name, text in changes.items()}


def advance(made: Services, by: timedelta) -> None:
    clock = made.clock
    assert isinstance(clock, FixedClock)
    clock.advance(by)


# -- a good subscriber -----------------------------------------------------------------------------------


def test_from_asking_to_content(services: Services, browser: TestClient, reader: Subscriber) -> None:
    callback = reader.url("/hook?user=7")
    answer = browser.post("/hub", data=wanting(callback, lease_seconds="864000"))
    assert (answer.status_code, answer.content) == (202, b"")
    (asked,) = reader.asked
    assert asked.pop("hub.challenge")
    assert asked == {
        "user": "7",
        "hub.mode": "subscribe",
        "hub.topic": "http://testserver/feeds/all.atom",
        "hub.lease_seconds": "864000",
    }
    assert services.hub.counts() == {"subscribers": 1, "topics": 1, "owed": 0, "asked": 0}
    assert hub.tick(services)["delivered"] == 0  # what it could read when it asked is no news
    publish(services, "new", "示例新通知")
    assert hub.tick(services) == {"verified": 0, "changed": 1, "delivered": 1, "failed": 0, "ended": 0}
    ((path, headers, body),) = reader.got
    assert path == "/hook?user=7"
    assert "示例新通知" in body.decode() and "示例旧通知" in body.decode()
    mark = hmac.new(b"a secret", body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature"] == f"sha256={mark}"
    assert headers["content-type"] == "application/atom+xml; charset=utf-8"
    own = "http://testserver/feeds/all.atom"
    assert headers["link"] == f'<http://testserver/hub>; rel="hub", <{own}>; rel="self"'
    with TestClient(FeedPath(services, create_app(services)), base_url="http://testserver") as feeds:
        assert feeds.get(own).content == body
    assert hub.tick(services)["delivered"] == 0
    assert len(reader.got) == 1


def test_only_topics_that_changed_are_told(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    for path in (
        "/feeds/all.atom",
        "/feeds/theme/10.rss",
        "/feeds/theme/04.json",
        "/feeds/place/sl01.atom?lang=en",
    ):
        assert browser.post("/hub", data=wanting(reader.url(path), path)).status_code == 202
    publish(services, "new", "示例四号", tags=("theme:04",), place="sl02")
    assert hub.tick(services)["delivered"] == 2
    assert sorted(path for path, _, _ in reader.got) == ["/feeds/all.atom", "/feeds/theme/04.json"]
    reader.got.clear()
    minor = services.notices.latest(NoticeFilter(), limit=1)[0]
    services.notices.set_prominence(minor.id, 1)  # says nothing new to readers
    assert hub.tick(services)["delivered"] == 0 and reader.got == []


def test_several_changes_become_one_message(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    reader.takes = 500
    publish(services, "a", "示例甲")
    assert hub.tick(services)["failed"] == 1
    publish(services, "b", "示例乙")
    assert hub.tick(services)["changed"] == 1
    assert services.hub.counts()["owed"] == 1
    reader.takes, reader.got = 200, []
    advance(services, DELAYS[0])
    assert hub.tick(services)["delivered"] == 1
    assert "示例甲" in reader.got[0][2].decode() and "示例乙" in reader.got[0][2].decode()
    assert services.hub.counts()["owed"] == 0


def test_leaving_is_verified_too(services: Services, browser: TestClient, reader: Subscriber) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    reader.says = b"no"
    browser.post("/hub", data=wanting(reader.url(), mode="unsubscribe"))
    assert services.hub.counts()["subscribers"] == 1
    reader.says = None
    browser.post("/hub", data=wanting(reader.url(), mode="unsubscribe"))
    assert reader.asked[-1]["hub.mode"] == "unsubscribe"
    assert "hub.lease_seconds" not in reader.asked[-1]
    assert services.hub.counts()["subscribers"] == 0


def test_a_lease_ends_and_a_renewal_takes_a_new_secret(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url(), lease_seconds="7200"))
    browser.post("/hub", data=wanting(reader.url(), lease_seconds="86400", secret="another"))
    assert services.hub.counts()["subscribers"] == 1
    advance(services, timedelta(hours=3))
    publish(services, "a", "示例甲")
    assert hub.tick(services)["delivered"] == 1
    _, headers, body = reader.got[0]
    assert headers["x-hub-signature"].endswith(hmac.new(b"another", body, "sha256").hexdigest())
    advance(services, DAY)
    publish(services, "b", "示例乙")
    assert hub.tick(services)["delivered"] == 0
    assert services.hub.counts() == {"subscribers": 0, "topics": 0, "owed": 0, "asked": 0}


def test_what_changes_while_an_intent_is_verified_is_owed(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url("/first")))
    (request,) = _asked(services, reader.url("/second"))
    before = hub._Feeds(services).etag(request.wish.topic)
    publish(services, "a", "示例甲")
    assert hub.follow(services) == 1  # the first one alone
    services.hub.confirm(request, etag=before, at=NOW)
    assert hub.distribute(services)["delivered"] == 2
    assert hub.tick(services)["delivered"] == 0


def _asked(services: Services, callback: str) -> list[Any]:
    hub.ask(services, wanting(callback))
    return services.hub.due_requests(NOW)


# -- bad subscribers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/f/AAAAAAAAAAAAAAAAAAAAAAAA.atom", "/feeds/search.atom?q=x", "/notices/1", "/feeds/all"]
)
def test_what_is_no_public_feed_is_denied_and_nothing_is_called(
    services: Services, browser: TestClient, reader: Subscriber, path: str
) -> None:
    answer = browser.post("/hub", data=wanting(reader.url(), path))
    assert answer.status_code == 403
    assert "AAAA" not in answer.text
    assert reader.asked == [] and services.hub.counts()["asked"] == 0


def test_a_feed_of_nobody_is_denied_to_its_subscriber(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    assert browser.post("/hub", data=wanting(reader.url(), "/feeds/theme/9999.atom")).status_code == 202
    assert [asked["hub.mode"] for asked in reader.asked] == ["subscribe", "denied"]
    assert services.hub.counts()["subscribers"] == 0


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"says": b"not the challenge"}, 0),
        ({"says": b""}, 0),
        ({"verifies": 404}, 0),
        ({"verifies": 302, "extra": {"Location": "http://169.254.169.254/"}}, 0),
        ({"verifies": 503}, 1),
    ],
)
def test_an_intent_that_is_not_confirmed_is_none(
    services: Services, browser: TestClient, reader: Subscriber, changes: dict[str, Any], left: int
) -> None:
    vars(reader).update(changes)
    browser.post("/hub", data=wanting(reader.url()))
    assert services.hub.counts() == {"subscribers": 0, "topics": 0, "owed": 0, "asked": left}
    assert len(reader.asked) == 1
    for wait in ASK_AGAIN:
        advance(services, wait)
        assert hub.verify_due(services) == 0
    assert len(reader.asked) == 1 + left * len(ASK_AGAIN)
    assert services.hub.counts()["asked"] == 0


def test_addresses_inside_are_never_called(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    for place in ("http://127.0.0.1:1/x", "http://169.254.169.254/x", "http://[::1]/x", "http://10.0.0.1/x"):
        assert browser.post("/hub", data=wanting(place)).status_code == 202
    assert services.hub.counts() == {"subscribers": 0, "topics": 0, "owed": 0, "asked": 0}


def test_one_that_is_gone_ends_at_once(services: Services, browser: TestClient, reader: Subscriber) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    publish(services, "a", "示例甲")
    reader.takes = 410
    assert hub.tick(services)["ended"] == 1
    assert services.hub.counts()["subscribers"] == 0


def test_one_that_fails_is_tried_at_fixed_times_and_then_given_up(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url(), lease_seconds="2592000"))
    publish(services, "a", "示例甲")
    reader.takes = 500
    assert hub.follow(services) == 1
    for number, wait in enumerate((*DELAYS, timedelta()), start=1):
        assert hub.distribute(services) == {
            "delivered": 0,
            "failed": int(number < MOST_FAILURES),
            "ended": int(number == MOST_FAILURES),
        }
        assert hub.distribute(services)["failed"] == 0  # not before its time
        advance(services, wait)
    assert len(reader.got) == MOST_FAILURES
    assert services.hub.counts()["subscribers"] == 0


def test_patience_is_granted_where_it_is_asked_for(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    publish(services, "a", "示例甲")
    reader.takes, reader.extra = 429, {"Retry-After": "7200"}
    assert hub.tick(services)["failed"] == 1
    reader.takes, reader.extra = 200, {}
    advance(services, timedelta(minutes=119))
    assert hub.tick(services)["delivered"] == 0
    advance(services, timedelta(minutes=1))
    assert hub.tick(services)["delivered"] == 1


def test_a_redirect_takes_the_content_nowhere(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    publish(services, "a", "示例甲")
    reader.takes, reader.extra = 307, {"Location": reader.url("/elsewhere")}
    assert hub.tick(services)["failed"] == 1
    assert [path for path, _, _ in reader.got] == ["/hook"]


def test_there_is_room_for_so_many_and_no_more(
    services: Services, browser: TestClient, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.hub_store.MOST_OF_HOST", 2)
    monkeypatch.setattr("delivery.hub_store.MOST_ASKED_OF_HOST", 1)
    for number in range(2):
        assert browser.post("/hub", data=wanting(reader.url(f"/{number}"))).status_code == 202
    assert browser.post("/hub", data=wanting(reader.url("/3"))).status_code == 429
    assert browser.post("/hub", data=wanting(reader.url("/0"))).status_code == 202  # a renewal
    reader.verifies = 503
    assert browser.post("/hub", data=wanting(reader.url("/0"))).status_code == 202
    assert browser.post("/hub", data=wanting(reader.url("/1"))).status_code == 429


def test_one_clients_requests_are_limited(
    services: Services, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.routes.hub._MOST_ASKED", 3)
    assert [browser.post("/hub", data={}).status_code for _ in range(4)] == [400, 400, 400, 429]


# -- settings --------------------------------------------------------------------------------------------


def test_without_a_hub_there_is_none(sqlite: Database, tmp_path: Path) -> None:
    made = make(sqlite, tmp_path, MYCITY_HUB_URL="none")
    with TestClient(create_app(made), base_url="http://testserver") as client:
        assert client.post("/hub", data={}).status_code == 404
        assert client.get("/hub").status_code == 404
    assert (hub.hub_url(made), hub.tick(made)) == ("", {})


def test_an_external_hub_is_told_of_every_feed_that_changed(
    sqlite: Database, tmp_path: Path, reader: Subscriber
) -> None:
    made = make(sqlite, tmp_path, reader.place, MYCITY_HUB_URL=reader.url("/hub"))
    publish(made, "old", "示例旧")
    assert hub.tick(made) == {"changed": 0, "pinged": 0}  # the first look announces nothing
    publish(made, "new", "示例新")
    reader.takes = 503
    assert hub.tick(made)["pinged"] == 0
    reader.got.clear()
    reader.takes = 204
    advance(made, DELAYS[0])
    told = hub.tick(made)["pinged"]
    urls = [url for _, _, body in reader.got for url in parse_qs(body.decode())["hub.url"]]
    assert len(urls) == len(set(urls)) == told
    for path in (
        "all.atom",
        "all.rss?lang=en",
        "theme/10.json",
        "role/citizen.atom",
        "place/sl01.rss",
        "place/sl.atom",
    ):
        assert f"http://testserver/feeds/{path}" in urls
    assert not any("/f/" in url or "search" in url or "alerts" in url for url in urls)
    assert {parse_qs(body.decode())["hub.mode"][0] for _, _, body in reader.got} == {"publish"}
    reader.got.clear()
    assert hub.tick(made) == {"changed": 0, "pinged": 0} and reader.got == []


# -- dying in the middle ---------------------------------------------------------------------------------


def test_dying_between_the_announcement_and_its_mark_tells_nobody_twice(
    services: Services, browser: TestClient, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    publish(services, "a", "示例甲")
    with monkeypatch.context() as patch:
        patch.setattr(HubStore, "set_mark", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hub.tick(services)
    assert services.hub.counts()["owed"] == 1
    assert hub.tick(services)["delivered"] == 1
    assert hub.tick(services)["delivered"] == 0
    assert len(reader.got) == 1


_VICTIM = """
import sys
from pathlib import Path
from api.jobs import hub
from tests.integration.test_hub_server import make
from feeds.kernel.db import Database
made = make(Database(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
print(hub.tick(made), flush=True)
"""


def test_kill_9_while_sending_loses_nothing(
    services: Services, browser: TestClient, reader: Subscriber
) -> None:
    browser.post("/hub", data=wanting(reader.url()))
    publish(services, "a", "示例甲")
    reader.hold = threading.Event()
    arguments = [services.database.url, str(services.settings.home), reader.place]
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, *arguments], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert within(lambda: bool(reader.got), 20)
        os.kill(victim.pid, signal.SIGKILL)
    finally:
        victim.wait(10)
        assert victim.stdout is not None
        victim.stdout.close()
    reader.hold.set()
    reader.hold = None
    assert services.hub.counts()["owed"] == 1
    assert hub.tick(services)["delivered"] == 0  # still in the dead one's hands
    advance(services, LEASE)
    assert hub.tick(services)["delivered"] == 1
    assert services.hub.counts()["owed"] == 0
    (_, _, first), (_, _, second) = reader.got
    assert first == second
    advance(services, LEASE)
    assert hub.tick(services)["delivered"] == 0


def within(check: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# -- the store, on both databases ------------------------------------------------------------------------


def test_the_store(database: Database) -> None:
    store = HubStore(database, KEY.encode())
    base, at = "https://city.example", NOW
    form = {"hub.mode": "subscribe", "hub.topic": f"{base}/feeds/all.atom", "hub.secret": "s"}
    for name in "abc":
        store.ask(read_wish(form | {"hub.callback": f"https://{name}.example/x"}, base), at=at)
    requests = store.due_requests(at)
    assert store.due_requests(at) == []  # in hand
    assert {request.wish.secret for request in requests} == {"s"}
    with database.read() as connection:
        assert b"\x00s" not in bytes(
            connection.exec_driver_sql("SELECT sealed FROM hub_request").fetchone()[0]
        )
    replaced = replace(requests[0].wish, secret="newer")
    store.ask(replaced, at=at)
    store.drop(requests[0])  # the older one; the newer stays
    assert store.counts()["asked"] == 3
    (newer,) = store.due_requests(at)
    for request in (newer, *requests[1:]):
        store.confirm(request, etag="one", at=at)
    assert store.counts() == {"subscribers": 3, "topics": 1, "owed": 0, "asked": 0}
    (topic,) = store.topics(at)
    assert topic == (f"{base}/feeds/all.atom", "one")
    assert store.announce(topic[0], old="one", new="two", at=at) == 3
    assert store.announce(topic[0], old="one", new="two", at=at) == 0  # another process was faster
    claimed = store.claim(at, limit=2, per_host=1)
    assert [owed.secret for owed in claimed] == ["newer", "s"] or len(claimed) == 2
    (third,) = store.claim(at, limit=9, per_host=1)
    assert store.claim(at, limit=9, per_host=1) == []
    store.took(third, etag="two", at=at)
    assert store.counts()["owed"] == 2
    # A change while it is being sent: the newer state is owed at once.
    assert store.announce(topic[0], old="two", new="three", at=at) == 3
    store.took(claimed[0], etag="two", at=at)
    again = {owed.subscriber_id: owed for owed in store.claim(at, limit=9, per_host=9)}
    assert set(again) == {third.subscriber_id, claimed[0].subscriber_id}
    assert again[claimed[0].subscriber_id].sent_etag == "two"
    store.failed(claimed[1], due_at=at)
    late = store.claim(at + LEASE, limit=9, per_host=9)
    assert {owed.failures for owed in late} == {0, 1}
    # A sender whose lease ran out changes nothing any more.
    store.end(claimed[1])
    store.failed(claimed[1], due_at=at)
    assert store.counts()["subscribers"] == 3
    for owed in late:
        store.end(owed)
    assert store.counts()["subscribers"] == store.counts()["owed"] == 0
    store.trim(at)
    assert store.topics(at) == []
    store.set_mark((3, 4), ["t1", "t2", "t1"], at=at)
    assert store.mark() == (3, 4)
    pings = store.due_pings(at)
    assert [ping.topic for ping in pings] == ["t1", "t2"] and store.due_pings(at) == []
    store.set_mark((5, 4), ["t1"], at=at)  # changes again while it is being told
    store.pinged(pings)
    assert [ping.topic for ping in store.due_pings(at)] == ["t1"]


def test_too_many_requests_are_refused(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.hub_store.MOST_ASKED", 2)
    store, base = HubStore(sqlite, KEY.encode()), "https://city.example"
    form = {"hub.mode": "subscribe", "hub.topic": f"{base}/feeds/all.atom"}
    for name in "ab":
        store.ask(read_wish(form | {"hub.callback": f"https://{name}.example/x"}, base), at=NOW)
    with pytest.raises(Refused):
        store.ask(read_wish(form | {"hub.callback": "https://c.example/x"}, base), at=NOW)


# -- our own subscriber as the other side ----------------------------------------------------------------


@contextmanager
def running(app: Any, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert within(lambda: server.started, 20)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def test_one_city_listens_to_another(tmp_path: Path, _sqlite_template: Path) -> None:
    import shutil

    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
    bases = [f"http://127.0.0.1:{port}" for port in ports]
    databases = []
    for name in ("here", "there"):
        shutil.copy(_sqlite_template, tmp_path / f"{name}.db")
        databases.append(Database(f"sqlite:///{tmp_path / name}.db"))
    places = [base.removeprefix("http://") for base in bases]
    here = make(databases[0], tmp_path, *places, base=bases[0])
    there = make(databases[1], tmp_path, *places, base=bases[1])
    publish(here, "old", "示例旧通知")
    with running(FeedPath(here, create_app(here)), ports[0]), running(create_app(there), ports[1]):
        url = f"{bases[0]}/feeds/all.atom"
        source = there.sources.add(slug="here", name="示例邻市", url=url, at=NOW)
        there.ingestor.poll(source, there.client())
        found = there.sources.get(source.id)
        assert (found.hub, found.topic) == (f"{bases[0]}/hub", url)
        assert subscribe_due(there)["asked"] == 1
        assert within(lambda: here.hub.counts()["subscribers"] == 1)
        assert there.websub.active(NOW) == {source.id}
        publish(here, "new", "示例新通知")
        assert hub.tick(here)["delivered"] == 1

        def titles() -> set[str]:
            return {item.content.title for item in there.notices.latest(NoticeFilter(), limit=9)}

        assert within(lambda: "【示例】示例新通知" in titles())
        have = there.websub.of(source.id)
        assert have is not None and have.last_push_at == NOW and have.last_error == ""
        # It leaves without a word: its next answer is 410, and it is never called again.
        there.websub.ended(source.id, at=NOW)
        publish(here, "newest", "示例最新")
        assert hub.tick(here)["ended"] == 1
    for database in databases:
        database.close()
