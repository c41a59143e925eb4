"""The screen of `keyturn` alone: what this is, where one is signed in, and how to begin."""

import click

from keyturn import __version__
from keyturn.cli.lazy import LazyGroup

SIGNED_OUT = (
    ("keyturn login https://keys.example.com", "Sign this machine in to a server"),
    ("keyturn serve --demo", "Try a server on this machine"),
    ("keyturn --help", "List all commands"),
)
SIGNED_IN = (
    ("keyturn key list", "List your keys"),
    ("keyturn key create", "Create a key"),
    ("keyturn --help", "List all commands"),
)


class StartGroup(LazyGroup):
    """The group of all commands. Alone, it says what to do first."""

    def screen(self, ctx: click.Context) -> str:
        """Return the screen. It asks no server and no keyring."""
        where = _where()
        lines = [
            f"{click.style('Keyturn', bold=True)} {__version__}",
            str(self.help),
            "",
            "You are not signed in." if where is None else where,
            "",
            "",
        ]
        formatter = ctx.make_formatter()
        with formatter.section("Begin with"):
            formatter.write_dl(SIGNED_OUT if where is None else SIGNED_IN, col_max=40)
        return "\n".join(lines) + formatter.getvalue().rstrip("\n")


def _where() -> str | None:
    """Return where one is signed in, as far as this machine knows; None for nowhere."""
    # Here, since help and version are told without reading any file.
    from keyturn.cli.remote.profiles import describe_sign_in
    from keyturn.errors import KeyturnError

    try:
        return describe_sign_in()
    except KeyturnError as error:
        return str(error)
