"""How little of a processor a process gets that somebody waits for less than for a verdict."""

import os
import sys
from contextlib import suppress

LOWEST = 19


def give_way(process_id: int, *, to_everything: bool = False) -> None:
    """Let a process that was started just now, and what it starts, give way to the server that started it.

    With `to_everything` it runs when nothing else on its processor wants to: it must never hold a lock that
    others wait for. Both count within a session, as far as Linux puts each into a group of its own
    (sched(7), "The autogroup feature"); so the process must stay in that of the server.
    """
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process_id, LOWEST)
        if sys.platform == "linux":
            policy = os.SCHED_IDLE if to_everything else os.SCHED_BATCH
            os.sched_setscheduler(process_id, policy, os.sched_param(0))
