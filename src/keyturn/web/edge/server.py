"""The HTTP server: uvicorn, as Keyturn starts, stops and reloads it."""

import asyncio
import errno
import gc
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn
from uvicorn.server import ServerState

from keyturn.counting.counts import Counts
from keyturn.settings import Settings
from keyturn.system import System
from keyturn.web.edge.connection_limits import Connections, raise_file_limit
from keyturn.web.edge.protocol import IDLE_TIMEOUT_SECONDS, BoundedHttpProtocol
from keyturn.web.edge.service_manager import ServiceManager

SHUTDOWN_TIMEOUT_SECONDS = 10
FORCED_END_SECONDS = 1.0
"""How long a server that is told twice to stop may still take to tidy up."""
LAST_REQUEST_SECONDS = 0.5
"""How long an idle connection is kept for a request that is on its way, when the server stops."""
BACKLOG = 2048
UNIX_SOCKET_MODE = 0o660
SWITCH_SECONDS = 0.0005
"""A tenth of Python's default."""
COLLECTED_AFTER = (20_000, 10, 100)
"""New objects, collections of those, and of the next older ones, before the garbage collector looks."""
STOP_SIGNAL = signal.SIGUSR1
"""How a supervisor stops its workers: a service manager may send them SIGTERM besides."""
END_SIGNAL = signal.SIGUSR2
"""How it ends them at once."""

APPLICATION = "keyturn.web.app:from_environment"


class State(ServerState):
    """State that the connections of a server share."""

    def __init__(self, connections: Connections, last_request_seconds: float) -> None:
        super().__init__()
        self.admission = connections
        self.last_request_seconds = last_request_seconds
        self.is_closing = False
        """Whether each answer is the last on its connection."""


class Server(uvicorn.Server):
    """uvicorn's server, which stops in order.

    Told to stop, it is not ready any more, and goes on for the drain time of the settings, so that balancers
    send their requests elsewhere. Then it takes no new connection, and each that it has ends with an answer,
    or, if it is idle, after a moment. Told so twice, it ends at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        *,
        manager: ServiceManager | None = None,
        last_request_seconds: float = LAST_REQUEST_SECONDS,
        counts: Counts | None = None,
    ) -> None:
        """Serve with these settings; `manager` is that of a server without workers."""
        super().__init__(config)
        self._manager = manager or ServiceManager()
        self._serves = f"Serving {settings.public_url}"
        admission = Connections(
            settings.connections_per_address,
            raise_file_limit(),
            System(),
            trusted=settings.trusted_proxies,
            counts=counts,
        )
        self.server_state: State = State(admission, last_request_seconds)
        self._drain_seconds = settings.drain_time
        self._stops_at: float | None = None
        self._times_asked = 0
        self._is_reload_wanted = False
        self._log = structlog.get_logger()

    def take_signals(self) -> None:
        """Obey signals from now on, also those that come before the server runs."""
        for number in (signal.SIGTERM, signal.SIGINT, STOP_SIGNAL):
            signal.signal(number, self.handle_exit)
        signal.signal(END_SIGNAL, self._end_at_once)
        signal.signal(signal.SIGHUP, self._want_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen; then the service manager knows."""
        await super().startup(sockets)
        if self.started and self._stops_at is None:
            self._manager.tell_ready(self._serves)
            if sockets:
                self._manager.watch(sockets[0], tls=self.config.is_ssl)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; end at once if that was asked for before."""
        if self._stops_at is None:
            self._manager.tell_stopping()
            # Ctrl+C is somebody at a terminal, who waits.
            drain = self._drain_seconds if self.started and sig != signal.SIGINT else 0
            self._stops_at = time.monotonic() + drain
            self.should_exit = drain == 0
            app = getattr(self.config, "loaded_app", None)
            if (begin_draining := getattr(app, "begin_draining", None)) is not None:
                begin_draining()
        if sig != STOP_SIGNAL:
            self._times_asked += 1
        if self._times_asked > 1:
            self._end_at_once(sig, frame)

    def _end_at_once(self, _sig: int, _frame: FrameType | None) -> None:
        self.should_exit = self.force_exit = True
        # A thread that waits for a database must not hold the process.
        end = threading.Timer(FORCED_END_SECONDS, os._exit, (0,))
        end.daemon = True
        end.start()

    def _want_reload(self, _sig: int, _frame: FrameType | None) -> None:
        self._is_reload_wanted = True

    async def on_tick(self, counter: int) -> bool:
        """Do what signals ask for, between requests."""
        if self._is_reload_wanted:
            self._is_reload_wanted = False
            self._manager.tell_reloading()
            self._reload_certificate()
            self._manager.tell_ready(self._serves)
        if self._stops_at is not None and time.monotonic() >= self._stops_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def _reload_certificate(self) -> None:
        """Use the files of the certificate as they are now for connections that begin from now on."""
        certificate, key = self.config.ssl_certfile, self.config.ssl_keyfile
        if certificate is None or self.config.ssl is None:
            self._log.info("nothing_to_reload")
            return
        try:
            # First apart, so that files that do not belong together leave the old pair in force.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
            self.config.ssl.load_cert_chain(certificate, key)
        except OSError as error:  # An SSLError is one too.
            self._log.error("certificate_not_reloaded", reason=error.strerror or type(error).__name__)
        else:
            self._log.info("certificate_reloaded")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let each connection end in order, and close the application."""
        self.server_state.is_closing = True
        taken = [] if self.force_exit else self._take_waiting(sockets or ())
        await super().shutdown(sockets)
        for connection in taken:
            connection.cancel()

    def _take_waiting(self, listeners: Sequence[socket.socket]) -> list[asyncio.Task[Any]]:
        """Take the connections that wait to be accepted: the end of the listener would reset them."""
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        taken = []
        for listener in listeners:
            with suppress(OSError):  # Until nobody waits any more.
                while True:
                    waiting, _ = listener.accept()
                    taking = loop.connect_accepted_socket(self._new_protocol, waiting, ssl=tls)
                    taken.append(loop.create_task(taking))
        return taken

    def _new_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def put_requests_first() -> None:
    """Keep Python itself from stopping the requests of this process, which has made its application.

    A background thread keeps the interpreter for a switch interval at a time, and each request waits for it.
    And the cyclic garbage collector would look at everything that the start has made again and again, which
    never becomes garbage: a pause of a tenth of a second while the index fills. The entries of the index do
    not become garbage either, so the collector looks at the new objects seldom, and at all of them hardly
    ever.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECTED_AFTER)
    gc.collect()
    gc.freeze()


def server_config(app: Any, settings: Settings, *, workers: int = 1) -> uvicorn.Config:
    """Return how to serve `app`: an ASGI application, or for several workers the path of its factory."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=BoundedHttpProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_TIMEOUT_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=None if settings.tls_key_file is None else str(settings.tls_key_file),
    )


def bind_unix(path: Path) -> socket.socket:
    """Return a Unix socket that this user and their group may open; raise `OSError`.

    A socket that nobody listens on any more, left by a process that was killed, is replaced.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as asking:
                if asking.connect_ex(str(path)) != errno.ECONNREFUSED:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            path.unlink()
        listener.bind(str(path))
        path.chmod(UNIX_SOCKET_MODE)
        listener.set_inheritable(True)
    except BaseException:
        listener.close()
        raise
    return listener


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; raise `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.set_inheritable(True)
    except BaseException:
        listener.close()
        raise
    return listener
