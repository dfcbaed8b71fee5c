"""The first schema: catalogue, desk, sources, residents, ledger, outbox.

Revision 0001, after None.
"""

import sqlalchemy as sa
from alembic import op

from feeds.kernel import db

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Full text differs by database on purpose: each only finds, ranking is ours (feeds.catalogue.search).
_SQLITE_FTS = (
    "CREATE VIRTUAL TABLE notice_fts USING fts5(words, content='notice_words', content_rowid='notice_id')",
    "CREATE TRIGGER notice_fts_insert AFTER INSERT ON notice_words BEGIN "
    "INSERT INTO notice_fts(rowid, words) VALUES (new.notice_id, new.words); END",
    "CREATE TRIGGER notice_fts_delete AFTER DELETE ON notice_words BEGIN "
    "INSERT INTO notice_fts(notice_fts, rowid, words) VALUES ('delete', old.notice_id, old.words); END",
    "CREATE TRIGGER notice_fts_update AFTER UPDATE ON notice_words BEGIN "
    "INSERT INTO notice_fts(notice_fts, rowid, words) VALUES ('delete', old.notice_id, old.words); "
    "INSERT INTO notice_fts(rowid, words) VALUES (new.notice_id, new.words); END",
)
_POSTGRES_FTS = "CREATE INDEX ix_notice_words_fts ON notice_words USING gin (to_tsvector('simple', words))"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=True),
        sa.Column("details", db.Json(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_notice_id", "audit", ["notice_id"], unique=False)
    op.create_index("uq_audit_previous", "audit", ["previous"], unique=True)
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", db.Instant(), nullable=False),
        sa.Column("expires_at", db.Instant(), nullable=False),
        sa.Column("lease_until", db.Instant(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("recipe", db.Json(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("sent_at", db.Instant(), nullable=True),
        sa.Column("changed_at", db.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_delivery_dedupe_key")),
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["lane", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_delivery_lease",
        "delivery",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(op.f("ix_delivery_profile_id"), "delivery", ["profile_id"], unique=False)
    op.create_index(
        "ix_delivery_ref",
        "delivery",
        ["provider_ref"],
        unique=False,
        sqlite_where=sa.text("provider_ref <> ''"),
        postgresql_where=sa.text("provider_ref <> ''"),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", db.Instant(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("propensity", sa.Float(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_index("ix_feedback_profile_id", "feedback", ["profile_id", "at"], unique=False)
    op.create_table(
        "installation",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("guid", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("details", db.Json(), nullable=False),
        sa.Column("content_hash", sa.String(length=32), nullable=False),
        sa.Column("upstream_hash", sa.String(length=32), nullable=False),
        sa.Column("agency_slug", sa.String(length=64), nullable=False),
        sa.Column("doc_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("place", sa.String(length=32), nullable=True),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("archive", sa.Boolean(), nullable=False),
        sa.Column("published", db.Instant(), nullable=True),
        sa.Column("deadline", db.Instant(), nullable=True),
        sa.Column("expires", db.Instant(), nullable=True),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("released_at", db.Instant(), nullable=True),
        sa.Column("changed_at", db.Instant(), nullable=True),
        sa.Column("fresh_at", db.Instant(), nullable=False),
        sa.Column("material_number", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notice_doc_key", "notice", ["doc_key"], unique=False)
    op.create_index("ix_notice_state_deadline", "notice", ["state", "deadline"], unique=False)
    op.create_index("ix_notice_state_fresh", "notice", ["state", "fresh_at", "id"], unique=False)
    op.create_index("uq_notice_source_guid", "notice", ["source_id", "guid"], unique=True)
    op.create_table(
        "profile",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("langs", db.Json(), nullable=False),
        sa.Column("pace", sa.SmallInteger(), nullable=False),
        sa.Column("personalised", sa.Boolean(), nullable=False),
        sa.Column("discreet", sa.Boolean(), nullable=False),
        sa.Column("manage_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_profile_manage_hash", "profile", ["manage_hash"], unique=True)
    op.create_table(
        "sending_switch",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("paused_at", db.Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_sending_switch")),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("place", sa.String(length=32), nullable=True),
        sa.Column("trust", sa.Integer(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("next_poll_at", db.Instant(), nullable=True),
        sa.Column("last_polled_at", db.Instant(), nullable=True),
        sa.Column("last_ok_at", db.Instant(), nullable=True),
        sa.Column("held_at", db.Instant(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("slug", name=op.f("uq_source_slug")),
        sa.UniqueConstraint("url", name=op.f("uq_source_url")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("issuer", sa.String(length=128), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", db.Json(), nullable=False),
        sa.Column("agency", sa.String(length=64), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("ended_at", db.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
    )
    op.create_index("ix_staff_key_hash", "staff", ["key_hash"], unique=False)
    op.create_index("uq_staff_issuer_subject", "staff", ["issuer", "subject"], unique=True)
    op.create_table(
        "consent",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.String(length=48), nullable=False),
        sa.Column("wording", sa.String(length=32), nullable=False),
        sa.Column("given_at", db.Instant(), nullable=False),
        sa.Column("ended_at", db.Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_consent_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index("ix_consent_profile_id", "consent", ["profile_id"], unique=False)
    op.create_table(
        "contact",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("blind_index", sa.String(length=64), nullable=False),
        sa.Column("verified_at", db.Instant(), nullable=True),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_contact_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
    )
    op.create_index("ix_contact_blind_index", "contact", ["blind_index"], unique=False)
    op.create_index("uq_contact_profile_channel", "contact", ["profile_id", "channel"], unique=True)
    op.create_table(
        "delivery_notice",
        sa.Column("delivery_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
            name=op.f("fk_delivery_notice_delivery_id_delivery"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "notice_id", name=op.f("pk_delivery_notice")),
    )
    op.create_index("ix_delivery_notice_notice_id", "delivery_notice", ["notice_id"], unique=False)
    op.create_table(
        "edition",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("made_at", db.Instant(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=False),
        sa.Column("picks", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_edition_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edition")),
    )
    op.create_index("ix_edition_profile_made", "edition", ["profile_id", "made_at"], unique=False)
    op.create_table(
        "feed_token",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("ends_at", db.Instant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_feed_token_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_feed_token")),
    )
    op.create_index("ix_feed_token_profile_id", "feed_token", ["profile_id"], unique=False)
    op.create_table(
        "notice_link",
        sa.Column("from_id", sa.BigInteger(), nullable=False),
        sa.Column("to_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["from_id"], ["notice.id"], name=op.f("fk_notice_link_from_id_notice")),
        sa.ForeignKeyConstraint(["to_id"], ["notice.id"], name=op.f("fk_notice_link_to_id_notice")),
        sa.PrimaryKeyConstraint("from_id", "to_id", "kind", name=op.f("pk_notice_link")),
    )
    op.create_index("ix_notice_link_to", "notice_link", ["to_id"], unique=False)
    op.create_table(
        "notice_revision",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("made_at", db.Instant(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("major", sa.Boolean(), nullable=False),
        sa.Column("content", db.Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notice.id"], name=op.f("fk_notice_revision_notice_id_notice")
        ),
        sa.PrimaryKeyConstraint("notice_id", "revision", name=op.f("pk_notice_revision")),
    )
    op.create_table(
        "notice_tag",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name=op.f("fk_notice_tag_notice_id_notice")),
        sa.PrimaryKeyConstraint("notice_id", "kind", "code", name=op.f("pk_notice_tag")),
    )
    op.create_index("ix_notice_tag_code", "notice_tag", ["kind", "code", "notice_id"], unique=False)
    op.create_table(
        "notice_words",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("length", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name=op.f("fk_notice_words_notice_id_notice")),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notice_words")),
    )
    op.create_table(
        "profile_criterion",
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=96), nullable=False),
        sa.Column("label", sa.String(length=32), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profile.id"],
            name=op.f("fk_profile_criterion_profile_id_profile"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("profile_id", "kind", "code", "label", name=op.f("pk_profile_criterion")),
    )
    op.create_table(
        "shelf",
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("picks", sa.LargeBinary(), nullable=False),
        sa.Column("picked", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_shelf_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_shelf")),
    )
    op.create_table(
        "link_token",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"], ["profile.id"], name=op.f("fk_link_token_profile_id_profile"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_link_token")),
    )
    op.create_table(
        "subscription",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("frequency", sa.String(length=16), nullable=False),
        sa.Column("local_hour", sa.SmallInteger(), nullable=False),
        sa.Column("lang", sa.String(length=16), nullable=False),
        sa.Column("next_due_at", db.Instant(), nullable=False),
        sa.Column("covered_until", db.Instant(), nullable=False),
        sa.Column("created_at", db.Instant(), nullable=False),
        sa.Column("ended_at", db.Instant(), nullable=True),
        sa.Column("ended_reason", sa.String(length=48), nullable=False),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["profile.id"],
            name=op.f("fk_subscription_profile_id_profile"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
    )
    op.create_index(
        "ix_subscription_due",
        "subscription",
        ["next_due_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "uq_subscription_live",
        "subscription",
        ["profile_id", "channel"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SQLITE_FTS:
            op.execute(statement)
    else:
        op.execute(_POSTGRES_FTS)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE notice_fts")
    op.drop_index(
        "uq_subscription_live",
        table_name="subscription",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_index(
        "ix_subscription_due",
        table_name="subscription",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.drop_table("subscription")
    op.drop_table("link_token")
    op.drop_table("shelf")
    op.drop_table("profile_criterion")
    op.drop_table("notice_words")
    op.drop_index("ix_notice_tag_code", table_name="notice_tag")
    op.drop_table("notice_tag")
    op.drop_table("notice_revision")
    op.drop_index("ix_notice_link_to", table_name="notice_link")
    op.drop_table("notice_link")
    op.drop_index("ix_feed_token_profile_id", table_name="feed_token")
    op.drop_table("feed_token")
    op.drop_index("ix_edition_profile_made", table_name="edition")
    op.drop_table("edition")
    op.drop_index("ix_delivery_notice_notice_id", table_name="delivery_notice")
    op.drop_table("delivery_notice")
    op.drop_index("uq_contact_profile_channel", table_name="contact")
    op.drop_index("ix_contact_blind_index", table_name="contact")
    op.drop_table("contact")
    op.drop_index("ix_consent_profile_id", table_name="consent")
    op.drop_table("consent")
    op.drop_index("uq_staff_issuer_subject", table_name="staff")
    op.drop_index("ix_staff_key_hash", table_name="staff")
    op.drop_table("staff")
    op.drop_table("source")
    op.drop_table("sending_switch")
    op.drop_index("uq_profile_manage_hash", table_name="profile")
    op.drop_table("profile")
    op.drop_index("uq_notice_source_guid", table_name="notice")
    op.drop_index("ix_notice_state_fresh", table_name="notice")
    op.drop_index("ix_notice_state_deadline", table_name="notice")
    op.drop_index("ix_notice_doc_key", table_name="notice")
    op.drop_table("notice")
    op.drop_table("installation")
    op.drop_index("ix_feedback_profile_id", table_name="feedback")
    op.drop_table("feedback")
    op.drop_index(
        "ix_delivery_ref",
        table_name="delivery",
        sqlite_where=sa.text("provider_ref <> ''"),
        postgresql_where=sa.text("provider_ref <> ''"),
    )
    op.drop_index(op.f("ix_delivery_profile_id"), table_name="delivery")
    op.drop_index(
        "ix_delivery_lease",
        table_name="delivery",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.drop_index(
        "ix_delivery_due",
        table_name="delivery",
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_table("delivery")
    op.drop_table("counter")
    op.drop_index("uq_audit_previous", table_name="audit")
    op.drop_index("ix_audit_notice_id", table_name="audit")
    op.drop_table("audit")
