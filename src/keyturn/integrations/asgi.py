"""Any ASGI application behind a verifier: HTTP and WebSocket, closed but for the paths that are opened."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

from keyturn.core.principal import Principal
from keyturn.integrations.open_paths import OpenPaths
from keyturn.integrations.protection import (
    UNQUOTED,
    Presented,
    Protection,
    VerifierSource,
    checked_scopes,
)
from keyturn.integrations.refusals import REFUSALS, Refusal, refusal_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER = "user"
"""Where the `Principal` is in the scope: what Starlette, FastAPI and Litestar show as `request.user`. The
scope belongs to one request, which `scope["state"]` does only if the server copies it."""

POLICY_VIOLATION = 1008
"""Why a WebSocket is closed (RFC 6455, section 7.4.1)."""
DENIAL = "websocket.http.response"
"""The extension of servers that can answer a handshake with more than 403."""


class KeyturnMiddleware:
    """Lets through who may pass, with `scope["user"]`, and answers everybody else.

    `verifier` is one, or a function that returns the one which the application opened at its start.
    `open_paths` and `open_prefixes` (like `/static/`) ask for no credential; there is no caller there. They
    are named as `app` routes them: by the path below `root_path`.
    `scopes` are needed for every other path. `trusted_proxies` are networks whose `X-Forwarded-For` counts.
    `public_url`, like `https://api.example.com`, is what clients put before a path: with it, credentials that
    are bound to a key pair are good here (RFC 9449).
    """

    def __init__(
        self,
        app: Any,
        verifier: VerifierSource,
        *,
        open_paths: Iterable[str] = (),
        open_prefixes: Iterable[str] = (),
        scopes: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        public_url: str | None = None,
    ) -> None:
        self._app: Application = app
        self._protection = Protection(verifier, trusted_proxies=trusted_proxies, public_url=public_url)
        self._open = OpenPaths(open_paths, open_prefixes)
        self._scopes = checked_scopes(scopes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or hand it on."""
        if scope["type"] in {"http", "websocket"}:
            if _routed_path(scope) in self._open:
                if isinstance(scope.get(CALLER), Principal):
                    del scope[CALLER]  # Of another verifier, in front of this application.
            else:
                try:
                    scope[CALLER] = await self._protection.check_async(presented_in(scope), self._scopes)
                except REFUSALS as error:
                    await refuse(scope, send, refusal_of(error))
                    return
        elif scope["type"] != "lifespan":
            raise ValueError(f"what a {scope['type']} may do is not known, so it may do nothing")
        await self._app(scope, receive, send)


def presented_in(scope: Scope) -> Presented:
    """Read what the connection says of its caller, each header line by itself."""
    client, raw_path = scope.get("client"), scope.get("raw_path")
    return Presented(
        authorization=[value for name, value in scope["headers"] if name == b"authorization"],
        peer=client[0] if client else None,
        forwarded_for=[value for name, value in scope["headers"] if name == b"x-forwarded-for"],
        request=scope,
        proofs=[value for name, value in scope["headers"] if name == b"dpop"],
        method=scope.get("method", "GET"),  # A WebSocket begins with a GET (RFC 6455, section 4.1).
        path=quote(scope.get("path", "")) if raw_path is None else raw_path.decode("latin-1"),
        routed_path=quote(_routed_path(scope), safe=UNQUOTED),
    )


def _routed_path(scope: Scope) -> str:
    """Return the path by which the application behind routes: the one below `root_path`, in every framework.

    The mount may be the client's choice (`Mount("/{tenant}", …)`), so it never counts. A path that does not
    begin with it is the routed path itself, as of a proxy that cut the mount off. Where frameworks disagree,
    since the mount stands elsewhere in the path or ends within a segment, the answer is no path at all.
    """
    path: str = scope["path"]
    mount: str = scope.get("root_path") or ""
    if path.startswith(f"{mount}/"):
        return path[len(mount) :]
    return path if mount == "/" or mount not in path else ""


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send a refusal, to a handshake as far as the server can."""
    kind = "http.response"
    if scope["type"] == "websocket":
        if DENIAL not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        kind = DENIAL
    body = refusal.encoded()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers()}
    lines = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    await send({"type": f"{kind}.start", "status": int(refusal.status), "headers": lines})
    await send({"type": f"{kind}.body", "body": body})
