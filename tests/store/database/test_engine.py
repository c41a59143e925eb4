"""Opening a database: what is refused, and what must be true of an open one."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from keyturn.errors import CannotStart
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import describe, sqlite_path
from keyturn.store.database.migrations import migrate
from keyturn.store.database.sqlite import BUSY_TIMEOUT_MS
from tests.databases import new_postgresql_database

PASSWORD = "opensesame"


def refusal(database: str) -> str:
    """Open what cannot be opened; return the one sentence that says so."""
    with pytest.raises(CannotStart) as refused:
        open_engine(database)
    message = str(refused.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    assert PASSWORD not in message
    return message


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "database",
    [
        "",
        "keyturn.db",
        "/var/lib/keyturn.db",
        f"mysql://keyturn:{PASSWORD}@127.0.0.1/keyturn",
        f"http://keyturn:{PASSWORD}@127.0.0.1/",
        f"postgresql://keyturn:{PASSWORD}@127.0.0.1:port/keyturn",
        f"postgresql://keyturn:{PASSWORD}@[::1/keyturn",
    ],
)
def test_what_is_no_database_address_is_refused(database: str) -> None:
    """Whatever is no address of a database stops the start with the two forms an address has."""
    message = refusal(database)

    assert "sqlite:///" in message
    assert "postgresql://" in message


@pytest.mark.parametrize("database", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(database: str) -> None:
    """A database that would be forgotten at the end of the process is refused."""
    assert "file" in refusal(database)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A database file below something that is no folder is refused, naming the file."""
    (tmp_path / "file").touch()

    assert str(tmp_path / "file") in refusal(f"sqlite:///{tmp_path}/file/below/keyturn.db")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """A folder in the place of the database file is refused."""
    assert str(tmp_path) in refusal(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    """A file with other content is refused and stays what it was."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 500)

    assert str(path) in refusal(f"sqlite:///{path}")
    assert path.read_text() == "Dear Sir or Madam, " * 500


def test_a_postgresql_that_is_not_there_is_refused(closed_port: int) -> None:
    """An unreachable server stops the start, named without the password."""
    assert "127.0.0.1/keyturn" in refusal(f"postgresql://keyturn:{PASSWORD}@127.0.0.1:{closed_port}/keyturn")


@pytest.mark.parametrize("query", ["nonsense=1", "sslmode=nonsense", f"password={PASSWORD}"])
def test_no_part_of_the_query_is_told(closed_port: int, query: str) -> None:
    """What is wrong with the options of an address is refused without repeating them."""
    message = refusal(f"postgresql://keyturn@127.0.0.1:{closed_port}/keyturn?{query}")

    assert query not in message


def test_a_password_with_unescaped_signs_is_not_told(closed_port: int) -> None:
    """When `@` and `/` in a password were not escaped, no part of it is in the message."""
    message = refusal(f"postgresql://keyturn:a/b@tail@127.0.0.1:{closed_port}/keyturn")

    assert "tail" not in message


def test_a_server_that_loses_writes_is_refused(postgresql_server: str) -> None:
    """PostgreSQL that acknowledges before it flushes is refused (D1)."""
    database = new_postgresql_database(postgresql_server)
    engine = open_engine(database)
    name = engine.url.database
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    engine.dispose()

    assert "synchronous_commit" in refusal(database)


@pytest.mark.parametrize("connections", [1, 3])
def test_each_sqlite_connection_is_set_up(tmp_path: Path, connections: int) -> None:
    """Every pooled connection flushes at commit, waits for locks and checks foreign keys (D1, D3)."""
    engine = open_engine(f"sqlite:///{tmp_path / 'keyturn.db'}")
    opened = [engine.connect() for _ in range(connections)]

    for connection in opened:
        found = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in (
                "journal_mode",
                "synchronous",
                "foreign_keys",
                "busy_timeout",
                "mmap_size",
                "trusted_schema",
            )
        }
        assert found == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": BUSY_TIMEOUT_MS,
            "mmap_size": 0,
            "trusted_schema": 0,
        }
        connection.close()
    engine.dispose()


def test_each_postgresql_connection_is_set_up(postgresql_server: str) -> None:
    """PostgreSQL flushes at commit, and no statement nor lock is waited for without end (D1)."""
    engine = open_engine(new_postgresql_database(postgresql_server))

    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"SHOW {name}")).scalar()
            for name in (
                "synchronous_commit",
                "fsync",
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "transaction_timeout",
            )
        }
        named = connection.execute(text("SHOW application_name")).scalar()

    assert found == {
        "synchronous_commit": "on",
        "fsync": "on",
        "statement_timeout": "1900ms",
        "lock_timeout": "1900ms",
        "idle_in_transaction_session_timeout": "2s",
        "transaction_timeout": "4500ms",
    }
    assert named == "keyturn"
    engine.dispose()


def test_only_its_owner_reads_the_database(tmp_path: Path) -> None:
    """The file, its log and its shared memory have mode 0600, their folder 0700."""
    path = tmp_path / "data" / "keyturn.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    engine.dispose()

    assert modes == {"keyturn.db": 0o600, "keyturn.db-wal": 0o600, "keyturn.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name",
    [
        "plain.db",
        "with space.db",
        "per%cent.db",
        "a%41.db",
        "höhe.db",
        "q?x.db",
        "q?mode=ro",
        "a#b.db",
        "a:b@c.db",
    ],
)
def test_fault_e8_the_file_that_is_named_is_opened(tmp_path: Path, name: str) -> None:
    """Fault E8: the engine opens the file that is named, character for character, for readers and writers."""
    database = f"sqlite:///{tmp_path}/{name}"
    engine = open_engine(database)
    migrate(engine)
    store = Store(engine)
    with store._database.writing() as connection:
        connection.execute(text("DELETE FROM audit"))
    store.close()

    files = {path.name for path in tmp_path.iterdir() if not path.name.endswith(("-wal", "-shm"))}
    assert files == {name, f"{name}-changes"}
    assert sqlite_path(database) == tmp_path / name


def test_fault_e8_a_relative_path_begins_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault E8: a path without a slash at its beginning is one from the current folder, also `file:…`."""
    monkeypatch.chdir(tmp_path)
    open_engine("sqlite:///file:x.db?mode=memory").dispose()

    assert [path.name for path in tmp_path.iterdir()] == ["file:x.db?mode=memory"]


def test_a_database_is_named_without_its_password(engine: Engine) -> None:
    """The name of a database in a message holds the place, not the password."""
    assert PASSWORD not in describe(engine.url.set(password=PASSWORD))
    assert engine.url.database is not None
    assert engine.url.database in describe(engine.url)


def test_postgresql_has_no_sqlite_path() -> None:
    """Only an embedded database has a file beside which things can lie."""
    assert sqlite_path("postgresql://keyturn@db/keyturn") is None
