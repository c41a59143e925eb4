"""The management listener: metrics and health of all workers, whatever they do, and for no stranger."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.counting.table import METRICS
from tests.cli.conftest import USERID
from tests.conftest import PASSWORD
from tests.databases import new_sqlite_database
from tests.journeys.processes import ServerProcess, free_port, run_command, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 60
PROMISED_SECONDS = 1.0
"""Within which health and metrics are answered."""
BUSY = 512
CANARY = "canary-of-a-user"

VERIFIED = 'keyturn_requests_total{kind="verify",status="2xx"}'

Metrics = dict[str, float]


def metrics_at(port: int) -> Metrics:
    """Return the samples by name and labels, as they are written."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=20).text
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def root_key_in(folder: Path) -> dict[str, str]:
    """Return the setting of the root key, which an installation on PostgreSQL must be given."""
    root_key = folder / "root.key"
    if not root_key.exists():
        root_key.touch(mode=0o600)
        root_key.write_text(run_command("admin", "root-key").stdout)
    return {"KEYTURN_ROOT_KEY_FILE": str(root_key)}


def key_of(database: str, folder: Path) -> str:
    environment = root_key_in(folder) | {"KEYTURN_DATABASE": database}
    added = ("admin", "user", "add", USERID, "--name", "Ada Lovelace", "--password-stdin")
    assert run_command(*added, stdin=PASSWORD, environment=environment).returncode == 0
    made = run_command("admin", "key", "add", "--user", USERID, environment=environment)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextlib.contextmanager
def watched(database: str, folder: Path, workers: int) -> Iterator[tuple[ServerProcess, int]]:
    """A server with a management listener, and the port of that."""
    port = free_port()
    environment = root_key_in(folder) | {"KEYTURN_MANAGEMENT": f"127.0.0.1:{port}"}
    with serving(database, folder, "--workers", str(workers), environment=environment) as server:
        until(lambda: metrics_at(port)["keyturn_workers"] == workers)
        yield server, port


@pytest.mark.parametrize("workers", [1, 2])
def test_what_all_workers_did_is_counted(database: str, tmp_path: Path, workers: int) -> None:
    """Each verification counts once, by its way and result, whichever worker answered, on both databases."""
    with watched(database, tmp_path, workers) as (server, port):
        key = key_of(database, tmp_path)
        headers = {"Authorization": key, "User-Agent": CANARY}
        for _ in range(60):
            assert httpx.get(f"{server.url}/verify", headers=headers, trust_env=False).status_code == 200
        wrong = {"Authorization": f"{key[:-1]}{'0' if key[-1] != '0' else '1'}"}
        assert httpx.get(f"{server.url}/verify", headers=wrong, trust_env=False).status_code == 401
        assert httpx.get(f"{server.url}/{CANARY}?{CANARY}", trust_env=False).status_code == 401
        form = {"apikey": key}
        assert httpx.post(f"{server.url}/apikey/authenticate", data=form, trust_env=False).status_code == 200
        until(lambda: metrics_at(port)["keyturn_database_size_bytes"] > 0)
        until(lambda: metrics_at(port)[VERIFIED] == 60)
        found = metrics_at(port)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text

    by_way = [
        found[f'keyturn_verifications_total{{result="good",way="{way}"}}'] for way in ("cache", "store")
    ]
    assert sum(by_way) == 61  # With that of the exchange.
    assert 1 <= by_way[1] <= 1 + workers
    assert found['keyturn_requests_total{kind="verify",status="2xx"}'] == 60
    assert found['keyturn_requests_total{kind="verify",status="4xx"}'] == 1
    assert found['keyturn_exchanges_total{result="good"}'] == 1
    assert found['keyturn_refusals_total{reason="checksum"}'] == 1
    assert found['keyturn_refusals_total{reason="missing"}'] == 1
    assert found['keyturn_database_transaction_duration_seconds_count{kind="read"}'] > 0
    assert found["keyturn_ready"] == 1
    assert found["keyturn_open_files"] > 3
    assert found["keyturn_staleness_seconds"] < PATIENCE_SECONDS
    for secret in (key, key[4:20], CANARY, USERID, "Lovelace", str(tmp_path)):
        assert secret not in text


def test_a_killed_worker_takes_no_count_with_it(tmp_path: Path) -> None:
    """Counters of a worker that was killed stay, and those of the one in its place are added."""
    database = new_sqlite_database(tmp_path)
    with watched(database, tmp_path, 2) as (server, port):
        headers = {"Authorization": key_of(database, tmp_path)}
        with closing(httpx.Client(trust_env=False, headers={**headers, "Connection": "close"})) as client:

            def ask(times: int) -> None:
                for _ in range(times):
                    assert client.get(f"{server.url}/verify").status_code == 200

            ask(40)
            until(lambda: metrics_at(port)[VERIFIED] == 40)
            before = metrics_at(port)
            for victim in [child for child in server.children() if "spawn_main" in " ".join(child.cmdline())]:
                victim.kill()
            until(lambda: metrics_at(port)["keyturn_workers_replaced_total"] == 2)
            between = metrics_at(port)
            until(lambda: metrics_at(port)["keyturn_workers"] == 2)
            ask(20)
            until(lambda: metrics_at(port)[VERIFIED] == 60)
            after = metrics_at(port)

    counters = [name for name in before if name.partition("{")[0].endswith(("_total", "_bucket", "_sum"))]
    assert not [name for name in counters if not before[name] <= between[name] <= after[name]]
    assert (before[VERIFIED], between[VERIFIED], after[VERIFIED]) == (40, 40, 60)


