"""The log of a process: in order, bounded, and never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENOUGH_SECONDS = 20


class Pipe:
    """A log that somebody reads, or does not."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def fill(self) -> int:
        """Stall: leave no room, so that the next write waits. Return how many bytes that took."""
        os.set_blocking(self.writer, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.writer, b"\n" * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)
            return filled

    def lines(self, last: str) -> list[str]:
        """Read up to and with this line."""
        data = b""
        while not data.endswith(f"{last}\n".encode()):
            data += os.read(self.reader, 65536)
        return data.decode().strip("\n").split("\n")

    def new_writer(self, **options: int) -> LogWriter:
        """Begin to log to this pipe, by a descriptor that is never closed.

        A writer goes on for ever to try lines that were refused, and would write them into whatever file has
        the number of a closed one by then: the database of another test, for one.
        """
        return LogWriter(os.dup(self.writer), **options)

    def stop_reading(self) -> None:
        os.close(self.reader)
        self._open.discard(self.reader)

    def close(self) -> None:
        for end in self._open:
            os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    """Fault F1: what one thread writes is read in the order in which it wrote, each line whole."""
    writer = pipe.new_writer()
    threads = [
        threading.Thread(target=lambda name=name: [writer.write(f"{name} {number}") for number in range(500)])
        for name in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.write("end")
    read = pipe.lines("end")
    for name in "abc":
        assert [line for line in read if line[0] == name] == [f"{name} {number}" for number in range(500)]


def test_fault_f1_a_stalled_reader_costs_lines_and_no_time(pipe: Pipe) -> None:
    """While nobody reads, writing goes on at once, in bounded memory; a line says later what is missing."""
    pipe.fill()
    writer = pipe.new_writer(max_bytes=10_000)
    for number in range(5_000):
        writer.write(f"{number:09}")
    assert writer.flush(0.0) is False
    os.read(pipe.reader, 1 << 20)
    read: list[str] = []
    while not any("dropped" in line for line in read):
        read += [line for line in os.read(pipe.reader, 65536).decode().split("\n") if line]
    kept, dropped = read[:-1], json.loads(read[-1])
    assert kept == [f"{number:09}" for number in range(len(kept))]
    assert dropped["lines"] == 5_000 - len(kept)
    assert dropped["event"] == f"{dropped['lines']} lines dropped"
    assert 900 <= len(kept) <= 1_500  # The bound, and what the thread held in its hand.
    writer.write("end")
    assert pipe.lines("end") == ["end"]


def test_fault_f1_a_full_disk_costs_lines_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses to write is counted, and told of once there is room."""
    monkeypatch.setattr("keyturn.log_writer.RETRY_SECONDS", 0.01)
    full = os.open("/dev/full", os.O_WRONLY)
    with (tmp_path / "log").open("w+b") as disk:
        writer = LogWriter(full)
        for number in range(100):
            writer.write(str(number))
        assert writer.flush(0.05) is False
        os.dup2(disk.fileno(), full)  # There is room again.
        assert writer.flush(ENOUGH_SECONDS)
        writer.write("end")
        assert writer.flush(ENOUGH_SECONDS)
        read = (tmp_path / "log").read_text().splitlines()
    assert sum(json.loads(line)["lines"] if "dropped" in line else 1 for line in read[:-1]) == 100
    assert read[-1] == "end"


def test_fault_f1_a_log_that_nobody_reads_any_more_ends_nothing(pipe: Pipe) -> None:
    """After the reader is gone, writing neither raises nor waits."""
    pipe.stop_reading()
    writer = pipe.new_writer()
    for number in range(100):
        writer.write(str(number))
    assert writer.flush(0.05) is False


def test_a_child_of_a_fork_writes_its_own_lines_alone(pipe: Pipe) -> None:
    """After a fork the child writes with a thread of its own, and repeats no line of its parent."""
    pipe.fill()
    writer = pipe.new_writer()
    writer.write("of the parent")
    child = os.fork()
    if child == 0:
        writer.write("of the child")
        os._exit(0 if writer.flush(ENOUGH_SECONDS) else 1)
    os.read(pipe.reader, 1 << 20)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.write("end")
    assert sorted(pipe.lines("end")[:-1]) == ["of the child", "of the parent"]


_PROGRAM = """
import logging, sys, threading, warnings
from keyturn.logs import configure_logs, log_uncaught
import structlog
configure_logs("info")
log_uncaught()
structlog.get_logger().info("first")
logging.getLogger("uvicorn.error").error("second", extra={"port": 8400})
warnings.warn("third")
def fail(): raise ValueError("fourth")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Fails:
    def __del__(self): raise ValueError("fifth")
made = Fails(); del made
try: raise ValueError("sixth")
except ValueError: structlog.get_logger().exception("failed")
"""


def run_program(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], text=True, check=False, timeout=ENOUGH_SECONDS, **options
    )


def test_every_source_of_lines_takes_the_same_way() -> None:
    """Fault F1: structlog, other libraries, warnings and uncaught exceptions are lines of JSON, in order."""
    done = run_program(_PROGRAM, stderr=subprocess.PIPE)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    for word, line in zip(["first", "second", "third", "fourth", "fifth", "sixth"], lines, strict=True):
        assert word in json.dumps(line)
    assert lines[1]["port"] == 8400
    assert done.returncode == 0


def test_fault_f1_a_program_whose_log_stalls_ends(pipe: Pipe) -> None:
    """At its end a program waits for its last lines, but not for ever."""
    pipe.fill()
    assert run_program(_PROGRAM, stderr=pipe.writer).returncode == 0


def test_a_program_without_standard_error_writes_its_log_nowhere(tmp_path: Path) -> None:
    """What was opened under the number of standard error is not written to: it may be the database."""
    path = tmp_path / "keyturn.db"
    program = f"import os; os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY)\n{_PROGRAM}"
    done = run_program(
        f"import os; os.close(2); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {program!r}])"
    )
    assert done.returncode == 0
    assert path.read_bytes() == b""


def test_importing_the_verifier_starts_no_thread() -> None:
    """Fault F1: who imports the package, or logs in its name, gets no thread that they did not ask for."""
    program = """
import logging, threading
import keyturn, keyturn.services.changes.freshness, keyturn.services.feed.stream, keyturn.store.database.hints
logging.getLogger("keyturn.services.changes.freshness").warning("database_away")
assert threading.active_count() == 1
"""
    done = run_program(program, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "database_away" in done.stderr
