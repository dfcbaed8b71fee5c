"""Who may issue which warning, and how a warning reached people.

Revision 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remember which stages of warnings are wholly in the ledger."""
    op.create_table(
        "alert_done",
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stage", name="pk_alert_done"),
    )


def downgrade() -> None:
    """Forget them; the next relay looks at each again."""
    op.drop_table("alert_done")
