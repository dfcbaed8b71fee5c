"""The one door to the database: one MetaData, our column types, transactions, dialect helpers.

SQLite (WAL) and PostgreSQL behave the same through this module. It knows no table; the store
modules declare theirs on :data:`metadata`. Called by the stores and by ``api.wiring``.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, NotSupportedError, OperationalError
from sqlalchemy.types import TypeDecorator

from feeds.kernel.errors import StorageError, UsageError
from feeds.kernel.time import from_micros, to_micros

_Item = TypeVar("_Item")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# An identity column: 64 bits on PostgreSQL, SQLite's own rowid on SQLite.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Instant(TypeDecorator[datetime]):
    """An instant, stored as UTC microseconds so that both databases compare and sort it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Count microseconds since 1970."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        return None if value is None else from_micros(value)


# Built once: json.dumps would build one for every value that is written.
to_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Json(TypeDecorator[Any]):
    """A small JSON value, stored as compact text with sorted keys (equal values, equal bytes)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Serialise; ``None`` stays NULL."""
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Parse."""
        return None if value is None else json.loads(value)


def plain_values(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a row's values in the order of the table's columns, as the drivers take them.

    What SQLAlchemy does for each value of each row, for whoever writes thousands by :func:`insert_plain`.
    """
    read, binds = _binds(table)
    values = list(read(row))
    for place, bind in binds:
        if values[place] is not None:
            values[place] = bind(values[place])
    return tuple(values)


_Bind = Callable[[Any], Any]


@cache
def _binds(table: Table) -> tuple[Callable[[Mapping[str, Any]], tuple[Any, ...]], list[tuple[int, _Bind]]]:
    """How a table's values are read, and which of them (by place) are converted."""
    kinds: dict[type, _Bind] = {Instant: to_micros, Json: to_json}
    binds = [
        (place, kinds[type(column.type)])
        for place, column in enumerate(table.columns)
        if type(column.type) in kinds
    ]
    return itemgetter(*(column.name for column in table.columns)), binds


class Database:
    """Opens transactions on one database.

    ``write()`` takes the write lock at its start (``BEGIN IMMEDIATE`` on SQLite), so a transaction
    that reads and then writes never fails half-way because another one was faster.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…`` (psycopg 3 is used).
        echo: Print every statement (for people who debug).

    Raises:
        UsageError: If the URL is of another kind.
    """

    def __init__(self, url: str, *, echo: bool = False) -> None:
        self.url = _with_driver(url)
        try:
            self.engine: Engine = create_engine(
                self.url,
                echo=echo,
                hide_parameters=True,  # an error text must not carry what a resident told us
                **_engine_options(self.url),
            )
        except ModuleNotFoundError as error:
            raise UsageError("PostgreSQL needs its driver; install mycity[postgres].") from error
        self.dialect: str = self.engine.dialect.name
        if self.dialect == "sqlite":
            _tune_sqlite(self.engine)
        self._writing = self.engine.execution_options(mycity_write=True)
        self._own: Any = None  # the connection of all look-ups, and the process that opened it
        self._own_process = 0
        self._own_lock = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction for reading."""
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction for writing; commits at the end, rolls back on any exception."""
        with translated(), self._writing.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write_plain(self) -> Iterator[Connection]:
        """Like :meth:`write`, for transactions of plain statements only that run for every batch of messages.

        What it yields has just enough of a connection for :func:`quick_rows`, :func:`plain_rows` and their
        like in this module; SQLAlchemy's own statements it cannot run. It costs a fifth.
        """
        with translated():
            fairy = self.engine.raw_connection()
            plain: Any = _Plain(self.engine.dialect, fairy)
            try:
                if self.dialect == "sqlite":
                    with _driver_cursor(plain) as cursor:
                        cursor.execute("BEGIN IMMEDIATE")
                yield plain
                with _driver_errors(plain):
                    fairy.commit()
            except BaseException:
                fairy.rollback()
                raise
            finally:
                fairy.close()

    def close(self) -> None:
        """Close every connection."""
        with self._own_lock:
            if self._own is not None and self._own_process == os.getpid():
                self._own.close()
            self._own = None
        self.engine.dispose()

    def look_up(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Ask SQLite on a connection of the driver's own; see :class:`Lookup`."""
        with self._own_lock:
            # A connection must not be carried into a forked process.
            if self._own is None or self._own_process != os.getpid():
                fairy = self.engine.raw_connection()
                self._own, self._own_process = fairy.dbapi_connection, os.getpid()
                fairy.detach()
            return self._own.execute(query, values).fetchall()  # type: ignore[no-any-return]


class Lookup:
    """One small query that is asked thousands of times a second. Safe in threads.

    On SQLite it goes to a connection outside the pool, prepared once, through the driver alone: SQLAlchemy's
    part costs twenty times as much as the look-up. Each call reads what is committed by then and holds
    nothing open. On PostgreSQL it is an ordinary query.

    Args:
        database: Where.
        query: With ``?`` marks; a few rows at most.
    """

    def __init__(self, database: Database, query: str) -> None:
        self._db, self._query = database, query
        self._plain = database.dialect == "sqlite"

    def __call__(self, *values: Any) -> list[tuple[Any, ...]]:
        """Ask; values are numbers, texts and bytes as the drivers take them.

        Raises:
            StorageError: If the database refuses.
        """
        if self._plain:
            try:
                return self._db.look_up(self._query, values)
            except self._db.engine.dialect.loaded_dbapi.Error as error:
                raise StorageError(_advice(str(error))) from error
        with self._db.read() as connection:
            return plain_rows(connection, self._query, values)


def chunks(items: Sequence[_Item], size: int = 500) -> Iterator[Sequence[_Item]]:
    """Cut a list into parts that fit into one ``IN (…)`` on every database."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_one(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Insert one row and return the number the database gave it."""
    made = connection.execute(table.insert().values(row)).inserted_primary_key
    if made is None:
        raise StorageError(f"The table {table.name} gave no number to a new row; check its primary key.")
    return int(made[0])


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]
) -> None:
    """Insert rows whose ``conflict`` columns are not there yet; leave the others as they are."""
    if rows:
        insert: Any = _insert(connection)(table)
        connection.execute(insert.on_conflict_do_nothing(index_elements=list(conflict)), list(rows))


