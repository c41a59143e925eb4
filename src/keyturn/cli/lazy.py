"""Commands that are imported when they run, so that a caller does not wait for the server's packages."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from keyturn.cli.command import Group
from keyturn.errors import CannotStart


class LazyCommand(NamedTuple):
    """Where a command is, and what lists it without importing it."""

    section: str
    """The heading of the help under which it stands."""
    location: str
    """`module:attribute`."""
    help: str


class LazyGroup(Group):
    """A group whose commands are imported when they run. Listing and completing them imports none."""

    def __init__(self, *args: Any, lazy_commands: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(*args, **options)
        self.lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, in the order of the help."""
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it was not before; where that fails, one that says why."""
        if cmd_name in self.lazy_commands and cmd_name not in self.commands:
            self.add_command(self._find(ctx, cmd_name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was asked for; a mistyped one is told with those of a similar name."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click compares with the commands that are imported already.
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=self.lazy_commands, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under their headings."""
        names = self.list_commands(ctx)
        longest = max(map(len, names))
        for section in dict.fromkeys(command.section for command in self.lazy_commands.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (f"{name:<{longest}}", command.help)
                        for name, command in self.lazy_commands.items()
                        if command.section == section
                    ]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands, and whatever else any command completes."""
        names = [
            CompletionItem(name, help=self.lazy_commands[name].help)
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def _find(self, ctx: click.Context, name: str) -> click.Command:
        module, _, attribute = self.lazy_commands[name].location.partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            return _without(_needs(error, f"{ctx.command_path} {name}", extra="cli"), name)
        return command


@contextmanager
def server_packages() -> Iterator[None]:
    """Import what only the server's own commands need; raise `CannotStart` where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _needs(error, click.get_current_context().command_path, extra="server") from None


def _needs(error: ModuleNotFoundError, path: str, *, extra: str) -> CannotStart:
    """Return the refusal that says what to install; raise the error on if the package is our own."""
    package = (error.name or "keyturn").partition(".")[0]
    if package == "keyturn":
        raise error
    return CannotStart(f"`{path}` needs {package}: run pip install 'keyturn[{extra}]'.")


def _without(refusal: CannotStart, name: str) -> click.Command:
    """Return what stands for a command whose packages are missing."""

    def refuse(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever was asked for
        raise refusal

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=str(refusal),
        context_settings={"ignore_unknown_options": True},
    )
