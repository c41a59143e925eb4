"""OAuth: the token endpoint, introspection, revocation, and where to find them."""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import RawBody

from keyturn.core.principal import AuthMethod
from keyturn.errors import MalformedRequest, OAuthCode, OAuthRefused
from keyturn.services.oauth import (
    ACCESS_TOKEN_TYPE,
    CLIENT_CREDENTIALS,
    TOKEN_EXCHANGE,
    Grant,
    Introspection,
)
from keyturn.web.access import INTROSPECTION_PATH, REFRESH_PATH, REVOCATION_PATH, TOKEN_PATH
from keyturn.web.api.bodies import FORM, Unshown, media_type, read_form
from keyturn.web.api.documentation import with_form
from keyturn.web.requests import AnyRequest, Call, InjectedCall, brief_read, in_thread
from keyturn.web.responses import OAuthErrorBody

BEARER = "Bearer"
_METADATA_AGE = {"Cache-Control": "public, max-age=3600"}
_ERRORS = {
    int(status): ResponseSpec(OAuthErrorBody, generate_examples=False, description=status.phrase)
    for status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED)
}
_CLIENT_AUTHENTICATION = ["client_secret_basic", "client_secret_post"]


class TokenForm(Unshown, frozen=True):
    """What the token endpoint is sent."""

    grant_type: str
    scope: str = ""
    resource: str = ""
    audience: str = ""
    client_id: str = ""
    client_secret: str = ""
    subject_token: str = ""
    subject_token_type: str = ""
    requested_token_type: str = ""


class CredentialForm(Unshown, frozen=True):
    """A token or key, and who asks about it."""

    token: str
    token_type_hint: str = ""
    client_id: str = ""
    client_secret: str = ""


class GrantView(Unshown, frozen=True, omit_defaults=True):
    """A token (RFC 6749, section 5.1; RFC 8693, section 2.2.1)."""

    access_token: str
    expires_in: int
    token_type: str
    scope: str | None = None
    issued_token_type: str | None = None


class IntrospectionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a living key or token is (RFC 7662, section 2.2); of any other `active` alone."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: str | None = None
    permissions: list[str] | None = None


class AuthorizationServerMetadata(msgspec.Struct, frozen=True):
    """RFC 8414, section 2."""

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    service_documentation: str


class ProtectedResourceMetadata(msgspec.Struct, frozen=True):
    """RFC 9728, section 2."""

    resource: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    jwks_uri: str
    resource_documentation: str


@post(
    TOKEN_PATH,
    status_code=HTTPStatus.OK,
    responses=_ERRORS,
    tags=["OAuth"],
    operation_class=with_form(TokenForm, description="The grant, and who asks."),
    summary="Get a bearer token",
)
@brief_read
def token(request: AnyRequest, body: RawBody, call: InjectedCall) -> GrantView:
    """Give a bearer token, narrowed to `scope` if that is given.

    For a key that is a client's secret (`client_credentials`), or for a key or token that is sent as
    `subject_token` (token exchange, RFC 8693).
    """
    at = call.services.system.timestamp()
    grant = call.services.oauth.grant(_form(request, body), _authorization(request), call.origin)
    return _grant_view(grant, at)


@post(
    REFRESH_PATH,
    status_code=HTTPStatus.OK,
    responses=_ERRORS,
    tags=["OAuth"],
    summary="Refresh a token, which is never done here",
    sync_to_thread=False,
)
def refresh() -> None:
    """Say what to do instead (reference, section 1.1): no refresh token was ever given."""
    raise OAuthRefused(
        OAuthCode.UNSUPPORTED_GRANT_TYPE, "There are no refresh tokens here: exchange the API key again."
    )


@post(
    INTROSPECTION_PATH,
    status_code=HTTPStatus.OK,
    responses=_ERRORS,
    tags=["OAuth"],
    operation_class=with_form(CredentialForm, description="The key or token, and who asks."),
    summary="Say what a key or token is",
)
@brief_read
def introspect(request: AnyRequest, body: RawBody, call: InjectedCall) -> IntrospectionView:
    """Say what a key or bearer token is (RFC 7662), or `{"active": false}` of what is not good now."""
    found = call.services.oauth.introspect(_form(request, body), _authorization(request), call.origin)
    return IntrospectionView(active=False) if found is None else _introspection_view(found)


