"""`keyturn completion`."""

import click
from click.shell_completion import get_completion_class

from keyturn.cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=Command,
    examples={
        "keyturn completion bash > ~/.local/share/bash-completion/completions/keyturn": "Install it for bash",
        "keyturn completion fish > ~/.config/fish/completions/keyturn.fish": "Install it for fish",
    },
    more="howto/use-the-command-line.md",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL. Put it where your shell reads completions."""
    click.echo(completion_script(context.find_root().command, shell))


def completion_script(root: click.Command, shell: str) -> str:
    """Return what makes a shell complete the commands below `root`."""
    found = get_completion_class(shell)
    assert found is not None, "one of the shells"  # noqa: S101 - for the type checker
    return found(root, {}, "keyturn", "_KEYTURN_COMPLETE").source()
