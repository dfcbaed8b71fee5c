"""Migrated schema and metadata are the same on both databases; migrating goes down and up again."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api.ops import migrate as migrating
from feeds.kernel.db import Database, metadata


def _differences(database: Database) -> list[object]:
    def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
        return not (name or "").startswith(("notice_fts", "ix_notice_words_fts"))

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        return list(compare_metadata(context, metadata))


def test_the_migrated_schema_is_the_declared_one(database: Database) -> None:
    assert _differences(database) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    assert migrating.migrate(database) == (migrating.newest(), migrating.newest())


def test_down_and_up_again(database: Database) -> None:
    with database.engine.connect() as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
    assert migrating.current(database) is None
    migrating.migrate(database)
    assert _differences(database) == []
