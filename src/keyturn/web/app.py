"""The application: routes, dependencies and errors put together, behind the gate."""

import asyncio
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from anyio import to_thread
from litestar import Litestar, MediaType, Response, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import BaseRoute

from keyturn import __version__
from keyturn.composition import Services, open_services
from keyturn.core.dpop import REPLAY_BOUND
from keyturn.counting.counts import Counts
from keyturn.errors import CredentialRefused, InvalidInput, KeyturnError, NotFound, Reason
from keyturn.logs import configure_logs
from keyturn.services.connections.schedule import EVERY_SECONDS
from keyturn.settings import Settings, read_settings
from keyturn.verifying.redaction import Redactor
from keyturn.web.api.routes import api_handlers
from keyturn.web.edge.gate import Gate
from keyturn.web.edge.gauges import Gauges
from keyturn.web.edge.headers import SecurityHeaders
from keyturn.web.edge.memory import bound_memory_of_threads
from keyturn.web.edge.request_checks import HostRule
from keyturn.web.edge.server import put_requests_first
from keyturn.web.edge.tracing import Traces
from keyturn.web.json_response import JsonResponse
from keyturn.web.navigation import login_path, wants_page
from keyturn.web.pages.documentation.site import site_of
from keyturn.web.pages.frame import tabs
from keyturn.web.pages.frame.forms import Forms
from keyturn.web.pages.frame.messages import message_of
from keyturn.web.pages.frame.reauthentication import PasswordNeeded, send_renewed_session
from keyturn.web.pages.frame.reauthentication import ask as ask_for_password
from keyturn.web.pages.frame.rendering import Pages, see_other
from keyturn.web.pages.frame.visitors import LoginNeeded, find_visitor
from keyturn.web.pages.routes import page_handlers, page_routers
from keyturn.web.parameters import check_parameters
from keyturn.web.requests import (
    MAX_ANSWERS,
    Answers,
    AnyRequest,
    call_of,
    check_not_refused,
    note_failure,
    origin_of,
)
from keyturn.web.responses import ErrorResponse, error_response, internal_error, response_of
from keyturn.web.route_table import RouteTable
from keyturn.web.routers import ApiRouter
from keyturn.web.routes import CREDENTIAL, NAMES, declared_by, operation_id


def from_environment(counts: Counts) -> Gate:
    """Return the application as the environment sets it: what each worker process runs.

    It counts in `counts` if the settings show metrics.
    """
    _end_with_supervisor()
    settings = read_settings(os.environ)
    configure_logs(settings.log_level)
    app = create_app(open_services(settings, counts=counts if settings.management else None))
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
    routes = route_table(documentation=settings.documentation)
    return Gate(
        create_framework_app(services),
        services,
        routes=routes,
        hosts=_host_rule(settings, routes),
        headers=SecurityHeaders(routes, https=settings.uses_https),
        trusted_proxies=settings.trusted_proxies,
        without_secrets=Redactor(settings.key_prefix),
        traces=Traces() if settings.traces else None,
    )


def route_table(*, documentation: bool = True) -> RouteTable:
    """Return every route that is declared; those of the documentation may be switched off."""
    handlers = (*api_handlers(), *page_handlers(documentation=documentation))
    return RouteTable(declared for handler in handlers for declared in declared_by(handler))


