"""How often one source may fail: a limit that refills, so that guessing costs nobody else anything.

The budget is a leaky bucket, kept by the generic cell rate algorithm (ITU-T I.371): for each source, one
time, at which its bucket is empty again. The `limits` package would keep a counter and a lock for each
source, without a bound, and use the wall clock.
"""

import threading
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address
from math import ceil

from keyturn.core.networks import read_address
from keyturn.errors import WRONG_CREDENTIALS, CredentialRefused, RateLimit, Reason, TooManyFailures
from keyturn.system import System

MAX_SOURCES = 100_000
"""About 20 MB. Above it the source that failed longest ago is forgotten."""
IPV6_PREFIX = 64
"""One subscriber has at least this network to choose addresses from, so it counts as one source (Q3)."""


class RateLimiter:
    """Limits in this process how often each source may do something, such as present a wrong credential.

    `refusal` is the message to a source that spent its budget, with `{wait}` for the time to wait.
    """

    def __init__(
        self,
        per_minute: int,
        system: System,
        *,
        refusal: str = WRONG_CREDENTIALS,
        limit: RateLimit = RateLimit.CREDENTIALS,
    ) -> None:
        self._limit = limit
        self._interval = 60.0 / per_minute
        self._depth = 60.0
        self._system = system
        self._refusal = refusal
        self._empty_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, source: str | None) -> None:
        """Raise `TooManyFailures` if this source has spent its budget. An unknown source has none."""
        self._refuse(self.wait_of(source))

    def note(self, source: str | None) -> None:
        """Count a failure of this source; raise `TooManyFailures` instead if its budget is spent."""
        self._refuse(self.spend(source))

    def wait_of(self, source: str | None) -> int:
        """Return for how many seconds the source must wait; 0 if it need not."""
        if source is None:
            return 0
        return self._wait(self._empty_at.get(network_of(source), 0.0), self._system.monotonic())

    def spend(self, source: str | None) -> int:
        """Count a failure of this source, and return 0; with a spent budget, the seconds to wait."""
        if source is None:
            return 0
        name, now = network_of(source), self._system.monotonic()
        with self._lock:
            empty_at = max(self._empty_at.get(name, 0.0), now)
            if wait := self._wait(empty_at, now):
                return wait
            self._put(name, empty_at + self._interval)
        return 0

    def charge(self, source: str) -> None:
        """Count what was done already, also above the budget: what follows waits longer."""
        name, now = network_of(source), self._system.monotonic()
        with self._lock:
            self._put(name, max(self._empty_at.get(name, 0.0), now) + self._interval)

    def give_back(self, source: str | None) -> None:
        """Take back one `note` of what turned out to be no failure."""
        if source is None:
            return
        name = network_of(source)
        with self._lock:
            if name in self._empty_at:
                self._empty_at[name] -= self._interval

    def _put(self, name: str, empty_at: float) -> None:
        """Remember when this bucket will be empty. The lock is held."""
        self._empty_at[name] = empty_at
        self._empty_at.move_to_end(name)
        if len(self._empty_at) > MAX_SOURCES:
            self._empty_at.popitem(last=False)

    def _wait(self, empty_at: float, now: float) -> int:
        wait = empty_at + self._interval - self._depth - now
        return (
            ceil(wait) if wait > 1e-6 else 0
        )  # Not 0: sums of intervals miss their minute by the last digit.

    def _refuse(self, wait: int) -> None:
        if wait:
            told = f"{wait} second{'' if wait == 1 else 's'}"
            message = self._refusal.format(wait=told)
            raise TooManyFailures(retry_after=wait, message=message, limit=self._limit)


class CredentialRateLimit:
    """The limits of one address, for wrong credentials and for look-ups: `per_minute` each.

    One is for what is known to be wrong: by its form, by its signature, or since it was looked up before. The
    other is for what has to be looked up to know, and turns out to be wrong. Without it a program that goes
    on sending one wrong key would take the first use of their good keys from everybody behind the address.
    """

    def __init__(self, per_minute: int, system: System) -> None:
        self._wrong = RateLimiter(per_minute, system)
        self._unseen = RateLimiter(per_minute, system)

    def check_look_up(self, source: str | None, *, was_wrong: bool) -> None:
        """Raise `TooManyFailures` unless the source may have a credential looked up.

        `was_wrong`: the last look-up found none, and is too long ago to be believed.
        """
        (self._wrong if was_wrong else self._unseen).check(source)

    def note_unknown(self, source: str | None, *, was_wrong: bool) -> None:
        """Count a look-up that found nothing. `note_refused` counts the refusal that follows."""
        if not was_wrong:
            with suppress(TooManyFailures):  # It was looked up already, by several requests at once.
                self._unseen.note(source)

    def spend_wrong(self, source: str | None) -> int:
        """Count what is known to be wrong, as `note_refused` does; return the seconds to wait, or 0."""
        return self._wrong.spend(source)

    def wait_of_wrong(self, source: str | None) -> int:
        """Return for how many seconds the source must wait before what was wrong is looked up again, or 0."""
        return self._wrong.wait_of(source)

    def note_refused(self, refused: CredentialRefused, source: str | None) -> None:
        """Count a wrong credential; raise `TooManyFailures` instead if the budget is spent.

        One that was good once is no guess: its further use must not spend the budget of the neighbors.
        """
        if not refused.secret_matched and refused.reason is not Reason.MISSING:
            self._wrong.note(source)


@lru_cache(8192)
def network_of(source: str) -> str:
    """Return what a source is counted under: its address, or its network for IPv6, in one spelling."""
    link = source.partition("%")[2]  # Of an address that is good on one link only.
    address = read_address(source.partition("%")[0])
    if isinstance(address, IPv6Address):
        return f"{int(address) >> (128 - IPV6_PREFIX):x}::%{link}"
    return source if address is None else str(address)
