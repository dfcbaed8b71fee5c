"""Text messages that people sent us: each acts once, and no wording is kept.

A row holds which word it was, the sender's blind index, and for at most a day the sealed number, so that
it can be answered. Decides nothing. Called by ``api.jobs.inbound`` and when an answer is prepared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, select, update

from feeds.kernel.db import Database, chunks, insert_missing
from feeds.kernel.sealing import Sealer
from profiles.contacts import ContactStore
from profiles.people_tables import inbound_message
from profiles.tables import contact


@dataclass(frozen=True, slots=True)
class InboundRow:
    """One message; ``number`` is ``""`` once it was taken away."""

    id: int
    number: str
    word: str
    rest: str
    received_at: datetime
    done_at: datetime | None
    answer: str


@dataclass(frozen=True, slots=True)
class Texted:
    """What is held of a message, as its sender may read it."""

    word: str
    received_at: datetime
    answer: str


class InboxStore:
    """Keeps what came in.

    Args:
        database: Where.
        key: The installation's secret key; numbers are sealed with one derived from it.
        contacts: Makes blind indexes.
    """

    def __init__(self, database: Database, key: bytes, contacts: ContactStore) -> None:
        self._db = database
        self._sealer = Sealer(key, "mycity/inbox")
        self._contacts = contacts

    def take(
        self, provider: str, ref: str, number: str, word: str, rest: str, *, at: datetime
    ) -> InboundRow | None:
        """Keep a message; ``None`` if this one was acted on before.

        One that was taken but never finished (its process died) is given again.
        """
        blind = self._contacts.index_of("sms", number)
        row = {
            "provider": provider[:16], "ref": ref[:128], "blind_index": blind,
            "sealed": self._sealer.seal(number, blind), "word": word, "rest": rest[:64], "received_at": at,
            "done_at": None, "answer": "",
        }  # fmt: skip
        here = (inbound_message.c.provider == provider[:16]) & (inbound_message.c.ref == ref[:128])
        with self._db.write() as connection:
            insert_missing(connection, inbound_message, [row], ["provider", "ref"])
            found = connection.execute(select(inbound_message).where(here)).one()
        return None if found.done_at is not None else self._row(found)

    def finish(self, inbound_id: int, answer: str, *, at: datetime) -> None:
        """Note that a message was acted on, and how it was answered; its rest is deleted."""
        here = inbound_message.c.id == inbound_id
        with self._db.write() as connection:
            connection.execute(update(inbound_message).where(here).values(done_at=at, answer=answer, rest=""))

    def waiting(self, before: datetime, limit: int = 100) -> list[InboundRow]:
        """Return messages taken before an instant and never acted on, oldest first."""
        query = (
            select(inbound_message)
            .where(inbound_message.c.done_at.is_(None), inbound_message.c.received_at < before)
            .order_by(inbound_message.c.received_at)
            .limit(limit)
        )
        with self._db.read() as connection:
            return [self._row(row) for row in connection.execute(query)]

    def many(self, ids: Iterable[int]) -> dict[int, InboundRow]:
        """Return messages by id."""
        found: dict[int, InboundRow] = {}
        with self._db.read() as connection:
            for part in chunks(sorted(set(ids))):
                query = select(inbound_message).where(inbound_message.c.id.in_(part))
                found |= {row.id: self._row(row) for row in connection.execute(query)}
        return found

    def received(self, number: str, *, since: datetime) -> int:
        """Count the messages of a number since an instant."""
        here = self._of(number) & (inbound_message.c.received_at >= since)
        with self._db.read() as connection:
            return connection.scalar(select(func.count()).select_from(inbound_message).where(here)) or 0

    def answers(self, number: str, *, since: datetime) -> list[str]:
        """Return the names of the answers that a number got since an instant."""
        here = self._of(number) & (inbound_message.c.done_at >= since) & (inbound_message.c.answer != "")
        with self._db.read() as connection:
            return list(connection.scalars(select(inbound_message.c.answer).where(here)))

    def of_profile(self, profile_id: int) -> list[Texted]:
        """Return what came from the phone of a profile in the last weeks, oldest first."""
        query = select(inbound_message).where(_from_phone_of(profile_id)).order_by(inbound_message.c.id)
        with self._db.read() as connection:
            return [Texted(row.word, row.received_at, row.answer) for row in connection.execute(query)]

    def forget_profile(self, profile_id: int) -> int:
        """Delete what came from the phone of a profile, while its number is still known; return how many."""
        with self._db.write() as connection:
            gone = delete(inbound_message).where(_from_phone_of(profile_id))
            return connection.execute(gone).rowcount

    def forget_numbers(self, before: datetime) -> int:
        """Take the sealed numbers away from messages received before an instant; return how many."""
        old = inbound_message.c.sealed.is_not(None) & (inbound_message.c.received_at < before)
        with self._db.write() as connection:
            return connection.execute(update(inbound_message).where(old).values(sealed=None)).rowcount

    def trim(self, before: datetime) -> int:
        """Delete what was received before an instant; return how many rows."""
        with self._db.write() as connection:
            return connection.execute(
                delete(inbound_message).where(inbound_message.c.received_at < before)
            ).rowcount

    def _of(self, number: str) -> Any:
        return inbound_message.c.blind_index == self._contacts.index_of("sms", number)

    def _row(self, row: Row[Any]) -> InboundRow:
        number = "" if row.sealed is None else self._sealer.open(row.sealed, row.blind_index)
        return InboundRow(row.id, number, row.word, row.rest, row.received_at, row.done_at, row.answer)


def _from_phone_of(profile_id: int) -> ColumnElement[bool]:
    own = select(contact.c.blind_index).where(contact.c.profile_id == profile_id, contact.c.channel == "sms")
    return inbound_message.c.blind_index.in_(own) & (inbound_message.c.provider != "mycity")
