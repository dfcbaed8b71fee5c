"""Listens to sources that tell us themselves (WebSub): the store of subscriptions at their hubs.

The only SQL on table ``websub``. It sends nothing and decides nothing; the rules are in
:mod:`feeds.intake.websub_rules`. Called by ``api.jobs.websub`` and, for :meth:`WebSubStore.active`, by
whoever polls.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Row,
    String,
    Table,
    Text,
    select,
    update,
)

from feeds.intake.websub_rules import (
    BAD_SIGNATURE,
    DENIED_FOR,
    LEAVING,
    MISSED,
    MOST_FAILURES,
    UNRELIABLE,
    Subscription,
    after_ask,
    renew_after,
)
from feeds.kernel.db import Database, Instant, insert_missing, metadata

_PATH = re.compile(r"[A-Za-z0-9_-]{20,64}")

websub = Table(
    "websub",
    metadata,
    Column("source_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hub", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("path", String(64), nullable=False, unique=True),  # what makes our callback address unguessable
    Column("secret", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # asked, active, ended, failed
    Column("asked_at", Instant, nullable=False),
    Column("lease_until", Instant, nullable=True),
    Column("next_at", Instant, nullable=True),  # when to ask (again)
    Column("failures", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("last_push_at", Instant, nullable=True),
)


class WebSubStore:
    """Reads and writes subscriptions; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> Sequence[Subscription]:
        """Return every subscription, ended ones too, by source."""
        with self._db.read() as connection:
            return [_made(row) for row in connection.execute(select(websub).order_by(websub.c.source_id))]

    def of(self, source_id: int) -> Subscription | None:
        """Return the subscription of one source."""
        with self._db.read() as connection:
            return _by_source(connection, source_id)

    def by_path(self, path: str) -> Subscription | None:
        """Return the subscription that a callback address belongs to."""
        if not _PATH.fullmatch(path):
            return None
        with self._db.read() as connection:
            row = connection.execute(select(websub).where(websub.c.path == path)).first()
        return None if row is None else _made(row)

    def active(self, now: datetime) -> set[int]:
        """Return the sources whose hub can be relied on now, so that they may be polled rarely.

        Not those whose renewal just failed; and not those whose hub did not sign, or did not tell us,
        when it last should have: a renewal takes neither back, only a properly signed message does.
        """
        with self._db.read() as connection:
            return set(connection.scalars(select(websub.c.source_id).where(_reliable(now))))

    def ensure(self, source_id: int, *, hub: str, topic: str, at: datetime) -> Subscription:
        """Return the subscription of a source; make one with a new address and secret if it has none.

        An ended one is replaced, so that its old hub knows nothing of the new one.
        """
        row: dict[str, Any] = {
            "source_id": source_id,
            "hub": hub,
            "topic": topic,
            "path": secrets.token_urlsafe(32),
            "secret": secrets.token_urlsafe(32),
            "state": "asked",
            "asked_at": at,
            "lease_until": None,
            "next_at": at,
            "failures": 0,
            "last_error": "",
            "last_push_at": None,
        }
        with self._db.write() as connection:
            insert_missing(connection, websub, [row], ["source_id"])
            ended = (websub.c.source_id == source_id) & (websub.c.state == "ended")
            connection.execute(update(websub).where(ended).values(**row))
            made = _by_source(connection, source_id)
        assert made is not None  # noqa: S101 - it was written in this transaction
        return made

    def asked(self, source_id: int, *, at: datetime) -> bool:
        """Note that the hub is being asked; call it before asking, for a hub may verify at once.

        Returns:
            False if somebody else has just asked, or the subscription has ended: then do not ask.
        """
        with self._db.write() as connection:
            have = _by_source(connection, source_id)
            if have is None or have.state == "ended" or (have.next_at is not None and have.next_at > at):
                return False
            failures = have.failures + 1
            _set(connection, source_id, after_ask(have, failures, at) | {"asked_at": at})
        return True

    def verified(self, source_id: int, *, lease: timedelta, at: datetime) -> None:
        """Note that the hub has confirmed: its lease begins."""
        with self._db.write() as connection:
            have = _by_source(connection, source_id)
            if have is None or have.state == "ended":
                return
            changed = {
                "state": "active",
                "lease_until": at + lease,
                "next_at": at + renew_after(lease),
                "failures": 0,
                "last_error": _instead(have, ""),
            }
            _set(connection, source_id, changed)

    def failed(
        self,
        source_id: int,
        *,
        error: str,
        at: datetime,
        retry_after: float | None = None,
        final: bool = False,
    ) -> None:
        """Note why an ask came to nothing; a hub that has verified it meanwhile counts as confirmed.

        Args:
            source_id: Whose.
            error: One sentence.
            at: When.
            retry_after: Seconds that the hub asked us to wait.
            final: The hub must not be called; do not try for a week.
        """
        with self._db.write() as connection:
            have = _by_source(connection, source_id)
            if have is None or have.state == "ended" or not have.failures:
                return
            failures = MOST_FAILURES if final else have.failures
            said = {"last_error": _instead(have, error[:500])}
            _set(connection, source_id, after_ask(have, failures, at, retry_after) | said)

    def denied(self, source_id: int, *, reason: str, at: datetime) -> None:
        """Note that the hub will not serve us (any more); it is not asked for a month."""
        said = f"The hub denied the subscription ({reason[:200] or 'no reason given'})."
        changed = {
            "state": "failed",
            "lease_until": None,
            "next_at": at + DENIED_FOR,
            "failures": MOST_FAILURES,
            "last_error": said,
        }
        with self._db.write() as connection:
            _set(connection, source_id, changed)

    def pushed(self, source_id: int, *, at: datetime) -> None:
        """Note that a properly signed message came."""
        with self._db.write() as connection:
            _set(connection, source_id, {"last_push_at": at, "last_error": ""})

    def refused(self, source_id: int) -> None:
        """Note that a message came which the hub did not sign with our secret."""
        with self._db.write() as connection:
            _set(connection, source_id, {"last_error": BAD_SIGNATURE})

    def missed(self, source_id: int, *, since: datetime) -> bool:
        """Note that a poll brought something new of which the hub had said nothing since the poll before.

        Args:
            source_id: Whose.
            since: When the poll before was; a subscription that is younger, or a hub that has sent
                anything since then, is not blamed.

        Returns:
            Whether the hub is relied on no longer, until it sends a properly signed message.
        """
        silent = websub.c.last_push_at.is_(None) | (websub.c.last_push_at < since)
        blamed = (websub.c.source_id == source_id) & (websub.c.asked_at <= since) & silent
        with self._db.write() as connection:
            changed = update(websub).where(blamed, _reliable(since)).values(last_error=MISSED)
            return connection.execute(changed).rowcount > 0

    def ended(self, source_id: int, *, at: datetime) -> None:
        """Note that we leave: whatever still comes is told that it is over."""
        with self._db.write() as connection:
            changed = {"state": "ended", "lease_until": None, "next_at": at + LEAVING, "failures": 0}
            _set(connection, source_id, changed)


def is_reliable(connection: Connection, source_id: int, now: datetime) -> bool:
    """Whether :meth:`WebSubStore.active` holds this source, inside somebody's transaction."""
    query = select(websub.c.source_id).where(websub.c.source_id == source_id, _reliable(now))
    return connection.execute(query).first() is not None


def _reliable(now: datetime) -> ColumnElement[bool]:
    return (websub.c.state == "active") & (websub.c.lease_until > now) & (websub.c.last_error == "")


def _instead(have: Subscription, error: str) -> str:
    """What is said of a subscription after an ask; doubts about its messages outlast it."""
    return have.last_error if have.last_error in UNRELIABLE else error


def _set(connection: Connection, source_id: int, changed: Mapping[str, Any]) -> None:
    connection.execute(update(websub).where(websub.c.source_id == source_id).values(**changed))


def _by_source(connection: Connection, source_id: int) -> Subscription | None:
    row = connection.execute(select(websub).where(websub.c.source_id == source_id)).first()
    return None if row is None else _made(row)


def _made(row: Row[Any]) -> Subscription:
    return Subscription(**row._mapping)
