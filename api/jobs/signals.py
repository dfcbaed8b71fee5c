"""What residents do, kept and learned from: the one way in for every entrance.

Each use case asks first whether the resident may be observed: of somebody who switched personalisation off
nothing is stored, on any way. An act is stored and taught to their taste in one transaction. Nothing here
ranks or shows anything. Called by the pages, the interface, the feed path and the digest job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from api.wiring import Services
from feeds.catalogue.tagging import Tag
from feeds.kernel.errors import MycityError, UsageError
from profiles.feedback import OPINIONS, SHOWS_AGAIN, SURE, USES, FeedbackRow
from profiles.taste import lesson
from profiles.types import FeedbackKind

_log = structlog.get_logger(__name__)
#: What an act says about taste; a rating says (stars - 3) / 2.
WORTH: dict[FeedbackKind, float] = {
    "open": 0.3, "click": 0.5, "save": 1.0, "like": 1.0, "hide": -0.5, "dislike": -1.0, "less": -1.0,
}  # fmt: skip
# A reload is not another opening.
_SAME_USE = timedelta(minutes=30)


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
    place = _place_on_shelf(services, profile_id, notice_id)
    if place is None:
        return False
    row = FeedbackRow(
        profile_id, notice_id, kind, services.clock.now(), channel, *place,
        value=float(value) if kind == "rating" else 0.0,
    )  # fmt: skip
    tags = _tags_to_learn(services, profile_id, notice_id)
    with services.database.write() as connection:
        if not services.feedback.observes(profile_id, connection):
            return False
        before = services.feedback.about(profile_id, notice_id, connection)
        if _is_said_already(row, before):
            return True
        services.feedback.record([row], connection)
        services.taste.learn(profile_id, tags, worth([*before, row]) - worth(before), connection)
    if is_hidden(before) != is_hidden([*before, row]):
        services.editions.touch(profile_id)
    return True


def take_back(services: Services, profile_id: int, notice_id: int, kind: FeedbackKind) -> bool:
    """Delete one kind of act on a notice and take back what it had taught; return whether there was one.

    Deleting works with personalisation off too. What faded since is not reckoned: after many events a little
    more is taken back than was left.
    """
    tags = _tags_to_learn(services, profile_id, notice_id)
    with services.database.write() as connection:
        observed = services.feedback.observes(profile_id, connection)
        before = services.feedback.about(profile_id, notice_id, connection)
        if services.feedback.take_back(profile_id, notice_id, kind, connection) == 0:
            return False
        after = [row for row in before if row.kind != kind]
        if observed:
            services.taste.learn(profile_id, tags, worth(after) - worth(before), connection)
    if is_hidden(before) != is_hidden(after):
        services.editions.touch(profile_id)
    return True


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


def keep_shown(services: Services, rows: Sequence[FeedbackRow]) -> int:
    """Write impressions; what cannot be written is lost and logged, for the answer it is about was given."""
    try:
        return services.feedback.record_shown(rows)
    except Exception as error:
        _log.error("impressions_lost", rows=len(rows), error=type(error).__name__)
        return 0


def worth(rows: Sequence[FeedbackRow]) -> float:
    """What all acts of one resident on one notice say together: the latest opinion, and each use once."""
    said = [row for row in rows if row.kind in OPINIONS]
    uses = {row.kind for row in rows if row.kind in USES}
    return (_value(said[-1]) if said else 0.0) + sum(WORTH[kind] for kind in sorted(uses))


def is_hidden(rows: Sequence[FeedbackRow]) -> bool:
    """Whether the acts on a notice, oldest first, end in it being hidden."""
    telling = [row.kind for row in rows if row.kind == "hide" or row.kind in SHOWS_AGAIN]
    return bool(telling) and telling[-1] == "hide"


def _value(row: FeedbackRow) -> float:
    return (row.value - 3) / 2 if row.kind == "rating" else WORTH[row.kind]


def _is_said_already(row: FeedbackRow, before: Sequence[FeedbackRow]) -> bool:
    if row.kind in USES:
        return any(old.kind == row.kind and old.at > row.at - _SAME_USE for old in before)
    said = [old for old in before if old.kind in OPINIONS]
    return bool(said) and (said[-1].kind, said[-1].value) == (row.kind, row.value)


def _place_on_shelf(services: Services, profile_id: int, notice_id: int) -> tuple[int, float] | None:
    """Position and propensity of a pick; one that left the shelf has no position, a stranger ``None``."""
    shelf = services.editions.shelf(profile_id)
    for position, item in enumerate(shelf.picks, start=1):
        if item.pick.notice_id == notice_id:
            return position, item.pick.propensity
    return (0, 1.0) if notice_id in shelf.picked else None


def _tags_to_learn(services: Services, profile_id: int, notice_id: int) -> list[Tag]:
    notice = services.notices.many([notice_id]).get(notice_id)
    if notice is None:
        return []
    city = services.city
    sensitive = any(city.is_sensitive(f"{tag.kind}:{tag.code}") for tag in notice.tags)
    return lesson(notice.tags, city, _agreed(services, profile_id) if sensitive else ())


def _agreed(services: Services, profile_id: int) -> set[str]:
    """Sensitive tags that a live consent names."""
    return {
        item.purpose.removeprefix("sensitive:")
        for item in services.consents.all(profile_id)
        if item.ended_at is None and item.purpose.startswith("sensitive:")
    }
