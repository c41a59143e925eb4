"""Answers of a server that are bounded in bytes and in time, even if it says one byte every other second.

The time-outs of the HTTP client begin anew with each byte.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from keyturn.system import System

T = TypeVar("T")

MAX_ANSWER_BYTES = 1024 * 1024
ANSWER_SECONDS = 6.0
"""For how long a question is waited for: as long as the client takes to connect and to give up reading."""


class AnswerTooLong(httpx.TransportError):
    """More came than the answer can be, or it came for too long."""


def ask(
    http: httpx.Client, method: str, path: str, *, system: System, **options: Any
) -> tuple[httpx.Response, bytes]:
    """Return the head and the body of an answer; raise `httpx.HTTPError`.

    A head that does not end holds the calling thread for longer: wait with a time-out (`start_in_thread`).
    """
    until, content = system.monotonic() + ANSWER_SECONDS, bytearray()
    with http.stream(method, path, **options) as answer:
        for some in answer.iter_bytes():
            content += some
            if len(content) > MAX_ANSWER_BYTES or system.monotonic() >= until:
                raise AnswerTooLong("the answer does not end")
    return answer, bytes(content)


def start_in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Begin `work` in a thread that nobody need wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
