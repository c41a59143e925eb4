"""Servers in processes of their own, on the server's core, ended by their ids whatever happens."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.errors import NotMeasured, end_of_output
from bench.processors import SERVER_CORE, pinned
from bench.wire import HOST, Request, ask_once

START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 15.0
COMMAND_TIMEOUT_SECONDS = 300
POLL_SECONDS = 0.005

ROOT = Path(__file__).parent.parent
"""The root of the repository, from which everything is started."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves."""

    port: int
    pid: int
    seconds_to_ready: float
    output: Path
    """The file of what it writes to both streams."""

    def resident_bytes(self) -> int:
        """Return the memory of the process and its children."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)


def free_port() -> int:
    """Return a loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Return whether a GET of this path is answered with 200."""
    try:
        return ask_once(port, Request("GET", path)).status == 200
    except OSError:
        return False


def listens(port: int) -> bool:
    """Return whether something accepts connections on this port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def run_command(*command: str, environment: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Run a command from the repository's root and return its output; raise `NotMeasured` if it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"{Path(command[0]).name} cannot be run: {type(error).__name__}") from error
    if done.returncode != 0:
        said = end_of_output(done.stderr or done.stdout)
        raise NotMeasured(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


@contextmanager
def serving(
    *command: str,
    port: int,
    directory: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server until the block ends; raise `NotMeasured` if it does not become `ready`."""
    output = directory / f"server-{port}.log"
    started_at = time.monotonic()
    with output.open("wb") as stream:
        process = subprocess.Popen(
            pinned(SERVER_CORE, *command),
            cwd=ROOT,
            env=_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        while not ready():
            if process.poll() is not None:
                raise NotMeasured(
                    f"the server ended with {process.returncode}: {end_of_output(_text(output))}"
                )
            if time.monotonic() - started_at > START_TIMEOUT_SECONDS:
                raise NotMeasured(
                    f"not ready in {START_TIMEOUT_SECONDS:.0f} s: {end_of_output(_text(output))}"
                )
            time.sleep(POLL_SECONDS)
        yield Server(port, process.pid, time.monotonic() - started_at, output)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: by SIGTERM, and what is left after a while by SIGKILL."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(family, timeout=STOP_TIMEOUT_SECONDS)
    for child in left:
        child.kill()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, with no settings of Keyturn but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")}
    return {**kept, **settings}


def _text(output: Path) -> str:
    return output.read_text(errors="replace")
