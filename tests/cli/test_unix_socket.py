"""A Unix socket beside the port: for a gateway on the same machine."""

from __future__ import annotations

import os
import signal
import socket
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.cli.conftest import USERID, Command, opened, refused
from tests.journeys.processes import ServerProcess, free_port, run_command, serving

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "203.0.113.7"


def address(directory: Path) -> str:
    return f"sqlite:///{directory / 'keyturn.db'}"


def over(path: Path) -> httpx.Client:
    """A client whose requests arrive at the socket, as a gateway's do."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://127.0.0.1", timeout=20)


def new_key(directory: Path, *options: str) -> str:
    arguments = ("admin", "key", "add", "--user", USERID, *options)
    made = run_command(*arguments, environment={"KEYTURN_DATABASE": address(directory)})
    return made.stdout.strip()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_is_answered_there_too(tmp_path: Path, person: str, workers: str) -> None:
    """Socket and port answer; the file is open to owner and group alone, and goes with the server."""
    path = tmp_path / "gateway.sock"
    key = new_key(tmp_path)
    with serving(address(tmp_path), tmp_path, "--unix-socket", str(path), "--workers", workers) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with over(path) as gateway:
            for client in (gateway, httpx.Client(base_url=server.url)):
                with closing(client):
                    assert client.get("/verify", headers={"Authorization": key}).status_code == 200
                    assert client.get("/verify").status_code == 401
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == 0
        assert not path.exists()


def test_who_comes_that_way_is_believed(tmp_path: Path, person: str) -> None:
    """The gateway says where its client is (H10): over the socket that counts, over the port it does not."""
    path = tmp_path / "gateway.sock"
    bound, free = new_key(tmp_path, "--allow-from", f"{CLIENT}/32"), new_key(tmp_path)
    with serving(address(tmp_path), tmp_path, "--unix-socket", str(path)) as server, over(path) as gateway:
        told = {"X-Forwarded-For": CLIENT}
        assert gateway.get("/verify", headers={"Authorization": bound, **told}).status_code == 200
        assert gateway.get("/verify", headers={"Authorization": bound}).status_code == 401
        assert (
            gateway.get(
                "/verify", headers={"Authorization": bound, "X-Forwarded-For": "198.51.100.1"}
            ).status_code
            == 401
        )
        assert httpx.get(f"{server.url}/verify", headers={"Authorization": bound, **told}).status_code == 401
        for _ in range(2):  # The second one is answered from memory.
            assert gateway.get("/verify", headers={"Authorization": free, **told}).status_code == 200
        server.stop()
    with opened(tmp_path) as services:
        used = {key.key_id: key.last_use for key in services.keys.list_of(1)}
    assert {use.address for use in used.values() if use is not None} == {CLIENT}


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    """After a SIGKILL the next start works by itself (I7)."""
    path = tmp_path / "gateway.sock"
    server = ServerProcess(address(tmp_path), tmp_path, ("--unix-socket", str(path)))
    try:
        server.start()
        server.wait_ready()
        server.kill()
        assert path.exists()
        server.start()
        server.wait_ready()
        with over(path) as gateway:
            assert gateway.get("/health/ready").status_code == 200
    finally:
        server.kill()


def test_another_server_s_socket_is_left_alone(tmp_path: Path) -> None:
    """A server that ends removes its own file, and not that of the one which took over meanwhile."""
    path = tmp_path / "gateway.sock"
    with serving(address(tmp_path), tmp_path, "--unix-socket", str(path)) as server:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait() == 0
            assert path.exists()


def test_a_socket_in_use_is_not_taken(tmp_path: Path, run: Command) -> None:
    """A second server on the same path is refused, and the first one goes on; no other file is replaced."""
    path, file = tmp_path / "gateway.sock", tmp_path / "important"
    file.write_text("kept")
    with serving(address(tmp_path), tmp_path, "--unix-socket", str(path)):
        for taken in (path, file, tmp_path / "nowhere" / "gateway.sock"):
            answer = run("serve", "--port", str(free_port()), "--unix-socket", str(taken))
            assert str(taken) in refused(answer)
        with over(path) as gateway:
            assert gateway.get("/health/ready").status_code == 200
    assert file.read_text() == "kept"


def test_it_does_not_go_with_a_certificate(run: Command, tmp_path: Path) -> None:
    """A gateway would have to speak TLS over the socket too."""
    said = refused(
        run(
            *("serve", "--unix-socket", str(tmp_path / "gateway.sock")),
            KEYTURN_TLS_CERTIFICATE_FILE="c.pem",
            KEYTURN_TLS_KEY_FILE="k.pem",
        )
    )
    assert "KEYTURN_UNIX_SOCKET" in said
