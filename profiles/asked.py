"""How often an address was asked something, by whom, and whether it answered: what limits are counted from.

A row holds a blind index and no reference to the profile, so a limit outlives an erased profile and a
replaced address; rows go after days. Sends nothing and says nothing of an address to anybody. Called by
``api.jobs`` (phones, joining, copying) and the housekeeping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from feeds.kernel.db import Database
from profiles.contacts import ContactStore
from profiles.people_tables import address_asked

#: ``confirm``: is it yours; ``regain``: the same, of one that complained; ``copy``: do you want a copy.
AskedKind = Literal["confirm", "regain", "copy"]
#: ``again``: this profile asked it just now; ``wait``: the same, and it was held; ``held``: it is not asked,
#: for a reason that is its owner's matter.
Taken = Literal["go", "again", "wait", "enough", "busy", "held"]
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rules:
    """How often may be asked.

    Attributes:
        each: By one profile a day, whatever addresses it names.
        address: One address a day, whoever asks.
        apart: Between two questions to one address.
        hourly: By everybody in an hour; 0: any number.
    """

    each: int
    address: int
    apart: timedelta = timedelta(0)
    hourly: int = 0


class AskedStore:
    """Counts questions.

    Args:
        database: Where.
        contacts: Makes blind indexes.
    """

    def __init__(self, database: Database, contacts: ContactStore) -> None:
        self._db = database
        self._contacts = contacts

    def take(
        self,
        kind: AskedKind,
        channel: str,
        address: str,
        profile_id: int,
        rules: Rules,
        *,
        at: datetime,
        same_since: datetime,
        allowed: bool = True,
        connection: Connection | None = None,
    ) -> Taken:
        """Say whether an address may be asked now, and count the question in the same transaction.

        What a profile is told of its own limits is the same whether the address was asked or ``held``, so
        that nobody learns of an address what is its owner's matter.

        Args:
            kind: What is asked.
            channel: Of the address.
            address: In clear.
            profile_id: Who wants it asked.
            rules: The limits.
            at: Now.
            same_since: A question of this profile to this address since then is not repeated.
            allowed: False: count it, but it must not go there.
            connection: An open write transaction to be part of.
        """
        if connection is None:
            with self._db.write() as own:
                return self.take(
                    kind, channel, address, profile_id, rules, at=at, same_since=same_since, allowed=allowed,
                    connection=own,
                )  # fmt: skip
        if connection.dialect.name == "postgresql":  # two at once must not both be the last that is allowed
            connection.exec_driver_sql("LOCK TABLE address_asked IN SHARE ROW EXCLUSIVE MODE")
        blind = self._contacts.index_of(channel, address)
        today = (address_asked.c.kind == kind) & (address_asked.c.at > at - _DAY)
        own_rows = connection.execute(
            select(address_asked)
            .where(today, address_asked.c.asked_by == profile_id)
            .order_by(address_asked.c.at, address_asked.c.id)
        ).all()
        mine = [row for row in own_rows if row.blind_index == blind]
        if mine and mine[-1].at > same_since:
            return "again" if mine[-1].sent else "wait"
        if len(own_rows) >= rules.each or len(mine) >= rules.address:
            return "enough"
        lately = today & _SENT & (address_asked.c.at > at - _HOUR)
        if rules.hourly and _count(connection, lately) >= rules.hourly:
            return "busy"
        here = today & _SENT & (address_asked.c.blind_index == blind)
        near = here & (address_asked.c.at > at - rules.apart)
        go = allowed and _count(connection, here) < rules.address and not _count(connection, near)
        row = {
            "kind": kind, "channel": channel, "blind_index": blind, "asked_by": profile_id, "at": at,
            "sent": int(go), "answered_at": None,
        }  # fmt: skip
        connection.execute(insert(address_asked), [row])
        return "go" if go else "held"

    def by(self, kind: AskedKind, profile_id: int, *, since: datetime) -> int:
        """Count what a profile wanted asked since an instant, whether it was or not."""
        mine = (address_asked.c.kind == kind) & (address_asked.c.asked_by == profile_id)
        with self._db.read() as connection:
            return _count(connection, mine & (address_asked.c.at > since))

    def unanswered(self, kind: AskedKind, channel: str, address: str, *, since: datetime) -> list[int]:
        """Return the profiles for whom an address was asked since then, and that it has not answered."""
        query = select(address_asked.c.asked_by).where(
            self._at(kind, channel, address), _SENT, address_asked.c.at > since,
            address_asked.c.answered_at.is_(None),
        )  # fmt: skip
        with self._db.read() as connection:
            return list(connection.scalars(query.order_by(address_asked.c.id)))

    def answered(self, kind: AskedKind, channel: str, address: str, *, at: datetime) -> None:
        """Note that an address answered whatever it was asked."""
        waits = self._at(kind, channel, address) & address_asked.c.answered_at.is_(None)
        with self._db.write() as connection:
            connection.execute(update(address_asked).where(waits).values(answered_at=at))

    def of(self, profile_id: int) -> list[dict[str, object]]:
        """Return what is held of the questions a profile wanted asked; not whether they were."""
        columns = (address_asked.c.kind, address_asked.c.channel, address_asked.c.at)
        query = select(*columns).where(address_asked.c.asked_by == profile_id).order_by(address_asked.c.id)
        with self._db.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def trim(self, before: Mapping[AskedKind, datetime]) -> int:
        """Delete the questions of each kind from before an instant; return how many."""
        gone = 0
        with self._db.write() as connection:
            for kind, instant in before.items():
                old = (address_asked.c.kind == kind) & (address_asked.c.at < instant)
                gone += connection.execute(delete(address_asked).where(old)).rowcount
        return gone

    def _at(self, kind: AskedKind, channel: str, address: str) -> ColumnElement[bool]:
        blind = self._contacts.index_of(channel, address)
        return (address_asked.c.kind == kind) & (address_asked.c.blind_index == blind)


_SENT = address_asked.c.sent == 1


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(address_asked).where(which)) or 0
