"""The real program in processes of its own: started, watched, stopped, killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEYTURN = str(Path(sys.executable).with_name("keyturn"))
READY_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 60
COMMAND_TIMEOUT_SECONDS = 180
POLL_SECONDS = 0.01


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with these settings of Keyturn and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    return kept | settings


def free_port() -> int:
    """Return a loopback port that nothing listens on, of those that no system gives to a connection.

    Of the others one is soon somebody's again, while the program that is to have it still starts.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def run_command(
    *arguments: str, stdin: str | bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `keyturn` with these arguments to its end."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [KEYTURN, *arguments],
        input=given,
        capture_output=True,
        env=clean_environment(**(environment or {})),
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode(errors="backslashreplace")
    )


@dataclass
class ServerProcess:
    """One `keyturn serve`, its output in files of `directory`."""

    database: str | None
    """None for the one that the program chooses."""
    directory: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    """Options of `keyturn` itself, which stand before `serve`."""
    port: int = field(default_factory=free_port)
    program: str = KEYTURN

    def __post_init__(self) -> None:
        self.stdout = self.directory / f"serve-{self.port}.out"
        self.stderr = self.directory / f"serve-{self.port}.err"
        self.seconds_to_ready: float | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was not started"
        return self._process

    def output(self) -> str:
        """Return what the server wrote, to both streams, over all its starts."""
        errors = self.stderr.read_text(errors="backslashreplace") if self.stderr.is_file() else ""
        return self.stdout.read_text() + errors

    def start(self) -> None:
        """Start the process; `wait_ready` says when it answers."""
        self._started_at = time.monotonic()
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self._process = subprocess.Popen(
                [self.program, *self.before, "serve", "--port", str(self.port), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=clean_environment(**self._chosen_database(), **self.environment),
            )

    def _chosen_database(self) -> dict[str, str]:
        if self.database is None:
            return {}
        return {"KEYTURN_DATABASE": self.database, "KEYTURN_NEW_INSTALLATION": "true"}

    def wait_ready(self, timeout: float = READY_TIMEOUT_SECONDS) -> float:
        """Poll until the server is ready; return how many seconds after its start that was."""
        with httpx.Client(verify=False) as client:
            while True:
                if self._running.poll() is not None:
                    raise AssertionError(f"the server ended with {self._running.returncode}: {self.output()}")
                try:
                    if client.get(f"{self.url}/health/ready", timeout=timeout).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                waited = time.monotonic() - self._started_at
                assert waited < timeout, f"the server is not ready after {waited:.1f} s: {self.output()}"
                time.sleep(POLL_SECONDS)
        self.seconds_to_ready = time.monotonic() - self._started_at
        return self.seconds_to_ready

    def children(self) -> list[psutil.Process]:
        """Return the worker processes, and what else the server started."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def wait(self, timeout: float = STOP_TIMEOUT_SECONDS) -> int:
        """Wait for the end of the process; return its exit code."""
        return self._running.wait(timeout)

    def stop(self) -> None:
        """Ask the server to end, as a service manager does; it must end well, and in time."""
        children = self.children()
        self._running.send_signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit code {code} after SIGTERM: {self.output()}"
        _, left = psutil.wait_procs(children, timeout=STOP_TIMEOUT_SECONDS)
        assert not left, f"processes outlive the server: {left}"

    def kill(self) -> None:
        """End the server and its children at once, by SIGKILL; does nothing when they are gone."""
        if self._process is None:
            return
        children = self.children() if self._process.poll() is None else []
        if self._process.poll() is None:
            self._process.kill()
        for child in children:
            if child.is_running():
                child.kill()
        self._process.wait()
        psutil.wait_procs(children, timeout=STOP_TIMEOUT_SECONDS)


@contextmanager
def serving(
    database: str | None, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run the server until the block ends."""
    server = ServerProcess(database, directory, arguments, environment or {})
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.kill()
