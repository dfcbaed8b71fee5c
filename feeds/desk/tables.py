"""Tables of the desk: staff and the audit. Only ``feeds.desk.staff`` and ``feeds.desk.audit`` use them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from feeds.kernel.db import BigId, Instant, Json, metadata

staff = Table(
    "staff",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("issuer", String(128), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", Json, nullable=False),
    Column("agency", String(64), nullable=False),
    Column("key_hash", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=True),
    Index("uq_staff_issuer_subject", "issuer", "subject", unique=True),
    Index("ix_staff_key_hash", "key_hash"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("notice_id", BigInteger, nullable=True),
    Column("details", Json, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_audit_notice_id", "notice_id"),
    Index("uq_audit_previous", "previous", unique=True),
)
