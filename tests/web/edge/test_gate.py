"""What every request meets first: limits, hosts, headers, the log, and what happens when something breaks."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import time
from datetime import timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from keyturn.composition import open_services
from keyturn.core.permissions import Permission
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.identity.passwords import CHEAPEST, MAX_AT_ONCE, MAX_WAITING
from keyturn.services.people.identity.turns import Asker
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE, Origin
from keyturn.web.edge import messages
from tests.conftest import PASSWORD
from tests.databases import new_postgresql_database, new_sqlite_database
from tests.servers import running_server
from tests.web.processes import server_process
from tests.web.sites import FORM, TIMEOUT_SECONDS, read_all, status_of

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
BOB = "bob@example.com"
WHO = "/bim/rpc/user/current"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
WELL_FORMED = re.compile(r"Host: (?:[A-Za-z0-9._~-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?\r\n")
DOCUMENT_HEADERS = {
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


def is_broken(answer: httpx.Response, status: int) -> bool:
    """Return whether the answer says no more of a failure than its request id."""
    assert answer.status_code == status
    assert UUID.fullmatch(answer.headers["x-request-id"])
    for hint in (
        "Traceback",
        "sqlite",
        "psycopg",
        "SELECT",
        "JSON is malformed",
        ".py",
        "keyturn.db",
        "litestar",
    ):
        assert hint not in answer.text
    return True


# Host


@pytest.mark.parametrize("host", ["<host>", "localhost", "LOCALHOST:1", "127.0.0.1", "[::1]", "[::1]:8400"])
def test_our_own_hosts_are_answered(site: Site, host: str) -> None:
    """On a loopback bind, loopback names are answered with any port."""
    line = host.replace("<host>", site.host)
    answer = site.raw(f"GET /health/live HTTP/1.1\r\nHost: {line}\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 200


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Host: \r\n",
        "Host: evil.example\r\n",
        "Host: evil.example:8400\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: localhost..\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 127.0.0.1@evil.example\r\n",
        "Host: evil.example/127.0.0.1\r\n",
        "Host: a/health/live?x=\r\n",
        "Host: localhost/health/live?x=\r\n",
        "Host: localhost#\r\n",
        "Host: localhost:\r\n",
        "Host: localhost:abc\r\n",
        "Host: localhost, evil.example\r\n",
        "Host: 0.0.0.0\r\n",
        "Host: 127.1\r\n",
        "Host: 2130706433\r\n",
        "Host: [::ffff:127.0.0.1]\r\n",
        "Host: l\xf6calhost\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n",
    ],
)
@pytest.mark.parametrize("path", ["/health/live", "/login", WHO, "/static/face.css"])
def test_any_other_host_is_refused(site: Site, lines: str, path: str) -> None:
    """No Host, two, a strange one or somebody else's is 400 on every path, open ones too (H6, H7).

    Fault C4: to probes of health any one Host is good that could be one.
    """
    answer = site.raw(f"GET {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n".encode("latin-1"))
    could_be_one = lines.count("Host:") - lines.count("X-Forwarded-Host:") == 1 and WELL_FORMED.match(lines)
    assert status_of(answer) == (200 if path == "/health/live" and could_be_one else 400)
    assert b"evil" not in answer


@pytest.mark.parametrize(
    "host",
    ["10.0.3.17:8400", "[2001:db8::17]:8400", "keyturn", "keyturn_web:80", "keys.example.org.", "0.0.0.0"],
)
def test_fault_c4_a_probe_needs_no_known_host(site: Site, host: str) -> None:
    """Fault C4: health is answered under the address of a pod, with HEAD too; no other path is."""
    for path in ("/health/live", "/health/ready"):
        for method in ("GET", "HEAD"):
            request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            assert status_of(site.raw(request.encode())) == 200
    for path in ("/health", "/health/live/", "/health/live;a", "/metrics", "/verify", "/", "//health/live"):
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert status_of(site.raw(request.encode())) == (200 if path == "//health/live" else 400), path


def test_fault_c5_a_name_with_its_last_dot_is_the_same_host(open_site: SiteOpener) -> None:
    """Fault C5: DNS ends a whole name with a dot; with it the same hosts are answered, and no others."""
    with open_site(public_url="https://keys.example.com", allowed_hosts=("other.example:8443",)) as opened:
        for host, status in (
            ("keys.example.com.", 200),
            ("Keys.Example.Com.:443", 200),
            ("other.example.:8443", 200),
            ("keys.example.com..", 400),
            (".keys.example.com", 400),
            ("keys.example.com.:80", 400),
            ("other.example.", 400),
            ("evil.example.", 400),
        ):
            answer = httpx.get(f"{opened.url_bound}/.well-known/jwks.json", headers={"Host": host})
            assert answer.status_code == status, host


def test_the_public_and_the_allowed_hosts_are_answered(open_site: SiteOpener) -> None:
    """The public name is answered with and without its port, allowed ones as written, and no other."""
    with open_site(public_url="https://keys.example.com", allowed_hosts=("other.example:8443",)) as opened:
        for host, status in (
            ("keys.example.com", 200),
            ("KEYS.example.com:443", 200),
            ("other.example:8443", 200),
            ("keys.example.com:80", 400),
            ("other.example", 400),
            ("example.com", 400),
            ("evil.keys.example.com", 400),
        ):
            answer = httpx.get(f"{opened.url_bound}/.well-known/jwks.json", headers={"Host": host})
            assert answer.status_code == status, host


@pytest.mark.parametrize(
    "target", ["http://evil.example/bim/rpc/user/current", "//evil.example/x", "*", "bim", "?"]
)
def test_a_target_that_is_no_path_opens_nothing(site: Site, target: str) -> None:
    """A request target in absolute or another form goes by its path or is refused, never on."""
    for method in ("GET", "OPTIONS"):
        answer = site.raw(
            f"{method} {target} HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert status_of(answer) in {400, 401, 404}
        assert b"evil" not in answer


def test_connect_opens_nothing(site: Site) -> None:
    """CONNECT is refused: this is no proxy."""
    answer = site.raw(
        f"CONNECT evil.example:443 HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert status_of(answer) in {400, 401, 405}


# Limits


def test_a_large_header_is_refused(site: Site) -> None:
    """More than 16 KiB, or more than 100 fields, is 431 on open and protected paths (H5)."""
    key = site.key(BOB).secret
    for path in ("/health/live", WHO, "/login"):
        authorization = b"Authorization: " + key.encode() if path == WHO else b"A: b"
        assert status_of(site.raw_get(path, authorization, b"X-Large: " + b"a" * (16 * 1024))) == 431
        assert status_of(site.raw_get(path, authorization, *[b"X-Many: a"] * 99)) == 431
        assert status_of(site.raw_get(path, authorization, b"X-Large: " + b"a" * 15_000)) == 200
        assert status_of(site.raw_get(path, authorization, *[b"X-Many: a"] * 90)) == 200


def test_a_refused_header_closes_the_connection(site: Site) -> None:
    """After a limit was exceeded nothing more is read from the connection."""
    request = f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\nX: {'a' * 20_000}\r\n\r\n".encode()
    answer = site.raw(request)
    assert status_of(answer) == 431
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3_0\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "X: a\x00b\r\n",
        "X: a\rb\r\n",
        "X: a\nContent-Length: 3\r\n",
        " X: a\r\n",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(site: Site, head: str) -> None:
    """A request that a proxy could see otherwise is 400, and its connection is closed (H8)."""
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(
            f"POST /apikey/authenticate HTTP/1.1\r\nHost: {site.host}\r\n{head}\r\nabc"
            f"GET /health/live HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        answer = read_all(connection)
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing after it is answered"


def test_a_body_that_does_not_come_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is announced and not sent is 408, and the connection closes (Q6)."""
    monkeypatch.setattr(messages, "BODY_TIMEOUT_SECONDS", 0.2)
    for path in ("/apikey/authenticate", "/login"):
        answer = site.raw(
            f"POST {path} HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: {FORM}\r\n"
            "Content-Length: 10\r\n\r\nabc".encode()
        )
        assert status_of(answer) == 408
        assert b"connection: close" in answer.lower()


