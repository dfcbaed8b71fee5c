"""Proof of delivery: who of those a warning concerns is known to have got it, and who is tried once more.

Confirmed is whom a provider reported ``delivered`` to, or who opened the warning. That a mail server took
a mail (``sent``) proves nothing, so it counts as unconfirmed. After some minutes an unconfirmed person is
written to once more, by a channel that this warning has not used with them, else by the one that did not
fail. Writes only to the outbox; each second message has one key for ever. Called by the scheduler and by
the desk's alert pages.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from api.jobs.alert_stage import USEFUL_FOR, Family, Stage, families, is_over, plan_of, stage_of
from api.jobs.alerts import CHANNELS, channels_of
from api.jobs.issuing import FEW, received_at, unsigned
from api.jobs.masking import masked
from api.wiring import Services
from delivery.alert_outbox import AlertPlan, Told, Version
from feeds.catalogue.notices import Notice, State
from feeds.catalogue.store import NoticeFilter
from feeds.kernel.errors import NotFoundError, UsageError

#: States as the page groups them; every other state counts as ``failed``.
GROUPS: Mapping[str, str] = {
    "queued": "queued", "leased": "queued", "held": "queued", "sent": "sent", "delivered": "delivered",
    "bounced": "bounced", "complained": "delivered", "unknown": "unknown",
}  # fmt: skip
STATES = ("queued", "sent", "delivered", "failed", "bounced", "unknown")
# What costs nothing goes first where somebody is written to a second time.
_AGAIN = ("webpush", "wechat", "apprise", "email", "webhook", "sms")
_BAD = frozenset({"failed", "bounced", "unknown", "expired", "suppressed", "skipped", "cancelled"})
_PAGE, _LATE_PAGE = 5_000, 500
_LISTED: tuple[State, ...] = ("in_review", "released", "withdrawn", "expired")
_RECENT = timedelta(days=7)


@dataclass(slots=True)
class District:
    """One line of the proof: the people of a district (or other wide place)."""

    people: int = 0
    confirmed: int = 0
    unconfirmed: int = 0
    no_channel: int = 0


@dataclass(slots=True)
class Proof:
    """What is known of a warning's delivery now.

    Attributes:
        channels: Channel → state (one of :data:`STATES`) → people.
        districts: Code of a place → its people; ``""`` where nobody knows.
        hidden: Whether numbers are shown in steps of :data:`FEW` only, and nobody is listed (the warning
            itself is a sensitive matter).
    """

    total: District = field(default_factory=District)
    channels: dict[str, Counter[str]] = field(default_factory=dict)
    districts: dict[str, District] = field(default_factory=dict)
    hidden: bool = False

    def shown(self, count: int) -> str:
        """A number, unless it tells too much.

        Then every number is rounded down, sums as well: a small one cannot be had by taking the others from
        their sum.
        """
        if not self.hidden:
            return str(count)
        return f"<{FEW}" if count < FEW else f"{count - count % FEW}+"


@dataclass(frozen=True, slots=True)
class Line:
    """One warning in the list of the desk.

    Attributes:
        received: From when its clock counts.
        accepted: When a provider first took a message of it, if any did.
        seconds: What the clock shows: until then, or until now.
        running: It still waits for that.
        unsigned: One person released it alone, and nobody has looked since.
    """

    notice: Notice
    received: datetime
    accepted: datetime | None
    seconds: int
    running: bool
    unsigned: bool
    over: bool


def overview(services: Services, now: datetime) -> list[Line]:
    """The warnings of the last week, those that wait first, then the newest."""
    recent = services.notices.latest(NoticeFilter(tags=("type:warning",), states=_LISTED), limit=100)
    waiting = services.notices.by_state(("in_review",), limit=100)
    found = {one.id: one for one in (*recent, *waiting)}
    urgent = [one.id for one in found.values() if one.priority == "emergency" or "cap" in one.content.extra]
    lines = [_line(services, family, now) for family in families(services, urgent)]
    fresh = [one for one in lines if now - one.received < _RECENT or one.notice.state == "in_review"]
    return sorted(fresh, key=lambda one: (one.notice.state != "in_review", -one.received.timestamp()))


def line_of(services: Services, notice_id: int, now: datetime) -> Line | None:
    """The line of one warning; ``None`` for a notice that is none."""
    family = next(families(services, [notice_id]), None)
    return _line(services, family, now) if family else None


def _line(services: Services, family: Family, now: datetime) -> Line:
    notice = family.base
    received, accepted = received_at(notice), services.alert_outbox.first_accepted(family.ids)
    over = notice.state in ("withdrawn", "expired") or is_over(notice, now)
    running = accepted is None and not over and notice.priority == "emergency"
    seconds = max(0, int(((accepted or now) - received).total_seconds()))
    return Line(notice, received, accepted, seconds, running, unsigned(services, notice.id), over)


def proof(services: Services, notice_id: int, now: datetime) -> Proof:
    """Count how a warning's present stage reached people.

    Raises:
        NotFoundError: If it is no warning that was ever told.
    """
    family, stage, plan = _stage(services, notice_id, now)
    found = Proof(hidden=_is_sensitive(services, family))
    for told in _people(services, plan, stage.since):
        line = found.districts.setdefault(district_of(services, told.place), District())
        for one in (found.total, line):
            one.people += 1
            one.confirmed += told.confirmed
            one.no_channel += not told.states
            one.unconfirmed += not told.confirmed and bool(told.states)
        for channel, state in told.states.items():
            found.channels.setdefault(channel, Counter())[GROUPS.get(state, "failed")] += 1
    return found


def unconfirmed_csv(services: Services, notice_id: int, now: datetime) -> Iterator[str]:
    """Yield a table of those nobody knows to have got it: place, channel, state, masked address, since when.

    Raises:
        NotFoundError: If it is no warning that was ever told.
        UsageError: If the warning is a sensitive matter: of those nobody is listed.
    """
    family, stage, plan = _stage(services, notice_id, now)
    if _is_sensitive(services, family):
        raise UsageError("This warning is a sensitive matter: nobody is listed; the page gives the sums.")
    yield _csv_line("place", "district", "channel", "state", "address", "since")
    batch: list[Told] = []
    for told in _people(services, plan, stage.since):
        if not told.confirmed:
            batch.append(told)
        if len(batch) >= 500:
            yield _csv_rows(services, batch)
            batch = []
    yield _csv_rows(services, batch)


def _is_sensitive(services: Services, family: Family) -> bool:
    """Whether a warning is a sensitive matter, in whatever language."""
    return any(
        services.city.is_sensitive(f"{tag.kind}:{tag.code}") for one in family.members for tag in one.tags
    )


def district_of(services: Services, code: str) -> str:
    """The district that a place lies in; the place itself where there is none around it."""
    places = services.city.places
    chain = (code, *services.city.ancestors(code)) if code in places else ()
    return next((one for one in chain if places[one].kind == "district"), code)


def resend(services: Services, now: datetime) -> int:
    """Write once more to the unconfirmed of every warning that stands; return how many messages that is.

    Looks only at those who wait for that: not at whom it reached, who has no other channel, or who was
    written to again already.
    """
    minutes = services.settings.alert_resend_minutes
    if not minutes:
        return 0
    ids = services.notices.changed_since(now - USEFUL_FOR, "type:warning")
    added = 0
    for family in families(services, ids):
        stage = stage_of(services, family, now)
        waits = stage is None or now - stage.since < timedelta(minutes=minutes)
        if stage is not None and not waits and stage.begun and not stage.over and stage.circle is not None:
            added += _resend_one(services, stage, now, timedelta(minutes=minutes))
    return added


def _resend_one(services: Services, stage: Stage, now: datetime, patience: timedelta) -> int:
    plan = plan_of(services, stage, now, channels_of(services))
    added = after = 0
    while late := services.alert_outbox.late(plan, stage.since, now, patience, after=after, limit=_LATE_PAGE):
        rows = list(_second(services, plan, late))
        added += services.alert_outbox.again(rows, now, stage.expires_at)
        after = late[-1].profile_id
    return added


def _second(
    services: Services, plan: AlertPlan, late: Sequence[Told]
) -> Iterator[tuple[int, str, str, Version]]:
    live = services.alert_outbox.live([one.profile_id for one in late], plan.channels)
    version = services.alert_outbox.versions_read(plan, [one.profile_id for one in late])
    for one in late:
        channel = another(one.states, live.get(one.profile_id, ()))
        if channel:
            chosen = version[one.profile_id]
            mark = "again:" if channel in one.states else ""
            yield one.profile_id, channel, f"{chosen.key}{one.profile_id}:{mark}{channel}", chosen


def another(states: Mapping[str, str], live: Sequence[str]) -> str:
    """Choose the channel of a second message: one not used yet, else one that did not fail; ``""`` for none.

    Whoever has a single channel cannot be written to by another one; while something still waits to be sent
    nothing is repeated.
    """
    if any(state in ("queued", "leased") for state in states.values()):
        return ""
    fresh = [name for name in CHANNELS if name in live and name not in states]
    if fresh:
        return fresh[0]
    if len(live) < 2:
        return ""
    good = [name for name in _AGAIN if name in live and states.get(name) not in _BAD]
    return good[0] if good else ""


def _stage(services: Services, notice_id: int, now: datetime) -> tuple[Family, Stage, AlertPlan]:
    """The present stage; of a warning that is over, the last one while it stood."""
    family = next(families(services, [notice_id]), None)
    stage = stage_of(services, family, now) if family else None
    if family is not None and stage is None and services.alert_outbox.begun(family.ids):
        stage = stage_of(services, _as_it_stood(family), min(_ends(family, now), now))
    if family is None or stage is None:
        raise NotFoundError(f"Notice {notice_id} is no warning that anybody was told of.")
    return family, stage, plan_of(services, stage, now, channels_of(services))


def _as_it_stood(family: Family) -> Family:
    members = tuple(
        replace(one, state="released") if one.state == "expired" else one for one in family.members
    )
    base = next(one for one in members if one.id == family.base.id)
    return Family(base, members)


def _ends(family: Family, now: datetime) -> datetime:
    ends = [one.content.expires for one in family.members if one.content.expires is not None]
    return min(ends) - timedelta(microseconds=1) if ends else now


def _people(services: Services, plan: AlertPlan, since: datetime) -> Iterator[Told]:
    for group in _groups(services, plan, since):
        yield from group


def _groups(services: Services, plan: AlertPlan, since: datetime) -> Iterator[list[Told]]:
    after = 0
    while group := services.alert_outbox.people(plan, since, after=after, limit=_PAGE):
        yield group
        after = group[-1].profile_id


def _csv_rows(services: Services, people: Sequence[Told]) -> str:
    pairs = [(one.profile_id, channel) for one in people for channel in one.states]
    contacts = services.contacts.many(pairs)
    lines = []
    for one in people:
        place = services.city.label(f"place:{one.place}", "zh") if one.place else ""
        district = district_of(services, one.place)
        named = services.city.label(f"place:{district}", "zh") if district else ""
        since = f"{one.since.astimezone(services.zone):%Y-%m-%d %H:%M}"
        for channel, state in sorted(one.states.items()) or [("", "no channel")]:
            contact = contacts.get((one.profile_id, channel))
            address = masked(channel, contact.address) if contact else ""
            lines.append(_csv_line(place, named, channel, GROUPS.get(state, state), address, since))
    return "".join(lines)


def _csv_line(*cells: str) -> str:
    stream = io.StringIO()
    # A cell that a spreadsheet would take for a formula is made plain text.
    safe = [f"'{cell}" if cell[:1] in "=+-@\t" and cell else cell for cell in cells]
    csv.writer(stream).writerow(safe)
    return stream.getvalue()
