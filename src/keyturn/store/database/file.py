"""The files of an SQLite database: are those that this process holds the ones that everybody else finds?

    keyturn.db        the database
    keyturn.db-wal    the newest changes, which lie here alone until SQLite copies them into the database
    keyturn.db-shm    where each of them is, shared by all processes that have the database open

SQLite goes on in a file after it was deleted or moved, where nobody ever finds what it writes. It makes the
last two anew whenever they are missing, so that nothing fails.
"""

import logging
import os
import threading
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from weakref import WeakSet

import pysqlite3

from keyturn.errors import StoreUnavailable

_log = logging.getLogger(__name__)

_BESIDE = ("-wal", "-shm")
LOOKS = 3
LOOK_PAUSE_SECONDS = 0.002
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""With what a log of changes begins (sqlite.org/fileformat2.html, section 4.1)."""

_GONE = "was deleted or replaced: put it back, or restart"
_FILE_GONE = f"the database file {_GONE}"

_Identity = tuple[int, int]


class HoldingConnection(pysqlite3.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection that says when it no longer holds its files."""

    file: "DatabaseFile | None" = None

    def close(self) -> None:
        """Close it. Before that it counts no more: the last one that closes deletes the log."""
        if self.file is not None:
            self.file.let_go(self)
        super().close()


class DatabaseFile:
    """The files that were opened. Nothing may be acknowledged, nor read, once others find other ones."""

    def __init__(self, path: Path) -> None:
        """Remember which file is there; raise `OSError` if none is."""
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - the path is not to be resolved
        self._opened = self._found()
        self._guard = threading.RLock()  # A connection may be closed by the garbage collector, in any line.
        self._connections: WeakSet[HoldingConnection] = WeakSet()
        self._beside: list[_Identity] = []
        # SQLite resolves the path once, and has these beside what it finds (unixFullPathname).
        where = os.path.realpath(self.path)
        self._paths_beside = [f"{where}{suffix}" for suffix in _BESIDE]
        self._beside_gone = f"{self.path.name}-wal or {self.path.name}-shm {_GONE}"

    def hold(self, connection: HoldingConnection) -> None:
        """Count on a connection that has read in WAL mode, and so has all its files open.

        While a connection is open nobody else deletes the log or makes it anew, for that takes a lock which
        the connection prevents. Raise `StoreUnavailable` if it opened other files than those before it.
        """
        try:
            found = self._found_beside()
        except OSError:
            raise StoreUnavailable(self._beside_gone) from None
        with self._guard:
            if not self._connections:
                self._beside = found
            elif found != self._beside:
                raise StoreUnavailable(self._beside_gone)
            self._connections.add(connection)
        connection.file = self

    def let_go(self, connection: HoldingConnection) -> None:
        """Count on a connection no more."""
        with self._guard:
            self._connections.discard(connection)

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the database and of its log of changes; raise `StoreUnavailable`."""
        try:
            return self.path.stat().st_size, Path(self._paths_beside[0]).stat().st_size
        except OSError:
            raise StoreUnavailable(_FILE_GONE) from None

    def check(self) -> None:
        """Raise `StoreUnavailable` if a file was deleted, moved or replaced."""
        if (fault := self._fault()) is not None:
            raise StoreUnavailable(fault)

    def check_written(self) -> None:
        """Do the same after a commit, and raise `StoreUnavailable` if nobody could read what it wrote.

        A log that was truncated is written to where it ended before. Without its beginning SQLite takes it
        for empty when it is opened next.
        """
        self.check()
        if not self._has_log():
            raise StoreUnavailable(self._beside_gone)

    def is_whole(self) -> bool:
        """Return whether all files are where they were, and the log can be read."""
        return self._fault() is None and self._has_log()

    def check_room(self, size: int) -> None:
        """Raise `OSError` unless the log could grow by this many bytes."""
        log = os.stat(self._paths_beside[0]).st_size  # noqa: PTH116 - as above
        with TemporaryFile(dir=Path(self._paths_beside[0]).parent) as room:
            os.posix_fallocate(room.fileno(), log, size)

    def _fault(self) -> str | None:
        try:
            if self._found() != self._opened:
                return _FILE_GONE
        except OSError:
            return _FILE_GONE
        with self._guard:  # So that the last connection does not delete the log in between.
            try:
                if self._connections and self._found_beside() != self._beside:
                    return self._beside_gone
            except OSError:
                return self._beside_gone
        return None

    def _has_log(self) -> bool:
        """Return whether the log is empty, or begins as one.

        A log that is lost stays lost, so a first look that finds none is not believed: it must be no file
        system's moment that refuses what was written. The line of the log says what was there.
        """
        for look in range(LOOKS):
            if (fault := self._log_fault()) is None:
                return True
            # In the text too: other programs' logs leave out what comes beside it.
            _log.warning("log_of_changes_unreadable: %s", fault, extra={"fault": fault, "look": look})
            time.sleep(LOOK_PAUSE_SECONDS)
        return False

    def _log_fault(self) -> str | None:
        """Say why the log cannot be read. It has no locks, and may be closed."""
        try:
            log = os.open(self._paths_beside[0], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return f"missing, with {len(self._connections)} connections" if self._connections else None
        except OSError as error:
            return f"not opened: {error.strerror}"
        try:
            beginning = os.pread(log, 4, 0)
        except OSError as error:
            return f"not read: {error.strerror}"
        finally:
            os.close(log)
        return None if beginning in {b"", *_WAL_MAGIC} else f"begins with {beginning.hex()}"

    def _found(self) -> _Identity:
        # Never by opening it: to close it again would drop SQLite's locks on it in this process (POSIX).
        found = os.stat(self.path)  # noqa: PTH116 - half the time of a Path's, for each write
        return found.st_dev, found.st_ino

    def _found_beside(self) -> list[_Identity]:
        # Nor these: SQLite has locks on the second one.
        return [(found.st_dev, found.st_ino) for found in map(os.stat, self._paths_beside)]


def file_of_like(path: Path, like: Path | None, flags: int) -> int:
    """Open a file that stands beside a database, making it if it is missing; raise `OSError`.

    A new one gets the owner and mode of the file `like`, since whoever may write the one must be able to
    write the other.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if like is not None:
        found = like.stat()
        os.fchmod(file, found.st_mode & 0o666)
        if os.geteuid() == 0:
            os.fchown(file, found.st_uid, found.st_gid)
    return file


def connect(file: DatabaseFile, **options: Any) -> HoldingConnection:
    """Open the file that was there at the start, and no other; raise `StoreUnavailable`."""
    file.check()
    connection: HoldingConnection = pysqlite3.connect(str(file.path), factory=HoldingConnection, **options)
    try:
        file.check()
    except StoreUnavailable:
        connection.close()
        raise
    return connection