def test_a_body_that_drips_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a body is for all of it: one byte now and then does not renew it (Q6, F20)."""
    monkeypatch.setattr(messages, "BODY_TIMEOUT_SECONDS", 0.5)
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=0.1) as connection:
        connection.sendall(
            f"POST /apikey/authenticate HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: {FORM}\r\n"
            "Content-Length: 1000\r\n\r\n".encode()
        )
        for _ in range(30):
            try:
                connection.sendall(b"a")
                answer = connection.recv(4096)
            except TimeoutError:
                continue
            except ConnectionError:
                return
            assert status_of(answer) == 408
            return
    pytest.fail("after six times the limit the server still waits")


def test_a_client_that_leaves_is_no_defect(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A client that goes away in the middle of its body leaves no error in the log."""
    parts = urlsplit(site.url)
    for path in ("/apikey/authenticate", "/login"):
        with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: {FORM}\r\n"
                "Content-Length: 10\r\n\r\nabc".encode()
            )
    with site.client() as client:
        for _ in range(5):
            assert client.get("/health/live").status_code == 200
    assert "request_failed" not in capsys.readouterr().out


# Headers


def every_kind_of_answer(site: Site) -> list[httpx.Response]:
    key = site.key(BOB).secret
    with site.client() as client:
        with_key = {"Authorization": key}
        browser = site.browser(BOB)
        return [
            client.get("/"),
            client.get("/health/live"),
            client.get("/.well-known/jwks.json"),
            client.get("/openapi.json"),
            client.get("/static/face.css"),
            client.get("/static/absent"),
            client.get("/docs/api"),
            client.get("/docs"),
            client.get("/docs.md"),
            client.get("/docs/absent"),
            client.get("/docs?ask=rotate"),
            client.post("/docs/mcp", json={}),
            client.get("/login"),
            client.get("/setup"),
            client.post("/login", data={"userid": "a", "password": "b"}),
            client.post("/login", content=b"x"),
            client.get("/profile"),
            client.get("/profile/absent"),
            client.put("/profile"),
            client.get(WHO),
            client.get("/absent"),
            client.get(WHO, headers=with_key),
            client.get("/absent", headers=with_key),
            client.put(WHO, headers=with_key),
            client.get("/data/connection/a", headers=with_key),
            client.post("/bim/apikey", headers=with_key),
            client.post("/bim/apikey", headers=with_key, json={"a": 1}),
            client.post("/bim/apikey", headers=with_key, content=b"x"),
            client.post("/bim/apikey", headers=with_key, content=b"x" * 70_000),
            client.get(WHO, headers={**with_key, "X-Api-Key": "a"}),
            client.get(WHO, headers={"X": "a" * 20_000}),
            client.get(WHO, headers={"Host": "evil.example"}),
            client.options("/login"),
            client.head("/login"),
            client.post("/apikey/authenticate", json={"apikey": key}),
            browser.get("/profile"),
            browser.get("/profile/keys"),
            browser.get("/profile/keys/987654321/revoke"),
            browser.create_key(name="a"),
            browser.create_key(name="a" * 255),
            browser.submit("/logout"),
        ]


