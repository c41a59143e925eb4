"""Numbers in memory that the process which shows the metrics reads without asking anybody.

    worker 0   cells of the table, 8 bytes each, in the order of the machine
    worker 1   …

A worker that is replaced leaves its numbers to the next one in its slot. So what was counted stays counted
however a worker ends, and no number goes back.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from typing import Any

from keyturn.counting.counts import SEGMENT_BYTES, Counts
from keyturn.counting.table import CELLS


class Slot:
    """The slot of one worker in the shared memory, which goes to a new process with what starts it."""

    def __init__(self, file: int, number: int) -> None:
        self._file = file
        self._number = number

    def open(self) -> Counts:
        """Return the numbers at this slot."""
        return Counts(_mapped(self._file, self._number))

    def __getstate__(self) -> tuple[Any, int]:
        return DupFd(self._file), self._number

    def __setstate__(self, state: tuple[Any, int]) -> None:
        file, self._number = state
        self._file = file.detach()


class SharedCounts:
    """The numbers of all workers of a server, in memory that has no name."""

    def __init__(self, workers: int) -> None:
        self._file = _open_memory(_stride() * workers)
        self._slots = [Slot(self._file, number) for number in range(workers)]
        self.replaced = 0
        """How many workers ended or hung, and were replaced."""
        self.workers: Sequence[Counts] = [slot.open() for slot in self._slots]

    def slot(self, number: int) -> Slot:
        """Return the slot of a worker."""
        return self._slots[number]


def _open_memory(size: int) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("keyturn-counts", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, size)
    return file


def _mapped(file: int, number: int) -> memoryview:
    stride = _stride()
    mapped = mmap.mmap(file, stride, offset=number * stride)
    return memoryview(mapped).cast("Q")[:CELLS]


def _stride() -> int:
    """Return the bytes of a slot: whole pages, since a map begins at one."""
    unit = mmap.ALLOCATIONGRANULARITY
    return -(-SEGMENT_BYTES // unit) * unit
