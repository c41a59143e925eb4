"""A run of the tests leaves nothing behind, however it ends, and no run is in the way of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY_SECONDS, END_SECONDS = 240.0, 120.0
PROJECT = Path(__file__).parent.parent
ONE_OF_EVERYTHING = ("--numprocesses=1", "tests/interrupted.py")


class Run:
    """A run of its own, in a folder of its own, as a user with an empty home starts it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.place, self.home, self.ready = (folder / name for name in ("r", "home", "ready"))
        self.place.mkdir(mode=0o755)
        self.home.mkdir()
        folder.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTEST_"))}
        self.output = (folder / "output").open("wb+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", *arguments],
            cwd=PROJECT,
            env={
                **kept,
                "HOME": str(self.home),
                "TMPDIR": str(self.place),
                "PYTEST_DEBUG_TEMPROOT": str(self.place),
                "KEYTURN_TESTS_READY": str(self.ready),
            },
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - no thread runs here yet that could hold a lock
        )

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read().decode()

    def wait_ready(self) -> list[psutil.Process]:
        """Wait until all runs; return all processes that the run has started."""
        until(lambda: self.ready.exists() or self.process.poll() is not None, READY_SECONDS)
        assert self.process.poll() is None, self.said()
        processes = psutil.Process(self.process.pid).children(recursive=True)
        names = {process.name() for process in processes}
        assert {"postgres", "nginx", "keyturn"} <= names, names
        assert any("chrom" in name for name in names), names
        return processes

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Run]]:
    """Start runs, each in a folder with a short path, for sockets, and end them after the test."""
    with ExitStack() as started:

        def start(*arguments: str) -> Run:
            run = Run(Path(started.enter_context(TemporaryDirectory())), *arguments)
            started.callback(run.close)
            return run

        yield start


@pytest.mark.parametrize(
    "sent",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)],
    ids=lambda one: one.name,
)
def test_an_interrupted_run_leaves_nothing_behind(start: Callable[..., Run], sent: signal.Signals) -> None:
    """Neither process nor file is left of a run whose first process gets a signal."""
    run = start(*ONE_OF_EVERYTHING)
    processes = run.wait_ready()

    os.kill(run.process.pid, sent)

    check_gone(run, processes)


def test_two_runs_at_once(start: Callable[..., Run]) -> None:
    """Of two runs one is killed: nothing of it is left, and the other, with all it has started, ends well."""
    one = start(*ONE_OF_EVERYTHING)
    other = start("tests/web/api/test_devices.py", "tests/services/connections/test_registry.py")
    processes = one.wait_ready()

    one.process.kill()

    check_gone(one, processes)
    assert other.process.wait(READY_SECONDS) == 0, other.said()
    until(lambda: not list(other.place.iterdir()), END_SECONDS)


def check_gone(run: Run, processes: list[psutil.Process]) -> None:
    """Wait until the processes of a run are gone, and its files."""
    run.process.wait(END_SECONDS)
    until(lambda: not any(process.is_running() for process in processes), END_SECONDS)
    until(lambda: not list(run.place.iterdir()), END_SECONDS)
    assert [path for path in run.home.rglob("*") if "keyturn" in path.name] == []


def heed_interrupts() -> None:
    """Undo what a shell does to the interrupts of what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(is_so: Callable[[], bool], seconds: float) -> None:
    """Return once it is so; fail if it takes unreasonably long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
