"""What residents did in more kinds, what it says about their taste, and the editors' weight of a notice.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "profile_taste",
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(length=96), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profile.id"],
            name=op.f("fk_profile_taste_profile_id_profile"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("profile_id", "tag", name=op.f("pk_profile_taste")),
    )
    # Plain ALTER TABLE on both databases: nothing is copied, however large the tables are.
    op.add_column("feedback", sa.Column("value", sa.Float(), server_default="0", nullable=False))
    op.add_column("feedback", sa.Column("sure", sa.Float(), server_default="1", nullable=False))
    # Impressions of before are fetched feeds; ``profiles.feedback.SURE`` says how sure those are.
    op.execute("UPDATE feedback SET sure = 0.3 WHERE kind = 'impression' AND channel = 'feed'")
    op.add_column("notice", sa.Column("prominence", sa.SmallInteger(), server_default="0", nullable=False))
    op.drop_index("ix_feedback_profile_id", table_name="feedback")
    op.create_index("ix_feedback_profile", "feedback", ["profile_id", "kind", "at"], unique=False)
    op.create_index("ix_feedback_kind_at", "feedback", ["kind", "at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_feedback_kind_at", table_name="feedback")
    op.drop_index("ix_feedback_profile", table_name="feedback")
    op.create_index("ix_feedback_profile_id", "feedback", ["profile_id", "at"], unique=False)
    op.drop_column("notice", "prominence")
    op.drop_column("feedback", "sure")
    op.drop_column("feedback", "value")
    op.drop_table("profile_taste")
