"""The tables about text message providers: attempts and their cost, months, parts, weights.

Only declares; ``delivery.sms_budget``, ``delivery.sms_scales`` and ``delivery.sms_unknown`` are the only
modules that read and write them. No number of anybody stands here.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from feeds.kernel.db import BigId, Instant, Json, metadata

IS_RESERVED = text("state = 'reserved'")

sms_month = Table(
    "sms_month",
    metadata,
    Column("month", Text, primary_key=True),  # local, 2026-10
    Column("calm", BigInteger, nullable=False),  # money in ten-thousandths, reserved or spent
    Column("alert", BigInteger, nullable=False),
    Column("refused_at", Instant),  # when a text last had to wait because there was nothing left
)

sms_attempt = Table(
    "sms_attempt",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("out_id", Text, nullable=False, index=True),
    # Blind index of the number, kept while nobody knows what became of it: a resident may change theirs.
    Column("number_index", Text, nullable=False, default="", server_default=""),
    Column("provider", Text, nullable=False),
    Column("provider_ref", Text, nullable=False, default=""),
    Column("month", Text, nullable=False),
    Column("pot", Text, nullable=False),  # calm | alert
    Column("price", BigInteger, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("state", Text, nullable=False),  # reserved | spent | released
    # '' (under way, or its process died) | accepted | throttled | retry | refused | unknown | delivered
    # | failed | unheard | given_up
    Column("outcome", Text, nullable=False, default=""),
    Column("at", Instant, nullable=False, index=True),
    Column("answered_at", Instant),
    Column("delivered_at", Instant),
    Index("ix_sms_attempt_reserved", "at", sqlite_where=IS_RESERVED, postgresql_where=IS_RESERVED),
    Index("ix_sms_attempt_ref", "provider_ref", sqlite_where=text("provider_ref <> ''"),
          postgresql_where=text("provider_ref <> ''")),
)  # fmt: skip

# When a text of unknown outcome was last asked about.
sms_asked = Table(
    "sms_asked",
    metadata,
    Column("delivery_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
)

sms_part = Table(
    "sms_part",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("whole", Text, nullable=False, index=True),  # the references of all parts, '' while not known
    Column("out_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # '' | delivered | failed
    Column("code", Text, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)

sms_weight = Table(
    "sms_weight",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("weights", Json, nullable=False),
    Column("reason", Text, nullable=False),
)
