"""The one declaration of a route: where it is, who may call it, what it takes, answers and refuses.

    @route("GET", "/thing/{thingid:str}", access=needs(Permission.AUDIT), tag="Things", summary="Read one")
    @brief_read
    def get_thing(thingid: IdInPath, call: InjectedCall) -> ThingView: ...

From it follow what the gate opens, the refusals and the security of the OpenAPI description, the headers of
the answers, and the tables that the reference and the tests are compared with. A declaration that says
nothing of access is closed to strangers, and so is every path that nobody declared. A handler without a
declaration is never served. Pages are declared by `pages.frame.forms`, with the same `Route`.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, get_args, get_origin

from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation, RequestBody
from litestar.params import HeaderParameter, QueryParameter
from litestar.types.internal_types import PathParameterDefinition

from keyturn.core.permissions import Permission
from keyturn.web.responses import FORBIDDEN, NOT_FOUND, UNAUTHENTICATED, documented

CREDENTIAL = "Authorization"
"""The name of the one way to authenticate in the OpenAPI description."""
DECLARED = "declared"
"""Where a handler keeps its declarations among the framework's options."""
IGNORED = "ignored"
"""Where it keeps the names of those that make no difference."""
NAMES = "names"
"""Where it keeps the names of its parameters on the wire."""
PARAMETERS = "parameters"
"""Where the handler of a list keeps the query parameters that it takes; None for whatever is no list.

A list does not know other ones, and so would not obey them: more would be answered than was asked for.
"""

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Handler = Callable[..., Any]

_CONVERTER = re.compile(r"{(\w+):(\w+)}")
_MATCHES = {"str": "[^/]+", "path": ".*"}
"""The part of a path that the parameters of each kind take."""


class HeaderSet(Enum):
    """Which of the fixed sets of headers an answer has (`edge.headers`)."""

    DATA = "data"
    DOCUMENT = "document"
    CONNECTING_DOCUMENT = "connecting document"
    """A document whose script asks this server: of the documentation, or one with suggestions."""


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """The access to a route: by default for any credential, or on a page for any session."""

    any_of: tuple[Permission, ...] = ()
    """Any one of these opens it. The services enforce it; a page has a guard besides.

    Where no right is named it is the caller's own: their keys, their projects. To give a permission away, or
    a password, link or key of somebody who holds it, or a service account that does, one must hold it
    oneself (A3).
    """
    without: str | None = None
    """The part of the route that needs no permission, in words; None if the whole route needs one."""
    is_open: bool = False
    """Whether anybody may call it, without a credential."""
    reads_credential: bool = False
    """Whether an open route reads a credential all the same, which must be in one place (H3)."""


CLOSED = RouteAccess()
OPEN = RouteAccess(is_open=True)
PROVES_ITSELF = RouteAccess(is_open=True, reads_credential=True)
"""Open, since it finds out by itself who asks, in its own ways (RFC 6749, section 2.3)."""


def needs(*any_of: Permission, without: str | None = None) -> RouteAccess:
    """Return the access of a route that any one of these permissions opens."""
    return RouteAccess(any_of, without)


class Alias(NamedTuple):
    """A second path of a route, or a second method at its path."""

    path: str
    operation_id: str | None = None
    """None for that of the route with `_short_path` behind it, for the newer of two generations of paths,
    or `_by_post`."""
    method: Method | None = None
    """None for that of the route."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method at a path, and what is declared of it."""

    method: Method
    path: str
    """As the framework has it: `/thing/{thingid:str}`."""
    access: RouteAccess = CLOSED
    headers: HeaderSet = HeaderSet.DATA
    is_page: bool = False
    """Whether it asks for a session, by cookie, and sends a stranger to the login."""
    section: str | None = None
    """Below this every path is a page, whether it is declared or not."""
    any_host: bool = False
    """Whether it is answered under any single well-formed `Host` (H7)."""
    operation_id: str | None = None

    @property
    def described_path(self) -> str:
        """The path as people and OpenAPI write it: `/thing/{thingid}`."""
        return _CONVERTER.sub(r"{\1}", self.path)

    @property
    def pattern(self) -> str:
        """The regular expression of the paths that it answers."""
        parts = _CONVERTER.split(self.path)  # Text, name, kind, and so on.
        return re.escape(parts[0]) + "".join(
            _MATCHES[kind] + re.escape(text) for kind, text in zip(parts[2::3], parts[3::3], strict=True)
        )


class Description(TypedDict, total=False):
    """The OpenAPI description of a route besides its docstring."""

    tag: str
    summary: str
    body: RequestBody
    answers: Mapping[int, ResponseSpec]
    """Successes that the return type does not tell of."""
    refusals: Collection[HTTPStatus] | Mapping[int, ResponseSpec]
    """Refusals besides those that follow from its access and its path; as a mapping, all of them.

    An open route without any tells of none.
    """


