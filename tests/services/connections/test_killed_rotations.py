"""A rotation of a password that is killed before any of its steps leaves a connection that works."""

from __future__ import annotations

import itertools
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.adapters.findings import State
from keyturn.adapters.ladder import StepResult
from tests.people import HERE
from tests.store.peers import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from keyturn.composition import Services
    from keyturn.core.connections import ConnectionRecord
    from keyturn.core.principal import Principal

    Register = Callable[[str, Mapping[str, Any]], ConnectionRecord]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Another process on this host."""
    process = Peer()
    try:
        yield process
    finally:
        process.end()


@pytest.mark.parametrize("which", ["postgresql", "mariadb"])
def test_no_kill_loses_the_password(
    services: Services,
    keeper: Principal,
    register: Register,
    request: pytest.FixtureRequest,
    root_key_file: Path,
    peer: Peer,
    which: str,
) -> None:
    """Killed before each commit, on the next use the connection signs in, and nobody had to do anything."""
    _, values = request.getfixturevalue(which)
    record = register("db", values)
    environment = {
        "KEYTURN_DATABASE": services.settings.database,
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_CONNECTION_NETWORKS": "127.0.0.0/8",
    }
    undecided = 0
    for step in itertools.count(1):
        ended = peer.died(peer.rotate_password(environment, keeper.userid, "db", step))
        undecided += services.connection_secrets.open(record).next_password is not None
        results = [
            one for one in services.connection_checks.test(keeper, "db", HERE) if isinstance(one, StepResult)
        ]
        assert {one.state for one in results} == {State.OK}, step
        assert services.connection_secrets.open(record).next_password is None
        if ended == 0:
            break
        assert ended == signal.SIGKILL, step
        later = datetime.now(UTC) + timedelta(days=1)  # The clock of the other process goes on.
        services.store.jobs.expire(later, later, {})
    assert undecided > 0, "a kill came between the two passwords"
