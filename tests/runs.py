"""A run of the tests: one folder for all that it makes, and a watchdog that clears up however it ends.

    pytest ──pipe──▶ watchdog, in a session of its own
      └─ workers ─ servers, PostgreSQL, browsers, gateways     TMPDIR=<the folder>, for all of them

The watchdog waits for the end of the pipe, which comes with the end of pytest, by whatever signal. Then it
ends each process that has the folder in its environment, and removes the folder. Nothing lies outside of it:
neither in the user's directories nor in `/tmp` or `/dev/shm`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
"""Files in memory: no test waits for a disk. What may lose power runs on a disk (`make faults`)."""
ROOM_BYTES = 3 * 2**30
END_SECONDS = 10


def begin_run() -> Path:
    """Make the folder of this run, point every program that is started from here at it, and watch.

    It is in `PYTEST_DEBUG_TEMPROOT` if that is set, else in memory if there is room, else among temporary
    files.
    """
    folder = Path(tempfile.mkdtemp(prefix="keyturn-", dir=_parent())).resolve()
    folder.chmod(0o711)  # PostgreSQL, which does not run as root, has its own folder in it.
    _watch(folder)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    for name in ("data", "config", "state"):
        (folder / name).mkdir()
        os.environ[f"XDG_{name.upper()}_HOME"] = str(folder / name)
    return folder


def _parent() -> str:
    if chosen := os.environ.get("PYTEST_DEBUG_TEMPROOT"):
        return chosen
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
            return str(MEMORY)
    return tempfile.gettempdir()


def _watch(folder: Path) -> None:
    watchdog = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # An interrupt of the terminal reaches the run alone.
    )
    assert watchdog.stdin is not None
    _HELD.append(watchdog)
    os.register_at_fork(after_in_child=watchdog.stdin.close)


_HELD: list[subprocess.Popen[bytes]] = []
"""Keeps the pipe open as long as this process lives."""


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that belong to the run of this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("TMPDIR") == str(folder):
                found.append(process)
    return found


def _end_processes(folder: Path) -> None:
    while left := processes_of(folder):
        for process in left:
            with contextlib.suppress(psutil.Error):
                if (
                    process.name() == "postgres"
                ):  # It alone can give back the memory that its processes share.
                    process.send_signal(signal.SIGQUIT)
                else:
                    process.kill()
        _, left = psutil.wait_procs(left, timeout=END_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    _end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
