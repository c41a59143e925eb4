"""All workers of a server, seen from outside: whether they are ready, and their metrics.

Nobody is asked: everything is in memory that the workers write. So it is known at once, whatever they do.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keyturn import __version__
from keyturn.counting.counts import Counts, value_of
from keyturn.counting.shared import SharedCounts
from keyturn.counting.table import (
    BUCKETS,
    BUILD,
    MEMORY,
    METRICS,
    NANOSECONDS,
    OPEN_FILES,
    OPEN_FILES_LIMIT,
    READY,
    REPLACED,
    STALENESS,
    STARTED,
    WORKERS,
    WRITES_FAIL,
    Mark,
    Metric,
    Source,
    State,
    Type,
)
from keyturn.system import System
from keyturn.web.edge.traffic import REMEMBERED

SILENT_SECONDS = 30.0
"""A worker whose loop says nothing for so long hangs."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server can verify and write, in the words of `/health/ready`."""

    server: str
    database: str
    writes: str

    @property
    def reads(self) -> bool:
        """Whether credentials can be verified."""
        return self.server == self.database == "up"


class Overview:
    """All workers of a server."""

    def __init__(self, counts: SharedCounts, system: System) -> None:
        self._counts = counts
        self._workers = counts.workers
        self._system = system
        self._started_at = system.timestamp()
        self._has_started = False

    def is_live(self) -> bool:
        """Return whether a worker lives, or the server still starts."""
        now = time.monotonic_ns()
        states = [worker.cells[Mark.STATE] for worker in self._workers]
        if State.STARTING in states:
            return True
        return any(now - worker.cells[Mark.BEAT] < SILENT_SECONDS * NANOSECONDS for worker in self._workers)

    def has_started(self) -> bool:
        """Return whether all workers have served at a time."""
        if not self._has_started:
            self._has_started = all(worker.cells[Mark.STATE] != State.STARTING for worker in self._workers)
        return self._has_started

    def readiness(self) -> Readiness:
        """Return how the server is, by the workers that take requests."""
        states = {worker.cells[Mark.STATE] for worker in self._workers}
        if State.STOPPING in states:
            return Readiness("stopping", "unknown", "unknown")
        serving = self._serving()
        if not serving:
            return Readiness("starting", "unknown", "unknown")
        now = self._system.monotonic() * NANOSECONDS
        is_away = any(
            worker.cells[Mark.READS_FAIL] or worker.cells[Mark.TRUSTED_UNTIL] <= now for worker in serving
        )
        fails = any(worker.cells[Mark.WRITES_FAIL] for worker in serving)
        return Readiness("up", "away" if is_away else "up", "failing" if fails else "up")

    def as_text(self) -> tuple[bytes, str]:
        """Return the metrics, and the media type that they are written in."""
        # With 11 MB, and for a server that shows its metrics alone.
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415

        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Any]:
        """Yield the metrics, as a registry of `prometheus_client` asks for them."""
        for metric in METRICS:
            match metric.type:
                case Type.HISTOGRAM:
                    yield self._histogram(metric)
                case _ if metric is BUILD:
                    versions = {"version": __version__, "python": platform.python_version()}
                    yield _family(metric, [(versions, 1)])
                case _ if metric.source is Source.OBSERVED:
                    value = self._observed(metric)
                    yield _family(metric, [] if value is None else [({}, value)])
                case _:
                    rows = ((labels, self._value(metric, cell)) for labels, cell in _cells(metric))
                    yield _family(metric, rows)

    def _serving(self) -> list[Counts]:
        return [worker for worker in self._workers if worker.cells[Mark.STATE] == State.SERVING]

    def _value(self, metric: Metric, cell: int) -> float:
        value = value_of(metric, cell, self._workers)
        if cell in REMEMBERED:
            value += sum(worker.cells[Mark.PLAIN_GOOD] for worker in self._workers)
        return value / metric.unit if metric.unit != 1 else value

    def _histogram(self, metric: Metric) -> Any:
        from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - as above

        family = HistogramMetricFamily(metric.name, metric.help, labels=tuple(metric.labels))
        for labels, first in _cells(metric):
            values = [value_of(metric, first + number, self._workers) for number in range(metric.width)]
            *counted, spent = values
            sums, total = [], 0
            for bound, value in zip((*map(str, BUCKETS), "+Inf"), counted, strict=True):
                total += value
                sums.append((bound, total))
            family.add_metric(tuple(labels.values()), sums, spent / NANOSECONDS)
        return family

    def _observed(self, metric: Metric) -> float | None:
        """Return what only somebody outside of the workers knows; None where this system does not tell."""
        observe: Callable[[], float | None] = {
            STALENESS: self._staleness,
            READY: lambda: self.readiness().reads,
            WRITES_FAIL: lambda: any(worker.cells[Mark.WRITES_FAIL] for worker in self._serving()),
            WORKERS: lambda: len(self._serving()),
            REPLACED: lambda: self._counts.replaced,
            OPEN_FILES: lambda: _largest(map(_open_files, self._processes())),
            OPEN_FILES_LIMIT: lambda: _largest(map(_open_files_limit, self._processes())),
            MEMORY: lambda: _largest(map(_resident_bytes, self._processes())),
            STARTED: lambda: self._started_at,
        }[metric]
        return observe()

    def _processes(self) -> list[int]:
        return [worker.cells[Mark.PROCESS] for worker in self._workers if worker.cells[Mark.PROCESS]]

    def _staleness(self) -> float | None:
        now = self._system.monotonic()
        read = [worker.cells[Mark.READ_AT] / NANOSECONDS for worker in self._serving()]
        return max((max(0.0, now - at) for at in read), default=None)

    @cached_property
    def _registry(self) -> Any:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - as above

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry


def _cells(metric: Metric) -> Iterator[tuple[dict[str, str], int]]:
    """Yield each combination of labels with its first cell."""
    for values in metric.combinations:
        yield dict(zip(metric.labels, values, strict=True)), metric.cell(*values)


def _family(metric: Metric, rows: Iterable[tuple[dict[str, str], float]]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - as above

    kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
    found = list(rows)
    family = kind(metric.name, metric.help, labels=tuple(found[0][0] if found else metric.labels))
    for labels, value in found:
        family.add_metric(tuple(labels.values()), value)
    return family


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _open_files(process: int) -> int | None:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - a name for each is enough
    return None


def _open_files_limit(process: int) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = Path(f"/proc/{process}/limits").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))
    return None


def _resident_bytes(process: int) -> int | None:
    with suppress(OSError):
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None
