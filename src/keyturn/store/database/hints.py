"""Hints between nodes that something changed. Only hints: the truth is the revision in the database.

A hint may be lost, late or doubled, and nothing goes wrong: whoever waits for one looks into the database
at least as often as it promises to, hint or not. PostgreSQL carries them by LISTEN and NOTIFY. A NOTIFY
takes a lock that all commits of the server queue for, and holds it while it flushes, so none is ever sent
in a transaction that changes something: a thread sends one for all changes since the last, unflushed.
"""

import logging
import threading
import time
from typing import Any, Protocol

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyturn.store.database.postgresql import BoundedConnection

_log = logging.getLogger(__name__)

CHANNEL = "keyturn_changes"
SLICE_SECONDS = 0.25
"""How long a wait lasts before it looks whether it should end."""
RECONNECT_SECONDS = (0.1, 1.0)
"""The first pause before connecting again, and the longest, each twice the one before."""


_UNFLUSHED_NOTIFY = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}; COMMIT".encode()
"""Never for the session, which a connection pooler lends to others next, for their changes."""


class Hints(Protocol):
    """The hints of a database to its nodes."""

    def send(self) -> None:
        """Tell the other nodes, soon, that something changed. Never fails and never waits."""

    def wait(self, seconds: float) -> None:
        """Return when a hint came, when one may have been missed, or after this time."""

    def close(self) -> None:
        """Send what was not sent yet, and end any wait."""


class NoHints:
    """For SQLite: all its processes are on one host, where the shared counter tells them."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def send(self) -> None:
        """Do nothing."""

    def wait(self, seconds: float) -> None:
        """Wait for the time, or until `close`."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """End any wait."""
        self._closed.set()


class PostgresqlHints:
    """LISTEN on a connection of its own, and NOTIFY by a thread with another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listening: psycopg.Connection[Any] | None = None
        self._is_deaf = False
        self._pause = RECONNECT_SECONDS[0]
        self._unsent = threading.Event()
        self._closed = threading.Event()
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        self._waiting = threading.Lock()

    def send(self) -> None:
        """Let the thread send a hint."""
        self._unsent.set()
        with self._starting:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_all, name="keyturn-hints", daemon=True)
                self._sender.start()

    def wait(self, seconds: float) -> None:
        """Wait for a hint. Returns at once after connecting anew: what was sent meanwhile is lost."""
        with self._waiting:
            if self._is_deaf:
                self._closed.wait(seconds)
            else:
                self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if self._closed.is_set():
            return
        try:
            if self._listening is None:
                self._listen()
                self._pause = RECONNECT_SECONDS[0]
                return
            until = time.monotonic() + seconds
            while not self._closed.is_set() and (left := until - time.monotonic()) > 0:
                if list(self._listening.notifies(timeout=min(left, SLICE_SECONDS), stop_after=1)):
                    return
        except (psycopg.Error, DBAPIError, PoolTimeout) as error:
            self._drop(error)
            self._closed.wait(min(self._pause, seconds))
            self._pause = min(self._pause * 2, RECONNECT_SECONDS[1])

    def close(self) -> None:
        """Send what is left and close both connections."""
        self._closed.set()
        self._unsent.set()
        if self._sender is not None:
            self._sender.join()
        with self._waiting:
            if self._listening is not None:
                self._listening.close()
                self._listening = None

    def _listen(self) -> None:
        """LISTEN, or find that a pooler is between: that may lend the session to others, who would hear."""
        connection = self._connect()
        self._is_deaf = isinstance(connection, BoundedConnection) and connection.is_pooled
        if self._is_deaf:
            connection.close()
            _log.info("hints_not_heard", extra={"reason": "a connection pooler is between"})
            return
        self._listening = connection
        connection.execute(f"LISTEN {CHANNEL}".encode())

    def _connect(self) -> psycopg.Connection[Any]:
        """Open a connection outside the pool, as the pool would."""
        record = self._engine.raw_connection()
        connection: psycopg.Connection[Any] = record.driver_connection  # type: ignore[assignment]  # psycopg's
        record.detach()
        return connection

    def _drop(self, error: Exception) -> None:
        _log.warning("hints_interrupted", extra={"error": type(error).__name__})
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _send_all(self) -> None:
        sending: psycopg.Connection[Any] | None = None
        while True:
            self._unsent.wait()
            is_last = self._closed.is_set()
            self._unsent.clear()
            try:
                if sending is None:
                    sending = self._connect()
                sending.execute(_UNFLUSHED_NOTIFY)
            except (psycopg.Error, DBAPIError, PoolTimeout):
                # The others find out by themselves, as they do when a hint is lost on its way.
                if sending is not None:
                    sending.close()
                sending = None
            if is_last:
                if sending is not None:
                    sending.close()
                return


def hints_of(engine: Engine) -> Hints:
    """Return the hints that this database can carry."""
    return NoHints() if engine.dialect.name == "sqlite" else PostgresqlHints(engine)
