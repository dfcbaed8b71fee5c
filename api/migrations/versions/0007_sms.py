"""Providers of text messages: their weights, and what was spent.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sms_month",
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("calm", sa.BigInteger(), nullable=False),
        sa.Column("alert", sa.BigInteger(), nullable=False),
        sa.Column("refused_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_sms_month")),
    )
    op.create_table(
        "sms_attempt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("out_id", sa.Text(), nullable=False),
        sa.Column("number_index", sa.Text(), server_default="", nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("pot", sa.Text(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sms_attempt")),
    )
    op.create_index(op.f("ix_sms_attempt_out_id"), "sms_attempt", ["out_id"])
    op.create_index(op.f("ix_sms_attempt_at"), "sms_attempt", ["at"])
    reserved, referred = sa.text("state = 'reserved'"), sa.text("provider_ref <> ''")
    op.create_index(
        "ix_sms_attempt_reserved", "sms_attempt", ["at"], sqlite_where=reserved, postgresql_where=reserved
    )
    op.create_index(
        "ix_sms_attempt_ref",
        "sms_attempt",
        ["provider_ref"],
        sqlite_where=referred,
        postgresql_where=referred,
    )
    op.create_table(
        "sms_asked",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_sms_asked")),
    )
    op.create_table(
        "sms_part",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("whole", sa.Text(), nullable=False),
        sa.Column("out_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "ref", name=op.f("pk_sms_part")),
    )
    op.create_index(op.f("ix_sms_part_whole"), "sms_part", ["whole"])
    op.create_index(op.f("ix_sms_part_at"), "sms_part", ["at"])
    op.create_table(
        "sms_weight",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_sms_weight")),
    )


def downgrade() -> None:
    for table in ("sms_weight", "sms_part", "sms_asked", "sms_attempt", "sms_month"):
        op.drop_table(table)
