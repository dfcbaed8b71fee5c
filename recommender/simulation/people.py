"""Residents who do not exist: what they like, what they declare of it, when they look, what they open. Pure.

This is simulation, not data: it shows that the machinery works and says nothing about real people. The truth
here (who would open what) is written with its own few terms, not with those of the score, so that the score
is not its own judge. Called by ``recommender.simulate`` and the benches. Same arguments, same people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from feeds.catalogue.vocabulary import City
from profiles.types import ChannelName, FollowedPlace, Profile
from recommender.simulation.press import Subject
from recommender.simulation.scene import Scene
from recommender.types import Floats, Mask

#: Log-odds that move somebody who looks at a notice to open it.
_BASE, _NEAR, _ROLE, _ELSEWHERE = -3.4, 1.2, 0.7, 1.5
#: How much one likes a theme: gamma with this shape and scale, 2.2 on average.
_SHAPE, _SCALE = 4.0, 0.55
#: Each role has this many circles of people who share tastes. A circle likes this share of the themes, at
#: most so many; a person of it most of those, and some of their own.
CIRCLES, _SHARE, _SHARED, _TAKES = 3, 0.25, 6, 0.8
_OWN_SHARE, _OWN = 0.1, 2
#: Who is how many.
_ROLES = {"citizen": 0.55, "enterprise": 0.15, "investor": 0.1, "tourist": 0.12, "aid": 0.08}
#: A night's drift: steps of the strength of each liked theme, and the chance to swap one for another.
_STEP, _SWAP = 0.06, 0.012
#: After opening; after looking at what is of no use at all (the chance falls with its relevance).
_LIKE, _LESS = 0.12, 0.03


@dataclass(frozen=True, slots=True)
class Habit:
    """How somebody reads.

    Attributes:
        visits: Chance that they look on a day.
        patience: The chance to look at the n-th line is n to the power of minus this.
        screen: Most lines they are shown at once.
    """

    channel: ChannelName
    visits: float
    patience: float
    screen: int


#: Habits and the share of people who have each: a feed every day, a mail, the page now and then, rarely.
HABITS: tuple[tuple[Habit, float], ...] = (
    (Habit("feed", 0.85, 0.45, 30), 0.35),
    (Habit("email", 0.6, 0.35, 10), 0.3),
    (Habit("web", 0.4, 0.6, 20), 0.2),
    (Habit("web", 0.13, 0.6, 30), 0.15),
)


@dataclass(frozen=True)
class People:
    """Made-up residents; row i of everything belongs to ``wishes[i]``.

    Attributes:
        wishes: What they declare: only part of what they like, sometimes what they do not like.
        habits: How they read.
        taste: float32 (n_people, n_themes): log-odds that a theme adds; 0 for what leaves them cold.
        circle: int64 (n_people,): whom they share tastes with.
        places: For each, the streets or districts their life is in, declared or not.
        leaning: float32 (n_circles, n_themes): chance that a circle likes a theme.
    """

    scene: Scene
    wishes: tuple[Profile, ...]
    habits: tuple[Habit, ...]
    taste: Floats
    circle: tuple[int, ...]
    places: tuple[tuple[str, ...], ...]
    leaning: Floats

    def __len__(self) -> int:
        return len(self.wishes)


@dataclass(frozen=True, slots=True)
class Reading:
    """What somebody did with a list; bool (n_lines,) each."""

    looked: Mask
    opened: Mask
    liked: Mask
    less: Mask


def populate(scene: Scene, *, size: int, seed: int, now: datetime) -> People:
    """Make people up.

    Args:
        scene: What there is to like. Nobody declares its late theme; members of two circles like it.
        size: How many; 0 gives nobody.
        seed: Same seed, same people.
        now: When they join.
    """
    draw = np.random.default_rng((seed, 1))
    leaning = _leanings(scene, draw)
    roles = [role for role in _ROLES if role in scene.row] or list(scene.roles)
    shares = np.array([_ROLES.get(role, 1.0) for role in roles])
    wishes, habits, tastes, circles, places = [], [], [], [], []
    for n in range(size):
        role = str(draw.choice(roles, p=shares / shares.sum()))
        circle = scene.row[role] * CIRCLES + int(draw.integers(CIRCLES))
        taste = _taste(scene, leaning[circle], draw)
        lived = _lived(scene.city, draw)
        wishes.append(_wish(scene, -1 - n, role, taste, lived, now, draw))
        habits.append(HABITS[int(draw.choice(len(HABITS), p=[share for _, share in HABITS]))][0])
        tastes.append(taste)
        circles.append(circle)
        places.append(lived)
    shape = (size, len(scene.themes))
    return People(
        scene, tuple(wishes), tuple(habits), np.array(tastes, dtype=np.float32).reshape(shape),
        tuple(circles), tuple(places), leaning,
    )  # fmt: skip


def drift(people: People, *, day: int, seed: int) -> People:
    """Let a night pass: tastes move a little, now and then one is given up for another of the circle."""
    draw = np.random.default_rng((seed, 2, day))
    taste = people.taste.copy()
    liked = taste > 0
    steps = draw.normal(0, _STEP, taste.shape).astype(np.float32)
    taste = np.where(liked, np.clip(taste + steps, 0.3, 5.0), taste)
    for person in np.flatnonzero(draw.random(len(people)) < _SWAP * liked.sum(axis=1)).tolist():
        own = np.flatnonzero(taste[person] > 0)
        chances = people.leaning[people.circle[person]].astype(np.float64) * (taste[person] == 0)
        if own.size and chances.sum() > 0:
            old, new = draw.choice(own), draw.choice(chances.size, p=chances / chances.sum())
            taste[person, new], taste[person, old] = taste[person, old], 0.0
    return replace(people, taste=taste.astype(np.float32))


def relevance(people: People, subjects: Sequence[Subject]) -> Floats:
    """The truth: chance that each would open each notice once they look at it; float32 (n_people, n)."""
    about = np.zeros((len(people.scene.themes), len(subjects)), dtype=np.float32)
    meant = np.zeros((len(people.scene.roles), len(subjects)), dtype=np.float32)
    for n, subject in enumerate(subjects):
        for code, weight in subject.themes.items():
            if code in people.scene.column:
                about[people.scene.column[code], n] = weight
        meant[[people.scene.row[role] for role in subject.roles if role in people.scene.row], n] = 1.0
    own = np.zeros((len(people), len(people.scene.roles)), dtype=np.float32)
    for row, wish in enumerate(people.wishes):
        own[row, [people.scene.row[role] for role in wish.roles]] = 1.0
    near = _near(people, subjects)
    local = np.array([bool(subject.place) for subject in subjects], dtype=bool)
    appeal = np.array([subject.appeal for subject in subjects], dtype=np.float32)
    odds = _BASE + people.taste @ about + _NEAR * near + _ROLE * np.minimum(own @ meant, 1.0) + appeal
    odds -= _ELSEWHERE * (local & (near == 0))
    chance: Floats = (_readable(people, subjects) / (1 + np.exp(-odds))).astype(np.float32)
    return chance


def read(habit: Habit, chances: Floats, looks: Floats, opens: Floats, opinions: Floats) -> Reading:
    """Let somebody go through a list once.

    Args:
        habit: Of the reader.
        chances: (n_lines,), the truth for each line, first line first.
        looks: (n_lines,) draws in [0, 1): whether each line is looked at.
        opens: (n_lines,) draws: with the same ones the same person opens the same notice wherever it stands,
            if they look at it.
        opinions: (n_lines,) draws: whether they say what they think of it.
    """
    positions = np.arange(1, chances.size + 1, dtype=np.float64)
    looked: Mask = looks < positions**-habit.patience
    opened = looked & (opens < chances)
    bored = looked & ~opened & (opinions < _LESS * (1 - np.minimum(4 * chances, 1.0)))
    return Reading(looked, opened, opened & (opinions < _LIKE), bored)


def _leanings(scene: Scene, draw: np.random.Generator) -> Floats:
    """What each circle likes: what concerns its role, more of what is common; two like the late theme."""
    found = np.full((len(scene.roles) * CIRCLES, len(scene.themes)), 0.01, dtype=np.float32)
    for line in range(len(found)):
        chances = (scene.concerns[line // CIRCLES] + 0.05) * np.sqrt(scene.chances)
        some = min(_SHARED, math.ceil(_SHARE * int((chances > 0).sum())))
        if some:
            found[line, draw.choice(chances.size, some, replace=False, p=chances / chances.sum())] = _TAKES
    if scene.late:
        column = scene.column[scene.late]
        found[:, column] = 0.05
        citizen = scene.row.get("citizen", 0) * CIRCLES
        found[[citizen, citizen + 1], column] = _TAKES
    return found


def _taste(scene: Scene, leaning: Floats, draw: np.random.Generator) -> Floats:
    liked = draw.random(leaning.size) < leaning
    common = scene.chances > 0
    if own := min(_OWN, int(_OWN_SHARE * common.sum())):
        liked[draw.choice(np.flatnonzero(common), own, replace=False)] = True
    taste: Floats = (liked * draw.gamma(_SHAPE, _SCALE, leaning.size)).astype(np.float32)
    return taste


def _lived(city: City, draw: np.random.Generator) -> tuple[str, ...]:
    """A home street, and for every third one more street where they work or have parents."""
    streets = sorted(code for code, place in city.places.items() if place.kind == "street")
    wanted = min(1 + int(draw.random() < 0.35), len(streets))
    return tuple(str(code) for code in draw.choice(streets, wanted, replace=False)) if wanted else ()


def _wish(
    scene: Scene, number: int, role: str, taste: Floats, lived: tuple[str, ...], now: datetime,
    draw: np.random.Generator,
) -> Profile:  # fmt: skip
    """What somebody says on joining: one to four likings of six or eight, now and then one that is none."""
    chances = np.where(scene.chances > 0, taste, 0.0).astype(np.float64)
    wanted = min(int(draw.choice(5, p=(0.1, 0.25, 0.3, 0.25, 0.1))), int((chances > 0).sum()))
    interests: list[str] = []
    if wanted:
        said = draw.choice(chances.size, wanted, replace=False, p=chances / chances.sum())
        interests = [f"theme:{scene.themes[column]}" for column in said]
    if interests and draw.random() < 0.1:
        interests[-1] = f"theme:{scene.themes[int(draw.choice(np.flatnonzero(scene.chances)))]}"
    places = []
    for code, label in zip(lived, ("home", "parents" if draw.random() < 0.5 else "work"), strict=False):
        luck = draw.random()
        if luck < 0.8:
            places.append(FollowedPlace(code if luck < 0.55 else scene.city.places[code].parent, label))
    luck = draw.random()
    langs = ("en",) if luck < 0.04 else ("zh-Hans", "en") if luck < 0.2 else ("zh-Hans",)
    return Profile(
        number,
        now,
        roles=(role,),
        places=tuple(places),
        interests=tuple(dict.fromkeys(interests)),
        langs=langs,
    )


def _near(people: People, subjects: Sequence[Subject]) -> Floats:
    """1 for one's own street, 0.6 for the district around it, 0.3 for another street of that district."""
    city = people.scene.city
    codes = sorted({code for lived in people.places for code in lived})
    table = np.zeros((len(codes), len(subjects)), dtype=np.float32)
    for row, code in enumerate(codes):
        around = city.places[code].parent
        for n, subject in enumerate(subjects):
            if subject.place == code:
                table[row, n] = 1.0
            elif subject.place == around:
                table[row, n] = 0.6
            elif subject.place and city.places[subject.place].parent == around:
                table[row, n] = 0.3
    rows = {code: n for n, code in enumerate(codes)}
    empty = np.zeros(len(subjects), dtype=np.float32)
    lines = [
        np.max([table[rows[code]] for code in lived], axis=0) if lived else empty for lived in people.places
    ]
    near: Floats = np.array(lines, dtype=np.float32).reshape(len(people), len(subjects))
    return near


def _readable(people: People, subjects: Sequence[Subject]) -> Mask:
    tongues = np.array([subject.lang[:2] for subject in subjects], dtype=str)
    lines = [np.isin(tongues, [lang[:2] for lang in wish.langs]) for wish in people.wishes]
    found: Mask = np.array(lines, dtype=bool).reshape(len(people), len(subjects))
    return found
