"""`keyturn serve`, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from keyturn import __version__
from tests.cli.conftest import USERID, Command, opened, refused
from tests.conftest import PASSWORD
from tests.journeys.processes import ServerProcess, clean_environment, free_port, run_command, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CURRENT = "/bim/rpc/user/current"
SETUP_LINK = re.compile(r"(http://127\.0\.0\.1:\d+/setup)#(\S+)")
POLL_TIMEOUT_SECONDS = 60


def address(directory: Path) -> str:
    return f"sqlite:///{directory / 'keyturn.db'}"


def setup_codes(server: ServerProcess) -> list[tuple[str, str]]:
    return SETUP_LINK.findall(server.output())


def set_up(link: str, code: str) -> int:
    form = {"code": code, "userid": "first", "name": "", "password": PASSWORD, "password_again": PASSWORD}
    return httpx.post(link, data=form).status_code


# The first start


def test_the_set_up_link_works_once_and_is_not_printed_again(tmp_path: Path) -> None:
    """L13: the first starts print a link, the last one counts, and after the first user there is none."""
    server = ServerProcess(address(tmp_path), tmp_path)
    try:
        server.start()
        server.wait_ready()
        ((link, old_code),) = setup_codes(server)
        assert link == f"{server.url}/setup"
        assert httpx.get(link).status_code == 200
        server.stop()

        server.start()
        server.wait_ready()
        (_, (_, code)) = setup_codes(server)
        assert set_up(link, old_code) == 422
        assert set_up(link, code) == 303
        assert set_up(link, code) == 404
        assert httpx.get(link).status_code == 404
        signed_in = httpx.post(
            f"{server.url}/bim/iam/bim/user/authenticate", json={"username": "first", "password": PASSWORD}
        )
        assert signed_in.status_code == 200
        server.stop()

        server.start()
        server.wait_ready()
        assert len(setup_codes(server)) == 2
        assert httpx.get(link).status_code == 404
        assert set_up(link, code) == 404
        server.stop()
    finally:
        server.kill()


def test_a_person_from_the_command_line_closes_the_set_up(tmp_path: Path, furnished: Path) -> None:
    """L13: where there is a user already, no link is printed and no set-up page exists."""
    _furnish(tmp_path, furnished)
    with serving(address(tmp_path), tmp_path) as server:
        assert setup_codes(server) == []
        assert f"Keyturn serves {server.url}" in server.output()
        assert httpx.get(f"{server.url}/setup").status_code == 404


# The demonstration


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with `--demo`, at its first start."""
    directory = tmp_path_factory.mktemp("demo")
    with serving(address(directory), directory, "--demo") as server:
        yield server


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: install curl to run these tests")
@pytest.mark.parametrize("call", [1, 2, 4], ids=["with a key", "exchange", "with a token"])
def test_the_printed_calls_work_as_printed(demonstration: ServerProcess, tmp_path: Path, call: int) -> None:
    """Each of the four calls, pasted into a shell, is answered with 200."""
    text = demonstration.output().partition("Four calls to try:\n")[2].partition("Everything about it")[0]
    calls = [part.strip() for part in re.split(r"\n\n", text) if part.strip()]
    assert len(calls) == 4
    # Call 4 uses what call 3 put into a variable. curl says each status where the output is not touched.
    script = calls[call - 1] if call < 4 else f"{calls[2]}\n{calls[3]}"
    (tmp_path / ".curlrc").write_text('silent\nwrite-out = "%{stderr}%{http_code}\\n"\n')
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=clean_environment(CURL_HOME=str(tmp_path)),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert set(done.stderr.split()) == {"200"}
    answer = json.loads(done.stdout)
    assert answer.get("connectionKey") == "123456789" if call != 2 else answer["authenticated"] is True


