"""Addresses and defaults of PostgreSQL: what is merged, what is refused by name, what has no effect."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import text

from keyturn import Verifier
from keyturn.composition import open_services
from keyturn.errors import CannotStart
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import has_password
from keyturn.store.database.migrations import migrate
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import empty_postgresql_database, new_postgresql_database
from tests.faults.forwarder import socket_of
from tests.people import add_person
from tests.store.crowds import all_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

PASSWORD = "opensesame"

_numbers = itertools.count(1)


@pytest.fixture
def address(postgresql_server: str) -> str:
    return new_postgresql_database(postgresql_server)


def name_of(address: str) -> str:
    return address.rpartition("/postgres:@/")[2].partition("?")[0] or re.split(r"[/?]", address)[3]


@contextmanager
def opened(address: str) -> Iterator[Connection]:
    engine = open_engine(address)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def show(address: str, setting: str) -> str:
    with opened(address) as connection:
        found: str = connection.execute(text(f"SHOW {setting}")).scalar_one()
    return found


def refusal(address: str) -> str:
    with pytest.raises(CannotStart) as refused:
        open_engine(address)
    said = str(refused.value)
    assert "\n" not in said
    assert PASSWORD not in said
    return said


# E4: the address


def test_fault_e4_options_of_the_address_hold(address: str) -> None:
    """Fault E4: `options` are passed on, and no limit of time is lost by them."""
    with_options = f"{address}&options={quote('-c search_path=elsewhere -c statement_timeout=0')}"

    assert show(with_options, "search_path") == "elsewhere"
    assert show(with_options, "statement_timeout") == "1900ms"


def test_fault_e4_libpqs_environment_holds(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault E4: what the address leaves out comes from the environment, as libpq documents it."""
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")
    monkeypatch.setenv("PGAPPNAME", "theirs")
    assert show(address, "search_path") == "elsewhere"
    assert show(address, "application_name") == "theirs"

    socket = socket_of(address)
    monkeypatch.setenv("PGHOST", str(socket.parent))
    monkeypatch.setenv("PGDATABASE", name_of(address))
    monkeypatch.setenv("PGUSER", "postgres")
    with opened("postgresql://") as connection:
        assert connection.execute(text("SELECT current_database()")).scalar_one() == name_of(address)


def test_fault_e4_a_service_is_found(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault E4: `service` names an entry of the service file."""
    file = tmp_path / "services.conf"
    file.write_text(f"[keys]\nhost={socket_of(address).parent}\nuser=postgres\ndbname={name_of(address)}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert show("postgresql:///?service=keys", "application_name") == "keyturn"
    monkeypatch.setenv("PGSERVICE", "keys")
    assert show("postgresql://", "application_name") == "keyturn"


def test_fault_e4_a_name_for_the_application_holds(address: str) -> None:
    """Fault E4: `application_name` of the address wins over ours."""
    assert show(f"{address}&application_name=theirs", "application_name") == "theirs"
    assert show(address, "application_name") == "keyturn"


@pytest.mark.parametrize("hosts", ["127.0.0.1:9,{}", "{},127.0.0.1:9"])
def test_fault_e4_several_hosts_are_tried(address: str, hosts: str) -> None:
    """Fault E4: of several hosts the one that answers is used."""
    host = quote(str(socket_of(address).parent), safe="")
    several = f"postgresql://postgres@{hosts.format(host)}/{name_of(address)}"

    with opened(several) as connection:
        assert connection.execute(text("SELECT current_database()")).scalar_one() == name_of(address)


@pytest.mark.parametrize("role", ["primary", "read-write"])
def test_fault_e4_a_server_that_takes_writes_may_be_asked_for(address: str, role: str) -> None:
    """Fault E4: both ways to ask for a server that takes writes are kept."""
    assert show(f"{address}&target_session_attrs={role}", "application_name") == "keyturn"


@pytest.mark.parametrize("role", ["any", "standby", "prefer-standby", "read-only"])
def test_fault_e4_any_other_server_is_refused_by_name(
    address: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault E4: a server that takes no writes cannot be asked for, in the address nor in the environment."""
    assert f"target_session_attrs={role}" in refusal(f"{address}&target_session_attrs={role}")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", role)
    assert f"target_session_attrs={role}" in refusal(address)


@pytest.mark.parametrize(
    ("parameter", "named"),
    [("pgbouncer=true", "pgbouncer"), ("client_encoding=latin1", "client_encoding")],
)
def test_fault_e4_what_cannot_be_merged_is_refused_by_name(address: str, parameter: str, named: str) -> None:
    """Fault E4: an unknown parameter, or one that contradicts ours, is named."""
    assert named in refusal(f"{address}&{parameter}")


@pytest.mark.parametrize(
    "given",
    [
        f"postgresql://keyturn:{PASSWORD}@db1:5432,db2:5433/keyturn",
        f"postgresql://keyturn@db1,db2/keyturn?password={PASSWORD}",
        f"postgresql+psycopg://keyturn:{PASSWORD}@db/keyturn",
    ],
)
def test_fault_e4_a_password_is_found_in_every_form(given: str) -> None:
    """Fault E4: whatever form of address can be opened, a password in it is seen on a command line."""
    assert has_password(given)
    assert not has_password("postgresql://keyturn@db1:5432,db2:5433/keyturn")


def test_fault_e4_a_schema_of_its_own_works(
    postgresql_server: str, root_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault E4: with a `search_path`, all tables are in that schema, and it works from there."""
    address = empty_postgresql_database(postgresql_server)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA mine")
    mine = f"{address}&options={quote('-c search_path=mine')}"
    settings = read_settings({"KEYTURN_DATABASE": mine}, root_key_file=root_key_file, new_installation=True)
    with closing(open_services(settings, hashing=CHEAPEST)) as services:
        services.start()
        user = add_person(services)
        key = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey())
    with Verifier(mine) as verifier:
        assert verifier.verify(key.secret).userid == "bob"
    with psycopg.connect(address) as connection:
        schemas = connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', "
            "'information_schema')"
        ).fetchall()
    assert schemas == [("mine",)]


# E5: the encoding


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_fault_e5_another_encoding_stops_the_start(postgresql_server: str, encoding: str) -> None:
    """Fault E5: a database that cannot hold every character is refused, with how to make one that can."""
    name = f"encoded_{next(_numbers)}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    said = refusal(postgresql_server.replace("/postgres?", f"/{name}?"))
    assert encoding in said
    assert "ENCODING 'UTF8'" in said


# E6: the defaults


@pytest.mark.parametrize(
    "default",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Kathmandu'",
        "client_encoding = 'LATIN1'",
        "idle_in_transaction_session_timeout = 1",
    ],
)
def test_fault_e6_no_default_changes_a_transaction(address: str, root_key_file: Path, default: str) -> None:
    """Fault E6: whatever a database has as its defaults, changes that are made at once all succeed."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name_of(address)} SET {default}")
    settings = read_settings({"KEYTURN_DATABASE": address}, root_key_file=root_key_file)
    with closing(open_services(settings, hashing=CHEAPEST)) as services:
        user = add_person(services, "bòb")

        def create(number: int) -> int:
            made = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey(f"ключ {number}"))
            return made.record.key_id

        assert {type(made) for made in all_at_once(8, create)} == {int}
        assert {key.name for key in services.keys.list_of(user.user_id)} == {f"ключ {n}" for n in range(8)}


