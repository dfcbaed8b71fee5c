"""LightFM over a log: who is made of which features, what was learned of them up to a moment.

Users are themselves (once known well), their roles and their interests; items are their words, tags, body
and kind, never themselves. Called by ``learner``, for judging and for the training rows of the ranker. Pure
but for the seconds the fit takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.features import IDENTITY_EVENTS
from recommender.history import WISH, ItemSpace, l2
from recommender.log import Log, declarable, tag_kind
from recommender.model import Fitted, fit
from recommender.types import Csr, Floats, Ints, coo, ones

EPOCHS = 10
#: Latest events that are learned from; a city's log of a year is smaller.
MOST_PAIRS = 200_000
#: Interests that somebody who declared none is taken to have: the tags most cared for.
INTERESTS = 3


class Interests:
    """What users declared to follow, else what they cared for most, as columns of tokens."""

    def __init__(self, log: Log, space: ItemSpace, rows: Csr, frozen: int) -> None:
        """Take a log and its items as rows; which kind of tag can be declared is seen before ``frozen``."""
        self.log, self._rows, self._space = log, rows, space
        self.declared = [space.wishes(line) for line in log.user_tokens]
        kind = declarable(log, frozen)
        named = (name for name in space.features.names)
        self._tags = space.tags & np.array(
            [kind is not None and tag_kind(t) == kind for t in named], dtype=bool
        )
        self._order = np.argsort(log.event_user, kind="stable")
        self._start = np.searchsorted(log.event_user[self._order], np.arange(len(log.users) + 1))

    def of(self, user: int, before: int) -> list[int]:
        """Columns of the tags a user follows: declared, or the most used ones before a moment."""
        if self.declared[user]:
            return self.declared[user]
        mine = self._order[self._start[user] : self._start[user + 1]]
        mine = mine[: int(np.searchsorted(self.log.event_time[mine], before, side="left"))]
        tokens = self._rows[self.log.event_item[mine]].indices
        tags, times = np.unique(tokens[self._tags[tokens]], return_counts=True)
        return [int(tag) for tag in tags[np.lexsort((tags, -times))][:INTERESTS]]


@dataclass(frozen=True)
class Factors:
    """What LightFM learned up to a moment.

    Attributes:
        known: bool (n_users,): those with a feature of their own. ``roles``: token → column.
        following: Columns of the tags each user followed when this was learned.
        items: float32 (n_items, dim + 1), the last column is the bias.
    """

    fitted: Fitted
    known: np.ndarray
    roles: dict[str, int]
    following: list[list[int]]
    role_tokens: Sequence[Sequence[str]]
    items: Floats
    width: int

    def scores(self, users: Ints, wishes: Sequence[list[int] | None], items: Ints) -> Floats:
        """Score items for users.

        Args:
            users: int64 (n,).
            wishes: ``None`` for a user as they are; columns of tags for one who is to be taken for a
                newcomer who declared these.
            items: int64 (m,), numbers of the log.

        Returns:
            float32 (n, m); no unit.
        """
        lines = [
            self._line(user, self.following[user], bool(self.known[user])) if wish is None
            else self._line(user, wish, False)
            for user, wish in zip(users.tolist(), wishes, strict=True)
        ]  # fmt: skip
        vectors = l2(ones(lines, self.width)) @ self.fitted.user_vectors
        found: Floats = (vectors @ self.items[items, :-1].T + self.items[items, -1]).astype(np.float32)
        return found

    def _line(self, user: int, tags: list[int], itself: bool) -> list[int]:
        base = len(self.known)
        line = [user] if itself else []
        line += [base + self.roles[t] for t in self.role_tokens[user] if t in self.roles]
        return line + [base + len(self.roles) + tag for tag in tags]


def learn(log: Log, rows: Csr, interests: Interests, before: int, seed: int) -> Factors:
    """Fit LightFM on the events before a moment.

    Args:
        log: Who cared for what.
        rows: All items of the log, rows of length 1.
        interests: Of all users.
        before: Nothing from here on is looked at.
        seed: Same log, moment and seed, same factors.
    """
    until = log.events_before(before)
    first = max(0, until - MOST_PAIRS)
    who, what = log.event_user[first:until], log.event_item[first:until]
    count = np.bincount(log.event_user[:until], minlength=len(log.users))
    roles: dict[str, int] = {}
    for line in log.user_tokens:
        for token in line:
            if not token.startswith(WISH):
                roles.setdefault(token, len(roles))
    width = len(log.users) + len(roles) + rows.shape[1]
    following = [
        interests.of(u, before) if count[u] or interests.declared[u] else [] for u in range(len(log.users))
    ]
    blank = Fitted(*(np.zeros(0, np.float32),) * 4)
    found = Factors(
        blank, count >= IDENTITY_EVENTS, roles, following, log.user_tokens, np.zeros(0, np.float32), width
    )
    everybody = np.unique(who)
    place = np.zeros(len(log.users), dtype=np.int64)
    place[everybody] = np.arange(len(everybody))
    users = l2(ones((found._line(u, following[u], bool(found.known[u])) for u in everybody.tolist()), width))
    some = slice(0, int(np.searchsorted(log.item_time, before, side="left")))
    pairs = coo(place[who].tolist(), what.tolist(), np.ones(len(who)).tolist(), (len(everybody), some.stop))
    fitted = fit(pairs, users, rows[some], seed=seed, epochs=EPOCHS)
    # What was never seen holds the random numbers it began with: they mean nothing.
    fresh_u, fresh_i = _unseen(users), _unseen(rows[some])
    for array, fresh in (
        (fitted.user_vectors, fresh_u), (fitted.user_biases, fresh_u),
        (fitted.item_vectors, fresh_i), (fitted.item_biases, fresh_i),
    ):  # fmt: skip
        array[fresh] = 0
    items = np.column_stack([rows @ fitted.item_vectors, rows @ fitted.item_biases]).astype(np.float32)
    return Factors(fitted, found.known, roles, following, log.user_tokens, items, width)


def _unseen(rows: Csr) -> np.ndarray:
    unseen = np.ones(rows.shape[1], dtype=bool)
    unseen[rows.indices] = False
    return unseen
