"""A server, a key on it, and how often that key was exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.databases import new_sqlite_database
from tests.people import add_person
from tests.servers import RunningServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.services.keys.keys import CreatedKey

WHO = "/bim/rpc/user/current"
EXCHANGE = "POST /bim/apikey/authenticate"


@dataclass
class Keyed:
    """A running server, a key of Bob's, and the log of what was asked."""

    server: RunningServer
    made: CreatedKey
    capture: pytest.CaptureFixture[str]
    _seen: str = ""

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def key(self) -> str:
        return self.made.secret

    def exchanges(self) -> int:
        """Return how many exchanges the server has answered with a token so far."""
        self._seen += self.capture.readouterr().err
        return sum(EXCHANGE in line and '"status":200' in line for line in self._seen.splitlines())

    def sign_out(self) -> None:
        """End every token, and leave the key."""
        self.server.services.users.sign_out(COMMAND_LINE, "bob")


@pytest.fixture
def keyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Keyed]:
    with running_server(new_sqlite_database(tmp_path), failures_per_minute=1_000_000) as server:
        user = add_person(server.services)
        made = server.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey("first"))
        yield Keyed(server, made, capsys)
