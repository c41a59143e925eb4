"""Connections on real databases: registered, tested, crawled, browsed, rotated and deleted."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters.findings import State
from keyturn.adapters.ladder import StepResult
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.connections import ConnectionState, FoundObject, JobSearch, JobState, JobType
from keyturn.errors import Conflict, InvalidState, NotFound
from keyturn.services.connections.jobs import LOST, LOST_OUTPUT
from keyturn.services.connections.registry import NewConnection
from keyturn.services.connections.sealing import OpenedSecrets
from keyturn.services.connections.settings import ChangedSettings
from keyturn.verifying.origin import COMMAND_LINE
from tests.people import HERE, actions
from tests.services.connections.conftest import crawled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg

    from keyturn.adapters.validation import Value
    from keyturn.composition import Services
    from keyturn.core.connections import ConnectionRecord
    from keyturn.core.principal import Principal
    from tests.fakes import Clock
    from tests.mariadb import MariaDB

    Register = Callable[[str, Mapping[str, Any]], ConnectionRecord]
    PostgreSQL = tuple[psycopg.Connection[tuple[object, ...]], dict[str, Value]]

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint, total numeric(10,2));
CREATE TABLE shop."Größe%_" (note text);
COMMENT ON TABLE shop.orders IS 'All of them';
CREATE SCHEMA empty;
GRANT USAGE ON SCHEMA shop, empty TO PUBLIC;
"""


def steps(services: Services, keeper: Principal, key: str) -> list[StepResult]:
    """Test a connection, and return how each step ended."""
    return [one for one in services.connection_checks.test(keeper, key, HERE) if isinstance(one, StepResult)]


def names(services: Services, keeper: Principal, *path: str) -> list[str]:
    """The names directly below a path."""
    return [place.path[-1] for place in services.data_objects.children(keeper, path)]


