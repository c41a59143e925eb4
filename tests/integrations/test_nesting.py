"""One protected application below another: each judges for itself, in every framework and both ways round."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flask as flask_itself
import litestar
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import re_path
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from werkzeug.test import Client as WsgiClient
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response as WsgiResponse

from keyturn import Principal, Verifier
from keyturn.integrations import asgi, django, fastapi, flask, starlette, wsgi
from keyturn.integrations import litestar as for_litestar
from tests.apis import identifier_of, register, token_for
from tests.integrations import plain_apps
from tests.integrations.framework_apps import starlette_app
from tests.integrations.sites import ASGI, WITH_SOCKETS, WSGI, Options, application
from tests.integrations.test_frameworks import ask
from tests.integrations.test_sockets import DENIAL, handshake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keyturn.services.keys.keys import CreatedKey
    from tests.integrations.issuer import Issuer

ORDERS, BILLING = identifier_of("orders"), identifier_of("billing")
AUDIENCES = (BILLING, None)
"""For what the application in front asks; the one below is for orders."""


@dataclass(frozen=True)
class Tenants:
    """An installation with two services, and a key that is good for both."""

    issuer: Issuer
    key: CreatedKey

    def credential_for(self, audience: str | None) -> str:
        """Return a token that passes in front and nowhere else."""
        if audience is None:
            return self.issuer.token(self.key)
        return token_for(self.issuer.services, self.key.secret, "billing")


@pytest.fixture(scope="module")
def tenants(issuer: Issuer) -> Tenants:
    register(issuer.services, "orders")
    register(issuer.services, "billing")
    return Tenants(issuer, issuer.key())


# What stands in front, and hands everything on to the application below.


def asgi_middleware(below: Any, verifier: Verifier) -> Any:
    return asgi.KeyturnMiddleware(below, verifier)


def starlette_mount(below: Any, verifier: Verifier) -> Any:
    app = Starlette(routes=[Mount("/", below)])
    app.add_middleware(asgi.KeyturnMiddleware, verifier=verifier)
    return app


def starlette_endpoint(below: Any, verifier: Verifier) -> Any:
    class HandedOn:
        def __init__(self, request: Any) -> None:
            self._scope = request.scope

        async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
            await below(self._scope, receive, send)

    @starlette.require()
    async def hand_on(request: Any) -> Any:
        return HandedOn(request)

    app = Starlette(routes=[Route("/{path:path}", hand_on)])
    starlette.protect(app, verifier)
    return app


def fastapi_mount(below: Any, verifier: Verifier) -> Any:
    app = FastAPI(dependencies=[Depends(fastapi.require())])
    fastapi.protect(app, verifier)
    app.add_middleware(asgi.KeyturnMiddleware, verifier=verifier)
    app.mount("/", below)
    return app


def litestar_mount(below: Any, verifier: Verifier) -> Any:
    @litestar.asgi("/", is_mount=True, copy_scope=True, guards=[for_litestar.require()])
    async def hand_on(scope: Any, receive: Any, send: Any) -> None:
        path = scope["raw_path"].decode()  # A mount of Litestar ends every path with a slash.
        await below({**scope, "path": path}, receive, send)

    return litestar.Litestar([hand_on], plugins=[for_litestar.KeyturnPlugin(verifier)], openapi_config=None)


def wsgi_middleware(below: Any, verifier: Verifier) -> Any:
    return wsgi.KeyturnMiddleware(below, verifier)


def flask_view(below: Any, verifier: Verifier) -> Any:
    app = flask_itself.Flask("front")
    flask.protect(app, verifier)

    @app.get("/<path:path>")
    @flask.require()
    def hand_on(path: str) -> Any:
        return WsgiResponse.from_app(below, flask_itself.request.environ)

    return app


IN_FRONT_OF_ASGI = (asgi_middleware, starlette_mount, starlette_endpoint, fastapi_mount, litestar_mount)
IN_FRONT_OF_WSGI = (wsgi_middleware, flask_view)
NESTINGS = [(front, below) for front in IN_FRONT_OF_ASGI for below in ASGI] + [
    (front, below) for front in IN_FRONT_OF_WSGI for below in WSGI
]


def get(app: Any, credential: str, path: str, *, is_asgi: bool) -> tuple[int, Any]:
    if is_asgi:
        answer = ask(app, credential, path)
        return answer.status_code, answer.json()
    told = WsgiClient(app).get(path, headers={"Authorization": credential})
    return told.status_code, told.json


@contextmanager
def nested(tenants: Tenants, front: Callable[..., Any], below: str, audience: str | None) -> Iterator[Any]:
    """Open the service of orders below, behind an application whose verifier is for `audience`."""
    database = tenants.issuer.database
    options = Options(database, audience=ORDERS)
    with application(below, options) as app, Verifier(database, audience=audience) as verifier:
        yield front(app, verifier)


@pytest.mark.parametrize(("front", "below"), NESTINGS, ids=lambda part: getattr(part, "__name__", part))
def test_fault_b1_a_caller_counts_for_its_own_verifier(
    tenants: Tenants, front: Callable[..., Any], below: str
) -> None:
    """A credential that passed in front opens below only what it opens there by itself."""
    is_asgi = below in ASGI
    only_billing = tenants.issuer.narrowed('["billing:read"]').secret
    for audience in AUDIENCES:
        with nested(tenants, front, below, audience) as app:
            for path in ("/orders", "/whoami"):
                assert get(app, tenants.key.secret, path, is_asgi=is_asgi) == (200, {"for": "bob"})
                for credential, status in ((tenants.credential_for(audience), 401), (only_billing, 403)):
                    for _ in range(2):
                        assert get(app, credential, path, is_asgi=is_asgi)[0] == status, (audience, path)


def test_fault_b1_below_django(tenants: Tenants) -> None:
    """A view of Django that hands a request on gives its caller to no application of another audience."""
    database = tenants.issuer.database
    with (
        application("django-middleware", Options(database, audience=BILLING)),
        application("flask", Options(database, audience=ORDERS)) as below,
    ):

        def hand_on(request: Any) -> HttpResponse:
            body, status, _headers = run_wsgi_app(below, request.environ)
            return HttpResponse(b"".join(body), status=int(status.partition(" ")[0]))

        urls = (re_path(".*", django.require()(hand_on)),)
        with override_settings(ROOT_URLCONF=urls):
            app = WSGIHandler()
            assert get(app, tenants.credential_for(BILLING), "/orders", is_asgi=False)[0] == 401
            whole = WsgiClient(app).get("/orders", headers={"Authorization": tenants.key.secret})
            assert json.loads(whole.data) == {"for": "bob"}


@pytest.mark.parametrize("front", [asgi_middleware, starlette_mount, fastapi_mount])
@pytest.mark.parametrize("below", WITH_SOCKETS)
def test_fault_b1_a_socket_is_judged_below_too(
    tenants: Tenants, front: Callable[..., Any], below: str
) -> None:
    """A WebSocket that passed in front is refused below if it is not for the service there."""
    for audience in AUDIENCES:
        with nested(tenants, front, below, audience) as app:
            accepted = handshake(app, [tenants.key.secret], DENIAL)
            assert accepted[0]["type"] == "websocket.accept"
            refused = handshake(app, [tenants.credential_for(audience)], DENIAL)
            assert "websocket.accept" not in {message["type"] for message in refused}


@pytest.mark.parametrize("name", [name for name in ASGI if not name.startswith("django")])
def test_fault_b1_siblings_share_no_caller(tenants: Tenants, name: str) -> None:
    """Two applications side by side that see one request, the first without an answer, judge it each."""
    database = tenants.issuer.database

    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
        """Answer nothing, as an application that leaves a path to the next one."""

    with (
        Verifier(database, audience=BILLING) as billing,
        application(name, Options(database, audience=ORDERS)) as second,
    ):
        first = asgi.KeyturnMiddleware(nothing, billing)

        async def cascade(scope: Any, receive: Any, send: Any) -> None:
            await first(scope, receive, send)
            assert isinstance(scope["user"], Principal)
            await second(scope, receive, send)

        assert ask(cascade, tenants.credential_for(BILLING)).status_code == 401


def test_fault_b1_another_credential_is_another_caller(tenants: Tenants) -> None:
    """A request made out of another one, with its environment and other headers, is judged by its own."""
    database = tenants.issuer.database
    with Verifier(database) as verifier:
        inner = wsgi.KeyturnMiddleware(plain_apps.bare_wsgi, verifier)

        def batch(environ: Any, start_response: Any) -> Any:
            return inner({**environ, "HTTP_AUTHORIZATION": "kt_wrong"}, start_response)

        client = WsgiClient(wsgi.KeyturnMiddleware(batch, verifier))
        assert client.get("/", headers={"Authorization": tenants.key.secret}).status_code == 401


def test_fault_b1_an_open_path_has_no_caller_of_another(tenants: Tenants) -> None:
    """On its open paths an application sees no caller, though one passed in front of it."""
    database = tenants.issuer.database
    with Verifier(database, audience=BILLING) as billing, Verifier(database, audience=ORDERS) as orders:
        credential = tenants.credential_for(BILLING)
        for module, bare in ((asgi, plain_apps.bare_asgi), (wsgi, plain_apps.bare_wsgi)):
            middleware = module.KeyturnMiddleware
            app = middleware(middleware(bare, orders, open_paths=["/health"]), billing)
            assert get(app, credential, "/health", is_asgi=module is asgi) == (200, {"for": None})


def test_fault_b1_what_another_left_for_a_caller_is_none(tenants: Tenants) -> None:
    """A `Principal` that stands in the scope without a verifier of ours passes nowhere."""
    with Verifier(tenants.issuer.database) as verifier:
        principal = verifier.verify(tenants.key.secret)
        app = starlette_app(verifier, ())

        async def claiming(scope: Any, receive: Any, send: Any) -> None:
            scope["user"] = principal
            await app(scope, receive, send)

        assert ask(claiming, "").status_code == 401


def test_one_verifier_twice_is_asked_once(tenants: Tenants) -> None:
    """The same verifier in two layers counts one use, and takes one proof of possession."""
    verified: list[Any] = []

    async def below(scope: Any, _receive: Any, send: Any) -> None:
        verified.append(scope["user"])
        await plain_apps.bare_asgi(scope, _receive, send)

    with Verifier(tenants.issuer.database) as verifier:
        app = asgi.KeyturnMiddleware(asgi.KeyturnMiddleware(below, lambda: verifier), verifier)
        assert ask(app, tenants.key.secret).status_code == 200
    assert len(verified) == 1
