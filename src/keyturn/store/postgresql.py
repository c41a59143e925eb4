"""PostgreSQL, with an end to every wait.

The server's own time-outs work only while it is alive and can be reached. A host that has gone, a firewall
that forgot the connection, or a stopped process says nothing for ever, so the client counts too (F8).
"""

from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

CONNECT_TIMEOUT_SECONDS = 2
ANSWER_SECONDS = 2.0
"""How long a server may say nothing before its connection is given up."""
STATEMENT_TIMEOUT_MS = 10_000
MIGRATION_LOCK_TIMEOUT_MS = 600_000
"""How long a migration waits for another node's, or for a transaction of an older server."""
POOL_SIZE = 20


class BoundedConnection(psycopg.Connection[Any]):
    """Gives up on a server that says nothing."""

    answer_seconds: float | None = ANSWER_SECONDS
    """None for work that is known to take long."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer; close the connection, whose state nobody knows then, if there is none."""
        if timeout is not None or self.answer_seconds is None:
            return super().wait(gen, interval, timeout)
        deadline = monotonic() + self.answer_seconds
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except psycopg.OperationalError:
            if monotonic() >= deadline:
                self.pgconn.finish()
            raise


def open_postgresql(url: URL) -> Engine:
    """Return an engine whose connections are bounded in time."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "target_session_attrs": "read-write",
            "application_name": "keyturn",
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={STATEMENT_TIMEOUT_MS}",
        },
    )
    event.listen(engine, "do_connect", _connect)
    return engine


def wait_as_long_as_it_takes(connection: Connection) -> None:
    """Let a migration take its time, in this transaction and on its connection, which never goes back."""
    record = connection.connection
    driver = record.driver_connection
    if isinstance(driver, BoundedConnection):
        driver.answer_seconds = None
        connection.detach()
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text(f"SET LOCAL lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}"))


def _connect(_dialect: object, _record: object, arguments: Any, parameters: Any) -> Any:
    return BoundedConnection.connect(*arguments, **parameters)
