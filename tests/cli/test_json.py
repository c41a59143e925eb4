"""`--json`: the fields that the reference promises, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import USERID, Command
from tests.cli.walk import commands
from tests.conftest import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
ROWS = re.findall(
    r"^\| (`keyturn .*?) \| (Array|Object) \| (.*) \|$",
    REFERENCE.read_text().partition("## Fields of JSON\n")[2].partition("\n## ")[0],
    re.MULTILINE,
)


def documented() -> dict[str, tuple[type, list[str]]]:
    """Return what each command prints: an array or an object, and the fields."""
    found: dict[str, tuple[type, list[str]]] = {}
    fields: list[str] = []
    for named, kind, text in ROWS:
        more = re.findall(r"`(\w+)`", text)
        fields = [*fields, *more] if text.startswith("The same") else more
        for command in re.findall(r"`keyturn ([^`]*)`", named):
            found[command] = (list if kind == "Array" else dict, fields)
    return found


DOCUMENTED = documented()
ARGUMENTS = {
    "admin user add": ("grace", "--password-stdin"),
    "admin key list": ("--user", USERID),
    "admin key add": ("--user", USERID),
    "admin key import": ("--user", USERID),
    "admin api add": ("Stock", "urn:stock", "--scope", "stock:move"),
    "admin backup": ("{folder}",),
    "admin restore": ("--adopt", "--yes"),
    "admin audit prune": ("--before", "2999-01-01", "{folder}/audit"),
    "key rotate": ("1",),
}
PREPARED: dict[str, Callable[[Command, Path], tuple[str, ...]]] = {}


def prepared(command: str) -> Callable[..., Any]:
    """Register what has to happen before a command can do anything; it returns the arguments."""
    return lambda function: PREPARED.setdefault(command, function)


@prepared("admin audit verify")
def an_archive(run: Command, folder: Path) -> tuple[str, ...]:
    run("admin", "audit", "prune", "--before", "2999-01-01", str(folder / "audit"))
    return tuple(map(str, (folder / "audit").iterdir()))


@prepared("admin root-key combine")
def shares_and_no_file(run: Command, folder: Path) -> tuple[str, ...]:
    made = json.loads(run("admin", "root-key", "split", "--json").out)["shares"]
    INPUT["admin root-key combine"] = "\n".join(made[1:4])
    (folder / "root.key").unlink()
    return ()


@prepared("admin root-key replace")
def no_file(_run: Command, folder: Path) -> tuple[str, ...]:
    (folder / "root.key").unlink()
    return ("--lost",)


INPUT = {
    "admin user add": PASSWORD,
    "admin root-key replace": "replace",
    "admin key import": "0f7d9b1c5e3a48268f0a6c4e2d1b7a93",
}
ELSEWHERE = {"login", "configure"}
"""Their fields are looked at where they sign in."""


def test_every_json_is_in_the_reference() -> None:
    """Each command that takes `--json` has its fields there; the second name of one has them once."""
    taking = {
        context.command_path.removeprefix("keyturn ")
        for context in commands()
        if "--json" in {name for option in context.command.params for name in option.opts}
    }
    second_names = ("admin service", "admin migrate")
    assert {command for command in taking if not command.startswith(second_names)} == DOCUMENTED.keys()


def fields_of(done: Any, kind: type) -> list[str]:
    assert done.code == 0, done
    printed = json.loads(done.out)
    assert isinstance(printed, kind)
    fields = [*(printed[0] if isinstance(printed, list) else printed)]
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", field) for field in fields)
    return fields


@pytest.mark.parametrize("command", [name for name in DOCUMENTED if name.startswith("admin")])
def test_commands_on_the_database_print_what_is_promised(
    run: Command, person: str, tmp_path: Path, command: str
) -> None:
    """The fields are those of the reference, in its order."""
    assert run("admin", "api", "add", "Orders", "urn:orders", "--scope", "orders:read").code == 0
    assert run("admin", "key", "add", "--user", person).code == 0
    kind, fields = DOCUMENTED[command]
    arguments = [argument.format(folder=tmp_path) for argument in ARGUMENTS.get(command, ())]
    if command in PREPARED:
        arguments += PREPARED[command](run, tmp_path)
    done = run(*command.split(), *arguments, "--json", stdin=INPUT.get(command, ""))
    assert fields_of(done, kind) == fields


@pytest.mark.parametrize(
    "command", [name for name in DOCUMENTED if not name.startswith("admin") and name not in ELSEWHERE]
)
def test_commands_of_callers_print_what_is_promised(configured: Command, command: str) -> None:
    """The fields are those of the reference; times end in milliseconds everywhere."""
    kind, fields = DOCUMENTED[command]
    done = configured(*command.split(), *ARGUMENTS.get(command, ()), "--json")
    assert fields_of(done, kind) == fields
    for moment in re.findall(r'": "(20\d\d-[^"]*)"', done.out):
        assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", moment)


def test_sign_in_prints_what_is_promised(call: Command, server: Any, key: str) -> None:
    """`configure` says the same as `login`, which has the end of the key beside."""
    kind, fields = DOCUMENTED["configure"]
    done = call("configure", "--url", server.url, "--key-stdin", "--json", stdin=key)
    assert fields_of(done, kind) == fields
    assert DOCUMENTED["login"] == (dict, [*fields, "expiresAt"])
