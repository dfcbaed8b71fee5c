"""Asks one source for its answer through the guarded client; parses nothing and stores nothing.

Called by :mod:`feeds.intake.ingest`, in as many threads as the polling engine has.
"""

from __future__ import annotations

from typing import Protocol

from feeds.intake.sources import POLLED, Source
from feeds.intake.types import Fetched
from feeds.kernel.errors import UsageError
from feeds.kernel.http import Answer

_ACCEPT = {
    "feed": "application/atom+xml, application/rss+xml, application/feed+json, text/xml;q=0.9, */*;q=0.5",
    "cap": "application/cap+xml, application/atom+xml, application/rss+xml, text/xml;q=0.9, */*;q=0.5",
    "json": "application/json, */*;q=0.5",
    "html": "text/html, application/xhtml+xml;q=0.9, */*;q=0.5",
    "csv": "text/csv, text/plain;q=0.9, */*;q=0.5",
}


class Client(Protocol):
    """What we need of the guarded client; benches bring their own."""

    def get(
        self, url: str, *, etag: str = "", last_modified: str = "", accept: str = "", named_by: str = ""
    ) -> Answer:
        """Fetch an address; see :meth:`feeds.kernel.http.GuardedClient.get`."""


def ask(source: Source, client: Client) -> Fetched:
    """Ask a source, sending the validators of its last good answer.

    Raises:
        UsageError: If the source has no address to ask.
        FetchError: If the address does not answer as it should.
    """
    if source.kind not in POLLED or not source.url:
        raise UsageError(
            f"The source {source.slug!r} has no address to ask; only feeds and lists are polled."
        )
    accept = _ACCEPT[source.kind]
    if str(source.recipe.get("method") or "GET").upper() == "POST":
        return _post(source, client, accept)
    answer = client.get(source.url, etag=source.etag, last_modified=source.last_modified, accept=accept)
    return fetched_of(answer)


def fetched_of(answer: Answer) -> Fetched:
    """Turn the client's answer into what the parsers take."""
    return Fetched(answer.status, answer.url, answer.body, answer.headers, answer.fetched_at, answer.moved_to)


def _post(source: Source, client: Client, accept: str) -> Fetched:
    post = getattr(client, "post", None)
    if post is None:
        raise UsageError(f"The source {source.slug!r} is asked by POST, which this client does not do.")
    body = source.recipe.get("body")
    if isinstance(body, dict) and source.recipe.get("form"):
        return fetched_of(post(source.url, form=body, accept=accept))
    return fetched_of(post(source.url, json=body if body is not None else {}, accept=accept))
