"""Writing under faults: a frozen writer, a lock, a full disk, a file that is gone."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pysqlite3
import pytest

from keyturn.errors import StoreUnavailable
from keyturn.store import Store, open_engine
from keyturn.store.database import counter as revision
from keyturn.store.database import writes
from keyturn.store.installation.installation import Installation
from tests.databases import new_postgresql_database, new_sqlite_database
from tests.store.peers import Peer
from tests.store.rows import NOW, a_user, an_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 10
SHORT = {"idle": 300, "transaction": 1_500}
MANY = 12


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    opened = Store(open_engine(database))
    Installation(opened._database).begin(b"check", NOW)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    opened = Store(open_engine(new_sqlite_database(tmp_path)))
    Installation(opened._database).begin(b"check", NOW)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter limits than an operator's."""
    monkeypatch.setattr(writes, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(writes, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr(revision, "LOCK_SECONDS", 0.2)


def write(store: Store, userid: str = "bob") -> None:
    store.users.add(a_user(userid), an_entry())


def ends(act: Callable[[], object]) -> None:
    """Run it in a thread, which must end: what hangs is to fail, and not to hang the tests."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            act()
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert outcome, "it hangs"
    if outcome[0] is not None:
        raise outcome[0]


def until(is_so: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(PATIENCE_SECONDS * 100):
        if is_so():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")


# A frozen process


def test_fault_a13_a_frozen_node_is_put_out(postgresql_server: str, peer: Peer) -> None:
    """Fault A13: while a process is frozen inside a change, the next change of another is made."""
    database = new_postgresql_database(postgresql_server)
    store = Store(open_engine(database))
    Installation(store._database).begin(b"check", NOW)
    frozen = peer.freeze_inside_a_change(database, SHORT)
    try:
        ends(lambda: write(store))
    finally:
        peer.end_frozen(frozen)
        store.close()


def test_fault_a13_nobody_waits_for_a_frozen_writer_for_ever(sqlite: Store, peer: Peer) -> None:
    """Fault A13: while a process is frozen inside a change on SQLite, others are refused, and then go on."""
    database = f"sqlite:///{sqlite._database.engine.url.database}"
    frozen = peer.freeze_inside_a_change(database, {})
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                ends(lambda: write(sqlite))
        assert sqlite.writes.failing == "locked"
    finally:
        peer.end_frozen(frozen)
    until(lambda: sqlite.writes.failing is None)
    write(sqlite)


def test_fault_a13_a_frozen_commit_stops_nobody_for_ever(store: Store, peer: Peer) -> None:
    """Fault A13: a process that is frozen while it tells of its commit keeps nobody waiting without end.

    On SQLite the change is refused and not made; on PostgreSQL no lock is needed.
    """
    peer.hold(store.counter._path)
    peer._process.send_signal(signal.SIGSTOP)
    try:
        if store.blocks_briefly:
            with pytest.raises(StoreUnavailable):
                ends(lambda: write(store))
            assert store.users.find_by_name("bim", "bob") is None
        else:
            ends(lambda: write(store))
    finally:
        peer._process.send_signal(signal.SIGCONT)
        peer.release()
    write(store, "carol")


# A lock


def test_fault_f9_a_crowd_of_writers_is_refused_in_time(
    sqlite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F9: while another process holds the lock, a crowd is refused in one wait and not in many."""
    waited: list[float] = []
    acquire = sqlite.writes._turn.acquire
    monkeypatch.setattr(
        sqlite.writes._turn,
        "acquire",
        lambda *, timeout: (waited.append(timeout), acquire(timeout=timeout))[1],
    )
    path = str(sqlite._database.engine.url.database)
    locking = pysqlite3.connect(path, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    try:
        for _ in range(MANY):
            with pytest.raises(StoreUnavailable):
                write(sqlite)
    finally:
        locking.close()
    assert sum(waited) == writes.WRITE_SECONDS, "all but the first wait for nobody's turn"
    until(lambda: sqlite.writes.failing is None)
    write(sqlite)


# A disk that takes nothing more


def test_fault_f3_a_full_database_is_known_and_named(sqlite: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Fault F3: why writing fails is known until a write succeeds, and logged once, and reading goes on."""
    connection = sqlite.writes._engine.raw_connection()
    pages = connection.driver_connection.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[union-attr]
    connection.driver_connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[union-attr]
    connection.close()

    caplog.set_level(logging.INFO, "keyturn")
    for number in range(200):
        try:
            write(sqlite, f"user{number}" + "x" * 200)
        except StoreUnavailable:
            break
    else:
        raise AssertionError("the database is not full")

    failures = [line for line in caplog.records if line.message == "writes_fail"]
    assert [(line.levelname, line.__dict__["cause"]) for line in failures] == [("ERROR", "ENOSPC")]
    assert sqlite.installation.revision() > 0
    until(lambda: sqlite.writes.failing is None)
    assert caplog.records[-1].message == "writes_succeed_again"


def test_fault_f3_what_is_wrong_with_one_change_says_nothing_of_writing(store: Store) -> None:
    """A change that is refused for what it is leaves writing as it was."""
    write(store)
    with pytest.raises(Exception, match=r"."):
        write(store)
    assert store.writes.failing is None


@contextmanager
def nearly_full(folder: Path) -> Iterator[None]:
    """Leave room for the smallest change and for no other, by a limit on files."""
    present = (folder / "keyturn.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (present + 20 * 4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_fault_f3_a_disk_with_room_for_a_probe_alone_is_no_good_one(
    sqlite: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault F3: writing is not up again while only the smallest change fits, and is as soon as all do."""
    caplog.set_level(logging.INFO, "keyturn")
    with sqlite._database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE filler (content BLOB)")
    probed = threading.Event()
    with nearly_full(tmp_path):
        with (
            pytest.raises(StoreUnavailable, match=r"disk fails, or a quota.*\(EIO\)"),
            sqlite._database.writing() as c,
        ):
            c.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(100000))")
        write(sqlite)
        with pytest.raises(StoreUnavailable, match="EIO"):
            sqlite.check_writes()
        assert not probed.wait(10 * writes.PROBE_SECONDS)
        assert sqlite.writes.failing is not None
    until(lambda: sqlite.writes.failing is None)
    sqlite.check_writes()
    assert [line.message for line in caplog.records].count("writes_succeed_again") == 1


def test_fault_f3_a_probe_is_a_write_on_both_databases(store: Store) -> None:
    """Fault F3: a failure that is over is over, on PostgreSQL too, where taking room is a statement."""
    store.check_writes()
    store.writes._note("ENOSPC")
    assert store.writes.failing == "ENOSPC"
    until(lambda: store.writes.failing is None)


# A file that is gone


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_fault_e9_nothing_is_acknowledged_into_a_file_that_is_gone(
    sqlite: Store, tmp_path: Path, how: str
) -> None:
    """Fault E9: a database file that was deleted, moved or replaced takes no write, and is not read anew."""
    write(sqlite)
    path = tmp_path / "keyturn.db"
    shutil.copy(path, tmp_path / "copy.db")
    if how == "deleted":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere.db")
        if how == "replaced":
            (tmp_path / "copy.db").rename(path)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        write(sqlite, "carol")
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.check_file()
    sqlite._database.engine.dispose()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.users.find_by_name("bim", "bob")

    if how != "deleted":
        (tmp_path / "elsewhere.db").replace(path)
        until(lambda: sqlite.writes.failing is None)
        write(sqlite, "dave")
        sqlite.check_file()


def test_fault_e9_a_file_that_goes_during_a_change_takes_no_acknowledgement(
    sqlite: Store, tmp_path: Path
) -> None:
    """Fault E9: a file that is deleted while a change is made loses no change that was acknowledged."""
    change = sqlite._database.change()
    change.__enter__().record(an_entry())
    (tmp_path / "keyturn.db").unlink()
    with pytest.raises(StoreUnavailable):
        change.__exit__(None, None, None)


# The log of changes beside it, which SQLite makes anew without a word


READ_BESIDE = "import pysqlite3, sys; pysqlite3.connect(sys.argv[1]).execute('SELECT * FROM sqlite_schema')"
LOGS = [("wal",), ("shm",), ("wal", "shm")]


def logs(tmp_path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [tmp_path / f"keyturn.db-{suffix}" for suffix in suffixes]


@pytest.mark.parametrize("suffixes", LOGS, ids="+".join)
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "made anew"])
def test_nothing_is_acknowledged_into_a_log_that_is_gone(
    sqlite: Store, tmp_path: Path, how: str, suffixes: tuple[str, ...]
) -> None:
    """A log of changes that is not the one in its place takes no write, until it is back."""
    write(sqlite)
    for path in logs(tmp_path, suffixes):
        path.rename(tmp_path / f"elsewhere-{path.name}")
        if how == "replaced":
            path.touch()
        elif how != "moved":
            (tmp_path / f"elsewhere-{path.name}").unlink()
    if how == "made anew":  # As a command beside the server does.
        beside = [sys.executable, "-c", READ_BESIDE, tmp_path / "keyturn.db"]
        subprocess.run(beside, capture_output=True, check=False)

    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        write(sqlite, "carol")
    assert sqlite.writes.failing == writes.REPLACED
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        sqlite.check_file()
    engine = sqlite._database.engine
    with engine.connect(), pytest.raises(StoreUnavailable, match="deleted or replaced"):
        engine.connect()  # A new one, since the pool's is in use.

    if how == "moved":
        for path in logs(tmp_path, suffixes):
            (tmp_path / f"elsewhere-{path.name}").replace(path)
        until(lambda: sqlite.writes.failing is None)
        write(sqlite, "dave")
        sqlite.check_file()


@pytest.mark.parametrize("suffixes", LOGS, ids="+".join)
def test_a_log_that_goes_during_a_change_takes_no_acknowledgement(
    sqlite: Store, tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    """A change in whose midst the log is deleted is not acknowledged."""
    change = sqlite._database.change()
    change.__enter__().record(an_entry())
    for path in logs(tmp_path, suffixes):
        path.unlink()
    with pytest.raises(StoreUnavailable):
        change.__exit__(None, None, None)


def test_nothing_is_acknowledged_into_a_log_without_its_beginning(sqlite: Store, tmp_path: Path) -> None:
    """A log that was truncated takes no write: SQLite takes it for empty when it is opened next."""
    write(sqlite)
    os.truncate(tmp_path / "keyturn.db-wal", 0)
    with pytest.raises(StoreUnavailable):
        write(sqlite, "carol")
    assert sqlite.writes.failing is not None


def test_no_log_is_missed_that_went_as_it_should(sqlite: Store, tmp_path: Path) -> None:
    """Other processes, checkpoints, threads that end, and closing all connections raise no alarm."""
    path = tmp_path / "keyturn.db"
    program = "import pysqlite3, sys; pysqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    for number, statement in enumerate(
        ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "SELECT * FROM sqlite_schema"]
    ):
        write(sqlite, f"before{number}")
        subprocess.run([sys.executable, "-c", program, path, statement], check=True)
        sqlite.check_file()
        write(sqlite, f"after{number}")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: write(sqlite, f"thread{number}"), range(8)))
    sqlite._database._queries.close()  # type: ignore[union-attr]
    sqlite._database.engine.dispose()
    sqlite.writes._engine.dispose()
    assert not path.with_name("keyturn.db-wal").exists(), "SQLite deletes it with the last connection"
    sqlite.check_file()
    write(sqlite, "at last")
    sqlite.check_file()
    assert sqlite.writes.failing is None
