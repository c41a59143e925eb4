"""Routes for operators and verifiers: health, the public signing keys, the description of the API."""

from typing import Annotated, Literal

import msgspec
from litestar import Response
from litestar.params import QueryParameter

from keyturn.core.networks import UNIX_PEER, is_within, read_address
from keyturn.core.oauth import JWKS_PATH
from keyturn.errors import StoreUnavailable
from keyturn.services.installation.reader_proof import check_proof
from keyturn.services.tokens.signing_keys import JWKS_MAX_AGE
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest, InjectedCall, Refusal, at_once, brief_read
from keyturn.web.routes import OPEN, route


class Health(msgspec.Struct, frozen=True):
    """How the server is. `details` names each part with its state."""

    status: str
    details: dict[str, str]


class Seen(msgspec.Struct, frozen=True):
    """How a request came to the server."""

    peer: str | None
    """The address at the other end of the connection: a proxy's, if there is one."""
    client: str | None
    """The address that counts as the client's."""
    forwarded: bool
    """Whether a proxy says for whom it asks, in `X-Forwarded-For`."""
    trusted: bool
    """Whether `KEYTURN_TRUSTED_PROXIES` names the peer."""


class Jwks(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@route(
    "GET", "/health/live", access=OPEN, any_host=True, tag="Health", summary="Check that the process is alive"
)
@at_once
def live() -> Health:
    """Report that the process is running.

    Restart the process if this check fails.
    """
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
        QueryParameter(
            name="for",
            description="With `writes`, the check also fails while the database accepts no changes.",
        ),
    ] = "reads",
) -> Response[Health]:
    """Report whether the server can verify credentials.

    The status is 200 if it can, and 503 if it cannot or if it is stopping: `details` gives the reason. Send
    no requests to a server that is not ready.

    The check does not wait for the database. The server checks the database every half second and retries a
    failed write by itself.
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


@route("GET", "/health/seen", access=OPEN, is_described=False)
@brief_read
def seen(
    request: AnyRequest, call: InjectedCall, proof: Annotated[str, QueryParameter(name="proof")] = ""
) -> Response[Seen]:
    """Tell `keyturn admin doctor` how its request came here. To everybody else there is no such thing."""
    services = call.services
    check_proof(proof, services.store, services.system)
    peer = request.client.host if request.client is not None else None
    is_trusted = peer == UNIX_PEER or is_within(read_address(peer or ""), services.settings.trusted_proxies)
    told = Seen(peer, call.origin.address, "x-forwarded-for" in request.headers, is_trusted)
    return Response(told, headers={"Cache-Control": "no-store"})


@route("GET", JWKS_PATH, access=OPEN, tag="Authentication", summary="List the keys that sign bearer tokens")
@brief_read
def jwks(call: InjectedCall) -> Response[Jwks]:
    """Return the public keys for verifying bearer tokens, as a JSON Web Key Set (RFC 7517).

    Programs that verify tokens themselves fetch the keys here. Cache the keys for five minutes at most.
    """
    return Response(
        Jwks(call.services.signing_keys.jwks()["keys"]),
        headers={"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"},
    )


@route("GET", "/openapi.json", access=OPEN, is_described=False)
@at_once
def openapi(request: AnyRequest) -> Response[bytes]:
    """Return the OpenAPI description of these routes, which is generated once."""
    state = request.app.state
    if "description" not in state:
        state.description = Representation.of(
            msgspec.json.encode(request.app.openapi_schema.to_schema()), "application/json"
        )
    description: Representation = state.description
    return description.answer(request, "no-cache")
