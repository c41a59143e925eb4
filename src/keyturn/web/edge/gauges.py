"""The state of a worker, which it writes down once a second for the management listener."""

import asyncio
import os
import time
from contextlib import suppress

from anyio import to_thread

from keyturn.composition import Services
from keyturn.counting.table import (
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_LIMIT,
    DATABASE_BYTES,
    FEED_FOLLOWERS,
    FEED_LAG,
    JOBS_RUNNING,
    NANOSECONDS,
    POOL_SIZE,
    POOL_USED,
    WAL_BYTES,
    Mark,
    State,
)
from keyturn.errors import StoreUnavailable

EVERY_SECONDS = 1.0
SIZES_EVERY_SECONDS = 15.0
"""The size of a database on PostgreSQL is a question that takes it milliseconds."""


class Gauges:
    """The gauges of one worker."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counts = services.counts
        self._evictions = 0

    async def publish(self) -> None:
        """Say that this worker serves, and how it is, until cancelled."""
        self._counts.note(Mark.PROCESS, os.getpid())
        self._counts.note(Mark.STATE, State.SERVING)
        sizes_at = 0.0
        while True:
            self.note()
            if time.monotonic() >= sizes_at:
                sizes_at = time.monotonic() + SIZES_EVERY_SECONDS
                await to_thread.run_sync(self._note_sizes)
            await asyncio.sleep(EVERY_SECONDS)

    def note(self) -> None:
        """Note what can be told without waiting."""
        note, index, store = self._counts.note, self._services.verification.index, self._services.store
        note(Mark.BEAT, time.monotonic_ns())
        self._counts.settle()
        note(CACHE_ENTRIES.cell(), len(index.entries))
        note(CACHE_LIMIT.cell(), index.max_entries)
        note(FEED_FOLLOWERS.cell(), self._services.feed.followers)
        note(FEED_LAG.cell(), int(self._services.feed.lag() * NANOSECONDS))
        note(JOBS_RUNNING.cell(), self._services.jobs.running)
        note(POOL_USED.cell(), store.connections_used)
        note(POOL_SIZE.cell(), store.connections_limit)
        evictions = index.evictions
        self._counts.grow(CACHE_EVICTIONS.cell(), evictions - self._evictions)
        self._evictions = evictions

    def _note_sizes(self) -> None:
        with suppress(StoreUnavailable):  # That is told by other numbers.
            size, log = self._services.store.sizes()
            self._counts.note(DATABASE_BYTES.cell(), size)
            self._counts.note(WAL_BYTES.cell(), log)
