"""Tables of the catalogue. Only ``feeds.catalogue.store`` and ``search`` use them.

Columns are what is filtered, sorted or joined; everything else a revision says is in ``details``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy import Float as Real

from feeds.kernel.db import BigId, Instant, Json, metadata

# Facts fixed at the first migration (authority, year) and single-row counters.
installation = Table(
    "installation",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# The one sequence of material changes. A counter row, not a database sequence: its row lock makes
# numbers become visible in order, so a reader that saw n has seen everything below n.
counter = Table(
    "counter",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("source_id", BigInteger, nullable=True),
    Column("guid", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("lang", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("details", Json, nullable=False),
    Column("content_hash", String(32), nullable=False),
    # What upstream last said; an editor's own changes leave it, so that the next poll does not undo them.
    Column("upstream_hash", String(32), nullable=False),
    Column("agency_slug", String(64), nullable=False),
    Column("doc_key", Text, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("level", String(16), nullable=False),
    Column("place", String(32), nullable=True),
    Column("priority", String(16), nullable=False),
    Column("archive", Boolean, nullable=False),
    Column("published", Instant, nullable=True),
    Column("deadline", Instant, nullable=True),
    Column("expires", Instant, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("released_at", Instant, nullable=True),
    Column("changed_at", Instant, nullable=True),
    Column("fresh_at", Instant, nullable=False),
    Column("material_number", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    # Of several notices that are one document, the others name the one that is picked for all of them.
    Column("lead_id", BigInteger, nullable=True),
    # The editors' weight in ranking: 1 recommended, 0 as it comes, -1 held back.
    Column("prominence", SmallInteger, nullable=False, server_default="0"),
    Index("ix_notice_lead", "lead_id"),
    Index("uq_notice_source_guid", "source_id", "guid", unique=True),
    Index("ix_notice_source", "source_id", "id"),
    Index("ix_notice_state_fresh", "state", "fresh_at", "id"),
    Index("ix_notice_state_deadline", "state", "deadline"),
    Index("ix_notice_doc_key", "doc_key"),
    Index("ix_notice_material", "material_number"),
    Index("ix_notice_released", "released_at", "id", "place"),
    sqlite_autoincrement=True,
)

notice_revision = Table(
    "notice_revision",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("made_at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("major", Boolean, nullable=False),
    Column("content", Json, nullable=False),
)

notice_tag = Table(
    "notice_tag",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("code", String(64), primary_key=True),
    Column("cause", Text, nullable=False),
    Column("weight", Real, nullable=False),
    Index("ix_notice_tag_code", "kind", "code", "notice_id"),
)

notice_link = Table(
    "notice_link",
    metadata,
    Column("from_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("to_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("kind", String(24), primary_key=True),
    Index("ix_notice_link_to", "to_id"),
)

# Words of a notice, cut once when it is written; the full-text index of each database finds them.
notice_words = Table(
    "notice_words",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("words", Text, nullable=False),
    Column("length", SmallInteger, nullable=False),
)

# What a notice can be recognised by in another source: digests of its address, of agency and document
# number, of bands of its text; for a warning, of its messages. Found by key, judged by notice_print.
# A CAP message that was cancelled before it came stands for notice 0.
notice_key = Table(
    "notice_key",
    metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("notice_id", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_notice_key_notice", "notice_id"),
    sqlite_with_rowid=False,
)

# What is compared when a key is found twice; narrow, so that judging a candidate reads no text.
notice_print = Table(
    "notice_print",
    metadata,
    Column("notice_id", BigInteger, primary_key=True, autoincrement=False),
    Column("source_id", BigInteger, nullable=True),
    Column("title_key", BigInteger, nullable=False),
    Column("doc_key", BigInteger, nullable=False),  # 0: no document number
    Column("agency_key", BigInteger, nullable=False),  # 0: no agency
    Column("url_key", BigInteger, nullable=False),  # 0: no address
    Column("day", Integer, nullable=True),  # days since 1970 of publication, UTC
    Column("simhash", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),  # pieces of text the simhash was made of
    Column("lang", String(16), nullable=False),
)

# What upstream now says of a public notice, but an editor must look at first.
pending_change = Table(
    "pending_change",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True),
    Column("content", Json, nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("priority", String(16), nullable=True),  # NULL: as it is
)

# Which notice last read differently without a material change, by the number of the counter "edit".
notice_edit = Table(
    "notice_edit",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Index("ix_notice_edit_number", "number"),
)

# In which public feeds a purged notice stood, so that they can say that it is gone; nothing it said.
notice_tombstone = Table(
    "notice_tombstone",
    metadata,
    Column("notice_id", BigInteger, ForeignKey("notice.id"), primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),
    Column("code", String(64), primary_key=True),
    Index("ix_notice_tombstone_code", "kind", "code"),
)
