"""The protocol ends connections whose header never comes, never ends, or is not HTTP."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from keyturn.web import server as protocol
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENT_PATIENCE_SECONDS = 10
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server that waits only a moment for a header."""
    monkeypatch.setattr(protocol, "HEADER_TIMEOUT_SECONDS", 0.3)
    with running_server(f"sqlite:///{tmp_path / 'keyturn.db'}") as running:
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
