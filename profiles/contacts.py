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
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import phonenumbers
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, delete, exists, select, update

from feeds.kernel.db import Database, chunks, marks, plain_rows, upsert
from feeds.kernel.errors import StorageError, UsageError
from feeds.kernel.time import from_micros
from profiles.tables import contact, subscription

_EMAIL = re.compile(r"^[^@\s,;:<>\"()\[\]\\]+@[^@\s,;:<>\"()\[\]\\]+\.[^@\s.]+$")
_NONCE = 12
# Addresses that only their own channel can read; it has checked them before they come here.
_OPAQUE = frozenset({"webpush", "wechat", "apprise"})
_OPAQUE_MOST = 8000


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
    if channel == "webhook":
        return _web_address(text)
    if channel in _OPAQUE:
        if not text or not text.isprintable() or len(text) > _OPAQUE_MOST:
            raise UsageError("This address cannot be kept; add it once more on your page.")
        return text
    raise UsageError(f"There is no address for the channel {channel!r}; choose email or sms.")


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    plain = text.isascii() and text.isprintable() and not any(map(str.isspace, text)) and len(text) <= 1000
    if not named or not plain:
        raise UsageError("This is not a web address; it should look like https://example.org/notices.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UsageError("Give the address without a name, a password or a # part.")
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()


def can_text(number: str) -> bool:
    """Whether an E.164 number can belong to a person's phone; service numbers and landlines cannot."""
    kinds = phonenumbers.PhoneNumberType
    kind = phonenumbers.number_type(phonenumbers.parse(number, "CN"))
    return kind in (kinds.MOBILE, kinds.FIXED_LINE_OR_MOBILE, kinds.PERSONAL_NUMBER)


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
        self,
        profile_id: int,
        channel: str,
        address: str,
        *,
        at: datetime,
        verified: bool = False,
        connection: Connection | None = None,
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
            "seen_at": at if verified else None,
            "asked_at": None,
        }
        if connection is not None:
            upsert(connection, contact, [row], ["profile_id", "channel"])
        else:
            with self._db.write() as own:
                upsert(own, contact, [row], ["profile_id", "channel"])
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

    def many(self, pairs: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Contact]:
        """Return the addresses of many (profile id, channel); a pair without one is left out."""
        wanted = set(pairs)
        found: dict[tuple[int, str], Contact] = {}
        with self._db.read() as connection:
            for part in chunks(sorted({profile_id for profile_id, _ in wanted})):
                query = (
                    "SELECT profile_id, channel, sealed, verified_at FROM contact "  # noqa: S608
                    f"WHERE profile_id IN ({marks(part)})"
                )
                for profile_id, channel, sealed, verified in plain_rows(connection, query, part):
                    if (profile_id, channel) in wanted:
                        address = self._open(bytes(sealed), f"{profile_id}/{channel}")
                        at = None if verified is None else from_micros(verified)
                        found[(profile_id, channel)] = Contact(profile_id, channel, address, at)
        return found

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

    def index_of(self, channel: str, address: str) -> str:
        """Return the blind index of an address: 64 hexadecimal characters, the same for every spelling.

        Raises:
            UsageError: If it is no address of this channel.
        """
        return self._blind(channel, clean_address(channel, address))

    def proven(self, channel: str, address: str) -> dict[int, datetime]:
        """Return the profiles whose holder has shown that this address is theirs, and when last."""
        blind = self.index_of(channel, address)
        query = select(contact.c.profile_id, contact.c.verified_at).where(
            contact.c.blind_index == blind, contact.c.channel == channel, contact.c.verified_at.is_not(None)
        )
        with self._db.read() as connection:
            return {row.profile_id: row.verified_at for row in connection.execute(query)}

    def of(self, profile_id: int) -> list[Contact]:
        """Return every address of a profile, whatever channels there are."""
        query = select(contact).where(contact.c.profile_id == profile_id).order_by(contact.c.channel)
        with self._db.read() as connection:
            return [
                Contact(profile_id, row.channel, self._open(row.sealed, f"{profile_id}/{row.channel}"),
                        row.verified_at)
                for row in connection.execute(query)
            ]  # fmt: skip

    def prove(
        self,
        profile_id: int,
        channel: str,
        *,
        at: datetime,
        address: str = "",
        connection: Connection | None = None,
    ) -> bool:
        """Note that the holder has just shown that the address is theirs: a code, or a word from it.

        Args:
            profile_id: Whose.
            channel: Which.
            at: Now.
            address: What was shown to be theirs: one that was put in its place meanwhile is not confirmed.
            connection: An open write transaction to be part of.

        Returns:
            Whether the address was still there.
        """
        if connection is None:
            with self._db.write() as own:
                return self.prove(profile_id, channel, at=at, address=address, connection=own)
        here = (contact.c.profile_id == profile_id) & (contact.c.channel == channel)
        if address:
            here &= contact.c.blind_index == self.index_of(channel, address)
        values = {"verified_at": at, "seen_at": at, "asked_at": None}
        return connection.execute(update(contact).where(here).values(values)).rowcount > 0

    def doubt(self, profile_id: int, channel: str, *, at: datetime) -> None:
        """Note that the address counts as unconfirmed until its holder answers; they are asked at ``at``."""
        self._set(profile_id, channel, {"verified_at": None, "asked_at": at})

    def asked(self, channel: str, address: str, *, since: datetime) -> list[int]:
        """Return the profiles whose holder was asked for this address since then and has not answered."""
        query = select(contact.c.profile_id).where(
            contact.c.blind_index == self.index_of(channel, address),
            contact.c.channel == channel,
            contact.c.asked_at > since,
        )
        with self._db.read() as connection:
            return list(connection.scalars(query.order_by(contact.c.profile_id)))

    def unanswered(self, channel: str, *, before: datetime, limit: int = 200) -> list[int]:
        """Return profiles whose holder was asked for an address before then and has not answered."""
        query = select(contact.c.profile_id).where(
            contact.c.channel == channel, contact.c.asked_at < before, contact.c.verified_at.is_(None)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query.order_by(contact.c.profile_id).limit(limit)))

    def seen(self, pairs: Iterable[tuple[int, str]], *, at: datetime) -> None:
        """Note that these addresses took a message; written at most once a day for each."""
        by_channel: dict[str, set[int]] = {}
        for profile_id, channel in pairs:
            by_channel.setdefault(channel, set()).add(profile_id)
        fresh = at - timedelta(days=1)
        for channel, profile_ids in by_channel.items():
            for part in chunks(sorted(profile_ids)):
                old = contact.c.seen_at.is_(None) | (contact.c.seen_at < fresh)
                here = (contact.c.channel == channel) & contact.c.profile_id.in_(part) & old
                with self._db.write() as connection:
                    connection.execute(update(contact).where(here).values(seen_at=at))

    def silent(self, channel: str, *, since: datetime, limit: int = 200) -> list[int]:
        """Return profiles with a live subscription whose confirmed address gave no sign since then."""
        live = exists().where(
            subscription.c.profile_id == contact.c.profile_id,
            subscription.c.channel == contact.c.channel,
            subscription.c.ended_at.is_(None),
        )
        query = (
            select(contact.c.profile_id)
            .where(contact.c.channel == channel, contact.c.verified_at < since, live)
            .where(contact.c.seen_at.is_(None) | (contact.c.seen_at < since))
            .order_by(contact.c.profile_id)
            .limit(limit)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def remove(self, profile_id: int, channel: str) -> None:
        """Forget an address; doing so twice changes nothing."""
        with self._db.write() as connection:
            here = (contact.c.profile_id == profile_id) & (contact.c.channel == channel)
            connection.execute(delete(contact).where(here))

    def _set(self, profile_id: int, channel: str, values: dict[str, datetime | None]) -> None:
        here = (contact.c.profile_id == profile_id) & (contact.c.channel == channel)
        with self._db.write() as connection:
            connection.execute(update(contact).where(here).values(values))

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
