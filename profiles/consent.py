"""Consent: what a resident agreed to, in which wording, when, and when they took it back.

Append-mostly: an ended consent stays as a record. Called by the entrances.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from feeds.kernel.db import Database, chunks
from profiles.tables import consent, profile

WORDING = "2026-11"
#: A purpose that begins so names a sensitive tag.
SENSITIVE = "sensitive:"


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent; ``purpose`` is e.g. ``channel:email``, ``sensitive:role:aid``, ``personalise``."""

    purpose: str
    wording: str
    given_at: datetime
    ended_at: datetime | None


class ConsentStore:
    """Records consents and their end."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def give(self, profile_id: int, purpose: str, *, at: datetime) -> None:
        """Record a consent under the present wording."""
        row = {
            "profile_id": profile_id,
            "purpose": purpose,
            "wording": WORDING,
            "given_at": at,
            "ended_at": None,
        }
        with self._db.write() as connection:
            connection.execute(insert(consent), [row])

    def end(self, profile_id: int, purpose: str, *, at: datetime) -> None:
        """End every live consent to a purpose."""
        live = (
            (consent.c.profile_id == profile_id)
            & (consent.c.purpose == purpose)
            & consent.c.ended_at.is_(None)
        )
        with self._db.write() as connection:
            connection.execute(update(consent).where(live).values(ended_at=at))

    def agreed(self, purpose: str, profile_ids: Iterable[int]) -> set[int]:
        """Return which of these profiles have a live consent to a purpose."""
        return self._holders(purpose, profile_ids, observed=False)

    def observed(self, purpose: str, profile_ids: Iterable[int]) -> set[int]:
        """Return which of :meth:`agreed` did not switch personalisation off."""
        return self._holders(purpose, profile_ids, observed=True)

    def _holders(self, purpose: str, profile_ids: Iterable[int], *, observed: bool) -> set[int]:
        live = (consent.c.purpose == purpose) & consent.c.ended_at.is_(None)
        query = select(consent.c.profile_id).where(live)
        if observed:
            query = query.join(profile, profile.c.id == consent.c.profile_id).where(profile.c.personalised)
        found: set[int] = set()
        with self._db.read() as connection:
            for part in chunks(sorted(set(profile_ids))):
                found.update(connection.scalars(query.where(consent.c.profile_id.in_(part))))
        return found

    def all(self, profile_id: int) -> list[Consent]:
        """Return every consent of a profile, oldest first."""
        query = (
            select(consent)
            .where(consent.c.profile_id == profile_id)
            .order_by(consent.c.given_at, consent.c.id)
        )
        with self._db.read() as connection:
            return [Consent(r.purpose, r.wording, r.given_at, r.ended_at) for r in connection.execute(query)]

    def sensitive(self, profile_id: int, connection: Connection | None = None) -> frozenset[str]:
        """Return the sensitive tags that a live consent names; read in the caller's transaction or alone."""
        if connection is None:
            with self._db.read() as own:
                return self.sensitive(profile_id, own)
        live = (consent.c.profile_id == profile_id) & consent.c.ended_at.is_(None)
        query = select(consent.c.purpose).where(live, consent.c.purpose.startswith(SENSITIVE))
        return frozenset(purpose.removeprefix(SENSITIVE) for purpose in connection.scalars(query))
