"""The edge of HTTP: request lines, upgrades, bodies that are not whole, answers in the order of requests."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from keyturn.errors import MalformedRequest
from keyturn.web.bodies import MAX_JSON_DEPTH
from keyturn.web.edge.messages import BoundedBody
from tests.cli.conftest import USERID, furnished
from tests.journeys.processes import run_command, serving
from tests.web.sites import TIMEOUT_SECONDS, filled, read_all, statuses_of
from tests.web.test_route_table import plausible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.sites import Site

__all__ = ["furnished"]

ADMIN = "admin@example.com"
BOB = "bob@example.com"
VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "request_heads.json").read_text())["vectors"]
BODY = b'{"allowFrom":["192.0.2.0/24"]}'
NETWORKS = ["192.0.2.0/24"]
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x\r\n",
    "several": b"Connection: upgrade\r\nUpgrade: foo/2\r\nUpgrade: h2c, TLS/1.0\r\n",
    "none": b"",
}
LENGTHS = {
    "a length": b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n"
    % (BODY[:5], len(BODY) - 5, BODY[5:]),
}


def line_and_fields(vector: dict[str, Any], host: str, key: str) -> bytes:
    fields = [*vector.get("fields", ["Host: {host}"]), f"Authorization: {key}"]
    lines = [vector["line"], *fields]
    return "".join(line.replace("{host}", host) + "\r\n" for line in lines).encode() + b"\r\n"


def check_vectors(connect: Any, host: str, key: str) -> None:
    """Send each request with another behind it, which is answered only if the first one was understood."""
    last = f"GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    wrong = {}
    for vector in VECTORS:
        with connect() as connection:
            connection.sendall(line_and_fields(vector, host, key) + last)
            answer = read_all(connection)
        found = statuses_of(answer)
        is_kept = vector.get("keeps", vector["status"] == 200 and not vector["line"].endswith("HTTP/1.0"))
        if found != [vector["status"], *([200] if is_kept else [])]:
            wrong[vector["name"]] = found
        elif not is_kept and vector["status"] == 400:
            check_request(answer)
    assert not wrong


def check_request(answer: bytes) -> None:
    """Check that a raw 400 has the body of every error, and ends the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head.lower()
    told = json.loads(body)
    assert (told["statusCode"], told["error"]) == (400, "Bad Request")
    assert told["message"]


def open_tcp(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS)


def open_unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_SECONDS)
    connection.connect(str(path))
    return connection


# Request lines and targets


def test_fault_c9_only_http_1_with_one_authority_is_answered(site: Site) -> None:
    """Fault C9: every vector has its outcome, and a refusal has our shape and ends the connection."""
    check_vectors(lambda: open_tcp(site.url), site.host, site.key(BOB).secret)


def test_fault_c9_holds_for_workers_and_over_the_unix_socket(tmp_path: Path, furnished: Path) -> None:
    """Fault C9: the same with several workers, on the port and over the Unix socket."""
    shutil.copytree(furnished, tmp_path, dirs_exist_ok=True)
    database, path = f"sqlite:///{tmp_path / 'keyturn.db'}", tmp_path / "edge.sock"
    made = run_command("admin", "key", "add", "--user", USERID, environment={"KEYTURN_DATABASE": database})
    key = made.stdout.strip()
    with serving(database, tmp_path, "--workers", "2", "--unix-socket", str(path)) as server:
        host = urlsplit(server.url).netloc
        check_vectors(lambda: open_tcp(server.url), host, key)
        check_vectors(lambda: open_unix(path), host, key)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_fault_c9_holds_however_the_bytes_arrive(site: Site, vector: dict[str, Any]) -> None:
    """Fault C9: a request line in two reads, or behind other requests in one, has the same outcome."""
    key = site.key(BOB).secret
    request = line_and_fields(vector, site.host, key)
    first = f"\r\nGET /verify HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {key}\r\n\r\n".encode()
    with open_tcp(site.url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first + first[2:] + request[:9])
        answer = connection.recv(65_536)
        connection.sendall(request[9:])
        try:
            while len(statuses_of(answer)) < 3:
                answer += connection.recv(65_536)
        except ConnectionResetError:
            pass  # What was sent behind the refused line was not read any more.
    assert statuses_of(answer) == [200, 200, vector["status"]]


def test_fault_c13_a_refusal_stands_in_the_order_of_requests(site: Site) -> None:
    """Fault C13: what is not HTTP behind a request under way is refused after that one's answer, once."""
    key = site.key(BOB).secret.encode()
    host = site.host.encode()
    slow = b"POST /bim/apikey/authenticate HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n\r\n"
    answer = site.raw(
        slow % (host, key) * 3 + b"GET /verify HTTP/2.0\r\nHost: %s\r\n\r\n" % host + b"GARBAGE"
    )
    assert statuses_of(answer) == [200, 200, 200, 400]
    check_request(answer[answer.rindex(b"HTTP/1.1 400") :])


