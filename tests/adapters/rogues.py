"""Servers that are not what a connection takes them for (F24). Each keeps what it was sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keyturn.adapters.tls import read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import Certificate

DRIP_SECONDS = 0.2
FILE = "/etc/passwd"
Serve = "Callable[[Peer], None]"


@dataclass
class Peer:
    """A client of a false server, plain or over TLS; `received` is all that any client sent."""

    socket: socket.socket
    received: bytearray
    number: int

    def read(self, length: int) -> bytes:
        """Read so many bytes, and keep them."""
        read = read_exactly(self.socket, length)
        self.received.extend(read)
        return read

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def hold(self) -> None:
        """Say nothing more, until the client goes; keep what it sends."""
        while part := self.socket.recv(65_536):
            self.received.extend(part)

    def wrap(self, certificate: Certificate) -> None:
        """Go on over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key_file)
        self.socket = context.wrap_socket(self.socket, server_side=True)


@dataclass
class Rogue:
    """A false server that runs."""

    port: int
    received: bytearray = field(default_factory=bytearray)


@contextlib.contextmanager
def rogue(serve: Callable[[Peer], None]) -> Iterator[Rogue]:
    """Run a false server on loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Rogue(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, serve, running), daemon=True).start()
        yield running


@contextlib.contextmanager
def serving(serve: Callable[[Peer], None]) -> Iterator[int]:
    """The same, where only the port is of interest."""
    with rogue(serve) as running:
        yield running.port


def _accept(listener: socket.socket, serve: Callable[[Peer], None], running: Rogue) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while True:
            accepted, _ = listener.accept()
            peer = Peer(accepted, running.received, number)
            number += 1
            threading.Thread(target=_serve, args=(serve, peer), daemon=True).start()


def _serve(serve: Callable[[Peer], None], peer: Peer) -> None:
    with contextlib.suppress(Exception), peer.socket:
        serve(peer)


# Of any protocol.


def silent(peer: Peer) -> None:
    """Accept, and say nothing."""
    peer.hold()


def closing(peer: Peer) -> None:
    """Accept, and close."""


def garbage(peer: Peer) -> None:
    """Answer in no protocol at all."""
    peer.send(bytes(range(255, -1, -1)) * 8)
    peer.hold()


def http(peer: Peer) -> None:
    """Answer as a web server that was taken for a database."""
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    peer.hold()


def dripping(begin: bytes) -> Callable[[Peer], None]:
    """Begin as the protocol does, a byte at a time, and never come to an end."""

    def serve(peer: Peer) -> None:
        for byte in begin + b"\0" * 1000:
            peer.send(bytes([byte]))
            time.sleep(DRIP_SECONDS)

    return serve


# Of PostgreSQL: "Message Formats" of its manual.

AUTHENTICATION_OK = struct.pack("!cii", b"R", 8, 0)
ASKS_FOR_PASSWORD = struct.pack("!cii", b"R", 8, 3)
READY = struct.pack("!cic", b"Z", 5, b"I")


def read_startup(peer: Peer) -> None:
    """Read the first message of a client without TLS."""
    peer.read(int.from_bytes(peer.read(4)) - 4)


def asks_for_password(peer: Peer) -> None:
    """Want the password itself."""
    read_startup(peer)
    peer.send(ASKS_FOR_PASSWORD)
    peer.hold()


def endless_postgresql(peer: Peer) -> None:
    """Let in whoever comes, and answer each statement with rows without end."""
    read_startup(peer)
    peer.send(AUTHENTICATION_OK + READY)
    peer.read(1)
    name = b"a\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    peer.send(struct.pack("!cih", b"T", 4 + 2 + len(name), 1) + name)
    value = b"x" * 60_000
    row = struct.pack("!cihi", b"D", 4 + 2 + 4 + len(value), 1, len(value)) + value
    while True:
        peer.send(row)


def huge_postgresql(peer: Peer) -> None:
    """Announce a row of a gigabyte, and send it."""
    read_startup(peer)
    peer.send(AUTHENTICATION_OK + READY)
    peer.read(1)
    peer.send(struct.pack("!ci", b"D", 2**30))
    while True:
        peer.send(b"x" * 65_536)


def speaks_before_tls(peer: Peer) -> None:
    """Say yes to TLS, with plain text behind it in the same packet (CVE-2021-23222)."""
    peer.read(8)
    peer.send(b"S" + AUTHENTICATION_OK + READY)
    peer.hold()


# Of MySQL: "Connection Phase" of its internals manual.

PLUGIN_FLAGS = 0x0008_0000 | 0x8000 | 0x0200 | 0x0008 | 0x0001
CLIENT_SSL = 0x0800
SALT = b"12345678", b"123456789012"


def packet(number: int, payload: bytes) -> bytes:
    """A packet with its length and number."""
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def greeting(plugin: bytes = b"mysql_native_password", flags: int = PLUGIN_FLAGS) -> bytes:
    """The greeting of a server."""
    return packet(
        0,
        b"\x0a" + b"10.11.0-MariaDB\0" + struct.pack("<I", 1) + SALT[0] + b"\0"
        + struct.pack("<HBHH", flags & 0xFFFF, 45, 2, flags >> 16)
        + bytes([21]) + b"\0" * 10 + SALT[1] + b"\0" + plugin + b"\0",
    )  # fmt: skip


OK = b"\0\0\0\2\0\0\0"


def read_packet(peer: Peer) -> bytes:
    """Read one packet."""
    header = peer.read(4)
    return peer.read(int.from_bytes(header[:3], "little"))


def says_back(text: str) -> Callable[[Peer], None]:
    """Let in whoever comes, and answer each statement by an error with this text."""

    def serve(peer: Peer) -> None:
        peer.send(greeting())
        read_packet(peer)
        peer.send(packet(2, OK))
        while True:
            read_packet(peer)
            peer.send(packet(1, b"\xff" + struct.pack("<H", 1105) + b"#HY000" + text.encode()))

    return serve


def asks_for_file(peer: Peer) -> None:
    """Let in whoever comes, and answer each statement by asking for a file."""
    peer.send(greeting())
    read_packet(peer)
    peer.send(packet(2, OK))
    while True:
        read_packet(peer)
        peer.send(packet(1, b"\xfb" + FILE.encode()))


def asks_by(plugin: bytes, *, greets: bool, certificate: Certificate | None = None) -> Callable[[Peer], None]:
    """Want another way to sign in, from the greeting on or after the first answer; with TLS if it can."""

    def serve(peer: Peer) -> None:
        flags = PLUGIN_FLAGS if certificate is None else PLUGIN_FLAGS | CLIENT_SSL
        peer.send(greeting(plugin if greets else b"mysql_native_password", flags))
        read_packet(peer)
        number = 2
        if certificate is not None:
            peer.wrap(certificate)
            read_packet(peer)
            number = 3
        if not greets:
            peer.send(packet(number, b"\xfe" + plugin + b"\0" + b"".join(SALT) + b"\0"))
        elif plugin == b"caching_sha2_password":
            peer.send(packet(number, b"\x01\x04"))
        peer.hold()

    return serve


def endless_mysql(peer: Peer) -> None:
    """Let in whoever comes, and answer with a packet that goes on and on."""
    peer.send(greeting())
    read_packet(peer)
    peer.send(packet(2, OK))
    read_packet(peer)
    number = 1
    while True:
        peer.send(packet(number % 256, b"x" * (2**24 - 1)))
        number += 1


# Of both.


def begins_tls(certificate: Certificate, technology: str) -> Callable[[Peer], None]:
    """Begin TLS with this certificate, in the protocol of a technology, and keep what comes."""

    def serve(peer: Peer) -> None:
        if technology == "PostgreSQL":
            peer.read(8)
            peer.send(b"S")
        else:
            peer.send(greeting(flags=PLUGIN_FLAGS | CLIENT_SSL))
            read_packet(peer)
        peer.wrap(certificate)
        peer.hold()

    return serve


def changes_certificate(first: Certificate, then: Certificate, technology: str) -> Callable[[Peer], None]:
    """Show one certificate to the first client, and another to the next."""

    def serve(peer: Peer) -> None:
        begins_tls(first if peer.number == 1 else then, technology)(peer)

    return serve
