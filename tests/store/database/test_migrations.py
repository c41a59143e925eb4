"""Schema changes: whole, once, and never by a program that is too old."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, event, inspect, text

from keyturn.composition import open_services
from keyturn.core.searches import UserOrder, UserSearch
from keyturn.core.user_names import skeleton_of
from keyturn.errors import CannotStart, Conflict
from keyturn.settings import read_settings
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import WRITES
from keyturn.store.database.migrations import (
    _POSTGRESQL_LOCK,
    _config,
    check_not_newer,
    current_version,
    migrate,
    newest_version,
)
from keyturn.store.database.schema import metadata
from keyturn.store.keys.rotation import Rotation
from tests.store.crowds import all_at_once
from tests.store.rows import NOW, a_user, an_entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.core.records import ApiKeyRecord


@pytest.fixture
def empty(empty_database: str) -> Iterator[Engine]:
    """An engine over a database without any table."""
    engine = open_engine(empty_database)
    try:
        yield engine
    finally:
        engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))


def test_migrations_lead_to_the_schema(empty: Engine) -> None:
    """From nothing, the migrations make exactly the tables that the program works with (U1)."""
    assert current_version(empty) is None

    migrate(empty)

    assert current_version(empty) == newest_version()
    assert tables(empty) == set(metadata.tables) | {"alembic_version"}
    assert differences(empty) == []


ROWS_OF_0002: dict[str, list[dict[str, object]]] = {
    "installation": [{"id": 1, "root_key_check": b"check", "revision": 2, "created_at": 1}],
    "user_account": [
        {
            "iamid": "bim",
            "userid": userid,
            "canonical_userid": userid.casefold(),
            "permissions": '["APPLICATION_ADMIN","USER_ADMIN"]',
            "password_hash": "hash",
            "failed_logins": 3,
            "disabled_at": disabled_at,
            "created_at": 1,
            "updated_at": 2,
        }
        for userid, disabled_at in (("Ada", None), ("bob", 5))
    ],
    "profile": [
        {
            "user_id": 1,
            "name": "Ada Ö",
            "external_user_ids": '{"trino":"ada"}',
            "created_at": 1,
            "updated_at": 2,
        },
        {"user_id": 2, "preferences": "{}", "external_user_ids": "{}", "created_at": 1, "updated_at": 2},
    ],
    "api_key": [
        {
            "user_id": user_id,
            "digest": digest,
            "name": "key",
            "masked": "kt_x_…abcd",
            "scopes": scopes,
            "sources": '["10.0.0.0/8"]',
            "created_at": 1,
            "expires_at": None,
            "revoked_at": revoked_at,
            "idempotency_key": digest.decode(),
        }
        for user_id, digest, scopes, revoked_at in (
            (1, b"alive", None, None),
            (1, b"narrow", '["plugin:trino"]', None),
            (2, b"dead", None, 7),
        )
    ],
    "api_key_use": [{"key_id": 1, "hour": 2, "uses": 3}],
    "session": [
        {
            "digest": b"session",
            "user_id": 1,
            "kind": "browser",
            "created_at": 1,
            "last_seen_at": 2,
            "expires_at": 3,
        }
    ],
    "connection": [
        {
            "connection_key": key,
            "details": '{"technology":"Trino"}',
            "sealed_secrets": b"sealed",
            "created_at": 1,
            "created_by": by,
            "updated_at": 2,
            "updated_by": 1,
        }
        for key, by in (("one", 1), ("two", 2))
    ],
    "revoked_token": [{"jti": "jti", "expires_at": 9}],
    "audit": [
        {
            "event_id": str(number),
            "revision": number,
            "at": number,
            "action": "UserCreated",
            "succeeded": True,
            "actor_userid": "command line",
            "target_type": "USER",
            "target_id": str(number),
            "details": "{}",
        }
        for number in (1, 2)
    ],
}
"""What a program of version 0002 wrote. Ids are given by the database, from 1."""


def upgrade(engine: Engine, version: str) -> None:
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), version)


def fill_as_0002(engine: Engine) -> None:
    """Make a database of version 0002 with its rows."""
    upgrade(engine, "0002")
    tables_of_0002 = MetaData()
    tables_of_0002.reflect(engine)
    with engine.begin() as connection:
        for name, rows in ROWS_OF_0002.items():
            for row in rows:
                connection.execute(tables_of_0002.tables[name].insert(), row)


def rows_of(engine: Engine) -> dict[str, list[dict[str, object]]]:
    """Everything in the database, as the driver gives it."""
    found = MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in found.sorted_tables
            if table.name != "alembic_version"
        }


def test_0003_keeps_every_row_of_0002(empty: Engine) -> None:
    """Users, keys, sessions, connections and the audit log of version 0002 are all there, unchanged (U1)."""
    fill_as_0002(empty)
    before = rows_of(empty)
    assert {name for name, rows in before.items() if rows} == set(ROWS_OF_0002)

    upgrade(empty, "0003")

    after = rows_of(empty)
    assert all(row.pop("kind") == "person" for row in after["user_account"])
    assert all(row.pop("project_id") is None for row in after["api_key"])
    assert {name: after[name] for name in before} == before
    assert not any(rows for name, rows in after.items() if name not in before)
    migrate(empty)
    assert differences(empty) == []
    store = Store(empty)
    assert store.integrity_problems() == []


def test_a_program_works_on_with_the_rows_of_0002(empty: Engine) -> None:
    """After the upgrade old keys verify, new rows get new ids, and who registered a connection may go."""
    fill_as_0002(empty)
    migrate(empty)
    store = Store(empty)

    key = store.api_keys.find_for_verification(b"alive")
    assert key is not None
    assert (key.owner.userid, key.project_id, key.owner.permissions) == (
        "Ada",
        None,
        {"APPLICATION_ADMIN", "USER_ADMIN"},
    )
    narrow = store.api_keys.find_for_verification(b"narrow")
    assert narrow is not None
    assert narrow.restrictions.scopes == {"plugin:trino"}
    new = store.users.add(a_user("new"), an_entry()).user_id
    assert new not in {1, 2}
    assert store.users.delete(2, NOW, an_entry(target_id="2"))
    with pytest.raises(Conflict):
        store.users.delete(1, NOW, an_entry(target_id="1"))
    two = store.connections.find("two")
    assert two is not None
    assert (two.created_by, two.creator.name, two.updater.name) == (2, None, "Ada Ö")
    store.connections.add("three", {"technology": "Trino"}, 1, an_entry())
    assert store.connections.list_keys() == ["one", "three", "two"]
    assert store.integrity_problems() == []
    assert store.installation.revision() == 5


def test_0011_keeps_projects_with_their_members_and_connections(empty: Engine) -> None:
    """All that belongs to a project is there after the upgrade, and new projects get new numbers (U1)."""
    fill_as_0002(empty)
    upgrade(empty, "0010")
    tables_of_0010 = MetaData()
    tables_of_0010.reflect(empty)
    with empty.begin() as connection:
        for name, row in (
            ("project", {"name": "one", "created_by": 1, "created_at": 1, "updated_at": 2}),
            ("project", {"name": "two", "created_by": 2, "created_at": 1, "updated_at": 2}),
            ("project_member", {"project_id": 1, "user_id": 1, "is_owner": True, "created_at": 1}),
            ("project_member", {"project_id": 1, "user_id": 2, "is_owner": False, "created_at": 1}),
            ("project_connection", {"project_id": 1, "connection_id": 2}),
        ):
            connection.execute(tables_of_0010.tables[name].insert(), row)
        connection.execute(text("DELETE FROM project WHERE id = 2"))
    before = rows_of(empty)

    upgrade(empty, "0011")

    after = rows_of(empty)
    skeletons = [row.pop("skeleton") for row in after["user_account"]]
    assert skeletons == [skeleton_of("Ada"), skeleton_of("bob")]
    assert after == before
    migrate(empty)
    store = Store(empty)
    assert store.integrity_problems() == []
    assert store.projects.add("three", None, 2, NOW, an_entry(), seen_by=2).project_id == 3


def test_people_from_before_0018_are_found(empty: Engine) -> None:
    """The upgrade folds the names of those who are there: they are found, and in their order."""
    fill_as_0002(empty)
    migrate(empty)
    users = Store(empty).users
    assert [one.userid for one in users.search(UserSearch(text="ada o"), size=5).items] == ["Ada"]
    assert [one.userid for one in users.search(UserSearch(order=UserOrder.NAME), size=5).items] == [
        "Ada",
        "bob",
    ]


def test_a_rotation_from_before_0007_is_done_once(empty: Engine) -> None:
    """A retry after the upgrade gets its answer, or after another rotation a conflict: it never rotates."""
    fill_as_0002(empty)
    upgrade(empty, "0006")
    milliseconds = int(NOW.timestamp() * 1000)
    former = {"key_id": 1, "digest": b"former", "replaced_at": milliseconds, "ends_at": milliseconds}
    tables_of_0006 = MetaData()
    tables_of_0006.reflect(empty)
    with empty.begin() as connection:
        connection.execute(
            tables_of_0006.tables["former_secret"].insert(), former | {"idempotency_key": "one"}
        )
        without_one = former | {"key_id": 2, "digest": b"older", "idempotency_key": None}
        connection.execute(tables_of_0006.tables["former_secret"].insert(), without_one)

    migrate(empty)

    store = Store(empty)

    def rotate(idempotency_key: str, seen_masked: str, masked: str) -> ApiKeyRecord | None:
        new = Rotation(
            key_id=1,
            user_id=1,
            digest=masked.encode(),
            masked=masked,
            seen_masked=seen_masked,
            at=NOW + timedelta(hours=1),
            former_ends_at=NOW + timedelta(hours=2),
            idempotency_key=idempotency_key,
        )
        return store.key_rotation.rotate(new, an_entry(target_id="1"), retried=an_entry(target_id="1"))

    assert rotate("one", "kt_x_…abcd", "second") is not None
    assert store.api_keys.find_for_verification(b"former") is not None, "the retry replaced what nobody saw"
    assert rotate("two", "second", "third") is not None
    with pytest.raises(Conflict, match="another one after it"):
        rotate("one", "third", "fourth")
    assert store.api_keys.find_for_verification(b"third") is not None


def test_no_installation_begins_among_the_tables_of_another_program(empty: Engine) -> None:
    """Of a mistyped address nothing is touched, and the refusal names what is there."""
    with empty.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shop (id INTEGER PRIMARY KEY)")

    with pytest.raises(CannotStart, match=r"tables of another program \(shop\)"):
        migrate(empty)

    assert inspect(empty).get_table_names() == ["shop"]


def test_0013_numbers_former_secrets_apart_from_present_ones(empty: Engine) -> None:
    """A token from before says no number: it is never taken for one of a secret that came after another."""
    fill_as_0002(empty)
    upgrade(empty, "0012")
    former = {"replaced_at": 1, "ends_at": 2}
    tables_of_0012 = MetaData()
    tables_of_0012.reflect(empty)
    with empty.begin() as connection:
        for number in (1, 2):
            row = former | {"key_id": number, "digest": bytes([number])}
            connection.execute(tables_of_0012.tables["former_secret"].insert(), row)
        connection.execute(text("UPDATE api_key SET secret_number = 5 WHERE id = 2"))

    upgrade(empty, "0013")

    after = rows_of(empty)
    numbers = {row["id"]: row["secret_number"] for row in after["api_key"]}
    assert (numbers.pop(1), numbers.pop(2)) == (1, 5)
    assert set(numbers.values()) <= {0}
    assert [row["secret_number"] for row in after["former_secret"]] == [0, 4]


def test_0014_ends_links_that_do_not_say_who_made_them(empty: Engine) -> None:
    """Nothing would end such a link: it ends with the upgrade, and nothing else does."""
    fill_as_0002(empty)
    upgrade(empty, "0013")
    with empty.begin() as connection:
        connection.execute(
            text("INSERT INTO invitation (user_id, digest, expires_at) VALUES (1, :digest, 9000000000000)"),
            {"digest": b"link"},
        )
    before = rows_of(empty)

    upgrade(empty, "0014")

    after = rows_of(empty)
    assert (len(before.pop("invitation")), after.pop("invitation")) == (1, [])
    assert all(row.pop("password_number") == 0 for row in after["user_account"])
    assert after == before


def test_0016_keeps_counts_of_uses(empty: Engine) -> None:
    """Uses that were counted before stay, of which no refusals are known, and no callers."""
    fill_as_0002(empty)
    upgrade(empty, "0015")
    before = rows_of(empty)

    upgrade(empty, "0016")

    after = rows_of(empty)
    assert after.pop("api_key_caller") == []
    assert [row.pop("refused") for row in after["api_key_use"]] == [0]
    assert after == before


def test_migrating_again_changes_nothing(empty: Engine) -> None:
    """A database of the newest version is not written to."""
    migrate(empty)
    statements: list[str] = []
    event.listen(empty, "before_cursor_execute", lambda *call: statements.append(call[2]))

    migrate(empty)

    assert [
        text for text in statements if not text.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN"))
    ] == []


def test_a_newer_database_is_refused_untouched(empty: Engine) -> None:
    """A database that a newer program wrote is refused before anything in it changes (U3)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))

    for refused in (check_not_newer, migrate):
        with pytest.raises(CannotStart, match="9999"):
            refused(empty)

    assert tables(empty) == {"alembic_version"}


