"""What a person mistypes in an address, a method or a path, in every command that calls a server."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import click
import pytest

from keyturn.cli.main import cli
from tests.cli.conftest import Command, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "0f7d9b1c5e3a48268f0a6c4e2d1b7a93"
ADDRESSES = (
    "http://example.com",
    "127.0.0.1:18411",
    "http://127.0.0.1:99999",
    "http://[::1",
    "https://user:pw@host",
    "http://localhost?x=1",
    "http://localhost#x",
    "https://ho st",
    "https://host\nX: y",
    "https://host\x7f",
    "https://",
    "ftp://host",
)
ARGUMENTS = {"api": ("GET", "/bim/iam"), "rotate": ("1",), "revoke": ("1",)}
AFTER_SIGN_IN = {("configure",), ("login",), ("logout",)}
"""They keep or forget a profile, and say first that the environment gives the key."""


def calling() -> Iterator[tuple[str, ...]]:
    """Walk every command that has `--profile`."""

    def walk(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                if below is not None and (*path, name)[0] not in {"admin", "serve"}:
                    yield from walk((*path, name), below)
        elif any(option.name == "profile" for option in command.params):
            yield path

    return walk((), cli)


CALLING = [path for path in calling() if path not in AFTER_SIGN_IN]


def test_the_walk_finds_the_commands() -> None:
    """No command that calls a server is left out."""
    assert {("whoami",), ("token",), ("api",), ("key", "list"), ("key", "create")} <= set(CALLING)


@pytest.mark.parametrize("path", CALLING, ids=" ".join)
def test_fault_g7_a_wrong_address_is_told(call: Command, tmp_path: Path, path: tuple[str, ...]) -> None:
    """Fault G7: a wrong address, in the environment or in the file, is told with where it stands."""
    profiles = tmp_path / "config" / "keyturn" / "profiles.json"
    profiles.parent.mkdir(parents=True)
    arguments = (*path, *ARGUMENTS.get(path[-1], ()))
    for address in ADDRESSES:
        said = refused(call(*arguments, KEYTURN_URL=address, KEYTURN_KEY=KEY))
        assert said.startswith("keyturn: KEYTURN_URL: Give the server's address "), (address, said)
        assert "pw" not in said
        profiles.write_text(json.dumps({"default": {"url": address, "key": KEY}}))
        profiles.chmod(0o600)
        said = refused(call(*arguments))
        assert f"{profiles}, profile default: Give the server's address " in said, (address, said)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *((("GE T", "/bim/iam"), "Give a method"), (("", "/bim/iam"), "Give a method")),
        *((("GET\n", "/bim/iam"), "Give a method"), (("GÉT", "/bim/iam"), "Give a method")),
        *(
            (("GET", path), "Give a path")
            for path in ("/bim/iam\nX: y", "/bim\x00", "/bim\udcff", "bim/iam", "//host/bim", "")
        ),
        (("GET", "/" + "x" * 70_000), "The address cannot be used"),
    ],
)
def test_fault_g7_what_is_no_request_is_told(
    call: Command, arguments: tuple[str, str], sentence: str
) -> None:
    """Fault G7: a method or path that is none is told, and is no defect and nobody's silence."""
    environment = {"KEYTURN_URL": "http://127.0.0.1:9", "KEYTURN_KEY": KEY}
    assert sentence in refused(call("api", *arguments, **environment))


def test_fault_g7_sign_in_refuses_the_same(call: Command) -> None:
    """Fault G7: the commands that keep a profile refuse the same addresses."""
    for command, address in itertools.product((("configure", "--key-stdin", "--url"), ("login",)), ADDRESSES):
        assert "Give the server's address " in refused(call(*command, address, stdin=KEY)), (command, address)
