"""The server in this process, or in several."""

import errno
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from keyturn.cli.demonstration import demonstration_database, set_up_demonstration
from keyturn.composition import Services, open_services
from keyturn.counting.shared import SharedCounts
from keyturn.errors import CannotStart
from keyturn.logs import configure_logs, log_uncaught
from keyturn.settings import Settings, read_settings
from keyturn.system import System
from keyturn.web.app import create_app
from keyturn.web.edge.management import Management
from keyturn.web.edge.overview import Overview
from keyturn.web.edge.server import (
    APPLICATION,
    Server,
    bind,
    bind_unix,
    put_requests_first,
    server_config,
)
from keyturn.web.edge.service_manager import ServiceManager
from keyturn.web.edge.tracing import check_can_trace
from keyturn.web.edge.workers import Supervisor


def run_server(given: Mapping[str, Any], *, workers: int, demo: bool, debug: bool) -> None:
    """Run the server until a signal ends it; `given` are the settings that were given as options."""
    manager = ServiceManager.take_from(os.environ)
    chosen = dict(given)
    if demo and (own := demonstration_database(chosen["database"], os.environ)) is not None:
        chosen |= {"database": own, "new_installation": True}
    settings = read_settings(os.environ, **chosen)
    configure_logs(settings.log_level, debug=debug)
    _prepare_process()
    _check_tls(settings)
    if settings.traces:
        check_can_trace()
    is_alone, counts = workers == 1, SharedCounts(workers)
    with ExitStack() as listening:
        listeners = _listen(settings, listening)
        if settings.management_address is not None:
            listening.enter_context(_management(settings.management_address, Overview(counts, System())))
        shown = counts.workers[0] if is_alone and settings.management is not None else None
        services = open_services(settings, counts=shown)
        # Signals are obeyed before anybody is told that the server is there.
        if is_alone:
            run = _one_process(services, listeners, manager)
        else:
            run = _processes(settings, listeners, counts, manager)
        if demo:
            click.echo(set_up_demonstration(services))
        else:
            _print_start(services)
        if not is_alone:
            services.close()
        run()


def _prepare_process() -> None:
    log_uncaught()
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # Until the server is made, which reads the certificate anyway.
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core file would hold the keys of the moment.


def _listen(settings: Settings, listening: ExitStack) -> list[socket.socket]:
    """Return the bound sockets, which `listening` closes; raise `CannotStart`."""
    listeners = _bind(settings)
    for listener in listeners:
        listening.enter_context(listener)
    if settings.unix_socket is not None:
        listening.callback(_unlink_own, settings.unix_socket, settings.unix_socket.stat())
    return listeners


def _one_process(
    services: Services, listeners: list[socket.socket], manager: ServiceManager
) -> Callable[[], None]:
    config = server_config(create_app(services), services.settings)
    server = Server(config, services.settings, manager=manager, counts=services.counts)
    server.take_signals()

    def run() -> None:
        put_requests_first()
        server.run(sockets=listeners)

    return run


def _processes(
    settings: Settings, listeners: list[socket.socket], counts: SharedCounts, manager: ServiceManager
) -> Callable[[], None]:
    os.environ |= _as_environment(settings)
    config = server_config(APPLICATION, settings, workers=len(counts.workers))
    return Supervisor(config, settings, listeners, counts, manager).run


@contextmanager
def _management(address: Path | tuple[str, int], overview: Overview) -> Iterator[None]:
    """Answer at the management address during the block; raise `CannotStart`."""
    path = address if isinstance(address, Path) else None
    try:
        listener = bind_unix(address) if isinstance(address, Path) else bind(*address)
    except OSError as error:
        raise CannotStart(
            f"Cannot listen at KEYTURN_MANAGEMENT ({error.strerror or error}): choose an address that is "
            "free, and a path where this user may write."
        ) from error
    listener.set_inheritable(False)
    made = None if path is None else path.stat()
    management = Management(listener, overview)
    management.start()
    try:
        yield
    finally:
        management.close()
        if path is not None and made is not None:
            _unlink_own(path, made)


def _unlink_own(path: Path, made: os.stat_result) -> None:
    """Remove the file of a socket, unless another server that started meanwhile has put its own there."""
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), made):
            path.unlink()


def _bind(settings: Settings) -> list[socket.socket]:
    """Return the bound sockets; raise `CannotStart`."""
    try:
        listeners = [bind(settings.host, settings.port)]
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
    """Say where the server is, and on the very first start how to create the first administrator."""
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
                "with --port or KEYTURN_PORT."
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
