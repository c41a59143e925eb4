"""Open paths of an application that is mounted, or served below a root path, in every framework.

Behind every integration stands an application that says which of its routes it took. What nobody may ask
without a credential is its routes, so that decides, whoever chose the mount.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import litestar
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import re_path
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client as WsgiClient

from keyturn import Verifier
from keyturn.integrations import asgi, wsgi
from tests.integrations.sites import Options, application
from tests.journeys.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integrations.issuer import Issuer

OPEN = {"open_paths": ["/health"], "open_prefixes": ["/static/"]}
HEADER = "X-Forwarded-Prefix"
PATIENCE_SECONDS = 30

ROUTES = {"/health": "open", "/static/{rest}": "open", "/orders/{rest}": "closed", "/api/{rest}": "closed"}
"""Of each application, with what it answers there; `/api/static/x` is another route than `/static/x`."""
MOUNTS = ("/tenant", "/static", "/health", "/orders", "/api", "/sta", "/static/", "/")
PATHS = (
    *("/health", "/health/", "/HEALTH", "/static/a.css", "/orders/1", "/orders/static/1", "/api/static/1"),
    *("/static/api/orders/1", "/static/orders/1", "/static/../orders/1", "/orders/health", "/static/health"),
    *("/api/health", "/static//orders/1", "//static/orders/1", "/static/tenant/orders/1", "/"),
)


@dataclass(frozen=True)
class RouteAccess:
    """What was answered without a credential, and by which kind of route."""

    status: int
    said: str

    @property
    def is_let_in(self) -> bool:
        return self.status not in {401, 404} and not 300 <= self.status < 400


Ask = Callable[[str, str, bool], RouteAccess] if TYPE_CHECKING else Any
"""A mount, a path below it, and whether the mount is in front of the path that arrives."""


@pytest.fixture(scope="module")
def verifier(issuer: Issuer) -> Iterator[Verifier]:
    with Verifier(issuer.database) as opened:
        yield opened


def told_by_asgi(app: Any, path: str, *, root_path: str = "", prefix: str = "") -> RouteAccess:
    """Ask an ASGI application, as a server does that was started with this root path."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def get() -> None:
        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            for message in asked:
                return message
            return await asyncio.get_running_loop().create_future()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": root_path,
            "query_string": b"",
            "headers": [(b"host", b"service"), (HEADER.lower().encode(), prefix.encode())],
            "client": ("127.0.0.1", 9),
            "server": ("127.0.0.1", 80),
            "extensions": {},
            "state": {},
        }
        await app(scope, receive, send)

    asyncio.run(get())
    body = b"".join(message.get("body", b"") for message in sent)
    return RouteAccess(sent[0]["status"], body.decode())


# The application behind, which names the route that it took.


def starlette_behind() -> Any:
    def route(path: str, kind: str) -> Route:
        return Route(path.replace("{rest}", "{rest:path}"), lambda _request: PlainTextResponse(kind))

    return Starlette(routes=[route(path, kind) for path, kind in ROUTES.items()])


def fastapi_behind() -> Any:
    app = FastAPI(openapi_url=None)
    app.mount("/", starlette_behind())
    return app


def litestar_behind() -> Any:
    def handler(path: str, kind: str) -> Any:
        if "{rest}" in path:

            @litestar.get(
                path.replace("{rest}", "{rest:path}"), media_type="text/plain", sync_to_thread=False
            )
            def below() -> str:
                return kind

            return below

        @litestar.get(path, media_type="text/plain", sync_to_thread=False)
        def exact() -> str:
            return kind

        return exact

    handlers = [handler(path, kind) for path, kind in ROUTES.items()]
    return litestar.Litestar(handlers, openapi_config=None)


def flask_behind() -> Any:
    app = Flask("behind", static_folder=None)
    for path, kind in ROUTES.items():
        app.add_url_rule(path.replace("{rest}", "<path:rest>"), path, lambda kind=kind, **_: kind)
    return app


def _said_by_django(kind: str) -> Callable[..., HttpResponse]:
    return lambda _request, **_: HttpResponse(kind)