def test_the_services_refuse_a_newer_database(
    empty_database: str, empty: Engine, root_key_file: Path
) -> None:
    """A start on a newer database says that it is newer, and leaves it alone (U3)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))

    with pytest.raises(CannotStart, match="newer than this program"):
        open_services(
            read_settings(
                {"KEYTURN_DATABASE": empty_database}, root_key_file=root_key_file, new_installation=True
            )
        )

    assert tables(empty) == {"alembic_version"}


def test_a_migration_happens_whole_or_not_at_all(empty: Engine) -> None:
    """When one statement of a migration fails, none of its tables is left behind (U1)."""
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE session (in_the_way INTEGER)"))

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is called, nothing may be left of it
        migrate(empty)

    assert tables(empty) <= {"session", "alembic_version"}
    assert current_version(empty) is None


def test_nodes_that_start_together_migrate_once(empty_database: str) -> None:
    """Nodes that migrate one database at the same time all succeed and leave one schema (U2)."""

    def start(_node: int) -> None:
        engine = open_engine(empty_database)
        try:
            migrate(engine)
        finally:
            engine.dispose()

    assert all_at_once(4, start) == [None] * 4
    engine = open_engine(empty_database)
    assert current_version(engine) == newest_version()
    assert differences(engine) == []
    engine.dispose()


def test_waiting_too_long_for_another_migration_is_one_sentence(
    empty_database: str, empty: Engine, monkeypatch: pytest.MonkeyPatch, root_key_file: Path
) -> None:
    """A start that cannot get the lock of the migrations says so, and is no driver error."""
    monkeypatch.setattr("keyturn.store.database.sqlite.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("keyturn.store.database.postgresql.MIGRATION_LOCK_TIMEOUT_MS", 200)
    settings = read_settings(
        {"KEYTURN_DATABASE": empty_database}, root_key_file=root_key_file, new_installation=True
    )
    with empty.connect() as other:
        if empty.dialect.name == "sqlite":
            other.exec_driver_sql("CREATE TABLE under_way (id INTEGER)")
        else:
            other.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")

        with pytest.raises(CannotStart):
            open_services(settings)


def test_0008_ends_what_a_time_had_ended_and_nothing_else(empty: Engine) -> None:
    """Where tokens were dead before some time there is an epoch, and no row is lost, of children neither."""
    fill_as_0002(empty)
    upgrade(empty, "0007")
    with empty.begin() as connection:
        for table in ("user_account", "api_key"):
            connection.execute(text(f"UPDATE {table} SET tokens_not_before = 5 WHERE id = 2"))
    before = rows_of(empty)

    upgrade(empty, "0008")

    after = rows_of(empty)
    for table in ("user_account", "api_key"):
        assert [(row["id"], row.pop("epoch")) for row in after[table]] == [
            (row["id"], int(row.pop("tokens_not_before") is not None)) for row in before[table]
        ]
    for table in ("api_key", "session"):
        assert all(row.pop("secret_number") == 0 for row in after[table])
    assert after == before
