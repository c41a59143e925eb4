"""The server as a process of its own, started as an operator does, whose standard error can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT_SECONDS = 120

_PROGRAM = "from keyturn.cli import main; main()"


@dataclass(frozen=True)
class ServerProcess:
    """Where it listens, and the file of what it says."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def lines(self) -> list[str]:
        """Return what it has said so far, line by line as a reader of lines sees it."""
        return self.log.read_bytes().decode("utf-8").split("\n")[:-1]


@contextmanager
def server_process(folder: Path, **variables: str) -> Iterator[ServerProcess]:
    """Serve an SQLite database in `folder` from a new process until the block ends."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    environment |= {
        "KEYTURN_DATABASE": f"sqlite:///{folder / 'keyturn.db'}",
        "KEYTURN_NEW_INSTALLATION": "true",
        **variables,
    }
    log = folder / "server.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "serve", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=environment,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield ServerProcess(url, log, process)
    finally:
        process.kill()
        process.wait()