DJANGO_URLS = tuple(
    re_path(f"^{path[1:].replace('{rest}', '(?P<rest>.+)')}$", _said_by_django(kind))
    for path, kind in ROUTES.items()
)


# Who chooses the mount.


def by_root_path(protected: Any) -> Ask:
    """`uvicorn --root-path`, which puts it before each path; other servers and proxies may not."""
    return lambda mount, path, whole: told_by_asgi(
        protected, mount + path if whole else path, root_path=mount
    )


def by_header(protected: Any) -> Ask:
    """What reads a proxy's header, and so a client's if no proxy sets it."""

    async def read_prefix(scope: Any, receive: Any, send: Any) -> None:
        root_path = dict(scope["headers"])[HEADER.lower().encode()].decode()
        await protected({**scope, "root_path": root_path}, receive, send)

    return lambda mount, path, whole: told_by_asgi(read_prefix, mount + path if whole else path, prefix=mount)


def by_parameter(protected: Any) -> Ask:
    app = Starlette(routes=[Mount("/{tenant}", protected)])
    return lambda mount, path, _: told_by_asgi(app, mount + path)


def by_nested_parameters(protected: Any) -> Ask:
    app = Starlette(routes=[Mount("/{outer}", routes=[Mount("/{tenant}", protected)])])
    return lambda mount, path, whole: told_by_asgi(app, (mount if whole else "/outer") + mount + path)


def by_litestar(protected: Any) -> Ask:
    """A mount of Litestar, below whatever root path the request has."""

    @litestar.asgi("/mounted", is_mount=True, copy_scope=True)
    async def hand_on(scope: Any, receive: Any, send: Any) -> None:
        await protected(scope, receive, send)

    app = litestar.Litestar([hand_on], openapi_config=None)
    return lambda mount, path, whole: told_by_asgi(
        app, f"{mount if whole else ''}/mounted{path}", root_path=mount
    )


def by_proxy_fix(protected: Any) -> Ask:
    client = WsgiClient(ProxyFix(protected, x_prefix=1))

    def ask(mount: str, path: str, _whole: bool) -> RouteAccess:
        answer = client.get("/", environ_overrides={"PATH_INFO": path}, headers={HEADER: mount})
        return RouteAccess(answer.status_code, answer.text)

    return ask


def by_script_name(protected: Any) -> Ask:
    """As gunicorn does for the request header `SCRIPT_NAME`, and other servers for their own setting."""
    client = WsgiClient(protected)

    def ask(mount: str, path: str, whole: bool) -> RouteAccess:
        given = {"SCRIPT_NAME": mount if whole else f"/outer{mount}", "PATH_INFO": path}
        answer = client.get("/", environ_overrides=given)
        return RouteAccess(answer.status_code, answer.text)

    return ask


BY_ASGI = (by_root_path, by_header, by_parameter, by_nested_parameters, by_litestar)
BY_WSGI = (by_proxy_fix, by_script_name)


def asgi_around(behind: Any, verifier: Verifier) -> Any:
    return asgi.KeyturnMiddleware(behind(), verifier, **OPEN)


def inside_fastapi(verifier: Verifier) -> Any:
    app = fastapi_behind()
    app.add_middleware(asgi.KeyturnMiddleware, verifier=verifier, **OPEN)
    return app


@contextmanager
def _middleware_of_django(issuer: Issuer, *, is_async: bool, **chosen: Any) -> Iterator[Any]:
    name = "django-middleware-async" if is_async else "django-middleware"
    with (
        application(name, Options(issuer.database)),
        override_settings(ROOT_URLCONF=DJANGO_URLS, APPEND_SLASH=False, **chosen),
    ):
        yield ASGIHandler() if is_async else WSGIHandler()


@pytest.fixture(params=["starlette", "fastapi", "inside-fastapi", "litestar", "django-middleware-async"])
def asgi_app(request: pytest.FixtureRequest, issuer: Issuer, verifier: Verifier) -> Iterator[Any]:
    behind = {"starlette": starlette_behind, "fastapi": fastapi_behind, "litestar": litestar_behind}
    if request.param == "inside-fastapi":
        yield inside_fastapi(verifier)
    elif request.param in behind:
        yield asgi_around(behind[request.param], verifier)
    else:
        with _middleware_of_django(issuer, is_async=True) as app:
            yield app


