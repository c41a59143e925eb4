"""Writes the lines of the log in a thread of its own: a log that cannot be written stops nothing.

The lines wait in a bounded queue. When the reader stalls, the pipe is closed or the disk is full, the lines
that do not fit are dropped, and a line says later, in their place, how many they were.
"""

import json
import os
import queue
import select
import stat
import threading
import time
import weakref
from collections import deque
from datetime import UTC, datetime
from functools import partial

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""How much waits at most: about 15,000 lines. Accepted again once half of it was written."""
LINGER_SECONDS = 0.01
"""How long the thread sleeps after it wrote, so that a busy server does not wake it for each line."""
RETRY_SECONDS = 1.0
"""How long the thread waits after the system refused to write."""
FLUSH_SECONDS = 1.0
"""How long the end of a process waits for its last lines."""
PIPE_BYTES = select.PIPE_BUF
"""The most bytes that the system writes to a pipe in one piece (POSIX): lines of several workers never
mix."""
FILE_BYTES = 64 * 1024


class LogWriter:
    """Takes lines from any thread, and writes them in order to this descriptor.

    `write` never blocks and never raises. The thread starts with the first line, and again with the first one
    after a fork; it never keeps a process from ending.
    """

    def __init__(self, file: int, *, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._piece = FILE_BYTES if _is_plain_file(file) else PIPE_BYTES
        self._begin()
        os.register_at_fork(after_in_child=partial(_begin_in_child, weakref.ref(self)))

    def _begin(self) -> None:
        """Start with nothing: in a child of a fork the lines and the thread are those of its parent."""
        self._items: deque[bytes | int] = deque()
        """Lines, and between them how many were dropped."""
        self._waiting_bytes = 0
        self._dropped = 0
        """How many lines were dropped since the last one that was accepted."""
        self._is_full = self._is_writing = self._is_asleep = self._is_torn = False
        self._lock = threading.RLock()  # A signal handler or a finalizer may log in the middle of a line.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Accept one line, without its end, or drop it and count that."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._is_full or self._waiting_bytes + len(data) > self._max_bytes:
                self._is_full = True
                self._dropped += 1
                return
            self._note_dropped()
            self._items.append(data)
            self._waiting_bytes += len(data)
            is_asleep, self._is_asleep = self._is_asleep, False
            if self._thread is None:
                self._start()
        if is_asleep:
            self._wake.put(None)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until every line is written, at most so long; return whether that is so."""
        deadline = time.monotonic() + seconds
        self._hurry.set()
        try:
            while self._items or self._dropped or self._is_writing:
                if self._thread is None or time.monotonic() >= deadline:
                    return False
                time.sleep(0.002)
            return True
        finally:
            self._hurry.clear()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="keyturn-log", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # The system has no thread left: the lines wait, and the next one tries again.
            self._thread = None

    def _run(self) -> None:
        while True:
            items = self._take()
            if not items:
                self._wake.get()
            elif self._is_written(items):
                self._hurry.wait(LINGER_SECONDS)
            else:
                self._put_back(items)
                time.sleep(RETRY_SECONDS)

    def _take(self) -> list[bytes | int]:
        """Return what is written next in one piece; nothing once the queue is empty."""
        taken: list[bytes | int] = []
        size = 0
        with self._lock:
            if not self._items:
                self._note_dropped()
            while self._items and (not taken or size + _size(self._items[0]) <= self._piece):
                item = self._items.popleft()
                taken.append(item)
                size += _size(item)
                self._waiting_bytes -= 0 if isinstance(item, int) else len(item)
            self._is_full = self._is_full and self._waiting_bytes > self._max_bytes // 2
            self._is_writing = bool(taken)
            self._is_asleep = not taken
        return taken

    def _note_dropped(self) -> None:
        if self._dropped:
            self._items.append(self._dropped)
            self._dropped = 0

    def _put_back(self, items: list[bytes | int]) -> None:
        """Keep of lines that could not be written how many they were."""
        with self._lock:
            self._items.appendleft(sum(item if isinstance(item, int) else 1 for item in items))
            self._is_writing = False

    def _is_written(self, items: list[bytes | int]) -> bool:
        """Write these in one piece, and return whether the system took them all."""
        data = b"".join(_dropped_line(item) if isinstance(item, int) else item for item in items)
        if self._is_torn:
            data = b"\n" + data
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError:
            done = len(data) - len(rest)
            self._is_torn = data[done - 1] != ord("\n") if done else self._is_torn
            return False
        self._is_torn = self._is_writing = False
        return True

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._file, data)
        except BlockingIOError:  # Another process that shares the pipe made it non-blocking.
            select.select([], [self._file], [], RETRY_SECONDS)
            return 0


def _dropped_line(number: int) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    event = {"lines": number, "event": f"{number} lines dropped", "level": "warning", "at": at}
    return json.dumps(event).encode("ascii") + b"\n"


def _begin_in_child(parents: weakref.ref[LogWriter]) -> None:
    writer = parents()
    if writer is not None:
        writer._begin()  # noqa: SLF001 - of its own kind


_DROPPED_LINE_BYTES = 200
"""More than such a line has."""


def _size(item: bytes | int) -> int:
    return _DROPPED_LINE_BYTES if isinstance(item, int) else len(item)


def _is_plain_file(file: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file).st_mode)
    except OSError:
        return False
