"""A run of one test that starts all that tests start, and ends only by a signal: for `test_runs.py`.

Its name keeps it out of every other run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.databases import new_postgresql_database
from tests.gateways.gateways import KINDS, running_gateway
from tests.gateways.upstreams import running_api
from tests.journeys.browsers import launch
from tests.journeys.conftest import playwright  # noqa: F401 - a fixture
from tests.journeys.processes import serving

if TYPE_CHECKING:
    import pytest


def test_everything_runs(
    postgresql_server: str, root_key_file: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nothing here ends by itself."""
    key = {"KEYTURN_ROOT_KEY_FILE": str(root_key_file)}
    database = new_postgresql_database(postgresql_server)
    with (
        running_api() as api,
        serving(database, tmp_path, "--workers", "2", environment=key) as server,
        running_gateway(KINDS["nginx"], tmp_path, keyturn=server.url, api=api.url),
    ):
        launch(request.getfixturevalue("playwright")).new_page()
        Path(os.environ["KEYTURN_TESTS_READY"]).touch()
        time.sleep(600)