@pytest.fixture(params=["flask", "django", "django-middleware"])
def wsgi_app(request: pytest.FixtureRequest, issuer: Issuer, verifier: Verifier) -> Iterator[Any]:
    if request.param == "flask":
        yield wsgi.KeyturnMiddleware(flask_behind(), verifier, **OPEN)
    elif request.param == "django":
        urls = {"ROOT_URLCONF": DJANGO_URLS, "MIDDLEWARE": [], "APPEND_SLASH": False}
        with override_settings(**urls):
            yield wsgi.KeyturnMiddleware(WSGIHandler(), verifier, **OPEN)
    else:
        with _middleware_of_django(issuer, is_async=False) as app:
            yield app


def walk(ask: Ask) -> None:
    """No mount and no path lets a stranger in but to what is open; and below a mount that is open."""
    let_in = set()
    for mount in MOUNTS:
        for path in PATHS:
            for whole in (True, False):
                asked = ask(mount, path, whole)
                if asked.is_let_in:
                    assert (asked.status, asked.said) == (200, "open"), (mount, path, whole)
                    let_in.add((mount, path))
    assert {(mount, "/static/a.css") for mount in ("/tenant", "/orders", "/api")} <= let_in


@pytest.mark.parametrize("chosen", BY_ASGI, ids=lambda by: by.__name__)
def test_no_mount_opens_a_closed_route(asgi_app: Any, chosen: Callable[[Any], Ask]) -> None:
    """Whoever chooses the root path or mount of an ASGI application is let in nowhere by that."""
    walk(chosen(asgi_app))


@pytest.mark.parametrize("chosen", BY_WSGI, ids=lambda by: by.__name__)
def test_no_script_name_opens_a_closed_route(wsgi_app: Any, chosen: Callable[[Any], Ask]) -> None:
    """Whoever chooses the mount of a WSGI application is let in nowhere by that."""
    walk(chosen(wsgi_app))


# Mounts that the service chooses: an open path is named as the application itself routes it.

OPENED = ("/api/health", "/api/static/a.css")
CLOSED = (
    *("/api/orders/1", "/api/health/", "/api/static/../orders/1", "/api/HEALTH", "/api", "/api/"),
    *("/api/api/health", "/api/api/static/a.css"),
)


def below_a_root_path(verifier: Verifier) -> Callable[[str], int]:
    app = asgi_around(starlette_behind, verifier)
    return lambda path: told_by_asgi(app, path, root_path="/api").status


def mounted_in_starlette(verifier: Verifier) -> Callable[[str], int]:
    app = Starlette(routes=[Mount("/api", asgi_around(starlette_behind, verifier))])
    return lambda path: told_by_asgi(app, path).status


def mounted_in_fastapi(verifier: Verifier) -> Callable[[str], int]:
    app = FastAPI(openapi_url=None)
    app.mount("/api", inside_fastapi(verifier))
    return lambda path: told_by_asgi(app, path).status


def fastapi_below_a_root_path(verifier: Verifier) -> Callable[[str], int]:
    app = FastAPI(openapi_url=None, root_path="/api")
    app.add_middleware(asgi.KeyturnMiddleware, verifier=verifier, **OPEN)
    app.mount("/", starlette_behind())
    for path in ("/health", "/static/a.css"):  # As behind a proxy that cuts off what it serves it below.
        assert told_by_asgi(app, path).said == "open"
    return lambda path: told_by_asgi(app, path).status


def dispatched_wsgi(verifier: Verifier) -> Callable[[str], int]:
    inner = wsgi.KeyturnMiddleware(flask_behind(), verifier, **OPEN)
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
def test_fault_g5_an_open_path_is_the_one_below_the_mount(
    verifier: Verifier, build: Callable[[Verifier], Callable[[str], int]]
) -> None:
    """What opens is the path that the application routes by, below its root path or mount."""
    get = build(verifier)
    assert [get(path) for path in OPENED] == [200, 200]
    for path in CLOSED:
        assert get(path) in {307, 401, 404}, path  # The outer application adds a slash.


