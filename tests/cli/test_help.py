"""Help: each command says what it does, shows examples that work, and names the page to read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from keyturn.cli.command import Command, Group, page_of, summary_of
from keyturn.cli.lazy import LazyGroup
from keyturn.cli.main import cli
from tests.cli.conftest import Command as Run
from tests.cli.walk import contexts

ROOT = Path(__file__).parents[2]
WIDTH = 80
ALL = list(contexts())
PATHS = [context.command_path for context in ALL]
GROUPS = [context for context in ALL if isinstance(context.command, click.Group)]
SHOWING_HELP = [one for one in GROUPS[1:] if one.command_path != "keyturn admin root-key"]
"""All but the program itself, and one that prints a key as it did before it was a group."""
EXAMPLES = [
    (context, line)
    for context in ALL
    if isinstance(context.command, Command | Group)
    for line in context.command.examples
]
SECTIONS = ["Get started", "Keys and tokens", "Call APIs", "Run a server", "Administer"]
COMMAND = re.compile(r"(?<![\w./])keyturn(?: (?:'[^']*'|\"[^\"]*\"|[^|>)<'\"]+)+)?")
"""The call of the program in an example, up to a pipe, a file or the end of a substitution."""


@pytest.mark.parametrize("context", ALL, ids=PATHS)
def test_every_command_is_explained(context: click.Context) -> None:
    """Each command and group has a summary of one line, an example, and a page that is there."""
    command = context.command
    assert isinstance(command, Command | Group)
    assert re.fullmatch(r"[A-Z][^!]{3,110}\.", summary_of(command)), summary_of(command)
    assert command.examples
    page = page_of(context)
    assert page is not None
    assert (ROOT / page).is_file(), page


@pytest.mark.parametrize("context", ALL, ids=PATHS)
def test_help_fits_a_terminal(context: click.Context) -> None:
    """No line of help, examples included, is wider than 80 columns; the words are those of the product."""
    text = click.unstyle(context.get_help())
    assert max(map(len, text.splitlines())) <= WIDTH
    for section in ("Examples:", "Read more:"):
        assert section in text
    assert not re.search(r"!|\bplease\b|passphrase", text, re.IGNORECASE)


def test_the_commands_stand_in_groups() -> None:
    """The help of the program lists its commands under these headings, in this order."""
    text = click.unstyle(ALL[0].get_help())
    headings = [line.removesuffix(":") for line in text.splitlines() if re.fullmatch(r"[A-Z][\w ]+:", line)]
    assert headings == [*SECTIONS, "Options", "Examples", "Read more"]


@pytest.mark.parametrize("context", GROUPS, ids=lambda one: one.command_path)
def test_a_summary_is_said_once(context: click.Context) -> None:
    """A list of commands says of each what its own help says first: a verb, with the same meaning."""
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        listed = group.lazy_commands[name].help if isinstance(group, LazyGroup) else summary_of(command)
        assert re.match(r"[A-Z][a-z]+(, [a-z]+)* ", listed), listed
        assert listed.endswith(".")


@pytest.mark.parametrize(("context", "line"), EXAMPLES, ids=lambda one: one if isinstance(one, str) else "")
def test_an_example_parses(context: click.Context, line: str) -> None:
    """Each example is a call that the program takes: the command reads its options and values."""
    calls = [shlex.split(found[0]) for found in COMMAND.finditer(re.sub(r"\$\(.*?\)", "x", line))]
    calls += [shlex.split(found[1]) for found in re.finditer(r"\$\((keyturn [^)]*)\)", line)]
    own = [call for call in calls if call[0] == "keyturn"]
    assert own, line
    for _, *arguments in own:
        given = [argument.replace("x", "0" * 43) if argument == "x" else argument for argument in arguments]
        command: click.Command = cli
        at = click.Context(cli, info_name="keyturn")
        while isinstance(command, click.Group) and given and not given[0].startswith("-"):
            _, found, given = command.resolve_command(at, given)
            assert found is not None
            command, at = found, click.Context(found, info_name=found.name, parent=at)
        if given not in (["--help"], ["--version"]):
            command.make_context(command.name, given, parent=at.parent)


@pytest.mark.parametrize("context", SHOWING_HELP, ids=lambda one: one.command_path)
def test_a_group_alone_shows_its_help(run: Run, context: click.Context) -> None:
    """A group without a command lists its commands, on standard output, and has not failed."""
    alone, help_ = run(*context.command_path.split()[1:]), run(*context.command_path.split()[1:], "--help")
    assert (alone.code, alone.err) == (0, "")
    assert alone.out == help_.out


@pytest.mark.parametrize(
    ("arguments", "meant"), [(("keys",), "key"), (("admin", "users"), "user"), (("key", "creat"), "create")]
)
def test_a_mistyped_command_is_told_with_the_one_meant(
    run: Run, arguments: tuple[str, ...], meant: str
) -> None:
    """Also commands that were not imported yet are compared with what was typed."""
    done = run(*arguments)
    assert done.code == 2
    assert f"Did you mean '{meant}'?" in done.err
