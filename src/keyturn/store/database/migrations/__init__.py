"""Schema changes, run by Alembic inside one transaction each."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart
from keyturn.store.database.causes import cause_of, described
from keyturn.store.database.engine import HOW_TO_BEGIN, WRITES, describe
from keyturn.store.database.postgresql import wait_as_long_as_it_takes

_POSTGRESQL_LOCK = 0x6B65_7974_7572_6E  # "keyturn": one migration at a time across all nodes


def current_version(engine: Engine) -> str | None:
    """Return the schema version of the database, None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_version() -> str:
    """Return the schema version that this program works with."""
    return _versions()[0]


def check_not_newer(engine: Engine) -> None:
    """Raise `CannotStart` if the database was written by a newer program, before touching it (U3)."""
    version = current_version(engine)
    if version is not None and version not in _versions():
        raise CannotStart(
            f"The database has schema version {version}, which is newer than this program: "
            "upgrade Keyturn, or restore the database from before the upgrade."
        )


def check_current(engine: Engine) -> None:
    """Raise `CannotStart` unless the database has the schema of this program, which then may use it as is."""
    check_not_newer(engine)
    version = current_version(engine)
    if version is None:
        raise CannotStart(
            f"There is nothing of Keyturn in the database {describe(engine.url)}: check its address; "
            f"{HOW_TO_BEGIN}."
        )
    if version != newest_version():
        raise CannotStart(
            f"The database has the older schema {version}: stop the servers of the older version and run "
            "`keyturn admin migrate`, or start `keyturn serve` of this one."
        )


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version; nodes that start together take turns."""
    check_not_newer(engine)
    version = current_version(engine)
    if version == newest_version():
        return
    if version is None:
        _check_empty(engine)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            if connection.dialect.name == "postgresql":
                wait_as_long_as_it_takes(connection)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
            command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        detail = getattr(error.orig, "sqlstate", None) or described(cause_of(error))
        raise CannotStart(
            f"The schema could not be brought up to date ({detail}), and was left as it was: "
            "see that no other program holds the database, and try again."
        ) from None


def check_known(version: str | None) -> None:
    """Raise `CannotStart` for the version of a backup that this program does not have."""
    if version not in _versions():
        raise CannotStart(
            f"The backup has schema version {version}, which is newer than this program: upgrade Keyturn."
        )


def migrate_within(connection: Connection, version: str) -> None:
    """Bring the schema to this version, or to "head", within a transaction that the caller has.

    Raise `CannotStart` for a version that this program does not have.
    """
    present = MigrationContext.configure(connection).get_current_revision()
    for named in (present, version):
        if named not in {None, "head"}:
            check_known(named)
    command.upgrade(_config(connection), version)


def _check_empty(engine: Engine) -> None:
    """Raise `CannotStart` where another program keeps its tables: a mistyped address must not mix the two."""
    tables = sorted(inspect(engine).get_table_names())
    if tables:
        raise CannotStart(
            f"The database {describe(engine.url)} holds tables of another program ({', '.join(tables[:3])}"
            f"{', …' if len(tables) > 3 else ''}): check its address, or give Keyturn a database of its own."
        )


@cache
def _versions() -> tuple[str, ...]:
    """Return the schema versions that the package carries, the newest first; they are read once."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(files(__package__)))).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
