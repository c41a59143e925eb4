"""Restores into one database, in its form."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from keyturn.store.database.migrations import check_known
from keyturn.store.database.sqlite import sqlite_path
from keyturn.store.installation.postgresql_restores import adopted_postgresql, staged_postgresql
from keyturn.store.installation.sqlite_restores import adopted_sqlite, staged_sqlite
from keyturn.store.installation.staging import Staged


class Restoring:
    """Brings copies into the database of this address, which no server may have open."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._file = sqlite_path(database)
        self.kind = "postgresql" if self._file is None else "sqlite"
        """As `Copies.kind`."""

    @contextmanager
    def staged(self, write: Callable[[Path], None], schema: str) -> Iterator[Staged]:
        """Give the copy that `write` writes into a file, restored and up to date, but not in its place.

        Raise `Conflict` while anybody has the database open, `CannotStart` for a schema that is newer than
        this program, and `InvalidState` or `StoreUnavailable` for a copy that is damaged.
        """
        check_known(schema)
        if self._file is not None:
            with staged_sqlite(self._file, write) as staged:
                yield staged
            return
        with TemporaryDirectory(prefix="keyturn-") as folder:
            write(dump := Path(folder) / "database")
            with staged_postgresql(self._database, dump, schema) as staged:
                yield staged

    def adopted(self) -> AbstractContextManager[Staged]:
        """Give what is in its place, as if it had been restored; raise as `staged` does."""
        return adopted_postgresql(self._database) if self._file is None else adopted_sqlite(self._file)
