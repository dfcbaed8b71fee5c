"""What feeds keep: which notices were edited, what purged ones leave behind, and the order of archives.

Revision 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notice_edit",
        sa.Column("notice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name="fk_notice_edit_notice_id_notice"),
        sa.PrimaryKeyConstraint("notice_id", name="pk_notice_edit"),
    )
    op.create_index("ix_notice_edit_number", "notice_edit", ["number"])
    op.create_table(
        "notice_tombstone",
        sa.Column("notice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name="fk_notice_tombstone_notice_id_notice"),
        sa.PrimaryKeyConstraint("notice_id", "kind", "code", name="pk_notice_tombstone"),
    )
    op.create_index("ix_notice_tombstone_code", "notice_tombstone", ["kind", "code"])
    op.create_index("ix_notice_material", "notice", ["material_number"])
    op.create_index("ix_notice_released", "notice", ["released_at", "id", "place"])


def downgrade() -> None:
    op.drop_index("ix_notice_released", table_name="notice")
    op.drop_index("ix_notice_material", table_name="notice")
    op.drop_table("notice_tombstone")
    op.drop_table("notice_edit")
