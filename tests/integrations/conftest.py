"""One installation for all tests of a module, and each integration on a real socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from keyturn.composition import open_services
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from tests.databases import new_sqlite_database
from tests.integrations.issuer import Issuer
from tests.integrations.sites import INTEGRATIONS, Options, Site, running
from tests.people import add_person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GENEROUS = 100_000
"""More failures in a minute than all tests make."""


@contextmanager
def issuing(database: str, root_key_file: Path | None = None) -> Iterator[Issuer]:
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    services = open_services(settings, hashing=CHEAPEST)
    services.start()
    try:
        add_person(services)
        yield Issuer(services, database)
    finally:
        services.close()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with issuing(new_sqlite_database(tmp_path_factory.mktemp("issuer"))) as opened:
        yield opened


@pytest.fixture
def own_issuer(tmp_path: Path) -> Iterator[Issuer]:
    """An installation that the test may break."""
    with issuing(new_sqlite_database(tmp_path)) as opened:
        yield opened


@pytest.fixture(scope="module", params=INTEGRATIONS)
def site(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Site]:
    """A service behind each integration in turn."""
    with running(request.param, Options(issuer.database, GENEROUS)) as opened:
        yield opened


@pytest.fixture(params=INTEGRATIONS)
def integration(request: pytest.FixtureRequest) -> str:
    """The name of each integration in turn, for a test that opens its own site."""
    return str(request.param)