def test_every_answer_has_the_security_headers(site: Site) -> None:
    """Answers of every kind, errors and files too, carry their security headers, a request id, no version."""
    ids = set()
    answers = every_kind_of_answer(site)
    for answer in answers:
        where = f"{answer.request.method} {answer.request.url} {answer.status_code}"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], where
        if not answer.headers.get("content-type", "").startswith("application/json"):
            for name, value in DOCUMENT_HEADERS.items():
                assert answer.headers.get_list(name) == [value], where
        (policy,) = answer.headers.get_list("content-security-policy")
        for directive in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert directive in policy, where
        assert "unsafe" not in policy
        assert "data:" not in policy
        (request_id,) = answer.headers.get_list("x-request-id")
        assert UUID.fullmatch(request_id), where
        ids.add(request_id)
        kept = ("/static/", "/docs", "/.well-known/", "/openapi.json")
        is_file = answer.request.url.path.startswith(kept)
        (caching,) = answer.headers.get_list("cache-control")
        if not (is_file and answer.status_code == 200 and not answer.request.url.query):
            assert caching == "no-store", where
        assert "server" not in answer.headers
        assert "x-powered-by" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert "strict-transport-security" not in answer.headers, "this is http"
    assert len(ids) == len(answers)


def test_every_401_says_how_to_authenticate(site: Site) -> None:
    """A 401 always carries WWW-Authenticate, on pages too (H9; RFC 9110, section 15.5.2)."""
    with site.client() as client:
        for answer in (
            client.get(WHO),
            client.post("/apikey/authenticate"),
            client.post("/bim/iam/bim/user/authenticate", json={"username": "a", "password": "b"}),
            client.post("/login", data={"userid": "a", "password": "b"}),
        ):
            assert answer.status_code == 401
            assert answer.headers.get("www-authenticate", "").startswith("Bearer realm="), answer.request.url


