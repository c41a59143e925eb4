"""The service without a framework."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keyturn.integrations import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn import Verifier


async def live(receive: Any, send: Any) -> None:
    """Take the part of an application without a beginning or an end."""
    for _ in range(2):
        await send({"type": f"{(await receive())['type']}.complete"})


def living(app: Any) -> Any:
    """Return the application for servers that insist on a lifespan, where it has none."""

    async def with_lifespan(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        else:
            await app(scope, receive, send)

    return with_lifespan


async def bare_asgi(scope: Any, receive: Any, send: Any) -> None:
    """Tell who calls."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    body = json.dumps({"for": scope["user"].userid if "user" in scope else None})
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body})
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def asgi_app(verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None) -> Any:
    """Everything needs a credential, and all but /whoami the scope."""
    narrow = asgi.KeyturnMiddleware(bare_asgi, verifier, scopes=["orders:read"])

    async def route(scope: Any, receive: Any, send: Any) -> None:
        inner = narrow if scope.get("path") in {"/orders", "/socket"} else bare_asgi
        await inner(scope, receive, send)

    return asgi.KeyturnMiddleware(
        route,
        verifier,
        trusted_proxies=trusted_proxies,
        open_paths=["/health"],
        open_prefixes=["/static/"],
        public_url=public_url,
    )


def bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Tell who calls."""
    caller = environ.get("keyturn.principal")
    body = json.dumps({"for": caller.userid if caller else None}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def wsgi_app(verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None) -> Any:
    """Everything needs a credential, and all but /whoami the scope."""
    narrow = wsgi.KeyturnMiddleware(bare_wsgi, lambda: verifier, scopes=["orders:read"])

    def route(environ: Any, start_response: Any) -> Any:
        inner = narrow if environ["PATH_INFO"] == "/orders" else bare_wsgi
        return inner(environ, start_response)

    return wsgi.KeyturnMiddleware(
        route,
        verifier,
        trusted_proxies=trusted_proxies,
        open_paths=["/health"],
        open_prefixes=["/static/"],
        public_url=public_url,
    )