_CROWD = """
import asyncio, sys
port, number, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
request = b"GET /verify HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: " + key.encode() + b"\\r\\n\\r\\n"
async def one(seen):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seen.append(1)
    if len(seen) == number:
        print("all", flush=True)
    while True:
        writer.write(request * 4)
        for _ in range(4):
            await reader.readuntil(b"\\r\\n\\r\\n")
async def main():
    seen = []
    await asyncio.gather(*(one(seen) for _ in range(number)))
asyncio.run(main())
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_fault_f3_it_answers_within_a_second_beside_512_busy_connections(
    tmp_path: Path, workers: int
) -> None:
    """Fault F3: health and metrics come within a second while 512 connections ask without a pause."""
    database = new_sqlite_database(tmp_path)
    with watched(database, tmp_path, workers) as (server, port):
        crowd = subprocess.Popen(
            [sys.executable, "-c", _CROWD, str(server.port), str(BUSY), key_of(database, tmp_path)],
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
        )
        try:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"all\n"
            until(lambda: metrics_at(port)["keyturn_connections"] >= BUSY)
            for _ in range(5):
                for path in ("/health/live", "/health/ready", "/health/startup", "/metrics"):
                    answer = httpx.get(
                        f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=PROMISED_SECONDS
                    )
                    assert answer.status_code == 200, path
            assert crowd.poll() is None
        finally:
            crowd.kill()
            crowd.wait()


def test_the_public_port_shows_no_metrics(tmp_path: Path) -> None:
    """Strangers, and callers with a key, find no metrics where clients ask, nor pages where metrics are."""
    database = new_sqlite_database(tmp_path)
    with watched(database, tmp_path, 1) as (server, port):
        key = key_of(database, tmp_path)
        assert httpx.get(f"{server.url}/metrics", trust_env=False).status_code == 401
        found = httpx.get(f"{server.url}/metrics", headers={"Authorization": key}, trust_env=False)
        assert found.status_code == 404
        for path in ("/", "/verify", "/openapi.json", "/metrics/", "/health", "/health/live/"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 404
        for method in ("POST", "PUT", "DELETE"):
            asked = httpx.request(method, f"http://127.0.0.1:{port}/metrics", trust_env=False)
            assert asked.status_code == 501
        head = httpx.head(f"http://127.0.0.1:{port}/metrics", trust_env=False)
        assert (head.status_code, head.content) == (200, b"")


def test_a_client_that_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    """Silent connections end by themselves, also where there are more of them than turns."""
    database = new_sqlite_database(tmp_path)
    with watched(database, tmp_path, 1) as (_, port), contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert metrics_at(port)["keyturn_ready"] == 1
        for _ in range(40):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return metrics_at(port)["keyturn_ready"] == 1
            return False

        until(answers)


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@pytest.mark.parametrize("workers", [1, 2])
def test_it_answers_on_a_unix_socket(tmp_path: Path, workers: int) -> None:
    """The file is open to owner and group alone, and goes with the server."""
    path = tmp_path / "management.sock"
    environment = {"KEYTURN_MANAGEMENT": f"unix:{path}"}
    database = new_sqlite_database(tmp_path)
    with serving(database, tmp_path, "--workers", str(workers), environment=environment) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with closing(_OverUnix(path)) as connection:
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == 0
        assert not path.exists()


def test_health_follows_the_life_of_the_server(tmp_path: Path) -> None:
    """Fault F6: not started before it serves, then ready, and not ready once it is told to stop."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/health"
    environment = {"KEYTURN_MANAGEMENT": f"127.0.0.1:{port}", "KEYTURN_DRAIN_SECONDS": "20"}
    server = ServerProcess(new_sqlite_database(tmp_path), tmp_path, ("--workers", "2"), environment)
    seen: list[tuple[int, int, int]] = []

    def look() -> tuple[int, int, int]:
        with httpx.Client(trust_env=False) as client:
            live, startup, ready = (
                client.get(f"{base}/{name}").status_code for name in ("live", "startup", "ready")
            )
        seen.append((live, startup, ready))
        return seen[-1]

    try:
        server.start()
        until(lambda: _listens(port))
        until(lambda: look() == (200, 200, 200))
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: look() == (200, 200, 503))
        assert (200, 503, 503) in seen
    finally:
        server.kill()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9464", "like 127.0.0.1:9464"),
        ("127.0.0.1:0", "like"),
        ("127.0.0.1:65536", "like"),
        ("::1:9464", "like"),
        ("unix:relative.sock", "like"),
        ("", "like"),
    ],
)
def test_an_unfit_address_stops_the_start(tmp_path: Path, text: str, says: str) -> None:
    """What is no address is told at the start, with examples."""
    given = {"KEYTURN_MANAGEMENT": text, "KEYTURN_DATABASE": new_sqlite_database(tmp_path)}
    refused = run_command("serve", "--port", str(free_port()), environment=given)
    assert refused.returncode != 0
    assert "KEYTURN_MANAGEMENT" in refused.stderr
    assert says in refused.stderr


def test_an_address_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    """Two servers do not share one management address, and the second says which setting is at fault."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = {
            "KEYTURN_MANAGEMENT": f"127.0.0.1:{taken.getsockname()[1]}",
            "KEYTURN_DATABASE": new_sqlite_database(tmp_path),
        }
        refused = run_command("serve", "--port", str(free_port()), environment=given)
    assert refused.returncode != 0
    assert "KEYTURN_MANAGEMENT" in refused.stderr


def test_every_metric_is_shown_by_a_server(tmp_path: Path) -> None:
    """A running server shows each metric of the table."""
    with watched(new_sqlite_database(tmp_path), tmp_path, 1) as (_, port):
        shown = {name.partition("{")[0] for name in metrics_at(port)}
    assert not [
        metric.name for metric in METRICS if metric.name not in shown and f"{metric.name}_count" not in shown
    ]