SANE_IDS = ("11111111-1111-4111-8111-111111111111", "0123456789abcdef0123456789abcdef")
STRANGE_IDS = (
    "",
    "7",
    "11111111-1111-4111-8111-11111111111",
    "11111111-1111-4111-8111-111111111111, 2",
    "0123456789ABCDEF0123456789ABCDEF",
    "0123456789abcdef0123456789abcdef0",
    "0123456789abcdef0123456789abcde\u00e9",
    "kt_0123456789abcdef0123456789abcdef",
    '{"event": "request"}',
)


@pytest.mark.parametrize("path", ["/health/live", "/verify", "/login", "/bim/apikey", "/nothing"])
def test_a_sane_request_id_is_kept(site: Site, path: str) -> None:
    """An id that a gateway made is that of the request here too: in the answer, whatever that is."""
    with site.client() as client:
        for chosen in SANE_IDS:
            for headers in ({}, {"Authorization": "no-key"}):
                answer = client.get(path, headers={"X-Request-Id": chosen, **headers})
                assert answer.headers["x-request-id"] == chosen


def test_a_strange_request_id_is_replaced(site: Site) -> None:
    """Two ids, and an id that is anything but a UUID or 32 digits, are nothing to find a request by."""
    with site.client() as client:
        for chosen in STRANGE_IDS:
            answer = client.get("/health/live", headers={"X-Request-Id": chosen.encode()})  # type: ignore[dict-item]
            assert UUID.fullmatch(answer.headers["x-request-id"]), chosen
        twice = [("X-Request-Id", chosen) for chosen in SANE_IDS]
        assert client.get("/health/live", headers=twice).headers["x-request-id"] not in SANE_IDS


def test_https_is_insisted_on(open_site: SiteOpener) -> None:
    """Where the public address is https, every answer says so for a year at least (L10)."""
    with open_site(public_url="https://keys.example.com") as opened:
        for path in ("/login", "/absent", "/static/face.css", "/profile"):
            answer = httpx.get(f"{opened.url_bound}{path}")
            age = re.search(r"max-age=(\d+)", answer.headers["strict-transport-security"])
            assert age is not None
            assert int(age[1]) >= 31_536_000


# Forwarded headers


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "Forwarded: for=203.0.113.9",
        "X-Client-IP: 203.0.113.9",
    ],
)
def test_a_forwarded_address_is_not_believed(site: Site, line: str) -> None:
    """Without a trusted proxy the address of a request is its peer's, whatever a header says (H10)."""
    user = site.new_user()
    key = site.key(user.userid)
    name, _, value = line.partition(": ")
    headers = {name: value, "Authorization": key.secret}
    with site.client() as client:
        assert client.get(WHO, headers=headers).status_code == 200
    (shown,) = site.services.keys.list_of(user.user_id)
    assert shown.last_use is not None
    assert shown.last_use.address == "127.0.0.1"


def test_forwarded_headers_change_no_answer(site: Site) -> None:
    """Forwarded host, scheme, path and prefix have no influence on what is answered (H10)."""
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Uri": "/health/live",
        "X-Original-Url": "/health/live",
        "X-Rewrite-Url": "/health/live",
        "X-Forwarded-Port": "1",
        "Forwarded": "host=evil.example;proto=https",
    }
    with site.client() as client:
        for path in ("/profile", "/", "/login", WHO, "/profile/keys"):
            plain, changed = client.get(path), client.get(path, headers=forged)
            assert changed.status_code == plain.status_code
            assert changed.content == plain.content
            assert changed.headers.get("location") == plain.headers.get("location")
            assert "strict-transport-security" not in changed.headers


def test_a_path_cannot_write_a_header(site: Site) -> None:
    """Line breaks in a path end up in no header of the answer."""
    for path in (
        "/profile/keys/%0d%0a5/revoke",
        "/profile/keys/5%0d%0aSet-Cookie:%20a=b/revoke",
        "/profile/%0d%0aSet-Cookie:%20a=b",
        "/login?then=/profile%0d%0aSet-Cookie:%20a=b",
        "/%0d%0aSet-Cookie:%20a=b",
    ):
        head = site.raw_get(path).partition(b"\r\n\r\n")[0].lower()
        assert b"\nset-cookie" not in head
        assert status_of(head) in {200, 303, 401, 404, 422}


# The log


