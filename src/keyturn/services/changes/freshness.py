"""Is what this process remembers still true?

Three things keep it so, each alone enough to end a wrong yes:

- Before anything remembered is trusted, the counter that all processes of this host share is compared
  with the one that was last looked up for (`ChangeCounter`): a change on this host is seen at once.
- A thread looks into the database whenever another node sends a hint, and at least every
  `POLL_SECONDS`: a change on another node is seen within that time.
- Nothing is trusted longer than `max_staleness` after the database last answered: a node that is cut off
  answers "unavailable", and never a remembered yes (R2).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from keyturn.core.audit import AuditedChange, Target
from keyturn.counting.counts import Counts
from keyturn.counting.table import NANOSECONDS, Mark
from keyturn.errors import CannotStart, StoreUnavailable
from keyturn.services.changes.invalidation import Invalidation
from keyturn.services.changes.reader import ChangeReader
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.verdict_cache import VerdictCache

_log = logging.getLogger(__name__)  # Verifiers in other programs have only the standard library's log.

POLL_SECONDS = 0.5
"""At least half of the second within which other nodes must refuse what was revoked (R1, R11)."""
LOOK_SECONDS = 2.0
"""How long a request waits for another one that is looking; on a database that hangs, all give up."""
RETRY_SECONDS = 0.2
"""After the database failed, nobody asks it again for this long: requests must not queue for it."""

NEVER = -1
"""A value that the counter never has."""

_TARGETS = frozenset(Target)


class Freshness:
    """Looks for changes, and has everything forgotten that they touch."""

    def __init__(
        self,
        store: Store,
        index: VerdictCache,
        *,
        max_staleness_seconds: float,
        system: System,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._counts = counts or Counts()
        self._max_staleness = max_staleness_seconds
        self._system = system
        self.changes = ChangeReader(store)
        self.changes.subscribe(Invalidation(index))
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._failure = "nothing was read yet"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.counter = store.counter
        self.seen = NEVER
        """The counter that was looked up for: what is remembered is true while it has not moved."""
        self.trusted_until = 0.0
        """The monotonic time after which nothing remembered is trusted."""

    def on_change(self, forget: Callable[[], None], *, of: Target | None = None) -> None:
        """Have `forget` called on any change, before what was remembered from before it would be trusted.

        With `of`, only on changes of this type of target.
        """

        def tell(changes: Sequence[AuditedChange] | None) -> None:
            if of is None or changes is None or any(_is_about(of, change) for change in changes):
                forget()

        self.changes.subscribe(tell)

    def ensure(self) -> None:
        """Return when what is remembered may be trusted now; raise `StoreUnavailable` if it may not."""
        if self.counter.settled() != self.seen or self._system.monotonic() >= self.trusted_until:
            self._look(is_asked=True)

    def why_not(self) -> str | None:
        """Say why nothing remembered may be trusted, None while it may, by the last look: without waiting."""
        if self._failed_at is None and self._system.monotonic() < self.trusted_until:
            return None
        return self._failure

    def start(self) -> None:
        """Look, and start the thread that goes on looking."""
        with suppress(StoreUnavailable):  # `why_not` says so.
            self.ensure()
        self._thread = threading.Thread(target=self._follow, name="keyturn-freshness", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._store.hints.close()
            self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._store.hints.wait(POLL_SECONDS)
            try:
                self._look(is_asked=False)
            except StoreUnavailable as error:
                # In the text too: other programs' logs leave out what comes beside it.
                _log.warning("database_away: %s", error, extra={"error": str(error)})
                self._stopping.wait(RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it is, the thread goes on: nobody else follows
                _log.exception("changes_not_followed")
                self._stopping.wait(RETRY_SECONDS)

    def _look(self, *, is_asked: bool) -> None:
        """Read what changed and forget it. `is_asked`: for a request, which another's look may do for."""
        # One that failed last time is waited for by one alone: requests must not queue for it.
        patience = LOOK_SECONDS if self._failed_at is None or not is_asked else 0
        if not self._lock.acquire(timeout=patience):
            raise StoreUnavailable("the database does not answer")
        try:
            number, now = self.counter.settled(), self._system.monotonic()
            if is_asked:
                if number == self.seen and now < self.trusted_until:
                    return
                if self._failed_at is not None and 0 <= now - self._failed_at < RETRY_SECONDS:
                    raise StoreUnavailable("the database did not answer just now")
            try:
                self._check_files()
                number = self.counter.settled()
                self.changes.read()
            except StoreUnavailable as error:
                self._failed_at, self._failure = self._system.monotonic(), str(error)
                self._counts.note(Mark.READS_FAIL, 1)
                raise
            self._failed_at = None
            self._failure = "the database does not answer"
            self.trusted_until = now + self._max_staleness
            self._counts.note(Mark.READS_FAIL, 0)
            self._counts.note(Mark.READ_AT, int(now * NANOSECONDS))
            self._counts.note(Mark.TRUSTED_UNTIL, int(self.trusted_until * NANOSECONDS))
            self.seen = number  # Last: from here on a remembered yes is given.
        finally:
            self._lock.release()

    def _check_files(self) -> None:
        """Check that the database and the counter are still the files that all other processes use.

        Raises `StoreUnavailable` without the file of the database: nothing remembered is trusted then. If the
        file of the counter was replaced, opens the new one and forgets everything.
        """
        try:
            self._store.check_file()
        except StoreUnavailable:
            self.seen, self.trusted_until = NEVER, 0.0
            self._counts.note(Mark.TRUSTED_UNTIL, 0)
            raise
        try:
            if not self.counter.is_replaced():
                return
            self.seen = NEVER  # First: the new file may show what the old one did.
            self.counter.reopen()
        except (CannotStart, OSError) as error:
            raise StoreUnavailable("the file that tells of changes cannot be used") from error
        self.changes.tell(None)  # The mark stays: an older database is not believed for that (D7).


def _is_about(target: Target, change: AuditedChange) -> bool:
    """Return whether a change may concern this type of target: one of a type that is unknown here may."""
    return change.target_type == target or change.target_type not in _TARGETS
