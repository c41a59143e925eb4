"""Restores of an SQLite database: beside it, and then by one rename.

    keyturn.db.restoring          the restored database, until it is whole
    keyturn.db                    the present one, which nobody else can open meanwhile
    keyturn.db.replaced-TIME      the present one after that: a second name of its file from before

A kill leaves the present database under its name, or the restored one.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

import pysqlite3
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from keyturn.errors import CannotStart, Conflict, StoreUnavailable
from keyturn.store.database.causes import cause_of, described
from keyturn.store.database.engine import open_engine
from keyturn.store.database.file import file_of_like
from keyturn.store.database.migrations import check_current, migrate
from keyturn.store.database.revocations import RevocationLog
from keyturn.store.database.sqlite import add_functions
from keyturn.store.installation.carrying import Tables, tables_in
from keyturn.store.installation.staging import IN_USE, Staged

_RESTORED = "restored"
_BESIDE = ("-wal", "-shm", "-journal", "-changes")
_BUSY, _CORRUPT, _NOT_A_DATABASE = 5, 11, 26
"""SQLite's result codes (sqlite.org/rescode.html)."""
_LOCK_BYTES = struct.pack("hhxxxxqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0x4000_0000, 512, 0)
"""The bytes that every open connection has a lock on (sqlite.org/fileformat2.html, "lock-byte page")."""


class SqliteStaged(Staged):
    """A restored file beside the present one."""

    def __init__(self, connection: Connection, path: Path, draft: Path, present: Tables | None) -> None:
        super().__init__(connection, tables_in(_RESTORED), present, RevocationLog(path).read())
        self._path = path
        self._draft = draft

    def raise_numbers(self, present: Tables) -> None:  # noqa: ARG002 - it is the main database
        """Have the restored tables count on from where the present ones are."""
        self._connection.execute(
            text(
                "INSERT INTO restored.sqlite_sequence (name, seq) SELECT name, 0 FROM main.sqlite_sequence "
                "WHERE name NOT IN (SELECT name FROM restored.sqlite_sequence)"
            )
        )
        self._connection.execute(
            text(
                "UPDATE restored.sqlite_sequence AS r SET seq = max(seq, coalesce((SELECT m.seq FROM "
                "main.sqlite_sequence AS m WHERE m.name = r.name), 0))"
            )
        )

    def put_in_place(self, revision: int, at: datetime) -> str | None:
        """Commit the file, give the present one a second name, and rename."""
        self._connection.commit()
        self._connection.exec_driver_sql(f"DETACH {_RESTORED}")
        _sync(self._draft)
        log, aside = RevocationLog(self._path), None
        if self._path.exists():
            _drop_names_of(self._path)
            aside = _free_name(self._path.with_name(f"{self._path.name}.replaced-{at:%Y%m%dT%H%M%SZ}"))
            os.link(self._path, aside)
            self._set_beside_aside(aside, log, revision)
        self._draft.replace(self._path)
        _sync(self._path.parent)
        log.confirm(revision)
        return None if aside is None else str(aside)

    def _set_beside_aside(self, aside: Path, log: RevocationLog, revision: int) -> None:
        """Move the files beside a database that could not be opened: they would become the restored one's.

        The log is told first, so that the database which lacks them is not used, should this be killed.
        """
        for suffix in _BESIDE[:3]:
            beside = self._path.with_name(f"{self._path.name}{suffix}")
            if beside.exists():
                log.confirm(revision)
                beside.replace(f"{aside}{suffix}")


class SqliteAdopted(Staged):
    """The file that is there, taken for a restored one."""

    def __init__(self, connection: Connection, path: Path) -> None:
        super().__init__(connection, tables_in(None), None, RevocationLog(path).read())
        self._path = path

    def raise_numbers(self, present: Tables) -> None:
        """Do nothing: there is no other."""

    def put_in_place(self, revision: int, at: datetime) -> str | None:  # noqa: ARG002 - nothing is kept
        """Commit."""
        self._connection.commit()
        RevocationLog(self._path).confirm(revision)
        return None


@contextmanager
def staged_sqlite(path: Path, write: Callable[[Path], None]) -> Iterator[Staged]:
    """Restore beside the database at `path` what `write` writes into the file that it is given.

    Raise `Conflict` while a program has the database open, and `CannotStart` for a newer schema.
    """
    path = path.resolve()
    draft = path.with_name(f"{path.name}.restoring")
    with ExitStack() as held:
        held.enter_context(_told_failures(path))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held.enter_context(_folder_locked(path.parent))
        main, present = held.enter_context(_held(path))
        held.callback(_drop, draft)
        _drop(draft)
        like = path if path.exists() else None
        os.close(file_of_like(draft, like, os.O_WRONLY))
        write(draft)
        _on(draft, migrate)
        main.execute("ATTACH ? AS restored", (str(draft),))
        main.execute("PRAGMA restored.journal_mode = DELETE")
        main.execute("PRAGMA foreign_keys = ON")
        with _transaction(main) as connection:
            yield SqliteStaged(connection, path, draft, present)


@contextmanager
def adopted_sqlite(path: Path) -> Iterator[Staged]:
    """Take the database at `path` itself for a restored one; raise as `staged_sqlite` does."""
    path = path.resolve()
    _on(path, check_current)
    with _told_failures(path), _folder_locked(path.parent), _held(path) as (main, present):
        if present is None:
            raise CannotStart(f"There is no database {path} that can be read: restore a backup.")
        with _transaction(main) as connection:
            yield SqliteAdopted(connection, path)


@contextmanager
def _held(path: Path) -> Iterator[tuple[pysqlite3.Connection, Tables | None]]:
    """Give a connection whose main database is the one at `path`, which nobody else can open meanwhile.

    The tables are None, and the database is an empty one, where there is none that can be read. Raise
    `Conflict` if somebody has it open.
    """
    with ExitStack() as held:
        main = _opened(path) if path.exists() and path.stat().st_size else None
        if main is None and path.exists():
            held.enter_context(_bytes_locked(path))
        connection = main or _connect(":memory:")
        held.callback(connection.close)
        yield connection, None if main is None else tables_in(None)


def _opened(path: Path) -> pysqlite3.Connection | None:
    """Open a database for this connection alone, with the whole of it in one file; None if it is broken."""
    connection = _connect(str(path))
    try:
        connection.execute("PRAGMA main.journal_mode = DELETE")  # Refused while anybody else has it open.
        connection.execute("PRAGMA main.locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        if connection.execute("PRAGMA main.journal_mode").fetchone() != ("delete",):
            connection.close()
            raise Conflict(IN_USE)  # By somebody who came in between.
        if connection.execute("PRAGMA quick_check").fetchone() == ("ok",) and connection.execute(
            "SELECT count(*) FROM installation"
        ).fetchone() == (1,):
            return connection
    except pysqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == _BUSY:
            connection.close()
            raise Conflict(IN_USE) from None
    connection.close()
    return None


def _connect(path: str) -> pysqlite3.Connection:
    connection = pysqlite3.connect(path, isolation_level=None, timeout=1, check_same_thread=False)
    add_functions(connection)
    return connection


@contextmanager
def _bytes_locked(path: Path) -> Iterator[None]:
    """Hold the lock that SQLite would, on a file that it cannot open."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _LOCK_BYTES)
        yield
    except BlockingIOError:
        raise Conflict(IN_USE) from None
    finally:
        os.close(descriptor)


@contextmanager
def _transaction(main: pysqlite3.Connection) -> Iterator[Connection]:
    main.execute("BEGIN IMMEDIATE")
    engine = create_engine(
        "sqlite+pysqlite://",
        module=pysqlite3.dbapi2,
        creator=lambda: main,
        poolclass=StaticPool,
        hide_parameters=True,
    )
    with engine.connect() as connection:
        yield connection


def _on(file: Path, act: Callable[[Engine], None]) -> None:
    """Do something with a database that is there already."""
    engine = open_engine(f"sqlite:///{file}", must_exist=True)
    try:
        act(engine)
    finally:
        engine.dispose()


@contextmanager
def _told_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"Nothing can be restored into {path} ({error.strerror}): run this as the user of the server, "
            "and see that the disk has room for the database once more."
        ) from error
    except (pysqlite3.Error, DBAPIError) as error:
        cause = cause_of(error)
        raise StoreUnavailable(f"the database was not changed: {described(cause)}") from error


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())


def _drop_names_of(path: Path) -> None:
    """Remove further names of a present database, which a killed restore gave it."""
    for other in path.parent.glob(f"{path.name}.replaced-*"):
        if other.samefile(path):
            other.unlink()


def _drop(draft: Path) -> None:
    for suffix in ("", *_BESIDE):
        draft.with_name(f"{draft.name}{suffix}").unlink(missing_ok=True)


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            f"Another restore or backup works in {folder}, or a root key there is rotated: try again later."
        ) from None
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
