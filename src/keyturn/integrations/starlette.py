"""Starlette: `@require("orders:read")` on an endpoint. FastAPI stands on the same."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from keyturn.core.principal import Principal
from keyturn.errors import CannotStart
from keyturn.integrations.asgi import CALLER, POLICY_VIOLATION, presented_in, refuse
from keyturn.integrations.protection import Protection, VerifierSource, checked_scopes
from keyturn.integrations.refusals import REFUSALS, refusal_of
from keyturn.verifier import Verifier

Endpoint = Callable[..., Any]


def protect(
    app: Starlette,
    verifier: VerifierSource | None = None,
    *,
    trusted_proxies: Iterable[str] = (),
    public_url: str | None = None,
) -> None:
    """Make `require` work in this application; call it where the application is made.

    Without a `verifier` the one in `app.state.verifier` is asked, which the lifespan opens.
    `trusted_proxies` are networks whose `X-Forwarded-For` counts. `public_url`, like
    `https://api.example.com`, is what clients put before a path: with it, credentials that are bound to a key
    pair are good here (RFC 9449).
    """
    app.state.keyturn = Protection(
        verifier or partial(_opened_in, app), trusted_proxies=trusted_proxies, public_url=public_url
    )
    for kind in REFUSALS:
        app.add_exception_handler(kind, _answer)


def require(*scopes: str) -> Callable[[Endpoint], Endpoint]:
    """Let only those call an endpoint whose credential is good and covers these scopes.

    For functions, sync or async, and for methods of an `HTTPEndpoint`. The `Principal` is `request.user`.
    """
    needed = checked_scopes(scopes)

    def decorate(endpoint: Endpoint) -> Endpoint:
        if not inspect.isroutine(endpoint):
            raise TypeError("require() stands on a function, or on each method of a class.")

        @wraps(endpoint)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            await caller_of(_connection(args, kwargs), needed)
            if inspect.iscoroutinefunction(endpoint):
                return await endpoint(*args, **kwargs)
            return await run_in_threadpool(endpoint, *args, **kwargs)

        return guarded

    return decorate


async def caller_of(connection: HTTPConnection, scopes: Iterable[str] = ()) -> Principal:
    """Return who calls, and keep it as `request.user`; raise as `Verifier.verify` does."""
    protection = getattr(connection.app.state, "keyturn", None)
    if not isinstance(protection, Protection):
        raise CannotStart("Call keyturn's protect(app) where this application is made.")
    connection.scope[CALLER] = principal = await protection.check_async(
        presented_in(connection.scope), scopes
    )
    return principal


def _opened_in(app: Starlette) -> Verifier:
    verifier = getattr(app.state, "verifier", None)
    if not isinstance(verifier, Verifier):
        raise CannotStart("Open a Verifier in the lifespan as app.state.verifier, or give it to protect().")
    return verifier


def _connection(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    for value in (*args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    raise TypeError("An endpoint under require() takes the request.")


async def _answer(connection: Any, error: Exception) -> Any:
    """Answer a refusal; end a WebSocket that raised one after it was accepted."""
    refusal = refusal_of(error)
    if not isinstance(connection, WebSocket):
        return Response(refusal.encoded(), refusal.status, refusal.headers(), "application/json")
    if connection.application_state is WebSocketState.CONNECTING:
        await refuse(connection.scope, connection.send, refusal)
    else:
        await connection.close(POLICY_VIOLATION)
    return None
