"""What the tests of the HTTP side share: a server for each file, its people, and a raw socket."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.databases import new_postgresql_database, new_sqlite_database
from tests.fakes import Clock
from tests.servers import running_server
from tests.web.sites import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    SiteOpener = Callable[..., AbstractContextManager[Site]]


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> SiteOpener:
    """Serve a fresh SQLite database until the block ends; takes settings."""

    @contextmanager
    def opened(database: str | None = None, **settings: object) -> Iterator[Site]:
        clock = Clock()
        # Most tests here present wrong credentials by the hundred; those of the budget choose their own.
        settings.setdefault("failures_per_minute", 1_000_000)
        database = database or new_sqlite_database(tmp_path_factory.mktemp("site"))
        with running_server(database, clock.system(), **settings) as server:
            yield Site(server, clock, database)

    return opened


@pytest.fixture(scope="module")
def site(open_site: SiteOpener) -> Iterator[Site]:
    """A server for the tests of one file, over SQLite."""
    with open_site() as opened:
        opened.add_people()
        yield opened


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def any_site(
    request: pytest.FixtureRequest, open_site: SiteOpener, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server for the tests of one file; each test that takes it runs over both databases."""
    if request.param == "sqlite":
        with open_site() as opened:
            opened.add_people()
            yield opened
        return
    root_key = tmp_path_factory.mktemp("root") / "root.key"
    root_key.write_text("A" * 43)
    root_key.chmod(0o600)
    database = new_postgresql_database(request.getfixturevalue("postgresql_server"))
    with open_site(database, root_key_file=root_key) as opened:
        opened.add_people()
        yield opened
