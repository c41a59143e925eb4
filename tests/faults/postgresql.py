"""A PostgreSQL of a test's own, which is killed, started again, and stopped in its tracks."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg

from tests.faults.forwarder import socket_of
from tests.postgresql import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_SECONDS = 120
END_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Return:
    """When PostgreSQL came back: between these two moments, for others may be served before we are."""

    refused_at: float
    """It still refused a connection that was asked for now."""
    accepted_at: float


class OwnPostgresql:
    """One cluster in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._server = Cluster(folder)
        self._server.start()
        self.address = self._server.address

    def kill(self) -> None:
        """End every process of the cluster by SIGKILL, and remove what only stands in the way of a start."""
        processes = self._processes()
        for process in processes:  # The postmaster first: it would begin a recovery of its own.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._server.wait()
        psutil.wait_procs(processes, timeout=END_TIMEOUT_SECONDS)
        socket = socket_of(self.address)
        for left in (self._server.folder / "postmaster.pid", socket, Path(f"{socket}.lock")):
            left.unlink(missing_ok=True)

    def start(self) -> Return:
        """Start it again; say when it came back."""
        starting = threading.Thread(target=self._server.start)
        starting.start()
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        refused_at = time.monotonic()
        while True:
            asked_at = time.monotonic()
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
                accepted_at = time.monotonic()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                refused_at = asked_at
                time.sleep(POLL_SECONDS)
        starting.join(START_TIMEOUT_SECONDS)
        return Return(refused_at, accepted_at)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop every process of the cluster, and let them go on when the block ends."""
        processes = self._processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._server.stop()

    def _processes(self) -> list[psutil.Process]:
        postmaster = psutil.Process(self._server.pid)
        return [postmaster, *postmaster.children(recursive=True)]


@contextmanager
def own_postgresql(folder: Path) -> Iterator[OwnPostgresql]:
    """Run a cluster until the block ends."""
    server = OwnPostgresql(folder)
    try:
        yield server
    finally:
        server.close()
