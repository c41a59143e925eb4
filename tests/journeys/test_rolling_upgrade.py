"""A rolling upgrade under load: the version of before and this one on one database, and nothing is lost.

`former-version.txt` names the commit of the version of before. Its wheel is made here from the history of
this repository, and runs on the packages of these tests.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn import __version__
from tests.conftest import PASSWORD
from tests.faults.load import create, new_client, verify
from tests.history import FORMER, ROOT
from tests.journeys.processes import KEYTURN, ServerProcess, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

CLIENTS = 4
PHASE_SECONDS = 3.0
"""How long each state of the upgrade is under load: the former version alone, both, the present one alone."""
REFUSED_WITHIN_SECONDS = 5.0
"""Later than this a verdict is stale (`max_staleness_seconds`)."""


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of the former version, in an environment of its own."""
    folder = tmp_path_factory.mktemp("former")
    archive = run("git", "-C", str(ROOT), "archive", FORMER)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder / "source", filter="data")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    from_here = ("--no-index", "--no-deps")
    run(*pip, "wheel", *from_here, "--no-build-isolation", "-w", str(folder), str(folder / "source"))
    (wheel,) = folder.glob("keyturn-*.whl")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    run(*pip, "--python", str(python), "install", "--no-compile", *from_here, str(wheel))
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "packages-of-the-tests.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    program = str(environment / "bin" / "keyturn")
    assert __version__.encode() not in run(program, "--version")
    return program


def run(*command: str, stdin: str = "", **settings: str) -> bytes:
    environment = clean_environment(**settings)
    environment.pop("PYTHONPATH", None)  # Or the former program would run the present sources.
    done = subprocess.run(
        command, input=stdin.encode(), capture_output=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@dataclass
class Upgrade:
    """The nodes of an installation while it is upgraded, with clients that use all of them."""

    authorization: str
    nodes: list[str] = field(default_factory=list)
    """Where requests go now; a client reads it for each."""
    revoked: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    _ends: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Let clients make, verify and revoke keys on all nodes until the block ends."""
        threads = [threading.Thread(target=self._loop, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            for thread in threads:
                thread.join()

    def _loop(self, number: int) -> None:
        choice = random.Random(number)
        made = 0
        try:
            while not self._ends.is_set():
                made += 1
                self._live_of_a_key(choice, f"client {number}, key {made}")
        except Exception as error:  # noqa: BLE001 - the test fails with it, in its own thread
            self.surprises.append(repr(error))

    def _live_of_a_key(self, choice: random.Random, name: str) -> None:
        with new_client(choice.choice(self.nodes)) as client:
            key_id, secret = create(client, self.authorization, name, None)
        token = self._exchange(choice, secret)
        for node in self.nodes:
            with new_client(node) as client:
                assert verify(client, secret) == 200, f"{node} refuses a new key"
                assert verify(client, token, bearer=True) == 200, f"{node} refuses a new token"
        if choice.random() < 0.5:
            self.alive.append(secret)
            return
        with new_client(choice.choice(self.nodes)) as client:
            path = f"/bim/apikey/{key_id}"
            gone = client.delete(path, headers={"Authorization": self.authorization})
            assert gone.status_code == 200, f"revoke: {gone.status_code} {gone.text}"
        self.revoked.append(secret)
        for node in self.nodes:
            with new_client(node) as client:
                until_refused(client, secret)
                until_refused(client, token)

    def _exchange(self, choice: random.Random, secret: str) -> str:
        with new_client(choice.choice(self.nodes)) as client:
            answer = client.post("/bim/apikey/authenticate", json={"apikey": secret})
            assert answer.status_code == 200, f"exchange: {answer.status_code} {answer.text}"
            return str(answer.json()["token"])


def until_refused(client: httpx.Client, secret: str) -> None:
    until = time.monotonic() + REFUSED_WITHIN_SECONDS
    while verify(client, secret, bearer=True) != 401:
        assert time.monotonic() < until, f"{client.base_url} accepts what another version revoked"


def test_a_rolling_upgrade_loses_no_request_and_revives_no_key(
    former: str, empty_database: str, root_key_file: Path, tmp_path: Path
) -> None:
    """Both versions write and verify on one database, and each refuses what the other one revoked.

    No request fails at any moment: before the upgrade of the schema, during it, with both versions and when
    the former one stops.
    """
    ports = free_port(), free_port()
    served = {
        "KEYTURN_ROOT_KEY_FILE": str(root_key_file),
        "KEYTURN_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
        "KEYTURN_LOG_LEVEL": "error",
        **dict.fromkeys(
            ("KEYTURN_CREATIONS_PER_MINUTE", "KEYTURN_KEYS_PER_OWNER", "KEYTURN_FAILURES_PER_MINUTE"),
            "1000000",
        ),
    }
    common = served | {"KEYTURN_DATABASE": empty_database}
    homes = [{"XDG_DATA_HOME": str(tmp_path / host)} for host in ("host-of-before", "host-of-now")]
    before = ServerProcess(
        empty_database, tmp_path, (), served | homes[0] | {"PYTHONPATH": ""}, port=ports[0], program=former
    )
    now = ServerProcess(empty_database, tmp_path, (), served | homes[1], port=ports[1])
    try:
        before.start()
        before.wait_ready()
        user = ("admin", "user", "add", "ada", "--permission", "all", "--password-stdin")
        run(former, *user, stdin=PASSWORD, **common, **homes[0])
        key = run(former, "admin", "key", "add", "--user", "ada", **common, **homes[0]).decode().strip()
        upgrade = Upgrade(key, [before.url])
        with upgrade.under_load():
            time.sleep(PHASE_SECONDS)
            run(KEYTURN, "admin", "upgrade", "--check", **common)
            run(KEYTURN, "admin", "upgrade", **common)
            now.start()
            now.wait_ready()
            upgrade.nodes = [before.url, now.url]
            time.sleep(PHASE_SECONDS)
            upgrade.nodes = [now.url]
            time.sleep(1)  # For what is under way on the other one.
            before.stop()
            time.sleep(PHASE_SECONDS)
        assert upgrade.surprises == []
        assert min(len(upgrade.alive), len(upgrade.revoked)) > CLIENTS
        with new_client(now.url) as client:
            assert {verify(client, secret) for secret in upgrade.alive} == {200}
            assert {verify(client, secret) for secret in upgrade.revoked} == {401}
        print(f"\nrolling upgrade: {len(upgrade.alive)} keys alive, {len(upgrade.revoked)} revoked")
        for server in (before, now):
            assert "request_failed" not in server.output(), server.output()[:2000]
        now.stop()
    finally:
        before.kill()
        now.kill()
