"""The one reader of the audit log: it tells every change to its subscribers.

A cache subscribes to be invalidated before it is trusted again, while a request waits. A reader that may be
late (the feed) subscribes to be woken, and reads from a mark of its own with `since`.
"""

from collections.abc import Callable, Sequence

from keyturn.core.audit import AuditedChange, ChangesSince, Mark
from keyturn.store import Store

Subscriber = Callable[[Sequence[AuditedChange] | None], None]
"""Is told of changes, in the order in which they were committed; of None if anything may have changed."""


class ChangeReader:
    """Reads what was committed, each change once. One thread reads at a time: `Freshness` sees to that."""

    def __init__(self, store: Store) -> None:
        self._log = store.audit_log
        self._subscribers: list[Subscriber] = []
        self._read_to: Mark | None = None

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell this subscriber of every change from now on, before the subscribers from earlier.

        A cache that is filled from another one subscribes after it. So it forgets first, and is not filled
        again from old contents of the other one.
        """
        self._subscribers.insert(0, subscriber)

    def read(self) -> None:
        """Read what changed since the last call, and tell the subscribers.

        The first call tells them that anything may have changed. Raise `StoreUnavailable` if the database
        fails, or is older than what was read from it before (D7).
        """
        if self._read_to is None:
            self._read_to = self.newest()
            self.tell(None)
            return
        since = self.since(self._read_to)
        if since.changes is None or since.changes:
            self.tell(since.changes)
        self._read_to = since.newest

    def tell(self, changes: Sequence[AuditedChange] | None) -> None:
        """Tell the subscribers of these changes; of None, that anything may have changed."""
        for subscriber in self._subscribers:
            subscriber(changes)

    def newest(self) -> Mark:
        """Return the mark of the newest change."""
        return self._log.newest()

    def since(self, mark: Mark, *, at_most: int | None = None) -> ChangesSince:
        """Return what changed after `mark`; raise as `AuditLog.changes_since`."""
        return self._log.changes_since(mark, at_most=at_most)
