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
    # When it erases itself (a visitor's stay); NULL: never.
    Column("ends_at", Instant, nullable=True),
    Index("uq_profile_manage_hash", "manage_hash", unique=True),
    Index(
        "ix_profile_ends_at",
        "ends_at",
        sqlite_where=text("ends_at IS NOT NULL"),
        postgresql_where=text("ends_at IS NOT NULL"),
    ),
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
    # The last sign that the address still works: a receipt or a word from it.
    Column("seen_at", Instant, nullable=True),
    # When its holder was last asked whether it is still theirs.
    Column("asked_at", Instant, nullable=True),
    Index("uq_contact_profile_channel", "profile_id", "channel", unique=True),
    Index("ix_contact_blind_index", "blind_index"),
    # Few are unconfirmed at any time; planning asks for them alone.
    Index(
        "ix_contact_unverified",
        "profile_id",
        "channel",
        sqlite_where=text("verified_at IS NULL"),
        postgresql_where=text("verified_at IS NULL"),
    ),
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
    # Where its next window begins; 0: where the last one of its rhythm ended, so that planning need not
    # write to it. ``next_due_at`` counts for immediate ones only.
    Column("covered_until", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=True),
    Column("ended_reason", String(48), nullable=False),
    # The day of a weekly digest, 0 = Monday.
    Column("weekday", SmallInteger, nullable=False, server_default="0"),
    Column("workdays_only", SmallInteger, nullable=False, server_default="0"),
    # A rest [from, until); without an end until it is taken back. What happened meanwhile comes after it
    # where ``pause_keeps`` is 1.
    Column("paused_from", Instant, nullable=True),
    Column("paused_until", Instant, nullable=True),
    Column("pause_keeps", SmallInteger, nullable=False, server_default="1"),
    # What the last planning did with it, where that differs from its rhythm; for "why nothing today".
    Column("last_result", String(16), nullable=False, server_default=""),
    Column("last_planned_at", Instant, nullable=True),
    Index(
        "uq_subscription_live",
        "profile_id",
        "channel",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    # Immediate ones that are to be looked at again after a rest.
    Index(
        "ix_subscription_wake",
        "next_due_at",
        sqlite_where=text("ended_at IS NULL AND frequency = 'immediate'"),
        postgresql_where=text("ended_at IS NULL AND frequency = 'immediate'"),
    ),
    Index(
        "ix_subscription_hour",
        "local_hour",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# How far everybody of one rhythm on one channel was planned. One row is moved on for all of them.
rhythm = Table(
    "rhythm",
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("frequency", String(16), primary_key=True),
    Column("local_hour", SmallInteger, primary_key=True),
    Column("weekday", SmallInteger, primary_key=True),
    Column("workdays_only", SmallInteger, primary_key=True),
    Column("next_due_at", Instant, nullable=False),
    # End of the last window.
    Column("covered_until", Instant, nullable=False),
    # The newest slot that planning was begun for: nothing is written into the ledger before it any more.
    Column("slot", Instant, nullable=False),
    # Subscriptions below this id are planned for ``slot``; 0: all are.
    Column("done_id", BigInteger, nullable=False, server_default="0"),
    Column("last_result", String(16), nullable=False, server_default=""),
    Column("last_planned_at", Instant, nullable=True),
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
