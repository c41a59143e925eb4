"""Opening what requests need when the first one comes, in a thread that none of them waits long for."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

from keyturn.errors import CannotStart, StoreUnavailable

T = TypeVar("T")

FIRST_SECONDS = 4.5
"""How old the first attempt may be until nobody waits for it any more."""
AGAIN_SECONDS = 0.5
"""The same for each later one: what failed once is not expected to succeed."""
TRIED_AGAIN_SECONDS = 1.0
"""How long after an attempt that failed another may begin."""

_log = logging.getLogger("keyturn.verifier")


class Opening(Generic[T]):
    """Opens something when it is first asked for; after a failure again, when it is asked for again.

    There is one attempt at a time, and however long it takes, it holds up nobody for longer than above.
    """

    def __init__(self, opens: Callable[[], T]) -> None:
        self._opens = opens
        self._lock = threading.Lock()
        self._attempt: _Attempt[T] | None = None

    def get(self) -> T:
        """Return what was opened; raise `StoreUnavailable` while it is not, or any mistake of the program."""
        attempt = self._begun()
        with suppress(TimeoutError):
            attempt.ended.result(attempt.seconds_left())
        return attempt.outcome()

    async def get_async(self) -> T:
        """Do what `get` does, and leave the event loop to others meanwhile."""
        attempt = self._begun()
        if not attempt.ended.done():
            waiting = asyncio.wrap_future(attempt.ended)
            with suppress(TimeoutError):
                await asyncio.wait_for(waiting, attempt.seconds_left())
        return attempt.outcome()

    def _begun(self) -> "_Attempt[T]":
        """Return the attempt that counts now, which is begun if there is none."""
        with self._lock:
            if self._attempt is None:
                self._attempt = _Attempt(self._opens, FIRST_SECONDS)
            elif self._attempt.may_be_followed():
                self._attempt = _Attempt(self._opens, AGAIN_SECONDS)
            return self._attempt


class _Attempt(Generic[T]):
    """One attempt, in a thread that does not keep the program from ending."""

    def __init__(self, opens: Callable[[], T], patience: float) -> None:
        self.ended: Future[None] = Future()
        self.ended.set_running_or_notify_cancel()  # So that nobody who waits can cancel it.
        self._opens = opens
        self._waited_for_until = time.monotonic() + patience
        self._opened: T
        self._error: BaseException | None = None
        self._next_at = 0.0
        threading.Thread(target=self._run, name="keyturn-opening", daemon=True).start()

    def _run(self) -> None:
        try:
            self._opened = self._opens()
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            if isinstance(error, CannotStart):
                _log.warning("The verifier could not be opened: %s", error)
            self._error, self._next_at = error, time.monotonic() + TRIED_AGAIN_SECONDS
        self.ended.set_result(None)

    def seconds_left(self) -> float:
        """Return for how long it may be waited for."""
        return max(0.0, self._waited_for_until - time.monotonic())

    def may_be_followed(self) -> bool:
        """Return whether it has failed, and long enough ago for another one."""
        return self.ended.done() and self._error is not None and time.monotonic() >= self._next_at

    def outcome(self) -> T:
        """Return what was opened; raise `StoreUnavailable`, or what was no failure but a mistake."""
        if not self.ended.done():
            raise StoreUnavailable("the verifier is still being opened in this process")
        if self._error is None:
            return self._opened
        if isinstance(self._error, CannotStart):
            raise StoreUnavailable(
                "the verifier could not be opened in this process just now"
            ) from self._error
        raise self._error
