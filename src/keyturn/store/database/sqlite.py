"""SQLite: one file on this host, the only one that is named.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at once
(sqlite.org/wal.html, "The WAL-reset bug").
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import pysqlite3
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from keyturn.core.folding import folded
from keyturn.errors import CannotStart
from keyturn.store.database.file import DatabaseFile, HoldingConnection, connect
from keyturn.store.database.postgresql import WRITES

MIN_VERSION = (3, 51, 3)
CONNECTIONS = 20
BUSY_TIMEOUT_MS = 3_000
"""How long a transaction waits for the lock of another process, and for its turn among this one's writers."""
POOL_TIMEOUT_SECONDS = 2.0
WAL_ATTEMPTS = 100
WAL_PAUSE_SECONDS = 0.05

PREFIX = "sqlite:///"

_FILE = "keyturn_file"


def sqlite_path(database: str) -> Path | None:
    """Return the file of an SQLite address, None for any other database.

    Everything after `sqlite:///` is its path as it stands: nothing in it is escaped, and no query follows.
    """
    scheme, _, path = database.partition(":///")
    return Path(path) if scheme.partition("+")[0] == "sqlite" and path else None


def file_of(engine: Engine) -> DatabaseFile | None:
    """Return the file of an engine's database, None for PostgreSQL."""
    file: DatabaseFile | None = engine.get_execution_options().get(_FILE)
    return file


def is_missing(path: Path) -> bool:
    """Return whether there is no database in this place: no file, or an empty one."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def check_version() -> None:
    """Raise `CannotStart` for an SQLite that can corrupt a database."""
    if pysqlite3.sqlite_version_info < MIN_VERSION:
        raise CannotStart(
            f"SQLite {pysqlite3.sqlite_version} can corrupt a database under load: install pysqlite3 0.6.1 "
            f"or newer, which carries SQLite {'.'.join(map(str, MIN_VERSION))} or newer."
        )


def open_sqlite(path: Path) -> Engine:
    """Return an engine; make the file and its folder if they are missing. Raise `CannotStart`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        file = DatabaseFile(path)
    except OSError as error:
        raise CannotStart(f"The database file {path} cannot be made: {error.strerror}.") from error
    return _engine(file, connections=CONNECTIONS)


def open_writer(file: DatabaseFile) -> Engine:
    """Return the engine for transactions that write.

    SQLite has one writer at a time, so this process has one writing connection: writers queue here
    instead of polling for the lock, and never hold the connections that readers need.
    """
    return _engine(file, connections=1).execution_options(**{WRITES: True})


def _engine(file: DatabaseFile, *, connections: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(file.path)),
        module=pysqlite3.dbapi2,
        creator=partial(_open_connection, file),
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        execution_options={_FILE: file},
    )
    event.listen(engine, "begin", _begin)
    return engine


def _open_connection(file: DatabaseFile) -> HoldingConnection:
    connection = connect(
        file,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
        uri=False,
        # The driver then starts no transactions of its own, and `_begin` decides which kind.
        isolation_level=None,
    )
    try:
        _set_up(connection)
        file.hold(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: HoldingConnection) -> None:
    _enter_wal_mode(connection)
    add_functions(connection)
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "mmap_size = 0",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # To turn WAL on opens no log yet: the first read does.
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def add_functions(connection: Any) -> None:
    """Give a connection the functions that indexes and questions use."""
    # SQLite's own leaves letters outside of ASCII as they are; PostgreSQL's does not.
    connection.create_function("lower", 1, _lower, deterministic=True)
    connection.create_function("folded", 1, _folded, deterministic=True)


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _folded(text: str | None) -> str | None:
    return None if text is None else folded(text)


def _enter_wal_mode(connection: Any) -> None:
    """Turn WAL on. The very first time SQLite does not wait for others by itself, whatever the time-out."""
    for _ in range(WAL_ATTEMPTS - 1):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except pysqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(WAL_PAUSE_SECONDS)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)  # Then it takes its lock at once (D3).
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def check_sqlite(connection: Connection) -> None:
    """Read back what a durable commit depends on; raise `CannotStart` if any of it is not so (D1)."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for pragma, value in wanted.items():
        found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
        if found != value:
            raise CannotStart(
                f"SQLite runs with {pragma}={found} where {value} is needed for durable writes: "
                "put the database on a local disk that supports it."
            )
