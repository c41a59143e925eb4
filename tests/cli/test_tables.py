"""Lists on the command line: for people and for scripts."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from rich.cells import cell_len

from keyturn.cli.tables import Column, print_list, table_lines
from tests.cli.conftest import USERID, Command
from tests.cli.walk import commands

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30
LISTS = [context for context in commands() if context.info_name == "list"]
WITHOUT_JSON = {
    "keyturn admin api delete": "a sentence",
    "keyturn admin key revoke": "a sentence",
    "keyturn admin service delete": "a sentence",
    "keyturn admin token revoke": "a sentence",
    "keyturn admin user disable": "a sentence",
    "keyturn admin user password": "a sentence",
    "keyturn admin user sign-out": "a sentence",
    "keyturn admin user rename": "a sentence",
    "keyturn admin user unlock": "a sentence",
    "keyturn api": "JSON always",
    "keyturn completion": "a script",
    "keyturn key revoke": "a sentence",
    "keyturn logout": "a sentence",
    "keyturn serve": "the addresses of a server",
    "keyturn thumbprint": "one word",
}
"""What these print."""


def test_fault_g7_what_prints_data_has_json() -> None:
    """Each command that lists, creates or shows takes `--json`; of the others it is known what they print."""
    without = {
        context.command_path
        for context in commands()
        if "--json" not in {name for option in context.command.params for name in option.opts}
    }
    assert without == WITHOUT_JSON.keys()
    assert len(LISTS) == 6


@pytest.mark.parametrize("width", [80, 60, 40, 24, 12])
def test_no_table_is_wider_than_the_terminal(width: int) -> None:
    """Whatever is in the cells, of whatever script, each line fits; fixed columns are cut last."""
    rows = [
        ["1", "nightly export of everything", "kt_iyPWWKPjURUK_…STsc", "active", "path /data, method GET"],
        ["12345", "報告書" * 20, "kt_A_…B", "revoked", ""],
        ["2", "", "kt_A_…B", "active", "x" * 300],
    ]
    titles = ["ID", "Name", "Key", "State", "Limits"]
    lines = table_lines(titles, rows, [False, True, False, False, True], width)
    assert len(lines) == 4
    assert max(map(cell_len, lines)) <= width
    if width >= 60:
        assert all(row[2] in line for row, line in zip(rows, lines[1:], strict=True))
        assert "…" in lines[2]


def test_a_wide_terminal_gets_all() -> None:
    """Nothing is cut that has room, and no line ends with blanks."""
    lines = table_lines(["ID", "Name"], [["1", "one"], ["2", ""]], [False, True], 200)
    assert lines == ["ID  Name", "1   one", "2"]


def on_a_terminal(directory: Path, *arguments: str, **environment: str) -> list[str]:
    """Return the lines that a terminal of 80 columns gets of a command."""
    master, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", "from keyturn.cli import main; main()", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "COLUMNS": "80",
            "KEYTURN_DATABASE": f"sqlite:///{directory / 'keyturn.db'}",
            **environment,
        },
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=True,
    )
    os.close(terminal)
    shown = os.read(master, 65_536).decode() if not done.stderr else done.stderr.decode()
    os.close(master)
    return shown.splitlines()


OF_THE_DATABASE = [
    ("admin", "user", "list"),
    ("admin", "key", "list", "--user", USERID),
    ("admin", "api", "list"),
    ("admin", "signing-key", "list"),
]


@pytest.mark.parametrize("command", OF_THE_DATABASE, ids=" ".join)
def test_a_list_fits_80_columns(run: Command, person: str, tmp_path: Path, command: tuple[str, ...]) -> None:
    """On a terminal the heading is bold, times are relative, and no line wraps; a pipe gets whole cells."""
    name = "a name that is much longer than the column that it stands in can ever be"
    uri = f"https://orders.example.com/{'x' * 100}"
    assert (
        run("admin", "api", "add", name, uri, "--scope", "orders:read", "--scope", "orders:write").code == 0
    )
    networks = ("--allow-from", "192.0.2.0/24", "--allow-from", "2001:db8::/32")
    assert run("admin", "key", "add", "--user", person, "--name", name, *networks).code == 0

    head, *lines = on_a_terminal(tmp_path, *command)

    assert head.startswith("\x1b[1m")
    assert "\x1b" not in "".join(on_a_terminal(tmp_path, *command, NO_COLOR="1"))
    assert lines
    assert max(cell_len(click.unstyle(line)) for line in (head, *lines)) <= 80
    piped = run(*command).out
    assert "…" not in piped.replace("_…", "")
    assert "\x1b" not in piped
    assert not piped.startswith(("ID", "Key ID"))
    assert {line.count("\t") for line in piped.splitlines()} == {piped.splitlines()[0].count("\t")}
    if "key" in command[1]:
        assert re.search(r"\t20\d\d-\d\d-\d\dT[\d:.]+Z\t", piped)
        assert re.search(r"(in )?\d+ (min|hours?|days?|months?)( ago)?|now", lines[0])


def test_an_empty_list_is_told_to_people_alone(run: Command, person: str, tmp_path: Path) -> None:
    """A terminal says what to do where there is nothing; a pipe gets nothing, and JSON an empty array."""
    assert on_a_terminal(tmp_path, "admin", "api", "list") == [
        "There is no API yet. `keyturn admin api add NAME URI --scope SCOPE` registers one."
    ]
    assert run("admin", "api", "list").out == ""
    assert json.loads(run("admin", "api", "list", "--json").out) == []


def test_a_cell_stays_in_its_line() -> None:
    """A tab or a line end in a text is a blank: it begins no cell and no line."""
    columns: list[Column[str]] = [Column("Text", "text", str)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_list(["one\ttwo\nthree\u202e"], columns, as_json=False)
    assert out.getvalue() == "one two three⟨U+202E⟩\n"


def test_fault_g7_lists_of_the_server_are_json(run: Command, person: str) -> None:
    """`--json` says to scripts what the tables of `keyturn admin` say to people."""
    group = run("admin", "service", "add", "Orders", "https://orders.example.com", "--scope", "orders:read")
    assert group.code == 0, group
    assert run("admin", "key", "add", "--user", person, "--name", "nightly").code == 0

    (user,) = json.loads(run("admin", "user", "list", "--json").out)
    assert (user["userid"], user["permissions"], user["disabled"]) == (person, ["CREATE_PROJECT"], False)
    (key,) = json.loads(run("admin", "key", "list", "--user", person, "--json").out)
    assert (key["name"], key["scopes"], key["uses"], key["state"]) == ("nightly", None, 0, "active")
    assert key["expiresAt"].endswith("Z")
    (scope,) = json.loads(run("admin", "service", "list", "--json").out)
    assert (scope["identifier"], scope["scope"], scope["heldBy"]) == (
        "https://orders.example.com",
        "orders:read",
        "everyone",
    )
    (signing,) = json.loads(run("admin", "signing-key", "list", "--json").out)
    assert (signing["algorithm"], signing["verifiesUntil"]) == ("ES256", None)
