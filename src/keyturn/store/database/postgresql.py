"""PostgreSQL, with an end to every wait, and without a setting that outlives its transaction.

The server's own time limits work only while it is alive and can be reached. A host that has gone, a firewall
that forgot the connection, or a stopped process says nothing for ever, so the client counts too (F8).

A connection pooler such as PgBouncer lends one session of the server to many programs in turn, and refuses or
drops what a connection asks for at its start. So each transaction begins with the settings that it needs, in
the one message that begins it, and nothing is set for a session.
"""

import os
import re
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from keyturn.errors import CannotStart

CONNECT_TIMEOUT_SECONDS = 2
ANSWER_SECONDS = 2.0
"""How long a server may say nothing before its connection is given up."""
MIGRATION_LOCK_TIMEOUT_MS = 600_000
"""How long a migration waits for another node's, or for a transaction of an older server."""
POOL_SIZE = 20
MIN_VERSION = 140_000
TRANSACTION_TIMEOUT_VERSION = 170_000

WRITES = "keyturn_writes"
"""The execution option of a transaction that will write."""
DRIVER = "postgresql+psycopg"
_WRITABLE = frozenset({"read-write", "primary"})


@dataclass(frozen=True, slots=True)
class TransactionLimits:
    """How long one transaction may last, in milliseconds, by the server's clock.

    A process that is frozen inside a transaction holds its locks until the server ends it: others write
    again after `statement` and `idle` together at the latest, and after `transaction` where the server has
    that limit.
    """

    statement: int = 1_900
    """Less than `ANSWER_SECONDS`, so that a slow statement costs no connection."""
    lock: int = 1_900
    idle: int = 2_000
    transaction: int = 4_500

    def settings(self, server_version: int) -> dict[str, int]:
        """Return the server's settings that enforce this."""
        limits = {
            "statement_timeout": self.statement,
            "lock_timeout": self.lock,
            "idle_in_transaction_session_timeout": self.idle,
        }
        if server_version >= TRANSACTION_TIMEOUT_VERSION:
            limits["transaction_timeout"] = self.transaction
        return limits


LIMITS = TransactionLimits()


class BoundedConnection(psycopg.Connection[Any]):
    """Gives up on a server that says nothing, and begins each transaction with its settings."""

    answer_seconds: float | None = ANSWER_SECONDS
    """None for work that is known to take long."""
    is_pooled = False
    """Whether a connection pooler stands between this connection and its server."""
    beginning = ""
    """The message that begins a transaction."""
    parameters: dict[str, str]
    """The parameters that it was opened with, with a password that the address holds: never to be shown."""

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

    def prepare_for_use(self, limits: TransactionLimits) -> None:
        """Find out what the connection leads to."""
        (process,) = self.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        # A pooler tells its clients of a process that is not the server's.
        self.is_pooled = process != self.info.backend_pid
        if self.is_pooled:
            self.prepare_threshold = None  # The next transaction may be another session's.
        self.beginning = _beginning(limits.settings(self.info.server_version))


def open_postgresql(database: str, limits: TransactionLimits = LIMITS) -> Engine:
    """Return an engine whose connections are bounded in time; raise `CannotStart` for an unfit address."""
    parameters = read_address(database)
    engine = create_engine(
        URL.create(DRIVER, host=host_of(parameters), database=parameters.get("dbname")),
        creator=partial(_connect, {**parameters, **_own_parameters(parameters)}, limits),
        hide_parameters=True,
        use_native_hstore=False,  # The driver would look for the type in a transaction of its own.
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
        pool_pre_ping=True,
    )
    event.listen(engine, "begin", _begin)
    return engine


def read_address(database: str) -> dict[str, str]:
    """Return the parameters of an address, as libpq reads it; raise `CannotStart` for one that is unfit.

    libpq takes the parts that the address leaves out from its environment (PGHOST, PGSERVICE, PGOPTIONS …).
    """
    address = re.sub(r"\Apostgres(?:ql)?(?:\+\w+)?://", "postgresql://", database)
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except psycopg.ProgrammingError as error:
        unknown = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        if unknown is None:
            raise CannotStart(WRONG_ADDRESS) from None
        raise CannotStart(
            f"The address of the database has the parameter {unknown[1]}, which PostgreSQL's libpq does not "
            "know: leave it out."
        ) from None
    if not all(port.isascii() and port.isdigit() for port in parameters.get("port", "0").split(",") if port):
        raise CannotStart(WRONG_ADDRESS)
    return parameters


def host_of(parameters: dict[str, str]) -> str:
    """Name the server without the password: of an unescaped "@" in that a part would count as the host."""
    hosts = parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST", "")
    return ",".join(host.rpartition("@")[2] for host in hosts.split(","))


WRONG_ADDRESS = "The database must be given as sqlite:///path/to/file.db or postgresql://user@host/name."