def test_fault_c13_a_body_that_is_no_chunk_is_refused_once(site: Site) -> None:
    """Fault C13: a request whose chunks break off has one answer, 400, and changes nothing."""
    user = site.new_user()
    key = site.key(user.userid).secret.encode()
    head = b"POST /bim/apikey HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: %s\r\n"
    request = head % (site.host.encode(), key) + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n\r\n"
    answer = site.raw(request)
    assert statuses_of(answer) == [400]
    check_request(answer)
    assert len(site.services.keys.list_of(user.user_id)) == 1


def test_fault_c13_an_endless_header_is_told_in_our_shape(site: Site) -> None:
    """Fault C13: a header that is cut off by its size gets the body of every error too."""
    with open_tcp(site.url) as connection:
        connection.sendall(b"GET /verify HTTP/1.1\r\n")
        connection.sendall(b"X: " + b"a" * 20_000)
        connection.sendall(b"a" * 20_000)
        answer = read_all(connection)
    assert statuses_of(answer) == [431]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["statusCode"] == 431


# Upgrades


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_fault_c1_a_body_beside_an_upgrade_is_read(site: Site, upgrade: str, length: str) -> None:
    """Fault C1: a key made beside an upgrade has the restrictions that its body asks for."""
    head = (
        b"POST /bim/apikey HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: %s\r\n%s"
    )
    request = head % (site.host.encode(), site.key(BOB).secret.encode(), UPGRADES[upgrade]) + LENGTHS[length]
    last = f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
    answers = site.raw(request * 2 + last)
    assert statuses_of(answers) == [200, 200, 200]
    assert re.findall(rb'"allowFrom":(\[[^]]*\])', answers) == [json.dumps(NETWORKS).encode()] * 2


@pytest.mark.parametrize("upgrade", [name for name in UPGRADES if name != "none"])
def test_fault_c2_no_part_of_a_body_is_a_request(site: Site, upgrade: str) -> None:
    """Fault C2: a body that reads like a request is a body: the answers are as many as the requests."""
    inner = (
        f"GET /verify HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {site.key(BOB).secret}\r\n\r\n".encode()
    )
    for path, status in (
        ("/bim/apikey/authenticate", 400),
        ("/login", 403),
        ("/verify", 401),
        ("/nope", 401),
    ):
        head = f"POST {path} HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: {len(inner)}\r\n".encode()
        request = head + UPGRADES[upgrade] + b"\r\n" + inner
        last = f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
        assert statuses_of(site.raw(request + request + last)) == [status, status, 200], path


def test_fault_c2_connect_ends_the_connection(site: Site) -> None:
    """Fault C2: what stands behind CONNECT is never read as a request."""
    inner = f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode()
    head = (
        f"CONNECT {site.host} HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
    )
    answer = site.raw(head + inner + inner)
    assert statuses_of(answer) == [400]
    check_request(answer)


