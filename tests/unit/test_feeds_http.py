"""What the guarded client refuses before a single packet leaves; no socket is opened here."""

from __future__ import annotations

import gzip
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import brotli
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.kernel.addresses import is_public_address
from feeds.kernel.answers import HttpStatusError, describe_status
from feeds.kernel.dialler import shared_tls
from feeds.kernel.errors import BlockedAddressError, FetchError
from feeds.kernel.http import GuardedClient, _next_hop, hops_of, retry_after
from feeds.kernel.inflate import inflate

NOW = datetime(2026, 10, 12, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "fe80::1",
        "fe80::1%eth0",
        "2a00::1%1",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "5f00::1",
        "",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "101.226.0.1",
        "223.255.255.254",
        "::ffff:8.8.8.8",
        "2001:4860:4860::8888",
        "2400:3200::1",
    ],
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize(("url", "part"), [
    ("ftp://example.org/a", "only http and https"),
    ("file:///etc/passwd", "only http and https"),
    ("gopher://example.org/", "only http and https"),
    ("javascript:alert(1)", "only http and https"),
    ("example.org/feed", "only http and https"),
    ("", "only http and https"),
    ("http:///path", "only http and https"),
    ("http://example.org:22/", "port 22"),
    ("https://example.org:8443/", "port 8443"),
    ("http://me:secret@example.org/", "name or password"),
    ("http://[::1/", "not a web address"),
])  # fmt: skip
def test_urls_that_are_not_called(url: str, part: str) -> None:
    client = GuardedClient(user_agent="test", resolve=lambda host, port: ["93.184.216.34"])
    with pytest.raises(BlockedAddressError, match=part) as caught:
        client.get(url)
    assert "secret" not in str(caught.value)


URLS = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"(https?|ftp)?:?/?/?([a-z0-9.@:%\[\]_-]|[^\x00-\x7f]){0,30}(:[0-9]{0,6})?([/?#].{0,20})?"),
)


@settings(max_examples=150, deadline=None)
@given(URLS)
def test_whatever_a_person_writes_is_refused_in_one_sentence(url: str) -> None:
    """Nothing but a name that was looked up can get further than this, and that leads inwards here."""
    client = GuardedClient(user_agent="test", resolve=lambda host, port: ["10.0.0.1"])
    with pytest.raises(BlockedAddressError) as caught:
        client.get(url)
    assert len(str(caught.value)) < 1000 and str(caught.value).endswith(".")


@settings(max_examples=150, deadline=None)
@given(URLS)
def test_whatever_a_server_redirects_to_is_an_address_or_one_sentence(location: str) -> None:
    try:
        there = _next_hop(httpx2.URL("https://a.example/b"), location, "GET", 302)
    except BlockedAddressError:
        return
    assert not there.fragment


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:192.168.0.1"], ["fe80::1%2"]]
)
def test_a_name_that_leads_inwards_is_blocked_even_if_it_also_leads_outwards(addresses: list[str]) -> None:
    client = GuardedClient(user_agent="test", resolve=lambda host, port: addresses)
    with pytest.raises(BlockedAddressError, match="not public"):
        client.get("http://innocent.example/feed")


