"""Who got this, when, through whom: for one notice, or for one resident. Addresses only masked.

Of a sensitive notice nobody is named, and numbers below twenty are not told: a list of who was sent it
would say what they live with. For the same reason a resident's own list says nothing of such notices, and
leaves out what carried nothing else. Each question stands in the audit. Called by ``mycity outbox who`` and
the desk's outbox page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from api.jobs.masking import masked
from api.wiring import Services
from delivery.outbox_log import OutboxLog, Sum
from delivery.types import Delivery
from feeds.catalogue.notices import Notice
from feeds.kernel.errors import MycityError

# Fewer people than this are not counted where the matter is sensitive.
FEW = 20
_MOST = 200
#: Who asks on the command line.
OPERATOR = "operator"

# What the inner rooms write at a row → its name here, and the words for it.
_WHY = (
    (r"Its time is over\.", "late", "its time was over before it could go out"),
    (r"The sender ended before it could report\.", "sender", "the sender ended before it could report"),
    (r"empty", "empty", "there was nothing new for the reader"),
    (r"muted", "muted", "the reader muted all of it"),
    (r"confirmed", "confirmed", "it was confirmed already"),
    (r"over", "over", "its time was over"),
    (r"outdated", "outdated", "a newer warning replaced it"),
    (r"paused", "paused", "the reader paused messages"),
    (r"The address is suppressed \(bounced\)\.", "bounced", "mails to the address came back"),
    (r"The address is suppressed \(complained\)\.", "complained", "the recipient called it spam"),
    (r"The address is suppressed \(opted_out\)\.", "opted_out", "the recipient wants nothing more"),
    (r"The address is suppressed \(.*\)\.", "suppressed", "the address must not be written to"),
    (r"The channel \w+ was stopped\.", "stopped", "the reader stopped this channel"),
    (r"The address was replaced and is not confirmed\.", "replaced", "the new address is not confirmed yet"),
    (r"The run waits for a person .*", "waits", "its run waits for a person"),
)


def why_of(error: str) -> str:
    """Name why a delivery stands where it does; ``""`` where only the provider's own words tell."""
    return next((name for pattern, name, _ in _WHY if re.fullmatch(pattern, error)), "")


def why_text(error: str) -> str:
    """Say it in English; what a provider answered stays as it is."""
    return next((said for pattern, _, said in _WHY if re.fullmatch(pattern, error)), error)


@dataclass(frozen=True, slots=True)
class Line:
    """One delivery as an operator sees it.

    Attributes:
        to: The masked address, or ``""`` where there is none any more.
        notices: Numbers of the notices it carried; sensitive ones are left out, without a word.
    """

    delivery_id: int
    profile_id: int
    channel: str
    lane: str
    state: str
    due_at: datetime
    sent_at: datetime | None
    provider: str
    attempts: int
    to: str
    error: str
    notices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known.

    Attributes:
        sensitive: The notice is a sensitive matter: no lines, and small numbers are hidden.
        sums: By channel, provider and state; a count of -1 means fewer than :data:`FEW`.
        lines: The newest deliveries, at most 200.
    """

    sensitive: bool = False
    sums: tuple[Sum, ...] = ()
    lines: tuple[Line, ...] = ()

    @property
    def total(self) -> int:
        """Deliveries in all; -1 for fewer than :data:`FEW` of a sensitive matter."""
        counts = [one.count for one in self.sums]
        return -1 if counts and min(counts) < 0 else sum(counts)


def who_got(services: Services, notice_id: int, *, actor: str = OPERATOR) -> Answer:
    """Tell by whom a notice was received.

    Args:
        services: The joined parts.
        notice_id: Which.
        actor: Who asks; the audit remembers it.

    Raises:
        NotFoundError: If there is no such notice.
    """
    notice = services.notices.get(notice_id)
    _note(services, actor, notice_id=notice_id)
    log = OutboxLog(services.database)
    sums = log.sums_of_notice(notice_id)
    if is_sensitive(services, notice):
        return Answer(True, tuple(_veiled(one) for one in sums))
    return Answer(False, tuple(sums), _lines(services, log.of_notice(notice_id, _MOST)))


def what_came(services: Services, profile_id: int, *, actor: str = OPERATOR) -> Answer:
    """Tell what was sent to a resident; arguments as in :func:`who_got`."""
    _note(services, actor, profile_id=profile_id)
    return Answer(lines=_lines(services, OutboxLog(services.database).of_profile(profile_id, _MOST)))


def is_sensitive(services: Services, notice: Notice) -> bool:
    """Whether a notice is about a sensitive matter."""
    return any(services.city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)


def _note(services: Services, actor: str, *, notice_id: int | None = None, profile_id: int = 0) -> None:
    """Write down that somebody looked, before they see it."""
    details = {"profile": profile_id} if profile_id else {}
    now = services.clock.now()
    services.audit.append("outbox-look", actor=actor, at=now, notice_id=notice_id, details=details)


def _veiled(one: Sum) -> Sum:
    """A number that could point at people, and the instants that go with it, are not told."""
    return one if one.count >= FEW else Sum(one.channel, one.provider, one.state, -1, None, None)


def _lines(services: Services, rows: Sequence[Delivery]) -> tuple[Line, ...]:
    notices = services.notices.many({number for row in rows for number, _ in row.notices})
    veiled = {number for number, notice in notices.items() if is_sensitive(services, notice)}
    addresses = _addresses(services, rows)
    return tuple(
        Line(
            row.id, row.profile_id, row.channel, row.lane, row.state, row.due_at, row.sent_at, row.provider,
            row.attempts,
            addresses.get((row.profile_id, row.channel), "") if "copy" not in row.recipe else "",
            row.error, tuple(n for n, _ in row.notices if n not in veiled),
        )
        for row in rows
        if not row.notices or not veiled.issuperset(n for n, _ in row.notices)
    )  # fmt: skip


def _addresses(services: Services, rows: Sequence[Delivery]) -> dict[tuple[int, str], str]:
    pairs = sorted({(row.profile_id, row.channel) for row in rows})
    try:
        found = services.contacts.many(pairs)
    except MycityError:  # sealed with a key that is gone: the log is still worth reading
        return {}
    return {pair: masked(pair[1], contact.address) for pair, contact in found.items()}
