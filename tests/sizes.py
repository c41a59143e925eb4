"""How much the largest tests try: a part of it at every change, all of it in `make faults`.

A test that takes its size from here is marked `sized`; `make faults` runs those with `KEYTURN_FULL_SIZE=1`.
"""

from __future__ import annotations

import os

FULL = os.environ.get("KEYTURN_FULL_SIZE") == "1"


def size(at_every_change: int, *, full: int) -> int:
    """Return how many of something this run tries."""
    return full if FULL else at_every_change
