"""`keyturn admin upgrade`: what it says first, what it does, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from alembic import command as alembic

from keyturn.store import open_engine
from keyturn.store.database.engine import WRITES
from keyturn.store.database.migrations import _config, current_version, newest_version
from tests.cli.conftest import Command, refused
from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAST_BEFORE, LONG_BEFORE = "0021", "0007"


@pytest.fixture
def at(empty_database: str) -> Callable[[str], dict[str, str]]:
    """Brings the database to an older schema, and gives the setting that names it."""

    def bring(version: str) -> dict[str, str]:
        engine = open_engine(empty_database)
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            alembic.upgrade(_config(connection), version)
        engine.dispose()
        return {"KEYTURN_DATABASE": empty_database}

    return bring


def version_of(database: dict[str, str]) -> str | None:
    engine = open_engine(database["KEYTURN_DATABASE"])
    try:
        return current_version(engine)
    finally:
        engine.dispose()


def test_the_check_says_what_would_happen_and_changes_nothing(
    run: Command, at: Callable[[str], dict[str, str]]
) -> None:
    """Each step with its kind, the time, and that servers of the version before go on."""
    older = at(LAST_BEFORE)
    done = run("admin", "upgrade", "--check", **older)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"The schema would go from {LAST_BEFORE} to {newest_version()}:\n")
    assert "  0023  expand    Which steps the schema took" in done.out
    assert "It takes about a second or less" in done.out
    assert "Servers and verifiers of the older version go on." in done.out
    assert version_of(older) == LAST_BEFORE
    told = json.loads(run("admin", "upgrade", "--check", "--json", **older).out)
    assert [one["kind"] for one in told["steps"]] == ["expand"] * len(told["steps"])
    assert (told["before"], told["after"], told["olderServersGoOn"]) == (LAST_BEFORE, newest_version(), True)
    assert (told["seconds"], told["versionBetween"]) == (1, None)


def test_the_upgrade_does_what_the_check_said(run: Command, at: Callable[[str], dict[str, str]]) -> None:
    """After it there is nothing to upgrade, under the former name neither."""
    older = at(LAST_BEFORE)
    done = run("admin", "upgrade", **older)
    assert (done.code, done.out) == (0, f"The schema went from {LAST_BEFORE} to {newest_version()}.\n")
    assert "There is nothing to upgrade." in run("admin", "upgrade", "--check", **older).out
    assert run("admin", "migrate", **older).out == f"The schema is at {newest_version()}.\n"


def test_servers_that_cannot_go_on_stop_the_upgrade(
    run: Command, at: Callable[[str], dict[str, str]], root_key_file: Path
) -> None:
    """Command and server refuse it with what to do, until somebody says that the servers are stopped."""
    older = at(LONG_BEFORE)
    checked = run("admin", "upgrade", "--check", **older)
    assert checked.code == 1
    assert "cannot go on: stop all of them" in checked.out
    assert "There is no version between that avoids this." in checked.out
    serve = ("serve", "--port", str(free_port()))
    for command in (("admin", "upgrade"), serve):
        said = refused(run(*command, KEYTURN_ROOT_KEY_FILE=str(root_key_file), **older))
        assert "stop all of them and run `keyturn admin upgrade --stopped`" in said
    assert version_of(older) == LONG_BEFORE
    assert run("admin", "upgrade", "--stopped", **older).code == 0
    assert version_of(older) == newest_version()


def test_an_empty_database_is_told_from_an_older_one(run: Command, empty_database: str) -> None:
    """The check says that an installation would begin, and begins none."""
    open_engine(empty_database).dispose()
    empty = {"KEYTURN_DATABASE": empty_database}
    done = run("admin", "upgrade", "--check", **empty)
    assert (done.code, done.out) == (
        0,
        f"The database is empty: an installation with the schema {newest_version()} would begin in it.\n",
    )
    assert version_of(empty) is None


def test_the_check_makes_no_file(run: Command, tmp_path: Path) -> None:
    """Of a mistyped path nothing comes to be."""
    missing = tmp_path / "nowhere.db"
    said = refused(run("admin", "upgrade", "--check", KEYTURN_DATABASE=f"sqlite:///{missing}"))
    assert "There is no database" in said
    assert not missing.exists()


def test_check_and_stopped_do_not_go_together(run: Command) -> None:
    """One of the two changes nothing."""
    assert "--check" in refused(run("admin", "upgrade", "--check", "--stopped"), code=2)
