"""From the acknowledgement of a revoke to the first refusal: on one node, and from one to another.

Each key is first seen accepted where it will be asked for, so that the node has all reason to remember
it. The clock starts when the answer to the DELETE has arrived, and stops when the first refusal has.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import NotMeasured, reason_of
from bench.installations import KEYS_PATH, NO_LIMITS, VERIFY_PATH, Installation, new_installation
from bench.percentiles import percentile
from bench.postgresql import new_database, running_postgresql
from bench.servers import Server
from bench.wire import KeptConnection, Request

REVOKES_PER_SECOND = 50
PATIENCE_SECONDS = 5.0
"""A key that is accepted for so long after its revoke counts as never refused."""
REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Revoke:
    """What followed one revoke."""

    seconds_to_refusal: float
    accepted_after: int
    """How often the key was accepted after the acknowledgement."""
    was_refused: bool


def measure_revocation(directory: Path, revokes: int) -> list[dict[str, Any]]:
    """Return the figures of each arrangement, or why it has none."""
    arrangements = (
        ("one node, SQLite", False, 1),
        ("one node, PostgreSQL", True, 1),
        ("two nodes, PostgreSQL", True, 2),
    )
    results: list[dict[str, Any]] = []
    for number, (title, on_postgresql, nodes) in enumerate(arrangements):
        place = directory / str(number)
        place.mkdir()
        try:
            figures = _measure(place, revokes, on_postgresql=on_postgresql, nodes=nodes)
        except (NotMeasured, OSError) as error:
            figures = {"not_measured": reason_of(error)}
        results.append({"title": title, **figures})
    return results


def _measure(directory: Path, revokes: int, *, on_postgresql: bool, nodes: int) -> dict[str, Any]:
    with ExitStack() as stack:
        database = new_database(stack.enter_context(running_postgresql(directory))) if on_postgresql else None
        installation = replace(new_installation(directory, database), settings=NO_LIMITS)
        installation.add_person()
        servers = [stack.enter_context(installation.serving(directory)) for _ in range(nodes)]
        return _summary(list(_revoke_all(installation, servers, revokes)))


def _revoke_all(installation: Installation, servers: list[Server], revokes: int) -> Iterator[Revoke]:
    """Revoke on the first server and ask the last one."""
    with KeptConnection(servers[0].port) as revoking, KeptConnection(servers[-1].port) as asking:
        owner = {"Authorization": installation.new_key()}
        keys = [_new_key(revoking, owner) for _ in range(revokes)]
        began_at = time.perf_counter()
        for number, (key_id, key) in enumerate(keys):
            wait = began_at + number / REVOKES_PER_SECOND - time.perf_counter()
            time.sleep(max(0.0, wait))
            yield _revoke(revoking, asking, owner, key_id, key)


def _new_key(connection: KeptConnection, owner: dict[str, str]) -> tuple[int, str]:
    """Make a key through the API; return its id and its text."""
    answer = connection.ask(Request("POST", KEYS_PATH, owner))
    if answer.status != 200:
        raise NotMeasured(f"making a key was answered with {answer.status}")
    made = json.loads(answer.body)
    return made["keyid"], made["apikey"]


def _revoke(
    revoking: KeptConnection, asking: KeptConnection, owner: dict[str, str], key_id: int, key: str
) -> Revoke:
    verify = Request("GET", VERIFY_PATH, {"Authorization": key})
    status = asking.ask(verify).status
    if status != 200:
        raise NotMeasured(f"a living key was answered with {status}")
    status = revoking.ask(Request("DELETE", f"{KEYS_PATH}/{key_id}", owner)).status
    if status != 200:
        raise NotMeasured(f"a revoke was answered with {status}")
    revoked_at = time.perf_counter()
    accepted = 0
    while (waited := time.perf_counter() - revoked_at) < PATIENCE_SECONDS:
        status = asking.ask(verify).status
        if status in REFUSED:
            return Revoke(time.perf_counter() - revoked_at, accepted, was_refused=True)
        accepted += status == 200
    return Revoke(waited, accepted, was_refused=False)


def _summary(revokes: list[Revoke]) -> dict[str, Any]:
    milliseconds = sorted(1e3 * revoke.seconds_to_refusal for revoke in revokes)
    return {
        "revokes": len(revokes),
        "p50_ms": percentile(milliseconds, 50),
        "p99_ms": percentile(milliseconds, 99),
        "longest_ms": milliseconds[-1],
        "accepted_after": sum(revoke.accepted_after for revoke in revokes),
        "never_refused": sum(not revoke.was_refused for revoke in revokes),
        "runs_ms": [round(value, 3) for value in milliseconds],
    }
