r"""Messages of the server to the service manager that started it, as sd_notify(3) draws them.

NOTIFY_SOCKET=/run/systemd/notify      or @name for one without a file
server ──"READY=1\nSTATUS=…"──▶ service manager      one datagram for each change
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import MutableMapping
from contextlib import suppress

ANSWER_SECONDS = 5.0
"""How long the server may take for an answer to the watchdog."""
_REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWER = b"HTTP/1.1 "


class ServiceManager:
    """The manager of this process. Where there is none, telling it anything does nothing."""

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        self._address = (
            None if address is None else f"\0{address[1:]}" if address.startswith("@") else address
        )
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str]) -> "ServiceManager":
        """Return the manager that the environment names, and remove it there: no child may speak for us."""
        address = environment.pop("NOTIFY_SOCKET", None)
        micros, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", None)
        is_watched = micros.isdecimal() and int(micros) > 0 and pid in {None, str(os.getpid())}
        return cls(address or None, int(micros) / 1e6 if is_watched else None)

    def tell_ready(self, status: str) -> None:
        """Say that the server answers now, and in one line what it does."""
        self._tell(f"READY=1\nSTATUS={status}")

    def tell_reloading(self) -> None:
        """Say that the server reads its files again; `tell_ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def tell_stopping(self) -> None:
        """Say that the server stops in order."""
        self._tell("STOPPING=1\nSTATUS=Finishing the requests that are under way")

    def watch(self, listener: socket.socket, *, tls: bool) -> None:
        """Say that all is well as often as the manager wants, as long as `listener` answers requests.

        The request goes through the listener as any client's does: a process that lives and answers nobody
        is silent here, and the manager starts another one. A refusal is an answer.
        """
        if self._address is None or self._watchdog_seconds is None:
            return
        pause = self._watchdog_seconds / 3  # One late answer is no reason to end a server.
        address = listener.getsockname()

        def watch() -> None:
            while True:
                if answers(address, tls=tls, seconds=min(pause, ANSWER_SECONDS)):
                    self._tell("WATCHDOG=1")
                time.sleep(pause)

        threading.Thread(target=watch, name="watchdog", daemon=True).start()

    def _tell(self, state: str) -> None:
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
            speaking.sendto(state.encode(), self._address)


def answers(address: tuple[str, int], *, tls: bool, seconds: float) -> bool:
    """Return whether a server at this address answers a request over HTTP within some seconds."""
    try:
        with (
            socket.create_connection(address[:2], timeout=seconds) as plain,
            _without_trust().wrap_socket(plain) if tls else plain as connection,
        ):
            connection.sendall(_REQUEST)
            return connection.recv(len(_ANSWER)) == _ANSWER
    except OSError:
        return False


def _without_trust() -> ssl.SSLContext:
    """Return TLS that believes any certificate: the server asks itself, and sends no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