def test_the_printed_password_signs_in(demonstration: ServerProcess) -> None:
    """The demonstration's administrator can sign in as printed, at the page that is printed."""
    output = demonstration.output()
    found = re.search(r"Sign in at +(\S+)\n +User name +(\S+)\n +Password +(\S+)\n", output)
    assert found is not None
    answer = httpx.post(found[1], data={"userid": found[2], "password": found[3]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/profile/keys")
    assert httpx.get(re.search(r"http\S+/docs\b", output)[0]).status_code == 200  # type: ignore[index]


def test_a_second_demonstration_shows_no_secret_again(demonstration: ServerProcess, tmp_path: Path) -> None:
    """A later start prints a fresh key, not the password; the earlier key goes on working."""
    for file in demonstration.directory.iterdir():
        if not file.name.endswith((".out", ".err")):
            shutil.copy2(file, tmp_path / file.name)
    first = re.search(r"API key +(\S+)", demonstration.output())
    with serving(address(tmp_path), tmp_path, "--demo") as server:
        second = re.search(r"API key +(\S+)", server.output())
        assert first is not None
        assert second is not None
        assert first[1] != second[1]
        assert "as printed at the first start" in server.output()
        for key in (first[1], second[1]):
            assert httpx.get(f"{server.url}{CURRENT}", headers={"Authorization": key}).status_code == 200
        named = re.search(r"`\S*keyturn (.+)` sets another", server.output())
    assert named is not None
    done = run_command(*shlex.split(named[1]), "--password-stdin", stdin=PASSWORD)
    assert done.returncode == 0, "the command that the demonstration names works"


def test_a_demonstration_has_a_database_of_its_own(tmp_path: Path) -> None:
    """After it nothing of it is where `keyturn serve` serves: there the set-up link is printed."""
    home = {"XDG_DATA_HOME": str(tmp_path / "data")}
    with serving(None, tmp_path, "--demo", environment=home) as server:
        assert setup_codes(server) == []
    data = tmp_path / "data" / "keyturn"
    assert {"demo.db", "root.key"} <= {file.name for file in (data / "demo").iterdir()}
    assert [file.name for file in data.iterdir()] == ["demo"]
    with serving(None, tmp_path, environment=home) as server:
        ((link, code),) = setup_codes(server)
        assert set_up(link, code) == 303
    keys = [(directory / "root.key").read_bytes() for directory in (data, data / "demo")]
    assert keys[0] != keys[1]


def test_a_demonstration_stays_out_of_an_installation(tmp_path: Path, furnished: Path) -> None:
    """A database with people in it gets no administrator who may do anything: `--demo` is refused."""
    _furnish(tmp_path, furnished)
    done = run_command(
        "serve", "--demo", "--port", str(free_port()), environment={"KEYTURN_DATABASE": address(tmp_path)}
    )
    assert done.returncode == 1
    assert "leave out --demo" in done.stderr.splitlines()[-1]
    with opened(tmp_path) as services:
        assert [user.userid for user in services.users.list_all()] == [USERID]


# What it is told to do


def test_the_command_line_and_a_running_server_agree(tmp_path: Path, furnished: Path) -> None:
    """What a command changes, the running server knows at the next request, and the other way round."""
    _furnish(tmp_path, furnished)
    environment = {"KEYTURN_DATABASE": address(tmp_path)}
    foreign = "c5d0f1a93b7e46288f60de4127ab95c3"
    with serving(address(tmp_path), tmp_path) as server, httpx.Client(base_url=server.url) as client:

        def status(credential: str) -> int:
            return client.get(CURRENT, headers={"Authorization": credential}).status_code

        key = run_command("admin", "key", "add", "--user", USERID, environment=environment).stdout.strip()
        assert status(key) == 200
        imported = run_command(
            "admin", "key", "import", "--user", USERID, stdin=f"{foreign}\n", environment=environment
        )
        assert imported.returncode == 0, imported.stderr
        assert status(f"Bearer {foreign}") == 200
        token = client.post("/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
        assert status(token) == 200
        assert run_command("admin", "key", "revoke", "1", environment=environment).returncode == 0
        assert [status(key), status(token), status(foreign)] == [401, 401, 200]
        assert run_command("admin", "user", "disable", USERID, environment=environment).returncode == 0
        assert status(foreign) == 401
        server.stop()
    with opened(tmp_path) as services:
        used = {key.key_id: key.last_use for key in services.keys.list_of(1)}
    assert used[1] is not None
    assert used[1].via == f"GET {CURRENT}"


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGTERM, 2)]
)
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    """SIGTERM and SIGINT end the server and its workers, with exit code 0 and no traceback."""
    with serving(address(tmp_path), tmp_path, "--workers", str(workers)) as server:
        children = server.children()
        os.kill(server.pid, number)
        assert server.wait() == 0
        assert "Traceback" not in server.output()
        _, left = psutil.wait_procs(children, timeout=POLL_TIMEOUT_SECONDS)
        assert not left


