"""A gateway on the same machine asks over a Unix socket, with the changes that the documentation tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.conftest import PASSWORD
from tests.gateways.gateways import DOCUMENTED, HOST, KINDS, running_gateway
from tests.gateways.upstreams import running_api
from tests.journeys.processes import run_command, serving

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTED_SOCKET = "/run/keyturn/gateway.sock"
CHANGES = re.findall(
    r"^\| (\w+) \| `(.+?)` \| `(.+?)` \|$", (DOCUMENTED / "README.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize("name", sorted({row[0] for row in CHANGES}))
def test_it_decides_as_over_tcp(name: str, tmp_path: Path) -> None:
    """A good key passes, a wrong one and one for another network do not; nobody is trusted by name."""
    path = tmp_path / "gateway.sock"
    changes = {
        documented: changed.replace(DOCUMENTED_SOCKET, str(path))
        for gateway, documented, changed in CHANGES
        if gateway == name
    }
    with (
        serving(
            f"sqlite:///{tmp_path / 'keyturn.db'}",
            tmp_path,
            *("--unix-socket", str(path)),
            environment={"KEYTURN_ALLOWED_HOSTS": HOST},
        ) as server,
        running_api() as api,
        running_gateway(KINDS[name], tmp_path, keyturn=server.url, api=api.url, changes=changes) as gateway,
    ):
        environment = {"KEYTURN_DATABASE": server.database}
        run_command(
            *("admin", "user", "add", "bob", "--password-stdin"), stdin=PASSWORD, environment=environment
        )

        def status(*options: str) -> int:
            made = run_command("admin", "key", "add", "--user", "bob", *options, environment=environment)
            return get(f"http://127.0.0.1:{gateway.port}/reports/1", made.stdout.strip())

        def get(url: str, credential: str) -> int:
            from_there = httpx.HTTPTransport(local_address="127.0.0.2")
            with httpx.Client(transport=from_there, timeout=20) as client:
                return client.get(url, headers={"Authorization": credential, "Host": HOST}).status_code

        assert status() == 200
        assert api.last().values("Keyturn-User") == ["bob"]
        assert status("--allow-from", "127.0.0.2") == 200
        assert status("--allow-from", "192.0.2.0/24") == 401
        assert get(f"http://127.0.0.1:{gateway.port}/reports/1", "kt_wrong") == 401
        server.stop()
        assert get(f"http://127.0.0.1:{gateway.port}/reports/1", "kt_wrong") in {502, 503, 504}
