"""How often one source may fail: a budget that refills, so that guessing costs nobody else anything.

The budget is a leaky bucket in its shortest form, the generic cell rate algorithm: of each source only
the time is kept at which its bucket would be empty again. (ITU-T I.371; the `limits` package keeps a
counter, a lock and a thread's work for each source, without a bound, and on the clock of the wall.)
"""

import threading
from collections import OrderedDict
from ipaddress import IPv6Address
from math import ceil

from keyturn.core.sources import read_address
from keyturn.errors import WRONG_CREDENTIALS, CredentialRefused, Reason, TooManyFailures
from keyturn.system import System

MAX_SOURCES = 100_000
"""About 20 MB. Above it the source that failed longest ago is forgotten."""
IPV6_PREFIX = 64
"""One subscriber has at least this network to choose addresses from, so it counts as one source (Q3)."""


class FailureBudget:
    """Counts by source, in this process, what each may do only so often: present a wrong credential, say.

    `refusal` is what one is told whose budget is spent; `{seconds}` in it is how long to wait.
    """

    def __init__(self, per_minute: int, system: System, *, refusal: str = WRONG_CREDENTIALS) -> None:
        self._interval = 60.0 / per_minute
        self._depth = 60.0
        self._system = system
        self._refusal = refusal
        self._empty_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, source: str | None) -> None:
        """Raise `TooManyFailures` if this source has spent its budget. An unknown source has none."""
        if source is None:
            return
        self._check(self._empty_at.get(_name_of(source), 0.0), self._system.monotonic())

    def note(self, source: str | None) -> None:
        """Count a failure of this source; raise `TooManyFailures` instead if its budget is spent."""
        if source is None:
            return
        name, now = _name_of(source), self._system.monotonic()
        with self._lock:
            empty_at = max(self._empty_at.get(name, 0.0), now)
            self._check(empty_at, now)
            self._empty_at[name] = empty_at + self._interval
            self._empty_at.move_to_end(name)
            if len(self._empty_at) > MAX_SOURCES:
                self._empty_at.popitem(last=False)

    def note_refused(self, refused: CredentialRefused, source: str | None) -> None:
        """Count a wrong credential, as `note` does.

        One that was good once is no guess: whoever goes on using it must not use up their neighbours' budget.
        """
        if not refused.secret_matched and refused.reason is not Reason.MISSING:
            self.note(source)

    def _check(self, empty_at: float, now: float) -> None:
        wait = empty_at + self._interval - self._depth - now
        if wait > 1e-6:  # Not 0: sums of intervals miss their minute by the last digit.
            seconds = ceil(wait)
            raise TooManyFailures(retry_after=seconds, message=self._refusal.format(seconds=seconds))


def _name_of(source: str) -> str:
    """Return what a source is counted under: its address, or its network for IPv6, in one spelling."""
    link = source.partition("%")[2]  # Of an address that is good on one link only.
    address = read_address(source.partition("%")[0])
    if isinstance(address, IPv6Address):
        return f"{int(address) >> (128 - IPV6_PREFIX):x}::%{link}"
    return source if address is None else str(address)
