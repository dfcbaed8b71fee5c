"""Subscribers of public feeds at our own hub.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

from feeds.kernel import db

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hub_request",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("callback", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("lease_s", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", db.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hub_request")),
    )
    op.create_index("ix_hub_request_due_at", "hub_request", ["due_at"], unique=False)
    op.create_index("ix_hub_request_host", "hub_request", ["host"], unique=False)
    op.create_table(
        "hub_subscriber",
        sa.Column("id", db.BigId, nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("topic_key", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("callback_key", sa.String(length=64), nullable=False),
        sa.Column("callback", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("lease_until", db.Instant(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("sent_etag", sa.String(length=64), nullable=False),
        sa.Column("sent_at", db.Instant(), nullable=True),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hub_subscriber")),
    )
    op.create_index("uq_hub_subscriber_key", "hub_subscriber", ["key"], unique=True)
    for column in ("topic_key", "callback_key", "host", "lease_until"):
        op.create_index(f"ix_hub_subscriber_{column}", "hub_subscriber", [column], unique=False)
    op.create_table(
        "hub_topic",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hub_topic")),
    )
    op.create_table(
        "hub_queue",
        sa.Column("subscriber_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=False),
        sa.Column("due_at", db.Instant(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["hub_subscriber.id"],
            name=op.f("fk_hub_queue_subscriber_id_hub_subscriber"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subscriber_id", name=op.f("pk_hub_queue")),
    )
    op.create_index("ix_hub_queue_due_at", "hub_queue", ["due_at"], unique=False)
    op.create_table(
        "hub_ping",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", db.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_hub_ping")),
    )
    op.create_table(
        "hub_mark",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("material", sa.BigInteger(), nullable=False),
        sa.Column("edit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hub_mark")),
    )


def downgrade() -> None:
    for name in ("hub_mark", "hub_ping", "hub_queue", "hub_topic", "hub_subscriber", "hub_request"):
        op.drop_table(name)
