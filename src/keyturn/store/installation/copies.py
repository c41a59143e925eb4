"""Copies of the whole database, made while it is used."""

from pathlib import Path

from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select

from keyturn.store.database.schema import installation, metadata
from keyturn.store.database.transactions import Database
from keyturn.store.installation import postgresql_copies, sqlite_copies
from keyturn.store.installation.contents import Contents, OnProgress


class Copies:
    """Writes and reads copies in the form of this database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.kind = database.engine.dialect.name
        """`sqlite` or `postgresql`."""

    @property
    def _is_sqlite(self) -> bool:
        return self.kind == "sqlite"

    def write(self, file: Path, on_progress: OnProgress) -> Contents:
        """Copy one committed state into a new file, and return its contents, without what is encrypted.

        Others write meanwhile. Raise `StoreUnavailable` if the copy cannot be made, `CannotStart` if a
        program for it is missing.
        """
        with self._database.snapshot() as connection:
            if self._is_sqlite:
                contents = _contents(connection)
                sqlite_copies.write_copy(connection, file, on_progress)
            else:
                postgresql_copies.write_copy(connection, file)
                contents = _contents(connection)
        return contents

    def read(self, file: Path) -> Contents:
        """Read all of a copy; raise `StoreUnavailable` if it is not whole."""
        return sqlite_copies.read_copy(file) if self._is_sqlite else postgresql_copies.read_copy(file)


def _contents(connection: Connection) -> Contents:
    counts = {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in metadata.tables.values()
    }
    revision = connection.execute(select(installation.c.revision)).scalar_one()
    schema = MigrationContext.configure(connection).get_current_revision()
    return Contents(schema or "", revision, counts)
