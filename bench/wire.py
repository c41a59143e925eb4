"""HTTP/1.1 as the benchmark speaks it: requests as bytes, and one kept connection to ask on.

No client library: its own cost would stand in the figures of `revocation`, and wrk wants bytes anyway.
"""

import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
TIMEOUT_SECONDS = 10.0
_END_OF_HEADER = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, without the port it goes to."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)

    def encoded(self, port: int) -> bytes:
        """Return the bytes to send to a server on this port."""
        headers = {"Host": f"{HOST}:{port}", **self.headers}
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if self.body:
            lines.append(f"Content-Length: {len(self.body.encode())}")
        return "\r\n".join([*lines, "", self.body]).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class KeptConnection:
    """A connection that asks again and again; opens a new one when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; asking again opens a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received = None, b""

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer; raise `OSError` when there is none in time."""
        encoded = request.encoded(self._port)
        if self._socket is not None:
            try:
                return self._exchange(self._socket, encoded)
            except ConnectionError:  # The server ended a connection that was idle.
                self.close()
        self._socket = socket.create_connection((HOST, self._port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._exchange(self._socket, encoded)

    def _exchange(self, connected: socket.socket, encoded: bytes) -> Answer:
        connected.sendall(encoded)
        while _END_OF_HEADER not in self._received:
            self._receive(connected)
        header, _, self._received = self._received.partition(_END_OF_HEADER)
        first, *lines = header.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = (
            self._read_chunks(connected)
            if fields.get("transfer-encoding") == "chunked"
            else self._read(connected, int(fields.get("content-length", 0)))
        )
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(first.split(" ", 2)[1]), body)

    def _read(self, connected: socket.socket, size: int) -> bytes:
        while len(self._received) < size:
            self._receive(connected)
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _read_chunks(self, connected: socket.socket) -> bytes:
        """Read a chunked body without trailers (RFC 9112, section 7.1)."""
        body = b""
        while True:
            while b"\r\n" not in self._received:
                self._receive(connected)
            size, _, self._received = self._received.partition(b"\r\n")
            chunk = self._read(connected, int(size, 16) + 2)[:-2]
            if not chunk:
                return body
            body += chunk

    def _receive(self, connected: socket.socket) -> None:
        received = connected.recv(65_536)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        self._received += received


def ask_once(port: int, request: Request) -> Answer:
    """Ask on a connection of its own; raise `OSError` when there is no answer."""
    with KeptConnection(port) as connection:
        return connection.ask(request)
