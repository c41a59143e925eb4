"""A crawl finds what an account sees on a real server, once; a second crawl brings what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest

from keyturn.adapters.addresses import AddressPolicy
from keyturn.adapters.catalog import Column, Schema, Table
from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.ladder import Ladder
from keyturn.adapters.limits import Limits
from keyturn.adapters.target_process import TargetProcess, crawl
from keyturn.adapters.tasks import Action
from keyturn.core.networks import read_network
from tests.adapters.targets import PASSWORD, USER, a_task, crawled

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.adapters.validation import Value
    from tests.mariadb import MariaDB

    PostgreSQL = tuple[psycopg.Connection[tuple[object, ...]], dict[str, Value]]
    InMariaDB = tuple[MariaDB, dict[str, Value]]
    Run = Callable[[str], object]

HOSTILE = (
    "'; DROP TABLE plain; --", '"quoted"', "`ticked`", "%s %(a)s {}", "back\\slash", "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>", "new\nline", "täble ☃", "table ☃", "Table ☃", "a" * 63,
)  # fmt: skip


def tables_of(values: dict[str, Value], **options: Any) -> dict[tuple[str, ...], Table]:
    """All tables of a crawl in the worker, those of the tests' own databases."""
    found = [each for batch in crawled(values, **options) for each in batch.tables]
    by_path = {each.path: each for each in found if each.path[0] == "crawled"}
    assert len({each.path for each in found}) == len(found), "each table comes once"
    return by_path


def schemas_of(values: dict[str, Value]) -> dict[tuple[str, ...], Schema]:
    """All schemas of a crawl in the worker."""
    return {each.path: each for batch in crawled(values) for each in batch.schemas}


@pytest.fixture(params=["postgresql", "mariadb"])
def target(request: pytest.FixtureRequest) -> tuple[Run, dict[str, Value], tuple[str, ...], str]:
    """How to run a statement in an empty database, the connection, the path of a schema, and the quote."""
    found: Any = request.getfixturevalue(request.param)
    if request.param == "postgresql":
        return lambda text: found[0].execute(text.encode()), found[1], ("crawled", "public"), '"'

    def run(statement: str) -> None:
        with found[0].connect() as connection, connection.cursor() as cursor:
            cursor.execute("USE crawled")
            cursor.execute(statement)

    return run, found[1], ("crawled",), "`"


Target = tuple["Run", "dict[str, Value]", tuple[str, ...], str]


def test_columns_have_types_in_their_order(target: Target) -> None:
    """Each column is there once, in the table's order, with its type as the database writes it."""
    run, values, schema, _ = target
    run("CREATE TABLE plain (z INTEGER, a NUMERIC(10,2), m VARCHAR(7))")
    table = tables_of(values)[*schema, "plain"]
    assert table.kind == "table"
    assert [each.name for each in table.columns or ()] == ["z", "a", "m"]
    assert [each.type.split("(")[-1] for each in table.columns or ()][1:] == ["10,2)", "7)"]
    assert (*schema,) in schemas_of(values)


def test_names_are_text_and_nothing_else(target: Target) -> None:
    """Names that would be statements, markup or formulas elsewhere arrive as they are."""
    run, values, schema, quote = target
    run("CREATE TABLE plain (a INTEGER)")
    for name in HOSTILE:
        quoted = f"{quote}{name.replace(quote, quote * 2)}{quote}"
        run(f"CREATE TABLE {quoted} ({quoted} INTEGER)")
    found = tables_of(values)
    assert {path[-1] for path in found} == {*HOSTILE, "plain"}
    for name in HOSTILE:
        assert [each.name for each in found[*schema, name].columns or ()] == [name]


def test_a_second_crawl_brings_what_changed(target: Target) -> None:
    """Tables whose fingerprint is known come without columns; those that changed come whole."""
    run, values, schema, _ = target
    for name in ("same", "wider", "other", "gone"):
        run(f"CREATE TABLE {name} (a INTEGER)")
    first = tables_of(values)
    known = [each.fingerprint for each in first.values()]
    assert all(each.columns is None for each in tables_of(values, known_fingerprints=known).values())
    run("ALTER TABLE wider ADD COLUMN b INTEGER")
    run("DROP TABLE other")
    run("CREATE TABLE other (a BIGINT)")
    run("DROP TABLE gone")
    run("CREATE TABLE new (a INTEGER)")
    second = tables_of(values, known_fingerprints=known)
    assert {path[-1]: table.columns is None for path, table in second.items()} == {
        "same": True, "wider": False, "other": False, "new": False,
    }  # fmt: skip
    assert second[*schema, "same"].fingerprint == first[*schema, "same"].fingerprint
    # All are read at once where many changed, with the same outcome.
    assert tables_of(values, known_fingerprints=known, limits=Limits(changed_tables=1)) == second


def test_a_crawl_is_cut_to_its_limits(target: Target) -> None:
    """Batches are no larger than they may be, and names and comments no longer."""
    run, values, _, quote = target
    for number in range(7):
        run(f"CREATE TABLE t{number} (a INTEGER, {quote}{'b' * 60}{quote} INTEGER)")
    limits = Limits(batch_objects=6, name_characters=20)
    found = crawled(values, limits=limits)
    assert len(found) > 3
    assert all(len(each.schemas) + 3 * len(each.tables) <= 6 for each in found)
    names = {column.name for batch in found for table in batch.tables for column in table.columns or ()}
    assert max(map(len, names)) == 20


