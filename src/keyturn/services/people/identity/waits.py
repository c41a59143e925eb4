"""How long whoever failed to sign in is told to wait: alike for accounts and for names that nobody has.

The wait that is enforced stands with the account (`attempts`), and whoever was told of it would learn that
there is one. So what is told follows from nothing but the failures from one address under one name, which
this process remembers for a while. Only the rule is shared: five failures, then a wait that doubles.

It is never taken back by a sign-in that works: by that, somebody else at the same address would learn of the
account too.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

FORGOTTEN_AFTER = timedelta(minutes=30)
"""After so long without a failure the count begins anew. It exceeds the longest wait that ends by itself."""
MAX_REMEMBERED = 10_000
"""Of so many names and addresses; those that were quiet for longest are forgotten first."""

Lock = Callable[[int, datetime], datetime | None]


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: datetime
    until: datetime | None


class ToldWaits:
    """Counts failures by address and name, and says until when it is no use to try again."""

    def __init__(self, lock: Lock) -> None:
        self._lock_of = lock
        self._seen: OrderedDict[bytes, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, address: str | None, name: str, now: datetime) -> datetime | None:
        """Count a failure; return until when they wait, None if they need not.

        A failure while they wait does not count, as with the account.
        """
        place = hashlib.sha256(f"{address} {name}".encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            seen = self._seen.pop(place, None)
            if seen is None or now - seen.last_at >= FORGOTTEN_AFTER:
                seen = _Failures(0, now, None)
            if seen.until is None or seen.until <= now:
                seen.count += 1
                seen.until = self._lock_of(seen.count, now)
            seen.last_at = now
            self._seen[place] = seen
            if len(self._seen) > MAX_REMEMBERED:
                self._seen.popitem(last=False)
            return seen.until
