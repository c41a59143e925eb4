"""What is told where a server gives no answer: against real sockets and real certificates."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from keyturn.cli.remote import commands
from tests.certificates import Certificate, make_certificate
from tests.cli.conftest import Command, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "0f7d9b1c5e3a48268f0a6c4e2d1b7a93"
NO_ANSWER = 69


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let every connection to a port of loopback be answered so, until the block ends; yield the port."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()


def with_certificate(certificate: Certificate) -> Callable[[socket.socket], None]:
    """Return what answers with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key_file)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65_536)

    return answer


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def told(call: Command) -> Callable[..., str]:
    """The sentence of `whoami` at an address, with the exit code of a server that does not answer."""

    def told(url: str, **environment: str) -> str:
        return refused(call("whoami", KEYTURN_URL=url, KEYTURN_KEY=KEY, **environment), code=NO_ANSWER)

    return told


CERTIFICATES = {
    "unknown": (
        {},
        False,
        "is not trusted (self-signed certificate): give the file of its authority with --ca-file",
    ),
    "expired": ({"begins_days": -3, "ends_days": -1}, True, "has expired: renew it on the server."),
    "early": ({"begins_days": 1, "ends_days": 3}, True, "is not valid yet: check the clocks"),
    "other": ({"host": ipaddress.IPv4Address("192.0.2.1")}, True, "is not for 127.0.0.1: use the name"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_is_told_with_its_fault(told: Callable[..., str], tmp_path: Path, name: str) -> None:
    """An unknown authority, an end, a beginning and another name have each a sentence of their own."""
    options, is_trusted, sentence = CERTIFICATES[name]
    certificate = make_certificate(tmp_path, **options)  # type: ignore[arg-type]
    trusted = {"KEYTURN_CA_FILE": str(certificate.file)} if is_trusted else {}
    with listening(with_certificate(certificate)) as port:
        url = f"https://127.0.0.1:{port}"
        said = told(url, **trusted)
    assert said.startswith(f"keyturn: The certificate of {url} {sentence}"), said


def test_a_mixed_up_scheme_is_told(told: Callable[..., str], tmp_path: Path) -> None:
    """TLS to a port without, and none to a port with it, are told as such, and how to mend it."""
    certificate = make_certificate(tmp_path)
    with listening(with_certificate(certificate)) as port:
        said = told(f"http://127.0.0.1:{port}")
        assert said.startswith(f"keyturn: http://127.0.0.1:{port} does not speak HTTP"), said
        assert "whether the address is https" in said
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        said = told(f"https://127.0.0.1:{port}")
        assert said.startswith(f"keyturn: https://127.0.0.1:{port} does not speak TLS"), said
        assert "whether the address is https" in said


def test_an_unknown_name_is_told(told: Callable[..., str]) -> None:
    """A name that DNS does not know is told with the name."""
    said = told("https://keys.invalid")
    assert said.startswith("keyturn: No server has the name keys.invalid ("), said
    assert said.endswith("correct the address, or check the DNS of the network.")


def test_a_closed_port_is_told(told: Callable[..., str]) -> None:
    """Where nobody listens the sentence says to start the server."""
    url = f"http://127.0.0.1:{closed_port()}"
    assert told(url) == (
        f"keyturn: Nobody answers at {url} (Connection refused): start the server, or correct the address "
        "and port."
    )


def test_silence_is_told(told: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the request and says nothing is given up, and told as that."""
    monkeypatch.setattr(commands, "TIMEOUT_SECONDS", 0.3)
    released = threading.Event()
    with listening(lambda _: bool(released.wait(30)) and None) as port:
        said = told(f"http://127.0.0.1:{port}")
        released.set()
    assert said.startswith(f"keyturn: http://127.0.0.1:{port} does not answer in time: try again"), said


def test_a_proxy_is_told(told: Callable[..., str]) -> None:
    """Whether a proxy is away or refuses, the sentence names it without its password, and the way around."""
    url = "https://keys.example.com"
    away = f"http://someone:secret@127.0.0.1:{closed_port()}"
    said = told(url, HTTPS_PROXY=away)
    assert said.startswith(f"keyturn: The proxy {away.rpartition('@')[2]} does not lead to {url} ("), said
    assert "name keys.example.com in NO_PROXY" in said
    assert "secret" not in said

    def refuse(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with listening(refuse) as port:
        said = told(url, HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert said.startswith(f"keyturn: The proxy 127.0.0.1:{port} does not lead to {url} (407"), said
