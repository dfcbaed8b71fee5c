"""Tables of sources and their polls. Only ``feeds.intake.sources`` and ``poll_log`` use them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    false,
)

from feeds.kernel.db import BigId, Instant, Json, metadata

source = Table(
    "source",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("slug", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", Text, nullable=True, unique=True),
    Column("agency", Text, nullable=False),
    Column("lang", String(16), nullable=False),
    Column("timezone", String(64), nullable=False),
    Column("licence", Text, nullable=False),
    Column("place", String(32), nullable=True),
    Column("trust", Integer, nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("next_poll_at", Instant, nullable=True),
    Column("last_polled_at", Instant, nullable=True),
    Column("last_ok_at", Instant, nullable=True),
    Column("held_at", Instant, nullable=True),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("polls", Integer, nullable=False),
    Column("recipe", Json, nullable=False, server_default="{}"),
    Column("rules", Json, nullable=False, server_default="[]"),
    Column("tags", Json, nullable=False, server_default="[]"),
    Column("release", String(16), nullable=False, server_default="publish"),
    Column("full_text", Boolean, nullable=False, server_default=false()),
    Column("ttl_s", Integer, nullable=False, server_default="0"),
    Column("hub", Text, nullable=False, server_default=""),
    Column("topic", Text, nullable=False, server_default=""),
    Column("moved_to", Text, nullable=False, server_default=""),
    Column("moved_count", Integer, nullable=False, server_default="0"),
    Column("gone_at", Instant, nullable=True),
    Column("last_status", Integer, nullable=False, server_default="0"),
    Column("last_new_at", Instant, nullable=True),
    Column("last_entries", Integer, nullable=False, server_default="0"),
    Column("body_hash", String(64), nullable=False, server_default=""),
    Column("alarm", String(32), nullable=False, server_default=""),
    Column("alarm_at", Instant, nullable=True),
)

# One row for each poll that brought something or failed; polls that found nothing changed leave no row.
source_poll = Table(
    "source_poll",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("source_id", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("new", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Index("ix_source_poll_source_at", "source_id", "at"),
)

# The last answer of a source (``last``) and its last good one (``good``), for diagnosis.
source_answer = Table(
    "source_answer",
    metadata,
    Column("source_id", BigInteger, primary_key=True),
    Column("which", String(8), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),  # zlib
    Column("bytes", Integer, nullable=False),  # before cutting and packing
)