def test_a_connection_is_tested_crawled_and_browsed(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """All steps succeed; the objects are those of the database, by name, with types and comments."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    record = register("pg", values)
    assert (record.state, record.has_secrets) == (ConnectionState.ACTIVE, True)
    assert "password" not in record.details
    assert {one.state for one in steps(services, keeper, "pg")} == {State.OK}

    done = crawled(services, keeper, "pg")

    assert (done.state, done.output["added"]) == (JobState.COMPLETED, done.output["found"]), done.output
    assert names(services, keeper, "pg") == ["crawled"]
    assert names(services, keeper, "pg", "crawled") == ["empty", "public", "shop"]
    assert names(services, keeper, "pg", "crawled", "shop") == ["Größe%_", "orders"]
    orders = services.data_objects.get(keeper, ("pg", "crawled", "shop", "orders"))
    assert orders.found is not None
    assert (orders.found.kind, orders.found.comment, orders.found.column_count) == ("table", "All of them", 2)
    assert services.data_objects.columns(
        services.data_objects.get(keeper, ("pg", "crawled", "shop", "orders"))
    ) == [
        ("id", "bigint", None),
        ("total", "numeric(10,2)", None),
    ]
    for text, found in (("GROSSE", []), ("größe", ["Größe%_"]), ("GROßE", ["Größe%_"]), ("%_", ["Größe%_"])):
        assert [one.path[-1] for one in services.data_objects.search(keeper, ("pg",), text)] == found, text
    with pytest.raises(NotFound):
        services.data_objects.get(keeper, ("pg", "crawled", "shop", "absent"))


def test_a_second_crawl_writes_what_has_changed(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """An unchanged table keeps its row; a changed, a new and a vanished one show what is there now."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    record = register("pg", values)
    crawled(services, keeper, "pg")
    before = services.store.data_objects.known(record.connection_id)
    assert crawled(services, keeper, "pg").output == {
        "found": len(before), "added": 0, "changed": 0, "removed": 0,
    }  # fmt: skip
    assert services.store.data_objects.known(record.connection_id) == before

    administrator.execute(
        'ALTER TABLE shop.orders ADD placed date; DROP TABLE shop."Größe%_"; CREATE TABLE shop.new (id int)'
    )
    output = crawled(services, keeper, "pg").output
    assert (output["added"], output["changed"], output["removed"]) == (1, 1, 1)
    assert names(services, keeper, "pg", "crawled", "shop") == ["new", "orders"]
    assert (
        len(
            services.data_objects.columns(
                services.data_objects.get(keeper, ("pg", "crawled", "shop", "orders"))
            )
        )
        == 3
    )


def test_a_crawl_of_mariadb(
    services: Services, keeper: Principal, register: Register, mariadb: tuple[MariaDB, dict[str, Value]]
) -> None:
    """MariaDB has databases and tables, and is crawled as PostgreSQL is."""
    server, values = mariadb
    server.run("CREATE TABLE crawled.orders (id bigint, note text)")
    register("maria", values)
    assert {one.state for one in steps(services, keeper, "maria")} == {State.OK}
    done = crawled(services, keeper, "maria")
    assert done.state is JobState.COMPLETED, done.output
    assert "crawled" in names(services, keeper, "maria")
    assert names(services, keeper, "maria", "crawled") == ["orders"]
    assert crawled(services, keeper, "maria").output["changed"] == 0


def test_a_failed_crawl_leaves_what_was_found(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """A crawl that fails is a failed job, makes the connection unhealthy, and is never seen."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    register("pg", values)
    crawled(services, keeper, "pg")
    administrator.execute("ALTER ROLE keyturn_reader PASSWORD 'another'")

    failed = crawled(services, keeper, "pg")

    assert failed.state is JobState.FAILED
    record = services.connections.get_now(keeper, "pg")
    assert record.state is ConnectionState.UNHEALTHY
    assert record.state_reason == failed.output["message"]
    assert names(services, keeper, "pg", "crawled", "shop") == ["Größe%_", "orders"]
    administrator.execute("ALTER ROLE keyturn_reader PASSWORD 'Canary-7hQ2mZ9fT1xD'")
    assert {one.state for one in steps(services, keeper, "pg")} == {State.OK}
    assert services.connections.get_now(keeper, "pg").state is ConnectionState.ACTIVE


@pytest.mark.parametrize("which", ["postgresql", "mariadb"])
def test_a_rotated_password_works(
    services: Services,
    keeper: Principal,
    register: Register,
    request: pytest.FixtureRequest,
    which: str,
) -> None:
    """The account gets a password that nobody has seen; the connection goes on, the old one is dead."""
    _, values = request.getfixturevalue(which)
    record = register("db", values)
    assert services.jobs.rotate(keeper, "db", HERE).is_changed
    opened = services.connection_secrets.open(record)
    assert opened.next_password is None
    assert opened.current["password"] != values["password"]
    assert {one.state for one in steps(services, keeper, "db")} == {State.OK}
    register("old", values)
    assert steps(services, keeper, "old")[4].state is State.FAILED
    assert actions(services).count("ConnectionPasswordRotated") == 2


def test_a_rotation_that_broke_off_is_settled(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """With two passwords stored, the one that works is found, whichever it is (S3)."""
    _, values = postgresql
    record = register("db", values)
    works = str(values["password"])
    entry = AuditEntry(
        services.system.now(), AuditAction.CONNECTION_PASSWORD_ROTATED, COMMAND_LINE, Target.CONNECTION, "db"
    )
    for current, following in ((works, "never set"), ("before", works)):
        services.connection_secrets.replace(record, OpenedSecrets({"password": current}, following), entry)
        assert {one.state for one in steps(services, keeper, "db")} == {State.OK}
        opened = services.connection_secrets.open(record)
        assert (opened.current, opened.next_password) == ({"password": works}, None)
    services.connection_secrets.replace(record, OpenedSecrets({"password": "x"}, "y"), entry)
    with pytest.raises(InvalidState):
        steps(services, keeper, "db")
    assert services.connections.get_now(keeper, "db").state is ConnectionState.UNHEALTHY


def test_one_job_works_on_a_connection(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """Of two at once one wins, and the other is told to wait; what ends lets others in."""
    _, values = postgresql
    register("pg", values)
    first = services.jobs.crawl(keeper, ("pg",), HERE)
    with pytest.raises(Conflict, match="Another job works on pg"):
        services.jobs.crawl(keeper, ("pg",), HERE)
    services.jobs.wait(keeper, frozenset({first.job_id}), 60, 0.05)
    assert crawled(services, keeper, "pg").state is JobState.COMPLETED


def test_a_connection_is_deleted(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """Only one that is switched off, with all that was found behind it; its key is free again."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    register("pg", values)
    crawled(services, keeper, "pg")
    with pytest.raises(Conflict, match="state must be INACTIVE"):
        services.jobs.delete(keeper, "pg", HERE, is_forced=True)
    services.connections.set_active(keeper, "pg", HERE, is_active=False)
    with pytest.raises(InvalidState):
        services.jobs.crawl(keeper, ("pg",), HERE)
    job = services.jobs.delete(keeper, "pg", HERE, is_forced=False)
    assert job.type is JobType.DELETE
    services.jobs.wait(keeper, frozenset({job.job_id}), 60, 0.05)
    with pytest.raises(NotFound):
        services.connections.get(keeper, "pg")
    assert register("pg", values).generation == 0


# While a crawl is under way


@contextmanager
def waiting_crawl(
    services: Services, keeper: Principal, administrator: psycopg.Connection[tuple[object, ...]]
) -> Iterator[str]:
    """A crawl that waits for a lock of its database until the block ends; its job."""
    with administrator.transaction():
        administrator.execute("LOCK TABLE pg_description IN ACCESS EXCLUSIVE MODE")
        job = services.jobs.crawl(keeper, ("pg",), HERE)
        until(lambda: services.jobs.get(keeper, job.job_id).state is JobState.ACTIVE)
        until(lambda: is_waiting(administrator))
        yield job.job_id


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_waiting(administrator: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = administrator.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return found is not None and found != (0,)


def test_a_canceled_crawl_is_never_seen(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """It ends at once, the former crawl stays, the connection is as healthy as before; the next goes on."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    register("pg", values)
    crawled(services, keeper, "pg")
    administrator.execute("CREATE TABLE shop.late (id int)")
    with waiting_crawl(services, keeper, administrator) as job_id:
        services.jobs.cancel(keeper, job_id, HERE)
        (done,) = services.jobs.wait(keeper, frozenset({job_id}), 30, 0.05)
        assert done.state is JobState.CANCELLED
    with pytest.raises(Conflict):
        services.jobs.cancel(keeper, job_id, HERE)
    assert names(services, keeper, "pg", "crawled", "shop") == ["Größe%_", "orders"]
    assert services.connections.get_now(keeper, "pg").state is ConnectionState.ACTIVE
    assert crawled(services, keeper, "pg").output["added"] == 1


def test_a_crawl_shuts_out_what_would_disturb_it(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL
) -> None:
    """Neither a second crawl, nor a rotation, nor a deletion begins meanwhile; settings change, and stay."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    register("pg", values)
    crawled(services, keeper, "pg")
    table = ("pg", "crawled", "shop", "orders")
    with waiting_crawl(services, keeper, administrator) as job_id:
        for disturb in (
            lambda: services.jobs.crawl(keeper, ("pg",), HERE),
            lambda: services.jobs.rotate(keeper, "pg", HERE),
            lambda: services.jobs.delete_now(keeper, "pg", HERE),
        ):
            with pytest.raises(Conflict, match="Another job works on pg"):
                disturb()
        services.data_objects.change_settings(keeper, table, ChangedSettings(is_active=False), HERE)
    (done,) = services.jobs.wait(keeper, frozenset({job_id}), 30, 0.05)
    assert done.state is JobState.COMPLETED
    assert not services.data_objects.get(keeper, table).settings.is_active


def test_a_crawl_of_a_process_that_died_is_lost(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL, clock: Clock
) -> None:
    """Its job expires, nothing of it is seen, and the next crawl removes what it left."""
    administrator, values = postgresql
    administrator.execute(TABLES)
    record = register("pg", values)
    crawled(services, keeper, "pg")
    store = services.store
    entry = AuditEntry(
        services.system.now(), AuditAction.CONNECTION_JOB_STARTED, COMMAND_LINE, Target.CONNECTION, "pg"
    )
    store.jobs.add("lost", JobType.CRAWL, (record.connection_id, "pg"), (), by=None, audit=entry)
    assert store.jobs.begin("lost", services.system.now())
    number = store.data_objects.begin_crawl(record.connection_id)
    assert number == 2
    known = store.data_objects.known(record.connection_id)
    left = FoundObject(("crawled", "left"), "schema", None, b"left")
    store.data_objects.add(record.connection_id, number, [left], [number])
    store.data_objects.end([one.object_id for one in known.values()], number)

    assert names(services, keeper, "pg", "crawled") == ["empty", "public", "shop"]
    clock.advance(LOST + timedelta(seconds=1))
    again = crawled(services, keeper, "pg")

    assert again.output == {"found": len(known), "added": 0, "changed": 0, "removed": 0}
    assert names(services, keeper, "pg", "crawled") == ["empty", "public", "shop"]
    lost = services.jobs.get(keeper, "lost")
    assert (lost.state, lost.output) == (JobState.EXPIRED, LOST_OUTPUT)


def test_a_schedule_crawls_what_is_due(
    services: Services, keeper: Principal, register: Register, postgresql: PostgreSQL, clock: Clock
) -> None:
    """A connection with a schedule is crawled when its hours are over, by the schedule, and no other."""
    _, values = postgresql
    register("by-hand", values)
    services.connections.add(keeper, NewConnection("pg", values, crawl_every_hours=24), HERE)
    assert services.jobs.crawl_due() == 0
    clock.advance(timedelta(hours=24))
    assert services.jobs.crawl_due() == 1
    until(lambda: services.connections.get_now(keeper, "pg").crawled_at is not None)
    until(lambda: services.jobs.search(keeper, JobSearch())[0].is_finished)
    (job,) = services.jobs.search(keeper, JobSearch())
    assert (job.connection_key, job.created_by, job.state) == ("pg", None, JobState.COMPLETED)
    assert services.jobs.crawl_due() == 0
