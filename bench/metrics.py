"""The cost of metrics: `/verify` with the management listener, which is asked every second, and without.

Both servers run during the whole run on the same core, the idle one costing next to nothing, and take turns.
The key is remembered: that is the path which answers nearly all verifications, and where counting is dearest.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.errors import NotMeasured
from bench.installations import VERIFY_PATH, new_installation
from bench.load import apply_load
from bench.servers import Server, free_port
from bench.targets import CONNECTIONS
from bench.wire import Request, ask_once

PAIRS, SHORT_PAIRS = 7, 1
SECONDS, SHORT_SECONDS = 4, 1
ASKED_EVERY_SECONDS = 1.0
"""Fifteen times as often as Prometheus asks by default."""


def measure_metrics(directory: Path, *, is_short: bool) -> dict[str, Any]:
    """Return the rates with and without metrics, and the median of their ratios in pairs."""
    installation = new_installation(directory)
    installation.add_person()
    key = installation.new_key()
    port = free_port()
    watched = replace(installation, settings={"KEYTURN_MANAGEMENT": f"127.0.0.1:{port}"})
    pairs, seconds = (SHORT_PAIRS, SHORT_SECONDS) if is_short else (PAIRS, SECONDS)
    places = [directory / name for name in ("without", "with")]
    for place in places:
        place.mkdir()
    with installation.serving(places[0]) as plain, watched.serving(places[1]) as counting, _asked(port):
        without: list[float] = []
        with_: list[float] = []
        _rate(plain, key, 1)
        _rate(counting, key, 1)
        for number in range(pairs):
            # Each is the first of its pair as often: the machine is not the same twice.
            order = (plain, counting) if number % 2 == 0 else (counting, plain)
            for server in order:
                (without if server is plain else with_).append(_rate(server, key, seconds))
        counted = ask_once(port, Request("GET", "/metrics")).body.decode()
    ratios = [watched / bare for watched, bare in zip(with_, without, strict=True)]
    return {
        "pairs": pairs,
        "seconds": seconds,
        "without": median(without),
        "with": median(with_),
        "ratios": ratios,
        "ratio": median(ratios),
        "counted": _counted(counted),
    }


def _rate(server: Server, key: str, seconds: int) -> float:
    """Return the requests for each second of the server's processor time, which nobody else takes."""
    request = Request("GET", VERIFY_PATH, {"Authorization": key})
    before = _processor_seconds(server)
    load = apply_load(server.port, [request], connections=CONNECTIONS, seconds=seconds)
    if load.error_statuses or load.failures:
        raise NotMeasured(f"{load.error_statuses + load.failures} requests were not answered with 200")
    return load.requests / (_processor_seconds(server) - before)


def _processor_seconds(server: Server) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def _counted(text: str) -> float:
    good = 'keyturn_verifications_total{result="good",way="cache"} '
    found = [line.removeprefix(good) for line in text.splitlines() if line.startswith(good)]
    if not found:
        raise NotMeasured("the server with metrics shows none")
    return float(found[0])


@contextmanager
def _asked(port: int) -> Iterator[None]:
    """Ask for the metrics every second until the block ends."""
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(ASKED_EVERY_SECONDS):
            ask_once(port, Request("GET", "/metrics"))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
