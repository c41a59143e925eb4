"""The overview of workers: what is said of them when one starts, stops, hangs or cannot read."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from keyturn.counting.shared import SharedCounts
from keyturn.counting.table import (
    METRICS,
    NANOSECONDS,
    REQUESTS,
    VERIFICATIONS,
    Answered,
    Kind,
    Mark,
    Result,
    Source,
    State,
    Way,
)
from keyturn.web.edge.overview import SILENT_SECONDS, Overview
from tests.fakes import Clock

TRUST = timedelta(seconds=5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def two(clock: Clock) -> tuple[SharedCounts, Overview]:
    """Two workers that serve, whose database answered just now."""
    counts = SharedCounts(2)
    for worker in counts.workers:
        worker.note(Mark.STATE, State.SERVING)
        worker.note(Mark.BEAT, time.monotonic_ns())
        worker.note(Mark.READ_AT, int(clock.monotonic * NANOSECONDS))
        worker.note(Mark.TRUSTED_UNTIL, int((clock.monotonic + TRUST.total_seconds()) * NANOSECONDS))
    return counts, Overview(counts, clock.system())


def value(overview: Overview, name: str, **labels: str) -> float:
    for family in overview.collect():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    raise AssertionError(f"there is no {name} {labels}")


def test_it_is_ready_until_exactly_the_end_of_trust(clock: Clock) -> None:
    """Fault F3: what is remembered is trusted up to its last instant, and at that the server is not ready."""
    _, overview = two(clock)
    clock.advance(TRUST - timedelta(milliseconds=1))
    assert overview.readiness().reads
    assert value(overview, "keyturn_staleness_seconds") == pytest.approx(4.999)
    clock.advance(timedelta(milliseconds=1))
    assert not overview.readiness().reads
    assert overview.readiness().database == "away"


def test_one_worker_that_cannot_read_is_told(clock: Clock) -> None:
    """Fault F3: the port is shared, so the server is ready if each worker that takes requests is."""
    counts, overview = two(clock)
    counts.workers[1].note(Mark.READS_FAIL, 1)
    assert (overview.readiness().server, overview.readiness().database) == ("up", "away")
    assert value(overview, "keyturn_ready") == 0


def test_one_worker_that_cannot_write_is_told_and_reads_go_on(clock: Clock) -> None:
    """Fault F3: while writing fails, verification is ready and writing is not."""
    counts, overview = two(clock)
    counts.workers[0].note(Mark.WRITES_FAIL, 1)
    assert overview.readiness().reads
    assert overview.readiness().writes == "failing"
    assert value(overview, "keyturn_writes_failing") == 1


def test_it_starts_once(clock: Clock) -> None:
    """The start is over when all workers have served; a worker that is replaced begins no other start."""
    counts, overview = two(clock)
    counts.workers[0].end()
    assert not overview.has_started()
    counts.workers[0].note(Mark.STATE, State.SERVING)
    assert overview.has_started()
    counts.workers[1].end()
    assert overview.has_started()
    assert overview.readiness().reads is False or overview.readiness().server == "up"


def test_a_worker_that_is_replaced_leaves_the_others_ready(clock: Clock) -> None:
    """The others take all requests until it serves."""
    counts, overview = two(clock)
    counts.workers[1].end()
    assert overview.readiness().reads
    assert value(overview, "keyturn_workers") == 1


def test_one_that_stops_makes_the_server_not_ready(clock: Clock) -> None:
    """Fault F6: balancers turn away while workers drain."""
    counts, overview = two(clock)
    counts.workers[1].note(Mark.STATE, State.STOPPING)
    assert overview.readiness().server == "stopping"
    assert not overview.readiness().reads


def test_it_lives_while_one_loop_goes_round(clock: Clock) -> None:
    """A server all of whose loops are silent for long hangs; one that still starts does not."""
    counts, overview = two(clock)
    long_ago = time.monotonic_ns() - int(SILENT_SECONDS * NANOSECONDS) - 1
    counts.workers[0].note(Mark.BEAT, long_ago)
    assert overview.is_live()
    counts.workers[1].note(Mark.BEAT, long_ago)
    assert not overview.is_live()
    counts.workers[1].end()
    assert overview.is_live()


def test_plain_verifications_count_as_both(clock: Clock) -> None:
    """What the protocol answers out of the cache counts as a request, and as a verification by the cache."""
    counts, overview = two(clock)
    counts.workers[0].cells[Mark.PLAIN_GOOD] += 3
    counts.workers[1].add(
        VERIFICATIONS.cell(Way.CACHE, Result.GOOD), REQUESTS.cell(Kind.VERIFY, Answered.SUCCESS)
    )
    assert value(overview, "keyturn_verifications_total", way="cache", result="good") == 4
    assert value(overview, "keyturn_requests_total", kind="verify", status="2xx") == 4


def test_everything_in_the_table_is_shown(clock: Clock) -> None:
    """Each metric of the table, with each combination of its labels, is in the text."""
    _, overview = two(clock)
    shown = {family.name: family for family in overview.collect()}
    for metric in METRICS:
        family = shown.get(metric.name) or shown[metric.name.removesuffix("_total")]
        if metric.source is not Source.OBSERVED:
            found = {tuple(sample.labels[name] for name in metric.labels) for sample in family.samples}
            assert found == set(metric.combinations)
