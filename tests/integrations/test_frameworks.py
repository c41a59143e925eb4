"""What is particular to one framework, and mistakes that must not open anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import flask as flask_itself
import httpx
import litestar
import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.test import APIRequestFactory
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from keyturn import CannotStart, CredentialRefused, Principal, Reason, Verifier
from keyturn.core.permissions import Permission
from keyturn.integrations import asgi, django, fastapi, flask, rest_framework, starlette, wsgi
from keyturn.integrations import litestar as for_litestar
from keyturn.integrations.protection import Protection
from tests.integrations import django_views, framework_apps, plain_apps
from tests.integrations.sites import Options, application, running
from tests.integrations.test_sockets import handshake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integrations.issuer import Issuer
    from tests.integrations.sites import Site

EVERY_REQUIRE = (
    starlette.require,
    fastapi.require,
    for_litestar.require,
    flask.require,
    django.require,
    rest_framework.require,
)


@pytest.fixture
def verifier(issuer: Issuer) -> Iterator[Verifier]:
    with Verifier(issuer.database) as opened:
        yield opened


def ask(app: Any, credential: str, path: str = "/orders") -> httpx.Response:
    """Ask an ASGI application without a server, as one whose defects are answered with 500."""

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get(path, headers={"Authorization": credential})

    return asyncio.run(get())


# Mistakes


@pytest.mark.parametrize("require", EVERY_REQUIRE)
@pytest.mark.parametrize("scope", ["", "two words", 'quo"te', "ü", ["orders:read"], print])
def test_what_is_no_scope_stops_the_start(require: Any, scope: Any) -> None:
    """A scope that no credential can have, or no parentheses, is a mistake that says what to write."""
    with pytest.raises(ValueError, match=r"require\("):
        require(scope)


def test_a_text_is_no_list(verifier: Verifier) -> None:
    """A text where a list belongs would be read letter by letter, so it is refused."""
    for wrong in ({"scopes": "orders"}, {"trusted_proxies": "10.0.0.0/8"}, {"open_paths": "/health"}):
        for middleware in (asgi.KeyturnMiddleware, wsgi.KeyturnMiddleware):
            with pytest.raises(TypeError, match="list"):
                middleware(plain_apps.bare_asgi, verifier, **wrong)
    with pytest.raises(ValueError, match="not a network"):
        Protection(verifier, trusted_proxies=["proxy.example.com"])


def test_a_handler_without_its_setting_up_refuses(issuer: Issuer, verifier: Verifier) -> None:
    """Where nobody said which verifier to ask, even a good key gets an error, and the handler is not run."""
    key = issuer.key().secret
    bare = framework_apps.starlette_app(verifier, ())
    del bare.state.keyturn
    without_verifier = framework_apps.fastapi_app(verifier, ())
    starlette.protect(without_verifier)
    guarded = framework_apps.litestar_app(verifier, ())
    del guarded.state["keyturn"]
    for app in (bare, without_verifier, guarded):
        answer = ask(app, key)
        assert (answer.status_code, "bob" in answer.text) == (500, False)

    for_flask = framework_apps.flask_app(verifier, ())
    for_flask.extensions.clear()
    assert for_flask.test_client().get("/orders", headers={"Authorization": key}).status_code == 500

    with override_settings(
        MIDDLEWARE=[], ROOT_URLCONF=(path("orders", django.require()(django_views.tell)),)
    ):
        client = Client(raise_request_exception=False)
        assert client.get("/orders", headers={"Authorization": key}).status_code == 500


def test_a_class_is_decorated_by_its_methods() -> None:
    """Starlette would call a class otherwise than a function, so it is not decorated as one."""
    with pytest.raises(TypeError, match="each method"):
        starlette.require()(type("Endpoint", (), {}))


def test_an_unknown_kind_of_connection_gets_nowhere(verifier: Verifier) -> None:
    """What is neither HTTP nor WebSocket is not handed on."""
    reached: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)

    with pytest.raises(ValueError, match="webtransport"):
        asyncio.run(asgi.KeyturnMiddleware(app, verifier)({"type": "webtransport", "path": "/"}, app, app))  # type: ignore[arg-type]
    assert reached == []


# What all share


def test_a_request_is_verified_once(own_issuer: Issuer) -> None:
    """A middleware and a handler that both ask count one use, as their caller made one request."""
    for name in ("asgi", "wsgi", "django-middleware", "litestar"):
        key = own_issuer.key()
        with running(name, Options(own_issuer.database)) as site:
            for _ in range(5):
                assert site.call(key.secret).status_code == 200
        bob = own_issuer.services.users.get_by_userid("bim", "bob")
        assert own_issuer.services.key_uses.count(bob.user_id)[key.record.key_id] == 5, name


def test_the_log_says_why_and_never_what(
    site: Site, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """Each refusal has its reason, the key's number and the address in the log, and no secret."""
    key = issuer.revoked()
    with caplog.at_level("DEBUG"):
        assert site.call(key.secret).status_code == 401
    (line,) = [each.getMessage() for each in caplog.records if each.name == "keyturn.integrations"]
    assert line == f"refused: revoked, key id {key.record.key_id}, from 127.0.0.1"
    assert key.secret not in caplog.text


