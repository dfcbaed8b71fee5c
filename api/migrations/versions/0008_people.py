"""Suppressed addresses, copies for relatives, and what came in by text message.

Revision 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LIVE, _WAITING, _ENDS = (
    sa.text("ended_at IS NULL"),
    sa.text("done_at IS NULL"),
    sa.text("ends_at IS NOT NULL"),
)


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _profile(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_profile_id_profile")
    return sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "suppression",
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("channel", "blind_index", name=op.f("pk_suppression")),
    )
    op.create_table(
        "address_trouble",
        sa.Column("id", _id(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_trouble")),
    )
    op.create_index("ix_address_trouble_address", "address_trouble", ["blind_index", "channel"])
    op.create_index("uq_address_trouble_delivery", "address_trouble", ["delivery_id"], unique=True)
    op.create_table(
        "relative_copy",
        sa.Column("id", _id(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("relation", sa.String(length=16), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_reason", sa.String(length=16), nullable=False),
        _profile("relative_copy"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relative_copy")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_relative_copy_live",
        "relative_copy",
        ["profile_id", "channel", "blind_index"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
    op.create_index("ix_relative_copy_blind_index", "relative_copy", ["blind_index"])
    op.create_table(
        "phone_code",
        sa.Column("id", _id(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        _profile("phone_code"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phone_code")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_phone_code_profile", "phone_code", ["profile_id", "made_at"])
    op.create_index("ix_phone_code_made", "phone_code", ["made_at"])
    op.create_table(
        "address_asked",
        sa.Column("id", _id(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("asked_by", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.SmallInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_asked")),
    )
    op.create_index("ix_address_asked_address", "address_asked", ["blind_index", "at"])
    op.create_index("ix_address_asked_by", "address_asked", ["asked_by", "at"])
    op.create_index("ix_address_asked_at", "address_asked", ["at"])
    op.create_table(
        "inbound_message",
        sa.Column("id", _id(), nullable=False),
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("ref", sa.String(length=128), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("word", sa.String(length=16), nullable=False),
        sa.Column("rest", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_message")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_inbound_message_ref", "inbound_message", ["provider", "ref"], unique=True)
    op.create_index("ix_inbound_message_number", "inbound_message", ["blind_index", "received_at"])
    op.create_index(
        "ix_inbound_message_waiting",
        "inbound_message",
        ["received_at"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.add_column("profile", sa.Column("ends_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_profile_ends_at", "profile", ["ends_at"], sqlite_where=_ENDS, postgresql_where=_ENDS)
    op.add_column("contact", sa.Column("seen_at", sa.BigInteger(), nullable=True))
    op.add_column("contact", sa.Column("asked_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("contact", "asked_at")
    op.drop_column("contact", "seen_at")
    op.drop_index("ix_profile_ends_at", table_name="profile")
    op.drop_column("profile", "ends_at")
    for table in ("inbound_message", "address_asked", "phone_code", "relative_copy", "address_trouble"):
        op.drop_table(table)
    op.drop_table("suppression")
