"""How often what was shown is opened, by role and level-1 theme: for its position, decayed, smoothed. Pure.

It counts what people of a role do and never keeps what one person did; it reads no clock and no database.
Called by training (which stores it beside the model), by ``blend`` (the part ``clicks``) and by ``explore``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.tagging import Tag
from feeds.catalogue.vocabulary import City
from profiles.types import Profile
from recommender.types import Csr, Floats, Ints, Mask, csr

if TYPE_CHECKING:  # the store stands beside the row; a pure module must not load it
    from profiles.feedback import FeedbackRow
    from recommender.candidates import Pool

OPENED = frozenset({"open", "click", "save", "like"})
REFUSED = frozenset({"dislike", "hide", "less"})
#: A role counts by itself from so many people on; below that it would tell of one person.
MIN_PEOPLE = 5
#: The lift is cut here: nobody is offered less than 0.37 or more than 2.7 times the usual.
MOST_LIFT = 1.0
#: A prior is worth at least so many clicks, however rare clicks are; 24 shows without one mean nothing then.
_PRIOR_CLICKS = 3.0
#: Positions 1 to 10 stand for themselves, then come 11-20 and everything below.
_PLACES = 12
_PLACE_PRIOR_CLICKS, _LEAST_LOOKED_AT = 10.0, 0.1


@dataclass(frozen=True)
class Clickthrough:
    """What is opened more, or less, than usual. Row 0 is everybody, row i + 1 is ``roles[i]``.

    Attributes:
        roles: Role codes, without sensitive ones: their row is everybody's.
        themes: Codes of the level-1 themes.
        lift: float32 (n_roles + 1, n_themes): log of the theme's rate over the row's own, in -1..1; 0 is as
            usual.
        clicks, shows: float32, same shape: decayed counts; a show counts as far as it was surely seen, where
            it stood. 0 in rows of too few people.
        as_of: The instant that rows are as old as.
        simulated_share: How much of ``shows`` is simulated, 0 to 1.
    """

    roles: tuple[str, ...]
    themes: tuple[str, ...]
    lift: Floats
    clicks: Floats
    shows: Floats
    as_of: datetime
    simulated_share: float = 0.0

    def facts(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {
            "roles": list(self.roles), "themes": list(self.themes), "as_of": self.as_of.isoformat(),
            "simulated_share": self.simulated_share,
        }  # fmt: skip

    def arrays(self) -> dict[str, Floats]:
        """The arrays of it, by name."""
        return {"lift": self.lift, "clicks": self.clicks, "shows": self.shows}

    @classmethod
    def of(cls, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> Clickthrough:
        """Put together again what :meth:`facts` and :meth:`arrays` gave.

        Raises:
            ValueError: If something is missing, of the wrong shape or kind, or not finite.
        """
        try:
            roles, themes = tuple(map(str, facts["roles"])), tuple(map(str, facts["themes"]))
            as_of = datetime.fromisoformat(facts["as_of"])
            share = float(facts["simulated_share"])
            own = [np.asarray(arrays[name], dtype=np.float32) for name in ("lift", "clicks", "shows")]
        except (KeyError, TypeError) as error:
            raise ValueError(f"click-through: {error} is missing or of the wrong kind") from error
        for one in own:
            if one.shape != (len(roles) + 1, len(themes)) or not np.isfinite(one).all():
                raise ValueError("click-through: an array does not fit its roles and themes")
        if as_of.tzinfo is None or not 0 <= share <= 1:
            raise ValueError("click-through: its facts are not sound")
        return cls(roles, themes, np.clip(own[0], -MOST_LIFT, MOST_LIFT), own[1], own[2], as_of, share)


@dataclass(frozen=True)
class _Shown:
    """Pairs of a resident and a notice they were shown; a repeat of it is no second chance.

    Attributes:
        who, what: int64 (n,): places in ``people`` and ``notices``; every one of them has a pair.
    """

    people: list[Profile]
    notices: list[Notice]
    who: Ints
    what: Ints
    weight: Floats
    place: Ints
    opened: Mask
    simulated: Mask


def clickthrough(
    rows: Iterable[FeedbackRow], profiles: Iterable[Profile], notices: Iterable[Notice], city: City,
    now: datetime, half_life_days: float = 14.0, prior: float = 24.0, *, simulated_share: float = 1.0,
) -> Clickthrough:  # fmt: skip
    """Count what was opened of what was shown.

    The unit is a pair (resident, notice): shown once, however often its feed was fetched, as sure as its
    surest impression; opened if the last word on it is an open, click, save, like or a rating of 4 and more.
    What was opened without ever being shown does not count.

    Args:
        rows: Any order. Left out: those of unknown residents and notices, of people who switched
            personalisation off, and those later than ``now``.
        profiles: Of the rows.
        notices: Of the rows.
        city: Its roles and level-1 themes are counted.
        now: What ages are measured from.
        half_life_days: After so many days a pair weighs half.
        prior: How many shows the rate of the row above is worth: everybody's theme leans on 0, a role's theme
            on everybody's. Where clicks are rare it counts as the shows that bring three.
        simulated_share: Most that simulated pairs may weigh of all, 0 to 1; they are weighed down to that.

    Returns:
        Without opened pairs, or of fewer than 5 people, every lift is 0.
    """
    roles = tuple(sorted(code for code, role in city.roles.items() if not role.sensitive))
    themes = tuple(code for code, theme in city.themes.items() if not theme.parent)
    known = {p.id: p for p in profiles if p.personalised}
    shown = _shown(rows, known, {n.id: n for n in notices}, now, half_life_days)
    weight, made_up = _weighed(shown, simulated_share)
    who = _role_rows(shown.people, roles)[shown.who].T.tocsr()
    about = theme_table([one.tags for one in shown.notices], city, themes)[shown.what]
    looked, opened = weight * looked_at(shown.place, shown.opened, weight), weight * shown.opened
    shows, clicks = _crossed(who, looked, about), _crossed(who, opened, about)
    lift = _lift(shows, clicks, who @ looked, who @ opened, prior)
    return Clickthrough(roles, themes, lift, clicks, shows, now, made_up)


def candidate_lift(counted: Clickthrough, pool: Pool) -> Floats:
    """The lift of each candidate for each row: the mean over its level-1 themes.

    Returns:
        float32 (n_roles + 1, n); 0 for candidates without a theme that was counted.
    """
    tags = [candidate.tags for candidate in pool.candidates]
    table = theme_table(tags, pool.city, counted.themes, spread=True)
    found: Floats = (table @ counted.lift.T).T.astype(np.float32)
    return np.ascontiguousarray(found)


def row_shares(counted: Clickthrough, profiles: Sequence[Profile]) -> Floats:
    """Which rows of the lift speak for whom: equal parts of one's roles, else everybody's.

    Returns:
        float32 (n_profiles, n_roles + 1); each line sums to 1, or to 0 where personalisation is off.
    """
    number = {role: n + 1 for n, role in enumerate(counted.roles)}
    found = np.zeros((len(profiles), len(counted.roles) + 1), dtype=np.float32)
    for line, profile in enumerate(profiles):
        if profile.personalised:
            own = [number[role] for role in profile.roles if role in number] or [0]
            found[line, own] = 1 / len(own)
    return found


def theme_table(
    tags: Sequence[Sequence[Tag]], city: City, themes: Sequence[str], *, spread: bool = False
) -> Csr:
    """Which level-1 themes each notice has.

    Returns:
        CSR (n_notices, n_themes) of ones, or with ``spread`` of equal parts of 1. Themes that are not listed
        are skipped.
    """
    column = {code: n for n, code in enumerate(themes)}
    rows = []
    for own in tags:
        codes = (tag.code for tag in own if tag.kind == "theme")
        tops = {(city.themes[code].parent or code) if code in city.themes else code for code in codes}
        found = [column[code] for code in tops if code in column]
        rows.append(dict.fromkeys(found, 1 / len(found) if spread and found else 1.0))
    return csr(rows, len(themes))


def looked_at(place: Ints, opened: Mask, weight: Floats) -> Floats:
    """How likely each pair was looked at where it stood, relative to the first place.

    The rate at each place relative to that at the first, each smoothed towards the rate of all by what ten
    clicks are worth, never rising with the place and never below 0.1. Lists put the best first, so the fall
    is partly merit and the correction too strong rather than too weak; the explored slot shows by how much.

    Args:
        place: int (n,), from 1; 0 (not in a list) counts as looked at.
        opened: bool (n,): what came of it.
        weight: float32 (n,): how much each pair counts.

    Returns:
        float32 (n,) in 0.1..1.
    """
    buckets = np.where(place <= 10, place, np.where(place <= 20, 11, 12))
    shows = np.bincount(buckets, weights=weight, minlength=_PLACES + 1)[1:]
    clicks = np.bincount(buckets, weights=weight * opened, minlength=_PLACES + 1)[1:]
    if clicks.sum() <= 0:
        return np.ones(place.shape, dtype=np.float32)
    usual = clicks.sum() / shows.sum()
    rates = (clicks + _PLACE_PRIOR_CLICKS) / (shows + _PLACE_PRIOR_CLICKS / usual)
    chance = np.minimum.accumulate(np.clip(rates / rates[0], _LEAST_LOOKED_AT, 1.0))
    found: Floats = np.concatenate([[1.0], chance])[buckets].astype(np.float32)
    return found


def _shown(
    rows: Iterable[FeedbackRow], people: Mapping[int, Profile], notices: Mapping[int, Notice], now: datetime,
    half_life_days: float,
) -> _Shown:  # fmt: skip
    best: dict[tuple[int, int], FeedbackRow] = {}
    said: dict[tuple[int, int], bool] = {}
    for row in sorted(rows, key=lambda one: one.at):
        pair = (row.profile_id, row.notice_id)
        if row.at > now or row.profile_id not in people or row.notice_id not in notices:
            continue
        if row.kind == "impression":
            if pair not in best or row.sure > best[pair].sure:
                best[pair] = row
        elif row.kind in OPENED or (row.kind == "rating" and row.value >= 4):
            said[pair] = True
        elif row.kind in REFUSED:
            said[pair] = False
    ages = np.array([(now - row.at).total_seconds() / 86400 for row in best.values()], dtype=np.float64)
    sure = np.array([row.sure for row in best.values()], dtype=np.float64)
    users, who = np.unique(np.array([user for user, _ in best], dtype=np.int64), return_inverse=True)
    items, what = np.unique(np.array([item for _, item in best], dtype=np.int64), return_inverse=True)
    return _Shown(
        people=[people[user] for user in users.tolist()], notices=[notices[item] for item in items.tolist()],
        who=who, what=what,
        weight=(np.exp2(-ages / half_life_days) * np.nan_to_num(sure).clip(0, 1)).astype(np.float32),
        place=np.array([max(0, row.position) for row in best.values()], dtype=np.int64),
        opened=np.array([said.get(pair, False) for pair in best], dtype=bool),
        simulated=np.array([row.simulated for row in best.values()], dtype=bool),
    )  # fmt: skip


def _weighed(shown: _Shown, share: float) -> tuple[Floats, float]:
    """Weigh simulated pairs down to their share; the weights, and the share that they then have."""
    made_up = float(shown.weight[shown.simulated].sum(dtype=np.float64))
    real = float(shown.weight[~shown.simulated].sum(dtype=np.float64))
    allowed = made_up if share >= 1 else real * max(share, 0.0) / (1 - max(share, 0.0))
    kept = min(made_up, allowed)
    weight = np.where(shown.simulated, shown.weight * (kept / made_up if made_up else 0.0), shown.weight)
    return weight.astype(np.float32), kept / (kept + real) if kept else 0.0


def _role_rows(people: Sequence[Profile], roles: Sequence[str]) -> Csr:
    """People × rows: everybody, and each role that at least five of these people have."""
    named = Counter(role for one in people for role in set(one.roles))
    enough = {role: n + 1 for n, role in enumerate(roles) if named[role] >= MIN_PEOPLE}
    every = {0: 1.0} if len(people) >= MIN_PEOPLE else {}
    lines = (every | {enough[role]: 1.0 for role in one.roles if role in enough} for one in people)
    return csr(lines, len(roles) + 1)


def _crossed(who: Csr, weight: Floats, about: Csr) -> Floats:
    found: Floats = (who.multiply(weight[None, :]).tocsr() @ about).toarray().astype(np.float32)
    return found


def _lift(shows: Floats, clicks: Floats, all_shows: Floats, all_clicks: Floats, prior: float) -> Floats:
    """Log of the smoothed rate over the row's own; see :func:`clickthrough`."""
    if all_shows[0] <= 0 or all_clicks[0] <= 0:
        return np.zeros_like(shows)
    usual = float(all_clicks[0]) / float(all_shows[0])
    worth = max(prior, _PRIOR_CLICKS / usual)
    own = (all_clicks + worth * usual) / (all_shows + worth)  # (n_rows,): a role's own rate, for all themes
    own[0] = usual
    everybody = (clicks[0] + worth * usual) / (shows[0] + worth) / usual
    expected = own[:, None] * everybody[None, :]
    rates = (clicks + worth * expected) / (shows + worth)
    rates[0] = everybody * usual
    found: Floats = np.clip(np.log(rates / own[:, None]), -MOST_LIFT, MOST_LIFT).astype(np.float32)
    return found
