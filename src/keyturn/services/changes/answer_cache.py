"""Answers of the database that are kept until anything at all changes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from keyturn.services.changes.freshness import Freshness

T = TypeVar("T")


class AnswerCache(Generic[T]):
    """Keeps up to `max_entries` answers. For reads that are asked often about things that change seldom."""

    def __init__(self, freshness: Freshness, *, max_entries: int) -> None:
        self._freshness = freshness
        self._max_entries = max_entries
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self._generation = 0
        self._lock = threading.Lock()
        freshness.on_change(self._forget)

    def find(self, question: Hashable, ask: Callable[[], T]) -> T:
        """Return the remembered answer if it is still true, else ask and remember.

        Raise what `ask` raises, and `StoreUnavailable` if it cannot be known whether the answer is true.
        """
        self._freshness.ensure()
        try:
            return self._entries[question]
        except KeyError:
            pass
        since = self._generation
        answer = ask()
        with self._lock:
            if since == self._generation:  # Nothing changed while the database was asked (R4).
                self._entries[question] = answer
                if len(self._entries) > self._max_entries:
                    self._entries.popitem(last=False)
        return answer

    def _forget(self) -> None:
        with self._lock:
            self._generation += 1
            self._entries.clear()
