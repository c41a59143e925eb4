"""Counting: from many threads, in memory that other processes read, and that outlives who counted."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyturn.counting.counts import Counts, value_of
from keyturn.counting.shared import SharedCounts, Slot
from keyturn.counting.table import (
    BUCKETS,
    CACHE_ENTRIES,
    CONNECTIONS_REFUSED,
    FEED_LAG,
    REQUEST_SECONDS,
    SIGN_INS,
    Kind,
    Mark,
    Result,
)

THREADS, EACH = 8, 500
GOOD = SIGN_INS.cell(Result.GOOD)


def test_nothing_is_lost_between_threads() -> None:
    """What many threads count at once is all counted."""
    counts = Counts()

    def count(_: int) -> None:
        for _ in range(EACH):
            counts.add(GOOD)
            counts.observe(REQUEST_SECONDS.cell(Kind.API), 0.5)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(count, range(THREADS)))
    first = REQUEST_SECONDS.cell(Kind.API)
    assert counts.cells[GOOD] == THREADS * EACH
    assert sum(counts.cells[first : first + len(BUCKETS) + 1]) == THREADS * EACH


@pytest.mark.parametrize("bound", BUCKETS)
def test_a_time_is_in_the_bucket_whose_bound_it_does_not_exceed(bound: float) -> None:
    """Exactly the bound belongs to its bucket, and more to the next one."""
    counts, first = Counts(), REQUEST_SECONDS.cell(Kind.PAGE)
    counts.observe(first, bound)
    counts.observe(first, bound * 1.0001)
    number = first + BUCKETS.index(bound)
    assert (counts.cells[number], counts.cells[number + 1]) == (1, 1)


def test_one_time_stands_for_several() -> None:
    """A time that was taken of one request of 16 weighs as 16 do, in number and in sum."""
    counts, first = Counts(), REQUEST_SECONDS.cell(Kind.VERIFY)
    counts.observe(first, 0.001, 16)
    values = list(counts.cells[first : first + REQUEST_SECONDS.width])
    assert sum(values[:-1]) == 16
    assert values[-1] == 16_000_000


def _count(slot: Slot, number: int) -> None:
    counts = slot.open()
    counts.note(Mark.PROCESS, os.getpid())
    counts.note(CACHE_ENTRIES.cell(), 7)
    for _ in range(number):
        counts.add(GOOD)
    os.kill(os.getpid(), signal.SIGKILL)


def _spawn(slot: Slot, number: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_count, args=(slot, number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_counts_outlive_who_made_them() -> None:
    """A killed process leaves all that it counted; the next in its slot goes on from there."""
    shared = SharedCounts(2)
    for number in (3, 4):
        _spawn(shared.slot(1), number)
        shared.workers[1].end()
    shared.workers[0].add(GOOD)
    assert value_of(SIGN_INS, GOOD, shared.workers) == 8
    assert value_of(CACHE_ENTRIES, CACHE_ENTRIES.cell(), shared.workers) == 0
    assert shared.workers[1].cells[Mark.PROCESS] == 0


def test_values_of_workers_are_added_or_the_largest_is_taken() -> None:
    """Entries of all caches are added; of the ages of changes the oldest counts."""
    shared = SharedCounts(3)
    for number, worker in enumerate(shared.workers):
        worker.note(CACHE_ENTRIES.cell(), 10 + number)
        worker.note(FEED_LAG.cell(), 10 + number)
    assert value_of(CACHE_ENTRIES, CACHE_ENTRIES.cell(), shared.workers) == 33
    assert value_of(FEED_LAG, FEED_LAG.cell(), shared.workers) == 12


def test_the_end_of_a_worker_takes_nothing_back() -> None:
    """Counters, sums of times and plain verifications stay when a worker is replaced."""
    counts = SharedCounts(1).workers[0]
    counts.add(CONNECTIONS_REFUSED.cell())
    counts.observe(REQUEST_SECONDS.cell(Kind.API), 0.1)
    counts.cells[Mark.PLAIN_GOOD] += 1
    counts.note(Mark.STATE, 1)
    before = sum(counts.cells)
    counts.end()
    assert sum(counts.cells) == before - 1
