"""Tables about addresses that get nothing, copies for relatives, and what came in by text message.

Only declares. Used by the stores ``profiles.suppression``, ``copies``, ``codes``, ``asked``,
``inbox`` and ``ending``, by ``profiles.standing`` and by ``delivery.copy_rows``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    text,
)

from feeds.kernel.db import BigId, Instant, metadata

_LIVE = text("ended_at IS NULL")

# An address that gets nothing, by its blind index alone: it outlives the profile that gave it.
suppression = Table(
    "suppression",
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("blind_index", String(64), primary_key=True),
    Column("reason", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    Column("until", Instant, nullable=True),
)

# That an address did not take a message; enough of them in a row suppress it.
address_trouble = Table(
    "address_trouble",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("channel", String(16), nullable=False),
    Column("blind_index", String(64), nullable=False),
    # The delivery that failed: the same receipt counts once.
    Column("delivery_id", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Index("ix_address_trouble_address", "blind_index", "channel"),
    Index("uq_address_trouble_delivery", "delivery_id", unique=True),
)

# Somebody else who gets what a resident gets; nothing is sent before they agreed themselves.
relative_copy = Table(
    "relative_copy",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("blind_index", String(64), nullable=False),
    Column("relation", String(16), nullable=False),
    Column("asked_at", Instant, nullable=False),
    # 1: the question went out. 0: it must not, which is nobody's matter but the number's owner's.
    Column("told", SmallInteger, nullable=False, server_default="0"),
    Column("confirmed_at", Instant, nullable=True),
    Column("ended_at", Instant, nullable=True),
    Column("ended_reason", String(16), nullable=False),
    Index(
        "uq_relative_copy_live",
        "profile_id",
        "channel",
        "blind_index",
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    ),
    Index("ix_relative_copy_blind_index", "blind_index"),
    # Its number stands in the outbox's keys and must never come back.
    sqlite_autoincrement=True,
)

# A six-digit code on its way to a phone. The code itself is nowhere: it is derived from ``nonce``.
phone_code = Table(
    "phone_code",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("blind_index", String(64), nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Index("ix_phone_code_profile", "profile_id", "made_at"),
    Index("ix_phone_code_made", "made_at"),
    # Its number stands in the outbox's keys and must never come back.
    sqlite_autoincrement=True,
)

# That an address was asked something; limits are counted from it. It names no profile that could be erased
# with it: ``asked_by`` is only a number, which never comes back.
address_asked = Table(
    "address_asked",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("blind_index", String(64), nullable=False),
    Column("asked_by", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("sent", SmallInteger, nullable=False),
    Column("answered_at", Instant, nullable=True),
    Index("ix_address_asked_address", "blind_index", "at"),
    Index("ix_address_asked_by", "asked_by", "at"),
    Index("ix_address_asked_at", "at"),
)

# A text message that somebody sent us: which word it was, never its wording.
inbound_message = Table(
    "inbound_message",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("provider", String(16), nullable=False),
    Column("ref", String(128), nullable=False),
    Column("blind_index", String(64), nullable=False),
    # For the answer; taken away after a day.
    Column("sealed", LargeBinary, nullable=True),
    Column("word", String(16), nullable=False),
    # Place or role beside DY; taken away as soon as it was acted on.
    Column("rest", String(64), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("done_at", Instant, nullable=True),
    # Name of the template that answered, or "".
    Column("answer", String(24), nullable=False),
    Index("uq_inbound_message_ref", "provider", "ref", unique=True),
    Index("ix_inbound_message_number", "blind_index", "received_at"),
    Index(
        "ix_inbound_message_waiting",
        "received_at",
        sqlite_where=text("done_at IS NULL"),
        postgresql_where=text("done_at IS NULL"),
    ),
    # Its number stands in the outbox's keys and must never come back.
    sqlite_autoincrement=True,
)
