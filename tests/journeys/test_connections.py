"""Connections in a browser: registered, tested, crawled, browsed, rotated, switched off and deleted, on real servers."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.core.networks import read_network
from keyturn.core.permissions import Permission
from keyturn.services.connections.registry import NewConnection
from tests.adapters.conftest import certificate, postgresql, postgresql_log, postgresql_port
from tests.adapters.targets import LOOPBACK
from tests.databases import new_sqlite_database
from tests.journeys.browsers import NARROW, Site, axe_violations, overflow, row_of, tab_to, window
from tests.people import HERE, person
from tests.servers import running_server
from tests.services.connections.conftest import crawled

pytest.importorskip("playwright", reason="no browser driver: install playwright to run these tests")

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg
    from playwright.sync_api import Browser, Page

    from keyturn.adapters.validation import Value
    from tests.fakes import Clock
    from tests.journeys.browsers import Person

__all__ = ["certificate", "postgresql", "postgresql_log", "postgresql_port"]

Target = tuple["psycopg.Connection[tuple[object, ...]]", "dict[str, Value]"]
HOSTILE = ('<img src=x onerror="alert(1)">', "a/b", "..", "50%2F", "\u202egnp.exe", "x" * 60, "line\nend", "ünï'\"")
"""Names of tables, each of which once broke a page somewhere."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that may reach databases on loopback, by the real clock."""
    database = new_sqlite_database(tmp_path_factory.mktemp("connections"))
    with running_server(
        database, connection_networks=tuple(map(read_network, LOOPBACK)), documentation=False
    ) as server:
        yield Site(server, None)  # type: ignore[arg-type]  # nobody moves it
