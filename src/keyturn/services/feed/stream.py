"""The feed: tells verifiers in other programs all that decides over credentials, and every change at once.

The events between two marks are one change, and a follower who has read them holds one state that the
database was in. A mixture of several states could allow more than each of them. So a change is read in one
snapshot; a change that is too large for one is followed by the rows that changed while it was read.

A thread looks for changes while anybody follows, and writes what changed once for all who do. A change on
this host moves the shared counter, which it reads every `GLANCE_SECONDS`; one on another node comes with a
hint, by way of `Freshness`; and every `LOOK_SECONDS` it looks in any case. The events of a look carry the
instant from before the look: a follower may trust its copy up to then.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from keyturn.core import feed
from keyturn.core.audit import ChangesSince, Mark
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import InstallationSettings
from keyturn.errors import InvalidState, StoreUnavailable, TooBusy
from keyturn.services.changes.reader import ChangeReader
from keyturn.services.feed.pages import FeedPages
from keyturn.services.feed.touched import Touched, touched_by
from keyturn.store import Store
from keyturn.system import System

_log = logging.getLogger(__name__)

MAX_FOLLOWERS = 64
"""In one process. Each takes a connection, and for a full copy all of the database once."""
MAX_FOLLOWERS_OF_ONE = 16
"""With the keys of one user: whoever's program goes wrong leaves room for the others."""
GLANCE_SECONDS = 0.02
"""Most of the time from a revoke to its refusal elsewhere; a glance at the counter costs less than a µs."""
LOOK_SECONDS = 1.0
RETRY_SECONDS = 0.2
MAX_RESUMED = 20_000
"""After more changes than this a full copy is sent, which is cheaper than so many questions."""
MAX_READ_AT_ONCE = 200
"""After more changes than this each follower's stream reads for itself, and nothing of it is kept."""
MAX_KEPT_BATCHES = 4096
MAX_KEPT_BYTES = 32 * 1024 * 1024
"""Events that are kept for slow followers. A follower that falls behind that is cut off, and comes back."""

Part = bytes | Callable[[], Iterator[bytes]]
"""An event, or what reads the pages of one that is too large to be kept."""
_Part = bytes | Callable[["Subscription"], Iterator[bytes]]


