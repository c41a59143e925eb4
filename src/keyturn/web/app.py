"""The application: routes, dependencies and errors put together, behind the gate."""

import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from litestar import Litestar, MediaType, Response, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import BaseRoute
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from keyturn import __version__
from keyturn.composition import Services, open_services
from keyturn.core.dpop import REPLAY_BOUND
from keyturn.errors import CredentialRefused, InvalidInput, KeyturnError, NotFound, Reason
from keyturn.logs import configure_logs
from keyturn.settings import Settings, read_settings
from keyturn.verifying.redaction import Redactor
from keyturn.web.access import PAGE_PATTERN, login_path, wants_page
from keyturn.web.api import connections as data
from keyturn.web.api import feed, system
from keyturn.web.api.apis import routes as resources
from keyturn.web.api.keys import routes as keys
from keyturn.web.api.keys import system_keys
from keyturn.web.api.oauth import devices
from keyturn.web.api.oauth import routes as oauth
from keyturn.web.api.ownership import service_accounts
from keyturn.web.api.people import (
    attributes,
    groups,
    projects,
    users,
)
from keyturn.web.api.people import (
    me as people,
)
from keyturn.web.api.tokens import routes as authentication
from keyturn.web.edge.gate import Gate
from keyturn.web.edge.headers import SecurityHeaders
from keyturn.web.edge.request_limits import HostRule
from keyturn.web.edge.server import put_requests_first
from keyturn.web.json_response import JsonResponse
from keyturn.web.pages.frame import tabs
from keyturn.web.pages.frame.reauthentication import PassphraseNeeded, send_renewed_session
from keyturn.web.pages.frame.reauthentication import ask as ask_for_passphrase
from keyturn.web.pages.frame.rendering import Pages, see_other
from keyturn.web.pages.frame.visitors import LoginNeeded, find_visitor
from keyturn.web.pages.routes import page_routers
from keyturn.web.requests import MAX_ANSWERS, Answers, AnyRequest, call_of, note_failure, origin_of
from keyturn.web.responses import ErrorResponse, error_response, internal_error, response_of
from keyturn.web.routers import ApiRouter

OPEN_API_ROUTES = (
    authentication.exchange,
    authentication.log_in,
    oauth.token,
    devices.device_authorization,
    oauth.refresh,
    oauth.introspect,
    oauth.revoke,
    oauth.authorization_server,
    oauth.openid_configuration,
    oauth.protected_resource,
    system.live,
    system.ready,
    system.jwks,
    system.openapi,
)
PROTECTED_API_ROUTES = (
    authentication.verify,
    keys.create_key,
    keys.rotate_key,
    keys.list_keys,
    keys.delete_key,
    system_keys.get_system_key,
    system_keys.delete_system_key,
    people.current_user,
    people.list_identity_managers,
    users.add_user,
    users.list_users,
    users.search_users,
    users.get_user,
    users.update_profile,
    users.set_permissions,
    users.remove_permission,
    users.set_password,
    users.set_disabled,
    users.delete_user,
    users.invite_user,
    attributes.give_to_user,
    attributes.take_from_user,
    attributes.give_to_group,
    attributes.take_from_group,
    groups.list_groups,
    groups.add_group,
    groups.get_group,
    groups.update_group,
    groups.delete_group,
    groups.list_members,
    groups.add_member,
    groups.remove_member,
    projects.list_projects,
    projects.add_project,
    projects.get_project,
    projects.update_project,
    projects.delete_project,
    projects.set_project_member,
    projects.remove_project_member,
    projects.add_project_connection,
    projects.remove_project_connection,
    resources.list_services,
    resources.add_service,
    resources.get_service,
    resources.update_service,
    resources.delete_service,
    service_accounts.list_service_accounts,
    service_accounts.add_service_account,
    service_accounts.get_service_account,
    service_accounts.transfer,
    service_accounts.create_service_key,
    service_accounts.list_service_keys,
    service_accounts.delete_service_key,
    data.get_connection,
    feed.follow,
    feed.report_uses,
)

