"""Verifications per second and core inside a Python process, without any HTTP.

`measure_in_process` runs this module in a process of its own, on the server's core. Next to
`keyturn.Verifier` stands the floor: SHA-256 and a dictionary, and nothing checked.
"""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.installations import new_installation, token_for, unknown_key
from bench.processors import SERVER_CORE, pinned
from bench.servers import free_port, run_command
from bench.targets import spoiled

REPEATS = 7
REPEAT_SECONDS = 1.0
BATCH = 1_000
UNKNOWN_KEYS = 200_000
"""So many different ones, in turn: few would flatter a memory of refusals."""


def measure_in_process(directory: Path, *, repeats: int, seconds: float) -> dict[str, Any]:
    """Return the figures; raise `NotMeasured` if the process fails."""
    installation = new_installation(directory)
    installation.add_person()
    key = installation.new_key()
    port = free_port()
    with installation.serving(directory, port=port) as server:
        token = token_for(server.port, key)
    order = {
        "database": installation.database,
        "key": key,
        "token": token,
        "repeats": repeats,
        "seconds": seconds,
    }
    command = pinned(SERVER_CORE, sys.executable, "-m", "bench.in_process")
    # The same port, and so the same issuer of tokens.
    printed = run_command(*command, environment=installation.environment(port), stdin=json.dumps(order))
    figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return figures


def _measure(order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says, in this process."""
    from keyturn import Verifier  # noqa: PLC0415 - the floor's process needs no more than it must
    from keyturn.errors import KeyturnError  # noqa: PLC0415 - for the same reason

    key, token = order["key"], order["token"]
    unknown = itertools.cycle([unknown_key() for _ in range(UNKNOWN_KEYS)])
    repeats, seconds = order["repeats"], order["seconds"]
    with Verifier(order["database"]) as verifier:
        verify = verifier.verify

        def refuse(authorization: str) -> None:
            try:
                verify(authorization)
            except KeyturnError:
                return
            raise AssertionError("a bad credential was accepted")

        cases: dict[str, tuple[Callable[[str], object], Iterator[str]]] = {
            "floor": (_floor(key), itertools.repeat(key)),
            "key": (verify, itertools.repeat(key)),
            "token": (verify, itertools.repeat(f"Bearer {token}")),
            "refused-checksum": (refuse, itertools.repeat(spoiled(key))),
            "refused-unknown": (refuse, unknown),
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        # In turn, since a shared machine is not as fast from one second to the next; the first is to warm up.
        for _ in range(repeats + 1):
            for name, (call, given) in cases.items():
                rates[name].append(_rate(call, given, seconds))
    return {
        name: {"best": max(runs[1:]), "median": median(runs[1:]), "runs": runs[1:]}
        for name, runs in rates.items()
    }


def _floor(key: str) -> Callable[[str], object]:
    """Return the least that any check of a key can be."""
    known = {hashlib.sha256(key.encode()).digest(): 1}
    return lambda text: known[hashlib.sha256(text.encode()).digest()]


def _rate(call: Callable[[str], object], arguments: Iterator[str], seconds: float) -> float:
    """Return how many calls per second there were in at least so many seconds."""
    calls = 0
    started_at = time.perf_counter()
    while (elapsed := time.perf_counter() - started_at) < seconds:
        for argument in itertools.islice(arguments, BATCH):
            call(argument)
        calls += BATCH
    return calls / elapsed


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
