"""Restores of a PostgreSQL database: in a schema beside the present one, and all in one transaction.

    keyturn_restoring          the restored tables, while the transaction is open
    public                     the present ones, or wherever the user's tables are
    keyturn_replaced_time      the present ones after the transaction

The tables are made by Keyturn's migrations, and only rows are taken from the dump: nothing that somebody
wrote into a backup is run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep

from psycopg import sql
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart, Conflict, InvalidState, StoreUnavailable
from keyturn.store.database.causes import why
from keyturn.store.database.engine import open_engine
from keyturn.store.database.migrations import check_current, migrate_within
from keyturn.store.database.postgresql import WRITES, BoundedConnection, wait_as_long_as_it_takes
from keyturn.store.database.revocations import Revocations
from keyturn.store.installation.carrying import Tables, tables_in
from keyturn.store.installation.postgresql_copies import REPLACED, copied_tables, restoring_lines
from keyturn.store.installation.staging import IN_USE, Staged

_STAGING = "keyturn_restoring"
ALONE_SECONDS = 3.0
"""How long other connections may take to end: those of a server that has just stopped."""
_PAUSE_SECONDS = 0.1


class PostgresqlStaged(Staged):
    """Restored tables in a schema of their own."""

    def __init__(self, connection: Connection, own: str, present: Tables | None) -> None:
        super().__init__(connection, tables_in(_STAGING), present, Revocations())
        self._own = own

    def raise_numbers(self, present: Tables) -> None:
        """Have the restored sequences count on from where the present ones are."""
        for table in present.values():
            for restored in self._restored.values():
                if restored.name == table.name and "id" in table.c:
                    _raise_sequence(self._connection, f"{_STAGING}.{table.name}", f"{self._own}.{table.name}")

    def put_in_place(self, revision: int, at: datetime) -> str | None:  # noqa: ARG002 - no log is beside
        """Move the tables of both, if nobody has connected meanwhile, and commit."""
        check_alone(self._connection)
        aside = None
        if present := _tables_of(self._connection, self._own):
            aside = _free_name(self._connection, f"{REPLACED}{at:%Y%m%dt%H%M%Sz}")
            self._connection.execute(text(f'CREATE SCHEMA "{aside}"'))
            _move(self._connection, present, self._own, aside)
        _move(self._connection, _tables_of(self._connection, _STAGING), _STAGING, self._own)
        self._connection.execute(text(f"DROP SCHEMA {_STAGING}"))
        self._connection.commit()
        return None if aside is None else f"the schema {aside}"


class PostgresqlAdopted(Staged):
    """The tables that are there, taken for restored ones."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, tables_in(None), None, Revocations())

    def raise_numbers(self, present: Tables) -> None:
        """Do nothing: there are no others."""

    def put_in_place(self, revision: int, at: datetime) -> str | None:  # noqa: ARG002 - nothing is kept
        """Commit, if nobody has connected meanwhile."""
        check_alone(self._connection)
        self._connection.commit()
        return None


@contextmanager
def staged_postgresql(database: str, dump: Path, schema: str) -> Iterator[Staged]:
    """Restore a dump, of this version of the schema, beside the tables of `database`.

    Raise `Conflict` while anybody else is connected, `CannotStart` for a newer schema, and `InvalidState` for
    a dump that is damaged.
    """
    with _alone(database) as (connection, driver):
        own = str(connection.execute(text("SELECT current_schema()")).scalar_one())
        _stage(connection, driver, dump, schema, own)
        present = None
        if _tables_of(connection, own):
            connection.execute(text(f'LOCK TABLE "{own}".installation IN ACCESS EXCLUSIVE MODE'))
            present = tables_in(own)
        yield PostgresqlStaged(connection, own, present)


@contextmanager
def adopted_postgresql(database: str) -> Iterator[Staged]:
    """Take the tables of `database` themselves for restored ones; raise as `staged_postgresql` does."""
    engine = open_engine(database)
    try:
        check_current(engine)
    finally:
        engine.dispose()
    with _alone(database) as (connection, _driver):
        connection.execute(text("LOCK TABLE installation IN ACCESS EXCLUSIVE MODE"))
        yield PostgresqlAdopted(connection)


@contextmanager
def _alone(database: str) -> Iterator[tuple[Connection, BoundedConnection]]:
    """Open a transaction that takes its time, while nobody else is connected."""
    engine = open_engine(database)
    try:
        with engine.connect() as connection:
            connection.execution_options(**{WRITES: True}).begin()
            driver = connection.connection.driver_connection  # Which the connection lets go of next.
            assert isinstance(driver, BoundedConnection)  # noqa: S101 - the engine makes no other
            if driver.is_pooled:
                raise CannotStart(
                    "A connection pooler is between this command and PostgreSQL: give the address of the "
                    "server itself."
                )
            wait_as_long_as_it_takes(connection)
            check_alone(connection)
            yield connection, driver
    except DBAPIError as error:
        raise StoreUnavailable(f"the database was not changed: {why(error)}") from None
    finally:
        engine.dispose()


