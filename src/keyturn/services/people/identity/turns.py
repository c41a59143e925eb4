"""Turns at costly work: few at once, few waiting, and none who asks often keeps the others from theirs.

Those who wait are taken in turn by address, and behind one address in turn by account. When the queue is
full, the last request of whoever has most in it makes room, so a newcomer finds a place beside a crowd (Q4).
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from keyturn.core.audit import Actor
from keyturn.verifying.rate_limit import network_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose turn it is to be."""

    network: str
    """The address, or its network for IPv6."""
    account: str
    """Of whoever asks, or is named: behind one address there may be an office."""


def asker_at(address: str | None, account: str) -> Asker:
    """Return who asks from an address, None for this machine."""
    return Asker("" if address is None else network_of(address), account)


def asker_of(actor: Actor) -> Asker:
    """Return who asks when `actor` makes a change."""
    return asker_at(actor.address, account_of(actor.user_id))


def account_of(user_id: int | None) -> str:
    """Return what the requests of one account are counted under."""
    return f"user {user_id}"


class QueueFull(Exception):
    """There is no place for this request, or there was one until others came who have fewer."""


@dataclass(eq=False, slots=True)
class _Waiting:
    work: Callable[[], Any]
    done: Future[Any]


class Turns:
    """Works in `at_once` threads, while at most `waiting` requests wait."""

    def __init__(self, name: str, *, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._places = waiting
        self._threads = ThreadPoolExecutor(at_once, name)
        self._queue: OrderedDict[str, OrderedDict[str, deque[_Waiting]]] = OrderedDict()
        self._lock = threading.Lock()
        self._working = 0
        self.waiting = 0
        """How many wait now."""

    def take(self, asker: Asker, work: Callable[[], T]) -> T:
        """Return what `work` returns, and raise what it raises, once it had its turn; else `QueueFull`."""
        place = _Waiting(work, Future())
        with self._lock:
            accounts = self._queue.setdefault(asker.network, OrderedDict())
            accounts.setdefault(asker.account, deque()).append(place)
            self.waiting += 1
            self._start()
            if self.waiting > self._places:
                self._drop_one(asker)
        done: Future[T] = place.done
        return done.result()

    def _start(self) -> None:
        """Begin with those whose turn it is. The lock is held."""
        while self.waiting and self._working < self._at_once:
            network, accounts = self._queue.popitem(last=False)
            account, places = accounts.popitem(last=False)
            place = places.popleft()
            self.waiting -= 1
            if places:
                accounts[account] = places
            if accounts:
                self._queue[network] = accounts
            self._working += 1
            self._threads.submit(self._work, place)

    def _work(self, place: _Waiting) -> None:
        try:
            result = place.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for.
            place.done.set_exception(error)
        else:
            place.done.set_result(result)
        finally:
            with self._lock:
                self._working -= 1
                self._start()

    def _drop_one(self, newcomer: Asker) -> None:
        """Refuse the last request of who has most; of equals the newcomer's. The lock is held."""
        network = max(
            reversed(self._queue),
            key=lambda name: (sum(map(len, self._queue[name].values())), name == newcomer.network),
        )
        accounts = self._queue[network]
        account = max(
            reversed(accounts),
            key=lambda name: (len(accounts[name]), Asker(network, name) == newcomer),
        )
        accounts[account].pop().done.set_exception(QueueFull())
        self.waiting -= 1
        if not accounts[account]:
            del accounts[account]
        if not accounts:
            del self._queue[network]
