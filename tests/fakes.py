"""Small real stand-ins for what surrounds Keyturn: a clock that stands still until it is told to move."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from keyturn.system import System


class Clock:
    """A time of day, and a monotonic time, that move only by `advance`."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
        self.monotonic = 1000.0

    def advance(self, by: timedelta) -> None:
        self.now += by
        self.monotonic += by.total_seconds()

    def system(self) -> System:
        return System(
            now=lambda: self.now,
            timestamp=lambda: self.now.timestamp(),  # noqa: PLW0108 - `now` is replaced
            monotonic=lambda: self.monotonic,
            random_bytes=os.urandom,
        )
