"""Open paths of an application that is mounted, or served below a root path, in every framework."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import litestar
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client as WsgiClient

from keyturn import Verifier
from keyturn.integrations import asgi, wsgi
from tests.integrations.plain_apps import bare_asgi, bare_wsgi, living
from tests.integrations.sites import Options, application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integrations.issuer import Issuer

OPEN = {"open_paths": ["/api/health"], "open_prefixes": ["/api/static/"]}
OF_DJANGO = {"KEYTURN_OPEN_PATHS": OPEN["open_paths"], "KEYTURN_OPEN_PREFIXES": OPEN["open_prefixes"]}
OPENED = ("/api/health", "/api/static/a.css")
CLOSED = (
    *("/api/orders", "/api/health/", "/api/static/../orders", "/api/HEALTH"),
    *("/health", "/static/a.css", "/api", "/api/", "/api/api/health"),
)


@pytest.fixture
def verifier(issuer: Issuer) -> Iterator[Verifier]:
    with Verifier(issuer.database) as opened:
        yield opened


def ask(app: Any, path: str, root_path: str = "") -> int:
    """Ask an ASGI application, as a server does that was started with this root path."""

    async def get() -> int:
        transport = httpx.ASGITransport(app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.get(path)).status_code

    return asyncio.run(get())


def below_a_root_path(verifier: Verifier) -> Callable[[str], int]:
    app = asgi.KeyturnMiddleware(bare_asgi, verifier, **OPEN)
    return lambda path: ask(app, path, "/api")


def mounted_in_starlette(verifier: Verifier) -> Callable[[str], int]:
    app = Starlette(routes=[Mount("/api", asgi.KeyturnMiddleware(bare_asgi, verifier, **OPEN))])
    return lambda path: ask(app, path)


def mounted_in_fastapi(verifier: Verifier) -> Callable[[str], int]:
    app, inner = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    inner.add_middleware(asgi.KeyturnMiddleware, verifier=verifier, **OPEN)
    inner.mount("/", bare_asgi)
    app.mount("/api", inner)
    return lambda path: ask(app, path)


def fastapi_below_a_root_path(verifier: Verifier) -> Callable[[str], int]:
    app = FastAPI(openapi_url=None, root_path="/api")
    app.add_middleware(asgi.KeyturnMiddleware, verifier=verifier, **OPEN)
    app.mount("/", bare_asgi)
    return lambda path: ask(app, path)


def dispatched_wsgi(verifier: Verifier) -> Callable[[str], int]:
    inner = wsgi.KeyturnMiddleware(bare_wsgi, verifier, **OPEN)
    client = WsgiClient(DispatcherMiddleware(Flask("outer"), {"/api": inner}))
    return lambda path: client.get(path).status_code


ALL = (
    below_a_root_path,
    mounted_in_starlette,
    mounted_in_fastapi,
    fastapi_below_a_root_path,
    dispatched_wsgi,
)


@pytest.mark.parametrize("build", ALL)
def test_fault_g5_an_open_path_is_the_whole_one(
    verifier: Verifier, build: Callable[[Verifier], Callable[[str], int]]
) -> None:
    """What opens is the path with its root path or mount, as clients ask for it, and nothing else."""
    get = build(verifier)
    assert [get(path) for path in OPENED] == [200, 200]
    for path in CLOSED:
        assert get(path) in {307, 401, 404}, path  # The outer application adds a slash.


@pytest.mark.parametrize("name", ["django-middleware", "django-middleware-async"])
@pytest.mark.parametrize("is_forced", [False, True], ids=["by the server", "FORCE_SCRIPT_NAME"])
def test_fault_g5_django_opens_the_whole_path(issuer: Issuer, name: str, is_forced: bool) -> None:
    """Under a root path, told by the server or by its own setting, Django opens the path that clients ask."""
    forced = {"FORCE_SCRIPT_NAME": "/api"} if is_forced else {}
    with application(name, Options(issuer.database)), override_settings(**OF_DJANGO, **forced):
        if name.endswith("async"):
            app = living(ASGIHandler())
            statuses = {path: ask(app, path, "/api") for path in OPENED + CLOSED}
        else:
            client = WsgiClient(DispatcherMiddleware(Flask("outer"), {"/api": WSGIHandler()}))
            statuses = {path: client.get(path).status_code for path in OPENED + CLOSED}
    assert [statuses[path] for path in OPENED] == [200, 200]
    assert {statuses[path] for path in CLOSED} <= {401, 404}


def test_fault_g5_a_mount_of_litestar_hides_itself(verifier: Verifier) -> None:
    """Litestar hands a path on without its mount and with a slash at its end: so it is named there."""
    inner = asgi.KeyturnMiddleware(bare_asgi, verifier, open_paths=["/health/"], open_prefixes=["/static/"])

    @litestar.asgi("/api", is_mount=True, copy_scope=True)
    async def hand_on(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    app = litestar.Litestar([hand_on], openapi_config=None)
    assert [ask(app, path) for path in OPENED] == [200, 200]
    assert {ask(app, path) for path in ("/api/orders", "/api/health/x", "/api/HEALTH", "/health")} <= {
        401,
        404,
    }
