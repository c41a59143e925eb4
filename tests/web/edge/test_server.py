"""The protocol ends connections whose header never ends, and writes answers as uvicorn does."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from keyturn.settings import read_settings
from keyturn.web.edge import protocol
from keyturn.web.edge.server import Server, server_config
from tests.databases import new_sqlite_database
from tests.servers import running_app, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENT_PATIENCE_SECONDS = 10
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server that waits only a moment for a header."""
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_SECONDS", 0.3)
    with running_server(new_sqlite_database(tmp_path)) as running:
        address = urlsplit(running.url)
        with socket.create_connection(
            (address.hostname, address.port), CLIENT_PATIENCE_SECONDS
        ) as connection:
            yield connection


def everything(connection: socket.socket) -> bytes:
    """Read until the server closes; a server that does not makes the test fail by its time-out."""
    received = b""
    while part := connection.recv(65_536):
        received += part
    return received


def test_a_connection_that_says_nothing_is_closed(connected: socket.socket) -> None:
    """An idle connection before the first request ends after the header's time limit."""
    assert everything(connected) == b""


def test_a_header_that_does_not_end_is_cut_off(connected: socket.socket) -> None:
    """A header that was begun and not finished ends with its connection, unanswered."""
    connected.sendall(REQUEST[:-2])
    assert everything(connected) == b""


def test_a_second_header_on_the_same_connection_has_the_same_limit(connected: socket.socket) -> None:
    """After a good request the next header must come whole and in time too."""
    connected.sendall(REQUEST + REQUEST[:20])
    answer = everything(connected)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_finished_header_stops_the_clock(connected: socket.socket) -> None:
    """A body may come later than the header's time limit: it has a limit of its own."""
    body = b"apikey=x"
    connected.sendall(
        b"POST /bim/apikey/authenticate HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    connected.settimeout(0.6)
    with pytest.raises(TimeoutError):
        connected.recv(1)
    connected.settimeout(CLIENT_PATIENCE_SECONDS)
    connected.sendall(body)
    assert everything(connected).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("part", [b"X-Long: " + b"a" * 9_000 + b"\r\n", b"a" * 9_000])
def test_an_endless_header_is_answered_431(connected: socket.socket, part: bytes) -> None:
    """What arrives before a header ends is bounded, as many fields or as one."""
    connected.sendall(REQUEST[:-2] + b"X-First: ")
    try:
        for _ in range(50):
            connected.sendall(part)
    except OSError:
        pass  # The server has closed already: what it said is still to be read.
    connected.settimeout(CLIENT_PATIENCE_SECONDS)
    try:
        answer = everything(connected)
    except ConnectionResetError:
        return
    assert answer.startswith(b"HTTP/1.1 431")


UNFINISHED = "no body at all"
LENGTH_3 = (b"content-length", b"3")
ANSWERS: dict[str, tuple[int, list[tuple[bytes, bytes]], list[bytes]]] = {
    "whole": (200, [LENGTH_3, (b"x-a", b"b")], [b"abc"]),
    "whole, mixed case": (404, [(b"Content-Length", b"3"), (b"X-A", b"B")], [b"abc"]),
    "empty": (200, [(b"content-length", b"0")], [b""]),
    "a tab and bytes above ASCII": (200, [LENGTH_3, (b"x-a", b"b\t\xe9")], [b"abc"]),
    "in parts": (200, [LENGTH_3], [b"a", b"bc"]),
    "no length": (200, [], [b"abc"]),
    "no content": (204, [], [b""]),
    "not modified": (304, [(b"etag", b'"a"')], [b""]),
    "chunked": (200, [(b"Transfer-Encoding", b"chunked")], [b"abc"]),
    "closing": (200, [LENGTH_3, (b"Connection", b"close")], [b"abc"]),
    "a body that is too long": (200, [LENGTH_3], [b"abcd"]),
    "a body that is too short": (200, [LENGTH_3], [b"ab"]),
    "a value of two lines": (200, [LENGTH_3, (b"x-a", b"b\r\nset-cookie: c=d")], [b"abc"]),
    "a bare line feed": (200, [LENGTH_3, (b"x-a", b"b\nset-cookie: c=d")], [b"abc"]),
    "a zero byte": (200, [LENGTH_3, (b"x-a", b"b\0")], [b"abc"]),
    "a name of two lines": (200, [LENGTH_3, (b"x-a: b\r\nx-b", b"c")], [b"abc"]),
    UNFINISHED: (200, [LENGTH_3], []),
}
REQUESTS = {
    "GET": b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD": b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET, to be closed": b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET of HTTP/1.0": b"GET %s HTTP/1.0\r\n\r\n",
}
LAST_REQUEST = b"GET /whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer what the path names."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    status, headers, parts = ANSWERS[scope["path"][1:]]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts, 1):
        await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})


@pytest.fixture(scope="module")
def ours_and_plain() -> Iterator[tuple[str, str]]:
    """The same application on our protocol and on uvicorn's own."""
    with running_app(application) as ours, running_app(application, http="httptools") as plain:
        yield ours, plain


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("answer_name", [name for name in ANSWERS if name != UNFINISHED])
def test_every_answer_is_written_as_uvicorn_writes_it(
    ours_and_plain: tuple[str, str], answer_name: str, request_name: str
) -> None:
    """One write for a whole answer changes no byte of it, and no header breaks out of its line."""
    request = REQUESTS[request_name] % quote(f"/{answer_name}").encode()
    ours, plain = (conversation(url, request + LAST_REQUEST) for url in ours_and_plain)
    assert ours == plain
    assert b"\nset-cookie" not in ours


def test_an_answer_that_stops_before_its_body_is_a_failure(ours_and_plain: tuple[str, str]) -> None:
    """The start of an answer waits for its body: without one the client learns that something failed."""
    request = REQUESTS["GET"] % quote(f"/{UNFINISHED}").encode()
    assert conversation(ours_and_plain[0], request).startswith(b"HTTP/1.1 500 ")


async def _stopped_with_waiting(count: int) -> list[bytes]:
    """Stop a server to which clients have connected whom it could not accept yet; return what they get."""
    settings = read_settings({})
    config = server_config(application, settings)
    config.load()
    server = Server(config, settings)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        clients = [socket.create_connection(listener.getsockname(), 10) for _ in range(count)]
        for client in clients:
            client.sendall(REQUESTS["GET"] % b"/whole")
        await server.shutdown(sockets=[listener])
    try:
        return [everything(client) for client in clients]
    finally:
        for client in clients:
            client.close()


def test_fault_f6_who_waits_to_be_accepted_is_answered() -> None:
    """Fault F6: connections that the kernel has taken and a stopping server has not are served, not reset."""
    answers = asyncio.run(_stopped_with_waiting(20))
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert all(b"connection: close" in answer for answer in answers)


def conversation(url: str, requests: bytes) -> bytes:
    """Send requests and return all that comes back, without the dates."""
    address, received = urlsplit(url), b""
    with socket.create_connection((address.hostname, address.port), CLIENT_PATIENCE_SECONDS) as connection:
        connection.sendall(requests)
        while part := connection.recv(65_536):
            received += part
    return re.sub(rb"date: [^\r]+\r\n", b"", received)
