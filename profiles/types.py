"""What we know of a resident, and what was chosen for them. Pure data.

Named by ``profiles`` stores, ``recommender`` and ``delivery``; never holds an address or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

PickKind = Literal["new", "update", "reminder", "mandatory", "explored"]
EditionKind = Literal["welcome", "daily", "alert"]
ChannelName = Literal["feed", "email", "sms", "web", "webhook", "webpush", "wechat", "apprise"]
Frequency = Literal["daily", "weekly", "immediate"]
FeedbackKind = Literal["impression", "open", "click", "save", "like", "dislike", "hide", "less", "rating"]

PACE_MIN, PACE_MAX = 2, 10
WELCOME_SIZE = 50
SHELF_SIZE = 50


@dataclass(frozen=True, slots=True)
class FollowedPlace:
    """A place a resident follows and what it is to them (``home``, ``work``, ``parents``, free text)."""

    code: str
    label: str = "home"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a resident chose to say.

    Attributes:
        roles: Role codes, any number.
        interests: Tags ``kind:code`` (``theme:0402``, ``life:graduation``, ``agency:…``, ``word:…``).
        mutes: Tags that must not be picked.
        langs: Languages they read, best first; ``zh`` scripts count as one language.
        pace: Most picks a day, 2 to 10.
        personalised: False means newest first within what they follow; nothing learned is used.
        discreet: Details only on the page, neutral wording elsewhere.
        taste: What behaviour says about them, and what they set themselves: (tag, weight in [-3, 3]),
            sorted by tag, none of weight 0. Not to be used while ``personalised`` is False.
        own_taste: Those tags of ``taste`` whose weight the resident set, sorted.
    """

    id: int
    created_at: datetime
    roles: tuple[str, ...] = ()
    places: tuple[FollowedPlace, ...] = ()
    interests: tuple[str, ...] = ()
    mutes: tuple[str, ...] = ()
    langs: tuple[str, ...] = ("zh-Hans",)
    pace: int = PACE_MAX
    personalised: bool = True
    discreet: bool = False
    taste: tuple[tuple[str, float], ...] = ()
    own_taste: tuple[str, ...] = ()

    @property
    def lang(self) -> str:
        """The language we write to them in."""
        return self.langs[0] if self.langs else "zh-Hans"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a pick was made: a code of :mod:`profiles.reasons`, its parameters, its true contribution.

    Attributes:
        code: For example ``interest``, ``place``, ``role``, ``learned``.
        params: What the sentence needs, e.g. ``("theme:0402",)`` or ``("place:sl01", "parents")``.
        contribution: Its share of the score, same unit as the score; stored as a half float.
    """

    code: str
    params: tuple[str, ...] = ()
    contribution: float = 0.0


@dataclass(frozen=True, slots=True)
class Pick:
    """One notice chosen for one person.

    Attributes:
        score: No unit, higher is better; 0 where no score was made (rules, alerts).
        propensity: Chance in (0, 1] that this pick would be made; 1 unless explored.
        reasons: 1 to 3, strongest first.
    """

    notice_id: int
    revision: int
    kind: PickKind
    reasons: tuple[Reason, ...]
    score: float = 0.0
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Edition:
    """One append-only row of the ledger: what was chosen for whom, when, why. Never empty."""

    id: int
    profile_id: int
    made_at: datetime
    kind: EditionKind
    picks: tuple[Pick, ...]


@dataclass(frozen=True, slots=True)
class ShelvedPick:
    """A pick on the shelf, with the edition's instant it was last picked at."""

    pick: Pick
    picked_at: datetime


@dataclass(frozen=True, slots=True)
class Shelf:
    """The latest 50 distinct notices picked for a profile, newest pick first, best first inside one.

    Attributes:
        version: Grows by one with each edition; the guard of compare-and-set. 0 = no edition yet.
        picked: Ids picked within the candidate horizon, so that nothing is picked twice.
    """

    profile_id: int
    version: int
    picks: tuple[ShelvedPick, ...]
    picked: frozenset[int]


@dataclass(frozen=True, slots=True)
class Subscription:
    """That a profile wants a channel served: how often, at which local hour, in which language.

    Attributes:
        covered_until: End of the last digest's window, and so the start of the next one.
        weekday: 0 (Monday) to 6; counts where ``frequency`` is weekly.
        workdays_only: Nothing comes on a day off; the next digest covers it.
        paused_from, paused_until: A rest, half-open; ``None`` as its end: until it is taken back.
        pause_keeps: What happened during the rest comes after it.
        next_due_at: Its rhythm's next slot.
        last_result: What the last planning did: ``looked``, ``paused``, ``late``, or ``""`` before the first.
    """

    id: int
    profile_id: int
    channel: ChannelName
    frequency: Frequency
    local_hour: int
    lang: str
    next_due_at: datetime
    covered_until: datetime
    created_at: datetime
    ended_at: datetime | None = None
    ended_reason: str = ""
    weekday: int = 0
    workdays_only: bool = False
    paused_from: datetime | None = None
    paused_until: datetime | None = None
    pause_keeps: bool = True
    last_result: str = ""
    last_planned_at: datetime | None = None

    def rests(self, at: datetime) -> bool:
        """Whether a rest covers an instant."""
        begun = self.paused_from is not None and self.paused_from <= at
        return begun and (self.paused_until is None or at < self.paused_until)
