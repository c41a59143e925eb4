"""`--web`: the page of a thing in the browser."""

from __future__ import annotations

import os
import re
import sys
import webbrowser
from typing import TYPE_CHECKING

import pytest

from keyturn.web.app import route_table
from tests.cli.conftest import Command
from tests.cli.walk import commands

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RunningServer

OF_CALLERS = {
    ("whoami",): "/profile",
    ("token",): "/profile/token",
    ("key", "list"): "/profile/keys",
    ("key", "create"): "/profile/keys",
    ("key", "revoke", "1"): "/profile/keys/1/revoke",
    ("key", "rotate", "1"): "/profile/keys/1/rotate",
}
OF_THE_DATABASE = {
    ("admin", "user", "list"): "/admin/users",
    ("admin", "key", "list", "--user", "bob"): "/admin/users/1",
    ("admin", "api", "list"): "/admin/services",
    ("admin", "service", "list"): "/admin/services",
}
NO_BROWSER = {"PATH": "", "BROWSER": ""}


@pytest.fixture(autouse=True)
def looks_for_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for browsers anew: the module keeps those that it found first."""
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})


def test_the_pages_are_those_of_the_commands() -> None:
    """No command has `--web` that is not tried here."""
    with_web = {
        tuple(context.command_path.split()[1:])
        for context in commands()
        if "--web" in {name for option in context.command.params for name in option.opts}
    }
    tried = {tuple(word for word in command if word not in {"1", "--user", "bob"}) for command in OF_CALLERS}
    tried |= {tuple(word for word in command if word not in {"--user", "bob"}) for command in OF_THE_DATABASE}
    assert with_web == tried


def test_every_page_is_there() -> None:
    """Each address is that of a page of the server."""
    patterns = [re.compile(route.pattern) for route in route_table().routes if route.method == "GET"]
    for path in (*OF_CALLERS.values(), *OF_THE_DATABASE.values()):
        assert any(pattern.fullmatch(path) for pattern in patterns), path


@pytest.mark.parametrize(("command", "path"), OF_CALLERS.items(), ids=str)
def test_without_a_browser_the_address_is_printed(
    configured: Command, server: RunningServer, key: str, command: tuple[str, ...], path: str
) -> None:
    """The address alone goes to standard output, and the key is not in it."""
    done = configured(*command, "--web", **NO_BROWSER)
    assert (done.code, done.out, done.err) == (0, f"{server.url}{path}\n", "")
    assert key not in done.out


@pytest.mark.parametrize(("command", "path"), OF_THE_DATABASE.items(), ids=str)
def test_pages_of_the_administration_are_at_the_public_address(
    call: Command, server: RunningServer, key: str, command: tuple[str, ...], path: str
) -> None:
    """The commands on the database know the address that people use."""
    environment = {"KEYTURN_DATABASE": server.services.settings.database, "KEYTURN_PUBLIC_URL": server.url}
    done = call(*command, "--web", **environment, **NO_BROWSER)
    assert done.code == 0, done
    assert done.out.strip().endswith(path)


def test_a_browser_gets_the_address(configured: Command, server: RunningServer, tmp_path: Path) -> None:
    """Where there is a browser it opens the page, and the command says so aside."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f'#!{sys.executable}\nimport sys\nopen("{opened}", "w").write(sys.argv[1])\n')
    program.chmod(0o755)
    done = configured("key", "list", "--web", BROWSER=f"{program} %s", PATH=os.environ["PATH"])
    assert (done.code, done.out) == (0, "")
    assert done.err == f"Opened {server.url}/profile/keys in your browser.\n"
    assert opened.read_text() == f"{server.url}/profile/keys"
