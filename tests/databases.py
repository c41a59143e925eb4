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
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {copied_from}".encode())
    return name


def _address(server: str, name: str) -> str:
    return server.replace("/postgres?", f"/{name}?", 1)
