"""What the number of keys costs: start, memory, and the latency of a verification.

For each size, keys of a small working set are presented over and over, and then keys drawn evenly from
all, each only once, so that no memory of earlier answers helps.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.errors import NotMeasured, reason_of
from bench.filling import fill
from bench.installations import VERIFY_PATH, new_installation
from bench.load import apply_load
from bench.servers import Server
from bench.wire import Request

WORKING_SET = 10_000
DRAWN_ONCE = {1: 100_000, 32: 300_000}
"""By the number of connections, how many keys of all are presented, each once if the time allows no more."""
WARM_UP_CONNECTIONS = 32
MOST_WARM_UPS = 20
"""Seconds, at most, to present the working set once."""
PRESENTED = WORKING_SET + sum(DRAWN_ONCE.values())


def measure_sizes(directory: Path, sizes: Sequence[int], *, seconds: int) -> list[dict[str, Any]]:
    """Return the figures of each size, or why it has none."""
    results: list[dict[str, Any]] = []
    for keys in sizes:
        place = directory / str(keys)
        place.mkdir()
        try:
            figures = _measure(place, keys, seconds)
        except (NotMeasured, OSError) as error:
            figures = {"not_measured": reason_of(error)}
        results.append({"keys": keys, **figures})
        for file in place.iterdir():  # Ten million keys are gigabytes.
            file.unlink()
    return results


def _measure(directory: Path, keys: int, seconds: int) -> dict[str, Any]:
    installation = new_installation(directory)
    installation.add_person()
    file = directory / "keyturn.db"
    began_at = time.monotonic()
    filling = fill(installation, file, keys, PRESENTED)
    print(f"{keys:,} keys written in {time.monotonic() - began_at:.0f} s", file=sys.stderr, flush=True)
    with installation.serving(directory) as server:
        resident_at_start = server.resident_bytes()
        latencies = list(_latencies(server, filling.presented, seconds))
        return {
            "database_bytes": file.stat().st_size,
            "seconds_to_ready": server.seconds_to_ready,
            "resident_bytes_at_start": resident_at_start,
            "resident_bytes_after_load": server.resident_bytes(),
            "latencies": latencies,
        }


def _latencies(server: Server, presented: Sequence[str], seconds: int) -> Iterator[dict[str, Any]]:
    working_set = presented[:WORKING_SET]
    _present_once(server, working_set)
    for connections in DRAWN_ONCE:
        yield _latency(server, "working set", working_set, connections, seconds)
    rest = iter(presented[WORKING_SET:] or presented)
    for connections, count in DRAWN_ONCE.items():
        drawn = [key for _, key in zip(range(count), rest, strict=False)] or list(presented)
        yield _latency(server, "all", drawn, connections, seconds)


def _present_once(server: Server, keys: Sequence[str]) -> None:
    """Present each key at least once, so that what the server remembers of them it knows."""
    presented = 0
    for _ in range(MOST_WARM_UPS):
        if presented >= len(keys):
            return
        rest = map(_verify, keys[presented:])
        presented += apply_load(server.port, rest, connections=WARM_UP_CONNECTIONS, seconds=1).requests


def _latency(
    server: Server, drawn_from: str, keys: Sequence[str], connections: int, seconds: int
) -> dict[str, Any]:
    load = apply_load(server.port, map(_verify, keys), connections=connections, seconds=seconds)
    if load.error_statuses:
        raise NotMeasured(f"{load.error_statuses} of {load.requests} good keys were answered with an error")
    return {
        "drawn_from": drawn_from,
        "connections": connections,
        "each_at_most_once": load.requests <= len(keys),
        **asdict(load),
    }


def _verify(key: str) -> Request:
    return Request("GET", VERIFY_PATH, {"Authorization": key})