def route(
    method: Method,
    path: str,
    *,
    access: RouteAccess = CLOSED,
    alias: Alias | None = None,
    any_host: bool = False,
    is_described: bool = True,
    ignores: Collection[str] = (),
    **described: Unpack[Description],
) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a route of the API. It answers 200; raise `TypeError` for a handler that may block the loop.

    `ignores` are query parameters that clients send to this list and that make no difference: those of
    compatibility.md, "Clients of the Immuta API".
    """

    def declare(handler: Handler) -> HTTPRouteHandler:
        name, names = handler.__name__, _names_of_parameters(handler)
        routes = [Route(method, path, access, any_host=any_host, operation_id=name)]
        if alias is not None:
            second = alias.operation_id or f"{name}_{'short_path' if alias.method is None else 'by_post'}"
            routes.append(
                Route(alias.method or method, alias.path, access, any_host=any_host, operation_id=second)
            )
        return serving(
            handler,
            routes,
            paths=list(dict.fromkeys(declared.path for declared in routes)),
            opt={
                NAMES: names,
                PARAMETERS: frozenset({*names.values(), *ignores}) if _answers_list(handler) else None,
                IGNORED: frozenset(ignores),
            },
            status_code=HTTPStatus.OK,
            include_in_schema=is_described,
            **(_openapi(path, access, described) if is_described else {}),
        )

    return declare


def serving(
    handler: Handler,
    routes: Collection[Route],
    *,
    paths: list[str],
    opt: Mapping[str, Any] | None = None,
    **options: Any,
) -> HTTPRouteHandler:
    """Return what the framework calls, with its declarations; raise `TypeError` if it may block the loop."""
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(
            f"{handler.__qualname__} may block the event loop: decorate it with in_thread, brief_read, "
            "recorded_read or at_once."
        )
    methods: list[Method] = sorted({declared.method for declared in routes})
    return HTTPRouteHandler(
        paths, http_method=methods, opt={**(opt or {}), DECLARED: tuple(routes)}, **options
    )(handler)


def declared_by(handler: HTTPRouteHandler) -> tuple[Route, ...]:
    """Return what a handler declares; raise `TypeError` for one that was not declared."""
    routes: tuple[Route, ...] | None = handler.opt.get(DECLARED)
    if routes is None:
        raise TypeError(f"{handler.handler_name} is not declared: decorate it with route, page or form.")
    return routes


def handlers_in(modules: Iterable[ModuleType]) -> list[HTTPRouteHandler]:
    """Return the handlers of these modules, in the order in which they stand there."""
    return [
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, HTTPRouteHandler) and found.fn.__module__ == module.__name__
    ]


def operation_id(
    handler: HTTPRouteHandler, method: object, components: list[str | PathParameterDefinition]
) -> str:
    """Return what OpenAPI calls the route of a handler at one of its paths."""
    path = "/" + "/".join(part if isinstance(part, str) else f"{{{part.full}}}" for part in components)
    names: dict[tuple[str, str], str | None] = {
        (one.method, one.path): one.operation_id for one in declared_by(handler)
    }
    return names[str(getattr(method, "value", method)), path] or f"{handler.handler_name}_{method}".lower()


def _names_of_parameters(handler: Handler) -> dict[str, str]:
    """Return the names of query and header parameters on the wire, by those that the handler gives them."""
    return {
        name: kind.name or name
        for name, parameter in inspect.signature(handler, eval_str=True).parameters.items()
        for kind in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(kind, (QueryParameter, HeaderParameter))
    }


def _answers_list(handler: Handler) -> bool:
    """Return whether a handler answers an array, or what has a `count` or a `next` page."""
    answered = inspect.signature(handler, eval_str=True).return_annotation
    shapes = get_args(answered) or (answered,)
    return get_origin(answered) is list or any(
        not {"count", "next"}.isdisjoint(getattr(one, "__struct_fields__", ())) for one in shapes
    )


def _openapi(path: str, access: RouteAccess, described: Description) -> dict[str, Any]:
    """Return what the framework's description is made of."""
    return {
        "tags": [described["tag"]],
        "summary": described["summary"],
        "security": None if access.is_open else [{CREDENTIAL: []}],
        "responses": {**described.get("answers", {}), **_refusals(path, access, described.get("refusals"))},
        "operation_class": _operation(described.get("body")),
    }


def _refusals(
    path: str, access: RouteAccess, named: Collection[HTTPStatus] | Mapping[int, ResponseSpec] | None
) -> Mapping[int, ResponseSpec]:
    """Return the refusals of a route.

    A closed one is 401 without a credential, 403 where nothing goes without a permission, and 404 where a
    path names a thing that may not be there.
    """
    if isinstance(named, Mapping):
        return named
    if access.is_open:
        return {} if named is None else documented(*named)
    follow = [UNAUTHENTICATED]
    if access.any_of and access.without is None:
        follow.append(FORBIDDEN)
    if "{" in path:
        follow.append(NOT_FOUND)
    return documented(*follow, *(named or ()))


def _operation(body: RequestBody | None) -> type[Operation]:
    if body is None:
        return Operation

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return OperationWithBody