CANARIES = {
    "a password": "canary Password 17 lanterns",
    "a foreign key": "Zq7Xw2Lk9Vb4Nm1Rt6Yp3Hs8",
    "a long foreign key": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "a text in a query": "canary-query-4711",
    "a text in a body": "canary-body-4711",
    "a text in a header": "canary-header-4711",
}


def of_many_addresses(url: str) -> httpx.Client:
    """Return a client each of whose requests comes from an address of its own, and has a line of its own."""
    numbers = itertools.count()

    def name_address(request: httpx.Request) -> None:
        request.headers["X-Forwarded-For"] = str(IPv4Address("10.0.0.1") + next(numbers))

    return httpx.Client(base_url=url, event_hooks={"request": [name_address]})


@pytest.mark.parametrize("level", ["debug"])
def test_the_log_is_lines_of_json_without_secrets(
    tmp_path_factory: pytest.TempPathFactory, level: str
) -> None:
    """Each line is one JSON object without control characters, and no secret is in it (S5, S6)."""
    folder = tmp_path_factory.mktemp("log")
    settings = read_settings({"KEYTURN_DATABASE": new_sqlite_database(folder)})
    services = open_services(settings, hashing=CHEAPEST)
    user = services.users.add(
        COMMAND_LINE, userid="a", name=None, password=PASSWORD, permissions=frozenset(Permission)
    )
    key = services.keys.create_for(user.user_id, COMMAND_LINE, NewKey()).secret
    unknown_key = key[:-1] + ("0" if key[-1] != "0" else "1")
    services.close()
    secrets = {"a key": key, "an unknown key": unknown_key, "its secret part": key[16:], **CANARIES}
    with (
        server_process(folder, KEYTURN_LOG_LEVEL=level, KEYTURN_TRUSTED_PROXIES="127.0.0.1") as server,
        of_many_addresses(server.url) as client,
    ):
        token = client.post("/apikey/authenticate", json={"apikey": key}).json()["token"]
        cookie = client.post("/login", data={"userid": "a", "password": PASSWORD}).cookies["keyturn"]
        client.cookies.clear()
        secrets |= {"a token": token, "its signature": token.rpartition(".")[2], "a cookie": cookie}
        for canary in (key, unknown_key, token, cookie, *CANARIES.values()):
            send_everywhere(client, canary)
        lines = server.lines()
    written = "\n".join(lines)
    assert len(lines) > 100
    for line in lines:
        entry = json.loads(line)
        assert isinstance(entry, dict)
        assert {"event", "level", "at"} <= set(entry)
        assert not re.search(r"[\x00-\x1f\x80-\x9f\u2028\u2029]", line)
    leaks = [what for what, secret in secrets.items() if secret in written]
    assert leaks == []


def send_everywhere(client: httpx.Client, canary: str) -> None:
    """Send a secret wherever somebody could put it by mistake."""
    quoted = canary.replace(" ", "%20")
    in_header = canary if canary.isascii() else "x"
    client.get(WHO, headers={"Authorization": in_header})
    client.get(WHO, headers={"Authorization": f"Basic {in_header}"})
    client.get(WHO, headers={"X-Api-Key": in_header})
    client.get(WHO, headers={"Cookie": f"keyturn={in_header.replace(' ', '')}"})
    client.get(WHO, params={"access_token": canary, canary: "x"})
    client.post("/apikey/authenticate", json={"apikey": canary})
    client.post("/apikey/authenticate", json={"apikey": [canary]})
    client.post("/apikey/authenticate", json={canary: canary})
    client.post(
        "/apikey/authenticate", content=f'{{"apikey": "{canary}', headers={"Content-Type": "application/json"}
    )
    client.post("/apikey/authenticate", data={canary: canary})
    client.post("/bim/iam/bim/user/authenticate", json={"username": canary, "password": canary})
    client.post("/login", data={"userid": canary, "password": canary})
    client.post("/login", content=canary.encode(), headers={"Content-Type": "text/plain"})
    client.post("/setup", data={"code": canary})
    if " " not in canary and not canary.startswith("canary"):
        # A password or a word in a path looks as any other path does.
        client.get(f"/apikey/{quoted}")
        client.get(f"/bim/apikey/{quoted}/x")
        client.get(f"/static/{quoted}")
        client.get(f"/bim/iam/bim/user/{quoted}/apikeys")
        client.get(WHO, headers={"User-Agent": f"curl/8 {in_header}"})
        client.get("/health/live", headers={"User-Agent": in_header})


