"""The services count what they do: sign-ins, rows of the audit log, verdicts, errors, followers."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from keyturn.core.audit import AuditAction
from keyturn.counting.table import (
    AUDIT_ROWS,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    DATABASE_BYTES,
    DATABASE_ERRORS,
    FEED_FOLLOWERS,
    FEED_LAG,
    NANOSECONDS,
    POOL_SIZE,
    SIGN_INS,
    TRANSACTION_SECONDS,
    VERIFICATIONS,
    Cause,
    Mark,
    Result,
    Transaction,
    Way,
)
from keyturn.errors import CredentialRefused, StoreUnavailable
from keyturn.services.keys.keys import NewKey
from keyturn.web.edge.gauges import Gauges
from tests.conftest import PASSWORD
from tests.people import HERE, add_person, person, unknown_key
from tests.replica.edges import wait_until
from tests.services.feed.test_stream import Listener

if TYPE_CHECKING:
    from keyturn.composition import Services
    from tests.fakes import Clock


def count_of(services: Services, cell: int) -> int:
    return int(services.counts.cells[cell])


def test_sign_ins_are_counted_by_their_result(services: Services) -> None:
    """A right password is good; a wrong one and one of nobody are refused alike."""
    add_person(services)
    services.logins.log_in_api("bim", "bob", PASSWORD, HERE)
    for userid in ("bob", "nobody"):
        with pytest.raises(CredentialRefused):
            services.logins.log_in_api("bim", userid, "four wrong grey words", HERE)
    found = {result: count_of(services, SIGN_INS.cell(result)) for result in Result}
    assert found == {Result.GOOD: 1, Result.REFUSED: 2, Result.FAILED: 0}


def test_rows_of_the_audit_log_are_counted_once_they_are_committed(services: Services) -> None:
    """A change counts by its action; one that fails leaves no row, and counts nothing."""
    add_person(services)
    cell = AUDIT_ROWS.cell(AuditAction.API_KEY_CREATED)
    services.keys.create(person(services), HERE, NewKey())
    assert count_of(services, cell) == 1
    with pytest.raises(StoreUnavailable), services.store._database.writing() as connection:
        connection.execute(text("UPDATE nothing SET nothing = 1"))
    assert count_of(services, cell) == 1


def test_verdicts_are_counted_by_their_way(services: Services) -> None:
    """The first look-up asks the store, the next the cache; a wrong key is refused by either."""
    add_person(services)
    key = services.keys.create(person(services), HERE, NewKey()).secret.encode()
    judge = services.authenticator
    for _ in range(3):
        assert judge.authenticate([key], HERE) is not None
    for value in (unknown_key().encode(), b"no-key"):
        with pytest.raises(CredentialRefused):
            judge.authenticate([value], HERE)
    judge.identify(key)
    found = {
        (way, result): number
        for way in Way
        for result in Result
        if (number := count_of(services, VERIFICATIONS.cell(way, result)))
    }
    assert found == {
        (Way.STORE, Result.GOOD): 1,
        (Way.CACHE, Result.GOOD): 2,
        (Way.STORE, Result.REFUSED): 1,
        (Way.CACHE, Result.REFUSED): 1,
        (Way.INTROSPECTION, Result.GOOD): 1,
    }


@pytest.mark.parametrize("kind", Transaction)
def test_transactions_and_errors_are_counted(services: Services, kind: Transaction) -> None:
    """Each transaction is timed, also one that fails, and a failure has its cause."""
    database = services.store._database
    opened = {Transaction.READ: database.reading, Transaction.WRITE: database.writing}[kind]
    first = TRANSACTION_SECONDS.cell(kind)
    before = sum(services.counts.cells[first : first + TRANSACTION_SECONDS.width - 1])
    with suppress(StoreUnavailable), opened() as connection:
        connection.execute(text("SELECT nothing FROM nothing"))
    assert sum(services.counts.cells[first : first + TRANSACTION_SECONDS.width - 1]) == before + 1
    assert count_of(services, DATABASE_ERRORS.cell(Cause.STATEMENT)) == 1


def test_freshness_says_how_long_it_may_be_trusted(services: Services, clock: Clock) -> None:
    """The marks are those of the last look, and a look that fails says so."""
    services.verification.freshness.ensure()
    assert count_of(services, Mark.READ_AT) == int(clock.monotonic * NANOSECONDS)
    trusted = int(services.verification.freshness.trusted_until * NANOSECONDS)
    assert count_of(services, Mark.TRUSTED_UNTIL) == trusted
    assert count_of(services, Mark.READS_FAIL) == 0


def test_gauges_say_how_a_worker_is(services: Services, clock: Clock) -> None:
    """Remembered verdicts, the pool, the database's size, and who follows, and how far behind."""
    add_person(services)
    key = services.keys.create(person(services), HERE, NewKey()).secret.encode()
    services.authenticator.authenticate([key], HERE)
    index = services.verification.index
    gauges = Gauges(services)
    index.evictions += 2
    gauges.note()
    index.evictions += 3
    listener = Listener(services)
    listener.begin()
    services.keys.create(person(services), HERE, NewKey())
    wait_until(lambda: bool(services.feed._batches))
    clock.advance(timedelta(seconds=3))
    gauges.note()
    gauges._note_sizes()
    found = services.counts.cells
    assert found[CACHE_ENTRIES.cell()] == 1
    assert found[CACHE_EVICTIONS.cell()] == 5
    assert found[POOL_SIZE.cell()] == services.store.connections_limit > 0
    assert found[DATABASE_BYTES.cell()] > 0
    assert found[FEED_FOLLOWERS.cell()] == 1
    assert found[FEED_LAG.cell()] == 3 * NANOSECONDS
    listener.next()
    gauges.note()
    assert found[FEED_LAG.cell()] == 0
    listener.leave()
    gauges.note()
    assert found[FEED_FOLLOWERS.cell()] == 0
