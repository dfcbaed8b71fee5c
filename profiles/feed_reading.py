"""What a resident's feed is made from, in two small reads: how it is worded, the shelf, what they hid.

Reads nothing that the feed does not show and writes nothing. Called by ``api.feed_build``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from feeds.kernel.db import Database, Lookup
from feeds.kernel.errors import NotFoundError
from feeds.kernel.time import from_micros
from profiles.said import SHOWS_AGAIN
from profiles.shelves import StoredShelf
from profiles.types import ShelvedPick

_DESK = """
SELECT p.created_at, p.langs, p.personalised, p.discreet, s.version, s.picks
FROM profile AS p LEFT JOIN shelf AS s ON s.profile_id = p.id WHERE p.id = ?
"""
_KINDS = ", ".join(f"'{kind}'" for kind in ("hide", *SHOWS_AGAIN))
_SAID = f"SELECT notice_id, kind FROM feedback WHERE profile_id = ? AND kind IN ({_KINDS}) ORDER BY id"  # noqa: S608


@dataclass(frozen=True, slots=True)
class FeedDesk:
    """One resident's feed before its notices are read.

    Attributes:
        picks: Of the shelf, newest edition first. ``hidden``: notices that its resident hid.
    """

    profile_id: int
    created_at: datetime
    lang: str
    personalised: bool
    discreet: bool
    version: int
    picks: tuple[ShelvedPick, ...]
    hidden: frozenset[int]


class FeedDesks:
    """Reads what feeds are made from."""

    def __init__(self, database: Database) -> None:
        self._desk, self._said = Lookup(database, _DESK), Lookup(database, _SAID)

    def of(self, profile_id: int) -> FeedDesk:
        """Return what one resident's feed is made from.

        Raises:
            NotFoundError: If there is no such profile (any more).
        """
        rows = self._desk(profile_id)
        if not rows:
            raise NotFoundError(f"There is no profile {profile_id}; list them with `mycity profiles list`.")
        created_at, langs, personalised, discreet, version, picks = rows[0]
        shelf = StoredShelf(profile_id, version or 0, bytes(picks or b""), b"").opened()
        latest = dict(self._said(profile_id))
        return FeedDesk(
            profile_id,
            from_micros(created_at),
            (json.loads(langs) or ["zh-Hans"])[0],
            bool(personalised),
            bool(discreet),
            shelf.version,
            shelf.picks,
            frozenset(number for number, kind in latest.items() if kind == "hide"),
        )
