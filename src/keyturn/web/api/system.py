"""What operators and verifiers ask: health, the public signing keys, the description of the API."""

from typing import Any

import msgspec
from litestar import Response, get

from keyturn.core.oauth import JWKS_PATH
from keyturn.errors import StoreUnavailable
from keyturn.services.signing_keys import JWKS_MAX_AGE
from keyturn.web.requests import AnyRequest, InjectedCall, Refusal, brief_read, in_thread
from keyturn.web.responses import documented


class Health(msgspec.Struct, frozen=True):
    """How the server is. `details` names each part with its state."""

    status: str
    details: dict[str, str]


class Jwks(msgspec.Struct, frozen=True):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@get("/health/live", sync_to_thread=False, tags=["Health"], summary="Is the process alive")
def live() -> Health:
    """Answer as soon as the server runs. A failure means: restart it."""
    return Health("ok", {})


@get(
    "/health/ready",
    tags=["Health"],
    summary="Can it do its work",
    responses=documented(),
)
@in_thread
def ready(call: InjectedCall) -> Response[Health]:
    """Answer 200 while credentials can be judged, 503 and why while not: then send no requests here."""
    why_not = call.services.verification.freshness.why_not()
    if why_not is None:
        call.services.store.installation.revision()
        return Response(Health("ok", {"database": "up"}))
    return Refusal(Health("unavailable", {"database": why_not}), refused=StoreUnavailable(why_not))


@get(
    JWKS_PATH,
    tags=["Authentication"],
    summary="The keys that sign bearer tokens",
)
@brief_read
def jwks(call: InjectedCall) -> Response[Jwks]:
    """Answer the public keys, for services that check tokens themselves."""
    return Response(
        Jwks(call.services.signing_keys.jwks()["keys"]),
        headers={"Cache-Control": f"public, max-age={int(JWKS_MAX_AGE.total_seconds())}"},
    )


@get("/openapi.json", sync_to_thread=False, include_in_schema=False)
def openapi(request: AnyRequest) -> dict[str, Any]:
    """Answer the OpenAPI description of these routes."""
    return request.app.openapi_schema.to_schema()
