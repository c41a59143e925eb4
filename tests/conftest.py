"""What many tests need: both databases, services over them, people and keys."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from keyturn import logs
from keyturn.composition import Services, open_services
from keyturn.core.permissions import Permission
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from tests.databases import (
    drop_postgresql_database,
    empty_postgresql_database,
    empty_sqlite_database,
    new_postgresql_database,
    new_sqlite_database,
)
from tests.fakes import Clock
from tests.history import has_history
from tests.people import PASSWORD, add_person, holder, person
from tests.phases import WAITING, WORKING, FileScheduling, phase_of
from tests.postgresql import FOR_MANY_DATABASES, Cluster
from tests.runs import begin_run

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.core.principal import Principal

# One run is like the other, in CI and at a desk; what chance finds becomes a vector.
settings.register_profile(
    "keyturn", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("keyturn")

__all__ = ["NO_WAITS", "PASSWORD", "Opener"]

NO_WAITS: dict[str, object] = {
    "creations_per_minute": 1_000_000,
    "passwords_per_minute": 1_000_000,
    "sign_in_failures_per_minute": 1_000_000,
}
"""For services whose clock stands still: a minute never ends there."""
Opener = Callable[..., Services]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let one phase of the tests run (`tests/phases.py`); both do without it."""
    parser.addoption(
        "--phase", choices=[WORKING, WAITING], help="run the tests that work, or those that wait"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the files of the other phase unread."""
    phase = config.getoption("--phase")
    if phase is None or collection_path.suffix != ".py":
        return None
    return True if phase_of(collection_path) != phase else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling | None:
    """Give each file to one worker, which starts its servers once."""
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin the run in its folder, before pytest chooses one for temporary files."""
    if hasattr(config, "workerinput"):
        return  # The run is that of the process which started this one.
    folder = begin_run()
    if config.option.basetemp is None:
        config.option.basetemp = str(folder / "tests")


_NEED_HISTORY = ["deploy/test_release.py", "journeys/test_rolling_upgrade.py"]
"""Tests of commits: a copy of the sources without their history has none of them."""
collect_ignore = [] if has_history() else _NEED_HISTORY


def pytest_report_header() -> list[str]:
    """Tell which tests a copy without history leaves out."""
    return [f"no history here: without {name}" for name in collect_ignore]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail instead of skipping where nothing may be missing: under KEYTURN_NO_SKIPS, as in CI."""
    report = yield
    if report.skipped and os.environ.get("KEYTURN_NO_SKIPS"):
        report.outcome = "failed"
    return report


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is there by now: it is much, and all of it stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust no authority for TLS: no test asks one's servers, and every client would read them all anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


@pytest.fixture(autouse=True)
def default_logs() -> None:
    """Log as at the start again, after a test that ran the command line in this process."""
    structlog.reset_defaults()
    logs._OUTPUT.writer = None
    logging.getLogger("keyturn").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real PostgreSQL, started for this run."""
    server = Cluster(tmp_path_factory.mktemp("postgresql"), FOR_MANY_DATABASES)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database, every table there and empty; each test that takes it runs on both."""
    if request.param == "sqlite":
        yield new_sqlite_database(tmp_path)
        return
    server = request.getfixturevalue("postgresql_server")
    made = new_postgresql_database(server)
    yield made
    drop_postgresql_database(server, made)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without a table, for what migrates it; the test runs on both."""
    if request.param == "sqlite":
        return empty_sqlite_database(tmp_path)
    return empty_postgresql_database(request.getfixturevalue("postgresql_server"))


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def root_key_file(tmp_path: Path) -> Path:
    """A root key, as an operator of PostgreSQL must give one."""
    path = tmp_path / "given-root.key"
    path.write_text("A" * 43)
    path.chmod(0o600)
    return path


@pytest.fixture
def services(database: str, clock: Clock, root_key_file: Path) -> Iterator[Services]:
    """All use cases over a fresh database, with a clock that stands still."""
    chosen = read_settings(
        {"KEYTURN_DATABASE": database},
        root_key_file=root_key_file,
        **NO_WAITS,
    )
    opened = open_services(chosen, clock.system(), hashing=CHEAPEST)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def reopen(database: str, clock: Clock, root_key_file: Path) -> Iterator[Opener]:
    """Open the services over the same database again, as after a restart or on another node."""
    opened: list[Services] = []

    def open_again(**settings: object) -> Services:
        chosen = read_settings(
            {"KEYTURN_DATABASE": database}, **{"root_key_file": root_key_file, **NO_WAITS, **settings}
        )
        opened.append(open_services(chosen, clock.system(), hashing=CHEAPEST))
        return opened[-1]

    yield open_again
    for services in opened:
        services.close()


@pytest.fixture
def admin(services: Services) -> Principal:
    """Ada, who holds every permission, signed in with a browser."""
    return holder(services, "ada", *Permission)


@pytest.fixture
def bob(services: Services) -> Principal:
    """Bob, signed in with a browser."""
    add_person(services)
    return person(services)