@post(
    REVOCATION_PATH,
    status_code=HTTPStatus.OK,
    responses=_ERRORS,
    tags=["OAuth"],
    operation_class=with_form(CredentialForm, description="The key or token, and who asks."),
    summary="End a key or token",
)
@in_thread
def revoke(request: AnyRequest, body: RawBody, call: InjectedCall) -> Response[None]:
    """End a key or bearer token of one's own (RFC 7009); the answer is the same for any other."""
    call.services.oauth.revoke(_form(request, body), _authorization(request), call.origin)
    return Response(None, status_code=HTTPStatus.OK)


@get(
    "/.well-known/oauth-authorization-server",
    sync_to_thread=False,
    tags=["OAuth"],
    summary="Where everything is",
)
def authorization_server(call: InjectedCall) -> Response[AuthorizationServerMetadata]:
    """Describe this authorization server (RFC 8414)."""
    return _metadata(call)


@get(
    "/.well-known/openid-configuration",
    sync_to_thread=False,
    tags=["OAuth"],
    summary="Where everything is, for clients that know no other name",
)
def openid_configuration(call: InjectedCall) -> Response[AuthorizationServerMetadata]:
    """Describe this authorization server as OpenID Connect names it. Nobody signs in through it."""
    return _metadata(call)


@get(
    "/.well-known/oauth-protected-resource",
    sync_to_thread=False,
    tags=["OAuth"],
    summary="What protects this",
)
def protected_resource(call: InjectedCall) -> Response[ProtectedResourceMetadata]:
    """Describe this API as a protected resource (RFC 9728)."""
    url = call.services.settings.public_url
    return Response(
        ProtectedResourceMetadata(
            resource=url,
            authorization_servers=[url],
            bearer_methods_supported=["header"],
            jwks_uri=f"{url}/.well-known/jwks.json",
            resource_documentation=f"{url}/docs/api",
        ),
        headers=_METADATA_AGE,
    )


def _metadata(call: Call) -> Response[AuthorizationServerMetadata]:
    issuer = call.services.settings.public_url
    return Response(
        AuthorizationServerMetadata(
            issuer=issuer,
            token_endpoint=issuer + TOKEN_PATH,
            introspection_endpoint=issuer + INTROSPECTION_PATH,
            revocation_endpoint=issuer + REVOCATION_PATH,
            jwks_uri=f"{issuer}/.well-known/jwks.json",
            response_types_supported=[],
            grant_types_supported=[CLIENT_CREDENTIALS, TOKEN_EXCHANGE],
            token_endpoint_auth_methods_supported=_CLIENT_AUTHENTICATION,
            introspection_endpoint_auth_methods_supported=_CLIENT_AUTHENTICATION,
            revocation_endpoint_auth_methods_supported=_CLIENT_AUTHENTICATION,
            service_documentation=f"{issuer}/docs/api",
        ),
        headers=_METADATA_AGE,
    )


def _form(request: AnyRequest, body: bytes) -> dict[str, str]:
    """Return the parameters, each given once (RFC 6749, section 3.2); raise `OAuthRefused`."""
    if media_type(request.headers.get("content-type")) != FORM:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"Send the parameters as {FORM}.")
    if request.scope["query_string"]:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, "Send the parameters in the body, not in the URL.")
    try:
        return read_form(body)
    except MalformedRequest as error:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, str(error)) from None


def _authorization(request: AnyRequest) -> list[bytes]:
    return [value for name, value in request.scope["headers"] if name == b"authorization"]


def _grant_view(grant: Grant, at: float) -> GrantView:
    return GrantView(
        access_token=grant.issued.token,
        expires_in=max(0, int(grant.issued.expires_at.timestamp() - at)),
        token_type=BEARER,
        scope=None if grant.scopes is None else " ".join(sorted(grant.scopes)),
        issued_token_type=ACCESS_TOKEN_TYPE if grant.is_exchange else None,
    )


def _introspection_view(found: Introspection) -> IntrospectionView:
    principal, claims = found.principal, found.claims
    told: dict[str, Any] = {
        "client_id": None if principal.key_id is None else f"key-{principal.key_id}",
        "exp": None if found.ends_at is None else int(found.ends_at),
    }
    if claims is not None:
        told |= {name: getattr(claims, name) for name in ("client_id", "exp", "iat", "aud", "iss", "jti")}
    return IntrospectionView(
        active=True,
        scope=None if principal.scopes is None else " ".join(sorted(principal.scopes)),
        username=principal.userid,
        sub=str(principal.user_id),
        token_type=BEARER if principal.method is AuthMethod.ACCESS_TOKEN else "api_key",
        permissions=sorted(principal.carried_permissions),
        **told,
    )