def check_alone(connection: Connection) -> None:
    """Raise `Conflict` if anybody else stays connected to this database."""
    until = monotonic() + ALONE_SECONDS
    while True:
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))  # Else it is that of the transaction.
        names = {row.name or "?" for row in connection.execute(_OTHERS)}
        if not names:
            return
        if monotonic() >= until:
            raise Conflict(f"{IN_USE} Connected: {', '.join(sorted(names))}.")
        sleep(_PAUSE_SECONDS)


_OTHERS = text(
    "SELECT coalesce(nullif(application_name, ''), usename) AS name FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL"
)
"""The processes of the server itself, as its vacuum, have no user."""


def _stage(connection: Connection, driver: BoundedConnection, dump: Path, schema: str, own: str) -> None:
    """Make the tables of a dump as they were, fill them, and bring them up to date."""
    connection.execute(text(f"DROP SCHEMA IF EXISTS {_STAGING} CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {_STAGING}"))
    connection.execute(text(f"SET LOCAL search_path = {_STAGING}"))
    migrate_within(connection, schema)
    made = MetaData()
    made.reflect(connection, schema=_STAGING)
    for table in made.sorted_tables:
        if table.name != "alembic_version":
            _fill(driver, dump, table.name, [column.name for column in table.columns])
    _set_sequences(connection, dump, [table.name for table in made.sorted_tables if "id" in table.c])
    migrate_within(connection, "head")
    connection.execute(text(f'SET LOCAL search_path = "{own}"'))


def _fill(driver: BoundedConnection, dump: Path, table: str, columns: list[str]) -> None:
    with restoring_lines(dump, table) as lines:
        for name, written, rows in copied_tables(lines):
            if name != table or not set(written) <= set(columns):
                raise InvalidState(f"The backup is damaged: it has another table {name}.")
            into = sql.SQL("COPY {}.{} ({}) FROM STDIN").format(
                sql.Identifier(_STAGING),
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, written)),
            )
            with driver.cursor() as cursor, cursor.copy(into) as copy:
                for row in rows:
                    copy.write(row)


_SETVAL = re.compile(rb"SELECT pg_catalog\.setval\('(?:\w+\.)?(\w+)', (\d+), (true|false)\);")


def _set_sequences(connection: Connection, dump: Path, tables: list[str]) -> None:
    """Have each table count on from the last number that it gave, which may be one of a deleted row."""
    sequences = {
        str(name).rpartition(".")[2]
        for table in tables
        if (name := connection.execute(_SEQUENCE, {"table": f"{_STAGING}.{table}"}).scalar()) is not None
    }
    with restoring_lines(dump, *sequences) as lines:
        for line in lines:
            if (found := _SETVAL.match(line)) is not None and (name := found[1].decode()) in sequences:
                connection.execute(
                    text("SELECT setval(CAST(:name AS regclass), :last, :is_called)"),
                    {
                        "name": f"{_STAGING}.{name}",
                        "last": int(found[2]),
                        "is_called": found[3] == b"true",
                    },
                )


_SEQUENCE = text("SELECT pg_get_serial_sequence(:table, 'id')")


def _raise_sequence(connection: Connection, restored: str, present: str) -> None:
    names = [connection.execute(_SEQUENCE, {"table": table}).scalar() for table in (restored, present)]
    if None not in names:
        connection.execute(
            text(
                f"SELECT setval(CAST(:name AS regclass), greatest(r.last_value, p.last_value), "  # noqa: S608
                f"r.is_called OR p.is_called) FROM {names[0]} AS r, {names[1]} AS p"
            ),
            {"name": names[0]},
        )


def _free_name(connection: Connection, schema: str) -> str:
    taken = set(connection.execute(text("SELECT nspname FROM pg_namespace")).scalars())
    names = [schema, *(f"{schema}_{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _tables_of(connection: Connection, schema: str) -> list[str]:
    rows = connection.execute(
        text("SELECT tablename FROM pg_tables WHERE schemaname = :schema ORDER BY tablename"),
        {"schema": schema},
    )
    return [str(row.tablename) for row in rows]


def _move(connection: Connection, tables: list[str], source: str, target: str) -> None:
    """Move tables with their indexes, constraints and sequences into another schema."""
    for table in tables:
        connection.execute(text(f'ALTER TABLE "{source}"."{table}" SET SCHEMA "{target}"'))
