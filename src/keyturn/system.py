"""The only clock and the only source of randomness.

Everything that needs either is given a `System`, so that a test can give it another.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

monotonic = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""On Linux `time.monotonic` stands still while the machine is suspended: what was trusted would still be."""


def utc_now() -> datetime:
    """Return the time of day in UTC, whole milliseconds: the unit in which times are stored and shown."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class System:
    """What the surrounding machine provides."""

    now: Callable[[], datetime] = utc_now
    timestamp: Callable[[], float] = time.time
    """The same time of day as seconds since 1970, for where a `datetime` costs too much."""
    monotonic: Callable[[], float] = monotonic
    """Seconds that never run backward, nor stand still while the machine sleeps: for intervals."""
    random_bytes: Callable[[int], bytes] = os.urandom
