"""The guarded client against servers that mean harm or have lost their wits, and against names that lie."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from feeds.kernel.errors import BlockedAddressError, FetchError, UsageError
from feeds.kernel.http import GuardedClient, Hop, HostBusyError, HostGate, HttpStatusError, Timeouts, hops_of
from feeds.kernel.time import FixedClock
from tests.hostile import BEHAVIOURS, FEED, Authority, Hostile, hostile, redirects


@pytest.fixture
def bad() -> Iterator[Hostile]:
    with hostile() as server:
        yield server


HURRIED = Timeouts(connect=0.3, read=0.25, total=0.5)


def wary(server: Hostile, **options: object) -> GuardedClient:
    """A client with small caps; patient enough for a busy machine unless told to hurry."""
    return GuardedClient(
        user_agent="MyCity/test (+mailto:it@example.org)",
        allow_private=[server.place],
        max_wire=200_000,
        max_body=1_000_000,
        clock=FixedClock(datetime(2026, 10, 12, 8, tzinfo=UTC)),
        **{"timeouts": Timeouts(connect=5, read=5, total=10), **options},  # type: ignore[arg-type]
    )


GOOD = {"/feed": FEED, "/br": FEED, "/empty": b"", "/long": b"abc", "/moved-1": FEED, "/moved-2": FEED,
        "/html": b"<!DOCTYPE html><h1>502 Bad Gateway</h1>"}  # fmt: skip
BAD = {
    "/silence": "did not answer in time: nothing came for 0.25 seconds",
    "/slow-header": "did not answer in time: it was not finished after 0.5 seconds altogether",
    "/slow-body": "did not answer in time: it was not finished after 0.5 seconds altogether",
    "/slow-chunks": "did not answer in time: it was not finished after 0.5 seconds altogether",
    "/continue-for-ever": "did not answer in time: it was not finished after 0.5 seconds altogether",
    "/stalls": "did not answer in time: nothing came for 0.25 seconds",
    "/endless": "sends more than 200000 bytes",
    "/endless-chunks": "sends more than 200000 bytes",
    "/announces-much": "announces 99999999999 bytes; at most 200000 are read",
    "/gzip-bomb": "unpacks to more than 1000000 bytes",
    "/br-bomb": "unpacks to more than 1000000 bytes",
    "/huge-headers": "does not speak HTTP properly (Receive buffer too long",
    "/huge-header": "does not speak HTTP properly (Receive buffer too long",
    "/short": "broke off after 3 bytes (peer closed connection without sending complete message body",
    "/two-lengths": "does not speak HTTP properly (conflicting Content-Length headers",
    "/negative-length": "does not speak HTTP properly (bad Content-Length",
    "/hangs-up": "hung up without an answer",
    "/half-header": "hung up without an answer",
    "/reset": "broke off after 3 bytes (Connection reset by peer)",
    "/reset-at-once": "hung up without an answer (Connection reset by peer)",
    "/garbage-status": "does not speak HTTP properly (illegal status line",
    "/binary": "does not speak HTTP properly (",
    "/garbage-chunks": "broke off after 0 bytes (illegal chunk header",
    "/cut-chunks": "broke off after 5 bytes (peer closed connection",
    "/not-gzip": "is packed, but damaged",
    "/not-br": "is packed, but damaged",
    "/cut-br": "is packed and ends too early",
    "/stacked": "is packed 2 times ('gzip, br'), which was not asked for",
    "/stacked-lines": "is packed 2 times ('gzip, gzip'), which was not asked for",
    "/unknown-packing": "is packed as 'zstd', which was not asked for",
    "/loop": "redirects more than 5 times",
    "/nowhere": "redirects to no address",
    "/to-loopback": "uses port 9, which is not allowed",
    "/no-content": "answered 204 instead of 200",
    "/unasked-304": "answered 304 instead of 200",
    "/switch": "does not speak HTTP properly (Received server _SWITCH_UPGRADE",
    "/echo": "answered 202 instead of 200",
    "/keeps-307": "answered 202 instead of 200",
    "/keeps-308": "answered 202 instead of 200",
    "/drops-303": "answered 202 instead of 200",
    "/gone": "answered 410 instead of 200; it is gone for good",
    "/too-often": "answered 429 instead of 200; it wants to be asked less often, in 120 seconds",
    "/later": "answered 503 instead of 200; it is out of service for now",
    "/drips-404": "answered 404 instead of 200; nothing is there",
}


def hurry(path: str) -> dict[str, object]:
    return {"timeouts": HURRIED} if "in time" in BAD[path] else {}


def test_every_misbehaviour_is_tried() -> None:
    assert not set(GOOD) & set(BAD) and {*GOOD, *BAD} == set(BEHAVIOURS)


@pytest.mark.parametrize("path", BAD)
def test_every_misbehaviour_ends_soon_in_one_sentence(bad: Hostile, path: str) -> None:
    started, trace = time.monotonic(), list[Hop]()
    with pytest.raises(FetchError) as caught:
        wary(bad, **hurry(path)).get(bad.url(path), trace=trace)
    assert time.monotonic() - started < 5
    sentence = str(caught.value)
    assert BAD[path] in sentence and bad.place in sentence
    assert sentence.endswith(".") and "\n" not in sentence and ". " not in sentence and len(sentence) < 400
    assert hops_of(caught.value) == tuple(trace)
    assert [hop.url for hop in trace][:1] == [bad.url(path)]
    assert all(hop.address == "127.0.0.1" and 0 <= hop.seconds < 5 for hop in trace)


@pytest.mark.parametrize("path", GOOD)
def test_what_only_looks_odd_is_an_answer(bad: Hostile, path: str) -> None:
    """An announced length that is too small ends the body there, as for every HTTP client."""
    assert wary(bad).get(bad.url(path)).body == GOOD[path]


def test_one_bad_source_among_good_ones_stops_nobody(bad: Hostile) -> None:
    guarded = wary(bad, gate=HostGate(max_concurrent=100), timeouts=Timeouts(total=2))

    def ask(path: str) -> bytes | str:
        try:
            return guarded.get(bad.url(path)).body
        except FetchError as error:
            return str(error)

    paths = [path for path in BAD if "bomb" not in path and not hurry(path)] + ["/feed"] * 40
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(ask, paths))
    assert found.count(FEED) == 40


def test_an_unwelcome_status_keeps_what_helps(bad: Hostile) -> None:
    caught: dict[str, HttpStatusError] = {}
    for path in ("/gone", "/too-often", "/later"):
        with pytest.raises(HttpStatusError) as error:
            wary(bad).get(bad.url(path))
        caught[path] = error.value
    assert (caught["/gone"].status, caught["/gone"].retry_after, caught["/gone"].body) == (410, None, b"gone")
    assert (caught["/too-often"].retry_after, caught["/later"].retry_after) == (120.0, 3600.0)
    assert caught["/later"].body == b"<h1>later</h1>" and "retry-after" in caught["/later"].headers


def test_hops_tell_the_way(bad: Hostile) -> None:
    answer_ = wary(bad).get(bad.url("/moved-1"))
    assert [(hop.url, hop.status, hop.address, hop.tls) for hop in answer_.hops] == [
        (bad.url("/moved-1"), 301, "127.0.0.1", None),
        (bad.url("/moved-2"), 308, "127.0.0.1", None),
        (bad.url("/feed"), 200, "127.0.0.1", None),
    ]
    assert answer_.moved_to == bad.url("/feed")


# POST


def test_post_sends_a_form_or_json(bad: Hostile) -> None:
    hub = wary(bad).post(
        bad.url("/echo"), form={"hub.mode": "subscribe", "hub.topic": "http://示例/?a=1&b", "x": [1, 2]}
    )
    assert (hub.status, hub.headers["x-method"]) == (202, "POST")
    assert hub.body == b"hub.mode=subscribe&hub.topic=http%3A%2F%2F%E7%A4%BA%E4%BE%8B%2F%3Fa%3D1%26b&x=1&x=2"
    assert b"Content-Type: application/x-www-form-urlencoded" in bad.headers[-1]
    page = wary(bad).post(bad.url("/echo"), json={"页": 1})
    assert page.body == '{"页": 1}'.encode() and b"Content-Type: application/json" in bad.headers[-1]
    assert wary(bad).post(bad.url("/no-content"), form={}).body == b""
    assert wary(bad).post(bad.url("/feed"), json=[]).body == FEED


def test_post_accepts_what_it_is_told(bad: Hostile) -> None:
    with pytest.raises(HttpStatusError, match="answered 202 instead of one of 200, 204"):
        wary(bad).post(bad.url("/echo"), form={"a": "b"}, allowed=(200, 204))
    with pytest.raises(HttpStatusError, match="answered 410"):
        wary(bad).post(bad.url("/gone"), form={"a": "b"})
    with pytest.raises(UsageError):
        wary(bad).post(bad.url("/echo"), form={}, json={})


def test_post_keeps_its_body_through_a_redirect_or_is_refused(bad: Hostile) -> None:
    for path in ("/keeps-307", "/keeps-308"):
        assert wary(bad).post(bad.url(path), form={"a": "b"}).body == b"a=b"
        assert bad.asked[-1].startswith("POST /echo")
    for path in ("/drops-303", "/moved-1", "/loop"):
        asked = len(bad.asked)
        with pytest.raises(FetchError, match=r"redirect 30\d, which would drop what was sent"):
            wary(bad).post(bad.url(path), form={"a": "b"})
        assert len(bad.asked) == asked + 1


def test_post_is_guarded(bad: Hostile) -> None:
    with pytest.raises(BlockedAddressError):
        GuardedClient(user_agent="t", allowed_ports=[bad.port]).post(bad.url("/echo"), form={})
    assert bad.asked == []


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_tls_and_what_is_known_of_it(authority: Authority) -> None:
    with hostile(tls=authority.server()) as server:
        answer_ = wary(server, tls=authority.trusting()).get(server.url("/feed"))
    (hop,) = answer_.hops
    assert answer_.body == FEED and hop.tls
    assert (hop.tls.version, hop.tls.name) == ("TLSv1.3", "127.0.0.1")
    assert hop.tls.valid_until and hop.tls.valid_until > datetime.now(UTC)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"self_signed": True}, "it is signed by itself only"),
        ({"days": -1}, "it has expired"),
        ({"host": "127.0.0.2"}, "it stands for another address"),
        ({"host": "other.example"}, "it stands for another address"),
    ],
)
def test_a_bad_certificate_is_refused_and_named(
    authority: Authority, options: dict[str, object], part: str
) -> None:
    with (
        hostile(tls=authority.server(**options)) as server,  # type: ignore[arg-type]
        pytest.raises(FetchError, match=f"its certificate is not accepted: {part}; its owner") as caught,
    ):
        wary(server, tls=authority.trusting()).get(server.url("/feed"))
    assert server.asked == [] and hops_of(caught.value)[0].status == 0


def test_the_name_in_a_certificate_counts(authority: Authority) -> None:
    with hostile(tls=authority.server("right.example")) as server:
        place = f"wrong.example:{server.port}"
        guarded = GuardedClient(
            user_agent="t", allow_private=[place, f"right.example:{server.port}"], tls=authority.trusting(),
            resolve=lambda host, port: ["127.0.0.1"],
        )  # fmt: skip
        assert guarded.get(f"https://right.example:{server.port}/feed").hops[0].tls.name == "right.example"  # type: ignore[union-attr]
        with pytest.raises(FetchError, match="it stands for another name"):
            guarded.get(f"https://{place}/feed")


def test_an_authority_that_the_machine_does_not_know(authority: Authority) -> None:
    with (
        hostile(tls=authority.server()) as server,
        pytest.raises(FetchError, match="its authority is unknown here"),
    ):
        wary(server).get(server.url("/feed"))


@pytest.mark.parametrize(
    ("rubbish", "part"),
    [(b"SSH-2.0-OpenSSH_9.2\r\n" * 9, "TLS does not come about"), (b"", "no connection within 0.3 seconds")],
)
def test_tls_handshake_rubbish(rubbish: bytes, part: str) -> None:
    with hostile(rubbish=rubbish) as server, pytest.raises(FetchError, match=part):
        wary(server, timeouts=HURRIED).get(server.url("/feed"))


def test_a_post_is_not_redirected_into_the_open(authority: Authority, bad: Hostile) -> None:
    with hostile(tls=authority.server()) as server:
        server.routes["/hub"] = redirects(307, bad.url("/echo"))
        guarded = GuardedClient(
            user_agent="t", allow_private=[server.place, bad.place], tls=authority.trusting()
        )
        with pytest.raises(FetchError, match="redirects a POST to plain http"):
            guarded.post(server.url("/hub"), form={"hub.secret": "s"})
    assert bad.asked == []


# The open Internet, played: the public address leads to the loopback server


@pytest.fixture
def outside(bad: Hostile, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Diverts connections to 93.184.216.34 to the hostile server; gives every address that was dialled."""
    dialled: list[tuple[str, int]] = []
    connect = socket.socket.connect

    def divert(self: socket.socket, address: tuple[str, int]) -> None:
        dialled.append(address[:2])
        connect(self, ("127.0.0.1", bad.port) if address[0] == "93.184.216.34" else address)

    monkeypatch.setattr(socket.socket, "connect", divert)
    return dialled


