"""The HTTP server: uvicorn, with an end to waiting for a header and to its size."""

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from keyturn.settings import Settings

HEADER_TIMEOUT_SECONDS = 5.0
IDLE_TIMEOUT_SECONDS = 30
SHUTDOWN_TIMEOUT_SECONDS = 10
MAX_UNPARSED_HEADER_BYTES = 32 * 1024
"""What may arrive before a header ends. The gate holds whole headers to a smaller bound, with an answer."""
BACKLOG = 2048

APPLICATION = "keyturn.web.app:from_environment"


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for a header, and collects one of any size."""

    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin to wait for the first header."""
        super().connection_made(transport)
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._end_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a header."""
        super().on_message_begin()
        if self._header_timer is None:
            self._begin_waiting()

    def on_headers_complete(self) -> None:
        """Stop waiting: the gate takes over."""
        self._end_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; cut the connection when a header does not end."""
        super().data_received(data)
        if self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_UNPARSED_HEADER_BYTES:
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
                    b"content-length: 0\r\n\r\n"
                )
                self.transport.close()

    def _begin_waiting(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_SECONDS, self.transport.close)

    def _end_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


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
