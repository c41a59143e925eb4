"""An open loop: requests come when they are due, whether the server answers or not.

So each wait is counted from the moment at which its request was due, and no pause of the server is left out.
"""

import selectors
import socket
import time
from collections.abc import Callable
from threading import Event, Thread

from bench.errors import NotMeasured
from bench.installations import VERIFY_PATH
from bench.percentiles import percentile
from bench.processors import undisturbed
from bench.wire import HOST, Request

SHARE = 0.2
"""Of its capacity, the load that the server carries beside other work."""
CONNECTIONS = 16


def sleeping(seconds: float) -> Callable[[], None]:
    """Return work that takes so long and does nothing."""
    return lambda: time.sleep(seconds)


def verifying(key: str) -> Request:
    """Return the request that verifies a key."""
    return Request("GET", VERIFY_PATH, {"Authorization": key})


def open_loop(port: int, key: str, rate: float, work: Callable[[], object]) -> float:
    """Return the p99 in milliseconds of requests that come at a rate while some work is done."""
    done = Event()

    def run() -> None:
        try:
            work()
        finally:
            done.set()

    thread = Thread(target=run)
    thread.start()
    try:
        with undisturbed():
            waits = _ask_until(done, port, verifying(key).encoded(port), rate)
    finally:
        thread.join()
    if not waits:
        raise NotMeasured("the work ended before a request was answered")
    return percentile(sorted(waits), 99) * 1000


def _ask_until(done: Event, port: int, request: bytes, rate: float) -> list[float]:
    """Send a request whenever one is due on whichever connection is free; return how long each waited."""
    poll = selectors.SelectSelector()  # Of all, it alone waits for less than a millisecond.
    free: list[socket.socket] = []
    for _ in range(CONNECTIONS):
        opened = socket.create_connection((HOST, port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(opened, selectors.EVENT_READ)
        free.append(opened)
    waits: list[float] = []
    due_of: dict[socket.socket, float] = {}
    due = time.perf_counter()
    while not done.is_set():
        now = time.perf_counter()
        while due <= now and free:
            connected = free.pop()
            due_of[connected] = due
            connected.sendall(request)
            due += 1 / rate
        for ready, _ in poll.select(max(0.0, due - time.perf_counter()) if free else 0.1):
            connected = ready.fileobj  # type: ignore[assignment]  # sockets alone are registered
            if not connected.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise NotMeasured("a request was refused")
            waits.append(time.perf_counter() - due_of.pop(connected))
            free.append(connected)
    for key in list(poll.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]  # as above
    return waits