def insert_plain(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows whose values are numbers and texts already, in the order of the columns.

    A notice has two dozen rows; without SQLAlchemy's look at each value they cost half.
    """
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        names = ", ".join(table.columns.keys())
        marks = ", ".join([mark] * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608


def run_plain(connection: Connection, query: str, values: Sequence[Any] = ()) -> Any:
    """Run a statement written with ``?`` marks; values are numbers, texts and bytes as the drivers take them.

    Returns:
        The driver's own cursor.
    """
    text = query if connection.dialect.name == "sqlite" else query.replace("?", "%s")
    return connection.exec_driver_sql(text, tuple(values)).cursor


def change_plain(connection: Connection, query: str, values: Sequence[Any] = ()) -> int:
    """Run a statement like :func:`run_plain` and return how many rows of the table it changed."""
    text = query if connection.dialect.name == "sqlite" else query.replace("?", "%s")
    return connection.exec_driver_sql(text, tuple(values)).rowcount


def run_plain_many(connection: Connection, query: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """The same statement for many rows of values; returns how many rows of the table it changed."""
    if not rows:
        return 0
    text = query if connection.dialect.name == "sqlite" else query.replace("?", "%s")
    return connection.exec_driver_sql(text, list(rows)).rowcount


def plain_rows(connection: Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a query like :func:`run_plain` and return its rows as the driver gives them.

    For whoever reads thousands; SQLAlchemy's look at each row costs more than the reading.
    """
    found: list[tuple[Any, ...]] = run_plain(connection, query, values).fetchall()
    return found


def quick_rows(connection: Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Like :func:`plain_rows`, past SQLAlchemy altogether, for what runs for every batch of messages.

    It costs a tenth; errors are the same.
    """
    with _driver_cursor(connection) as cursor:
        cursor.execute(_marked(connection, query), values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def quick_change(connection: Connection, query: str, values: Sequence[Any] = ()) -> int:
    """Like :func:`change_plain`, past SQLAlchemy altogether; see :func:`quick_rows`."""
    with _driver_cursor(connection) as cursor:
        cursor.execute(_marked(connection, query), values)
        changed: int = cursor.rowcount
    return changed


class _Plain:
    """What :meth:`Database.write_plain` yields: a driver's connection in the clothes of SQLAlchemy's."""

    __slots__ = ("connection", "dialect")

    def __init__(self, dialect: Dialect, connection: Any) -> None:
        self.dialect, self.connection = dialect, connection

    def exec_driver_sql(self, text: str, values: Any = ()) -> _Done:
        """Run a statement, or the same one for many rows of values."""
        with _driver_errors(self):
            cursor = self.connection.cursor()
            if isinstance(values, list):
                cursor.executemany(text, values)
            else:
                cursor.execute(text, values)
        return _Done(cursor, cursor.rowcount)


class _Done(NamedTuple):
    cursor: Any
    rowcount: int


@contextmanager
def _driver_errors(connection: Any) -> Iterator[None]:
    """The driver's errors become SQLAlchemy's, as everywhere else."""
    base = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        raise DBAPIError.instance(
            None, None, error, base, hide_parameters=True, dialect=connection.dialect
        ) from error


@contextmanager
def _driver_cursor(connection: Any) -> Iterator[Any]:
    with _driver_errors(connection):
        cursor: Any = connection.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()


def _marked(connection: Connection, query: str) -> str:
    return query if connection.dialect.name == "sqlite" else query.replace("?", "%s")


def marks(values: Sequence[Any]) -> str:
    """``?,?,?``: as many as there are values."""
    return ",".join("?" * len(values))


def within(connection: Connection, column: str) -> str:
    """``column`` is one of a list given as *one* value, see :func:`listed`; the text is always the same."""
    if connection.dialect.name == "postgresql":
        return f"{column} = ANY(?)"
    return f"{column} IN (SELECT value FROM json_each(?))"  # noqa: S608


def listed(connection: Connection, values: Collection[Any]) -> Any:
    """A list as the one value that :func:`within` takes."""
    return list(values) if connection.dialect.name == "postgresql" else to_json(list(values))


def upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], conflict: Sequence[str]
) -> None:
    """Insert rows, or overwrite every other given column where ``conflict`` already stands."""
    if not rows:
        return
    insert: Any = _insert(connection)(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in conflict}
    connection.execute(insert.on_conflict_do_update(index_elements=list(conflict), set_=changed), list(rows))


def _insert(connection: Connection) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT; the other dialect is not even loaded."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert


def _with_driver(url: str) -> str:
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if kind == "sqlite":
        return url
    raise UsageError(f"The database address begins with {kind!r}; give sqlite:///… or postgresql://… .")


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 30, "check_same_thread": False}}
    return {"pool_pre_ping": True}


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: Any, _record: Any) -> None:
        # We begin transactions ourselves; the driver's own BEGIN comes too late for reads.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("mycity_write")
        with _driver_cursor(connection) as cursor:
            cursor.execute("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Say in one sentence what the database refused, where a person can do something about it."""
    try:
        yield
    except (OperationalError, NotSupportedError) as error:
        raise StorageError(_advice(str(error.orig))) from error
    except DatabaseError as error:
        if "not a database" in str(error.orig):
            raise StorageError(_advice(str(error.orig))) from error
        raise


def _advice(text: str) -> str:
    lowered = text.lower()
    first = text.splitlines()[0] if text else "no reason given"
    if "disk is full" in lowered or "no space left" in lowered:
        return f"The disk is full ({first}); nothing of this step was kept. Free some space and run it again."
    if "no such table" in lowered or "does not exist" in lowered:
        return f"The database has no tables yet, or old ones ({first}); run `mycity migrate` first."
    if "locked" in lowered:
        return f"Another process holds the database ({first}); wait for it to end and run the command again."
    if "not a database" in lowered:
        return f"The file is no SQLite database ({first}); check MYCITY_DATABASE_URL or move the file away."
    if "unable to open" in lowered or "readonly" in lowered:
        return f"The database file cannot be opened for writing ({first}); check the folder and its rights."
    return f"The database refused ({first}); check MYCITY_DATABASE_URL and that the server is up."
