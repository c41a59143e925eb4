"""`keyturn serve`."""

import errno
import os
import resource
import signal
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from keyturn.cli.demonstration import demonstration_database, set_up_demonstration
from keyturn.cli.options import database_option
from keyturn.composition import Services, open_services
from keyturn.core.dpop import REPLAY_BOUND
from keyturn.errors import CannotStart
from keyturn.logs import configure_logs
from keyturn.settings import Settings, read_settings
from keyturn.web.app import create_app
from keyturn.web.server import APPLICATION, bind, bind_unix, put_requests_first, server_config

MAX_WORKERS = 64


@click.command()
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
    "--demo", is_flag=True, help="Make an administrator, a connection and a key, and show what to try."
)
@database_option
@click.pass_context
def serve(
    context: click.Context,
    host: str | None,
    port: int | None,
    unix_socket: Path | None,
    workers: int,
    *,
    demo: bool,
    database: str | None,
) -> None:
    """Run the server."""
    if demo:
        database = demonstration_database(database, os.environ)
    settings = read_settings(os.environ, host=host, port=port, unix_socket=unix_socket, database=database)
    configure_logs(settings.log_level, debug=bool(context.obj))
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core file would hold the keys of the moment.
    _check_tls(settings)
    listeners = _bind(settings)
    services = open_services(settings)
    if demo:
        click.echo(set_up_demonstration(services))
    else:
        _print_start(services)
    # uvicorn raises the signal again once it has shut down; by then there is nothing left to do.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    with ExitStack() as listening:
        for listener in listeners:
            listening.enter_context(listener)
        if settings.unix_socket is not None:
            listening.callback(_unlink_own, settings.unix_socket, settings.unix_socket.stat())
        if workers == 1:
            app = create_app(services)
            put_requests_first()
            uvicorn.Server(server_config(app, settings)).run(sockets=listeners)
            return
        services.close()
        os.environ |= _as_environment(settings)
        config = server_config(APPLICATION, settings, workers=workers)
        Multiprocess(config, sockets=listeners).run()


def _unlink_own(path: Path, made: os.stat_result) -> None:
    """Remove the file of a socket, unless another server that started meanwhile has put its own there."""
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), made):
            path.unlink()


def _bind(settings: Settings) -> list[socket.socket]:
    """Return the bound sockets; raise `CannotStart`."""
    try:
        listeners = [bind(settings)]
    except OSError as error:
        raise CannotStart(_why_not_bound(error, settings)) from error
    if settings.unix_socket is not None:
        try:
            listeners.append(bind_unix(settings.unix_socket))
        except OSError as error:
            listeners[0].close()
            raise CannotStart(
                f"Cannot listen on the Unix socket {settings.unix_socket} ({error.strerror or error}): "
                "choose a path where this user may write, and where no other server listens."
            ) from error
    return listeners


def _check_tls(settings: Settings) -> None:
    """Raise `CannotStart` unless the certificate and its key can be used."""
    if settings.tls_certificate_file is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_certificate_file, settings.tls_key_file
        )
    except OSError as error:  # An SSLError is one too.
        raise CannotStart(
            f"The TLS certificate {settings.tls_certificate_file} and key {settings.tls_key_file} cannot be "
            f"used ({error.strerror or type(error).__name__}): give PEM files that belong together."
        ) from None


def _print_start(services: Services) -> None:
    """Say where the server is, and on the very first start how to make the first administrator."""
    url = services.settings.public_url
    code = services.installation.new_setup_code()
    if code is None:
        click.echo(f"Keyturn serves {url}")
        return
    click.echo(
        f"Keyturn serves {url}\n\nThere is no user yet. Open this link to make the first administrator; it "
        f"works once:\n\n    {url}/setup#{code}\n"
    )


def _why_not_bound(error: OSError, settings: Settings) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {settings.port} on {settings.host} is in use: stop what uses it, or choose another "
                "with --port."
            )
        case errno.EACCES:
            return f"This user may not listen on port {settings.port}: choose one above 1023 with --port."
        case _:
            return f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}."


def _as_environment(settings: Settings) -> dict[str, str]:
    """Return what makes worker processes read these settings: the options that were given by hand."""
    return {
        "KEYTURN_DATABASE": settings.database,
        "KEYTURN_HOST": settings.host,
        "KEYTURN_PORT": str(settings.port),
        **({} if settings.unix_socket is None else {"KEYTURN_UNIX_SOCKET": str(settings.unix_socket)}),
    }
