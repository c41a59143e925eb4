"""The feed through a real nginx, configured as the documentation says: nothing is held back."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn import Verifier
from tests.databases import new_sqlite_database
from tests.gateways.gateways import KINDS, _nginx, program_of
from tests.journeys.processes import free_port
from tests.replica.edges import Edge, accepts, wait_until
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "verify-at-the-edge.md"
SITE = """
upstream keyturn {{ server {keyturn}; }}
server {{
    listen 127.0.0.1:{port};
    {feed}
    location / {{
        proxy_pass http://keyturn;
        proxy_set_header Host $host;
    }}
}}
"""


@contextmanager
def nginx(folder: Path, keyturn: str, feed: str) -> Iterator[str]:
    """Run nginx in front of Keyturn until the block ends; yield its address."""
    program, port = program_of(KINDS["nginx"]), free_port()
    site = SITE.format(keyturn=keyturn.removeprefix("http://"), port=port, feed=feed)
    (folder / "nginx.conf").write_text(site)
    process = subprocess.Popen([program, *_nginx(folder)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("is_documented", [True, False], ids=["as documented", "as any other path"])
def test_nginx_holds_nothing_back(tmp_path: Path, is_documented: bool) -> None:
    """Through nginx a copy is whole, a change arrives, and trust goes on; without a word for it too."""
    block = re.search(r"```nginx\n(.*?)```", HOWTO.read_text(), re.DOTALL)
    assert block is not None
    with running_server(new_sqlite_database(tmp_path)) as server:
        edge = Edge.of(server)
        key = edge.key()
        with (
            nginx(tmp_path, server.url, block[1] if is_documented else "") as url,
            Verifier(url, edge.follower.secret, max_staleness_seconds=2, timeout=10) as verifier,
        ):
            assert accepts(verifier, key.secret)
            edge.revoke(key)
            wait_until(lambda: not accepts(verifier, key.secret), seconds=2)
            trust = verifier._verification.follower._trust  # type: ignore[attr-defined]
            heard = trust.trusted_until
            wait_until(lambda: trust.trusted_until > heard + 2)
            assert trust.why_not() is None
