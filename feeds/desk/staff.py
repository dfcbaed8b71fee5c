"""Staff: who may edit, under which roles, for which agency.

Accounts are keyed by (issuer, subject), so that a login service can be put in front later; the
built-in issuer ``local`` gives each person an access key, of which only the hash is stored. Called by
the command line (adding) and the editor pages (entering).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.exc import IntegrityError

from feeds.desk.tables import staff
from feeds.kernel.db import Database, insert_one
from feeds.kernel.errors import UsageError

ROLES = ("writer", "editor", "duty")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something at the desk.

    Attributes:
        roles: ``writer`` may write and submit, ``editor`` may also approve, correct and withdraw, ``duty``
            may release a warning alone when no second person is there.
        agency: Slug of the agency they work for; empty for the city itself.
    """

    name: str
    staff_id: int
    roles: tuple[str, ...]
    agency: str = ""

    @property
    def label(self) -> str:
        """How revisions and the audit name this person."""
        return f"staff:{self.staff_id}"


class StaffStore:
    """Adds staff and lets them in."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, name: str, roles: tuple[str, ...], *, agency: str = "", at: datetime) -> tuple[Actor, str]:
        """Add a person under the issuer ``local``.

        Returns:
            The actor, and the access key, which cannot be shown again.

        Raises:
            UsageError: If a role does not exist, or the name is taken.
        """
        for role in roles:
            if role not in ROLES:
                raise UsageError(f"There is no staff role {role!r}; choose from {', '.join(ROLES)}.")
        key = secrets.token_urlsafe(18)
        row = {
            "issuer": "local",
            "subject": name,
            "name": name,
            "roles": list(roles),
            "agency": agency,
            "key_hash": _hash(key),
            "created_at": at,
            "ended_at": None,
        }
        try:
            with self._db.write() as connection:
                new_id = insert_one(connection, staff, row)
        except IntegrityError as error:
            raise UsageError(
                f"There is already a member of staff called {name!r}; give another name."
            ) from error
        return Actor(name, new_id, roles, agency), key

    def any(self) -> bool:
        """Tell whether anybody was added yet (until then the editor pages do not exist)."""
        with self._db.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(staff)))

    def enter(self, access_key: str) -> Actor | None:
        """Return who an access key belongs to; ``None`` for unknown and ended alike."""
        with self._db.read() as connection:
            query = select(staff).where(staff.c.key_hash == _hash(access_key), staff.c.ended_at.is_(None))
            return _actor(connection.execute(query).one_or_none())

    def get(self, staff_id: int) -> Actor | None:
        """Return a member of staff who has not left."""
        with self._db.read() as connection:
            query = select(staff).where(staff.c.id == staff_id, staff.c.ended_at.is_(None))
            return _actor(connection.execute(query).one_or_none())

    def end(self, staff_id: int, *, at: datetime) -> None:
        """Close an account; its key stops working at once."""
        with self._db.write() as connection:
            connection.execute(update(staff).where(staff.c.id == staff_id).values(ended_at=at))


def _actor(row: Row[Any] | None) -> Actor | None:
    return None if row is None else Actor(row.name, row.id, tuple(row.roles), row.agency)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
