"""Feeds with care: what caches may keep, odd headers, and a feed that ends while it is read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.feed_asgi import FeedPath
from api.jobs import joining
from api.wiring import Services
from feeds.kernel.errors import NotFoundError
from tests.factories import NOW, new_notice
from tests.integration.test_feed_path import Answer, ask, behind, joined, path, services

__all__ = ["joined", "path", "services"]  # fixtures
CAREFUL = {
    "cache-control": "no-store", "referrer-policy": "no-referrer", "x-robots-tag": "noindex",
    "x-content-type-options": "nosniff", "content-type": "text/plain; charset=utf-8",
}  # fmt: skip


def ask_lines(application: Any, url: str, *lines: tuple[str, str]) -> Answer:
    """Ask with several lines of one header."""
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(dict(message))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    raw = [(name.encode(), value.encode()) for name, value in lines]
    scope = {"type": "http", "method": "GET", "path": url, "headers": raw, "query_string": b""}
    asyncio.run(application(scope, receive, send))
    return Answer(messages)


def test_lines_of_one_header_are_one_list(path: FeedPath, joined: joining.Joined) -> None:
    url = f"/f/{joined.feed_token}"
    first = ask(path, f"{url}.json")
    for tags in (('"a"', first.headers["etag"]), (first.headers["etag"], '"b"')):
        lines = [("if-none-match", tag) for tag in tags]
        assert ask_lines(path, f"{url}.json", *lines).status == 304
    kinds = ("text/plain", "application/feed+json;q=0.9", "application/rss+xml;q=0.8")
    for some in (kinds, kinds[::-1]):
        found = ask_lines(path, url, *(("accept", kind) for kind in some))
        assert found.headers["content-type"].startswith("application/feed+json")


def test_a_page_of_an_archive_is_kept_no_longer_than_other_feeds(path: FeedPath, services: Services) -> None:
    services.notices.add([new_notice(f"n{n}", tags=("theme:04",)) for n in range(60)], at=NOW)
    found = ask(path, "/feeds/theme/04/archive/1.atom")
    again = ask(path, "/feeds/theme/04/archive/1.atom", if_none_match=found.headers["etag"])
    assert (found.status, again.status) == (200, 304)
    assert found.headers["cache-control"] == again.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("conditional", [False, True])
def test_a_feed_that_is_erased_while_it_is_read_is_the_one_404(
    path: FeedPath, joined: joining.Joined, monkeypatch: pytest.MonkeyPatch, conditional: bool
) -> None:
    def gone(profile_id: int) -> Any:
        raise NotFoundError(f"There is no profile {profile_id}.")

    monkeypatch.setattr(path.builder, "_decide", gone)
    asked = {"if_none_match": '"x"'} if conditional else {}
    found = ask(path, f"/f/{joined.feed_token}.atom", **asked)
    unknown = ask(FeedPath(path._services, behind), f"/f/{'x' * 32}.atom")
    assert found.status == unknown.status == 404
    assert (found.body, found.headers) == (unknown.body, unknown.headers)
    assert found.headers.items() >= CAREFUL.items()
