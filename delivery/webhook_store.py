"""Where signed webhooks stand: their sealed secrets and how sending goes.

The only SQL on table ``webhook``. The address itself is a contact (:mod:`profiles.contacts`). It sends
nothing and decides nothing but what is written here. Called by ``api.jobs.webhooks``.
"""

from __future__ import annotations

import json
import secrets as random
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    delete,
    select,
    update,
)

from delivery.channels.webhook import WebhookResult
from delivery.compose_webhook import PREFIX
from feeds.kernel.db import Database, Instant, chunks, metadata, upsert
from feeds.kernel.sealing import Sealer
from feeds.kernel.time import from_micros, to_micros

#: How long an old secret goes on signing beside the new one.
GRACE = timedelta(hours=24)
_SECRET_BYTES = 32

webhook = Table(
    "webhook",
    metadata,
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), primary_key=True,
           autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_ok_at", Instant, nullable=True),
    Column("failing_since", Instant, nullable=True),
    Column("failures", Integer, nullable=False),  # in a row
    Column("last_code", String(32), nullable=False),
    Column("ended_at", Instant, nullable=True),
    Column("ended_why", String(16), nullable=False),  # gone, failing
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Webhook:
    """How one resident's webhook stands.

    Attributes:
        failures: Attempts in a row that came to nothing.
        last_code: Of the last attempt, see :class:`delivery.channels.webhook.WebhookResult`; or ``""``.
        ended_why: ``gone`` (it answered 410) or ``failing`` (for too long); else ``""``.
    """

    profile_id: int
    created_at: datetime
    last_ok_at: datetime | None
    failing_since: datetime | None
    failures: int
    last_code: str
    ended_at: datetime | None
    ended_why: str
    secrets: tuple[str, ...] = field(default=(), repr=False)


def new_secret() -> str:
    """Make a secret: ``whsec_`` and 256 random bits in base64."""
    return PREFIX + b64encode(random.token_bytes(_SECRET_BYTES)).decode()


class WebhookStore:
    """Reads and writes webhooks; every method is one transaction.

    Args:
        database: Where.
        key: The installation's secret key; secrets are sealed with one derived from it.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._db = database
        self._sealer = Sealer(key, "mycity/webhooks/secret")

    def put(self, profile_id: int, secret: str, *, at: datetime) -> None:
        """Keep a new webhook of a profile in place of any earlier one."""
        row = {
            "profile_id": profile_id, "sealed": self._seal(profile_id, secret), "created_at": at,
            "last_ok_at": None, "failing_since": None, "failures": 0, "last_code": "",
            "ended_at": None, "ended_why": "",
        }  # fmt: skip
        with self._db.write() as connection:
            upsert(connection, webhook, [row], ["profile_id"])

    def rotate(self, profile_id: int, secret: str, *, at: datetime) -> bool:
        """Sign with a new secret, and with the old one too for :data:`GRACE`; False: there is no webhook."""
        with self._db.write() as connection:
            row = connection.execute(select(webhook).where(webhook.c.profile_id == profile_id)).first()
            if row is None:
                return False
            old = self._secrets(row, at)[0]
            sealed = self._seal(profile_id, secret, old, at + GRACE)
            connection.execute(
                update(webhook).where(webhook.c.profile_id == profile_id).values(sealed=sealed)
            )
        return True

    def get(self, profile_id: int, *, now: datetime) -> Webhook | None:
        """Return a profile's webhook with the secrets it signs with now."""
        return self.many([profile_id], now=now).get(profile_id)

    def many(self, profile_ids: Iterable[int], *, now: datetime) -> dict[int, Webhook]:
        """Return the webhooks of these profiles with the secrets they sign with now."""
        found = {}
        with self._db.read() as connection:
            for part in chunks(sorted(set(profile_ids))):
                query = select(webhook).where(webhook.c.profile_id.in_(part))
                for row in connection.execute(query):
                    found[row.profile_id] = self._made(row, now)
        return found

    def about(self, profile_id: int) -> dict[str, Any] | None:
        """Return what is held of a profile's webhook, without its secrets."""
        columns = [column for column in webhook.c if column.name != "sealed"]
        with self._db.read() as connection:
            row = connection.execute(select(*columns).where(webhook.c.profile_id == profile_id)).first()
        return None if row is None else dict(row._mapping)

    def note(self, result: WebhookResult) -> None:
        """Keep how an attempt went; what comes out of order changes nothing that is newer."""
        mine = webhook.c.profile_id == result.profile_id
        if result.ok:
            changed: dict[str, Any] = {
                "last_ok_at": result.at, "failing_since": None, "failures": 0, "last_code": "ok",
            }  # fmt: skip
        else:
            changed = {"failures": webhook.c.failures + 1, "last_code": result.code[:32]}
        with self._db.write() as connection:
            connection.execute(update(webhook).where(mine).values(**changed))
            if not result.ok:
                since = mine & webhook.c.failing_since.is_(None)
                connection.execute(update(webhook).where(since).values(failing_since=result.at))

    def failing(self, *, since: datetime, failures: int) -> list[int]:
        """Return whose live webhook has taken nothing since then, in at least so many attempts."""
        query = (
            select(webhook.c.profile_id)
            .where(
                webhook.c.ended_at.is_(None),
                webhook.c.failing_since <= since,
                webhook.c.failures >= failures,
            )
            .order_by(webhook.c.profile_id)
        )
        with self._db.read() as connection:
            return list(connection.scalars(query))

    def end(self, profile_id: int, why: str, *, at: datetime) -> bool:
        """Note that nothing more is sent, and why; False if it had ended before."""
        live = (webhook.c.profile_id == profile_id) & webhook.c.ended_at.is_(None)
        with self._db.write() as connection:
            changed = update(webhook).where(live).values(ended_at=at, ended_why=why)
            return connection.execute(changed).rowcount > 0

    def revive(self, held: Webhook, connection: Connection, *, now: datetime) -> bool:
        """Begin again after an end, the failures forgotten; False if it has another secret than was held."""
        mine = webhook.c.profile_id == held.profile_id
        row = connection.execute(select(webhook).where(mine).with_for_update()).first()
        if row is None or held.secrets[0] not in self._secrets(row, now):
            return False
        values = {
            "ended_at": None, "ended_why": "", "failing_since": None, "failures": 0, "last_code": "",
        }  # fmt: skip
        connection.execute(update(webhook).where(mine).values(**values))
        return True

    def remove(self, profile_id: int) -> None:
        """Forget a webhook; doing so twice changes nothing."""
        with self._db.write() as connection:
            connection.execute(delete(webhook).where(webhook.c.profile_id == profile_id))

    def _seal(self, profile_id: int, secret: str, old: str = "", until: datetime | None = None) -> bytes:
        held = {"new": secret, "old": old, "until": to_micros(until) if until else 0}
        return self._sealer.seal(json.dumps(held), f"{profile_id}")

    def _secrets(self, row: Row[Any], now: datetime) -> tuple[str, ...]:
        held = json.loads(self._sealer.open(row.sealed, f"{row.profile_id}"))
        grace = held["old"] and from_micros(held["until"]) > now
        return (held["new"], held["old"]) if grace else (held["new"],)

    def _made(self, row: Row[Any], now: datetime) -> Webhook:
        return Webhook(
            profile_id=row.profile_id, created_at=row.created_at, last_ok_at=row.last_ok_at,
            failing_since=row.failing_since, failures=row.failures, last_code=row.last_code,
            ended_at=row.ended_at, ended_why=row.ended_why, secrets=self._secrets(row, now),
        )  # fmt: skip
