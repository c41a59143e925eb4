"""Answers as bytes: in one write, and those that the server gives in place of the application."""

from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from keyturn.errors import KeyturnError
from keyturn.web.responses import response_of

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
"""Bytes that no header may hold (RFC 9110, section 5.5), but for the end of its line."""
_ABOUT_CONNECTION = frozenset({b"connection", b"transfer-encoding"})
_REFUSAL_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


class WrittenRefusal:
    """An answer in place of the application's, after which the connection is closed."""

    def __init__(self, error: KeyturnError) -> None:
        response = response_of(error)
        self._status, self._body = response.status, response.encoded()
        given = ((name.lower().encode("ascii"), value.encode("ascii")) for name, value in response.headers)
        self._headers = [
            *_REFUSAL_HEADERS,
            (b"content-length", b"%d" % len(self._body)),
            *(header for header in given if header[0] != b"connection"),
        ]

    def as_bytes(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the whole answer as HTTP/1.1 writes it."""
        lines = (name + b": " + value + b"\r\n" for name, value in (*default_headers, *self._headers))
        return STATUS_LINE[self._status] + b"".join(lines) + b"\r\n" + self._body

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        """Answer, as an ASGI application."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


@lru_cache(8)
def begin_of_answer(headers: tuple[tuple[bytes, bytes], ...], status: int = 200) -> bytes:
    """Return the status line and the headers that uvicorn adds, which change with the date each second."""
    return STATUS_LINE[status] + b"".join(name + b": " + value + b"\r\n" for name, value in headers)


class InOneWrite:
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
