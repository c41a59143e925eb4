"""What stands behind a header: trailers are no part of it, and nothing is read for ever."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import keyturn.web
from keyturn.core.networks import read_network
from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from keyturn.web import forward_auth
from keyturn.web.edge import dpop_target, request_checks, verify
from keyturn.web.edge import protocol as web_protocol
from keyturn.web.edge.body_bounds import MAX_UNREAD_BYTES
from keyturn.web.edge.feed_streams import TRANSPORT
from tests.databases import new_sqlite_database
from tests.people import restricted
from tests.servers import running_app, running_server
from tests.web.sites import TIMEOUT_SECONDS, read_all, status_of, statuses_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

BOB = "bob@example.com"
CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
MANY_BYTES = 64 * 1024 * 1024
"""What a server that does not stop a client would read in about a second."""
SHORT_SECONDS = 0.3


def head(method: str, path: str, host: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def conversation(url: str, parts: Iterable[bytes]) -> bytes:
    """Send these parts one by one, and return all that comes back until the server closes the connection."""
    with connect(url) as connection:
        with suppress(OSError):  # Closed in the middle: what it said is still to be read.
            for part in parts:
                connection.sendall(part)
                time.sleep(0.02)  # So that the server reads them apart, which is what makes them several.
        return read_all(connection)


# Trailers are no headers


def names_read() -> set[str]:
    """Return every header name that the code reads: from its tables, and from where it compares one."""
    tables = (
        request_checks.MISPLACED_HEADERS, verify._LONGER_WAY, forward_auth.IDENTITY_HEADERS,
        [dpop_target.PROOF_HEADER], dpop_target._ORIGINAL, dpop_target._FORWARDED,
        dpop_target._FORWARDED_ORIGIN,
    )  # fmt: skip
    names = {name.decode() for table in tables for name in table}
    reading = re.compile(r'(?:name == b|headers\.get\(|HeaderParameter\(\s*name=)"([A-Za-z-]+)"')
    for module in Path(keyturn.web.__file__).parent.rglob("*.py"):
        names |= {name.lower() for name in reading.findall(module.read_text())}
    return names


NAMES = sorted(names_read())
OF_THE_PARSER = ("content-length", "transfer-encoding")


def test_the_names_are_those_that_decide() -> None:
    """The table of this file is not empty by a change of spelling."""
    assert {
        "authorization", "host", "cookie", "dpop", "x-forwarded-for", "x-original-method", "x-original-url",
        "x-forwarded-uri", "idempotency-key", "content-type", "content-length", "transfer-encoding", "origin",
        "sec-fetch-site", "sec-fetch-mode", "user-agent", "accept", "if-none-match", "keyturn-require-scope",
    } <= set(NAMES)  # fmt: skip


async def recorder(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the header as it stands once the body is whole."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    transport = scope["extensions"][TRANSPORT]
    waiting = len(transport.get_protocol().pipeline)
    body = json.dumps({"names": [name.decode() for name, _ in scope["headers"]], "waiting": waiting}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def recording() -> Iterator[str]:
    with running_app(recorder) as url:
        yield url


def test_fault_c14_no_trailer_gets_into_the_header(recording: str) -> None:
    """Fault C14: however they arrive, trailers are not in the header of their request, nor of the next."""
    trailers = b"".join(b"%s: 1\r\n" % name.encode() for name in NAMES if name not in OF_THE_PARSER)
    request = head("POST", "/", "a", CHUNKED) + b"1\r\nx\r\n0\r\n"
    last = head("GET", "/", "b", "Connection: close")
    whole = request + trailers + b"\r\n"
    for parts in (
        [whole + last],
        [whole[: len(request)], whole[len(request) :], last],
        [whole[: len(request) + 3], whole[len(request) + 3 :] + last],
        [whole[: len(request) - 3], whole[len(request) - 3 : -2], whole[-2:], last],
        [whole[:-1], whole[-1:] + last],
        [whole * 3 + last],
    ):
        answer = conversation(recording, parts)
        seen = [json.loads(found)["names"] for found in re.findall(rb"\{.*?\}", answer)]
        assert seen[:-1] == [["host", "transfer-encoding"]] * (3 if len(parts[0]) > 2 * len(whole) else 1)
        assert seen[-1] == ["host", "connection"]


@pytest.mark.parametrize("name", OF_THE_PARSER)
def test_fault_c14_no_trailer_frames_a_body(recording: str, name: str) -> None:
    """Fault C14: what would say again how long the body is ends the connection."""
    request = head("POST", "/", "a", CHUNKED) + b"0\r\n%s: 1\r\n\r\n" % name.encode()
    assert statuses_of(conversation(recording, [request + head("GET", "/", "b")])) == [400]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/verify", "/verify?scope=a", "/bim/rpc/user/current", "/nope", "/health/live"]
)
def test_fault_c14_a_trailer_decides_nothing(site: Site, method: str, path: str) -> None:
    """Fault C14: no credential and no `Host` comes in a trailer, to /verify or elsewhere (H7)."""
    key = site.key(BOB).secret
    for trailer, lines, status in (
        (f"Authorization: {key}", [f"Host: {site.host}"], 401),
        (f"Authorization: Bearer {key}", [f"Host: {site.host}", "Content-Length: 0"], 400),
        (f"Host: {site.host}", [f"Authorization: {key}"], 400),
        ("Host: other.example.com", [f"Host: {site.host}", f"Authorization: {key}"], None),
    ):
        start = "\r\n".join(
            [f"{method} {path} HTTP/1.1", *lines, CHUNKED, "Connection: close", "", ""]
        ).encode()
        body = f"0\r\n{trailer}\r\n\r\n".encode()
        plain = statuses_of(conversation(site.url, [start + b"0\r\n\r\n"]))
        for parts in (
            [start + body],
            [start, body],
            [start + body[:3], body[3:]],
            [start + body[:-2], body[-2:]],
        ):
            found = statuses_of(conversation(site.url, parts))
            assert found == plain, (trailer, lines)
            if path != "/health/live" and status is not None:
                assert found == [status]


def test_fault_c14_a_trailer_behind_a_waiting_request_decides_nothing(site: Site) -> None:
    """Fault C14: nor while the request waits for the answer to one before it."""
    key = site.key(BOB).secret
    slow = head("POST", "/bim/apikey/authenticate", site.host, f"Authorization: {key}")
    asking = head("GET", "/verify", site.host, CHUNKED) + b"0\r\n"
    last = head("GET", "/health/live", site.host, "Connection: close")
    trailer = f"Authorization: {key}\r\n\r\n".encode()
    for parts in ([slow * 3 + asking + trailer + last], [slow * 3 + asking, trailer + last]):
        assert statuses_of(conversation(site.url, parts)) == [200, 200, 200, 401, 200]


def test_fault_c14_a_trailer_does_not_say_where_the_client_is(open_site: SiteOpener) -> None:
    """Fault C14: behind a trusted proxy, no trailer chooses the client's address."""
    with open_site(trusted_proxies=(read_network("127.0.0.1"),)) as site:
        site.add_people()
        key = site.services.keys.create_for(
            site.users[BOB].user_id,
            COMMAND_LINE,
            NewKey(restrictions=restricted(allowFrom=["192.0.2.0/24"])),
        ).secret
        for path in ("/verify", "/bim/rpc/user/current"):
            for forwarded, status in (("192.0.2.7", 200), ("198.51.100.7", 401)):
                lines = (
                    f"Authorization: {key}",
                    f"X-Forwarded-For: {forwarded}",
                    CHUNKED,
                    "Connection: close",
                )
                start, trailer = (
                    head("GET", path, site.host, *lines),
                    b"0\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
                )
                for parts in ([start + trailer], [start, trailer], [start + b"0\r\n", trailer[3:]]):
                    assert statuses_of(conversation(site.url, parts)) == [status]


