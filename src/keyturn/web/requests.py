"""The framework's request, with what the gate put into it."""

import re
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar

from anyio import to_thread
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import PathParameter, SkipValidation

from keyturn.composition import Services
from keyturn.core.principal import Principal
from keyturn.core.records import MAX_ID, is_id
from keyturn.errors import CredentialRefused, KeyturnError, NotFound, Reason
from keyturn.services.audit import Origin

P = ParamSpec("P")
T = TypeVar("T")

AnyRequest = Request[Any, Any, Any]

# What handlers are given. They are ours already, so the framework need not check them.
InjectedServices = NamedDependency[SkipValidation[Services]]
InjectedPrincipal = NamedDependency[SkipValidation[Principal]]
InjectedOrigin = NamedDependency[SkipValidation[Origin]]


IdInPath = Annotated[str, PathParameter(schema_extra={"type": "integer", "minimum": 1, "maximum": MAX_ID})]
"""An id as it stands in the path. Read it with `read_id`: an integer parser takes many spellings of one."""

_ID = re.compile(r"[1-9][0-9]{0,18}")


def read_id(text: str) -> int:
    """Return the id, or raise `NotFound` for what no id looks like."""
    if _ID.fullmatch(text) is None or not is_id(int(text)):
        raise NotFound
    return int(text)


def in_thread(handler: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Run a handler, which is plain code that waits for the database, in a thread.

    Litestar's own `sync_to_thread` wraps a handler anew for each of its paths (2.25).
    """

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await to_thread.run_sync(partial(handler, *args, **kwargs))

    return run


def principal_of(request: AnyRequest) -> Principal:
    """Return who calls; raise `CredentialRefused` on a route that the gate lets strangers reach."""
    principal: Principal | None = request.scope["user"]
    if principal is None:
        raise CredentialRefused(Reason.MISSING)
    return principal


def origin_of(request: AnyRequest) -> Origin:
    """Return where the request comes from."""
    origin: Origin = request.scope["state"]["origin"]
    return origin


def note_failure(request: AnyRequest, error: KeyturnError) -> None:
    """Leave for the gate's log why the request was refused, which its client may not be told."""
    request.scope["state"]["failure"] = failure_name(error)


def failure_name(error: KeyturnError) -> str:
    """Return what the log calls this refusal."""
    return str(getattr(error, "reason", type(error).__name__))
