"""For how long what is remembered may be trusted: the face of `Freshness`, moved by what the server says."""

import threading

from keyturn.errors import StoreUnavailable
from keyturn.system import System


class StillCounter:
    """A counter that never moves: nothing here changes behind the back of whoever follows the feed."""

    def __init__(self) -> None:
        self.cell = memoryview(bytearray(8)).cast("Q")

    def settled(self) -> int:
        """Return what it shows."""
        return 0


class Trust:
    """Ends by itself, unless somebody extends it."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.counter = StillCounter()
        self.seen = 0
        """The counter that was looked up for: always the present one."""
        self.trusted_until = 0.0
        """The monotonic time after which nothing remembered is trusted."""
        self._why = "the Keyturn server was not heard from yet"
        self._lock = threading.Lock()
        self._is_over = False

    def extend(self, until: float) -> None:
        """Trust until this monotonic time, or longer if that was so already."""
        with self._lock:
            if not self._is_over:
                self.trusted_until = max(self.trusted_until, until)

    def end(self, why: str, *, for_good: bool = False) -> None:
        """Trust nothing, until it is extended; or never again."""
        with self._lock:
            if not self._is_over:
                self._why, self.trusted_until, self._is_over = why, 0.0, for_good

    def tell_why(self, why: str) -> None:
        """Say why it is not extended, for when it ends."""
        with self._lock:
            if not self._is_over:
                self._why = why

    def ensure(self) -> None:
        """Return when what is remembered may be trusted now; raise `StoreUnavailable` if it may not."""
        if self._system.monotonic() >= self.trusted_until:
            raise StoreUnavailable(self._why)

    def why_not(self) -> str | None:
        """Say why nothing remembered may be trusted; None while it may."""
        return self._why if self._system.monotonic() >= self.trusted_until else None