def test_the_notation_of_an_address_does_not_matter() -> None:
    """``127.1`` and its like reach the resolver as names; what it says is checked, not the spelling."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    client = GuardedClient(user_agent="test", resolve=resolve)
    for host in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost"):
        with pytest.raises(BlockedAddressError):
            client.get(f"http://{host}/")
    assert len(asked) >= 4  # some are refused before anybody is asked


def test_an_unknown_name_is_one_sentence() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(
        FetchError, match=r"nowhere\.example.*cannot be reached.*Name or service not known"
    ) as caught:
        GuardedClient(user_agent="test", resolve=resolve).get("http://nowhere.example/")
    assert not isinstance(caught.value, BlockedAddressError)


def test_a_name_without_addresses() -> None:
    with pytest.raises(FetchError, match="has no address"):
        GuardedClient(user_agent="test", resolve=lambda host, port: []).get("http://nowhere.example/")


DATA = b"<rss/>" * 50_000


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", DATA),
        ("identity", DATA),
        ("gzip", gzip.compress(DATA)),
        ("GZIP", gzip.compress(DATA)),
        ("x-gzip", gzip.compress(DATA)),
        ("deflate", zlib.compress(DATA)),
        ("deflate", zlib.compress(DATA, wbits=-15)),
        ("gzip", gzip.compress(DATA[:100]) + gzip.compress(DATA[100:])),
        ("gzip", gzip.compress(DATA) + b"\0\0trailing"),
        ("br", brotli.compress(DATA)),
        ("identity, br", brotli.compress(DATA)),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1000])
def test_inflate(encoding: str, packed: bytes, size: int) -> None:
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(inflate(chunks, encoding)) == DATA


def test_inflate_gives_small_slices() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert max(map(len, inflate([bomb], "gzip"))) <= 64 * 1024


@pytest.mark.parametrize(
    ("encoding", "packed", "part"),
    [
        ("zstd", b"x", "not asked for"),
        ("gzip, br", b"x", "packed 2 times"),
        ("br", brotli.compress(DATA)[:-3], "too early"),
        ("br", b"\xff" * 100, "damaged"),
        ("gzip, gzip", b"x", "not asked for"),
        ("gzip", b"no gzip at all", "damaged"),
        ("gzip", gzip.compress(DATA)[:-20], "too early"),
    ],
)
def test_inflate_refuses(encoding: str, packed: bytes, part: str) -> None:
    with pytest.raises(FetchError, match=part):
        list(inflate([packed], encoding))


def test_inflate_of_nothing() -> None:
    assert b"".join(inflate([], "gzip")) == b""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("Mon, 12 Oct 2026 08:01:00 GMT", 60.0),
        ("Mon, 12 Oct 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("Mon, 99 Foo 99999 99:99:99 +9999999", None),
        ("9" * 400, 999999999.0),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


@given(st.text(max_size=40))
def test_retry_after_never_fails(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("status", "allowed", "wait", "sentence"),
    [
        (404, (200,), None, "answered 404 instead of 200; nothing is there, so check the address"),
        (404, (200, 304), None, "answered 404 instead of 200; nothing is there, so check the address"),
        (500, (200,), None, "answered 500 instead of 200; its server has trouble of its own"),
        (206, (200,), None, "answered 206 instead of 200"),
        (418, (200, 202), 60.0, "answered 418 instead of one of 200, 202, in 60 seconds at the earliest"),
    ],
)
def test_statuses_in_words(status: int, allowed: tuple[int, ...], wait: float | None, sentence: str) -> None:
    assert describe_status(status, allowed, wait) == sentence


def test_errors_of_others_have_no_hops() -> None:
    assert hops_of(FetchError("x.")) == () == hops_of(HttpStatusError("x.", 404))


def test_one_tls_context_for_the_process() -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({id(each) for each in pool.map(lambda _: shared_tls(), range(16))}) == 1
    assert shared_tls().check_hostname and shared_tls().verify_mode.name == "CERT_REQUIRED"


def test_brotli_gives_small_slices_and_all_of_them() -> None:
    pieces = list(inflate([brotli.compress(bytes(20_000_000), quality=3)], "br"))
    assert max(map(len, pieces)) <= 128 * 1024 and sum(map(len, pieces)) == 20_000_000


@pytest.mark.parametrize("cut", [0, 8])
def test_nothing_may_follow_the_end_of_a_brotli_body(cut: int) -> None:
    """However the network cuts it."""
    packed = brotli.compress(DATA) + b"trailing"
    with pytest.raises(FetchError, match="damaged"):
        list(inflate([packed[: len(packed) - cut], packed[len(packed) - cut :]], "br"))
    assert b"".join(inflate([], "br")) == b""
