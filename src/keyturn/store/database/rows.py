"""Rows that are there or not: what SQLite and PostgreSQL say each in its own way, for any table."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite


def insert_on_conflict(table: Table, dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Begin an `INSERT` that can say what to do where the row is there already (`ON CONFLICT`)."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def add_row(connection: Connection, table: Table, **values: object) -> bool:
    """Store a row; return False, and change nothing, if there is one that excludes it."""
    statement = insert_on_conflict(table, connection.dialect.name).values(values).on_conflict_do_nothing()
    # Not by `rowcount`, which is -1 after an INSERT on PostgreSQL.
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def remove_row(connection: Connection, table: Table, **values: object) -> bool:
    """Remove the row that has these values; return False if there is none."""
    is_it = (table.c[column] == value for column, value in values.items())
    return bool(connection.execute(delete(table).where(*is_it)).rowcount)


def changed_values(
    connection: Connection, table: Table, values: Mapping[str, Any], **where: object
) -> dict[str, Any] | None:
    """Return those of `values` that differ from what the row holds, which is locked; None without such a row.

    A value that is there already is no change: it is not written, and makes no audit row.
    """
    is_it = (table.c[column] == value for column, value in where.items())
    query = select(table).where(*is_it).with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return {name: value for name, value in values.items() if row[name] != value}
