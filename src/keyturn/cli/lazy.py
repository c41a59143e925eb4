"""Commands that are imported when they are used: a caller neither waits for the server's nor has them."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any

import click

from keyturn.errors import CannotStart


class LazyGroup(click.Group):
    """A group whose commands stand in modules, as `name: "module:attribute"`.

    What is `of_the_server` needs more packages than the others.
    """

    def __init__(
        self, *args: Any, places: Mapping[str, str], of_the_server: Collection[str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._places = places
        self._of_the_server = of_the_server

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it was not before; where that fails, one that says why."""
        if cmd_name in self._places and cmd_name not in self.commands:
            self.add_command(self._find(cmd_name), cmd_name)
        return super().get_command(ctx, cmd_name)

    def _find(self, name: str) -> click.Command:
        module, _, attribute = self._places[name].partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            package = (error.name or "keyturn").partition(".")[0]
            if package == "keyturn":
                raise
            return _without(package, name, extra="server" if name in self._of_the_server else "cli")
        return command


def _without(package: str, name: str, *, extra: str) -> click.Command:
    """Return what stands for a command whose packages are missing."""

    def refuse(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever was asked for
        raise CannotStart(f"`keyturn {name}` needs {package}: run pip install 'keyturn[{extra}]'.")

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=f"Needs pip install 'keyturn[{extra}]'.",
        context_settings={"ignore_unknown_options": True},
    )
