"""A server that is followed, and the people whose credentials are verified elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.replica.edges import Edge
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def edge(database: str, root_key_file: Path) -> Iterator[Edge]:
    """A server on the clock of the machine, with a person, and a service account that may follow."""
    with running_server(database, root_key_file=root_key_file, failures_per_minute=1_000_000) as server:
        yield Edge.of(server)