def check_postgresql(connection: Connection, limits: TransactionLimits = LIMITS) -> None:
    """Read back what every transaction depends on; raise `CannotStart` if any of it is not so (D1)."""
    rows = connection.execute(_SETTINGS).all()
    now, default = {row.name: row.setting for row in rows}, {row.name: row.reset_val for row in rows}
    version = int(now["server_version_num"])
    if version < MIN_VERSION:
        raise CannotStart("PostgreSQL 14 or newer is needed: upgrade the database server.")
    if now["server_encoding"] != "UTF8":
        raise CannotStart(
            f"The database has the encoding {now['server_encoding']}, which cannot hold every name: make "
            "one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )
    for name in ("synchronous_commit", "fsync"):
        if default[name] == "off":
            raise CannotStart(f"PostgreSQL runs with {name}=off, which loses writes: turn it on.")
    for name, wanted in limits.settings(version).items():
        if int(now[name]) != wanted:
            raise CannotStart(
                f"PostgreSQL runs with {name}={now[name]} where Keyturn set {wanted}: something between the "
                "two changes its statements; connect without it."
            )


_SETTINGS = text(
    "SELECT name, setting, reset_val FROM pg_settings WHERE name LIKE '%_timeout' OR name IN "
    "('server_version_num', 'server_encoding', 'synchronous_commit', 'fsync')"
)


def why_refused(error: BaseException) -> str | None:
    """Return the sentence for a refusal that says what to do about it, None for any other failure."""
    said = str(error)
    for sign, sentence in _REFUSALS.items():
        if sign in said:
            return sentence
    if (refused := re.search(r"unsupported startup parameter(?: in options)?: (\w+)", said)) is not None:
        return (
            f"The connection pooler refuses the parameter {refused[1]} of the database's address or of "
            "libpq's environment: leave it out, and set what it sets for the user or database, with "
            "ALTER ROLE … SET or ALTER DATABASE … SET."
        )
    return None


_REFUSALS = {
    "statement pooling": (
        "The connection pooler lends its connections for one statement at a time, and a change needs a "
        "transaction: set its pool_mode to transaction or session."
    ),
    "Connection refused": ("Nothing listens there: check host and port, and that PostgreSQL runs."),
    "could not translate host name": "The host of the database's address is not known: check its spelling.",
    "password authentication failed": (
        "PostgreSQL refuses the password of the database's user: check it in PGPASSWORD or PGPASSFILE."
    ),
    "no password supplied": "PostgreSQL asks for a password: give it in PGPASSWORD or PGPASSFILE.",
}
"""By a part of what libpq says in English. Its whole text may hold the password."""


def wait_as_long_as_it_takes(connection: Connection) -> None:
    """Let a migration or a copy take its time, in this transaction.

    Its connection never goes back.
    """
    record = connection.connection
    driver = record.driver_connection
    if isinstance(driver, BoundedConnection):
        driver.answer_seconds = None
        connection.detach()
        for name in LIMITS.settings(driver.info.server_version):
            connection.execute(text(f"SET LOCAL {name} = 0"))
    connection.execute(text(f"SET LOCAL lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}"))


def _own_parameters(given: dict[str, str]) -> dict[str, str | int]:
    """Return what Keyturn adds to an address; raise `CannotStart` if that contradicts it."""
    role = given.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS") or "primary"
    if role not in _WRITABLE:
        raise CannotStart(
            f"The database's address has target_session_attrs={role}, and Keyturn writes: give primary or "
            "read-write, or leave it out."
        )
    encoding = given.get("client_encoding", "utf8").replace("-", "").lower()
    if encoding not in {"utf8", "auto"}:
        raise CannotStart("The database's address has a client_encoding other than UTF8: leave it out.")
    patience = given.get("connect_timeout", "")
    is_shorter = patience.isascii() and patience.isdigit() and 0 < int(patience) < CONNECT_TIMEOUT_SECONDS
    return {
        "target_session_attrs": role,
        "client_encoding": "utf8",
        "connect_timeout": int(patience) if is_shorter else CONNECT_TIMEOUT_SECONDS,
        "fallback_application_name": "keyturn",
    }


def _connect(parameters: dict[str, Any], limits: TransactionLimits) -> BoundedConnection:
    # Autocommit: the driver then begins no transactions of its own, and `_begin` says what each needs.
    connection = BoundedConnection.connect(**parameters, autocommit=True)
    connection.parameters = {name: str(value) for name, value in parameters.items()}
    try:
        connection.prepare_for_use(limits)
        if connection.is_pooled and (parameters.get("options") or os.environ.get("PGOPTIONS")):
            raise CannotStart(
                "The database's address or PGOPTIONS has options, which a connection pooler does not keep: "
                "set the same for the user or database, with ALTER ROLE … SET or ALTER DATABASE … SET."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, BoundedConnection)  # noqa: S101 - `_connect` makes no other
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql(
        f"{driver.beginning}; {_FLUSHED}" if writes else driver.beginning,
        execution_options={"no_parameters": True},
    )


def _beginning(limits: dict[str, int]) -> str:
    """Return the statements that begin a transaction, whatever the defaults of the database or session are.

    In another isolation level changes would fail that only have to wait.
    """
    return "; ".join(
        (
            "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE",
            *(f"SET LOCAL {name} = {value}" for name, value in limits.items()),
            "SET LOCAL DateStyle = 'ISO'",
        )
    )


_FLUSHED = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)
"""Other programs behind the same pooler may have left a session that acknowledges before it flushes (D1)."""