def test_fault_c1_a_thousand_upgrades_in_a_row_are_answered(site: Site) -> None:
    """Fault C1: no depth of anything grows with the number of upgrades that stand behind each other."""
    head = (
        f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n".encode()
    )
    answers = site.raw(
        (head + b"\r\n") * 400 + head.replace(b"Upgrade\r\n", b"close, Upgrade\r\n", 1) + b"\r\n"
    )
    assert statuses_of(answers) == [200] * 401


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: install curl to run these tests")
def test_fault_c1_curl_with_http2_exchanges_and_restricts(site: Site) -> None:
    """Fault C1: `curl --http2`, which asks for an upgrade on http, has its body read."""
    key = site.key(BOB).secret

    def curl(path: str, body: str, *options: str) -> Any:
        json_type = ("-H", "Content-Type: application/json")
        command = ["curl", "-s", "--http2", *json_type, *options, "-d", body, f"{site.url}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
        return json.loads(done.stdout)

    assert curl("/bim/apikey/authenticate", json.dumps({"apikey": key}))["authenticated"] is True
    made = curl("/bim/apikey", BODY.decode(), "-H", f"Authorization: {key}")
    assert made["allowFrom"] == NETWORKS


# Bodies


def described_bodies(site: Site) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and schema of every operation that takes JSON, as the description has them."""
    document = httpx.get(f"{site.url_bound}/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}) if method != "parameters" else {}
            if "application/json" in content:
                yield method.upper(), path, content["application/json"]["schema"]


def sample(schema: dict[str, Any]) -> Any:
    """Return a value of this schema, with every member that an object can have."""
    if "oneOf" in schema:
        chosen = [one for one in schema["oneOf"] if one.get("type") == "object"] or schema["oneOf"]
        return sample(chosen[0])
    if schema.get("type") == "object":
        return {name: sample(member) for name, member in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [sample(schema.get("items", {}))]
    plain = {"integer": schema.get("minimum", 1), "boolean": True, "null": None}
    if schema.get("type") == "string":
        return next(iter(schema.get("enum", ())), "x" * max(schema.get("minLength", 1), 1))
    return plain.get(schema.get("type", ""), {})


def with_twin(value: Any) -> Iterator[str]:
    """Yield this JSON with a name twice, once for each object in it."""
    match value:
        case dict():
            members = [f"{json.dumps(name)}: {json.dumps(member)}" for name, member in value.items()]
            for name, member in value.items():
                for inner in with_twin(member):
                    others = [each for each, other in zip(members, value, strict=True) if other != name]
                    yield "{" + ", ".join([*others, f"{json.dumps(name)}: {inner}"]) + "}"
            if members:
                escaped = "".join(f"\\u{ord(letter):04x}" for letter in next(iter(value)))
                again = f'"{escaped}": {json.dumps(next(iter(value.values())))}'
                yield "{" + ", ".join([*members, members[0]]) + "}"
                yield "{" + ", ".join([*members, again]) + "}"
        case list():
            for inner in (twin for member in value for twin in with_twin(member)):
                yield f"[{inner}]"


def test_fault_c10_a_name_twice_is_refused_on_every_route(site: Site) -> None:
    """Fault C10: every route that takes JSON refuses a name twice, at any depth and however spelled."""
    headers = {"Authorization": site.key(ADMIN).secret, "Content-Type": "application/json"}
    values = plausible(site)
    checked: set[str] = set()
    with site.client(headers=headers) as client:
        for method, path, schema in described_bodies(site):
            for body in with_twin(sample(schema)):
                answer = client.request(method, filled(path, **values), content=body)
                assert answer.status_code == 400, (
                    f"{method} {path} {body}: {answer.status_code} {answer.text}"
                )
                assert "twice" in answer.json()["message"]
                checked.add(f"{method} {path}")
    assert len(checked) > 20


def test_fault_c10_free_form_json_is_held_to_the_same(site: Site) -> None:
    """Fault C10: names deep in preferences stand once too; the depth is bounded; an honest body passes."""
    headers = {"Authorization": site.key(ADMIN).secret, "Content-Type": "application/json"}
    path = f"/bim/iam/bim/user/{site.new_user().userid}/profile"
    deep = '{"preferences": ' + '{"a": ' * (MAX_JSON_DEPTH - 2) + "%s" + "}" * (MAX_JSON_DEPTH - 1)
    cases = {
        deep % '{"b": 1, "c": 2}': 200,
        deep % '{"b": 1, "b": 1}': 400,
        deep % '{"b": 1, "c": [{}]}': 400,
        '{"preferences": {"a": [{"b": 1}, {"b": 2}]}, "name": "twice: \\"name\\": 1, \\"name\\": 2"}': 200,
        '{"preferences": {"a": NaN, "b": 1}}': 400,
        '{"preferences": {"a": 1e999, "b": 1}}': 422,
        '\ufeff{"name": "a", "email": null}': 400,
    }
    with site.client(headers=headers) as client:
        for body, status in cases.items():
            answer = client.put(path, content=body.encode())
            assert answer.status_code == status, f"{body}: {answer.text}"
        assert client.put(path, content='{"name": "a", "email": null}'.encode("utf-16")).status_code == 400


def test_fault_c1_a_body_that_does_not_come_whole_changes_nothing(site: Site) -> None:
    """Fault C1: on every route that takes a body, a client that goes away within it has asked for nothing."""
    key = site.key(ADMIN).secret
    values = plausible(site)
    before = site.services.store.installation.revision()
    for method, path, _ in described_bodies(site):
        with open_tcp(site.url) as connection:
            head = (
                f"{method} {filled(path, **values)} HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: {key}\r\n"
            )
            connection.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()
            )
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"", f"{method} {path}"
    assert site.services.store.installation.revision() == before


@pytest.mark.parametrize("length", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("sent", [b"", b"{}", b"{} "])
def test_fault_c1_a_body_of_another_length_is_refused(length: int, sent: bytes) -> None:
    """Fault C1: whatever the server below delivers, a body is taken only if it has its declared length."""

    async def receive() -> Any:
        return {"type": "http.request", "body": sent, "more_body": False}

    if len(sent) == length:
        assert asyncio.run(BoundedBody(receive, length).whole()) == sent
    else:
        with pytest.raises(MalformedRequest):
            asyncio.run(BoundedBody(receive, length).whole())
