"""HTTP on kept sockets, as fast as a test can ask, and which worker is at the other end of each."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.journeys.processes import ServerProcess

ANSWER_TIMEOUT_SECONDS = 15
MOST_TRIES = 400


class Wire:
    """One connection. `send_…` asks, `status` reads the next answer: between them others can be asked."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.own_port: int = self._socket.getsockname()[1]
        self._read = b""
        self.body = b""
        """The body of the answer that was read last."""

    def send(self, method: str, path: str, credential: str | None = None) -> None:
        line = "" if credential is None else f"Authorization: {credential}\r\n"
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{line}\r\n".encode())

    def send_verify(self, credential: str) -> None:
        self.send("GET", "/verify", credential)

    def send_revoke(self, key_id: int, credential: str) -> None:
        self.send("DELETE", f"/bim/apikey/{key_id}", credential)

    def status(self) -> int:
        """Read one answer."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._receive()
        head = self._read[:end].lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        while len(self._read) < end + 4 + length:
            self._receive()
        self.body = self._read[end + 4 : end + 4 + length]
        self._read = self._read[end + 4 + length :]
        return int(head[9:12])

    def verify(self, credential: str) -> int:
        self.send_verify(credential)
        return self.status()

    def revoke(self, key_id: int, credential: str) -> int:
        self.send_revoke(key_id, credential)
        return self.status()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._read += data


def wires_to_workers(server: ServerProcess, workers: int) -> list[Wire]:
    """Return one connection to each worker: new ones fall on any, so they are opened until all are met."""
    met: dict[int, Wire] = {}
    spare: list[Wire] = []
    for _ in range(MOST_TRIES):
        if len(met) == workers:
            break
        wire = Wire(server.port)
        wire.send("GET", "/health/live")
        assert wire.status() == 200
        worker = _worker_at(server, wire.own_port)
        if worker is None or worker in met:
            spare.append(wire)
            time.sleep(0.001)  # Lets another worker be the first to accept.
        else:
            met[worker] = wire
    for wire in spare:
        wire.close()
    return list(met.values())


def _worker_at(server: ServerProcess, port: int) -> int | None:
    """Return the process that holds the other end of our connection from `port`."""
    for process in (psutil.Process(server.pid), *server.children()):
        for connection in process.net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port and connection.laddr.port == server.port:
                return process.pid
    return None
