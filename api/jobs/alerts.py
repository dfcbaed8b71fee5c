"""Alerts: brings an emergency to everybody it concerns at once, past pace, rank, mutes and quiet hours.

An update reaches those who were told before and those it concerns now; the end reaches exactly those who
were told. It writes editions and outbox rows; the sending round does the rest. Run twice, nothing comes
twice: each message has one key for ever. Called after every landing of warnings, by the desk when it
releases, corrects or withdraws an emergency, and by ``mycity alert``; docs/warnings.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from api.jobs.alert_stage import USEFUL_FOR, Family, Stage, families, stage_of
from api.jobs.concerned import reasons_for, version_for
from api.jobs.digests import send
from api.wiring import Services
from delivery.compose import TEMPLATE_VERSION
from delivery.types import NewDelivery
from feeds.intake.parsers.cap import is_linked, parse_cap
from feeds.intake.sources import Source
from feeds.intake.types import Fetched, IngestReport
from feeds.kernel.errors import BadInputError, NotFoundError, StorageError, UsageError
from feeds.kernel.time import to_micros
from profiles.editions import NewEdition
from profiles.types import Pick, PickKind, Profile, Reason, Shelf, Subscription

_log = structlog.get_logger(__name__)
CHANNELS = ("email", "sms")
#: A source for warnings that are handed over as files; who can run the command is trusted.
FILE_SOURCE = "alert-files"
# A name that is reserved for being nowhere; the source is paused as well, so nobody ever asks it.
_NO_ADDRESS = "https://alert-files.invalid/"
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
_BATCH = 500
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
        told: Notice id → people who got an edition of its warning (in any language).
    """

    notices: int = 0
    editions: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    conflicts: int = 0
    broken: int = 0
    unplaced: list[int] = field(default_factory=list)
    told: Counter[int] = field(default_factory=Counter)


def relay(services: Services, notice_ids: Iterable[int], *, now: datetime | None = None) -> AlertReport:
    """Tell everybody concerned of new, changed and withdrawn emergencies.

    Args:
        services: The joined parts.
        notice_ids: Any notices; those that are no emergency and never were are passed over. Call it
            after all languages of a warning have landed.
        now: The instant the alerts are made at.
    """
    now = now or services.clock.now()
    report = AlertReport()
    for family in families(services, notice_ids):
        try:
            _relay_one(services, family, report, now)
        except StorageError:
            raise
        except Exception as error:
            # One warning that cannot be told must not keep the others from being told.
            report.broken += 1
            _log.error("relay_broke", error=f"{type(error).__name__}: {error}")
    return report


def _relay_one(services: Services, family: Family, report: AlertReport, now: datetime) -> None:
    stage = stage_of(services, family, now)
    if stage is not None and stage.outdated:
        # What was not sent yet need not be sent and then corrected. Look again: some may be on their way.
        report.replaced += services.outbox.cancel(stage.outdated, now)
        stage = stage_of(services, family, now)
    if stage is not None:
        report.notices += 1
        before = report.editions
        _Relay(services, stage, report, now).run()
        report.told.update({one.id: report.editions - before for one in stage.versions})


def tell(services: Services, notice_id: int) -> AlertReport:
    """Relay one notice if it is an emergency, and send at once; for what a person did at the desk."""
    report = relay(services, [notice_id])
    if report.messages:
        send(services)
    return report


def catch_up(services: Services, *, now: datetime | None = None) -> AlertReport:
    """Relay once more what changed lately, should a process have died between landing and relaying.

    Looks at notices tagged as warnings; what was told is not told again. It reads all profiles while an
    emergency stands, so call it at a start and every few minutes, not every second.
    """
    now = now or services.clock.now()
    return relay(services, services.notices.changed_since(now - USEFUL_FOR, "type:warning"), now=now)


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


