"""Alembic's entry: runs the revisions on the connection that ``api.ops.migrate`` hands over."""

from __future__ import annotations

from alembic import context

import api.migrations.tables  # noqa: F401
from feeds.kernel.db import metadata


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Leave the full-text index out of comparisons: it differs by database on purpose."""
    return not (name or "").startswith(("notice_fts", "ix_notice_words_fts"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_object=_ours,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
