"""What residents said, as rows over the tables of a pool: which tag meets which candidate. Pure.

Made once for a batch; the score multiplies these rows with the tables, the reasons look single cells up in
them, so both speak of the same numbers. Called by ``blend`` and ``explain``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from profiles.match import label_factor
from profiles.types import Profile
from recommender.candidates import Pool, Words, word_tables
from recommender.types import Floats, Ints, Mask, Rows, lists


@dataclass(frozen=True)
class Wishes:
    """What a batch of profiles declared and felt; row i belongs to profile i.

    Attributes:
        interests: (n_profiles, n_topics) of ones; ``blend.ask`` weakens unwanted ones.
        roles: (n_profiles, n_roles) of ones.
        words: Those followed; ``None`` where nobody follows any.
        tastes: (n_profiles, n_tags) of weights; empty rows where personalisation is off.
        places: Followed places that some candidate reaches, profile by profile.
        follows_some: bool (n_profiles,): some place is followed, known or not.
        says_nothing: bool (n_profiles,): no role, place or interest.
        personalised: bool (n_profiles,).
    """

    interests: Rows
    roles: Rows
    words: Words | None
    tastes: Rows
    places: Places
    follows_some: Mask
    says_nothing: Mask
    personalised: Mask

    def part(self, start: int, stop: int) -> Wishes:
        """The same of some of the profiles."""
        rows, words = slice(start, stop), self.words
        return Wishes(
            interests=self.interests.part(start, stop),
            roles=self.roles.part(start, stop),
            words=None if words is None else replace(words, spoken=words.spoken[start:stop]),
            tastes=self.tastes.part(start, stop),
            places=self.places.part(start, stop),
            follows_some=self.follows_some[rows],
            says_nothing=self.says_nothing[rows],
            personalised=self.personalised[rows],
        )


@dataclass(frozen=True)
class Places:
    """Followed places, one line each.

    Attributes:
        starts: int64 (n_profiles + 1,): where each profile's begin.
        rows: int64 (n_lines,): row of the pool's places. ``factors``: float32 (n_lines,), by label.
        visits: bool (n_lines,): of somebody who only visits.
        labels: What each is to its resident.
    """

    starts: Ints
    rows: Ints
    factors: Floats
    visits: Mask
    labels: list[str]

    def part(self, start: int, stop: int) -> Places:
        """The same of some of the profiles."""
        first, end = int(self.starts[start]), int(self.starts[stop])
        lines = slice(first, end)
        return Places(
            self.starts[start : stop + 1] - first, self.rows[lines], self.factors[lines], self.visits[lines],
            self.labels[lines],
        )  # fmt: skip


def wishes(profiles: Sequence[Profile], pool: Pool) -> Wishes:
    """Look up what a batch said; tags that no candidate has are left out."""
    role_rows, topic_rows = pool.rows_of_roles, pool.topic_rows
    return Wishes(
        interests=lists(
            [sorted({topic_rows[tag] for tag in p.interests if tag in topic_rows}) for p in profiles],
            len(topic_rows),
        ),
        roles=lists(
            [sorted({role_rows[role] for role in p.roles if role in role_rows}) for p in profiles],
            len(role_rows),
        ),
        words=word_tables(profiles, pool, _interests),
        tastes=_tastes(profiles, pool),
        places=_places(profiles, pool),
        follows_some=np.array([bool(p.places) for p in profiles], dtype=bool),
        says_nothing=np.array([not (p.roles or p.places or p.interests) for p in profiles], dtype=bool),
        personalised=np.array([p.personalised for p in profiles], dtype=bool),
    )  # fmt: skip


def place_strengths(places: Places, lines: Ints, columns: Ints, pool: Pool) -> Floats:
    """How strongly single followed places meet single candidates; float32, one for each pair."""
    found: Floats = pool.places[places.rows[lines], columns] * places.factors[lines]
    found[places.visits[lines] & (pool.around[places.rows[lines], columns] >= 0)] = 0
    return found


def lines_of(starts: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Pair each row with its entries in a table of rows that begin at ``starts``.

    Returns:
        For each pair the position in ``rows``, and the entry; both int64, in the order of rows.
    """
    begins = starts[rows].astype(np.int64)
    counts = starts[rows + 1] - begins
    owner = np.repeat(np.arange(rows.size), counts)
    entry = np.arange(owner.size) + np.repeat(begins - np.cumsum(counts) + counts, counts)
    return owner, entry


def _interests(profile: Profile) -> tuple[str, ...]:
    return profile.interests


def _tastes(profiles: Sequence[Profile], pool: Pool) -> Rows:
    rows = pool.tag_rows
    felt = [
        sorted((rows[tag], weight) for tag, weight in p.taste if tag in rows and isfinite(weight))
        if p.taste and p.personalised
        else []
        for p in profiles
    ]
    weights = [weight for one in felt for _, weight in one]
    return lists([[row for row, _ in one] for one in felt], len(rows), weights, each=True)


def _places(profiles: Sequence[Profile], pool: Pool) -> Places:
    known = pool.place_rows
    starts, rows, labels = [0], [], []
    for profile in profiles:
        for place in profile.places:
            if (row := known.get(place.code)) is not None:
                rows.append(row)
                labels.append(place.label)
        starts.append(len(rows))
    return Places(
        starts=np.array(starts, dtype=np.int64),
        rows=np.array(rows, dtype=np.int64),
        factors=np.array([label_factor(label) for label in labels], dtype=np.float32),
        visits=np.array([label == "visit" for label in labels], dtype=bool),
        labels=labels,
    )