def test_fault_c14_a_trailer_is_no_idempotency_key(site: Site) -> None:
    """Fault C14: two keys are made, since neither request has an `Idempotency-Key` in its header."""
    user = site.new_user()
    key = site.key(user.userid).secret
    lines = (f"Authorization: {key}", CHUNKED, JSON)
    request = head("POST", "/bim/apikey", site.host, *lines)
    request += b"2\r\n{}\r\n0\r\nIdempotency-Key: one\r\n\r\n"
    last = head("GET", "/health/live", site.host, "Connection: close")
    assert statuses_of(site.raw(request + request + last)) == [200, 200, 200]
    assert len(site.services.keys.list_of(user.user_id)) == 3


# Codings

UPGRADE = ("Connection: Upgrade", "Upgrade: h2c")
FRAMINGS = {
    "gzip before chunked": ("1.1", ["Transfer-Encoding: gzip, chunked"], 501),
    "gzip before chunked, two lines": ("1.1", ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], 501),
    "identity before chunked": ("1.1", ["Transfer-Encoding: identity, chunked"], 501),
    "chunked twice": ("1.1", ["Transfer-Encoding: chunked, chunked"], 400),
    "chunked before gzip": ("1.1", ["Transfer-Encoding: chunked, gzip"], 400),
    "gzip alone": ("1.1", ["Transfer-Encoding: gzip"], 400),
    "an empty member": ("1.1", ["Transfer-Encoding: , chunked"], 501),
    "chunked, in capitals": ("1.1", ["Transfer-Encoding: CHUNKED"], 200),
    "chunked with HTTP/1.0": ("1.0", ["Transfer-Encoding: chunked"], 400),
    "gzip with HTTP/1.0": ("1.0", ["Transfer-Encoding: gzip, chunked"], 400),
    "an upgrade besides": ("1.1", ["Transfer-Encoding: gzip, chunked", *UPGRADE], 501),
    "HTTP/1.0, an upgrade besides": ("1.0", ["Transfer-Encoding: chunked", *UPGRADE], 400),
}  # fmt: skip


