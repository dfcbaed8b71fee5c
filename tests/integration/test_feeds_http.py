"""The guarded client against a real server on the loopback interface."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from feeds.kernel.errors import BlockedAddressError, FetchError
from feeds.kernel.http import GuardedClient, HttpStatusError, Timeouts
from tests.loopback import Loopback, answer, serving, with_validators


@pytest.fixture
def web() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


def client(web: Loopback, **options: object) -> GuardedClient:
    return GuardedClient(user_agent="MyCity/test", allow_private=[web.place], **options)  # type: ignore[arg-type]


def test_a_plain_answer_and_what_was_sent(web: Loopback) -> None:
    web.routes["/feed"] = answer(200, b"hello", ETag='"1"', Content_Type="text/xml", Set_Cookie="a=b")
    guarded = client(web)
    for _ in range(2):
        got = guarded.get(web.url("/feed"), accept="text/xml")
    assert (got.status, got.body, got.headers["etag"], got.moved_to) == (200, b"hello", '"1"', "")
    assert web.asked[1][1] == {
        "host": web.place,
        "user-agent": "MyCity/test",
        "accept": "text/xml",
        "accept-encoding": "gzip, deflate, br",
        "connection": "close",
    }


def test_loopback_is_blocked_unless_allowed(web: Loopback) -> None:
    guarded = GuardedClient(user_agent="t", allowed_ports=(80, 443, web.port))
    with pytest.raises(BlockedAddressError, match="not public"):
        guarded.get(web.url("/feed"))
    with pytest.raises(BlockedAddressError):
        guarded.get(f"http://localhost:{web.port}/feed")
    assert web.asked == []


def test_the_environment_is_not_read(web: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web.routes["/feed"] = answer(200, b"x")
    assert client(web).get(web.url("/feed")).body == b"x"


def test_conditional_requests(web: Loopback) -> None:
    web.routes["/feed"] = with_validators(b"x", 'W/"7"')
    first = client(web).get(web.url("/feed"))
    second = client(web).get(
        web.url("/feed"), etag=first.headers["etag"], last_modified="Mon, 12 Oct 2026 08:00:00 GMT"
    )
    assert (second.status, second.body) == (304, b"")
    assert web.asked[1][1]["if-modified-since"] == "Mon, 12 Oct 2026 08:00:00 GMT"


def test_a_hostile_validator_is_not_sent(web: Loopback) -> None:
    web.routes["/feed"] = answer(200, b"x")
    client(web).get(web.url("/feed"), etag='"a\r\nX-Evil: 1"', last_modified="明天")
    assert not {"if-none-match", "if-modified-since", "x-evil"} & set(web.asked[0][1])


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 410, 429, 500, 503])
def test_other_statuses_are_errors(web: Loopback, status: int) -> None:
    web.routes["/feed"] = answer(status, Retry_After="60")
    with pytest.raises(HttpStatusError, match=f"answered {status} instead of 200") as caught:
        client(web).get(web.url("/feed"))
    assert (caught.value.status, caught.value.retry_after) == (status, 60.0)


def test_redirects(web: Loopback) -> None:
    web.routes |= {
        "/a": answer(301, Location="/b"),
        "/b": answer(308, Location=web.url("/feed")),
        "/feed": answer(200, b"x"),
        "/t": answer(301, Location="/u"),
        "/u": answer(302, Location="/feed"),
        "/loop": answer(302, Location="/loop"),
    }
    assert client(web).get(web.url("/a")).moved_to == web.url("/feed")
    passing = client(web).get(web.url("/t"))
    assert (passing.moved_to, passing.url) == ("", web.url("/feed"))
    web.asked.clear()
    with pytest.raises(FetchError, match="more than 5 times"):
        client(web).get(web.url("/loop"))
    assert len(web.asked) == 6


@pytest.mark.parametrize("target", [
    "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "file:///etc/passwd", "http://[::1]/", "http://x:y@8.8.8.8/",
    "http://[::ffff:7f00:1]/", "//127.0.0.1:22/", "http://8.8.8.8:25/",
])  # fmt: skip
def test_every_hop_is_checked(web: Loopback, target: str) -> None:
    web.routes["/a"] = answer(302, Location=target)
    with pytest.raises(BlockedAddressError):
        client(web).get(web.url("/a"))


def test_a_public_source_cannot_redirect_into_an_allowed_intranet_address(web: Loopback) -> None:
    """The name is public by its resolver, but the port is the test server's: it redirects to the intranet."""
    web.routes["/feed"] = answer(200, b"secret")
    with serving() as public:
        public.routes["/a"] = answer(302, Location=web.url("/feed"))
        guarded = GuardedClient(user_agent="t", allow_private=[web.place, public.place])
        assert guarded.get(public.url("/a")).body == b"secret"  # both are intranet: fine
        # A public start is played by an allowed port and a resolver that is only checked, not dialled.
        outside = GuardedClient(user_agent="t", allow_private=[web.place], allowed_ports=(public.port,))
        with pytest.raises(BlockedAddressError):
            outside.get(public.url("/a"))


def test_caps(web: Loopback) -> None:
    web.routes |= {
        "/big": answer(200, bytes(20_000)),
        "/bomb": answer(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
        "/gzip": answer(200, gzip.compress(b"x" * 5000), Content_Encoding="gzip"),
        "/endless": _endless,
    }
    guarded = client(web, max_wire=10_000, max_body=10_000)
    for path, part in (("/big", "announces 20000"), ("/endless", "sends more than"), ("/bomb", "announces")):
        with pytest.raises(FetchError, match=part):
            guarded.get(web.url(path))
    assert guarded.get(web.url("/gzip")).body == b"x" * 5000
    with pytest.raises(FetchError, match="unpacks to more than 10000 bytes"):
        client(web, max_body=10_000).get(web.url("/bomb"))


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1000))
    except OSError:
        pass


def test_a_resolver_that_hangs_does_not_hang_us() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(1)
        return []

    started = time.monotonic()
    with pytest.raises(FetchError, match="not resolved in time"):
        GuardedClient(user_agent="t", resolve=slow, timeouts=Timeouts(total=0.2)).get("http://slow.example/")
    assert time.monotonic() - started < 0.8


def test_nobody_listens() -> None:
    with serving() as web:
        place, url = web.place, web.url("/")
    with pytest.raises(FetchError, match=r"cannot be reached: nobody listens on 127\.0\.0\.1 port \d+"):
        GuardedClient(user_agent="t", allow_private=[place]).get(url)


def test_tls_is_not_spoken_by_a_plain_server(web: Loopback) -> None:
    with pytest.raises(FetchError, match=r"TLS does not come about .* whether the address should begin with"):
        client(web).get(f"https://{web.place}/")
