"""Commands that are imported when they run, so that a caller does not wait for the server's packages."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from keyturn.errors import CannotStart


class LazyCommand(NamedTuple):
    """Where a command is, and the line of help that lists it without importing it."""

    location: str
    """`module:attribute`."""
    help: str


class LazyGroup(click.Group):
    """A group whose commands are imported when they run. Listing and completing them imports none.

    A command that is `of_the_server` needs more packages than the others.
    """

    def __init__(
        self,
        *args: Any,
        lazy_commands: Mapping[str, LazyCommand],
        of_the_server: Collection[str],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.lazy_commands = lazy_commands
        self._of_the_server = of_the_server

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return sorted(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it was not before; where that fails, one that says why."""
        if cmd_name in self.lazy_commands and cmd_name not in self.commands:
            self.add_command(self._find(ctx, cmd_name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their lines of help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.lazy_commands[name].help) for name in self.list_commands(ctx)])

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
            package = (error.name or "keyturn").partition(".")[0]
            if package == "keyturn":
                raise
            extra = "server" if name in self._of_the_server else "cli"
            return _without(package, f"{ctx.command_path} {name}", name, extra=extra)
        return command


def _without(package: str, path: str, name: str, *, extra: str) -> click.Command:
    """Return what stands for a command whose packages are missing."""

    def refuse(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever was asked for
        raise CannotStart(f"`{path}` needs {package}: run pip install 'keyturn[{extra}]'.")

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=f"Needs pip install 'keyturn[{extra}]'.",
        context_settings={"ignore_unknown_options": True},
    )