@pytest.mark.parametrize("framing", FRAMINGS)
def test_fault_c14_only_chunked_is_understood(site: Site, framing: str) -> None:
    """Fault C14: other codings are 501, any with HTTP/1.0 is 400, and nothing behind is read."""
    version, lines, status = FRAMINGS[framing]
    key = site.key(BOB).secret
    for method, path in (("POST", "/bim/apikey/authenticate"), ("GET", "/verify"), ("GET", "/health/live")):
        request = head(method, path, site.host, f"Authorization: {key}", *lines, JSON)
        request = request.replace(b"HTTP/1.1", b"HTTP/" + version.encode(), 1) + b"0\r\n\r\n"
        last = head("GET", "/health/live", site.host, "Connection: close")
        answer = site.raw(request + last)
        assert statuses_of(answer) == ([200, 200] if status == 200 else [status])
        if status != 200:
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["statusCode"] == status


# Nothing is read for ever

LINE = b"x-a: " + b"b" * 1000 + b"\r\n"
ENDLESS = {
    "trailers": (b"0\r\n", LINE * 60),
    "small trailers": (b"0\r\n", b"a:\r\n" * 16_000),
    "one trailer": (b"0\r\nx-a: ", b"b" * 60_000),
    "a name of a trailer": (b"0\r\n", b"b" * 60_000),
    "extensions": (b"1;", b"b" * 60_000),
    "the size of a chunk": (b"", b"0" * 60_000),
    "extensions of many chunks": (b"", (b"1;" + b"b" * 1000 + b"\r\nx\r\n") * 60),
    "chunks": (b"", b"400\r\n" + b"b" * 1024 + b"\r\n"),
    "one chunk": (b"fffffff\r\n", b"b" * 60_000),
}
ASKED = {
    "no credential": ("POST", "/bim/apikey", False),
    "no credential, a page": ("POST", "/profile/keys", False),
    "a sign-in": ("POST", "/login", False),
    "a good credential": ("POST", "/bim/apikey", True),
    "a read": ("GET", "/bim/rpc/user/current", True),
    "verify": ("GET", "/verify", True),
    "verify, refused": ("POST", "/verify", False),
    "the feed": ("GET", "/feed?nonce=0123456789abcdef", True),
    "the feed, refused": ("GET", "/feed?nonce=0123456789abcdef", False),
    "health": ("GET", "/health/live", False),
    "a file": ("GET", "/static/face.css", False),
    "nothing": ("GET", "/nope", True),
}  # fmt: skip


def sent_until_closed(connection: socket.socket, parts: Iterable[bytes]) -> int:
    """Send until the server has closed the connection; return how many bytes went out."""
    sent = 0
    try:
        for part in parts:
            connection.sendall(part)
            sent += len(part)
            if sent > MANY_BYTES:
                break
    except OSError:
        pass  # Closed.
    return sent


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("asked", ASKED)
def test_fault_f12_what_has_no_end_is_cut_off(site: Site, asked: str, kind: str) -> None:
    """Fault F12: whatever is sent without end behind a header, answered or not, the connection ends."""
    method, path, has_credential = ASKED[asked]
    lines = [f"Authorization: {site.key('admin@example.com').secret}"] if has_credential else []
    start, part = ENDLESS[kind]
    with connect(site.url) as connection:
        connection.sendall(head(method, path, site.host, CHUNKED, *lines) + start)
        assert sent_until_closed(connection, repeat(part)) < MANY_BYTES


def test_fault_f12_declared_and_never_read(site: Site) -> None:
    """Fault F12: a body of declared length behind an answer is read to its end, and no further."""
    with connect(site.url) as connection:
        connection.sendall(head("POST", "/bim/apikey", site.host, "Content-Length: 60000"))
        assert status_of(connection.recv(65_536)) == 401
        connection.sendall(b"b" * 60_000 + head("GET", "/health/live", site.host, "Connection: close"))
        assert statuses_of(read_all(connection)) == [200]