class FellBehind(Exception):
    """A follower is too slow for the changes."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """How far what was told reaches."""

    mark: Mark
    at: float
    """Monotonic: what was committed until then was told."""


@dataclass(slots=True)
class Subscription:
    """Somebody who follows: how much of what is kept they were told, and how they are woken."""

    user_id: int
    wake: Callable[[], None]
    position: int
    hello_at: float = 0.0
    told: Mark | None = None
    """Up to where they were told by what was read for them alone, which may be newer than what is kept."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one look found."""

    newest: Mark
    parts: tuple[_Part, ...]
    at: float
    """Monotonic: when they were read."""

    @property
    def is_kept(self) -> bool:
        """Whether all of it is here, and nothing is still to be read."""
        return all(isinstance(part, bytes) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Change:
    """The changes up to a mark, as they were then."""

    newest: Mark
    touched: Touched
    events: list[bytes]
    """Of all that is named; the rest is to be read."""


class Feed:
    """Looks for changes, and keeps what is to be told of them until everybody was told."""

    def __init__(
        self, store: Store, changes: ChangeReader, told: InstallationSettings, system: System
    ) -> None:
        self._store = store
        self._changes = changes
        self._told = told
        self._system = system
        self.pages = FeedPages(store, system)
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._subscriptions: list[Subscription] = []
        self._thread: threading.Thread | None = None
        self._read_to: Mark | None = None
        self._seen = -1
        self._batches: deque[_Batch] = deque()
        self._first = 0
        """The number of the oldest batch that is kept."""
        self._kept_bytes = 0
        self._confirmed: Confirmed | None = None

    def wake(self) -> None:
        """Look at once: something may have changed."""
        self._woken.set()

    def follow(self, principal: Principal, wake: Callable[[], None]) -> Subscription:
        """Begin to follow from now on; raise as `check_may_follow`, or `TooBusy`, or `StoreUnavailable`.

        `wake` is called, from a thread, whenever there is something new to `take`.
        """
        check_may_follow(principal)
        with self._starting:
            if len(self._subscriptions) >= MAX_FOLLOWERS:
                raise TooBusy("Too many verifiers follow this server already.", retry_after=5)
            of_same = [
                other for other in list(self._subscriptions) if other.user_id == principal.acting_user_id
            ]
            if len(of_same) >= MAX_FOLLOWERS_OF_ONE:
                raise TooBusy("Too many verifiers follow this server with keys of this user.", retry_after=5)
            if self._thread is None or not self._thread.is_alive():
                self._start()
            with self._lock:
                subscription = Subscription(principal.acting_user_id, wake, self._first + len(self._batches))
                self._subscriptions.append(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """End following."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def begin(self, subscription: Subscription, nonce: str, mark: Mark | None) -> Iterator[bytes]:
        """Yield the first events: the greeting, then what changed since `mark`, or everything.

        Raise `StoreUnavailable` if the database is older than `mark` (D7).
        """
        subscription.hello_at = self._system.monotonic()  # Not before the request was made: that is enough.
        is_resumed = mark is not None and self._touched_since(mark) is not None
        yield feed.encode_event(
            feed.HELLO,
            feed.Hello(
                nonce=nonce,
                format=feed.FORMAT,
                issuer=self._told.issuer,
                audience=self._told.audience,
                key_prefix=self._told.key_prefix,
                max_token_life_seconds=self._told.max_token_life_seconds,
                resumed=is_resumed,
            ),
        )
        change = self._change_since(mark) if mark is not None and is_resumed else None
        yield from self._tell(change, subscription)
        self.wake()

    def take(self, subscription: Subscription) -> tuple[Sequence[Part], Confirmed | None]:
        """Return what this one was not told yet, and how far it reaches; raise `FellBehind`.

        How far is None while nothing was confirmed since they came.
        """
        with self._lock:
            if subscription.position < self._first:
                raise FellBehind
            batches = list(self._batches)[subscription.position - self._first :]
            confirmed = self._confirmed
            told = subscription.told
            if batches and told is not None and batches[0].newest.revision <= told.revision:
                # What was read for them is newer: that must not be taken back, not even for a moment.
                batches = [_Batch(told, (partial(self._tell_since, told),), batches[0].at)]
                subscription.position = self._first + len(self._batches)
            else:
                batches = _up_to_one_to_read(batches)
                subscription.position += len(batches)
            has_more = subscription.position < self._first + len(self._batches)
        if has_more:
            subscription.wake()
        parts = [
            part if isinstance(part, bytes) else partial(part, subscription)
            for batch in batches
            for part in batch.parts
        ]
        if has_more or confirmed is None or confirmed.at < subscription.hello_at:
            return parts, None
        return parts, confirmed

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._subscriptions)

    def lag(self) -> float:
        """Return the age of the oldest change that somebody who follows was not told, in seconds; else 0."""
        with self._lock:
            end = self._first + len(self._batches)
            behind = [one.position for one in self._subscriptions if self._first <= one.position < end]
            if not behind:
                return 0.0
            oldest = self._batches[min(behind) - self._first]
        return self._system.monotonic() - oldest.at

    def stop(self) -> None:
        """End the thread: the database is about to be closed."""
        self._stopping.set()
        self._woken.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        with self._lock:
            self._first += len(self._batches) + 1  # Whoever followed before missed something.
            self._batches.clear()
            self._kept_bytes, self._confirmed, self._seen = 0, None, -1
        self._read_to = self._changes.newest()
        self._thread = threading.Thread(target=self._run, name="keyturn-feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        look_at = 0.0
        while True:
            self._woken.wait(GLANCE_SECONDS)
            with self._starting:
                if self._stopping.is_set() or not self._subscriptions:
                    self._thread = None
                    return
            has_moved = self._woken.is_set() or self._store.counter.settled() != self._seen
            if not has_moved and self._system.monotonic() < look_at:
                continue
            self._woken.clear()
            try:
                self._look()
            except StoreUnavailable:
                self._woken.wait(RETRY_SECONDS)  # Whoever follows hears nothing, and trusts no longer.
            except Exception:  # noqa: BLE001 - whatever it is, the thread goes on: nobody else looks
                _log.exception("changes_not_told")
                self._woken.wait(RETRY_SECONDS)
            else:
                look_at = self._system.monotonic() + LOOK_SECONDS

    def _look(self) -> None:
        """Read what changed, and write it for everybody."""
        number, now = self._store.counter.settled(), self._system.monotonic()
        assert self._read_to is not None, "the thread was started with a mark"  # noqa: S101 - for the type checker
        with self._store.snapshot():
            since = self._changes.since(self._read_to, at_most=MAX_RESUMED)
            parts = self._parts_of(since, self._read_to)
        with self._lock:
            if parts:
                self._keep(_Batch(since.newest, parts, now))
            self._read_to, self._seen = since.newest, number
            self._confirmed = Confirmed(since.newest, now)
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.wake()

    def _keep(self, batch: _Batch) -> None:
        self._batches.append(batch)
        self._kept_bytes += _size(batch)
        while self._batches and (len(self._batches) > MAX_KEPT_BATCHES or self._kept_bytes > MAX_KEPT_BYTES):
            self._kept_bytes -= _size(self._batches.popleft())
            self._first += 1

    def _parts_of(self, since: ChangesSince, mark: Mark) -> tuple[_Part, ...]:
        """Return the present state of all that changed since `mark`. To be asked in the snapshot of `since`.

        Rows that few changes name are read once for all followers, and all others by each of them.
        """
        touched = _touched(since)
        if touched is None:
            return (partial(self._tell, None),)
        if len(since.changes or ()) > MAX_READ_AT_ONCE:
            return (partial(self._tell_since, mark),)
        rest = (partial(self._tell_rest, touched, since.newest),) if touched.is_at_large else ()
        return (*self._named(touched), *rest)

    def _touched_since(self, mark: Mark) -> Touched | None:
        """Return what has changed since `mark`, or None if that cannot be named."""
        return _touched(self._changes.since(mark, at_most=MAX_RESUMED))

    def _change_since(self, mark: Mark) -> _Change | None:
        """Return what has changed since `mark`, all of one state, or None if that cannot be named."""
        with self._store.snapshot():
            since = self._changes.since(mark, at_most=MAX_RESUMED)
            touched = _touched(since)
            if touched is None:
                return None
            return _Change(since.newest, touched, list(self._named(touched)))

    def _tell(self, change: _Change | None, subscription: Subscription) -> Iterator[bytes]:
        """Yield a change, or everything; then what changed while that was read, until that was little."""
        while True:
            if change is None:
                mark = self._changes.newest()
                yield from self.pages.everything()
            else:
                mark = subscription.told = change.newest
                yield from change.events
                if not change.touched.is_at_large:
                    return
                yield from self._at_large(change.touched)
            change = self._change_since(mark)

    def _tell_since(self, mark: Mark, subscription: Subscription) -> Iterator[bytes]:
        yield from self._tell(self._change_since(mark), subscription)

    def _tell_rest(self, touched: Touched, mark: Mark, subscription: Subscription) -> Iterator[bytes]:
        """Yield what is left of a change up to `mark` whose named part was told, and what changed since."""
        yield from self._at_large(touched)
        yield from self._tell_since(mark, subscription)

    def _named(self, touched: Touched) -> Iterator[bytes]:
        """Yield what is named one by one."""
        if touched.has_signing_keys:
            yield self.pages.signing_keys()
        yield from self.pages.users(touched.users)
        yield from self.pages.keys(touched.keys)
        yield from self.pages.sessions(touched.sessions)
        yield from self.pages.revoked_tokens(touched.jtis)

    def _at_large(self, touched: Touched) -> Iterator[bytes]:
        """Yield what a change touches any number of."""
        if touched.has_rules:
            yield from self.pages.all_users()
        yield from self.pages.sessions_of(touched.sessions_of)
        yield from self.pages.keys_of(touched.whole_users)


def check_may_follow(principal: Principal) -> None:
    """Raise `PermissionMissing` for who may not verify everybody, `InvalidState` for a key that is bound."""
    principal.check_may(Permission.VERIFY_CREDENTIALS)
    if principal.jkt is not None:
        # Looked at anew for each part of the stream, it would need a new proof each time.
        raise InvalidState("The feed is for keys that are not bound to a key pair.")


def _touched(since: ChangesSince) -> Touched | None:
    return None if since.changes is None else touched_by(since.changes)


def _up_to_one_to_read(batches: list[_Batch]) -> list[_Batch]:
    """Return the batches up to the first that is still to be read, which will be newer than the rest."""
    for number, batch in enumerate(batches, 1):
        if not batch.is_kept:
            return batches[:number]
    return batches


def _size(batch: _Batch) -> int:
    return sum(len(part) for part in batch.parts if isinstance(part, bytes))
