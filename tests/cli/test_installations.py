"""Where an installation begins, and what migrates one: never a mistyped path, never a passing command."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import httpx
import pytest
from alembic import command as alembic

from keyturn.cli.admin.commands import admin
from keyturn.store import open_engine
from keyturn.store.database.engine import WRITES
from keyturn.store.database.migrations import _config, current_version, newest_version
from tests.cli.conftest import Command, refused
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.journeys.processes import free_port, run_command, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

OLDER = "0021"
BEGINS = ("--new-installation", "KEYTURN_NEW_INSTALLATION=true", "keyturn admin upgrade")


@contextmanager
def closing_engine(database: str) -> Iterator[Engine]:
    engine = open_engine(database)
    try:
        yield engine
    finally:
        engine.dispose()


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield every command below, with a value for all that it requires."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        elif any(parameter.name == "database" for parameter in command.params):
            given: list[str] = []
            for parameter in command.params:
                if parameter.required:
                    is_option = isinstance(parameter, click.Option)
                    value = "2020-01-01" if parameter.name == "before" else "1"
                    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
                    given += [*([parameter.opts[0]] if is_option else []), *([] if is_flag else [value])]
                elif parameter.name in {"from_stdin", "password_stdin"}:
                    given.append("--password-stdin")
                elif parameter.name == "to_stdout":  # In place of a folder, which `admin backup` needs else.
                    given.append("--to-stdout")
                elif parameter.name in {"adopt", "yes"}:  # In place of a backup, and of a question.
                    given.append(f"--{parameter.name}")
            yield (*path, name, *given)


MIGRATING = {"upgrade", "migrate", "doctor"}
"""Those that are told apart: the doctor tells of a missing database among its findings (`test_doctor.py`)."""
WORKING = [path for path in commands(admin, "admin") if path[1] not in MIGRATING]


def test_every_command_is_walked() -> None:
    """The walk finds the commands that this file is about."""
    assert {path[1] for path in WORKING} == {
        name for name in admin.list_commands(click.Context(admin)) if name not in MIGRATING
    }


# Fault E9


@pytest.mark.parametrize("path", [*WORKING, ("serve",)], ids=lambda path: " ".join(path[:3]))
@pytest.mark.parametrize("place", ["missing", "empty file", "folder missing"])
def test_fault_e9_nothing_begins_in_a_place_that_was_not_asked_for(
    run: Command, tmp_path: Path, path: tuple[str, ...], place: str
) -> None:
    """Fault E9: where there is no database each command says how one begins, and makes nothing."""
    database = tmp_path / ("below/keyturn.db" if place == "folder missing" else "keyturn.db")
    if place == "empty file":
        database.touch()
    before = sorted(tmp_path.rglob("*"))

    said = refused(
        run(
            *path, stdin=PASSWORD, KEYTURN_DATABASE=f"sqlite:///{database}",
            KEYTURN_NEW_INSTALLATION="false", KEYTURN_PORT=str(free_port()),
        )
    )  # fmt: skip

    assert f"There is no database {database}" in said
    assert all(way in said for way in BEGINS)
    assert sorted(tmp_path.rglob("*")) == before
    assert not database.exists() or database.stat().st_size == 0


def test_fault_e9_an_empty_postgresql_is_no_installation(
    run: Command, empty_database: str, root_key_file: Path
) -> None:
    """Fault E9: on both databases an empty one is refused, until `admin upgrade` or the setting begins."""
    open_engine(empty_database).dispose()  # On SQLite a file with a header and nothing else.
    settings = {
        "KEYTURN_DATABASE": empty_database,
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_NEW_INSTALLATION": "false",
    }
    add = ("admin", "user", "add", "ada", "--password-stdin")
    said = refused(run(*add, stdin=PASSWORD, **settings))
    assert all(way in said for way in BEGINS)
    with closing_engine(empty_database) as engine:
        assert current_version(engine) is None

    assert run("admin", "upgrade", **settings).code == 0
    assert run(*add, stdin=PASSWORD, **settings).code == 0
    assert "ada" in run("admin", "user", "list", **settings).out


def test_fault_e9_a_setting_begins_one(run: Command, empty_database: str, root_key_file: Path) -> None:
    """Fault E9: with KEYTURN_NEW_INSTALLATION an installation begins where there is none."""
    done = run(
        "admin", "user", "add", "ada", "--password-stdin", stdin=PASSWORD,
        KEYTURN_DATABASE=empty_database, KEYTURN_ROOT_KEY_FILE=str(root_key_file),
        KEYTURN_NEW_INSTALLATION="true",
    )  # fmt: skip
    assert done.code == 0, done


@pytest.mark.parametrize("left", ["nothing", "a root key", "an empty database"])
def test_fault_e9_the_data_directory_begins_untouched_alone(tmp_path: Path, left: str) -> None:
    """Fault E9: in the default place one begins by itself, unless something of a lost one is there."""
    data = tmp_path / "keyturn"
    data.mkdir()
    if left == "a root key":
        (data / "root.key").write_text("A" * 43)
        (data / "root.key").chmod(0o600)
    elif left == "an empty database":
        (data / "keyturn.db").touch()
    done = run_command(
        "admin", "user", "add", "ada", "--password-stdin", stdin=PASSWORD,
        environment={"XDG_DATA_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == (0 if left == "nothing" else 1)
    if left != "nothing":
        assert all(way in done.stderr for way in BEGINS)
        assert not (data / "keyturn.db").exists() or (data / "keyturn.db").stat().st_size == 0


def test_fault_e9_a_demonstration_begins_its_own_alone(run: Command, tmp_path: Path) -> None:
    """Fault E9: `--demo` on a database that was named begins nothing either."""
    done = run("serve", "--demo", "--port", str(free_port()), KEYTURN_NEW_INSTALLATION="false")
    assert f"There is no database {tmp_path / 'keyturn.db'}" in refused(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["keyturn.db", "keyturn.db-wal"])
def test_fault_e9_a_file_that_is_deleted_under_the_server_ends_it(tmp_path: Path, name: str) -> None:
    """Fault E9: a server whose file, or log of changes, was deleted is unready, and acknowledges nothing."""
    with serving(new_sqlite_database(tmp_path), tmp_path) as server:
        (tmp_path / name).unlink()
        deadline = time.monotonic() + 30
        while (
            answer := httpx.get(f"{server.url}/health/ready")
        ).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer.status_code == 503
        assert "deleted or replaced" in answer.json()["details"]["database"]


# Fault E10


@pytest.fixture
def older(empty_database: str) -> str:
    """A database of an older Keyturn."""
    with (
        closing_engine(empty_database) as engine,
        engine.execution_options(**{WRITES: True}).begin() as connection,
    ):
        alembic.upgrade(_config(connection), OLDER)
    return empty_database


def version_of(database: str) -> str | None:
    with closing_engine(database) as engine:
        return current_version(engine)


def test_fault_e10_no_command_migrates_in_passing(run: Command, older: str, root_key_file: Path) -> None:
    """Fault E10: every command but `upgrade` leaves an older schema as it is, and names what to run."""
    settings = {"KEYTURN_DATABASE": older, "KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    for path in [*WORKING, ("serve", "--no-migrate", "--port", str(free_port()))]:
        said = refused(run(*path, stdin=PASSWORD, **settings))
        assert f"older schema {OLDER}" in said, path
        assert "keyturn admin upgrade" in said, path
    assert "older schema" in refused(
        run("serve", KEYTURN_MIGRATE="false", KEYTURN_PORT=str(free_port()), **settings)
    )
    assert version_of(older) == OLDER

    assert run("admin", "upgrade", **settings).code == 0
    assert version_of(older) == newest_version()


def test_fault_e10_a_server_migrates(older: str, root_key_file: Path, tmp_path: Path) -> None:
    """Fault E10: `keyturn serve` brings an older schema up to date."""
    with serving(older, tmp_path, environment={"KEYTURN_ROOT_KEY_FILE": str(root_key_file)}):
        assert version_of(older) == newest_version()
