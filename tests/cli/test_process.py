"""The server as a process: signals, certificates, workers that end, and how many connections there may be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from keyturn.settings import read_settings
from tests.cli.test_serve import _until, _workers, address
from tests.journeys.processes import KEYTURN, ServerProcess, clean_environment, free_port, serving

WORKERS = ("1", "2")
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE_SECONDS = 90


def log_of(server: ServerProcess) -> list[dict[str, Any]]:
    """Return the lines of the log, each of which must be JSON."""
    return [json.loads(line) for line in server.stderr.read_text().splitlines()]


def events(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    return [line for line in log_of(server) if line["event"] == name]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def answer_on(connection: socket.socket) -> bytes:
    """Send a request and return its whole answer, headers and the short body; empty if there is none."""
    connection.sendall(LIVE)
    received = b""
    while b'"details"' not in received:
        part = connection.recv(65_536)
        if not part:
            break
        received += part
    return received


# Stopping


@pytest.mark.parametrize("workers", WORKERS)
def test_fault_f4_a_stop_right_after_the_start_is_obeyed(tmp_path: Path, workers: str) -> None:
    """Fault F4: SIGTERM in the moment in which the server says that it serves ends it, with code 0."""
    _stop_when_announced(tmp_path, workers, after=0)


@pytest.mark.faults
@pytest.mark.parametrize("workers", WORKERS)
def test_fault_f4_a_stop_at_any_moment_after_the_start_is_obeyed(tmp_path: Path, workers: str) -> None:
    """Fault F4: whenever in the first second SIGTERM comes, the server ends with code 0."""
    rounds = min(int(os.environ.get("KEYTURN_FAULT_ROUNDS", "8")), 50)
    for number in range(rounds):
        _stop_when_announced(tmp_path, workers, after=number / rounds)


def _stop_when_announced(tmp_path: Path, workers: str, *, after: float) -> None:
    """Start a server, send SIGTERM this many seconds after it has said that it serves, and see it end."""
    process = subprocess.Popen(
        [KEYTURN, "serve", "--port", str(free_port()), "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(
            KEYTURN_DATABASE=address(tmp_path), KEYTURN_NEW_INSTALLATION="true", PYTHONUNBUFFERED="1"
        ),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Keyturn serves"), after
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("workers", WORKERS)
def test_fault_f6_a_stop_is_told_first_and_then_drains(tmp_path: Path, workers: str) -> None:
    """Fault F6: after SIGTERM the server is not ready, and serves on; told twice, it ends at once."""
    drain = {"KEYTURN_DRAIN_SECONDS": "60"}
    with serving(address(tmp_path), tmp_path, "--workers", workers, environment=drain) as server:
        ready = f"{server.url}/health/ready"
        _until(lambda: workers == "1" or len(_workers(server)) == 2)
        os.kill(server.pid, signal.SIGTERM)
        # Each connection may be another worker's.
        _until(lambda: {httpx.get(ready).status_code for _ in range(10)} == {503})
        told = httpx.get(ready)
        assert told.json() == {"status": "stopping", "details": {"server": "stopping"}}
        assert told.headers["retry-after"] == "1"
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        with closing(connect(server.port)) as idle:
            assert answer_on(idle)
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait() == 0
        assert not server.children()


def test_fault_f6_no_request_is_reset_by_a_stop(tmp_path: Path) -> None:
    """Fault F6: clients that ask without a pause get an answer to each request, the last with a close."""
    outcomes: list[str] = []
    started = threading.Barrier(9)

    def ask(port: int) -> None:
        with connect(port) as connection:
            assert answer_on(connection)
            started.wait()
            while True:
                try:
                    answer = answer_on(connection)
                except OSError as error:
                    outcomes.append(type(error).__name__)
                    return
                if b"connection: close" in answer or not answer:
                    outcomes.append("closed in order" if answer else "no answer")
                    return

    with serving(address(tmp_path), tmp_path) as server:
        clients = [threading.Thread(target=ask, args=(server.port,)) for _ in range(8)]
        for client in clients:
            client.start()
        started.wait()
        os.kill(server.pid, signal.SIGTERM)
        for client in clients:
            client.join()
        assert server.wait() == 0
    assert outcomes == ["closed in order"] * 8


def test_fault_f6_an_idle_connection_ends_in_order(tmp_path: Path) -> None:
    """Fault F6: a stop closes idle connections, new and used ones, and does not wait for their clients."""
    with (
        serving(address(tmp_path), tmp_path) as server,
        connect(server.port) as new,
        connect(server.port) as used,
    ):
        assert answer_on(used)
        os.kill(server.pid, signal.SIGTERM)
        assert (new.recv(1), used.recv(1)) == (b"", b"")
        assert server.wait() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_fault_f6_the_drain_time_is_for_those_that_others_reach(host: str) -> None:
    """Fault F6: nobody waits for a stop on a loopback bind; elsewhere five seconds, or what is set."""
    options: dict[str, object] = {"host": host, "public_url": "https://keys.example.com"}
    environment = {"KEYTURN_ALLOW_PUBLIC_HTTP": "true"}
    assert read_settings(environment, **options).drain_time == (0 if host == "127.0.0.1" else 5)
    assert read_settings(environment | {"KEYTURN_DRAIN_SECONDS": "7"}, **options).drain_time == 7


# Certificates


def new_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 whose common name is `name`."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return certificate, key


def presented(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: install openssl to run these tests")
@pytest.mark.parametrize("workers", WORKERS)
def test_fault_f5_sighup_reads_the_certificate_again(tmp_path: Path, workers: str) -> None:
    """Fault F5: after SIGHUP new connections see the new certificate; an unfit one changes nothing."""
    old, new = new_certificate(tmp_path, "old"), new_certificate(tmp_path, "new")
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def put(pair: tuple[Path, Path]) -> str:
        shutil.copy(pair[0], certificate)
        shutil.copy(pair[1], key)
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pair[0].read_text()))

    first = put(old)
    server = ServerProcess(
        address(tmp_path),
        tmp_path,
        ("--workers", workers),
        {"KEYTURN_TLS_CERTIFICATE_FILE": str(certificate), "KEYTURN_TLS_KEY_FILE": str(key)},
    )
    try:
        server.start()
        _until_listening(server)
        running = {process.pid for process in server.children()}
        assert presented(server.port) == first
        second = put(new)
        os.kill(server.pid, signal.SIGHUP)
        _until(lambda: len(events(server, "certificate_reloaded")) == int(workers))
        assert {presented(server.port) for _ in range(6)} == {second}
        put((new[0], old[1]))
        os.kill(server.pid, signal.SIGHUP)
        _until(lambda: len(events(server, "certificate_not_reloaded")) == int(workers))
        assert presented(server.port) == second
        assert {process.pid for process in server.children()} == running
        server.stop()
    finally:
        server.kill()


def _until_listening(server: ServerProcess) -> None:
    def is_answered() -> bool:
        try:
            return bool(presented(server.port))
        except OSError:
            return False

    _until(is_answered)


@pytest.mark.parametrize("workers", WORKERS)
def test_fault_f5_sighup_never_ends_a_server(tmp_path: Path, workers: str) -> None:
    """Fault F5: SIGHUP from the first moment on, without a certificate too, leaves the server as it is."""
    server = ServerProcess(address(tmp_path), tmp_path, ("--workers", workers))
    try:
        server.start()
        _until(lambda: "SigCgt" in (status := _status(server.pid)) and _handles_hup(status))
        for _ in range(20):
            os.kill(server.pid, signal.SIGHUP)
            time.sleep(0.02)
        server.wait_ready()
        _until(lambda: len(_workers(server)) == (0 if workers == "1" else 2))
        os.kill(server.pid, signal.SIGHUP)
        _until(lambda: len(events(server, "nothing_to_reload")) >= int(workers))
        assert events(server, "worker_replaced") == []
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        server.stop()
    finally:
        server.kill()


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _handles_hup(status: str) -> bool:
    """Return whether a process ignores SIGHUP or has a handler for it."""
    masks = {line.split(":")[0]: line.split(":")[1].strip() for line in status.splitlines() if "Sig" in line}
    return bool((int(masks["SigIgn"], 16) | int(masks["SigCgt"], 16)) & 1)


# Workers


def test_fault_f7_a_worker_that_ends_is_replaced_and_told_of(tmp_path: Path) -> None:
    """Fault F7: the log says which worker ended, how, what serves instead, and why one could not start."""
    with serving(address(tmp_path), tmp_path, "--workers", "2") as server:
        _until(lambda: len(_workers(server)) == 2)
        crashed, _ = _workers(server)
        (tmp_path / "root.key").rename(tmp_path / "away.key")  # What no worker can start without.
        crashed.send_signal(signal.SIGSEGV)
        _until(lambda: len(events(server, "worker_cannot_start")) > 0)
        assert "root" in events(server, "worker_cannot_start")[0]["reason"]
        (tmp_path / "away.key").rename(tmp_path / "root.key")
        first = events(server, "worker_replaced")[0]
        assert (first["pid"], first["cause"], first["exit_code"]) == (crashed.pid, "ended", -signal.SIGSEGV)
        assert first["level"] == "error"
        _until(
            lambda: events(server, "worker_replaced")[-1]["replacement"] in {w.pid for w in _workers(server)}
        )
        assert httpx.get(f"{server.url}/health/ready", timeout=PATIENCE_SECONDS).status_code == 200


@pytest.mark.faults
def test_fault_f7_a_worker_that_hangs_is_replaced_and_told_of(tmp_path: Path) -> None:
    """Fault F7: a worker that does not answer any more is killed and replaced, and the log says so."""
    with serving(address(tmp_path), tmp_path, "--workers", "2") as server:
        _until(lambda: len(_workers(server)) == 2)
        _, hung = _workers(server)
        hung.suspend()
        _until(lambda: len(events(server, "worker_replaced")) == 1)
        (told,) = events(server, "worker_replaced")
        assert (told["pid"], told["cause"], told["level"]) == (hung.pid, "hung", "error")
        _until(lambda: told["replacement"] in {worker.pid for worker in _workers(server)})
        assert httpx.get(f"{server.url}/health/ready", timeout=PATIENCE_SECONDS).status_code == 200


def test_fault_f7_what_no_code_catches_is_a_line_of_json(tmp_path: Path) -> None:
    """Fault F7: an error that ends a thread, or the program, is JSON with its trace and without variables."""
    program = (
        "import threading; from keyturn.logs import configure_logs, log_uncaught\n"
        "configure_logs('info'); log_uncaught()\n"
        "def fail(secret): raise ValueError('no')\n"
        "thread = threading.Thread(target=fail, args=('kt_secret',)); thread.start(); thread.join()\n"
        "fail('kt_secret')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["uncaught", "uncaught"]
    assert all(line["exception"][0]["exc_type"] == "ValueError" for line in lines)
    assert "kt_secret" not in done.stderr
    assert done.returncode == 1


# Connections


def test_fault_f8_files_are_raised_to_the_hard_limit(tmp_path: Path) -> None:
    """Fault F8: the soft limit of open files becomes the hard one, and a low one is told of."""
    with serving(
        address(tmp_path), tmp_path, environment={"KEYTURN_CONNECTIONS_PER_ADDRESS": "50"}
    ) as server:
        soft, hard = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard
    limited = ["prlimit", "--nofile=200:400", KEYTURN, "serve", "--port", str(free_port())]
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit: install util-linux to run this test")
    log = tmp_path / "limited.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            limited,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=clean_environment(KEYTURN_DATABASE=address(tmp_path)),
        )
    try:
        _until(lambda: b"few_open_files" in log.read_bytes())
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE) == (400, 400)
        assert json.loads(log.read_text().splitlines()[0])["limit"] == 400
    finally:
        process.kill()
        process.wait()


def test_fault_f8_one_address_leaves_connections_to_others(tmp_path: Path) -> None:
    """Fault F8: above its bound an address is refused with a line, the Unix socket and others are not."""
    path = tmp_path / "edge.sock"
    bound = {"KEYTURN_CONNECTIONS_PER_ADDRESS": "20"}
    with (
        serving(address(tmp_path), tmp_path, "--unix-socket", str(path), environment=bound) as server,
        ExitStack() as held,
    ):
        connections = [held.enter_context(connect(server.port)) for _ in range(20)]
        _until(lambda: len(psutil.Process(server.pid).net_connections()) >= 20)
        for _ in range(3):
            with connect(server.port) as refused:
                answer = refused.recv(65_536)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in answer
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["statusCode"] == 503
        with socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.2", 0)) as other:
            assert answer_on(other).startswith(b"HTTP/1.1 200 ")
        for _ in range(25):
            over_unix = held.enter_context(socket.socket(socket.AF_UNIX))
            over_unix.connect(str(path))
            assert answer_on(over_unix).startswith(b"HTTP/1.1 200 ")
        connections.pop().close()
        _until(lambda: _is_answered_anew(server.port))
        (told,) = events(server, "connections_refused")
        assert (told["address"], told["held"], told["level"]) == ("127.0.0.1", 20, "warning")


def _is_answered_anew(port: int) -> bool:
    with connect(port) as connection:
        return answer_on(connection).startswith(b"HTTP/1.1 200 ")