def test_what_was_presented_has_no_repr(issuer: Issuer) -> None:
    """An error report that shows local variables shows no key."""
    secret = issuer.key().secret
    environ = {"HTTP_AUTHORIZATION": secret, "REMOTE_ADDR": "127.0.0.1"}
    assert secret not in repr(wsgi.presented_in(environ))


@pytest.mark.parametrize("address", ["", None])
def test_without_a_peer_no_network_is_known(issuer: Issuer, verifier: Verifier, address: str | None) -> None:
    """On a Unix socket a key that is bound to networks is refused, whatever a header claims."""
    secret = issuer.key(source="0.0.0.0/0").secret
    environ = {"HTTP_AUTHORIZATION": secret, "REMOTE_ADDR": address, "HTTP_X_FORWARDED_FOR": "127.0.0.1"}
    protection = Protection(verifier, trusted_proxies=["0.0.0.0/0"])
    with pytest.raises(CredentialRefused) as refused:
        protection.check(wsgi.presented_in(environ))
    assert refused.value.reason is Reason.SOURCE


def test_fault_g6_a_key_works_on_its_link(issuer: Issuer, verifier: Verifier) -> None:
    """A key that is bound to addresses of a link is good by whichever interface the client is reached."""
    secret = issuer.key(source="fe80::/10").secret
    for source in ("fe80::1%eth0", "fe80::2%3", "fe80::3"):
        assert verifier.verify(secret, source=source).userid == "bob"
    with pytest.raises(CredentialRefused):
        verifier.verify(secret, source="2001:db8::1%eth0")


def test_nothing_but_a_principal_counts_as_a_caller(issuer: Issuer, verifier: Verifier) -> None:
    """What another middleware left in the same place lets nobody through."""
    for other in (AnonymousUser(), SimpleNamespace(userid="bob", scopes=None), "bob", True):
        scope = {"type": "http", "path": "/", "headers": [], "client": None, "user": other}
        with pytest.raises(CredentialRefused):
            Protection(verifier).check(asgi.presented_in(scope))


def test_a_permission_that_is_missing_is_forbidden(issuer: Issuer, verifier: Verifier) -> None:
    """A handler may ask the caller for a permission of Keyturn, and the answer is 403."""
    key = issuer.key().secret

    @starlette.require()
    async def audit(request: Any) -> JSONResponse:
        request.user.check_may(Permission.AUDIT)
        return JSONResponse({})

    @starlette.require()
    async def socket(websocket: Any) -> None:
        await websocket.accept()
        websocket.user.check_may(Permission.AUDIT)

    app = Starlette(routes=[Route("/orders", audit), WebSocketRoute("/socket", socket)])
    starlette.protect(app, verifier)
    answer = ask(app, key)
    assert (answer.status_code, answer.json()["message"]) == (403, "This needs the permission AUDIT.")
    accepted, closed = handshake(app, [key], {})
    assert (accepted["type"], closed["type"], closed["code"]) == ("websocket.accept", "websocket.close", 1008)


@pytest.mark.parametrize("module", ["asgi", "wsgi", "starlette", "fastapi", "litestar", "flask", "django"])
def test_a_module_needs_its_own_framework_alone(module: str) -> None:
    """Importing one integration imports no other framework, and the plain ones none."""
    frameworks = {"starlette", "fastapi", "litestar", "flask", "django", "rest_framework"}
    needed = {module} & frameworks | ({"starlette"} if module == "fastapi" else set())
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(frameworks - needed)!r}))\n"
        f"import keyturn.integrations.{module}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# One by one


def test_fastapi_describes_scheme_and_scopes(verifier: Verifier) -> None:
    """The OpenAPI description has one bearer scheme, and each operation its scopes."""
    described = framework_apps.fastapi_app(verifier, ()).openapi()
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert described["paths"]["/orders"]["get"]["security"] == [{"Keyturn": ["orders:read"]}]
    assert described["paths"]["/whoami"]["get"]["security"] == [{"Keyturn": []}]


