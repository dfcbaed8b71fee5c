"""What a monitoring system should know, read from the database at the moment it asks.

Nothing is counted in memory: the pages and the scheduler may be two processes, and both tell the same.
A handful of set-based queries an answer, whatever the number of sources. No figure names a person.
Called by ``api.web.routes.metrics``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from api.jobs import watching
from delivery.outbox_log import OutboxLog
from delivery.types import LANES
from feeds.intake.health import State, health
from feeds.intake.sources import Source
from recommender.figures import Measures
from recommender.monitor import State as ModelState

if TYPE_CHECKING:
    from api.wiring import Services

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def metrics_text(services: Services) -> bytes:
    """Return every figure in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Reading(services))
    return generate_latest(registry)


class _Reading(Collector):
    """One look at the database."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> list[GaugeMetricFamily]:
        """Promise nothing beforehand, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every family."""
        services, now = self._services, self._services.clock.now()
        polled = [source for source in services.sources.list() if source.url]
        yield from _sources(polled, now)
        yield from _notices(services)
        yield from _outbox(services, now)
        yield from _recommender(services, now)


def _sources(sources: Sequence[Source], now: datetime) -> Iterator[GaugeMetricFamily]:
    # No past is looked up here: an alarm that needs one was found, and stored, when it was looked up.
    verdicts = [(source, health(source, None, now)) for source in sources]
    states = Counter(verdict.state for _, verdict in verdicts)
    yield _family(
        "sources",
        "Polled sources by state.",
        ("state",),
        [((name,), states[name]) for name in get_args(State)],
    )
    yield _family(
        "source_alarm",
        "1 for each source that needs a person; why is in the label.",
        ("source", "alarm"),
        [((source.slug, verdict.alarm), 1) for source, verdict in verdicts if verdict.alarm],
    )
    yield _family(
        "source_success_age_seconds",
        "Seconds since a source last answered well; absent where it never did.",
        ("source",),
        [((s.slug,), (now - s.last_ok_at).total_seconds()) for s in sources if s.last_ok_at],
    )
    yield _family(
        "source_due_seconds",
        "Seconds until a source is asked again; below zero it is late.",
        ("source",),
        [
            ((s.slug,), (s.next_poll_at - now).total_seconds())
            for s in sources
            if s.next_poll_at and not s.paused and s.held_at is None and s.gone_at is None
        ],
    )
    for name, text, column in (
        ("source_polls", "Good polls of a source so far; 0 again after a release.", "polls"),
        ("source_failures", "Failed polls of a source since its last good one.", "failures"),
        ("source_entries", "Entries of a source's last full answer.", "last_entries"),
    ):
        yield _family(name, text, ("source",), [((s.slug,), getattr(s, column)) for s in sources])


def _notices(services: Services) -> Iterator[GaugeMetricFamily]:
    by_state = services.notices.sizes()
    yield _family(
        "notices", "Notices by state.", ("state",), [((name,), count) for name, count in by_state.items()]
    )
    yield _family(
        "notices_held", "Notices that wait for an editor.", (), [((), by_state.get("in_review", 0))]
    )
    waiting = services.notices.count_pending()
    yield _family(
        "changes_pending", "Changes of public notices that wait for an editor.", (), [((), waiting)]
    )


def _outbox(services: Services, now: datetime) -> Iterator[GaugeMetricFamily]:
    status = services.outbox.status(now)
    sizes = services.outbox.sizes()
    yield _family("outbox", "Messages by lane and state.", ("lane", "state"), list(sizes.items()))
    yield _family(
        "outbox_oldest_due_seconds",
        "How long the oldest message that is due has waited; 0 where none is.",
        (),
        [((), status.oldest_due_seconds or 0)],
    )
    yield _family(
        "outbox_paused", "1 for each switched-off channel; `all` is the one switch for everything.",
        ("channel",), [((channel or "all",), 1) for channel in status.paused],
    )  # fmt: skip
    log = OutboxLog(services.database)
    late = log.oldest_due(now)
    yield _family(
        "outbox_lane_oldest_due_seconds",
        "How long the oldest message of a lane that is due has waited; 0 where none is.",
        ("lane",), [((lane,), late.get(lane, 0)) for lane in LANES],
    )  # fmt: skip
    held = services.outbox.held_runs()
    yield _family(
        "outbox_runs_held",
        "Runs that wait for a person, by why.",
        ("why",), [((why,), sum(one.why == why for one in held)) for why in ("size", "bounces")],
    )  # fmt: skip
    yield _family(
        "outbox_throttled", "Messages that a provider or our pace put off.", (), [((), log.throttled(now))]
    )
    yield _family(
        "outbox_receipts_waiting",
        "Reports of providers about messages that are not known yet.",
        (), [((), services.receipts.waiting())],
    )  # fmt: skip


def _recommender(services: Services, now: datetime) -> Iterator[GaugeMetricFamily]:
    found = watching.view(services, now)
    verdict, info, notes = found.verdict, found.info, found.notes
    yield _family(
        "model_state",
        "1 for what is said of the model; by rules unless fine, older or late.",
        ("state",),
        [((name,), name == verdict.state) for name in get_args(ModelState)],
    )
    yield _family("model_alarm", "1 while somebody must look at the model.", (), [((), int(verdict.alarm))])
    yield _family(
        "model_in_use",
        "1 while picks are made with a model, 0 by rules.",
        (),
        [((), int(bool(found.serving)))],
    )
    ages = [] if info is None else [(("any",), info.trained_at), (("full",), info.full)]
    yield _family(
        "model_age_seconds",
        "Seconds since the model was taught; absent where there is none.",
        ("training",),
        [(name, (now - at).total_seconds()) for name, at in ages],
    )
    last = notes.selection
    yield _family(
        "selection_age_seconds",
        "Seconds since editions were last chosen for everybody; absent before the first time.",
        (),
        [((), (now - last.at).total_seconds())] if last else [],
    )
    for name, text, column in (
        ("selection_seconds", "How long the last selection took.", "seconds"),
        ("selection_profiles", "Profiles of the last selection.", "profiles"),
        ("selection_conflicts", "Editions of the last selection that another writer was faster with.",
         "conflicts"),
    ):  # fmt: skip
        yield _family(name, text, (), [((), getattr(last, column))] if last else [])
    if notes.measures is not None:
        yield from _measures(notes.measures, now)


def _measures(found: Measures, now: datetime) -> Iterator[GaugeMetricFamily]:
    yield _family(
        "recommender_measured_age_seconds",
        "Seconds since the figures below were measured.",
        (),
        [((), (now - found.at).total_seconds())],
    )
    yield _family(
        "recommender_coverage",
        "Share of the notices of the last days that were picked for anybody.",
        ("days",),
        [((str(days),), share.rate) for days, share in found.coverage.items()],
    )
    yield _family(
        "recommender_reason_share",
        "Share of picks by their first reason.",
        ("reason",),
        [((share.name,), share.rate) for share in found.reasons],
    )
    yield _family("recommender_explored_share", "Share of picks to learn from.", (), [((), found.explored)])
    # Of a handful of people a rate would tell what single ones do.
    compared = found.comparison if found.comparison and found.comparison.verdict != "too few" else None
    yield _family(
        "recommender_click_rate",
        "Opened of what was seen, by group; control is newest first. Absent for too few people.",
        ("group",),
        [(("personalised",), compared.personalised), (("control",), compared.control)] if compared else [],
    )
    yield _family(
        "recommender_click_rate_difference",
        "Personalised less control, and the bounds that hold it with 95 %.",
        ("bound",),
        [(("middle",), compared.difference), (("low",), compared.low), (("high",), compared.high)]
        if compared
        else [],
    )
    yield _family(
        "recommender_parity",
        "Share of picks over share of notices, of the least and most favoured group.",
        ("between", "bound"),
        [
            ((name, bound), value)
            for name, one in found.parity.items()
            for bound, value in (("least", one.least), ("most", one.most))
            if value is not None
        ],
    )
    yield _family(
        "recommender_feedback_seconds",
        "Median seconds from being shown to the first use; absent without any.",
        (),
        [((), found.wait_median)] if found.wait_median is not None else [],
    )


def _family(
    name: str, text: str, labels: Sequence[str], values: Sequence[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"mycity_{name}", text, labels=labels)
    for named, value in values:
        family.add_metric(named, value)
    return family
