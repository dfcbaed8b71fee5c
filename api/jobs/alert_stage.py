"""Where a warning stands, and who was told of it before: what an alert job must know before it tells.

Reads the stores and changes nothing. All languages of one warning are one family. Called by
:mod:`api.jobs.alerts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.jobs.concerned import Circle, circle_of
from api.wiring import Services
from delivery.types import Delivery
from feeds.catalogue.notices import Notice
from profiles.match import kinship

# An alert that could not be sent for so long is of no use any more.
USEFUL_FOR = timedelta(hours=12)
# What a source said before it was first polled is old news, unless it was said just now.
ARCHIVE_AGE = timedelta(hours=24)
# States of a message that reached somebody, or may have.
TOLD = frozenset({"leased", "sent", "delivered", "complained", "unknown"})


@dataclass(frozen=True, slots=True)
class Family:
    """A warning in all its languages; ``base`` is the notice of its first one."""

    base: Notice
    members: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a warning stands, and who was told of it before.

    Attributes:
        versions: What is told now: one notice for each language.
        keys: Notice id → beginning of the keys of this stage's messages.
        circle: Whom it concerns anew; ``None`` where only those who were told hear of it.
        told: (profile, channel) that an earlier stage reached.
        planned: Keys of messages of this stage that exist already.
        outdated: Ids of messages of an earlier stage that still wait.
        since: When this stage began.
        expires_at: When its messages stop being of use.
    """

    versions: tuple[Notice, ...]
    keys: Mapping[int, str]
    circle: Circle | None
    told: frozenset[tuple[int, str]]
    planned: frozenset[str]
    outdated: tuple[int, ...]
    since: datetime
    expires_at: datetime


def families(services: Services, notice_ids: Iterable[int]) -> Iterator[Family]:
    """Find the warnings that some notices belong to, each once; notices of other kinds fall out."""
    seen: set[int] = set()
    found = services.notices.many(notice_ids)
    for notice in found.values():
        if notice.id in seen or not (notice.priority == "emergency" or "cap" in notice.content.extra):
            continue
        links = [link for link in services.notices.links(notice.id) if link.kind == "language_of"]
        base_id = next((link.to_id for link in links if link.from_id == notice.id), notice.id)
        if base_id != notice.id:
            links = [link for link in services.notices.links(base_id) if link.kind == "language_of"]
        ids = [base_id, *sorted(link.from_id for link in links if link.to_id == base_id)]
        seen.update(ids)
        members = services.notices.many(ids)
        yield Family(members[base_id], tuple(members[one] for one in ids if one in members))


def stage_of(services: Services, family: Family, now: datetime) -> Stage | None:
    """Find out what is to be told, if anything."""
    released = tuple(one for one in family.members if one.state == "released" and not _is_over(one, now))
    if family.base.state == "withdrawn":
        released = ()  # the first language speaks for the others
    withdrawn = tuple(one for one in family.members if one.state == "withdrawn")
    versions = released or withdrawn
    if not versions:
        return None
    rows = _alerts(services, family)
    # One that repeats another source's warning is told through that one.
    urgent = any(one.priority == "emergency" for one in released) and (
        bool(rows) or not _told_by_another(services, released)
    )
    if not rows and not urgent:
        return None
    majors = services.notices.last_major(one.id for one in versions)
    keys = {
        one.id: f"alert:{one.id}:{majors[one.id].revision if one.id in majors else 1}"
        f"{'' if released else ':end'}:"
        for one in versions
    }
    begun = [one.changed_at or one.created_at for one in versions]
    ends = [one.content.expires for one in released if one.content.expires is not None]
    current = tuple(keys.values())
    return Stage(
        versions=versions,
        keys=keys,
        circle=_circle(services, released, now) if urgent else None,
        told=frozenset((row.profile_id, row.channel) for row in rows if row.state in TOLD),
        planned=frozenset(row.dedupe_key for row in rows if row.dedupe_key.startswith(current)),
        outdated=tuple(r.id for r in rows if r.state == "queued" and not r.dedupe_key.startswith(current)),
        since=max(begun),
        expires_at=min([now + USEFUL_FOR, *ends]),
    )


def _told_by_another(services: Services, members: Sequence[Notice]) -> bool:
    """Whether another source's notice of the same warning was relayed already."""
    links = (link for one in members for link in services.notices.links(one.id))
    others = {
        other
        for link in links
        if link.kind in ("duplicate_of", "reprints")
        for other in (link.from_id, link.to_id)
    }
    others |= {one.lead_id for one in members if one.lead_id is not None}
    others -= {one.id for one in members}
    return any(row.lane == "alert" for other in others for row in services.outbox.for_notice(other))


def _alerts(services: Services, family: Family) -> list[Delivery]:
    """Every alert that carried one of its languages, whatever became of it."""
    rows = {row.id: row for one in family.members for row in services.outbox.for_notice(one.id)}
    return [row for row in rows.values() if row.lane == "alert"]


def _circle(services: Services, released: Sequence[Notice], now: datetime) -> Circle | None:
    """Whom the emergency concerns; nobody anew if it is only an old one in a source's first answer."""
    if all(one.archive and now - one.fresh_at > ARCHIVE_AGE for one in released):
        return None
    kin = kinship(services.city)
    circles = [circle_of(one, kin) for one in released]
    return Circle(
        any(one.everybody for one in circles), frozenset(code for one in circles for code in one.places)
    )


def _is_over(notice: Notice, now: datetime) -> bool:
    return notice.content.expires is not None and notice.content.expires <= now
