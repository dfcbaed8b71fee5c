"""Tells subscribers what changed in public feeds: our own small WebSub hub, or an external one.

Only a change of what a feed says (its ETag) is told, and only of public feeds; a personal feed is never
announced. What is owed stands in a table: whoever is killed here leaves it due again, and nobody gets
the same state twice. Called by the scheduler (:func:`tick`) and the route ``/hub`` (:func:`ask`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

import structlog

from api.feed_build import FeedBuilder
from api.feed_links import PublicFeed, addresses, feeds_of, hub_links
from api.feed_zip import unzipped
from api.wiring import Services
from delivery.hub_rules import (
    ASK_AGAIN,
    DELAYS,
    Format,
    denial,
    headers_of,
    question,
    read_wish,
    retry_in,
    topic_of,
)
from delivery.hub_store import Owed, Ping, Request
from feeds.kernel.answers import Timeouts
from feeds.kernel.errors import BlockedAddressError, FetchError, NotFoundError
from feeds.kernel.http import GuardedClient, HostBusyError, HttpStatusError

THREADS = 8
MOST_AT_ONCE, MOST_OF_HOST = 100, 8
ROUND_SECONDS = 45.0  # a round ends then, what is left waits for the next
_ANSWER = 16 * 1024  # bytes of an answer that are read
_PINGS = 20  # addresses in one call to an external hub
_NO_FEED = "There is no such feed (any more)."
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """A feed as it is served now."""

    body: bytes
    etag: str
    fmt: Format


def hub_url(services: Services) -> str:
    """Return the hub that public feeds name; ``""`` where there is none."""
    return next(iter(hub_links(services)), "")


def is_ours(services: Services) -> bool:
    """Whether the hub is our own."""
    return not services.settings.hub_url


def tick(services: Services) -> dict[str, int]:
    """One round: verify who asked, see what changed, tell who is owed it."""
    if not hub_url(services):
        return {}
    if not is_ours(services):
        return {"changed": follow(services), "pinged": ping_due(services)}
    done = {"verified": verify_due(services), "changed": follow(services)}
    done |= distribute(services)
    services.hub.trim(services.clock.now())
    return done


# -- requests --------------------------------------------------------------------------------------------


def ask(services: Services, form: Mapping[str, str]) -> None:
    """Take a request; its intent is verified afterwards.

    Raises:
        Refused: If it cannot be served; says why.
    """
    wish = read_wish(form, services.settings.base_url)
    services.hub.ask(wish, at=services.clock.now())


def verify_due(services: Services) -> int:
    """Verify the intent of whoever asked (W3C WebSub §5.3); return how many were confirmed."""
    requests = services.hub.due_requests(services.clock.now())
    if not requests:
        return 0
    client = _client(services)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="hub") as pool:
        return sum(pool.map(lambda request: _verify(services, client, request), requests))


def _verify(services: Services, client: GuardedClient, request: Request) -> bool:
    wish, challenge = request.wish, secrets.token_urlsafe(24)
    # Before the question: whatever changes from here on is owed to who says yes.
    etag = _Feeds(services).etag(wish.topic)
    try:
        status, body = _get(client, question(wish, challenge))
    except FetchError as error:
        _again(services, request, final=isinstance(error, BlockedAddressError))
        return False
    if not (200 <= status < 300 and body.strip() == challenge.encode()):
        # A server that has trouble is asked once more; any other answer is a no.
        _again(services, request, final=status < 500 and status != 429)
        return False
    if wish.mode == "subscribe" and not etag:
        services.hub.drop(request)
        _deny(client, wish.callback, wish.topic, _NO_FEED)
        return False
    services.hub.confirm(request, etag=etag, at=services.clock.now())
    return True


def _again(services: Services, request: Request, *, final: bool) -> None:
    if final or request.attempts > len(ASK_AGAIN):
        services.hub.drop(request)
        _log.info("hub_not_verified", host=request.wish.host, mode=request.wish.mode)
        return
    due = services.clock.now() + ASK_AGAIN[request.attempts - 1]
    services.hub.ask_again(request, due_at=due)


# -- changes ---------------------------------------------------------------------------------------------


def follow(services: Services) -> int:
    """See whether the catalogue changed, and owe the change to whoever listens; return to how many.

    The first look of an installation announces nothing.
    """
    numbers, mark = services.notices.change_numbers(), services.hub.mark()
    if numbers == mark:
        return 0
    owed, pings = 0, list[str]()
    if is_ours(services):
        owed = _announce(services)
    elif mark is not None:
        pings = changed(services, services.notices.changed_after(*mark))
    # Last: whoever is killed before looks again, and finds the same changes or none.
    services.hub.set_mark(numbers, pings, at=services.clock.now())
    return owed + len(pings)


def changed(services: Services, notice_ids: Iterable[int]) -> list[str]:
    """Return the addresses of all public feeds that these notices stand in, searches excepted."""
    notices = services.notices.many(notice_ids).values()
    return [address for which in feeds_of(services, notices) for address in addresses(services, which)]


def _announce(services: Services) -> int:
    owed, feeds = 0, _Feeds(services)
    for topic, before in services.hub.topics(services.clock.now()):
        now = feeds.etag(topic)  # "": whoever is owed it learns that it is over
        if now != before:
            owed += services.hub.announce(topic, old=before, new=now, at=services.clock.now())
    return owed


class _Feeds:
    """Public feeds as their own addresses serve them, at one moment; asks for each once."""

    def __init__(self, services: Services) -> None:
        self._services, self._builder = services, FeedBuilder(services)
        self._found: dict[str, Document | None] = {}

    def etag(self, address: str) -> str:
        """Return a topic's ETag, without rendering it; ``""`` where there is no such feed (any more)."""
        topic = topic_of(address, self._services.settings.base_url)
        if topic is None:
            return ""
        try:
            which = PublicFeed(topic.kind, topic.code)
            return self._builder.public_mark(which, topic.lang, topic.fmt, 0, 0).tag
        except NotFoundError:
            return ""

    def document(self, address: str) -> Document | None:
        """Return a topic's bytes; ``None`` where there is no such feed (any more)."""
        if address not in self._found:
            self._found[address] = self._render(address)
        return self._found[address]

    def _render(self, address: str) -> Document | None:
        topic = topic_of(address, self._services.settings.base_url)
        if topic is None or not self.etag(address):
            return None
        which = PublicFeed(topic.kind, topic.code)
        made = self._builder.public_body(which, topic.lang, topic.fmt, 0, None, 0)
        return Document(unzipped(made.packed), made.mark.tag, topic.fmt)


