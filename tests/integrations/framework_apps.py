"""The service in each framework that makes its application from a function."""

# No `from __future__ import annotations`: FastAPI and Litestar read the annotations of handlers.
from collections.abc import Sequence
from typing import Annotated, Any

import litestar
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask, g
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from keyturn import Principal, Verifier
from keyturn.integrations import fastapi, flask, starlette
from keyturn.integrations import litestar as for_litestar

SCOPE = "orders:read"
Told = dict[str, str]


async def _tell(websocket: Any, userid: str) -> None:
    await websocket.accept()
    await websocket.send_json({"for": userid})
    await websocket.close()


def starlette_app(
    verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None
) -> Starlette:
    """An async function, a sync method of a class, and a WebSocket."""

    @starlette.require(SCOPE)
    async def orders(request: Request) -> JSONResponse:
        return JSONResponse({"for": request.user.userid})

    class WhoAmI(HTTPEndpoint):
        @starlette.require()
        def get(self, request: Request) -> JSONResponse:
            return JSONResponse({"for": request.user.userid})

    @starlette.require(SCOPE)
    async def socket(websocket: WebSocket) -> None:
        await _tell(websocket, websocket.user.userid)

    app = Starlette(
        routes=[Route("/orders", orders), Route("/whoami", WhoAmI), WebSocketRoute("/socket", socket)]
    )
    starlette.protect(app, verifier, trusted_proxies=trusted_proxies, public_url=public_url)
    return app


def fastapi_app(verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None) -> FastAPI:
    """An async handler, a sync one, and a WebSocket."""
    app = FastAPI()
    fastapi.protect(app, verifier, trusted_proxies=trusted_proxies, public_url=public_url)

    @app.get("/orders")
    async def orders(caller: Annotated[Principal, Depends(fastapi.require(SCOPE))]) -> Told:
        return {"for": caller.userid}

    @app.get("/whoami", dependencies=[Depends(fastapi.require())])
    def whoami(request: Request) -> Told:
        return {"for": request.user.userid}

    @app.websocket("/socket")
    async def socket(
        websocket: WebSocket, caller: Annotated[Principal, Depends(fastapi.require(SCOPE))]
    ) -> None:
        await _tell(websocket, caller.userid)

    return app


def litestar_app(
    verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None
) -> litestar.Litestar:
    """A guard on the application, and one on a handler beside it."""

    @litestar.get("/orders", guards=[for_litestar.require(SCOPE)])
    async def orders(request: litestar.Request[Any, Any, Any]) -> Told:
        return {"for": request.user.userid}

    @litestar.get("/whoami", sync_to_thread=True)
    def whoami(request: litestar.Request[Any, Any, Any]) -> Told:
        return {"for": request.user.userid}

    @litestar.websocket("/socket", guards=[for_litestar.require(SCOPE)])
    async def socket(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await _tell(socket, socket.user.userid)

    return litestar.Litestar(
        [orders, whoami, socket],
        guards=[for_litestar.require()],
        plugins=[
            for_litestar.KeyturnPlugin(verifier, trusted_proxies=trusted_proxies, public_url=public_url)
        ],
    )


def flask_app(verifier: Verifier, trusted_proxies: Sequence[str], public_url: str | None = None) -> Flask:
    """Two views."""
    app = Flask("service")
    flask.protect(app, verifier, trusted_proxies=trusted_proxies, public_url=public_url)

    @app.get("/orders")
    @flask.require(SCOPE)
    def orders() -> Told:
        return {"for": g.principal.userid}

    @app.get("/whoami")
    @flask.require()
    def whoami() -> Told:
        return {"for": g.principal.userid}

    return app
