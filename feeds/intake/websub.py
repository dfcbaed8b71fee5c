"""Listens to sources that tell us themselves (WebSub): subscriptions, their leases, and who really speaks.

W3C WebSub, the subscriber's side. Called by ``api.jobs.websub`` (asks, renews) and the route
``/hooks/websub/{path}`` (verifies, takes content in).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from feeds.kernel.db import Instant, metadata

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
