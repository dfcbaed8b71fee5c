"""The fast path: feed documents, answered in front of the web framework.

A conditional request costs one hash of the token, two small reads and no rendering: the answer is
memoised while (shelf version, material number, edit number) stand. Everything else goes to the
application behind. Impressions are buffered in memory and never written on a 304.
Called by uvicorn through ``api.web``/``api.ops.cli``.
"""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote

from anyio import to_thread

from api.impressions import Impressions, Shown
from api.views import PublicFeed, personal_feed, public_feed
from api.wiring import Services
from delivery.conditional import RENDERER_VERSION, etag, not_modified
from delivery.jsonfeed import render_json
from delivery.syndication import render_atom, render_rss
from delivery.types import FeedView
from feeds.kernel.errors import NotFoundError
from profiles.tokens import secret_hash
from profiles.types import Profile, Shelf

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PERSONAL = re.compile(r"^/f/([A-Za-z0-9_-]{16,64})\.(rss|atom|json)$")
_PUBLIC = re.compile(
    r"^/feeds/(all|alerts|search|(?:role|theme|place|agency)/([\w.-]{1,64}))\.(rss|atom|json)$"
)
_RENDER: dict[str, Callable[[FeedView], bytes]] = {
    "rss": render_rss,
    "atom": render_atom,
    "json": render_json,
}
_TYPE = {
    "rss": b"application/rss+xml; charset=utf-8",
    "atom": b"application/atom+xml; charset=utf-8",
    "json": b"application/feed+json; charset=utf-8",
}
_MEMO_BYTES = 64 * 1024 * 1024
_NOT_FOUND = "There is no feed at this address. / 这个地址没有订阅源。\n".encode()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A feed ready to be sent, and what it was made from.

    Attributes:
        stamp: (shelf version, material number, edit number) it was made at.
        shown: (notice id, propensity) in order, for impressions.
    """

    stamp: tuple[int, int, int]
    etag: str
    last_modified: datetime
    body: bytes
    zipped: bytes
    shown: Shown = ()


class Memo:
    """Rendered feeds by key, least recently used first out, bounded in bytes. Safe in threads."""

    def __init__(self, limit: int = _MEMO_BYTES) -> None:
        self._limit, self._size = limit, 0
        self._items: OrderedDict[str, Rendered] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, stamp: tuple[int, int, int]) -> Rendered | None:
        """Return what was rendered under ``key`` if it still stands."""
        with self._lock:
            found = self._items.get(key)
            if found is None or found.stamp != stamp:
                return None
            self._items.move_to_end(key)
            return found

    def put(self, key: str, item: Rendered) -> None:
        """Remember a rendering, forgetting the longest unused ones beyond the limit."""
        with self._lock:
            old = self._items.pop(key, None)
            self._size += _weight(item) - (_weight(old) if old else 0)
            self._items[key] = item
            while self._size > self._limit and self._items:
                self._size -= _weight(self._items.popitem(last=False)[1])


class FeedPath:
    """The ASGI application in front of the web application."""

    def __init__(self, services: Services, behind: App) -> None:
        self._services = services
        self._behind = behind
        self._memo = Memo()
        self._numbers: tuple[float, tuple[int, int]] = (-1.0, (0, 0))
        self.impressions = Impressions(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer feed documents; hand everything else on."""
        if scope["type"] == "lifespan":
            await self._behind(scope, receive, self._flushing(send))
            return
        path = scope.get("path", "")
        personal = _PERSONAL.match(path) if scope["type"] == "http" else None
        public = _PUBLIC.match(path) if scope["type"] == "http" and personal is None else None
        if personal is None and public is None:
            await self._behind(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _plain(send, 405, b"Feeds are read with GET or HEAD.\n", [(b"allow", b"GET, HEAD")])
        elif personal is not None:
            await self._personal(scope, send, personal[1], personal[2])
        elif public is not None:
            await self._public(scope, send, public)

    async def _personal(self, scope: Scope, send: Send, token: str, fmt: str) -> None:
        state = await self._call(self._personal_state, token)
        if state is None:
            await _plain(send, 404, _NOT_FOUND, [(b"cache-control", b"no-store")])
            return
        profile_id, stamp = state
        key = f"{secret_hash(token)}.{fmt}"
        item = self._memo.get(key, stamp)
        if item is None:
            item = await to_thread.run_sync(self._render_personal, profile_id, fmt, stamp)
            self._memo.put(key, item)
        private = [(b"cache-control", b"private, max-age=900"), (b"referrer-policy", b"no-referrer")]
        private.append((b"x-robots-tag", b"noindex"))
        # A conditional request found nothing new, and HEAD shows nothing to anybody.
        if await _answer(scope, send, item, fmt, private) != 200 or scope["method"] == "HEAD":
            return
        if self.impressions.add(profile_id, stamp[0], item.shown):
            await to_thread.run_sync(self.impressions.flush)

    async def _public(self, scope: Scope, send: Send, match: re.Match[str]) -> None:
        kind, _, code = match[1].partition("/")
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if kind == "search":
            code = (query.get("q") or [""])[0][:200]
        lang = "en" if (query.get("lang") or [""])[0].startswith("en") else "zh-Hans"
        stamp = (0, *await self._call(self._change_numbers))
        key = f"public/{kind}/{code}/{lang}.{match[3]}"
        item = self._memo.get(key, stamp)
        if item is None:
            try:
                args = (PublicFeed(kind, code), lang, match[3], stamp)
                item = await to_thread.run_sync(self._render_public, *args)
            except NotFoundError as error:
                await _plain(send, 404, str(error).encode() + b"\n", [])
                return
            self._memo.put(key, item)
        await _answer(scope, send, item, match[3], [(b"cache-control", b"public, max-age=300")])

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Small reads run here on SQLite (microseconds, no network) and in a thread on PostgreSQL."""
        if self._services.database.dialect == "sqlite":
            return function(*args)
        return await to_thread.run_sync(function, *args)

    def _personal_state(self, token: str) -> tuple[int, tuple[int, int, int]] | None:
        state = self._services.tokens.feed_state(token, now=self._services.clock.now())
        return None if state is None else (state[0], (state[1], *self._change_numbers()))

    def _change_numbers(self) -> tuple[int, int]:
        """The change numbers, read at most ten times a second: a feed may be 0.1 s behind."""
        read_at, numbers = self._numbers
        now = time.monotonic()
        if now - read_at > 0.1:
            numbers = self._services.notices.change_numbers()
            self._numbers = (now, numbers)
        return numbers

    def _render_personal(self, profile_id: int, fmt: str, stamp: tuple[int, int, int]) -> Rendered:
        profile: Profile = self._services.profiles.get(profile_id)
        shelf: Shelf = self._services.editions.shelf(profile_id)
        view = personal_feed(self._services, profile, shelf, lang=profile.lang)
        item = self._rendered(view, fmt, stamp, shelf.version)
        if not profile.personalised:
            return item  # somebody who switched it off is not observed
        chance = {picked.pick.notice_id: picked.pick.propensity for picked in shelf.picks}
        shown = tuple((entry.notice_id, chance.get(entry.notice_id, 1.0)) for entry in view.entries)
        return replace(item, shown=shown)

    def _render_public(self, which: PublicFeed, lang: str, fmt: str, stamp: tuple[int, int, int]) -> Rendered:
        path = f"/feeds/{which.kind}" + (f"/{which.code}" if which.code and which.kind != "search" else "")
        query = "?q=" + quote(which.code) if which.kind == "search" else ""
        self_url = f"{self._services.settings.base_url}{path}.{fmt}{query}"
        return self._rendered(public_feed(self._services, which, lang=lang, self_url=self_url), fmt, stamp, 0)

    def _rendered(
        self, view: FeedView, fmt: str, stamp: tuple[int, int, int], shelf_version: int
    ) -> Rendered:
        # From the very notices that were rendered: reading them again could see a later change.
        named = [(entry.notice_id, entry.material_number) for entry in view.entries]
        body = _RENDER[fmt](view)
        return Rendered(
            stamp=stamp,
            etag=etag(RENDERER_VERSION, fmt, view.lang, shelf_version, named),
            last_modified=view.updated,
            body=body,
            # Level 6 and a fixed time: the same feed gives the same bytes.
            zipped=gzip.compress(body, 6, mtime=0),
        )

    def _flushing(self, send: Send) -> Send:
        """Write impressions regularly while the server runs, and when it shuts down."""

        async def wrapped(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.impressions.flush_regularly()
            elif message["type"] == "lifespan.shutdown.complete":
                await to_thread.run_sync(self.impressions.close)
            await send(message)

        return wrapped


async def _answer(
    scope: Scope, send: Send, item: Rendered, fmt: str, extra: list[tuple[bytes, bytes]]
) -> int:
    headers = dict(scope["headers"])
    modified_since = headers.get(b"if-modified-since")
    none_match = headers.get(b"if-none-match")
    common = [
        (b"etag", item.etag.encode()),
        (b"last-modified", format_datetime(item.last_modified, usegmt=True).encode()),
        (b"vary", b"Accept-Encoding"),
        *extra,
    ]
    if not_modified(_text(none_match), _text(modified_since), item.etag, item.last_modified):
        await _send(send, 304, common, b"")
        return 304
    body = item.body
    common.append((b"content-type", _TYPE[fmt]))
    common.append((b"x-content-type-options", b"nosniff"))
    if _takes_gzip(headers.get(b"accept-encoding", b"")):
        body = item.zipped
        common.append((b"content-encoding", b"gzip"))
    common.append((b"content-length", str(len(body)).encode()))
    await _send(send, 200, common, b"" if scope["method"] == "HEAD" else body)
    return 200


def _takes_gzip(accept: bytes) -> bool:
    """Whether gzip is acceptable; ``gzip;q=0`` refuses it."""
    for part in accept.decode("latin-1").lower().split(","):
        name, _, weight = part.strip().partition(";")
        if name in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _plain(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await _send(send, status, [kind, (b"content-length", str(len(body)).encode()), *headers], body)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _weight(item: Rendered) -> int:
    return len(item.body) + len(item.zipped) + 500
