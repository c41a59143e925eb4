"""Answers of a server that are bounded in bytes and in time, even if it says one byte every other second.

The time-outs of the HTTP client begin anew with each byte.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
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
    with http.stream(method, path, headers=_trace_headers(), **options) as answer:
        for some in answer.iter_bytes():
            content += some
            if len(content) > MAX_ANSWER_BYTES or system.monotonic() >= until:
                raise AnswerTooLong("the answer does not end")
    return answer, bytes(content)


def _trace_headers() -> dict[str, str]:
    """Return what tells the server of the span that it is asked within, in a program that traces."""
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.propagate import inject  # noqa: PLC0415 - no requirement of ours: it is there already

        inject(headers)
    return headers


def start_in_thread(work: Callable[[], T], name: str) -> Future[T]:
    """Begin `work` in a thread that nobody need wait for."""
    future: Future[T] = Future()
    context = copy_context()  # With the span, if there is one, that this is asked within.

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
