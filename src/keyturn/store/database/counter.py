"""Has anything changed since I looked? One number that every process on this host shares.

    keyturn.db-changes     8 bytes, native order, mapped into every process that has the database open

    even   every change is complete: 2 for each that was made
    odd    a process is committing one, or was killed while it did

Reading the number costs about 40 ns, so every verification can ask. It must be right whenever a writer
dies. A writer makes it odd before its commit and even after, and holds a lock on the file meanwhile,
which the kernel lets go if the writer is killed. So whoever reads an odd number and finds the lock free
knows that a commit may have happened that nobody told of, and counts it (`settled`).

On PostgreSQL many commit at once, and the number only tells the other processes of this host at once what
they would hear from the database within the second: after each commit it becomes another one, by chance, so
that nobody needs a lock, which a process that is frozen could keep.
"""

import fcntl
import mmap
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from weakref import WeakSet

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.settings import data_directory
from keyturn.store.database.file import file_of_like

NUMBER_BYTES = 8
LOCK_SECONDS = 1.0
"""How long a writer waits for another one, which may be frozen inside its commit."""
LOCK_PAUSE_SECONDS = 0.005
SHARED_LOCATIONS = ("/dev/shm", "/tmp")  # noqa: S108 - a folder in them is used if it is this user's alone
"""Where any user may make a folder, the same for all processes of a host."""


class ChangeCounter:
    """The shared number of one database."""

    def __init__(self, path: Path, *, one_writer: bool, like: Path | None = None) -> None:
        """Map the file, making it if it is missing; raise `CannotStart` if that fails.

        `one_writer` says that the database lets one transaction write at a time. `like` is the file whose
        owner and mode a new file gets, since whoever may write the one must be able to write the other.
        """
        self._path = path
        self._one_writer = one_writer
        self._like = like
        self._guard = threading.Lock()
        self._probe_guard = threading.Lock()
        self._file, self._probe, self.cell = self._opened()
        """Two open files, since a lock that is held through one is refused through the other, even to us;
        and the number itself, in `cell[0]`, for whoever cannot afford a call."""
        _let_go_in_children()
        _OPEN.add(self)

    def _opened(self) -> tuple[int, int, memoryview]:
        opened: list[int] = []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            is_new = not self._path.exists()
            opened.extend(self._open_file() for _ in range(3))
            if not is_new and os.fstat(opened[0]).st_size < NUMBER_BYTES:
                # Truncated. Not from zero again, which might soon show what somebody has seen.
                os.pwrite(opened[0], _by_chance().to_bytes(NUMBER_BYTES, sys.byteorder), 0)
            # Room on the disk, now: a hole in a mapped file that the disk has no room for ends the process.
            os.posix_fallocate(opened[0], 0, NUMBER_BYTES)
            # Of an open file that is never locked: the map keeps it open, in children too.
            cell = memoryview(mmap.mmap(opened[2], NUMBER_BYTES)).cast("Q")
            os.close(opened.pop())
        except OSError as error:
            for file in opened:
                os.close(file)
            raise CannotStart(
                f"The file {self._path}, which tells other processes of changes, cannot be used "
                f"({error.strerror}): let this user read and write it."
            ) from error
        return opened[0], opened[1], cell

    def _open_file(self) -> int:
        return file_of_like(self._path, self._like, os.O_RDWR)

    def close(self) -> None:
        """Let go of the file, which stays for others. Closing again does nothing."""
        for file in (self._file, self._probe):
            if file >= 0:
                os.close(file)
        self._file = self._probe = -1

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Tell of the commit that happens in this block, whether or not it is known to have succeeded.

        Raise `StoreUnavailable`, before the block, while another writer does not end its own.
        """
        if not self._one_writer:
            try:
                yield
            finally:
                self.cell[0] = _by_chance()
            return
        with self._locked():
            # Odd already: a writer died here. A number of our own makes readers look up what it did.
            number = self.cell[0] + (2 if self.cell[0] & 1 else 1)
            self.cell[0] = number
            try:
                yield
            finally:
                self.cell[0] = number + 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock against other processes and against other threads, which share the open file."""
        until = time.monotonic() + LOCK_SECONDS
        if not self._guard.acquire(timeout=LOCK_SECONDS):
            raise StoreUnavailable(_HELD)
        try:
            while not self._has_locked():
                if time.monotonic() >= until:
                    raise StoreUnavailable(_HELD)
                time.sleep(LOCK_PAUSE_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._guard.release()

    def _has_locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def settled(self) -> int:
        """Return the even number of the last complete change, counting one whose writer was killed.

        While a living writer commits this is the number from before: nobody was told yet that it is done.
        """
        number = self.cell[0]
        if number & 1 == 0:
            return number
        with self._probe_guard:
            try:
                fcntl.flock(self._probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self.cell[0] // 2 * 2
            try:
                if self.cell[0] & 1:
                    self.cell[0] += 1
                return self.cell[0]
            finally:
                fcntl.flock(self._probe, fcntl.LOCK_UN)

    def is_replaced(self) -> bool:
        """Return whether the file was deleted or replaced, so that others count elsewhere."""
        ours = os.fstat(self._file)
        try:
            theirs = self._path.stat()
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)

    def reopen(self) -> None:
        """Count in the file that is there now."""
        with self._guard, self._probe_guard:
            old = (self._file, self._probe)
            # The old map goes when its last reader has let go of it.
            self._file, self._probe, self.cell = self._opened()
            for file in old:
                os.close(file)


_OPEN: WeakSet[ChangeCounter] = WeakSet()


@cache
def _let_go_in_children() -> None:
    """Have every child of a fork let go of this process's files, once and for all."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    """Close the files that a child has from its parent, which may use their numbers no more.

    A lock on them lasts as long as anybody has them open: that of a writer that is killed would last.
    """
    for counter in list(_OPEN):
        counter.close()
    _OPEN.clear()


def _by_chance() -> int:
    """Return an even number that nobody has seen."""
    return secrets.randbits(62) << 1


_HELD = "another process does not end its change"


def counter_of(engine: Engine) -> ChangeCounter:
    """Return the counter of a database, the same one by whatever name the database was opened.

    It is beside an SQLite file, else in a folder of this user's in memory.
    """
    if engine.dialect.name == "sqlite":
        file = Path(str(engine.url.database)).resolve()
        return ChangeCounter(file.with_name(f"{file.name}-changes"), one_writer=True, like=file)
    try:
        with engine.connect() as connection:
            cluster, database = connection.execute(_POSTGRESQL_DATABASE).one()
    except DBAPIError as error:
        raise CannotStart("The database stopped answering during the start: try again.") from error
    name = f"postgresql-{cluster}-{database}-changes"
    return ChangeCounter(_shared_folder() / name, one_writer=False)


def _shared_folder() -> Path:
    """Return a folder for what this user's processes on this host share while they run.

    Not in the home directory, which a server may not be allowed to write, or have none: `XDG_DATA_HOME` if
    it is set, else shared memory, else the folder for temporary files.
    """
    if os.environ.get("XDG_DATA_HOME"):
        return data_directory()
    candidates = [Path(place) / f"keyturn-{os.geteuid()}" for place in SHARED_LOCATIONS]
    for folder in candidates:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and not found.st_mode & 0o077 and os.access(folder, os.W_OK):
            return folder
    raise CannotStart(
        f"The processes of this host tell each other of changes in {candidates[0]} or {candidates[1]}, and "
        "neither is a folder that this user alone may write: make one so, or set XDG_DATA_HOME."
    )


_POSTGRESQL_DATABASE = text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database())"
    " FROM pg_control_system()"
)
