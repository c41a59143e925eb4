"""A MariaDB of the tests' own, as a child of the process that wants it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.journeys.processes import free_port
from tests.postgresql import POLL_SECONDS, START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS, UNPRIVILEGED

if TYPE_CHECKING:
    import pymysql

    from tests.certificates import Certificate

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


class MariaDB:
    """One server in a folder of its own, with a root account that the socket alone lets in."""

    def __init__(self, certificate: Certificate) -> None:
        """Make its files; skip the test where there is no MariaDB."""
        found = [shutil.which(name, path=_PATH) for name in ("mariadbd", "mariadb-install-db")]
        if None in found:
            pytest.skip("no MariaDB: install mariadb-server to run these tests")
        self._server, install = map(str, found)
        self._folder = Path(tempfile.mkdtemp(prefix="my-"))  # The path of a socket has to be short.
        self._options = ("--no-defaults", f"--datadir={self._folder / 'data'}", f"--tmpdir={self._folder}")
        self.socket = self._folder / "socket"
        self.port = free_port()
        self._user: dict[str, Any] = {}
        for path in (certificate.file, certificate.key_file):
            shutil.copy(path, self._folder)
        if os.geteuid() == 0:
            somebody = pwd.getpwnam(UNPRIVILEGED)
            self._user = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, somebody.pw_uid, somebody.pw_gid)
        subprocess.run(
            [install, *self._options, "--auth-root-authentication-method=normal"],
            check=True, capture_output=True, cwd=self._folder, **self._user,
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._server, *self._options, f"--socket={self.socket}",
                    f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve",
                    f"--ssl-cert={self._folder / 'tls.pem'}", f"--ssl-key={self._folder / 'tls.key'}",
                    "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-use-native-aio=0",  # Which files in memory do not have.
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder,
                start_new_session=True, **self._user,
            )  # fmt: skip
        self._wait()

    def connect(self) -> pymysql.Connection[Any]:
        """Connect as root, over the socket."""
        import pymysql  # noqa: PLC0415 - a driver that not every environment has

        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def run(self, *statements: str) -> None:
        """Run statements as root."""
        with self.connect() as connection, connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    def stop(self) -> None:
        """End the server at once, and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        import pymysql  # noqa: PLC0415

        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                self.connect().close()
            except pymysql.MySQLError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(POLL_SECONDS)
            else:
                return
