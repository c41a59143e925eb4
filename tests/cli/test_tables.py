"""Lists on the command line: for people and for scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from keyturn.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Command


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below a group, with its path."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


LISTS = [path for path, _ in commands(cli) if path[-1] == "list"]


@pytest.mark.parametrize("path", LISTS, ids=" ".join)
def test_fault_g7_every_list_has_json(path: tuple[str, ...]) -> None:
    """Each command that lists takes `--json`."""
    (command,) = (found for named, found in commands(cli) if named == path)
    assert "--json" in {name for option in command.params for name in option.opts}


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
