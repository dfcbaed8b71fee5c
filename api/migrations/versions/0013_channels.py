"""Further channels: signed webhooks.

Revision 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op

from feeds.kernel import db

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook",
        sa.Column("profile_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("last_ok_at", db.Instant(), nullable=True),
        sa.Column("failing_since", db.Instant(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_code", sa.String(length=32), nullable=False),
        sa.Column("ended_at", db.Instant(), nullable=True),
        sa.Column("ended_why", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_webhook_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_webhook")),
    )


def downgrade() -> None:
    op.drop_table("webhook")
