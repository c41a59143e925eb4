"""The HTTP server: uvicorn, with an end to waiting for a header and to its size."""

import asyncio
import errno
import gc
import os
import socket
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from keyturn.core.sources import UNIX_PEER
from keyturn.settings import Settings
from keyturn.web import forward_auth
from keyturn.web.feed import TRANSPORT

HEADER_TIMEOUT_SECONDS = 5.0
IDLE_TIMEOUT_SECONDS = 30
SHUTDOWN_TIMEOUT_SECONDS = 10
MAX_UNPARSED_HEADER_BYTES = 32 * 1024
"""What may arrive before a header ends. The gate holds whole headers to a smaller bound, with an answer."""
BACKLOG = 2048
UNIX_SOCKET_MODE = 0o660
SWITCH_SECONDS = 0.0005
"""A tenth of Python's default."""

VERIFY_TARGET = forward_auth.PATH.encode("ascii")
"""The one path that is answered here, spelled plainly."""

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
"""What no header may hold (RFC 9110, section 5.5), but for the end of its line."""
_ABOUT_CONNECTION = frozenset({b"connection", b"transfer-encoding"})

APPLICATION = "keyturn.web.app:from_environment"


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for a header, and collects one of any size."""

    _deadline: float | None = None
    """When the connection ends unless a header does before, in the time of the loop; None while we work."""
    _timer: asyncio.TimerHandle | None = None
    _is_in_header = True
    """Whether a header is awaited or has begun, and not ended."""
    _header_bytes = 0
    _begun_in_this_read = False
    _is_answered = False
    """Whether the request that is being read was answered at its header already."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin to wait for the first header."""
        super().connection_made(transport)
        if transport.get_extra_info("socket").family == socket.AF_UNIX:
            self.client = (UNIX_PEER, 0)  # Not by a missing address: a TCP peer that is gone has none either.
        self._begin_header()

    def shutdown(self) -> None:
        """End the connection after its request, and those that would go on for ever now."""
        super().shutdown()
        if (end_streams := getattr(self.app, "end_streams", None)) is not None:
            end_streams()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a header."""
        # What uvicorn does here, but for the scope of a request that may need none.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._unset_keepalive_if_required()  # Set by an answer that was given in the middle of what arrived.
        if not self._is_in_header:
            self._begin_header()

    def on_headers_complete(self) -> None:
        """Stop waiting; answer, or let the gate take over."""
        self._is_in_header = False
        path, _, query = self.url.partition(b"?")
        self._is_answered = path == VERIFY_TARGET and self._answer_at_once(query)
        if not self._is_answered:
            self._deadline = None
            self._hand_over()

    def _hand_over(self) -> None:
        """Go on as uvicorn does, with the scope that it would have made at the beginning."""
        url, headers, is_expecting = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, is_expecting
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let the application answer in one write."""

        async def run(scope: Any, receive: Any, _send: Any) -> None:
            scope["extensions"] = {TRANSPORT: cycle.transport}
            await app(scope, receive, _InOneWrite(cycle).send)

        super()._start_asgi_task(cycle, run)

    def on_body(self, body: bytes) -> None:
        """Take part of a body."""
        if not self._is_answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if not self._is_answered:
            super().on_message_complete()

    def _answer_at_once(self, query: bytes) -> bool:
        """Answer a plain `/verify` here, if nothing about it is special, and say whether that was done.

        uvicorn makes a scope, an event, a task and a timer for each request, and searches each header of the
        answer for characters that may not be in it: for this answer, that is most of the work.
        """
        parser = self.parser
        cycle: Any = self.cycle  # None before the first request that was not answered here.
        if (
            (cycle is not None and not cycle.response_complete)
            or self.expect_100_continue
            or self.flow.write_paused
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
        ):
            return False
        answer_at_once = getattr(self.app, "answer_at_once", None)
        if answer_at_once is None:
            return False
        answer = answer_at_once(parser.get_method().decode("ascii"), query, self.headers, self.client)
        if answer is None:
            return False
        headers = tuple(self.server_state.default_headers)
        if type(answer) is tuple:
            status, refusal = answer
            self.transport.write(STATUS_LINE[status] + _written(headers) + refusal)
        else:
            self.transport.write(_begin_of_answer(headers) + answer)
        self.server_state.total_requests += 1
        self._deadline = self.loop.time() + IDLE_TIMEOUT_SECONDS
        return True

    def data_received(self, data: bytes) -> None:
        """Feed the parser; cut the connection when a header does not end."""
        self._begun_in_this_read = False
        super().data_received(data)
        # What arrived together with the start of a header may be whole requests before it: not counted.
        if self._is_in_header and not self._begun_in_this_read:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_UNPARSED_HEADER_BYTES:
                self.transport.write(
                    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
                    b"content-length: 0\r\n\r\n"
                )
                self.transport.close()

    def _begin_header(self) -> None:
        self._is_in_header = True
        self._header_bytes = 0
        self._begun_in_this_read = True
        self._deadline = self.loop.time() + HEADER_TIMEOUT_SECONDS
        # One timer for a connection, which looks when it rings: one for each request costs more.
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_TIMEOUT_SECONDS, self._end_if_overdue)

    def _end_if_overdue(self) -> None:
        """Close the connection if its deadline is over, else look again, as long as there is one."""
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._timer = self.loop.call_later(min(left, HEADER_TIMEOUT_SECONDS), self._end_if_overdue)


@lru_cache(4)
def _written(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)


@lru_cache(4)
def _begin_of_answer(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return the status line and the headers that uvicorn adds, which change with the date each second."""
    return STATUS_LINE[200] + _written(headers)


class _InOneWrite:
    """`send`, which keeps the start of an answer until its body comes, and writes both at once.

    uvicorn searches each name and value of a header with a regular expression; here one pass over the whole
    header says whether a value breaks out of its line.
    """

    __slots__ = ("_cycle", "_start")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Any = None

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body", False) and self._write(start, message.get("body", b"")):
                return
            await self._cycle.send(start)
        await self._cycle.send(message)

    def _write(self, start: Any, body: bytes) -> bool:
        """Write an answer whose body is all there, or return False for one that is better left to uvicorn."""
        cycle = self._cycle
        if (
            cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        headers = [(name.lower(), value) for name, value in (*cycle.default_headers, *start["headers"])]
        length = None
        for name, value in headers:
            if name == b"content-length":
                length = value
            elif name in _ABOUT_CONNECTION:
                return False
        header = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        is_plain = len(header.translate(None, _CONTROLS)) == len(header) - 2 * len(headers)
        if length != b"%d" % len(body) or not is_plain:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(STATUS_LINE[start["status"]] + header + b"\r\n" + body)
        cycle.message_event.set()
        cycle.on_response()
        return True


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
