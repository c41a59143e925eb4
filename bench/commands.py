"""How long a command takes that needs no server: mostly what it imports."""

import time
from statistics import median
from typing import Any

from bench.environments import KEYTURN
from bench.processors import SERVER_CORE, pinned
from bench.servers import run_command

COMMANDS = (("--help",), ("key", "create", "--help"), ("admin", "--help"), ("--version",))
RUNS = 20


def measure_commands() -> list[dict[str, Any]]:
    """Return the seconds of each command; raise `NotMeasured` if one fails."""
    return [{"command": " ".join(("keyturn", *given)), **_seconds(given)} for given in COMMANDS]


def _seconds(given: tuple[str, ...]) -> dict[str, Any]:
    taken = []
    for _ in range(RUNS + 1):
        began_at = time.perf_counter()
        run_command(*pinned(SERVER_CORE, KEYTURN, *given))
        taken.append(time.perf_counter() - began_at)
    runs = taken[1:]  # The first finds nothing in the page cache.
    return {"median": median(runs), "longest": max(runs), "runs": runs}
