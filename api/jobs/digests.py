"""Digests: planning who gets one, building it from its recipe, sending what is due.

Planning can be run twice: the outbox's unique key and the check of what a channel already carried
keep a pick from coming twice by one channel. A digest holds only what editions chose; nothing is
ranked here. Called by the scheduler and ``mycity digests``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from api.jobs import signals
from api.jobs.joining import stop_token
from api.views import digest_view
from api.wiring import Services
from delivery.compose import TEMPLATE_VERSION, compose_confirmation, compose_mail, compose_sms
from delivery.errors import SuppressedError
from delivery.sending import SendReport, merged, send_batch
from delivery.types import LANES, Delivery, Message, NewDelivery
from delivery.windows import allowed_at, daily_window, next_due
from feeds.kernel.errors import NotFoundError
from feeds.kernel.time import from_micros, local_date, to_micros
from profiles.contacts import Contact
from profiles.feedback import FeedbackRow
from profiles.tokens import derived_secret
from profiles.types import Edition, Pick, Subscription

_log = structlog.get_logger(__name__)
CHANNELS = ("email", "sms")
# The channel of a demo and of tests, which keeps messages in files.
_CAPTURE = "capture"
# A digest that could not be sent for so long is of no use any more.
_USEFUL_FOR = timedelta(hours=14)
# Only what is at most this old is ever pushed or mailed (an archive never floods anybody).
_PUSHED_AGE = timedelta(days=7)
_BATCH = 500


@dataclass(slots=True)
class PlanReport:
    """What planning did: digests planned; subscriptions with nothing to say, unconfirmed, or broken."""

    planned: int = 0
    empty: int = 0
    unverified: int = 0
    failed: int = 0
    notices: list[int] = field(default_factory=list)


def plan(services: Services, *, now: datetime | None = None) -> PlanReport:
    """Plan a digest for every subscription whose hour has come."""
    now = now or services.clock.now()
    report = PlanReport()
    for subscription in _due(services, now):
        try:
            _plan_one(services, subscription, now, report)
        except Exception as error:
            # One unreadable row must not keep everybody after it from their digest.
            report.failed += 1
            _log.error("plan_failed", subscription=subscription.id, error=type(error).__name__)
    return report


def send(services: Services, *, limit: int = 500) -> SendReport:
    """Send due messages, urgent lanes first, at most ``limit`` of each kind.

    Quiet hours are checked here as well: a row that was paused, or waits for another attempt, must not
    ring at night.
    """
    now = services.clock.now()
    services.outbox.release_expired(now)
    urgent, calm = LANES[:2], LANES[2:]
    awake = {
        name: port
        for name, port in services.channels.items()
        if allowed_at(name, now, services.zone, "digest") == now
    }
    built: list[Delivery] = []  # several threads append; that is safe
    reports = [
        send_batch(
            services.outbox,
            channels,
            lambda row: _built(services, row, built),
            lanes=lanes,
            limit=limit,
            clock=services.clock,
        )
        for lanes, channels in ((urgent, services.channels), (calm, awake))
        if channels
    ]
    _note_shown(services, built)
    return merged(reports)


def _built(services: Services, row: Delivery, built: list[Delivery]) -> Message | None:
    message = build(services, row)
    if message is not None and row.channel == "email" and "kind" not in row.recipe:
        built.append(row)
    return message


def _note_shown(services: Services, built: Sequence[Delivery]) -> None:
    """Keep what the mails showed that a provider took. Text messages name too little to say what was seen."""
    readers = services.profiles.many(row.profile_id for row in built)
    discreet = {profile.id for profile in readers if profile.discreet}  # their mails name no notice
    numbers = [row.id for row in built if row.profile_id not in discreet]
    rows: list[FeedbackRow] = []
    for row in services.outbox.many(numbers):
        if row.sent_at is not None and row.provider != _CAPTURE:  # a captured mail reaches nobody
            picks = [(pick.notice_id, pick.propensity) for pick in _wanted(services, row)]
            rows += signals.impressions(row.profile_id, picks, "email", row.sent_at)
    signals.keep_shown(services, rows)


def _wanted(services: Services, row: Delivery) -> list[Pick]:
    """The picks of a digest, in its order."""
    wanted = {notice_id for notice_id, _ in row.notices}
    return [p for p in _picks(services.editions.by_ids(row.recipe["editions"])) if p.notice_id in wanted]


def build(services: Services, row: Delivery) -> Message | None:
    """Make the message of an outbox row from its recipe; the same recipe gives the same bodies.

    Raises:
        SuppressedError: If the resident stopped the channel, gave no address, or left.
    """
    try:
        profile = services.profiles.get(row.profile_id)
    except NotFoundError as error:
        raise SuppressedError("The profile was erased.") from error
    contact = services.contacts.get(row.profile_id, row.channel)
    if services.subscriptions.live(row.profile_id, row.channel) is None or contact is None:
        raise SuppressedError(f"The channel {row.channel} was stopped.")
    if row.recipe.get("kind") != "confirm" and not _may_send(services, row.channel, contact):
        raise SuppressedError("The address was replaced and is not confirmed.")
    if row.recipe.get("kind") == "confirm":
        return _confirmation(services, row, contact)
    picks = _wanted(services, row)
    window = (from_micros(row.recipe["window"][0]), from_micros(row.recipe["window"][1]))
    token = stop_token(services, row.profile_id, row.channel, at=window[1])
    digest = digest_view(
        services,
        profile,
        picks,
        lang=row.recipe["lang"],
        window=window,
        surface="mail" if row.channel == "email" else "sms",
        unsubscribe_url=f"{services.settings.base_url}/u/{token}",
        revisions=dict(row.notices),
    )
    if not digest.entries:
        return None
    if row.channel == "sms":
        return compose_sms(digest, to=contact.address, out_id=f"d{row.id}")
    return compose_mail(
        digest,
        to=contact.address,
        sender=services.settings.mail_from or f"notices@{services.authority}",
        message_id=f"<d{row.id}@{services.authority}>",
        date=window[1],
    )


def _confirmation(services: Services, row: Delivery, contact: Contact) -> Message | None:
    """Ask whether the address is theirs; ``None`` once it was confirmed."""
    if contact.verified_at is not None:
        return None
    token = derived_secret(services.key, "confirm", row.profile_id, row.channel, contact.address)
    return compose_confirmation(
        services.city.name.of(row.recipe["lang"]),
        lang=row.recipe["lang"],
        url=f"{services.settings.base_url}/c/{token}",
        sample=bool(services.city.sample_mark),
        to=contact.address,
        sender=services.settings.mail_from or f"notices@{services.authority}",
        message_id=f"<d{row.id}@{services.authority}>",
        date=row.due_at,
    )


def _due(services: Services, now: datetime) -> Iterator[Subscription]:
    after = 0
    while True:
        found = services.subscriptions.due(now, channels=CHANNELS, limit=_BATCH, after=after)
        yield from found
        if len(found) < _BATCH:
            return
        after = found[-1].id


def _plan_one(services: Services, subscription: Subscription, now: datetime, report: PlanReport) -> None:
    """Enqueue first, advance after: a crash in between plans the same key again, which adds nothing."""
    following = next_due(now, subscription.local_hour, services.zone)
    # From the end of the last window to the newest slot: one digest covers what a pause of the
    # scheduler or a change of hour left over.
    end = daily_window(local_date(following, services.zone), subscription.local_hour, services.zone)[0]
    end = max(end, subscription.covered_until)
    row = _row(services, subscription, (subscription.covered_until, end), now)
    if row is None:
        report.empty += 1
    elif not _may_send(services, subscription.channel, _contact(services, subscription)):
        report.unverified += 1
    else:
        report.planned += services.outbox.enqueue([row], now)
        report.notices.extend(notice_id for notice_id, _ in row.notices)
    services.subscriptions.advance(
        subscription.id,
        seen_due_at=subscription.next_due_at,
        next_due_at=following,
        covered_until=end,
    )


def _row(
    services: Services, subscription: Subscription, window: tuple[datetime, datetime], now: datetime
) -> NewDelivery | None:
    profile_id, channel = subscription.profile_id, subscription.channel
    editions = [e for e in services.editions.between(profile_id, *window) if e.kind != "welcome"]
    picks = _picks(editions)
    if not picks:
        return None
    carried = {
        pair
        for row in services.outbox.for_profile(profile_id)
        if row.channel == channel
        for pair in row.notices
    }
    found = services.notices.many(pick.notice_id for pick in picks)
    shown = tuple(
        (pick.notice_id, found[pick.notice_id].revision)
        for pick in picks
        if pick.notice_id in found
        and found[pick.notice_id].state == "released"
        and now - found[pick.notice_id].fresh_at <= _PUSHED_AGE
        and (pick.notice_id, pick.revision) not in carried
    )
    if not shown:
        return None
    due = allowed_at(channel, now, services.zone, "digest")
    return NewDelivery(
        dedupe_key=f"digest:{profile_id}:{channel}:{window[1].isoformat(timespec='minutes')}",
        profile_id=profile_id,
        channel=channel,
        lane="digest",
        due_at=due,
        expires_at=max(window[1], due) + _USEFUL_FOR,
        recipe={
            "editions": [edition.id for edition in editions],
            "lang": subscription.lang,
            "template": TEMPLATE_VERSION,
            "window": [to_micros(window[0]), to_micros(window[1])],
        },
        notices=shown,
    )


def _may_send(services: Services, channel: str, contact: Contact | None) -> bool:
    """A real channel serves confirmed addresses only; capture serves all, it reaches nobody."""
    port = services.channels.get(channel)
    if port is None or port.name == _CAPTURE:
        return True
    return contact is not None and contact.verified_at is not None


def _contact(services: Services, subscription: Subscription) -> Contact | None:
    return services.contacts.get(subscription.profile_id, subscription.channel)


def _picks(editions: list[Edition]) -> list[Pick]:
    """Picks of several editions: newest edition first, each notice once, in its last place."""
    seen: dict[int, Pick] = {}
    for edition in reversed(editions):
        for pick in edition.picks:
            seen.setdefault(pick.notice_id, pick)
    return list(seen.values())
