"""Commands whose help has sections: what they do, options, examples, and where to read more."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import click

DOCUMENTATION = "docs/"


class HelpFormatter(click.HelpFormatter):
    """Headings in bold; click drops that where colors are not wanted."""

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        self.write(f"{'':>{self.current_indent}}{click.style(f'{heading}:', bold=True)}\n")


class Context(click.Context):
    """A context whose help is written by our formatter."""

    formatter_class = HelpFormatter


class _Documented(click.Command):
    """The help that a command and a group have in common."""

    context_class = Context

    def __init__(
        self, *args: Any, examples: Mapping[str, str] | None = None, more: str | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.examples = examples or {}
        """Command lines to copy, each with its purpose."""
        self.more = more
        """The page to read about it, below `docs/`; None for that of its group."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, and where to read more."""
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                for line, purpose in self.examples.items():
                    formatter.write(f"{indent}# {purpose}\n{indent}{line}\n")
        page = page_of(ctx)
        if page is not None:
            with formatter.section("Read more"):
                indent = " " * formatter.current_indent
                formatter.write(f"{indent}{page}\n{indent}/{page.removesuffix('.md')} on your server\n")


class Command(_Documented):
    """A command with examples."""


class Group(_Documented, click.Group):
    """A group of such commands. Alone, it shows its help, unless it is one to invoke without a command."""

    command_class = Command
    group_class = type

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; without any argument, show what there is, and end well."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            click.echo(self.screen(ctx))
            ctx.exit()
        return super().parse_args(ctx, args)

    def screen(self, ctx: click.Context) -> str:
        """Return what the group shows when it is called alone."""
        return self.get_help(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(self.commands[name])) for name in self.list_commands(ctx)])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, which people look for, before the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


def page_of(context: click.Context) -> str | None:
    """Return the page of the documentation about a command, or else about the nearest group of it."""
    at: click.Context | None = context
    while at is not None:
        if isinstance(at.command, _Documented) and at.command.more is not None:
            return DOCUMENTATION + at.command.more
        at = at.parent
    return None


def summary_of(command: click.Command) -> str:
    """Return the first sentence of the help of a command."""
    first, stop, _ = inspect.cleandoc(command.help or "").partition("\n\n")[0].partition(". ")
    return f"{first}." if stop else first


def walk(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command, and of all commands below it."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None:
                yield from walk(command.context_class(command, info_name=name, parent=context))
