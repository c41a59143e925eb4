"""The verifier far from the database: a copy of all keys, then revokes, and its rate beside the local one.

`measure_feed` runs this module in a process of its own, on the core of the load, so that its time and memory
are those of a service that does nothing else. The server has the other core.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench.errors import NotMeasured, reason_of
from bench.filling import fill
from bench.installations import KEYS_PATH, NO_LIMITS, Installation, new_installation
from bench.percentiles import percentile
from bench.processors import CLIENT_CORE, pinned
from bench.servers import Server, run_command
from bench.wire import KeptConnection, Request

FOLLOWER = "edge"
REVOKES_PER_SECOND = 50
PATIENCE_SECONDS = 5.0
REPEATS = 3
REPEAT_SECONDS = 1.0
BATCH = 1000


def measure_feed(directory: Path, keys: int, revokes: int) -> dict[str, Any]:
    """Return the figures, or why there are none."""
    try:
        return {"keys": keys, **_measure(directory, keys, revokes)}
    except (NotMeasured, OSError) as error:
        return {"keys": keys, "not_measured": reason_of(error)}


def _measure(directory: Path, keys: int, revokes: int) -> dict[str, Any]:
    installation = replace(new_installation(directory), settings=NO_LIMITS)
    installation.add_person()
    follower = _new_follower(installation)
    fill(installation, directory / "keyturn.db", keys, 1)
    owner = installation.new_key()
    with installation.serving(directory) as server:
        resident_before = server.resident_bytes()
        order = {
            "url": f"http://127.0.0.1:{server.port}",
            "port": server.port,
            "database": installation.database,
            "follower": follower,
            "owner": owner,
            "revokes": revokes,
        }
        command = pinned(CLIENT_CORE, sys.executable, "-m", "bench.feed")
        printed = run_command(
            *command, environment=installation.environment(server.port), stdin=json.dumps(order)
        )
        figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return {**figures, **_of_server(server, resident_before)}


def _of_server(server: Server, resident_before: int) -> dict[str, Any]:
    seconds = sum(psutil.Process(server.pid).cpu_times()[:2])
    return {
        "server_resident_bytes_before": resident_before,
        "server_resident_bytes_after": server.resident_bytes(),
        "server_processor_seconds": seconds,
    }


def _new_follower(installation: Installation) -> str:
    """Add a person who may follow, and return a key of theirs."""
    permission = ("--permission", "VERIFY_CREDENTIALS")
    stdin = "seven green lanterns drift"
    installation.run("admin", "user", "add", FOLLOWER, "--password-stdin", *permission, stdin=stdin)
    return installation.run("admin", "key", "add", "--user", FOLLOWER, "--name", "bench")


def _follow(order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says, in this process."""
    from keyturn import Verifier  # noqa: PLC0415 - its memory is measured

    began_at, used_before = time.perf_counter(), time.process_time()
    with Verifier(order["url"], order["follower"], timeout=300) as verifier:
        synced = {
            "seconds_to_copy": time.perf_counter() - began_at,
            "processor_seconds_to_copy": time.process_time() - used_before,
            "resident_bytes": psutil.Process(os.getpid()).memory_info().rss,
        }
        delays = sorted(_revoke_all(verifier, order))
        rate = _rate(verifier, order["owner"])
    with Verifier(order["database"]) as local:
        local_rate = _rate(local, order["owner"])
    return {
        **synced,
        "revokes": len(delays),
        "p50_ms": percentile(delays, 50) * 1000,
        "p99_ms": percentile(delays, 99) * 1000,
        "max_ms": delays[-1] * 1000,
        "verifications_per_second": rate,
        "local_verifications_per_second": local_rate,
    }


def _revoke_all(verifier: Any, order: dict[str, Any]) -> Iterator[float]:
    owner = {"Authorization": order["owner"]}
    with KeptConnection(order["port"]) as connection:
        began_at = time.perf_counter()
        for number in range(order["revokes"]):
            time.sleep(max(0.0, began_at + number / REVOKES_PER_SECOND - time.perf_counter()))
            made = json.loads(connection.ask(Request("POST", KEYS_PATH, owner)).body)
            _wait_for(verifier, made["apikey"], accepted=True)
            if connection.ask(Request("DELETE", f"{KEYS_PATH}/{made['keyid']}", owner)).status != 200:
                raise NotMeasured("a revoke was refused")
            yield _wait_for(verifier, made["apikey"], accepted=False)


def _wait_for(verifier: Any, key: str, *, accepted: bool) -> float:
    """Return after how many seconds a key is accepted, or refused."""
    began_at = time.perf_counter()
    while (waited := time.perf_counter() - began_at) < PATIENCE_SECONDS:
        if _is_accepted(verifier, key) is accepted:
            return waited
        time.sleep(0.0005)  # The one core has the follower's thread too.
    raise NotMeasured("a change did not arrive")


def _is_accepted(verifier: Any, key: str) -> bool:
    from keyturn.errors import CredentialRefused  # noqa: PLC0415 - as above

    with suppress(CredentialRefused):
        verifier.verify(key)
        return True
    return False


def _rate(verifier: Any, key: str) -> float:
    rates = []
    for _ in range(REPEATS + 1):
        calls, began_at = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began_at) < REPEAT_SECONDS:
            for _ in range(BATCH):
                verifier.verify(key)
            calls += BATCH
        rates.append(calls / elapsed)
    return median(rates[1:])


if __name__ == "__main__":
    print(json.dumps(_follow(json.load(sys.stdin))))