class _Relay:
    """Tells one stage of one warning, a batch of profiles in a transaction."""

    def __init__(self, services: Services, stage: Stage, report: AlertReport, now: datetime) -> None:
        self._services, self._stage, self._report, self._now = services, stage, report, now
        self._channels: dict[int, set[str]] = {}
        for profile_id, channel in stage.told:
            self._channels.setdefault(profile_id, set()).add(channel)

    def run(self) -> None:
        stage = self._stage
        if stage.circle is not None and stage.circle.unplaced:
            self._report.unplaced.append(stage.versions[0].id)
        live = _live_subscriptions(self._services)
        for group in self._groups():
            concerned = {one.id: self._reasons(one) for one in group}
            self._tell([one for one in group if concerned[one.id]], concerned, live)

    def _groups(self) -> Iterator[list[Profile]]:
        """Everybody, or only those who were told before."""
        if self._stage.circle is not None:
            yield from self._services.profiles.batches(_BATCH)
            return
        ids = sorted(self._channels)
        for start in range(0, len(ids), _BATCH):
            yield self._services.profiles.many(ids[start : start + _BATCH])

    def _reasons(self, profile: Profile) -> tuple[Reason, ...]:
        anew = reasons_for(profile, self._stage.circle) if self._stage.circle is not None else ()
        if profile.id in self._channels:
            return (Reason("update"), *anew[1:])
        return anew

    def _tell(
        self,
        profiles: Sequence[Profile],
        reasons: Mapping[int, tuple[Reason, ...]],
        live: Mapping[int, Sequence[Subscription]],
    ) -> None:
        """The edition first, its messages after: killed in between, the next run finds the edition."""
        wanted = {one.id: self._messages(one, live.get(one.id, ())) for one in profiles}
        editions = self._editions(profiles, reasons, {key for key, subs in wanted.items() if subs})
        rows = [
            self._row(profile, subscription, editions[profile.id])
            for profile in profiles
            if profile.id in editions
            for subscription in wanted[profile.id]
        ]
        for channel in CHANNELS:
            some = [row for row in rows if row.channel == channel]
            self._report.messages[channel] += self._services.outbox.enqueue(some, self._now)

    def _messages(self, profile: Profile, live: Sequence[Subscription]) -> list[Subscription]:
        """Channels that this stage has not planned yet: all of those concerned, else those told before."""
        anew = self._stage.circle is not None and bool(reasons_for(profile, self._stage.circle))
        told = self._channels.get(profile.id, set())
        return [
            one for one in live
            if (anew or one.channel in told)
            and not any(f"{key}{profile.id}:{one.channel}" in self._stage.planned
                        for key in self._stage.keys.values())
        ]  # fmt: skip

    def _row(self, profile: Profile, subscription: Subscription, edition: int) -> NewDelivery:
        notice = version_for(profile, self._stage.versions)
        return NewDelivery(
            dedupe_key=f"{self._stage.keys[notice.id]}{profile.id}:{subscription.channel}",
            profile_id=profile.id,
            channel=subscription.channel,
            lane="alert",
            due_at=self._now,
            expires_at=self._stage.expires_at,
            recipe={
                "kind": "alert",
                "editions": [edition],
                "lang": subscription.lang,
                "template": TEMPLATE_VERSION,
                "window": [to_micros(self._stage.since), to_micros(self._now)],
            },
            notices=((notice.id, notice.revision),),
        )

    # -- the ledger ------------------------------------------------------------------------------

    def _editions(
        self, profiles: Sequence[Profile], reasons: Mapping[int, tuple[Reason, ...]], pushed: set[int]
    ) -> dict[int, int]:
        """An edition of this stage for each profile that needs one: made now, or found from before."""
        found: dict[int, int] = {}
        left = list(profiles)
        for _attempt in range(2):
            shelves = self._services.editions.shelves([one.id for one in left], since=self._stage.since)
            made = []
            for profile in left:
                shelf = shelves[profile.id]
                before = self._before(shelf)
                if before:
                    if profile.id in pushed and (edition := self._edition_of(profile.id)):
                        found[profile.id] = edition
                elif profile.id in pushed or not shelf.picked & self._stage.keys.keys():
                    # A feed shows the change by itself; only who is written to needs a new edition for it.
                    made.append(self._new_edition(profile, shelf, reasons[profile.id]))
            ids = self._services.editions.append(made) if made else []
            written = {e.profile_id: one for e, one in zip(made, ids, strict=True) if one is not None}
            found |= written
            self._report.editions += len(written)
            lost = {one.profile_id for one in made} - written.keys()
            left = [one for one in left if one.id in lost]
            if not left:
                break
        self._report.conflicts += len(left)
        return found

    def _before(self, shelf: Shelf) -> bool:
        """Whether this stage stands on the shelf already."""
        return any(
            item.pick.notice_id in self._stage.keys and item.picked_at >= self._stage.since
            for item in shelf.picks
        )

    def _edition_of(self, profile_id: int) -> int | None:
        until = self._now + timedelta(microseconds=1)
        editions = self._services.editions.between(profile_id, self._stage.since, until)
        holding = (e.id for e in reversed(editions) if any(p.notice_id in self._stage.keys for p in e.picks))
        return next(holding, None)

    def _new_edition(self, profile: Profile, shelf: Shelf, reasons: tuple[Reason, ...]) -> NewEdition:
        notice = version_for(profile, self._stage.versions)
        again = profile.id in self._channels or notice.id in shelf.picked
        kind: PickKind = "update" if again else "mandatory"
        pick = Pick(notice.id, notice.revision, kind, reasons)
        return NewEdition(profile.id, "alert", (pick,), self._now, shelf.version)


def _live_subscriptions(services: Services) -> dict[int, list[Subscription]]:
    """Profile → its live subscriptions that push, read a batch at a time."""
    found: dict[int, list[Subscription]] = {}
    after = 0
    while some := services.subscriptions.due(_NEVER, channels=CHANNELS, limit=5000, after=after):
        for one in some:
            found.setdefault(one.profile_id, []).append(one)
        after = some[-1].id
    return found
