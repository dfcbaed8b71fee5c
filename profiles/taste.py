"""Taste: what behaviour says about one resident, as tags with weights that the resident can see and set.

The arithmetic (``lesson``, ``learn``, ``fade``, ``cut``) is plain functions; only :class:`TasteStore` touches
the database. It never decides whom it may observe: ``api.jobs.signals`` does, and is the only one that lets
it learn. Read by the profile store (for choosing) and by the resident's own pages.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection, delete, select

from feeds.catalogue.tagging import Tag
from feeds.catalogue.vocabulary import City
from feeds.kernel.db import Database, insert_plain, plain_values, upsert
from feeds.kernel.errors import NotFoundError, UsageError
from profiles.tables import profile, profile_taste

#: After so many later events an old one counts half. Events, not days: what is not contradicted stays.
HALF_LIFE: Final = 30
#: A weight lies in [-MOST_WEIGHT, MOST_WEIGHT].
MOST_WEIGHT: Final = 3.0
#: Most learned tags of one resident; the strongest stay, at equal strength the first by name.
MOST_TAGS: Final = 40
#: What is weaker than this is forgotten: 1 % of one like.
LEAST_WEIGHT: Final = 0.01
#: Kinds of tags that taste is made of. Roles are declared, never guessed.
TASTE_KINDS: Final = ("theme", "type", "agency", "life", "place")
#: A theme that only stands for what contains another one teaches half: their sub-themes differ.
_PARENT: Final = 0.5
#: What kind of paper it is tells less than what it is about: half, so that notices of one kind and other
#: themes are not drawn along.
_FORM: Final = 0.5


@dataclass(frozen=True, slots=True)
class TasteTag:
    """How much a resident wants one tag.

    Attributes:
        weight: In [-3, 3]; a liked notice adds up to 1 to each of its tags, a disliked one takes 1.
        own: The resident set it; learning never changes it. With weight 0: never to be learned.
    """

    tag: str
    weight: float
    own: bool = False


def fade(weight: float, events: int = 1) -> float:
    """Return what is left of a weight after so many later events."""
    return float(weight * 0.5 ** (events / HALF_LIFE))


def cut(weight: float) -> float:
    """Return the nearest weight within bounds."""
    return max(-MOST_WEIGHT, min(MOST_WEIGHT, weight))


def lesson(tags: Iterable[Tag], city: City, agreed: Collection[str]) -> list[Tag]:
    """Return the tags that an event with a notice may teach, each with the strength it teaches.

    The city itself and what contains another place of the notice say nothing about a person. A notice about
    something sensitive teaches nothing to who agreed to none of it: its agency or theme would tell as much.

    Args:
        tags: Of the notice.
        city: Says which are sensitive and what contains what.
        agreed: Sensitive tags that the resident agreed to, roles too.
    """
    kept = list(tags)
    sensitive = {name for tag in kept if city.is_sensitive(name := _name(tag))}
    if sensitive and sensitive.isdisjoint(agreed):
        return []
    barred = sensitive.difference(agreed)
    parents, barred_parents, wide = set[str](), set[str](), {city.place, *city.ancestors(city.place)}
    for tag in kept:
        if tag.kind == "theme" and tag.code in city.themes and (up := city.themes[tag.code].parent):
            parents.add(up)
            if _name(tag) in barred:
                barred_parents.add(up)
        elif tag.kind == "place":
            wide.update(city.ancestors(tag.code))
    found = []
    for tag in kept:
        gone = (
            tag.kind not in TASTE_KINDS or _name(tag) in barred or (tag.kind == "place" and tag.code in wide)
        )
        if gone or (tag.kind == "theme" and tag.code in barred_parents):
            continue
        share = _FORM if tag.kind == "type" else 1.0
        if tag.kind == "theme" and tag.code in parents:
            share = _PARENT
        found.append(replace(tag, weight=tag.weight * share) if share < 1 else tag)
    return found


def learn(known: Iterable[TasteTag], tags: Iterable[Tag], value: float) -> list[TasteTag]:
    """Return taste after one event: old weights fade, then the notice's tags get their share.

    Several events are learned one after the other, oldest first; another order gives other weights.

    Args:
        known: Taste before; the resident's own tags come back as they are.
        tags: What the notice is about, see :func:`lesson`; kinds beside :data:`TASTE_KINDS` are left out.
            None at all is still an event.
        value: What the event says, about -2 to 2; 0 says nothing and changes nothing.

    Returns:
        Strongest first, ties by name; at most :data:`MOST_TAGS` learned ones.

    Raises:
        ValueError: If ``value`` or a strength is not a finite number.
    """
    before, said = list(known), [tag for tag in tags if tag.kind in TASTE_KINDS]
    if not all(map(math.isfinite, (value, *(tag.weight for tag in said)))):
        raise ValueError("An event's value and the strengths of its tags must be finite numbers.")
    if value == 0.0:
        return _ordered(before)
    own = {item.tag: item for item in before if item.own}
    weights = {item.tag: fade(item.weight) for item in before if not item.own}
    for tag in said:
        if (name := _name(tag)) not in own:
            weights[name] = weights.get(name, 0.0) + value * tag.weight
    learned = [TasteTag(name, cut(w)) for name, w in weights.items() if abs(w) >= LEAST_WEIGHT]
    return _ordered([*own.values(), *_ordered(learned)[:MOST_TAGS]])


class TasteStore:
    """Keeps taste, one row a tag. Every change of one resident waits for the one before."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, profile_id: int, connection: Connection | None = None) -> list[TasteTag]:
        """Return a resident's taste, strongest first; tags with weight 0 are those never to be learned."""
        query = select(profile_taste).where(profile_taste.c.profile_id == profile_id)
        if connection is not None:
            return _ordered(TasteTag(row.tag, row.weight, row.own) for row in connection.execute(query))
        with self._db.read() as own:
            return _ordered(TasteTag(row.tag, row.weight, row.own) for row in own.execute(query))

    def learn(
        self, profile_id: int, tags: Iterable[Tag], value: float, connection: Connection | None = None
    ) -> None:
        """Learn from one event, see :func:`learn`; nothing of somebody who was erased meanwhile."""
        if value == 0.0:
            return
        with self._alone(profile_id, connection) as (open_connection, there):
            if there:
                after = learn(self.of(profile_id, open_connection), tags, value)
                _rewrite(open_connection, profile_id, [item for item in after if not item.own])

    def relearn(
        self, profile_id: int, events: Iterable[tuple[Iterable[Tag], float]], connection: Connection
    ) -> None:
        """Learn anew, from nothing, what these events teach (tags and value, oldest first).

        Nothing comes back that was not there: a tag that was released stays out until the next event.
        """
        with self._alone(profile_id, connection) as (_, there):
            if there:
                before = self.of(profile_id, connection)
                after = [item for item in before if item.own]
                for tags, value in events:
                    after = learn(after, tags, value)
                here = {item.tag for item in before}
                learned = [item for item in after if not item.own and item.tag in here]
                _rewrite(connection, profile_id, learned)

    def set(self, profile_id: int, tag: str, weight: float) -> TasteTag:
        """Fix a weight as the resident wants it, cut to [-3, 3]; learning never changes it again.

        Raises:
            UsageError: If the weight is not a number.
            NotFoundError: If there is no such profile.
        """
        if not math.isfinite(weight):
            raise UsageError(f"A weight is a number from -{MOST_WEIGHT:g} to {MOST_WEIGHT:g}, not {weight}.")
        wanted = TasteTag(tag, cut(weight), own=True)
        with self._alone(profile_id) as (connection, there):
            if not there:
                raise NotFoundError(f"There is no profile {profile_id}; it may have been erased.")
            upsert(connection, profile_taste, [_row(profile_id, wanted)], ["profile_id", "tag"])
        return wanted

    def drop(self, profile_id: int, tag: str) -> None:
        """Take a tag out and never learn it again: it stays as the resident's own, with weight 0."""
        self.set(profile_id, tag, 0.0)

    def release(self, profile_id: int, tag: str) -> bool:
        """Delete a tag, own or learned, and let it be learned anew; return whether it was there."""
        here = (profile_taste.c.profile_id == profile_id) & (profile_taste.c.tag == tag)
        with self._alone(profile_id) as (connection, _):
            return connection.execute(delete(profile_taste).where(here)).rowcount > 0

    def reset(self, profile_id: int, *, own: bool = False) -> int:
        """Delete what was learned, and with ``own`` also what the resident set; return how many tags went."""
        mine = profile_taste.c.profile_id == profile_id
        with self._alone(profile_id) as (connection, _):
            gone = delete(profile_taste).where(mine if own else mine & profile_taste.c.own.is_(False))
            return connection.execute(gone).rowcount

    @contextmanager
    def _alone(
        self, profile_id: int, connection: Connection | None = None
    ) -> Iterator[tuple[Connection, bool]]:
        """A transaction, or the caller's, in which nobody else changes this resident's taste.

        SQLite has one writer anyway; PostgreSQL locks the profile's row, also where no taste is there yet.
        """
        if connection is None:
            with self._db.write() as own:
                yield own, _lock(own, profile_id)
        else:
            yield connection, _lock(connection, profile_id)


def _lock(connection: Connection, profile_id: int) -> bool:
    query = select(profile.c.id).where(profile.c.id == profile_id).with_for_update(key_share=True)
    return connection.scalar(query) is not None


def _rewrite(connection: Connection, profile_id: int, learned: list[TasteTag]) -> None:
    """Every learned weight fades with every event, so all rows change; there are at most 40."""
    mine = (profile_taste.c.profile_id == profile_id) & profile_taste.c.own.is_(False)
    connection.execute(delete(profile_taste).where(mine))
    rows = [plain_values(profile_taste, _row(profile_id, item)) for item in learned]
    insert_plain(connection, profile_taste, rows)


def _row(profile_id: int, item: TasteTag) -> dict[str, object]:
    return {"profile_id": profile_id, "tag": item.tag, "weight": item.weight, "own": item.own}


def _name(tag: Tag) -> str:
    return f"{tag.kind}:{tag.code}"


def _ordered(tags: Iterable[TasteTag]) -> list[TasteTag]:
    return sorted(tags, key=lambda item: (-abs(item.weight), item.tag))
