"""The command line imports a command when it runs, and nothing of the server before that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click

from keyturn.cli.lazy import LazyGroup
from keyturn.cli.main import cli
from tests.cli.walk import contexts
from tests.replica.test_imports import SERVER_ONLY

SECONDS = 30
PROGRAM = """
import json, sys
from keyturn.cli import main
for arguments in {calls!r}:
    sys.argv = ["keyturn", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})), file=sys.stderr)
"""
OF_CALLERS = {"click", "platformdirs", "rich"}
SLOW = {"asyncio", "cryptography", "httpx", "platformdirs", "rich"}
"""What takes tens of milliseconds to import, each."""


def run_in_one_process(calls: list[tuple[str, ...]], **environment: str) -> tuple[str, set[str]]:
    """Run `keyturn` with each of these arguments; return its output and the packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(calls=calls)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return done.stdout, set(json.loads(done.stderr))


OF_THE_SERVER = set(SERVER_ONLY) - OF_CALLERS


def test_fault_h4_a_command_that_needs_no_server_imports_none() -> None:
    """Help of every command, `serve` too, imports no package of the server, which takes a second."""
    helped = [(*context.command_path.split()[1:], "--help") for context in contexts()]
    told, imported = run_in_one_process([("--version",), ("completion", "bash"), *helped])
    assert not imported & OF_THE_SERVER
    assert set(cli.lazy_commands) <= set(told.split())


def test_fault_h4_completing_a_name_imports_none() -> None:
    """A shell that completes the name of a command waits for no package of the server."""
    told, imported = run_in_one_process(
        [()], _KEYTURN_COMPLETE="bash_complete", COMP_WORDS="keyturn s", COMP_CWORD="1"
    )
    assert told == "plain,serve\n"
    assert not imported & (OF_THE_SERVER | SLOW)


def test_help_and_version_import_no_http_client_and_no_cryptography() -> None:
    """Who asks what there is waits for nothing that only a command needs."""
    _, imported = run_in_one_process([("--help",), ("--version",)])
    assert not imported & (OF_THE_SERVER | SLOW)


def test_help_of_the_administration_imports_no_http_client() -> None:
    """Who asks how to administer waits for nothing that calling a server needs."""
    helped = [(*context.command_path.split()[1:], "--help") for context in contexts()]
    _, imported = run_in_one_process([one for one in helped if one[0] == "admin"])
    assert not imported & (OF_THE_SERVER | {"asyncio", "httpx", "rich"})


def test_the_first_screen_waits_for_nothing() -> None:
    """`keyturn` alone reads one file, and imports neither an HTTP client nor cryptography."""
    told, imported = run_in_one_process([()], HOME="/nonexistent")
    assert "You are not signed in." in told
    assert not imported & (OF_THE_SERVER | SLOW - {"platformdirs"})


def test_every_listed_command_is_there() -> None:
    """Each entry in the tables of commands leads to the command of that name."""
    groups = [cli]
    while groups:
        group = groups.pop()
        context = click.Context(group, info_name=group.name)
        for name, command in group.lazy_commands.items():
            found = group.get_command(context, name)
            assert found is not None
            assert found.name == name
            assert found.help, name
            assert command.help.endswith(".")
            if isinstance(found, LazyGroup):
                groups.append(found)
