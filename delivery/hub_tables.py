"""The tables of our WebSub hub. Only ``delivery.hub_store`` reads and writes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)

from feeds.kernel.db import BigId, Instant, metadata

# What was asked and is not verified yet; a newer request about the same (topic, callback) replaces it.
hub_request = Table(
    "hub_request",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("mode", String(16), nullable=False),
    Column("topic", Text, nullable=False),
    Column("callback", Text, nullable=False),
    Column("host", String(253), nullable=False),
    Column("sealed", LargeBinary, nullable=True),  # the secret, if one was given
    Column("lease_s", Integer, nullable=False),
    Column("nonce", String(32), nullable=False),  # tells a replaced request from the one in hand
    Column("attempts", SmallInteger, nullable=False),
    Column("due_at", Instant, nullable=False),
    Index("ix_hub_request_due_at", "due_at"),
    Index("ix_hub_request_host", "host"),
)

hub_subscriber = Table(
    "hub_subscriber",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("topic_key", String(64), nullable=False),
    Column("topic", Text, nullable=False),
    Column("callback_key", String(64), nullable=False),
    Column("callback", Text, nullable=False),
    Column("host", String(253), nullable=False),
    Column("sealed", LargeBinary, nullable=True),
    Column("lease_until", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("sent_etag", String(64), nullable=False),  # of what it took last
    Column("sent_at", Instant, nullable=True),
    Column("failures", SmallInteger, nullable=False),  # in a row
    Index("uq_hub_subscriber_key", "key", unique=True),
    Index("ix_hub_subscriber_topic_key", "topic_key"),
    Index("ix_hub_subscriber_callback_key", "callback_key"),
    Index("ix_hub_subscriber_host", "host"),
    Index("ix_hub_subscriber_lease_until", "lease_until"),
)

# Topics with subscribers: the ETag that was last announced.
hub_topic = Table(
    "hub_topic",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("etag", String(64), nullable=False),
)

# Who is owed the present state of a topic: one row a subscriber, however often the topic changes.
hub_queue = Table(
    "hub_queue",
    metadata,
    Column("subscriber_id", BigInteger, ForeignKey("hub_subscriber.id", ondelete="CASCADE"),
           primary_key=True, autoincrement=False),
    Column("etag", String(64), nullable=False),
    Column("due_at", Instant, nullable=False),  # also the end of the lease of whoever holds it
    Column("token", String(32), nullable=False),
    Index("ix_hub_queue_due_at", "due_at"),
)  # fmt: skip

# Addresses that an external hub is to be told of.
hub_ping = Table(
    "hub_ping",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("due_at", Instant, nullable=False),
)

# Up to which change of the catalogue the topics were looked at.
hub_mark = Table(
    "hub_mark",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("material", BigInteger, nullable=False),
    Column("edit", BigInteger, nullable=False),
)
