"""The only clock and the only source of randomness.

Everything that needs either is given a `System`, so that a test can give it another.
"""

import os
import random
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


def request_id() -> str:
    """Return a new random UUID (RFC 9562, version 4), to find a request by in the log and the audit log.

    It need not be hard to guess, and so costs no call of the system.
    """
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class System:
    """The clock and the randomness of the machine."""

    now: Callable[[], datetime] = utc_now
    timestamp: Callable[[], float] = time.time
    """The same time of day as seconds since 1970, for where a `datetime` costs too much."""
    monotonic: Callable[[], float] = monotonic
    """Seconds that never run backward, nor stand still while the machine sleeps: for intervals."""
    random_bytes: Callable[[int], bytes] = os.urandom