# -- distribution ----------------------------------------------------------------------------------------


def distribute(services: Services) -> dict[str, int]:
    """Send the present state of topics to whoever is owed it; return how it went."""
    done = {"delivered": 0, "failed": 0, "ended": 0}
    client, hub, until = _client(services), hub_url(services), monotonic() + ROUND_SECONDS
    while monotonic() < until:
        claimed = services.hub.claim(services.clock.now(), limit=MOST_AT_ONCE, per_host=MOST_OF_HOST)
        if not claimed:
            break
        feeds = _Feeds(services)
        documents = {owed.topic: feeds.document(owed.topic) for owed in claimed}
        with ThreadPoolExecutor(THREADS, thread_name_prefix="hub") as pool:
            sends = [(owed, pool.submit(_send, client, hub, owed, documents[owed.topic])) for owed in claimed]
            for owed, future in sends:
                done[_record(services, client, owed, documents[owed.topic], future.result())] += 1
    return done


def _send(client: GuardedClient, hub: str, owed: Owed, document: Document | None) -> FetchError | None:
    """Send one distribution; runs in a thread, and touches no database."""
    if document is None or document.etag == owed.sent_etag:
        return None
    headers = headers_of(owed.topic, hub, document.fmt, owed.secret, document.body)
    try:
        allowed = tuple(range(200, 300))
        client.post(owed.callback, body=document.body, headers=headers, allowed=allowed, follow=False)
    except FetchError as error:
        return error
    except Exception as error:
        # One subscriber must never keep the others from being told, whatever it answered.
        return FetchError(f"The answer could not be read ({type(error).__name__}).")
    return None


def _record(
    services: Services, client: GuardedClient, owed: Owed, document: Document | None, error: FetchError | None
) -> str:
    store, now = services.hub, services.clock.now()
    if document is None:
        store.end(owed)
        _deny(client, owed.callback, owed.topic, _NO_FEED)
        return "ended"
    if error is None:
        store.took(owed, etag=document.etag, at=now)
        return "delivered"
    if isinstance(error, HostBusyError):
        store.failed(owed, due_at=now + timedelta(seconds=30), counts=False)
        return "failed"
    status = error.status if isinstance(error, HttpStatusError) else 0
    asked = error.retry_after if isinstance(error, HttpStatusError) else None
    wait = retry_in(owed.failures + 1, asked)
    if status == 410 or wait is None or isinstance(error, BlockedAddressError):
        store.end(owed)
        _log.info("hub_subscriber_ended", host=owed.host, status=status, failures=owed.failures + 1)
        return "ended"
    store.failed(owed, due_at=now + wait)
    return "failed"


# -- an external hub -------------------------------------------------------------------------------------


def ping_due(services: Services) -> int:
    """Tell an external hub which addresses changed; return how many it took."""
    pings, told, client = services.hub.due_pings(services.clock.now()), 0, _client(services)
    for start in range(0, len(pings), _PINGS):
        part = pings[start : start + _PINGS]
        form = {"hub.mode": "publish", "hub.url": [ping.topic for ping in part]}
        try:
            client.post(hub_url(services), form=form, allowed=tuple(range(200, 300)))
        except FetchError as error:
            _ping_later(services, part)
            _log.warning("hub_ping_failed", addresses=len(part), error=str(error)[:300])
        else:
            services.hub.pinged(part)
            told += len(part)
    return told


def _ping_later(services: Services, pings: Sequence[Ping]) -> None:
    for ping in pings:
        if ping.attempts > len(DELAYS):
            services.hub.pinged([ping])
        else:
            services.hub.ping_again([ping], due_at=services.clock.now() + DELAYS[ping.attempts - 1])


def _client(services: Services) -> GuardedClient:
    return services.client(timeouts=Timeouts(connect=5, read=10, total=15), most=_ANSWER)


def _get(client: GuardedClient, url: str) -> tuple[int, bytes]:
    try:
        answer = client.get(url, follow=False)
    except HttpStatusError as error:
        return error.status, error.body
    return answer.status, answer.body


def _deny(client: GuardedClient, callback: str, topic: str, reason: str) -> None:
    with suppress(FetchError):
        _get(client, denial(callback, topic, reason[:200]))
