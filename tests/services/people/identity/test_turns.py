"""Turns at costly work: nobody who asks often keeps others from theirs (Q4)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import TYPE_CHECKING

import pytest

from keyturn.services.people.identity.turns import (
    Asker,
    QueueFull,
    Turns,
    asker_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

ALICE, BOB = Asker("192.0.2.1", "alice"), Asker("192.0.2.1", "bob")
FAR = Asker("192.0.2.2", "alice")
PLACES = 4


class Line:
    """Turns at work that waits until it is let go, with somebody at work already."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.turns = Turns("line", at_once=1, waiting=PLACES)
        self.order: list[str] = []
        self._let_go = threading.Event()
        at_work = threading.Event()
        self._first = threads.submit(
            self.turns.take, Asker("first", "first"), lambda: (at_work.set(), self._let_go.wait(10))
        )
        assert at_work.wait(10)

    def come(self, asker: Asker, name: str) -> Future[None]:
        """Ask for a turn, and return once the request is in the line or was refused, or put another out."""
        before = self.turns.waiting
        arrived = self._threads.submit(self.turns.take, asker, lambda: self.order.append(name))
        while self.turns.waiting == before < PLACES and not arrived.done():
            sleep(0.001)
        return arrived

    def let_go(self) -> None:
        self._let_go.set()
        self._first.result(10)


@pytest.fixture
def line() -> Iterator[Line]:
    with ThreadPoolExecutor(16) as threads:
        opened = Line(threads)
        yield opened
        opened.let_go()


def test_a_newcomer_finds_a_place_in_a_full_queue(line: Line) -> None:
    """The last request of whoever has most makes room; to that one the queue stays full."""
    crowd = [line.come(ALICE, f"alice {number}") for number in range(PLACES)]
    with pytest.raises(QueueFull):
        line.come(ALICE, "one too many").result(10)
    newcomer = line.come(BOB, "bob")
    with pytest.raises(QueueFull):
        crowd[-1].result(10)
    line.let_go()
    for served in (newcomer, *crowd[:-1]):
        served.result(10)
    assert line.order == ["alice 0", "bob", "alice 1", "alice 2"]


def test_another_address_is_served_before_the_crowd_of_the_first(line: Line) -> None:
    """Addresses take turns, so many names behind one of them take nothing from the other."""
    crowd = [line.come(Asker("192.0.2.1", f"name {number}"), f"name {number}") for number in range(PLACES)]
    newcomer = line.come(FAR, "far")
    with pytest.raises(QueueFull):
        crowd[-1].result(10)
    line.let_go()
    newcomer.result(10)
    for served in crowd[:-1]:
        served.result(10)
    assert line.order == ["name 0", "far", "name 1", "name 2"]


def test_what_the_work_raises_is_raised_and_its_place_is_free(line: Line) -> None:
    """Work that fails gives its thread on like any other."""

    def fail() -> None:
        raise ZeroDivisionError

    line.let_go()
    for _ in range(PLACES + 2):
        with pytest.raises(ZeroDivisionError):
            line.turns.take(ALICE, fail)
    assert line.turns.take(ALICE, lambda: 7) == 7
    assert line.turns.waiting == 0


def test_one_network_of_a_subscriber_is_one_asker() -> None:
    """An IPv6 network of one subscriber is one address (Q3); who is on this machine has none."""
    assert asker_at("2001:db8::1", "a") == asker_at("2001:db8::2", "a")
    assert asker_at("2001:db8::1", "a") != asker_at("2001:db8:0:1::1", "a")
    assert asker_at(None, "a") != asker_at("192.0.2.1", "a")
