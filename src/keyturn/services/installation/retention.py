"""Rows that are over are removed, by few at a time, so that nobody waits for it.

The rows are found by reading, which holds up nobody, and removed by short transactions with rests between.
Every process of a server looks: one that finds others at the same rows leaves off.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import structlog

from keyturn.errors import KeyturnError
from keyturn.store import Store
from keyturn.store.installation.retention import (
    CALLERS,
    ENDED_KEYS,
    ENDED_SESSIONS,
    JOBS,
    PAST_ROTATIONS,
    REVOKED_TOKENS,
    USES,
    USES_OF_ENDED_KEYS,
    Pruned,
    RowId,
)
from keyturn.system import System

KEPT = timedelta(days=90)
"""How long ended sessions, ended jobs, counted uses, callers and rotations are kept."""
LISTED = 1000
"""So many rows are found at once."""
FIRST = 8
"""So many are removed by the first transaction, as nobody knows yet how long it takes."""
WRITE_SECONDS = 0.005
"""How long a transaction should take: a tenth of the time that a write of others may wait (50 ms)."""
RESTS = 9
"""After each transaction the thread rests so many times as long: others have the database meanwhile."""
LOOK_SECONDS = 5.0
"""How long one look may take. The rest waits for the next one."""

_log = structlog.get_logger()


class Pruning:
    """Removes the rows of tables in batches that are as large as their time allows."""

    def __init__(self, store: Store, system: System) -> None:
        self._store = store
        self._system = system
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopping.set()

    def prune(self, pruned: Pruned, bound: Any, *, until: float = float("inf")) -> tuple[int, bool]:
        """Remove what is over; return how many rows, and whether more are to be removed soon.

        There are more at the monotonic time `until` and after `stop`. A process leaves off where another one
        removes the same rows.
        """
        size, removed = FIRST, 0
        for rows in self._listed(pruned, bound):
            first = 0
            while first < len(rows):
                if self._stopping.is_set() or self._system.monotonic() >= until:
                    return removed, True
                some = rows[first : first + size]
                began_at = self._system.monotonic()
                done = self._store.retention.remove(pruned, bound, some)
                took = self._system.monotonic() - began_at
                first, removed = first + len(some), removed + done
                if 2 * done < len(some):
                    return removed, False
                size = next_size(size, took)
                self._stopping.wait(took * RESTS)
        return removed, False

    def _listed(self, pruned: Pruned, bound: Any) -> Iterator[list[RowId]]:
        after: RowId | None = None
        while rows := self._store.retention.list_over(pruned, bound, after=after, size=LISTED):
            yield rows
            after = rows[-1]


def next_size(size: int, took: float) -> int:
    """Return how many rows the next batch has, after one of `size` rows that took so many seconds."""
    fitting = int(size * WRITE_SECONDS / max(took, 1e-6))
    return max(1, min(fitting, 2 * size, LISTED))


class Retention:
    """Looks for rows that are over, and removes them."""

    def __init__(
        self,
        pruning: Pruning,
        *,
        ended_keys_kept: timedelta | None,
        archive: Callable[[], bool] | None = None,
        system: System,
    ) -> None:
        """Keep ended keys so long; None for ever.

        `archive` moves events out of the audit log, and says whether there may be more; None for never.
        """
        self._archive = archive
        self._pruning = pruning
        self._system = system
        self._looking = threading.Lock()
        self._kept = [(pruned, KEPT) for pruned in _IN_TIME] + [
            (pruned, ended_keys_kept) for pruned in _OF_ENDED_KEYS if ended_keys_kept is not None
        ]

    def look(self) -> bool:
        """Remove what is over, for `LOOK_SECONDS` at most; return whether more is to be removed soon.

        A failure of the database is logged, and the next look tries again.
        """
        with self._looking:
            until, has_more = self._system.monotonic() + LOOK_SECONDS, False
            for pruned, kept in self._kept:
                try:
                    removed, is_left = self._pruning.prune(pruned, self._system.now() - kept, until=until)
                except KeyturnError as error:
                    _log.warning("pruning_failed", what=pruned.name, reason=str(error))
                    continue
                if removed:
                    _log.info("pruned", what=pruned.name, rows=removed)
                has_more = has_more or is_left
            return self._archived() or has_more

    def _archived(self) -> bool:
        try:
            return self._archive is not None and self._archive()
        except KeyturnError as error:
            _log.error("audit_not_archived", reason=str(error))
            return False

    def close(self) -> None:
        """End a look that is under way."""
        self._pruning.stop()
        with self._looking:
            return


_IN_TIME = (ENDED_SESSIONS, JOBS, USES, CALLERS, PAST_ROTATIONS, REVOKED_TOKENS)
_OF_ENDED_KEYS = (USES_OF_ENDED_KEYS, ENDED_KEYS)
