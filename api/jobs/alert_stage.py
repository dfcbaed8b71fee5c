"""Where a warning stands, and who was told of it before: what an alert job must know before it tells.

Reads the stores and changes nothing. All languages of one warning are one family. Called by
:mod:`api.jobs.alerts` and :mod:`api.jobs.alert_proof`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from api.jobs.concerned import Circle, circle_of, readers_of
from api.wiring import Services
from delivery.alert_outbox import AlertPlan, Version
from feeds.catalogue.notices import Notice
from feeds.kernel.time import to_micros
from profiles.match import kinship

# An alert that could not be sent for so long is of no use any more.
USEFUL_FOR = timedelta(hours=12)
# What a source said before it was first polled is old news, unless it was said just now.
ARCHIVE_AGE = timedelta(hours=24)
_NOBODY = Circle(False, frozenset())
_SAME = ("duplicate_of", "reprints")


@dataclass(frozen=True, slots=True)
class Family:
    """A warning in all its languages; ``base`` is the notice of its first one."""

    base: Notice
    members: tuple[Notice, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The notices' numbers."""
        return tuple(one.id for one in self.members)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a warning stands.

    Attributes:
        family: Ids of its notices.
        versions: What is told now: one notice for each language.
        keys: Notice id → beginning of the keys of this stage's messages.
        circle: Whom it concerns anew; ``None`` where only those who were told hear of it.
        over: It is withdrawn: an end is told.
        spared: Whom another source's notice of the same warning tells.
        twins: Ids of such notices that stand.
        begun: Whether any message of it was planned before.
        since: When this stage began.
        expires_at: When its messages stop being of use.
    """

    family: tuple[int, ...]
    versions: tuple[Notice, ...]
    keys: Mapping[int, str]
    circle: Circle | None
    over: bool
    begun: bool
    since: datetime
    expires_at: datetime
    spared: Circle = _NOBODY
    twins: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What this stage is remembered by; a minor change is not told anew, but looked at once."""
        return "|".join(f"{self.keys[one.id]}{one.revision}" for one in self.versions)


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
    released = tuple(one for one in family.members if one.state == "released" and not is_over(one, now))
    if family.base.state == "withdrawn":
        released = ()  # the first language speaks for the others
    withdrawn = tuple(one for one in family.members if one.state == "withdrawn")
    versions = released or withdrawn
    if not versions:
        return None
    begun = services.alert_outbox.begun(family.ids)
    urgent = any(one.priority == "emergency" for one in released)
    if not begun and not urgent:
        return None
    circle = _circle(services, released, now) if urgent else None
    twins = _twins(services, family, now)
    spared = _spared(services, family, twins, now, anew=circle is not None)
    if not begun and circle is not None and _holds(spared, circle):
        return None  # the other source's tells them all
    majors = services.notices.last_major(one.id for one in versions)
    keys = {
        one.id: f"alert:{one.id}:{majors[one.id].revision if one.id in majors else 1}"
        f"{'' if released else ':end'}:"
        for one in versions
    }
    ends = [one.content.expires for one in released if one.content.expires is not None]
    return Stage(
        family=family.ids,
        versions=versions,
        keys=keys,
        circle=circle,
        over=not released,
        begun=begun,
        since=max(one.changed_at or one.created_at for one in versions),
        expires_at=min([now + USEFUL_FOR, *ends]),
        spared=spared,
        twins=tuple(number for twin in twins for number in twin.ids),
    )


def plan_of(services: Services, stage: Stage, now: datetime, channels: Sequence[str]) -> AlertPlan:
    """Say to the outbox whom a stage is told, and from what its messages are built."""
    circle = stage.circle or _NOBODY
    several = len(stage.versions) > 1
    readers = readers_of(services.alert_outbox.languages(), stage.versions) if several else {}
    return AlertPlan(
        family=stage.family,
        versions=tuple(
            Version(
                one.id, one.revision, stage.keys[one.id],
                # The first is also for everybody who reads none of the languages.
                None if place == 0 else readers[one.id],
                _recipe(stage, one, now),
            )
            for place, one in enumerate(stage.versions)
        ),
        channels=tuple(channels),
        anew=stage.circle is not None,
        everybody=circle.everybody,
        places=circle.places,
        follow=stage.begun and services.alert_outbox.told(stage.family),
        due_at=now,
        expires_at=stage.expires_at,
        spared_all=stage.spared.everybody,
        spared=stage.spared.places,
    )  # fmt: skip


def _recipe(stage: Stage, notice: Notice, now: datetime) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "kind": "alert",
        "notice": notice.id,
        "revision": notice.revision,
        "window": [to_micros(stage.since), to_micros(now)],
    }
    return recipe | ({"stage": "end"} if stage.over else {})


def keys_now(services: Services, notices: Iterable[int], now: datetime) -> dict[int, tuple[str, ...]]:
    """Beginnings of the keys of what is told now: notice id → those of its warning.

    A notice is left out where there is nothing to tell: then nothing replaces what was planned.
    """
    found: dict[int, tuple[str, ...]] = {}
    for family in families(services, notices):
        stage = stage_of(services, family, now)
        if stage is not None:
            found.update(dict.fromkeys(family.ids, tuple(stage.keys.values())))
    return found


def _twins(services: Services, family: Family, now: datetime) -> list[Family]:
    """Other sources' notices of the same warning that stand as emergencies."""
    links = [link for one in family.members for link in services.notices.links(one.id)]
    others = {number for link in links if link.kind in _SAME for number in (link.from_id, link.to_id)}
    others |= {one.lead_id for one in family.members if one.lead_id is not None}
    others -= set(family.ids)
    return [twin for twin in families(services, sorted(others)) if _standing(twin, now)] if others else []


def _standing(family: Family, now: datetime) -> list[Notice]:
    """The languages of a warning that stand as an emergency."""
    if family.base.state == "withdrawn":
        return []
    return [
        one
        for one in family.members
        if one.state == "released" and one.priority == "emergency" and not is_over(one, now)
    ]


def _spared(
    services: Services, family: Family, twins: Sequence[Family], now: datetime, *, anew: bool
) -> Circle:
    """Whom the twins tell: of two the one that was told first goes before; of an end both are asked."""
    found = []
    begun = services.alert_outbox.first_of(family.ids) if twins else None  # it looks at every message
    for twin in twins:
        first = services.alert_outbox.first_of(twin.ids)
        if not anew or (first is not None and (begun is None or first < begun)):
            found.append(_circle(services, _standing(twin, now), now) or _NOBODY)
    return Circle(
        any(one.everybody for one in found), frozenset(code for one in found for code in one.places)
    )


def _holds(outer: Circle, inner: Circle) -> bool:
    return outer.everybody or (bool(inner.places) and not inner.everybody and inner.places <= outer.places)


def _circle(services: Services, released: Sequence[Notice], now: datetime) -> Circle | None:
    """Whom the emergency concerns; nobody anew if it is only an old one in a source's first answer."""
    if all(one.archive and now - one.fresh_at > ARCHIVE_AGE for one in released):
        return None
    kin = kinship(services.city)
    circles = [circle_of(one, kin) for one in released]
    return Circle(
        any(one.everybody for one in circles), frozenset(code for one in circles for code in one.places)
    )


def is_over(notice: Notice, now: datetime) -> bool:
    """Whether a warning's own end has come."""
    return notice.content.expires is not None and notice.content.expires <= now
