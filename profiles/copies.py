"""Copies for relatives: who else gets what a resident gets, by their own agreement.

A copy says for whom it is (为母亲) and nothing of what its resident read or did. Its address is sealed;
an ended copy is kept a month, so that both sides can be told, and then deleted. Called by the pages, by
``api.jobs`` (inbound, copying) and when a message is prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, exists, or_, select, update

from feeds.kernel.db import Database, chunks, insert_one
from feeds.kernel.errors import UsageError
from feeds.kernel.sealing import Sealer
from profiles.contacts import ContactStore, clean_address
from profiles.people_tables import relative_copy, suppression

#: What the resident is to whoever gets the copy: zh, en. Closed: free text would go to a stranger's phone.
RELATIONS: dict[str, tuple[str, str]] = {
    "mother": ("母亲", "your mother"),
    "father": ("父亲", "your father"),
    "grandmother": ("祖母", "your grandmother"),
    "grandfather": ("祖父", "your grandfather"),
    "partner": ("爱人", "your partner"),
    "child": ("孩子", "your child"),
    "family": ("家人", "your family"),
    "neighbour": ("邻居", "your neighbour"),
}
COPIES_MOST = 3


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy; ``relation`` is a key of :data:`RELATIONS`, ``told`` whether the question was sent."""

    id: int
    profile_id: int
    channel: str
    address: str
    relation: str
    asked_at: datetime
    confirmed_at: datetime | None = None
    ended_at: datetime | None = None
    ended_reason: str = ""
    told: bool = False

    @property
    def live(self) -> bool:
        """Whether messages may go there."""
        return self.confirmed_at is not None and self.ended_at is None

    def relation_in(self, lang: str) -> str:
        """The word of the relation."""
        words = RELATIONS.get(self.relation, RELATIONS["family"])
        return words[0] if lang.lower().startswith("zh") else words[1]

    def whom(self, lang: str) -> str:
        """The same with "your", as it is said to the recipient about the resident."""
        word = self.relation_in(lang)
        return f"您的{word}" if lang.lower().startswith("zh") else word


class CopyStore:
    """Asks, confirms, ends and finds copies.

    Args:
        database: Where.
        key: The installation's secret key; addresses are sealed with one derived from it.
        contacts: Makes blind indexes.
    """

    def __init__(self, database: Database, key: bytes, contacts: ContactStore) -> None:
        self._db = database
        self._sealer = Sealer(key, "mycity/copies")
        self._contacts = contacts

    def ask(self, profile_id: int, channel: str, address: str, relation: str, *, at: datetime) -> Copy:
        """Note that somebody is to be asked for a copy (:meth:`tell`); again: return what is there.

        Raises:
            UsageError: If the relation or the address is none, or there are three copies already.
        """
        if relation not in RELATIONS:
            raise UsageError(f"{relation!r} is no relation; choose one of {', '.join(RELATIONS)}.")
        clean = clean_address(channel, address)
        blind = self._contacts.index_of(channel, clean)
        held = [copy for copy in self.of(profile_id) if copy.ended_at is None]
        for copy in held:
            if copy.channel == channel and copy.address == clean:
                return copy
        if len(held) >= COPIES_MOST:
            raise UsageError(f"There can be {COPIES_MOST} copies; end one before you add another.")
        row = {
            "profile_id": profile_id,
            "channel": channel,
            "sealed": self._sealer.seal(clean, f"{profile_id}/{channel}"),
            "blind_index": blind,
            "relation": relation,
            "asked_at": at,
            "told": 0,
            "confirmed_at": None,
            "ended_at": None,
            "ended_reason": "",
        }
        with self._db.write() as connection:
            number = insert_one(connection, relative_copy, row)
        return Copy(number, profile_id, channel, clean, relation, at)

    def tell(self, copy_id: int, *, at: datetime, connection: Connection) -> None:
        """Note that the question goes out; from now on the number may answer it."""
        here = (relative_copy.c.id == copy_id) & _OPEN & relative_copy.c.confirmed_at.is_(None)
        connection.execute(update(relative_copy).where(here).values(told=1, asked_at=at))

    def confirm(self, copy_id: int, *, at: datetime) -> bool:
        """Record the recipient's own yes; return whether it was new."""
        waiting = (relative_copy.c.id == copy_id) & _OPEN & relative_copy.c.confirmed_at.is_(None)
        with self._db.write() as connection:
            changed = connection.execute(update(relative_copy).where(waiting).values(confirmed_at=at))
            return changed.rowcount > 0

    def end(self, copy_id: int, *, at: datetime, reason: str) -> bool:
        """End a copy; return whether it was open."""
        here = (relative_copy.c.id == copy_id) & _OPEN
        with self._db.write() as connection:
            changed = connection.execute(
                update(relative_copy).where(here).values(ended_at=at, ended_reason=reason)
            )
            return changed.rowcount > 0

    def of(self, profile_id: int) -> list[Copy]:
        """Return the copies of a profile, ended ones of the last weeks too, oldest first."""
        return self._find(relative_copy.c.profile_id == profile_id)

    def at(self, channel: str, address: str) -> list[Copy]:
        """Return the open copies that go to an address, or that it was asked about."""
        blind = self._contacts.index_of(channel, address)
        known = (relative_copy.c.told == 1) | relative_copy.c.confirmed_at.is_not(None)
        here = (relative_copy.c.blind_index == blind) & (relative_copy.c.channel == channel)
        return self._find(here & known & _OPEN)

    def get(self, copy_id: int) -> Copy | None:
        """Return one copy in whatever state, or ``None``."""
        return next(iter(self._find(relative_copy.c.id == copy_id)), None)

    def many(self, ids: Iterable[int]) -> dict[int, Copy]:
        """Return those of ``ids`` that messages may go to now: confirmed, not ended, not suppressed."""
        blocked = exists().where(
            suppression.c.channel == relative_copy.c.channel,
            suppression.c.blind_index == relative_copy.c.blind_index,
        )
        found: dict[int, Copy] = {}
        for part in chunks(sorted(set(ids))):
            here = relative_copy.c.id.in_(part) & relative_copy.c.confirmed_at.is_not(None) & _OPEN & ~blocked
            found |= {copy.id: copy for copy in self._find(here)}
        return found

    def trim(self, *, unanswered_before: datetime, ended_before: datetime) -> int:
        """Delete copies that nobody agreed to in time, and ended ones; return how many."""
        unanswered = relative_copy.c.confirmed_at.is_(None) & (relative_copy.c.asked_at < unanswered_before)
        over = relative_copy.c.ended_at < ended_before
        with self._db.write() as connection:
            return connection.execute(delete(relative_copy).where(or_(unanswered, over))).rowcount

    def _find(self, condition: ColumnElement[bool]) -> list[Copy]:
        query = select(relative_copy).where(condition).order_by(relative_copy.c.id)
        with self._db.read() as connection:
            rows: Sequence[Row[Any]] = connection.execute(query).all()
        return [self._copy(row) for row in rows]

    def _copy(self, row: Row[Any]) -> Copy:
        address = self._sealer.open(row.sealed, f"{row.profile_id}/{row.channel}")
        return Copy(
            row.id, row.profile_id, row.channel, address, row.relation, row.asked_at, row.confirmed_at,
            row.ended_at, row.ended_reason, bool(row.told),
        )  # fmt: skip


_OPEN = relative_copy.c.ended_at.is_(None)
