"""The tables of the outbox and how their rows become objects.

Only declares and converts; the ``delivery.outbox`` modules read and write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Row,
    SmallInteger,
    Table,
    Text,
    select,
    text,
)

from delivery.types import Delivery, NewDelivery
from feeds.kernel.db import BigId, Instant, Json, listed, metadata, quick_rows, within

IS_QUEUED = text("state = 'queued'")
IS_LEASED = text("state = 'leased'")

delivery = Table(
    "delivery",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("dedupe_key", Text, nullable=False, unique=True),
    Column("profile_id", BigInteger, nullable=False, index=True),
    Column("channel", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("lease_until", Instant),
    Column("lease_token", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("recipe", Json, nullable=False),
    Column("provider", Text, nullable=False, default=""),
    Column("provider_ref", Text, nullable=False, default=""),
    Column("segments", Integer, nullable=False, default=0),
    Column("error", Text, nullable=False, default=""),
    Column("created_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("changed_at", Instant, nullable=False),
    # 1: recipe and notices are fixed, so that another attempt says the same; 0: planned only.
    Column("frozen", SmallInteger, nullable=False, default=1, server_default="1"),
    # 1 from just before the provider is called: only such a message may have gone out.
    Column("begun", SmallInteger, nullable=False, default=0, server_default="0"),
    # The run that planned it; a run halts and is released as a whole.
    Column("run_id", BigInteger),
    # Literal predicates: SQLite takes a partial index only for the very same words (measured:
    # 24,000 claims a second with it, 140 without). With the id in it PostgreSQL need not sort what is
    # due at the same instant.
    Index("ix_delivery_due", "lane", "due_at", "id", sqlite_where=IS_QUEUED, postgresql_where=IS_QUEUED),
    Index("ix_delivery_lease", "lease_until", sqlite_where=IS_LEASED, postgresql_where=IS_LEASED),
    Index("ix_delivery_ref", "provider_ref", sqlite_where=text("provider_ref <> ''"),
          postgresql_where=text("provider_ref <> ''")),
    Index("ix_delivery_run_id", "run_id", sqlite_where=text("run_id IS NOT NULL"),
          postgresql_where=text("run_id IS NOT NULL")),
)  # fmt: skip

delivery_notice = Table(
    "delivery_notice",
    metadata,
    Column("delivery_id", BigId, ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True),
    Column("notice_id", BigInteger, primary_key=True),
    Column("revision", Integer, nullable=False),
    Index("ix_delivery_notice_notice_id", "notice_id"),
)

sending_switch = Table(
    "sending_switch",
    metadata,
    Column("channel", Text, primary_key=True),  # '' is the one switch for everything
    Column("paused_at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
)

# What became of a run since it began, or since a person last released it.
delivery_run = Table(
    "delivery_run",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("bounced", Integer, nullable=False),
    Column("held_at", Instant),
    Column("held_why", Text, nullable=False),  # "size" or "bounces"; "" while it runs
    Column("released_at", Instant),
    Column("released_by", Text, nullable=False),
)

# What providers reported. The key makes a report that comes twice one report.
receipt = Table(
    "receipt",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("provider_ref", Text, nullable=False),  # or "out:" and our own reference
    Column("state", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("code", Text, nullable=False),
    Column("out_id", Text, nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("waiting", SmallInteger, nullable=False),  # 1: no delivery bears that reference yet
    Index("uq_receipt_reference", "provider", "provider_ref", "state", unique=True),
    Index("ix_receipt_waiting", "taken_at", sqlite_where=text("waiting = 1"),
          postgresql_where=text("waiting = 1")),
)  # fmt: skip

# Who may run a job now: two schedulers on one database take turns.
job_lease = Table(
    "job_lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Instant, nullable=False),
)

BATCH = 500
Item = TypeVar("Item")


def values_of(row: NewDelivery, at: datetime) -> dict[str, Any]:
    """The columns of a new row."""
    return {
        "dedupe_key": row.dedupe_key, "profile_id": row.profile_id, "channel": row.channel,
        "lane": row.lane, "state": "queued", "due_at": row.due_at, "expires_at": row.expires_at,
        "attempts": 0, "recipe": dict(row.recipe), "created_at": at, "changed_at": at,
        "frozen": int(row.frozen), "run_id": row.run_id,
    }  # fmt: skip


def delivery_of(row: Row[Any], notices: tuple[tuple[int, int], ...]) -> Delivery:
    """A stored row as callers see it."""
    return Delivery(
        id=row.id, dedupe_key=row.dedupe_key, profile_id=row.profile_id, channel=row.channel,
        lane=row.lane, state=row.state, due_at=row.due_at, expires_at=row.expires_at,
        attempts=row.attempts, recipe=row.recipe, lease_token=row.lease_token or "",
        provider=row.provider, provider_ref=row.provider_ref, segments=row.segments,
        error=row.error, sent_at=row.sent_at, notices=notices,
        frozen=bool(row.frozen), run_id=row.run_id,
    )  # fmt: skip


def notices_of(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Delivery id → (notice id, revision), by notice id."""
    carried: dict[int, list[tuple[int, int]]] = {}
    for part in parts(ids):
        rows = connection.execute(
            select(delivery_notice)
            .where(delivery_notice.c.delivery_id.in_(part))
            .order_by(delivery_notice.c.delivery_id, delivery_notice.c.notice_id)
        )
        for row in rows:
            carried.setdefault(row.delivery_id, []).append((row.notice_id, row.revision))
    return {delivery_id: tuple(pairs) for delivery_id, pairs in carried.items()}


def carried(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Like :func:`notices_of`, by a plain statement."""
    found: dict[int, tuple[tuple[int, int], ...]] = {}
    text = (
        "SELECT delivery_id, notice_id, revision FROM delivery_notice WHERE "  # noqa: S608
        f"{within(connection, 'delivery_id')} ORDER BY delivery_id, notice_id"
    )
    for number, notice_id, revision in quick_rows(connection, text, [listed(connection, ids)]):
        found[number] = (*found.get(number, ()), (notice_id, revision))
    return found


def parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut into pieces that fit into one statement."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