_CREDENTIAL = "Authorization"
_OLDER_GENERATION = "bim"
"""What the older generation of paths begins with (http-api.md, "HTTP API")."""


def from_environment() -> Gate:
    """Return the application as the environment sets it: what each worker process runs."""
    _end_with_supervisor()
    settings = read_settings(os.environ)
    configure_logs(settings.log_level)
    app = create_app(open_services(settings))
    put_requests_first()
    return app


def _end_with_supervisor() -> None:
    """Stop this worker when its supervisor is gone, however it went: it would hold the port for ever."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="keyturn-supervisor", daemon=True).start()


def create_app(services: Services) -> Gate:
    """Return the ASGI application over these services; it closes them when it shuts down."""
    settings = services.settings
    return Gate(
        create_framework_app(services),
        services,
        hosts=_host_rule(settings),
        headers=SecurityHeaders(https=settings.uses_https),
        trusted_proxies=settings.trusted_proxies,
        without_secrets=Redactor(settings.key_prefix),
    )


def create_framework_app(services: Services) -> Litestar:
    """Return the application without the gate: for the gate, and to list its routes."""
    pages = Pages(services.system)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            services.close()

    open_router = ApiRouter("/", route_handlers=OPEN_API_ROUTES, response_class=JsonResponse)
    protected_router = ApiRouter(
        "/", route_handlers=PROTECTED_API_ROUTES, response_class=JsonResponse, security=[{_CREDENTIAL: []}]
    )
    return Litestar(
        route_handlers=[open_router, protected_router, *page_routers()],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "call": Provide(call_of, sync_to_thread=False),
            "origin": Provide(origin_of, sync_to_thread=False),
        },
        exception_handlers={
            LoginNeeded: _lead_to_login,
            PassphraseNeeded: ask_for_passphrase,
            HTTPException: _answer_framework_error,
            KeyturnError: _answer_error,
            Exception: _answer_defect,
        },
        before_request=_check_not_refused,
        openapi_config=_openapi(),
        lifespan=[lifespan],
        before_send=[send_renewed_session],
        logging_config=None,
        request_max_body_size=None,  # The gate bounds every body.
        state=State(
            {
                "services": services,
                "pages": pages,
                "answers": Answers(services.verification.freshness, max_entries=MAX_ANSWERS),
                "is_draining": False,
            }
        ),
    )


async def _check_not_refused(request: AnyRequest) -> None:
    """Raise what the gate found wrong with the request of a page."""
    refused: KeyturnError | None = request.scope["state"].get("refused")
    if refused is not None:
        raise refused


def _lead_to_login(request: AnyRequest, needed: LoginNeeded) -> Response[Any]:
    """Show a browser the login; a program, which cannot use that, is refused as everywhere."""
    if wants_page(request.scope):
        return see_other(login_path(needed.path))
    return _answer_error(request, CredentialRefused(Reason.MISSING))


def _answer_error(request: AnyRequest, error: KeyturnError) -> Response[Any]:
    note_failure(request, error)
    if isinstance(error, CredentialRefused) and PAGE_PATTERN.fullmatch(request.scope["path"]):
        return see_other(f"/login?then={request.scope['path']}")  # The session has ended meanwhile.
    return _answer(request, response_of(error))


def _answer_defect(request: AnyRequest, error: Exception) -> Response[Any]:
    """Log what nobody foresaw under the request's id, and answer without it (S7)."""
    structlog.get_logger().error("request_failed", request_id=origin_of(request).request_id, exc_info=error)
    request.scope["state"]["failure"] = "defect"
    return _answer(request, internal_error())


