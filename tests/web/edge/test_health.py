"""Health under faults: what is said of reading and writing, and that it is said at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pysqlite3
import pytest

from keyturn.services.keys.keys import NewKey
from keyturn.store.database import writes
from tests.databases import new_sqlite_database
from tests.people import HERE, add_person, person
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keyturn.composition import Services

CROWD = 60
"""More requests than the framework has threads."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an SQLite database, as another process does."""
    connection = pysqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[httpx.Client, Services, str]]:
    """A client of a server, its services, and a key."""
    with running_server(new_sqlite_database(tmp_path)) as server:
        add_person(server.services)
        key = server.services.keys.create(person(server.services, "bob"), HERE, NewKey())
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            yield client, server.services, key.secret


def until(is_so: Callable[[], Any]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if is_so():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")


def test_fault_f3_health_says_that_writing_fails(
    served: tuple[httpx.Client, Services, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F3: while writing fails and reading holds, `ready` is 200 and says why, and 503 for writes."""
    client, _, key = served
    monkeypatch.setattr(writes, "WRITE_SECONDS", 0.1)
    monkeypatch.setattr(writes, "PROBE_SECONDS", 0.05)
    headers = {"Authorization": key}
    with locked(tmp_path / "keyturn.db"):
        assert client.post("/apikey", headers=headers, json={}).status_code == 503
        ready, for_writes = client.get("/health/ready"), client.get("/health/ready?for=writes")
        assert client.get("/verify", headers=headers).status_code == 200
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ok", "details": {"database": "up", "writes": "failing: locked"}},
    )
    assert (for_writes.status_code, for_writes.json()["status"]) == (503, "unavailable")
    assert for_writes.headers["Retry-After"] == "1"

    until(lambda: client.get("/health/ready?for=writes").status_code == 200)
    assert client.post("/apikey", headers=headers, json={}).status_code == 200
    assert client.get("/health/ready?for=everything").status_code in {400, 422}


def test_fault_f9_health_is_said_while_every_thread_waits(
    served: tuple[httpx.Client, Services, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F9: while more requests wait for the database than there are threads, `ready` is answered."""
    client, services, key = served
    monkeypatch.setattr(writes, "WRITE_SECONDS", 4.0)
    begun = threading.Semaphore(0)
    acquire = services.store.writes._turn.acquire

    def wait_for_turn(*, timeout: float) -> bool:
        begun.release()
        return acquire(timeout=timeout)

    monkeypatch.setattr(services.store.writes._turn, "acquire", wait_for_turn)

    def create(_number: int) -> int:
        return httpx.post(
            f"{client.base_url}/apikey", headers={"Authorization": key}, json={}, timeout=30, trust_env=False
        ).status_code

    with ThreadPoolExecutor(CROWD) as crowd, locked(tmp_path / "keyturn.db"):
        waiting = [crowd.submit(create, number) for number in range(CROWD)]
        for _ in range(10):
            begun.acquire()
        assert client.get("/health/ready").status_code == 200
        assert not any(request.done() for request in waiting), "they still wait"
        statuses = {request.result() for request in waiting}
    assert statuses == {503}
