"""Polling the sources that are due: many ask, a few processes read, one stores.

Up to ``poll_workers`` threads wait for servers, the workshop's processes parse, normalise and tag
(:mod:`api.jobs.asking`), and the calling thread writes, some sources at a time. What is under way is bounded,
so memory does not grow with the number of sources. A source that fails never stops the others; a round that
is killed leaves its sources due. Called by the scheduler and ``mycity sources poll``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime

import structlog

from api.jobs.alerts import relay
from api.jobs.asking import Asked, Askers
from api.jobs.workshop import Workshop
from api.wiring import Services
from feeds.intake.harvest import Harvester
from feeds.intake.ingest import Gathered, Reader
from feeds.intake.parsers.feed import parse_feed
from feeds.intake.sources import LEASE_S, AlarmChange, Source
from feeds.intake.types import IngestReport, Parsed
from feeds.kernel.errors import FetchError, MycityError, StorageError
from feeds.kernel.hosts import HostBusyError

FEW = 4  # so few answers are read here, before a process could have started
CLAIM = 256

_log = structlog.get_logger(__name__)
Failed = Callable[[Source, MycityError], None]
Progress = Callable[[int, int], None]
Done = list[tuple[Source, IngestReport]]


def look(services: Services, url: str) -> Parsed:
    """Fetch an address through the guarded client and parse it as a feed; store nothing.

    Raises:
        FetchError: If the address does not answer, or must not be called.
        BadInputError: If the answer is no feed.
    """
    answer = services.client().get(url)
    return parse_feed(answer.body, answer.headers, answer.url)


def poll_due(
    services: Services,
    *,
    failed: Failed | None = None,
    progress: Progress | None = None,
    workshop: Workshop | None = None,
) -> Done:
    """Poll every source whose time has come; each is claimed, so that a second scheduler leaves it alone."""
    due = services.sources.count_due(services.clock.now())
    return _round(services, _claims(services), due, failed, progress, workshop)


def poll(
    services: Services,
    sources: Sequence[Source],
    *,
    failed: Failed | None = None,
    progress: Progress | None = None,
    workshop: Workshop | None = None,
) -> Done:
    """Poll some sources, due or not.

    Args:
        services: The joined parts.
        sources: Which.
        failed: Called for each source that did not answer, or with something else than it promises.
        progress: Called after each source with how many are done and how many there are.
        workshop: Whose processes read; default: some for this round, or none where the round is small.

    Returns:
        A report for each source that answered, in the order they came.

    Raises:
        StorageError: If the database refuses; what has landed stays, the rest is due again.
    """
    return _round(services, iter(sources), len(sources), failed, progress, workshop)


def _claims(services: Services) -> Iterator[Source]:
    """Claim a few hundred at a time, so that a long round's claims do not run out before they are used."""
    began = services.clock.now()
    # Due is what was due when the round began, so that it ends; a claim counts from now.
    while claimed := services.sources.claim_due(began, CLAIM, _lease_s(services, began)):
        yield from claimed


def _lease_s(services: Services, began: datetime) -> int:
    return LEASE_S + max(0, int((services.clock.now() - began).total_seconds()))


def _round(
    services: Services,
    sources: Iterator[Source],
    total: int,
    failed: Failed | None,
    progress: Progress | None,
    workshop: Workshop | None,
) -> Done:
    many = total > FEW
    done: Done = []
    asked: list[int] = []
    harvester = Harvester(services.ingestor, services.notices, services.sources, services.clock)
    with ExitStack() as stack:
        reader: Reader | None = workshop
        if many and workshop is None:
            size = services.settings.poll_processes
            reader = stack.enter_context(Workshop(services.settings.city, size=size)) if size else None
        threads = services.settings.poll_workers if many else 1
        askers = Askers(services, sources, reader if many else None, threads)
        stack.callback(askers.stop)
        for some in askers.results():
            for source, found in _land(harvester, some):
                asked.append(source.id)
                if isinstance(found, IngestReport):
                    done.append((source, found))
                    _follow_up(services, source, found)
                else:
                    _note_failure(services, source, found, failed)
                if progress is not None:
                    progress(len(asked), max(total, len(asked)))
    say_alarms(services.sources.check_health(services.clock.now(), asked))
    return done


def _land(harvester: Harvester, some: Sequence[Asked]) -> Iterator[tuple[Source, IngestReport | Exception]]:
    """Store what some sources brought; each keeps its report, or what went wrong with it."""
    good = [(item.source, item.found) for item in some if isinstance(item.found, Gathered)]
    landed = iter(harvester.land(good))
    for item in some:
        yield item.source, next(landed) if isinstance(item.found, Gathered) else item.found


def _follow_up(services: Services, source: Source, report: IngestReport) -> None:
    """Do what cannot wait for another tick: warn people, and doubt a hub that said nothing."""
    if source.kind == "cap":
        relay(services, (*report.new_ids, *report.changed_ids, *report.withdrawn_ids))
    if report.new and source.hub and source.last_polled_at:
        services.websub.missed(source.id, since=source.last_polled_at)


def _note_failure(services: Services, source: Source, error: Exception, failed: Failed | None) -> None:
    """Note on a source why it brought nothing, and say so."""
    if isinstance(error, StorageError):
        raise error  # nothing can be noted either
    if isinstance(error, HostBusyError):
        said: MycityError = error  # our own queue was too long: nothing is wrong with the source
    elif isinstance(error, MycityError):
        said = error
        services.ingestor.fail(source, error)
    else:
        said = FetchError(f"Its answer could not be taken in ({type(error).__name__}); please report it.")
        _log.error("poll_broke", source=source.slug, error=f"{type(error).__name__}: {error}")
        services.sources.record_failure(source, at=services.clock.now(), error=str(said))
    _log.warning("poll_failed", source=source.slug, error=str(said))
    if failed is not None:
        failed(source, said)


def say_alarms(changes: Iterable[AlarmChange]) -> None:
    """Log the alarms that began, changed or ended."""
    for change in changes:
        if change.now.alarm:
            _log.warning(
                "source_alarm", source=change.source.slug, alarm=change.now.alarm, says=change.now.en
            )
        else:
            _log.warning("source_alarm_over", source=change.source.slug, alarm=change.was)
