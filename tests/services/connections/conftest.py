"""Services that may reach the databases of the tests, and real databases for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.networks import read_network
from keyturn.core.permissions import Permission
from keyturn.services.connections.registry import NewConnection
from tests.adapters.conftest import (
    certificate,
    mariadb,
    mariadb_server,
    postgresql,
    postgresql_log,
    postgresql_port,
)
from tests.adapters.targets import LOOPBACK
from tests.people import HERE, holder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keyturn.composition import Services
    from keyturn.core.connections import ConnectionRecord, JobRecord
    from keyturn.core.principal import Principal
    from tests.conftest import Opener

__all__ = ["certificate", "mariadb", "mariadb_server", "postgresql", "postgresql_log", "postgresql_port"]


@pytest.fixture
def services(reopen: Opener) -> Services:
    """All use cases, which may reach databases on loopback."""
    return reopen(connection_networks=tuple(map(read_network, LOOPBACK)))


@pytest.fixture
def keeper(services: Services) -> Principal:
    """Somebody who may do everything with connections, and nothing else."""
    return holder(services, "keeper", Permission.APPLICATION_ADMIN)


@pytest.fixture
def register(services: Services, keeper: Principal) -> Callable[[str, Mapping[str, Any]], ConnectionRecord]:
    """Register a connection with these values."""

    def register(key: str, values: Mapping[str, Any]) -> ConnectionRecord:
        return services.connections.add(keeper, NewConnection(key, values), HERE)

    return register


def crawled(services: Services, principal: Principal, key: str) -> JobRecord:
    """Crawl a connection, and return the job when it has ended."""
    job = services.jobs.crawl(principal, (key,), HERE)
    (done,) = services.jobs.wait(principal, frozenset({job.job_id}), 60, 0.05)
    return done