def test_a_request_under_way_is_finished(tmp_path: Path) -> None:
    """A stop lets a request that has begun end with its answer."""
    with serving(address(tmp_path), tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=POLL_TIMEOUT_SECONDS) as connection:
            connection.sendall(
                b"POST /bim/apikey/authenticate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Content-Type: application/json\r\n\r\n{"
            )
            assert httpx.get(f"{server.url}/health/live").status_code == 200
            os.kill(server.pid, signal.SIGTERM)
            _until(lambda: not _answers(server))
            connection.sendall(b"}")
            assert connection.recv(65536).startswith(b"HTTP/1.1 422 ")
        assert server.wait() == 0


# Several workers


@contextmanager
def _only(worker: psutil.Process, workers: list[psutil.Process]) -> Iterator[None]:
    """Let this worker alone answer, by stopping the others for a moment."""
    others = [other for other in workers if other != worker]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Iterator[ServerProcess]:
    """A server with two workers, over the database with one person."""
    directory = tmp_path_factory.mktemp("workers")
    _furnish(directory, furnished)
    with serving(address(directory), directory, "--workers", "2") as server:
        _until(lambda: len(_workers(server)) == 2)
        yield server


def test_every_worker_refuses_a_revoked_key_at_once(two_workers: ServerProcess) -> None:
    """R1: with several workers, a revoke that one acknowledged holds in each at the next request."""
    environment = {"KEYTURN_DATABASE": two_workers.database}
    key = run_command("admin", "key", "add", "--user", USERID, environment=environment).stdout.strip()
    workers = _workers(two_workers)
    headers = {"Authorization": key}
    with httpx.Client(base_url=two_workers.url, timeout=20, headers={"Connection": "close"}) as client:
        for revoker in workers:
            with _only(revoker, workers):
                made = client.post("/bim/apikey", headers=headers).json()
                exchange = client.post("/bim/apikey/authenticate", json={"apikey": made["apikey"]})
            credentials = (made["apikey"], exchange.json()["token"])
            for worker in workers:  # Each has seen them alive.
                with _only(worker, workers):
                    assert _statuses(client, *credentials) == [200, 200]
            with _only(revoker, workers):
                assert client.delete(f"/bim/apikey/{made['keyid']}", headers=headers).status_code == 200
            for worker in reversed(workers):
                with _only(worker, workers):
                    assert _statuses(client, *credentials) == [401, 401]


def test_a_killed_worker_is_replaced(two_workers: ServerProcess) -> None:
    """A worker that dies is started anew, and the server goes on."""
    victim = _workers(two_workers)[0]
    victim.kill()
    _until(lambda: victim not in _workers(two_workers) and len(_workers(two_workers)) == 2)
    assert httpx.get(f"{two_workers.url}/health/ready", timeout=20).status_code == 200


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """I7: after a SIGKILL of the main process nothing holds the port, so that a restart works by itself."""
    server = ServerProcess(address(tmp_path), tmp_path, ("--workers", "2"))
    children: list[psutil.Process] = []
    try:
        server.start()
        server.wait_ready()
        children = server.children()
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        _, left = psutil.wait_procs(children, timeout=10)
        assert not left, f"{len(left)} processes outlive their supervisor and hold its port"
    finally:
        server.kill()
        for child in children:
            if child.is_running():
                child.kill()