def test_nothing_that_is_sent_makes_a_line_of_the_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Line breaks and control characters in path, agent, name and body make no line of their own (S6)."""
    folder = tmp_path_factory.mktemp("log")
    forged = '\r\n{"event":"login_ok"}\n\x1b[2J\x00\x7f\u2028\x85'
    with (
        server_process(folder, KEYTURN_TRUSTED_PROXIES="127.0.0.1") as server,
        of_many_addresses(server.url) as client,
    ):
        client.get("/%0d%0a%7B%22event%22:%22login_ok%22%7D%0a%1b[2J%00%7f%c2%85%e2%80%a8")
        client.get("/health/live", headers={"User-Agent": b"a\x80\x85\x9b\xff"})
        client.post("/login", data={"userid": forged, "password": forged})
        client.post("/apikey/authenticate", json={"apikey": forged, forged: forged})
        client.post("/bim/iam/bim/user/authenticate", json={"username": forged, "password": forged})
        lines = server.lines()
    events = [json.loads(line)["event"] for line in lines]
    assert "login_ok" not in events
    assert events.count("request") >= 5
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "".join(lines))


@pytest.mark.parametrize("where", ["path", "agent"])
def test_no_request_keeps_the_server_from_the_next(
    tmp_path_factory: pytest.TempPathFactory, where: str
) -> None:
    """A long path or agent, made to be slow to search for secrets, does not stop the server (Q6, H5)."""
    folder = tmp_path_factory.mktemp("slow")
    # Far above every limit, so that it is refused, and refused it must be at once.
    path, agent = (f"/{'-' * 60_000}", "x") if where == "path" else ("/health/live", "-" * 200_000)
    with server_process(folder) as server:
        parts = urlsplit(server.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\n\r\n".encode()
            )
            try:
                answer = httpx.get(f"{server.url}/health/live", timeout=5)
            except httpx.TimeoutException:
                pytest.fail("one request of a stranger stops the server")
    assert answer.status_code == 200


# When something breaks


def test_a_defect_answers_its_request_id_alone(
    open_site: SiteOpener, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody foresaw, in the gate, in a route or on a page, is 500 with a request id (S7)."""
    with open_site() as broken:
        broken.add_people()
        key, not_yet_used = broken.key(ADMIN).secret, broken.key(ADMIN).secret
        browser = broken.browser(ADMIN)
        engine = broken.services.store._database.engine
        with engine.begin() as connection:
            connection.execute(text("UPDATE connection SET details = 'canary not JSON'"))
            connection.execute(text("UPDATE profile SET preferences = 'canary not JSON'"))
        with broken.client() as client:
            in_route = client.get("/data/connection/123456789", headers={"Authorization": key})
            assert is_broken(in_route, 500)
            assert set(in_route.json()) == {"statusCode", "error", "message"}
            assert in_route.json()["error"] == "Internal Server Error"
            on_page = browser.get("/profile")
            assert is_broken(on_page, 500)
            assert on_page.headers["content-type"].startswith("text/html")
            with engine.begin() as connection:
                connection.execute(text("UPDATE user_account SET permissions = 'canary not JSON'"))
            in_gate = client.get(WHO, headers={"Authorization": not_yet_used})
            assert is_broken(in_gate, 500)
            assert set(in_gate.json()) == {"statusCode", "error", "message"}
            exchange = client.post("/apikey/authenticate", json={"apikey": not_yet_used})
            assert is_broken(exchange, 500)
            assert "token" not in exchange.json()
        logged = capsys.readouterr().out
        for answer in (in_route, on_page, in_gate, exchange):
            assert answer.headers["x-request-id"] in logged


STALE = timedelta(seconds=read_settings({}).max_staleness_seconds)
"""After this time without the database nothing that is remembered may be trusted."""


def test_a_store_that_fails_is_never_a_yes(open_site: SiteOpener) -> None:
    """Without the database no credential is accepted: 503 with Retry-After, on every protected route (R2)."""
    with open_site() as broken:
        broken.add_people()
        key = broken.key(ADMIN).secret
        token = broken.services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token
        browser = broken.browser(ADMIN)
        with broken.services.store._database.engine.begin() as connection:
            for table in ("user_account", "installation"):
                connection.execute(text(f"ALTER TABLE {table} RENAME TO gone_{table}"))
        broken.clock.advance(STALE)
        check_nothing_is_allowed(broken, [key, token])
        for path in ("/profile", "/profile/keys", "/profile/sessions"):
            answer = browser.get(path)
            assert is_broken(answer, 503)
            assert answer.headers["retry-after"] == "1"
        assert is_broken(browser.log_in(ADMIN, PASSWORD), 503)


