"""Addresses that get nothing: why, since when, until when; and how often one did not take a message.

Holds blind indexes only, so an entry outlives the profile that gave the address and names nobody.
Nothing here ends a subscription. Called by ``api.jobs`` (receipts, inbound) and read at every claim
through ``profiles.standing``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, func, select

from feeds.kernel.db import Database, chunks, insert_missing, upsert
from profiles.contacts import ContactStore
from profiles.people_tables import address_trouble, suppression
from profiles.tables import contact

SuppressionReason = Literal["bounced", "complained", "opted_out", "recycled", "invalid"]


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why an address gets nothing; ``until`` ``None`` means until it is lifted."""

    reason: SuppressionReason
    at: datetime
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it still counts."""
        return self.until is None or self.until > now


class SuppressionStore:
    """Adds, lifts and looks up; an address is given in clear and kept as its blind index."""

    def __init__(self, database: Database, contacts: ContactStore) -> None:
        self._db = database
        self._contacts = contacts

    def add(
        self,
        channel: str,
        address: str,
        *,
        reason: SuppressionReason,
        at: datetime,
        until: datetime | None = None,
    ) -> None:
        """Suppress an address. One for good is not shortened by one that ends."""
        blind = self._contacts.index_of(channel, address)
        row = {"channel": channel, "blind_index": blind, "reason": reason, "at": at, "until": until}
        with self._db.write() as connection:
            before = self._find(connection, channel, blind)
            if before is None or before.until is not None or until is None:
                upsert(connection, suppression, [row], ["channel", "blind_index"])

    def lift(self, channel: str, address: str) -> bool:
        """Let an address get messages again; return whether it was suppressed."""
        here = _here(channel, self._contacts.index_of(channel, address))
        with self._db.write() as connection:
            return connection.execute(delete(suppression).where(here)).rowcount > 0

    def of(self, channel: str, address: str) -> Suppression | None:
        """Return the suppression of an address, or ``None``; whether it is over is the caller's to ask."""
        with self._db.read() as connection:
            return self._find(connection, channel, self._contacts.index_of(channel, address))

    def holds(self, channel: str, address: str, now: datetime) -> bool:
        """Whether an address gets nothing now."""
        found = self.of(channel, address)
        return found is not None and found.holds(now)

    def counts(self) -> dict[tuple[str, str], int]:
        """Count entries by (channel, reason)."""
        query = select(suppression.c.channel, suppression.c.reason, func.count())
        with self._db.read() as connection:
            rows = connection.execute(query.group_by(suppression.c.channel, suppression.c.reason))
            return {(row[0], row[1]): row[2] for row in rows}

    def note_trouble(self, channel: str, address: str, delivery_id: int, *, at: datetime) -> None:
        """Keep that an address did not take a delivery; the same delivery counts once."""
        blind = self._contacts.index_of(channel, address)
        row = {"channel": channel, "blind_index": blind, "delivery_id": delivery_id, "at": at}
        with self._db.write() as connection:
            insert_missing(connection, address_trouble, [row], ["delivery_id"])

    def troubles(self, channel: str, address: str, *, since: datetime) -> int:
        """Count how often an address failed since an instant."""
        here = self._troubled(channel, address) & (address_trouble.c.at >= since)
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(address_trouble).where(here)) or 0

    def forget_troubles(self, channel: str, address: str) -> None:
        """Begin to count anew: the address took a message."""
        with self._db.write() as connection:
            connection.execute(delete(address_trouble).where(self._troubled(channel, address)))

    def recovered(self, channel: str, profile_ids: Collection[int]) -> None:
        """Begin to count anew for the addresses of many profiles at once."""
        for part in chunks(sorted(set(profile_ids))):
            own = select(contact.c.blind_index).where(
                contact.c.profile_id.in_(part), contact.c.channel == channel
            )
            here = (address_trouble.c.channel == channel) & address_trouble.c.blind_index.in_(own)
            with self._db.write() as connection:
                connection.execute(delete(address_trouble).where(here))

    def any_trouble(self) -> bool:
        """Whether anything is counted at all; lets the good case cost one look."""
        with self._db.read() as connection:
            return connection.scalar(select(address_trouble.c.id).limit(1)) is not None

    def trim(self, now: datetime, *, troubles_before: datetime) -> int:
        """Delete what is over; return how many rows."""
        ended = suppression.c.until.is_not(None) & (suppression.c.until <= now)
        old = address_trouble.c.at < troubles_before
        with self._db.write() as connection:
            gone = connection.execute(delete(suppression).where(ended)).rowcount
            return gone + connection.execute(delete(address_trouble).where(old)).rowcount

    def _find(self, connection: Connection, channel: str, blind: str) -> Suppression | None:
        row = connection.execute(select(suppression).where(_here(channel, blind))).one_or_none()
        return None if row is None else Suppression(row.reason, row.at, row.until)

    def _troubled(self, channel: str, address: str) -> ColumnElement[bool]:
        blind = self._contacts.index_of(channel, address)
        return (address_trouble.c.blind_index == blind) & (address_trouble.c.channel == channel)


def _here(channel: str, blind: str) -> ColumnElement[bool]:
    return (suppression.c.channel == channel) & (suppression.c.blind_index == blind)
