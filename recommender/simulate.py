"""Residents who do not exist, and what they would have opened of real notices: for the demo and the benches.

This is simulation, not data: it shows that the machinery works and says nothing about real people. Every row
is marked ``simulated``, every profile has a negative id and is never stored. Same input and seed, same
simulation. Pure. A city that lives on from day to day is in ``recommender.simulation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from profiles.feedback import FeedbackRow
from profiles.types import FeedbackKind, Profile
from recommender.simulation.people import Habit, Reading, populate, read, relevance
from recommender.simulation.press import Subject
from recommender.simulation.scene import scene_of

#: Everybody reads a page from the top and goes far down.
_HABIT = Habit("web", visits=1.0, patience=0.4, screen=10_000)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Made-up residents (negative ids, in memory only) and their made-up feedback, oldest first."""

    profiles: tuple[Profile, ...]
    rows: tuple[FeedbackRow, ...]


def simulate(
    notices: Sequence[Notice], city: City, *, residents: int = 300, shown: int = 60, seed: int, now: datetime
) -> Simulation:
    """Make up residents of a city and let them read.

    Each sees ``shown`` notices in a random order, looks further down less often, and opens what they like,
    which is more than they declared and partly shared with others of their role; so there is something to
    learn.

    Args:
        notices: What there is to read; none gives residents without feedback.
        city: Its roles, themes and places are drawn from.
        residents: How many to make up.
        shown: How many notices each is shown, at most all.
        seed: Of every draw.
        now: All feedback lies in the 30 days before.

    Returns:
        Residents and rows (impressions and what was opened, liked, or is wanted less of).
    """
    people = populate(scene_of(notices, city), size=residents, seed=seed, now=now - timedelta(days=30))
    truth = relevance(people, [_subject(notice) for notice in notices])
    draw = np.random.default_rng((seed, 4))
    rows: list[FeedbackRow] = []
    for line, profile in enumerate(people.wishes):
        columns = draw.permutation(len(notices))[:shown]
        lucks = draw.random((3, columns.size), dtype=np.float32)
        did = read(_HABIT, truth[line, columns], *lucks)
        began = now - timedelta(seconds=float(draw.uniform(3600, 30 * 86400)))
        for place, column in enumerate(columns.tolist()):
            for step, kind in enumerate(_kinds(did, place)):
                at = began + timedelta(seconds=10 * place + step)
                rows.append(
                    FeedbackRow(profile.id, notices[column].id, kind, at, position=place + 1, simulated=True)
                )
    return Simulation(
        people.wishes, tuple(sorted(rows, key=lambda row: (row.at, row.profile_id, row.position)))
    )


def _subject(notice: Notice) -> Subject:
    """Here a notice is about what its tags say."""
    themes = {tag.code: tag.weight for tag in notice.tags if tag.kind == "theme"}
    local = notice.level in ("district", "street")
    place = notice.place or "" if local else ""
    return Subject(themes, notice.codes("role"), place, notice.content.lang)


def _kinds(did: Reading, line: int) -> list[FeedbackKind]:
    kinds: list[FeedbackKind] = ["impression"]
    if did.opened[line]:
        kinds.append("click")
    if did.liked[line]:
        kinds.append("like")
    if did.less[line]:
        kinds.append("less")
    return kinds
