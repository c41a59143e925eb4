"""Connections on real databases: registered, tested, crawled, browsed, rotated and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.adapters.findings import State
from keyturn.adapters.ladder import StepResult
from keyturn.core.connections import ConnectionState, JobState, JobType
from keyturn.errors import Conflict, InvalidState, NotFound
from tests.people import HERE, actions
from tests.services.connections.conftest import crawled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    from keyturn.adapters.validation import Value
    from keyturn.composition import Services
    from keyturn.core.connections import ConnectionRecord
    from keyturn.core.principal import Principal
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
    from keyturn.core.audit import AuditAction, AuditEntry, Target  # noqa: PLC0415
    from keyturn.services.connections.sealing import OpenedSecrets  # noqa: PLC0415
    from keyturn.verifying.origin import COMMAND_LINE  # noqa: PLC0415

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
