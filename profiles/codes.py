"""Six-digit codes that show that a phone is in the hands of whoever typed its number.

A code is nowhere stored: it is derived from the installation's key and a number drawn for it, so the
message can be built again and the database alone tells nobody the code. It works ten minutes and five
times. Sends nothing and limits nothing (``profiles.asked`` does). Called by ``api.jobs.phones`` and when the
message is prepared.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from feeds.kernel.db import Database, insert_one
from profiles.contacts import ContactStore
from profiles.people_tables import phone_code

CODE_LIFE = timedelta(minutes=10)
TRIES = 5


@dataclass(frozen=True, slots=True)
class Code:
    """One code that was made; ``digits`` is what the phone shows."""

    id: int
    digits: str
    made_at: datetime


class CodeStore:
    """Makes and checks codes.

    Args:
        database: Where.
        key: The installation's secret key.
        contacts: Makes blind indexes.
    """

    def __init__(self, database: Database, key: bytes, contacts: ContactStore) -> None:
        self._db = database
        self._key = hmac.new(key, b"mycity/phone-codes", hashlib.sha256).digest()
        self._contacts = contacts

    def make(self, profile_id: int, number: str, *, at: datetime) -> Code:
        """Draw a code for a profile and a phone number."""
        nonce, blind = secrets.token_hex(16), self._contacts.index_of("sms", number)
        row = {"profile_id": profile_id, "blind_index": blind, "nonce": nonce, "made_at": at, "tries": 0}
        with self._db.write() as connection:
            code_id = insert_one(connection, phone_code, row)
        return Code(code_id, self._digits(nonce, profile_id, blind), at)

    def get(self, code_id: int, number: str) -> Code | None:
        """Return a code again; ``None`` if it is gone or was made for another number."""
        blind = self._contacts.index_of("sms", number)
        with self._db.read() as connection:
            row = connection.execute(select(phone_code).where(phone_code.c.id == code_id)).one_or_none()
        if row is None or row.blind_index != blind:
            return None
        return Code(row.id, self._digits(row.nonce, row.profile_id, blind), row.made_at)

    def accepts(self, profile_id: int, number: str, typed: str, *, at: datetime) -> bool:
        """Check what was typed against the newest code of this profile and number; counts the try first."""
        blind = self._contacts.index_of("sms", number)
        newest = (
            select(phone_code)
            .where(phone_code.c.profile_id == profile_id, phone_code.c.blind_index == blind)
            .where(phone_code.c.made_at > at - CODE_LIFE)
            .order_by(phone_code.c.id.desc())
            .limit(1)
        )
        with self._db.write() as connection:
            row = connection.execute(newest).one_or_none()
            if row is None:
                return False
            free = (phone_code.c.id == row.id) & (phone_code.c.tries < TRIES)
            counted = connection.execute(
                update(phone_code).where(free).values(tries=phone_code.c.tries + 1)
            ).rowcount
        right = hmac.compare_digest(self._digits(row.nonce, profile_id, blind), _digits_only(typed))
        return bool(counted) and right

    def forget(self, profile_id: int) -> None:
        """Delete the codes of a profile: its number is confirmed."""
        with self._db.write() as connection:
            connection.execute(delete(phone_code).where(phone_code.c.profile_id == profile_id))

    def trim(self, before: datetime) -> int:
        """Delete codes made before an instant; return how many."""
        with self._db.write() as connection:
            return connection.execute(delete(phone_code).where(phone_code.c.made_at < before)).rowcount

    def _digits(self, nonce: str, profile_id: int, blind: str) -> str:
        digest = hmac.new(self._key, f"{nonce}/{profile_id}/{blind}".encode(), hashlib.sha256).digest()
        return f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06}"


def _digits_only(typed: str) -> str:
    return "".join(
        sign for sign in unicodedata.normalize("NFKC", typed[:40]) if sign.isascii() and sign.isdigit()
    )
