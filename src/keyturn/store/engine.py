"""Engines: how each database is opened, and what must be true before it is used.

A write that was acknowledged survives a power cut only if the database flushes at commit, and SQLite
3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at once
(sqlite.org/wal.html, "The WAL-reset bug"). Both are read back and asserted here, never assumed.
"""

import time
from pathlib import Path
from typing import Any

import pysqlite3
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from keyturn.errors import CannotStart
from keyturn.store.postgresql import open_postgresql

SQLITE_MIN_VERSION = (3, 51, 3)
SQLITE_BUSY_TIMEOUT_MS = 10_000
WAL_ATTEMPTS = 100
WAL_PAUSE_SECONDS = 0.05
POSTGRESQL_MIN_VERSION = 140_000
SQLITE_CONNECTIONS = 20

WRITES = "keyturn_writes"
"""The execution option of a transaction that will write: SQLite then takes its lock at once (D3)."""


def open_engine(database: str, *, must_exist: bool = False) -> Engine:
    """Open `sqlite:///path` or `postgresql://…`; raise `CannotStart` saying what to do when that fails.

    The file of an SQLite database and its folder are made when missing, unless it `must_exist`, readable by
    their owner alone.
    """
    try:
        url = make_url(database)
    except (ArgumentError, ValueError) as error:
        raise CannotStart(_WRONG_URL) from error
    match url.get_backend_name():
        case "sqlite":
            engine = _open_sqlite(url, must_exist=must_exist)
        case "postgresql" | "postgres":
            engine = open_postgresql(url)
        case _:
            raise CannotStart(_WRONG_URL)
    try:
        with engine.connect() as connection:
            _check_durability(connection)
    except DBAPIError as error:
        # The driver's text may hold the address and the password: its class and SQL state say enough.
        detail = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
        raise CannotStart(
            f"The database {describe(url)} cannot be opened ({detail}): "
            "check that it exists, that this user may write to it, and that it is reachable."
        ) from error
    return engine


def writer_of(engine: Engine) -> Engine:
    """Return the engine for transactions that write.

    SQLite has one writer at a time, so this process has one writing connection: writers queue here
    instead of polling for the lock, and never hold the connections that readers need.
    """
    if engine.dialect.name != "sqlite":
        return engine
    return _sqlite_engine(str(engine.url.database), connections=1).execution_options(**{WRITES: True})


def pool_beside(engine: Engine) -> Engine:
    """Return the same engine with connections of its own, opened when they are needed.

    For questions of a thread that holds a connection already: where all of the pool are held by threads that
    wait for it, it would wait for them.
    """
    beside = Engine(engine.pool.recreate(), engine.dialect, engine.url, hide_parameters=True)
    # One statement sees one committed state by itself: a transaction around it would be two more journeys.
    return beside.execution_options(isolation_level="AUTOCOMMIT")


def describe(url: URL) -> str:
    """Name a database without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or "in memory"
    # Of an unescaped "@" in the password a part would count as the host.
    host = str(url.host).rpartition("@")[2]
    return f"{host}/{url.database}" if url.database else host


def sqlite_path(database: str) -> Path | None:
    """Return the file of an SQLite database URL, None for any other database."""
    url = make_url(database)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


_WRONG_URL = "The database must be given as sqlite:///path/to/file.db or postgresql://user@host/name."


def _open_sqlite(url: URL, *, must_exist: bool) -> Engine:
    if pysqlite3.sqlite_version_info < SQLITE_MIN_VERSION:
        raise CannotStart(
            f"SQLite {pysqlite3.sqlite_version} can corrupt a database under load: install pysqlite3 0.6.1 "
            f"or newer, which carries SQLite {'.'.join(map(str, SQLITE_MIN_VERSION))} or newer."
        )
    if not url.database or url.database == ":memory:":
        raise CannotStart("An SQLite database needs a file: sqlite:///path/to/file.db.")
    path = Path(url.database)
    if must_exist and not path.exists():
        raise CannotStart(
            f"There is no database {path}: check its address, or start `keyturn serve` on it first."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        raise CannotStart(f"The database file {path} cannot be made: {error.strerror}.") from error
    return _sqlite_engine(url.database, connections=SQLITE_CONNECTIONS)


def _sqlite_engine(path: str, *, connections: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=path),
        module=pysqlite3.dbapi2,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=SQLITE_BUSY_TIMEOUT_MS / 1000,
        connect_args={"check_same_thread": False, "timeout": SQLITE_BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _set_up_sqlite_connection)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite_connection(connection: Any, _record: object) -> None:
    # None: the driver then starts no transactions of its own, and `_begin_sqlite` decides which kind.
    connection.isolation_level = None
    _enter_wal_mode(connection)
    # SQLite's own leaves letters outside of ASCII as they are; PostgreSQL's does not.
    connection.create_function("lower", 1, _lower, deterministic=True)
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "mmap_size = 0",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


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


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _check_durability(connection: Connection) -> None:
    """Read back what a durable commit depends on; raise `CannotStart` if any of it is not so (D1)."""
    if connection.dialect.name == "sqlite":
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
        for pragma, value in wanted.items():
            found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            if found != value:
                raise CannotStart(
                    f"SQLite runs with {pragma}={found} where {value} is needed for durable writes: "
                    "put the database on a local disk that supports it."
                )
        return
    if int(connection.execute(text("SHOW server_version_num")).scalar_one()) < POSTGRESQL_MIN_VERSION:
        raise CannotStart("PostgreSQL 14 or newer is needed: upgrade the database server.")
    for setting, refused in (("synchronous_commit", "off"), ("fsync", "off")):
        if connection.execute(text(f"SHOW {setting}")).scalar_one() == refused:
            raise CannotStart(f"PostgreSQL runs with {setting}=off, which loses writes: turn it on.")
