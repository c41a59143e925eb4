"""The network between a node and PostgreSQL, as far as it can break: refusing, silent, forgetful."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""


@dataclass(eq=False)
class _Link:
    """One connection of the node, and ours to PostgreSQL for it."""

    ends: tuple[socket.socket, socket.socket]
    is_lost: bool = False
    """Nothing will ever pass again, and neither end is told."""

    def reset(self) -> None:
        for end in self.ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class Forwarder:
    """Listens on a loopback port and passes everything on to a Unix socket, until told not to."""

    target: Path
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._passing = threading.Event()
        self._passing.set()
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self.open()

    def url(self, database: str) -> str:
        """Return the address of this database by way of the forwarder."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def open(self) -> None:
        """Accept connections (again), and pass everything on."""
        self._passing.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, as a host without the program does."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for link in self._links:
            link.reset()
        self._links.clear()

    def fall_silent(self) -> None:
        """Accept everything and pass nothing on; `open` passes on what was held back."""
        self._passing.clear()

    def forget(self) -> None:
        """Never pass anything on for the connections of now, nor end them, as a firewall that restarted."""
        for link in self._links:
            link.is_lost = True

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(self.target))
            except OSError:
                near.close()
                far.close()
                continue
            link = _Link((near, far))
            self._links.append(link)
            for source, sink in (link.ends, link.ends[::-1]):
                threading.Thread(target=self._pump, args=(link, source, sink), daemon=True).start()

    def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                if link.is_lost:
                    return
                sink.sendall(data)
        self._passing.wait()
        if not link.is_lost:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def socket_of(server: str) -> Path:
    """Return the Unix socket that a PostgreSQL of the tests listens on."""
    url = make_url(server)
    return Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}"


@contextmanager
def forwarding(server: str) -> Iterator[Forwarder]:
    """Forward to a PostgreSQL of the tests until the block ends."""
    forwarder = Forwarder(socket_of(server))
    try:
        yield forwarder
    finally:
        forwarder.open()
        forwarder.refuse()