def test_flask_runs_async_views(issuer: Issuer, verifier: Verifier) -> None:
    """An async view is awaited, after its caller is known."""
    app = flask_itself.Flask("service")
    flask.protect(app, verifier)

    @app.get("/orders")
    @flask.require()
    async def orders() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"for": flask_itself.g.principal.userid}

    client = app.test_client()
    assert client.get("/orders", headers={"Authorization": issuer.key().secret}).json == {"for": "bob"}
    assert client.get("/orders").status_code == 401


def test_litestar_closes_what_it_adds_by_itself(issuer: Issuer, verifier: Verifier) -> None:
    """The guard of an application stands before its description too."""
    app = framework_apps.litestar_app(verifier, ())
    assert isinstance(app, litestar.Litestar)
    assert ask(app, "kt_wrong", "/schema/openapi.json").status_code == 401
    assert ask(app, issuer.key().secret, "/schema/openapi.json").status_code == 200


def test_django_forms_need_no_token_of_ours(issuer: Issuer) -> None:
    """A POST with a good key is no forgery; without one it is refused."""
    with application("django", Options(issuer.database)):
        client = Client(enforce_csrf_checks=True)
        assert client.post("/orders", headers={"Authorization": issuer.key().secret}).status_code == 200
        assert client.post("/orders").status_code == 401


def test_django_opens_its_verifier_in_each_process(issuer: Issuer) -> None:
    """A process that forked after a request opens a verifier of its own."""
    request = HttpRequest()
    request.META = {"HTTP_AUTHORIZATION": issuer.key().secret, "REMOTE_ADDR": "127.0.0.1"}
    with application("django", Options(issuer.database)):
        django.protection().check(django.presented_to(request))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, django.protection().check(django.presented_to(request)).userid.encode())
            except CannotStart as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with os.fdopen(read) as told:
            assert told.read() == "bob"


def test_a_view_that_is_open_for_django_may_still_require(issuer: Issuer) -> None:
    """On a path that the middleware opens, the decorator asks by itself."""
    urls = (path("health", django.require("orders:read")(django_views.tell)),)
    with application("django-middleware", Options(issuer.database)), override_settings(ROOT_URLCONF=urls):
        client = Client()
        assert client.get("/health").status_code == 401
        narrow = issuer.narrowed('["orders:write"]').secret
        assert client.get("/health", headers={"Authorization": narrow}).status_code == 403
        assert client.get("/health", headers={"Authorization": issuer.key().secret}).json() == {"for": "bob"}


def test_rest_framework_permissions_cannot_be_widened(issuer: Issuer) -> None:
    """With `|` or `~`, or with a user of another scheme, nobody passes who would not pass alone."""
    narrow = issuer.narrowed('["orders:write"]').secret
    scoped = rest_framework.require("orders:read")
    with application("rest-framework", Options(issuer.database)):
        for permission in (scoped, scoped | AllowAny, scoped & AllowAny, ~scoped):
            view = type("View", (django_views.Orders,), {"permission_classes": [permission]}).as_view()
            for credential, status in ((narrow, 403), ("", 401), ("kt_wrong", 401)):
                request = APIRequestFactory().get("/orders", headers={"Authorization": credential})
                assert view(request).status_code == status
        session = type("Session", (), {"authenticate": lambda *_: (SimpleNamespace(pk=1), None)})
        chosen = {"authentication_classes": [session], "permission_classes": [scoped]}
        view = type("View", (django_views.Orders,), chosen).as_view()
        assert view(APIRequestFactory().get("/orders")).status_code == 401


def test_rest_framework_knows_the_caller(issuer: Issuer) -> None:
    """Permissions and throttles of the framework find an authenticated user; without one it challenges."""
    known: list[Any] = []

    class Me(django_views.Orders):
        permission_classes = [IsAuthenticated]  # noqa: RUF012

        def get(self, request: Any) -> Any:
            known.extend((request.user, request.auth))
            return super().get(request)

    with application("rest-framework", Options(issuer.database)):
        headers = {"Authorization": issuer.key().secret}
        assert Me.as_view()(APIRequestFactory().get("/", headers=headers)).status_code == 200
        user, principal = known
        assert isinstance(principal, Principal)
        assert (str(user), user.pk, user.is_anonymous) == ("bob", principal.user_id, False)
        refused = Me.as_view()(APIRequestFactory().get("/"))
        assert (refused.status_code, refused["WWW-Authenticate"]) == (401, 'Bearer realm="keyturn"')
