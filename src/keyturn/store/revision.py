"""Has anything changed since I looked? One number that every process on this host shares.

    keyturn.db-changes     number: 8 bytes, native order | mark: 8 bytes, random, of the last change
                           open in every process that has the database open

    even   every change is complete: 2 for each that was made
    odd    a process is committing one, or was killed while it did

Reading the number takes a fifth of a microsecond, so every verification can ask. It is read and never
mapped: a file that somebody truncates would end every program that has it mapped (SIGBUS). It must be right
whenever a writer dies. A writer makes it odd before its commit and even after, and holds a lock on the file
meanwhile, which the kernel lets go if the writer is killed. So whoever reads an odd number and finds the
lock free knows that a commit may have happened that nobody told of, and counts it (`settled`). The mark keeps
a file into which a backup was copied from showing, a few changes later, what somebody has seen before.

On PostgreSQL many commit at once, and the number only tells the other processes of this host at once what
they would hear from the database within the second: after each commit it becomes another one, by chance, so
that nobody needs a lock, which a process that is frozen could keep.
"""

import fcntl
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from weakref import WeakSet

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.settings import data_directory

NUMBER_BYTES = MARK_BYTES = 8
FILE_BYTES = NUMBER_BYTES + MARK_BYTES
LOST = -1
"""What stands for a number that cannot be read: the file was truncated, or its disk fails."""
LOCK_SECONDS = 1.0
"""How long a writer waits for another one, which may be frozen inside its commit."""
LOCK_PAUSE_SECONDS = 0.005
SHARED_PLACES = ("/dev/shm", "/tmp")  # noqa: S108 - a folder in them is used if it is this user's alone
"""Where any user may make a folder, the same for all processes of a host."""


