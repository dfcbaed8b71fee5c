"""Sources that are lists, warnings or hubs; how they are doing; what a notice is recognised by.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

from feeds.kernel import db

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _source_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("recipe", db.Json(), server_default="{}", nullable=False),
        sa.Column("rules", db.Json(), server_default="[]", nullable=False),
        sa.Column("tags", db.Json(), server_default="[]", nullable=False),
        sa.Column("release", sa.String(length=16), server_default="publish", nullable=False),
        sa.Column("full_text", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("ttl_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("hub", sa.Text(), server_default="", nullable=False),
        sa.Column("topic", sa.Text(), server_default="", nullable=False),
        sa.Column("moved_to", sa.Text(), server_default="", nullable=False),
        sa.Column("moved_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("gone_at", db.Instant(), nullable=True),
        sa.Column("last_status", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_new_at", db.Instant(), nullable=True),
        sa.Column("last_entries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("body_hash", sa.String(length=64), server_default="", nullable=False),
        sa.Column("alarm", sa.String(length=32), server_default="", nullable=False),
        sa.Column("alarm_at", db.Instant(), nullable=True),
    )


def upgrade() -> None:
    op.create_table(
        "notice_key",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("notice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("key", "notice_id", name=op.f("pk_notice_key")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_notice_key_notice", "notice_key", ["notice_id"], unique=False)
    op.create_table(
        "notice_print",
        sa.Column("notice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("title_key", sa.BigInteger(), nullable=False),
        sa.Column("doc_key", sa.BigInteger(), nullable=False),
        sa.Column("agency_key", sa.BigInteger(), nullable=False),
        sa.Column("url_key", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=True),
        sa.Column("simhash", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notice_print")),
    )
    op.create_table(
        "pending_change",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("content", db.Json(), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=True),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notice.id"], name=op.f("fk_pending_change_notice_id_notice")
        ),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_pending_change")),
    )
    op.create_table(
        "source_answer",
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("which", sa.String(length=8), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("headers", db.Json(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "which", name=op.f("pk_source_answer")),
    )
    op.create_table(
        "source_poll",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_poll")),
    )
    op.create_index("ix_source_poll_source_at", "source_poll", ["source_id", "at"], unique=False)
    op.create_table(
        "websub",
        sa.Column("source_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("path", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("asked_at", db.Instant(), nullable=False),
        sa.Column("lease_until", db.Instant(), nullable=True),
        sa.Column("next_at", db.Instant(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("last_push_at", db.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_websub")),
        sa.UniqueConstraint("path", name=op.f("uq_websub_path")),
    )
    # Plain ALTER TABLE on both databases: nothing is copied, however large the tables are.
    op.add_column("notice", sa.Column("lead_id", sa.BigInteger(), nullable=True))
    op.create_index("ix_notice_lead", "notice", ["lead_id"], unique=False)
    op.create_index("ix_notice_source", "notice", ["source_id", "id"], unique=False)
    for column in _source_columns():
        op.add_column("source", column)


def downgrade() -> None:
    for column in reversed(_source_columns()):
        op.drop_column("source", column.name)
    op.drop_index("ix_notice_source", table_name="notice")
    op.drop_index("ix_notice_lead", table_name="notice")
    op.drop_column("notice", "lead_id")
    for table in ("websub", "source_poll", "source_answer", "pending_change", "notice_print", "notice_key"):
        op.drop_table(table)
