"""What stands between a verifier and its server, as far as it can break: cut, hold, delay, record, repeat."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from keyturn.core.feed import PATH

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(eq=False)
class Proxy:
    """Passes bytes on between a loopback port and a server, until told otherwise."""

    target: tuple[str, int]
    delay: float = 0.0
    """Seconds by which all that the server says comes later. It flows on meanwhile."""
    recorded: bytearray = field(default_factory=bytearray)
    """All that the server said on the last connection with the feed; uses are reported on others."""
    cuts: int = 0
    """How often an answer was cut where `cut_before` says."""
    replay: bytes | None = None
    """What every connection from now on is answered with, in the place of the server."""
    connections: int = 0
    asked: bytearray = field(default_factory=bytearray)
    """All that the server was asked, on every connection."""
    cut_before: bytes | None = None
    """Of each answer of the server only what comes before this is passed on; then it is cut."""
    passed_at: float = 0.0
    """When something the server said was last passed on: monotonic."""

    def __post_init__(self) -> None:
        self._passing = threading.Event()
        self._passing.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection of now."""
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Pass nothing on, and say nothing of it."""
        self._passing.clear()

    def release(self) -> None:
        """Pass on what was held, and all that comes."""
        self._passing.set()

    def close(self) -> None:
        self.release()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.replay is not None:
                threading.Thread(target=self._repeat, args=(near, self.replay), daemon=True).start()
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            heard = bytearray()
            for source, sink, is_asking in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pump,
                    args=(source, sink, heard),
                    kwargs={"is_asking": is_asking},
                    daemon=True,
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, heard: bytearray, *, is_asking: bool) -> None:
        """Take what comes, to be passed on in its time; `heard` is where what the server says is kept."""
        line: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        threading.Thread(target=self._pass_on, args=(line, source, sink), daemon=True).start()
        with suppress(OSError):
            while data := source.recv(65536):
                if is_asking:
                    if data.startswith(f"GET {PATH}?".encode()):
                        self.recorded = heard
                    self.asked += data
                    line.put((0.0, data))
                    continue
                heard += data
                end = -1 if self.cut_before is None else heard.find(self.cut_before)
                if end >= 0:
                    data = data[: max(0, len(data) - (len(heard) - end))]
                if data:
                    line.put((time.monotonic() + self.delay, data))
                if end >= 0:
                    self.cuts += 1
                    break
        line.put((0.0, b""))

    def _pass_on(
        self, line: SimpleQueue[tuple[float, bytes]], source: socket.socket, sink: socket.socket
    ) -> None:
        with suppress(OSError):
            while (late := line.get())[1]:
                time.sleep(max(0.0, late[0] - time.monotonic()))  # What the test is about: late bytes.
                self._passing.wait()
                sink.sendall(late[1])
                if late[0]:
                    self.passed_at = time.monotonic()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._open.discard(end)

    def _repeat(self, near: socket.socket, recorded: bytes) -> None:
        with suppress(OSError):
            near.recv(65536)
            near.sendall(recorded)
            time.sleep(0.2)
        near.close()


@contextmanager
def between(url: str) -> Iterator[Proxy]:
    """Stand between until the block ends."""
    parts = urlsplit(url)
    proxy = Proxy((str(parts.hostname), parts.port or 80))
    try:
        yield proxy
    finally:
        proxy.close()
