"""Tables about residents. Only the store modules of ``profiles`` use them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    text,
)
from sqlalchemy import Float as Real

from feeds.kernel.db import BigId, Instant, Json, metadata

profile = Table(
    "profile",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("created_at", Instant, nullable=False),
    Column("langs", Json, nullable=False),
    Column("pace", SmallInteger, nullable=False),
    Column("personalised", Boolean, nullable=False),
    Column("discreet", Boolean, nullable=False),
    Column("manage_hash", String(64), nullable=False),
    Index("uq_profile_manage_hash", "manage_hash", unique=True),
    # An erased profile's number must never come back: old mails hold links derived from it.
    sqlite_autoincrement=True,
)

profile_criterion = Table(
    "profile_criterion",
    metadata,
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("code", String(96), primary_key=True),
    Column("label", String(32), primary_key=True),
    Column("position", SmallInteger, nullable=False),
)

feed_token = Table(
    "feed_token",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=True),
    Index("ix_feed_token_profile_id", "profile_id"),
)

contact = Table(
    "contact",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("blind_index", String(64), nullable=False),
    Column("verified_at", Instant, nullable=True),
    Column("created_at", Instant, nullable=False),
    Index("uq_contact_profile_channel", "profile_id", "channel", unique=True),
    Index("ix_contact_blind_index", "blind_index"),
)

consent = Table(
    "consent",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("purpose", String(48), nullable=False),
    Column("wording", String(32), nullable=False),
    Column("given_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=True),
    Index("ix_consent_profile_id", "profile_id"),
)

subscription = Table(
    "subscription",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("frequency", String(16), nullable=False),
    Column("local_hour", SmallInteger, nullable=False),
    Column("lang", String(16), nullable=False),
    Column("next_due_at", Instant, nullable=False),
    # End of the last window that was planned; the next one starts here, whatever hour is chosen.
    Column("covered_until", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=True),
    Column("ended_reason", String(48), nullable=False),
    Index(
        "uq_subscription_live",
        "profile_id",
        "channel",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_subscription_due",
        "next_due_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

edition = Table(
    "edition",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("size", SmallInteger, nullable=False),
    Column("picks", LargeBinary, nullable=False),
    Index("ix_edition_profile_made", "profile_id", "made_at"),
)

shelf = Table(
    "shelf",
    metadata,
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("picks", LargeBinary, nullable=False),
    Column("picked", LargeBinary, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("profile_id", BigInteger, nullable=False),
    Column("notice_id", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    Column("channel", String(16), nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("propensity", Real, nullable=False),
    Column("simulated", Boolean, nullable=False),
    # What was rated, 1 to 5; 0 for every other kind.
    Column("value", Real, nullable=False, server_default="0"),
    # How sure it is that a person saw it, 0 to 1.
    Column("sure", Real, nullable=False, server_default="1"),
    # A resident's opinions, and their latest events, are found without passing the many impressions.
    Index("ix_feedback_profile", "profile_id", "kind", "at"),
    Index("ix_feedback_kind_at", "kind", "at"),
)

# What behaviour says about a resident, one tag a row. ``own``: the resident set this weight (0 = never).
profile_taste = Table(
    "profile_taste",
    metadata,
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(96), primary_key=True),
    Column("weight", Real, nullable=False),
    Column("own", Boolean, nullable=False),
)

# An address in a message that does one thing: ``stop`` a channel, or ``confirm`` an address. Only the
# hash of its token is stored.
link_token = Table(
    "link_token",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("profile_id", BigInteger, ForeignKey("profile.id", ondelete="CASCADE"), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("action", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
)