@pytest.mark.parametrize("is_async", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("is_forced", [False, True], ids=["by the server", "FORCE_SCRIPT_NAME"])
def test_fault_g5_django_opens_what_its_urls_have(issuer: Issuer, is_async: bool, is_forced: bool) -> None:
    """Under a root path, told by the server or by its own setting, Django opens what its URLconf routes."""
    forced = {"FORCE_SCRIPT_NAME": "/api"} if is_forced else {}
    with _middleware_of_django(issuer, is_async=is_async, **forced) as app:
        if is_async:
            statuses = {path: told_by_asgi(app, path, root_path="/api").status for path in OPENED + CLOSED}
        else:
            client = WsgiClient(DispatcherMiddleware(Flask("outer"), {"/api": app}))
            statuses = {path: client.get(path).status_code for path in OPENED + CLOSED}
    assert [statuses[path] for path in OPENED] == [200, 200]
    assert {statuses[path] for path in CLOSED} <= {401, 404}


def test_fault_g5_a_mount_of_litestar_ends_with_a_slash(verifier: Verifier) -> None:
    """Litestar hands a path on with a slash at its end: so it is named there."""
    inner = asgi.KeyturnMiddleware(starlette_behind(), verifier, open_paths=["/health/"])

    @litestar.asgi("/api", is_mount=True, copy_scope=True)
    async def hand_on(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    app = litestar.Litestar([hand_on], openapi_config=None)
    assert told_by_asgi(app, "/api/health").status in {200, 307}
    assert {told_by_asgi(app, path).status for path in ("/api/orders/1", "/api/health/x", "/health")} <= {
        401,
        404,
    }


# A real server that takes the mount from a header.

FLASK_SERVICE = """
from flask import Flask
from keyturn import Verifier
from keyturn.integrations.wsgi import KeyturnMiddleware

flask = Flask("service", static_folder=None)
flask.add_url_rule("/orders/<int:number>", "orders", lambda number: "closed")
flask.add_url_rule("/static/<path:name>", "files", lambda name: "open")
app = KeyturnMiddleware(flask, Verifier({database!r}), open_prefixes=["/static/"])
"""
DJANGO_SERVICE = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

urlpatterns = [
    path("orders/<int:number>", lambda request, number: HttpResponse("closed")),
    path("static/<path:name>", lambda request, name: HttpResponse("open")),
]
settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of the tests",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["keyturn.integrations.django.protect"],
    KEYTURN_DATABASE={database!r},
    KEYTURN_OPEN_PREFIXES=["/static/"],
)
app = get_wsgi_application()
"""


@pytest.mark.parametrize("service", [FLASK_SERVICE, DJANGO_SERVICE], ids=["flask", "django"])
def test_a_header_opens_nothing_under_gunicorn(issuer: Issuer, service: str, tmp_path: Path) -> None:
    """gunicorn takes SCRIPT_NAME from a header of whoever it trusts: that makes no closed route open."""
    (tmp_path / "service.py").write_text(textwrap.dedent(service.format(database=issuer.database)))
    port, key = free_port(), issuer.key().secret
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--chdir", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*command, "service:app"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
            _wait_for(client, server)

            def ask(path: str, script_name: str, **headers: str) -> tuple[int, str]:
                answer = client.get(path, headers={"SCRIPT_NAME": script_name, **headers})
                return answer.status_code, "" if answer.status_code == 401 else answer.text

            assert ask("/static/orders/1", "/static") == (401, "")
            assert ask("/orders/1", "") == (401, "")
            assert ask("/static/a.css", "") == (200, "open")
            assert ask("/tenant/static/a.css", "/tenant") == (200, "open")
            assert ask("/static/orders/1", "/static", Authorization=key) == (200, "closed")
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def _wait_for(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(httpx.TransportError):
            if client.get("/orders/1").status_code != 503:  # While the verifier opens.
                return
        time.sleep(0.05)
    raise AssertionError("gunicorn did not start")
