"""The feedback of an installation as a log, so that it is judged and learned from like any other. Pure.

Nothing of a resident who switched personalisation off enters it. Called by ``mycity evaluate`` and by
training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from feeds.kernel.time import to_micros
from profiles.match import kinship
from profiles.types import Profile
from recommender.features import Above, title_words, user_features
from recommender.log import DAY, Log, Split
from recommender.replay.offpolicy import Estimate, estimate, even
from recommender.replay.times import guessed
from recommender.tokens import tokens_of
from recommender.train import liked

if TYPE_CHECKING:  # the store stands beside the row; a pure module must not load it
    from profiles.feedback import FeedbackRow

#: Acts that say a shown notice was wanted. What keeps a notice makes it as good as the resident's own.
WANTED = frozenset({"open", "click", "save", "like"})
KEPT = frozenset({"save", "like"})
#: A refusal takes an event back if it comes so soon after it; a later one changes nothing of what was then.
_TAKEN_BACK = timedelta(days=7)
#: An explored notice counts as opened if that happened within so many seconds.
_SOON = 14 * DAY


def log_of(
    rows: Sequence[FeedbackRow], profiles: Sequence[Profile], notices: Sequence[Notice], city: City
) -> Log:
    """Turn feedback into a log.

    An event is a notice that a resident opened, clicked, saved, liked or rated well and did not refuse within
    a week; it stands at the first of these acts, so that nothing is known earlier or later than it was.

    Args:
        rows: Any order; impressions and rows of unknown residents or notices are skipped.
        profiles: Users, in this order; those with ``personalised=False`` are left out.
        notices: Items. Their agency is the author; the place it speaks for is the author's kind, and the
        nearest
            such place a resident follows is theirs. Tags become ``t:kind:code``, words of the title ``w:…``.
        city: What contains which place, and the places of agencies.
    """
    people = [one for one in profiles if one.personalised]
    things = sorted(notices, key=lambda one: (_published(one), one.id))
    user_no = {one.id: n for n, one in enumerate(people)}
    item_no = {one.id: n for n, one in enumerate(things)}
    kin = kinship(city)
    above = kin.above
    agencies = [one.content.agency_slug or next(iter(one.codes("agency")), "") for one in things]
    authors = {name: n for n, name in enumerate(dict.fromkeys(name for name in agencies if name))}
    places = {name: city.agencies[name].place for name in authors if name in city.agencies}
    kinds = {place: n for n, place in enumerate(dict.fromkeys(places.values()))}
    item_time = np.array([_published(one) for one in things], dtype=np.int64)
    pairs = liked(rows, {one.id: one for one in people}, {one.id: one for one in things}, until=_TAKEN_BACK)
    events = _columns(
        [(_seconds(one.since), user_no[u], item_no[i]) for (u, i), one in pairs.items()], item_time
    )
    keeps: dict[tuple[int, int], datetime] = {}
    for row in rows:
        pair = (row.profile_id, row.notice_id)
        if row.kind in KEPT and pair in pairs and row.at >= pairs[pair].since:
            keeps[pair] = min(row.at, keeps.get(pair, row.at))
    kept = _columns(
        [(_seconds(at), user_no[user], item_no[item]) for (user, item), at in keeps.items()], item_time
    )
    made_up = sum(one.simulated for one in pairs.values())
    return Log(
        users=tuple(str(one.id) for one in people),
        user_tokens=tuple(tuple(sorted(user_features(one, above))) for one in people),
        items=tuple(str(one.id) for one in things),
        item_time=item_time,
        item_tokens=tuple(
            tokens_of(one.tags, title_words(one.content.title), kin.theme_parent) for one in things
        ),
        item_author=np.array([authors.get(name, -1) for name in agencies], dtype=np.int64),
        item_kind=np.array([kinds.get(places.get(name, ""), -1) for name in agencies], dtype=np.int64),
        authors=tuple(authors),
        kinds=tuple(kinds),
        author_user=np.full(len(authors), -1, dtype=np.int64),
        user_kind=np.array([_home(one, above, kinds) for one in people], dtype=np.int64),
        event_user=events[:, 1], event_item=events[:, 2], event_time=events[:, 0],
        kept_user=kept[:, 1], kept_item=kept[:, 2], kept_time=kept[:, 0],
        remarks=(f"{made_up} of {len(pairs)} events are simulated.",) if made_up else (),
    )  # fmt: skip


def split_of(log: Log) -> Split | None:
    """Cut a log's time at quantiles of its events; None where there is no earlier and later."""
    if len(np.unique(log.event_time)) < 4:
        return None
    return guessed(log.item_time, log.event_time, log.event_time - log.item_time[log.event_item])


def exploration(shown: Sequence[FeedbackRow], acts: Sequence[FeedbackRow]) -> Estimate:
    """Compare the explored slot as it is filled with filling it evenly among what had a chance.

    Only rows with a chance below 1 say something; the first of each resident and notice counts, and its
    reward is 1 if they opened or kept the notice within 14 days. Read ``logged`` against ``snips``; how many
    notices had a chance is not in the log, so ``ips`` has no unit here.
    """
    wanted: dict[tuple[int, int], list[int]] = {}
    for act in acts:
        if act.kind in WANTED:
            wanted.setdefault((act.profile_id, act.notice_id), []).append(_seconds(act.at))
    first: dict[tuple[int, int], FeedbackRow] = {}
    for row in sorted(shown, key=lambda one: one.at):
        if row.kind == "impression" and row.propensity < 1:
            first.setdefault((row.profile_id, row.notice_id), row)
    reward = [
        float(any(0 <= at - _seconds(row.at) <= _SOON for at in wanted.get(pair, ())))
        for pair, row in first.items()
    ]
    chance = [row.propensity for row in first.values()]
    return estimate(reward, chance, even(chance))


def _columns(events: list[tuple[int, int, int]], item_time: np.ndarray) -> np.ndarray:
    """Time, user, item as int64 (n, 3), sorted by all three; nothing before its item."""
    found = np.array(sorted(events), dtype=np.int64).reshape(-1, 3)
    found[:, 0] = np.maximum(found[:, 0], item_time[found[:, 2]])
    return found[np.argsort(found[:, 0], kind="stable")]


def _published(notice: Notice) -> int:
    """When residents could first see it; an archived one counts from its own date."""
    return _seconds(notice.fresh_at if notice.archive else notice.released_at or notice.created_at)


def _seconds(moment: datetime) -> int:
    return to_micros(moment) // 1_000_000


def _home(profile: Profile, above: Above, kinds: Mapping[str, int]) -> int:
    """Number of the nearest place around what a resident follows that an agency speaks for, else -1."""
    chains = ((one.code, *above.get(one.code, ())) for one in profile.places)
    return next((kinds[code] for chain in chains for code in chain if code in kinds), -1)