# What stops the start


def test_a_port_in_use_is_explained(run: Command, tmp_path: Path) -> None:
    """A port that something else listens on is named, and the way out with it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = refused(run("serve", "--port", port))
    assert f"Port {port} on 127.0.0.1 is in use" in sentence
    assert not (tmp_path / "keyturn.db").exists(), "nothing is made before the port is ours"


@pytest.mark.parametrize(
    "option", [("--port", "0"), ("--port", "65536"), ("--workers", "0"), ("--workers", "x")]
)
def test_an_unfit_option_is_a_usage_error(run: Command, option: tuple[str, str]) -> None:
    """Ports and numbers of workers that cannot be are refused."""
    assert option[0] in refused(run("serve", *option), code=2)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "keys.example.com"])
def test_an_open_bind_without_tls_is_refused(run: Command, host: str) -> None:
    """Clear text over the network is refused unless it was asked for by name."""
    refused(run("serve", "--host", host, "--port", str(free_port())))
    said = refused(run("serve", "--host", host, KEYTURN_PUBLIC_URL="https://keys.example.com"))
    assert "KEYTURN_ALLOW_PUBLIC_HTTP" in said


def test_an_address_of_another_machine_is_explained(run: Command) -> None:
    """An address that this machine does not have is refused in one sentence."""
    done = run(
        "serve", "--host", "192.0.2.1", "--port", str(free_port()),
        KEYTURN_PUBLIC_URL="https://keys.example.com", KEYTURN_ALLOW_PUBLIC_HTTP="true",
    )  # fmt: skip
    assert "192.0.2.1" in refused(done)


@pytest.mark.parametrize(
    ("content", "workers"), [(None, "1"), ("no certificate", "1"), ("no certificate", "2")]
)
def test_an_unfit_certificate_stops_the_start(tmp_path: Path, content: str | None, workers: str) -> None:
    """A TLS file that is missing or no certificate stops the start with one sentence, also with workers."""
    file = tmp_path / "tls.pem"
    if content is not None:
        file.write_text(content)
    server = ServerProcess(
        address(tmp_path),
        tmp_path,
        ("--workers", workers),
        {"KEYTURN_TLS_CERTIFICATE_FILE": str(file), "KEYTURN_TLS_KEY_FILE": str(file)},
    )
    try:
        server.start()
        try:
            code: int | None = server.wait()
        except subprocess.TimeoutExpired:
            code = None
        assert code == 1, f"exit code {code}: {server.output()[:600]}"
        assert len(server.stderr.read_text().splitlines()) == 1
    finally:
        server.kill()


def test_the_installed_script_is_the_same_program(tmp_path: Path, furnished: Path) -> None:
    """The script that users call answers, refuses and exits as the entry point does."""
    _furnish(tmp_path, furnished)
    environment = {"KEYTURN_DATABASE": address(tmp_path)}
    version = run_command("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert __version__ in version.stdout
    nobody = run_command("admin", "key", "add", "--user", "nobody", environment=environment)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "keyturn: There is no user nobody.\n"
    debug = run_command("--debug", "admin", "key", "add", "--user", "nobody", environment=environment)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


def _furnish(directory: Path, furnished: Path) -> None:
    for file in furnished.iterdir():
        shutil.copy2(file, directory / file.name)


def _statuses(client: httpx.Client, *credentials: str) -> list[int]:
    return [
        client.get(CURRENT, headers={"Authorization": credential}).status_code for credential in credentials
    ]


def _workers(server: ServerProcess) -> list[psutil.Process]:
    """Return the processes that answer, without what the supervisor uses beside them."""
    return [child for child in server.children() if "spawn_main" in _command_line(child)]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _answers(server: ServerProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + POLL_TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