def test_a_public_source_is_fetched_and_may_not_redirect_inwards(
    bad: Hostile, outside: list[tuple[str, int]]
) -> None:
    names = {
        "public.example": ["93.184.216.34"],
        "inward.example": ["10.0.0.1"],
        "local.example": ["127.0.0.1"],
    }
    guarded = wary(bad, resolve=lambda host, port: names[host])
    assert guarded.get("http://public.example/feed").body == FEED
    targets = [
        *("http://127.0.0.1/", "http://10.0.0.1/", "http://inward.example/", "http://local.example/"),
        *(f"http://{bad.place}/feed", "http://169.254.169.254/latest/meta-data/", "http://[::1]/"),
        *("http://[::ffff:127.0.0.1]/", "//127.0.0.1/", "http://[64:ff9b::7f00:1]/", "file:///etc/passwd"),
    ]
    for target in targets:
        bad.routes["/feed"] = redirects(302, target)
        outside.clear()
        with pytest.raises(BlockedAddressError) as caught:
            guarded.get("http://public.example/feed")
        assert "MYCITY_ALLOW_PRIVATE" not in str(caught.value)  # no advice to let an attacker in
        assert outside == [("93.184.216.34", 80)]


INNER = """
    127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 017700000001 0 0.0.0.0 ①②⑦.⓪.⓪.①
    127。0。0。1 １２７.0.0.1 localhost LOCALHOST localhost. 169.254.169.254 100.64.0.1 192.0.0.8 10.0.0.1
    172.16.0.1 192.168.0.1 224.0.0.1 255.255.255.255 127.0.0.1%00.example
    [::] [::1] [::127.0.0.1] [0:0::0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:0:7f00:1] [64:ff9b::7f00:1]
    [64:ff9b:1::1] [2002:7f00:1::] [fe80::1] [fe80::1%25lo] [fe80::1%lo] [fc00::1] [ff02::1] [2001:db8::1]
    [2001::1]
"""


