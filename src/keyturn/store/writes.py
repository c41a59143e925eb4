"""The way in for what writes: its turn, its deadline, and what keeps the database from taking writes.

A disk that is full, or a lock that another process holds, stops writing and not reading. The failure is
remembered, said by the health check and logged once; a thread tries again until a write succeeds.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyturn.errors import StoreUnavailable
from keyturn.store.engine import WRITES, writer_of
from keyturn.store.schema import installation
from keyturn.store.sqlite import file_of

_log = logging.getLogger(__name__)

WRITE_SECONDS = 2.0
"""How long a transaction waits on SQLite: for its turn in this process, and for the locks of others."""
IMPATIENT_SECONDS = 0.1
"""The same while the database is known to be locked; then only one tries, since requests must not queue."""
PROBE_SECONDS = 0.5

LOCKED, UNREACHABLE, REPLACED = "locked", "unreachable", "a file of the database is gone"

_SQLITE_CAUSES = {5: LOCKED, 6: LOCKED, 8: "read-only", 10: "EIO", 11: "corrupt", 13: "ENOSPC", 14: "EIO"}
"""By SQLite's primary result codes."""
_POSTGRESQL_CAUSES = {
    "53100": "ENOSPC",
    "58030": "EIO",
    "25006": "read-only",
    "55P03": LOCKED,
    "57014": "slow",
}
"""By SQLSTATE."""
_TRANSIENT_CLASSES = frozenset({"21", "22", "23", "40", "42"})
"""Of SQLSTATE: a fault of one statement, which says nothing of the next one."""


class Writes:
    """Opens connections that write, and knows whether that works."""

    def __init__(self, engine: Engine) -> None:
        self._engine = writer_of(engine)
        self._file = file_of(engine)
        self._turn = threading.Semaphore(1)
        self._guard = threading.Lock()
        self._probing: threading.Thread | None = None
        self._closed = threading.Event()
        self.failing: str | None = None
        """Why the last write failed; None once one succeeded."""

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
                with self.connection() as connection, connection.begin():
                    connection.execute(_CHANGE_NOTHING)
            except StoreUnavailable:
                continue
            except (DBAPIError, PoolTimeout) as error:
                if cause_of(error) is not None:
                    continue  # Else the database answers, and this user may not write here.
            with self._guard:
                self.failing = self._probing = None
            _log.info("writes_succeed_again")
            return


_CHANGE_NOTHING = update(installation).values(revision=installation.c.revision)


def cause_of(error: DBAPIError | PoolTimeout) -> str | None:
    """Return what keeps the database from writing, None if the error is of this one statement alone."""
    driver_error = getattr(error, "orig", None)
    if isinstance(error, IntegrityError) or driver_error is None:
        return None if isinstance(error, IntegrityError) else UNREACHABLE
    if (code := getattr(driver_error, "sqlite_errorcode", None)) is not None:
        return _SQLITE_CAUSES.get(code & 0xFF)
    sqlstate = getattr(driver_error, "sqlstate", None)
    if sqlstate is None:
        return UNREACHABLE
    return _POSTGRESQL_CAUSES.get(sqlstate, None if sqlstate[:2] in _TRANSIENT_CLASSES else UNREACHABLE)
