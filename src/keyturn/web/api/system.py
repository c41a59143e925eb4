"""Routes for operators and verifiers: health, the public signing keys, the description of the API."""

from typing import Annotated, Literal

import msgspec
from litestar import Response
from litestar.params import QueryParameter

from keyturn.core.oauth import JWKS_PATH
from keyturn.errors import StoreUnavailable
from keyturn.services.tokens.signing_keys import JWKS_MAX_AGE
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest, InjectedCall, Refusal, at_once, brief_read
from keyturn.web.routes import OPEN, route


class Health(msgspec.Struct, frozen=True):
    """How the server is. `details` names each part with its state."""

    status: str
    details: dict[str, str]


class Jwks(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@route(
    "GET", "/health/live", access=OPEN, any_host=True, tag="Health", summary="Check that the process is alive"
)
@at_once
def live() -> Health:
    """Answer as soon as the server runs. A failure means: restart it."""
    return Health("ok", {})


@route(
    "GET",
    "/health/ready",
    access=OPEN,
    any_host=True,
    tag="Health",
    summary="Check that the server can answer",
    refusals=(),
)
@at_once
def ready(
    request: AnyRequest,
    call: InjectedCall,
    purpose: Annotated[
        Literal["reads", "writes"],
        QueryParameter(name="for", description="With `writes`, 503 too while the database takes no changes."),
    ] = "reads",
) -> Response[Health]:
    """Answer 200 while credentials can be judged, 503 and why while not: then send no requests here.

    From what is known already, so that it waits for nothing: the database is looked into every half second,
    and a write that failed is tried again by itself.
    """
    if request.app.state.is_draining:
        return Refusal(
            Health("stopping", {"server": "stopping"}), refused=StoreUnavailable("the server is stopping")
        )
    why_not = call.services.verification.freshness.why_not()
    failing = call.services.store.writes.failing
    details = {
        "database": why_not or "up",
        "writes": "up" if failing is None else f"failing: {failing}",
    }
    if why_not is None and (failing is None or purpose == "reads"):
        return Response(Health("ok", details))
    why = why_not or f"writes are failing: {failing}"
    return Refusal(Health("unavailable", details), refused=StoreUnavailable(why))


@route("GET", JWKS_PATH, access=OPEN, tag="Authentication", summary="List the keys that sign bearer tokens")
@brief_read
def jwks(call: InjectedCall) -> Response[Jwks]:
    """Answer the public keys, for services that check tokens themselves."""
    return Response(
        Jwks(call.services.signing_keys.jwks()["keys"]),
        headers={"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"},
    )


@route("GET", "/openapi.json", access=OPEN, is_described=False)
@at_once
def openapi(request: AnyRequest) -> Response[bytes]:
    """Answer the OpenAPI description of these routes, which is written once."""
    state = request.app.state
    if "description" not in state:
        state.description = Representation.of(
            msgspec.json.encode(request.app.openapi_schema.to_schema()), "application/json"
        )
    description: Representation = state.description
    return description.answer(request, "no-cache")