def _answer_framework_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Give the framework's own refusals our shape: no such route or method, an unfit parameter."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return _answer_error(request, NotFound())
        case HTTPStatus.METHOD_NOT_ALLOWED if request.scope["path"].startswith(tabs.START):
            return _answer_error(request, NotFound())  # Which pages there are is not for everybody.
        case HTTPStatus.BAD_REQUEST:
            return _answer_error(request, InvalidInput(*_parameter_at_fault(error)))
        case status:
            request.scope["state"]["failure"] = HTTPStatus(status).phrase
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return _answer(request, internal_error())
            headers = tuple((error.headers or {}).items())
            return _answer(request, error_response(status, f"{HTTPStatus(status).phrase}.", *headers))


def _parameter_at_fault(error: HTTPException) -> tuple[str, str]:
    """Name the path, query or header parameter that the framework refused."""
    problems = error.extra if isinstance(error.extra, list) else []
    first = problems[0] if problems and isinstance(problems[0], dict) else {}
    field = str(first.get("key", "request"))
    return field, f"The parameter {field} is not of the form that it must have."


def _answer(request: AnyRequest, response: ErrorResponse) -> Response[Any]:
    """Answer in HTML where a browser looks at a page, in JSON everywhere else."""
    headers = dict(response.headers)
    if not (PAGE_PATTERN.fullmatch(request.scope["path"]) and wants_page(request.scope)):
        return Response(
            response.encoded(), status_code=response.status, media_type=MediaType.JSON, headers=headers
        )
    services: Services = request.app.state.services
    pages: Pages = request.app.state.pages
    try:
        is_refused = request.scope["state"].get("refused") is not None
        visitor = None if is_refused else find_visitor(request, services)
    except KeyturnError:
        visitor = None  # What failed for the page fails for its head too.
    page = pages.render(
        "frame/message.html",
        visitor,
        title=_TITLES.get(HTTPStatus(response.status), "This did not work"),
        text=response.body.message,
        link_href="/profile",
        link_text="Go to your profile",
    )
    page.status_code = response.status
    page.headers.update(headers)
    return page


_TITLES = {
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.FORBIDDEN: "This was refused",
    HTTPStatus.SERVICE_UNAVAILABLE: "Try again in a moment",
}


def _host_rule(settings: Settings) -> HostRule:
    """Return which hosts are answered: the public one, the allowed ones, and loopback on loopback."""
    public = urlsplit(settings.public_url)
    port = {"http": ":80", "https": ":443"}[public.scheme]
    bare = public.netloc.lower().removesuffix(port)
    names = {bare, *settings.allowed_hosts} | ({f"{bare}{port}"} if public.port is None else set())
    return HostRule(frozenset(names), allows_loopback=settings.is_loopback_bind)


def _operation_id(
    handler: HTTPRouteHandler, _method: Method, components: list[str | PathParameterDefinition]
) -> str:
    """Name an operation after its function; the newer, shorter one of two paths gets a name of its own."""
    is_shorter_twin = len(handler.paths) > 1 and components[0] != _OLDER_GENERATION
    return handler.handler_name + ("_short_path" if is_shorter_twin else "")


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Keyturn",
        version=__version__,
        description="API keys and bearer tokens. Send either in `Authorization`, alone or after `Bearer `.",
        components=Components(
            security_schemes={
                _CREDENTIAL: SecurityScheme(
                    type="apiKey",
                    name="Authorization",
                    security_scheme_in="header",
                    description="An API key or a bearer token, alone or after `Bearer `; one that is bound "
                    "to a key pair after `DPoP `, with a proof in a `DPoP` header (RFC 9449). "
                    f"{REPLAY_BOUND}",
                )
            }
        ),
        operation_id_creator=_operation_id,
        use_handler_docstrings=True,
        openapi_router=_Unserved("/", route_handlers=()),
        render_plugins=[],
    )


class _Unserved(Router):
    """Takes the routes by which the framework serves its own pages of the description, and serves none."""

    def register(self, value: object) -> list[BaseRoute]:  # noqa: ARG002 - as the framework calls it
        """Take a handler for nothing."""
        return []
