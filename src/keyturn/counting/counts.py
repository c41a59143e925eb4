"""Counting, in the cells of the table: whole numbers in memory."""

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

from keyturn.counting.table import (
    BUCKETS,
    CELLS,
    METRICS,
    NANOSECONDS,
    Mark,
    Metric,
    Source,
    Type,
)

CELL_BYTES = 8
SEGMENT_BYTES = CELLS * CELL_BYTES
TIMED_OF = 16
"""Of so many plain verifications one is timed, and counts for all."""


class Counts:
    """The numbers of one process. Without `cells` nobody reads them."""

    def __init__(self, cells: memoryview | None = None) -> None:
        self.is_shown = cells is not None
        self.cells = memoryview(bytearray(SEGMENT_BYTES)).cast("Q") if cells is None else cells
        self._lock = threading.Lock()
        self._settling: list[Callable[[], None]] = []

    def add(self, *cells: int) -> None:
        """Count one more in each of these cells, from any thread."""
        with self._lock:
            for cell in cells:
                self.cells[cell] += 1

    def grow(self, cell: int, number: int) -> None:
        """Count so many more in a cell."""
        with self._lock:
            self.cells[cell] += number

    def observe(self, first: int, seconds: float, times: int = 1) -> None:
        """Count a time in the histogram whose first cell this is; it stands for so many `times`."""
        spent = max(0, int(seconds * NANOSECONDS))
        with self._lock:
            self.cells[first + bisect_left(BUCKETS, seconds)] += times
            self.cells[first + len(BUCKETS) + 1] += spent * times

    def settle_with(self, count: Callable[[], None]) -> None:
        """Call `count` once a second, for somebody who cannot afford to count each time."""
        self._settling.append(count)

    def settle(self) -> None:
        """Let everybody count what they have not yet."""
        for count in self._settling:
            count()

    def note(self, cell: int, value: int) -> None:
        """Set a gauge or a mark."""
        self.cells[cell] = max(0, value)

    def end(self) -> None:
        """Forget how the process is, which has ended; what it counted stays."""
        for mark in Mark:
            if mark is not Mark.PLAIN_GOOD:
                self.cells[mark] = 0
        for metric in METRICS:
            if metric.type is Type.GAUGE:
                for cell in range(metric.first, metric.first + metric.cells):
                    self.cells[cell] = 0


def value_of(metric: Metric, cell: int, workers: Sequence[Counts]) -> int:
    """Return what all workers together say in a cell of this metric."""
    values = [counts.cells[cell] for counts in workers]
    return max(values, default=0) if metric.source is Source.LARGEST else sum(values)