def create_framework_app(services: Services) -> Litestar:
    """Return the application without the gate: for the gate, and to list its routes.

    It serves what is declared, and nothing else.
    """
    settings = services.settings
    pages, routes = (
        Pages(
            services.system,
            has_documentation=settings.documentation,
            password_min_characters=settings.password_min_characters,
        ),
        route_table(documentation=settings.documentation),
    )
    site = site_of(settings, services.system)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        bound_memory_of_threads()
        services.start()
        tasks = [
            asyncio.create_task(again_and_again(services))
            for again_and_again in (_look_again_and_again, _prune_again_and_again)
        ]
        if services.counts.is_shown:
            tasks.append(asyncio.create_task(Gauges(services).publish()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            services.backup_schedule.close()
            services.counts.settle()
            services.close()

    app = Litestar(
        route_handlers=[
            ApiRouter("/", route_handlers=api_handlers(), response_class=JsonResponse),
            *page_routers(documentation=settings.documentation),
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "site": Provide(lambda: site, sync_to_thread=False),
            "call": Provide(call_of, sync_to_thread=False),
            "origin": Provide(origin_of, sync_to_thread=False),
        },
        exception_handlers={
            LoginNeeded: _lead_to_login,
            PasswordNeeded: ask_for_password,
            HTTPException: _answer_framework_error,
            KeyturnError: _answer_error,
            Exception: _answer_defect,
        },
        before_request=_check_request,
        openapi_config=_openapi(),
        lifespan=[lifespan],
        before_send=[send_renewed_session],
        logging_config=None,
        request_max_body_size=None,  # The gate bounds every body.
        state=State(
            {
                "services": services,
                "pages": pages,
                "routes": routes,
                "forms": Forms(page_handlers(documentation=settings.documentation)),
                "answers": Answers(services.verification.freshness, max_entries=MAX_ANSWERS),
                "is_draining": False,
            }
        ),
    )
    routes.check_serves(app.routes)
    return app


async def _check_request(request: AnyRequest) -> None:
    check_not_refused(request.scope)
    check_parameters(request)


def _lead_to_login(request: AnyRequest, needed: LoginNeeded) -> Response[Any]:
    """Show a browser the login; a program, which cannot use that, is refused as everywhere."""
    if wants_page(request.scope):
        return see_other(login_path(needed.path))
    return _answer_error(request, CredentialRefused(Reason.MISSING))


def _answer_error(request: AnyRequest, error: KeyturnError) -> Response[Any]:
    note_failure(request.scope, error)
    if isinstance(error, CredentialRefused) and _is_page(request):
        return see_other(f"/login?then={request.scope['path']}")  # The session has ended meanwhile.
    return _answer(request, response_of(error), error)


def _answer_defect(request: AnyRequest, error: Exception) -> Response[Any]:
    """Log what nobody foresaw under the request's id, and answer without it (S7)."""
    structlog.get_logger().error("request_failed", request_id=origin_of(request).request_id, exc_info=error)
    request.scope["state"]["failure"] = "defect"
    return _answer(request, internal_error())


_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")
"""How the framework says it (litestar 2.25)."""


def _answer_framework_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Give the framework's own refusals our shape: no such route or method, an unfit parameter."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return _answer_error(request, NotFound())
        case HTTPStatus.METHOD_NOT_ALLOWED if request.scope["path"].startswith(tabs.START):
            return _answer_error(request, NotFound())  # Which pages there are is not for everybody.
        case HTTPStatus.BAD_REQUEST:
            return _answer_error(request, InvalidInput(*_parameter_at_fault(request, error)))
        case status:
            request.scope["state"]["failure"] = HTTPStatus(status).phrase
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return _answer(request, internal_error())
            headers = tuple((error.headers or {}).items())
            return _answer(request, error_response(status, f"{HTTPStatus(status).phrase}.", *headers))


def _parameter_at_fault(request: AnyRequest, error: HTTPException) -> tuple[str, str]:
    """Name the path, query or header parameter that the framework refused, as it is called on the wire."""
    problems = error.extra if isinstance(error.extra, list) else []
    first = problems[0] if problems and isinstance(problems[0], dict) else {}
    missing = _MISSING.search(error.detail)
    name = missing[1] if missing is not None else str(first.get("key", "request"))
    field = request.route_handler.opt.get(NAMES, {}).get(name, name)
    return field, f"The parameter {field} is not of the form that it must have."


def _answer(request: AnyRequest, response: ErrorResponse, error: KeyturnError | None = None) -> Response[Any]:
    """Answer in HTML where a browser looks at a page, in JSON everywhere else."""
    headers = dict(response.headers)
    if not (_is_page(request) and wants_page(request.scope)):
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
    origin = origin_of(request)
    asked_for = (origin.via or "").partition(" ")[2]
    message = message_of(
        response.status, response.body.message, error, path=asked_for, request_id=origin.request_id
    )
    page = pages.render(
        "frame/message.html",
        visitor,
        picture=message.picture,
        title=message.title,
        text=message.text,
        link_href="/profile/keys",
        link_text="Go to API Keys",
        more_href=_documentation(request, response.status),
        more_text="Search the documentation",
    )
    page.status_code = response.status
    page.headers.update(headers)
    return page


def _is_page(request: AnyRequest) -> bool:
    routes: RouteTable = request.app.state.routes
    return routes.is_page(request.scope["path"])


def _documentation(request: AnyRequest, status: int) -> str | None:
    """Return the second way on from a page that is not there."""
    services: Services = request.app.state.services
    return "/docs" if status == HTTPStatus.NOT_FOUND and services.settings.documentation else None


def _host_rule(settings: Settings, routes: RouteTable) -> HostRule:
    """Return which hosts are answered: the public one, the allowed ones, and loopback on loopback."""
    public = urlsplit(settings.public_url)
    port = {"http": ":80", "https": ":443"}[public.scheme]
    bare = public.netloc.lower().removesuffix(port)
    names = {bare, *settings.allowed_hosts} | ({f"{bare}{port}"} if public.port is None else set())
    return HostRule(
        frozenset(names),
        allows_loopback=settings.is_loopback_bind,
        any_host_paths=routes.any_host_paths,
    )


async def _look_again_and_again(services: Services) -> None:
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        await to_thread.run_sync(services.connection_schedule.look)
        await to_thread.run_sync(services.backup_schedule.look)


async def _prune_again_and_again(services: Services) -> None:
    has_more = False
    while True:
        await asyncio.sleep(1 if has_more else EVERY_SECONDS)
        has_more = await to_thread.run_sync(services.retention.look)


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Keyturn",
        version=__version__,
        description="API keys and bearer tokens. Send either in `Authorization`, alone or after `Bearer `.",
        components=Components(
            security_schemes={
                CREDENTIAL: SecurityScheme(
                    type="apiKey",
                    name="Authorization",
                    security_scheme_in="header",
                    description="An API key or a bearer token, as it is or after `Bearer `. A credential "
                    "that is bound to a key pair follows `DPoP `, with a proof in a `DPoP` header (RFC "
                    "9449). "
                    f"{REPLAY_BOUND}",
                )
            }
        ),
        operation_id_creator=operation_id,
        use_handler_docstrings=True,
        openapi_router=_Unserved("/", route_handlers=()),
        render_plugins=[],
    )


class _Unserved(Router):
    """Takes the routes by which the framework serves its own pages of the description, and serves none."""

    def register(self, value: object) -> list[BaseRoute]:  # noqa: ARG002 - as the framework calls it
        """Take a handler for nothing."""
        return []
