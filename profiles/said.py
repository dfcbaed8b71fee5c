"""What a resident's acts on one notice come to: the opinion that holds now, and what it says about taste.

The one place that decides which of several acts counts. Pure. Called by ``profiles.feedback``,
``api.jobs.signals`` (for learning and hiding) and ``api.jobs.holding`` (for the pages).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from profiles.types import FeedbackKind

#: What somebody said of a notice.
OPINIONS = ("save", "like", "dislike", "hide", "less", "rating")
#: What somebody did with a notice.
USES = ("open", "click")
#: Of these the latest about one notice counts; saving, hiding and rating stand beside them.
EITHER = ("like", "dislike", "less")
#: What shows a notice again that was hidden before.
SHOWS_AGAIN = ("save", "like", "dislike")
#: What an act says about taste; a rating says (stars - 3) / 2.
WORTH: Mapping[FeedbackKind, float] = MappingProxyType(
    {"open": 0.3, "click": 0.5, "save": 1.0, "like": 1.0, "hide": -0.5, "dislike": -1.0, "less": -1.0}
)


class Act(Protocol):
    """One act on a notice; ``value`` is what was rated, 1 to 5."""

    @property
    def kind(self) -> FeedbackKind: ...  # noqa: D102

    @property
    def value(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Said:
    """What a resident said about one notice.

    Attributes:
        opinion: The latest of like, dislike and less, or empty.
        rating: The latest one, 1 to 5, or 0.
        weight: What all of it says about taste, -1 to 1.
    """

    opinion: str = ""
    saved: bool = False
    hidden: bool = False
    rating: int = 0
    weight: float = 0.0


def said(acts: Iterable[Act]) -> Said:
    """Return what acts on one notice, oldest first, come to; uses and impressions say nothing.

    The latest word counts. Two only add to what was said before: hiding takes nothing from a worse word, and
    saving takes nothing from a rating. A save or a rating stands in place of an earlier dislike or less.
    """
    opinion, saved, hidden, rating, weight, rated = "", False, False, 0.0, 0.0, False
    for act in acts:
        hidden = act.kind == "hide" or (hidden and act.kind not in SHOWS_AGAIN)
        if act.kind == "hide":
            weight = min(weight, WORTH["hide"])
        elif act.kind in EITHER:
            opinion, weight, rated = act.kind, WORTH[act.kind], False
        elif act.kind == "rating":
            rating, rated = act.value, True
        elif act.kind == "save":
            saved = True
        if act.kind in ("rating", "save"):
            opinion = opinion if opinion == "like" else ""
            weight = (rating - 3) / 2 if rated else WORTH["save"]
    return Said(opinion, saved, hidden, round(rating), weight)


def worth(acts: Iterable[Act]) -> float:
    """What all acts of one resident on one notice say together: what was said, and each use once."""
    rows = list(acts)
    uses = {row.kind for row in rows if row.kind in USES}
    return said(rows).weight + sum(WORTH[kind] for kind in sorted(uses))
