"""Migrated schema and metadata are the same on both databases; migrating goes down and up again."""

from __future__ import annotations

from collections.abc import Callable

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api.ops import migrate as migrating
from feeds.kernel.db import Database, metadata
from profiles.feedback import SURE, FeedbackStore


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
    _go(database, command.downgrade, "base")
    assert migrating.current(database) is None
    migrating.migrate(database)
    assert _differences(database) == []


def test_feed_impressions_of_before_are_as_sure_as_those_of_now(database: Database) -> None:
    """A fetched entry was seen with 0.3, whenever it was fetched; what somebody did is certain."""
    _go(database, command.downgrade, "0002")
    names = "profile_id, notice_id, kind, at, channel, position, propensity, simulated"
    with database.write() as connection:
        for kind, channel in (("impression", "feed"), ("click", "feed"), ("like", "web")):
            values = f"1, 1, '{kind}', 0, '{channel}', 1, 1.0, {'0' if _is_sqlite(database) else 'FALSE'}"
            connection.exec_driver_sql(f"INSERT INTO feedback ({names}) VALUES ({values})")
    migrating.migrate(database)
    found = {(row.kind, row.channel): row.sure for row in FeedbackStore(database).of(1)}
    sure = found.pop(("impression", "feed"))
    assert sure == SURE["feed"]
    assert set(found.values()) == {1.0}


def _go(database: Database, step: Callable[..., None], to: str) -> None:
    with database.engine.connect() as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        step(config, to)
        connection.commit()


def _is_sqlite(database: Database) -> bool:
    return database.dialect == "sqlite"
