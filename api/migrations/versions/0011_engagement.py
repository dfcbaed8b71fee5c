"""Opens and clicks, with consent.

Revision 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

from feeds.kernel import db

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_WAITS = sa.text("verdict = 'waiting'")


def upgrade() -> None:
    op.create_table(
        "engagement",
        sa.Column("id", db.BigId, nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_engagement_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engagement")),
    )
    op.create_index("ix_engagement_delivery", "engagement", ["delivery_id"], unique=False)
    op.create_index("ix_engagement_profile", "engagement", ["profile_id", "at"], unique=False)
    op.create_index("ix_engagement_waits", "engagement", ["at"], sqlite_where=_WAITS, postgresql_where=_WAITS)


def downgrade() -> None:
    op.drop_table("engagement")
