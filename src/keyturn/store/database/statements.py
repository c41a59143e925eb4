"""Short questions that are asked so often that the way to the database is most of their cost.

On SQLite the answer is a few microseconds away, and SQLAlchemy's way there is twenty times as long. So a
question is compiled once, and asked on a connection that each thread keeps. Every statement sees one
committed state of the database, as it is when it is asked. On PostgreSQL the network is the cost, and
the pool's ordinary connections are used.
"""

import threading
from collections import namedtuple
from collections.abc import Callable
from time import perf_counter
from typing import Any
from weakref import WeakSet

import pysqlite3
from sqlalchemy import Boolean, Engine, Select, TypeDecorator
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from keyturn.counting.counts import Counts
from keyturn.counting.table import DATABASE_ERRORS, TRANSACTION_SECONDS, Cause, Transaction
from keyturn.errors import StoreUnavailable
from keyturn.store.database.causes import cause_of, why

Row = tuple[Any, ...]

_SQLITE: Any = sqlite_dialect(paramstyle="qmark")


def _reader_of(type_: Any) -> Callable[[Any, Any], Any] | None:
    """Return what makes a value of this type of what the driver gives; None if it is that already."""
    if isinstance(type_, TypeDecorator):
        return type_.process_result_value
    return (lambda value, _dialect: bool(value)) if isinstance(type_, Boolean) else None


class CompiledQuery:
    """A SELECT with named parameters, whose columns come back as the driver gives them."""

    def __init__(self, select: Select[Any]) -> None:
        self.select = select
        compiled = select.compile(dialect=_SQLITE)
        self.sql = str(compiled)
        self.names = tuple(compiled.positiontup or ())
        names = select.selected_columns.keys()
        self._row: Callable[..., Any] = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # not literal
        self._readers = [
            (at, reader)
            for at, column in enumerate(select.selected_columns)
            if (reader := _reader_of(column.type)) is not None
        ]

    def read(self, values: Row) -> Any:
        """Return a row whose values have the types and names of the columns, as SQLAlchemy's has.

        The types of the schema alone: without SQLAlchemy's way to them, which costs more than they do.
        """
        typed = list(values)
        for at, reader in self._readers:
            if typed[at] is not None:
                typed[at] = reader(typed[at], _SQLITE)
        return self._row(*typed)


class _Asking:
    """One thread's connection, which the driver closes when the thread is gone and nothing holds this."""

    __slots__ = ("__weakref__", "connection", "cursor", "lock")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.lock = threading.Lock()


class CompiledQueries:
    """Asks on one connection for each thread."""

    def __init__(self, engine: Engine, counts: Counts) -> None:
        self._counts = counts
        self._seconds = TRANSACTION_SECONDS.cell(Transaction.READ)
        self._connect: Callable[[], Any] = engine.raw_connection
        self._local = threading.local()
        self._opened: WeakSet[_Asking] = WeakSet()

    def query(self, query: CompiledQuery, **parameters: Any) -> list[Row]:
        """Return the rows that answer the question; raise `StoreUnavailable` if the database fails."""
        started = perf_counter()
        try:
            asking = getattr(self._local, "asking", None)
            if asking is None:
                asking = self._open()
            with asking.lock:
                rows: list[Row] = asking.cursor.execute(
                    query.sql, [parameters[name] for name in query.names]
                ).fetchall()
        except (pysqlite3.Error, DBAPIError, PoolTimeout) as error:
            self._counts.add(DATABASE_ERRORS.cell(cause_of(error) or Cause.STATEMENT))
            raise StoreUnavailable(why(error)) from None
        self._counts.observe(self._seconds, perf_counter() - started)
        return rows

    def _open(self) -> "_Asking":
        """Open this thread's connection, set up as those of the pool are, and take it out of the pool."""
        record = self._connect()
        asking = self._local.asking = _Asking(record.driver_connection)
        record.detach()
        self._opened.add(asking)
        return asking

    def close(self) -> None:
        """Close the connections of all threads."""
        for asking in list(self._opened):
            with asking.lock:  # Its thread may be in the middle of a question.
                asking.connection.close()
        self._local = threading.local()
