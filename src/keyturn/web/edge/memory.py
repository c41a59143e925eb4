"""The memory that threads of a server cost besides what they hold."""

import ctypes
import threading
from contextlib import suppress

STACK_BYTES = 2 * 2**20
"""Of each thread. The system reserves 8 MiB, and counts all of it where it limits a process (RLIMIT_DATA)."""
ARENAS = 2
_M_ARENA_MAX = -8
"""From `malloc.h` of glibc."""


def bound_memory_of_threads() -> None:
    """Bound the stacks of threads that start from now on, and the arenas that malloc has for them.

    glibc makes up to eight arenas for each core, and what one thread freed in its own serves no other. Python
    runs one thread at a time, so two are as fast. Other C libraries have no such option.
    """
    threading.stack_size(STACK_BYTES)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
