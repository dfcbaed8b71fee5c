"""What residents do, kept and learned from: the one way in for every entrance.

Each use case asks first whether the resident may be observed: of somebody who switched personalisation off
nothing is stored, on any way. An act is stored and taught to their taste in one transaction. Nothing here
ranks or shows anything. Called by the pages, the interface, the feed path and the digest job.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from api.wiring import Services
from feeds.catalogue.tagging import Tag
from feeds.kernel.errors import MycityError, UsageError
from profiles.feedback import SURE, FeedbackRow
from profiles.said import OPINIONS, USES, WORTH, said, worth
from profiles.taste import HALF_LIFE, lesson
from profiles.types import FeedbackKind

_log = structlog.get_logger(__name__)
# A reload is not another opening.
_SAME_USE = timedelta(minutes=30)
# What lies so many events back weighs less than is kept.
_TELLING = 10 * HALF_LIFE


def opened(services: Services, profile_id: int, notice_id: int, *, channel: str = "web") -> bool:
    """Keep that somebody opened one of their picks; return whether it is kept, see :func:`opinion`."""
    return opinion(services, profile_id, notice_id, "open", channel=channel)


def clicked(services: Services, profile_id: int, notice_id: int, *, channel: str = "web") -> bool:
    """Keep that somebody followed a pick to its source; return whether it is kept, see :func:`opinion`."""
    return opinion(services, profile_id, notice_id, "click", channel=channel)


def opinion(
    services: Services,
    profile_id: int,
    notice_id: int,
    kind: FeedbackKind,
    value: float = 0.0,
    channel: str = "web",
) -> bool:
    """Keep what a resident did with, or says of, one of their picks, and learn from it.

    Of several opinions on one notice the latest holds: it takes back what the one before had taught. Saying
    the same again changes nothing, and so does opening again within half an hour; a notice that is opened
    often teaches once.

    Args:
        services: The joined parts.
        profile_id: Whose.
        notice_id: A notice that was picked for them; position and propensity come from their shelf.
        kind: Any but ``impression``.
        value: Of a rating: 1 to 5. Ignored for every other kind.
        channel: Where it was said.

    Returns:
        Whether it is kept. False where personalisation is off, or the notice is none of their picks.

    Raises:
        UsageError: For another kind, or a rating that is not 1 to 5.
    """
    if kind not in (*USES, *OPINIONS):
        raise UsageError(
            f"{kind!r} is nothing one does with a notice; use one of {', '.join(WORTH)}, rating."
        )
    if kind == "rating" and not 1 <= value <= 5:
        raise UsageError("A rating is 1, 2, 3, 4 or 5.")
    place = services.editions.place(profile_id, notice_id)
    if place is None:
        return False
    row = FeedbackRow(
        profile_id, notice_id, kind, services.clock.now(), channel, *place,
        value=float(value) if kind == "rating" else 0.0,
    )  # fmt: skip
    tags = services.notices.tags([notice_id]).get(notice_id, ())
    with services.database.write() as connection:
        if not services.feedback.observes(profile_id, connection):
            return False
        before = services.feedback.about(profile_id, notice_id, connection)
        if _is_said_already(row, before):
            return True
        services.feedback.record([row], connection)
        change = worth([*before, row]) - worth(before)
        if change:  # consents as they stand in this transaction: one that ended before teaches nothing
            taught = _lesson(services, tags, lambda: services.consents.sensitive(profile_id, connection))
            services.taste.learn(profile_id, taught, change, connection)
    if said(before).hidden != said([*before, row]).hidden:
        services.editions.touch(profile_id)
    return True


def take_back(services: Services, profile_id: int, notice_id: int, kind: FeedbackKind) -> bool:
    """Delete one kind of act on a notice and take back what it had taught; return whether there was one.

    Both are done while personalisation is off too. What faded since is not reckoned: after many events a
    little more is taken back than was left.
    """
    tags = services.notices.tags([notice_id]).get(notice_id, ())
    with services.database.write() as connection:
        services.feedback.observes(profile_id, connection)  # nobody else changes it meanwhile
        before = services.feedback.about(profile_id, notice_id, connection)
        if services.feedback.take_back(profile_id, notice_id, kind, connection) == 0:
            return False
        after = [row for row in before if row.kind != kind]
        taught = _lesson(services, tags, lambda: services.consents.sensitive(profile_id, connection))
        services.taste.learn(profile_id, taught, worth(after) - worth(before), connection)
    if said(before).hidden != said(after).hidden:
        services.editions.touch(profile_id)
    return True


def relearn(services: Services, profile_id: int) -> None:
    """Make what was learned anew from the latest acts, by the consents of now; what they set stays.

    For a consent that was taken back: nothing of what it taught is left, and nothing new comes.
    """
    with services.database.write() as connection:
        services.feedback.observes(profile_id, connection)  # nobody else changes it meanwhile
        rows = services.feedback.recent([profile_id], _TELLING, connection)[profile_id][::-1]
        tags = services.notices.tags(row.notice_id for row in rows)
        agreed = services.consents.sensitive(profile_id, connection)
        lessons = {number: lesson(one, services.city, agreed) for number, one in tags.items()}
        services.taste.relearn(profile_id, _events(rows, lessons), connection)


def teaches(services: Services, profile_id: int, tags: Sequence[Tag]) -> list[Tag]:
    """The tags that an opinion on a notice would teach this resident, see :func:`profiles.taste.lesson`."""
    return _lesson(services, tags, lambda: services.consents.sensitive(profile_id))


def shown(services: Services, profile_id: int, notice_ids: Iterable[int], channel: str = "web") -> int:
    """Keep that a list of picks was shown; return how many impressions were new. Never raises.

    Args:
        services: The joined parts.
        profile_id: To whom.
        notice_ids: In the order shown; positions count from 1. Propensities come from the shelf.
        channel: One of :data:`profiles.feedback.SURE`.
    """
    try:
        chance = {
            item.pick.notice_id: item.pick.propensity for item in services.editions.shelf(profile_id).picks
        }
    except MycityError as error:
        _log.error("impressions_lost", rows=1, error=type(error).__name__)
        return 0
    picks = [(notice_id, chance.get(notice_id, 1.0)) for notice_id in notice_ids]
    return keep_shown(services, impressions(profile_id, picks, channel, services.clock.now()))


def impressions(
    profile_id: int, picks: Iterable[tuple[int, float]], channel: str, at: datetime
) -> list[FeedbackRow]:
    """Make the impressions of one list, in its order."""
    sure = SURE[channel]
    return [
        FeedbackRow(profile_id, notice_id, "impression", at, channel, position, propensity, sure=sure)
        for position, (notice_id, propensity) in enumerate(picks, start=1)
    ]


def keep_shown(services: Services, rows: Sequence[FeedbackRow], seen: Mapping[int, int] | None = None) -> int:
    """Write impressions; what cannot be written is lost and logged, for the answer it is about was given.

    ``seen``: of rows that waited, by profile, the version of the shelf that was shown.
    """
    try:
        return services.feedback.record_shown(rows, seen)
    except Exception as error:
        _log.error("impressions_lost", rows=len(rows), error=type(error).__name__)
        return 0


def _is_said_already(row: FeedbackRow, before: Sequence[FeedbackRow]) -> bool:
    if row.kind in USES:
        return any(old.kind == row.kind and old.at > row.at - _SAME_USE for old in before)
    opinions = [old for old in before if old.kind in OPINIONS]
    return bool(opinions) and (opinions[-1].kind, opinions[-1].value) == (row.kind, row.value)


def _lesson(services: Services, tags: Sequence[Tag], agreed: Callable[[], Collection[str]]) -> list[Tag]:
    """What a notice teaches; consents are asked for only where one is needed."""
    sensitive = any(services.city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in tags)
    return lesson(tags, services.city, agreed() if sensitive else ())


def _events(
    rows: Iterable[FeedbackRow], lessons: Mapping[int, list[Tag]]
) -> Iterator[tuple[list[Tag], float]]:
    """What each act, oldest first, taught when it came."""
    about: dict[int, list[FeedbackRow]] = {}
    for row in rows:
        before = about.setdefault(row.notice_id, [])
        change = worth([*before, row]) - worth(before)
        before.append(row)
        yield lessons.get(row.notice_id, []), change
