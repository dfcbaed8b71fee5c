"""The fast path: feed documents, answered in front of the web framework.

A conditional request costs one hash of the token and one small read: what it was answered last stands
until the shelf's version moves or one of its notices changes. Everything else goes to the application
behind. Impressions are buffered in memory and never written on a 304. Called by uvicorn through ``api.web``
and ``api.ops.cli``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from anyio import to_thread

from api.feed_accept import takes_gzip, wanted, wanted_format
from api.feed_build import Body, FeedBuilder, Mark
from api.feed_links import PublicFeed, hub_links, page_of, public_address
from api.feed_memo import Memo
from api.feed_zip import unzipped
from api.impressions import Impressions
from api.wiring import Services
from delivery.conditional import not_modified
from delivery.feed_writer import Format
from feeds.kernel.errors import NotFoundError, StorageError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_PERSONAL = re.compile(r"/f/([A-Za-z0-9_-]{16,64})(?:\.(rss|atom|json))?")
_PUBLIC = re.compile(
    r"/feeds/(all|alerts|search|(role|theme|place|agency)/([\w.-]{1,64}?))"
    r"(?:/archive/([1-9]\d{0,6}))?(?:\.(rss|atom|json))?"
)
_TYPE: dict[Format, tuple[bytes, bytes]] = {
    "rss": (b"content-type", b"application/rss+xml; charset=utf-8"),
    "atom": (b"content-type", b"application/atom+xml; charset=utf-8"),
    "json": (b"content-type", b"application/feed+json; charset=utf-8"),
}
# Browsers lay out plain XML with our style sheet; the feeds' own types some of them only save.
_XML = (b"content-type", b"application/xml; charset=utf-8")
_PRIVATE: Headers = [
    (b"cache-control", b"private, max-age=900"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex"),
    (b"vary", b"Accept-Encoding, Accept"),
]
# The address may be a key although no feed stands there (any more).
_NONE: Headers = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex"),
]
_OPEN: Headers = [(b"cache-control", b"public, max-age=300"), (b"vary", b"Accept-Encoding, Accept")]
_WHOLE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'self'"),
]
_GZIP = (b"content-encoding", b"gzip")
_MARK_BYTES = 48 * 1024 * 1024
_NOT_FOUND = "There is no feed at this address. / 这个地址没有订阅源。\n".encode()
_BUSY = "The database is busy; ask again in two minutes. / 数据库正忙，请两分钟后再试。\n".encode()


class FeedPath:
    """The ASGI application in front of the web application."""

    def __init__(self, services: Services, behind: App) -> None:
        self._services, self._behind = services, behind
        self._inline = services.database.dialect == "sqlite"
        self.builder = FeedBuilder(services)
        self._marks: Memo[Mark] = Memo(_MARK_BYTES, lambda mark: 700 + 8 * len(mark.ids))
        most = services.settings.feed_memory_mb * 1024 * 1024
        self._bodies: Memo[Body] = Memo(most, lambda body: 600 + len(body.packed) + 90 * len(body.shown))
        self.impressions = Impressions(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer feed documents; hand everything else on."""
        if scope["type"] == "lifespan":
            await self._behind(scope, receive, self._flushing(send))
            return
        path = scope.get("path", "") if scope["type"] == "http" else ""
        if path[:3] == "/f/":
            found, answer = _PERSONAL.fullmatch(path), self._personal
        elif path[:7] == "/feeds/":
            found, answer = _PUBLIC.fullmatch(path), self._public
        else:
            found = None
        if found is None or (found[found.re.groups] is None and self._is_page(scope, found)):
            await self._behind(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _plain(send, 405, b"Feeds are read with GET or HEAD.\n", [(b"allow", b"GET, HEAD"), *_NONE])
        else:
            try:
                if self.builder.to_look_around():
                    await _thread(self.builder.look_around)
                await answer(scope, send, found)
            except StorageError:
                await _plain(send, 503, _BUSY, [(b"retry-after", b"120"), *_NONE])

    def _is_page(self, scope: Scope, found: re.Match[str]) -> bool:
        """A personal address without suffix is a page, but for programs that ask for a feed by name."""
        return found.re is _PERSONAL and wanted(_accept(scope)) in ("page", "")

    # -- personal feeds -----------------------------------------------------------------------------

    async def _personal(self, scope: Scope, send: Send, found: re.Match[str]) -> None:
        try:
            await self._personal_document(scope, send, found)
        except NotFoundError:  # erased between two looks; nothing was sent yet
            await _plain(send, 404, _NOT_FOUND, _NONE)

    async def _personal_document(self, scope: Scope, send: Send, found: re.Match[str]) -> None:
        fmt: Format = found[2] or wanted_format(_accept(scope))  # type: ignore[assignment]
        state = self._state(found[1]) if self._inline else await _thread(self._state, found[1])
        if state is None:
            await _plain(send, 404, _NOT_FOUND, _NONE)
            return
        profile_id, version, generation = state
        key = (profile_id, fmt)
        mark = self._standing(key, (version,), generation)
        if mark is None and _conditional(scope):
            mark = await _thread(self.builder.personal_mark, profile_id, fmt, version, generation)
            self._marks.put(key, mark)
        if mark is not None and _not_modified(scope, mark):
            await _send(send, 304, [*_validators(mark), *_PRIVATE], b"")
            return
        body = self._bodies.get(key)
        if body is None or body.mark is not mark:
            at = (version, generation)
            body = await _thread(self.builder.personal_body, profile_id, fmt, mark, at)
            self._marks.put(key, body.mark)
            self._bodies.put(key, body)
        await _answer(scope, send, body, fmt, _PRIVATE)
        if scope["method"] == "GET" and self.impressions.add(profile_id, version, body.shown):
            await _thread(self.impressions.flush)

    def _state(self, token: str) -> tuple[int, int, int] | None:
        """Whose feed, its shelf's version, and the generation of all notices."""
        services = self._services
        state = services.tokens.feed_state(token, now=services.clock.now())
        if state is None:
            return None
        return state[0], state[1], self.builder.changes.generation((state[2], state[3]))

    def _standing(self, key: object, version: tuple[int, ...], generation: int) -> Mark | None:
        mark = self._marks.get(key)
        if mark is None or mark.version != version:
            return None
        if mark.generation != generation:
            if not self.builder.changes.stand(mark.ids, mark.generation):
                return None
            mark.generation = generation
        return mark

    # -- public feeds -------------------------------------------------------------------------------

    async def _public(self, scope: Scope, send: Send, found: re.Match[str]) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        which = PublicFeed(found[2] or found[1], found[3] or "")
        if which.kind == "search":
            which = PublicFeed("search", (query.get("q") or [""])[0].strip()[:200])
        accept = _accept(scope)
        if found[5] is None and wanted(accept) == "page":
            await _redirect(send, page_of(which))
            return
        fmt: Format = found[5] or wanted_format(accept)  # type: ignore[assignment]
        lang = "en" if (query.get("lang") or [""])[0].startswith("en") else "zh-Hans"
        try:
            await self._public_document(scope, send, which, (fmt, lang, int(found[4] or 0)))
        except NotFoundError as error:
            await _plain(send, 404, str(error).encode() + b"\n", [])

    async def _public_document(
        self, scope: Scope, send: Send, which: PublicFeed, wish: tuple[Format, str, int]
    ) -> None:
        fmt, lang, page = wish
        generation = self._generation() if self._inline else await _thread(self._generation)
        key = (which, wish)
        mark = self._marks.get(key)
        if mark is None or mark.generation != generation:
            mark = await _thread(self._public_mark, key, generation)
        if _not_modified(scope, mark):
            await _send(send, 304, [*_validators(mark), *_OPEN], b"")
            return
        body = self._bodies.get(key)
        if body is None or body.mark is not mark:
            body = await _thread(self.builder.public_body, which, lang, fmt, page, mark, generation)
            self._bodies.put(key, body)
        await _answer(scope, send, body, fmt, [*_OPEN, self._link(which, wish)])

    def _generation(self) -> int:
        return self.builder.changes.generation(self._services.notices.change_numbers())

    def _public_mark(self, key: tuple[PublicFeed, tuple[Format, str, int]], generation: int) -> Mark:
        """What stands now: the mark of before, if neither the list nor a notice of it changed."""
        which, (fmt, lang, page) = key
        old = self._marks.get(key)
        new = self.builder.public_mark(which, lang, fmt, page, generation)
        same = old is not None and (old.tag, old.version) == (new.tag, new.version)
        if old is not None and same and self.builder.changes.stand(old.ids, old.generation):
            old.generation = generation
            return old
        self._marks.put(key, new)
        return new

    def _link(self, which: PublicFeed, wish: tuple[Format, str, int]) -> tuple[bytes, bytes]:
        fmt, lang, page = wish
        hubs = () if which.kind == "search" or page else hub_links(self._services)
        links = [f'<{hub}>; rel="hub"' for hub in hubs]
        links.append(f'<{public_address(self._services, which, fmt, lang, page)}>; rel="self"')
        return b"link", ", ".join(links).encode("ascii", "ignore")

    # -- impressions --------------------------------------------------------------------------------

    def _flushing(self, send: Send) -> Send:
        """Write impressions regularly while the server runs, and when it shuts down."""

        async def wrapped(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.impressions.flush_regularly()
            elif message["type"] == "lifespan.shutdown.complete":
                await _thread(self.impressions.close)
            await send(message)

        return wrapped


async def _thread(function: Callable[..., Any], *args: Any) -> Any:
    return await to_thread.run_sync(function, *args)


def _header(scope: Scope, name: bytes) -> bytes:
    """A header, its lines joined; servers hand names over in lower case."""
    return b", ".join(value for key, value in scope["headers"] if key == name)


def _accept(scope: Scope) -> str:
    return _header(scope, b"accept").decode("latin-1")


def _conditional(scope: Scope) -> bool:
    return any(key in (b"if-none-match", b"if-modified-since") for key, _ in scope["headers"])


def _not_modified(scope: Scope, mark: Mark) -> bool:
    none_match = _header(scope, b"if-none-match")
    if none_match == mark.tag_bytes:
        return True
    since = _header(scope, b"if-modified-since").decode("latin-1")
    return not_modified(none_match.decode("latin-1"), since, mark.tag, mark.modified)


def _validators(mark: Mark) -> Headers:
    return [(b"etag", mark.tag_bytes), (b"last-modified", mark.modified_bytes)]


async def _answer(
    scope: Scope, send: Send, body: Body, fmt: Format, extra: Sequence[tuple[bytes, bytes]]
) -> None:
    """Send a feed: to a browser as plain XML, unpacked where gzip is not taken, without its bytes to HEAD."""
    kind = _XML if fmt != "json" and wanted(_accept(scope)) == "page" else _TYPE[fmt]
    headers = [*_validators(body.mark), *extra, kind, *_WHOLE]
    sent = body.packed
    if takes_gzip(_header(scope, b"accept-encoding")):
        headers.append(_GZIP)
    else:
        sent = unzipped(sent)
    headers.append((b"content-length", str(len(sent)).encode()))
    await _send(send, 200, headers, b"" if scope["method"] == "HEAD" else sent)


async def _redirect(send: Send, path: str) -> None:
    headers = [(b"location", path.encode()), (b"vary", b"Accept"), (b"content-length", b"0")]
    await _send(send, 302, headers, b"")


async def _plain(send: Send, status: int, body: bytes, headers: Headers) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    fixed = [kind, (b"x-content-type-options", b"nosniff"), (b"content-length", str(len(body)).encode())]
    await _send(send, status, [*fixed, *headers], body)


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
