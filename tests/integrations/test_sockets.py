"""WebSockets: refused before they are open, by every integration that has them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integrations.sites import WITH_SOCKETS, Options, application

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integrations.issuer import Issuer

DENIAL = {"websocket.http.response": {}}


def handshake(app: Any, authorization: Sequence[str], extensions: dict[str, Any]) -> list[dict[str, Any]]:
    """Open a WebSocket as a server does; return what the application sent."""
    sent: list[dict[str, Any]] = []
    events = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        return next(events, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/socket",
        "raw_path": b"/socket",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"service"), *((b"authorization", each.encode()) for each in authorization)],
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
        "extensions": extensions,
    }
    asyncio.run(app(scope, receive, send))
    return sent


@pytest.fixture(params=WITH_SOCKETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_socket_opens_for_who_may(name: str, issuer: Issuer) -> None:
    """A good credential is accepted, and the application knows who it is."""
    key = issuer.key()
    with application(name, Options(issuer.database)) as app:
        for credential in (key.secret, f"Bearer {issuer.token(key)}", issuer.narrowed().secret):
            sent = handshake(app, [credential], DENIAL)
            assert [message["type"] for message in sent[:2]] == ["websocket.accept", "websocket.send"]
            told = sent[1].get("text") or sent[1]["bytes"]
            assert json.loads(told) == {"for": "bob"}


def test_a_socket_is_refused_before_it_opens(name: str, issuer: Issuer) -> None:
    """Nobody else is accepted: the handshake is answered where the server can, else closed (RFC 6455)."""
    good = issuer.key().secret
    narrow = issuer.narrowed('["orders:write"]').secret
    refused = [
        ([], 401),
        (["wrong"], 401),
        ([issuer.revoked().secret], 401),
        ([narrow], 403),
        ([good, good], 400),
    ]
    with application(name, Options(issuer.database)) as app:
        for authorization, status in refused:
            (closed,) = handshake(app, authorization, {})
            assert (closed["type"], closed["code"]) == ("websocket.close", 1008)

            sent = handshake(app, authorization, DENIAL)
            if name == "litestar":  # It answers no handshake, and closes.
                assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]
                continue
            start, body = sent
            assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
            assert json.loads(body["body"])["statusCode"] == status
            assert (b"www-authenticate" in dict(start["headers"])) == (status in {401, 403})
