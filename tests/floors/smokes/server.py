"""`pip install keyturn[server]`: on both databases a server starts and makes a key, which verifies."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from keyturn import CredentialRefused, Verifier
from keyturn.client import ApiClient

COMMAND = Path(sys.executable).with_name("keyturn")
SECONDS = 60
MANAGEMENT = Path.cwd() / "management.sock"
PASSWORD = "correct horse battery staple 7"


def keyturn(database: str, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=environment(database),
        timeout=SECONDS,
    )
    assert done.returncode == 0, (arguments, done)
    return done.stdout


def environment(database: str, **settings: str) -> dict[str, str]:
    root_key = str(Path.cwd() / "root.key")
    return os.environ | {"KEYTURN_DATABASE": database, "KEYTURN_ROOT_KEY_FILE": root_key, **settings}


def serving(database: str, port: int) -> subprocess.Popen[bytes]:
    settings = environment(
        database,
        KEYTURN_PORT=str(port),
        KEYTURN_NEW_INSTALLATION="true",
        KEYTURN_MANAGEMENT=f"unix:{MANAGEMENT}",
    )
    return subprocess.Popen([COMMAND, "serve"], env=settings)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended"
        try:
            if client.get("/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server is not ready")


def check_pages(client: httpx.Client) -> None:
    for path in (
        "/login",
        "/static/favicon.svg",
        "/docs",
        "/docs.md",
        "/docs.md?ask=how+do+I+rotate+a+key",
        "/docs/api/users",
        "/llms.txt",
        "/.well-known/jwks.json",
    ):
        assert client.get(path).status_code == httpx.codes.OK, path
    assert client.get("/profile").status_code in {303, 401}


def check_metrics() -> None:
    transport = httpx.HTTPTransport(uds=str(MANAGEMENT))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        text = client.get("/metrics").text
    assert "keyturn_ready 1.0" in text
    assert re.search(r'keyturn_verifications_total\{result="good",way="cache"\} [1-9]', text)


def check_key(client: httpx.Client, database: str, key: str, user: str) -> None:
    sent = {"Authorization": f"Bearer {key}"}
    for _ in range(2):  # From the database, and from memory.
        assert client.get("/verify", headers=sent).status_code == httpx.codes.OK
    assert client.get("/verify", headers={"Authorization": "Bearer kt_wrong"}).status_code == 401
    with ApiClient(str(client.base_url), key) as api:
        assert api.current_user().userid == user
        again = api.create_key("made over the API").apikey
    assert client.get("/verify", headers={"Authorization": again}).status_code == httpx.codes.OK
    assert len(client.get("/openapi.json", headers=sent).content) > 10_000
    token = client.post("/bim/apikey/authenticate", json={"apikey": key}).json()["token"]
    for address, own in ((database, None), (str(client.base_url), key)):
        with Verifier(address, own) as verifier:
            for credential in (key, token):
                assert verifier.verify(f"Bearer {credential}").userid == user
            try:
                verifier.verify("Bearer kt_wrong")
            except CredentialRefused:
                pass
            else:
                raise AssertionError("a wrong key was good")


def check_on(database: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = serving(database, port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until_ready(client, process)
            add = ("admin", "user", "add", "ada@example.com", "--permission", "all", "--password-stdin")
            keyturn(database, *add, stdin=PASSWORD + "\n")
            key = keyturn(database, "admin", "key", "add", "--user", "ada@example.com").strip()
            assert re.fullmatch(r"[!-~]+", key)
            assert "ada@example.com" in keyturn(database, "admin", "user", "list")
            check_pages(client)
            check_key(client, database, key, "ada@example.com")
            check_metrics()
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


(Path.cwd() / "root.key").touch(mode=0o600)
(Path.cwd() / "root.key").write_text(keyturn("", "admin", "root-key"))
check_on(f"sqlite:///{Path.cwd() / 'keyturn.db'}")
for address in sys.argv[1:]:
    check_on(address)