@pytest.mark.parametrize("host", INNER.split())
def test_no_notation_of_an_inner_address_gets_through(host: str, outside: list[tuple[str, int]]) -> None:
    """With the machine's own resolver: what it makes of a notation is checked, not how it is written."""
    for scheme in ("http", "https"):
        with pytest.raises(FetchError) as caught:
            GuardedClient(user_agent="t", timeouts=Timeouts(total=5)).get(f"{scheme}://{host}/")
        assert isinstance(caught.value, BlockedAddressError) or "is not known" in str(caught.value)
    assert outside == []


@pytest.mark.parametrize(
    "listed",
    [
        "127.0.0.1",
        "127.0.0.1:80",
        "localhost:{port}",
        "127.0.0.1:{port}1",
        "*:{port}",
        "127.1:{port}",
        ":{port}",
        "",
    ],
)
def test_the_list_of_intranet_sources_is_exact(bad: Hostile, listed: str) -> None:
    with pytest.raises(BlockedAddressError):
        GuardedClient(user_agent="t", allow_private=[listed.format(port=bad.port)]).get(bad.url("/feed"))
    assert bad.asked == []


def test_a_name_that_changes_its_mind_gains_nothing(bad: Hostile, outside: list[tuple[str, int]]) -> None:
    """The address that was checked is the one dialled; a second answer of the name is checked again."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]])
    guarded = wary(bad, resolve=lambda host, port: next(answers))
    assert guarded.get("http://rebind.example/feed").hops[0].address == "93.184.216.34"
    assert outside == [("93.184.216.34", 80)]
    for _ in range(2):
        with pytest.raises(BlockedAddressError, match=r"rebind\.example leads to 127\.0\.0\.1"):
            guarded.get("http://rebind.example/feed")
    assert len(outside) == 1


def test_a_name_may_not_change_its_mind_between_redirects(
    bad: Hostile, outside: list[tuple[str, int]]
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    guarded = wary(bad, resolve=lambda host, port: next(answers))
    with pytest.raises(BlockedAddressError, match=r"leads to 127\.0\.0\.1") as caught:
        guarded.get("http://rebind.example/loop")
    assert [(hop.status, hop.address) for hop in hops_of(caught.value)] == [(302, "93.184.216.34"), (0, "")]


def test_the_next_address_of_a_name_is_tried(bad: Hostile, outside: list[tuple[str, int]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    place = f"two.example:{bad.port}"
    guarded = GuardedClient(
        user_agent="t", allow_private=[place], resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"]
    )
    assert guarded.get(f"http://{place}/feed").hops[0].address == "127.0.0.1"
    guarded = GuardedClient(
        user_agent="t",
        allow_private=[f"two.example:{closed}"],
        resolve=lambda h, p: ["127.0.0.2", "127.0.0.1"],
    )
    with pytest.raises(FetchError, match=r"nobody listens on 127\.0\.0\.1"):
        guarded.get(f"http://two.example:{closed}/")


def test_the_refusal_says_what_to_put_where_and_that_works(bad: Hostile) -> None:
    with pytest.raises(BlockedAddressError) as caught:
        GuardedClient(user_agent="t").get(bad.url("/feed"))
    found = re.search(r"put (\S+) into MYCITY_ALLOW_PRIVATE", str(caught.value))
    assert found and found[1] == bad.place
    with pytest.raises(BlockedAddressError, match=f"is not public; .* put {bad.place} into"):
        GuardedClient(user_agent="t", allowed_ports=[bad.port]).get(bad.url("/feed"))
    assert GuardedClient(user_agent="t", allow_private=[found[1]]).get(bad.url("/feed")).body == FEED


def test_an_intranet_source_may_redirect_outwards_and_to_what_is_listed_only(
    bad: Hostile, outside: list[tuple[str, int]]
) -> None:
    guarded = wary(bad, resolve=lambda host, port: ["93.184.216.34"])
    bad.routes["/out"] = redirects(302, "http://public.example/feed")
    assert guarded.get(bad.url("/out")).body == FEED
    assert outside[-1] == ("93.184.216.34", 80)
    bad.routes["/in"] = redirects(302, "http://10.1.2.3/")
    with pytest.raises(BlockedAddressError, match=r"put 10\.1\.2\.3:80 into MYCITY_ALLOW_PRIVATE"):
        guarded.get(bad.url("/in"))


def test_an_intranet_source_by_its_ipv6_address() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        place = f"[::1]:{listener.getsockname()[1]}"
        server = Hostile(listener)
        threading.Thread(target=server.run, daemon=True).start()
        found = GuardedClient(user_agent="t", allow_private=[place.upper()]).get(f"http://{place}/feed")
        assert found.body == FEED and found.hops[0].address == "::1"
        with pytest.raises(BlockedAddressError, match=rf"put {re.escape(place)} into"):
            GuardedClient(user_agent="t").get(f"http://{place}/feed")
        listener.shutdown(socket.SHUT_RDWR)


# Turns


def test_the_gate_limits_what_one_host_gets(bad: Hostile) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def count(conn: socket.socket, _server: Hostile) -> None:
        nonlocal running, most
        with lock:
            running, most = running + 1, max(most, running + 1)
        time.sleep(0.02)
        with lock:
            running -= 1
        BEHAVIOURS["/feed"](conn, _server)

    bad.routes["/feed"] = count
    gate = HostGate(max_concurrent=2)
    with ThreadPoolExecutor(16) as pool:
        clients = [wary(bad, gate=gate, timeouts=Timeouts(total=10)) for _ in range(16)]
        found = list(pool.map(lambda each: each.get(bad.url("/moved-1")).body, clients))
    assert found == [FEED] * 16 and most <= 2 and gate.busy() == 0


def test_a_redirect_waits_for_its_own_host_while_holding_none() -> None:
    """Two hosts that redirect to each other, one turn each: nobody waits for ever."""
    with hostile() as one, hostile() as two:
        names = {"one.example": one.port, "two.example": two.port}
        for here, there, port in ((one, "two.example", two.port), (two, "one.example", one.port)):
            here.routes["/a"] = redirects(302, f"http://{there}:{port}/feed")
        guarded = GuardedClient(
            user_agent="t", gate=HostGate(max_concurrent=1), resolve=lambda host, port: ["127.0.0.1"],
            allow_private=[f"{name}:{port}" for name, port in names.items()], timeouts=Timeouts(total=10),
        )  # fmt: skip
        urls = [f"http://{name}:{port}/a" for name, port in names.items()] * 10
        with ThreadPoolExecutor(8) as pool:
            assert [each.body for each in pool.map(guarded.get, urls)] == [FEED] * 20


def test_a_turn_that_never_comes(bad: Hostile) -> None:
    gate = HostGate(max_concurrent=1)
    with (
        gate.turn("127.0.0.1", time.monotonic() + 1),
        pytest.raises(HostBusyError, match=r"127\.0\.0\.1 was not asked"),
    ):
        wary(bad, gate=gate, timeouts=Timeouts(total=0.1)).get(bad.url("/feed"))
    assert bad.asked == []
    assert wary(bad, gate=gate).get(bad.url("/feed")).body == FEED
