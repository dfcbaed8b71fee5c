"""The table of digest runs. Only declares; ``delivery.digest_runs`` and the planning store use it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from feeds.kernel.db import BigId, Instant, metadata

# One planning of one slot: every digest of that hour, or an hour of immediate messages or corrections.
# Whether it was held or halted is the outbox's own note (``delivery_run``).
digest_run = Table(
    "digest_run",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", Text, nullable=False),  # digest | immediate | correction
    Column("slot", Instant, nullable=False),
    Column("planned_at", Instant, nullable=False),
    Column("rows", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),  # open | completed
    Column("reason", Text, nullable=False, server_default=""),
    Column("completed_at", Instant),
    # How far the run has looked: the last edition (immediate) or material number (correction).
    Column("mark", BigInteger, nullable=False, server_default="0"),
    Index("uq_digest_run_kind_slot", "kind", "slot", unique=True),
    Index(
        "ix_digest_run_open",
        "slot",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
)
