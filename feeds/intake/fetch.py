"""Asks one source: fetches its address through the guarded client and parses what comes.

It stores nothing. Called by ``feeds.intake.ingest`` and by ``mycity sources test``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from feeds.intake.parsers.feed import parse_feed
from feeds.intake.sources import Source
from feeds.intake.types import Fetched, Parsed
from feeds.kernel.errors import UsageError
from feeds.kernel.http import Answer

_ACCEPT = "application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"


class Client(Protocol):
    """What we need of the guarded client; tests bring their own."""

    def get(self, url: str, *, etag: str = "", last_modified: str = "", accept: str = "") -> Answer:
        """Fetch an address; see :meth:`feeds.kernel.http.GuardedClient.get`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of a source; ``feed`` is ``None`` where nothing has changed (304)."""

    fetched: Fetched
    feed: Parsed | None


def read_source(source: Source, client: Client) -> Reading:
    """Fetch and parse a source, sending the validators of its last good poll.

    Raises:
        UsageError: If the source has no address to ask.
        FetchError: If the address does not answer as it should.
        BadInputError: If the answer is no feed.
    """
    if source.kind != "feed" or not source.url:
        raise UsageError(f"The source {source.slug!r} is not a feed; only feeds can be polled.")
    answer = client.get(source.url, etag=source.etag, last_modified=source.last_modified, accept=_ACCEPT)
    fetched = Fetched(
        answer.status, answer.url, answer.body, answer.headers, answer.fetched_at, answer.moved_to
    )
    if fetched.status == 304:
        return Reading(fetched, None)
    return Reading(fetched, parse_feed(fetched.body, fetched.headers, fetched.url))
