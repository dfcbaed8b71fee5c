"""How often a digest comes, when it rests, and the runs that planned it.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UNVERIFIED = sa.text("verified_at IS NULL")
_OPEN = sa.text("state = 'open'")
_LIVE = sa.text("ended_at IS NULL")
_INSTANTS = ("next_due_at", "covered_until", "slot")


def upgrade() -> None:
    # Plain ALTER TABLE on both databases: nothing is copied, however many subscribe.
    small = sa.SmallInteger()
    for name, default in (("weekday", "0"), ("workdays_only", "0")):
        op.add_column("subscription", sa.Column(name, small, server_default=default, nullable=False))
    op.add_column("subscription", sa.Column("paused_from", sa.BigInteger(), nullable=True))
    op.add_column("subscription", sa.Column("paused_until", sa.BigInteger(), nullable=True))
    op.add_column("subscription", sa.Column("pause_keeps", small, server_default="1", nullable=False))
    last = sa.Column("last_result", sa.String(length=16), server_default="", nullable=False)
    op.add_column("subscription", last)
    op.add_column("subscription", sa.Column("last_planned_at", sa.BigInteger(), nullable=True))
    _rhythms()
    op.create_index(
        "ix_contact_unverified",
        "contact",
        ["profile_id", "channel"],
        unique=False,
        sqlite_where=_UNVERIFIED,
        postgresql_where=_UNVERIFIED,
    )
    op.create_table(
        "digest_run",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("mark", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digest_run")),
    )
    op.create_index("uq_digest_run_kind_slot", "digest_run", ["kind", "slot"], unique=True)
    op.create_index(
        "ix_digest_run_open",
        "digest_run",
        ["slot"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def _rhythms() -> None:
    """How far each rhythm was planned; what a subscription holds of its own stays until it is planned."""
    key = ("channel", "frequency", "local_hour", "weekday", "workdays_only")
    text, small = sa.String(length=16), sa.SmallInteger()
    op.create_table(
        "rhythm",
        *(sa.Column(name, text if name in key[:2] else small, nullable=False) for name in key),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _INSTANTS),
        sa.Column("done_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_result", text, server_default="", nullable=False),
        sa.Column("last_planned_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_rhythm")),
    )
    op.execute(
        f"INSERT INTO rhythm ({', '.join(key)}, next_due_at, covered_until, slot) "  # noqa: S608
        f"SELECT {', '.join(key)}, MIN(next_due_at), MAX(covered_until), MAX(covered_until) "
        "FROM subscription WHERE ended_at IS NULL AND frequency <> 'immediate' "
        f"GROUP BY {', '.join(key)}"
    )
    op.drop_index("ix_subscription_due", table_name="subscription")
    soon = sa.text("ended_at IS NULL AND frequency = 'immediate'")
    op.create_index(
        "ix_subscription_wake", "subscription", ["next_due_at"], sqlite_where=soon, postgresql_where=soon
    )
    op.create_index(
        "ix_subscription_hour", "subscription", ["local_hour"], sqlite_where=_LIVE, postgresql_where=_LIVE
    )


def _no_rhythms() -> None:
    same = " AND ".join(f"r.{name} = s.{name}" for name in (
        "channel", "frequency", "local_hour", "weekday", "workdays_only"
    ))  # fmt: skip
    op.execute(
        "UPDATE subscription AS s SET next_due_at = r.next_due_at, covered_until = "  # noqa: S608
        "CASE WHEN s.covered_until = 0 THEN r.covered_until ELSE s.covered_until END "
        f"FROM rhythm AS r WHERE {same} AND s.ended_at IS NULL"
    )
    op.drop_index("ix_subscription_hour", table_name="subscription")
    op.drop_index("ix_subscription_wake", table_name="subscription")
    op.create_index(
        "ix_subscription_due", "subscription", ["next_due_at"], sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    op.drop_table("rhythm")


def downgrade() -> None:
    _no_rhythms()
    op.drop_index("ix_digest_run_open", table_name="digest_run")
    op.drop_index("uq_digest_run_kind_slot", table_name="digest_run")
    op.drop_table("digest_run")
    op.drop_index("ix_contact_unverified", table_name="contact")
    for name in (
        "last_planned_at", "last_result", "pause_keeps", "paused_until", "paused_from", "workdays_only",
        "weekday",
    ):  # fmt: skip
        op.drop_column("subscription", name)
