"""Alerts: brings an emergency to everybody it concerns at once, past pace, rank, mutes and quiet hours.

Messages first: the database plans them a slice at a time, and whoever sends begins with the first slice while
the rest is planned. The ledger of editions follows. An update reaches those who were told before and those it
concerns now; the end reaches exactly those who were told. Run twice, or killed between two slices and run
again, nothing comes twice and nothing is lost: each message has one key for ever. Called after every landing
of warnings, by the desk when it releases, corrects or withdraws an emergency, and by ``mycity alert``;
docs/warnings.md.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from api.jobs.alert_stage import ARCHIVE_AGE, USEFUL_FOR, Family, Stage, families, plan_of, stage_of
from api.jobs.concerned import reasons_for, version_for
from api.jobs.sending import URGENT, send
from api.jobs.worker import wake
from api.wiring import Services
from delivery.alert_outbox import AlertPlan
from feeds.catalogue.notices import Notice
from feeds.intake.parsers.cap import is_linked, parse_cap
from feeds.intake.sources import Source
from feeds.intake.types import Fetched, IngestReport
from feeds.kernel.errors import BadInputError, NotFoundError, StorageError, UsageError
from profiles.editions import NewEdition
from profiles.types import Pick, PickKind, Profile, Reason, Shelf

_log = structlog.get_logger(__name__)
#: Channels that push, the ones that reach most first.
CHANNELS = ("sms", "email", "webpush", "wechat", "webhook", "apprise")
#: A source for warnings that are handed over as files; who can run the command is trusted.
FILE_SOURCE = "alert-files"
# A name that is reserved for being nowhere; the source is paused as well, so nobody ever asks it.
_NO_ADDRESS = "https://alert-files.invalid/"
_BATCH = 500
# Subscriptions in a transaction: few at first, so that sending begins at once.
_FIRST, _SLICE = 500, 5_000
# After so many messages the planner steps aside for a moment, in seconds.
_MANY, _GAP = 100, 0.02
MAX_FILE = 8_000_000


@dataclass(slots=True)
class AlertReport:
    """What relaying did.

    Attributes:
        notices: Warnings (all languages of one count once) that had something to tell.
        editions: Written to the ledger.
        messages: Channel → messages put into the outbox.
        replaced: Messages of an earlier stage that had not gone out and are not needed any more.
        conflicts: Editions that lost against another writer twice; the next run makes them.
        broken: Warnings that could not be told because of an error of ours; it is logged.
        unplaced: Ids of emergencies of which nobody can tell where they hold; nobody was told.
        stale: Ids of emergencies without an end that were old news when they came; nobody was told.
        told: Notice id → people who got an edition of its warning (in any language).
    """

    notices: int = 0
    editions: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    conflicts: int = 0
    broken: int = 0
    unplaced: list[int] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    told: Counter[int] = field(default_factory=Counter)


def relay(services: Services, notice_ids: Iterable[int], *, now: datetime | None = None) -> AlertReport:
    """Tell everybody concerned of new, changed and withdrawn emergencies.

    Args:
        services: The joined parts.
        notice_ids: Any notices; those that are no emergency and never were are passed over. Call it
            after all languages of a warning have landed.
        now: The instant the alerts are made at.
    """
    return _run(services, notice_ids, now or services.clock.now(), None)


def tell(services: Services, notice_id: int) -> AlertReport:
    """Relay one notice if it is an emergency, and send at once; for what a person did at the desk."""
    return _run(services, [notice_id], services.clock.now(), _send_all)


def catch_up(services: Services, *, now: datetime | None = None) -> AlertReport:
    """Relay once more what changed lately, should a process have died between landing and relaying.

    Looks at notices tagged as warnings; what was told is not told again. While an emergency stands it
    compares its whole circle with the outbox, so call it at a start and every few minutes, not every second.
    """
    now = now or services.clock.now()
    return relay(services, services.notices.changed_since(now - USEFUL_FOR, "type:warning"), now=now)


def channels_of(services: Services) -> tuple[str, ...]:
    """The channels that an alert goes out by: every one that pushes and is set up."""
    return tuple(name for name in CHANNELS if name in services.channels)


def _run(
    services: Services,
    notice_ids: Iterable[int],
    now: datetime,
    between: Callable[[Services, AlertReport], None] | None,
) -> AlertReport:
    """Plan the messages of all warnings; then let them go; then write the ledger."""
    report = AlertReport()
    begun: list[_Telling] = []
    seen: set[int] = set()
    left = list(notice_ids)
    while left:
        some = [one for one in families(services, left) if not seen & set(one.ids)]
        before = len(begun)
        for family in some:
            seen.update(family.ids)
            _guarded(report, lambda family=family: begun.extend(_plan(services, family, report, now)))  # type: ignore[misc]
        # Where one source calls it off and another does not, the other's holds for everybody it concerns.
        ended = (one.stage for one in begun[before:] if one.stage.circle is None)
        left = [number for stage in ended for number in stage.twins if number not in seen]
    if between is not None:
        between(services, report)
    for telling in begun:
        _guarded(report, telling.write)
    return report


def _guarded(report: AlertReport, step: Callable[[], None]) -> None:
    """One warning that cannot be told must not keep the others from being told."""
    try:
        step()
    except StorageError:
        raise
    except Exception as error:
        report.broken += 1
        _log.error("relay_broke", error=f"{type(error).__name__}: {error}")


def _plan(services: Services, family: Family, report: AlertReport, now: datetime) -> list[_Telling]:
    stage = stage_of(services, family, now)
    if stage is None:
        return []
    if stage.circle is not None and not stage.begun and all(map(_was_old, stage.versions)):
        report.stale.extend(one.id for one in stage.versions)
        return []
    if stage.begun:
        # What was not sent yet need not be sent and then corrected.
        keys = list(stage.keys.values())
        report.replaced += services.alert_outbox.cancel_outdated(stage.family, keys, now)
    report.notices += 1
    if stage.circle is not None and stage.circle.unplaced:
        report.unplaced.append(stage.versions[0].id)
    telling = _Telling(services, stage, plan_of(services, stage, now, channels_of(services)), report, now)
    telling.queue()
    return [telling]


def _was_old(notice: Notice) -> bool:
    """Whether a message without an end was old news already when it came: the rule of a first poll."""
    content = notice.content
    if content.expires is not None or content.published is None or "cap" not in content.extra:
        return False
    return notice.created_at - content.published > ARCHIVE_AGE


def _send_all(services: Services, report: AlertReport) -> None:
    """Send what was planned, round after round, unless nothing moves any more; the calm lanes wait."""
    if not report.messages.total():
        return
    while send(services, lanes=URGENT).sent:
        pass


def take_file(
    services: Services, path: Path, *, source: Source | None = None
) -> tuple[IngestReport, AlertReport]:
    """Take warnings in from a file, through the same steps as a poll, and relay them.

    Args:
        services: The joined parts.
        path: A CAP document, or a feed or EDXL distribution that holds some.
        source: Whose warnings they are; default: a trusted source for files, made when first needed.

    Raises:
        UsageError: If there is no such file, or ``source`` is not one of warnings.
        BadInputError: If it holds no CAP.
    """
    try:
        with path.open("rb") as stream:
            body = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"The file {path} cannot be read ({error.strerror}); check its name.") from None
    source = source or _file_source(services)
    if source.kind != "cap":
        raise UsageError(f"The source {source.slug!r} is not one of warnings (cap); choose another.")
    parsed = parse_cap(body, {}, path.name, zone=services.zone)
    if any(map(is_linked, parsed.entries)):
        raise BadInputError(f"{path.name} only links to warnings; add its address as a source instead.")
    prepared = services.ingestor.complete(source, parsed, services.client())
    fetched = Fetched(200, path.name, body, {}, services.clock.now())
    landed = services.ingestor.take(source, fetched, prepared)
    return landed, relay(services, (*landed.new_ids, *landed.changed_ids, *landed.withdrawn_ids))


def _file_source(services: Services) -> Source:
    try:
        return services.sources.by_slug(FILE_SOURCE)
    except NotFoundError:
        if renamed := next((one for one in services.sources.list() if one.url == _NO_ADDRESS), None):
            return renamed
        services.sources.add(
            slug=FILE_SOURCE, name="Warnings handed over as files", kind="cap", release="publish",
            url=_NO_ADDRESS, place=services.city.place, trust=100, at=services.clock.now(),
        )  # fmt: skip
        return services.sources.pause(FILE_SOURCE, True)


class _Telling:
    """Tells one stage of one warning."""

    def __init__(
        self, services: Services, stage: Stage, plan: AlertPlan, report: AlertReport, now: datetime
    ) -> None:
        self._services, self.stage, self._plan = services, stage, plan
        self._report, self._now = report, now
        self._added = 0

    def queue(self) -> None:
        """Plan the messages; whoever sends is woken after each slice."""
        plan = self._plan
        if not plan.channels or not (plan.anew or plan.follow):
            return
        for some in self._services.alert_outbox.plan(plan, self._now, first=_FIRST, size=_SLICE):
            self._report.messages += some.added
            self._added += some.added.total()
            if some.added:
                wake()
            if some.added.total() >= _MANY:
                # Whoever sends needs the database too; a busy writer would not let them in.
                time.sleep(_GAP)

    # -- the ledger ------------------------------------------------------------------------------

    def write(self) -> None:
        """Write an edition for everybody concerned, a batch in a transaction; not again once all have it."""
        outbox, before, after = self._services.alert_outbox, self._report.editions, 0
        if self._added or not outbox.is_done(self.stage.name):
            while found := outbox.concerned(self._plan, after, _BATCH):
                self._batch(dict(found))
                after = found[-1][0]
            outbox.mark_done(self.stage.name, self._now)
        told = self._report.editions - before
        self._report.told.update({one.id: told for one in self.stage.versions})

    def _batch(self, told: dict[int, bool]) -> None:
        profiles = self._services.profiles.many(told)
        pushed = self._services.alert_outbox.planned(self._plan, list(told))
        self._editions(profiles, told, pushed)

    def _reasons(self, profile: Profile, told: bool) -> tuple[Reason, ...]:
        anew = reasons_for(profile, self.stage.circle) if self.stage.circle is not None else ()
        return (Reason("update"), *anew[1:]) if told else anew

    def _editions(self, profiles: Sequence[Profile], told: dict[int, bool], pushed: set[int]) -> None:
        """An edition of this stage for each profile that needs one and has none."""
        left = list(profiles)
        for _attempt in range(2):
            shelves = self._services.editions.shelves([one.id for one in left], since=self.stage.since)
            made = []
            for profile in left:
                shelf = shelves[profile.id]
                reasons = self._reasons(profile, told[profile.id])
                if not reasons or self._before(shelf):
                    continue
                # A feed shows the change by itself; only who is written to needs a new edition for it.
                if profile.id in pushed or not shelf.picked & self.stage.keys.keys():
                    made.append(self._new_edition(profile, shelf, reasons, told[profile.id]))
            ids = self._services.editions.append(made) if made else []
            lost = {e.profile_id for e, number in zip(made, ids, strict=True) if number is None}
            self._report.editions += len(made) - len(lost)
            left = [one for one in left if one.id in lost]
            if not left:
                break
        self._report.conflicts += len(left)

    def _before(self, shelf: Shelf) -> bool:
        """Whether this stage stands on the shelf already."""
        return any(
            item.pick.notice_id in self.stage.keys and item.picked_at >= self.stage.since
            for item in shelf.picks
        )

    def _new_edition(
        self, profile: Profile, shelf: Shelf, reasons: tuple[Reason, ...], told: bool
    ) -> NewEdition:
        notice = version_for(profile, self.stage.versions)
        kind: PickKind = "update" if told or notice.id in shelf.picked else "mandatory"
        pick = Pick(notice.id, notice.revision, kind, reasons)
        return NewEdition(profile.id, "alert", (pick,), self._now, shelf.version)