def test_a_postgresql_that_is_gone_is_never_a_yes(
    open_site: SiteOpener, postgresql_server: str, root_key_file: object
) -> None:
    """With the PostgreSQL database gone, everything that needs it is 503, and liveness still 200."""
    psycopg = pytest.importorskip("psycopg", reason="no PostgreSQL driver: install psycopg")
    database = new_postgresql_database(postgresql_server)
    name = urlsplit(database).path.lstrip("/")
    with open_site(database, root_key_file=root_key_file) as broken:
        broken.add_people()
        key = broken.key(ADMIN).secret
        token = broken.services.exchange.exchange(in_header=[], in_body=key, origin=Origin()).token
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
        broken.clock.advance(STALE)
        check_nothing_is_allowed(broken, [key, token])
        with broken.client() as client:
            assert client.get("/health/live").status_code == 200
            ready = client.get("/health/ready")
            assert is_broken(ready, 503)
            assert name not in ready.text


def check_nothing_is_allowed(broken: Site, credentials: list[str]) -> None:
    with broken.client() as client:
        for credential in credentials:
            for method, path in (
                ("GET", WHO),
                ("POST", "/bim/apikey"),
                ("DELETE", "/apikey/1"),
                ("GET", "/absent"),
            ):
                answer = client.request(method, path, headers={"Authorization": credential})
                assert is_broken(answer, 503)
                assert answer.headers["retry-after"] == "1"
                assert answer.json()["statusCode"] == 503
        answer = client.post("/apikey/authenticate", json={"apikey": credentials[0]})
        assert is_broken(answer, 503)
        assert "token" not in answer.json()
        login = {"username": ADMIN, "password": PASSWORD}
        assert is_broken(client.post("/bim/iam/bim/user/authenticate", json=login), 503)
        assert client.get(WHO).status_code == 401


def test_too_many_logins_at_once_are_turned_away(open_site: SiteOpener) -> None:
    """When all places for hashing are taken, a login is 503 with Retry-After, on the page too (Q4)."""
    with open_site() as busy:
        busy.add_people()
        turns, may_end = busy.services.identity.built_in.passwords._turns, threading.Event()
        # Of as many networks: none of them has more than the newcomer, to make room.
        others = [Asker(f"198.51.100.{number}", "") for number in range(MAX_AT_ONCE + MAX_WAITING)]
        threads = [threading.Thread(target=turns.take, args=(other, may_end.wait)) for other in others]
        for thread in threads:
            thread.start()
        while turns.waiting < MAX_WAITING:
            time.sleep(0.01)
        with busy.client() as client:
            api = client.post("/bim/iam/bim/user/authenticate", json={"username": BOB, "password": PASSWORD})
            page = client.post("/login", data={"userid": BOB, "password": PASSWORD})
            assert client.get(WHO, headers={"Authorization": busy.key(BOB).secret}).status_code == 200
            may_end.set()
            for thread in threads:
                thread.join()
            assert client.post("/login", data={"userid": BOB, "password": PASSWORD}).status_code == 303
        assert api.status_code == page.status_code == 503
        assert "set-cookie" not in page.headers
        assert int(api.headers["retry-after"]) >= 1
        assert int(page.headers["retry-after"]) >= 1


def test_a_last_use_is_written_after_the_server_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A stop of the server writes when keys were last used, and closes the database."""
    folder = tmp_path_factory.mktemp("stop")
    database = new_sqlite_database(folder)
    with running_server(database) as server:
        user = server.services.users.add(COMMAND_LINE, userid="a", name=None)
        key = server.services.keys.create_for(user.user_id, COMMAND_LINE, NewKey())
        assert httpx.get(f"{server.url}{WHO}", headers={"Authorization": key.secret}).status_code == 200
    reopened = open_services(read_settings({"KEYTURN_DATABASE": database}), hashing=CHEAPEST)
    try:
        (record,) = reopened.store.api_keys.list_of_user(user.user_id)
        assert record.last_use is not None
        assert record.last_use.via == f"GET {WHO}"
    finally:
        reopened.close()
