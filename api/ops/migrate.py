"""Bringing a database to the newest schema. The only module that imports alembic.

Called by the command line, the demo and the tests; never by the serving path.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import api.migrations.tables  # noqa: F401  (every table, so that the schema can be compared)
from feeds.kernel.db import Database, translated


def migrate(database: Database, revision: str = "head") -> tuple[str | None, str | None]:
    """Upgrade to ``revision``.

    Returns:
        The revision before and after; equal if there was nothing to do.
    """
    with translated():
        return _migrate(database, revision)


def _migrate(database: Database, revision: str) -> tuple[str | None, str | None]:
    before = current(database)
    with database.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    return before, current(database)


def current(database: Database) -> str | None:
    """Return the revision a database stands at, ``None`` for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest() -> str | None:
    """Return the newest revision this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    location: Any = files("api.migrations")
    config.set_main_option("script_location", str(location))
    config.set_main_option("path_separator", "os")
    return config
