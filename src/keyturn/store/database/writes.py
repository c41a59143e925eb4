"""The way in for what writes: its turn, its deadline, and what keeps the database from taking writes.

A disk that is full, or a lock that another process holds, stops writing and not reading. The failure is
remembered, said by the health check and logged once; a thread tries again until a write succeeds.
"""

import errno
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyturn.counting.counts import Counts
from keyturn.counting.table import Mark
from keyturn.errors import StoreUnavailable
from keyturn.store.database.causes import LOCKED, cause_of, described
from keyturn.store.database.engine import WRITES, writer_of
from keyturn.store.database.schema import installation
from keyturn.store.database.sqlite import file_of

_log = logging.getLogger(__name__)

WRITE_SECONDS = 2.0
"""How long a transaction waits on SQLite: for its turn in this process, and for the locks of others."""
IMPATIENT_SECONDS = 0.1
"""The same while the database is known to be locked; then only one tries, since requests must not queue."""
PROBE_SECONDS = 0.5

ROOM_BYTES = 256 * 1024
"""More than the largest ordinary change takes: a disk without so much room takes no change for long."""
REPLACED = "a file of the database is gone"


_ROOM_CAUSES = {errno.ENOSPC: "ENOSPC", errno.EROFS: "read-only", errno.EACCES: "read-only"}


class Writes:
    """Opens connections that write, and knows whether that works."""

    def __init__(self, engine: Engine, counts: Counts) -> None:
        self._counts = counts
        self._engine = writer_of(engine)
        self._file = file_of(engine)
        self._turn = threading.Semaphore(1)
        self._guard = threading.Lock()
        self._probing: threading.Thread | None = None
        self._closed = threading.Event()
        self._failing: str | None = None

    @property
    def failing(self) -> str | None:
        """Why the last write failed; None once one succeeded."""
        return self._failing

    @failing.setter
    def failing(self, cause: str | None) -> None:
        self._failing = cause
        self._counts.note(Mark.WRITES_FAIL, cause is not None)

    def close(self) -> None:
        """Close every connection."""
        self._closed.set()
        if self._probing is not None:
            self._probing.join()
        if self._file is not None:
            self._engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection for one transaction, which is committed when the block ends.

        Raise `StoreUnavailable` if it cannot have its turn in time, or if what it wrote is lost.
        """
        with self._failures_noted():
            if self._file is None:
                with self._engine.connect() as connection:
                    yield connection.execution_options(**{WRITES: True})
                return
            is_locked = self.failing == LOCKED
            until = monotonic() + (IMPATIENT_SECONDS if is_locked else WRITE_SECONDS)
            if not self._turn.acquire(timeout=0 if is_locked else WRITE_SECONDS):
                raise StoreUnavailable("too many writes are waiting")
            try:
                self._file.check()
                with self._engine.connect() as connection:
                    left = max(int((until - monotonic()) * 1000), 1)
                    driver: Any = connection.connection.driver_connection
                    driver.execute(f"PRAGMA busy_timeout = {left}")
                    yield connection
                self._file.check_written()
                if self.failing == LOCKED:
                    self.failing = None
            finally:
                self._turn.release()

    @contextmanager
    def _failures_noted(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout) as error:
            if (cause := cause_of(error)) is not None:
                self._note(cause)
            raise
        except StoreUnavailable:
            if self._file is not None and not self._file.is_whole():
                self._note(REPLACED)
            raise

    def _note(self, cause: str) -> None:
        with self._guard:
            is_new, self.failing = self.failing != cause, cause
            if self._probing is None and not self._closed.is_set():
                self._probing = threading.Thread(target=self._probe, name="keyturn-writes", daemon=True)
                self._probing.start()
        if is_new:
            _log.error("writes_fail", extra={"cause": cause})

    def _probe(self) -> None:
        """Write until that succeeds."""
        while not self._closed.wait(PROBE_SECONDS):
            try:
                self.check()
            except StoreUnavailable:
                continue
            except (DBAPIError, PoolTimeout) as error:
                if cause_of(error) is not None:
                    continue  # Else the database answers, and this user may not write here.
            with self._guard:
                self.failing = self._probing = None
            _log.info("writes_succeed_again")
            return

    def check(self) -> None:
        """Write, and take the room of a large change for a moment; raise if that fails.

        A write that needs no new room still fits on a disk that is full for every other one.
        """
        with self.connection() as connection, connection.begin():
            connection.execute(_CHANGE_NOTHING)
            if self._file is None:
                connection.execute(_TAKE_ROOM)
        if self._file is not None:
            try:
                self._file.check_room(ROOM_BYTES)
            except OSError as error:
                cause = _ROOM_CAUSES.get(error.errno or 0, "EIO")
                self._note(cause)
                raise StoreUnavailable(f"the database takes no writes: {described(cause)}") from None


_CHANGE_NOTHING = update(installation).values(revision=installation.c.revision)
_TAKE_ROOM = text(
    "CREATE TEMPORARY TABLE keyturn_room ON COMMIT DROP AS SELECT generate_series(1, 8000) AS number"
)
"""Some 300 kB, on the disk of the database unless PostgreSQL's `temp_tablespaces` says otherwise."""
