"""The framework's request, with what the gate put into it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar, cast

import msgspec
from anyio import to_thread
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter, SkipValidation
from litestar.response.base import ASGIResponse

from keyturn.composition import Services
from keyturn.core.pages import MAX_PAGE
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID, is_id
from keyturn.errors import CredentialRefused, KeyturnError, NotFound, Reason, TooManyFailures, failure_name
from keyturn.services.changes.answer_cache import AnswerCache
from keyturn.verifying.origin import Origin
from keyturn.web.responses import response_of

P = ParamSpec("P")
T = TypeVar("T")

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """The facts of a call that a route needs, in one value: the framework runs a task for each of several."""

    services: Services
    origin: Origin
    found: Principal | None
    answers: "Answers"

    @property
    def principal(self) -> Principal:
        """The caller. Raise `CredentialRefused` on a route that the gate lets strangers reach."""
        if self.found is None:
            raise CredentialRefused(Reason.MISSING)
        return self.found


MAX_ANSWERS = 200
"""About 25 MB if each is the longest page of a list."""
Answers = AnswerCache[msgspec.Raw]
"""JSON that was answered, by who asked for what: true until anything is changed."""

# What handlers are given. They are ours already, so the framework need not check them.
InjectedCall = NamedDependency[SkipValidation[Call]]
InjectedServices = NamedDependency[SkipValidation[Services]]
InjectedOrigin = NamedDependency[SkipValidation[Origin]]


IdInPath = Annotated[str, PathParameter(schema_extra={"type": "integer", "minimum": 1, "maximum": MAX_ID})]
"""An id as it stands in the path. Read it with `read_id`: an integer parser takes many spellings of one."""

PageSize = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)]
"""How many of a list are asked for."""
PageOffset = Annotated[int, QueryParameter(ge=0, le=1_000_000)]
"""How many of a list are left out before those."""

TransferTo = Annotated[
    str | None,
    QueryParameter(
        name="handOverTo",
        description="The person who owns the service accounts from then on; without one they end too.",
    ),
]

_ID = re.compile(r"[1-9][0-9]{0,18}")


def read_id(text: str) -> int:
    """Return the id, or raise `NotFound` for what no id looks like."""
    if _ID.fullmatch(text) is None or not is_id(int(text)):
        raise NotFound
    return int(text)


def asked_id(text: str) -> int:
    """Return the id, or 0, which is nothing's, for what no id looks like.

    For services that say first whether the caller may ask at all.
    """
    return int(text) if _ID.fullmatch(text) is not None else 0


def in_thread(handler: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Run a handler, which is plain code that waits for the database, in a thread.

    Litestar's own `sync_to_thread` wraps a handler anew for each of its paths (2.25).
    """

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await to_thread.run_sync(partial(handler, *args, **kwargs))

    return run


def at_once(handler: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Run a handler that waits for nothing: it answers what is known already."""

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return handler(*args, **kwargs)

    return run


def brief_read(handler: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Run a handler that asks the database a few short questions at most, and changes nothing.

    At once where a question takes microseconds, as on SQLite: a thread costs more. Else in a thread.
    """
    in_a_thread = in_thread(handler)

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        call = cast(Call, kwargs["call"])
        if call.services.store.blocks_briefly:
            return handler(*args, **kwargs)
        return await in_a_thread(*args, **kwargs)

    return run


def recorded_read(handler: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Run a `brief_read` whose answer depends on nothing but the caller, its parameters and recorded changes.

    Where the database is asked at once, the answer is remembered as JSON until anything is changed: making it
    costs several times what the request does. On PostgreSQL, where another node may have written just now,
    each answer is read.
    """
    read = brief_read(handler)

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        call = cast(Call, kwargs["call"])
        if not call.services.store.blocks_briefly:
            return await read(*args, **kwargs)
        asked = tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in kwargs.items()
            if name != "call"
        )
        answer = call.answers.find(
            (handler, call.principal, asked),
            lambda: msgspec.Raw(msgspec.json.encode(handler(*args, **kwargs))),
        )
        return cast(T, answer)

    return run


def call_of(request: AnyRequest) -> Call:
    """Return what the gate found out of this request, with the services."""
    state = request.app.state
    return Call(state.services, origin_of(request), request.scope["user"], state.answers)


def origin_of(request: AnyRequest) -> Origin:
    """Return where the request comes from."""
    origin: Origin = request.scope["state"]["origin"]
    return origin


def check_not_refused(scope: Mapping[str, Any]) -> None:
    """Raise what the gate found wrong with the request of a page."""
    refused: KeyturnError | None = scope["state"].get("refused")
    if refused is not None:
        raise refused


def note_failure(scope: Any, error: KeyturnError) -> None:
    """Leave for the gate's log why the request was refused, which its client may not be told."""
    scope["state"]["failure"] = failure_name(error)
    if isinstance(error, TooManyFailures):
        scope["state"]["limit"] = error.limit


class Refusal(Response[T]):
    """An answer that says no in its own way, as pages do; the log is told why."""

    def __init__(self, content: T, *, refused: KeyturnError, **options: Any) -> None:
        answer = response_of(refused)
        super().__init__(content, status_code=answer.status, headers=dict(answer.headers), **options)
        self._refused = refused

    def to_asgi_response(self, app: Any, request: AnyRequest, **options: Any) -> ASGIResponse:
        """Return what is sent."""
        note_failure(request.scope, self._refused)
        return super().to_asgi_response(app, request, **options)