def test_more_objects_than_a_crawl_may_have_end_it(target: Target) -> None:
    """A crawl that would bring more fails; the batches before are of no use, and the caller is told so."""
    run, values, *_ = target
    run("CREATE TABLE t (a INTEGER, b INTEGER, c INTEGER)")
    with pytest.raises(Fault) as ended:
        crawled(values, limits=Limits(objects=3))
    assert ended.value.finding is Finding.TOO_LARGE


def test_a_crawl_of_nobodys_password_fails(target: Target) -> None:
    """A crawl that cannot sign in ends in the finding of that step."""
    with pytest.raises(Fault) as ended:
        crawled({**target[1], "password": "wrong"})
    assert ended.value.finding is Finding.LOGIN_REFUSED


def test_a_session_only_reads(target: Target) -> None:
    """The server itself refuses to write in the session of a crawl, whatever rights it has (rule O8)."""
    run, values, schema, _ = target
    run("CREATE TABLE plain (a INTEGER)")
    account = USER if len(schema) == 2 else f"{USER}@'127.0.0.1'"
    run(f"GRANT INSERT ON {schema[-1]}.plain TO {account}")
    ladder = Ladder(values, AddressPolicy((read_network("127.0.0.0/8"),)), lambda _: [], Limits())
    session: Any = ladder.get_session()
    with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, pymysql.MySQLError), match=r"(?i)read.only"):
        session.connection.cursor().execute(f"INSERT INTO {schema[-1]}.plain VALUES (1)")
    ladder.close()


def test_postgresql_shows_what_people_call_tables(postgresql: PostgreSQL) -> None:
    """Views, foreign and partitioned tables are there; partitions, dropped columns and the system are not."""
    administrator, values = postgresql
    administrator.execute(
        """
        CREATE TABLE parted (a int, b text) PARTITION BY LIST (a);
        CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
        CREATE VIEW seen AS SELECT a FROM parted;
        CREATE MATERIALIZED VIEW kept AS SELECT b FROM parted;
        CREATE TABLE bare ();
        CREATE TABLE dropped (a int, b int);
        ALTER TABLE dropped DROP COLUMN a;
        COMMENT ON TABLE bare IS 'without columns';
        COMMENT ON COLUMN parted.a IS 'the key';
        CREATE SCHEMA hidden;
        CREATE TABLE hidden.t (a int);
        CREATE SCHEMA empty;
        GRANT USAGE ON SCHEMA empty TO keyturn_reader;
        COMMENT ON SCHEMA empty IS 'nothing here';
        """
    )
    tables = {path[1:]: table for path, table in tables_of(values).items()}
    assert {name: table.kind for (_, name), table in tables.items()} == {
        "parted": "table", "seen": "view", "kept": "materialized view", "bare": "table", "dropped": "table",
    }  # fmt: skip
    assert tables["public", "bare"].columns == ()
    assert tables["public", "bare"].comment == "without columns"
    assert tables["public", "dropped"].columns == (Column("b", "integer"),)
    assert tables["public", "parted"].columns == (Column("a", "integer", "the key"), Column("b", "text"))
    assert schemas_of(values) == {
        ("crawled", "public"): Schema(("crawled", "public"), "standard public schema"),
        ("crawled", "empty"): Schema(("crawled", "empty"), "nothing here"),
    }


def test_functions_of_others_are_not_called(postgresql: PostgreSQL) -> None:
    """A function that somebody puts before one of the system's is not run by a crawl."""
    administrator, values = postgresql
    administrator.execute(
        f"""
        CREATE TABLE t (a int);
        CREATE FUNCTION public.md5(text) RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'called'; END $$;
        ALTER ROLE {USER} IN DATABASE crawled SET search_path = public, pg_catalog;
        """.encode()
    )
    assert set(tables_of(values)) == {("crawled", "public", "t")}


def test_mariadb_shows_tables_and_views(mariadb: InMariaDB) -> None:
    """Views are told from tables, comments come along, and databases of the system do not."""
    server, values = mariadb
    server.run(
        "CREATE TABLE crawled.t (a INT COMMENT 'the key') COMMENT 'of tests'",
        "CREATE VIEW crawled.v AS SELECT a FROM crawled.t",
    )
    tables = tables_of(values)
    assert {path: table.kind for path, table in tables.items()} == {
        ("crawled", "t"): "table", ("crawled", "v"): "view",
    }  # fmt: skip
    assert tables["crawled", "t"].comment == "of tests"
    assert tables["crawled", "v"].comment is None
    assert tables["crawled", "t"].columns == (Column("a", "int(11)", "the key"),)
    assert not {("mysql",), ("information_schema",), ("sys",)} & set(schemas_of(values))


def test_a_connection_to_one_database_of_mariadb_sees_that_alone(mariadb: InMariaDB) -> None:
    """Others are left out of the crawl."""
    server, values = mariadb
    server.run("CREATE TABLE crawled.t (a INT)")
    one = {**values, "database": "crawled"}
    assert set(schemas_of(one)) == {("crawled",)}
    assert {path for batch in crawled(one) for path in [each.path for each in batch.tables]} == {
        ("crawled", "t")
    }


def test_a_crawl_can_be_canceled(postgresql: PostgreSQL) -> None:
    """Cancel ends the process, and the crawl is never taken for done."""
    administrator, values = postgresql
    administrator.execute("CREATE TABLE t (a int)")
    process = TargetProcess(a_task(values, Action.CRAWL, limits=Limits(batch_objects=1)))
    found = crawl(process)
    next(found)
    process.cancel()
    with pytest.raises(Fault) as ended:
        list(found)
    assert ended.value.finding is Finding.CANCELED


def test_nothing_of_a_password_is_in_a_crawl(target: Target) -> None:
    """Batches hold names, types and comments alone."""
    assert PASSWORD not in str(crawled(target[1]))
