"""Which processor does what: one serves, the other asks.

Each server, with PostgreSQL behind it, shares one core; wrk and the run itself have the other. So a
figure is one of requests per second and core, and the asking side takes nothing from it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SERVER_CORE = 0
CLIENT_CORE = 1


def pinned(core: int, *command: str) -> list[str]:
    """Return the command that runs `command` on one core."""
    return ["taskset", "-c", str(core), *command]


def pin_this_process() -> None:
    """Keep the run itself, and what it starts without a word, off the server's core."""
    os.sched_setaffinity(0, {CLIENT_CORE})


@contextmanager
def starting_on(core: int) -> Iterator[None]:
    """Let what is started within, and its children, run on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let this thread run before all others of its core, where it may: it then waits for the server alone."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