def test_fault_f12_trailers_are_bounded_as_a_header_is(site: Site) -> None:
    """Fault F12: 100 fields and 16 KiB of them, in one read or several, are taken and more is 431 (H5)."""
    start = head("POST", "/bim/apikey/authenticate", site.host, CHUNKED) + b"0\r\n"
    last = b"\r\n" + head("GET", "/health/live", site.host, "Connection: close")
    for trailers, first in (
        (b"x: y\r\n" * 100, 401),
        (b"x: " + b"y" * (request_checks.MAX_HEADER_BYTES - 100) + b"\r\n", 401),
        (b"x: y\r\n" * 101, 431),
        (b"x: " + b"y" * request_checks.MAX_HEADER_BYTES + b"\r\n", 431),
    ):
        answer = site.raw(start + trailers + last)
        assert statuses_of(answer) == ([first] if first == 431 else [first, 200])
        half = len(trailers) // 2
        found = statuses_of(conversation(site.url, [start + trailers[:half], trailers[half:] + last]))
        assert found == ([first] if first == 431 else [first, 200])


def test_fault_f12_small_chunks_are_no_framing_without_end(site: Site) -> None:
    """Fault F12: a body of the largest size in chunks of one byte each is taken, for it is a body."""
    key = site.key(BOB).secret
    body = b'{"name": "a"' + b" " * (request_checks.MAX_BODY_BYTES - 13) + b"}"
    lines = (f"Authorization: {key}", CHUNKED, JSON, "Connection: close")
    request = head("POST", "/bim/apikey", site.host, *lines)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert statuses_of(site.raw(request + chunks + b"0\r\n\r\n")) == [200]


def test_fault_f12_an_answered_request_may_end_and_another_follow(site: Site) -> None:
    """Fault F12: within the bounds the rest of a refused body is read, and the connection goes on."""
    last = head("GET", "/health/live", site.host, "Connection: close")
    refused = head("POST", "/bim/apikey", site.host, CHUNKED)
    with connect(site.url) as connection:
        connection.sendall(refused)
        assert status_of(connection.recv(65_536)) == 401
        chunk = b"8000\r\n" + b"b" * 0x8000 + b"\r\n"
        connection.sendall(chunk * (MAX_UNREAD_BYTES // len(chunk)) + b"0\r\nx: y\r\n\r\n" + last)
        assert statuses_of(read_all(connection)) == [200]


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that waits only a moment for anything but a body that is read."""
    for name in ("HEADER_TIMEOUT_SECONDS", "UNREAD_TIMEOUT_SECONDS", "IDLE_TIMEOUT_SECONDS"):
        monkeypatch.setattr(web_protocol, name, SHORT_SECONDS)
    with running_server(new_sqlite_database(tmp_path)) as running:
        yield running.url


DRIPS = {
    "trailers": (CHUNKED, b"0\r\n", b"x: y\r\n"),
    "chunks": (CHUNKED, b"", b"1\r\nx\r\n"),
    "an extension": (CHUNKED, b"1;", b"x"),
    "a declared length": ("Content-Length: 60000", b"", b"x"),
    "nothing": ("Content-Length: 60000", b"", b""),
    "line ends behind a whole request": ("Content-Length: 0", b"", b"\r\n"),
    "line ends behind a whole body": (CHUNKED, b"0\r\n\r\n", b"\r\n"),
}


@pytest.mark.parametrize("path", ["/bim/apikey", "/verify"])
@pytest.mark.parametrize("drip", DRIPS)
def test_fault_f12_what_drips_behind_an_answer_holds_nothing(hasty: str, drip: str, path: str) -> None:
    """Fault F12: a client that was answered holds its connection for a time that it does not choose."""
    line, start, part = DRIPS[drip]
    with connect(hasty) as connection:
        connection.sendall(head("POST", path, urlsplit(hasty).netloc, line) + start)
        assert status_of(connection.recv(65_536)) == 401
        connection.settimeout(SHORT_SECONDS / 4)
        is_closed = False
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not is_closed and time.monotonic() < deadline:
            try:
                connection.sendall(part)
                is_closed = connection.recv(65_536) == b""
            except TimeoutError:
                continue
            except OSError:
                is_closed = True
        assert is_closed


def test_fault_f12_requests_that_wait_do_not_become_more(recording: str) -> None:
    """Fault F12: while requests wait for their turn no more are read, whatever was answered of them."""
    request, count = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 40_000
    with connect(recording) as connection:
        received, waiting = b"", 0
        to_send = memoryview(request * count + head("GET", "/", "b", "Connection: close"))
        connection.setblocking(False)
        is_open = True
        deadline = time.monotonic() + 4 * TIMEOUT_SECONDS
        while is_open and time.monotonic() < deadline:
            try:
                to_send = to_send[connection.send(to_send) :] if to_send else to_send
            except BlockingIOError:
                time.sleep(0.001)
            try:
                part = connection.recv(1_000_000)
                is_open = part != b""
                received = received[-100:] + part
                waiting = max([waiting, *map(int, re.findall(rb'"waiting": (\d+)\}', received))])
            except BlockingIOError:
                pass
    assert not is_open
    assert waiting == 1
