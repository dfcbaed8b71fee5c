"""Residents who do not exist, and what they would have opened: for the demo and the benches.

This is simulation, not data: it shows that the machinery works and says nothing about real people. Every row
is marked ``simulated``, every profile has a negative id and is never stored. Same input and seed, same
simulation. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from feeds.catalogue.notices import Notice
from feeds.catalogue.vocabulary import City
from profiles.feedback import FeedbackRow
from profiles.types import FeedbackKind, FollowedPlace, Profile
from recommender.blend import strengths
from recommender.candidates import Pool, from_notice, pool
from recommender.types import Floats, Mask

#: How strongly each thing moves a simulated resident to open a notice (log-odds), and how rarely they open
#: without.
_BASE, _INTEREST, _PLACE, _ROLE, _TASTE, _NOISE = -3.5, 2.6, 1.6, 1.4, 1.0, 0.5
#: The chance that the n-th line of a list is looked at falls as n to the power of this.
_POSITION = -0.4
#: What they do with what they opened.
_LIKE, _HIDE_UNWANTED = 0.15, 0.004


@dataclass(frozen=True, slots=True)
class Simulation:
    """Made-up residents (negative ids, in memory only) and their made-up feedback, oldest first."""

    profiles: tuple[Profile, ...]
    rows: tuple[FeedbackRow, ...]


def simulate(
    notices: Sequence[Notice], city: City, *, residents: int = 300, shown: int = 60, seed: int, now: datetime
) -> Simulation:
    """Make up residents of a city and let them read.

    Each has one or two roles, a place or two and some interests, drawn towards what their role's notices are
    about; and a taste for themes that they did not declare but share with their role, so that there is
    something to learn. Each sees ``shown`` notices in a random order, looks further down less often, and
    opens what fits, sometimes by mistake.

    Args:
        notices: What there is to read; none gives residents without feedback.
        city: Its roles, themes and places are drawn from.
        residents: How many to make up.
        shown: How many notices each is shown, at most all.
        seed: Of every draw.
        now: All feedback lies in the 30 days before.

    Returns:
        Residents and rows (impressions and what was opened, liked, hidden).
    """
    draw = np.random.default_rng(seed)
    candidates = pool((from_notice(notice) for notice in notices), city)
    habits = _Habits(candidates, city, draw)
    profiles = tuple(habits.resident(-1 - n, now) for n in range(residents))
    if not profiles or not len(candidates):
        return Simulation(profiles, ())
    rows: list[FeedbackRow] = []
    for start in range(0, len(profiles), 200):
        group = profiles[start : start + 200]
        wish = _wish(group, candidates, habits, draw)
        for line, profile in enumerate(group):
            rows.extend(_reads(profile, wish[line], candidates, shown, now, draw))
    return Simulation(profiles, tuple(sorted(rows, key=lambda row: (row.at, row.profile_id, row.position))))


class _Habits:
    """What residents of each role are drawn to."""

    def __init__(self, candidates: Pool, city: City, draw: np.random.Generator) -> None:
        self.city, self.pool, self.draw = city, candidates, draw
        self.roles = sorted(city.roles)
        self.themes = sorted(city.themes)
        column = {code: n for n, code in enumerate(self.themes)}
        self.about = np.zeros((len(candidates), len(self.themes)), dtype=np.float32)
        for line, one in enumerate(candidates.candidates):
            for tag in one.tags:
                if tag.kind == "theme" and tag.code in column:
                    self.about[line, column[tag.code]] = 1.0
        common = self.about.sum(axis=0) + 0.1
        self.drawn_to = {role: self._drawn_to(role, common) for role in self.roles}
        self.places = sorted(
            c for c, place in city.places.items() if place.kind in ("district", "street", "zone")
        )

    def _drawn_to(self, role: str, common: Floats) -> Floats:
        """Chances of themes: what the role's notices are about, times a lasting whim of this simulation."""
        line = self.pool.role_rows.get(f"role:{role}")
        meant = self.about.T @ self.pool.roles[line].toarray()[0] if line is not None else 0.0
        chances = (meant + 0.05 * common) * self.draw.gamma(0.3, 1.0, len(self.themes)) + 1e-9
        found: Floats = (chances / chances.sum()).astype(np.float32)
        return found

    def resident(self, number: int, now: datetime) -> Profile:
        """Make up one resident."""
        draw = self.draw
        roles = tuple(str(r) for r in draw.permutation(self.roles)[: 1 + (draw.random() < 0.25)])
        chances = self.drawn_to[roles[0]].astype(np.float64) if roles else np.ones(len(self.themes))
        wanted = min(int(draw.integers(1, 5)), int((chances > 0).sum()))
        picked: list[int] = []
        if wanted:
            picked = draw.choice(len(self.themes), wanted, replace=False, p=chances / chances.sum()).tolist()
        places = [str(place) for place in draw.permutation(self.places)[: int(draw.integers(0, 3))]]
        labels = ("home", str(draw.choice(["work", "parents"])))
        return Profile(
            id=number, created_at=now - timedelta(days=30), roles=roles,
            places=tuple(FollowedPlace(code, label) for code, label in zip(places, labels, strict=False)),
            interests=tuple(f"theme:{self.themes[n]}" for n in picked),
        )  # fmt: skip


def _wish(group: Sequence[Profile], candidates: Pool, habits: _Habits, draw: np.random.Generator) -> Floats:
    """Chance that each resident opens each notice once they look at it; float32 (n_residents, n_notices)."""
    interest, place, role, elsewhere = strengths(group, candidates)
    taste = np.stack([habits.drawn_to[p.roles[0]] if p.roles else 0 * habits.about[0] for p in group])
    drawn: Floats = taste @ habits.about.T
    drawn /= np.maximum(drawn.max(axis=1, keepdims=True), 1e-9)
    odds = _BASE + _INTEREST * interest + _PLACE * place + _ROLE * role + _TASTE * 3 * drawn
    odds += draw.normal(0, _NOISE, odds.shape) - 2.0 * elsewhere
    chance: Floats = (1 / (1 + np.exp(-odds))).astype(np.float32)
    return chance


def _reads(
    profile: Profile, chance: Floats, candidates: Pool, shown: int, now: datetime, draw: np.random.Generator
) -> list[FeedbackRow]:
    columns = draw.permutation(len(candidates))[:shown]
    looked: Mask = draw.random(columns.size) < np.arange(1, columns.size + 1) ** _POSITION
    opened = looked & (draw.random(columns.size) < chance[columns])
    liked, hidden = draw.random(columns.size) < _LIKE, draw.random(columns.size) < _HIDE_UNWANTED
    began = now - timedelta(seconds=float(draw.uniform(3600, 30 * 86400)))
    rows: list[FeedbackRow] = []
    for n, column in enumerate(columns):
        kinds: list[FeedbackKind] = ["impression"]
        if opened[n]:
            kinds += ["click", "like"] if liked[n] else ["click"]
        elif looked[n] and hidden[n]:
            kinds.append("hide")
        for step, kind in enumerate(kinds):
            at = began + timedelta(seconds=10 * n + step)
            rows.append(
                FeedbackRow(
                    profile.id,
                    candidates.candidates[column].notice_id,
                    kind,
                    at,
                    position=n + 1,
                    simulated=True,
                )
            )
    return rows