class ChangeCounter:
    """The shared number of one database."""

    def __init__(self, path: Path, *, one_writer: bool, like: Path | None = None) -> None:
        """Open the file, making it if it is missing; raise `CannotStart` if that fails.

        `one_writer` says that the database lets one transaction write at a time. `like` is the file whose
        owner and mode a new file gets, since whoever may write the one must be able to write the other.
        """
        self._path = path
        self._one_writer = one_writer
        self._like = like
        self._guard = threading.Lock()
        self._probe_guard = threading.Lock()
        self._file, self._probe = self._opened()
        """Two open files, since a lock that is held through one is refused through the other, even to us."""
        self.read: Callable[[], bytes] = partial(os.pread, self._file, FILE_BYTES, 0)
        """Return the number as the file has it, for whoever cannot afford a call: fewer bytes than it has,
        or `OSError`, if it cannot be read."""
        _let_go_in_children()
        _OPEN.add(self)

    def _opened(self) -> tuple[int, int]:
        opened: list[int] = []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            is_new = not self._path.exists()
            opened.extend(self._open_file() for _ in range(2))
            if not is_new and os.fstat(opened[0]).st_size < FILE_BYTES:
                # Truncated. Not from zero again, which might soon show what somebody has seen.
                os.pwrite(opened[0], _bytes_of(_by_chance(), _new_mark()), 0)
            # Room on the disk, now: a change must not fail for it later.
            os.posix_fallocate(opened[0], 0, FILE_BYTES)
        except OSError as error:
            for file in opened:
                os.close(file)
            raise CannotStart(
                f"The file {self._path}, which tells other processes of changes, cannot be used "
                f"({error.strerror}): let this user read and write it."
            ) from error
        return opened[0], opened[1]

    def _open_file(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(self._path, flags)
        if self._like is not None:
            like = self._like.stat()
            os.fchmod(file, like.st_mode & 0o666)
            if os.geteuid() == 0:
                os.fchown(file, like.st_uid, like.st_gid)
        return file

    def close(self) -> None:
        """Let go of the file, which stays for others. Closing again does nothing."""
        self.read = bytes  # No number.
        for file in (self._file, self._probe):
            if file >= 0:
                os.close(file)
        self._file = self._probe = -1

    @property
    def number(self) -> int:
        """The number as it stands, or `LOST`."""
        return self._shown()[0]

    def _shown(self) -> tuple[int, bytes]:
        """Return the number as it stands, or `LOST`, and the mark beside it."""
        try:
            shown = self.read()
        except OSError:
            return LOST, b""
        if len(shown) < FILE_BYTES:
            return LOST, b""
        return int.from_bytes(shown[:NUMBER_BYTES], sys.byteorder), shown[NUMBER_BYTES:]

    def _write(self, number: int, mark: bytes) -> None:
        """Show another number; raise `StoreUnavailable` if the disk fails."""
        try:
            os.pwrite(self._file, _bytes_of(number, mark), 0)
        except OSError as error:
            raise StoreUnavailable("the file that tells of changes cannot be written") from error

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Tell of the commit that happens in this block, whether or not it is known to have succeeded.

        Raise `StoreUnavailable`, before the block, while another writer does not end its own.
        """
        if not self._one_writer:
            try:
                yield
            finally:
                self._write(_by_chance(), _new_mark())
            return
        with self._locked():
            # Odd already: a writer died here. A number of our own makes readers look up what it did.
            before, mark = self._shown()
            if before == LOST:
                before, mark = _by_chance(), _new_mark()
            number = before + (2 if before & 1 else 1)
            self._write(number, mark)
            try:
                yield
            finally:
                self._write(number + 1, _new_mark())

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
        `LOST` if there is no number: then nothing remembered is true.
        """
        return self._settled()[0]

    def read_settled(self) -> bytes | None:
        """Return the same as `read` does when no change is under way; None for `LOST`."""
        number, mark = self._settled()
        return None if number == LOST else _bytes_of(number, mark)

    def _settled(self) -> tuple[int, bytes]:
        number, mark = self._shown()
        if number == LOST or number & 1 == 0:
            return number, mark
        with self._probe_guard:
            try:
                fcntl.flock(self._probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                number, mark = self._shown()
                return (number if number == LOST else number // 2 * 2), mark
            try:
                number, mark = self._shown()
                if number != LOST and number & 1:
                    number += 1
                    self._write(number, mark)
                return number, mark
            finally:
                fcntl.flock(self._probe, fcntl.LOCK_UN)

    def is_replaced(self) -> bool:
        """Return whether the file was deleted, replaced or truncated, so that it tells of nothing."""
        ours = os.fstat(self._file)
        try:
            theirs = self._path.stat()
        except FileNotFoundError:
            return True
        is_other = (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino)
        return is_other or ours.st_size < FILE_BYTES

    def reopen(self) -> None:
        """Count in the file that is there now; raise `CannotStart` if it cannot be opened."""
        with self._guard, self._probe_guard:
            file, probe = self._opened()
            # In the place of the old ones, in which others may be reading.
            for new, old in ((file, self._file), (probe, self._probe)):
                os.dup2(new, old, inheritable=False)
                os.close(new)

    def leave_to_parent(self) -> None:
        """Let go of the parent's files, in a child, which may use this no more.

        A lock on them lasts as long as anybody has them open: the parent's would outlive the parent.
        """
        self.close()


_OPEN: WeakSet[ChangeCounter] = WeakSet()


@cache
def _let_go_in_children() -> None:
    """Have every child of a fork let go of this process's files, once and for all."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for counter in list(_OPEN):
        counter.leave_to_parent()
    _OPEN.clear()


def _bytes_of(number: int, mark: bytes) -> bytes:
    return number.to_bytes(NUMBER_BYTES, sys.byteorder) + mark


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
    candidates = [Path(place) / f"keyturn-{os.geteuid()}" for place in SHARED_PLACES]
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


def _new_mark() -> bytes:
    return secrets.token_bytes(MARK_BYTES)
