"""Schema changes: whole, once, and never by a program that is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, inspect, text

from keyturn.composition import open_services
from keyturn.errors import CannotStart
from keyturn.settings import read_settings
from keyturn.store import open_engine
from keyturn.store.migrations import (
    _POSTGRESQL_LOCK,
    check_not_newer,
    current_version,
    migrate,
    newest_version,
)
from keyturn.store.schema import metadata
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def empty(database: str) -> Iterator[Engine]:
    """An engine over a database without any table."""
    engine = open_engine(database)
    try:
        yield engine
    finally:
        engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))


def test_migrations_lead_to_the_schema(empty: Engine) -> None:
    """From nothing, the migrations make exactly the tables that the program works with (U1)."""
    assert current_version(empty) is None

    migrate(empty)

    assert current_version(empty) == newest_version()
    assert tables(empty) == set(metadata.tables) | {"alembic_version"}
    assert differences(empty) == []


def test_migrating_again_changes_nothing(empty: Engine) -> None:
    """A database of the newest version is not written to."""
    migrate(empty)
    statements: list[str] = []
    event.listen(empty, "before_cursor_execute", lambda *call: statements.append(call[2]))

    migrate(empty)

    assert [
        text for text in statements if not text.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN"))
    ] == []


def test_a_newer_database_is_refused_untouched(empty: Engine) -> None:
    """A database that a newer program wrote is refused before anything in it changes (U3)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))

    for refused in (check_not_newer, migrate):
        with pytest.raises(CannotStart, match="9999"):
            refused(empty)

    assert tables(empty) == {"alembic_version"}


def test_the_services_refuse_a_newer_database(database: str, empty: Engine, root_key_file: Path) -> None:
    """A start on a newer database says that it is newer, and leaves it alone (U3)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))

    with pytest.raises(CannotStart, match="newer than this program"):
        open_services(read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file))

    assert tables(empty) == {"alembic_version"}


def test_a_migration_happens_whole_or_not_at_all(empty: Engine) -> None:
    """When one statement of a migration fails, none of its tables is left behind (U1)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE session (in_the_way INTEGER)"))

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is called, nothing may be left of it
        migrate(empty)

    assert tables(empty) <= {"session", "alembic_version"}
    assert current_version(empty) is None


def test_nodes_that_start_together_migrate_once(database: str) -> None:
    """Nodes that migrate one database at the same time all succeed and leave one schema (U2)."""

    def start(_node: int) -> None:
        engine = open_engine(database)
        try:
            migrate(engine)
        finally:
            engine.dispose()

    assert all_at_once(4, start) == [None] * 4
    engine = open_engine(database)
    assert current_version(engine) == newest_version()
    assert differences(engine) == []
    engine.dispose()


def test_waiting_too_long_for_another_migration_is_one_sentence(
    database: str, empty: Engine, monkeypatch: pytest.MonkeyPatch, root_key_file: Path
) -> None:
    """A start that cannot get the lock of the migrations says so, and is no driver error."""
    monkeypatch.setattr("keyturn.store.engine.SQLITE_BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("keyturn.store.postgresql.MIGRATION_LOCK_TIMEOUT_MS", 200)
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    with empty.connect() as other:
        if empty.dialect.name == "sqlite":
            other.exec_driver_sql("CREATE TABLE under_way (id INTEGER)")
        else:
            other.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")

        with pytest.raises(CannotStart):
            open_services(settings)
