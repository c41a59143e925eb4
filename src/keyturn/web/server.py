"""The HTTP server: uvicorn, as Keyturn is served."""

import errno
import gc
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from keyturn.settings import Settings
from keyturn.web.protocol import IDLE_TIMEOUT_SECONDS, BoundedHttpProtocol

SHUTDOWN_TIMEOUT_SECONDS = 10
BACKLOG = 2048
UNIX_SOCKET_MODE = 0o660
SWITCH_SECONDS = 0.0005
"""A tenth of Python's default."""

APPLICATION = "keyturn.web.app:from_environment"


def put_requests_first() -> None:
    """Keep Python itself from stopping the requests of this process, which has made its application.

    A background thread keeps the interpreter for a switch interval at a time, and each request waits for it.
    And the cyclic garbage collector would look at everything that the start has made again and again, which
    never becomes garbage: a pause of a tenth of a second while the index fills.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
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


def bind(settings: Settings) -> socket.socket:
    """Return a socket bound to the address of the settings; raise `OSError`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.set_inheritable(True)
    except BaseException:
        listener.close()
        raise
    return listener
