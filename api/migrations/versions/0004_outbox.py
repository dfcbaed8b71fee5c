"""What the outbox keeps beside its rows: receipts, leases of jobs, frozen recipes, runs that halt.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Plain ALTER TABLE on both databases: nothing is copied, however large the log is. Rows of before
    # hold their notices already, so they are frozen.
    small = sa.SmallInteger()
    op.add_column("delivery", sa.Column("frozen", small, server_default="1", nullable=False))
    op.add_column("delivery", sa.Column("begun", small, server_default="0", nullable=False))
    op.add_column("delivery", sa.Column("run_id", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_delivery_run_id",
        "delivery",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    _due_by(["lane", "due_at", "id"])
    # What is in a sender's hands while the schema changes may have gone out.
    op.execute("UPDATE delivery SET begun = 1 WHERE state = 'leased'")
    op.create_table(
        "delivery_run",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bounced", sa.Integer(), nullable=False),
        sa.Column("held_at", sa.BigInteger(), nullable=True),
        sa.Column("held_why", sa.Text(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_delivery_run")),
    )
    op.create_table(
        "receipt",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("out_id", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("waiting", small, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
    )
    op.create_index("uq_receipt_reference", "receipt", ["provider", "provider_ref", "state"], unique=True)
    op.create_index(
        "ix_receipt_waiting",
        "receipt",
        ["taken_at"],
        unique=False,
        sqlite_where=sa.text("waiting = 1"),
        postgresql_where=sa.text("waiting = 1"),
    )
    op.create_table(
        "job_lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_lease")),
    )


def downgrade() -> None:
    op.drop_table("job_lease")
    op.drop_table("receipt")
    op.drop_table("delivery_run")
    _due_by(["lane", "due_at"])
    op.drop_index("ix_delivery_run_id", table_name="delivery")
    op.drop_column("delivery", "run_id")
    op.drop_column("delivery", "begun")
    op.drop_column("delivery", "frozen")


def _due_by(columns: list[str]) -> None:
    op.drop_index("ix_delivery_due", table_name="delivery")
    queued = sa.text("state = 'queued'")
    op.create_index(
        "ix_delivery_due", "delivery", columns, unique=False, sqlite_where=queued, postgresql_where=queued
    )
