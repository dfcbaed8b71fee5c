"""Polling the sources that are due. Called by the scheduler and ``mycity sources poll``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from api.wiring import Services
from feeds.intake.parsers.feed import parse_feed
from feeds.intake.sources import Source
from feeds.intake.types import IngestReport, Parsed
from feeds.kernel.errors import FetchError, MycityError

_log = structlog.get_logger(__name__)


def look(services: Services, url: str) -> Parsed:
    """Fetch an address through the guarded client and parse it; store nothing.

    Raises:
        FetchError: If the address does not answer, or must not be called.
        BadInputError: If the answer is no feed.
    """
    answer = services.client().get(url)
    return parse_feed(answer.body, answer.headers, answer.url)


def poll_due(services: Services) -> list[tuple[Source, IngestReport]]:
    """Poll every source whose time has come; one that fails does not stop the others."""
    return poll(services, services.sources.due(services.clock.now()))


def poll(
    services: Services,
    sources: Sequence[Source],
    *,
    failed: Callable[[Source, MycityError], None] | None = None,
) -> list[tuple[Source, IngestReport]]:
    """Poll some sources one after the other.

    Args:
        services: The joined parts.
        sources: Which.
        failed: Called for each source that did not answer or was no feed.
    """
    done = []
    client = services.client()
    for source in sources:
        try:
            done.append((source, services.ingestor.poll(source, client)))
        except MycityError as error:
            _log.warning("poll_failed", source=source.slug, error=str(error))
            if failed is not None:
                failed(source, error)
        except Exception as error:
            # One source must never keep the others from being polled, whatever it sent us.
            said = FetchError(f"Its answer could not be taken in ({type(error).__name__}); please report it.")
            _log.error("poll_broke", source=source.slug, error=f"{type(error).__name__}: {error}")
            services.sources.record_failure(source.id, at=services.clock.now(), error=str(said))
            if failed is not None:
                failed(source, said)
    return done
