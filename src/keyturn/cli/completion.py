"""`keyturn completion`."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete the commands: put it where your shell reads completions."""
    found = get_completion_class(shell)
    assert found is not None, "one of the shells"  # noqa: S101 - for the type checker
    click.echo(found(context.find_root().command, {}, "keyturn", "_KEYTURN_COMPLETE").source())
