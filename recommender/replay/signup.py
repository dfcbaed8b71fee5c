"""Sign-up cold start: what is somebody offered of whom nothing is known but a role and a few ticks? Pure.

Some users are made unknown: nothing they did or wrote counts as theirs. In their place stand newcomers with
the same role who ticked the tags that the user would have. The same methods are then asked the same
questions. Called by ``replay.evaluate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from recommender.log import Log, Question, Split, hide, interests
from recommender.types import Ints, Mask

#: How many ticks a newcomer may have made, and the number that is reported as the result.
TICKS: tuple[int, ...] = (0, 1, 3, 5)
MAIN = 3
#: Share of the users who are made unknown.
SHARE = 0.3


@dataclass(frozen=True)
class Signup:
    """A log in which some users are newcomers.

    Attributes:
        log: Without what the hidden users did; newcomers stand behind the users there were.
        hidden: bool (n_users before,).
        newcomer: int64 (n_users before, number of :data:`TICKS`): numbers of the newcomers, -1 for the
        others. ticked: int64 (n_users before,): how many tags each hidden user could have ticked, at most
        five.
    """

    log: Log
    hidden: Mask
    newcomer: Ints
    ticked: Ints


def newcomers(log: Log, split: Split, seed: int) -> Signup:
    """Make 30 % of the users unknown, by seeded draw among those of whom it is known what they would tick.

    That is the interests they declared, else their most used tags before the test.
    """
    count = len(log.users)
    every = interests(log, range(count), split.test, max(TICKS))
    known = np.array([user for user in range(count) if every[user] or _declared(log, user)], dtype=np.int64)
    drawn = np.random.default_rng(seed).permutation(known)[: round(SHARE * len(known))]
    chosen = np.sort(drawn)
    hidden = np.zeros(count, dtype=bool)
    hidden[chosen] = True
    newcomer = np.full((count, len(TICKS)), -1, dtype=np.int64)
    ticked = np.zeros(count, dtype=np.int64)
    names, tokens, kinds = list(log.users), list(log.user_tokens), log.user_kind.tolist()
    for user in chosen.tolist():
        declared = _declared(log, user) or every[user]
        others = tuple(token for token in log.user_tokens[user] if not token.startswith("interest:"))
        ticked[user] = min(len(declared), max(TICKS))
        for column, most in enumerate(TICKS):
            newcomer[user, column] = len(names)
            names.append(f"{log.users[user]} with {most} interests")
            tokens.append(others + declared[:most])
            kinds.append(int(log.user_kind[user]))
    wider = replace(
        hide(log, chosen.tolist()),
        users=tuple(names),
        user_tokens=tuple(tokens),
        user_kind=np.array(kinds, dtype=np.int64),
    )
    return Signup(wider, hidden, newcomer, ticked)


def _declared(log: Log, user: int) -> tuple[str, ...]:
    return tuple(token for token in log.user_tokens[user] if token.startswith("interest:"))


def as_newcomers(weeks: Iterable[list[Question]], signup: Signup) -> Iterator[list[Question]]:
    """Ask what hidden users were asked of their newcomers, one question for each number of ticks."""
    for week in weeks:
        yield [
            replace(question, user=newcomer, known=0)
            for question in week
            for newcomer in signup.newcomer[question.user].tolist()
        ]


def columns(signup: Signup, user: Ints) -> Ints:
    """Which of :data:`TICKS`, by place, each newcomer stands for; int64, one for each number given."""
    place = np.zeros(len(signup.log.users), dtype=np.int64)
    for column in range(len(TICKS)):
        numbers = signup.newcomer[:, column]
        place[numbers[numbers >= 0]] = column
    return np.asarray(place[user], dtype=np.int64)
