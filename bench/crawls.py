"""A crawl of a large database, what it does to verification, and lists of a million objects.

The database that is crawled is a real PostgreSQL on the core that asks, as if on another host; Keyturn and
the processes that crawl share the server's core. Requests to `/verify` come at a fifth of what the server can
answer, whether it answers or not (an open loop), so each wait is counted from the moment at which its
request was due.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import psutil
import psycopg
from sqlalchemy import Connection, insert, select, update

from bench.errors import NotMeasured
from bench.installations import Installation, new_installation
from bench.load import apply_load
from bench.open_loop import CONNECTIONS, SHARE, open_loop, sleeping, verifying
from bench.postgresql import new_database, running_postgresql
from bench.processors import CLIENT_CORE, starting_on
from bench.servers import Server, free_port
from bench.wire import HOST, KeptConnection, Request
from keyturn.core.connections import path_digest
from keyturn.store import open_engine
from keyturn.store.connections.objects import FOREVER
from keyturn.store.database.schema import connection as connection_table
from keyturn.store.database.schema import data_object

TABLES, SHORT_TABLES, COLUMNS = 50_000, 2_000, 20
PAIRS, SHORT_PAIRS = 5, 1
OBJECTS, SHORT_OBJECTS = 1_000_000, 20_000
CAPACITY_SECONDS = 2
ALONE_SECONDS = 3
SECTION = "crawls"
SEARCHES: dict[str, dict[str, Any]] = {
    "directly below a schema": {},
    "the last page of that": {"offset": 9_900},
    "a name that one has": {"searchText": "t_777777"},
    "a name that many have": {"searchText": "t_7"},
    "a name that none has": {"searchText": "nothing like it"},
}
ASKED = 20
SETTINGS = {"KEYTURN_CONNECTION_NETWORKS": "127.0.0.0/8", "KEYTURN_CREATIONS_PER_MINUTE": "1000000"}


def measure_crawls(directory: Path, *, is_short: bool) -> dict[str, Any]:
    """Return how long crawls take, what verification waits for during them, and how long lists take."""
    tables = SHORT_TABLES if is_short else TABLES
    with running_postgresql(directory) as server:
        with _crawled(directory / "crawled", tables) as port:
            on_sqlite = new_installation(_folder(directory / "sqlite"))
            crawled = _measure_crawls(on_sqlite, directory, port, SHORT_PAIRS if is_short else PAIRS)
        objects = SHORT_OBJECTS if is_short else OBJECTS
        lists = []
        for title, installation in (
            ("SQLite", new_installation(_folder(directory / "sqlite-lists"))),
            ("PostgreSQL", new_installation(_folder(directory / "postgresql-lists"), new_database(server))),
        ):
            lists += [{"database": title, **row} for row in _measure_lists(installation, directory, objects)]
    return {"tables": tables, "columns": COLUMNS, "objects": objects, **crawled, "lists": lists}


def _folder(place: Path) -> Path:
    place.mkdir()
    return place


@contextmanager
def _crawled(folder: Path, tables: int) -> Iterator[int]:
    """Run a database with so many tables until the block ends; give its port."""
    from tests.postgresql import Cluster  # noqa: PLC0415 - the development requirements bring its server

    port = free_port()
    options = (f"port={port}", f"listen_addresses={HOST}", "autovacuum=off", "max_locks_per_transaction=8192")
    with starting_on(CLIENT_CORE):
        cluster = Cluster(folder, options)
        cluster.address += f"&port={port}"
        cluster.start()
    try:
        with psycopg.connect(cluster.address, autocommit=True) as administrator:
            administrator.execute("CREATE ROLE crawler LOGIN PASSWORD 'crawler'")
            administrator.execute("CREATE SCHEMA big")
            administrator.execute("GRANT USAGE ON SCHEMA big TO PUBLIC")
            columns = ", ".join(f"c{number} numeric(10, 2)" for number in range(COLUMNS))
            for first in range(0, tables, 500):
                last = min(tables, first + 500) - 1
                make = f"EXECUTE 'CREATE UNLOGGED TABLE big.t_' || i || ' ({columns})'"
                loop = f"DO $$ BEGIN FOR i IN {first}..{last} LOOP {make}; END LOOP; END $$"
                administrator.execute(loop.encode())
            administrator.execute("ANALYZE")
        yield port
    finally:
        cluster.stop()


def _measure_crawls(installation: Installation, directory: Path, port: int, pairs: int) -> dict[str, Any]:
    installation = replace(installation, settings=SETTINGS)
    installation.add_administrator()
    key = installation.new_key()
    with installation.serving(directory) as server, KeptConnection(server.port) as api:
        _call(api, key, "POST", "/data/connection", _connection(port))
        capacity = apply_load(
            server.port, [verifying(key)], connections=CONNECTIONS, seconds=CAPACITY_SECONDS
        )
        rate = SHARE * capacity.requests_per_second
        with _memory_of_children(server) as peak:
            first = _crawl(api, key)
        again = [_crawl(api, key)["seconds"] for _ in range(pairs)]
        alone, during = [], []
        for _ in range(pairs):
            alone.append(open_loop(server.port, key, rate, sleeping(ALONE_SECONDS)))
            during.append(open_loop(server.port, key, rate, lambda: _crawl(api, key)))
    return {
        "first_seconds": first["seconds"],
        "second_seconds": median(again),
        "crawler_megabytes": max(peak, default=0) / 1e6,
        "rate": rate,
        "p99_alone_ms": median(alone),
        "p99_during_ms": median(during),
        "ratio": median(b / a for a, b in zip(alone, during, strict=True)),
    }


def _connection(port: int) -> dict[str, Any]:
    return {
        "connectionKey": "big",
        "connection": {
            "technology": "PostgreSQL",
            "hostname": HOST,
            "port": port,
            "database": "postgres",
            "username": "crawler",
            "password": "crawler",
            "tlsMode": "disable",
        },
    }


def _crawl(api: KeptConnection, key: str) -> dict[str, Any]:
    began_at = time.perf_counter()
    job = _call(api, key, "POST", "/data/crawl/big")
    while True:
        states = _call(api, key, "POST", "/jobs/statuses", {"jobIds": [job["id"]], "wait": 5})
        state = states[job["id"]]
        if state["state"] == "completed":
            return {"seconds": time.perf_counter() - began_at, **state["output"]}
        if state["state"] not in {"created", "active"}:
            raise NotMeasured(f"the crawl ended as {state['state']}: {state['output']}")


def _call(api: KeptConnection, key: str, method: str, path: str, body: object = None) -> Any:
    headers = {"Authorization": key, "Content-Type": "application/json"}
    answer = api.ask(Request(method, path, headers, "" if body is None else json.dumps(body)))
    if answer.status != 200:
        raise NotMeasured(f"{method} {path} was answered with {answer.status}: {answer.body[:200]!r}")
    return json.loads(answer.body)


@contextmanager
def _memory_of_children(server: Server) -> Iterator[list[int]]:
    """Note the memory of the largest child of a server, again and again until the block ends."""
    stopped, seen = Event(), list[int]()

    def watch() -> None:
        while not stopped.wait(0.05):
            for child in psutil.Process(server.pid).children(recursive=True):
                try:
                    if "keyturn.adapters.worker" in child.cmdline():
                        seen.append(child.memory_info().rss)
                except psutil.Error:
                    continue

    thread = Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()


def _measure_lists(installation: Installation, directory: Path, objects: int) -> list[dict[str, Any]]:
    installation.add_administrator()
    key = installation.new_key()
    engine = open_engine(installation.database)
    try:
        with engine.connect() as connection:
            _fill(connection, objects)
    finally:
        engine.dispose()
    rows = []
    with installation.serving(directory) as server, KeptConnection(server.port) as api:
        for title, body in SEARCHES.items():
            path = "/data/object/search/big" if "searchText" in body else "/data/object/search/big/db/s"
            took = []
            for _ in range(ASKED):
                began_at = time.perf_counter()
                _call(api, key, "POST", path, body)
                took.append((time.perf_counter() - began_at) * 1000)
            rows.append({"title": title, "p50_ms": median(took), "longest_ms": max(took)})
    return rows


def _fill(connection: Connection, objects: int) -> None:
    """Write a connection with so many tables straight into the database."""
    now = datetime.now(UTC)
    connection.execute(
        insert(connection_table).values(
            connection_key="big",
            details={"technology": "PostgreSQL"},
            created_at=now,
            created_by=1,
            updated_at=now,
            updated_by=1,
        )
    )
    number = connection.execute(select(connection_table.c.id)).scalar_one()
    connection.execute(update(connection_table).values(generation=1, crawl_number=1))
    parents = [("db",), ("db", "s")]
    paths = parents + [("db", "s", f"t_{one}") for one in range(objects)]
    for first in range(0, len(paths), 10_000):
        connection.execute(
            insert(data_object),
            [
                {
                    "connection_id": number,
                    "path_digest": path_digest(path),
                    "parent_digest": path_digest(path[:-1]),
                    "path": list(path),
                    "searched": path[-1],
                    "kind": "table",
                    "fingerprint": secrets.token_bytes(16),
                    "column_count": 0,
                    "first": 1,
                    "since": 1,
                    "until": FOREVER,
                }
                for path in paths[first : first + 10_000]
            ],
        )
        connection.commit()
    # Autovacuum does it within a minute of a crawl.
    statement = "ANALYZE" if connection.dialect.name == "sqlite" else "VACUUM (ANALYZE) data_object"
    connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
