"""PgBouncer in front of a PostgreSQL of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.faults.forwarder import socket_of
from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_SECONDS = 120
SERVER_CONNECTIONS = 12
"""Fewer than a node's pool has, so that transactions of several clients share them."""


@dataclass(frozen=True)
class Pooler:
    """Where PgBouncer listens, and what it said."""

    mode: str
    port: int
    log: Path

    def address(self, database: str) -> str:
        """Return the address of a database, given by its name, by way of the pooler."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


@contextmanager
def running_pgbouncer(server: str, mode: str, **settings: str) -> Iterator[Pooler]:
    """Run PgBouncer with its defaults in a pool mode until the block ends; skip where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer: install pgbouncer to run these tests")
    socket, port = socket_of(server), free_port()
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": str(SERVER_CONNECTIONS),
        **settings,
    }
    with TemporaryDirectory(prefix="pgbouncer-") as made:
        folder = Path(made)
        config, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
        config.write_text(
            f"[databases]\n* = host={socket.parent} port={socket.suffix[1:]} user=postgres\n\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                **_user_of(socket.parent, folder),
            )  # fmt: skip
        try:
            _wait_for(port, process, log)
            yield Pooler(mode, port, log)
        finally:
            process.terminate()
            process.wait()


def _user_of(owned: Path, folder: Path) -> dict[str, Any]:
    """Return how to run it as the user of the server: as root it does not run."""
    if os.geteuid() != 0:
        return {}
    user = owned.stat().st_uid
    if user == 0:
        user = 65534  # "nobody"
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, -1)
    return {"user": user, "group": owned.stat().st_gid, "extra_groups": []}


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.02)
        else:
            return
