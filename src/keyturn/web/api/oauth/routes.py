"""OAuth: the token endpoint, introspection, revocation, and where to find them."""

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Response
from litestar.params import RawBody

from keyturn.core.access_token import Confirmation
from keyturn.core.dpop import ALGORITHMS, PresentedProof
from keyturn.core.oauth import (
    ACCESS_TOKEN_TYPE,
    API_KEY,
    API_KEY_TYPE,
    BEARER,
    CLIENT_CREDENTIALS,
    DEVICE_AUTHORIZATION_PATH,
    DEVICE_CODE,
    DPOP,
    INTROSPECTION_PATH,
    JWKS_PATH,
    OPENID_METADATA_PATH,
    RESOURCE_METADATA_PATH,
    REVOCATION_PATH,
    SERVER_METADATA_PATH,
    TOKEN_EXCHANGE,
    TOKEN_PATH,
)
from keyturn.core.permissions import Permission
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import OAuthCode, OAuthRefused
from keyturn.services.oauth.endpoints import Grant, Introspection
from keyturn.web.api.documentation import with_body, with_form
from keyturn.web.api.oauth.devices import DeviceGrantView, device_grant
from keyturn.web.api.oauth.forms import OAUTH_ERRORS, oauth_form
from keyturn.web.bodies import Unshown, get_json
from keyturn.web.edge.dpop_target import proof_for_this
from keyturn.web.requests import AnyRequest, Call, InjectedCall, at_once, brief_read, in_thread
from keyturn.web.routes import OPEN, PROVES_ITSELF, RouteAccess, needs, route

REFRESH_PATH = "/bim/oauth/token"
_METADATA_AGE = {"Cache-Control": "public, max-age=3600"}
_CLIENT_AUTHENTICATION = ["client_secret_basic", "client_secret_post"]


class TokenForm(Unshown, frozen=True):
    """The parameters of the token endpoint."""

    grant_type: str
    scope: str = ""
    device_code: str = ""
    resource: str = ""
    audience: str = ""
    client_id: str = ""
    client_secret: str = ""
    subject_token: str = ""
    subject_token_type: str = ""
    requested_token_type: str = ""


class CredentialForm(Unshown, frozen=True):
    """A key or token, and the credentials of the client."""

    token: str
    token_type_hint: str = ""
    client_id: str = ""
    client_secret: str = ""


class TokenBody(Unshown, frozen=True, forbid_unknown_fields=True):
    """A key or token to ask about."""

    token: Annotated[str, msgspec.Meta(min_length=1)]


class GrantView(Unshown, frozen=True, omit_defaults=True):
    """A token (RFC 6749, section 5.1; RFC 8693, section 2.2.1)."""

    access_token: str
    expires_in: int
    token_type: str
    scope: str | None = None
    issued_token_type: str | None = None


class ActorView(msgspec.Struct, frozen=True):
    """The account that acts for the subject (RFC 8693, section 4.1)."""

    sub: str
    username: str


class IntrospectionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A living key or token (RFC 7662, section 2.2); `active` alone for any other."""

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
    iamid: str | None = None
    project_id: int | None = None
    withheld: list[str] | None = None
    """The scopes of registered APIs that no credential of this user covers."""
    cnf: Confirmation | None = None
    """The key pair that it is bound to (RFC 9449, section 6.2)."""
    act: ActorView | None = None
    """The account that acts with the token for its subject."""


class AuthorizationServerMetadata(msgspec.Struct, frozen=True):
    """RFC 8414, section 2."""

    issuer: str
    token_endpoint: str
    device_authorization_endpoint: str
    scopes_supported: list[str]
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]
    service_documentation: str


class ProtectedResourceMetadata(msgspec.Struct, frozen=True):
    """RFC 9728, section 2."""

    resource: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]
    jwks_uri: str
    resource_documentation: str


@route(
    "POST",
    TOKEN_PATH,
    access=PROVES_ITSELF,
    tag="OAuth",
    summary="Get a bearer token",
    body=with_form(
        TokenForm,
        example={
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": "API_KEY",
            "subject_token_type": API_KEY_TYPE,
        },
        description="The grant and the credentials of the client.",
    ),
    refusals=OAUTH_ERRORS,
)
async def token(request: AnyRequest, body: RawBody, call: InjectedCall) -> GrantView | DeviceGrantView:
    """Issue a bearer token for an API key or another token, or an API key for a device.

    `client_credentials` issues a token for the key that the client sends as its secret. Token exchange (RFC
    8693) issues a token for the key or token in `subject_token`. The device grant (RFC 8628) issues the API
    key for `device_code` after a person has approved the device.

    `scope` narrows the token to these scopes. `resource` or `audience` issues a token for one registered API.
    A proof of possession in a `DPoP` header binds the token to its key pair (RFC 9449).
    """
    form = oauth_form(request, body)
    if form.get("grant_type") == DEVICE_CODE:
        return await device_grant(form=form, call=call)
    return await _grant(
        form=form, authorization=_authorization(request), proof=_proof(request, call), call=call
    )


@route(
    "POST",
    REFRESH_PATH,
    access=OPEN,
    tag="OAuth",
    summary="Refresh a token (always refused)",
    refusals=OAUTH_ERRORS,
)
@at_once
def refresh() -> None:
    """Refuse to refresh a token.

    Keyturn has no refresh tokens: the response is always 400 with `unsupported_grant_type`. Exchange the API
    key again instead.
    """
    # No refresh token was ever given (http-api/tokens.md, "Refresh a token").
    raise OAuthRefused(
        OAuthCode.UNSUPPORTED_GRANT_TYPE, "There are no refresh tokens here: exchange the API key again."
    )


@route(
    "POST",
    INTROSPECTION_PATH,
    access=RouteAccess(
        (Permission.VERIFY_CREDENTIALS,), "your own credentials", is_open=True, reads_credential=True
    ),
    tag="OAuth",
    summary="Introspect a key or token",
    body=with_form(
        CredentialForm,
        example={"token": "API_KEY"},
        description="The key or token, and the credentials of the client.",
    ),
    refusals=OAUTH_ERRORS,
)
@brief_read
def introspect(request: AnyRequest, body: RawBody, call: InjectedCall) -> IntrospectionView:
    """Introspect an API key or bearer token (RFC 7662).

    The response is `{"active": false}` if the credential is not valid, or if the caller may not introspect
    it. A key that is limited to networks, methods, or paths is never active here.

    Requires `VERIFY_CREDENTIALS`, except for the caller's own credentials.
    """
    found = call.services.oauth.introspect(
        oauth_form(request, body), _authorization(request), call.origin, _proof(request, call)
    )
    return _introspected(found)


@route(
    "POST",
    "/bim/token",
    access=needs(Permission.VERIFY_CREDENTIALS, without="your own credentials"),
    tag="OAuth",
    summary="Read a key or token",
    body=with_body(TokenBody, example={"token": "API_KEY"}, required=True, description="The key or token."),
)
@brief_read
def token_information(request: AnyRequest, body: RawBody, call: InjectedCall) -> IntrospectionView:
    """Return information on an API key or bearer token, as introspection does.

    The response is `{"active": false}` if the credential is not valid, or if the caller may not introspect
    it. A key that is limited to networks, methods, or paths is never active here.

    Requires `VERIFY_CREDENTIALS`, except for the caller's own credentials.
    """
    asked = get_json(body, request.headers.get("content-type"), TokenBody, such_as='{"token": …}')
    return _introspected(call.services.oauth.introspect_for(call.principal, asked.token))


@route(
    "POST",
    REVOCATION_PATH,
    access=PROVES_ITSELF,
    tag="OAuth",
    summary="Revoke a key or token",
    body=with_form(
        CredentialForm,
        example={"token": "API_KEY"},
        description="The key or token, and the credentials of the client.",
    ),
    refusals=OAUTH_ERRORS,
)
@in_thread
def revoke(request: AnyRequest, body: RawBody, call: InjectedCall) -> Response[None]:
    """Revoke one of the caller's API keys or bearer tokens (RFC 7009).

    Revoking a key also revokes all of its tokens. For the credential of another user and for an unknown
    credential, the response is the same, but nothing is revoked.
    """
    call.services.oauth.revoke(
        oauth_form(request, body), _authorization(request), call.origin, _proof(request, call)
    )
    return Response(None, status_code=HTTPStatus.OK)


@route(
    "GET", SERVER_METADATA_PATH, access=OPEN, tag="OAuth", summary="Read the authorization server metadata"
)
@brief_read
def authorization_server(call: InjectedCall) -> Response[AuthorizationServerMetadata]:
    """Return the metadata of this authorization server (RFC 8414)."""
    return _metadata(call)


@route(
    "GET",
    OPENID_METADATA_PATH,
    access=OPEN,
    tag="OAuth",
    summary="Read the same metadata under its OpenID name",
)
@brief_read
def openid_configuration(call: InjectedCall) -> Response[AuthorizationServerMetadata]:
    """Return the metadata of this authorization server at its OpenID Connect path.

    Keyturn does not provide OpenID Connect sign-in.
    """
    return _metadata(call)


@route(
    "GET", RESOURCE_METADATA_PATH, access=OPEN, tag="OAuth", summary="Read the protected resource metadata"
)
@at_once
def protected_resource(call: InjectedCall) -> Response[ProtectedResourceMetadata]:
    """Return the metadata of this API as a protected resource (RFC 9728)."""
    url = call.services.settings.public_url
    return Response(
        ProtectedResourceMetadata(
            resource=url,
            authorization_servers=[url],
            bearer_methods_supported=["header"],
            dpop_signing_alg_values_supported=list(ALGORITHMS),
            jwks_uri=url + JWKS_PATH,
            resource_documentation=call.services.settings.documentation_url,
        ),
        headers=_METADATA_AGE,
    )


def _metadata(call: Call) -> Response[AuthorizationServerMetadata]:
    issuer = call.services.settings.public_url
    return Response(
        AuthorizationServerMetadata(
            issuer=issuer,
            token_endpoint=issuer + TOKEN_PATH,
            device_authorization_endpoint=issuer + DEVICE_AUTHORIZATION_PATH,
            scopes_supported=call.services.verification.open_scopes(),
            introspection_endpoint=issuer + INTROSPECTION_PATH,
            revocation_endpoint=issuer + REVOCATION_PATH,
            jwks_uri=issuer + JWKS_PATH,
            response_types_supported=[],
            grant_types_supported=[CLIENT_CREDENTIALS, TOKEN_EXCHANGE, DEVICE_CODE],
            token_endpoint_auth_methods_supported=[*_CLIENT_AUTHENTICATION, "none"],
            introspection_endpoint_auth_methods_supported=_CLIENT_AUTHENTICATION,
            revocation_endpoint_auth_methods_supported=_CLIENT_AUTHENTICATION,
            dpop_signing_alg_values_supported=list(ALGORITHMS),
            service_documentation=call.services.settings.documentation_url,
        ),
        headers=_METADATA_AGE,
    )


def _authorization(request: AnyRequest) -> list[bytes]:
    return [value for name, value in request.scope["headers"] if name == b"authorization"]


@brief_read
def _grant(
    *, form: dict[str, str], authorization: list[bytes], proof: PresentedProof | None, call: Call
) -> GrantView:
    at = call.services.system.timestamp()
    return _grant_view(call.services.oauth.grant(form, authorization, call.origin, proof), at)


def _proof(request: AnyRequest, call: Call) -> PresentedProof | None:
    return proof_for_this(request.scope, call.services.settings.public_url)


def _grant_view(grant: Grant, at: float) -> GrantView:
    return GrantView(
        access_token=grant.issued.token,
        expires_in=max(0, int(grant.issued.expires_at.timestamp() - at)),
        token_type=BEARER if grant.issued.jkt is None else DPOP,
        scope=None if grant.scopes is None else " ".join(sorted(grant.scopes)),
        issued_token_type=ACCESS_TOKEN_TYPE if grant.is_exchange else None,
    )


def _token_type(principal: Principal) -> str:
    if principal.method is not AuthMethod.ACCESS_TOKEN:
        return API_KEY
    return BEARER if principal.jkt is None else DPOP


def _introspected(found: Introspection | None) -> IntrospectionView:
    if found is None:
        return IntrospectionView(active=False)
    principal, claims = found.principal, found.claims
    impersonator = principal.impersonator
    told: dict[str, Any] = {
        "client_id": None if principal.key_id is None else f"key-{principal.key_id}",
        "exp": None if found.ends_at is None else int(found.ends_at),
    }
    if claims is not None:
        told |= {name: getattr(claims, name) for name in ("client_id", "iat", "aud", "iss", "jti")}
    return IntrospectionView(
        active=True,
        scope=None if principal.scopes is None else " ".join(sorted(principal.scopes)),
        username=principal.userid,
        sub=str(principal.user_id),
        token_type=_token_type(principal),
        cnf=None if principal.jkt is None else Confirmation(principal.jkt),
        permissions=sorted(principal.carried_permissions),
        iamid=principal.iamid,
        project_id=principal.project_id,
        withheld=sorted(found.withheld) or None,
        act=None if impersonator is None else ActorView(str(impersonator.user_id), impersonator.userid),
        **told,
    )
