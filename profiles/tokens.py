"""Secrets in addresses: feed tokens, manage secrets, one-click stop tokens.

A secret has 128 bits or more, is shown once, and only its SHA-256 is stored (a random secret needs
no slow hash). Unknown and ended ones look the same to whoever asks. Called by ``api`` entrances
and jobs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import insert, or_, select, update

from feeds.kernel.db import Database, Lookup, chunks, insert_missing, upsert
from feeds.kernel.time import to_micros
from profiles.tables import feed_token, link_token

# Every request of every feed reader runs it: whose feed, and all that says whether it reads as before. One
# statement, so that all of it is of one moment.
_FEED_STATE = """
SELECT t.profile_id, COALESCE(s.version, 0),
       COALESCE((SELECT value FROM counter WHERE name = 'material'), 0),
       COALESCE((SELECT value FROM counter WHERE name = 'edit'), 0)
FROM feed_token AS t LEFT JOIN shelf AS s ON s.profile_id = t.profile_id
WHERE t.hash = ? AND (t.ends_at IS NULL OR t.ends_at > ?)
"""
LinkAction = Literal["stop", "confirm"]
CONFIRM_WITHIN = timedelta(days=7)
_BYTES = 18  # 144 bits, 24 characters, no padding


def new_secret() -> str:
    """Make a random secret: 24 URL-safe characters, 144 bits."""
    return secrets.token_urlsafe(_BYTES)


def secret_hash(secret: str) -> str:
    """Return what is stored of a secret: 64 hexadecimal characters."""
    return hashlib.sha256(secret.encode()).hexdigest()


def derived_secret(key: bytes, *parts: object) -> str:
    """Make the same secret again from the same parts (a digest must be rebuilt byte for byte).

    Args:
        key: The installation's secret key.
        parts: What the secret stands for, e.g. ``("stop", profile_id, "email")``.

    Returns:
        24 URL-safe characters, unguessable without the key.
    """
    import base64

    text = "\x1f".join(str(part) for part in parts).encode()
    digest = hmac.new(key, text, hashlib.sha256).digest()[:_BYTES]
    return base64.urlsafe_b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """What an address in a message acts on."""

    profile_id: int
    channel: str


class TokenStore:
    """Stores hashes of feed tokens and stop tokens."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._feed_state = Lookup(database, _FEED_STATE)

    def issue(self, profile_id: int, *, at: datetime, old_ends_at: datetime | None = None) -> str:
        """Make a feed token; the profile's earlier ones end at ``old_ends_at`` (default: now).

        Returns:
            The token, which cannot be shown again.
        """
        token, end = new_secret(), old_ends_at or at
        with self._db.write() as connection:
            # Also those in their days of grace: "now" means every address but the new one.
            later = or_(feed_token.c.ends_at.is_(None), feed_token.c.ends_at > end)
            live = (feed_token.c.profile_id == profile_id) & later
            connection.execute(update(feed_token).where(live).values(ends_at=end))
            row = {"hash": secret_hash(token), "profile_id": profile_id, "created_at": at, "ends_at": None}
            connection.execute(insert(feed_token), [row])
        return token

    def resolve(self, token: str, *, now: datetime) -> int | None:
        """Return the profile a live token belongs to; ``None`` for unknown and ended alike."""
        live = or_(feed_token.c.ends_at.is_(None), feed_token.c.ends_at > now)
        query = select(feed_token.c.profile_id).where(feed_token.c.hash == secret_hash(token), live)
        with self._db.read() as connection:
            return connection.scalar(query)

    def feed_state(self, token: str, *, now: datetime) -> tuple[int, int, int, int] | None:
        """Return what a poll of a feed depends on, in one small read; ``None`` as in :meth:`resolve`.

        Returns:
            Profile id, shelf version, and the catalogue's two change numbers (material, edit).
        """
        rows = self._feed_state(secret_hash(token), to_micros(now))
        return rows[0] if rows else None

    def revoke_all(self, profile_id: int, *, at: datetime) -> None:
        """End every feed token of a profile at once."""
        with self._db.write() as connection:
            connection.execute(
                update(feed_token).where(feed_token.c.profile_id == profile_id).values(ends_at=at)
            )

    def remember(self, token: str, action: LinkAction, target: LinkTarget, *, at: datetime) -> None:
        """Make an address of a message work; doing so twice changes nothing."""
        row = {
            "hash": secret_hash(token),
            "profile_id": target.profile_id,
            "channel": target.channel,
            "action": action,
            "created_at": at,
        }
        with self._db.write() as connection:
            # A confirmation that is asked for once more has its full time again.
            keep = upsert if action == "confirm" else insert_missing
            keep(connection, link_token, [row], ["hash"])

    def remember_many(self, tokens: Mapping[str, LinkTarget], action: LinkAction, *, at: datetime) -> None:
        """Make the addresses of many messages work; those that work already cost one read and no write."""
        wanted = {secret_hash(token): target for token, target in tokens.items()}
        known: set[str] = set()
        with self._db.read() as connection:
            for part in chunks(list(wanted)):
                known.update(connection.scalars(select(link_token.c.hash).where(link_token.c.hash.in_(part))))
        rows = [
            {
                "hash": hashed, "profile_id": target.profile_id, "channel": target.channel,
                "action": action, "created_at": at,
            }
            for hashed, target in wanted.items()
            if hashed not in known
        ]  # fmt: skip
        if rows:
            with self._db.write() as connection:
                insert_missing(connection, link_token, rows, ["hash"])

    def find_stop(self, token: str) -> LinkTarget | None:
        """Return what a stop address stops, or ``None``; it never expires (old mails must work)."""
        return self._find(token, "stop", since=None)

    def find_confirmation(self, token: str, *, now: datetime) -> LinkTarget | None:
        """Return what a confirmation confirms, or ``None``; it works for a week."""
        return self._find(token, "confirm", since=now - CONFIRM_WITHIN)

    def _find(self, token: str, action: LinkAction, *, since: datetime | None) -> LinkTarget | None:
        query = select(link_token.c.profile_id, link_token.c.channel).where(
            link_token.c.hash == secret_hash(token), link_token.c.action == action
        )
        if since is not None:
            query = query.where(link_token.c.created_at > since)
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else LinkTarget(row.profile_id, row.channel)
