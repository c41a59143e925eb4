"""Requests with a body are checked by their header, and their body arrives whole."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.gateways.conftest import HOST, read_answer
from tests.web.sites import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from tests.gateways.conftest import Scene

BODY = bytes(range(256)) * 1200
"""More than Keyturn itself would take."""


def head(scene: Scene, *lines: str, method: str = "POST", target: str = "/reports/new") -> bytes:
    given = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", f"Authorization: {scene.key}", *lines, "", ""]
    return "\r\n".join(given).encode()


def chunked(body: bytes) -> bytes:
    parts = [body[start : start + 10_000] for start in range(0, len(body), 10_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_arrives_whole(scene: Scene, method: str) -> None:
    """A body of announced length, or in chunks, reaches the API as it was sent."""
    length = f"Content-Length: {len(BODY)}"
    for sent in (
        head(scene, "Connection: close", length, method=method) + BODY,
        head(scene, "Connection: close", "Transfer-Encoding: chunked", method=method) + chunked(BODY),
    ):
        before = len(scene.api.got)
        assert scene.send(sent).status == 200
        assert len(scene.api.got) == before + 1
        assert scene.api.last().method == method
        assert scene.api.last().body_digest == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PROPFIND"])
def test_any_method_is_checked(scene: Scene, method: str) -> None:
    """No method goes around the check, and none is held up by it."""
    assert scene.get("/reports/1", None, method=method).status == 401
    assert scene.get("/reports/1", scene.key, method=method).status == 200
    assert scene.api.last().method == method


def test_a_client_that_waits_is_told_to_go_on(scene: Scene) -> None:
    """With `Expect: 100-continue` a good credential is let go on, and its body arrives."""
    with socket.create_connection(("127.0.0.1", scene.gateway.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(
            head(scene, "Connection: close", f"Content-Length: {len(BODY)}", "Expect: 100-continue")
        )
        preliminary = b""
        while b"\r\n\r\n" not in preliminary:
            preliminary += connection.recv(1024)
        assert preliminary.startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert read_answer(connection).status == 200
    assert scene.api.last().body_digest == hashlib.sha256(BODY).hexdigest()


def test_one_connection_carries_many_requests(scene: Scene) -> None:
    """Refused or not, with a body or without, what follows on the connection is read as what it is."""
    small = b"four"
    good = head(scene, f"Content-Length: {len(small)}") + small
    bad = good.replace(scene.key.encode(), b"x")
    before = len(scene.api.got)
    with socket.create_connection(("127.0.0.1", scene.gateway.port), TIMEOUT_SECONDS) as connection:
        for sent, status in ((good, 200), (bad, 401), (good, 200), (bad, 401), (good, 200)):
            connection.sendall(sent)
            answer = read_answer(connection)
            assert answer.status == status
            if answer.headers.get("connection", "").lower() == "close":
                break
    digest = hashlib.sha256(small).hexdigest()
    assert {got.body_digest for got in scene.api.got[before:]} == {digest}


@pytest.mark.parametrize(
    "framing",
    [
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        ["Content-Length: 4", "Content-Length: 64"],
        ["Transfer-Encoding: xchunked", "Content-Length: 4"],
        ["Transfer-Encoding : chunked", "Content-Length: 4"],
        ["Transfer-Encoding: chunked, identity", "Content-Length: 4"],
    ],
)
def test_no_request_hides_in_a_body(scene: Scene, framing: list[str]) -> None:
    """What is written behind an ambiguous length never reaches the API as a request of its own (H8)."""
    hidden = f"GET /orders/hidden HTTP/1.1\r\nHost: {HOST}\r\nKeyturn-User: mallory\r\n\r\n".encode()
    for target in ("/health", "/reports/1"):
        before = len(scene.api.got)
        with contextlib.suppress(OSError):  # Cut off: fine.
            scene.send(head(scene, *framing, target=target) + b"0\r\n\r\n" + hidden)
        assert all(got.target == target for got in scene.api.got[before:])


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "h2c, websocket", "TLS/1.0"])
@pytest.mark.parametrize("header", ["Upgrade", "upgrade", "UPGRADE"])
def test_no_tunnel_leads_past_the_check(scene: Scene, upgrade: str, header: str) -> None:
    """The API is asked for no other protocol, in which a client could go on asking behind the gateway."""
    lines = (
        f"{header}: {upgrade}",
        "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    )
    for target, credential in (("/health", None), ("/reports/1", scene.key)):
        before = len(scene.api.got)
        if scene.get(target, credential, *lines).status == 403:
            assert len(scene.api.got) == before, "refused altogether"
            continue
        got = scene.api.last()
        assert got.values("upgrade") == []
        assert "upgrade" not in " ".join(got.values("connection")).lower()
    assert scene.refused("/reports/1", None, *lines).status in (401, 403)


@pytest.mark.parametrize("target", ["127.0.0.1:9000", f"{HOST}:443", "/health", "/reports/1"])
def test_no_tunnel_is_made_by_connect(scene: Scene, target: str) -> None:
    """`CONNECT` leads nowhere without a credential."""
    before = len(scene.api.got)
    assert scene.get(target, None, method="CONNECT").status >= 400
    assert len(scene.api.got) == before
