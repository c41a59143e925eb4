"""What the tests of the command line share: the entry point in this process, and a database with a person."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest
import structlog

from keyturn.cli import main
from keyturn.composition import Services, open_services
from keyturn.services.keys.keys import NewKey
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.journeys.processes import free_port
from tests.people import add_person
from tests.servers import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERID = "ada@example.com"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs `keyturn` with arguments, as the installed script does, but in this process."""

    def __call__(self, *arguments: str, stdin: str | bytes = b"", **environment: str) -> Outcome: ...


# Not the usual port: what listens there on this machine is no part of a test. One for commands and services
# alike, since it stands in the address that tokens name as their issuer.
_PORT = str(free_port())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The real entry point, over the database `keyturn.db` in `tmp_path`, which may be new, unless told
    otherwise."""

    def run(*arguments: str, stdin: str | bytes = b"", **environment: str) -> Outcome:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in os.environ:
                if name.startswith("KEYTURN_"):
                    patch.delenv(name)
            for name, value in {
                "KEYTURN_DATABASE": f"sqlite:///{tmp_path / 'keyturn.db'}",
                "KEYTURN_NEW_INSTALLATION": "true",
                "KEYTURN_PORT": _PORT,
                **environment,
            }.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["keyturn", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
            code: object = 0
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        assert isinstance(code, int)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database in which there is one person, to be copied."""
    directory = tmp_path_factory.mktemp("furnished")
    with opened(directory) as services:
        services.users.add(COMMAND_LINE, userid=USERID, name="Ada", password=PASSWORD)
    return directory


@pytest.fixture
def person(furnished: Path, tmp_path: Path) -> str:
    """Somebody who is in the database of `run` already; their user name."""
    for file in furnished.iterdir():
        shutil.copy2(file, tmp_path / file.name)
    return USERID


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server in this process, which keeps its log off the standard error of the commands."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with running_server(new_sqlite_database(tmp_path / "served")) as running:
        yield running


@pytest.fixture
def key(server: RunningServer) -> str:
    user = add_person(server.services)
    return server.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey("first")).secret


@pytest.fixture
def call(run: Command, tmp_path: Path) -> Command:
    """Commands with a configuration directory of the test's own."""

    def call(*arguments: str, stdin: str | bytes = b"", **environment: str) -> Outcome:
        return run(*arguments, stdin=stdin, XDG_CONFIG_HOME=str(tmp_path / "config"), **environment)

    return call


@pytest.fixture
def configured(call: Command, server: RunningServer, key: str) -> Command:
    """The same, once `configure` has accepted the key."""
    done = call("configure", "--url", server.url, "--key-stdin", stdin=f"{key}\n")
    assert done.code == 0, done
    assert "You are bob" in done.out
    return call


@contextmanager
def opened(directory: Path) -> Iterator[Services]:
    """Open the services over the database of a directory, to look at what a command did."""
    database = f"sqlite:///{directory / 'keyturn.db'}"
    services = open_services(
        read_settings({"KEYTURN_DATABASE": database, "KEYTURN_PORT": _PORT}, new_installation=True)
    )
    try:
        yield services
    finally:
        services.close()


def refused(outcome: Outcome, code: int = 1) -> str:
    """Return the one sentence that a refused command says, on standard error and nowhere else."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    (sentence,) = outcome.err.splitlines() if code == 1 else outcome.err.splitlines()[-1:]
    assert sentence.rstrip()[-1] in ".?", sentence
    return sentence
