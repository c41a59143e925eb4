"""Real databases over TLS, with an account each that a connection uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from keyturn.adapters.validation import Value, validate
from tests.adapters.rogues import begins_tls, serving
from tests.adapters.targets import PASSWORD, USER
from tests.adapters.tls_front import tls_front
from tests.certificates import make_certificate
from tests.journeys.processes import free_port
from tests.mariadb import MariaDB
from tests.postgresql import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.certificates import Certificate

HBA = """local all postgres trust
host all clear 127.0.0.1/32 password
host all all 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate of both servers, which is its own authority, for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def postgresql_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of all statements of the PostgreSQL, in the folder of its cluster."""
    return tmp_path_factory.mktemp("crawled") / "log"


@pytest.fixture(scope="session")
def postgresql_port(certificate: Certificate, postgresql_log: Path) -> Iterator[tuple[str, int]]:
    """An administrator's address of a PostgreSQL, and the port of TLS in front of it."""
    port, folder = free_port(), postgresql_log.parent
    options = (f"port={port}", "listen_addresses=127.0.0.1", "autovacuum=off", "log_statement=all")
    cluster = Cluster(folder, options)
    cluster.address += f"&port={port}"
    (folder / "pg_hba.conf").write_text(HBA)
    cluster.start()
    try:
        with psycopg.connect(cluster.address, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute(f"CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}'".encode())
        with tls_front(certificate, port) as front:
            yield cluster.address, front
    finally:
        cluster.stop()


@pytest.fixture
def postgresql(
    postgresql_port: tuple[str, int], certificate: Certificate
) -> Iterator[tuple[psycopg.Connection[tuple[object, ...]], dict[str, Value]]]:
    """An administrator in a fresh database, and the values of a connection to it."""
    address, port = postgresql_port
    with psycopg.connect(address, autocommit=True) as administrator:
        administrator.execute("DROP DATABASE IF EXISTS crawled WITH (FORCE)")
        administrator.execute("CREATE DATABASE crawled")
        administrator.execute(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'".encode())
    values = validate(
        {
            "technology": "PostgreSQL", "hostname": "127.0.0.1", "port": port, "database": "crawled",
            "username": USER, "password": PASSWORD, "tlsCertificate": certificate.file.read_text(),
        }
    )  # fmt: skip
    with psycopg.connect(address.replace("/postgres?", "/crawled?"), autocommit=True) as administrator:
        yield administrator, values


@pytest.fixture(scope="session")
def mariadb_server(certificate: Certificate) -> Iterator[MariaDB]:
    """A real MariaDB, started for this run."""
    pytest.importorskip("pymysql", reason="no PyMySQL: install keyturn[mariadb] to run these tests")
    server = MariaDB(certificate)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def mariadb(mariadb_server: MariaDB, certificate: Certificate) -> tuple[MariaDB, dict[str, Value]]:
    """A server with an empty database and an account, and the values of a connection to it."""
    mariadb_server.run(
        "DROP DATABASE IF EXISTS crawled",
        "CREATE DATABASE crawled",
        f"CREATE OR REPLACE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT SELECT ON *.* TO {USER}@'127.0.0.1'",
    )
    values = validate(
        {
            "technology": "MariaDB", "hostname": "127.0.0.1", "port": mariadb_server.port,
            "username": USER, "password": PASSWORD, "tlsCertificate": certificate.file.read_text(),
        }
    )  # fmt: skip
    return mariadb_server, values


@pytest.fixture
def silent_tls() -> Callable[[Certificate, str], AbstractContextManager[int]]:
    """A server of a technology that begins TLS with a certificate, and says no more."""
    return lambda certificate, technology: serving(begins_tls(certificate, technology))
