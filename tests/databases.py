"""Databases for tests: empty ones, and fresh ones with every table and no row.

The migrations run once for each process of tests and each database server; every test gets a copy of what
they made, a database of its own. What tests the migrations, or a first start, begins with an empty one.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psycopg

from keyturn.store import open_engine
from keyturn.store.database.migrations import migrate
from tests.runs import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers: Iterator[int] = itertools.count(1)


def empty_sqlite_database(folder: Path) -> str:
    """Return the address of an SQLite database in `folder` that the first to open it makes."""
    return f"sqlite:///{folder / 'keyturn.db'}"


def new_sqlite_database(folder: Path) -> str:
    """Make an SQLite database with the newest schema in `folder`, and return its address."""
    folder.mkdir(exist_ok=True)
    path = folder / "keyturn.db"
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_migrated_file())
    return empty_sqlite_database(folder)


def empty_postgresql_database(server: str) -> str:
    """Make an empty database on the server and return its address."""
    return _address(server, _create(server, copied_from="template1"))


def new_postgresql_database(server: str) -> str:
    """Make a database with the newest schema on the server and return its address."""
    return _address(server, _create(server, copied_from=_migrated_database(server)))


def drop_postgresql_database(server: str, address: str) -> None:
    """Remove a database that no test needs any more: a thousand of them are gigabytes."""
    if not _is_in_memory(server):
        return  # There is room on a disk, and the server would wait for it.
    name = address.removeprefix(server.partition("/postgres?")[0]).partition("?")[0].strip("/")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _is_in_memory(server: str) -> bool:
    return f"host={MEMORY}/" in server


@cache
def _migrated_file() -> bytes:
    with TemporaryDirectory() as folder:
        _migrate(empty_sqlite_database(Path(folder)))
        assert [path.name for path in Path(folder).iterdir()] == ["keyturn.db"], "nothing is left in a log"
        return (Path(folder) / "keyturn.db").read_bytes()


@cache
def _migrated_database(server: str) -> str:
    name = _create(server, copied_from="template1")
    _migrate(_address(server, name))
    return name


def _migrate(database: str) -> None:
    engine = open_engine(database)
    try:
        migrate(engine)
    finally:
        engine.dispose()  # PostgreSQL copies no database that somebody has open.


def _create(server: str, *, copied_from: str) -> str:
    name = f"test_{next(_numbers)}"
    # Copying files takes half the time of writing them to the log, where no disk has to be waited for.
    strategy = "file_copy" if _is_in_memory(server) else "wal_log"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {copied_from} STRATEGY {strategy}".encode())
    return name


def _address(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?", 1)
