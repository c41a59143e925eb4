"""TLS in front of the PostgreSQL of the tests, whose build has none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from keyturn.adapters.tls import read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificate


@contextlib.contextmanager
def tls_front(certificate: Certificate, port: int) -> Iterator[int]:
    """Speak PostgreSQL over TLS on a port until the block ends, in front of a port without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key_file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(Exception), plain, socket.create_connection(("127.0.0.1", port)) as behind:
        read_exactly(plain, 8)  # SSLRequest
        plain.sendall(b"S")
        with context.wrap_socket(plain, server_side=True) as secure:
            threading.Thread(target=_copy, args=(secure, behind), daemon=True).start()
            _copy(behind, secure)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while part := source.recv(65_536):
            sink.sendall(part)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
