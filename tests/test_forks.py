"""A verifier and the processes that a fork makes: on both databases, and of a server elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn import CredentialRefused, StoreUnavailable, Verifier
from tests.journeys.processes import free_port
from tests.people import change_behind
from tests.replica.edges import Edge
from tests.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 20
"""A child that hangs is found out by then; gunicorn would kill it after thirty."""


@pytest.fixture
def edge(database: str, root_key_file: Path) -> Iterator[Edge]:
    with running_server(database, root_key_file=root_key_file) as server:
        yield Edge.of(server)


@pytest.fixture(params=["database", "elsewhere"])
def opening(request: pytest.FixtureRequest, edge: Edge, database: str) -> tuple[str, ...]:
    """What a verifier is opened with: the database itself, or the server and a key for it."""
    return (database,) if request.param == "database" else (edge.server.url, edge.follower.secret)


def in_child(ask: Callable[[], object]) -> str:
    """Return what this says in a child, which ends without a word to anybody."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        try:
            told = str(ask())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            told = repr(error)
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer


def test_fault_f10_a_child_verifies_by_itself(edge: Edge, opening: tuple[str, ...]) -> None:
    """A child, and its child, open anew and see every change; the parent goes on as before."""
    key, other = edge.key(), edge.key()
    with Verifier(*opening) as verifier:

        def ask() -> str:
            told = verifier.verify(key.secret).userid
            told += in_child(lambda: verifier.verify(other.secret).userid)
            verifier.close()
            return told

        assert verifier.verify(key.secret).userid == "bob"
        assert in_child(ask) == "bobbob"
        assert verifier.verify(key.secret).userid == "bob"
        edge.revoke(key)

        def refused() -> str:
            with pytest.raises(CredentialRefused) as error:
                verifier.verify(key.secret)
            return error.value.reason.value

        assert in_child(refused) == "revoked"


PROGRAM = """
import atexit, os, sys
from keyturn import Verifier

verifier = Verifier(*sys.argv[2:])
atexit.register(verifier.close)  # As the documentation has it.
assert verifier.verify(sys.argv[1]).userid == "bob"
for asks in (True, False):
    child = os.fork()
    if child == 0:
        if asks:
            assert verifier.verify(sys.argv[1]).userid == "bob"
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert verifier.verify(sys.argv[1]).userid == "bob"
"""


def test_fault_f10_a_child_ends_by_itself(edge: Edge, opening: tuple[str, ...]) -> None:
    """With the documented `atexit` a child ends, whether it asked or not, and its uses are written."""
    key = edge.key()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, key.secret, *opening],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert edge.services.key_uses.count(edge.bob.user_id)[key.record.key_id] == 3


def test_fault_f10_a_child_that_cannot_open_refuses(edge: Edge, database: str) -> None:
    """Where a child cannot open what its parent had, nobody passes there."""
    key = edge.key()
    with Verifier(database) as verifier:
        assert verifier.verify(key.secret).userid == "bob"
        change_behind(edge.services, "UPDATE alembic_version SET version_num = '9999'")

        def ask() -> str:
            told = []
            for _ in range(2):
                with pytest.raises(StoreUnavailable) as error:
                    verifier.verify(key.secret)
                told.append(str(error.value))
            return told[-1]

        assert "could not be opened in this process just now" in in_child(ask)


SERVICE = """
import atexit
from keyturn import Verifier
from keyturn.integrations.wsgi import KeyturnMiddleware

verifier = Verifier({opening})
atexit.register(verifier.close)

def tell(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["keyturn.principal"].userid.encode()]

app = KeyturnMiddleware(tell, verifier)
"""


def test_fault_f10_gunicorn_preloads_a_verifier(edge: Edge, opening: tuple[str, ...], tmp_path: Path) -> None:
    """Workers of gunicorn --preload verify, and stop when they are told to, with all uses written."""
    (tmp_path / "service.py").write_text(
        textwrap.dedent(SERVICE.format(opening=", ".join(map(repr, opening))))
    )
    key, port = edge.key(), free_port()
    arguments = ["--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}", "--chdir", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments, "service:app"], stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
            _wait_for(client, server)
            for _ in range(10):
                answer = client.get("/", headers={"Authorization": key.secret, "Connection": "close"})
                assert (answer.status_code, answer.text) == (200, "bob"), (tmp_path / "log").read_text()
            assert client.get("/").status_code == 401
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
    finally:
        server.kill()
        server.wait()
    assert edge.services.key_uses.count(edge.bob.user_id)[key.record.key_id] == 10


def _wait_for(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            client.get("/")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("gunicorn did not start")
