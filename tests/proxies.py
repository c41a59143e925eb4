"""A proxy that the environment names, and that sees whatever is sent to it."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@contextmanager
def environment_with_proxy(patch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Let every variable that names a proxy name one that answers nobody; yield what reaches it."""
    seen: list[bytes] = []

    def take(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        taking = threading.Thread(target=take, args=(listener,))
        taking.start()
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for spelled in (name, name.upper()):
                patch.setenv(spelled, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            patch.delenv(name, raising=False)
        try:
            yield seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            taking.join()
