"""Schema changes, run by Alembic inside one transaction each."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, inspect, select, table, text
from sqlalchemy.exc import DBAPIError

from keyturn.errors import CannotStart
from keyturn.store.database.causes import cause_of, described
from keyturn.store.database.engine import HOW_TO_BEGIN, WRITES, describe
from keyturn.store.database.migrations.steps import Plan, Step
from keyturn.store.database.postgresql import wait_as_long_as_it_takes
from keyturn.store.database.schema import schema_step

_POSTGRESQL_LOCK = 0x6B65_7974_7572_6E  # "keyturn": one migration at a time across all nodes


def current_version(engine: Engine) -> str | None:
    """Return the schema version of the database, None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_version() -> str:
    """Return the schema version that this program works with."""
    return _versions()[0]


def check_not_newer(engine: Engine) -> None:
    """Raise `CannotStart` if a newer program changed the database so that this one cannot work on it (U3).

    A newer schema whose steps all let servers of this one go on is no reason to refuse: during a rolling
    upgrade a server of the older version may start anew. Nothing is touched.
    """
    version = current_version(engine)
    if version is not None and version not in _versions() and not _goes_on_beside(engine, version):
        raise CannotStart(
            f"The database has schema version {version}, which is newer than this program: "
            "upgrade Keyturn, or restore the database from before the upgrade."
        )


def _goes_on_beside(engine: Engine, newer: str) -> bool:
    """Return whether each step to a newer schema says that servers of this one go on."""
    if not inspect(engine).has_table(schema_step.name):
        return False
    with engine.connect() as connection:
        taken = connection.execute(select(schema_step.c.revision, schema_step.c.needs)).all()
    unknown = {revision: needs for revision, needs in taken if revision not in _versions()}
    return newer in unknown and all(needs is None or needs in _versions() for needs in unknown.values())


def check_current(engine: Engine) -> None:
    """Raise `CannotStart` unless the database has the schema of this program, which then may use it as is."""
    check_not_newer(engine)
    version = current_version(engine)
    if version is None:
        raise CannotStart(
            f"There is nothing of Keyturn in the database {describe(engine.url)}: check its address; "
            f"{HOW_TO_BEGIN}."
        )
    if version in _versions() and version != newest_version():
        raise CannotStart(
            f"The database has the older schema {version}: run `keyturn admin upgrade --check` to see what "
            "an upgrade would do, then `keyturn admin upgrade`, or start `keyturn serve` of this version."
        )


def plan_upgrade(engine: Engine) -> Plan:
    """Return what `migrate` would do, with the rows that it would go through counted.

    Raise `CannotStart` for a newer database that is not this program's to use.
    """
    check_not_newer(engine)
    before = current_version(engine)
    if before is not None and before not in _versions():
        return Plan(before, before, (), {})
    steps = _steps_after(before)
    there = set(inspect(engine).get_table_names())
    tables = {name for step in steps for name in step.rows_of} & there
    with engine.connect() as connection:
        rows = {
            name: connection.scalar(select(func.count()).select_from(table(name))) or 0
            for name in sorted(tables)
        }
    return Plan(before, newest_version(), steps, rows)


def check_older_servers_go_on(engine: Engine) -> None:
    """Raise `CannotStart` if servers of the older version could not go on beside the upgraded database."""
    plan = plan_upgrade(engine)
    if plan.needs is None:
        return
    between = "" if plan.way_between is None else f", or upgrade to version {plan.way_between} first"
    raise CannotStart(
        f"The database has the schema {plan.before}, whose servers cannot go on beside the schema "
        f"{plan.after}: stop all of them and run `keyturn admin upgrade --stopped`{between}."
    )


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version; nodes that start together take turns."""
    check_not_newer(engine)
    version = current_version(engine)
    if version == newest_version() or (version is not None and version not in _versions()):
        return
    if version is None:
        _check_empty(engine)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            if connection.dialect.name == "postgresql":
                wait_as_long_as_it_takes(connection)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
            before = MigrationContext.configure(connection).get_current_revision()
            command.upgrade(_config(connection), "head")
            _write_down(connection, _steps_after(before))
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


def _write_down(connection: Connection, steps: Sequence[Step]) -> None:
    """Let programs that do not know these steps read whether they may go on."""
    if steps:
        written = [{"revision": step.revision, "needs": step.needs} for step in steps]
        connection.execute(schema_step.insert(), written)


def _steps_after(version: str | None) -> tuple[Step, ...]:
    """Return the steps that follow a version of this program, in their order; all of them after None."""
    steps = all_steps()
    return steps if version is None else steps[[step.revision for step in steps].index(version) + 1 :]


@cache
def all_steps() -> tuple[Step, ...]:
    """Return the steps that the package carries, the oldest first; they are read once."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(Step.of(script.module) for script in reversed(list(scripts)))


@cache
def _versions() -> tuple[str, ...]:
    """Return the schema versions that the package carries, the newest first."""
    return tuple(step.revision for step in reversed(all_steps()))


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(files(__package__)))).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
