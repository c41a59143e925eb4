"""The management listener: metrics and health, where only the operator's programs can ask.

It has threads of its own, in the process that supervises the workers or in the only one, and reads memory
alone. So it answers while every connection of the public port is busy.
"""

import socket
import threading
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit

import msgspec

from keyturn.web.edge.overview import Overview

AT_ONCE = 16
"""So many requests are answered at once; others are cut off, and ask again."""
TIMEOUT_SECONDS = 5.0
"""How long a client may take to send its request, and to read the answer."""
BACKLOG = 64

Answer = tuple[HTTPStatus, str, bytes]


class Management:
    """Answers on a socket that is bound, from `start` on."""

    def __init__(self, listener: socket.socket, overview: Overview) -> None:
        self._server = _Server(listener, overview)

    def start(self) -> None:
        """Begin to answer."""
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, name="keyturn-management", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def answer(overview: Overview, target: str) -> Answer:
    """Return the answer to GET."""
    url = urlsplit(target)
    match url.path:
        case "/metrics":
            text, media_type = overview.as_text()
            return HTTPStatus.OK, media_type, text
        case "/health/live":
            return _health(overview.is_live(), {})
        case "/health/startup":
            return _health(overview.has_started(), {})
        case "/health/ready":
            found = overview.readiness()
            is_ready = found.reads and (url.query != "for=writes" or found.writes == "up")
            return _health(is_ready, asdict(found))
        case _:
            return HTTPStatus.NOT_FOUND, "application/json", b'{"message":"Not found."}'


def _health(is_good: bool, details: dict[str, str]) -> Answer:
    status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
    body = {"status": "ok" if is_good else "unavailable", "details": details}
    return status, "application/json", msgspec.json.encode(body)


class _Handler(BaseHTTPRequestHandler):
    """One request on one connection."""

    timeout = TIMEOUT_SECONDS
    server: "_Server"

    def do_GET(self) -> None:
        status, media_type, body = answer(self.server.overview, self.path)
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the same

    def version_string(self) -> str:
        return "keyturn"

    def log_message(self, *_: Any) -> None:
        """Log nothing: a probe comes every few seconds."""


class _Server(ThreadingMixIn, TCPServer):
    """Serves a socket that somebody else has bound."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, listener: socket.socket, overview: Overview) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.overview = overview
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._turns.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._turns.release()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that left."""
