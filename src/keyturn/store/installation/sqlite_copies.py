"""Copies of an SQLite database: one file of the same kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pysqlite3
from sqlalchemy import Connection

from keyturn.errors import StoreUnavailable
from keyturn.store.database.causes import cause_of, described
from keyturn.store.database.schema import metadata
from keyturn.store.database.sqlite import add_functions
from keyturn.store.installation.contents import Contents, OnProgress
from keyturn.store.installation.seals import SEALED_COLUMNS, SealedColumn, SealedRow

_PAGES = 4_096
"""How many pages are copied between two reports of progress: 16 MiB as a rule."""


def write_copy(connection: Connection, file: Path, on_progress: OnProgress) -> None:
    """Copy the state that the transaction of `connection` reads, while others write; in pages.

    SQLite copies within the transaction that the connection has open, so that no write begins the copy anew.
    """
    with _told_failures(), _connected(file.as_uri()) as target:
        # The archive is flushed; the file of its draft need not be.
        target.execute("PRAGMA synchronous = OFF")
        connection.connection.driver_connection.backup(  # type: ignore[union-attr]  # pysqlite3's
            target, pages=_PAGES, progress=lambda _status, left, total: on_progress(total - left, total)
        )


def read_copy(file: Path) -> Contents:
    """Read a copy as it stands, without a file beside it. Raise `StoreUnavailable` if it is not whole."""
    with _told_failures(), _connected(f"{file.as_uri()}?mode=ro&immutable=1") as copy:
        add_functions(copy)
        problems = [text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"]
        problems += [
            f"a row of {row[0]} refers to nothing" for row in copy.execute("PRAGMA foreign_key_check")
        ]
        if problems:
            raise StoreUnavailable(f"the copy is not whole: {problems[0]}")
        counts = {
            name: int(copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - our tables
            for name in metadata.tables
        }
        (schema,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        (revision,) = copy.execute("SELECT revision FROM installation").fetchone()
        seals = tuple(seal for column in SEALED_COLUMNS for seal in _seals(copy, column))
    return Contents(schema, revision, counts, seals)


def _seals(copy: pysqlite3.Connection, column: SealedColumn) -> Iterator[SealedRow]:
    table, sealed = column.sealed.table.name, column.sealed.name
    for row, seal in copy.execute(
        f'SELECT "{column.row.name}", "{sealed}" FROM "{table}" WHERE "{sealed}" IS NOT NULL'  # noqa: S608 - ours
    ):
        yield SealedRow(table, row, sealed, seal)


@contextmanager
def _connected(address: str) -> Iterator[pysqlite3.Connection]:
    connection = pysqlite3.connect(address, uri=True, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _told_failures() -> Iterator[None]:
    try:
        yield
    except pysqlite3.Error as error:
        # An error of copying has no code, and its text no parameters.
        why = described(cause_of(error)) if hasattr(error, "sqlite_errorcode") else str(error)
        raise StoreUnavailable(f"the copy cannot be used: {why}") from error