# E7: without a home


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the place of `/dev/shm`, for a user who has chosen none."""
    folder = tmp_path_factory.mktemp("shared")
    monkeypatch.setattr("keyturn.store.database.counter.SHARED_LOCATIONS", (str(folder),))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return folder


def test_fault_e7_a_node_needs_no_home(
    address: str, shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fault E7: without a home directory a node opens PostgreSQL, and meets the others of its host."""
    places = []
    for home in (tmp_path / "gone", tmp_path):
        monkeypatch.setenv("HOME", str(home))
        with closing(Store(open_engine(address))) as store:
            places.append(store.counter._path)
    assert places[0] == places[1]
    assert places[0].parent.parent == shared
    assert not (tmp_path / "gone").exists()


def test_fault_e7_a_folder_of_somebody_else_is_not_used(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fault E7: where others may write, or a link leads elsewhere, nothing is shared, and that is said."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(
        "keyturn.store.database.counter.SHARED_LOCATIONS", (str(tmp_path / "a"), str(tmp_path / "b"))
    )
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
    engine = open_engine(address)
    migrate(engine)
    (open_folder,) = (tmp_path / "a" / name for name in [_folder_name()])
    open_folder.mkdir()
    open_folder.chmod(0o777)
    (tmp_path / "b" / _folder_name()).symlink_to(tmp_path)
    with pytest.raises(CannotStart, match="this user alone"):
        Store(engine)
    open_folder.chmod(0o700)
    with closing(Store(engine)) as store:
        assert store.counter._path.parent == open_folder


def _folder_name() -> str:
    return f"keyturn-{os.geteuid()}"


def test_fault_e7_a_user_without_a_home_runs_node_and_verifier(
    root_key_file: Path, monkeypatch: pytest.MonkeyPatch, address: str, shared: Path
) -> None:
    """Fault E7: a user without a home opens PostgreSQL, or gets `CannotStart`, and no other error."""

    def no_home(*_arguments: object, **_options: object) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_data_dir", no_home)
    with pytest.raises(CannotStart, match="No server has run"):
        Verifier(address)
    settings = read_settings({"KEYTURN_DATABASE": address}, root_key_file=root_key_file)
    with closing(open_services(settings, hashing=CHEAPEST)) as services:
        services.start()
    Verifier(address).close()
    with pytest.raises(CannotStart, match="home directory"):
        read_settings({})
