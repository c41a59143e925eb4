"""A log that cannot be written stops neither verifying nor the end of a server."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.faults.wire import wires_to_workers
from tests.journeys.processes import ServerProcess

REFUSALS = 300
"""More than stopped a server for ever when lines were written by the event loop (257)."""


class UnreadPipe:
    """A pipe with a name, filled to the brim."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._ends = [os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(path, os.O_WRONLY | os.O_NONBLOCK)]
        with suppress(BlockingIOError):
            while True:
                os.write(self._ends[1], b"\n" * 4096)

    def close(self) -> None:
        while self._ends:
            os.close(self._ends.pop())


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["stalled", "closed", "full"])
@pytest.mark.parametrize("workers", [1, 2])
def test_fault_f1_a_server_whose_log_cannot_be_written_serves_and_ends(
    tmp_path: Path, kind: str, workers: int
) -> None:
    """Hundreds of requests later each worker still answers, and SIGTERM ends all of them in time."""
    with ExitStack() as left:
        server = ServerProcess(f"sqlite:///{tmp_path / 'keyturn.db'}", tmp_path, ("--workers", str(workers)))
        pipe = UnreadPipe(tmp_path / "log")
        left.callback(pipe.close)
        server.stderr = Path("/dev/full") if kind == "full" else tmp_path / "log"
        left.callback(server.kill)
        server.start()
        server.wait_ready()
        if kind == "closed":
            pipe.close()
        for wire in wires_to_workers(server, workers):
            for number in range(REFUSALS):
                wire.send("GET", f"/nope/{number}", "Bearer nothing")
                assert wire.status() in {401, 429}
            wire.send("GET", "/health/live")
            assert wire.status() == 200
            wire.close()
        server.stop()
