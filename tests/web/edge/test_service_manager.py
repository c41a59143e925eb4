"""What a service manager hears of the server, over a real socket of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from keyturn.web.edge.service_manager import ServiceManager, answers
from tests.certificates import make_certificate
from tests.journeys.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEARD_SECONDS = 60


class Manager:
    """The end of the socket that a service manager holds."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.settimeout(HEARD_SECONDS)

    def hear(self) -> dict[str, str]:
        lines = self.socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def hear_all_but_watchdog(self) -> dict[str, str]:
        while "WATCHDOG" in (heard := self.hear()):
            pass
        return heard


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    is_file = request.param == "file"
    manager = Manager(str(tmp_path / "notify") if is_file else f"@keyturn-test-{secrets.token_hex(8)}")
    with manager.socket:
        yield manager


@contextmanager
def managed(manager: Manager, folder: Path, *arguments: str, **environment: str) -> Iterator[ServerProcess]:
    server = ServerProcess(
        f"sqlite:///{folder / 'keyturn.db'}",
        folder,
        arguments,
        {"NOTIFY_SOCKET": manager.address, **environment},
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_tells_its_manager_when_it_is_ready_reloads_and_stops(
    manager: Manager, tmp_path: Path, workers: int
) -> None:
    """READY comes when requests are answered, RELOADING with the time and then READY, at last STOPPING."""
    with managed(manager, tmp_path, "--workers", str(workers)) as server:
        ready = manager.hear()
        assert ready == {"READY": "1", "STATUS": f"Serving {server.url}"}
        assert answers(("127.0.0.1", server.port), tls=False, seconds=HEARD_SECONDS)
        assert all("NOTIFY_SOCKET" not in child.environ() for child in server.children())

        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        os.kill(server.pid, signal.SIGHUP)
        reloading = manager.hear()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert reloading.pop("RELOADING") == "1"
        assert before <= int(reloading.pop("MONOTONIC_USEC")) <= after
        assert reloading == {}
        assert manager.hear() == ready

        os.kill(server.pid, signal.SIGTERM)
        assert manager.hear()["STOPPING"] == "1"
        assert server.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_watched_server_says_again_and_again_that_it_answers(tmp_path: Path, workers: int) -> None:
    """With WATCHDOG_USEC the server says so more often than that, until it is stopped."""
    manager = Manager(str(tmp_path / "notify"))
    with (
        manager.socket,
        managed(manager, tmp_path, "--workers", str(workers), WATCHDOG_USEC="600000") as server,
    ):
        assert manager.hear()["READY"] == "1"
        assert [manager.hear() for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
        os.kill(server.pid, signal.SIGTERM)
        assert manager.hear_all_but_watchdog()["STOPPING"] == "1"


def test_a_server_whose_loop_stands_still_is_silent(tmp_path: Path) -> None:
    """A listener that takes connections and answers none is no life for the watchdog."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not answers(listener.getsockname(), tls=False, seconds=0.1)
    assert not answers(("127.0.0.1", 1), tls=False, seconds=0.1)


def test_a_refusal_is_an_answer() -> None:
    """A server that is there and refuses this request lives: 503 under load is no reason to end it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with listener.accept()[0] as taken:
                taken.recv(4096)
                taken.sendall(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")

        refusing = threading.Thread(target=refuse)
        refusing.start()
        assert answers(listener.getsockname(), tls=False, seconds=HEARD_SECONDS)
        refusing.join()


def test_the_watchdog_asks_over_tls_too(tmp_path: Path) -> None:
    """A server with a certificate is asked over TLS, whatever name the certificate is for."""
    made = make_certificate(tmp_path)
    manager = Manager(str(tmp_path / "notify"))
    given = {
        "KEYTURN_TLS_CERTIFICATE_FILE": str(made.file),
        "KEYTURN_TLS_KEY_FILE": str(made.key_file),
        "WATCHDOG_USEC": "600000",
    }
    with manager.socket, managed(manager, tmp_path, **given):
        assert manager.hear()["READY"] == "1"
        assert manager.hear() == {"WATCHDOG": "1"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
    ids=str,
)
def test_a_server_that_is_not_watched_says_nothing(tmp_path: Path, given: dict[str, str]) -> None:
    """Without an interval, and with one for another process, no thread is started."""
    manager = Manager(str(tmp_path / "notify"))
    environment = given | {"NOTIFY_SOCKET": manager.address, "HOME": "/"}
    with manager.socket, socket.socket() as listener:
        ServiceManager.take_from(environment).watch(listener, tls=False)
    assert environment == {"HOME": "/"}
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


def test_a_manager_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    """A server whose manager does not listen serves on."""
    gone = ServiceManager.take_from({"NOTIFY_SOCKET": str(tmp_path / "nowhere")})
    gone.tell_ready("Serving")
    gone.tell_stopping()
    assert psutil.pid_exists(os.getpid())
