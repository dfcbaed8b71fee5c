"""Addresses of residents: e-mail and phone, sealed at rest, found by a blind index.

The address is encrypted (AES-GCM) with a key derived from the installation's secret; a keyed hash
lets us look one up without decrypting all. Nothing here is logged. Called by the entrances and by
``api.jobs`` at the moment of sending.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

import phonenumbers
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select

from feeds.kernel.db import Database, upsert
from feeds.kernel.errors import StorageError, UsageError
from profiles.tables import contact

_EMAIL = re.compile(r"^[^@\s,;:<>\"()\[\]\\]+@[^@\s,;:<>\"()\[\]\\]+\.[^@\s.]+$")
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Contact:
    """One address of one profile for one channel; ``verified_at`` is when it was confirmed."""

    profile_id: int
    channel: str
    address: str
    verified_at: datetime | None


def clean_address(channel: str, text: str) -> str:
    """Check an address and bring it into its one form (lower-case mail, E.164 phone).

    Raises:
        UsageError: If it cannot be an address of this channel.
    """
    text = text.strip()
    if channel == "email":
        local, _, domain = text.rpartition("@")
        if not _EMAIL.match(text) or not text.isprintable() or not local.isascii() or len(text) > 254:
            raise UsageError("This is not an e-mail address; it should look like name@example.org.")
        return f"{local}@{domain.lower()}"
    if channel == "sms":
        try:
            number = phonenumbers.parse(text, "CN")
        except phonenumbers.NumberParseException as error:
            raise UsageError(
                "This is not a phone number; write it like 138 0000 0001 or +86 138 0000 0001."
            ) from error
        if not phonenumbers.is_possible_number(number):
            raise UsageError("This phone number is too short or too long; write it like 138 0000 0001.")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    raise UsageError(f"There is no address for the channel {channel!r}; choose email or sms.")


class ContactStore:
    """Seals, stores and opens addresses.

    Args:
        database: Where.
        key: At least 16 bytes; two keys (sealing, blind index) are derived from it.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._db = database
        self._cipher = AESGCM(_derive(key, b"seal"))
        self._index_key = _derive(key, b"index")

    def put(
        self, profile_id: int, channel: str, address: str, *, at: datetime, verified: bool = False
    ) -> Contact:
        """Store the address of a profile for a channel, replacing an earlier one.

        Raises:
            UsageError: If the address is not one.
        """
        clean = clean_address(channel, address)
        row = {
            "profile_id": profile_id,
            "channel": channel,
            "sealed": self._seal(clean, f"{profile_id}/{channel}"),
            "blind_index": self._blind(channel, clean),
            "verified_at": at if verified else None,
            "created_at": at,
        }
        with self._db.write() as connection:
            upsert(connection, contact, [row], ["profile_id", "channel"])
        return Contact(profile_id, channel, clean, row["verified_at"])  # type: ignore[arg-type]

    def get(self, profile_id: int, channel: str) -> Contact | None:
        """Return the address of a profile for a channel, or ``None``."""
        query = select(contact).where(contact.c.profile_id == profile_id, contact.c.channel == channel)
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return Contact(
            profile_id, channel, self._open(row.sealed, f"{profile_id}/{channel}"), row.verified_at
        )

    def holders(self, channel: str, address: str) -> list[int]:
        """Return the profiles that gave this address."""
        blind = self._blind(channel, clean_address(channel, address))
        with self._db.read() as connection:
            query = (
                select(contact.c.profile_id)
                .where(contact.c.blind_index == blind)
                .order_by(contact.c.profile_id)
            )
            return list(connection.scalars(query))

    def remove(self, profile_id: int, channel: str) -> None:
        """Forget an address; doing so twice changes nothing."""
        with self._db.write() as connection:
            here = (contact.c.profile_id == profile_id) & (contact.c.channel == channel)
            connection.execute(delete(contact).where(here))

    def _seal(self, text: str, bound_to: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(), bound_to.encode())

    def _open(self, sealed: bytes, bound_to: str) -> str:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to.encode()).decode()
        except InvalidTag as error:
            raise StorageError(
                "An address cannot be opened with this MYCITY_SECRET_KEY; use the key it was sealed with."
            ) from error

    def _blind(self, channel: str, address: str) -> str:
        return hmac.new(self._index_key, f"{channel}:{address}".encode(), hashlib.sha256).hexdigest()


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"mycity/contacts/" + purpose, hashlib.sha256).digest()
