"""What stands behind a gateway: an API that tells what it got, and somebody else in Keyturn's place."""

from __future__ import annotations

import hashlib
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Got:
    """One request, as the API got it."""

    method: str
    target: str
    """As it was written on the first line."""
    headers: tuple[tuple[str, str], ...]
    """And trailers, which some programs take for headers."""
    body_digest: str

    def values(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for known, value in self.headers if known.lower() == name.lower()]


@dataclass
class Api:
    """What reached the API, in order. It answers everything with 200."""

    url: str
    got: list[Got] = field(default_factory=list)

    def last(self) -> Got:
        return self.got[-1]


@contextmanager
def running_api() -> Iterator[Api]:
    """Serve the API on a free loopback port until the block ends.

    Not an ASGI application: those are not given the target as it was written.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.api = Api(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that a gateway cut: it may."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Header and body in one packet: in two, each answer would wait until the first is confirmed."""
    server: Any

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come."""
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def _answer(self, *, has_body: bool = True) -> None:
        self.trailers: list[tuple[str, str]] = []
        digest = hashlib.sha256(self._body()).hexdigest()
        headers = (*self.headers.items(), *self.trailers)
        got = Got(self.command, self.requestline.split(" ")[1], headers, digest)
        self.server.api.got.append(got)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        if has_body:
            self.wfile.write(b"here")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.trailers.append((name, value.strip()))
        return body

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815
    do_CONNECT = do_TRACE = do_PROPFIND = _answer  # noqa: N815
    do_HEAD = partialmethod(_answer, has_body=False)  # noqa: N815

    def log_message(self, *given: object) -> None:
        """Say nothing."""


@dataclass
class StandIn:
    """An ASGI application in Keyturn's place: what it seldom answers, or another program at its address."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    is_silent: bool = False
    """Whether it takes requests and never answers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        if self.is_silent:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        headers.append((b"content-length", b"0"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
