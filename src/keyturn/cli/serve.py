"""`keyturn serve`: its options. `keyturn.cli.serving` does it, with the packages of the server."""

from pathlib import Path
from typing import Any

import click

from keyturn.cli.admin.options import database_option
from keyturn.cli.command import Command
from keyturn.cli.lazy import server_packages
from keyturn.core.dpop import REPLAY_BOUND

MAX_WORKERS = 64


@click.command(
    cls=Command,
    examples={
        "keyturn serve --demo": "Try a server with an account, a connection and a key",
        "keyturn serve --port 8080 --new-installation": "Begin an installation",
        "keyturn serve --host 0.0.0.0 --workers 4": "Listen on every address, in four processes",
    },
    more="howto/install.md",
)
@click.option("--host", help="The address to listen on. [env: KEYTURN_HOST; default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port. [env: KEYTURN_PORT; default: 8400]")
@click.option(
    "--unix-socket",
    type=click.Path(path_type=Path),
    help="A Unix socket to listen on too, for a gateway on this machine. [env: KEYTURN_UNIX_SOCKET]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    default=1,
    show_default=True,
    help=f"Processes that serve. {REPLAY_BOUND}",
)
@click.option(
    "--demo", is_flag=True, help="Create an administrator, a connection and a key, and show what to try."
)
@click.option(
    "--new-installation",
    is_flag=True,
    default=None,
    help="Begin an installation if the database holds none. [env: KEYTURN_NEW_INSTALLATION; default: only in "
    "your data directory, if neither database nor root key is there]",
)
@click.option(
    "--migrate/--no-migrate",
    default=None,
    help="Upgrade an older schema, or refuse to start on it. [env: KEYTURN_MIGRATE; default: true]",
)
@database_option
@click.pass_context
def serve(context: click.Context, /, workers: int, *, demo: bool, **chosen: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    As long as there is no user, each start prints a link that creates the first administrator.
    """
    with server_packages():
        from keyturn.cli.serving import run_server
    run_server(chosen, workers=workers, demo=demo, debug=bool(context.obj))
