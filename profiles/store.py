"""The store of profiles: roles, places, interests, mutes, pace, languages.

Holds no address and no secret in clear. It checks bounds, not vocabulary: whoever creates a profile
(command line, API, form) checks the codes against the city first. Called by the entrances and jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from feeds.kernel.db import Database, chunks, insert_one, marks, plain_rows, run_plain
from feeds.kernel.errors import NotFoundError, UsageError
from feeds.kernel.time import from_micros
from profiles.tables import feedback, profile, profile_criterion
from profiles.tokens import new_secret, secret_hash
from profiles.types import PACE_MAX, PACE_MIN, FollowedPlace, Profile


class ProfileStore:
    """Creates, reads, changes and erases profiles."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(
        self, wish: Profile, *, at: datetime, connection: Connection | None = None
    ) -> tuple[Profile, str]:
        """Store a new profile (its ``id`` is ignored), in the given transaction or one of its own.

        Returns:
            The stored profile and its manage secret, which cannot be shown again.

        Raises:
            UsageError: If the pace is out of 2 to 10.
        """
        _check(wish)
        if connection is None:
            with self._db.write() as own:
                return self.create(wish, at=at, connection=own)
        secret = new_secret()
        row = _columns(wish) | {"created_at": at, "manage_hash": secret_hash(secret)}
        profile_id = insert_one(connection, profile, row)
        stored = replace(wish, id=profile_id, created_at=at)
        _write_criteria(connection, stored)
        return stored, secret

    def change(self, wish: Profile) -> Profile:
        """Replace everything the resident may choose.

        Raises:
            NotFoundError: If the profile is gone.
            UsageError: If the pace is out of 2 to 10.
        """
        _check(wish)
        with self._db.write() as connection:
            changed = connection.execute(
                update(profile).where(profile.c.id == wish.id).values(_columns(wish))
            )
            if changed.rowcount == 0:
                raise NotFoundError(f"There is no profile {wish.id}; it may have been erased.")
            connection.execute(delete(profile_criterion).where(profile_criterion.c.profile_id == wish.id))
            _write_criteria(connection, wish)
        return wish

    def erase(self, profile_id: int) -> None:
        """Delete a profile with all that hangs on it: criteria, tokens, contacts, editions, feedback.

        Raises:
            NotFoundError: If there is none.
        """
        with self._db.write() as connection:
            if connection.dialect.name == "postgresql":  # in the order of planning: no deadlock
                run_plain(connection, "LOCK TABLE edition IN ROW EXCLUSIVE MODE")
            # Whoever is just writing about them is awaited, so that no row comes after the others are gone.
            connection.execute(select(profile.c.id).where(profile.c.id == profile_id).with_for_update())
            connection.execute(delete(feedback).where(feedback.c.profile_id == profile_id))
            if connection.execute(delete(profile).where(profile.c.id == profile_id)).rowcount == 0:
                raise NotFoundError(f"There is no profile {profile_id}; it may have been erased already.")

    def get(self, profile_id: int) -> Profile:
        """Return one profile.

        Raises:
            NotFoundError: If there is none.
        """
        found = self.many([profile_id])
        if not found:
            raise NotFoundError(f"There is no profile {profile_id}; list them with `mycity profiles list`.")
        return found[0]

    def by_secret(self, secret: str) -> Profile | None:
        """Return the profile a manage secret belongs to, or ``None``."""
        with self._db.read() as connection:
            query = select(profile.c.id).where(profile.c.manage_hash == secret_hash(secret))
            found = connection.scalar(query)
        return None if found is None else self.get(found)

    def many(self, ids: Iterable[int]) -> list[Profile]:
        """Return those of ``ids`` that exist, in the order of ids."""
        wanted = sorted(set(ids))
        with self._db.read() as connection:
            found: list[Profile] = []
            for part in chunks(wanted):
                query = f"{_PROFILES} WHERE id IN ({marks(part)}) ORDER BY id"
                found.extend(_with_criteria(connection, plain_rows(connection, query, part)))
            return found

    def batches(self, size: int = 500) -> Iterator[list[Profile]]:
        """Yield all profiles in the order of ids, ``size`` at a time."""
        last = 0
        while True:
            query = f"{_PROFILES} WHERE id > ? ORDER BY id LIMIT ?"
            with self._db.read() as connection:
                found = _with_criteria(connection, plain_rows(connection, query, (last, size)))
            if not found:
                return
            yield found
            last = found[-1].id

    def count(self) -> int:
        """Count profiles."""
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(profile)) or 0


