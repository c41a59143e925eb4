"""What the journeys in a browser share: Chromium, and servers for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.databases import new_sqlite_database
from tests.fakes import Clock
from tests.journeys.browsers import Site, launch
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Playwright


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver, ended with the module: while it runs, the main thread has an event loop."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no browser driver: install playwright to run these tests"
    )
    with sync_api.sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """One browser for the tests of one file; each test has a context of its own in it."""
    browser = launch(playwright)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server for the tests of one file, over SQLite."""
    clock = Clock()
    database = new_sqlite_database(tmp_path_factory.mktemp("site"))
    with running_server(database, clock.system()) as server:
        opened = Site(server, clock)
        opened.add_connection()
        yield opened


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Site]:
    """A server that nobody has set up yet."""
    clock = Clock()
    with running_server(new_sqlite_database(tmp_path), clock.system()) as server:
        yield Site(server, clock)


@pytest.fixture
def any_site(database: str, clock: Clock, root_key_file: Path) -> Iterator[Site]:
    """A server for one test; a test that takes it runs over SQLite and over PostgreSQL."""
    with running_server(database, clock.system(), root_key_file=root_key_file) as server:
        opened = Site(server, clock)
        opened.add_connection()
        yield opened
