"""The command line says what it needs where only a part of Keyturn's packages is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.replica.test_imports import SERVER_ONLY

if TYPE_CHECKING:
    from tests.cli.conftest import Command
    from tests.servers import RunningServer

SECONDS = 30
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
OF_CALLERS = {name.partition(">")[0] for name in PROJECT["optional-dependencies"]["cli"]}
PROGRAM = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from keyturn.cli import main
main()
"""


def run_without(blocked: list[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `keyturn` in a process of its own in which these packages are missing."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=blocked), *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("login", "https://keys.example.com"), ("serve",)])
def test_the_library_alone_names_the_extra(arguments: tuple[str, ...]) -> None:
    """`pip install keyturn` brings a command that says, in one sentence, what it needs to work."""
    done = run_without(SERVER_ONLY, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.endswith("run pip install 'keyturn[cli]'.")


@pytest.mark.parametrize(
    ("command", "named"),
    [(("serve", "--demo"), "serve"), (("admin", "user", "list"), "admin user list")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_callers_half_names_what_the_server_needs(command: tuple[str, ...], named: str) -> None:
    """With the packages of those who call, the commands of the server say what to install, and fail."""
    done = run_without([name for name in SERVER_ONLY if name not in OF_CALLERS], *command)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"keyturn: `keyturn {named}` needs ")
    assert sentence.endswith("run pip install 'keyturn[server]'.")


def test_a_caller_needs_nothing_of_the_server(
    server: RunningServer, configured: Command, tmp_path: Path
) -> None:
    """With `keyturn[cli]` every command that calls a server works, and the help lists them all."""
    blocked = [name for name in SERVER_ONLY if name not in OF_CALLERS]
    home = str(tmp_path / "config")
    assert run_without(blocked, "whoami", XDG_CONFIG_HOME=home).stdout.startswith("bob")
    for command in (("key", "list"), ("token",), ("api", "GET", "/bim/user"), ("logout",)):
        done = run_without(blocked, *command, XDG_CONFIG_HOME=home)
        assert (done.returncode, done.stderr) == (0, ""), command
    listed = run_without(blocked, "--help").stdout
    assert {"login", "serve", "thumbprint"} <= set(listed.split())