def _check(wish: Profile) -> None:
    if not PACE_MIN <= wish.pace <= PACE_MAX:
        raise UsageError(
            f"A pace of {wish.pace} notices a day is not offered; choose {PACE_MIN} to {PACE_MAX}."
        )


def _columns(wish: Profile) -> dict[str, Any]:
    return {
        "langs": list(wish.langs),
        "pace": wish.pace,
        "personalised": wish.personalised,
        "discreet": wish.discreet,
    }


def _write_criteria(connection: Connection, wish: Profile) -> None:
    wanted: list[tuple[str, str, str]] = [("role", code, "") for code in wish.roles]
    wanted += [("place", place.code, place.label) for place in wish.places]
    wanted += [("interest", tag, "") for tag in wish.interests]
    wanted += [("mute", tag, "") for tag in wish.mutes]
    rows = [
        {"profile_id": wish.id, "kind": kind, "code": code, "label": label, "position": min(n, 32767)}
        for n, (kind, code, label) in enumerate(dict.fromkeys(wanted))
    ]
    if rows:
        connection.execute(insert(profile_criterion), rows)


# Columns in the order that _with_criteria takes them apart.
_PROFILES = "SELECT id, created_at, langs, pace, personalised, discreet FROM profile"
_CRITERIA = "SELECT profile_id, kind, code, label, position FROM profile_criterion WHERE profile_id"
_TASTES = "SELECT profile_id, tag, weight, own FROM profile_taste WHERE profile_id"


def _with_criteria(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Profile]:
    """Put profiles together: three queries for any number of them."""
    if not rows:
        return []
    ids = [row[0] for row in rows]
    said: dict[int, list[tuple[int, str, Any]]] = {number: [] for number in ids}
    felt: dict[int, list[tuple[str, float, bool]]] = {}
    for part in chunks(ids):
        where = f"IN ({marks(part)})"
        for number, kind, code, label, position in plain_rows(connection, f"{_CRITERIA} {where}", part):
            said[number].append((position, kind, _followed(code, label) if kind == "place" else code))
        for number, tag, weight, own in plain_rows(connection, f"{_TASTES} {where}", part):
            felt.setdefault(number, []).append((tag, weight, bool(own)))
    return [_profile(row, said[row[0]], felt.get(row[0], ())) for row in rows]


def _profile(
    row: tuple[Any, ...], said: list[tuple[int, str, Any]], felt: Sequence[tuple[str, float, bool]]
) -> Profile:
    number, created_at, langs, pace, personalised, discreet = row
    said.sort(key=_POSITION)
    by_kind: dict[str, list[Any]] = {"role": [], "place": [], "interest": [], "mute": []}
    for _, kind, value in said:
        by_kind[kind].append(value)
    tastes = sorted(one for one in felt if one[1])
    return Profile(
        number, from_micros(created_at), tuple(by_kind["role"]), tuple(by_kind["place"]),
        tuple(by_kind["interest"]), tuple(by_kind["mute"]), _langs(langs), pace, bool(personalised),
        bool(discreet), tuple((tag, weight) for tag, weight, _ in tastes),
        tuple(tag for tag, _, own in tastes if own),
    )  # fmt: skip


_POSITION = itemgetter(0)


# A city follows few places under few labels, and reads few languages: the same objects serve everybody.
@lru_cache(maxsize=4096)
def _followed(code: str, label: str) -> FollowedPlace:
    return FollowedPlace(code, label)


@lru_cache(maxsize=256)
def _langs(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
