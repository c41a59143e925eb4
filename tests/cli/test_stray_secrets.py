"""Secrets with stray characters, given to every command: none is told, and none is taken as another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from keyturn.cli.main import cli
from tests.cli.conftest import USERID, Command, opened, refused
from tests.conftest import PASSWORD
from tests.people import HERE
from tests.strays import CANARY, KEY, LINE_ENDS, STRAYS, everything_said, tells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import RunningServer

URL = "http://127.0.0.1:1"
"""Where nobody answers."""
SERVES = {("serve",)}
"""Reads no secret from its input, and would not end."""
STDIN = [b"\xef\xbb\xbf" + KEY.encode(), KEY.encode() + b"\n" + KEY.encode(), KEY.encode() + b"\xff\xfe\n"]
USAGE = 2
"""How click ends a command whose arguments are wrong: it did nothing yet."""
BY_ARGUMENT = {"method": "GET", "path": "/bim/user", "url": URL, "shell": "bash", "permissions": "AUDIT"}
BY_OPTION = {"--permission": "AUDIT", "--data": "-"}


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that does something, with its path, from the tree itself."""
    with click.Context(group, info_name="keyturn") as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))
            elif (*path, name) not in SERVES:
                yield (*path, name), command


COMMANDS = dict(commands(cli))


def arguments(command: click.Command, tmp_path: Path) -> list[str]:
    """Return arguments with which a command begins its work, and reads what it can from its input."""
    chosen: list[str] = []
    for parameter in command.params:
        is_secret = parameter.name is not None and "stdin" in parameter.name
        option = parameter.opts[0]
        if isinstance(parameter, click.Argument):
            if parameter.required or parameter.name == "url":
                chosen.append(_value_of(parameter, tmp_path))
        elif is_secret:
            chosen.append(option)
        elif option == "--url" or option in BY_OPTION or parameter.required:
            chosen += [option, BY_OPTION.get(option) or _value_of(parameter, tmp_path)]
    return chosen


def _value_of(parameter: click.Parameter, tmp_path: Path) -> str:
    if parameter.name in BY_ARGUMENT:
        return BY_ARGUMENT[parameter.name]
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    if isinstance(parameter.type, (click.types.IntParamType, click.IntRange)):
        return "1"
    if isinstance(parameter.type, click.Path) or "file" in (parameter.name or ""):
        return str(tmp_path / "some file")
    return USERID if parameter.name in {"userid", "user"} else "name"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_fault_d1_no_command_tells_a_secret(
    path: tuple[str, ...], call: Command, person: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a stray key in its input, its profile and its environment a command tells nothing of it."""
    profiles = tmp_path / "config" / "keyturn" / "profiles.json"
    profiles.parent.mkdir(parents=True)
    profiles.touch(0o600)
    given = arguments(COMMANDS[path], tmp_path)
    for number, stdin in enumerate(STDIN):
        stray = list(STRAYS.values())[number]
        profiles.write_text(json.dumps({"default": {"url": URL, "key": stray}}))
        environment = {} if path[0] == "admin" else {"KEYTURN_KEY": f"{KEY}\n{KEY}", "KEYTURN_URL": URL}
        told = ""
        try:
            with caplog.at_level("DEBUG"):
                done = call("--debug", *path, *given, stdin=stdin, **environment)
            told = done.out + done.err
            assert done.code != USAGE, (given, told)
        except Exception as error:  # noqa: BLE001 - as `--debug` shows every one of them
            told = everything_said(error)
        assert not tells(told), (path, given)
        assert not tells(caplog.text)


def test_fault_d1_configure_refuses_what_is_no_key(
    call: Command, server: RunningServer, tmp_path: Path
) -> None:
    """`configure` says that this is not a key, and keeps nothing."""
    for what, stray in STRAYS.items():
        given = stray.encode("utf-8", "surrogatepass")
        if what == "line end before it":  # Which is cut here, as a blank that was copied along is.
            continue
        said = refused(call("configure", "--url", server.url, "--key-stdin", stdin=given))
        assert not tells(said)
        assert any(word in said for word in ("This is not a key", "UTF-8", "byte order mark", "longer")), said
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("end", LINE_ENDS)
def test_fault_d1_configure_cuts_the_line_end(
    call: Command, server: RunningServer, key: str, tmp_path: Path, end: str
) -> None:
    """The line end of a pipe is no part of the key that is kept."""
    done = call("configure", "--url", server.url, "--key-stdin", stdin=f"{key}{end}")
    assert "You are bob" in done.out
    kept = json.loads((tmp_path / "config" / "keyturn" / "profiles.json").read_text())
    assert kept["default"]["key"] == key


@pytest.mark.parametrize(
    "command", [("user", "password", USERID), ("user", "add", "eve", "--name", "E")], ids=lambda part: part[1]
)
def test_fault_d1_a_byte_order_mark_is_no_part_of_a_password(
    run: Command, person: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """What a shell put before a piped password is refused by name, and the one before stays."""
    mark = "\ufeff"
    said = refused(run("admin", *command, "--password-stdin", stdin=f"{mark}{CANARY} and more words\n"))
    assert "byte order mark" in said
    assert not tells(said)
    with opened(tmp_path) as services:
        assert [user.userid for user in services.users.list_all()] == [person]
        services.logins.log_in_browser(person, PASSWORD, HERE)


def test_fault_d1_a_password_is_not_cut(run: Command, person: str) -> None:
    """One that is longer than a secret can be is refused, not shortened."""
    said = refused(run("admin", "user", "password", USERID, "--password-stdin", stdin="ab cd" * 1000))
    assert "longer than 4096 bytes" in said
