"""S5: secrets go in everywhere a secret can be put, and afterwards are looked for everywhere."""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import msgspec
import psutil
import pysqlite3
import pytest

from keyturn.composition import ROOT_KEY_FILE_NAME, open_services
from keyturn.core.encoding import base64url_decode
from keyturn.services.installation.vault import Vault
from keyturn.settings import read_settings
from keyturn.system import System
from tests.journeys.processes import ServerProcess, free_port, run_command, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CURRENT = "/bim/rpc/user/current"
EXCHANGE = "/bim/apikey/authenticate"
LOGIN = "/bim/iam/bim/user/authenticate"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def canary(name: str) -> str:
    """Return a text that occurs nowhere else, of the form of a password."""
    return f"{name} canary {secrets.token_hex(12)}"


def forms_of(text: str) -> set[bytes]:
    """Return the bytes in which a text may be written down."""
    plain = text.encode()
    found = {
        plain,
        text.encode("utf-16-le"),
        text.encode("utf-16-be"),
        plain.hex().encode(),
        plain.hex().upper().encode(),
        quote(text, safe="").encode(),
        quote(text).replace("%20", "+").encode(),
        plain[::-1],
    }
    for shift in range(3):
        # A text that begins inside a longer one meets base64 at one of three offsets.
        coded = base64.b64encode(b"\0" * shift + plain)[(0, 2, 3)[shift] :].rstrip(b"=")[:-1]
        found |= {coded, coded.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def sweep(canaries: dict[str, str], places: dict[str, bytes]) -> list[str]:
    """Return where which canary was found."""
    return sorted(
        f"{name} is in {place}"
        for name, text in canaries.items()
        for place, content in places.items()
        if any(form in content for form in forms_of(text))
    )


@dataclass
class Evidence:
    """What a server left behind, and what it must not have."""

    directory: Path
    canaries: dict[str, str] = field(default_factory=dict)
    """By name; none of them may be found anywhere."""
    places: dict[str, bytes] = field(default_factory=dict)
    """What was swept: files while the server ran and after it ended, command lines, errors, rows."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How each secret was answered, so that the drive itself is known to have reached the server."""
    setup_code: str = ""
    setup_output: bytes = b""

    def add(self, name: str, text: str | None = None) -> str:
        self.canaries[name] = text or canary(name)
        return self.canaries[name]

    def collect(self, when: str) -> None:
        """Read every file under the directory but that of the root key."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and path.name != ROOT_KEY_FILE_NAME:
                self.places[f"{path.name} {when}"] = path.read_bytes()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Drive one server with every secret there is, under the log level that says most."""
    evidence = Evidence(tmp_path_factory.mktemp("canaries"))
    database = f"sqlite:///{evidence.directory / 'keyturn.db'}"
    server = ServerProcess(
        database, evidence.directory, before=("--debug",), environment={"KEYTURN_LOG_LEVEL": "debug"}
    )
    try:
        server.start()
        server.wait_ready()
        with httpx.Client(
            base_url=server.url, timeout=20, event_hooks={"response": [_keep(evidence)]}
        ) as client:
            _drive_setup_and_pages(client, server, evidence)
            _drive_api(client, evidence)
            _drive_foreign_key(client, database, evidence)
            _drive_raw(server, evidence)
            evidence.places["/proc cmdline"] = _command_lines(server)
            _drive_broken_database(client, evidence)
        evidence.collect("while running")
        server.stop()
    finally:
        server.kill()
    with serving(database, evidence.directory, "--workers", "2") as two:
        with httpx.Client(base_url=two.url, timeout=20) as client:
            for name in ("key", "token"):
                client.get(CURRENT, headers={"Authorization": evidence.canaries[name]})
        assert len(two.children()) >= 2
        evidence.places["/proc cmdline of workers"] = _command_lines(two)
        two.stop()
    evidence.collect("after the end")
    evidence.places["audit rows"] = _rows(evidence.directory / "keyturn.db", "audit")
    evidence.places["key rows"] = _rows(evidence.directory / "keyturn.db", "api_key")
    evidence.places["session rows"] = _rows(evidence.directory / "keyturn.db", "session")
    return evidence


def _keep(evidence: Evidence) -> object:
    """Keep the body of each error that is no page: none may quote what was sent."""

    def keep(response: httpx.Response) -> None:
        response.read()
        if response.status_code >= 400 and response.headers["content-type"].startswith(JSON):
            number = len(evidence.places)
            evidence.places[f"error {number} {response.request.method} {response.status_code}"] = (
                response.content
            )

    return keep


def _drive_setup_and_pages(client: httpx.Client, server: ServerProcess, evidence: Evidence) -> None:
    found = re.search(r"/setup#(\S+)", server.stdout.read_text())
    assert found is not None
    evidence.setup_code = found[1]
    wrong_code = evidence.add("wrong set-up code", secrets.token_urlsafe(24))
    right = evidence.add("password")
    wrong = evidence.add("wrong password")
    in_user_field = evidence.add("password in the user field")
    note = evidence.statuses.__setitem__

    admin = {"userid": "admin", "name": "Admin", "password": right, "password_again": right}
    note("set-up, wrong", client.post("/setup", data=admin | {"code": wrong_code}).status_code)
    mistyped = admin | {"code": evidence.setup_code, "password_again": wrong}
    note("set-up, mistyped", client.post("/setup", data=mistyped).status_code)
    note("set-up", client.post("/setup", data=admin | {"code": evidence.setup_code}).status_code)
    note("login, wrong", client.post("/login", data={"userid": "admin", "password": wrong}).status_code)
    note("login, swapped", client.post("/login", data={"userid": in_user_field, "password": "x"}).status_code)
    note("login in the query", client.post("/login", params={"password": right}).status_code)
    note("login", client.post("/login", data={"userid": "admin", "password": right}).status_code)
    cookie = evidence.add("session cookie", client.cookies["keyturn"])
    page = client.get("/profile/keys/new").text
    csrf = evidence.add("CSRF token", re.search(r'name="csrf" value="([^"]+)"', page)[1])  # type: ignore[index]
    form_id = re.search(r'name="form_id" value="([^"]+)"', page)[1]  # type: ignore[index]
    made = client.post(
        "/profile/keys", data={"csrf": csrf, "form_id": form_id, "name": "page", "expiry": "7"}
    )
    note("key on a page", made.status_code)
    pasted = evidence.add("key from a page", re.search(r"kt_\w{12}_\w{38}", made.text)[0])  # type: ignore[index]
    unknown = evidence.add("pasted key", f"kt_{secrets.token_hex(6)}_{secrets.token_hex(19)}")
    for name, text in (("known", pasted), ("unknown", unknown), ("in a line", f"export API_KEY={unknown}")):
        found = client.post("/admin/keys/find", data={"csrf": csrf, "q": text})
        note(f"search for a key, {name}", found.status_code)
        evidence.places[f"where a search for a key leads, {name}"] = found.headers["location"].encode()
        note(f"key in the query, {name}", client.get("/admin/keys", params={"q": text}).status_code)
    note("password, wrong", client.post(
        "/profile/security",
        data={"csrf": csrf, "current_password": wrong, "password": wrong, "password_again": wrong},
    ).status_code)  # fmt: skip
    note("cookie in the path", client.get(f"/profile/{cookie}").status_code)
    note("cookie in the query", client.get("/profile", params={"notice": cookie, "csrf": csrf}).status_code)
    note(
        "foreign CSRF token",
        client.post("/profile", data={"csrf": evidence.add("wrong CSRF token")}).status_code,
    )
    client.cookies.clear()
    ended = client.post(
        "/profile/keys",
        data={"name": unknown, "own_password": wrong, "expiry": "7"},
        headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"},
    )
    note("form without a session", ended.status_code)
    evidence.places["page of a form without a session"] = ended.content


def _drive_api(client: httpx.Client, evidence: Evidence) -> None:
    note = evidence.statuses.__setitem__
    right, wrong = evidence.canaries["password"], evidence.canaries["wrong password"]
    for name, body in (("right", right), ("wrong", wrong)):
        answer = client.post(LOGIN, json={"username": "admin", "password": body})
        note(f"login by API, {name}", answer.status_code)
        if name == "right":
            login_token = evidence.add("login token", answer.json()["token"])
    note("login, swapped, by API", client.post(
        LOGIN, json={"username": evidence.canaries["password in the user field"], "password": "x"}
    ).status_code)  # fmt: skip
    made = client.post("/bim/apikey", headers={"Authorization": login_token}, json={"name": "driven"}).json()
    key = evidence.add("key", made["apikey"])
    evidence.add("the random part of the key", key.split("_")[2][:32])
    token = evidence.add("token", client.post(EXCHANGE, json={"apikey": key}).json()["token"])
    evidence.add("the signature of the token", token.split(".")[2])
    evidence.add("key of another installation", f"kt_{secrets.token_hex(6)}_{secrets.token_hex(19)}")
    evidence.add("Basic", base64.b64encode(f"admin:{right}".encode()).decode())

    for name in ("key", "token", "key of another installation"):
        _drive_headers_and_paths(client, evidence, name, evidence.canaries[name])
        _drive_bodies(client, evidence, name, evidence.canaries[name])
    for kind, login in (
        ("wrong type", {"username": "admin", "password": [right]}),
        ("unknown field", {"username": "admin", "password": "x", "passphrase": right}),
        ("too long", {"username": "admin", "password": right * 20}),
    ):
        note(f"password {kind}", client.post(LOGIN, json=login).status_code)
    note("password, Basic", client.get(CURRENT, auth=("admin", right)).status_code)
    note("Basic in the query", client.get(CURRENT, params={"authorization": right}).status_code)
    note("exchange as Basic", client.post(EXCHANGE, auth=("admin", key)).status_code)
    for number, secret in ((made["keyid"], key), (made["keyid"], token)):
        note("revoke", client.delete(f"/bim/apikey/{number}", headers={"Authorization": secret}).status_code)
        note("revoked", client.get(CURRENT, headers={"Authorization": secret}).status_code)


def _drive_headers_and_paths(client: httpx.Client, evidence: Evidence, name: str, secret: str) -> None:
    note = evidence.statuses.__setitem__
    for form, value in (("raw", secret), ("Bearer", f"Bearer {secret}"), ("spoilt", f"Bearer {secret}x")):
        note(f"{name} {form}", client.get(CURRENT, headers={"Authorization": value}).status_code)
    note(f"{name} twice", client.get(
        CURRENT, headers=[("Authorization", secret), ("Authorization", secret)]
    ).status_code)  # fmt: skip
    note(
        f"{name} exchanged in the header",
        client.post(EXCHANGE, headers={"Authorization": secret}).status_code,
    )
    note(f"{name} exchanged in a form", client.post(EXCHANGE, data={"apikey": secret}).status_code)
    note(f"{name} in the query", client.get(CURRENT, params={"access_token": secret}).status_code)
    note(f"{name} in both", client.get(
        CURRENT, params={"apikey": secret}, headers={"Authorization": secret}
    ).status_code)  # fmt: skip
    for path in (
        "/data/connection/{}",
        "/bim/iam/bim/user/{}/apikeys",
        "/bim/apikey/{}",
        "/{}",
        "/static/{}",
    ):
        for who in (None, evidence.canaries["key"]):
            headers = {} if who is None else {"Authorization": who}
            note(f"{name} in {path} as {who and 'somebody'}", client.get(
                path.format(secret), headers=headers
            ).status_code)  # fmt: skip
            client.request("DELETE", path.format(secret), headers=headers)
    for header in (
        "User-Agent",
        "Referer",
        "X-Api-Key",
        "Cookie",
        "X-Forwarded-For",
        "X-Request-Id",
        "Origin",
    ):
        note(f"{name} in {header}", client.get(
            CURRENT, headers={"Authorization": evidence.canaries["key"], header: f"client/{secret}"}
        ).status_code)  # fmt: skip
    # As user agent of what is written down: a session, an audit row, the last use of a key.
    agent = {"User-Agent": f"client {secret}"}
    client.post(LOGIN, json={"username": "admin", "password": evidence.canaries["password"]}, headers=agent)
    client.post("/login", data={"userid": "admin", "password": evidence.canaries["password"]}, headers=agent)
    client.cookies.clear()
    client.post(
        "/bim/apikey", headers=agent | {"Authorization": evidence.canaries["key"]}, json={"name": "agent"}
    )


def _drive_bodies(client: httpx.Client, evidence: Evidence, name: str, secret: str) -> None:
    for kind, body, media in (
        ("cut off", f'{{"apikey": "{secret}"', JSON),
        ("no JSON", secret, JSON),
        ("another type", f'{{"apikey": "{secret}"}}', "text/plain"),
        ("wrong type", f'{{"apikey": ["{secret}"]}}', JSON),
        ("a wrong value", f'{{"apikey": "{secret}é"}}', JSON),
        ("unknown field", f'{{"apikey": "x", "apikeys": "{secret}"}}', JSON),
        ("unknown form field", f"apikeys={secret}", FORM),
        ("doubled", f"apikey={secret}&apikey={secret}", FORM),
        ("huge", f'{{"apikey": "{secret * 2000}"}}', JSON),
    ):
        answer = client.post(EXCHANGE, content=body.encode(), headers={"Content-Type": media})
        evidence.statuses[f"{name} {kind}"] = answer.status_code


def _drive_foreign_key(client: httpx.Client, database: str, evidence: Evidence) -> None:
    """Import a key of the form that older servers gave out, and use it."""
    foreign = evidence.add("foreign key", secrets.token_hex(16))
    done = run_command(
        "--debug", "admin", "key", "import", "--user", "admin",
        stdin=foreign, environment={"KEYTURN_DATABASE": database},
    )  # fmt: skip
    evidence.places["output of key import"] = (done.stdout + done.stderr).encode()
    for headers in ({}, {"User-Agent": f"client/{foreign}"}, {"X-Api-Key": foreign}):
        answer = client.get(CURRENT, headers={"Authorization": foreign, **headers})
        evidence.statuses[f"foreign key {sorted(headers)}"] = answer.status_code
    client.get(f"/data/connection/{foreign}", headers={"Authorization": foreign})


def _drive_raw(server: ServerProcess, evidence: Evidence) -> None:
    """Send what is no HTTP, with a key in it."""
    key = evidence.canaries["key"].encode()
    for request in (
        b"GET /" + key + b" HTTP/9.9\r\n\r\n",
        key + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + key + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : " + key + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: \xff" + key + b"\x01\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + key + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(request)
            evidence.places[f"raw answer {len(evidence.places)}"] = connection.recv(65536)


def _drive_broken_database(client: httpx.Client, evidence: Evidence) -> None:
    """Take away what the server needs, so that it fails inside, with secrets in its hands."""
    connection = pysqlite3.connect(evidence.directory / "keyturn.db", isolation_level=None)
    key = client.post(
        "/bim/apikey", headers={"Authorization": evidence.canaries["login token"]}, json={"name": "late"}
    ).json()["apikey"]
    evidence.add("key while the database is broken", key)
    wrong = evidence.canaries["wrong password"]

    def drive(what: str) -> None:
        note = evidence.statuses.__setitem__
        note(f"{what}: call", client.get(CURRENT, headers={"Authorization": key}).status_code)
        note(f"{what}: exchange", client.post(EXCHANGE, json={"apikey": key}).status_code)
        note(
            f"{what}: path", client.get(f"/data/connection/{key}", headers={"Authorization": key}).status_code
        )
        note(f"{what}: login", client.post(LOGIN, json={"username": "admin", "password": wrong}).status_code)
        note(f"{what}: page", client.post("/login", data={"userid": "admin", "password": wrong}).status_code)
        note(f"{what}: create", client.post(
            "/bim/apikey", headers={"Authorization": key}, json={"name": what}
        ).status_code)  # fmt: skip

    try:
        kept = connection.execute("SELECT permissions FROM user_account").fetchone()
        connection.execute("UPDATE user_account SET permissions = '{'")
        drive("damaged row")
        connection.execute("UPDATE user_account SET permissions = ?", kept)
        connection.execute("ALTER TABLE audit RENAME TO gone")
        drive("no table")
        connection.execute("ALTER TABLE gone RENAME TO audit")
        connection.execute("PRAGMA foreign_keys = OFF")
        row = connection.execute("SELECT * FROM installation").fetchone()
        connection.execute("DELETE FROM installation")
        drive("no row")
        connection.execute(f"INSERT INTO installation VALUES ({', '.join('?' * len(row))})", row)
    finally:
        connection.close()


def _command_lines(server: ServerProcess) -> bytes:
    processes = [psutil.Process(server.pid), *server.children()]
    return "\n".join(" ".join(process.cmdline()) for process in processes).encode()


def _rows(database: Path, table: str) -> bytes:
    connection = pysqlite3.connect(database)
    try:
        return "\n".join(repr(row) for row in connection.execute(f"SELECT * FROM {table}")).encode()
    finally:
        connection.close()


def test_no_secret_is_found_anywhere(evidence: Evidence) -> None:
    """No secret that was sent or given out is in any output, file, row, command line or error."""
    assert sweep(evidence.canaries, evidence.places) == []


def test_the_sweep_finds_a_planted_secret(evidence: Evidence) -> None:
    """Control: what is really there is found, in clear and in each coding, in each kind of place."""
    planted = canary("planted")
    for form in forms_of(planted):
        for place in ("in the middle of ", ""):
            assert sweep({"planted": planted}, {"there": place.encode() + form + b" of a line"})
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + planted.encode() + b"and more")
        assert sweep({"planted": planted}, {"there": coded})
    assert sweep({"name": "driven"}, evidence.places)
    assert sweep({"id": "ApiKeyDeleted"}, evidence.places)
    assert sweep({"line": "request_failed"}, evidence.places)


def test_every_place_was_swept(evidence: Evidence) -> None:
    """The sweep saw the database, its log and shared memory, both streams, and all command lines."""
    places = " ".join(evidence.places)
    for name in ("keyturn.db while", "keyturn.db-wal while", "keyturn.db-shm while", "keyturn.db after"):
        assert name in places
    assert places.count(".err while running") == 1
    assert places.count(".out after the end") == 2
    assert evidence.places["audit rows"].count(b"ApiKeyCreated") > 5
    for rows in ("audit rows", "key rows", "session rows"):
        assert b"[REDACTED]" in evidence.places[rows], f"no user agent with a secret reached the {rows}"
    assert b"serve" in evidence.places["/proc cmdline"]
    assert evidence.places["/proc cmdline of workers"].count(b"\n") >= 2


def test_the_secrets_really_reached_the_server(evidence: Evidence) -> None:
    """The drive met what it aimed at: accepted, refused and failed requests of every kind."""
    expected = {
        "set-up": 303, "login": 303, "key on a page": 200, "login by API, right": 200,
        "key raw": 200, "key Bearer": 200, "token raw": 200, "key spoilt": 401, "key twice": 400,
        "key exchanged in the header": 200, "key in the query": 401, "key in both": 400,
        "key in User-Agent": 200, "key huge": 413, "key cut off": 400, "key wrong type": 422,
        "revoked": 401, "foreign key []": 200,
        "damaged row: call": 500, "no row: create": 500, "no table: create": 503,
    }  # fmt: skip
    assert {name: evidence.statuses[name] for name in expected} == expected


def test_a_failure_is_in_the_log_with_its_traceback(evidence: Evidence) -> None:
    """S7: the log has the traceback of a failure; the client has only the request's id."""
    log = next(text for place, text in evidence.places.items() if place.endswith(".err while running"))
    failed = [json.loads(line) for line in log.splitlines() if b"request_failed" in line]
    assert failed
    assert all(line["request_id"] and line["exception"] for line in failed)
    assert "locals" not in json.dumps(failed)
    errors = [json.loads(text) for place, text in evidence.places.items() if place.endswith(" 500")]
    assert errors
    assert {error["message"] for error in errors} == {
        "Something went wrong here. The log knows it by the request id."
    }


def test_every_line_of_the_log_is_json(evidence: Evidence) -> None:
    """S6: whatever was sent, the log holds one JSON object a line."""
    for place, content in evidence.places.items():
        if ".err " in place:
            for line in content.splitlines():
                assert isinstance(json.loads(line), dict)


def test_only_its_own_file_holds_the_root_key(evidence: Evidence) -> None:
    """S2: the root key is in its file, and nowhere else."""
    file = evidence.directory / ROOT_KEY_FILE_NAME
    root_key = file.read_text().strip()
    assert sweep({"root key": root_key}, {"its file": file.read_bytes()})
    assert sweep({"root key": root_key}, evidence.places) == []
    raw = base64url_decode(root_key.encode())
    assert [place for place, content in evidence.places.items() if raw in content] == []


def test_the_set_up_code_is_printed_and_nowhere_else(evidence: Evidence) -> None:
    """L13: the code stands once on standard output, and is stored as a digest alone."""
    found = sweep({"code": evidence.setup_code}, evidence.places)
    assert [place for place in found if ".out " not in place] == []
    output = next(text for place, text in evidence.places.items() if place.endswith(".out while running"))
    assert output.count(evidence.setup_code.encode()) == 1


def test_the_private_signing_key_is_never_in_clear(evidence: Evidence) -> None:
    """S1: what signs tokens is in the database only under the root key."""
    directory = evidence.directory
    database = f"sqlite:///{directory / 'keyturn.db'}"
    services = open_services(read_settings({"KEYTURN_DATABASE": database}, new_installation=True))
    try:
        records = services.signing_keys.list_all()
    finally:
        services.close()
    root_key = base64url_decode((directory / ROOT_KEY_FILE_NAME).read_text().strip().encode())
    vault = Vault(lambda: [root_key], System(), find_check=lambda: None)
    for record in records:
        jwk = msgspec.json.decode(vault.open(record.sealed_jwk, slot=f"signing_key/{record.kid}/sealed_jwk"))
        raw = base64url_decode(jwk["d"].encode())
        assert sweep({"private key": jwk["d"]}, evidence.places) == []
        assert [place for place, content in evidence.places.items() if raw in content] == []


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://keyturn:{}@127.0.0.1:{}/keyturn",
        "postgresql://keyturn:before@{}@127.0.0.1:{}/keyturn",
        "postgresql://keyturn@127.0.0.1:{1}/keyturn?password={0}",
        "postgresql://keyturn:{}@127.0.0.1:{}x/keyturn",
        "postgres://keyturn:{0}@127.0.0.1:{1}/keyturn?sslmode={0}",
        "mysql://keyturn:{}@127.0.0.1:{}/keyturn",
        "{}:{}",
    ],
)
def test_the_password_of_a_database_is_not_shown(tmp_path: Path, address: str) -> None:
    """S7: a start that fails at its database shows no part of the password in the address."""
    password = f"canary{secrets.token_hex(12)}"
    given = address.format(password, free_port())
    file = tmp_path / "root.key"
    file.write_text("A" * 43)
    file.chmod(0o600)
    done = run_command("serve", environment={"KEYTURN_DATABASE": given, "KEYTURN_ROOT_KEY_FILE": str(file)})
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sweep({"password": password}, {"output": (done.stdout + done.stderr).encode()}) == []


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://keyturn:{}@127.0.0.1:9/keyturn",
        "postgresql://keyturn@127.0.0.1:9/keyturn?password={}",
        "postgresql://keyturn@127.0.0.1:9/keyturn?sslpassword={}",
    ],
)
def test_a_password_on_the_command_line_is_refused(address: str) -> None:
    """S5: what would stand in the process list is refused, and not repeated."""
    password = f"canary{secrets.token_hex(12)}"
    done = run_command("admin", "check", "--database", address.format(password))
    assert done.returncode == 2, done.stderr
    assert "KEYTURN_DATABASE" in done.stderr
    assert password not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def misuse(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ServerProcess, httpx.Client, str]]:
    """A server and a key that somebody is about to type into the wrong field; the key's id is 2."""
    directory = tmp_path_factory.mktemp("misuse")
    database = f"sqlite:///{directory / 'keyturn.db'}"
    environment = {"KEYTURN_DATABASE": database, "KEYTURN_NEW_INSTALLATION": "true"}
    run_command(
        "admin", "user", "add", "admin", "--password-stdin", stdin=canary("unused"), environment=environment
    )
    key = run_command("admin", "key", "add", "--user", "admin", environment=environment).stdout.strip()
    short = secrets.token_urlsafe(16).replace("-", "a").replace("_", "b")[:22]
    run_command("admin", "key", "import", "--user", "admin", stdin=short, environment=environment)
    with (
        serving(database, directory, environment={"KEYTURN_LOG_LEVEL": "debug"}) as server,
        httpx.Client(base_url=server.url, timeout=20, headers={"Authorization": key}) as client,
    ):
        yield server, client, short


def _left_by(server: ServerProcess) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in server.directory.iterdir()
        if path.is_file() and path.name != ROOT_KEY_FILE_NAME
    }


@pytest.mark.parametrize(
    "place", ["name of a key", "Idempotency-Key", "unknown field", "short foreign key in a path"]
)
def test_a_key_in_the_wrong_field_is_not_kept(
    misuse: tuple[ServerProcess, httpx.Client, str], place: str
) -> None:
    """Design 1.4: a key that somebody puts where none belongs is not stored, logged or quoted."""
    server, client, short = misuse
    another = client.post("/bim/apikey", json={"name": "misused"}).json()["apikey"]
    answer = None
    match place:
        case "name of a key":
            client.post("/bim/apikey", json={"name": another})
        case "Idempotency-Key":
            client.post("/bim/apikey", headers={"Idempotency-Key": another})
        case "unknown field":
            answer = client.post(EXCHANGE, json={another: "x"}, headers={"Authorization": ""})
        case _:
            another = short
            assert client.get(CURRENT, headers={"Authorization": short}).status_code == 200
            client.get(f"/data/connection/{short}")
    places = _left_by(server) | {"answer": answer.content if answer is not None else b""}
    assert sweep({"key": another}, places) == []
