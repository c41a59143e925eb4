"""The same small service behind every integration: who calls, told by JSON.

GET /orders   needs the scope orders:read        GET /whoami   needs a good credential
WS  /socket   needs the scope orders:read, and tells who calls once it is accepted
"""

from __future__ import annotations

import socketserver
import threading
import wsgiref.simple_server
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import werkzeug.serving

from keyturn import Verifier
from tests.integrations import django_views, plain_apps
from tests.integrations.framework_apps import fastapi_app, flask_app, litestar_app, starlette_app
from tests.servers import running_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TIMEOUT_SECONDS = 20
SCOPE = "orders:read"


@dataclass(frozen=True)
class Options:
    """What an integration is opened with."""

    database: str
    failures_per_minute: int = 120
    trusted_proxies: Sequence[str] = ()
    public_url: str | None = None
    audience: str | None = None


@dataclass(frozen=True)
class Site:
    """Which integration it stands behind, and where it listens."""

    name: str
    client: httpx.Client

    def get(self, *headers: tuple[Any, Any], path: str = "/orders", method: str = "GET") -> httpx.Response:
        return self.client.request(method, path, headers=list(headers))

    def call(self, credential: str, path: str = "/orders") -> httpx.Response:
        return self.get(("Authorization", credential), path=path)


@contextmanager
def _with_verifier(build: Callable[..., Any], options: Options) -> Iterator[Any]:
    chosen = {"audience": options.audience, "failures_per_minute": options.failures_per_minute}
    with Verifier(options.database, **chosen) as verifier:  # type: ignore[arg-type]
        yield build(verifier, options.trusted_proxies, options.public_url)


_WITH_VERIFIER: dict[str, Callable[..., Any]] = {
    "asgi": plain_apps.asgi_app,
    "starlette": starlette_app,
    "fastapi": fastapi_app,
    "litestar": litestar_app,
    "wsgi": plain_apps.wsgi_app,
    "flask": flask_app,
}
ASGI = ("asgi", "starlette", "fastapi", "litestar", "django-async", "django-middleware-async")
WITH_SOCKETS = ("asgi", "starlette", "fastapi", "litestar")
WSGI = ("wsgi", "flask", "django", "django-middleware", "rest-framework")
INTEGRATIONS = (*ASGI, *WSGI)


@contextmanager
def application(name: str, options: Options) -> Iterator[Any]:
    """Open the service behind the integration of this name."""
    build = _WITH_VERIFIER.get(name)
    opening = django_views.application(name, options) if build is None else _with_verifier(build, options)
    with opening as app:
        yield app


@contextmanager
def running(name: str, options: Options) -> Iterator[Site]:
    """Serve it on a free loopback port: ASGI on uvicorn, Flask on its own server, WSGI on Python's."""
    with application(name, options) as app:
        serving = running_app(app) if name in ASGI else running_wsgi(app, with_flasks_server=name == "flask")
        with serving as url, httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, verify=False) as client:
            yield Site(name, client)


class _Threading(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def running_wsgi(app: Any, *, with_flasks_server: bool = False) -> Iterator[str]:
    """Serve a WSGI application with a thread for each request."""
    server: Any
    if with_flasks_server:
        server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    else:
        server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, _Threading, _Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
