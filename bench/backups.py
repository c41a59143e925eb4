"""A backup of a million keys, and what it does to verification.

The backup is the process that a schedule starts, on the core of the server. Requests to `/verify` come at a
fifth of what the server can answer (an open loop), alone and during a backup in turn.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.filling import fill
from bench.installations import Installation, new_installation
from bench.load import apply_load
from bench.open_loop import CONNECTIONS, SHARE, open_loop, sleeping, verifying
from bench.processors import SERVER_CORE, starting_on
from bench.servers import free_port, run_command
from keyturn.services.installation.backup_schedule import COMMAND

KEYS, SHORT_KEYS = 1_000_000, 20_000
PAIRS, SHORT_PAIRS = 5, 1
CAPACITY_SECONDS = 2


def measure_backups(directory: Path, *, is_short: bool) -> dict[str, Any]:
    """Return how long backups take, and the p99 of verification alone and meanwhile."""
    keys, pairs = (SHORT_KEYS, SHORT_PAIRS) if is_short else (KEYS, PAIRS)
    installation = new_installation(directory)
    installation.add_person()
    fill(installation, directory / "keyturn.db", keys, 1)
    key = installation.new_key()
    folder = directory / "backups"
    folder.mkdir()
    seconds: list[float] = []

    def back_up() -> None:
        seconds.append(_back_up(installation, folder))

    alone, during = [], []
    with installation.serving(directory) as server:
        capacity = apply_load(
            server.port, [verifying(key)], connections=CONNECTIONS, seconds=CAPACITY_SECONDS
        )
        rate = SHARE * capacity.requests_per_second
        back_up()  # Once, so that all have read what they read but once.
        for _ in range(pairs):
            alone.append(open_loop(server.port, key, rate, sleeping(max(seconds[0], 3.0))))
            during.append(open_loop(server.port, key, rate, back_up))
    return {
        "keys": keys,
        "megabytes": max(path.stat().st_size for path in folder.glob("*.backup")) / 1e6,
        "seconds": median(seconds[1:]),
        "rate": rate,
        "p99_alone_ms": median(alone),
        "p99_during_ms": median(during),
        "ratio": median(b / a for a, b in zip(alone, during, strict=True)),
    }


def _back_up(installation: Installation, folder: Path) -> float:
    time.sleep(1)  # No two of one second have names.
    began_at = time.perf_counter()
    with starting_on(SERVER_CORE):
        run_command(
            *(sys.executable, "-P", "-c", COMMAND, "admin", "backup", str(folder), "--keep", "1"),
            environment=installation.environment(free_port()),
        )
    return time.perf_counter() - began_at
